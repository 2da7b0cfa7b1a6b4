//! The wire belongs to a format, not to one crate: another implementation reads the same bytes.
//!
//! bincode 2 is complete but no longer maintained (RUSTSEC-2025-0141). Should it have to go, the
//! wire must not move. `wincode` implements the format on its own (it shares no code with bincode);
//! here it reads every golden vector and arbitrary frames into types declared a second time, and
//! writes them back byte for byte. A third implementation is `clients/js/codec.js`, which is tested
//! against the same golden vectors.
#![allow(clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use proptest::prelude::*;
use rookery_protocol::{ServerFrame, frames, limits};
use support::arbitrary::frame;
use support::file::{Claim, blocks};
use support::hex;
use wincode::config::Configuration;

/// The standard configuration of bincode 2: little endian, variable-length integers.
const FORMAT: Format = Configuration::default().with_varint_encoding();
type Format = Configuration<
    true,
    { wincode::config::DEFAULT_PREALLOCATION_SIZE_LIMIT },
    wincode::len::BincodeLen,
    wincode::int_encoding::LittleEndian,
    wincode::int_encoding::VarInt,
>;

/// Declares the types of the wire once more, for wincode.
macro_rules! wire {
    ($($name:ident { $($field:ident: $type:ty),* $(,)? })+) => {
        $(
            #[derive(Debug, PartialEq, wincode::SchemaRead, wincode::SchemaWrite)]
            struct $name { $($field: $type),* }
        )+
    };
}

wire! {
    Resume { session: u64, secret: [u8; 16], received: u64 }
    Cursor { epoch: u32, stamp: [u8; 12] }
    Entry {
        seq: u64, sender: u64, device: u64, time_ms: u64, client_msg_id: [u8; 16], kind: u8,
        body: Vec<u8>,
    }
    Member { user: u64, name: String, role: u8, delivered: u64, read: u64 }
    ConversationInfo {
        conversation: u64, kind: u8, title: String, members: Vec<Member>, head: u64, floor: u64,
        active_ms: u64, last: Option<Entry>,
    }
    ListCursor { active_ms: u64, conversation: u64 }
    Person { user: u64, name: String, contact: bool, blocked: bool }
    OwnState { conversation: u64, muted_until_ms: u64, archived: bool, unread: bool }
    DeviceInfo { device: u64, name: String, created_ms: u64, seen_ms: u64 }
    Limits {
        body_bytes: u32, frame_bytes: u32, message_bytes: u32, sends_in_flight: u16,
        requests_in_flight: u16, watched_users: u16, window_bytes: u32,
    }
}

/// Declares the frames, and reads and writes one by its number.
macro_rules! wire_frames {
    ($($number:literal $name:ident { $($field:ident: $type:ty),* $(,)? })+) => {
        wire! { $($name { $($field: $type),* })+ }

        /// Reads a payload and writes it again; `None` for an unknown number.
        fn rewrite(number: u8, payload: &[u8]) -> Option<Result<Vec<u8>, String>> {
            match number {
                $($number => Some(read::<$name>(payload).and_then(|value| write(&value))),)+
                _ => None,
            }
        }
    };
}

wire_frames! {
    0x01 Hello {
        versions: Vec<u16>, token: String, resume: Option<Resume>, agent: String,
        window_bytes: u32,
    }
    0x02 Ping { nonce: u32 }
    0x03 Ack { received: u64 }
    0x04 Sync { request: u32, cursor: Option<Cursor> }
    0x05 Send {
        request: u32, conversation: u64, client_msg_id: [u8; 16], retry: bool, kind: u8,
        body: Vec<u8>,
    }
    0x06 Mark { conversation: u64, kind: u8, seq: u64 }
    0x07 SetTyping { conversation: u64, active: bool }
    0x08 History { request: u32, conversation: u64, anchor: u64, direction: u8, limit: u16 }
    0x09 Conversations { request: u32, limit: u16, after: Option<ListCursor> }
    0x0a OpenDirect { request: u32, name: String }
    0x0b Describe { request: u32, conversation: u64 }
    0x0c Watch { request: u32, users: Vec<u64> }
    0x0d Unwatch { users: Vec<u64> }
    0x0e Authenticate { request: u32, token: String }
    0x0f Leave {}
    0x20 People { request: u32, limit: u16, after: Option<u64> }
    0x21 SetContact { request: u32, user: u64, contact: bool }
    0x22 SetBlocked { request: u32, user: u64, blocked: bool }
    0x23 Report { request: u32, conversation: u64, seq: u64, reason: u8, comment: String }
    0x24 SetOwnState {
        request: u32, conversation: u64, muted_until_ms: Option<u64>, archived: Option<bool>,
        unread: Option<bool>,
    }
    0x25 OwnStates { request: u32, conversations: Vec<u64> }
    0x26 GetPrivacy { request: u32 }
    0x27 SetPrivacy { request: u32, presence: u8, last_seen: u8, receipts: u8 }
    0x28 SetAway { away: bool }
    0x29 Devices { request: u32, limit: u16, after: Option<u64> }
    0x2a NameDevice { request: u32, device: u64, name: String }
    0x2b RevokeDevice { request: u32, device: u64 }
    0x30 Refresh { request: u32, refresh_token: String }
    0x80 Welcome {
        version: u16, session: u64, secret: [u8; 16], resumed: bool, user: u64, device: u64,
        name: String, heartbeat_ms: u32, grace_ms: u32, server_time_ms: u64,
        token_expires_ms: u64, limits: Limits, node: String, endpoints: Vec<String>,
    }
    0x81 Pong { nonce: u32 }
    0x82 Error {
        request: u32, code: u16, class: u8, retryable: bool, retry_after_ms: u32, detail: String,
    }
    0x83 HistoryPage {
        request: u32, conversation: u64, entries: Vec<Entry>, head: u64, floor: u64, more: bool,
    }
    0x84 ConversationPage {
        request: u32, conversations: Vec<ConversationInfo>, next: Option<ListCursor>,
    }
    0x85 Conversation { request: u32, created: bool, info: ConversationInfo }
    0x86 Presence { user: u64, status: u8, last_seen_ms: u64 }
    0x87 Typing { conversation: u64, user: u64, active: bool }
    0x88 Behind {}
    0x89 Drain { reconnect_after_ms: u32, alternates: Vec<String> }
    0x8a Bye { code: u16, reason: String }
    0x8c Done { request: u32 }
    0x98 PeoplePage { request: u32, people: Vec<Person>, next: Option<u64> }
    0x99 OwnStatePage { request: u32, states: Vec<OwnState> }
    0x9a Privacy { request: u32, presence: u8, last_seen: u8, receipts: u8 }
    0x9b DevicePage { request: u32, devices: Vec<DeviceInfo>, next: Option<u64> }
    0xa0 Refreshed {
        request: u32, access_token: String, access_expires_ms: u64, refresh_token: String,
    }
    0xa1 Notice { notice: u64, time_ms: u64, text: String }
    0xc0 Message { conversation: u64, entry: Entry }
    0xc1 Sent {
        request: u32, conversation: u64, client_msg_id: [u8; 16], seq: u64, time_ms: u64,
        duplicate: bool,
    }
    0xc2 Receipt { conversation: u64, user: u64, kind: u8, seq: u64 }
    0xc3 ConversationChanged { conversation: u64, change: u8 }
    0xc4 CaughtUp { request: u32, cursor: Cursor }
    0xc5 TooFar { request: u32, cursor: Cursor }
    0xd0 OwnChanged { kind: u8, id: u64 }
}

