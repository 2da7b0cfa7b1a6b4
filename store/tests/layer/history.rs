//! Pages of history, dense runs, trimming, gaps.

use crate::support::{
    ANN, ANY, BOB, CAT, CONV, OTHER_OWNER, OWNER, append, clear, committed, create_conversation,
    entry, fill, on_every_engine, run, seqs, set, take,
};
use rookery_protocol::limits::MAX_PAGE_BYTES;
use rookery_protocol::{ConversationId, Direction, Entry};
use rookery_store::memory::MemoryEngine;
use rookery_store::{Engine, Outcome, ReadError, Store, StoreError, history, keys};

const BEFORE: Direction = Direction::Before;
const AFTER: Direction = Direction::After;

on_every_engine! {
    history_goes_both_ways_from_an_anchor
    a_page_is_bounded_in_entries
    a_page_is_bounded_in_bytes
    only_members_read_history
    a_trimmed_log_starts_at_its_floor
    a_missing_entry_is_damage_and_never_skipped
    a_run_of_entries_is_dense
    a_replaced_owner_trims_nothing
}

/// Entries `1..=last` in [`CONV`].
fn filled<E: Engine>(store: &Store<E>, last: u64) {
    create_conversation(store);
    fill(store, &take(store, OWNER), last);
}

fn page<E: Engine>(
    store: &Store<E>,
    anchor: u64,
    direction: Direction,
    limit: u16,
) -> (Vec<u64>, bool) {
    let page = run(store.history(BOB, CONV, anchor, direction, limit)).unwrap();
    (seqs(&page.entries), page.more)
}

fn dense(from: u64, to: u64) -> Vec<u64> {
    (from..=to).collect()
}

fn history_goes_both_ways_from_an_anchor(store: &Store) {
    filled(store, 10);
    assert_eq!(page(store, 0, BEFORE, 3), (dense(8, 10), true));
    assert_eq!(page(store, 8, BEFORE, 3), (dense(5, 7), true));
    assert_eq!(page(store, 4, BEFORE, 3), (dense(1, 3), false));
    assert_eq!(page(store, 1, BEFORE, 3), (dense(1, 0), false));
    assert_eq!(page(store, u64::MAX, BEFORE, 2), (dense(9, 10), true));
    assert_eq!(page(store, 0, AFTER, 3), (dense(1, 3), true));
    assert_eq!(page(store, 7, AFTER, 3), (dense(8, 10), false));
    assert_eq!(page(store, 10, AFTER, 3), (dense(1, 0), false));
    assert_eq!(page(store, u64::MAX, AFTER, 3), (dense(1, 0), false));
    let whole = run(store.history(ANN, CONV, 0, AFTER, 50)).unwrap();
    assert_eq!(whole.entries, (1..=10).map(entry).collect::<Vec<_>>());
    assert_eq!((whole.head, whole.floor), (10, 1));
}

fn a_page_is_bounded_in_entries(store: &Store) {
    filled(store, 230);
    assert_eq!(page(store, 0, BEFORE, u16::MAX), (dense(31, 230), true));
    assert_eq!(page(store, 0, AFTER, u16::MAX), (dense(1, 200), true));
    assert_eq!(page(store, 0, AFTER, 0), (dense(1, 1), true));
    assert_eq!(page(store, 0, AFTER, 64), (dense(1, 64), true));
    assert_eq!(page(store, 0, AFTER, 65), (dense(1, 65), true));
}

fn a_page_is_bounded_in_bytes(store: &Store) {
    create_conversation(store);
    let fence = take(store, OWNER);
    let large = |seq| Entry { body: vec![b'x'; 16 * 1024], ..entry(seq) };
    for first in [1, 21] {
        append(store, &fence, &(first..first + 20).map(large).collect::<Vec<_>>());
    }
    for (anchor, direction) in [(0, BEFORE), (0, AFTER)] {
        let page = run(store.history(ANN, CONV, anchor, direction, 200)).unwrap();
        let bytes: usize = page.entries.iter().map(|entry| entry.body.len()).sum();
        assert!(bytes <= MAX_PAGE_BYTES && page.entries.len() == 15, "{bytes}");
        assert!(page.more);
    }
    let one = run(store.entries(CONV, 3, 40, 1)).unwrap();
    assert_eq!(seqs(&one), [3], "at least one");
    let two = run(store.entries(CONV, 3, 40, 2 * 16 * 1024 + 200)).unwrap();
    assert_eq!(seqs(&two), [3, 4]);
}

fn only_members_read_history(store: &Store) {
    filled(store, 2);
    let stranger = run(store.history(CAT, CONV, 0, BEFORE, 10));
    assert_eq!(stranger, Err(StoreError::NotAMember));
    let nowhere = run(store.history(ANN, ConversationId(1), 0, BEFORE, 10));
    assert_eq!(nowhere, Err(StoreError::NotAMember));
    let sideways = run(store.history(ANN, CONV, 0, Direction::Other(9), 10));
    assert!(matches!(sideways, Err(StoreError::BadArgument(_))), "{sideways:?}");
}

