//! The append: one plan that makes a batch of entries durable, in order, exactly once.
//!
//! Pure and hot: all keys and values of a plan are written into one buffer of the right size and
//! split off it; the pointer is encoded once for all members.
//!
//! What the caller owes
//! - `first_seq` is the head it knows plus one, under a fence version at which the head was known.
//! - One append of a conversation in flight at a time.
//! - It has looked for duplicates (see `dedupe`), and keeps [`Append::bytes_bound`] under the
//!   limit of a plan.

use crate::fence::Fence;
use crate::group::GroupWrites;
use crate::inbox::PointerKind;
use crate::plan::{Op, Plan};
use crate::rows::{self, ActivityRow, DedupeRow, HeadRow, MessageRow, PointerRow};
use crate::word_index::{self, word_bytes_bound};
use crate::{keys, rows::Stored};
use bytes::{Bytes, BytesMut};
use rookery_protocol::{ConversationId, Entry, EntryKind, UserId};
use xxhash_rust::xxh3::xxh3_64_with_seed;

const HEAD_BOUND: usize = keys::HEAD_BYTES + rows::numbers_bytes(2);
const DEDUPE_BOUND: usize = keys::DEDUPE_BYTES + rows::numbers_bytes(3);
const MESSAGE_BOUND: usize = keys::MESSAGE_BYTES + rows::MESSAGE_OVERHEAD_BYTES;
/// Stamps are filled in by the engine, but count.
const POINTER_BOUND: usize = keys::INBOX_PREFIX_BYTES + 12 + rows::numbers_bytes(4);
const ACTIVITY_BOUND: usize = keys::ACTIVITY_BYTES + rows::numbers_bytes(1);

/// A batch of entries for one conversation.
#[derive(Clone, Copy, Debug)]
pub struct Append<'a> {
    /// Where to.
    pub conversation: ConversationId,
    /// The fence of the conversation's slot.
    pub fence: &'a Fence,
    /// The head plus one.
    pub first_seq: u64,
    /// The entries; their seqs are dense from `first_seq`.
    pub entries: &'a [Entry],
    /// Who gets a pointer to the batch.
    pub members: &'a [UserId],
    /// Whether to move the conversation up in the members' lists.
    pub touch_activity: bool,
    /// See [`crate::Store::inbox_epoch`].
    pub inbox_epoch: u32,
    /// The other member has the sender blocked: nobody but the sender will see the entries.
    pub withheld: bool,
    /// Texts are found by their words.
    pub words: bool,
    /// What the entry changes, if it is a change of a group: then it is the only one.
    pub group: Option<&'a GroupWrites>,
}

impl Append<'_> {
    /// No plan of this append has more bytes, as the plan limit counts them.
    #[must_use]
    pub fn bytes_bound(&self) -> usize {
        let mut entries: usize = self.entries.iter().map(entry_bytes_bound).sum();
        if self.words {
            entries +=
                self.entries.iter().map(|entry| word_bytes_bound(&entry.body)).sum::<usize>();
        }
        let members = self.members.len();
        let group = self.group.map_or(0, |group| group.bytes_bound(members));
        entries + HEAD_BOUND + members * member_bytes_bound(self.touch_activity) + group + 3
    }
}

/// What an entry adds to a plan at most, in bytes: its message and dedupe rows.
#[must_use]
pub fn entry_bytes_bound(entry: &Entry) -> usize {
    MESSAGE_BOUND + entry.body.len() + DEDUPE_BOUND
}

/// What a member adds to a plan at most, in bytes.
#[must_use]
pub fn member_bytes_bound(touch_activity: bool) -> usize {
    POINTER_BOUND + if touch_activity { ACTIVITY_BOUND } else { 0 }
}

