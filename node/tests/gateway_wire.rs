//! What is wrong on the wire closes the connection with its code; what is only unknown is skipped.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that fails fails its test"
)]

mod support;

use rookery_protocol::client::Ping;
use rookery_protocol::limits::{
    MAX_CLIENT_FRAME_BYTES, MAX_CLIENT_MESSAGE_BYTES, MAX_FRAMES_PER_MESSAGE,
};
use rookery_protocol::{ClientFrame, CloseCode, ErrorCode, ServerFrame, number};
use support::Running;
use support::wire::{Client, Goodbye, User};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

fn broken(error: ErrorCode) -> Goodbye {
    Goodbye::with(Some(error), CloseCode::ProtocolError)
}

/// What a welcomed client is told after this message.
async fn told(running: &Running, message: Message) -> Goodbye {
    let user = User::sign_up(running, &format!("u{}", rand())).await;
    let (mut client, _) = Client::welcomed(running, &user).await;
    client.send_message(message).await;
    client.goodbye().await
}

fn rand() -> u32 {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).unwrap();
    u32::from_be_bytes(bytes)
}

#[tokio::test]
async fn bytes_that_are_no_frame_are_malformed() {
    let running = Running::start().await;
    let cases: [&[u8]; 6] = [
        // No length.
        &[number::PING],
        // A length that is cut, and one that is too wide.
        &[number::PING, 251, 1],
        &[number::PING, 253, 1, 0, 0, 0, 0, 0, 0, 0],
        // Less payload than the length says.
        &[number::PING, 2, 1],
        // A payload that ends too early.
        &[number::ACK, 0],
        // A bool that is neither.
        &[number::SET_TYPING, 2, 1, 7],
    ];
    for bytes in cases {
        let goodbye = told(&running, Message::Binary(bytes.to_vec().into())).await;
        assert_eq!(goodbye, broken(ErrorCode::Malformed), "{bytes:?}");
    }
}

#[tokio::test]
async fn a_broken_frame_before_hello_is_malformed_too() {
    let running = Running::start().await;
    let mut client = Client::connect(&running).await;
    client.send_bytes(vec![number::HELLO, 3, 1, 1, 200]).await;
    assert_eq!(client.goodbye().await, broken(ErrorCode::Malformed));
}

#[tokio::test]
async fn a_frame_over_its_limit_is_too_large() {
    let running = Running::start().await;
    let mut bytes = vec![number::SEND, 252];
    bytes.extend_from_slice(&u32::try_from(MAX_CLIENT_FRAME_BYTES + 1).unwrap().to_le_bytes());
    bytes.resize(bytes.len() + MAX_CLIENT_FRAME_BYTES + 1, 0);
    let goodbye = told(&running, Message::Binary(bytes.into())).await;
    assert_eq!(goodbye, broken(ErrorCode::TooLarge));
}

#[tokio::test]
async fn a_message_over_its_limit_is_too_large() {
    let running = Running::start().await;
    let goodbye = told(&running, Message::Binary(vec![0; MAX_CLIENT_MESSAGE_BYTES + 1].into()));
    assert_eq!(goodbye.await, broken(ErrorCode::TooLarge));
}

#[tokio::test]
async fn more_frames_than_a_message_may_hold_are_too_large() {
    let running = Running::start().await;
    let mut bytes = Vec::new();
    for nonce in 0..=u32::try_from(MAX_FRAMES_PER_MESSAGE).unwrap() {
        ClientFrame::from(Ping { nonce }).encode(&mut bytes);
    }
    let user = User::sign_up(&running, "ada").await;
    let (mut client, _) = Client::welcomed(&running, &user).await;
    client.send_bytes(bytes).await;
    let code = client
        .until(|frame| match frame {
            ServerFrame::Error(error) => Some(error.code),
            _ => None,
        })
        .await;
    assert_eq!(code, ErrorCode::TooLarge.code());
    assert_eq!(client.goodbye().await, Goodbye::with(None, CloseCode::ProtocolError));
}

