//! The client library's handle against the in-test server: two people chat, over dropped
//! connections too. It stands here because the server does.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

mod support;

use rookery_client::{Api, CallError, Client, Config, Event, Events, RequestError};
use rookery_protocol::{Direction, ErrorCode};
use support::{FakeServer, Temper};

async fn join(server: &FakeServer, name: &str) -> (Client, Events) {
    let mut api = Api::new(&server.url()).unwrap();
    let login = api.sign_up(name, "a long password").await.unwrap();
    let config = Config { backoff_base_ms: 10, ..Config::default() };
    let (client, mut events) = Client::start(config, &server.url(), login, None).unwrap();
    while !matches!(events.next().await.unwrap(), Event::CaughtUp { .. }) {}
    (client, events)
}

async fn next_text(events: &mut Events) -> (u64, String) {
    loop {
        if let Event::Message { entry, .. } = events.next().await.unwrap() {
            return (entry.seq, String::from_utf8(entry.body).unwrap());
        }
    }
}

#[tokio::test]
async fn two_people_chat_and_read_their_history_over_dropped_connections() {
    let server = FakeServer::start(Temper { drop_after: 9, ..Temper::default() });
    let (ada, _ada_events) = join(&server, "ada").await;
    let (bob, mut bob_events) = join(&server, "bob").await;
    let room = ada.open_direct("bob").await.unwrap().info.conversation;
    bob.track(room, 0).await.unwrap();
    for n in 1..=30_u64 {
        let sent = ada.send_text(room, &format!("message {n}")).await.unwrap();
        assert_eq!(sent.seq, n);
        assert_eq!(next_text(&mut bob_events).await, (n, format!("message {n}")));
    }
    let page = bob.history(room, 10, Direction::After, 5).await.unwrap();
    assert_eq!(page.entries.iter().map(|e| e.seq).collect::<Vec<_>>(), [11, 12, 13, 14, 15]);
}

#[tokio::test]
async fn a_refusal_comes_back_with_its_code_and_a_client_that_left_refuses_calls() {
    let server = FakeServer::start(Temper::default());
    let (ada, mut events) = join(&server, "ada").await;
    match ada.open_direct("nobody").await {
        Err(CallError::Failed(RequestError::Refused(r))) => assert!(r.is(ErrorCode::UnknownUser)),
        other => panic!("{other:?}"),
    }
    ada.leave().await;
    while events.next().await.is_some() {}
    assert!(ada.open_direct("nobody").await.is_err());
    let mut api = Api::new(&server.url()).unwrap();
    let taken = api.sign_up("ada", "a long password").await.unwrap_err();
    assert_eq!(taken.code(), Some("NameTaken"));
}
