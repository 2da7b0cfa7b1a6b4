//! Take-overs of slots, and what they do to an owner that doesn't know yet.

use crate::support::{
    CONV, OTHER_OWNER, OWNER, UNRESOLVED, append_of, arriving_late, committed, create_conversation,
    entry, faulty, on_every_engine, overtaken, run, set, set_faults, take,
};
use rookery_store::memory::{Fault, MemoryEngine};
use rookery_store::{Outcome, Plan, Slot, Store, TakeOver, Version, append, keys, slot_of};

on_every_engine! {
    an_owner_writes_until_another_one_takes_over
    taking_over_again_ends_the_same_owners_earlier_fence
    slots_are_apart
}

fn an_owner_writes_until_another_one_takes_over(store: &Store) {
    create_conversation(store);
    let mut old = take(store, OWNER);
    let entries = [entry(1)];
    let version = committed(run(store.commit(append::plan(&append_of(&old, &entries)))));
    old.confirmed(version);
    assert_eq!(old.version, version);
    old.confirmed(Version(0));
    assert_eq!(old.version, version, "what is known is never known less");
    let new = take(store, OTHER_OWNER);
    let entries = [entry(2)];
    let stale = run(store.commit(append::plan(&append_of(&old, &entries))));
    assert_eq!(stale, Outcome::Conflict);
    assert!(new.version > old.version);
    committed(run(store.commit(append::plan(&append_of(&new, &entries)))));
}

fn taking_over_again_ends_the_same_owners_earlier_fence(store: &Store) {
    let first = take(store, OWNER);
    let second = take(store, OWNER);
    assert_ne!(first.value, second.value);
    let plan = Plan { guards: vec![first.guard()], ops: Vec::new() };
    assert_eq!(run(store.commit(plan)), Outcome::Conflict);
    let plan = Plan { guards: vec![second.guard()], ops: Vec::new() };
    committed(run(store.commit(plan)));
}

fn slots_are_apart(store: &Store) {
    let fence = take(store, OWNER);
    let other = Slot((slot_of(CONV).0 + 1) % rookery_store::SLOTS);
    assert!(matches!(run(store.take_over(other, OTHER_OWNER)), TakeOver::Held(_)));
    committed(run(store.commit(Plan { guards: vec![fence.guard()], ops: Vec::new() })));
}

#[test]
fn who_is_overtaken_by_another_take_over_is_told_so() {
    let store = overtaken(&MemoryEngine::new(), |other| {
        take(other, OTHER_OWNER);
    });
    assert_eq!(run(store.take_over(slot_of(CONV), OWNER)), TakeOver::Contended);
}

#[test]
fn a_take_over_whose_outcome_got_lost_is_found_out_and_happens_once() {
    for fault in UNRESOLVED {
        let (store, engine) = faulty(&[fault]);
        let fence = take(&store, OWNER);
        // The attempt in doubt arrives late: it must not take the fence from its own owner.
        engine.release_all();
        committed(run(store.commit(Plan { guards: vec![fence.guard()], ops: Vec::new() })));
    }
}

#[test]
fn a_take_over_that_collides_with_its_own_attempt_in_doubt_holds() {
    let store = arriving_late(&MemoryEngine::new());
    let fence = take(&store, OWNER);
    committed(run(store.commit(Plan { guards: vec![fence.guard()], ops: Vec::new() })));
}

#[test]
fn a_take_over_in_doubt_that_lost_the_race_is_contended() {
    let engine = MemoryEngine::new();
    set_faults(&engine, &[Fault::None, Fault::UnresolvedLost]);
    let store = overtaken(&engine, |other| {
        take(other, OTHER_OWNER);
    });
    assert_eq!(run(store.take_over(slot_of(CONV), OWNER)), TakeOver::Contended);
}

#[test]
fn a_late_take_over_does_not_undo_a_newer_one() {
    let (store, engine) = faulty(&[Fault::UnresolvedLate, Fault::Busy]);
    assert_eq!(run(store.take_over(slot_of(CONV), OWNER)), TakeOver::Unavailable);
    let newer = take(&store, OTHER_OWNER);
    engine.release_all();
    committed(run(store.commit(Plan { guards: vec![newer.guard()], ops: Vec::new() })));
}

#[test]
fn without_a_clear_answer_the_slot_is_not_held() {
    let damaged = faulty(&[]).0;
    set(&damaged, keys::fence(slot_of(CONV)), b"\x01");
    assert_eq!(run(damaged.take_over(slot_of(CONV), OWNER)), TakeOver::Unavailable);
    for fault in [Fault::Busy, Fault::UnresolvedLost] {
        let store = faulty(&[fault; 100]).0;
        assert_eq!(run(store.take_over(slot_of(CONV), OWNER)), TakeOver::Unavailable);
    }
}
