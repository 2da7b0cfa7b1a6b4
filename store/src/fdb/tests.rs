//! The engine on a simulated cluster: round trips counted, merges, splits, lost outcomes, silence.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::core::Core;
use super::driver::Tuning;
use super::sim::{Fault, Sim};
use super::space::Space;
use super::{Operations, marks};
use crate::plan::{Guard, Op, Outcome, Plan, STAMP_BYTES, Stamp, Version};
use bytes::Bytes;
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

const TUNING: Tuning =
    Tuning { lanes: 2, merge_bytes: 100_000, patience: Duration::from_millis(400) };
const QUEUE_BYTES: usize = 1 << 20;

fn engine(sim: &Sim) -> Core {
    let space = Space::new("t").unwrap();
    Core::start(Arc::new(sim.clone()), space, TUNING, QUEUE_BYTES, 1, sim.version()).unwrap()
}

fn b(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn set(key: &str, value: &str) -> Op {
    Op::Set { key: b(key), value: b(value) }
}

fn guard(key: &str, known: Option<&str>, version: u64) -> Guard {
    Guard { key: b(key), known: known.map(b), version: Version(version) }
}

fn plan(guards: Vec<Guard>, ops: Vec<Op>) -> Plan {
    Plan { guards, ops }
}

fn start(core: &Core, plans: Vec<Plan>) -> Receiver<Vec<Outcome>> {
    let (report, outcomes) = channel();
    core.submit(plans, Box::new(move |all| report.send(all).unwrap()));
    outcomes
}

fn submit(core: &Core, plans: Vec<Plan>) -> Vec<Outcome> {
    start(core, plans).recv_timeout(Duration::from_secs(20)).unwrap()
}

fn commit(core: &Core, plan: Plan) -> Outcome {
    submit(core, vec![plan])[0]
}

fn stamp(outcome: Outcome) -> Stamp {
    match outcome {
        Outcome::Committed { version, stamp } => {
            assert_eq!(stamp.version(), version);
            stamp
        }
        other => panic!("{other:?}"),
    }
}

fn version(outcome: Outcome) -> u64 {
    stamp(outcome).version().0
}

/// The rows that plans wrote, as text.
fn rows(sim: &Sim) -> Vec<String> {
    let space = Space::new("t").unwrap();
    let shown = |(key, value): (Vec<u8>, Bytes)| {
        let key = space.strip(&key)?;
        Some(format!("{}={}", String::from_utf8_lossy(key), String::from_utf8_lossy(&value)))
    };
    sim.rows().into_iter().filter_map(shown).collect()
}

/// Operations since, without the canaries, whose number depends on time.
fn since(core: &Core, before: Operations) -> (u64, u64, u64) {
    let now = core.operations();
    (
        now.read_versions - before.read_versions,
        now.reads - before.reads,
        now.commits - before.commits,
    )
}

/// Waits until the simulated cluster holds so many commits back.
fn wait_for_held(sim: &Sim, count: usize) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while sim.held() < count {
        assert!(Instant::now() < deadline, "{} of {count} held", sim.held());
        std::thread::yield_now();
    }
}

#[test]
fn a_warm_guard_is_one_round_trip_and_a_cold_one_three() {
    let sim = Sim::new();
    let core = engine(&sim);
    let taken = commit(&core, plan(vec![guard("f", None, 0)], vec![set("f", "me")]));
    assert_eq!(since(&core, Operations::default()), (1, 1, 1), "version 0 is no version: a look");
    let mut known = version(taken);
    let append = plan(vec![guard("f", Some("me"), known)], vec![]);
    known = version(commit(&core, append));
    assert_eq!(since(&core, Operations::default()), (2, 2, 3), "the fence is newer than its batch");
    for _ in 0..10 {
        let before = core.operations();
        let append = plan(vec![guard("f", Some("me"), known)], vec![set("k", "v")]);
        known = version(commit(&core, append));
        assert_eq!(since(&core, before), (0, 0, 1));
    }
    sim.pass(4_500_000);
    let unguarded = version(commit(&core, plan(vec![], vec![set("x", "")])));
    let before = core.operations();
    let stale = || plan(vec![guard("f", Some("me"), known)], vec![set("k", "w")]);
    assert!(version(commit(&core, stale())) > unguarded);
    assert_eq!(since(&core, before), (1, 1, 1), "over 4 s old: one look");
    let before = core.operations();
    stamp(commit(&core, stale()));
    assert_eq!(since(&core, before), (0, 0, 1), "one look serves whoever guards on the key");
}

