//! What virtual actors say to each other: addresses and one message enum for each kind.
//!
//! Messages between actors are hints, at least once: a lost one is repaired from the store.

use crate::cluster::{NodeId, SlotSet};
use crate::conversation::Unsettled;
use crate::effect::{ConnId, QueryResult};
use bytes::Bytes;
use rookery_protocol::{
    Change, ClientFrame, ClientMsgId, CloseCode, ConversationId, DeviceId, EntryKind, ErrorCode,
    MarkKind, SessionId, Status, UserId,
};
use rookery_store::{Fence, Outcome, Version};
use std::sync::Arc;

/// Address of a session: sessions of one user live in one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionRef {
    /// The user.
    pub user: UserId,
    /// The session.
    pub session: SessionId,
    /// Where it lives: the node that its connection came to.
    pub node: NodeId,
}

/// A message with its address.
#[derive(Debug)]
pub enum Envelope {
    /// To a session.
    Session(SessionRef, SessionMsg),
    /// To a conversation.
    Conversation(ConversationId, ConversationMsg),
    /// To a user's presence hub.
    Presence(UserId, PresenceMsg),
}

/// Entries that were committed together, encoded once for all who receive them.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch {
    /// Where.
    pub conversation: ConversationId,
    /// The entries' headers, by rising dense seq; never empty.
    pub entries: Vec<BatchEntry>,
    /// `Message` frames of all entries, one after the other.
    pub frames: Bytes,
    /// Version of the commit.
    pub version: Version,
}

impl Batch {
    /// The first seq; 0 for an (impossible) empty batch.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.entries.first().map_or(0, |e| e.seq)
    }

    /// The last seq; 0 for an (impossible) empty batch.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.entries.last().map_or(0, |e| e.seq)
    }
}

/// One entry of a [`Batch`], without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchEntry {
    /// Its place.
    pub seq: u64,
    /// Its time.
    pub time_ms: u64,
    /// The sending device.
    pub device: DeviceId,
    /// The sender's id of it.
    pub client_msg_id: ClientMsgId,
    /// Where its frame starts and ends in [`Batch::frames`].
    pub frame: std::ops::Range<usize>,
}

/// Who a session speaks for, as its access token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user: UserId,
    /// The device.
    pub device: DeviceId,
    /// The user's unique name.
    pub name: Arc<str>,
    /// When the token expires, Unix milliseconds.
    pub expires_ms: u64,
}

/// A connection asks for a session.
#[derive(Clone, PartialEq, Eq)]
pub struct Attach {
    /// The connection.
    pub conn: ConnId,
    /// Who it is.
    pub identity: Identity,
    /// Bytes of unacknowledged stream frames the client grants.
    pub window_bytes: u32,
    /// Set when an existing session is to go on: its secret and the client's count.
    pub resume: Option<([u8; 16], u64)>,
    /// Random bytes: the secret of a new session.
    pub fresh_secret: [u8; 16],
    /// WebSocket addresses the client should know, best first.
    pub endpoints: Vec<String>,
}

impl std::fmt::Debug for Attach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attach").field("conn", &self.conn).finish_non_exhaustive()
    }
}

