//! The store's process is killed, or stands still, under a running node: sends are refused fast
//! with a retryable error, what needs no store goes on, and all is well soon after it is back.

#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that fails fails its test"
)]

mod support;

use rookery_cluster_config::Engine;
use rookery_protocol::client::{Send, SetTyping, Watch};
use rookery_protocol::server::{Error, Sent};
use rookery_protocol::{ClientMsgId, ConversationId, EntryKind, ServerFrame, Status};
use rustix::process::Signal;
use std::path::Path;
use std::time::{Duration, Instant};
use support::Running;
use support::process::{Ready, rookery};
use support::wire::{Client, User};
use tempfile::TempDir;

/// A refusal must be there within this time, whatever the store does.
const REFUSED_WITHIN: Duration = Duration::from_secs(2);
/// And a send must work again within this, once the store is back.
const BACK_WITHIN: Duration = Duration::from_secs(5);
/// How many times that a machine may need that is shared and stands still at times.
const SLACK: u32 = 3;

/// `rookery store` as a process.
fn store(dir: &Path) -> Ready {
    let mut command = rookery();
    command.arg("store").arg("--data").arg(dir).arg("--socket").arg(dir.join("s"));
    let ready = Ready::start(command);
    assert!(ready.line.starts_with("rookery store ready: "), "{}", ready.line);
    ready
}

/// A node on that store, two users who are connected to it, and their conversation.
struct Talk {
    running: Running,
    ada: Client,
    bob: Client,
    ada_user: User,
    conversation: ConversationId,
    said: u64,
}

impl Talk {
    async fn start(dir: &TempDir) -> Self {
        let socket = dir.path().join("s");
        let running = Running::start_with(|config| {
            config.store.engine = Engine::Shared;
            config.store.socket = Some(socket);
            config.sessions.grace_ms = 1_000;
        })
        .await;
        let (ada_user, bob_user) =
            (User::sign_up(&running, "ada").await, User::sign_up(&running, "bob").await);
        let (mut ada, _) = Client::live(&running, &ada_user).await;
        let conversation = ada.open_direct("bob").await;
        let (mut bob, _) = Client::live(&running, &bob_user).await;
        let request = bob.request();
        bob.send(Watch { request, users: vec![ada_user.user] }).await;
        bob.until(|frame| matches!(frame, ServerFrame::Presence(_)).then_some(())).await;
        Self { running, ada, bob, ada_user, conversation, said: 0 }
    }

    /// Sends the next text, or the last one again; the answer, and how long it took.
    async fn say(&mut self, retry: bool) -> (Result<Sent, Error>, Duration) {
        self.said += u64::from(!retry);
        let request = self.ada.request();
        let mut random = [0; 10];
        random[2..].copy_from_slice(&self.said.to_be_bytes());
        let frame = Send {
            request,
            conversation: self.conversation,
            client_msg_id: ClientMsgId::from_parts(rookery_node::now_ms(), random),
            retry,
            kind: EntryKind::Text,
            body: format!("text {}", self.said).into_bytes(),
        };
        let started = Instant::now();
        self.ada.send(frame).await;
        let answer = match self.ada.answer(request).await {
            ServerFrame::Sent(sent) => Ok(sent),
            ServerFrame::Error(error) => Err(error),
            other => panic!("{other:?}"),
        };
        (answer, started.elapsed())
    }

    async fn must_say(&mut self) -> u64 {
        self.say(false).await.0.unwrap().seq
    }

