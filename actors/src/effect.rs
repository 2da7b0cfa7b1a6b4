//! Effects: everything a virtual actor can want done, as data.

use crate::message::Envelope;
use crate::people::{PeopleAnswer, PeopleQuery, Watchable};
use bytes::Bytes;
use rookery_protocol::server::{ConversationPage, Group, HistoryPage, ReadBy, Users};
use rookery_protocol::types::ListCursor;
use rookery_protocol::{
    ClientMsgId, CloseCode, ConversationId, ConversationInfo, Cursor, Direction, Entry, UserId,
};
use rookery_store::group::ChangeFacts;
use rookery_store::{InboxPage, Known, Loaded, Plan, Slot, StoreError, Version};

/// A connection of this node, for as long as the node runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

/// One thing to do. Effects of one message are performed in order.
#[derive(Debug)]
pub enum Effect {
    /// Tell another virtual actor.
    Tell(Envelope),
    /// Commit a plan; the outcome comes back with the token.
    Commit {
        /// Which plan it was.
        token: u64,
        /// The plan.
        plan: Plan,
    },
    /// Ask the store; the answer comes back with the token.
    Query {
        /// Which question it was.
        token: u64,
        /// The question.
        query: Box<Query>,
    },
    /// Ask whether a user's inbox holds anything after a cursor: [`Query::News`], but not at once. A
    /// host asks for many sessions together, and leaves those unanswered for whom there is nothing.
    Check {
        /// Which question it was.
        token: u64,
        /// Whose.
        user: UserId,
        /// After this.
        after: Cursor,
    },
    /// Hold the fence of this slot (conversations); answered by `Fenced`.
    NeedFence(Slot),
    /// This fence was found to be no longer ours, or must not be relied on.
    DropFence {
        /// Which slot.
        slot: Slot,
        /// The fence row's value when it was ours: a newer take-over is left alone.
        value: Bytes,
    },
    /// Write frames to a connection.
    Write {
        /// Which.
        conn: ConnId,
        /// Whole frames.
        frames: Bytes,
    },
    /// Say goodbye to a connection and close it.
    Close {
        /// Which.
        conn: ConnId,
        /// Why.
        code: CloseCode,
    },
    /// The session a connection wanted can't be resumed: it should ask for a new one.
    RefuseAttach(ConnId),
    /// Wake the actor at this monotonic time, or earlier; the latest call counts.
    WakeAt(u64),
    /// The actor is done; its state is dropped.
    Stop,
}

/// A part of a conversation's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Which conversation.
    pub conversation: ConversationId,
    /// First seq.
    pub from: u64,
    /// Last seq, included.
    pub to: u64,
}

/// A question to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// Everything a conversation's actor starts from.
    LoadConversation {
        /// Which.
        conversation: ConversationId,
        /// At this version or later.
        at_least: Version,
    },
    /// Whether a message is already in.
    FindSent {
        /// Where.
        conversation: ConversationId,
        /// Whose.
        sender: UserId,
        /// Which.
        id: ClientMsgId,
        /// At this version or later.
        at_least: Version,
    },
    /// What is to be known for a change of a group, whether it is in already among it.
    ChangeFacts {
        /// Which group.
        conversation: ConversationId,
        /// Whose change.
        sender: UserId,
        /// Which.
        id: ClientMsgId,
        /// Whom it would make members.
        users: Vec<UserId>,
        /// At this version or later.
        at_least: Version,
    },
    /// Pointers after a cursor.
    Inbox {
        /// Whose.
        user: UserId,
        /// After this; none: only where the log ends now.
        after: Option<Cursor>,
        /// Most pointers.
        limit: usize,
        /// At this version or later.
        at_least: Version,
    },
    /// Whether there is any pointer after a cursor.
    News {
        /// Whose.
        user: UserId,
        /// After this.
        after: Cursor,
    },
    /// The entries of some spans as a member sees them, in their order, until `max_bytes` of bodies.
    Entries {
        /// For whom.
        me: UserId,
        /// Which.
        spans: Vec<Span>,
        /// After so many bytes the rest is left out.
        max_bytes: usize,
    },
    /// A page of history for a member.
    History {
        /// The request it answers.
        request: u32,
        /// For whom.
        me: UserId,
        /// Which conversation.
        conversation: ConversationId,
        /// From here, not included.
        anchor: u64,
        /// Which way.
        direction: Direction,
        /// Most entries.
        limit: u16,
    },
    /// A page of the conversation list.
    Conversations {
        /// The request it answers.
        request: u32,
        /// Whose.
        me: UserId,
        /// Most items.
        limit: u16,
        /// After this item.
        after: Option<ListCursor>,
    },
    /// Find or create a one-to-one conversation.
    OpenDirect {
        /// Who asks.
        me: UserId,
        /// The other user's name.
        name: String,
        /// Wall clock.
        now_ms: u64,
    },
    /// Describe one conversation to a member.
    Describe {
        /// Who asks.
        me: UserId,
        /// Which.
        conversation: ConversationId,
    },
    /// Users by their names.
    FindUsers {
        /// The request it answers.
        request: u32,
        /// The names.
        names: Vec<String>,
    },
    /// Describe a group to a member, beyond its description as a conversation.
    Group {
        /// The request it answers.
        request: u32,
        /// Who asks.
        me: UserId,
        /// Which.
        conversation: ConversationId,
    },
    /// Whom an entry has reached.
    Readers {
        /// The request it answers.
        request: u32,
        /// Who asks.
        me: UserId,
        /// Where.
        conversation: ConversationId,
        /// Which entry.
        seq: u64,
    },
    /// Which of these users share a conversation with `me`.
    MayWatch {
        /// Who asks.
        me: UserId,
        /// Whom.
        others: Vec<UserId>,
    },
    /// When a user was last seen.
    LastSeen(UserId),
    /// Something of a user's own, or a change of it.
    People {
        /// Whose.
        me: UserId,
        /// What.
        query: PeopleQuery,
    },
}

/// The answer to a [`Query`] of the same name.
#[derive(Debug)]
pub enum QueryResult {
    /// None: there is no such conversation, and none can be made.
    LoadConversation(Result<Option<Loaded>, StoreError>),
    /// None: it is not in.
    FindSent(Result<Option<Known>, StoreError>),
    /// The facts.
    ChangeFacts(Result<ChangeFacts, StoreError>),
    /// Pointers, or too far.
    Inbox(Result<InboxPage, StoreError>),
    /// There is something after the cursor, or the cursor is of another log.
    News(Result<bool, StoreError>),
    /// Each span's entries as far as they were read, in order; the first span that is not whole
    /// ends the list.
    Entries(Result<Vec<(ConversationId, Vec<Entry>)>, StoreError>),
    /// The page.
    History(Result<HistoryPage, StoreError>),
    /// The page.
    Conversations(Result<ConversationPage, StoreError>),
    /// The conversation, the other member, whether it was created.
    OpenDirect(Result<(ConversationInfo, UserId, bool), StoreError>),
    /// The conversation.
    Describe(Result<ConversationInfo, StoreError>),
    /// Those that exist.
    FindUsers(Result<Users, StoreError>),
    /// The group.
    Group(Result<Group, StoreError>),
    /// The members.
    Readers(Result<ReadBy, StoreError>),
    /// Those of the users asked about whom `me` may watch.
    MayWatch(Result<Vec<Watchable>, StoreError>),
    /// Unix milliseconds; none when never.
    LastSeen(Result<Option<u64>, StoreError>),
    /// What there is, or that it is done.
    People(Result<PeopleAnswer, StoreError>),
}
