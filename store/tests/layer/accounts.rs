//! Accounts, names, devices, the signing key, last seen.

use crate::support::{
    ANN, BOB, CAT, NOW, UNRESOLVED, account, create_users, faulty, on_every_engine, overtaken, run,
    set, set_faults,
};
use rookery_protocol::{DeviceId, UserId};
use rookery_store::memory::{Fault, MemoryEngine};
use rookery_store::{
    Account, DeviceRow, Engine, Invitation, ReadError, ShutOut, Store, StoreError, keys,
};

on_every_engine! {
    an_account_is_found_by_user_and_by_name
    a_name_and_an_id_are_given_once
    texts_over_their_limit_are_refused
    names_come_in_the_order_asked_for
    a_device_is_created_once_and_revoked_for_good
    devices_come_in_pages_without_the_revoked_ones
    the_first_signing_key_stays
    last_seen_only_moves_forward
}

fn device(n: u64) -> DeviceRow {
    DeviceRow { user: ANN, device: DeviceId(n), name: "tv".into(), created_ms: NOW, revoked: false }
}

fn an_account_is_found_by_user_and_by_name(store: &Store) {
    create_users(store);
    assert_eq!(run(store.account(ANN)), Ok(Some(account(ANN, "ann"))));
    assert_eq!(run(store.account_by_name("bob")), Ok(Some(account(BOB, "bob"))));
    assert_eq!(run(store.account(UserId(99))), Ok(None));
    assert_eq!(run(store.account_by_name("nobody")), Ok(None));
    assert_eq!(run(store.account_by_name(&"x".repeat(100_000))), Ok(None));
    assert!(!format!("{:?}", account(ANN, "ann")).contains("argon"));
}

fn a_name_and_an_id_are_given_once(store: &Store) {
    create_users(store);
    let taken = run(store.create_account(&account(UserId(9), "ann")));
    assert_eq!(taken, Err(StoreError::NameTaken));
    let taken = run(store.create_account(&account(ANN, "anna")));
    assert_eq!(taken, Err(StoreError::IdTaken));
    let again = run(store.create_account(&account(ANN, "ann")));
    assert_eq!(again, Err(StoreError::NameTaken));
    assert_eq!(run(store.account_by_name("anna")), Ok(None));
}

fn texts_over_their_limit_are_refused(store: &Store) {
    for name in [String::new(), "x".repeat(33)] {
        let refused = run(store.create_account(&account(ANN, &name)));
        assert!(matches!(refused, Err(StoreError::BadArgument(_))), "{refused:?}");
    }
    let mut long_hash = account(ANN, "ann");
    long_hash.password_hash = "x".repeat(513);
    let refused = run(store.create_account(&long_hash));
    assert!(matches!(refused, Err(StoreError::BadArgument(_))), "{refused:?}");
    let long_name = DeviceRow { name: "x".repeat(129), ..device(1) };
    let refused = run(store.create_device(&long_name));
    assert!(matches!(refused, Err(StoreError::BadArgument(_))), "{refused:?}");
}

fn names_come_in_the_order_asked_for(store: &Store) {
    create_users(store);
    let names = run(store.names(&[CAT, UserId(99), ANN, CAT])).unwrap();
    let wanted = [Some("cat"), None, Some("ann"), Some("cat")];
    assert_eq!(names.iter().map(Option::as_deref).collect::<Vec<_>>(), wanted);
    assert_eq!(run(store.names(&[])), Ok(Vec::new()));
}

fn a_device_is_created_once_and_revoked_for_good(store: &Store) {
    run(store.create_device(&device(1))).unwrap();
    assert_eq!(run(store.create_device(&device(1))), Err(StoreError::IdTaken));
    assert_eq!(run(store.device(ANN, DeviceId(1))), Ok(Some(device(1))));
    assert_eq!(run(store.device(BOB, DeviceId(1))), Ok(None));
    run(store.revoke_device(ANN, DeviceId(1), NOW)).unwrap();
    run(store.revoke_device(ANN, DeviceId(1), NOW)).unwrap();
    let revoked = DeviceRow { revoked: true, ..device(1) };
    assert_eq!(run(store.device(ANN, DeviceId(1))), Ok(Some(revoked)));
    assert_eq!(run(store.create_device(&device(1))), Err(StoreError::IdTaken));
    let unknown = run(store.revoke_device(ANN, DeviceId(2), NOW));
    assert_eq!(unknown, Err(StoreError::UnknownUser));
}

