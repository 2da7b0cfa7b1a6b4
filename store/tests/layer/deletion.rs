//! The end of an account: what is gone, what stays, and that it can be done again.

use crate::support::*;
use rookery_protocol::{DeviceId, Direction, UserId};
use rookery_store::check::check;
use rookery_store::memory::{Fault, MemoryEngine};
use rookery_store::{Plan, ShutOut, Store, StoreError, keys};

on_every_engine! {
    a_deleted_user_leaves_a_whole_store_without_what_they_wrote
    only_who_was_shut_out_for_it_is_erased
}

const DELETING: ShutOut = ShutOut { since_ms: NOW, deleting: true };

fn a_deleted_user_leaves_a_whole_store_without_what_they_wrote(store: &Store) {
    populate(store);
    let change = |_| rookery_store::Profile { display_name: "Ann".into(), ..Default::default() };
    run(store.change_profile(ANN, change)).unwrap();
    let changes = [("theme".to_owned(), Some("dark".to_owned()))].into();
    run(store.change_settings(ANN, &changes, |_| true)).unwrap();
    run(store.shut_out(ANN, DELETING)).unwrap();
    assert_eq!(run(store.deletions()), Ok(vec![ANN]));
    run(store.erase_account(ANN, NOW)).unwrap();
    assert_eq!(run(store.deletions()), Ok(vec![]));
    assert_eq!(run(store.erase_account(ANN, NOW)), Ok(()), "by another node, a little later");
    assert_eq!(run(store.account(ANN)), Ok(None));
    assert_eq!(run(store.account_by_name("ann")), Ok(None));
    assert_eq!(run(store.names(&[ANN, BOB])), Ok(vec![None, Some("bob".to_owned())]));
    assert_eq!(run(store.last_seen(ANN)), Ok(None));
    assert_eq!(run(store.profile(ANN)), Ok(rookery_store::Profile::default()));
    let page = run(store.history(BOB, CONV, 0, Direction::Before, 100)).unwrap();
    assert_eq!(page.entries.len(), 88);
    assert!(page.entries.iter().all(|entry| entry.sender != ANN || entry.body.is_empty()));
    // Nothing is left that names the user's own rows: devices, tokens, inbox.
    let own = |tag: u8, key: &[u8]| {
        key.first() == Some(&tag) && key.get(1..9) == Some(&ANN.0.to_be_bytes()[..])
    };
    for (key, _) in all_rows(store) {
        assert!(!b"vyqijsTUX".iter().any(|tag| own(*tag, &key)), "{key:?}");
    }
    let report = run(check(store, |_| {})).unwrap();
    assert!(report.is_clean(), "{:#?}", report.findings);
    // The name is free.
    run(store.create_account(&account(UserId(77), "ann"))).unwrap();
}

fn only_who_was_shut_out_for_it_is_erased(store: &Store) {
    populate(store);
    let refused = run(store.erase_account(ANN, NOW));
    assert!(matches!(refused, Err(StoreError::BadArgument(_))), "{refused:?}");
    let disabled = ShutOut { since_ms: NOW, deleting: false };
    run(store.shut_out(ANN, disabled)).unwrap();
    assert_eq!(run(store.is_shut_out(ANN)), Ok(Some(disabled)));
    assert_eq!(run(store.deletions()), Ok(vec![]));
    assert!(run(store.erase_account(ANN, NOW)).is_err());
    run(store.readmit(ANN)).unwrap();
    assert_eq!(run(store.is_shut_out(ANN)), Ok(None));
    run(store.shut_out(ANN, DELETING)).unwrap();
    run(store.shut_out(ANN, disabled)).unwrap();
    assert_eq!(run(store.is_shut_out(ANN)), Ok(Some(DELETING)), "there is no way back");
    assert_eq!(run(store.readmit(ANN)), Err(StoreError::UnknownUser));
    let nobody = UserId(404);
    assert_eq!(run(store.shut_out(nobody, DELETING)), Err(StoreError::UnknownUser));
}

#[test]
fn a_deletion_that_was_interrupted_is_done_again_from_the_start() {
    for faults in 0..12 {
        let engine = MemoryEngine::new();
        populate(&Store::new(engine.clone()));
        let store = Store::new(engine.clone());
        run(store.shut_out(ANN, DELETING)).unwrap();
        // So many plans are applied, then the node is gone.
        let mut left = faults;
        engine.set_faults(move |_: &Plan| {
            if left == 0 {
                return Fault::Busy;
            }
            left -= 1;
            Fault::None
        });
        let interrupted = run(store.erase_account(ANN, NOW));
        engine.set_faults(|_: &Plan| Fault::None);
        if interrupted.is_err() {
            assert_eq!(run(store.deletions()), Ok(vec![ANN]), "after {faults} plans");
        }
        for user in run(store.deletions()).unwrap() {
            run(store.erase_account(user, NOW)).unwrap();
        }
        assert_eq!(run(store.account(ANN)), Ok(None));
        let report = run(check(&store, |_| {})).unwrap();
        assert!(report.is_clean(), "after {faults} plans: {:#?}", report.findings);
    }
}

#[test]
fn a_message_trimmed_while_its_sender_is_erased_stays_trimmed() {
    let engine = MemoryEngine::new();
    populate(&Store::new(engine.clone()));
    let store = Store::new(engine.clone());
    run(store.shut_out(ANN, DELETING)).unwrap();
    // So that the first plan of the deletion is the one that empties messages.
    run(store.revoke_device(ANN, DeviceId(7), NOW)).unwrap();
    let store = overtaken(&engine, |other| {
        let fence = take(other, OTHER_OWNER);
        committed(run(other.commit(rookery_store::history::trim_plan(&fence, CONV, 50))));
    });
    run(store.erase_account(ANN, NOW)).unwrap();
    let rows = all_rows(&store);
    assert!(!rows.iter().any(|(key, _)| key.as_ref() == keys::message(CONV, 49)));
    let report = run(check(&store, |_| {})).unwrap();
    assert!(report.is_clean(), "{:#?}", report.findings);
}
