//! The keys that sign access tokens: their order, and two nodes that add one at once.

use crate::support::{UNRESOLVED, faulty, on_every_engine, overtaken, run, set_faults};
use rookery_store::memory::MemoryEngine;
use rookery_store::{MAX_SIGNING_KEYS, Store, StoreError};

on_every_engine! {
    the_installations_secret_is_the_first_key
    a_key_is_added_after_the_newest_and_old_ones_go
    the_ring_is_bounded_and_in_order
}

fn the_installations_secret_is_the_first_key(store: &Store) {
    assert_eq!(run(store.key_ring()), Ok(vec![]));
    run(store.signing_key([1; 32])).unwrap();
    let ring = run(store.key_ring()).unwrap();
    assert_eq!((ring.len(), ring[0].id, ring[0].seed), (1, 0, [1; 32]));
    assert!(!format!("{ring:?}").contains("1, 1"), "a seed is not printed");
}

fn a_key_is_added_after_the_newest_and_old_ones_go(store: &Store) {
    run(store.signing_key([1; 32])).unwrap();
    let ring = run(store.add_signing_key(0, [2; 32], 100, 0)).unwrap();
    assert_eq!(ring.iter().map(|key| key.id).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(run(store.key_ring()), Ok(ring.clone()));
    // Somebody added one already: theirs stays.
    assert_eq!(run(store.add_signing_key(0, [9; 32], 100, 0)), Ok(ring));
    let ring = run(store.add_signing_key(1, [3; 32], 200, 1)).unwrap();
    assert_eq!(ring.iter().map(|key| key.id).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(run(store.signing_key([5; 32])), Ok([1; 32]), "the secret stays");
}

fn the_ring_is_bounded_and_in_order(store: &Store) {
    run(store.signing_key([1; 32])).unwrap();
    for id in 0..u32::try_from(MAX_SIGNING_KEYS).unwrap() - 1 {
        run(store.add_signing_key(id, [2; 32], 100, 0)).unwrap();
    }
    let newest = run(store.key_ring()).unwrap().last().unwrap().id;
    let many = run(store.add_signing_key(newest, [2; 32], 100, 0));
    assert!(matches!(many, Err(StoreError::BadArgument(_))), "{many:?}");
    let early = run(store.add_signing_key(newest, [2; 32], 99, 1));
    assert!(matches!(early, Err(StoreError::BadArgument(_))), "{early:?}");
}

#[test]
fn of_two_keys_added_at_once_both_callers_get_the_first() {
    let engine = MemoryEngine::new();
    run(Store::new(engine.clone()).signing_key([1; 32])).unwrap();
    let store = overtaken(&engine, |other| {
        run(other.add_signing_key(0, [2; 32], 7, 0)).unwrap();
    });
    let ring = run(store.add_signing_key(0, [3; 32], 7, 0)).unwrap();
    assert_eq!(ring.last().unwrap().seed, [2; 32]);
}

#[test]
fn a_key_whose_outcome_got_lost_is_there_once() {
    for fault in UNRESOLVED {
        let (store, engine) = faulty(&[]);
        run(store.signing_key([1; 32])).unwrap();
        set_faults(&engine, &[fault]);
        let ring = run(store.add_signing_key(0, [2; 32], 7, 0)).unwrap();
        assert_eq!(ring.last().unwrap().seed, [2; 32], "{fault:?}");
        engine.release_all();
        assert_eq!(run(store.key_ring()), Ok(ring), "{fault:?}");
    }
}