fn devices_come_in_pages_without_the_revoked_ones(store: &Store) {
    create_users(store);
    for n in 1..=5 {
        run(store.create_device(&device(n))).unwrap();
    }
    run(store.revoke_device(ANN, DeviceId(2), NOW)).unwrap();
    let page = |after: Option<u64>, limit| {
        let (rows, next) = run(store.devices(ANN, after.map(DeviceId), limit)).unwrap();
        (rows.iter().map(|row| row.device.0).collect::<Vec<_>>(), next.map(|device| device.0))
    };
    assert_eq!(page(None, 2), (vec![1, 3], Some(3)));
    assert_eq!(page(Some(3), 2), (vec![4, 5], None));
    assert_eq!(page(Some(9), 2), (vec![], None));
    assert_eq!(page(None, 9), (vec![1, 3, 4, 5], None));
    assert_eq!(run(store.devices(BOB, None, 9)), Ok((vec![], None)));
}

fn the_first_signing_key_stays(store: &Store) {
    assert_eq!(run(store.signing_key([1; 32])), Ok([1; 32]));
    assert_eq!(run(store.signing_key([2; 32])), Ok([1; 32]));
}

fn last_seen_only_moves_forward(store: &Store) {
    assert_eq!(run(store.last_seen(ANN)), Ok(None));
    for ms in [NOW, NOW - 1, NOW + 1, 5] {
        run(store.set_last_seen(ANN, ms)).unwrap();
    }
    assert_eq!(run(store.last_seen(ANN)), Ok(Some(NOW + 1)));
}

#[test]
fn of_two_accounts_racing_for_a_name_one_gets_it() {
    let engine = MemoryEngine::new();
    let store = overtaken(&engine, |other| {
        run(other.create_account(&account(BOB, "same"))).unwrap();
    });
    let lost = run(store.create_account(&account(ANN, "same")));
    assert_eq!(lost, Err(StoreError::NameTaken));
    assert_eq!(run(store.account(ANN)), Ok(None), "nothing of the loser is left");
}

#[test]
fn a_first_signing_key_that_was_overtaken_is_not_returned() {
    let store = overtaken(&MemoryEngine::new(), |other| {
        run(other.signing_key([2; 32])).unwrap();
    });
    assert_eq!(run(store.signing_key([1; 32])), Ok([2; 32]));
}

#[test]
fn an_outcome_that_got_lost_is_found_out() {
    for fault in UNRESOLVED {
        let (store, engine) = faulty(&[fault]);
        assert_eq!(run(store.create_account(&account(ANN, "ann"))), Ok(()), "{fault:?}");
        set_faults(&engine, &[fault]);
        assert_eq!(run(store.create_device(&device(1))), Ok(()), "{fault:?}");
        set_faults(&engine, &[fault]);
        assert_eq!(run(store.revoke_device(ANN, DeviceId(1), NOW)), Ok(()), "{fault:?}");
        set_faults(&engine, &[fault]);
        assert_eq!(run(store.signing_key([1; 32])), Ok([1; 32]), "{fault:?}");
        set_faults(&engine, &[fault]);
        assert_eq!(run(store.set_last_seen(ANN, NOW)), Ok(()), "{fault:?}");
        engine.release_all();
        assert_eq!(run(store.account(ANN)), Ok(Some(account(ANN, "ann"))));
        assert!(run(store.device(ANN, DeviceId(1))).unwrap().unwrap().revoked);
    }
}

#[test]
fn an_outcome_that_stays_lost_is_told_as_unknown() {
    let (store, engine) = faulty(&[Fault::UnresolvedLost; 100]);
    let outcome = run(store.create_account(&account(ANN, "ann")));
    assert_eq!(outcome, Err(StoreError::Unresolved));
    set_faults(&engine, &[Fault::UnresolvedLate, Fault::Busy]);
    let outcome = run(store.create_account(&account(ANN, "ann")));
    assert_eq!(outcome, Err(StoreError::Unresolved), "busy says nothing about the attempt before");
    assert_eq!(run(store.account(ANN)), Ok(None));
    engine.release_all();
    assert_eq!(run(store.account(ANN)), Ok(Some(account(ANN, "ann"))));
}

