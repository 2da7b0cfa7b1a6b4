//! Where clients are told to connect.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that fails fails its test"
)]

mod support;

use support::Running;

#[tokio::test]
async fn where_to_connect_is_told_to_anybody_and_a_bad_token_is_refused() {
    let node = Running::start().await;
    let token = node.sign_up("ada").await["access_token"].as_str().unwrap().to_owned();
    let ask = |more: String| {
        format!("GET /v1/discover HTTP/1.1\r\nhost: node\r\nconnection: close\r\n{more}\r\n")
    };
    for more in [String::new(), format!("authorization: Bearer {token}\r\n")] {
        let found = node.send(&ask(more)).await.json();
        assert_eq!(found["websocket"], "ws://node/v1/ws");
        assert_eq!(found["endpoints"][0], found["websocket"]);
    }
    for bad in ["Bearer x", "Basic x", "Bearer "] {
        let refused = node.send(&ask(format!("authorization: {bad}\r\n"))).await.json();
        assert_eq!(refused["error"]["code"], "BadToken");
    }
}
