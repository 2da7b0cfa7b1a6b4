//! Delivered and read marks: rows that only rise.

use crate::fence::Fence;
use crate::plan::{Op, Plan};
use crate::{keys, rows};
use bytes::BytesMut;
use rookery_protocol::{ConversationId, MarkKind, UserId};

/// A member's mark moves up to `seq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkUpdate {
    /// Whose.
    pub user: UserId,
    /// Which.
    pub kind: MarkKind,
    /// Up to and including; at most the head, which the caller checks.
    pub seq: u64,
}

/// The plan of some mark updates; a mark already further stays. A kind this version doesn't know
/// is left out: nobody would ever read it.
#[must_use]
pub fn plan(fence: &Fence, conversation: ConversationId, updates: &[MarkUpdate]) -> Plan {
    let value_bytes = rows::encode_rising(0).len();
    let mut buffer = BytesMut::with_capacity(updates.len() * (keys::MARK_BYTES + value_bytes));
    let known = updates.iter().filter(|update| !matches!(update.kind, MarkKind::Other(_)));
    let ops = known.map(|update| {
        buffer.extend_from_slice(&keys::mark(conversation, update.user, update.kind));
        let key = buffer.split().freeze();
        buffer.extend_from_slice(&rows::encode_rising(update.seq));
        Op::ByteMax { key, value: buffer.split().freeze() }
    });
    Plan { guards: vec![fence.guard()], ops: ops.collect() }
}
