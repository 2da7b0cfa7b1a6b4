//! Requests that can't be carried out: each is answered with its code, the connection stays, and
//! what is good goes on.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that fails fails its test"
)]

mod support;

use rookery_protocol::client::{Describe, History, Mark, OpenDirect, Send, SetTyping, Watch};
use rookery_protocol::limits::{MAX_BODY_BYTES, MAX_WATCH_BATCH};
use rookery_protocol::{
    ClientFrame, ClientMsgId, ConversationId, Direction, EntryKind, ErrorCode, MarkKind,
    ServerFrame, UserId,
};
use support::Running;
use support::wire::{Client, User};

/// Ada, with a conversation with Bob, and one of other people.
struct Place {
    running: Running,
    ada: Client,
    conversation: ConversationId,
    foreign: ConversationId,
}

impl Place {
    async fn start() -> Self {
        let running = Running::start().await;
        let ada = User::sign_up(&running, "ada").await;
        let bob = User::sign_up(&running, "bob").await;
        User::sign_up(&running, "eve").await;
        let (mut bob, _) = Client::live(&running, &bob).await;
        let foreign = bob.open_direct("eve").await;
        let (mut ada, _) = Client::live(&running, &ada).await;
        let conversation = ada.open_direct("bob").await;
        Self { running, ada, conversation, foreign }
    }

    fn send(&self, id: ClientMsgId) -> Send {
        Send {
            request: 0,
            conversation: self.conversation,
            client_msg_id: id,
            retry: false,
            kind: EntryKind::Text,
            body: b"hello".to_vec(),
        }
    }

    /// The request is refused with this code, for good, and the connection lives.
    async fn refused(&mut self, frame: impl Fn(u32) -> ClientFrame, code: ErrorCode) {
        let request = self.ada.request();
        let frame = frame(request);
        self.ada.send(frame.clone()).await;
        match self.ada.answer(request).await {
            ServerFrame::Error(error) => {
                assert_eq!(error.code, code.code(), "{frame:?} {error:?}");
                assert!(!error.retryable, "{error:?}");
            }
            other => panic!("{frame:?} was answered by {other:?}"),
        }
    }
}

fn id(n: u8) -> ClientMsgId {
    ClientMsgId::from_parts(rookery_node::now_ms(), [n; 10])
}

#[tokio::test]
async fn a_send_that_cannot_be_is_refused_and_takes_no_place() {
    let mut place = Place::start().await;
    let good = place.send(id(1));
    let mut not_v7 = good.client_msg_id;
    not_v7.0[6] = 0x40;
    let foreign = place.foreign;
    let unknown = ConversationId(7);
    for (bad, code) in [
        (Send { body: vec![b'a', 0xff], ..good.clone() }, ErrorCode::BadText),
        (Send { body: Vec::new(), ..good.clone() }, ErrorCode::BadText),
        (Send { body: vec![b'a'; MAX_BODY_BYTES + 1], ..good.clone() }, ErrorCode::BodyTooLarge),
        (Send { client_msg_id: not_v7, ..good.clone() }, ErrorCode::BadField),
        (Send { kind: EntryKind::Other(9), ..good.clone() }, ErrorCode::BadField),
        (Send { conversation: foreign, ..good.clone() }, ErrorCode::NotAMember),
        (Send { conversation: unknown, ..good.clone() }, ErrorCode::NotAMember),
    ] {
        place.refused(|request| Send { request, ..bad.clone() }.into(), code).await;
    }
    let longest = Send { request: 500, body: vec![b'a'; MAX_BODY_BYTES], ..good };
    place.ada.send(longest).await;
    assert_eq!(place.ada.sent(500).await.seq, 1);
}

#[tokio::test]
async fn an_id_with_other_content_is_refused_and_the_first_stays() {
    let mut place = Place::start().await;
    let good = place.send(id(1));
    place.ada.send(Send { request: 500, ..good.clone() }).await;
    let first = place.ada.sent(500).await;
    let mut others = vec![
        Send { body: b"other".to_vec(), ..good.clone() },
        Send { kind: EntryKind::Opaque, ..good.clone() },
        Send { body: b"other".to_vec(), retry: true, ..good.clone() },
    ];
    for other in others.drain(..) {
        let code = ErrorCode::IdReused;
        place.refused(|request| Send { request, ..other.clone() }.into(), code).await;
    }
    // The same again is the same answer, with and without saying that it is a retry.
    for (request, retry) in [(501, true), (502, false)] {
        place.ada.send(Send { request, retry, ..good.clone() }).await;
        let again = place.ada.sent(request).await;
        assert_eq!((again.seq, again.time_ms, again.duplicate), (first.seq, first.time_ms, true));
    }
}

#[tokio::test]
async fn requests_for_what_is_not_there_or_not_ones_own_are_refused() {
    let mut place = Place::start().await;
    let open =
        |name: &'static str| move |request| OpenDirect { request, name: name.to_owned() }.into();
    place.refused(open("nobody"), ErrorCode::UnknownUser).await;
    place.refused(open(""), ErrorCode::UnknownUser).await;
    place.refused(open("ada"), ErrorCode::SelfConversation).await;
    for conversation in [place.foreign, ConversationId(7)] {
        let history = |limit, direction| {
            move |request| History { request, conversation, anchor: 0, direction, limit }.into()
        };
        let code = ErrorCode::NotAMember;
        place.refused(history(10, Direction::Before), code).await;
        place.refused(|request| Describe { request, conversation }.into(), code).await;
        place.refused(history(0, Direction::Before), ErrorCode::BadField).await;
        place.refused(history(1, Direction::Other(9)), ErrorCode::BadField).await;
    }
    let users = vec![UserId(1); MAX_WATCH_BATCH + 1];
    place
        .refused(|request| Watch { request, users: users.clone() }.into(), ErrorCode::BadField)
        .await;
    place.ada.assert_alive().await;
}

#[tokio::test]
async fn marks_and_typing_that_cannot_be_are_refused_without_a_number() {
    let mut place = Place::start().await;
    let (conversation, foreign) = (place.conversation, place.foreign);
    let mark = |conversation, kind, seq| -> ClientFrame { Mark { conversation, kind, seq }.into() };
    for (frame, code) in [
        (mark(conversation, MarkKind::Read, 1), ErrorCode::BeyondHead),
        (mark(conversation, MarkKind::Read, 0), ErrorCode::BadField),
        (mark(conversation, MarkKind::Other(9), 1), ErrorCode::BadField),
        (mark(foreign, MarkKind::Read, 1), ErrorCode::NotAMember),
        (SetTyping { conversation: foreign, active: true }.into(), ErrorCode::NotAMember),
    ] {
        place.ada.send(frame.clone()).await;
        let refused = place.ada.until(|frame| match frame {
            ServerFrame::Error(error) => Some((error.request, error.code)),
            _ => None,
        });
        assert_eq!(refused.await, (0, code.code()), "{frame:?}");
    }
    place.ada.assert_alive().await;
    drop(place.running);
}
