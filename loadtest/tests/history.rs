//! The history that a run keeps: judged again it gives the same verdict, and whatever is changed in
//! it is found.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

mod support;

use rookery_loadtest::history::{History, write};
use rookery_loadtest::oracle::Event;
use rookery_loadtest::scenario::Scenario;
use rookery_loadtest::{Options, Plant, run};
use std::path::Path;
use std::process::{Command, Output};
use support::{FakeServer, Temper};

const SCENARIO: &str = "name = \"kept\"\nkind = \"saturate\"\npairs = 4\ndevices = 2\n\
    duration_s = 0.3\nat_least = 100\nsettle_s = 20";

/// Runs and keeps the history.
fn kept(server: &FakeServer, seed: u64, plant: Option<Plant>, path: &Path) -> bool {
    let options = Options {
        url: Some(server.url()),
        seed,
        plant,
        history: Some(path.to_owned()),
        ..Options::default()
    };
    let (report, remarks) = run(&Scenario::parse(SCENARIO).unwrap(), &options).unwrap();
    assert_eq!(remarks.history.as_deref(), Some(path));
    report.clean()
}

fn check(path: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rookery-loadtest"));
    command.arg("check").arg(path).output().unwrap()
}

#[test]
fn a_kept_history_gives_the_verdict_of_its_run() {
    let server = FakeServer::start(Temper { drop_after: 60, busy_every: 9, late_every: 7 });
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("h");
    assert!(kept(&server, 1, None, &path));
    let judged = check(&path);
    assert_eq!(judged.status.code(), Some(0), "{judged:?}");
    assert!(String::from_utf8_lossy(&judged.stdout).contains("verdict clean"));
    for (seed, plant) in [(2, Plant::Lose), (3, Plant::Duplicate), (4, Plant::Reorder)] {
        assert!(!kept(&server, seed, Some(plant), &path));
        let judged = check(&path);
        assert_eq!(judged.status.code(), Some(1), "{judged:?}");
        assert!(String::from_utf8_lossy(&judged.stdout).contains("found reader"), "{judged:?}");
    }
    std::fs::write(&path, "nothing of the kind").unwrap();
    assert_eq!(check(&path).status.code(), Some(2));
}

#[test]
fn a_message_dropped_from_a_kept_history_or_doubled_or_swapped_is_found() {
    let server = FakeServer::start(Temper::default());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("h");
    assert!(kept(&server, 5, None, &path));
    let history = History::read(&path).unwrap();
    let mut events = Vec::new();
    history.each(|event| events.push(event)).unwrap();
    let given = |reader: u32| {
        let of = move |e: &Event| matches!(*e, Event::Delivered { reader: r, .. } if r == reader);
        events.iter().enumerate().filter(move |(_, e)| of(e)).map(|(at, _)| at)
    };
    let read: Vec<usize> =
        (0..events.len()).filter(|at| matches!(events[*at], Event::ReadBack { .. })).collect();
    let mutated = |change: &dyn Fn(&mut Vec<Event>)| {
        let mut events = events.clone();
        change(&mut events);
        write(&path, &history.header, events).unwrap();
        check(&path).status.code()
    };
    assert_eq!(mutated(&|_| {}), Some(0));
    let (first, last) = (given(3).nth(10).unwrap(), given(3).next_back().unwrap());
    for at in [first, last, read[0], read[read.len() / 2]] {
        assert_eq!(mutated(&|events| drop(events.remove(at))), Some(1), "dropped {at}");
        let double = |events: &mut Vec<Event>| events.insert(at, events[at].clone());
        assert_eq!(mutated(&double), Some(1), "doubled {at}");
    }
    let next = given(3).nth(11).unwrap();
    assert_eq!(mutated(&|events| events.swap(first, next)), Some(1), "swapped");
    assert_eq!(mutated(&|events| events.swap(read[4], read[5])), Some(1), "history swapped");
    // Another value at a place that others saw.
    let other = |events: &mut Vec<Event>| {
        if let Event::Delivered { value, .. } = &mut events[first] {
            value.hash ^= 1;
        }
    };
    assert_eq!(mutated(&other), Some(1), "another content");
}

#[test]
fn the_history_of_a_run_with_a_fault_is_kept_without_being_asked_for() {
    let server = FakeServer::start(Temper::default());
    let options = |plant| Options { url: Some(server.url()), plant, ..Options::default() };
    let scenario = Scenario::parse(SCENARIO).unwrap();
    let (_, remarks) = run(&scenario, &options(None)).unwrap();
    assert_eq!(remarks.history, None);
    let (_, remarks) = run(&scenario, &options(Some(Plant::Lose))).unwrap();
    let path = remarks.history.unwrap();
    assert!(!History::read(&path).unwrap().judge().unwrap().clean());
    std::fs::remove_file(path).unwrap();
}
