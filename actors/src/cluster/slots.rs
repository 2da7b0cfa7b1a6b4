//! A set of placement slots: one bit each, 512 bytes.

use rookery_store::{SLOTS, Slot};
use std::fmt;

const WORDS: usize = SLOTS as usize / 64;

/// See the module.
#[derive(Clone, PartialEq, Eq)]
pub struct SlotSet([u64; WORDS]);

impl Default for SlotSet {
    fn default() -> Self {
        Self([0; WORDS])
    }
}

impl fmt::Debug for SlotSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SlotSet({} slots)", self.len())
    }
}

impl FromIterator<Slot> for SlotSet {
    /// Slots that don't exist are passed over.
    fn from_iter<T: IntoIterator<Item = Slot>>(slots: T) -> Self {
        let mut set = Self::default();
        slots.into_iter().for_each(|slot| set.insert(slot));
        set
    }
}

impl SlotSet {
    /// The slots of which `wanted` says so.
    #[must_use]
    pub fn of(wanted: impl Fn(Slot) -> bool) -> Self {
        let mut set = Self::default();
        for slot in (0..SLOTS).map(Slot).filter(|slot| wanted(*slot)) {
            set.insert(slot);
        }
        set
    }

    /// Takes a slot in.
    pub fn insert(&mut self, slot: Slot) {
        if let Some(word) = self.0.get_mut(usize::from(slot.0) / 64) {
            *word |= 1 << (slot.0 % 64);
        }
    }

    /// Takes all slots of another set in.
    pub fn extend(&mut self, other: &Self) {
        for (word, more) in self.0.iter_mut().zip(other.0) {
            *word |= more;
        }
    }

    /// Whether a slot is in.
    #[must_use]
    pub fn contains(&self, slot: Slot) -> bool {
        self.0.get(usize::from(slot.0) / 64).is_some_and(|word| word >> (slot.0 % 64) & 1 == 1)
    }

    /// Those that are in, by rising number.
    pub fn iter(&self) -> impl Iterator<Item = Slot> {
        (0..SLOTS).map(Slot).filter(|slot| self.contains(*slot))
    }

    /// How many are in.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether none is in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_in_once_it_was_taken_in() {
        let mut set = SlotSet::of(|slot| slot.0 == 0 || slot.0 == 4095);
        assert_eq!(set.len(), 2);
        assert!(set.contains(Slot(4095)) && !set.contains(Slot(64)));
        set.extend(&SlotSet::of(|slot| slot.0 == 64));
        assert!(set.contains(Slot(64)) && !set.contains(Slot(65)));
        assert!(!set.is_empty() && SlotSet::default().is_empty());
        assert!(!set.contains(Slot(u16::MAX)));
    }
}
