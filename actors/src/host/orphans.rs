//! Plans whose actor was lost in a panic before their outcome was known. Pure.
//!
//! Safety: such a plan may still be applied, and its successor would hold the same fence. So the
//! successor gets no fence, and reads nothing, before every plan of its predecessors is known: it
//! can't give a place in the order away twice. An outcome that stays unknown costs the fence: the
//! next take-over makes the plan visible or harmless.

use crate::plant::{self, Bug};
use rookery_store::{Outcome, Slot};
use std::collections::{BTreeMap, BTreeSet};

/// The plans of lost actors of one shard, by key and activation.
pub(super) struct Orphans<K> {
    plans: BTreeMap<(K, u64), u32>,
    unresolved: BTreeSet<K>,
    /// Successors that asked for their fence.
    waiting: BTreeMap<K, Slot>,
}

/// All plans of a key's lost actors are known.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Settled {
    /// What became of one of them never will be.
    pub(super) unresolved: bool,
    /// A successor waits for the fence of this slot.
    pub(super) waiting: Option<Slot>,
}

impl<K> Default for Orphans<K> {
    fn default() -> Self {
        Self { plans: BTreeMap::new(), unresolved: BTreeSet::new(), waiting: BTreeMap::new() }
    }
}

impl<K: Copy + Ord> Orphans<K> {
    /// An actor was lost with so many plans under way.
    pub(super) fn add(&mut self, key: K, activation: u64, plans: u32) {
        if plans > 0 && !plant::is(Bug::FenceOfTheLost) {
            self.plans.insert((key, activation), plans);
        }
    }

    /// Whether this key's actor has to wait for its fence; it is remembered.
    pub(super) fn holds_up(&mut self, key: K, slot: Slot) -> bool {
        let held_up = self.is_open(key);
        if held_up {
            self.waiting.insert(key, slot);
        }
        held_up
    }

    /// The outcome of a plan whose actor is not there any more; what it settles.
    pub(super) fn known(&mut self, key: K, activation: u64, outcome: &Outcome) -> Option<Settled> {
        let left = self.plans.get_mut(&(key, activation))?;
        *left -= 1;
        if matches!(outcome, Outcome::Unresolved) {
            self.unresolved.insert(key);
        }
        if *left == 0 {
            self.plans.remove(&(key, activation));
        }
        if self.is_open(key) {
            return None;
        }
        let unresolved = self.unresolved.remove(&key);
        Some(Settled { unresolved, waiting: self.waiting.remove(&key) })
    }

    fn is_open(&self, key: K) -> bool {
        self.plans.range((key, 0)..=(key, u64::MAX)).next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::{Orphans, Settled};
    use rookery_store::{Outcome, Slot};

    #[test]
    fn a_successor_waits_until_every_plan_of_all_its_predecessors_is_known() {
        let mut orphans = Orphans::default();
        orphans.add(1, 10, 2);
        orphans.add(1, 11, 1);
        assert!(orphans.holds_up(1, Slot(7)));
        assert_eq!(orphans.known(1, 10, &Outcome::Busy), None);
        assert_eq!(orphans.known(1, 11, &Outcome::Conflict), None);
        let settled = Settled { unresolved: false, waiting: Some(Slot(7)) };
        assert_eq!(orphans.known(1, 10, &Outcome::Busy), Some(settled));
        assert!(!orphans.holds_up(1, Slot(7)));
    }

    #[test]
    fn an_outcome_that_stays_unknown_is_told_once() {
        let mut orphans = Orphans::default();
        orphans.add(1, 10, 1);
        let settled = Settled { unresolved: true, waiting: None };
        assert_eq!(orphans.known(1, 10, &Outcome::Unresolved), Some(settled));
        orphans.add(1, 11, 1);
        let settled = Settled { unresolved: false, waiting: None };
        assert_eq!(orphans.known(1, 11, &Outcome::Busy), Some(settled));
    }

    #[test]
    fn neighbours_and_outcomes_of_nobody_are_not_held_up() {
        let mut orphans = Orphans::default();
        orphans.add(1, 10, 1);
        orphans.add(2, 11, 0);
        assert!(!orphans.holds_up(2, Slot(7)));
        assert_eq!(orphans.known(3, 12, &Outcome::Busy), None);
    }
}