fn read<T>(payload: &[u8]) -> Result<T, String>
where
    T: for<'de> wincode::SchemaRead<'de, Format, Dst = T>,
{
    wincode::config::deserialize_exact(payload, FORMAT).map_err(|e| e.to_string())
}

fn write<T>(value: &T) -> Result<Vec<u8>, String>
where
    T: wincode::SchemaWrite<Format, Src = T>,
{
    wincode::config::serialize(value, FORMAT).map_err(|e| e.to_string())
}

/// The frame as wincode writes it after having read it, header included.
fn through_wincode(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for raw in frames(bytes, limits::MAX_SERVER_FRAME_BYTES) {
        let raw = raw.expect("a whole frame");
        let payload = rewrite(raw.number, raw.payload)
            .unwrap_or_else(|| panic!("frame 0x{:02x} is not declared here", raw.number))
            .unwrap_or_else(|e| panic!("frame 0x{:02x}: {e}", raw.number));
        out.push(raw.number);
        out.extend(write(&u32::try_from(payload.len()).expect("a length")).expect("a u32"));
        out.extend(payload);
    }
    out
}

#[test]
fn the_other_implementation_is_set_to_the_same_format() {
    assert_eq!(write(&65_536_u32), Ok(vec![252, 0, 0, 1, 0]));
}

#[test]
fn the_other_implementation_rewrites_every_golden_vector_byte_for_byte() {
    let vectors: Vec<_> = blocks().into_iter().filter(|b| b.claim == Claim::Vector).collect();
    assert!(vectors.len() >= 33);
    for block in vectors {
        assert_eq!(hex(&through_wincode(&block.bytes)), hex(&block.bytes), "{}", block.name);
    }
}

#[test]
fn the_other_implementation_sees_the_same_values() {
    let block = blocks().into_iter().find(|b| b.name == "sent").expect("the vector `sent`");
    let raw = frames(&block.bytes, 1000).next().expect("a frame").expect("a whole frame");
    let sent: Sent = read(raw.payload).expect("a Sent");
    let decoded = ServerFrame::decode(raw).expect("a Sent");
    let Some(ServerFrame::Sent(ours)) = decoded else { panic!("{decoded:?} is no Sent") };
    let theirs = Sent {
        request: ours.request,
        conversation: ours.conversation.0,
        client_msg_id: ours.client_msg_id.0,
        seq: ours.seq,
        time_ms: ours.time_ms,
        duplicate: ours.duplicate,
    };
    assert_eq!(sent, theirs);
}

#[test]
fn the_other_implementation_refuses_what_ours_refuses() {
    for block in blocks().into_iter().filter(|b| b.claim == Claim::Refuse) {
        for raw in frames(&block.bytes, limits::MAX_SERVER_FRAME_BYTES).flatten() {
            let outcome = rewrite(raw.number, raw.payload);
            assert!(matches!(outcome, Some(Err(_))), "{}: {outcome:?}", block.name);
        }
    }
}

proptest! {
    #[test]
    fn the_other_implementation_rewrites_any_frame_byte_for_byte(frame in frame()) {
        let bytes = frame.to_bytes();
        prop_assert_eq!(through_wincode(&bytes), bytes);
    }
}
