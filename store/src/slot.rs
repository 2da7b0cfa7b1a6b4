//! Placement slots: which of 4,096 fences guards a conversation, and where a user has its home.
//!
//! The hash is part of the stored schema: another one would put a conversation under another
//! fence, and two owners could then write to it.

use rookery_protocol::{ConversationId, UserId};
use xxhash_rust::xxh3::xxh3_64;

/// How many slots there are.
pub const SLOTS: u16 = 4096;

/// One of the [`SLOTS`] slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u16);

/// The slot whose fence guards a conversation.
#[must_use]
pub fn slot_of(conversation: ConversationId) -> Slot {
    slot(conversation.to_be_bytes())
}

/// The slot that places a user's home.
#[must_use]
pub fn slot_of_user(user: UserId) -> Slot {
    slot(user.to_be_bytes())
}

fn slot(id: [u8; 8]) -> Slot {
    let place = xxh3_64(&id) % u64::from(SLOTS);
    // The remainder is under 4,096, so the conversion can't fail.
    Slot(u16::try_from(place).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slot_of_an_id_never_changes() {
        let slots = [0, 1, 2, 0xdead_beef].map(|id| slot_of(ConversationId(id)).0);
        assert_eq!(slots, [3289, 3059, 284, 2844]);
        assert_eq!(slot_of_user(UserId(1)), slot_of(ConversationId(1)));
    }

    #[test]
    fn ids_spread_over_all_slots() {
        let mut hits = vec![0_u32; usize::from(SLOTS)];
        for id in 0..u64::from(SLOTS) * 64 {
            hits[usize::from(slot_of(ConversationId(id)).0)] += 1;
        }
        let (least, most) = (hits.iter().min().unwrap(), hits.iter().max().unwrap());
        assert!(*least >= 24 && *most <= 120, "between {least} and {most} of 64 expected");
    }
}