#[test]
fn a_guard_whose_value_changed_conflicts_and_one_that_was_rewritten_holds() {
    let sim = Sim::new();
    let core = engine(&sim);
    let known = version(commit(&core, plan(vec![], vec![set("f", "me")])));
    let append = |value| plan(vec![guard("f", Some("me"), known)], vec![set("k", value)]);
    stamp(commit(&core, append("0")));
    let before = core.operations();
    sim.set(b"t\0rf", "me");
    stamp(commit(&core, append("1")));
    assert_eq!(since(&core, before), (1, 1, 2), "refused by version, held by value");
    sim.set(b"t\0rf", "other");
    assert_eq!(commit(&core, append("2")), Outcome::Conflict);
    assert_eq!(rows(&sim), ["f=other", "k=1"]);
}

#[test]
fn a_take_over_in_the_same_batch_as_the_last_append_is_found_out() {
    let sim = Sim::new();
    let core = engine(&sim);
    let taken = version(commit(&core, plan(vec![], vec![set("f", "me")])));
    let append = |known, value| plan(vec![guard("f", Some("me"), known)], vec![set("k", value)]);
    let appended = version(commit(&core, append(taken, "1")));
    sim.set_in_the_same_batch(b"t\0rf", "other");
    assert_eq!(sim.version(), appended);
    assert_eq!(commit(&core, append(appended, "2")), Outcome::Conflict);
    assert_eq!(rows(&sim), ["f=other", "k=1"]);
}

#[test]
fn plans_of_many_callers_merge_and_share_no_stamp() {
    let sim = Sim::new();
    let core = engine(&sim);
    commit(&core, plan(vec![], vec![set("f1", "me"), set("f2", "me")]));
    let known = version(commit(&core, plan(vec![], vec![])));
    sim.hold();
    let blockers = [0, 1].map(|at: usize| {
        let blocker = start(&core, vec![plan(vec![], vec![set("blocker", "")])]);
        wait_for_held(&sim, at + 1);
        blocker
    });
    let before = core.operations();
    let stamped = || Op::SetStampedKey { prefix: b("s"), value: b("") };
    let append = |fence: &str| {
        let fence = guard(fence, Some("me"), known);
        vec![plan(vec![fence], vec![stamped(), stamped()])]
    };
    let waiting: Vec<_> = (0..20).map(|at| start(&core, append(["f1", "f2"][at % 2]))).collect();
    while !core.has_taken_all() {
        std::thread::yield_now();
    }
    sim.release();
    blockers.into_iter().for_each(|blocker| drop(blocker.recv().unwrap()));
    let mut stamps: Vec<Stamp> =
        waiting.into_iter().map(|outcome| stamp(outcome.recv().unwrap()[0])).collect();
    assert_eq!(since(&core, before), (0, 0, 1), "all twenty in one transaction");
    stamps.sort_unstable();
    stamps.dedup();
    let ops: Vec<u16> =
        stamps.iter().map(|stamp| u16::from_be_bytes([stamp.0[10], stamp.0[11]])).collect();
    assert_eq!(ops, (0..20).map(|at| 2 * at).collect::<Vec<u16>>());
    assert_eq!(rows(&sim).iter().filter(|row| row.starts_with('s')).count(), 40);
}

#[test]
fn a_merge_that_conflicts_is_split_into_the_stale_and_the_rest() {
    let sim = Sim::new();
    let core = engine(&sim);
    let fences = (0..6).map(|at| set(&format!("f{at}"), "me")).collect();
    let known = version(commit(&core, plan(vec![], fences)));
    sim.set(b"t\0rf1", "other");
    sim.set(b"t\0rf4", "other");
    let append = |at: usize| {
        plan(vec![guard(&format!("f{at}"), Some("me"), known)], vec![set(&format!("k{at}"), "")])
    };
    let before = core.operations();
    let outcomes = submit(&core, (0..6).map(append).collect());
    for (at, outcome) in outcomes.into_iter().enumerate() {
        if [1, 4].contains(&at) {
            assert_eq!(outcome, Outcome::Conflict);
        } else {
            stamp(outcome);
        }
    }
    assert_eq!(since(&core, before), (1, 1, 2));
    let written: Vec<String> = rows(&sim).into_iter().filter(|row| row.starts_with('k')).collect();
    assert_eq!(written, ["k0=", "k2=", "k3=", "k5="]);
}

#[test]
fn a_plan_that_guards_on_what_the_one_before_it_writes_comes_after_it() {
    let sim = Sim::new();
    let core = engine(&sim);
    let take = |known, to| plan(vec![guard("k", known, 0)], vec![set("k", to)]);
    let plans = vec![take(None, "1"), take(None, "2"), take(Some("1"), "3")];
    let outcomes = submit(&core, plans);
    assert!(stamp(outcomes[0]) < stamp(outcomes[2]));
    assert_eq!(outcomes[1], Outcome::Conflict);
    assert_eq!(rows(&sim), ["k=3"]);
}

