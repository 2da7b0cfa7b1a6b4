//! Oversized everything: refused by its length, without being held in memory first.

use crate::support::wire::{Client, Goodbye, PATIENCE, User};
use crate::support::{Answer, Running};
use futures_util::StreamExt;
use rookery_protocol::client::{Unwatch, Watch};
use rookery_protocol::limits::{MAX_CLIENT_MESSAGE_BYTES, MAX_WATCH_BATCH};
use rookery_protocol::{ClientFrame, CloseCode, ErrorCode, ServerFrame, UserId};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Header of a masked binary frame (mask of zeros): `first` is its first byte.
fn header(first: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..=125), _) => bytes.push(0x80 | short),
        (_, Ok(length)) => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
    }
    bytes.extend_from_slice(&[0; 4]);
    bytes
}

fn too_large() -> Goodbye {
    Goodbye::with(Some(ErrorCode::TooLarge), CloseCode::ProtocolError)
}

/// Writes for as long as the other side takes it.
async fn pour(client: &mut Client, bytes: &[u8], times: usize) {
    let stream = client.ws.get_mut();
    for _ in 0..times {
        if stream.write_all(bytes).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_length_that_no_message_has_is_refused_before_its_first_byte() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    for length in [MAX_CLIENT_MESSAGE_BYTES as u64 + 1, u64::from(u32::MAX), i64::MAX as u64] {
        let (mut client, _) = Client::welcomed(&running, &ada).await;
        pour(&mut client, &header(0x82, length), 1).await;
        assert_eq!(client.goodbye().await, too_large(), "{length}");
    }
}

#[tokio::test]
async fn a_message_in_endless_fragments_ends_at_the_limit() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let (mut client, _) = Client::welcomed(&running, &ada).await;
    let part = vec![0; 8192];
    pour(&mut client, &[header(0x02, 8192), part.clone()].concat(), 1).await;
    pour(&mut client, &[header(0x00, 8192), part].concat(), 20).await;
    assert_eq!(client.goodbye().await, too_large());
}

#[tokio::test]
async fn empty_fragments_without_end_are_no_sign_of_life() {
    let running = Running::start_with(|config| config.sessions.heartbeat_ms = 200).await;
    let ada = User::sign_up(&running, "ada").await;
    let (mut client, _) = Client::welcomed(&running, &ada).await;
    pour(&mut client, &header(0x02, 0), 1).await;
    let endless = async {
        let (empty, mut ticks) = (header(0x00, 0), tokio::time::interval(Duration::from_millis(5)));
        let (mut reading, mut writing) = tokio::io::split(client.ws.get_mut());
        let pouring = async {
            while writing.write_all(&empty).await.is_ok() {
                ticks.tick().await;
            }
        };
        let mut said = Vec::new();
        let hearing = reading.read_to_end(&mut said);
        tokio::select! { _ = hearing => {}, () = pouring => {} }
    };
    timeout(PATIENCE, endless).await.expect("the connection is closed");
}

#[tokio::test]
async fn who_has_not_said_hello_is_read_only_as_far_as_a_hello_needs() {
    let running = Running::start().await;
    // A message that would be within the limit of a client that is known.
    let mut client = Client::connect(&running).await;
    let length = MAX_CLIENT_MESSAGE_BYTES as u64 - 1;
    pour(&mut client, &header(0x82, length), 1).await;
    pour(&mut client, &[0; 20 * 1024], 1).await;
    assert_eq!(client.goodbye().await, too_large());
    // And pings are no way around it.
    let mut client = Client::connect(&running).await;
    let ping = [header(0x89, 125), vec![0; 125]].concat();
    pour(&mut client, &ping, 200).await;
    let mut last = None;
    while let Ok(Some(Ok(message))) = timeout(PATIENCE, client.ws.next()).await {
        last = Some(message);
    }
    assert!(last.is_some(), "answers, and then the end");
}

#[tokio::test]
async fn a_control_frame_over_its_limit_is_not_websocket() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    for first in [0x88, 0x89, 0x8a] {
        let (mut client, _) = Client::welcomed(&running, &ada).await;
        pour(&mut client, &[header(first, 126), vec![0; 126]].concat(), 1).await;
        let broken = Goodbye::with(Some(ErrorCode::Malformed), CloseCode::ProtocolError);
        assert_eq!(client.goodbye().await, broken, "{first:x}");
    }
}

#[tokio::test]
async fn a_list_over_its_limit_is_refused_before_it_is_worked_off() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let (mut client, _) = Client::welcomed(&running, &ada).await;
    let users = vec![UserId(1); MAX_WATCH_BATCH + 1];
    let watch = Watch { request: 5, users: users.clone() };
    for (frame, request) in [(ClientFrame::from(watch), 5), (Unwatch { users }.into(), 0)] {
        client.send(frame).await;
        let refused = client.until(|frame| match frame {
            ServerFrame::Error(error) => Some((error.request, error.code)),
            _ => None,
        });
        assert_eq!(refused.await, (request, ErrorCode::BadField.code()));
    }
    client.assert_alive().await;
}

#[tokio::test]
async fn heads_and_bodies_over_their_limits_are_refused() {
    let running = Running::start().await;
    let line = |path: &str, headers: &str| {
        format!("POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}\r\n")
    };
    let json = "content-type: application/json\r\n";
    let many = "x-a: b\r\n".repeat(2_000);
    let chunk = format!("4000\r\n{}\r\n", " ".repeat(0x4000));
    let requests = [
        ("a header", line("/v1/login", &format!("x-a: {}\r\n", "a".repeat(1 << 20))), 431),
        ("headers", line("/v1/login", &many), 431),
        ("a path", line(&format!("/{}", "a".repeat(1 << 20)), ""), 414),
        ("a length", line("/v1/login", &format!("{json}content-length: 1000000000000\r\n")), 413),
        (
            "chunks",
            line("/v1/login", &format!("{json}transfer-encoding: chunked\r\n")) + &chunk.repeat(64),
            413,
        ),
    ];
    for (what, request, status) in requests {
        let stream = TcpStream::connect(running.node.http_addr()).await.unwrap();
        let (mut reading, mut writing) = tokio::io::split(stream);
        let mut answer = Vec::new();
        let talking = async {
            // Refused before it is read: writing fails then, or the answer is lost in a reset.
            let asking = async { writing.write_all(request.as_bytes()).await.is_ok() };
            let hearing = async { reading.read_to_end(&mut answer).await.is_ok() };
            tokio::join!(asking, hearing)
        };
        timeout(PATIENCE, talking).await.unwrap_or_else(|_| panic!("{what}: no end"));
        if !answer.is_empty() {
            let answer = Answer::parse(&String::from_utf8(answer).unwrap());
            // Hyper answers a head that is too large, of whatever part, with one status.
            assert!(answer.status == status || answer.status == 431, "{what}: {answer:?}");
        }
    }
    assert_eq!(running.get("/healthz").await.status, 200);
}
