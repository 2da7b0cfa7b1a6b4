//! Which node works for a slot: weighted rendezvous hashing over the active members. Pure.
//!
//! Each node draws as many tickets for a slot as it has shares; the highest ticket wins. So every
//! node that knows the members finds the same owner, without floating-point numbers that
//! machines could round apart; a node that comes takes its share from all others alike, and one
//! that goes leaves its slots to all others alike: nothing else moves.
//!
//! Zones have no say here: a slot has one owner at a time, so there is nothing to spread. They
//! steer discovery, which sends clients to nodes near them.

use crate::link::NodeKey;
use rookery_store::{SLOTS, Slot};

/// Most shares of a node; more are taken as this many.
pub const MAX_CAPACITY: u32 = 64;

/// The owner of every slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    nodes: Vec<NodeKey>,
    /// For each slot a place in `nodes`; empty without nodes.
    owners: Vec<u16>,
}

impl Table {
    /// The table of these nodes and their shares of the slots. A node without shares takes one.
    #[must_use]
    pub fn new(active: &[(NodeKey, u32)]) -> Self {
        let nodes: Vec<NodeKey> = active.iter().map(|(key, _)| *key).collect();
        let mut owners = Vec::new();
        if !nodes.is_empty() {
            owners.reserve_exact(usize::from(SLOTS));
            owners.extend((0..SLOTS).map(|slot| winner(active, Slot(slot))));
        }
        Self { nodes, owners }
    }

    /// Who works for a slot; none without active nodes.
    #[must_use]
    pub fn owner(&self, slot: Slot) -> Option<NodeKey> {
        let place = self.owners.get(usize::from(slot.0))?;
        self.nodes.get(usize::from(*place)).copied()
    }

    /// How many slots a node has.
    #[must_use]
    pub fn slots_of(&self, node: NodeKey) -> usize {
        let Some(place) = self.nodes.iter().position(|key| *key == node) else { return 0 };
        self.owners.iter().filter(|owner| usize::from(**owner) == place).count()
    }
}

fn winner(active: &[(NodeKey, u32)], slot: Slot) -> u16 {
    let mut best: Option<((u64, u64), u16)> = None;
    for (place, (key, capacity)) in active.iter().enumerate() {
        let seed = mix(key.node ^ mix(u64::from(slot.0)));
        let tickets = (1..=u64::from((*capacity).clamp(1, MAX_CAPACITY))).map(|n| mix(seed ^ n));
        // Equal tickets are decided by the node's number, so that the order of the members, and
        // which life a node lives, have no say.
        let ticket = (tickets.max().unwrap_or(0), key.node);
        let place = u16::try_from(place).unwrap_or(u16::MAX);
        if best.is_none_or(|(highest, _)| ticket > highest) {
            best = Some((ticket, place));
        }
    }
    best.map_or(u16::MAX, |(_, place)| place)
}

/// The finalizer of SplitMix64: each bit of the input sways every bit of the output.
const fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(count: usize) -> Vec<(NodeKey, u32)> {
        (0..count).map(|n| (NodeKey::new(&format!("node-{n}"), 100 + n as u64), 1)).collect()
    }

    fn moved(before: &Table, after: &Table) -> Vec<Slot> {
        (0..SLOTS).map(Slot).filter(|slot| before.owner(*slot) != after.owner(*slot)).collect()
    }

    #[test]
    fn a_join_or_a_loss_moves_a_fair_share_of_the_slots_and_nothing_else() {
        for count in 1..=20 {
            let (before, after) = (Table::new(&nodes(count)), Table::new(&nodes(count + 1)));
            let newcomer = nodes(count + 1)[count].0;
            let moved = moved(&before, &after);
            // Read backwards, this is the loss of the last node.
            assert!(moved.iter().all(|slot| after.owner(*slot) == Some(newcomer)));
            let fair = f64::from(SLOTS) / (count as f64 + 1.0);
            let most = fair + 0.1 * f64::from(SLOTS);
            assert!((moved.len() as f64) < most, "{count} + 1: {} of {fair}", moved.len());
            // Chance alone moves a little more or less: four standard deviations of it.
            let chance = 4.0 * fair.sqrt();
            assert!((moved.len() as f64 - fair).abs() < chance, "{count}: {}", moved.len());
        }
    }

    #[test]
    fn slots_are_shared_by_capacity() {
        let mut active = nodes(3);
        active[2].1 = 2;
        let table = Table::new(&active);
        let slots: Vec<usize> = active.iter().map(|(key, _)| table.slots_of(*key)).collect();
        assert_eq!(slots.iter().sum::<usize>(), usize::from(SLOTS));
        for (slots, fair) in slots.into_iter().zip([1024, 1024, 2048]) {
            assert!(slots.abs_diff(fair) < 130, "{slots} of {fair}");
        }
    }

    #[test]
    fn the_owner_follows_from_the_names_alone() {
        let mut turned = nodes(5);
        turned.reverse();
        let reborn: Vec<_> = turned
            .iter()
            .map(|(key, capacity)| {
                (NodeKey { incarnation: key.incarnation + 7, ..*key }, *capacity)
            })
            .collect();
        let (one, two) = (Table::new(&nodes(5)), Table::new(&reborn));
        for slot in (0..SLOTS).map(Slot) {
            assert_eq!(one.owner(slot).unwrap().node, two.owner(slot).unwrap().node);
        }
        // Part of what nodes of different versions must agree on.
        let first: Vec<u64> = (0..8).map(|n| one.owner(Slot(n)).unwrap().incarnation).collect();
        assert_eq!(first, [101, 102, 103, 104, 104, 103, 103, 101]);
    }

    #[test]
    fn without_nodes_nobody_owns_a_slot() {
        assert_eq!(Table::new(&[]).owner(Slot(0)), None);
        assert_eq!(Table::default().slots_of(nodes(1)[0].0), 0);
    }
}
