//! Every limit of the wire, in one file. A frame beyond one is refused with a coded error.
//!
//! The limits a client must know are told to it in `Welcome`; the others are constants of the
//! protocol.

use bincode::{Decode, Encode};

/// Most bytes of one WebSocket message from a client.
pub const MAX_CLIENT_MESSAGE_BYTES: usize = 128 * 1024;
/// Most bytes of one frame's payload from a client.
pub const MAX_CLIENT_FRAME_BYTES: usize = 64 * 1024;
/// Most frames in one WebSocket message.
pub const MAX_FRAMES_PER_MESSAGE: usize = 1024;
/// Most bytes of one WebSocket message from the server.
pub const MAX_SERVER_MESSAGE_BYTES: usize = 1024 * 1024;
/// Most bytes of one frame's payload from the server.
pub const MAX_SERVER_FRAME_BYTES: usize = 512 * 1024;
/// Most bytes of a message's body.
pub const MAX_BODY_BYTES: usize = 16 * 1024;
/// Most bytes of an access token in `Hello`.
pub const MAX_TOKEN_BYTES: usize = 4096;
/// Most bytes of the client's description of itself in `Hello`.
pub const MAX_AGENT_BYTES: usize = 128;
/// Most bytes of a user's unique name.
pub const MAX_NAME_BYTES: usize = 32;
/// Fewest bytes of a user's unique name.
pub const MIN_NAME_BYTES: usize = 2;
/// Most entries of a history page; the server also ends a page at [`MAX_PAGE_BYTES`].
pub const MAX_HISTORY_ENTRIES: u16 = 200;
/// Bytes of entries after which a page ends.
pub const MAX_PAGE_BYTES: usize = 256 * 1024;
/// Most conversations of a list page.
pub const MAX_LIST_ITEMS: u16 = 100;
/// Most members of a group.
pub const MAX_GROUP_MEMBERS: usize = 100;
/// Most bytes of a group's title.
pub const MAX_TITLE_BYTES: usize = 128;
/// Most bytes of the reference to a group's picture.
pub const MAX_REFERENCE_BYTES: usize = 256;
/// Most names in one `FindUsers`.
pub const MAX_FIND_NAMES: usize = 100;
/// Most users in one `Watch` or `Unwatch`.
pub const MAX_WATCH_BATCH: usize = 200;
/// Most users one session may watch.
pub const MAX_WATCHED: usize = 1000;
/// Most contacts of a user, and most blocked users.
pub const MAX_PEOPLE: usize = 5000;
/// Most bytes of the comment of a report.
pub const MAX_COMMENT_BYTES: usize = 1000;
/// Most bytes of a device's name.
pub const MAX_DEVICE_NAME_BYTES: usize = 128;
/// Most sends of one session without an answer.
pub const MAX_SENDS_IN_FLIGHT: usize = 64;
/// Most other requests of one session without an answer.
pub const MAX_REQUESTS_IN_FLIGHT: usize = 32;
/// Smallest window (bytes of unacknowledged stream frames) a client may grant.
pub const MIN_WINDOW_BYTES: u32 = 16 * 1024;
/// Largest window the server uses, whatever the client grants: it is also the replay buffer.
pub const MAX_WINDOW_BYTES: u32 = 1024 * 1024;
/// Window a client should grant when it has no reason for another.
pub const DEFAULT_WINDOW_BYTES: u32 = 256 * 1024;

/// The limits told to a client in `Welcome`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Limits {
    /// Most bytes of a message's body.
    pub body_bytes: u32,
    /// Most bytes of one frame's payload from the client.
    pub frame_bytes: u32,
    /// Most bytes of one WebSocket message from the client.
    pub message_bytes: u32,
    /// Most sends without an answer.
    pub sends_in_flight: u16,
    /// Most other requests without an answer.
    pub requests_in_flight: u16,
    /// Most users a session may watch.
    pub watched_users: u16,
    /// Bytes of unacknowledged stream frames the server will keep for this session.
    pub window_bytes: u32,
}

impl Limits {
    /// The limits as this crate's constants give them, with the window granted to a session.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "constants, checked by a test")]
    pub const fn with_window(window_bytes: u32) -> Self {
        Self {
            body_bytes: MAX_BODY_BYTES as u32,
            frame_bytes: MAX_CLIENT_FRAME_BYTES as u32,
            message_bytes: MAX_CLIENT_MESSAGE_BYTES as u32,
            sends_in_flight: MAX_SENDS_IN_FLIGHT as u16,
            requests_in_flight: MAX_REQUESTS_IN_FLIGHT as u16,
            watched_users: MAX_WATCHED as u16,
            window_bytes,
        }
    }
}
