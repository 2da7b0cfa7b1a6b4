//! The authorisation matrix: every operation times everybody, and that nothing leaks to whom it is
//! none of their business.
//!
//! ```text
//! members     get what the table says
//! strangers   have a session of their own and name other people's conversation
//! nobody      has no session: no hello, or one whose token is forged, of another node, expired, of a
//!             device that was revoked or never was
//! the late    had a session: the token expires, or the device is revoked, while the socket is open
//! ```

use crate::ear::Ear;
use crate::operations::{Answer, ROWS, Row, Subject};
use crate::support::Running;
use crate::support::wire::{Client, User, answered, now_s};
use rookery_node::identity::Claims;
use rookery_protocol::client::{Hello, Sync};
use rookery_protocol::{CloseCode, ConversationInfo, DeviceId, ErrorCode, MarkKind, ServerFrame};
use std::time::{Duration, Instant};

/// The text that only Ada and Bob may read.
const CANARY: &str = "the canary sings at midnight";
/// The number of every operation's request.
const REQUEST: u32 = 77;

/// Ada and Bob have a conversation, Bob's device listens, Eve is somebody else.
struct Scene {
    running: Running,
    subject: Subject,
    eve: User,
    /// The conversation as it must stay.
    before: ConversationInfo,
    bob: Ear,
}

impl Scene {
    async fn start() -> Self {
        let running = Running::start().await;
        let ada = User::sign_up(&running, "ada").await;
        let bob = User::sign_up(&running, "bob").await;
        let dan = User::sign_up(&running, "dan").await;
        let eve = User::sign_up(&running, "eve").await;
        let mut listener = Ear::hello(&running, bob.hello()).await;
        listener.say(Sync { request: 1, cursor: None }).await;
        listener.until(|frame| matches!(frame, ServerFrame::CaughtUp(_))).await.unwrap();
        let (mut client, _) = Client::live(&running, &ada).await;
        let conversation = client.open_direct("bob").await;
        let request = client.say(conversation, CANARY).await;
        client.sent(request).await;
        // Who sends has read: the mark follows the message, and is the last that Bob is told.
        let read = |frame: &ServerFrame| matches!(frame, ServerFrame::Receipt(receipt) if receipt.kind == MarkKind::Read);
        listener.until(read).await.unwrap();
        listener.barrier().await;
        listener.take();
        let before = running.node.state().store.describe(bob.user, conversation).await.unwrap();
        let subject = Subject { ada, bob, dan, conversation };
        Self { running, subject, eve, before, bob: listener }
    }

    /// Nothing reached Bob, and the conversation is as it was.
    async fn assert_untouched(&mut self, whose: &str) {
        self.bob.barrier().await;
        assert_eq!(self.bob.take(), [], "{whose} reached Bob");
        let store = &self.running.node.state().store;
        let info = store.describe(self.subject.bob.user, self.subject.conversation).await.unwrap();
        assert_eq!(info, self.before, "{whose} changed something");
    }
}

/// Does an operation and waits for what the row promises.
async fn expect(ear: &mut Ear, row: &Row, subject: &Subject, answer: Answer) {
    ear.say((row.frame)(subject, REQUEST)).await;
    let name = (row.frame)(subject, REQUEST).name();
    match answer {
        Answer::Frame(number) => {
            let came = ear.until(|frame| answers(frame) == Some(REQUEST)).await;
            let came = came.unwrap_or_else(|| panic!("{name}: closed {:?}", ear.closed));
            assert_eq!(came.number(), number, "{name}: {came:?}");
        }
        Answer::Refused(code) => {
            let came = ear.until(|frame| answers(frame) == Some(REQUEST)).await;
            assert!(
                matches!(&came, Some(ServerFrame::Error(e)) if e.code == code.code()),
                "{name}: {came:?}"
            );
        }
        Answer::RefusedAlone(code) => {
            let came = ear.until(|frame| matches!(frame, ServerFrame::Error(_))).await;
            assert!(
                matches!(&came, Some(ServerFrame::Error(e)) if (e.code, e.request) == (code.code(), 0)),
                "{name}: {came:?}"
            );
        }
        Answer::Nothing => {
            ear.barrier().await;
            let came = ear.take();
            assert!(!came.iter().any(|frame| matches!(frame, ServerFrame::Error(_))), "{came:?}");
        }
        Answer::Closed(code) => {
            ear.end().await;
            assert_eq!(ear.closed, Some(Some(code.code())), "{name}");
        }
    }
}

