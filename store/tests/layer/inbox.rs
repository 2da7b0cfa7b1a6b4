//! Cursors, pages, trimming and epochs of inboxes.

use crate::support::{
    ANN, ANY, BOB, CAT, OWNER, UNRESOLVED, append, create_conversation, entry, faulty,
    on_every_engine, run, set, take,
};
use rookery_protocol::{Cursor, UserId};
use rookery_store::engine::Done;
use rookery_store::memory::MemoryEngine;
use rookery_store::{
    Engine, InboxPage, MAX_INBOX_PAGE, Outcome, Plan, Pointer, PointerKind, ReadError, Stamp,
    Store, Version, keys,
};

/// Before everything.
const START: Cursor = Cursor { epoch: 1, stamp: [0; 12] };

on_every_engine! {
    without_a_cursor_delivery_starts_now
    pages_cover_everything_once
    a_page_is_read_no_older_than_asked
    a_trimmed_inbox_is_too_far_for_older_cursors
    a_cursor_of_another_log_or_of_the_future_is_too_far
    a_renewed_epoch_starts_new_logs
    inboxes_are_apart
    who_has_news_is_told_for_many_at_once
}

fn page<E: Engine>(
    store: &Store<E>,
    user: UserId,
    after: Cursor,
    limit: usize,
) -> (Vec<Pointer>, Cursor, bool) {
    match run(store.inbox(user, Some(after), limit, ANY)).unwrap() {
        InboxPage::Page { pointers, end, more } => (pointers, end, more),
        InboxPage::TooFar { .. } => panic!("{after:?} is too far"),
    }
}

fn too_far<E: Engine>(store: &Store<E>, after: Cursor) -> Cursor {
    match run(store.inbox(BOB, Some(after), 10, ANY)).unwrap() {
        InboxPage::TooFar { now } => now,
        page @ InboxPage::Page { .. } => panic!("{page:?}"),
    }
}

fn firsts(pointers: &[Pointer]) -> Vec<u64> {
    pointers.iter().map(|pointer| pointer.first).collect()
}

/// One pointer for the creation, then one for each of `count` appends.
fn filled<E: Engine>(store: &Store<E>, count: u64) {
    create_conversation(store);
    let fence = take(store, OWNER);
    for seq in 1..=count {
        append(store, &fence, &[entry(seq)]);
    }
}

fn who_has_news_is_told_for_many_at_once(store: &Store) {
    filled(store, 2);
    let (_, end, _) = page(store, BOB, START, 10);
    let foreign = Cursor { epoch: end.epoch + 1, ..end };
    let asked = [(BOB, START), (BOB, end), (CAT, START), (BOB, foreign)];
    assert_eq!(run(store.inbox_news(&asked)).unwrap(), [true, false, false, true]);
    assert_eq!(run(store.inbox_news(&[])).unwrap(), []);
}

fn without_a_cursor_delivery_starts_now(store: &Store) {
    filled(store, 3);
    let page_now = run(store.inbox(BOB, None, 10, ANY)).unwrap();
    let InboxPage::Page { pointers, end, more } = page_now else { panic!("{page_now:?}") };
    assert!(pointers.is_empty() && !more);
    assert_eq!(page(store, BOB, end, 10).0, []);
    append(store, &take(store, OWNER), &[entry(4)]);
    assert_eq!(firsts(&page(store, BOB, end, 10).0), [4]);
}

fn pages_cover_everything_once(store: &Store) {
    filled(store, 9);
    for limit in [0, 1, 3, 5, 10, 11, usize::MAX] {
        let (mut seen, mut after) = (Vec::new(), START);
        loop {
            let (pointers, end, more) = page(store, BOB, after, limit);
            assert!(pointers.len() <= limit.max(1));
            assert!(!more || !pointers.is_empty());
            seen.extend(pointers);
            assert!(end > after || !more, "the cursor moves forward");
            after = end;
            if !more {
                break;
            }
        }
        assert_eq!(firsts(&seen), (0..=9).collect::<Vec<_>>(), "limit {limit}");
        assert!(seen.windows(2).all(|pair| pair[0].stamp < pair[1].stamp));
        assert_eq!(seen[0].kind, PointerKind::Created);
        let (pointers, end, more) = page(store, BOB, after, limit);
        // The end is as new as the snapshot; some engines' versions rise with time.
        assert!(pointers.is_empty() && end >= after && !more);
    }
}

fn a_page_is_read_no_older_than_asked(store: &Store) {
    create_conversation(store);
    let fence = take(store, OWNER);
    let version = append(store, &fence, &[entry(1)]);
    let read = run(store.inbox(BOB, Some(START), 10, version)).unwrap();
    let InboxPage::Page { pointers, end, .. } = read else { panic!("{read:?}") };
    assert_eq!(pointers.last().unwrap().stamp.version(), version);
    assert!(Stamp(end.stamp).version() >= version);
}

