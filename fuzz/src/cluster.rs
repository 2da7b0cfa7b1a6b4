//! What nodes say to each other: greetings, frames of a link, messages of actors in them.

use bytes::Bytes;
use rookery_actors::link::NodeKey;
use rookery_actors::link::frame::{self, BATCH_BYTES, Frame, Header};
use rookery_actors::link::greeting::{Answer, Greeting, Refusal};
use rookery_actors::message::{BatchEntry, Outgoing, Receipts};
use rookery_actors::wire::{self, Content, News};
use rookery_actors::{
    Batch, ConversationMsg, Envelope, NodeId, Origin, PresenceMsg, SendAnswer, SessionMsg,
    SessionRef,
};
use rookery_protocol::{
    Change, ClientMsgId, CloseCode, ConversationId, DeviceId, EntryKind, ErrorCode, MarkKind,
    SessionId, Status, UserId,
};
use rookery_store::Version;
use std::sync::Arc;

const ME: NodeId = NodeId(77);

/// A frame of a link, and the actors' messages in it.
pub(crate) fn link_frame(bytes: &[u8]) {
    let Ok(frame) = Frame::decode(Bytes::copy_from_slice(bytes)) else { return };
    let payload: usize = frame.messages.iter().map(Bytes::len).sum();
    assert!(payload <= bytes.len());
    // A beat is also a data frame without a message; both say the same.
    let again = frame::data(&frame.header, frame.first, frame.messages.iter(), payload);
    assert_eq!(Frame::decode(again.into()).as_ref(), Ok(&frame));
    for message in &frame.messages {
        decode(message);
    }
}

/// Beats, and data frames of one to three messages.
pub(crate) fn link_frames() -> Vec<Vec<u8>> {
    let header = Header {
        version: frame::NEWEST_VERSION,
        from: NodeKey { node: 1, incarnation: 2 },
        to: NodeKey { node: 3, incarnation: 4 },
        ack: 5,
        base: 6,
        beat: 7,
        echo: 8,
        window: u32::try_from(BATCH_BYTES).unwrap_or_default(),
    };
    let messages: Vec<Bytes> = messages().into_iter().map(Bytes::from).collect();
    let data = |messages: &[Bytes]| {
        frame::data(&header, 10, messages.iter(), messages.iter().map(Bytes::len).sum())
    };
    let mut seeds = vec![frame::beat(&header), data(&[])];
    seeds.extend(messages.chunks(3).map(data));
    seeds
}

/// The first words of either side of a link.
pub(crate) fn greeting(body: &[u8]) {
    if let Ok(greeting) = Greeting::decode(body) {
        let again = greeting.encode();
        assert_eq!(Greeting::decode(&again[2..]).as_ref(), Ok(&greeting));
    }
    if let Ok(answer) = Answer::decode(body) {
        let again = answer.encode();
        assert_eq!(Answer::decode(&again[2..]).as_ref(), Ok(&answer));
    }
}

/// A greeting, and answers of both kinds.
pub(crate) fn greetings() -> Vec<Vec<u8>> {
    let greeting = Greeting {
        oldest: 1,
        newest: 3,
        cluster: "c".to_owned(),
        name: "n1".to_owned(),
        incarnation: 5,
        to_name: "n2".to_owned(),
        to_incarnation: 6,
        routers: vec![7, 8],
    };
    let welcome = Answer::Welcome { version: 1, routers: vec![9] };
    let refused = Answer::Refused(Refusal::Cluster);
    // What follows the length.
    [greeting.encode(), welcome.encode(), refused.encode()].map(|bytes| bytes[2..].to_vec()).into()
}

/// A message between actors.
pub(crate) fn message(bytes: &[u8]) {
    decode(&Bytes::copy_from_slice(bytes));
}

