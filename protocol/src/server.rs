//! The frames the server sends. Those from 0xc0 on are stream frames: counted and replayed.

use crate::codec::frame_enum;
use crate::error::ErrorClass;
use crate::ids::{ClientMsgId, ConversationId, DeviceId, SessionId, UserId};
use crate::limits::Limits;
use crate::number;
pub use crate::people::{DevicePage, OwnChanged, OwnStatePage, PeoplePage, Privacy};
use crate::types::{
    Change, ConversationInfo, Cursor, Entry, FoundUser, ListCursor, MarkKind, Status,
};
use bincode::{Decode, Encode};

/// Answer to `Hello`. It may come again on an open connection, with `resumed` false, when the
/// server had to rebuild the session: the client then starts its count of stream frames at 0,
/// sends `Sync` with its cursor, watches again and retries what has no answer.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Welcome {
    /// The version both speak from here.
    pub version: u16,
    /// The session's id.
    pub session: SessionId,
    /// What resumes the session.
    pub secret: [u8; 16],
    /// True when the session goes on: what was missed follows, no `Sync` is needed.
    pub resumed: bool,
    /// The user the token speaks for.
    pub user: UserId,
    /// The device the token speaks for.
    pub device: DeviceId,
    /// The user's unique name.
    pub name: String,
    /// The client sends something at least this often, its first at a random part of it.
    pub heartbeat_ms: u32,
    /// The session can be resumed for this long after its connection is gone.
    pub grace_ms: u32,
    /// The server's clock, Unix milliseconds.
    pub server_time_ms: u64,
    /// When the access token expires, Unix milliseconds.
    pub token_expires_ms: u64,
    /// What the client must keep to.
    pub limits: Limits,
    /// The node's name.
    pub node: String,
    /// Other WebSocket addresses to try when this one is lost.
    pub endpoints: Vec<String>,
}

impl std::fmt::Debug for Welcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Welcome")
            .field("version", &self.version)
            .field("session", &self.session)
            .field("resumed", &self.resumed)
            .field("user", &self.user)
            .field("device", &self.device)
            .finish_non_exhaustive()
    }
}

/// Answer to `Ping`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Pong {
    /// The nonce of the ping.
    pub nonce: u32,
}

/// A request (or the connection) failed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Error {
    /// The request it answers; 0 when it answers none.
    pub request: u32,
    /// The code, see [`crate::ErrorCode`].
    pub code: u16,
    /// Whose turn it is to do something about it.
    pub class: ErrorClass,
    /// Whether the same request may succeed later. It does not say that nothing happened.
    pub retryable: bool,
    /// Wait at least this long before a retry.
    pub retry_after_ms: u32,
    /// For the developer's eyes; never parse it.
    pub detail: String,
}

/// Answer to `History`, entries by rising seq.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct HistoryPage {
    /// The request it answers.
    pub request: u32,
    /// Which conversation.
    pub conversation: ConversationId,
    /// The page.
    pub entries: Vec<Entry>,
    /// The newest seq of the conversation.
    pub head: u64,
    /// The smallest seq still held.
    pub floor: u64,
    /// Whether there is more in the direction asked for.
    pub more: bool,
}

/// Answer to `Conversations`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ConversationPage {
    /// The request it answers.
    pub request: u32,
    /// Latest activity first.
    pub conversations: Vec<ConversationInfo>,
    /// Where the next page goes on; none at the end.
    pub next: Option<ListCursor>,
}

/// Answer to `OpenDirect` and `Describe`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Conversation {
    /// The request it answers.
    pub request: u32,
    /// Whether the request created it.
    pub created: bool,
    /// The conversation.
    pub info: ConversationInfo,
}

/// A watched user's presence, now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Presence {
    /// Who.
    pub user: UserId,
    /// How.
    pub status: Status,
    /// When the user was last connected, Unix milliseconds; 0 when not known or online.
    pub last_seen_ms: u64,
}

/// A member types, or stopped. Without another one it ends after 6 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Typing {
    /// Where.
    pub conversation: ConversationId,
    /// Who.
    pub user: UserId,
    /// Typing, or stopped.
    pub active: bool,
}

/// The window is full: live delivery pauses until the client acknowledges. Nothing is lost; the
/// server goes on from the store and ends with `CaughtUp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Behind {}

/// The node is leaving: connect to another one after the time given.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Drain {
    /// Wait this long first.
    pub reconnect_after_ms: u32,
    /// WebSocket addresses of other nodes.
    pub alternates: Vec<String>,
}

/// Last frame before the server closes the connection.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Bye {
    /// The close code that follows, see [`crate::CloseCode`].
    pub code: u16,
    /// For the developer's eyes.
    pub reason: String,
}

/// A request that has no other answer was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Done {
    /// The request it answers.
    pub request: u32,
}

/// Answer to `FindUsers`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Users {
    /// The request it answers.
    pub request: u32,
    /// Those that exist, in the order of the names.
    pub users: Vec<FoundUser>,
}

