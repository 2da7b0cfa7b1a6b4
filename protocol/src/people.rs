//! What a user keeps to: contacts and blocked users, reports, one's own view of a conversation,
//! privacy, devices. Frames of both directions, and what they are made of.
//!
//! A change is told to all of the user's devices by `OwnChanged`, through the inbox log: a device
//! that was away hears of it too.

use crate::ids::{ConversationId, DeviceId, UserId};
use crate::open_enum::open_enum;
use bincode::{Decode, Encode};

open_enum!(
    /// Who may see something of a user.
    Audience {
        /// Everybody who may watch the user.
        Everyone = 1,
        /// The user's contacts.
        Contacts = 2,
        /// Nobody but the user.
        Nobody = 3,
    }
);
open_enum!(
    /// Why an entry is reported.
    ReportReason {
        /// Unwanted advertising.
        Spam = 1,
        /// Harassment, hate, threats.
        Abuse = 2,
        /// Against the law.
        Illegal = 3,
        /// Something else, told in the comment.
        Unlisted = 4,
    }
);
open_enum!(
    /// Which kind of the user's own things changed.
    OwnKind {
        /// A contact or a block; `id` is the other user.
        Person = 1,
        /// Muted, archived or marked unread; `id` is the conversation.
        Conversation = 2,
        /// The privacy settings; `id` is 0.
        Privacy = 3,
    }
);

/// What a user has to do with another one.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Person {
    /// The other user.
    pub user: UserId,
    /// The other user's unique name; empty when the account was deleted.
    pub name: String,
    /// Whether the other user is a contact.
    pub contact: bool,
    /// Whether the other user is blocked.
    pub blocked: bool,
}

/// How a user sees a conversation; nobody else knows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct OwnState {
    /// Which conversation.
    pub conversation: ConversationId,
    /// Muted until this time, Unix milliseconds; 0: not muted, 2^64 - 1: for good.
    pub muted_until_ms: u64,
    /// Whether it was put away.
    pub archived: bool,
    /// Whether it was marked as unread, whatever the read mark says.
    pub unread: bool,
}

/// A device of the user.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DeviceInfo {
    /// Its id.
    pub device: DeviceId,
    /// What the user calls it; may be empty.
    pub name: String,
    /// When it logged in, Unix milliseconds.
    pub created_ms: u64,
    /// When it last came for news, to the hour, Unix milliseconds; 0: never.
    pub seen_ms: u64,
}

/// Asks for the user's contacts and blocked users, by rising id. Answered by `PeoplePage`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct People {
    /// Number of the request.
    pub request: u32,
    /// Most users; the server may give fewer.
    pub limit: u16,
    /// `PeoplePage.next` of the page before.
    pub after: Option<UserId>,
}

/// Makes somebody a contact, or takes one off the list. Answered by `Done`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SetContact {
    /// Number of the request.
    pub request: u32,
    /// Whom.
    pub user: UserId,
    /// Whether to be a contact.
    pub contact: bool,
}

/// Blocks somebody, or ends it. Answered by `Done`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SetBlocked {
    /// Number of the request.
    pub request: u32,
    /// Whom.
    pub user: UserId,
    /// Whether to be blocked.
    pub blocked: bool,
}

/// Reports an entry to the operators. A second report of the same entry replaces the first.
/// Answered by `Done`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Report {
    /// Number of the request.
    pub request: u32,
    /// Which conversation.
    pub conversation: ConversationId,
    /// Which entry.
    pub seq: u64,
    /// Why.
    pub reason: ReportReason,
    /// In the user's words, at most `MAX_COMMENT_BYTES`; may be empty.
    pub comment: String,
}

/// Changes how the user sees a conversation; what is absent stays. Answered by `Done`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SetOwnState {
    /// Number of the request.
    pub request: u32,
    /// Which conversation.
    pub conversation: ConversationId,
    /// See `OwnState.muted_until_ms`.
    pub muted_until_ms: Option<u64>,
    /// See `OwnState.archived`.
    pub archived: Option<bool>,
    /// See `OwnState.unread`.
    pub unread: Option<bool>,
}

/// Asks how the user sees conversations. Answered by `OwnStatePage`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct OwnStates {
    /// Number of the request.
    pub request: u32,
    /// Which, at most as many as a page of `Conversations` has.
    pub conversations: Vec<ConversationId>,
}

/// Asks for the user's privacy settings. Answered by `Privacy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct GetPrivacy {
    /// Number of the request.
    pub request: u32,
}

/// Replaces the user's privacy settings. Answered by `Done`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SetPrivacy {
    /// Number of the request.
    pub request: u32,
    /// Who sees whether the user is online or away.
    pub presence: Audience,
    /// Who sees when the user was last connected.
    pub last_seen: Audience,
    /// Who sees what the user has read.
    pub receipts: Audience,
}

/// Tells that the user is away from this device, or back. Not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SetAway {
    /// Away, or back.
    pub away: bool,
}

/// Asks for the user's devices, by rising id. Answered by `DevicePage`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Devices {
    /// Number of the request.
    pub request: u32,
    /// Most devices; the server may give fewer.
    pub limit: u16,
    /// `DevicePage.next` of the page before.
    pub after: Option<DeviceId>,
}

/// Gives a device of the user another name. Answered by `Done`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct NameDevice {
    /// Number of the request.
    pub request: u32,
    /// Which.
    pub device: DeviceId,
    /// Its name, at most `MAX_DEVICE_NAME_BYTES`.
    pub name: String,
}

/// Ends a device of the user: its tokens are void and its connections close with `Revoked`, on
/// every node within two seconds. Answered by `Done`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RevokeDevice {
    /// Number of the request.
    pub request: u32,
    /// Which.
    pub device: DeviceId,
}

/// Answer to `People`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PeoplePage {
    /// The request it answers.
    pub request: u32,
    /// By rising id.
    pub people: Vec<Person>,
    /// Where the next page goes on; none at the end.
    pub next: Option<UserId>,
}

/// Answer to `OwnStates`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct OwnStatePage {
    /// The request it answers.
    pub request: u32,
    /// In the order asked for.
    pub states: Vec<OwnState>,
}

/// Answer to `GetPrivacy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Privacy {
    /// The request it answers.
    pub request: u32,
    /// Who sees whether the user is online or away.
    pub presence: Audience,
    /// Who sees when the user was last connected.
    pub last_seen: Audience,
    /// Who sees what the user has read.
    pub receipts: Audience,
}

/// Answer to `Devices`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DevicePage {
    /// The request it answers.
    pub request: u32,
    /// By rising id.
    pub devices: Vec<DeviceInfo>,
    /// Where the next page goes on; none at the end.
    pub next: Option<DeviceId>,
}

/// Something of the user's own changed, with this device or another: ask for it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct OwnChanged {
    /// What.
    pub kind: OwnKind,
    /// Which one.
    pub id: u64,
}