/// To a session.
#[derive(Debug)]
pub enum SessionMsg {
    /// From a connection: it wants this session.
    Attach(Attach),
    /// From the attached connection: frames, in order.
    Frames(ConnId, Vec<ClientFrame>),
    /// From the attached connection: it verified a fresh access token.
    Renewed {
        /// The request to answer; `None`: the connection answers it itself.
        request: Option<u32>,
        /// When the token expires, Unix milliseconds.
        expires_ms: u64,
    },
    /// From a connection: the socket is gone.
    Detached {
        /// Which connection.
        conn: ConnId,
        /// When the client last gave a sign of life, monotonic milliseconds.
        last_life_ms: u64,
    },
    /// From a conversation: what became of a send that is not answered by a batch.
    SendAnswer {
        /// Which message.
        id: ClientMsgId,
        /// What became of it.
        answer: SendAnswer,
    },
    /// From a conversation: a mark or other request without number was refused.
    Refused(ErrorCode),
    /// From the hub: entries were committed.
    Deliver(Arc<Batch>),
    /// From the hub: marks moved.
    Receipts(Arc<Receipts>),
    /// From the hub: somebody types.
    Typing {
        /// Where.
        conversation: ConversationId,
        /// Who.
        user: UserId,
        /// Typing, or stopped.
        active: bool,
    },
    /// From the hub: a conversation was created or changed.
    Changed(ConversationId, Change),
    /// From a watched user's hub.
    Presence {
        /// Whose.
        user: UserId,
        /// What.
        status: Status,
        /// Unix milliseconds, 0 when not known.
        last_seen_ms: u64,
    },
    /// From the shell: the user's hub was lost or is a new one; hints may be missing.
    HubLost,
    /// From the shell: the hub of a watched user was lost.
    WatchedHubLost(UserId),
    /// From the shell: the hubs of users in these slots are on another node now, or must be told
    /// again; hints may be missing.
    HubsMoved(Arc<SlotSet>),
    /// From the hub, or from the shell: hints on their way to the hub or to here were lost.
    HintsLost,
    /// From the shell: conversations in these slots have another owner now, or one that is not
    /// heard; sends under way to it may be lost.
    SendsMoved(Arc<SlotSet>),
    /// From the shell: the node is leaving, the client should go to another one.
    Drain(Arc<[String]>),
    /// From a conversation: what became of the wish to block its other member, or to end that.
    Answered {
        /// The request.
        request: u32,
        /// Why it was not done.
        refused: Option<ErrorCode>,
    },
    /// From the hub: something of the user's own changed. The inbox tells what.
    Own,
    /// From the shell: what everybody is told, encoded once.
    Notice(Bytes),
    /// From the store.
    Answer(u64, QueryResult),
    /// The time asked for has come.
    Wake,
    /// End the session and its connection.
    End(CloseCode),
    /// Panics.
    #[cfg(feature = "poison")]
    Poison,
}

/// Marks that were made durable together.
#[derive(Debug, PartialEq, Eq)]
pub struct Receipts {
    /// Where.
    pub conversation: ConversationId,
    /// Whose mark, which, up to where.
    pub marks: Vec<(UserId, MarkKind, u64)>,
}

/// What became of a send, when it is not in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendAnswer {
    /// An earlier attempt had committed it.
    Duplicate {
        /// Where.
        conversation: ConversationId,
        /// Its place.
        seq: u64,
        /// Its time.
        time_ms: u64,
    },
    /// It was refused, or its outcome is unknown.
    Failed(ErrorCode),
}

/// Who sent a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The session.
    pub session: SessionRef,
    /// Its device.
    pub device: DeviceId,
}

/// A message on its way into a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Who sent it.
    pub from: Origin,
    /// The sender's id of it.
    pub id: ClientMsgId,
    /// Whether the client may have sent it before.
    pub retry: bool,
    /// The newest version of the store that the client had seen when it made this, as far as its
    /// acknowledgements tell. Messages may come late (from a socket that nobody read, over a link)
    /// and twice: an owner that started after this version can't tell a copy from the first, and
    /// looks into the store.
    pub seen: Version,
    /// What the body is.
    pub kind: EntryKind,
    /// The content.
    pub body: Vec<u8>,
}

