//! The way from an HTTP request to a WebSocket, and every request that doesn't get there.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that fails fails its test"
)]

mod support;

use support::wire::{Client, User};
use support::{Answer, Running};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The headers of a good upgrade, each as its line.
const GOOD: [&str; 5] = [
    "upgrade: websocket",
    "connection: keep-alive, Upgrade",
    "sec-websocket-version: 13",
    "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-protocol: other, rookery.v1",
];

fn request(method: &str, headers: &[&str]) -> String {
    format!("{method} /v1/ws HTTP/1.1\r\nhost: node\r\n{}\r\n\r\n", headers.join("\r\n"))
}

#[tokio::test]
async fn a_good_request_is_accepted_with_key_and_subprotocol() {
    let running = Running::start().await;
    let mut stream = TcpStream::connect(running.node.http_addr()).await.unwrap();
    stream.write_all(request("GET", &GOOD).as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let answer = Answer::parse(&String::from_utf8(head).unwrap());
    assert_eq!(answer.status, 101);
    // The example of RFC 6455, section 1.3.
    assert_eq!(answer.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(answer.header("sec-websocket-protocol"), Some("rookery.v1"));
    assert_eq!(answer.header("upgrade"), Some("websocket"));
    assert_eq!(answer.header("sec-websocket-extensions"), None);
}

#[tokio::test]
async fn a_request_that_is_no_upgrade_of_ours_is_told_so() {
    let running = Running::start().await;
    let mut bad: Vec<Vec<&str>> = Vec::new();
    for missing in 0..GOOD.len() {
        let mut headers = GOOD.to_vec();
        headers.remove(missing);
        bad.push(headers);
    }
    for (at, line) in [
        (0, "upgrade: h2c"),
        (1, "connection: keep-alive"),
        (2, "sec-websocket-version: 8"),
        (3, "sec-websocket-key: short"),
        (3, "sec-websocket-key: dGhlIHNhbXBsZSBub25jZ!=="),
        (4, "sec-websocket-protocol: rookery.v2"),
        (4, "sec-websocket-protocol: rookery.v1x"),
    ] {
        let mut headers = GOOD.to_vec();
        headers[at] = line;
        bad.push(headers);
    }
    for mut headers in bad {
        // Without it the answer's connection stays open for another request.
        match headers.iter_mut().find(|line| line.starts_with("connection")) {
            Some(line) if line.contains("Upgrade") => *line = "connection: close, Upgrade",
            Some(line) => *line = "connection: close",
            None => headers.push("connection: close"),
        }
        let answer = running.send(&request("GET", &headers)).await;
        assert_eq!(answer.error(), (400, "BadRequest".to_owned()), "{headers:?}");
        assert_eq!(answer.header("sec-websocket-version"), Some("13"));
    }
}

#[tokio::test]
async fn only_get_upgrades() {
    let running = Running::start().await;
    let mut headers = GOOD.to_vec();
    headers[1] = "connection: close, upgrade";
    let answer = running.send(&request("POST", &headers)).await;
    assert_eq!(answer.error(), (405, "WrongMethod".to_owned()));
    let head = running.send(&request("HEAD", &headers)).await;
    assert_eq!(head.status, 405);
}

#[tokio::test]
async fn a_page_of_another_origin_is_refused() {
    let running = Running::start().await;
    let mut headers = GOOD.to_vec();
    headers[1] = "connection: close, upgrade";
    headers.push("origin: http://elsewhere.example");
    let answer = running.send(&request("GET", &headers)).await;
    assert_eq!(answer.error(), (403, "ForeignOrigin".to_owned()));
}

#[tokio::test]
async fn a_node_that_leaves_takes_no_connection_and_keeps_those_it_has() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let (mut client, _) = Client::welcomed(&running, &ada).await;
    running.node.drain();
    let mut headers = GOOD.to_vec();
    headers[1] = "connection: close, upgrade";
    let answer = running.send(&request("GET", &headers)).await;
    assert_eq!(answer.error(), (503, "NotReady".to_owned()));
    client.assert_alive().await;
}

#[tokio::test]
async fn frames_that_come_together_with_the_request_are_not_lost() {
    let running = Running::start().await;
    let mut stream = TcpStream::connect(running.node.http_addr()).await.unwrap();
    let mut bytes = request("GET", &GOOD).into_bytes();
    // A masked WebSocket ping "hi", under a mask of zeros.
    bytes.extend_from_slice(&[0x89, 0x82, 0, 0, 0, 0, b'h', b'i']);
    stream.write_all(&bytes).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let mut pong = [0; 4];
    stream.read_exact(&mut pong).await.unwrap();
    assert_eq!(pong, [0x8a, 0x02, b'h', b'i']);
}
