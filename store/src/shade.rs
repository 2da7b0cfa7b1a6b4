//! What a block hides in the one-to-one conversation of two users. Pure, but for one read.
//!
//! The log stays one log, dense, the same for both. While a member has the other one blocked
//! - the blocking member's view ends at `head`, where it stood when the block began;
//! - the other one sees the blocking member's marks as they stood then;
//! - what the other one sends is stored as withheld, and nobody else is told.
//!
//! After the block marks up to `until` (the head when it ended) still look as they stood: the other
//! one must not see at a glance that everything was read at once. A mark beyond is a mark again.

use crate::engine::ReadError;
use crate::fence::Fence;
use crate::inbox::own_pointer;
use crate::keys::{self, own};
use crate::marks::MarkUpdate;
use crate::plan::{Op, Plan};
use crate::rows::{self, BlockRow, ShadeRow};
use bytes::Bytes;
use rookery_protocol::{ConversationId, MarkKind, OwnKind, UserId};

/// What is hidden on account of one member's block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shade {
    /// Where the member's own view ends.
    pub head: u64,
    /// The member's marks up to here look to the other one as they stood.
    pub until: u64,
    /// How the member's delivered mark stood.
    pub delivered: u64,
    /// How the member's read mark stood.
    pub read: u64,
}

impl Shade {
    /// Nothing is hidden.
    pub const NONE: Self = Self { head: u64::MAX, until: 0, delivered: 0, read: 0 };

    /// Of a conversation that begins under a block.
    pub const FROM_THE_START: Self = Self { head: 0, until: u64::MAX, delivered: 0, read: 0 };

    /// Whether the member has the other one blocked now.
    #[must_use]
    pub fn blocks(self) -> bool {
        self.until == u64::MAX
    }

    /// The head as the member sees it.
    #[must_use]
    pub fn shown_head(self, head: u64) -> u64 {
        head.min(self.head)
    }

    /// A mark of the member as the other one sees it.
    #[must_use]
    pub fn shown_mark(self, kind: MarkKind, seq: u64) -> u64 {
        let stood = if kind == MarkKind::Read { self.read } else { self.delivered };
        if seq <= self.until { seq.min(stood) } else { seq }
    }

    /// The block begins, with this head and these marks of the member.
    #[must_use]
    pub fn begun(self, head: u64, delivered: u64, read: u64) -> Self {
        Self {
            head,
            until: u64::MAX,
            delivered: self.shown_mark(MarkKind::Delivered, delivered),
            read: self.shown_mark(MarkKind::Read, read),
        }
    }

    /// The block ends with this head.
    #[must_use]
    pub fn ended(self, head: u64) -> Self {
        Self { head: u64::MAX, until: head, ..self }
    }

    /// What a row says; without one nothing is hidden.
    pub(crate) fn decode(row: Option<&Bytes>) -> Result<Self, ReadError> {
        let Some(value) = row else { return Ok(Self::NONE) };
        let ShadeRow { head, until, delivered, read } = rows::decode(value)?;
        Ok(Self { head, until, delivered, read })
    }

    pub(crate) fn set(self, conversation: ConversationId, user: UserId) -> Op {
        let Self { head, until, delivered, read } = self;
        let value = rows::encode(&ShadeRow { head, until, delivered, read });
        Op::Set { key: own(keys::shade(conversation, user)), value }
    }
}

/// A member blocks the other one of a one-to-one conversation, or ends that.
#[derive(Clone, Copy, Debug)]
pub struct BlockChange<'a> {
    /// The fence of the conversation's slot.
    pub fence: &'a Fence,
    /// Which conversation.
    pub conversation: ConversationId,
    /// Who blocks.
    pub user: UserId,
    /// Whom.
    pub other: UserId,
    /// What is hidden from then on: whether it is a block is told by this.
    pub shade: Shade,
    /// Up to where the member's own marks move, so that what was withheld doesn't count as unread.
    pub read_to: Option<u64>,
    /// See [`crate::Store::inbox_epoch`].
    pub inbox_epoch: u32,
    /// When, Unix milliseconds.
    pub now_ms: u64,
}

/// The plan of a block, or of its end.
#[must_use]
pub fn block_plan(change: &BlockChange<'_>) -> Plan {
    let BlockChange { conversation, user, other, shade, .. } = *change;
    let row = block_row(user, other, shade.blocks().then_some(change.now_ms));
    let mut ops = vec![
        row,
        shade.set(conversation, user),
        own_pointer(user, change.inbox_epoch, OwnKind::Person, other.0),
    ];
    if let Some(seq) = change.read_to {
        let marks = [MarkKind::Delivered, MarkKind::Read];
        let marks = marks.map(|kind| MarkUpdate { user, kind, seq });
        ops.extend(crate::marks::plan(change.fence, conversation, &marks).ops);
    }
    Plan { guards: vec![change.fence.guard()], ops }
}

/// Sets or clears the row of a block.
pub(crate) fn block_row(user: UserId, other: UserId, since_ms: Option<u64>) -> Op {
    let key = own(keys::block(user, other));
    match since_ms {
        Some(since_ms) => Op::Set { key, value: rows::encode(&BlockRow { since_ms }) },
        None => Op::Clear { key },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELIVERED: MarkKind = MarkKind::Delivered;
    const READ: MarkKind = MarkKind::Read;

    #[test]
    fn during_a_block_the_view_ends_and_the_marks_stand_still() {
        let shade = Shade::NONE.begun(5, 4, 3);
        assert!(shade.blocks());
        assert_eq!(shade.shown_head(9), 5);
        assert_eq!((shade.shown_mark(DELIVERED, 9), shade.shown_mark(READ, 9)), (4, 3));
    }

    #[test]
    fn after_a_block_a_mark_shows_only_once_it_is_beyond_what_was_withheld() {
        let shade = Shade::NONE.begun(5, 4, 3).ended(7);
        assert!(!shade.blocks());
        assert_eq!(shade.shown_head(9), 9);
        for seq in 4..=7 {
            assert_eq!((shade.shown_mark(DELIVERED, seq), shade.shown_mark(READ, seq)), (4, 3));
        }
        assert_eq!((shade.shown_mark(DELIVERED, 8), shade.shown_mark(READ, 8)), (8, 8));
    }

    #[test]
    fn a_second_block_shows_what_the_first_one_left_to_see() {
        let shade = Shade::NONE.begun(5, 4, 3).ended(7).begun(7, 7, 7);
        assert_eq!((shade.shown_mark(DELIVERED, 7), shade.shown_mark(READ, 7)), (4, 3));
        let later = shade.ended(7).begun(9, 9, 8);
        assert_eq!((later.shown_mark(DELIVERED, 9), later.shown_mark(READ, 9)), (9, 8));
    }

    #[test]
    fn nothing_is_hidden_where_there_never_was_a_block() {
        for seq in [0, 1, 99] {
            assert_eq!(Shade::NONE.shown_head(seq), seq);
            assert_eq!(Shade::NONE.shown_mark(READ, seq), seq);
        }
        assert_eq!(Shade::FROM_THE_START.shown_head(3), 0);
    }
}