fn decode(message: &Bytes) {
    match wire::decode(ME, message) {
        Ok((header, Content::Envelopes(envelopes))) => {
            let group = wire::group(&envelopes);
            let Some(envelopes) = envelopes.get(..group).filter(|group| !group.is_empty()) else {
                return;
            };
            let again = wire::encode(header, envelopes).unwrap();
            let Ok((_, Content::Envelopes(came))) = wire::decode(ME, &again) else {
                panic!("what was received can't be sent on: {envelopes:?}");
            };
            assert_eq!(format!("{came:?}"), format!("{envelopes:?}"));
        }
        Ok((header, Content::News(news))) => {
            let again = wire::decode(ME, &wire::encode_news(header, &news));
            assert!(matches!(again, Ok((_, Content::News(came))) if came == news));
        }
        Ok((_, Content::Unknown(_))) | Err(_) => {}
    }
}

/// One message of every kind that travels.
pub(crate) fn messages() -> Vec<Vec<u8>> {
    let header = wire::Header { hops: 1, epoch: 300 };
    let news = [
        News::EndDevice(UserId(1), DeviceId(2)),
        News::HubLost(UserId(3)),
        News::HubsLost,
        News::HintsLost,
        News::Look,
    ];
    let news = news.iter().map(|news| wire::encode_news(header, news));
    let envelopes = envelopes();
    let told = envelopes.chunks(1).filter_map(|one| wire::encode(header, one));
    news.chain(told).map(|message| message.to_vec()).collect()
}

fn envelopes() -> Vec<Envelope> {
    let conversation = ConversationId(0xc0);
    let here = SessionRef { user: UserId(2), session: SessionId(102), node: ME };
    let away = SessionRef { node: NodeId(5), ..here };
    let (user, seq, time_ms) = (UserId(3), 3, 4);
    let device = DeviceId(4);
    let id = ClientMsgId([1; 16]);
    let entry = BatchEntry { seq, time_ms, device, client_msg_id: id, frame: 0..5 };
    let frames = Bytes::from_static(b"frame");
    let batch = Batch { conversation, entries: vec![entry], frames, version: Version(1 << 40) };
    let batch = Arc::new(batch);
    let receipts = Arc::new(Receipts { conversation, marks: vec![(user, MarkKind::Read, 9)] });
    let send = Outgoing {
        from: Origin { session: away, device },
        id,
        retry: true,
        seen: Version(6),
        kind: EntryKind::Text,
        body: b"hello".to_vec(),
    };
    let session = here.session;
    let duplicate = SendAnswer::Duplicate { conversation, seq, time_ms };
    let failed = SendAnswer::Failed(ErrorCode::Moved);
    let to_conversation = [
        ConversationMsg::Send(send),
        ConversationMsg::Mark { from: away, kind: MarkKind::Delivered, seq },
        ConversationMsg::Typing { from: away, active: false },
    ];
    let to_hub = [
        PresenceMsg::Register { session, node: NodeId(5), device },
        PresenceMsg::Unregister { session, last_seen_ms: 1 << 42 },
        PresenceMsg::Watch(away),
        PresenceMsg::Unwatch(away),
        PresenceMsg::Deliver(Arc::clone(&batch)),
        PresenceMsg::Receipts(Arc::clone(&receipts)),
        PresenceMsg::Typing { conversation, user, active: true },
        PresenceMsg::Changed(conversation, Change::Created),
    ];
    let to_session = [
        SessionMsg::SendAnswer { id, answer: duplicate },
        SessionMsg::SendAnswer { id, answer: failed },
        SessionMsg::Refused(ErrorCode::BeyondHead),
        SessionMsg::End(CloseCode::Replaced),
        SessionMsg::HintsLost,
        SessionMsg::Deliver(batch),
        SessionMsg::Receipts(receipts),
        SessionMsg::Typing { conversation, user, active: true },
        SessionMsg::Changed(conversation, Change::Created),
        SessionMsg::Presence { user, status: Status::Away, last_seen_ms: 7 },
    ];
    let conversations =
        to_conversation.into_iter().map(|msg| Envelope::Conversation(conversation, msg));
    let hubs = to_hub.into_iter().map(|msg| Envelope::Presence(user, msg));
    let sessions = to_session.into_iter().map(|msg| Envelope::Session(here, msg));
    conversations.chain(hubs).chain(sessions).collect()
}
