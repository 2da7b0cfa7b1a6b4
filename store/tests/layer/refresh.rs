//! Refresh tokens: rotation, reuse, expiry, families.

use crate::support::{
    ANN, BOB, NOW, UNRESOLVED, arriving_late, faulty, on_every_engine, overtaken, run, set_faults,
};
use rookery_protocol::DeviceId;
use rookery_store::memory::{Fault, MemoryEngine};
use rookery_store::{
    DeviceRow, Engine, MAX_FAMILY, RefreshRow, Rotated, Rotation, Stamp, Store, StoreError, View,
};

const DEVICE: DeviceId = DeviceId(7);
const LATER: u64 = NOW + 1000;
const GRACE: u64 = 100;
const OK: Rotated = Rotated::Ok { user: ANN, device: DEVICE };
const REUSED: Rotated = Rotated::Reused { user: ANN, device: DEVICE };

on_every_engine! {
    a_token_is_replaced_at_each_use
    a_second_use_revokes_the_family
    a_token_ends_with_its_time
    a_revoked_device_has_no_tokens
    another_device_is_not_touched_by_a_revocation
    a_hash_is_given_once
    a_family_is_bounded
    a_device_whose_answer_got_lost_gets_it_again
    every_revocation_is_in_the_log_once
}

fn token(n: u8) -> [u8; 32] {
    [n; 32]
}

/// Ann's device with token 1.
fn log_in<E: Engine>(store: &Store<E>) {
    let (name, created_ms) = ("tv".to_owned(), NOW);
    let row = DeviceRow { user: ANN, device: DEVICE, name, created_ms, revoked: false };
    run(store.create_device(&row)).unwrap();
    put(store, 1).unwrap();
}

fn put<E: Engine>(store: &Store<E>, n: u8) -> Result<(), StoreError> {
    let row = RefreshRow { user: ANN, device: DEVICE, expires_ms: LATER };
    run(store.put_refresh(token(n), &row))
}

fn rotate<E: Engine>(store: &Store<E>, old: u8, new: u8) -> Result<Rotated, StoreError> {
    rotate_at(store, (old, new), NOW + GRACE + 1, LATER)
}

/// Uses a token at a time.
fn rotate_at<E: Engine>(
    store: &Store<E>,
    (old, new): (u8, u8),
    now_ms: u64,
    expires_ms: u64,
) -> Result<Rotated, StoreError> {
    let (old, new) = (token(old), token(new));
    run(store.rotate_refresh(Rotation { old, new, now_ms, expires_ms, grace_ms: GRACE }))
}

fn revoked<E: Engine>(store: &Store<E>) -> bool {
    run(store.device(ANN, DEVICE)).unwrap().unwrap().revoked
}

/// How many token rows the store holds.
fn tokens<E: Engine>(store: &Store<E>) -> usize {
    let view = run(store.engine().view(rookery_store::Version(0))).unwrap();
    run(view.range(b"t", b"u", 1000, false)).unwrap().len()
}

fn a_token_is_replaced_at_each_use(store: &Store) {
    log_in(store);
    for n in 1..6 {
        assert_eq!(rotate(store, n, n + 1), Ok(OK));
    }
    assert_eq!(rotate(store, 99, 100), Ok(Rotated::Unknown));
    assert!(!revoked(store));
}

fn a_second_use_revokes_the_family(store: &Store) {
    log_in(store);
    assert_eq!(rotate(store, 1, 2), Ok(OK));
    assert_eq!(rotate(store, 2, 3), Ok(OK));
    assert_eq!(rotate(store, 1, 4), Ok(REUSED));
    assert!(revoked(store));
    for n in 1..=4 {
        assert_eq!(rotate(store, n, 50), Ok(Rotated::Unknown), "token {n}");
    }
    assert_eq!(tokens(store), 0);
}