/// Every code that leaves a commit in doubt.
const UNKNOWN: [i32; 4] = [1021, 1031, 1039, 4100];

#[test]
fn a_lost_outcome_of_an_applied_commit_is_found_out_with_its_stamp() {
    for code in UNKNOWN {
        let sim = Sim::new();
        let core = engine(&sim);
        sim.commits([Fault::Applied(code)]);
        let before = core.operations();
        let add = Op::Add { key: b("n"), delta: 1 };
        let stamped = Op::SetStampedValue { key: b("s"), suffix: b("") };
        let stamp = stamp(commit(&core, plan(vec![], vec![add, stamped])));
        assert_eq!(since(&core, before), (1, 1, 1), "{code}: looked up, not repeated");
        let held = sim.rows().into_iter().find(|(key, _)| key == b"t\0rs").unwrap().1;
        assert_eq!(held, stamp.0.as_slice(), "{code}");
        assert_eq!(rows(&sim)[0], "n=\u{1}\0\0\0\0\0\0\0", "{code}");
    }
}

#[test]
fn a_commit_that_was_lost_is_shut_out_and_repeated_once() {
    for code in UNKNOWN {
        for late in [None, Some(1), Some(2), Some(3), Some(4)] {
            let sim = Sim::new();
            let core = engine(&sim);
            sim.commits([late.map_or(Fault::Lost(code), |after| Fault::Late(code, after))]);
            let add = Op::Add { key: b("n"), delta: 1 };
            stamp(commit(&core, plan(vec![], vec![add])));
            assert_eq!(rows(&sim), ["n=\u{1}\0\0\0\0\0\0\0"], "{code}, late {late:?}");
        }
    }
}

#[test]
fn a_lost_fence_of_a_lost_commit_is_found_out_too() {
    for fence in [Fault::Lost(1021), Fault::Applied(1021), Fault::Lost(1020), Fault::Lost(1007)] {
        let sim = Sim::new();
        let core = engine(&sim);
        sim.commits([Fault::Lost(1021), fence]);
        let add = Op::Add { key: b("n"), delta: 1 };
        stamp(commit(&core, plan(vec![], vec![add])));
        assert_eq!(rows(&sim), ["n=\u{1}\0\0\0\0\0\0\0"], "{fence:?}");
    }
}

#[test]
fn after_a_lost_outcome_the_guard_is_looked_at_again() {
    let sim = Sim::new();
    let core = engine(&sim);
    let known = version(commit(&core, plan(vec![], vec![set("f", "me")])));
    sim.commits([Fault::Lost(1021)]);
    sim.set(b"t\0rf", "other");
    let append = plan(vec![guard("f", Some("me"), known)], vec![set("k", "")]);
    assert_eq!(commit(&core, append), Outcome::Conflict);
    assert_eq!(rows(&sim), ["f=other"]);
}

#[test]
fn an_outcome_that_stays_unknown_is_told_as_that() {
    let sim = Sim::new();
    let core = engine(&sim);
    sim.commits([Fault::Applied(1021)]);
    sim.versions_fail([1031; 100]);
    let before = Instant::now();
    assert_eq!(commit(&core, plan(vec![], vec![set("k", "")])), Outcome::Unresolved);
    assert!(before.elapsed() < Duration::from_secs(5));
    assert_eq!(rows(&sim), ["k="]);
}

#[test]
fn what_is_certainly_not_applied_is_tried_again() {
    for code in [1007, 1009, 1020, 1037, 1042, 1051, 1213] {
        let sim = Sim::new();
        let core = engine(&sim);
        sim.commits([Fault::Lost(code), Fault::Lost(code)]);
        stamp(commit(&core, plan(vec![], vec![Op::Add { key: b("n"), delta: 1 }])));
        assert_eq!(rows(&sim), ["n=\u{1}\0\0\0\0\0\0\0"], "{code}");
    }
}

#[test]
fn a_cluster_without_room_or_behind_a_lock_is_busy() {
    for (code, times) in [(1037, 100), (1020, 100), (1038, 1)] {
        let sim = Sim::new();
        let core = engine(&sim);
        sim.commits(vec![Fault::Lost(code); times]);
        assert_eq!(commit(&core, plan(vec![], vec![set("k", "")])), Outcome::Busy, "{code}");
        assert_eq!(rows(&sim), [""; 0]);
    }
}

#[test]
fn reads_that_fail_are_repeated_for_a_while() {
    let sim = Sim::new();
    let core = engine(&sim);
    sim.versions_fail([1037, 1031]);
    sim.reads_fail([1007, 1037, 1009]);
    let create = plan(vec![guard("k", None, 0)], vec![set("k", "1")]);
    stamp(commit(&core, create));
    sim.reads_fail([1037; 100]);
    let again = plan(vec![guard("k", None, 0)], vec![set("k", "2")]);
    assert_eq!(commit(&core, again), Outcome::Busy);
}