#[test]
fn an_attempt_in_doubt_that_lost_the_race_is_no_success() {
    let engine = MemoryEngine::new();
    set_faults(&engine, &[Fault::None, Fault::UnresolvedLost]);
    let store = overtaken(&engine, |other| {
        run(other.create_account(&account(BOB, "same"))).unwrap();
    });
    let lost = run(store.create_account(&account(ANN, "same")));
    assert_eq!(lost, Err(StoreError::NameTaken));
}

#[test]
fn a_busy_engine_and_endless_conflicts_are_told_as_busy() {
    for fault in [Fault::Busy, Fault::Conflict] {
        let (store, engine) = faulty(&[fault; 100]);
        assert_eq!(run(store.create_account(&account(ANN, "ann"))), Err(StoreError::Busy));
        engine.clear_faults();
        assert_eq!(run(store.account(ANN)), Ok(None));
    }
}

#[test]
fn damaged_rows_are_told_and_never_taken_for_absent() {
    let (store, _) = faulty(&[]);
    create_users(&store);
    set(&store, keys::account(ANN), b"\x01\xff");
    assert!(matches!(run(store.account(ANN)), Err(ReadError::Damaged(_))));
    assert!(matches!(run(store.names(&[BOB, ANN])), Err(ReadError::Damaged(_))));
    crate::support::clear(&store, keys::account(BOB));
    assert!(matches!(run(store.account_by_name("bob")), Err(ReadError::Damaged(_))));
    set(&store, keys::account(CAT), b"\x02");
    let Err(ReadError::Damaged(why)) = run(store.account(CAT)) else { panic!("was read") };
    assert!(why.contains("account") && why.contains("newer version"), "{why}");
}

#[test]
fn a_name_that_looks_like_another_one_is_taken() {
    let store = Store::new(MemoryEngine::new());
    create_users(&store);
    let lookalike = run(store.create_account(&account(UserId(9), "b0b")));
    assert_eq!(lookalike, Err(StoreError::NameTaken));
    assert_eq!(run(store.account_by_name("b0b")), Ok(None), "to log in takes the name itself");
}

#[test]
fn an_invitation_is_used_up_with_the_account_or_not_at_all() {
    let store = Store::new(MemoryEngine::new());
    let invitation = Invitation { uses_left: 2, expires_ms: NOW + 10, created_ms: NOW };
    run(store.invite([1; 32], invitation)).unwrap();
    assert_eq!(run(store.invite([1; 32], invitation)), Err(StoreError::IdTaken));
    let invited = |user, name: &str, now_ms| {
        run(store.create_invited_account(&account(user, name), [1; 32], now_ms))
    };
    assert_eq!(invited(ANN, "ann", NOW + 10), Err(StoreError::NotInvited), "expired");
    assert_eq!(invited(ANN, "ann", NOW), Ok(()));
    assert_eq!(invited(BOB, "ann", NOW), Err(StoreError::NameTaken), "which uses nothing up");
    assert_eq!(invited(BOB, "bob", NOW), Ok(()));
    assert_eq!(invited(CAT, "cat", NOW), Err(StoreError::NotInvited), "used up");
}

fn admit_on<E: Engine>(store: &Store<E>, account: &Account, n: u64) -> Result<(), StoreError> {
    run(store.admit_device(account, &device(n), ([9; 32], NOW + 9)))
}

#[test]
fn a_log_in_that_a_change_of_the_account_overtakes_comes_to_nothing() {
    let engine = MemoryEngine::new();
    create_users(&Store::new(engine.clone()));
    let ann = account(ANN, "ann");
    let store = overtaken(&engine, |other| {
        run(other.change_password(&account(ANN, "ann"), "$new")).unwrap();
    });
    assert_eq!(admit_on(&store, &ann, 1), Err(StoreError::UnknownUser));
    let ann = run(store.account(ANN)).unwrap().unwrap();
    assert_eq!(ann.password_hash, "$new");
    let store = overtaken(&engine, |other| {
        let wanted = ShutOut { since_ms: NOW, deleting: false };
        run(other.shut_out(ANN, wanted)).unwrap();
    });
    assert_eq!(admit_on(&store, &ann, 1), Err(StoreError::UnknownUser));
    run(store.readmit(ANN)).unwrap();
    assert_eq!(admit_on(&store, &ann, 1), Ok(()));
    assert_eq!(admit_on(&store, &ann, 1), Err(StoreError::IdTaken));
}
