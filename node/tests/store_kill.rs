//! `rookery store` is killed in the middle of writes, again and again; and its clients are: nothing
//! acknowledged is lost, nothing refused appears, and nobody else is harmed.
//!
//! `ROOKERY_TEST_KILLS` asks for more kills than the usual run's.

#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that fails fails its test"
)]

mod support;

use bytes::Bytes;
use rookery_store::shared::{SharedConfig, SharedEngine};
use rookery_store::{Engine, Op, Outcome, Plan, Version, View};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::process::{Ready, post, rookery, serve};

const KILLS: usize = 10;
const CLIENTS: u64 = 2;
const IN_FLIGHT: u64 = 16;
/// Longer than anything takes that is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

fn store(dir: &Path) -> Ready {
    let mut command = rookery();
    command.arg("store").arg("--data").arg(dir).arg("--socket").arg(dir.join("s"));
    Ready::start(command)
}

/// What became of a client's numbers.
type Outcomes = Mutex<BTreeMap<(u64, u64), Outcome>>;

fn key(row: &str, client: u64, n: u64) -> Bytes {
    Bytes::from(format!("{row}{client}-{n:08}"))
}

fn value(client: u64, n: u64) -> Bytes {
    let length = usize::try_from(n.wrapping_mul(0x9e37_79b9) % 3000).unwrap();
    Bytes::from(format!("{client}-{n:08}").repeat(length / 10 + 1))
}

/// Two rows that must be there together or not at all.
fn plan_of(client: u64, n: u64) -> Plan {
    let set = |row| Op::Set { key: key(row, client, n), value: value(client, n) };
    Plan { guards: Vec::new(), ops: vec![set("a"), set("b")] }
}

/// Writes numbers, several at a time, until told to stop.
fn write(engine: &SharedEngine, client: u64, outcomes: &Outcomes, stop: &AtomicBool) {
    let (report, reports) = channel();
    let submit = |n: u64| {
        let report = report.clone();
        let done = Box::new(move |all: Vec<Outcome>| report.send((n, all[0])).unwrap());
        engine.submit(vec![plan_of(client, n)], done);
    };
    (0..IN_FLIGHT).for_each(submit);
    let mut next = IN_FLIGHT;
    let mut left = IN_FLIGHT;
    while left > 0 {
        let (n, outcome) = reports.recv_timeout(PATIENCE).unwrap();
        outcomes.lock().unwrap().insert((client, n), outcome);
        if outcome == Outcome::Busy {
            // The store is down; as fast as it refuses, this would be a busy loop.
            std::thread::sleep(Duration::from_millis(5));
        }
        if stop.load(Ordering::Relaxed) {
            left -= 1;
        } else {
            submit(next);
            next += 1;
        }
    }
}

/// Holds the store to what was told before its snapshot was taken.
async fn check(engine: &SharedEngine, outcomes: &Outcomes) -> usize {
    let told = outcomes.lock().unwrap().clone();
    let view = engine.view(Version(0)).await.unwrap();
    let a = view.range(b"a", b"b", usize::MAX, false).await.unwrap();
    let b = view.range(b"b", b"c", usize::MAX, false).await.unwrap();
    assert!(a.iter().map(|row| &row.1).eq(b.iter().map(|row| &row.1)), "half a plan");
    let rows: BTreeMap<Bytes, Bytes> = a.into_iter().collect();
    for (&(client, n), outcome) in &told {
        let found = rows.get(&key("a", client, n));
        assert!(found.is_none_or(|found| *found == value(client, n)), "{client}-{n}: other rows");
        match outcome {
            Outcome::Committed { version, .. } => {
                assert!(*version <= view.version());
                assert!(found.is_some(), "{client}-{n} was acknowledged");
            }
            Outcome::Busy => assert!(found.is_none(), "{client}-{n} was refused"),
            Outcome::Unresolved => {}
            other => panic!("{other:?}"),
        }
    }
    let mut versions: Vec<Version> = told
        .values()
        .filter_map(|outcome| match outcome {
            Outcome::Committed { version, .. } => Some(*version),
            _ => None,
        })
        .collect();
    let committed = versions.len();
    versions.sort_unstable();
    versions.dedup();
    assert_eq!(versions.len(), committed, "no two plans share a version");
    committed
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn committed(outcomes: &Outcomes) -> usize {
    let outcomes = outcomes.lock().unwrap();
    outcomes.values().filter(|one| matches!(one, Outcome::Committed { .. })).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_plans_of_two_clients_survive_kill_9_of_the_store() {
    let kills = std::env::var("ROOKERY_TEST_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let mut running = store(dir.path());
    let config = SharedConfig::new(dir.path().join("s"));
    let reader = SharedEngine::open(&config).unwrap();
    let (outcomes, stop) = (Arc::new(Outcomes::default()), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..CLIENTS).map(|_| SharedEngine::open(&config).unwrap()).collect();
    let mut writers = Vec::new();
    for (client, engine) in (0..).zip(clients) {
        let (outcomes, stop) = (Arc::clone(&outcomes), Arc::clone(&stop));
        writers.push(std::thread::spawn(move || write(&engine, client, &outcomes, &stop)));
    }
    for round in 0..kills {
        let enough = committed(&outcomes) + 60 + 37 * (round % 10);
        until("enough is committed", || committed(&outcomes) >= enough).await;
        running.signal(Signal::KILL);
        running.end();
        running = store(dir.path());
        until("it reconnects", || reader.trouble().is_none()).await;
        check(&reader, &outcomes).await;
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        tokio::task::spawn_blocking(move || writer.join().unwrap()).await.unwrap();
    }
    let all = check(&reader, &outcomes).await;
    let in_doubt =
        outcomes.lock().unwrap().values().filter(|one| **one == Outcome::Unresolved).count();
    println!("{all} plans acknowledged, {in_doubt} in doubt after {kills} kills");
    assert!(all >= 60 * kills && in_doubt > 0);
}

fn sign_up(node: &Ready, name: &str) -> String {
    let body = format!("{{\"name\":\"{name}\",\"password\":\"correct horse\"}}");
    post(node.address(), "/v1/signup", &body)
}

fn is_made(answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 200")
}

#[test]
fn a_node_that_is_killed_and_one_that_stands_still_harm_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let _store = store(dir.path());
    let socket = dir.path().join("s");
    let node = |name: &str| {
        let more = ["--store", "shared", "--socket", socket.to_str().unwrap()];
        Ready::start(serve(&dir.path().join(name), &more))
    };
    let (killed, still, other) = (node("killed"), node("still"), node("other"));
    for (at, node) in [&killed, &still, &other].into_iter().enumerate() {
        let answer = sign_up(node, &format!("first{at}"));
        assert!(is_made(&answer), "{answer}");
    }
    killed.signal(Signal::KILL);
    killed.end();
    still.signal(Signal::STOP);
    for at in 0..20 {
        let started = Instant::now();
        let answer = sign_up(&other, &format!("second{at}"));
        assert!(is_made(&answer), "{answer}");
        assert!(started.elapsed() < PATIENCE / 4, "{:?}", started.elapsed());
    }
    still.signal(Signal::CONT);
    let started = Instant::now();
    let mut at = 0;
    while !is_made(&sign_up(&still, &format!("third{at}"))) {
        at += 1;
        assert!(started.elapsed() < PATIENCE, "it does not recover");
    }
}