#[test]
fn a_transaction_that_is_too_large_is_halved() {
    let sim = Sim::new();
    let core = engine(&sim);
    sim.commits([
        Fault::Lost(2101),
        Fault::None,
        Fault::Lost(2101),
        Fault::None,
        Fault::Lost(2101),
    ]);
    let outcomes =
        submit(&core, (0..4).map(|at| plan(vec![], vec![set("k", &at.to_string())])).collect());
    assert!(stamp(outcomes[0]).version() == stamp(outcomes[1]).version());
    assert!(stamp(outcomes[2]) > stamp(outcomes[1]));
    assert_eq!(outcomes[3], Outcome::TooLarge, "alone and still too large");
    assert_eq!(rows(&sim), ["k=2"]);
}

#[test]
fn more_bytes_than_the_bound_are_refused_at_once() {
    let sim = Sim::new();
    let core = engine(&sim);
    sim.hold();
    let large = || vec![plan(vec![], vec![Op::Set { key: b("k"), value: vec![0; 90_000].into() }])];
    let taken: Vec<_> = (0..11).map(|_| start(&core, large())).collect();
    assert_eq!(submit(&core, large()), [Outcome::Busy]);
    sim.release();
    for outcome in taken {
        stamp(outcome.recv().unwrap()[0]);
    }
    stamp(submit(&core, large())[0]);
}

#[test]
fn a_silent_cluster_is_refused_within_two_seconds_and_used_again_when_it_speaks() {
    let sim = Sim::new();
    let core = engine(&sim);
    sim.set_silent(true);
    let in_doubt = start(&core, vec![plan(vec![], vec![set("k", "")])]);
    let deadline = Instant::now() + Duration::from_secs(2);
    while !core.is_stalled() {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    let before = Instant::now();
    assert_eq!(submit(&core, vec![plan(vec![], vec![])]), [Outcome::Busy]);
    assert!(before.elapsed() < Duration::from_millis(500));
    sim.set_silent(false);
    drop(in_doubt.recv().unwrap());
    let deadline = Instant::now() + Duration::from_secs(5);
    while core.is_stalled() {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    stamp(commit(&core, plan(vec![], vec![set("k", "")])));
}

#[test]
fn closing_answers_what_waits_and_leaves_no_marks() {
    let sim = Sim::new();
    let core = engine(&sim);
    sim.hold();
    let waiting: Vec<_> =
        (0..10).map(|_| start(&core, vec![plan(vec![], vec![set("k", "")])])).collect();
    wait_for_held(&sim, 1);
    sim.release();
    core.close();
    for outcome in waiting {
        stamp(outcome.recv().unwrap()[0]);
    }
    assert_eq!(submit(&core, vec![plan(vec![], vec![])]), [Outcome::Busy]);
    assert_eq!(sim.rows().len(), 1, "the row alone");
}

#[test]
fn a_guard_on_an_untracked_row_is_refused() {
    let core = engine(&Sim::new());
    let message = guard("m0123456789abcdef", None, 0);
    assert_eq!(commit(&core, plan(vec![message], vec![])), Outcome::Conflict);
}

/// Runs a future on this thread.
fn wait<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[test]
fn a_doorbell_rings_when_its_key_is_set() {
    let sim = Sim::new();
    let core = engine(&sim);
    let mut doorbell = core.doorbell(b"E");
    let (rang, ring) = channel();
    std::thread::spawn(move || {
        while wait(doorbell.rung()) {
            if rang.send(()).is_err() {
                return;
            }
        }
    });
    let deadline = Instant::now() + Duration::from_secs(20);
    // The watch may not stand yet when the first value is set: hints may be lost, not all of them.
    loop {
        stamp(commit(&core, plan(vec![], vec![set("E", "new")])));
        if ring.recv_timeout(Duration::from_millis(20)).is_ok() {
            break;
        }
        assert!(Instant::now() < deadline);
    }
}

#[test]
fn marks_are_few_and_used_again() {
    let sim = Sim::new();
    let core = engine(&sim);
    for _ in 0..500 {
        stamp(commit(&core, plan(vec![], vec![set("k", "")])));
    }
    let prefix = Space::new("t").unwrap().marks();
    let marks: Vec<_> =
        sim.rows().into_iter().filter(|(key, _)| key.starts_with(&prefix)).collect();
    assert_eq!(marks.len(), 1);
    assert_eq!(marks[0].1.len(), STAMP_BYTES + 9);
    assert!(!marks::is_stale(&marks[0].1, sim.version()));
}
