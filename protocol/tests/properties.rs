//! What holds for all frames and all bytes: round trips, lengths, bounds, and no panic ever.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use rookery_protocol::limits::{self, Limits};
use rookery_protocol::server::{self, ServerFrame};
use rookery_protocol::types::ConversationInfo;
use rookery_protocol::{ClientFrame, DecodeError, Entry, client, frames};
use std::collections::BTreeSet;
use support::arbitrary::frame;
use support::{Frame, decode_message, vectors};

/// Bytes and elements that a frame's strings and lists hold: what decoding had to allocate.
fn held(frame: &Frame) -> usize {
    let strings = |all: &[String]| all.iter().map(|s| s.len() + 1).sum::<usize>();
    let entries = |all: &[Entry]| all.iter().map(|e| e.body.len() + 1).sum::<usize>();
    let info = |c: &ConversationInfo| {
        let members: usize = c.members.iter().map(|m| m.name.len() + 1).sum();
        c.title.len() + members + c.last.as_ref().map_or(0, |e| e.body.len())
    };
    match frame {
        Frame::Client(frame) => match frame {
            ClientFrame::Hello(f) => f.versions.len() + f.token.len() + f.agent.len(),
            ClientFrame::Send(f) => f.body.len(),
            ClientFrame::OpenDirect(f) => f.name.len(),
            ClientFrame::FindUsers(f) => strings(&f.names),
            ClientFrame::Watch(f) => f.users.len(),
            ClientFrame::Unwatch(f) => f.users.len(),
            ClientFrame::Authenticate(f) => f.token.len(),
            ClientFrame::Refresh(f) => f.refresh_token.len(),
            _ => 0,
        },
        Frame::Server(frame) => match frame {
            ServerFrame::Welcome(f) => f.name.len() + f.node.len() + strings(&f.endpoints),
            ServerFrame::Error(f) => f.detail.len(),
            ServerFrame::HistoryPage(f) => entries(&f.entries),
            ServerFrame::ConversationPage(f) => f.conversations.iter().map(|c| info(c) + 1).sum(),
            ServerFrame::Conversation(f) => info(&f.info),
            ServerFrame::Users(f) => f.users.iter().map(|u| u.name.len() + 1).sum(),
            ServerFrame::Group(f) => f.avatar.len() + f.link.len(),
            ServerFrame::ReadBy(f) => f.delivered.len() + f.read.len(),
            ServerFrame::Drain(f) => strings(&f.alternates),
            ServerFrame::Bye(f) => f.reason.len(),
            ServerFrame::Refreshed(f) => f.access_token.len() + f.refresh_token.len(),
            ServerFrame::Notice(f) => f.text.len(),
            ServerFrame::Message(f) => f.entry.body.len(),
            _ => 0,
        },
    }
}

/// Splits and decodes whatever the bytes are, and checks that nothing outgrew them.
fn survives(bytes: &[u8]) {
    let mut seen = 0;
    for raw in frames(bytes, limits::MAX_SERVER_FRAME_BYTES) {
        seen += 1;
        assert!(seen <= limits::MAX_FRAMES_PER_MESSAGE + 1);
        let Ok(raw) = raw else { continue };
        assert!(raw.payload.len() <= bytes.len());
        // Both directions, whatever the number's range says: a peer may send either.
        let client = ClientFrame::decode(raw).ok().flatten().map(Frame::Client);
        let server = ServerFrame::decode(raw).ok().flatten().map(Frame::Server);
        for frame in client.into_iter().chain(server) {
            assert!(held(&frame) <= raw.payload.len(), "{frame:?} out of {raw:?}");
        }
    }
}

fn send_with_payload_of(length: usize) -> Frame {
    let frame = |body: usize| {
        let body = vec![b'a'; body];
        let kind = rookery_protocol::EntryKind::Text;
        let conversation = rookery_protocol::ConversationId(1);
        let client_msg_id = rookery_protocol::ClientMsgId::default();
        Frame::Client(
            client::Send { request: 1, conversation, client_msg_id, retry: false, kind, body }
                .into(),
        )
    };
    // request 1, conversation 1, id 16, retry 1, kind 1, and the body's length of 1, 3 or 5.
    let fixed = 20;
    let body = [1, 3, 5].map(|head| length - fixed - head).into_iter().find(|body| {
        let head = match body {
            0..=250 => 1,
            251..=65_535 => 3,
            _ => 5,
        };
        fixed + head + body == length
    });
    frame(body.expect("some body makes a payload of this length"))
}

