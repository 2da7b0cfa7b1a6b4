//! Plans as FoundationDB's mutations, in the order in which they apply.
//!
//! ```text
//! Set, Clear, ClearRange    the same
//! Add, ByteMax              atomic mutations of the same meaning
//! SetStampedKey             atomic SetVersionstampedKey:   prefix (10 bytes filled in) op(2), offset(4)
//! SetStampedValue           atomic SetVersionstampedValue: (10 bytes filled in) op(2) suffix, offset(4)
//! ```
//!
//! The cluster fills in 10 bytes: the commit's version (8) and its place among the commits of that
//! version (2). The last 2 bytes of a [`crate::Stamp`] are ours and count the stamped operations of
//! the whole transaction, so that merged plans share none.
//!
//! Writes are not tracked for conflicts where nothing guards on the row
//! ([`crate::keys::is_never_guarded`]): those are most of the rows of an append.

use super::space::Space;
use crate::keys::is_never_guarded;
use crate::plan::{Op, STAMP_BYTES};

/// Bytes that the cluster fills in.
const FILLED_IN: usize = 10;

/// A mutation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Write<'a> {
    Set { key: &'a [u8], value: &'a [u8] },
    Clear { key: &'a [u8] },
    ClearRange { from: &'a [u8], to: &'a [u8] },
    Atomic { kind: Atomic, key: &'a [u8], operand: &'a [u8] },
}

/// The kinds of atomic mutations in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Atomic {
    Add,
    ByteMax,
    StampedKey,
    StampedValue,
}

/// Buffers that are used again from mutation to mutation.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    key: Vec<u8>,
    other: Vec<u8>,
}