fn a_trimmed_inbox_is_too_far_for_older_cursors(store: &Store) {
    filled(store, 9);
    let (all, end, _) = page(store, BOB, START, 100);
    let cursor = |index: usize| all[index].stamp.cursor(1);
    run(store.trim_inbox(BOB, all[5].stamp)).unwrap();
    // Trimming less than before changes nothing.
    run(store.trim_inbox(BOB, all[2].stamp)).unwrap();
    let now = too_far(store, START);
    assert!(now >= end);
    too_far(store, cursor(4));
    assert_eq!(firsts(&page(store, BOB, cursor(5), 100).0), [6, 7, 8, 9]);
    assert_eq!(page(store, BOB, now, 100).0, [], "delivery goes on from there");
    append(store, &take(store, OWNER), &[entry(10)]);
    assert_eq!(firsts(&page(store, BOB, now, 100).0), [10]);
    assert_eq!(page(store, ANN, START, 100).0.len(), 11, "the others' inboxes are untouched");
}

fn a_cursor_of_another_log_or_of_the_future_is_too_far(store: &Store) {
    filled(store, 2);
    let (_, end, _) = page(store, BOB, START, 100);
    for epoch in [0, 2, u32::MAX] {
        too_far(store, Cursor { epoch, ..end });
    }
    // Some engines' versions rise with time: by a million a second.
    let future = Stamp::new(Version(Stamp(end.stamp).version().0 + (1 << 40)), 0, 0).cursor(1);
    too_far(store, future);
    too_far(store, Cursor { epoch: 1, stamp: [0xff; 12] });
    assert_eq!(page(store, BOB, end, 100).0, []);
}

fn a_renewed_epoch_starts_new_logs(store: &Store) {
    filled(store, 2);
    let (_, old, _) = page(store, BOB, START, 100);
    assert_eq!(run(store.inbox_epoch()), Ok(1));
    assert_eq!(run(store.renew_inbox_epoch()), Ok(2));
    assert_eq!(run(store.inbox_epoch()), Ok(2));
    let now = too_far(store, old);
    assert_eq!(now.epoch, 2);
    assert_eq!(page(store, BOB, now, 100).0, []);
    // An inbox floor of the old log says nothing about the new one.
    run(store.trim_inbox(BOB, Stamp(now.stamp))).unwrap();
    assert_eq!(run(store.renew_inbox_epoch()), Ok(3));
    assert_eq!(page(store, BOB, Cursor { epoch: 3, stamp: [0; 12] }, 100).0, []);
}

fn inboxes_are_apart(store: &Store) {
    filled(store, 2);
    assert_eq!(page(store, CAT, START, 100).0, []);
    assert_eq!(page(store, ANN, START, 100).0.len(), 3);
}

#[test]
fn a_page_is_bounded_whatever_is_asked_for() {
    let store = Store::new(MemoryEngine::new());
    filled(&store, MAX_INBOX_PAGE as u64 + 5);
    let (pointers, _, more) = page(&store, BOB, START, usize::MAX);
    assert_eq!((pointers.len(), more), (MAX_INBOX_PAGE, true));
}

#[test]
fn another_handle_reads_the_epoch_from_its_row() {
    let (store, engine) = faulty(&[]);
    run(store.renew_inbox_epoch()).unwrap();
    assert_eq!(run(Store::new(engine.clone()).inbox_epoch()), Ok(2));
    for value in [b"\x01\x00".as_slice(), b"\x02\x01", b""] {
        set(&store, keys::INSTALLATION, value);
        let epoch = run(Store::new(engine.clone()).inbox_epoch());
        assert!(matches!(epoch, Err(ReadError::Damaged(_))), "{epoch:?}");
    }
}

#[test]
fn a_pointer_of_an_unknown_kind_is_damage() {
    let store = Store::new(MemoryEngine::new());
    filled(&store, 1);
    let (pointers, _, _) = page(&store, BOB, START, 100);
    set(&store, keys::pointer(BOB, 1, pointers[1].stamp), b"\x01\x09\x00\x00\x00");
    let read = run(store.inbox(BOB, Some(START), 10, ANY));
    assert!(matches!(read, Err(ReadError::Damaged(_))), "{read:?}");
}

#[test]
fn a_trim_whose_outcome_got_lost_is_repeated() {
    for fault in UNRESOLVED {
        let (store, engine) = faulty(&[]);
        filled(&store, 5);
        let (all, _, _) = page(&store, BOB, START, 100);
        crate::support::set_faults(&engine, &[fault]);
        run(store.trim_inbox(BOB, all[3].stamp)).unwrap();
        append(&store, &take(&store, OWNER), &[entry(6)]);
        engine.release_all();
        too_far(&store, START);
        assert_eq!(firsts(&page(&store, BOB, all[3].stamp.cursor(1), 100).0), [4, 5, 6]);
    }
}

#[test]
fn an_engine_that_answers_no_plan_leaves_it_unresolved() {
    /// Loses every submission.
    struct Deaf(MemoryEngine);
    impl Engine for Deaf {
        type View = <MemoryEngine as Engine>::View;
        fn submit(&self, _: Vec<Plan>, done: Done) {
            drop(done);
        }
        async fn view(&self, at_least: Version) -> Result<Self::View, ReadError> {
            self.0.view(at_least).await
        }
        fn reads_block(&self) -> bool {
            true
        }
    }
    let store = Store::new(Deaf(MemoryEngine::new()));
    assert_eq!(run(store.commit(Plan::default())), Outcome::Unresolved);
    assert!(store.reads_block());
}