#[test]
fn the_arbitrary_frames_reach_every_number() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut reached = BTreeSet::new();
    for _ in 0..4000 {
        reached.insert(frame().new_tree(&mut runner).unwrap().current().number());
    }
    let all: BTreeSet<u8> = vectors::all().iter().map(|(_, frame)| frame.number()).collect();
    assert_eq!(reached, all);
}

#[test]
fn the_length_field_widens_at_its_edges() {
    let edges = [(249, 1), (250, 1), (251, 3), (252, 3), (65_535, 3), (65_536, 5), (65_537, 5)];
    for (length, width) in edges {
        let frame = send_with_payload_of(length);
        let bytes = frame.to_bytes();
        assert_eq!(bytes.len(), 1 + width + length, "payload of {length}");
        let expected = match width {
            1 => vec![u8::try_from(length).unwrap()],
            3 => [vec![251], u16::try_from(length).unwrap().to_le_bytes().to_vec()].concat(),
            _ => [vec![252], u32::try_from(length).unwrap().to_le_bytes().to_vec()].concat(),
        };
        assert_eq!(bytes[1..=width], expected, "payload of {length}");
        assert_eq!(decode_message(&bytes), Ok(vec![frame]), "payload of {length}");
    }
}

#[test]
fn a_frame_at_the_limit_passes_and_one_byte_more_is_refused() {
    for limit in [limits::MAX_CLIENT_FRAME_BYTES, limits::MAX_SERVER_FRAME_BYTES] {
        let bytes = send_with_payload_of(limit).to_bytes();
        assert_eq!(frames(&bytes, limit).next().unwrap().unwrap().payload.len(), limit);
        let bytes = send_with_payload_of(limit + 1).to_bytes();
        let refused = Err(DecodeError::TooLarge { length: limit as u64 + 1, limit });
        assert_eq!(frames(&bytes, limit).collect::<Vec<_>>(), [refused]);
    }
}

#[test]
fn a_length_beyond_the_bytes_is_refused_before_it_is_believed() {
    let huge = [0x05, 252, 0xff, 0xff, 0xff, 0xff];
    let refused = DecodeError::TooLarge { length: u64::from(u32::MAX), limit: 65_536 };
    assert_eq!(frames(&huge, 65_536).collect::<Vec<_>>(), [Err(refused)]);
    let cut = [0x05, 251, 0xff, 0xff, 0x00];
    assert_eq!(frames(&cut, 65_536).collect::<Vec<_>>(), [Err(DecodeError::Truncated)]);
}

#[test]
fn a_message_holds_as_many_frames_as_allowed_and_not_one_more() {
    let leave = Frame::Client(client::Leave {}.into()).to_bytes();
    let full = leave.repeat(limits::MAX_FRAMES_PER_MESSAGE);
    assert_eq!(decode_message(&full).unwrap().len(), limits::MAX_FRAMES_PER_MESSAGE);
    let over = leave.repeat(limits::MAX_FRAMES_PER_MESSAGE + 1);
    assert_eq!(decode_message(&over), Err(DecodeError::TooMany));
}

#[test]
fn the_limits_told_to_a_client_are_the_constants_exactly() {
    let told = Limits::with_window(limits::DEFAULT_WINDOW_BYTES);
    assert_eq!(told.body_bytes as usize, limits::MAX_BODY_BYTES);
    assert_eq!(told.frame_bytes as usize, limits::MAX_CLIENT_FRAME_BYTES);
    assert_eq!(told.message_bytes as usize, limits::MAX_CLIENT_MESSAGE_BYTES);
    assert_eq!(usize::from(told.sends_in_flight), limits::MAX_SENDS_IN_FLIGHT);
    assert_eq!(usize::from(told.requests_in_flight), limits::MAX_REQUESTS_IN_FLIGHT);
    assert_eq!(usize::from(told.watched_users), limits::MAX_WATCHED);
    assert_eq!(told.window_bytes, limits::DEFAULT_WINDOW_BYTES);
}