/// The plan of an append. Without entries it only guards on the fence.
#[must_use]
pub fn plan(append: &Append<'_>) -> Plan {
    let mut guards = vec![append.fence.guard()];
    guards.extend(append.group.into_iter().flat_map(|group| group.guards.iter().cloned()));
    let Some(newest) = append.entries.last() else { return Plan { guards, ops: Vec::new() } };
    let members = append.members.len();
    let per_member = if append.touch_activity { 2 } else { 1 };
    let mut ops = Vec::with_capacity(append.entries.len() * 2 + 1 + members * per_member);
    let mut buffer = Pieces(BytesMut::with_capacity(append.bytes_bound()));
    let conversation = append.conversation;

    let mut last = append.first_seq;
    for (seq, entry) in (append.first_seq..).zip(append.entries) {
        debug_assert_eq!(entry.seq, seq, "entries are dense from first_seq");
        ops.push(message(conversation, seq, (entry, append.withheld), &mut buffer));
        let hash =
            append.group.map_or_else(|| content_hash(entry.kind, &entry.body), |group| group.hash);
        ops.push(dedupe(conversation, seq, (entry, hash), &mut buffer));
        if append.words && entry.kind == EntryKind::Text {
            ops.extend(word_index::rows(conversation, seq, &entry.body));
        }
        last = seq;
    }
    let head = HeadRow { seq: last, time_ms: newest.time_ms };
    ops.push(Op::Set { key: buffer.key(&keys::head(conversation)), value: buffer.value(&head) });
    if let Some(group) = append.group {
        group.ops(conversation, (last, newest.time_ms), append.inbox_epoch, &mut ops);
    }
    let pointer = PointerRow {
        kind: PointerKind::Messages.code(),
        conversation,
        first: append.first_seq,
        last,
    };
    let pointer = buffer.value(&pointer);
    for member in append.members {
        let prefix = buffer.key(&keys::inbox(*member, append.inbox_epoch));
        ops.push(Op::SetStampedKey { prefix, value: pointer.clone() });
    }
    if append.touch_activity {
        let time = buffer.value(&ActivityRow { time_ms: newest.time_ms });
        // Who is no member any more has no place for it in a list.
        let ended = append.group.map_or(&[][..], |group| &group.ended);
        for member in append.members.iter().filter(|m| ended.iter().all(|e| e.user != **m)) {
            let key = buffer.key(&keys::activity(*member, conversation));
            ops.push(Op::Set { key, value: time.clone() });
        }
    }
    Plan { guards, ops }
}

/// Hash of an entry's content: the same `client_msg_id` with another one is an error.
#[must_use]
pub fn content_hash(kind: EntryKind, body: &[u8]) -> u64 {
    xxh3_64_with_seed(body, u64::from(kind.code()))
}

fn message(
    conversation: ConversationId,
    seq: u64,
    (entry, withheld): (&Entry, bool),
    buffer: &mut Pieces,
) -> Op {
    let row = MessageRow {
        sender: entry.sender,
        device: entry.device,
        time_ms: entry.time_ms,
        client_msg_id: entry.client_msg_id,
        kind: rows::stored_kind(entry.kind, withheld),
        body: &entry.body,
    };
    Op::Set { key: buffer.key(&keys::message(conversation, seq)), value: buffer.value(&row) }
}

fn dedupe(
    conversation: ConversationId,
    seq: u64,
    (entry, hash): (&Entry, u64),
    buffer: &mut Pieces,
) -> Op {
    let row = DedupeRow { seq, hash, time_ms: entry.time_ms };
    let key = keys::dedupe(conversation, entry.sender, entry.client_msg_id);
    Op::Set { key: buffer.key(&key), value: buffer.value(&row) }
}

/// One buffer from which keys and values are split, so that a plan is a handful of allocations.
struct Pieces(BytesMut);

impl Pieces {
    fn key(&mut self, key: &[u8]) -> Bytes {
        self.0.extend_from_slice(key);
        self.0.split().freeze()
    }

    fn value<R: Stored>(&mut self, row: &R) -> Bytes {
        rows::encode_into(row, &mut self.0);
        self.0.split().freeze()
    }
}
