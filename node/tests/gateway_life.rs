//! How long a connection lives: signs of life, the end of the node, and what metrics tell of it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that fails fails its test"
)]

mod support;

use futures_util::StreamExt;
use rookery_protocol::client::{Leave, Ping};
use rookery_protocol::{CloseCode, ServerFrame};
use std::time::Duration;
use support::Running;
use support::wire::{Client, Goodbye, PATIENCE, User};

async fn short_beats() -> Running {
    Running::start_with(|config| {
        config.sessions.heartbeat_ms = 200;
        config.sessions.grace_ms = 2_000;
    })
    .await
}

#[tokio::test]
async fn who_gives_no_sign_of_life_is_closed_after_three_heartbeats() {
    let running = short_beats().await;
    let ada = User::sign_up(&running, "ada").await;
    let started = std::time::Instant::now();
    let (mut client, _) = Client::welcomed(&running, &ada).await;
    assert_eq!(client.goodbye().await, Goodbye::with(None, CloseCode::HeartbeatTimeout));
    assert!(started.elapsed() >= Duration::from_millis(600), "{:?}", started.elapsed());
}

#[tokio::test]
async fn who_beats_in_time_stays() {
    let running = short_beats().await;
    let ada = User::sign_up(&running, "ada").await;
    let (mut client, welcome) = Client::welcomed(&running, &ada).await;
    let mut beats = tokio::time::interval(Duration::from_millis(welcome.heartbeat_ms.into()));
    for nonce in 0..8 {
        beats.tick().await;
        client.send(Ping { nonce }).await;
        let frame = client.frame().await;
        assert!(matches!(&frame, ServerFrame::Pong(pong) if pong.nonce == nonce), "{frame:?}");
    }
}

#[tokio::test]
async fn a_closed_heartbeat_can_be_resumed() {
    let running = short_beats().await;
    let ada = User::sign_up(&running, "ada").await;
    let (mut client, welcome) = Client::welcomed(&running, &ada).await;
    assert_eq!(client.goodbye().await, Goodbye::with(None, CloseCode::HeartbeatTimeout));
    let mut client = client.resumed(&running, &ada, &welcome).await;
    client.assert_alive().await;
}

#[tokio::test]
async fn a_session_that_goes_on_elsewhere_closes_the_older_connection() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let (mut older, welcome) = Client::welcomed(&running, &ada).await;
    let mut newer = Client::connect(&running).await;
    let mut hello = ada.hello();
    hello.resume = Some(rookery_protocol::client::Resume {
        session: welcome.session,
        secret: welcome.secret,
        received: 0,
    });
    newer.send(hello).await;
    assert!(newer.welcome().await.resumed);
    assert_eq!(older.goodbye().await, Goodbye::with(None, CloseCode::Replaced));
    newer.assert_alive().await;
}

#[tokio::test]
async fn a_session_that_left_cannot_be_resumed() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let (mut client, welcome) = Client::welcomed(&running, &ada).await;
    client.send(Leave {}).await;
    client.ws.close(None).await.unwrap();
    while client.ws.next().await.is_some() {}
    let mut client = Client::connect(&running).await;
    let mut hello = ada.hello();
    hello.resume = Some(rookery_protocol::client::Resume {
        session: welcome.session,
        secret: welcome.secret,
        received: 0,
    });
    client.send(hello).await;
    assert!(!client.welcome().await.resumed);
}

#[tokio::test]
async fn the_end_of_the_node_tells_every_client_and_waits_for_none() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let (mut client, _) = Client::welcomed(&running, &ada).await;
    let mut silent = Client::connect(&running).await;
    let Running { node, dir } = running;
    let ending = tokio::spawn(node.shutdown());
    assert_eq!(client.goodbye().await, Goodbye::with(None, CloseCode::GoingAway));
    assert_eq!(silent.goodbye().await, Goodbye::with(None, CloseCode::GoingAway));
    tokio::time::timeout(PATIENCE, ending).await.unwrap().unwrap();
    drop(dir);
}

#[tokio::test]
async fn metrics_count_connections_frames_bytes_and_ends() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let (mut client, _) = Client::welcomed(&running, &ada).await;
    client.assert_alive().await;
    client.send(ada.hello()).await;
    client.goodbye().await;
    let address = running.node.metrics_addr().unwrap();
    let request = "GET /metrics HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n";
    let text = support::send(address, request).await.body;
    // Tests of one process share the recorder: a count may be more than this test's own.
    for metric in [
        "rookery_connections ",
        "rookery_connections_opened_total ",
        "rookery_frames_in_total{frame=\"Hello\"} ",
        "rookery_frames_in_total{frame=\"Ping\"} ",
        "rookery_connection_received_bytes_total ",
        "rookery_connection_sent_bytes_total ",
        "rookery_connection_errors_total{code=\"OutOfOrder\"} ",
    ] {
        assert!(text.lines().any(|line| line.starts_with(metric)), "{metric}: {text}");
    }
}
