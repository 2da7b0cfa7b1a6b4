//! Compression: what unpacks to a thousand times its size never does here, because nothing is unpacked.

use crate::support::wire::{Client, Goodbye, User};
use crate::support::{Answer, Running, post};
use rookery_protocol::{CloseCode, ErrorCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One kilobyte of zeros, packed by deflate.
const PACKED: [u8; 9] = [0x63, 0x60, 0x18, 0x05, 0xa3, 0x00, 0x00, 0x00, 0x00];

#[tokio::test]
async fn an_offer_to_compress_is_not_taken() {
    let running = Running::start().await;
    let mut stream = TcpStream::connect(running.node.http_addr()).await.unwrap();
    let request = "GET /v1/ws HTTP/1.1\r\nhost: node\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                   sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                   sec-websocket-protocol: rookery.v1\r\n\
                   sec-websocket-extensions: permessage-deflate; client_max_window_bits\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let answer = Answer::parse(&String::from_utf8(head).unwrap());
    assert_eq!(answer.status, 101);
    assert_eq!(answer.header("sec-websocket-extensions"), None);
}

#[tokio::test]
async fn a_compressed_message_ends_the_connection() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    for welcomed in [false, true] {
        let mut client = match welcomed {
            false => Client::connect(&running).await,
            true => Client::welcomed(&running, &ada).await.0,
        };
        // Binary, final, with RSV1: compressed. Masked with zeros.
        let mut frame = vec![0xc2, 0x80 | u8::try_from(PACKED.len()).unwrap(), 0, 0, 0, 0];
        frame.extend_from_slice(&PACKED);
        client.ws.get_mut().write_all(&frame).await.unwrap();
        let broken = Goodbye::with(Some(ErrorCode::Malformed), CloseCode::ProtocolError);
        assert_eq!(client.goodbye().await, broken, "welcomed: {welcomed}");
    }
}

#[tokio::test]
async fn a_compressed_body_is_no_json() {
    let running = Running::start().await;
    for encoding in ["gzip", "deflate", "br", "zstd"] {
        let request = post("/v1/login", "application/json", "\u{1f}\u{8}").replacen(
            "\r\n",
            &format!("\r\ncontent-encoding: {encoding}\r\n"),
            1,
        );
        let answer = running.send(&request).await;
        assert!((400..500).contains(&answer.status), "{encoding}: {answer:?}");
    }
    let page = running
        .send("GET / HTTP/1.1\r\nhost: node\r\nconnection: close\r\naccept-encoding: gzip\r\n\r\n")
        .await;
    // And nothing is packed: tokens beside what an attacker chooses must not change a length.
    assert_eq!((page.status, page.header("content-encoding")), (200, None));
}
