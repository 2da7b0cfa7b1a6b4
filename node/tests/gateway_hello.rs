//! The first frame of a connection: what lets a client in, and everything that doesn't.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that fails fails its test"
)]

mod support;

use rookery_node::identity::{Claims, Tokens};
use rookery_protocol::client::{Hello, Ping, Resume, Sync};
use rookery_protocol::limits::{MAX_AGENT_BYTES, MAX_TOKEN_BYTES, MAX_WINDOW_BYTES};
use rookery_protocol::{CloseCode, DeviceId, ErrorCode, SessionId, UserId};
use support::Running;
use support::wire::{Client, Goodbye, User, now_s};

/// What becomes of a hello.
async fn said(running: &Running, hello: Hello) -> Goodbye {
    let mut client = Client::connect(running).await;
    client.send(hello).await;
    client.goodbye().await
}

#[tokio::test]
async fn a_good_hello_is_welcomed_with_what_the_token_says() {
    let running = Running::start_with(|config| config.node.name = "n7".to_owned()).await;
    let ada = User::sign_up(&running, "ada").await;
    let (mut client, welcome) = Client::welcomed(&running, &ada).await;
    assert_eq!((welcome.user, welcome.device), (ada.user, ada.device));
    assert_eq!((welcome.name.as_str(), welcome.node.as_str()), ("ada", "n7"));
    let sessions = running.node.state().config.sessions;
    assert_eq!(u64::from(welcome.heartbeat_ms), sessions.heartbeat_ms);
    assert_eq!(u64::from(welcome.grace_ms), sessions.grace_ms);
    assert!(welcome.token_expires_ms > welcome.server_time_ms);
    client.assert_alive().await;
}

#[tokio::test]
async fn every_session_is_another_one() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let (_one, first) = Client::welcomed(&running, &ada).await;
    let (_two, second) = Client::welcomed(&running, &ada).await;
    assert_ne!(first.session, second.session);
    assert_ne!(first.secret, second.secret);
}

#[tokio::test]
async fn the_window_is_held_to_its_bounds() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    for (asked, granted) in [(0, 16 * 1024), (100_000, 100_000), (u32::MAX, MAX_WINDOW_BYTES)] {
        let mut client = Client::connect(&running).await;
        client.send(Hello { window_bytes: asked, ..ada.hello() }).await;
        assert_eq!(client.welcome().await.limits.window_bytes, granted);
    }
}

#[tokio::test]
async fn a_version_in_common_is_enough_and_none_is_refused() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let mut client = Client::connect(&running).await;
    client.send(Hello { versions: vec![9, 1], ..ada.hello() }).await;
    assert_eq!(client.welcome().await.version, 1);
    for versions in [vec![], vec![2, 9]] {
        let goodbye = said(&running, Hello { versions, ..ada.hello() }).await;
        let refused = Some(ErrorCode::UnsupportedVersion);
        assert_eq!(goodbye, Goodbye::with(refused, CloseCode::UnsupportedVersion));
    }
}

#[tokio::test]
async fn any_other_frame_before_hello_is_refused() {
    let running = Running::start().await;
    let mut client = Client::connect(&running).await;
    client.send(Ping { nonce: 1 }).await;
    let refused = Goodbye::with(Some(ErrorCode::OutOfOrder), CloseCode::ProtocolError);
    assert_eq!(client.goodbye().await, refused);

    let mut client = Client::connect(&running).await;
    client.send(Sync { request: 7, cursor: None }).await;
    assert_eq!(client.goodbye().await.errors, [(ErrorCode::OutOfOrder.code(), 7)]);
}

#[tokio::test]
async fn a_frame_in_the_message_of_hello_is_refused() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let mut client = Client::connect(&running).await;
    client.send_all(&[ada.hello().into(), Ping { nonce: 1 }.into()]).await;
    let refused = Goodbye::with(Some(ErrorCode::OutOfOrder), CloseCode::ProtocolError);
    assert_eq!(client.goodbye().await, refused);
}