#[test]
fn the_largest_send_fits_a_frame_and_the_largest_page_fits_a_server_frame() {
    // Fixed part of a Send: request 5, conversation 9, id 16, retry 1, kind 1, length 3.
    const { assert!(limits::MAX_BODY_BYTES + 35 <= limits::MAX_CLIENT_FRAME_BYTES) };
    const { assert!(limits::MAX_CLIENT_FRAME_BYTES + 6 <= limits::MAX_CLIENT_MESSAGE_BYTES) };
    // A page may pass MAX_PAGE_BYTES by its last entry.
    const {
        let most = limits::MAX_PAGE_BYTES + limits::MAX_BODY_BYTES + 128;
        assert!(most <= limits::MAX_SERVER_FRAME_BYTES);
    };
    let body = vec![0xff; limits::MAX_BODY_BYTES];
    let entry = Entry {
        seq: u64::MAX,
        sender: rookery_protocol::UserId(u64::MAX),
        device: rookery_protocol::DeviceId(u64::MAX),
        time_ms: u64::MAX,
        client_msg_id: rookery_protocol::ClientMsgId::default(),
        kind: rookery_protocol::EntryKind::Opaque,
        body,
    };
    let entries = vec![entry; limits::MAX_PAGE_BYTES / limits::MAX_BODY_BYTES + 1];
    let page = Frame::Server(
        server::HistoryPage {
            request: u32::MAX,
            conversation: rookery_protocol::ConversationId(u64::MAX),
            entries,
            head: u64::MAX,
            floor: u64::MAX,
            more: true,
        }
        .into(),
    );
    assert_eq!(decode_message(&page.to_bytes()), Ok(vec![page]));
}

proptest! {
    #[test]
    fn a_frame_decodes_to_itself(frame in frame()) {
        prop_assert_eq!(decode_message(&frame.to_bytes()), Ok(vec![frame]));
    }

    #[test]
    fn a_frames_length_is_its_payloads_length(frame in frame()) {
        let bytes = frame.to_bytes();
        let split: Vec<_> = frames(&bytes, limits::MAX_SERVER_FRAME_BYTES).collect();
        prop_assert_eq!(split.len(), 1);
        let raw = split[0].clone().unwrap();
        prop_assert_eq!(raw.number, frame.number());
        let width = if raw.payload.len() <= 250 { 1 } else { 3 };
        prop_assert_eq!(bytes.len(), 1 + width + raw.payload.len());
        prop_assert!(held(&frame) <= raw.payload.len());
    }

    #[test]
    fn several_frames_come_out_as_they_went_in(sent in vec(frame(), 0..20)) {
        let message: Vec<u8> = sent.iter().flat_map(Frame::to_bytes).collect();
        prop_assert_eq!(decode_message(&message), Ok(sent));
    }

    #[test]
    fn a_frame_of_an_unknown_number_is_skipped(
        before in frame(),
        number in any::<u8>().prop_filter("a number that no frame has", |number| {
            vectors::all().iter().all(|(_, frame)| frame.number() != *number)
        }),
        payload in vec(any::<u8>(), 0..=250),
        after in frame(),
    ) {
        let mut message = before.to_bytes();
        message.extend([number, u8::try_from(payload.len()).unwrap()]);
        message.extend(payload);
        message.extend(after.to_bytes());
        prop_assert_eq!(decode_message(&message), Ok(vec![before, after]));
    }

    #[test]
    fn trailing_bytes_of_a_payload_are_skipped(
        frame in frame(),
        trailing in vec(any::<u8>(), 1..50),
    ) {
        let bytes = frame.to_bytes();
        let raw = frames(&bytes, limits::MAX_SERVER_FRAME_BYTES).next().unwrap().unwrap();
        let payload = [raw.payload, &trailing].concat();
        let longer = rookery_protocol::RawFrame { number: raw.number, payload: &payload };
        prop_assert_eq!(Frame::decode(longer), Ok(Some(frame)));
    }

    #[test]
    fn a_frame_cut_anywhere_is_refused(frame in frame(), at in any::<prop::sample::Index>()) {
        let bytes = frame.to_bytes();
        let cut = at.index(bytes.len());
        if cut > 0 {
            prop_assert_eq!(decode_message(&bytes[..cut]), Err(DecodeError::Truncated));
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..2000)) {
        survives(&bytes);
    }

    #[test]
    fn a_known_number_with_random_payload_never_panics(
        number in prop_oneof![0x01..=0x0f_u8, 0x80..=0x8c_u8, 0xc0..=0xc4_u8],
        payload in vec(prop_oneof![0..4_u8, 248..=255_u8, any::<u8>()], 0..=250),
    ) {
        let mut bytes = vec![number, u8::try_from(payload.len()).unwrap()];
        bytes.extend(payload);
        survives(&bytes);
    }

    #[test]
    fn mutated_frames_never_panic(
        sent in vec(frame(), 1..4),
        damage in vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..8),
    ) {
        let mut bytes: Vec<u8> = sent.iter().flat_map(Frame::to_bytes).collect();
        for (at, value, how) in damage {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = value,
                1 => bytes.insert(at, value),
                _ if bytes.len() > 1 => drop(bytes.remove(at)),
                _ => {}
            }
        }
        survives(&bytes);
    }
}
