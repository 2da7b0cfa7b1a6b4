//! Every kind comes back as it was, news travels once for many, and nothing a peer sends panics.

use super::*;
use crate::message::{
    Batch, BatchEntry, ConversationMsg, Origin, Outgoing, PresenceMsg, Receipts, SendAnswer,
    SessionMsg, SessionRef,
};
use proptest::prelude::*;
use rookery_protocol::{
    Change, ClientMsgId, CloseCode, ConversationId, EntryKind, ErrorCode, MarkKind, SessionId,
    Status,
};
use rookery_store::{Slot, Version};
use std::sync::Arc;

const ME: NodeId = NodeId(77);
const HEADER: Header = Header { hops: 1, epoch: 300 };
const CONV: ConversationId = ConversationId(0xc0);

fn here(n: u64) -> SessionRef {
    SessionRef { user: UserId(n), session: SessionId(100 + n), node: ME }
}

fn batch(entries: u64, body: &[u8]) -> Arc<Batch> {
    let entries = (0..entries).map(|n| BatchEntry {
        seq: 5 + n,
        time_ms: 1_000 + n,
        device: DeviceId(9),
        client_msg_id: ClientMsgId([7; 16]),
        frame: usize::try_from(n).unwrap() * body.len()
            ..usize::try_from(n + 1).unwrap() * body.len(),
    });
    let entries: Vec<_> = entries.collect();
    let frames = Bytes::from(body.repeat(entries.len()));
    Arc::new(Batch { conversation: CONV, entries, frames, version: Version(1 << 40) })
}

fn receipts() -> Arc<Receipts> {
    Arc::new(Receipts { conversation: CONV, marks: vec![(UserId(1), MarkKind::Read, 9)] })
}

/// One envelope of every kind that travels.
fn every_kind() -> Vec<Envelope> {
    let away = SessionRef { node: NodeId(5), ..here(1) };
    let send = Outgoing {
        from: Origin { session: away, device: DeviceId(4) },
        id: ClientMsgId([1; 16]),
        retry: true,
        seen: Version(6),
        kind: EntryKind::Text,
        body: b"hello".to_vec(),
    };
    let change = Outgoing { kind: EntryKind::Group, ..send.clone() };
    let typing = (CONV, UserId(3), true);
    let conversation = [
        ConversationMsg::Send(send),
        ConversationMsg::Send(change),
        ConversationMsg::Mark { from: away, kind: MarkKind::Delivered, seq: 8 },
        ConversationMsg::Typing { from: away, active: false },
        ConversationMsg::Unsettled(crate::conversation::Unsettled {
            doubt_after: Some(4),
            marks: vec![(UserId(3), MarkKind::Read, 4)],
        }),
        ConversationMsg::Block { from: away, request: 3, blocked: true },
    ];
    let presence = [
        PresenceMsg::Register { session: SessionId(1), node: NodeId(5), device: DeviceId(2) },
        PresenceMsg::Unregister { session: SessionId(1), last_seen_ms: 1 << 42 },
        PresenceMsg::Watch(away),
        PresenceMsg::Unwatch(away),
        PresenceMsg::Deliver(batch(2, b"frame")),
        PresenceMsg::Receipts(receipts()),
        PresenceMsg::Typing { conversation: typing.0, user: typing.1, active: typing.2 },
        PresenceMsg::Changed(CONV, Change::Created),
        PresenceMsg::Away { session: SessionId(1), away: true },
        PresenceMsg::Own,
    ];
    let duplicate = SendAnswer::Duplicate { conversation: CONV, seq: 3, time_ms: 4 };
    let session = [
        SessionMsg::SendAnswer { id: ClientMsgId([2; 16]), answer: duplicate },
        SessionMsg::SendAnswer {
            id: ClientMsgId([2; 16]),
            answer: SendAnswer::Failed(ErrorCode::Moved),
        },
        SessionMsg::Refused(ErrorCode::BeyondHead),
        SessionMsg::End(CloseCode::Replaced),
        SessionMsg::HintsLost,
        SessionMsg::Own,
        SessionMsg::Answered { request: 3, refused: None },
        SessionMsg::Answered { request: 4, refused: Some(ErrorCode::Moved) },
        SessionMsg::HubsMoved(Arc::new([Slot(3), Slot(4_095)].into_iter().collect())),
        SessionMsg::Deliver(batch(1, b"")),
        SessionMsg::Receipts(receipts()),
        SessionMsg::Typing { conversation: typing.0, user: typing.1, active: typing.2 },
        SessionMsg::Changed(CONV, Change::Created),
        SessionMsg::Presence { user: UserId(2), status: Status::Away, last_seen_ms: 7 },
    ];
    let conversation = conversation.into_iter().map(|msg| Envelope::Conversation(CONV, msg));
    let presence = presence.into_iter().map(|msg| Envelope::Presence(UserId(6), msg));
    let session = session.into_iter().map(|msg| Envelope::Session(here(2), msg));
    conversation.chain(presence).chain(session).collect()
}