/// Answer to `DescribeGroup`.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Group {
    /// The request it answers.
    pub request: u32,
    /// Which.
    pub conversation: ConversationId,
    /// Refers to its picture; empty: none.
    pub avatar: String,
    /// Whether each member sees the whole history; else from joining on.
    pub open_history: bool,
    /// The link's secret; empty: there is no link, or the user's role doesn't show it.
    pub link: String,
    /// When it was created, Unix milliseconds.
    pub created_ms: u64,
}

// The secret of a link never reaches a log through `{:?}`.
impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group")
            .field("request", &self.request)
            .field("conversation", &self.conversation)
            .field("open_history", &self.open_history)
            .finish_non_exhaustive()
    }
}

/// Answer to `Readers`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ReadBy {
    /// The request it answers.
    pub request: u32,
    /// Which conversation.
    pub conversation: ConversationId,
    /// Which entry.
    pub seq: u64,
    /// Members whom it has reached and who have not read it, by id.
    pub delivered: Vec<UserId>,
    /// Members who have read it, by id.
    pub read: Vec<UserId>,
}

/// Answer to `Refresh`. The session has the new access token already; keep the refresh token
/// durably, the old one is used up.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Refreshed {
    /// The request it answers.
    pub request: u32,
    /// For the next `Hello`.
    pub access_token: String,
    /// When the access token expires, Unix milliseconds.
    pub access_expires_ms: u64,
    /// Good for one refresh.
    pub refresh_token: String,
}

// Tokens never reach a log through `{:?}`.
impl std::fmt::Debug for Refreshed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Refreshed")
            .field("request", &self.request)
            .field("access_expires_ms", &self.access_expires_ms)
            .finish_non_exhaustive()
    }
}

/// What the operators tell everybody who is connected. It may come again on another connection: show
/// each id once.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Notice {
    /// Rises from notice to notice.
    pub notice: u64,
    /// When it was posted, Unix milliseconds.
    pub time_ms: u64,
    /// Plain text for people.
    pub text: String,
}

/// An entry of a conversation's log. Each conversation's entries come by rising seq without gap,
/// `Sent` counting as the delivery of the entry it names.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Message {
    /// Which conversation.
    pub conversation: ConversationId,
    /// The entry.
    pub entry: Entry,
}

/// A send of this session is committed and durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Sent {
    /// The request it answers.
    pub request: u32,
    /// Where it is.
    pub conversation: ConversationId,
    /// The message.
    pub client_msg_id: ClientMsgId,
    /// Its place in the conversation.
    pub seq: u64,
    /// Its time, Unix milliseconds.
    pub time_ms: u64,
    /// True when an earlier attempt had already committed it, or before `Sync`: it stands outside of
    /// the order.
    pub duplicate: bool,
}

/// A member's mark moved forward. In a group only the user's own marks are told, and, with `user` 0,
/// up to where all members' are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Receipt {
    /// Which conversation.
    pub conversation: ConversationId,
    /// Whose mark; 0: everybody's.
    pub user: UserId,
    /// Which mark.
    pub kind: MarkKind,
    /// Up to and including.
    pub seq: u64,
}

/// A conversation was created or changed: ask for it with `Describe`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ConversationChanged {
    /// Which.
    pub conversation: ConversationId,
    /// What happened.
    pub change: Change,
}

/// The client holds everything up to the cursor: keep it durably. Comes after a `Sync`, after
/// `Behind`, and from time to time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct CaughtUp {
    /// The `Sync` it answers; 0 when it answers none.
    pub request: u32,
    /// The new cursor.
    pub cursor: Cursor,
}

/// The log no longer holds what comes after the client's cursor, or the cursor is of another log:
/// bootstrap from the conversation list and take `cursor` as the new one. Delivery is live from it
/// on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct TooFar {
    /// The `Sync` it answers; 0 when it answers none.
    pub request: u32,
    /// Where delivery goes on from.
    pub cursor: Cursor,
}

frame_enum!(
    /// Any frame from the server.
    ServerFrame {
        Welcome = number::WELCOME,
        Pong = number::PONG,
        Error = number::ERROR,
        HistoryPage = number::HISTORY_PAGE,
        ConversationPage = number::CONVERSATION_PAGE,
        Conversation = number::CONVERSATION,
        Presence = number::PRESENCE,
        Typing = number::TYPING,
        Behind = number::BEHIND,
        Drain = number::DRAIN,
        Bye = number::BYE,
        Done = number::DONE,
        Users = number::USERS,
        Group = number::GROUP,
        ReadBy = number::READ_BY,
        PeoplePage = number::PEOPLE_PAGE,
        OwnStatePage = number::OWN_STATE_PAGE,
        Privacy = number::PRIVACY,
        DevicePage = number::DEVICE_PAGE,
        Refreshed = number::REFRESHED,
        Notice = number::NOTICE,
        Message = number::MESSAGE,
        Sent = number::SENT,
        Receipt = number::RECEIPT,
        ConversationChanged = number::CONVERSATION_CHANGED,
        CaughtUp = number::CAUGHT_UP,
        TooFar = number::TOO_FAR,
        OwnChanged = number::OWN_CHANGED,
    }
);
