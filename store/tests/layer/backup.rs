//! Backups: what is in the file, what comes back, and files that are not whole.

use crate::support::*;
use rookery_store::backup::{self, FileError, RestoreError, RestoreOptions};
use rookery_store::check::check;
use rookery_store::memory::{Fault, MemoryEngine};
use rookery_store::{Engine, InboxPage, Rotated, Store, StoreError, keys};
use std::io;

on_every_engine!(
    what_was_written_comes_back
    a_restored_store_tells_old_cursors_that_they_are_too_far
    log_ins_come_back_only_on_demand
    an_occupied_store_is_left_alone_unless_forced
);

const FORCED: RestoreOptions = RestoreOptions { force: true, keep_log_ins: false };
const LOG_INS: RestoreOptions = RestoreOptions { force: false, keep_log_ins: true };

fn file_of<E: Engine>(store: &Store<E>) -> Vec<u8> {
    let mut file = Vec::new();
    run(backup::write(store, &mut file, NOW, |_| {})).unwrap();
    file
}

fn restore<E: Engine>(
    store: &Store<E>,
    file: &[u8],
    options: RestoreOptions,
) -> Result<u64, RestoreError> {
    run(backup::restore(store, || Ok(file), options, |_| {})).map(|totals| totals.total())
}

fn fresh() -> Store<MemoryEngine> {
    Store::new(MemoryEngine::new())
}

fn rows_of<E: Engine>(store: &Store<E>, tags: &[u8]) -> Vec<(bytes::Bytes, bytes::Bytes)> {
    all_rows(store).into_iter().filter(|(key, _)| tags.contains(&key[0])).collect()
}

const CONTENT: &[u8] = b"NOUXabcdhmnpsuvwx";

fn what_was_written_comes_back(store: &Store) {
    populate(store);
    let file = file_of(store);
    let (header, totals) = backup::verify(file.as_slice()).unwrap();
    assert_eq!((header.created_ms, header.inbox_epoch), (NOW, 1));
    let target = fresh();
    restore(&target, &file, LOG_INS).unwrap();
    let content = rows_of(store, CONTENT);
    assert_eq!(rows_of(&target, CONTENT), content);
    assert_eq!(rows_of(&target, b"ty"), rows_of(store, b"ty"));
    assert_eq!(totals.total(), (content.len() + rows_of(store, b"ty").len()) as u64);
    assert!(rows_of(&target, b"JKRfijqZ").is_empty(), "what stays behind");
    let report = run(check(&target, |_| {})).unwrap();
    assert!(report.is_clean(), "{:#?}", report.findings);
    // A store restored from is backed up to the same rows.
    assert_eq!(backup::verify(file_of(&target).as_slice()).unwrap().1, totals);
}

fn a_restored_store_tells_old_cursors_that_they_are_too_far(store: &Store) {
    populate(store);
    let InboxPage::Page { end, .. } = run(store.inbox(BOB, None, 10, ANY)).unwrap() else {
        panic!("no page")
    };
    let target = fresh();
    assert_eq!(run(target.inbox_epoch()), Ok(1), "read before, as a node would have");
    restore(&target, &file_of(store), LOG_INS).unwrap();
    assert_eq!(run(target.inbox_epoch()), Ok(2));
    let page = run(target.inbox(BOB, Some(end), 10, ANY)).unwrap();
    assert!(matches!(page, InboxPage::TooFar { .. }), "{page:?}");
}

fn log_ins_come_back_only_on_demand(store: &Store) {
    populate(store);
    let file = file_of(store);
    let use_token =
        |target: &Store<MemoryEngine>| run(target.rotate_refresh(rotation(1, 9))).unwrap();
    let target = fresh();
    restore(&target, &file, RestoreOptions::default()).unwrap();
    assert_eq!(use_token(&target), Rotated::Unknown);
    assert!(run(check(&target, |_| {})).unwrap().is_clean());
    let target = fresh();
    restore(&target, &file, LOG_INS).unwrap();
    assert!(matches!(use_token(&target), Rotated::Ok { .. }));
    let drawn = run(target.signing_key([8; 32])).unwrap();
    assert_eq!(drawn, [8; 32], "the old signing key is not in the file");
    assert!(!file.windows(32).any(|bytes| bytes == [7; 32]));
}

