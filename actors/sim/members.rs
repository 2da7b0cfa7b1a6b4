//! What is true of the membership, judged at each step:
//! - epochs rise by one, and the active members of an epoch never change;
//! - a life that was declared dead never comes back, and works for no slot;
//! - nodes that go by the same epoch agree on the owner of every slot.

use rookery_actors::cluster::View;
use rookery_actors::link::NodeKey;
use rookery_store::{Members, NodeState};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// See the module.
pub struct Membership {
    last: Members,
    /// Lives that others declared dead.
    dead: BTreeSet<NodeKey>,
    /// The first view of each epoch.
    views: BTreeMap<u64, Arc<View>>,
    /// How often a life was declared dead.
    pub deaths: usize,
}

impl Default for Membership {
    fn default() -> Self {
        let (dead, views) = (BTreeSet::new(), BTreeMap::new());
        Self { last: Members::none(), dead, views, deaths: 0 }
    }
}

fn active(members: &Members) -> Vec<NodeKey> {
    let active = members.leases.iter().filter(|(_, held)| held.lease.state == NodeState::Active);
    let keys =
        active.map(|(node, held)| NodeKey { node: *node, incarnation: held.lease.incarnation });
    keys.collect()
}

impl Membership {
    /// A commit changed leases; what is wrong with that, if anything.
    pub fn changed(&mut self, members: Members) -> Option<String> {
        let last = std::mem::replace(&mut self.last, members);
        let now = &self.last;
        for (node, held) in &last.leases {
            let key = NodeKey { node: *node, incarnation: held.lease.incarnation };
            // A lease that is gone was given back by its owner, or was dead for long.
            let Some(next) = now.leases.get(node) else { continue };
            let replaced = next.lease.incarnation != key.incarnation;
            let ended = replaced || next.lease.state == NodeState::Dead;
            if ended && held.lease.state != NodeState::Dead && self.dead.insert(key) {
                self.deaths += 1;
            }
        }
        let back = now.leases.iter().find(|(node, held)| {
            let key = NodeKey { node: **node, incarnation: held.lease.incarnation };
            held.lease.state != NodeState::Dead && self.dead.contains(&key)
        });
        if let Some((_, held)) = back {
            return Some(format!("{} lives although it was declared dead", held.lease.name));
        }
        if now.epoch != last.epoch && now.epoch != last.epoch + 1 {
            return Some(format!("the epoch went from {} to {}", last.epoch, now.epoch));
        }
        if now.epoch == last.epoch && active(now) != active(&last) {
            return Some(format!("epoch {} has other members than before", now.epoch));
        }
        None
    }

    /// A node goes by a view from now on; what is wrong with that, if anything.
    pub fn viewed(&mut self, view: &Arc<View>) -> Option<String> {
        if view.epoch == 0 {
            return None;
        }
        let known = self.views.entry(view.epoch).or_insert_with(|| Arc::clone(view));
        let other = known.moved(view);
        if !other.is_empty() {
            return Some(format!("epoch {}: nodes disagree on {} slots", view.epoch, other.len()));
        }
        None
    }

    /// Whether a life was declared dead by others.
    pub fn is_dead(&self, key: NodeKey) -> bool {
        self.dead.contains(&key)
    }
}
