//! Parts of a node's links fail; the links go on.
//!
//! One test, because it ends every router of the process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that fails fails its test"
)]

mod support;

use bytes::Bytes;
use ractor::registry::pid_registry::get_all_pids;
use rookery_actors::link::{LinkOut, NodeKey, Notice, Peer};
use rookery_actors::shell::link::{LinkConfig, Links};
use std::sync::Arc;
use support::{Authority, Node, PATIENCE};
use tokio::sync::mpsc::unbounded_channel;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routers_that_end_are_found_again_and_a_handler_may_panic() {
    let authority = Authority::new("chat");
    let mut a = Node::start(&authority, "a", 1).await;
    let (_files, tls) = authority.files("b", 2100);
    let config = LinkConfig {
        cluster: "chat".to_owned(),
        name: "b".to_owned(),
        incarnation: 1,
        listen: "127.0.0.1:0".parse().unwrap(),
        tls,
        newest: None,
    };
    let (message_in, mut messages) = unbounded_channel();
    let on_message = Arc::new(move |_: NodeKey, message: Bytes| {
        assert_ne!(message, "boom", "as a bug in a handler would");
        message_in.send(message).unwrap_or(());
    });
    let b = Links::start(config, on_message, Arc::new(|_| ())).await.unwrap();
    let address = b.local_addr().to_string();
    a.links.set_peers(vec![Peer { name: "b".to_owned(), incarnation: 1, address }]);
    b.set_peers(vec![a.peer()]);
    a.notice(Notice::Up(b.own())).await;
    for word in ["one", "boom", "two"] {
        a.links.send(b.own(), Bytes::from_static(word.as_bytes())).unwrap();
    }
    let mut heard =
        async || tokio::time::timeout(PATIENCE, messages.recv()).await.unwrap().unwrap();
    assert_eq!([heard().await, heard().await], ["one", "two"]);
    for router in get_all_pids().into_iter().filter(|actor| actor.supports_remoting()) {
        router.stop(None);
    }
    a.links.send(b.own(), Bytes::from_static(b"three")).unwrap();
    a.notice(Notice::Down(b.own())).await;
    a.notice(Notice::Up(b.own())).await;
    a.links.send(b.own(), Bytes::from_static(b"four")).unwrap();
    assert_eq!([heard().await, heard().await], ["three", "four"]);
    b.shutdown().await;
    b.failed().await;
}