fn there_and_back(group: &[Envelope]) -> Vec<Envelope> {
    let message = encode(HEADER, group).unwrap();
    match decode(ME, &message).unwrap() {
        (HEADER, Content::Envelopes(envelopes)) => envelopes,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_kind_comes_back_as_it_was() {
    for envelope in every_kind() {
        let wanted = format!("{envelope:?}");
        let came = there_and_back(&[envelope]);
        assert_eq!(format!("{:?}", came.first().unwrap()), wanted);
    }
    for news in [
        News::EndDevice(UserId(1), DeviceId(2)),
        News::HubLost(UserId(3)),
        News::HubsLost,
        News::HintsLost,
        News::Look,
    ] {
        let message = encode_news(HEADER, &news);
        assert!(matches!(decode(ME, &message), Ok((_, Content::News(came))) if came == news));
    }
}

#[test]
fn what_many_are_told_travels_once_and_what_differs_does_not_join() {
    let shared = batch(3, &[9; 1000]);
    let mut envelopes: Vec<Envelope> = (1..=50)
        .map(|n| Envelope::Presence(UserId(n), PresenceMsg::Deliver(Arc::clone(&shared))))
        .collect();
    envelopes.push(Envelope::Presence(UserId(51), PresenceMsg::Deliver(batch(3, &[9; 1000]))));
    assert_eq!(group(&envelopes), 50);
    let message = encode(HEADER, &envelopes[..50]).unwrap();
    assert!(message.len() < 3_300, "{}", message.len());
    let came = there_and_back(&envelopes[..50]);
    assert_eq!(came.len(), 50);
    let frames = |envelope: &Envelope| match envelope {
        Envelope::Presence(_, PresenceMsg::Deliver(batch)) => batch.frames.as_ptr(),
        other => panic!("{other:?}"),
    };
    assert_eq!(frames(&came[0]), frames(&came[49]), "decoded once, not copied");
    assert_eq!(group(&[]), 0);
    let sends: Vec<Envelope> = every_kind().into_iter().take(1).chain(every_kind()).collect();
    assert_eq!(group(&sends), 1, "each send is a message of its own");
}

#[test]
fn what_is_only_for_the_own_node_has_no_message() {
    let own = [
        Envelope::Conversation(CONV, ConversationMsg::Wake),
        Envelope::Presence(UserId(1), PresenceMsg::HandOff),
        Envelope::Session(here(1), SessionMsg::HubLost),
    ];
    for envelope in own {
        assert_eq!(encode(HEADER, &[envelope]), None);
    }
}

#[test]
fn a_newer_version_is_understood_where_it_can_be() {
    let mut longer = encode_news(HEADER, &News::HubLost(UserId(3))).to_vec();
    longer.extend([1, 2, 3]);
    let decoded = decode(ME, &longer.into());
    assert!(matches!(decoded, Ok((_, Content::News(News::HubLost(UserId(3)))))));
    assert!(matches!(decode(ME, &vec![1, 250, 0, 7].into()), Ok((_, Content::Unknown(250)))));
    assert_eq!(decode(ME, &vec![2, 1, 0, 7].into()).unwrap_err(), WireError::Version(2));
}

#[test]
fn a_node_of_the_version_before_is_sent_no_kind_that_it_does_not_know() {
    for kind in 0..=u8::MAX {
        let known = matches!(kind, 1..=3 | 10..=17 | 30..=38 | 50..=54);
        assert_eq!(since(&vec![1, kind, 0, 7].into()), if known { 1 } else { 2 }, "{kind}");
    }
}

#[test]
fn a_message_has_exactly_these_bytes() {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let header = Header { hops: 0, epoch: 7 };
    let kinds = every_kind();
    // version, kind, hops, epoch; conversation; user, session, node; device; id; retry; seen; kind; body
    let send = encode(header, &kinds[..1]).unwrap();
    let wanted = format!("01010007 c0 016505 04 {} 01 06 01 0568656c6c6f", "01".repeat(16));
    assert_eq!(hex(&send), wanted.replace(' ', ""));
    // receivers; conversation, version, entries of seq, time, device, id, frame bytes; frames
    let deliver = Envelope::Presence(UserId(6), PresenceMsg::Deliver(batch(1, b"ab")));
    let wanted = format!(
        "010e0007 0106 c0 fd0000000000010000 01 05 fbe803 09 {} 02 026162",
        "07".repeat(16)
    );
    assert_eq!(hex(&encode(header, &[deliver]).unwrap()), wanted.replace(' ', ""));
}

#[test]
fn a_batch_that_lies_about_its_frames_is_refused() {
    let deliver = Envelope::Presence(UserId(6), PresenceMsg::Deliver(batch(1, b"ab")));
    let good = encode(HEADER, &[deliver]).unwrap();
    // Its frame ends elsewhere than the frames do.
    let mut bad = good.to_vec();
    let at = bad.len() - 4;
    for bytes in [1, 3, 250] {
        bad[at] = bytes;
        let decoded = decode(ME, &Bytes::copy_from_slice(&bad));
        assert_eq!(decoded.unwrap_err(), WireError::Malformed("batch"));
    }
}

#[test]
fn a_message_cut_off_anywhere_is_refused() {
    for envelope in every_kind() {
        let message = encode(HEADER, &[envelope]).unwrap();
        for len in 0..message.len() {
            assert!(decode(ME, &message.slice(..len)).is_err(), "{len} of {message:?}");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_understood_or_refused_and_never_panic(
        kind: u8, bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut message = vec![1, kind, 0, 1];
        message.extend(bytes);
        let _decoded = decode(ME, &message.into());
    }

    #[test]
    fn a_damaged_message_never_panics(which in 0_usize..20, at: prop::sample::Index, byte: u8) {
        let envelope = every_kind().into_iter().nth(which).unwrap();
        let mut message = encode(HEADER, &[envelope]).unwrap().to_vec();
        let at = at.index(message.len());
        message[at] = byte;
        if let Ok((_, Content::Envelopes(envelopes))) = decode(ME, &message.into()) {
            for envelope in envelopes {
                if let Envelope::Presence(_, PresenceMsg::Deliver(batch)) = envelope {
                    for entry in &batch.entries {
                        prop_assert!(batch.frames.get(entry.frame.clone()).is_some());
                    }
                }
            }
        }
    }
}
