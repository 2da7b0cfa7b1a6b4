//! Migrations: between engines, interrupted anywhere, and into what must not be written.

use crate::support::*;
use rookery_store::check::check;
use rookery_store::memory::{Fault, MemoryEngine};
use rookery_store::migrate::{MigrateError, Step, migrate};
use rookery_store::{Engine, InboxPage, Op, Plan, Rotated, Store, keys};

on_every_engine!(
    a_store_moves_with_everything_that_people_keep
    a_target_of_somebody_else_is_left_alone
);

fn fresh() -> Store<MemoryEngine> {
    Store::new(MemoryEngine::new())
}

/// A populated store with so many rows more that a migration takes several commits.
fn large() -> Store<MemoryEngine> {
    let store = fresh();
    populate(&store);
    let fence = take(&store, OTHER_OWNER);
    for batch in 0..30 {
        let entries: Vec<_> = (0..100).map(|n| entry(91 + batch * 100 + n)).collect();
        append(&store, &fence, &entries);
    }
    // Values as large as they come.
    for user in 1..=60_u64 {
        let key =
            bytes::Bytes::copy_from_slice(&keys::retention(rookery_protocol::ConversationId(user)));
        let value = bytes::Bytes::from(vec![1; 90_000]);
        let plan = Plan { guards: Vec::new(), ops: vec![Op::Set { key, value }] };
        committed(run(store.commit(plan)));
    }
    store
}

fn content<E: Engine>(store: &Store<E>) -> Vec<(bytes::Bytes, bytes::Bytes)> {
    all_rows(store).into_iter().filter(|(key, _)| !b"fijqIZ".contains(&key[0])).collect()
}

fn a_store_moves_with_everything_that_people_keep(target: &Store) {
    let source = fresh();
    populate(&source);
    let before = all_rows(&source);
    let InboxPage::Page { end, .. } = run(source.inbox(BOB, None, 10, ANY)).unwrap() else {
        panic!("no page")
    };
    run(migrate(&source, target, false, |_| {})).unwrap();
    assert_eq!(all_rows(&source), before, "the source stays as it was");
    assert_eq!(content(target), content(&source));
    assert_eq!(run(target.signing_key([0; 32])), Ok([7; 32]), "tokens stay good");
    let token = run(target.rotate_refresh(rotation(1, 9))).unwrap();
    assert!(matches!(token, Rotated::Ok { .. }), "nobody has to log in: {token:?}");
    let page = run(target.inbox(BOB, Some(end), 10, ANY)).unwrap();
    assert!(matches!(page, InboxPage::TooFar { .. }), "{page:?}");
    assert_eq!(run(target.unfinished_transfer()), Ok(None));
    let report = run(check(target, |_| {})).unwrap();
    assert!(report.is_clean(), "{:#?}", report.findings);
}

fn a_target_of_somebody_else_is_left_alone(target: &Store) {
    create_users(target);
    let before = all_rows(target);
    let source = fresh();
    populate(&source);
    for restart in [false, true] {
        let refused = run(migrate(&source, target, restart, |_| {}));
        assert!(matches!(refused, Err(MigrateError::Foreign)), "{refused:?}");
        assert_eq!(all_rows(target), before);
    }
}

#[test]
fn a_migration_interrupted_at_any_commit_goes_on_where_it_stopped() {
    let source = large();
    let mut resumed = 0;
    for stop_at in 0..20 {
        let mut faults = vec![Fault::None; stop_at];
        faults.push(Fault::Busy);
        let (target, engine) = faulty(&faults);
        let Err(stopped) = run(migrate(&source, &target, false, |_| {})) else {
            assert!(stop_at > 8, "it takes many commits");
            break;
        };
        assert!(matches!(stopped, MigrateError::Target(_)), "{stopped}");
        engine.clear_faults();
        let mut went_on = None;
        let note = |step| {
            if let Step::Resuming(rows) = step {
                went_on = Some(rows);
            }
        };
        run(migrate(&source, &target, false, note)).unwrap();
        assert_eq!(content(&target), content(&source), "stopped at commit {stop_at}");
        resumed = resumed.max(went_on.unwrap_or(0));
    }
    assert!(resumed > 1000, "{resumed} rows were there before the last run");
}

#[test]
fn an_unfinished_migration_is_only_continued_from_its_source() {
    let source = large();
    let (target, engine) = faulty(&[Fault::None, Fault::None, Fault::Busy]);
    assert!(run(migrate(&source, &target, false, |_| {})).is_err());
    engine.clear_faults();
    let other = fresh();
    create_users(&other);
    run(other.signing_key([5; 32])).unwrap();
    let refused = run(migrate(&other, &target, true, |_| {}));
    assert!(matches!(refused, Err(MigrateError::Foreign)), "{refused:?}");
    let refused = run(migrate(&target, &fresh(), false, |_| {}));
    assert!(matches!(refused, Err(MigrateError::SourceUnfinished)), "{refused:?}");
}

#[test]
fn a_source_that_changed_in_between_is_noticed_and_restart_starts_over() {
    let source = large();
    let (target, engine) = faulty(&[Fault::None, Fault::None, Fault::None, Fault::Busy]);
    assert!(run(migrate(&source, &target, false, |_| {})).is_err());
    engine.clear_faults();
    clear(&source, keys::activity(ANN, CONV));
    let noticed = run(migrate(&source, &target, false, |_| {}));
    assert!(matches!(noticed, Err(MigrateError::Different(_))), "{noticed:?}");
    assert!(run(target.unfinished_transfer()).unwrap().is_some(), "no node starts on it");
    run(migrate(&source, &target, true, |_| {})).unwrap();
    assert_eq!(content(&target), content(&source));
}