#[tokio::test]
async fn empty_messages_and_unknown_frames_before_hello_mean_nothing() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let mut client = Client::connect(&running).await;
    client.send_bytes(Vec::new()).await;
    client.send_bytes(vec![0x7f, 2, 1, 2]).await;
    client.send(ada.hello()).await;
    assert_eq!(client.welcome().await.user, ada.user);
}

#[tokio::test]
async fn a_second_hello_is_refused() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let (mut client, _) = Client::welcomed(&running, &ada).await;
    client.send(ada.hello()).await;
    let refused = Goodbye::with(Some(ErrorCode::OutOfOrder), CloseCode::ProtocolError);
    assert_eq!(client.goodbye().await, refused);
}

#[tokio::test]
async fn a_token_that_is_not_good_is_refused() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let now = now_s();
    let claims = |user, device| Claims { user, device, issued_s: now, expires_s: now + 60 };
    let of_another_installation =
        Tokens::new(&[7; 32]).unwrap().issue(claims(ada.user, ada.device)).unwrap();
    let ours = &running.node.state().identity;
    let of_no_user = ours.tokens().issue(claims(UserId(1), ada.device)).unwrap();
    let of_no_device = ours.tokens().issue(claims(ada.user, DeviceId(1))).unwrap();
    let long = "a".repeat(MAX_TOKEN_BYTES + 1);
    let garbage = ["".to_owned(), "a.b.c".to_owned(), long];
    let tokens = [of_another_installation, of_no_user, of_no_device].into_iter().chain(garbage);
    for token in tokens {
        let goodbye = said(&running, Hello { token: token.clone(), ..ada.hello() }).await;
        let refused = Goodbye::with(Some(ErrorCode::BadToken), CloseCode::Unauthenticated);
        assert_eq!(goodbye, refused, "{token:.40}");
    }
}

#[tokio::test]
async fn an_expired_token_is_told_apart_from_a_bad_one() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let token = ada.token_until(&running, now_s() - 60);
    let goodbye = said(&running, Hello { token, ..ada.hello() }).await;
    let refused = Goodbye::with(Some(ErrorCode::TokenExpired), CloseCode::TokenExpired);
    assert_eq!(goodbye, refused);
}

#[tokio::test]
async fn a_revoked_device_is_refused() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    running.node.state().store.revoke_device(ada.user, ada.device, 1).await.unwrap();
    let refused = Goodbye::with(Some(ErrorCode::Revoked), CloseCode::Revoked);
    assert_eq!(said(&running, ada.hello()).await, refused);
}

#[tokio::test]
async fn an_agent_of_any_bounded_length_is_taken() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let mut client = Client::connect(&running).await;
    client.send(Hello { agent: "a".repeat(MAX_AGENT_BYTES), ..ada.hello() }).await;
    client.welcome().await;
    let goodbye =
        said(&running, Hello { agent: "a".repeat(MAX_AGENT_BYTES + 1), ..ada.hello() }).await;
    assert_eq!(goodbye, Goodbye::with(Some(ErrorCode::BadField), CloseCode::ProtocolError));
}

#[tokio::test]
async fn who_says_nothing_is_closed_after_the_hello_timeout() {
    let running = Running::start_with(|config| config.limits.hello_timeout_ms = 100).await;
    let mut client = Client::connect(&running).await;
    assert_eq!(client.goodbye().await, Goodbye::with(None, CloseCode::HelloTimeout));
}

#[tokio::test]
async fn a_session_that_cannot_be_resumed_is_replaced_by_a_new_one() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let (_client, welcome) = Client::welcomed(&running, &ada).await;
    let wrong_secret = Resume { session: welcome.session, secret: [0; 16], received: 0 };
    let unknown = Resume { session: SessionId(1), secret: welcome.secret, received: 0 };
    for resume in [wrong_secret, unknown] {
        let mut client = Client::connect(&running).await;
        client.send(Hello { resume: Some(resume), ..ada.hello() }).await;
        let fresh = client.welcome().await;
        assert!(!fresh.resumed);
        assert_ne!(fresh.session, resume.session);
        client.assert_alive().await;
    }
}
