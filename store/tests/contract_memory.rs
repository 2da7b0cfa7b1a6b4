//! What the engine in memory adds to the contract: faults on demand.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests; a panic is how they fail"
)]

mod contract {
    pub mod harness;
}

use contract::harness::{apply, bytes, commit, get, guard, guarded, latest, plan, set, wait};
use rookery_store::memory::{Fault, Faults, MemoryEngine};
use rookery_store::{Engine, Outcome, Plan, ReadError, Version};
use std::sync::mpsc::{Receiver, channel};

/// An engine on which every plan meets this fault.
fn with(fault: Fault) -> MemoryEngine {
    MemoryEngine::with_faults(move |_: &Plan| fault)
}

fn start(engine: &MemoryEngine, plans: Vec<Plan>) -> Receiver<Vec<Outcome>> {
    let (report, outcomes) = channel();
    engine.submit(plans, Box::new(move |all| report.send(all).unwrap()));
    outcomes
}

#[test]
fn refused_and_lost_plans_apply_nothing() {
    for (fault, outcome) in [
        (Fault::Conflict, Outcome::Conflict),
        (Fault::Busy, Outcome::Busy),
        (Fault::UnresolvedLost, Outcome::Unresolved),
    ] {
        let engine = with(fault);
        assert_eq!(commit(&engine, plan(vec![set("k", "1")])), outcome);
        assert_eq!(get(&engine, "k"), None);
        assert_eq!(engine.version(), Version(0));
    }
}

#[test]
fn an_unresolved_plan_that_was_applied_can_be_read() {
    let engine = with(Fault::UnresolvedApplied);
    assert_eq!(commit(&engine, plan(vec![set("k", "1")])), Outcome::Unresolved);
    assert_eq!(get(&engine, "k"), Some(bytes("1")));
    let stale = guarded(vec![guard("k", None, Version(0))], vec![set("k", "2")]);
    assert_eq!(commit(&engine, stale), Outcome::Unresolved, "also when its guard was stale");
    assert_eq!(get(&engine, "k"), Some(bytes("1")));
}

#[test]
fn a_late_plan_is_applied_after_its_release_and_only_if_its_guard_holds_then() {
    let engine = with(Fault::UnresolvedLate);
    let fenced = |value| guarded(vec![guard("fence", None, Version(0))], vec![set("k", value)]);
    assert_eq!(commit(&engine, fenced("first")), Outcome::Unresolved);
    assert_eq!(commit(&engine, fenced("second")), Outcome::Unresolved);
    assert_eq!((get(&engine, "k"), engine.held()), (None, 2));
    assert!(engine.release_next());
    assert_eq!(get(&engine, "k"), Some(bytes("first")));
    engine.clear_faults();
    apply(&engine, vec![set("fence", "taken")]);
    engine.release_all();
    assert_eq!(get(&engine, "k"), Some(bytes("first")), "the fence kept the second out");
}

#[test]
fn a_held_submission_is_decided_when_it_is_released() {
    let engine = with(Fault::Hold);
    let first = start(&engine, vec![plan(vec![set("k", "1")]), plan(vec![set("l", "1")])]);
    let create = guarded(vec![guard("k", None, Version(0))], vec![set("k", "2")]);
    let second = start(&engine, vec![create]);
    assert_eq!((engine.held(), get(&engine, "k")), (2, None));
    assert!(first.try_recv().is_err());
    assert!(engine.release(1), "the later one overtakes");
    assert!(matches!(second.try_recv().unwrap()[..], [Outcome::Committed { .. }]));
    assert!(engine.release_next());
    assert_eq!(first.try_recv().unwrap().len(), 2);
    assert_eq!(get(&engine, "k"), Some(bytes("1")));
    assert!(!engine.release_next(), "nothing is held any more");
}

#[test]
fn a_held_report_belongs_to_rows_that_are_already_there() {
    let engine = with(Fault::HoldReport);
    let outcomes = start(&engine, vec![plan(vec![set("k", "1")])]);
    assert_eq!(get(&engine, "k"), Some(bytes("1")));
    assert!(outcomes.try_recv().is_err());
    engine.release_all();
    assert!(matches!(outcomes.try_recv().unwrap()[..], [Outcome::Committed { .. }]));
}

#[test]
fn the_receiver_of_outcomes_may_use_the_engine() {
    let engine = MemoryEngine::new();
    let (report, outcomes) = channel();
    let again = engine.clone();
    let done = move |_| {
        again.submit(
            vec![plan(vec![set("second", "")])],
            Box::new(move |all| report.send(all).unwrap()),
        );
    };
    engine.submit(vec![plan(vec![set("first", "")])], Box::new(done));
    assert_eq!(outcomes.try_recv().unwrap().len(), 1);
    assert!(get(&engine, "second").is_some());
}

#[test]
fn faults_decide_about_views_and_count_plans() {
    struct Outage {
        plans: usize,
    }
    impl Faults for Outage {
        fn on_plan(&mut self, _: &Plan) -> Fault {
            self.plans += 1;
            if self.plans.is_multiple_of(2) { Fault::Busy } else { Fault::None }
        }
        fn on_view(&mut self) -> Result<(), ReadError> {
            Err(ReadError::Unavailable("outage".to_owned()))
        }
    }
    let engine = MemoryEngine::with_faults(Outage { plans: 0 });
    let plans = (0..4).map(|_| plan(vec![set("k", "")])).collect();
    let outcomes = start(&engine, plans).try_recv().unwrap();
    let busy: Vec<bool> = outcomes.iter().map(|one| *one == Outcome::Busy).collect();
    assert_eq!(busy, [false, true, false, true]);
    let view = wait(engine.view(Version(0)));
    assert_eq!(view.unwrap_err(), ReadError::Unavailable("outage".to_owned()));
    engine.clear_faults();
    drop(latest(&engine));
}
