//! The frames a client sends, each with what the server answers.

use crate::codec::frame_enum;
use crate::ids::{ClientMsgId, ConversationId, SessionId, UserId};
use crate::number;
pub use crate::people::{
    Devices, GetPrivacy, NameDevice, OwnStates, People, Report, RevokeDevice, SetAway, SetBlocked,
    SetContact, SetOwnState, SetPrivacy,
};
use crate::types::{Cursor, Direction, EntryKind, ListCursor, MarkKind};
use bincode::{Decode, Encode};

/// Must be the first frame. Answered by `Welcome`, or by `Error` and a close.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    /// Versions the client speaks, best first.
    pub versions: Vec<u16>,
    /// Access token from log-in.
    pub token: String,
    /// The session to go on with, if there was one.
    pub resume: Option<Resume>,
    /// Name and version of the client program, for the operator's eyes.
    pub agent: String,
    /// Bytes of unacknowledged stream frames the client allows the server to have under way.
    pub window_bytes: u32,
}

/// Which session to resume and from where.
#[derive(Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Resume {
    /// `Welcome.session`.
    pub session: SessionId,
    /// `Welcome.secret`.
    pub secret: [u8; 16],
    /// Stream frames received in that session so far.
    pub received: u64,
}

// Tokens and secrets never reach a log through `{:?}`.
impl std::fmt::Debug for Hello {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hello")
            .field("versions", &self.versions)
            .field("resume", &self.resume)
            .field("agent", &self.agent)
            .field("window_bytes", &self.window_bytes)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Resume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resume")
            .field("session", &self.session)
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}

/// Sign of life. Answered by `Pong` with the same nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Ping {
    /// Any number.
    pub nonce: u32,
}

/// How many stream frames of this session the client has received in all. Not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Ack {
    /// Cumulative count.
    pub received: u64,
}

/// Starts delivery: everything after the cursor, then `CaughtUp`, then live. Without a cursor
/// delivery starts now. Answered by `CaughtUp` or `TooFar`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Sync {
    /// Number of the request.
    pub request: u32,
    /// The newest cursor the device holds.
    pub cursor: Option<Cursor>,
}

/// Appends a message. Answered by `Sent` once it is durable, or by `Error`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Send {
    /// Number of the request.
    pub request: u32,
    /// Where to.
    pub conversation: ConversationId,
    /// The message's own id, the same in every retry.
    pub client_msg_id: ClientMsgId,
    /// True when this message may have been sent before.
    pub retry: bool,
    /// What the body is.
    pub kind: EntryKind,
    /// The content.
    pub body: Vec<u8>,
}

/// Moves the sender's own mark forward; a smaller seq than the mark does nothing. Not answered
/// unless it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Mark {
    /// Which conversation.
    pub conversation: ConversationId,
    /// Which mark.
    pub kind: MarkKind,
    /// Up to and including.
    pub seq: u64,
}

/// Tells the other members that the user types. Not answered, never stored, expires after 6 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SetTyping {
    /// Where.
    pub conversation: ConversationId,
    /// Typing, or stopped.
    pub active: bool,
}

/// Asks for a page of history. Answered by `HistoryPage`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct History {
    /// Number of the request.
    pub request: u32,
    /// Which conversation.
    pub conversation: ConversationId,
    /// From this seq, itself not included; 0 with `Before`: from the newest.
    pub anchor: u64,
    /// Which way.
    pub direction: Direction,
    /// Most entries; the server may give fewer.
    pub limit: u16,
}

/// Asks for the user's conversations, latest activity first. Answered by `ConversationPage`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Conversations {
    /// Number of the request.
    pub request: u32,
    /// Most items; the server may give fewer.
    pub limit: u16,
    /// `ConversationPage.next` of the page before.
    pub after: Option<ListCursor>,
}

/// Finds or creates the one-to-one conversation with a user. Answered by `Conversation`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct OpenDirect {
    /// Number of the request.
    pub request: u32,
    /// The other user's unique name.
    pub name: String,
}

/// Asks for one conversation. Answered by `Conversation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Describe {
    /// Number of the request.
    pub request: u32,
    /// Which.
    pub conversation: ConversationId,
}

/// Watches users one shares a conversation with. Each is answered by a `Presence` now and at
/// every change; the whole by `Done` or `Error`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Watch {
    /// Number of the request.
    pub request: u32,
    /// Whom.
    pub users: Vec<UserId>,
}