#[tokio::test]
async fn a_text_message_is_not_binary() {
    let running = Running::start().await;
    assert_eq!(told(&running, Message::text("hello")).await, broken(ErrorCode::NotBinary));
    let mut client = Client::connect(&running).await;
    client.send_message(Message::text("hello")).await;
    assert_eq!(client.goodbye().await, broken(ErrorCode::NotBinary));
}

#[tokio::test]
async fn what_is_not_even_websocket_is_malformed() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let (mut client, _) = Client::welcomed(&running, &ada).await;
    // A frame without a mask.
    client.ws.get_mut().write_all(&[0x82, 0x01, 0x00]).await.unwrap();
    assert_eq!(client.goodbye().await, broken(ErrorCode::Malformed));
}

#[tokio::test]
async fn unknown_frames_trailing_bytes_and_empty_messages_do_no_harm() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let (mut client, _) = Client::welcomed(&running, &ada).await;
    client.send_bytes(Vec::new()).await;
    client.send_bytes(vec![0x7e, 3, 1, 2, 3]).await;
    // A server's number is no more than an unknown one.
    let mut bytes = vec![number::MESSAGE, 1, 0, 0x70, 0];
    // A ping of a newer version, with a field more.
    bytes.extend_from_slice(&[number::PING, 3, 42, 1, 1]);
    client.send_bytes(bytes).await;
    client
        .until(|frame| matches!(frame, ServerFrame::Pong(p) if p.nonce == 42).then_some(()))
        .await;
    client.assert_alive().await;
}

#[tokio::test]
async fn every_ping_of_a_message_is_answered_in_order() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let (mut client, _) = Client::welcomed(&running, &ada).await;
    let pings: Vec<ClientFrame> = (0..500).map(|nonce| Ping { nonce }.into()).collect();
    client.send_all(&pings).await;
    for nonce in 0..500 {
        let frame = client.frame().await;
        assert!(matches!(&frame, ServerFrame::Pong(pong) if pong.nonce == nonce), "{frame:?}");
    }
}

#[tokio::test]
async fn a_websocket_ping_is_answered_and_a_close_is_answered() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let (mut client, _) = Client::welcomed(&running, &ada).await;
    client.send_message(Message::Ping(b"beat"[..].into())).await;
    assert_eq!(client.message().await, Some(Message::Pong(b"beat"[..].into())));
    client.send_message(Message::Close(None)).await;
    assert_eq!(client.message().await, Some(Message::Close(None)));
    assert_eq!(client.message().await, None);
}

#[tokio::test]
async fn a_client_that_only_sends_is_not_read_without_end() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let (mut client, _) = Client::welcomed(&running, &ada).await;
    let mut frames = Vec::new();
    for nonce in 0..1000 {
        ClientFrame::from(Ping { nonce }).encode(&mut frames);
    }
    let length = u16::try_from(frames.len()).unwrap();
    let mut message = vec![0x82, 0xfe];
    message.extend_from_slice(&length.to_be_bytes());
    message.extend_from_slice(&[0; 4]);
    message.extend_from_slice(&frames);
    // Nothing is taken of the answers: at some point the server stops to read.
    let stream = client.ws.get_mut();
    let mut sent = 0_usize;
    let quiet = std::time::Duration::from_millis(500);
    let mut at = 0;
    while let Ok(written) = tokio::time::timeout(quiet, stream.write(&message[at..])).await {
        let written = written.unwrap();
        sent += written;
        at = (at + written) % message.len();
        assert!(sent < 256 * 1024 * 1024, "the server takes everything");
    }
    // And goes on when the answers are taken: every ping that was read is answered.
    let reading = async {
        let mut buffer = vec![0; 64 * 1024];
        let mut received = 0_usize;
        while received < sent / 2 {
            received += stream.read(&mut buffer).await.unwrap();
        }
    };
    tokio::time::timeout(support::wire::PATIENCE, reading).await.unwrap();
}
