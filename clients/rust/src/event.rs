//! What the client tells its application.

use crate::error::{Refusal, RequestError};
use rookery_protocol::server::{
    Conversation, ConversationChanged, ConversationPage, DevicePage, Group, HistoryPage, Notice,
    OwnChanged, OwnStatePage, PeoplePage, Presence, Privacy, ReadBy, Receipt, Refreshed, Typing,
    Users,
};
use rookery_protocol::{ClientMsgId, ConversationId, Cursor, DeviceId, Entry, SessionId, UserId};

/// One thing that happened. Large payloads are boxed: most events are messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The server welcomed the client.
    Connected(Box<Connected>),
    /// The connection was lost, or could not be made; the next attempt comes after the delay.
    Disconnected {
        /// What happened, for people.
        reason: String,
        /// Milliseconds until the next attempt.
        retry_in_ms: u64,
    },
    /// The access token is about to expire or has expired: give a fresh one.
    NeedToken,
    /// A trade of the refresh token is done: keep both tokens durably. This client uses the access
    /// token already.
    Refreshed(Box<Refreshed>),
    /// A trade of the refresh token came to nothing: refused, or its connection was lost. Then it
    /// may have happened; the same token gets the same answer again for a short while.
    NotRefreshed(Option<Refusal>),
    /// What the operators tell everybody; each id is to be shown once.
    Notice(Notice),
    /// The client is closed for good; no event follows.
    Closed(CloseReason),
    /// An entry of a conversation, in order.
    Message {
        /// Which conversation.
        conversation: ConversationId,
        /// The entry.
        entry: Entry,
    },
    /// A send is durable.
    Sent(Sent),
    /// A send was refused for good.
    SendFailed {
        /// Which conversation.
        conversation: ConversationId,
        /// Which message.
        client_msg_id: ClientMsgId,
        /// Why.
        refusal: Refusal,
    },
    /// The server could not take a send for the moment; the client repeats it by itself.
    SendDelayed {
        /// Which conversation.
        conversation: ConversationId,
        /// Which message.
        client_msg_id: ClientMsgId,
        /// Why.
        refusal: Refusal,
        /// Milliseconds from this attempt to its refusal.
        waited_ms: u64,
    },
    /// Entries the server can't give any more: the history has a hole here.
    Missing {
        /// Which conversation.
        conversation: ConversationId,
        /// First missing seq.
        from: u64,
        /// Last missing seq.
        to: u64,
    },
    /// A member's mark moved forward.
    Receipt(Receipt),
    /// A conversation was created or changed.
    ConversationChanged(ConversationChanged),
    /// Something of the user's own changed: ask for it again.
    OwnChanged(OwnChanged),
    /// A watched user's presence.
    Presence(Presence),
    /// A member types, or stopped.
    Typing(Typing),
    /// Everything up to the cursor was delivered: keep it durably.
    CaughtUp {
        /// The new cursor.
        cursor: Cursor,
    },
    /// The old cursor is no longer held: load the conversation list and histories anew.
    TooFar {
        /// The new cursor.
        cursor: Cursor,
    },
    /// The server pauses live delivery until this client's acknowledgements catch up.
    Behind,
    /// The answer to a request.
    Reply {
        /// The request's number.
        request: u32,
        /// Its outcome.
        result: Result<Reply, RequestError>,
    },
    /// An error that answers no request.
    ServerError(Refusal),
}

/// Who the client is, and where it is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connected {
    /// The session.
    pub session: SessionId,
    /// Whether the session before goes on.
    pub resumed: bool,
    /// The user.
    pub user: UserId,
    /// The device.
    pub device: DeviceId,
    /// The user's unique name.
    pub name: String,
    /// The node's name.
    pub node: String,
    /// The server's clock, Unix milliseconds.
    pub server_time_ms: u64,
    /// When the access token expires, Unix milliseconds.
    pub token_expires_ms: u64,
}

/// A durable send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Where it is.
    pub conversation: ConversationId,
    /// The message.
    pub client_msg_id: ClientMsgId,
    /// Its place in the conversation.
    pub seq: u64,
    /// Its time, Unix milliseconds.
    pub time_ms: u64,
    /// This event is the delivery of the entry in the conversation's order. When false the entry
    /// came, or will come, on its own.
    pub placed: bool,
    /// This event is the answer to a send that was waiting for one. When false, only the place
    /// matters.
    pub answer: bool,
    /// What it took.
    pub course: Course,
}

/// What it took to make a send durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Course {
    /// One attempt.
    #[default]
    Straight,
    /// Several attempts, none of which is known to have been refused: a refusal may have been
    /// lost with its connection.
    Repeated,
    /// The server refused an attempt: sends made later may stand before this one.
    Refused,
}

/// The good answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To `history`.
    History(Box<HistoryPage>),
    /// To `conversations`.
    Conversations(Box<ConversationPage>),
    /// To `open_direct` and `describe`.
    Conversation(Box<Conversation>),
    /// To `find_users`.
    Users(Box<Users>),
    /// To `describe_group`.
    Group(Box<Group>),
    /// To `readers`.
    ReadBy(Box<ReadBy>),
    /// To `people`.
    People(Box<PeoplePage>),
    /// To `own_states`.
    OwnStates(Box<OwnStatePage>),
    /// To `privacy`.
    Privacy(Privacy),
    /// To `devices`.
    Devices(Box<DevicePage>),
    /// To all others.
    Done,
}

/// Why the client closed for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The application asked for it.
    Left,
    /// The server closed with a code that says not to come back.
    Code {
        /// The WebSocket close code, see [`rookery_protocol::CloseCode`].
        code: u16,
        /// For the developer's eyes.
        reason: String,
    },
    /// The server refused the hello for good.
    Refused(Refusal),
}
