//! Links between nodes in one process, over real sockets and TLS.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that fails fails its test"
)]

mod support;

use bytes::Bytes;
use rookery_actors::link::frame::{NEWEST_VERSION, OLDEST_VERSION};
use rookery_actors::link::{LinkOut, LinkRefused, MAX_MESSAGE_BYTES, Notice};
use std::time::{Duration, Instant};
use support::proxy::{Cut, Proxy};
use support::{Authority, Node, PATIENCE, SLACK, introduce, pair};
use tokio::net::{TcpSocket, TcpStream};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_arrive_once_in_order_both_ways() {
    let (mut a, mut b) = pair(&Authority::new("chat")).await;
    let (to_a, to_b) = (a.key(), b.key());
    // Less than a queue holds, so that none is refused.
    a.send_numbers(to_b, 0..50_000);
    b.send_numbers(to_a, 0..50_000);
    b.expect_numbers(0..50_000).await;
    a.expect_numbers(0..50_000).await;
    let status = a.links.status();
    assert!(status[0].name == "b" && status[0].up, "{status:?}");
    a.links.shutdown().await;
    b.notice(Notice::Down(to_a)).await;
    b.links.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_message_is_carried_and_a_larger_one_is_refused() {
    let (a, mut b) = pair(&Authority::new("chat")).await;
    let largest = Bytes::from(vec![7; MAX_MESSAGE_BYTES]);
    for _ in 0..4 {
        a.links.send(b.key(), largest.clone()).unwrap();
    }
    for _ in 0..4 {
        assert_eq!(b.message().await, largest);
    }
    let larger = Bytes::from(vec![7; MAX_MESSAGE_BYTES + 1]);
    assert_eq!(a.links.send(b.key(), larger), Err(LinkRefused::TooLarge));
    assert_eq!(a.links.send(a.key(), Bytes::new()), Err(LinkRefused::Unknown));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn black_holes_are_noticed_in_six_seconds_and_lose_nothing() {
    let authority = Authority::new("chat");
    let one_way = Cut { there: true, back: false };
    let other_way = Cut { there: false, back: true };
    let both_ways = Cut { there: true, back: true };
    let holes = [one_way, other_way, both_ways].map(|cut| black_hole(&authority, cut));
    futures_util::future::join_all(holes).await;
}

async fn black_hole(authority: &Authority, cut: Cut) {
    let mut a = Node::start(authority, "a", 1).await;
    let mut b = Node::start(authority, "b", 1).await;
    let proxy = Proxy::to(b.links.local_addr()).await;
    a.links.set_peers(vec![b.peer_at(proxy.address)]);
    b.links.set_peers(vec![a.peer()]);
    a.notice(Notice::Up(b.key())).await;
    b.notice(Notice::Up(a.key())).await;
    a.send_numbers(b.key(), 0..100);
    b.expect_numbers(0..100).await;
    proxy.cut(cut);
    let since = Instant::now();
    a.send_numbers(b.key(), 100..200);
    b.send_numbers(a.key(), 0..100);
    a.notice(Notice::Down(b.key())).await;
    b.notice(Notice::Down(a.key())).await;
    assert!(since.elapsed() <= SLACK * Duration::from_secs(6), "{cut:?}: {:?}", since.elapsed());
    proxy.heal();
    a.send_numbers(b.key(), 200..300);
    b.expect_numbers(100..300).await;
    a.expect_numbers(0..100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dialer_that_lost_its_connection_replaces_the_half_that_is_left() {
    let authority = Authority::new("chat");
    let mut a = Node::start(&authority, "a", 1).await;
    let mut b = Node::start(&authority, "b", 1).await;
    let proxy = Proxy::to(b.links.local_addr()).await;
    a.links.set_peers(vec![b.peer_at(proxy.address)]);
    b.links.set_peers(vec![a.peer()]);
    for round in 0..8 {
        a.notice(Notice::Up(b.key())).await;
        b.notice(Notice::Up(a.key())).await;
        a.send_numbers(b.key(), round * 10..round * 10 + 10);
        b.expect_numbers(round * 10..round * 10 + 10).await;
        // The accepting side believes in the old connection when the new one comes.
        proxy.break_dialers();
        a.notice(Notice::Down(b.key())).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_back_is_linked_every_time() {
    let authority = Authority::new("chat");
    let mut b = Node::start(&authority, "b", 1).await;
    let proxy = Proxy::to(b.links.local_addr()).await;
    for incarnation in 1..=10 {
        let mut a = Node::start(&authority, "a", incarnation).await;
        b.links.set_peers(vec![a.peer()]);
        a.links.set_peers(vec![b.peer_at(proxy.address)]);
        b.notice(Notice::Up(a.key())).await;
        a.notice(Notice::Up(b.key())).await;
        a.send_numbers(b.key(), 0..10);
        b.expect_numbers(0..10).await;
        // As a machine that lost its power: nobody tells the peer that the connection is gone.
        proxy.break_dialers();
        drop(a);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_and_floods_do_not_keep_a_peer_away() {
    let authority = Authority::new("chat");
    let mut a = Node::start(&authority, "a", 1).await;
    let mut b = Node::start(&authority, "b", 1).await;
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(TcpStream::connect(b.links.local_addr()).await.unwrap());
    }
    for _ in 0..400 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        silent.push(socket.connect(b.links.local_addr()).await.unwrap());
    }
    let since = Instant::now();
    introduce(&mut a, &mut b).await;
    // One after the other, the silent ones' three seconds would be far more than this.
    assert!(since.elapsed() < SLACK * Duration::from_secs(3), "{:?}", since.elapsed());
    a.send_numbers(b.key(), 0..10);
    b.expect_numbers(0..10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_refuses_and_a_dropped_peer_is_told_lost_and_can_come_back() {
    let authority = Authority::new("chat");
    let mut a = Node::start(&authority, "a", 1).await;
    let mut b = Node::start(&authority, "b", 1).await;
    a.links.set_peers(vec![b.peer()]);
    let mut taken = 0;
    while a.links.send(b.key(), Bytes::from(vec![0; 100_000])).is_ok() {
        taken += 1;
    }
    assert_eq!(a.links.send(b.key(), Bytes::from(vec![0; 100_000])), Err(LinkRefused::Full));
    a.links.set_peers(Vec::new());
    a.notice(Notice::Lost(b.key(), taken)).await;
    introduce(&mut a, &mut b).await;
    a.send_numbers(b.key(), 0..10);
    b.expect_numbers(0..10).await;
    // The same lives again, each side dropped once: numbers go on where they were.
    for dropped in 0..4 {
        let node = if dropped % 2 == 0 { &a } else { &b };
        node.links.set_peers(Vec::new());
        tokio::time::timeout(PATIENCE, introduce(&mut a, &mut b)).await.unwrap();
        a.send_numbers(b.key(), 10..20);
        b.expect_numbers(10..20).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_the_version_before_is_spoken_to_in_its_version() {
    let authority = Authority::new("chat");
    // The lower name dials: one that is newer, and one that is older.
    let mut newer = Node::start(&authority, "a", 1).await;
    let mut older = Node::of_version(&authority, "b", OLDEST_VERSION).await;
    let mut newest = Node::start(&authority, "c", 1).await;
    let peers = vec![older.peer(), newer.peer(), newest.peer()];
    for node in [&older, &newer, &newest] {
        node.links.set_peers(peers.clone());
        assert!(peers.iter().all(|peer| node.links.speaks(peer.key()) == OLDEST_VERSION));
    }
    for (node, others) in [(&mut older, [1, 2]), (&mut newer, [0, 2]), (&mut newest, [0, 1])] {
        let mut missing = others.map(|n| peers[n].key()).to_vec();
        while !missing.is_empty() {
            let notice = node.notices.recv().await.unwrap();
            missing.retain(|key| notice != Notice::Up(*key));
        }
    }
    for other in [&newer, &newest] {
        assert_eq!(older.links.speaks(other.key()), OLDEST_VERSION);
        assert_eq!(other.links.speaks(older.key()), OLDEST_VERSION);
    }
    assert_eq!(newer.links.speaks(newest.key()), NEWEST_VERSION);
    older.links.send(newer.key(), Bytes::from_static(b"up")).unwrap();
    assert_eq!(newer.message().await, "up");
    newer.links.send(older.key(), Bytes::from_static(b"down")).unwrap();
    assert_eq!(older.message().await, "down");
}