fn a_token_ends_with_its_time(store: &Store) {
    log_in(store);
    let late = rotate_at(store, (1, 2), LATER, LATER + 1);
    assert_eq!(late, Ok(Rotated::Expired));
    let in_time = rotate_at(store, (1, 2), LATER - 1, LATER + 1);
    assert_eq!(in_time, Ok(OK));
    let renewed = rotate_at(store, (2, 3), LATER, LATER + 1);
    assert_eq!(renewed, Ok(OK), "the new token has the new expiry");
}

fn a_revoked_device_has_no_tokens(store: &Store) {
    log_in(store);
    assert_eq!(rotate(store, 1, 2), Ok(OK));
    run(store.revoke_device(ANN, DEVICE, NOW)).unwrap();
    assert_eq!(tokens(store), 0);
    assert_eq!(rotate(store, 2, 3), Ok(Rotated::Unknown));
    // A log-in that was under way while the device was revoked.
    put(store, 5).unwrap();
    assert_eq!(rotate(store, 5, 6), Ok(Rotated::Unknown));
    run(store.revoke_device(ANN, DEVICE, NOW)).unwrap();
    assert_eq!(tokens(store), 0);
}

fn another_device_is_not_touched_by_a_revocation(store: &Store) {
    log_in(store);
    let name = String::new();
    let other = DeviceRow { user: BOB, device: DEVICE, name, created_ms: 0, revoked: false };
    run(store.create_device(&other)).unwrap();
    let row = RefreshRow { user: BOB, device: DEVICE, expires_ms: LATER };
    run(store.put_refresh(token(101), &row)).unwrap();
    run(store.revoke_device(ANN, DEVICE, NOW)).unwrap();
    assert_eq!(rotate(store, 101, 102), Ok(Rotated::Ok { user: BOB, device: DEVICE }));
}

fn a_hash_is_given_once(store: &Store) {
    log_in(store);
    assert_eq!(put(store, 1), Err(StoreError::IdTaken));
    put(store, 2).unwrap();
    assert_eq!(rotate(store, 1, 2), Err(StoreError::IdTaken));
    assert_eq!(rotate(store, 1, 3), Ok(OK), "the refusal did not use the token up");
}

fn a_family_is_bounded(store: &Store) {
    log_in(store);
    for n in 1..=40 {
        assert_eq!(rotate(store, n, n + 1), Ok(OK));
    }
    assert_eq!(tokens(store), MAX_FAMILY);
    assert_eq!(rotate(store, 1, 99), Ok(Rotated::Unknown), "forgotten, and refused all the same");
    assert_eq!(rotate(store, 41 - u8::try_from(MAX_FAMILY).unwrap() + 1, 99), Ok(REUSED));
    assert_eq!(tokens(store), 0);
}

fn a_device_whose_answer_got_lost_gets_it_again(store: &Store) {
    log_in(store);
    let at = |pair, now_ms| rotate_at(store, pair, now_ms, LATER);
    assert_eq!(at((1, 2), NOW), Ok(OK));
    assert_eq!(at((1, 2), NOW + GRACE), Ok(OK), "nobody used token 2: it is the same device");
    assert_eq!(tokens(store), 2, "nothing was given out anew");
    assert_eq!(at((2, 3), NOW + GRACE), Ok(OK));
    assert_eq!(at((2, 3), NOW + 2 * GRACE), Ok(OK));
    assert!(!revoked(store));
    assert_eq!(at((1, 2), NOW + GRACE), Ok(REUSED), "its successor was used: two hold it");
    assert!(revoked(store));
}

