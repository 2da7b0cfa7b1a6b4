//! Every frame of `golden.txt`, built from the crate's types.

mod client;
mod people;
mod server;

use super::Frame;
use rookery_protocol::limits::Limits;
use rookery_protocol::types::{ConversationInfo, Member};
use rookery_protocol::{
    ClientMsgId, ConversationId, ConversationKind, DeviceId, Entry, EntryKind, SessionId, UserId,
};

const ADA: UserId = UserId(0x1f3a9c5577e0b2d4);
const BOB: UserId = UserId(0x2b7e151628aed2a6);
const EVE: UserId = UserId(0x71);
const ADA_DEVICE: DeviceId = DeviceId(0x5c0de0a1b2c3d4e5);
const BOB_DEVICE: DeviceId = DeviceId(0x33c1f07a5e9b8d60);
const CONVERSATION: ConversationId = ConversationId(0x6d5a56da3c1e90b7);
const SESSION: SessionId = SessionId(0x0fedcba987654321);
const TOKEN: &str = "AAECAwQFBgc.example-access-token";
/// Unix milliseconds: 2025-10-09T08:53:20Z.
const T: u64 = 1_760_000_000_000;
const SECRET: [u8; 16] = [
    0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff,
];
const STAMP: [u8; 12] = [0x00, 0x00, 0x00, 0xa1, 0xb2, 0xc3, 0xd4, 0xe5, 0x00, 0x01, 0x00, 0x00];

fn first_id() -> ClientMsgId {
    ClientMsgId::from_parts(T + 123, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
}

/// The group that the first message makes.
fn made_group() -> ConversationId {
    rookery_protocol::group::group_id(first_id())
}

fn second_id() -> ClientMsgId {
    ClientMsgId::from_parts(
        T + 60_000,
        [0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9],
    )
}

fn first_entry() -> Entry {
    Entry {
        seq: 1,
        sender: ADA,
        device: ADA_DEVICE,
        time_ms: T + 150,
        client_msg_id: first_id(),
        kind: EntryKind::Text,
        body: "Hello, Bob!".into(),
    }
}
fn second_entry() -> Entry {
    Entry {
        seq: 2,
        sender: BOB,
        device: BOB_DEVICE,
        time_ms: T + 60_020,
        client_msg_id: second_id(),
        kind: EntryKind::Text,
        body: "Grüße, Ada 👋".into(),
    }
}
fn new_conversation() -> ConversationInfo {
    ConversationInfo {
        conversation: CONVERSATION,
        kind: ConversationKind::Direct,
        title: String::new(),
        members: vec![
            Member { user: ADA, name: "ada".into(), role: 1, delivered: 0, read: 0 },
            Member { user: BOB, name: "bob".into(), role: 1, delivered: 0, read: 0 },
        ],
        head: 0,
        floor: 1,
        active_ms: T,
        last: None,
    }
}
fn used_conversation() -> ConversationInfo {
    ConversationInfo {
        conversation: CONVERSATION,
        kind: ConversationKind::Direct,
        title: String::new(),
        members: vec![
            Member { user: ADA, name: "ada".into(), role: 1, delivered: 2, read: 1 },
            Member { user: BOB, name: "bob".into(), role: 1, delivered: 2, read: 2 },
        ],
        head: 2,
        floor: 1,
        active_ms: T + 60_020,
        last: Some(second_entry()),
    }
}
fn group() -> ConversationInfo {
    ConversationInfo {
        conversation: ConversationId(300),
        kind: ConversationKind::Group,
        title: "Lunch".into(),
        members: vec![Member {
            user: EVE,
            name: "eve".into(),
            role: 3,
            delivered: 70000,
            read: 251,
        }],
        head: 70000,
        floor: 250,
        active_ms: 1 << 32,
        last: None,
    }
}
fn limits() -> Limits {
    Limits {
        body_bytes: 16384,
        frame_bytes: 65536,
        message_bytes: 131_072,
        sends_in_flight: 64,
        requests_in_flight: 32,
        watched_users: 1000,
        window_bytes: 262_144,
    }
}

/// Every vector, by name.
pub fn all() -> Vec<(&'static str, Frame)> {
    let client = client::all().into_iter().map(|(name, frame)| (name, Frame::Client(frame)));
    let server = server::all().into_iter().map(|(name, frame)| (name, Frame::Server(frame)));
    client.chain(server).chain(people::all()).collect()
}

/// What the `accept` blocks decode to.
pub fn accepted() -> Vec<(&'static str, Frame)> {
    vec![
        (
            "trailing_bytes_in_a_payload",
            Frame::Server(rookery_protocol::server::Pong { nonce: 7 }.into()),
        ),
        (
            "trailing_bytes_in_an_empty_payload",
            Frame::Client(rookery_protocol::client::Leave {}.into()),
        ),
        (
            "an_integer_longer_than_needed",
            Frame::Client(rookery_protocol::client::Ping { nonce: 5 }.into()),
        ),
        (
            "a_length_longer_than_needed",
            Frame::Client(rookery_protocol::client::Ping { nonce: 5 }.into()),
        ),
    ]
}
