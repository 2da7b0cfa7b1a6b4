//! Who is no good peer is refused, logged once with the reason and counted; the others go on.
//!
//! One test, because the log and the counters are the process's.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that fails fails its test"
)]

mod support;

use ractor::message::SerializedMessage;
use ractor::registry::pid_registry::get_all_pids;
use rookery_actors::link::frame::MAX_FRAME_BYTES;
use rookery_actors::link::greeting::{Answer, Greeting, Refusal};
use rookery_actors::link::{LinkOut, Peer};
use rookery_actors::shell::link::{LinkConfig, LinkStartError, Links, TlsFiles};
use std::sync::Arc;
use support::by_hand::{greeting, say};
use support::evidence::{counted, gather, logged, until};
use support::{Authority, Node, PATIENCE, introduce};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Each is tried so often.
const TRIES: u64 = 3;

type Files = (TempDir, TlsFiles);

/// A dialer with these certificates that says this is refused for this reason, under this name.
async fn refused(b: &Node, files: &Files, words: &[u8], reason: Refusal, name: &str) {
    let counter = format!("rookery_link_refused_total {}", reason.word());
    let before = counted(&counter);
    for _ in 0..TRIES {
        let (_, answer) = say(b.links.local_addr(), &files.1, words).await;
        assert_eq!(answer, Some(Answer::Refused(reason)));
    }
    // The dialer may see the answer before the count is there.
    until(|| counted(&counter) == before + TRIES).await;
    let lines = logged(&["WARN", &format!("peer=\"{name}\""), &reason.to_string()]);
    assert_eq!(lines.len(), 1, "{lines:?}");
}