fn an_occupied_store_is_left_alone_unless_forced(store: &Store) {
    let source = fresh();
    populate(&source);
    let file = file_of(&source);
    create_users(store);
    run(store.renew_inbox_epoch()).unwrap();
    let before = all_rows(store);
    let refused = restore(store, &file, RestoreOptions::default());
    assert!(matches!(refused, Err(RestoreError::Occupied)), "{refused:?}");
    assert_eq!(all_rows(store), before);
    restore(store, &file, FORCED).unwrap();
    assert_eq!(rows_of(store, CONTENT), rows_of(&source, CONTENT));
    assert_eq!(run(store.inbox_epoch()), Ok(3), "above both");
}

#[test]
fn a_file_cut_anywhere_is_refused_and_nothing_is_restored() {
    let source = fresh();
    populate(&source);
    let file = file_of(&source);
    let step = (file.len() / 150).max(1);
    for len in (0..file.len()).step_by(step).chain(file.len() - 40..file.len()) {
        let target = fresh();
        let refused = restore(&target, &file[..len], FORCED);
        assert!(matches!(refused, Err(RestoreError::File(_))), "{len} bytes: {refused:?}");
        assert!(all_rows(&target).is_empty());
    }
    let mut longer = file;
    longer.push(0);
    assert!(matches!(backup::verify(longer.as_slice()), Err(FileError::Damaged(_))));
}

#[test]
fn a_file_changed_anywhere_is_refused() {
    let source = fresh();
    create_conversation(&source);
    let file = file_of(&source);
    for at in 0..file.len() {
        for bit in [0x01, 0x80] {
            let mut changed = file.clone();
            changed[at] ^= bit;
            let refused = backup::verify(changed.as_slice());
            assert!(refused.is_err(), "byte {at} of {} went unnoticed", file.len());
        }
    }
}

#[test]
fn a_file_of_a_newer_format_is_refused_by_name() {
    let mut file = file_of(&fresh());
    file[15] = 2;
    let refused = backup::verify(file.as_slice()).unwrap_err();
    assert!(refused.to_string().contains("format 2"), "{refused}");
    assert!(matches!(
        backup::verify(&b"PK\x03\x04 something else"[..]),
        Err(FileError::NotABackup)
    ));
}

#[test]
fn a_store_that_cannot_be_read_says_so_in_the_file() {
    let store = fresh();
    populate(&store);
    set(&store, keys::TRANSFER, &[1, 1, 3, 0, 5]);
    let mut file = Vec::new();
    assert!(run(backup::write(&store, &mut file, NOW, |_| {})).is_err());
    let refused = backup::verify(file.as_slice()).unwrap_err();
    assert!(
        matches!(&refused, FileError::Failed(why) if why.contains("not finished")),
        "{refused}"
    );
}

#[test]
fn a_restore_that_stopped_half_way_is_told_until_it_is_run_again() {
    let source = fresh();
    populate(&source);
    let file = file_of(&source);
    let (target, engine) = faulty(&[Fault::None, Fault::Busy]);
    let stopped = restore(&target, &file, LOG_INS);
    assert!(matches!(stopped, Err(RestoreError::Store(StoreError::Busy))), "{stopped:?}");
    assert_eq!(run(target.unfinished_transfer()), Ok(Some(0)));
    engine.clear_faults();
    assert!(matches!(restore(&target, &file, LOG_INS), Err(RestoreError::Occupied)));
    restore(&target, &file, FORCED).unwrap();
    assert_eq!(run(target.unfinished_transfer()), Ok(None));
}

#[test]
fn an_outcome_that_got_lost_neither_doubles_nor_skips_rows() {
    let source = fresh();
    populate(&source);
    let file = file_of(&source);
    for fault in [Fault::UnresolvedApplied, Fault::UnresolvedLost] {
        for at in 0..3 {
            let mut faults = vec![Fault::None; at];
            faults.push(fault);
            let (target, _) = faulty(&faults);
            restore(&target, &file, LOG_INS).unwrap();
            assert_eq!(rows_of(&target, CONTENT), rows_of(&source, CONTENT), "{fault:?} at {at}");
        }
    }
}

#[test]
fn a_file_that_cannot_be_opened_is_told() {
    let refused = run(backup::restore(
        &fresh(),
        || Err::<&[u8], _>(io::Error::from(io::ErrorKind::NotFound)),
        FORCED,
        |_| {},
    ));
    assert!(matches!(refused, Err(RestoreError::File(FileError::Io(_)))), "{refused:?}");
}
