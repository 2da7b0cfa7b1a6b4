//! Error codes and close codes: what went wrong, and what the client should do about it.
//!
//! A code is never used again for something else. What may not be concluded from an error: a
//! retryable one does not say that nothing happened; only a retry with the same `client_msg_id`
//! finds that out.

use crate::open_enum::open_enum;
use crate::server;

open_enum!(
    /// Whose turn it is.
    ErrorClass {
        /// The client broke the protocol: fix the client.
        Protocol = 1,
        /// Who the client is, or what it may do: log in again or ask for access.
        Access = 2,
        /// The request's content: change it.
        Request = 3,
        /// The server's state: retry later.
        Server = 4,
    }
);

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $class:ident, $retry:literal;)+) => {
        /// Why a request failed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $($(#[$doc])* $name,)+
        }

        impl ErrorCode {
            /// Every code, for tables and tests.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The number on the wire.
            #[must_use]
            pub const fn code(self) -> u16 {
                match self { $(Self::$name => $code,)+ }
            }

            /// Whose turn it is.
            #[must_use]
            pub const fn class(self) -> ErrorClass {
                match self { $(Self::$name => ErrorClass::$class,)+ }
            }

            /// Whether the same request may succeed later.
            #[must_use]
            pub const fn retryable(self) -> bool {
                match self { $(Self::$name => $retry,)+ }
            }

            /// The code of a number; none for one this version doesn't know.
            #[must_use]
            pub const fn from_code(code: u16) -> Option<Self> {
                match code { $($code => Some(Self::$name),)+ _ => None }
            }

            /// Its name, as logs and metrics carry it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }
        }
    };
}

error_codes! {
    /// The bytes are no frame, or a frame's payload doesn't decode.
    Malformed = 100, Protocol, false;
    /// A frame or message is over its limit.
    TooLarge = 101, Protocol, false;
    /// The first frame was not `Hello`, or a second `Hello` came.
    OutOfOrder = 102, Protocol, false;
    /// No protocol version in common.
    UnsupportedVersion = 103, Protocol, false;
    /// A text message instead of a binary one.
    NotBinary = 104, Protocol, false;
    /// `Ack` counts frames that were never sent.
    BadAck = 105, Protocol, false;

    /// The token is wrong, forged or of another audience.
    BadToken = 200, Access, false;
    /// The token was good once.
    TokenExpired = 201, Access, false;
    /// The device was revoked.
    Revoked = 202, Access, false;
    /// The user is no member of the conversation, or it doesn't exist: the answer is the same.
    NotAMember = 203, Access, false;
    /// The token speaks for another user or device than the session's.
    ForeignToken = 204, Access, false;
    /// The Origin header is not allowed.
    ForeignOrigin = 205, Access, false;
    /// The user's role in the group does not allow it.
    RoleTooLow = 206, Access, false;
    /// The link's secret is not good (any more), or the user was removed and must be added.
    BadLink = 207, Access, false;

    /// No user has this name.
    UnknownUser = 300, Request, false;
    /// A field is outside of what it may be.
    BadField = 301, Request, false;
    /// The body is over the limit.
    BodyTooLarge = 302, Request, false;
    /// The body of a text is not UTF-8, or is empty.
    BadText = 303, Request, false;
    /// The same `client_msg_id` was sent with other content.
    IdReused = 304, Request, false;
    /// The mark lies beyond the conversation's head.
    BeyondHead = 305, Request, false;
    /// The session watches as many users as it may.
    TooManyWatched = 306, Request, false;
    /// One can't open a conversation with oneself.
    SelfConversation = 307, Request, false;
    /// The group would be left without an owner: make another member owner first.
    LastOwner = 308, Request, false;
    /// The group has, or would have, more members than it may.
    GroupFull = 309, Request, false;
    /// Who is to become a member is one already.
    AlreadyMember = 310, Request, false;
    /// Whom the change is about is no member of the group.
    TargetNoMember = 311, Request, false;
    /// The conversation is no group.
    NotAGroup = 312, Request, false;
    /// A new conversation's id is taken: make another `client_msg_id`.
    IdTaken = 313, Request, false;
    /// The user has blocked the other member: end that first.
    Blocking = 330, Request, false;
    /// There are as many contacts, or blocked users, as there may be.
    TooManyPeople = 331, Request, false;
    /// The user has no such device.
    UnknownDevice = 332, Request, false;

    /// A queue is full.
    Busy = 400, Server, true;
    /// The store can't be reached or is too slow.
    StoreUnavailable = 401, Server, true;
    /// The outcome is unknown: retry with the same `client_msg_id`.
    OutcomeUnknown = 402, Server, true;
    /// The conversation is moving to another owner.
    Moved = 403, Server, true;
    /// More requests without an answer than the limit allows.
    TooManyInFlight = 404, Server, true;
    /// A limit on the rate was reached.
    RateLimited = 405, Server, true;
    /// A fault of the server; it was logged.
    Internal = 406, Server, true;
}

impl ErrorCode {
    /// The error frame that answers `request`.
    #[must_use]
    pub fn frame(self, request: u32, detail: impl Into<String>) -> server::Error {
        server::Error {
            request,
            code: self.code(),
            class: self.class(),
            retryable: self.retryable(),
            retry_after_ms: if self.retryable() { 100 } else { 0 },
            detail: detail.into(),
        }
    }
}

macro_rules! close_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)+) => {
        /// WebSocket close codes: 4000 to 4099 reconnect, 4100 to 4199 don't.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum CloseCode {
            $($(#[$doc])* $name,)+
        }

        impl CloseCode {
            /// Every code, for tables and tests.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The number on the wire.
            #[must_use]
            pub const fn code(self) -> u16 {
                match self { $(Self::$name => $code,)+ }
            }
        }
    };
}

close_codes! {
    /// The node is leaving; connect to another one.
    GoingAway = 4000;
    /// The client did not take what it was sent.
    SlowConsumer = 4001;
    /// No sign of life for too long.
    HeartbeatTimeout = 4002;
    /// The node has no room for another connection.
    Overloaded = 4003;
    /// A fault of the server.
    Internal = 4004;
    /// The access token expired; get a fresh one, then reconnect.
    TokenExpired = 4005;
    /// No `Hello` in time.
    HelloTimeout = 4006;

    /// The client broke the protocol.
    ProtocolError = 4100;
    /// The token is not good.
    Unauthenticated = 4101;
    /// The session was resumed by another connection.
    Replaced = 4102;
    /// The device was revoked.
    Revoked = 4103;
    /// No protocol version in common.
    UnsupportedVersion = 4104;
}

/// Whether a client should reconnect after a close with this code. Codes outside Rookery's two
/// ranges are the network's doing: reconnect.
#[must_use]
pub const fn should_reconnect(close_code: u16) -> bool {
    !matches!(close_code, 4100..=4199)
}
