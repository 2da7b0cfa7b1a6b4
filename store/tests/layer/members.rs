//! Leases and the epoch: one sequence of changes, each by one commit, none on what is out of date.

use crate::support::{committed, on_every_engine, run, set};
use rookery_store::{Lease, Members, NodeState, Outcome, ReadError, Store, keys};

on_every_engine! {
    every_change_of_the_members_raises_the_epoch_by_one
    two_changes_seen_from_one_epoch_do_not_both_happen
    a_renewal_fails_once_the_lease_was_ended
    a_damaged_lease_is_told_and_not_guessed
}

fn lease(name: &str, state: NodeState) -> Lease {
    Lease {
        name: name.into(),
        incarnation: 7,
        state,
        counter: 0,
        link: "10.0.0.1:7000".into(),
        endpoint: "ws://10.0.0.1/v1/ws".into(),
        zone: "a".into(),
        capacity: 1,
        sessions: 0,
        lag_ms: 0,
    }
}

fn members(store: &Store) -> Members {
    run(store.members()).unwrap()
}

fn activate(store: &Store, node: u64) {
    let plan = members(store).change("test", node, Some(&lease("n", NodeState::Active)));
    committed(run(store.commit(plan)));
}

fn every_change_of_the_members_raises_the_epoch_by_one(store: &Store) {
    assert_eq!(members(store).epoch, 0);
    assert_eq!(members(store).cluster, None);
    activate(store, 1);
    activate(store, 2);
    let seen = members(store);
    assert_eq!((seen.epoch, seen.cluster.as_deref()), (2, Some("test")));
    assert_eq!(seen.leases.keys().copied().collect::<Vec<_>>(), [1, 2]);
    assert_eq!(seen.leases.get(&1).unwrap().lease, lease("n", NodeState::Active));
    committed(run(store.commit(seen.change("test", 1, None))));
    let seen = members(store);
    assert_eq!((seen.epoch, seen.leases.len()), (3, 1));
}

fn two_changes_seen_from_one_epoch_do_not_both_happen(store: &Store) {
    activate(store, 1);
    activate(store, 2);
    let seen = members(store);
    let dead = lease("n", NodeState::Dead);
    committed(run(store.commit(seen.change("test", 1, Some(&dead)))));
    // Each declares the other dead: the second one has to look again.
    assert_eq!(run(store.commit(seen.change("test", 2, Some(&dead)))), Outcome::Conflict);
}

fn a_renewal_fails_once_the_lease_was_ended(store: &Store) {
    activate(store, 1);
    let seen = members(store);
    let mut renewed = lease("n", NodeState::Active);
    renewed.counter = 1;
    committed(run(store.commit(seen.renew(1, &renewed))));
    assert_eq!(run(store.commit(seen.renew(1, &renewed))), Outcome::Conflict);
    let seen = members(store);
    assert_eq!(seen.epoch, 1, "a renewal changes no members");
    committed(run(store.commit(seen.change("test", 1, Some(&lease("n", NodeState::Dead))))));
    assert_eq!(run(store.commit(seen.renew(1, &renewed))), Outcome::Conflict);
    committed(run(store.commit(members(store).forget(1))));
    assert_eq!((members(store).epoch, members(store).leases.len()), (2, 0));
}

fn a_damaged_lease_is_told_and_not_guessed(store: &Store) {
    set(store, keys::lease(1), b"\x01");
    assert!(matches!(run(store.members()), Err(ReadError::Damaged(_))));
}