    /// Sends until it works again.
    async fn say_again(&mut self) -> u64 {
        let started = Instant::now();
        loop {
            match self.say(false).await.0 {
                Ok(sent) => return sent.seq,
                Err(error) => assert!(error.retryable, "{error:?}"),
            }
            assert!(started.elapsed() < SLACK * BACK_WITHIN, "it does not recover");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn refused_fast(&mut self) {
        let (answer, took) = self.say(false).await;
        let error = answer.expect_err("the store is down");
        assert!(error.retryable, "{error:?}");
        assert!(took < SLACK * REFUSED_WITHIN, "refused after {took:?}");
    }

    /// What needs no store: typing, and who is online.
    async fn the_rest_goes_on(&mut self) {
        self.ada.send(SetTyping { conversation: self.conversation, active: true }).await;
        let typing = self.bob.until(|frame| match frame {
            ServerFrame::Typing(typing) => Some(typing.user),
            _ => None,
        });
        assert_eq!(typing.await, self.ada_user.user);
        self.ada.assert_alive().await;
    }
}

#[tokio::test]
async fn a_killed_store_costs_fast_refusals_and_the_next_one_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let first = store(dir.path());
    let mut talk = Talk::start(&dir).await;
    assert_eq!(talk.must_say().await, 1);
    assert_eq!(talk.bob.delivered().await.entry.seq, 1);
    // The mark that goes with it is durable: no plan is in flight.
    talk.bob.until(|frame| matches!(frame, ServerFrame::Receipt(_)).then_some(())).await;
    first.signal(Signal::KILL);
    let (status, _) = first.end();
    assert!(!status.success());
    for _ in 0..20 {
        talk.refused_fast().await;
    }
    talk.the_rest_goes_on().await;
    let ready = talk.running.get("/readyz").await;
    assert_eq!(ready.status, 503, "{}", ready.body);

    let _second = store(dir.path());
    assert_eq!(talk.say_again().await, 2, "what was refused was not applied");
    assert_eq!(talk.bob.delivered().await.entry.seq, 2);
    assert_eq!(talk.running.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn a_store_that_stands_still_costs_fast_refusals_and_nothing_is_doubled() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let mut talk = Talk::start(&dir).await;
    assert_eq!(talk.must_say().await, 1);
    store.signal(Signal::STOP);
    let (in_doubt, took) = talk.say(false).await;
    assert!(took < SLACK * REFUSED_WITHIN, "{took:?}");
    assert!(in_doubt.expect_err("it stands still").retryable);
    let doubtful = talk.said;
    for _ in 0..5 {
        talk.refused_fast().await;
    }
    store.signal(Signal::CONT);
    let after = talk.say_again().await;
    // The one in doubt was applied before the store was left, or never: 2 or nothing.
    let next = talk.must_say().await;
    assert_eq!(next, after + 1);
    let mut bodies = Vec::new();
    while bodies.len() < usize::try_from(next).unwrap() {
        let entry = talk.bob.delivered().await.entry;
        bodies.push((entry.seq, String::from_utf8(entry.body).unwrap()));
    }
    assert!(bodies.iter().map(|(seq, _)| *seq).eq(1..=next), "{bodies:?}");
    let times = bodies.iter().filter(|(_, body)| *body == format!("text {doubtful}")).count();
    assert!(times <= 1, "{bodies:?}");
}

#[tokio::test]
async fn presence_is_told_while_the_store_is_down() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let mut talk = Talk::start(&dir).await;
    store.signal(Signal::KILL);
    store.end();
    let user = talk.ada_user.user;
    drop(talk.ada);
    let offline = talk.bob.until(|frame| match frame {
        ServerFrame::Presence(told) if told.user == user && told.status == Status::Offline => {
            Some(())
        }
        _ => None,
    });
    offline.await;
}

#[tokio::test]
async fn a_node_without_its_store_says_how_to_start_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = rookery();
    command.args(["serve", "--listen", "127.0.0.1:0", "--metrics", "off", "--store", "shared"]);
    command.args(["--admin", "off"]);
    command.arg("--data").arg(dir.path()).arg("--socket").arg(dir.path().join("none"));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("rookery store --data DIR --socket"), "{said}");
}

#[tokio::test]
async fn a_store_ends_with_0_after_a_signal_and_a_second_one_is_refused_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let first = store(dir.path());
    let other = tempfile::tempdir().unwrap();
    let mut command = rookery();
    command.arg("store").arg("--data").arg(other.path());
    command.arg("--socket").arg(dir.path().join("s"));
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("another process serves on"), "{said}");
    first.signal(Signal::TERM);
    let (status, log) = first.end();
    assert!(status.success(), "{log}");
    assert!(!dir.path().join("s").exists());
    drop(store(dir.path()));
}