/// The request that a frame answers; a ping's is its nonce.
fn answers(frame: &ServerFrame) -> Option<u32> {
    match frame {
        ServerFrame::Pong(f) => Some(f.nonce),
        other => answered(other),
    }
}

#[test]
fn every_frame_of_the_protocol_has_a_row() {
    let source = include_str!("../../../protocol/src/number.rs");
    let numbers = source.lines().filter_map(|line| {
        let (name, value) = line.strip_prefix("pub const ")?.split_once(": u8 = 0x")?;
        let number = u8::from_str_radix(value.trim_end_matches(';'), 16).unwrap();
        (number < 0x80).then_some((name, number))
    });
    let numbers: Vec<_> = numbers.collect();
    assert!(numbers.len() >= 15, "{numbers:?}");
    for (name, number) in &numbers {
        let rows = ROWS.iter().filter(|row| row.number == *number).count();
        assert_eq!(rows, 1, "{name}: say in ROWS (operations.rs) who may do it");
    }
    assert_eq!(numbers.len(), ROWS.len(), "a row without a frame");
}

#[tokio::test]
async fn members_get_what_the_table_says() {
    let scene = Scene::start().await;
    let subject = &scene.subject;
    for row in ROWS {
        let mut ear = Ear::hello(&scene.running, subject.ada.hello()).await;
        ear.until(|frame| matches!(frame, ServerFrame::Welcome(_))).await.unwrap();
        expect(&mut ear, row, subject, row.member).await;
    }
}

#[tokio::test]
async fn strangers_get_what_the_table_says_and_nothing_leaks() {
    let mut scene = Scene::start().await;
    for row in ROWS {
        let mut ear = Ear::hello(&scene.running, scene.eve.hello()).await;
        ear.until(|frame| matches!(frame, ServerFrame::Welcome(_))).await.unwrap();
        let name = (row.frame)(&scene.subject, REQUEST).name();
        expect(&mut ear, row, &scene.subject, row.stranger).await;
        ear.barrier().await;
        let presence = |frame: &ServerFrame| matches!(frame, ServerFrame::Presence(_));
        assert!(!ear.take().iter().any(presence), "{name}: a stranger sees who is there");
        assert!(!ear.has_heard(CANARY.as_bytes()), "{name}: a stranger reads");
        scene.assert_untouched(&format!("{name} of a stranger")).await;
    }
}

/// Revokes a device as its user does, with the token of another device.
async fn revoke(running: &Running, user: &User, device: &User) {
    let request = format!(
        "DELETE /v1/devices/{} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\
         authorization: Bearer {}\r\n\r\n",
        device.device, user.token
    );
    let answer = running.send(&request).await;
    assert_eq!(answer.status, 204, "{answer:?}");
}

/// Who has no session, and how the connection ends.
async fn nobodies(scene: &Scene) -> Vec<(&'static str, Option<Hello>, CloseCode)> {
    let ada = &scene.subject.ada;
    let with = |token: String| Some(Hello { token, ..ada.hello() });
    let issue = |claims| scene.running.node.state().identity.tokens().issue(claims).unwrap();
    let expired = ada.token_until(&scene.running, now_s() - 60);
    let (issued_s, expires_s) = (now_s(), now_s() + 3600);
    let no_device = Claims { user: ada.user, device: DeviceId(1), issued_s, expires_s };
    // Ada's own device, revoked, is another one than the one that sent the canary.
    let log_in = crate::support::credentials("ada", "correct horse");
    let revoked = User::from_answer(&scene.running.post("/v1/login", &log_in).await.json());
    revoke(&scene.running, ada, &revoked).await;
    let other_node = Running::start().await;
    let stranger = User::sign_up(&other_node, "ada").await;
    let mut forged = ada.token.clone();
    // The last character but one: some bits of the last one mean nothing.
    let at = forged.len() - 2;
    let other = if forged[at..].starts_with('A') { "B" } else { "A" };
    forged.replace_range(at..=at, other);
    vec![
        ("no hello", None, CloseCode::ProtocolError),
        ("no token", with(String::new()), CloseCode::Unauthenticated),
        ("a forged token", with(forged), CloseCode::Unauthenticated),
        ("another node's token", with(stranger.token), CloseCode::Unauthenticated),
        ("an expired token", with(expired), CloseCode::TokenExpired),
        ("a device that never was", with(issue(no_device)), CloseCode::Unauthenticated),
        ("a revoked device", with(revoked.token), CloseCode::Revoked),
    ]
}

