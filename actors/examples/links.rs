//! Measures links between two nodes in one process, over loopback TCP and TLS:
//!
//! `cargo run --release -p rookery-actors --example links`
//!
//! Prints how many small hints (40 bytes) pass in a second, how many a second of processor time (of
//! both ends together: making batches, encryption, the kernel, decoding, handing over), and how long
//! a lone hint takes one way (half a round trip).

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "an example that measures and prints"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use bytes::Bytes;
use rookery_actors::link::{LinkOut, LinkRefused};
use std::time::{Duration, Instant};
use support::{Authority, Node, introduce};

const HINT_BYTES: usize = 40;
const HINTS: usize = 4_000_000;
const ROUND_TRIPS: usize = 5_000;
const ROUNDS: usize = 3;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let authority = Authority::new("chat");
    let mut a = Node::start(&authority, "a", 1).await;
    let mut b = Node::start(&authority, "b", 1).await;
    introduce(&mut a, &mut b).await;
    for round in 1..=ROUNDS {
        let (wall, cpu) = throughput(&a, &mut b).await;
        let hints = u32::try_from(HINTS).unwrap();
        println!(
            "{round}: {:.2} M hints/s; {:.2} M hints a second of processor time",
            f64::from(hints) / wall.as_secs_f64() / 1e6,
            f64::from(hints) / cpu.as_secs_f64() / 1e6,
        );
        let (p50, p99) = latency(&mut a, &mut b).await;
        println!("{round}: one way p50 {p50:?}, p99 {p99:?}");
    }
}

async fn throughput(a: &Node, b: &mut Node) -> (Duration, Duration) {
    let hint = Bytes::from(vec![7; HINT_BYTES]);
    let (began, cpu) = (Instant::now(), processor_time());
    let (from, to) = (std::sync::Arc::clone(&a.links), b.key());
    let sender = tokio::spawn(async move {
        for _ in 0..HINTS {
            while let Err(refused) = from.send(to, hint.clone()) {
                assert_eq!(refused, LinkRefused::Full);
                tokio::task::yield_now().await;
            }
        }
    });
    for _ in 0..HINTS {
        b.messages.recv().await.unwrap();
    }
    sender.await.unwrap();
    (began.elapsed(), processor_time() - cpu)
}

async fn latency(a: &mut Node, b: &mut Node) -> (Duration, Duration) {
    let hint = Bytes::from(vec![7; HINT_BYTES]);
    let (to_a, to_b) = (a.key(), b.key());
    let mut times = Vec::with_capacity(ROUND_TRIPS);
    for _ in 0..ROUND_TRIPS {
        let began = Instant::now();
        a.links.send(to_b, hint.clone()).unwrap();
        b.messages.recv().await.unwrap();
        b.links.send(to_a, hint.clone()).unwrap();
        a.messages.recv().await.unwrap();
        times.push(began.elapsed() / 2);
    }
    times.sort_unstable();
    (times[ROUND_TRIPS / 2], times[ROUND_TRIPS * 99 / 100])
}

/// Of this process, user and system.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().map(|at: &usize| fields[*at].parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 1_000 / rustix::param::clock_ticks_per_second())
}
