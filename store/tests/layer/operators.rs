//! What operators leave in the store: the log of their doings, notices, changed limits; and the
//! lists they read.

use crate::support::*;
use rookery_protocol::UserId;
use rookery_store::check::check;
use rookery_store::{
    AuditEntry, AuditPlace, MAX_AUDIT_TEXT_BYTES, MAX_NOTICES, ShutOut, Store, StoreError,
};
use std::collections::BTreeMap;

on_every_engine! {
    the_log_is_read_newest_first_page_by_page
    notices_have_rising_ids_and_go_when_they_are_over
    changed_limits_hold_until_they_are_given_back
    every_account_and_conversation_is_listed_once
}

fn entry(time_ms: u64, id: u64, action: &str) -> AuditEntry {
    AuditEntry {
        place: AuditPlace { time_ms, id },
        action_id: id,
        operator: "ops".into(),
        node: "n1".into(),
        action: action.into(),
        target: "ann".into(),
        outcome: "done".into(),
    }
}

fn the_log_is_read_newest_first_page_by_page(store: &Store) {
    assert_eq!(run(store.audit_log(None, 10)), Ok((vec![], None)));
    let written: Vec<AuditEntry> = (1..=5).map(|n| entry(NOW + n / 2, n, "user.disable")).collect();
    for entry in &written {
        run(store.append_audit(entry)).unwrap();
    }
    let mut read = Vec::new();
    let mut before = None;
    for expected in [2, 2, 1] {
        let (page, next) = run(store.audit_log(before, 2)).unwrap();
        assert_eq!(page.len(), expected);
        read.extend(page);
        before = next;
    }
    assert_eq!(before, None);
    assert_eq!(read, written.iter().rev().cloned().collect::<Vec<_>>());
    // It is never written over.
    assert_eq!(run(store.append_audit(&entry(NOW + 1, 2, "other"))), Err(StoreError::IdTaken));
    let long = "x".repeat(MAX_AUDIT_TEXT_BYTES + 1);
    let refused = run(store.append_audit(&entry(NOW, 9, &long)));
    assert!(matches!(refused, Err(StoreError::BadArgument(_))), "{refused:?}");
    assert!(run(check(store, |_| {})).unwrap().is_clean());
}

fn notices_have_rising_ids_and_go_when_they_are_over(store: &Store) {
    assert_eq!(run(store.notices()), Ok(vec![]));
    let first = run(store.post_notice("one", NOW, NOW + 10)).unwrap();
    let second = run(store.post_notice("two", NOW + 1, NOW + 99)).unwrap();
    assert_eq!((first.id, second.id), (1, 2));
    assert_eq!(run(store.notices()), Ok(vec![first, second.clone()]));
    let third = run(store.post_notice("three", NOW + 10, NOW + 20)).unwrap();
    assert_eq!(run(store.notices()), Ok(vec![second, third]));
    run(store.withdraw_notices()).unwrap();
    assert_eq!(run(store.notices()), Ok(vec![]));
    // Ids go on.
    assert_eq!(run(store.post_notice("four", NOW, NOW + 9)).unwrap().id, 4);
    for n in 1..MAX_NOTICES {
        run(store.post_notice(&format!("more {n}"), NOW, NOW + 9)).unwrap();
    }
    assert_eq!(run(store.post_notice("too many", NOW, NOW + 9)), Err(StoreError::Busy));
    for text in ["", &"x".repeat(2_000)] {
        assert!(matches!(run(store.post_notice(text, NOW, NOW)), Err(StoreError::BadArgument(_))));
    }
    assert!(run(check(store, |_| {})).unwrap().is_clean());
}

fn changed_limits_hold_until_they_are_given_back(store: &Store) {
    let change = |changes: &[(u8, Option<u64>)]| {
        let changes: BTreeMap<u8, Option<u64>> = changes.iter().copied().collect();
        run(store.change_overrides(&changes)).unwrap()
    };
    assert_eq!(run(store.overrides()), Ok(BTreeMap::new()));
    assert_eq!(change(&[(1, Some(300)), (200, Some(0))]), BTreeMap::from([(1, 300), (200, 0)]));
    assert_eq!(change(&[(1, None), (7, Some(1)), (8, None)]), BTreeMap::from([(7, 1), (200, 0)]));
    assert_eq!(run(store.overrides()), Ok(BTreeMap::from([(7, 1), (200, 0)])));
    let many: Vec<(u8, Option<u64>)> = (0..100).map(|n| (n, Some(1))).collect();
    let refused = run(store.change_overrides(&many.into_iter().collect()));
    assert!(matches!(refused, Err(StoreError::BadArgument(_))), "{refused:?}");
    assert!(run(check(store, |_| {})).unwrap().is_clean());
}

fn every_account_and_conversation_is_listed_once(store: &Store) {
    populate(store);
    let mut found: Vec<UserId> = Vec::new();
    let mut after = None;
    loop {
        let (page, next) = run(store.accounts(after, 1)).unwrap();
        found.extend(page.iter().map(|account| account.user));
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert!(found.contains(&ANN) && found.contains(&BOB), "{found:?}");
    assert!(found.is_sorted_by(|a, b| a < b), "{found:?}");
    run(store.shut_out(ANN, ShutOut { since_ms: NOW, deleting: true })).unwrap();
    run(store.erase_account(ANN, NOW)).unwrap();
    let (left, next) = run(store.accounts(None, 100)).unwrap();
    assert_eq!((left.len(), next), (found.len() - 1, None));
    let (conversations, next) = run(store.all_conversations(None, 100)).unwrap();
    assert!(conversations.contains(&CONV) && next.is_none(), "{conversations:?}");
    let (rest, _) = run(store.all_conversations(conversations.last().copied(), 100)).unwrap();
    assert_eq!(rest, []);
}

/// The answer to the commit is lost; what it did is found, not done twice.
#[test]
fn a_notice_or_entry_whose_outcome_was_unknown_is_there_once() {
    for fault in UNRESOLVED {
        let (store, engine) = faulty(&[fault]);
        run(store.post_notice("one", NOW, NOW + 9)).unwrap();
        engine.release_all();
        assert_eq!(run(store.notices()).unwrap().len(), 1, "{fault:?}");
        set_faults(&engine, &[fault]);
        run(store.append_audit(&entry(NOW, 1, "user.disable"))).unwrap();
        engine.release_all();
        assert_eq!(run(store.audit_log(None, 10)).unwrap().0.len(), 1, "{fault:?}");
    }
}