/// A dialer whose certificate is refused within TLS.
async fn distrusted(b: &Node, files: &Files, words: &[u8], times: u64) {
    let before = counted("rookery_link_refused_total tls");
    for _ in 0..times {
        assert_eq!(say(b.links.local_addr(), &files.1, words).await.1, None);
    }
    until(|| counted("rookery_link_refused_total tls") == before + times).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_peers_are_refused_logged_once_and_counted_and_the_others_go_on() {
    gather();
    let authority = Authority::new("chat");
    let mut a = Node::start(&authority, "a", 1).await;
    let mut b = Node::start(&authority, "b", 1).await;
    introduce(&mut a, &mut b).await;
    refuse_by_certificate(&authority, &b).await;
    refuse_by_greeting(&authority, &b).await;
    refuse_the_silent(&b).await;
    refuse_frames(&mut a, &mut b).await;
    refuse_an_oversized_message_of_ractor(&authority, &b).await;
    let status = b.links.status();
    assert!(status.iter().any(|peer| peer.name == "a" && peer.up), "{status:?}");
    a.send_numbers(b.key(), 0..100);
    b.expect_numbers(0..100).await;
}

async fn refuse_by_certificate(authority: &Authority, b: &Node) {
    let words = greeting("chat", "aa", "b").encode();
    let expired = authority.files("aa", 2021);
    let stranger = Authority::new("chat").files("aa", 2100);
    distrusted(b, &expired, &words, 2).await;
    distrusted(b, &stranger, &words, 1).await;
    let lines = logged(&["WARN", "peer=\"127.0.0.1\"", "TLS"]);
    assert!(lines.len() == 1 && lines[0].to_lowercase().contains("expired"), "{lines:?}");
    // Nor does a node start with such certificates.
    let other_name = authority.files("other", 2100);
    for (files, reason) in [(expired, "expired"), (other_name, "not for aa.chat.rookery")] {
        let config = LinkConfig {
            cluster: "chat".to_owned(),
            name: "aa".to_owned(),
            incarnation: 1,
            listen: "127.0.0.1:0".parse().unwrap(),
            tls: files.1.clone(),
            newest: None,
        };
        let started = Links::start(config, Arc::new(|_, _| ()), Arc::new(|_| ())).await;
        let error = started.expect_err("it must not start");
        assert!(matches!(error, LinkStartError::Tls(_)), "{error}");
        assert!(error.to_string().to_lowercase().contains(reason), "{error}");
    }
}

async fn refuse_by_greeting(authority: &Authority, b: &Node) {
    let files = |name| authority.files(name, 2100);
    let good = |name| greeting("chat", name, "b");
    let other_cluster = greeting("other", "a-cluster", "b").encode();
    refused(b, &files("a-cluster"), &other_cluster, Refusal::Cluster, "a-cluster").await;
    let future = Greeting { oldest: 98, newest: 99, ..good("a-version") }.encode();
    refused(b, &files("a-version"), &future, Refusal::Version, "a-version").await;
    refused(b, &files("b"), &good("b").encode(), Refusal::DuplicateName, "b").await;
    let higher = good("c").encode();
    refused(b, &files("c"), &higher, Refusal::Direction, "c").await;
    // Whoever lies about the name, or says no greeting, has no name.
    let liar = good("a").encode();
    refused(b, &files("mallory"), &liar, Refusal::Certificate, "127.0.0.1").await;
    let garbled = [&[0, 9], b"nonsense!".as_slice()].concat();
    refused(b, &files("aa"), &garbled, Refusal::Garbled, "127.0.0.1").await;
    let before = counted("rookery_link_refused_total garbled");
    let too_long = u16::MAX.to_be_bytes();
    assert_eq!(say(b.links.local_addr(), &files("aa").1, &too_long).await.1, None);
    until(|| counted("rookery_link_refused_total garbled") == before + 1).await;
    // Nodes that the view does not hold yet, or no longer, are part of the day: no warning.
    for (name, incarnation, reason) in
        [("aa", 1, "the view does not hold"), ("a", 1, "earlier life")]
    {
        let to_incarnation = if name == "a" { 7 } else { 1 };
        let words = Greeting { incarnation, to_incarnation, ..good(name) }.encode();
        let (_, answer) = say(b.links.local_addr(), &files(name).1, &words).await;
        assert!(matches!(answer, Some(Answer::Refused(_))), "{answer:?}");
        until(|| logged(&["INFO", &format!("peer=\"{name}\""), reason]).len() == 1).await;
    }
}

async fn refuse_the_silent(b: &Node) {
    let mut silent = TcpStream::connect(b.links.local_addr()).await.unwrap();
    let mut slow = TcpStream::connect(b.links.local_addr()).await.unwrap();
    slow.write_all(&[0x16, 0x03, 0x01]).await.unwrap();
    for socket in [&mut silent, &mut slow] {
        let ended = tokio::time::timeout(PATIENCE, socket.read(&mut [0; 8])).await;
        assert!(matches!(ended, Ok(Ok(0) | Err(_))), "{ended:?}");
    }
    until(|| counted("rookery_link_refused_total silent") == 2).await;
    assert_eq!(logged(&["WARN", "peer=\"127.0.0.1\"", "silent or slow"]).len(), 1);
}

/// What comes through ractor and is no frame.
async fn refuse_frames(a: &mut Node, b: &mut Node) {
    let routers: Vec<_> = get_all_pids().into_iter().filter(|it| it.supports_remoting()).collect();
    assert_eq!(routers.len(), 4, "two a node");
    let cast =
        |args: Vec<u8>| SerializedMessage::Cast { variant: "x".into(), args, metadata: None };
    let for_nobody = {
        let header = rookery_actors::link::frame::Header {
            version: 1,
            from: a.key(),
            to: rookery_actors::link::NodeKey::new("nobody", 1),
            ack: 0,
            base: 0,
            beat: 0,
            echo: 0,
            window: 0,
        };
        rookery_actors::link::frame::beat(&header)
    };
    let before = counted("rookery_link_bad_frames_total");
    for router in &routers {
        for bytes in [vec![], vec![99; 40], vec![1; 40], vec![1; MAX_FRAME_BYTES + 1]] {
            router.send_serialized(cast(bytes)).unwrap();
        }
        router.send_serialized(cast(for_nobody.clone())).unwrap();
        router.send_serialized(SerializedMessage::CallReply(1, vec![1])).unwrap();
    }
    until(|| counted("rookery_link_bad_frames_total") == before + 6 * 4).await;
    // By each of the two nodes once; the reason is that of the first.
    assert_eq!(logged(&["WARN", "peer=\"unknown\"", "a frame is dropped"]).len(), 2);
    a.send_numbers(b.key(), 0..10);
    b.expect_numbers(0..10).await;
}

/// A peer that is let in and then announces a gigabyte.
async fn refuse_an_oversized_message_of_ractor(authority: &Authority, b: &Node) {
    let peer = |name: &str| Peer { name: name.into(), incarnation: 1, address: String::new() };
    b.links.set_peers(vec![peer("a"), peer("aa")]);
    let files = authority.files("aa", 2100);
    let words = greeting("chat", "aa", "b").encode();
    let (stream, answer) = say(b.links.local_addr(), &files.1, &words).await;
    assert!(matches!(answer, Some(Answer::Welcome { .. })), "{answer:?}");
    let mut stream = stream.unwrap();
    stream.write_all(&(1_u64 << 30).to_be_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the connection must end");
    until(|| logged(&["WARN", "peer=\"aa\"", "did not take the connection"]).len() == 1).await;
}