/// To a conversation.
#[derive(Debug)]
pub enum ConversationMsg {
    /// Append this.
    Send(Outgoing),
    /// Move a member's mark forward.
    Mark {
        /// Who.
        from: SessionRef,
        /// Which.
        kind: MarkKind,
        /// Up to and including.
        seq: u64,
    },
    /// A member types.
    Typing {
        /// Who.
        from: SessionRef,
        /// Typing, or stopped.
        active: bool,
    },
    /// The other member of a one-to-one conversation is to be blocked, or not any more.
    Block {
        /// By whom.
        from: SessionRef,
        /// The request to answer.
        request: u32,
        /// Blocked, or not.
        blocked: bool,
    },
    /// From the host: the slot's fence is held, or can't be had now.
    Fenced(Option<Fence>),
    /// From the host: the slot belongs to another node.
    NotHere,
    /// From the store.
    Answer(u64, QueryResult),
    /// From the store: what became of a plan.
    Committed(u64, Outcome),
    /// The time asked for has come.
    Wake,
    /// Write what is not written yet: the node is going down.
    Flush,
    /// From the host: another node has the slot from now on. Finish what is in flight, write what
    /// is not written yet, refuse the rest.
    HandOff,
    /// From an earlier activation, here or on another node: it could not finish this.
    Unsettled(Unsettled),
    /// Panics.
    #[cfg(feature = "poison")]
    Poison,
}

/// To a user's presence hub.
#[derive(Debug)]
pub enum PresenceMsg {
    /// A session of the user is there, or still there.
    Register {
        /// Which.
        session: SessionId,
        /// Where it lives.
        node: NodeId,
        /// Its device.
        device: DeviceId,
    },
    /// A session of the user is gone.
    Unregister {
        /// Which.
        session: SessionId,
        /// When it last gave a sign of life, Unix milliseconds.
        last_seen_ms: u64,
    },
    /// A session wants to know about this user.
    Watch(SessionRef),
    /// It does not any more.
    Unwatch(SessionRef),
    /// For every session of the user.
    Deliver(Arc<Batch>),
    /// For every session of the user.
    Receipts(Arc<Receipts>),
    /// For every session of the user.
    Typing {
        /// Where.
        conversation: ConversationId,
        /// Who.
        user: UserId,
        /// Typing, or stopped.
        active: bool,
    },
    /// For every session of the user.
    Changed(ConversationId, Change),
    /// A session's client is away, or back.
    Away {
        /// Which.
        session: SessionId,
        /// Away, or back.
        away: bool,
    },
    /// Something of the user's own changed: people, settings.
    Own,
    /// From the host: hints on their way to this node were lost, it can't say which.
    HintsLost,
    /// From the host: another node is the user's home from now on.
    HandOff,
    /// From the host: these nodes are gone, and the sessions that lived there.
    NodesGone(Arc<[NodeId]>),
    /// From the store.
    Answer(u64, QueryResult),
    /// From the store: what became of a plan.
    Committed(u64, Outcome),
    /// The time asked for has come.
    Wake,
    /// Panics.
    #[cfg(feature = "poison")]
    Poison,
}

impl SessionMsg {
    /// The same news once more, if it is one that all sessions can be told alike.
    #[must_use]
    pub fn news(&self) -> Option<Self> {
        match self {
            Self::HubLost => Some(Self::HubLost),
            Self::HintsLost => Some(Self::HintsLost),
            Self::HubsMoved(slots) => Some(Self::HubsMoved(Arc::clone(slots))),
            Self::SendsMoved(slots) => Some(Self::SendsMoved(Arc::clone(slots))),
            Self::Notice(frame) => Some(Self::Notice(frame.clone())),
            Self::End(code) => Some(Self::End(*code)),
            _ => None,
        }
    }

    /// Whether the message brings a session into being.
    #[must_use]
    pub fn activates(&self) -> bool {
        matches!(self, Self::Attach(_))
    }
}

impl ConversationMsg {
    /// Whether the message brings a conversation's actor into being.
    #[must_use]
    pub fn activates(&self) -> bool {
        matches!(
            self,
            Self::Send(_)
                | Self::Mark { .. }
                | Self::Typing { .. }
                | Self::Block { .. }
                | Self::Unsettled(_)
        )
    }
}

impl PresenceMsg {
    /// Whether the message brings a hub into being. News for a user who is not there is not
    /// worth one: the user's devices pull it when they come.
    #[must_use]
    pub fn activates(&self) -> bool {
        matches!(self, Self::Register { .. } | Self::Watch(_))
    }
}
