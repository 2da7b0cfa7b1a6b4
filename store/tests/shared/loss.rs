//! The store's process goes away, or stands still, and comes back.

use super::support::{Hosted, hosted_embedded, start, until, view};
use crate::contract::harness::{apply, bytes, commit, get, plan, set, wait};
use rookery_store::memory::Fault;
use rookery_store::shared::{Server, SharedEngine};
use rookery_store::{Outcome, Plan, ReadError, View};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

/// The bound of what must be fast: far below any time-out, far above a busy machine's pauses.
const FAST: Duration = Duration::from_secs(1);

fn is_down(client: &SharedEngine) {
    let started = Instant::now();
    assert_eq!(commit(client, plan(vec![set("k", "")])), Outcome::Busy);
    assert!(matches!(view(client), Err(ReadError::Unavailable(_))));
    assert!(started.elapsed() < FAST, "refusing took {:?}", started.elapsed());
    assert!(client.trouble().is_some());
}

#[test]
fn plans_in_flight_are_unresolved_and_later_ones_busy_until_the_store_is_back() {
    let mut hosted = Hosted::with(|_| {});
    let client = hosted.client();
    let (version, _) = apply(&client, vec![set("k", "1")]);
    let held = view(&client).unwrap();
    hosted.engine.set_faults(|_: &Plan| Fault::Hold);
    let in_flight = start(&client, vec![plan(vec![set("k", "2")])]);
    until("the plan arrives", || hosted.engine.held() == 1);
    let peer_is_lost = hosted.server.take().unwrap();
    // Ends like a process that is killed: nobody waits for what was submitted.
    std::thread::spawn(move || drop(peer_is_lost));
    assert_eq!(in_flight.recv().unwrap(), [Outcome::Unresolved]);
    is_down(&client);
    assert!(matches!(wait(held.get(b"k")), Err(ReadError::Unavailable(_))));
    // The plan in doubt is applied after all; whoever reads finds out.
    hosted.engine.clear_faults();
    hosted.engine.release_all();
    hosted.restart();
    until("it reconnects", || client.trouble().is_none());
    assert_eq!(get(&client, "k"), Some(bytes("2")));
    let old = wait(held.get(b"k"));
    assert!(matches!(old, Err(ReadError::Unavailable(_))), "a snapshot is never another one");
    assert!(apply(&client, vec![set("k", "3")]).0 > version);
}

#[test]
fn a_store_that_stands_still_is_left_and_found_again() {
    let mut hosted = Hosted::start();
    let client = hosted.client();
    apply(&client, vec![set("k", "1")]);
    hosted.stop();
    // A listener that accepts nobody: what a stopped process looks like.
    let still = UnixListener::bind(&hosted.config.socket).unwrap();
    until("the loss is noticed", || client.trouble().is_some());
    is_down(&client);
    drop(still);
    std::fs::remove_file(&hosted.config.socket).unwrap();
    hosted.restart();
    until("it reconnects", || client.trouble().is_none());
    assert_eq!(get(&client, "k"), Some(bytes("1")));
}

#[test]
fn a_stopping_server_answers_what_was_submitted() {
    let (engine, server, config, _dir) = hosted_embedded();
    let client = SharedEngine::open(&config).unwrap();
    let waiting: Vec<_> =
        (0..200).map(|at| start(&client, vec![plan(vec![set(&format!("{at:03}"), "")])])).collect();
    until("something is committed", || engine.batches() > 0);
    server.stop();
    engine.close();
    let outcomes: Vec<Outcome> = waiting.into_iter().map(|one| one.recv().unwrap()[0]).collect();
    let committed = outcomes.iter().filter(|one| matches!(one, Outcome::Committed { .. })).count();
    assert!(committed > 0);
    let view = crate::contract::harness::latest(&engine);
    for (at, outcome) in outcomes.iter().enumerate() {
        let there = wait(view.get(format!("{at:03}").as_bytes())).unwrap().is_some();
        match outcome {
            Outcome::Committed { .. } => assert!(there, "{at} was acknowledged"),
            // It was on its way when the server took no more requests, or was answered too late.
            Outcome::Unresolved => {}
            Outcome::Busy => assert!(!there, "{at} was refused"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_client_that_vanishes_leaves_no_trace_and_its_plans_are_applied() {
    let hosted = Hosted::start();
    let (gone, stays) = (hosted.client(), hosted.client());
    let held = view(&gone).unwrap();
    hosted.engine.set_faults(|_: &Plan| Fault::Hold);
    let unknown = start(&gone, vec![plan(vec![set("k", "1")])]);
    until("the plan arrives", || hosted.engine.held() == 1);
    drop(gone);
    assert_eq!(unknown.recv().unwrap(), [Outcome::Unresolved]);
    assert!(matches!(wait(held.get(b"k")), Err(ReadError::Unavailable(_))));
    hosted.engine.clear_faults();
    hosted.engine.release_all();
    until("its place is free", || hosted.clients() == 1);
    assert_eq!(get(&stays, "k"), Some(bytes("1")));
}

#[test]
fn a_store_that_forgot_commits_is_not_read_from() {
    let mut hosted = Hosted::start();
    let client = hosted.client();
    apply(&client, vec![set("k", "1")]);
    hosted.stop();
    hosted.engine = rookery_store::memory::MemoryEngine::new();
    hosted.server = Some(Server::start(hosted.engine.clone(), &hosted.config).unwrap());
    until("it reconnects", || client.trouble().is_none());
    assert!(matches!(view(&client), Err(ReadError::Unavailable(_))));
}
