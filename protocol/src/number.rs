//! Every frame number, in one file. A number is never used again: a removed frame stays listed.
//!
//! | range | direction | |
//! |---|---|---|
//! | 0x01-0x7f | client to server | |
//! | 0x80-0xbf | server to client | answers and passing news: not counted, not replayed |
//! | 0xc0-0xff | server to client | stream frames: counted by `Ack`, replayed on resume |
//!
//! A receiver skips a number it doesn't know (and still counts it, from 0xc0 on).

/// First frame of a connection: versions, token, resume.
pub const HELLO: u8 = 0x01;
/// Sign of life from the client.
pub const PING: u8 = 0x02;
/// Count of stream frames the client has received.
pub const ACK: u8 = 0x03;
/// Start of delivery from a cursor.
pub const SYNC: u8 = 0x04;
/// A message for a conversation.
pub const SEND: u8 = 0x05;
/// The sender's delivered or read mark.
pub const MARK: u8 = 0x06;
/// The user is typing, or stopped.
pub const SET_TYPING: u8 = 0x07;
/// A page of a conversation's history.
pub const HISTORY: u8 = 0x08;
/// A page of the user's conversations.
pub const CONVERSATIONS: u8 = 0x09;
/// Find or create the one-to-one conversation with a user.
pub const OPEN_DIRECT: u8 = 0x0a;
/// One conversation's description.
pub const DESCRIBE: u8 = 0x0b;
/// Watch the presence of users.
pub const WATCH: u8 = 0x0c;
/// Stop watching.
pub const UNWATCH: u8 = 0x0d;
/// A fresh access token for the session.
pub const AUTHENTICATE: u8 = 0x0e;
/// The client leaves; its session ends at once.
pub const LEAVE: u8 = 0x0f;
/// Users by their unique names.
pub const FIND_USERS: u8 = 0x10;
/// What a group is beside its description.
pub const DESCRIBE_GROUP: u8 = 0x11;
/// Who holds, and who has read, an entry.
pub const READERS: u8 = 0x12;
/// A refresh token for fresh tokens, on the open connection.
pub const REFRESH: u8 = 0x30;

/// A page of the user's contacts and blocked users.
pub const PEOPLE: u8 = 0x20;
/// Make somebody a contact, or not.
pub const SET_CONTACT: u8 = 0x21;
/// Block somebody, or end it.
pub const SET_BLOCKED: u8 = 0x22;
/// Report an entry to the operators.
pub const REPORT: u8 = 0x23;
/// Mute, archive, mark as unread.
pub const SET_OWN_STATE: u8 = 0x24;
/// How the user sees some conversations.
pub const OWN_STATES: u8 = 0x25;
/// The user's privacy settings.
pub const GET_PRIVACY: u8 = 0x26;
/// Other privacy settings.
pub const SET_PRIVACY: u8 = 0x27;
/// The user is away from this device, or back.
pub const SET_AWAY: u8 = 0x28;
/// A page of the user's devices.
pub const DEVICES: u8 = 0x29;
/// Another name for a device.
pub const NAME_DEVICE: u8 = 0x2a;
/// The end of a device.
pub const REVOKE_DEVICE: u8 = 0x2b;

/// Answer to `Hello`.
pub const WELCOME: u8 = 0x80;
/// Answer to `Ping`.
pub const PONG: u8 = 0x81;
/// A request failed.
pub const ERROR: u8 = 0x82;
/// Answer to `History`.
pub const HISTORY_PAGE: u8 = 0x83;
/// Answer to `Conversations`.
pub const CONVERSATION_PAGE: u8 = 0x84;
/// Answer to `OpenDirect` and `Describe`.
pub const CONVERSATION: u8 = 0x85;
/// A watched user's presence.
pub const PRESENCE: u8 = 0x86;
/// A member of a conversation is typing, or stopped.
pub const TYPING: u8 = 0x87;
/// The window is full: live delivery pauses, the server pulls when there is room again.
pub const BEHIND: u8 = 0x88;
/// The node is leaving: reconnect elsewhere.
pub const DRAIN: u8 = 0x89;
/// The server is about to close the connection.
pub const BYE: u8 = 0x8a;
// 0x8b was an uncounted `TooFar`: never use it again.
/// A request without other answer is done.
pub const DONE: u8 = 0x8c;
/// Answer to `FindUsers`.
pub const USERS: u8 = 0x8d;
/// Answer to `DescribeGroup`.
pub const GROUP: u8 = 0x8e;
/// Answer to `Readers`.
pub const READ_BY: u8 = 0x8f;
/// Answer to `Refresh`.
pub const REFRESHED: u8 = 0xa0;
/// What the operators tell everybody.
pub const NOTICE: u8 = 0xa1;

/// Answer to `People`.
pub const PEOPLE_PAGE: u8 = 0x98;
/// Answer to `OwnStates`.
pub const OWN_STATE_PAGE: u8 = 0x99;
/// Answer to `GetPrivacy`.
pub const PRIVACY: u8 = 0x9a;
/// Answer to `Devices`.
pub const DEVICE_PAGE: u8 = 0x9b;

/// An entry of a conversation's log.
pub const MESSAGE: u8 = 0xc0;
/// A send of this session is committed.
pub const SENT: u8 = 0xc1;
/// A member's mark moved forward.
pub const RECEIPT: u8 = 0xc2;
/// A conversation was created or changed.
pub const CONVERSATION_CHANGED: u8 = 0xc3;
/// The client holds everything up to this cursor.
pub const CAUGHT_UP: u8 = 0xc4;
/// The log no longer holds what comes after the client's cursor. Counted: were it lost with a
/// connection, the next cursor would hide the hole.
pub const TOO_FAR: u8 = 0xc5;
/// Something of the user's own changed.
pub const OWN_CHANGED: u8 = 0xd0;

/// First number of the stream frames.
pub const FIRST_STREAM: u8 = 0xc0;

/// Whether a server frame's number counts for `Ack` and is replayed on resume.
#[must_use]
pub const fn is_stream(number: u8) -> bool {
    number >= FIRST_STREAM
}