fn every_revocation_is_in_the_log_once(store: &Store) {
    log_in(store);
    let name = String::new();
    let other = DeviceRow { user: BOB, device: DEVICE, name, created_ms: 0, revoked: false };
    run(store.create_device(&other)).unwrap();
    let log = |after| run(store.revocations(after)).unwrap();
    assert_eq!(log(Stamp::default()), []);
    run(store.revoke_device(BOB, DEVICE, NOW)).unwrap();
    run(store.revoke_device(BOB, DEVICE, NOW)).unwrap();
    let first = log(Stamp::default());
    assert_eq!(first.len(), 1);
    assert_eq!((first[0].user, first[0].device, first[0].time_ms), (BOB, DEVICE, NOW));
    assert_eq!(rotate(store, 1, 2), Ok(OK));
    assert_eq!(rotate(store, 1, 4), Ok(REUSED));
    let second = log(first[0].stamp);
    assert_eq!(second.len(), 1);
    assert_eq!((second[0].user, second[0].device), (ANN, DEVICE));
    assert_eq!(log(second[0].stamp), []);
    run(store.forget_revocations(NOW + 1)).unwrap();
    assert_eq!(log(Stamp::default()), second, "only what is old is forgotten");
    run(store.forget_revocations(u64::MAX)).unwrap();
    assert_eq!(log(Stamp::default()), []);
}

#[test]
fn after_the_grace_time_a_second_use_is_a_reuse() {
    let store = Store::new(MemoryEngine::new());
    log_in(&store);
    assert_eq!(rotate_at(&store, (1, 2), NOW, LATER), Ok(OK));
    assert_eq!(rotate_at(&store, (1, 2), NOW + GRACE + 1, LATER), Ok(REUSED));
    assert_eq!(tokens(&store), 0);
}

#[test]
fn a_second_use_for_another_successor_is_a_reuse_even_at_once() {
    let store = Store::new(MemoryEngine::new());
    log_in(&store);
    assert_eq!(rotate_at(&store, (1, 2), NOW, LATER), Ok(OK));
    assert_eq!(rotate_at(&store, (1, 3), NOW, LATER), Ok(REUSED));
}

#[test]
fn of_two_uses_at_once_one_succeeds_and_the_other_is_a_reuse() {
    let engine = MemoryEngine::new();
    log_in(&Store::new(engine.clone()));
    let store = overtaken(&engine, |other| assert_eq!(rotate(other, 1, 2), Ok(OK)));
    assert_eq!(rotate(&store, 1, 3), Ok(REUSED));
    assert_eq!(rotate(&store, 2, 4), Ok(Rotated::Unknown), "nobody is left with a good token");
}

#[test]
fn a_use_that_collides_with_its_own_attempt_in_doubt_is_no_reuse() {
    let engine = MemoryEngine::new();
    log_in(&Store::new(engine.clone()));
    let store = arriving_late(&engine);
    assert_eq!(rotate(&store, 1, 2), Ok(OK));
    assert!(!revoked(&store));
}

#[test]
fn a_use_overtaken_by_a_revocation_fails() {
    let engine = MemoryEngine::new();
    log_in(&Store::new(engine.clone()));
    let store = overtaken(&engine, |other| run(other.revoke_device(ANN, DEVICE, NOW)).unwrap());
    assert_eq!(rotate(&store, 1, 2), Ok(Rotated::Unknown));
    assert_eq!(tokens(&store), 0);
}

#[test]
fn a_revocation_overtaken_by_a_use_takes_the_new_token_too() {
    let engine = MemoryEngine::new();
    log_in(&Store::new(engine.clone()));
    let store = overtaken(&engine, |other| assert_eq!(rotate(other, 1, 2), Ok(OK)));
    run(store.revoke_device(ANN, DEVICE, NOW)).unwrap();
    assert_eq!(tokens(&store), 0);
    assert_eq!(rotate(&store, 2, 3), Ok(Rotated::Unknown));
}

#[test]
fn an_outcome_that_got_lost_is_found_out() {
    for fault in UNRESOLVED {
        let (store, engine) = faulty(&[Fault::None, fault]);
        log_in(&store);
        set_faults(&engine, &[fault]);
        assert_eq!(rotate(&store, 1, 2), Ok(OK), "{fault:?}");
        engine.release_all();
        assert_eq!(rotate(&store, 2, 3), Ok(OK), "{fault:?}: one rotation, not two");
        set_faults(&engine, &[fault]);
        assert_eq!(rotate(&store, 1, 4), Ok(REUSED), "{fault:?}");
        engine.release_all();
        assert!(revoked(&store));
        assert_eq!(tokens(&store), 0);
    }
}