/// Stops watching. Not answered.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Unwatch {
    /// Whom.
    pub users: Vec<UserId>,
}

/// Gives the session a fresh access token of the same user and device before the old one
/// expires. Answered by `Done`.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Authenticate {
    /// Number of the request.
    pub request: u32,
    /// The token.
    pub token: String,
}

impl std::fmt::Debug for Authenticate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticate").field("request", &self.request).finish_non_exhaustive()
    }
}

/// Ends the session at once: the user shows as offline without grace. Not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Leave {}

/// Asks for users by their unique names. Answered by `Users`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct FindUsers {
    /// Number of the request.
    pub request: u32,
    /// The names.
    pub names: Vec<String>,
}

/// Asks for what a group is beside its description. Answered by `Group`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DescribeGroup {
    /// Number of the request.
    pub request: u32,
    /// Which.
    pub conversation: ConversationId,
}

/// Asks whom an entry has reached. Answered by `ReadBy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Readers {
    /// Number of the request.
    pub request: u32,
    /// Which conversation.
    pub conversation: ConversationId,
    /// Which entry.
    pub seq: u64,
}

/// Trades the device's refresh token for fresh tokens on the open connection, as `POST /v1/refresh`
/// does, and gives the session the new access token. Answered by `Refreshed`. One at a time.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Refresh {
    /// Number of the request.
    pub request: u32,
    /// The newest refresh token of the device.
    pub refresh_token: String,
}

impl std::fmt::Debug for Refresh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Refresh").field("request", &self.request).finish_non_exhaustive()
    }
}

frame_enum!(
    /// Any frame from a client.
    ClientFrame {
        Hello = number::HELLO,
        Ping = number::PING,
        Ack = number::ACK,
        Sync = number::SYNC,
        Send = number::SEND,
        Mark = number::MARK,
        SetTyping = number::SET_TYPING,
        History = number::HISTORY,
        Conversations = number::CONVERSATIONS,
        OpenDirect = number::OPEN_DIRECT,
        Describe = number::DESCRIBE,
        Watch = number::WATCH,
        Unwatch = number::UNWATCH,
        Authenticate = number::AUTHENTICATE,
        Leave = number::LEAVE,
        FindUsers = number::FIND_USERS,
        DescribeGroup = number::DESCRIBE_GROUP,
        Readers = number::READERS,
        People = number::PEOPLE,
        SetContact = number::SET_CONTACT,
        SetBlocked = number::SET_BLOCKED,
        Report = number::REPORT,
        SetOwnState = number::SET_OWN_STATE,
        OwnStates = number::OWN_STATES,
        GetPrivacy = number::GET_PRIVACY,
        SetPrivacy = number::SET_PRIVACY,
        SetAway = number::SET_AWAY,
        Devices = number::DEVICES,
        NameDevice = number::NAME_DEVICE,
        RevokeDevice = number::REVOKE_DEVICE,
        Refresh = number::REFRESH,
    }
);

impl ClientFrame {
    /// The request number an `Error` answer carries: 0 for frames without one.
    #[must_use]
    pub fn request(&self) -> u32 {
        match self {
            Self::Sync(f) => f.request,
            Self::Send(f) => f.request,
            Self::History(f) => f.request,
            Self::Conversations(f) => f.request,
            Self::OpenDirect(f) => f.request,
            Self::Describe(f) => f.request,
            Self::Watch(f) => f.request,
            Self::Authenticate(f) => f.request,
            Self::FindUsers(f) => f.request,
            Self::DescribeGroup(f) => f.request,
            Self::Readers(f) => f.request,
            Self::People(f) => f.request,
            Self::SetContact(f) => f.request,
            Self::SetBlocked(f) => f.request,
            Self::Report(f) => f.request,
            Self::SetOwnState(f) => f.request,
            Self::OwnStates(f) => f.request,
            Self::GetPrivacy(f) => f.request,
            Self::SetPrivacy(f) => f.request,
            Self::Devices(f) => f.request,
            Self::NameDevice(f) => f.request,
            Self::RevokeDevice(f) => f.request,
            Self::Refresh(f) => f.request,
            Self::Hello(_)
            | Self::Ping(_)
            | Self::Ack(_)
            | Self::Mark(_)
            | Self::SetTyping(_)
            | Self::Unwatch(_)
            | Self::SetAway(_)
            | Self::Leave(_) => 0,
        }
    }
}