fn a_trimmed_log_starts_at_its_floor(store: &Store) {
    filled(store, 10);
    let fence = take(store, OWNER);
    committed(run(store.commit(history::trim_plan(&fence, CONV, 5))));
    committed(run(store.commit(history::trim_plan(&fence, CONV, 3))));
    assert_eq!(run(store.load_conversation(CONV, ANY)).unwrap().unwrap().floor, 5);
    assert_eq!(page(store, 0, BEFORE, 100), (dense(5, 10), false));
    assert_eq!(page(store, 7, BEFORE, 1), (dense(6, 6), true));
    assert_eq!(page(store, 5, BEFORE, 10), (dense(1, 0), false));
    assert_eq!(page(store, 1, AFTER, 2), (dense(5, 6), true));
    let run_of = |from, to| seqs(&run(store.entries(CONV, from, to, usize::MAX)).unwrap());
    assert_eq!(run_of(2, 7), dense(5, 7), "the first seq tells what was trimmed");
    assert_eq!(run_of(2, 4), dense(1, 0));
    assert_eq!(run_of(2, 99), dense(5, 10));
    // All of it: the last entry of the description is gone too.
    committed(run(store.commit(history::trim_plan(&fence, CONV, 11))));
    let info = run(store.describe(ANN, CONV)).unwrap();
    assert_eq!((info.head, info.floor, info.last), (10, 11, None));
    assert_eq!(page(store, 0, BEFORE, 100), (dense(1, 0), false));
    append(store, &fence, &[entry(11)]);
    assert_eq!(page(store, 0, BEFORE, 100), (dense(11, 11), false));
}

fn a_missing_entry_is_damage_and_never_skipped(store: &Store) {
    filled(store, 100);
    for missing in [100, 1, 70] {
        clear(store, keys::message(CONV, missing));
        for (anchor, direction) in [(0, BEFORE), (0, AFTER)] {
            let result = run(store.history(ANN, CONV, anchor, direction, 200));
            let Err(StoreError::Read(ReadError::Damaged(why))) = result else {
                panic!("a page without {missing}")
            };
            assert!(why.contains(" is missing"), "{why}");
        }
        let result = run(store.entries(CONV, 1, 100, usize::MAX));
        assert!(matches!(result, Err(ReadError::Damaged(_))));
        append_back(store, missing);
    }
    clear(store, keys::message(CONV, 70));
    for max_bytes in [1, usize::MAX] {
        let result = run(store.entries(CONV, 70, 100, max_bytes));
        assert!(matches!(result, Err(ReadError::Damaged(_))), "{result:?}");
    }
    assert_eq!(page(store, 0, AFTER, 69), (dense(1, 69), true), "what is there is still served");
    assert_eq!(page(store, 70, AFTER, 200), (dense(71, 100), false));
}

/// Repairs one row by writing the batch it was in again.
fn append_back(store: &Store, seq: u64) {
    let fence = take(store, OWNER);
    append(store, &fence, &[entry(seq)]);
    append(store, &fence, &[entry(100)]);
}

fn a_run_of_entries_is_dense(store: &Store) {
    filled(store, 200);
    let run_of = |from, to| seqs(&run(store.entries(CONV, from, to, usize::MAX)).unwrap());
    assert_eq!(run_of(1, 200), dense(1, 200));
    assert_eq!(run_of(0, 3), dense(1, 3));
    assert_eq!(run_of(63, 66), dense(63, 66));
    assert_eq!(run_of(199, u64::MAX), dense(199, 200), "the log ends before");
    assert_eq!(run_of(201, 300), dense(1, 0));
    assert_eq!(run_of(9, 8), dense(1, 0));
    let nowhere = run(store.entries(ConversationId(1), 1, 5, usize::MAX));
    assert_eq!(nowhere, Ok(Vec::new()));
}

fn a_replaced_owner_trims_nothing(store: &Store) {
    filled(store, 3);
    let old = take(store, OWNER);
    take(store, OTHER_OWNER);
    let outcome = run(store.commit(history::trim_plan(&old, CONV, 3)));
    assert_eq!(outcome, Outcome::Conflict);
    assert_eq!(page(store, 0, AFTER, 10), (dense(1, 3), false));
}

#[test]
fn a_damaged_entry_is_told() {
    let store = Store::new(MemoryEngine::new());
    filled(&store, 3);
    set(&store, keys::message(CONV, 2), b"\x01\x02");
    let page = run(store.history(ANN, CONV, 0, BEFORE, 10));
    assert!(matches!(page, Err(StoreError::Read(ReadError::Damaged(_)))), "{page:?}");
}
