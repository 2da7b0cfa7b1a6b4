//! Devices that are revoked: what their tokens are worth then, and how soon their sockets close, on
//! this node and on others.

use crate::support::wire::{Client, Goodbye, User};
use crate::support::{self, Answer, Running, bearer, credentials};
use rookery_cluster_config::{Config, Engine};
use rookery_node::store_process::StoreProcess;
use rookery_protocol::CloseCode;
use std::time::Duration;

async fn devices(running: &Running, user: &User) -> Vec<(String, bool)> {
    let answer = running.send(&bearer("GET", "/v1/devices", &user.token, None)).await;
    let list = answer.json();
    let device = |device: &serde_json::Value| {
        (device["device"].as_str().unwrap().to_owned(), device["current"].as_bool().unwrap())
    };
    list["devices"].as_array().unwrap().iter().map(device).collect()
}

async fn revoke(running: &Running, by: &User, device: &str) -> Answer {
    running.send(&bearer("DELETE", &format!("/v1/devices/{device}"), &by.token, None)).await
}

async fn log_in(running: &Running, name: &str) -> User {
    let log_in = credentials(name, "correct horse");
    User::from_answer(&running.post("/v1/login", &log_in).await.json())
}

#[tokio::test]
async fn a_user_lists_devices_and_revokes_one() {
    let running = Running::start().await;
    let phone = User::sign_up(&running, "ada").await;
    let laptop = log_in(&running, "ada").await;
    let mut expected = vec![(phone.device.to_string(), false), (laptop.device.to_string(), true)];
    expected.sort();
    assert_eq!(devices(&running, &laptop).await, expected);

    let (mut client, _) = Client::welcomed(&running, &phone).await;
    let answer = revoke(&running, &laptop, &phone.device.to_string()).await;
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    assert_eq!(client.goodbye().await, Goodbye::with(None, CloseCode::Revoked));
    assert_eq!(devices(&running, &laptop).await, [(laptop.device.to_string(), true)]);
    // Its access token is good by its signature, and opens nothing any more.
    let refused = running.send(&bearer("GET", "/v1/devices", &phone.token, None)).await;
    assert_eq!(refused.error(), (401, "BadToken".to_owned()));
    let body = format!(r#"{{"refresh_token":"{}"}}"#, phone.refresh_token);
    assert_eq!(running.post("/v1/refresh", &body).await.error().0, 401);
    // Again changes nothing.
    assert_eq!(revoke(&running, &laptop, &phone.device.to_string()).await.status, 204);
}

#[tokio::test]
async fn nobody_revokes_a_device_of_somebody_else() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let bob = User::sign_up(&running, "bob").await;
    let (mut client, _) = Client::welcomed(&running, &ada).await;
    for device in [ada.device.to_string(), "0".repeat(16), "x".to_owned(), "..".to_owned()] {
        let answer = revoke(&running, &bob, &device).await;
        assert_eq!(answer.error(), (404, "NotFound".to_owned()), "{device}");
    }
    client.assert_alive().await;
}

#[tokio::test]
async fn a_device_that_logs_out_is_revoked() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    assert_eq!(revoke(&running, &ada, &ada.device.to_string()).await.status, 204);
    assert_eq!(revoke(&running, &ada, &ada.device.to_string()).await.error().0, 401);
}

#[tokio::test]
async fn devices_come_in_pages() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    for _ in 0..4 {
        log_in(&running, "ada").await;
    }
    let mut found = 0;
    let mut path = "/v1/devices?limit=2".to_owned();
    for expected in [2, 2, 1] {
        let page = running.send(&bearer("GET", &path, &ada.token, None)).await.json();
        let devices = page["devices"].as_array().unwrap().len();
        assert_eq!(devices, expected);
        found += devices;
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/devices?limit=2&after={next}");
    }
    assert_eq!(found, 5);
    for query in ["limit=0", "limit=101", "after=x", "offset=2", "limit=1&limit=1"] {
        let path = format!("/v1/devices?{query}");
        let answer = running.send(&bearer("GET", &path, &ada.token, None)).await;
        assert_eq!(answer.error(), (400, "BadRequest".to_owned()), "{query}");
    }
}

/// Nodes that share a store and have no links: no news goes from one to the other.
#[tokio::test]
async fn a_node_that_missed_the_news_closes_the_sockets_within_two_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let mut config: Config = support::config(dir.path());
    config.store.engine = Engine::Shared;
    let store = StoreProcess::start(&config).unwrap();
    let socket = config.store_socket();
    let share = |config: &mut Config| {
        config.store.engine = Engine::Shared;
        config.store.socket = Some(socket.clone());
    };
    let (one, two) = (Running::start_with(share).await, Running::start_with(share).await);
    let phone = User::sign_up(&one, "ada").await;
    let laptop = log_in(&one, "ada").await;
    let (mut client, _) = Client::welcomed(&two, &phone).await;
    let (mut other, _) = Client::welcomed(&two, &laptop).await;
    assert_eq!(revoke(&one, &laptop, &phone.device.to_string()).await.status, 204);
    let closed = tokio::time::timeout(Duration::from_secs(2), client.goodbye()).await;
    assert_eq!(closed.unwrap(), Goodbye::with(None, CloseCode::Revoked));
    other.assert_alive().await;

    // The same when a used refresh token comes back.
    let refresh = async |token: &str| {
        let body = format!(r#"{{"refresh_token":"{token}"}}"#);
        one.post("/v1/refresh", &body).await
    };
    let fresh = refresh(&laptop.refresh_token).await.json();
    assert_eq!(refresh(fresh["refresh_token"].as_str().unwrap()).await.status, 200);
    assert_eq!(refresh(&laptop.refresh_token).await.status, 401);
    let closed = tokio::time::timeout(Duration::from_secs(2), other.goodbye()).await;
    assert_eq!(closed.unwrap(), Goodbye::with(None, CloseCode::Revoked));
    drop((client, other));
    one.node.shutdown().await;
    two.node.shutdown().await;
    tokio::task::spawn_blocking(move || store.shutdown()).await.unwrap();
}
