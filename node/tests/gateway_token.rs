//! Fresh tokens on an open connection, and devices that lose their right to one.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that fails fails its test"
)]

mod support;

use rookery_protocol::client::{Authenticate, Refresh};
use rookery_protocol::{CloseCode, ErrorCode, ServerFrame};
use support::Running;
use support::wire::{Client, Goodbye, User, now_s};

/// What answers this token.
async fn answer(client: &mut Client, token: String) -> ServerFrame {
    let request = client.request();
    client.send(Authenticate { request, token }).await;
    client.answer(request).await
}

#[tokio::test]
async fn a_fresh_token_of_the_same_device_is_done() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let (mut client, _) = Client::welcomed(&running, &ada).await;
    let token = ada.token_until(&running, now_s() + 7200);
    let done = answer(&mut client, token).await;
    assert!(matches!(done, ServerFrame::Done(_)), "{done:?}");
    client.assert_alive().await;
}

#[tokio::test]
async fn a_token_that_is_not_the_sessions_own_is_refused_and_the_connection_stays() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let bob = User::sign_up(&running, "bob").await;
    let log_in = support::credentials("ada", "correct horse");
    let other_device = User::from_answer(&running.post("/v1/login", &log_in).await.json());
    assert_eq!(other_device.user, ada.user);
    let (mut client, _) = Client::welcomed(&running, &ada).await;
    for (token, code) in [
        (bob.token.clone(), ErrorCode::ForeignToken),
        (other_device.token.clone(), ErrorCode::ForeignToken),
        (ada.token_until(&running, now_s() - 60), ErrorCode::TokenExpired),
        ("a.b.c".to_owned(), ErrorCode::BadToken),
    ] {
        let refused = answer(&mut client, token).await;
        assert!(matches!(&refused, ServerFrame::Error(e) if e.code == code.code()), "{refused:?}");
        client.assert_alive().await;
    }
}

#[tokio::test]
async fn a_device_whose_refresh_token_came_twice_is_closed_at_once() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let bob = User::sign_up(&running, "bob").await;
    let (mut client, _) = Client::welcomed(&running, &ada).await;
    let (mut bobs, _) = Client::welcomed(&running, &bob).await;
    let body = format!(r#"{{"refresh_token":"{}"}}"#, ada.refresh_token);
    let fresh = running.post("/v1/refresh", &body).await.json();
    let next = format!(r#"{{"refresh_token":{}}}"#, fresh["refresh_token"]);
    assert_eq!(running.post("/v1/refresh", &next).await.status, 200);
    client.assert_alive().await;
    assert_eq!(running.post("/v1/refresh", &body).await.status, 401);
    assert_eq!(client.goodbye().await, Goodbye::with(None, CloseCode::Revoked));
    bobs.assert_alive().await;
    let mut again = Client::connect(&running).await;
    again.send(ada.hello()).await;
    let refused = Goodbye::with(Some(ErrorCode::Revoked), CloseCode::Revoked);
    assert_eq!(again.goodbye().await, refused);
}

/// What answers a refresh token.
async fn refresh(client: &mut Client, token: &str) -> ServerFrame {
    let request = client.request();
    client.send(Refresh { request, refresh_token: token.to_owned() }).await;
    client.answer(request).await
}

#[tokio::test]
async fn a_refresh_token_is_traded_on_the_open_connection_and_the_session_outlives_the_old_token() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let (mut client, _) = Client::welcomed(&running, &ada).await;
    // The session's token ends in a few seconds; what is asked after that shows whether it has another.
    let soon_s = now_s() + 8;
    let short = ada.token_until(&running, soon_s);
    assert!(matches!(answer(&mut client, short).await, ServerFrame::Done(_)));
    let ServerFrame::Refreshed(fresh) = refresh(&mut client, &ada.refresh_token).await else {
        panic!("not refreshed")
    };
    assert!(fresh.access_expires_ms > (now_s() + 60) * 1000);
    while now_s() <= soon_s {
        client.assert_alive().await;
        // Nothing tells that time has passed.
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    client.assert_alive().await;
    // Both tokens are good, and the next trade goes on from the new one, over HTTP too.
    let next = User { token: fresh.access_token.clone(), ..ada.clone() };
    Client::welcomed(&running, &next).await;
    let body = format!(r#"{{"refresh_token":"{}"}}"#, fresh.refresh_token);
    assert_eq!(running.post("/v1/refresh", &body).await.status, 200);
}

#[tokio::test]
async fn a_refresh_token_that_is_not_good_or_another_devices_is_refused_and_uses_nothing_up() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let bob = User::sign_up(&running, "bob").await;
    let (mut client, _) = Client::welcomed(&running, &ada).await;
    for (token, code) in [
        (bob.refresh_token.as_str(), ErrorCode::ForeignToken),
        ("", ErrorCode::BadToken),
        (&"0".repeat(64), ErrorCode::BadToken),
        (&ada.token, ErrorCode::BadToken),
    ] {
        let refused = refresh(&mut client, token).await;
        assert!(matches!(&refused, ServerFrame::Error(e) if e.code == code.code()), "{refused:?}");
    }
    let body = format!(r#"{{"refresh_token":"{}"}}"#, bob.refresh_token);
    assert_eq!(running.post("/v1/refresh", &body).await.status, 200, "it was not used up");
}

#[tokio::test]
async fn a_lost_answer_can_be_asked_for_again_and_a_stolen_token_ends_the_device() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let (mut client, _) = Client::welcomed(&running, &ada).await;
    let first = refresh(&mut client, &ada.refresh_token).await;
    let again = refresh(&mut client, &ada.refresh_token).await;
    let token = |frame: &ServerFrame| match frame {
        ServerFrame::Refreshed(fresh) => fresh.refresh_token.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(token(&first), token(&again));
    let next = refresh(&mut client, &token(&first)).await;
    assert!(matches!(next, ServerFrame::Refreshed(_)), "{next:?}");
    // Now somebody holds a copy.
    let request = client.request();
    client.send(Refresh { request, refresh_token: ada.refresh_token.clone() }).await;
    let goodbye = client.goodbye().await;
    assert_eq!(goodbye.close, Some(CloseCode::Revoked.code()), "{goodbye:?}");
    let bad = (ErrorCode::BadToken.code(), request);
    assert!(goodbye.errors.is_empty() || goodbye.errors == [bad], "{goodbye:?}");
}
