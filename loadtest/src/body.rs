//! What a message of the harness carries: its id tells lane, number and when it was due; its body
//! follows from lane and number alone, so anyone can tell what must be in it.

use crate::oracle::Value;
use rookery_protocol::{ClientMsgId, Entry, UserId};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Most lanes an id can carry.
pub(crate) const MAX_LANES: usize = 1 << 24;

/// The id of a lane's message that is due at `due_us` (Unix microseconds): UUIDv7 with the
/// milliseconds in front, the rest of the microseconds, lane and number where randomness goes.
pub(crate) fn message_id(lane: u32, number: u32, due_us: u64) -> ClientMsgId {
    let [sub_high, sub_low] = u16::try_from(due_us % 1000).unwrap_or_default().to_be_bytes();
    let [_, l0, l1, l2] = lane.to_be_bytes();
    let [n0, n1, n2, n3] = number.to_be_bytes();
    ClientMsgId::from_parts(due_us / 1000, [sub_high, sub_low, 0, l0, l1, l2, n0, n1, n2, n3])
}

/// Lane, number and due time of an id made by [`message_id`].
pub(crate) fn read_id(id: ClientMsgId) -> (u32, u32, u64) {
    let [.., s0, s1, _, l0, l1, l2, n0, n1, n2, n3] = id.0;
    let sub = u64::from(u16::from_be_bytes([s0 & 0x0f, s1]));
    let lane = u32::from_be_bytes([0, l0, l1, l2]);
    (lane, u32::from_be_bytes([n0, n1, n2, n3]), id.unix_ms() * 1000 + sub)
}

/// The text of a lane's message: `length` lower-case letters.
pub(crate) fn body(seed: u64, lane: u32, number: u32, length: usize) -> Vec<u8> {
    let mut state = seed ^ (u64::from(lane) << 32 | u64::from(number));
    let mut text = Vec::with_capacity(length + 16);
    while text.len() < length {
        let word = splitmix(&mut state);
        // Two nibbles to two letters, eight bytes at a time.
        let low = (word & 0x0f0f_0f0f_0f0f_0f0f) + 0x6161_6161_6161_6161;
        let high = (word >> 4 & 0x0f0f_0f0f_0f0f_0f0f) + 0x6161_6161_6161_6161;
        text.extend_from_slice(&low.to_le_bytes());
        text.extend_from_slice(&high.to_le_bytes());
    }
    text.truncate(length);
    text
}

/// The oracle's value of a message with this content.
pub(crate) fn value(id: ClientMsgId, sender: UserId, body: &[u8]) -> Value {
    let (lane, number, due) = read_id(id);
    let seed = sender.0 ^ due.rotate_left(24) ^ (u64::from(lane) << 32 | u64::from(number));
    Value { lane, number, hash: xxh3_64_with_seed(body, seed) }
}

/// The oracle's value of an entry.
pub(crate) fn entry_value(entry: &Entry) -> Value {
    value(entry.client_msg_id, entry.sender, &entry.body)
}

/// SplitMix64: one step.
pub(crate) fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_uuid_v7_and_gives_back_what_it_was_made_of() {
        for (lane, number, due) in
            [(0, 0, 0), (1, 2, 1_700_000_000_123_456), ((1 << 24) - 1, u32::MAX, 999)]
        {
            let id = message_id(lane, number, due);
            assert!(id.is_v7());
            assert_eq!(read_id(id), (lane, number, due));
        }
    }

    #[test]
    fn a_body_is_text_of_the_length_asked_for_and_differs_by_lane_and_number() {
        let one = body(1, 2, 3, 100);
        assert_eq!(one.len(), 100);
        assert!(one.iter().all(u8::is_ascii_lowercase));
        assert_eq!(one, body(1, 2, 3, 100));
        assert_ne!(one, body(1, 2, 4, 100));
        assert_ne!(one, body(1, 3, 3, 100));
    }

    #[test]
    fn a_changed_byte_or_sender_changes_the_value() {
        let (id, mut text) = (message_id(1, 1, 1), body(1, 1, 1, 50));
        let before = value(id, UserId(1), &text);
        assert_ne!(value(id, UserId(2), &text).hash, before.hash);
        text[49] ^= 1;
        assert_ne!(value(id, UserId(1), &text).hash, before.hash);
    }
}