#[tokio::test]
async fn who_has_no_session_gets_nothing_whatever_it_asks() {
    let mut scene = Scene::start().await;
    for (who, hello, code) in nobodies(&scene).await {
        for row in ROWS {
            let frame = (row.frame)(&scene.subject, REQUEST);
            let name = frame.name();
            if hello.is_none() && name == "Hello" {
                continue;
            }
            let mut ear = Ear::connect(&scene.running).await;
            if let Some(hello) = hello.clone() {
                ear.say(hello).await;
            }
            ear.say(frame).await;
            ear.end().await;
            let told = ear.take();
            let goodbye =
                |frame: &ServerFrame| matches!(frame, ServerFrame::Error(_) | ServerFrame::Bye(_));
            assert!(told.iter().all(goodbye), "{name} with {who}: {told:?}");
            assert_eq!(ear.closed, Some(Some(code.code())), "{name} with {who}");
            assert!(!ear.has_heard(CANARY.as_bytes()));
        }
        scene.assert_untouched(who).await;
    }
}

#[tokio::test]
async fn a_device_that_is_revoked_loses_its_sockets_within_two_seconds_and_does_nothing_more() {
    let mut scene = Scene::start().await;
    for row in ROWS {
        let log_in = crate::support::credentials("ada", "correct horse");
        let device = User::from_answer(&scene.running.post("/v1/login", &log_in).await.json());
        let mut ear = Ear::hello(&scene.running, device.hello()).await;
        ear.until(|frame| matches!(frame, ServerFrame::Welcome(_))).await.unwrap();
        let revoked = Instant::now();
        revoke(&scene.running, &scene.subject.ada, &device).await;
        ear.say((row.frame)(&scene.subject, REQUEST)).await;
        ear.end().await;
        let name = (row.frame)(&scene.subject, REQUEST).name();
        let took = revoked.elapsed();
        assert!(took < Duration::from_secs(2), "{name}: closed after {took:?}");
        let told = ear.take();
        // The gateway itself answers these, of what it knows already.
        let harmless = |frame: &ServerFrame| {
            let of_gateway = matches!(frame, ServerFrame::Pong(_) | ServerFrame::Error(_));
            of_gateway || matches!(frame, ServerFrame::Bye(_))
        };
        assert!(told.iter().all(harmless), "{name}: {told:?}");
        assert!(ear.closed.is_some_and(|code| code.is_some()), "{name}: {:?}", ear.closed);
        assert!(!ear.has_heard(CANARY.as_bytes()), "{name}");
    }
    scene.assert_untouched("a revoked device").await;
}

#[tokio::test]
async fn a_token_that_expires_on_an_open_socket_ends_it_and_nothing_more_is_done() {
    let mut scene = Scene::start().await;
    let mut ears = Vec::new();
    let token = scene.subject.ada.token_until(&scene.running, now_s() + 4);
    let expires = Instant::now() + Duration::from_secs(4);
    for row in ROWS {
        let hello = Hello { token: token.clone(), ..scene.subject.ada.hello() };
        let mut ear = Ear::hello(&scene.running, hello).await;
        ear.until(|frame| matches!(frame, ServerFrame::Welcome(_))).await.unwrap();
        ears.push((row, ear));
    }
    tokio::time::sleep_until(expires.into()).await;
    for (row, mut ear) in ears {
        let frame = (row.frame)(&scene.subject, REQUEST);
        let name = frame.name();
        ear.say(frame).await;
        ear.end().await;
        let told = ear.take();
        let expired = ErrorCode::TokenExpired.code();
        let goodbye = |frame: &ServerFrame| match frame {
            ServerFrame::Error(error) => error.code == expired,
            frame => matches!(frame, ServerFrame::Bye(_)),
        };
        assert!(told.iter().all(goodbye), "{name}: {told:?}");
        assert_eq!(ear.closed, Some(Some(CloseCode::TokenExpired.code())), "{name}");
    }
    scene.assert_untouched("a token that expired").await;
}
