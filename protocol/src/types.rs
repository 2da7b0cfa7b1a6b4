//! What several frames are made of: entries, cursors, conversation descriptions.

use crate::ids::{ClientMsgId, ConversationId, DeviceId, UserId};
use crate::open_enum::open_enum;
use bincode::{Decode, Encode};

open_enum!(
    /// What an entry of a conversation's log is.
    EntryKind {
        /// UTF-8 text.
        Text = 1,
        /// Bytes the server never looks into, for example an end-to-end encrypted payload.
        Opaque = 2,
        /// A change of a group: a `GroupChange`.
        Group = 3,
        /// Sent by somebody while the reader had the sender blocked: the body is empty, the id and
        /// the device are 0. It holds its place, so that the log is dense; show nothing.
        Withheld = 16,
    }
);
open_enum!(
    /// What a conversation is.
    ConversationKind {
        /// Exactly two members, found by their pair.
        Direct = 1,
        /// Many members.
        Group = 2,
    }
);
open_enum!(
    /// Which of a member's marks.
    MarkKind {
        /// One of the member's devices holds everything up to the mark.
        Delivered = 1,
        /// The member has read everything up to the mark.
        Read = 2,
    }
);
open_enum!(
    /// A user's presence.
    Status {
        /// No device is connected.
        Offline = 0,
        /// At least one device is connected.
        Online = 1,
        /// Connected, but away from every device, or idle.
        Away = 2,
    }
);
open_enum!(
    /// Which way a history page goes from its anchor.
    Direction {
        /// Entries with a smaller seq than the anchor (anchor 0: the newest).
        Before = 1,
        /// Entries with a greater seq than the anchor.
        After = 2,
    }
);
open_enum!(
    /// What happened to a conversation.
    Change {
        /// The user is a member of it now.
        Created = 1,
    }
);

/// One entry of a conversation's log.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Entry {
    /// Position in the conversation: 1, 2, 3, ... without gap.
    pub seq: u64,
    /// Who sent it.
    pub sender: UserId,
    /// With which device.
    pub device: DeviceId,
    /// When the server committed it: Unix milliseconds, never falling within a conversation.
    pub time_ms: u64,
    /// The sender's own id of it.
    pub client_msg_id: ClientMsgId,
    /// What the body is.
    pub kind: EntryKind,
    /// The content.
    pub body: Vec<u8>,
}

/// A position in the user's inbox log. Opaque to clients: keep the newest, send it in `Sync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Encode, Decode)]
pub struct Cursor {
    /// Which log: it changes when a backup was restored into another database.
    pub epoch: u32,
    /// Position in it.
    pub stamp: [u8; 12],
}

/// One member of a conversation, with the marks.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Member {
    /// The member.
    pub user: UserId,
    /// The member's unique name.
    pub name: String,
    /// 1 member, 2 admin, 3 owner.
    pub role: u8,
    /// Everything up to this seq has reached one of the member's devices.
    pub delivered: u64,
    /// Everything up to this seq was read.
    pub read: u64,
}

/// A conversation as its members see it. Unread entries of a member: `head - read`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ConversationInfo {
    /// Its id.
    pub conversation: ConversationId,
    /// What it is.
    pub kind: ConversationKind,
    /// A group's name; empty for one-to-one.
    pub title: String,
    /// Its members (at most the fan-out limit).
    pub members: Vec<Member>,
    /// The newest seq, 0 while it is empty.
    pub head: u64,
    /// The smallest seq still held; entries below were trimmed.
    pub floor: u64,
    /// Time of the last activity, Unix milliseconds.
    pub active_ms: u64,
    /// The newest entry.
    pub last: Option<Entry>,
}

/// A user that was found by the unique name.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct FoundUser {
    /// Who.
    pub user: UserId,
    /// The name.
    pub name: String,
}

/// Where the next page of a conversation list goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ListCursor {
    /// Activity time of the last item.
    pub active_ms: u64,
    /// Id of the last item.
    pub conversation: ConversationId,
}
