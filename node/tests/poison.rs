//! Panics and overload behind open connections: sessions, conversations, full inboxes, and the end
//! of a node whose actors give up. Over real WebSockets.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that fails fails its test"
)]

mod support;

use rookery_actors::{ConversationMsg, Envelope, SessionMsg, SessionRef};
use rookery_node::run::{Signals, run};
use rookery_protocol::client::{Ack, Describe, History, Mark, Send, Sync};
use rookery_protocol::server::Welcome;
use rookery_protocol::{
    ClientFrame, ClientMsgId, CloseCode, ConversationId, Cursor, Direction, EntryKind, ErrorCode,
    MarkKind, ServerFrame,
};
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use support::wire::{Client, Goodbye, User};
use support::{Running, config};

fn tell(running: &Running, envelope: Envelope) {
    running.node.state().gateway.actors().tell(envelope).unwrap();
}

fn poison_session(running: &Running, welcome: &Welcome) {
    let node = running.node.state().gateway.actors().node();
    let session = SessionRef { user: welcome.user, session: welcome.session, node };
    tell(running, Envelope::Session(session, SessionMsg::Poison));
}

async fn sync(client: &mut Client, cursor: Option<Cursor>) -> u32 {
    let request = client.request();
    client.send(Sync { request, cursor }).await;
    request
}

async fn caught_up(client: &mut Client, request: u32) -> Cursor {
    match client.answer(request).await {
        ServerFrame::CaughtUp(caught_up) => caught_up.cursor,
        other => panic!("{other:?}"),
    }
}

/// Two users, their conversation, and clients of both that get everything.
struct Talk {
    running: Running,
    ada: Client,
    bob: Client,
    bob_user: User,
    bob_welcome: Welcome,
    bob_cursor: Cursor,
    conversation: ConversationId,
}

impl Talk {
    async fn start() -> Self {
        let running = Running::start().await;
        let ada = User::sign_up(&running, "ada").await;
        let bob_user = User::sign_up(&running, "bob").await;
        let (mut ada, _) = Client::live(&running, &ada).await;
        let conversation = ada.open_direct("bob").await;
        let (mut bob, bob_welcome) = Client::welcomed(&running, &bob_user).await;
        let request = sync(&mut bob, None).await;
        let bob_cursor = caught_up(&mut bob, request).await;
        Self { running, ada, bob, bob_user, bob_welcome, bob_cursor, conversation }
    }

    async fn ada_says(&mut self, count: u64) {
        for _ in 0..count {
            let request = self.ada.say(self.conversation, "hello").await;
            self.ada.sent(request).await;
        }
    }
}

#[tokio::test]
async fn a_panic_of_a_session_keeps_its_connection_and_the_device_goes_on_from_its_cursor() {
    let mut talk = Talk::start().await;
    // A neighbour: whatever it is told, it's nothing but the messages.
    let (mut second, _) = Client::live(&talk.running, &talk.bob_user).await;
    talk.ada_says(5).await;
    for seq in 1..=5 {
        assert_eq!(talk.bob.delivered().await.entry.seq, seq);
    }
    let mut welcome = talk.bob_welcome.clone();
    let mut cursor = talk.bob_cursor;
    let mut seen = 5;
    for round in 0..4 {
        poison_session(&talk.running, &welcome);
        // Said before the new Welcome is seen: counts of a session that is no more.
        talk.bob.send(Ack { received: talk.bob.received + 100 * round }).await;
        if round % 2 == 1 {
            let request = talk.bob.request();
            let again = Sync { request, cursor: Some(cursor) };
            talk.bob.send_all(&[again.into(), Ack { received: 1_000 }.into()]).await;
        }
        talk.ada_says(5).await;
        let told = talk.bob.until(|frame| match frame {
            ServerFrame::Welcome(welcome) => Some(welcome.clone()),
            _ => None,
        });
        let fresh = told.await;
        assert!(!fresh.resumed);
        assert_ne!(fresh.session, welcome.session);
        welcome = fresh;
        talk.bob.received = 0;
        let request = sync(&mut talk.bob, Some(cursor)).await;
        // Everything after the cursor, in order, up to the newest at least.
        let mut next = None;
        loop {
            match talk.bob.frame().await {
                ServerFrame::Message(message) => {
                    let seq = message.entry.seq;
                    // A stale Sync may have begun before; what counts is what came last.
                    assert!(next.is_none_or(|next| seq == next || seq <= seen + 1), "{seq}");
                    next = Some(seq + 1);
                    seen = seen.max(seq);
                }
                ServerFrame::CaughtUp(f) if f.request == request => {
                    cursor = f.cursor;
                    break;
                }
                ServerFrame::Error(error) => assert_eq!(error.code, ErrorCode::BadAck.code()),
                _ => {}
            }
        }
        assert_eq!(seen, 10 + 5 * round);
    }
    let request = talk.bob.say(talk.conversation, "still here").await;
    assert_eq!(talk.bob.sent(request).await.seq, seen + 1);
    let mut seq = 1;
    while seq <= seen + 1 {
        match second.frame().await {
            ServerFrame::Message(message) => assert_eq!(message.entry.seq, seq),
            ServerFrame::Welcome(_) | ServerFrame::Error(_) => panic!("a neighbour was disturbed"),
            _ => continue,
        }
        seq += 1;
    }
}