/// Turns operations into mutations. `stamped` is the number of stamped operations so far in the
/// transaction; `each` gets every mutation, and whether its conflicts are tracked.
pub(super) fn translate(
    space: &Space,
    ops: &[Op],
    stamped: &mut u16,
    scratch: &mut Scratch,
    mut each: impl FnMut(Write<'_>, bool),
) {
    let Scratch { key: at, other } = scratch;
    for op in ops {
        match op {
            Op::Set { key, value } => {
                space.row_into(key, at);
                let tracked = !is_never_guarded(key.first(), key.len());
                each(Write::Set { key: at, value }, tracked);
            }
            Op::Clear { key } => {
                space.row_into(key, at);
                each(Write::Clear { key: at }, !is_never_guarded(key.first(), key.len()));
            }
            Op::ClearRange { from, to } => {
                if from < to {
                    space.row_into(from, at);
                    space.row_into(to, other);
                    each(Write::ClearRange { from: at, to: other }, true);
                }
            }
            Op::SetStampedKey { prefix, value } => {
                space.row_into(prefix, at);
                let offset = at.len();
                stamp_into(next(stamped), at);
                offset_into(offset, at);
                let tracked = !is_never_guarded(prefix.first(), prefix.len() + STAMP_BYTES);
                let kind = Atomic::StampedKey;
                each(Write::Atomic { kind, key: at, operand: value }, tracked);
            }
            Op::SetStampedValue { key, suffix } => {
                space.row_into(key, at);
                other.clear();
                stamp_into(next(stamped), other);
                other.extend_from_slice(suffix);
                offset_into(0, other);
                let tracked = !is_never_guarded(key.first(), key.len());
                let kind = Atomic::StampedValue;
                each(Write::Atomic { kind, key: at, operand: other }, tracked);
            }
            Op::Add { key, delta } => {
                space.row_into(key, at);
                let operand = &delta.to_le_bytes();
                each(Write::Atomic { kind: Atomic::Add, key: at, operand }, true);
            }
            Op::ByteMax { key, value } => {
                space.row_into(key, at);
                each(Write::Atomic { kind: Atomic::ByteMax, key: at, operand: value }, true);
            }
        }
    }
}

/// The operand that sets a value to the commit's 10 bytes and a tail.
pub(super) fn stamped_value(tail: &[u8]) -> Vec<u8> {
    let mut operand = vec![0; FILLED_IN];
    operand.extend_from_slice(tail);
    offset_into(0, &mut operand);
    operand
}

fn next(stamped: &mut u16) -> u16 {
    let this = *stamped;
    *stamped = stamped.saturating_add(1);
    this
}

fn stamp_into(op: u16, to: &mut Vec<u8>) {
    to.extend_from_slice(&[0; FILLED_IN]);
    to.extend_from_slice(&op.to_be_bytes());
}

/// Where the bytes are filled in; keys and values are far shorter than 4 GiB.
fn offset_into(offset: usize, to: &mut Vec<u8>) {
    to.extend_from_slice(&u32::try_from(offset).unwrap_or(u32::MAX).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::append::plan as append_plan;
    use crate::keys;
    use crate::{Append, Fence, Slot, Version};
    use bytes::Bytes;
    use rookery_protocol::{ClientMsgId, ConversationId, DeviceId, Entry, EntryKind, UserId};

    /// Mutations as text, `~` before those whose conflicts are not tracked.
    fn shown(ops: &[Op], stamped: &mut u16) -> Vec<String> {
        let space = Space::new("p").unwrap();
        let mut all = Vec::new();
        translate(&space, ops, stamped, &mut Scratch::default(), |write, tracked| {
            all.push(format!("{}{write:?}", if tracked { "" } else { "~" }));
        });
        all
    }

    fn expect(write: Write<'_>) -> String {
        format!("{write:?}")
    }

    fn b(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn operations_become_mutations_under_the_prefix() {
        let ops = [
            Op::Set { key: b("k"), value: b("v") },
            Op::Clear { key: b("k") },
            Op::ClearRange { from: b(""), to: b("z") },
            Op::ClearRange { from: b("z"), to: b("a") },
            Op::Add { key: b("n"), delta: 258 },
            Op::ByteMax { key: b("k"), value: b("") },
        ];
        let atomic = |kind, key, operand| expect(Write::Atomic { kind, key, operand });
        let wanted = [
            expect(Write::Set { key: b"p\0rk", value: b"v" }),
            expect(Write::Clear { key: b"p\0rk" }),
            expect(Write::ClearRange { from: b"p\0r", to: b"p\0rz" }),
            atomic(Atomic::Add, b"p\0rn", &[2, 1, 0, 0, 0, 0, 0, 0]),
            atomic(Atomic::ByteMax, b"p\0rk", b""),
        ];
        assert_eq!(shown(&ops, &mut 0), wanted);
    }

    #[test]
    fn stamps_leave_ten_bytes_to_the_cluster_and_count_on_from_plan_to_plan() {
        let ops = [
            Op::SetStampedKey { prefix: b("i"), value: b("v") },
            Op::SetStampedValue { key: b("k"), suffix: b("s") },
        ];
        let mut stamped = 0x0102;
        let key = [b"p\0ri".as_slice(), &[0; 10], &[1, 2], &[4, 0, 0, 0]].concat();
        let value = [[0; 10].as_slice(), &[1, 3], b"s", &[0; 4]].concat();
        let wanted = [
            expect(Write::Atomic { kind: Atomic::StampedKey, key: &key, operand: b"v" }),
            expect(Write::Atomic { kind: Atomic::StampedValue, key: b"p\0rk", operand: &value }),
        ];
        assert_eq!(shown(&ops, &mut stamped), wanted);
        assert_eq!(stamped, 0x0104);
        assert_eq!(stamped_value(b"t"), [[0; 10].as_slice(), b"t", &[0; 4]].concat());
    }

    #[test]
    fn an_append_tracks_its_head_and_none_of_its_many_rows() {
        let fence = Fence { slot: Slot(1), value: b("x"), version: Version(1) };
        let entry = Entry {
            seq: 1,
            sender: UserId(1),
            device: DeviceId(1),
            time_ms: 1,
            client_msg_id: ClientMsgId([1; 16]),
            kind: EntryKind::Text,
            body: b"hello".to_vec(),
        };
        let plan = append_plan(&Append {
            conversation: ConversationId(5),
            fence: &fence,
            first_seq: 1,
            entries: &[entry],
            members: &[UserId(1), UserId(2)],
            touch_activity: false,
            inbox_epoch: 1,
            withheld: false,
            words: false,
            group: None,
        });
        let all = shown(&plan.ops, &mut 0);
        let tracked: Vec<&String> = all.iter().filter(|text| !text.starts_with('~')).collect();
        let head = Space::new("p").unwrap().row(&keys::head(ConversationId(5)));
        assert_eq!((all.len(), tracked.len()), (5, 1), "{all:?}");
        assert!(tracked[0].contains(&format!("{head:?}")), "{tracked:?}");
    }
}