#[tokio::test]
async fn a_session_that_panics_again_and_again_costs_the_connection_with_a_code_to_come_back() {
    let mut talk = Talk::start().await;
    let mut welcome = talk.bob_welcome.clone();
    for _ in 0..8 {
        poison_session(&talk.running, &welcome);
        welcome = talk.bob.welcome().await;
    }
    poison_session(&talk.running, &welcome);
    let end = Goodbye::with(Some(ErrorCode::Internal), CloseCode::Internal);
    assert_eq!(talk.bob.goodbye().await, end);
    assert!(CloseCode::Internal.code() < 4100, "clients come back by themselves");
    let (mut bob, _) = Client::live(&talk.running, &talk.bob_user).await;
    bob.assert_alive().await;
}

#[tokio::test]
async fn panics_of_a_conversation_under_load_lose_and_double_nothing() {
    const MESSAGES: u64 = 120;
    let mut talk = Talk::start().await;
    let frame = |request: u32, retry: bool| Send {
        request,
        conversation: talk.conversation,
        client_msg_id: id_of(request),
        retry,
        kind: EntryKind::Text,
        body: request.to_be_bytes().to_vec().iter().map(|byte| byte % 100).collect(),
    };
    let mut places: BTreeMap<u32, u64> = BTreeMap::new();
    // Four at a time, so that a panic meets sends in the line, in a commit, and answered.
    let mut next = 1000;
    let mut poisoned = 0;
    let mut open: Vec<(u32, bool)> = Vec::new();
    while places.len() < usize::try_from(MESSAGES).unwrap() {
        while open.len() < 4 && u64::from(next - 1000) < MESSAGES {
            open.push((next, false));
            talk.ada.send(frame(next, false)).await;
            next += 1;
        }
        if next % 30 == 0 && std::mem::replace(&mut poisoned, next) != next {
            tell(&talk.running, Envelope::Conversation(talk.conversation, ConversationMsg::Poison));
        }
        match talk.ada.frame().await {
            ServerFrame::Sent(sent) => {
                assert_eq!(sent.client_msg_id, id_of(sent.request));
                places.insert(sent.request, sent.seq);
                open.retain(|(request, _)| *request != sent.request);
            }
            ServerFrame::Error(error) => {
                assert!(error.retryable, "{error:?}");
                talk.ada.send(frame(error.request, true)).await;
            }
            _ => {}
        }
    }
    let mut by_seq: BTreeMap<u64, ClientMsgId> = BTreeMap::new();
    for (request, seq) in &places {
        assert_eq!(by_seq.insert(*seq, id_of(*request)), None, "a place was given twice");
    }
    assert_eq!(by_seq.keys().copied().collect::<Vec<_>>(), (1..=MESSAGES).collect::<Vec<_>>());
    for (seq, id) in by_seq {
        let entry = talk.bob.delivered().await.entry;
        assert_eq!((entry.seq, entry.client_msg_id), (seq, id));
    }
}

/// One id a request, for all of its attempts.
fn id_of(request: u32) -> ClientMsgId {
    let mut random = [7; 10];
    random[6..].copy_from_slice(&request.to_be_bytes());
    ClientMsgId::from_parts(4_000_000_000_000, random)
}

#[tokio::test]
async fn a_full_inbox_refuses_each_request_and_loses_none() {
    let mut talk = Talk::start().await;
    let actors = talk.running.node.state().gateway.actors();
    // Room for a frame or two, not for twenty.
    actors.shrink_session_inboxes(1_000);
    let conversation = talk.conversation;
    let mut frames: Vec<ClientFrame> = (100..118)
        .map(|request| {
            let direction = Direction::Before;
            History { request, conversation, anchor: 0, direction, limit: 1 }.into()
        })
        .collect();
    let send = Send {
        request: 118,
        conversation,
        client_msg_id: id_of(118),
        retry: false,
        kind: EntryKind::Text,
        body: b"hello".to_vec(),
    };
    frames.push(send.clone().into());
    frames.push(Mark { conversation, kind: MarkKind::Read, seq: 1 }.into());
    talk.ada.send_all(&frames).await;
    // Each by its number; the mark, which has none, last.
    for request in (100..=118).chain([0]) {
        let error = talk.ada.until(|frame| match frame {
            ServerFrame::Error(error) => Some(error.clone()),
            _ => None,
        });
        let error = error.await;
        assert_eq!((error.request, error.code), (request, ErrorCode::Busy.code()));
        assert!(error.retryable && error.retry_after_ms > 0);
    }
    talk.ada.send(Send { retry: true, ..send }).await;
    let sent = talk.ada.sent(118).await;
    assert_eq!((sent.seq, sent.duplicate), (1, false));
    talk.ada.send(Describe { request: 119, conversation }).await;
    assert!(matches!(talk.ada.answer(119).await, ServerFrame::Conversation(_)));
}

/// Set for the process that this test starts: where its node has its data.
const CHILD: &str = "TEST_DATA_OF_A_NODE_THAT_GIVES_UP";

#[test]
fn a_node_whose_actors_give_up_ends_with_status_1() {
    if let Some(data) = std::env::var_os(CHILD) {
        std::process::exit(give_up(data.as_ref()).into());
    }
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "a_node_whose_actors_give_up_ends_with_status_1", "--nocapture"]);
    let output = command.env(CHILD, dir.path()).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{log}");
}

/// A node whose actors fail as fast as they are restarted; the status it ends with.
#[tokio::main]
async fn give_up(data: &std::path::Path) -> u8 {
    let node = rookery_node::Node::start(config(data)).await.unwrap();
    let state = Arc::clone(node.state());
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        loop {
            ticks.tick().await;
            state.gateway.actors().poison_conversation_shards();
        }
    });
    run(node, Signals::listen().unwrap()).await
}
