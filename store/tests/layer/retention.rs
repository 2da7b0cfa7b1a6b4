//! Retention: what goes, what stays, and what is said to those who come late.

use crate::support::*;
use rookery_protocol::{ConversationId, Cursor, DeviceId, Direction, UserId};
use rookery_store::check::check;
use rookery_store::memory::{Fault, MemoryEngine};
use rookery_store::retention::{Policy, Removed, Sweep, device_cursor_plan};
use rookery_store::{DeviceRow, Engine, InboxPage, Store, StoreError, append, keys};

on_every_engine!(
    expired_messages_go_and_the_floor_tells
    a_conversation_can_keep_its_messages_longer_shorter_or_for_ever
    dedupe_rows_go_after_the_horizon_of_their_commit
    pointers_below_the_slowest_device_go
    pointers_of_logs_that_ended_go
    several_nodes_may_sweep_at_once
);

const DAY: u64 = 86_400_000;
const KEEP_ALL: Policy =
    Policy { messages_ms: None, dedupe_ms: 7 * DAY, device_absent_ms: 30 * DAY };

/// A whole round at a time; what it removed.
fn sweep<E: Engine>(store: &Store<E>, policy: Policy, now_ms: u64) -> Removed {
    let mut sweep = Sweep::new(policy, now_ms);
    let mut all = Removed::default();
    while let Some(removed) = run(sweep.step(store)).unwrap() {
        assert!(removed.messages <= 1000 && removed.dedupe <= 1000 && removed.pointers <= 1000);
        all.messages += removed.messages;
        all.dedupe += removed.dedupe;
        all.pointers += removed.pointers;
    }
    all
}

fn clean<E: Engine>(store: &Store<E>) {
    let report = run(check(store, |_| {})).unwrap();
    assert!(report.is_clean(), "{:#?}", report.findings);
}

fn dedupe_key(seq: u64) -> [u8; keys::DEDUPE_BYTES] {
    keys::dedupe(CONV, ANN, id(seq))
}

fn count<E: Engine>(store: &Store<E>, tag: u8) -> usize {
    all_rows(store).iter().filter(|(key, _)| key[0] == tag).count()
}

/// The conversation with messages `1..=last`, sent at `NOW + seq`.
fn conversation<E: Engine>(store: &Store<E>, last: u64) {
    create_conversation(store);
    let fence = take(store, OWNER);
    fill(store, &fence, last);
}

fn expired_messages_go_and_the_floor_tells(store: &Store) {
    conversation(store, 1300);
    let policy = Policy { messages_ms: Some(1000), ..KEEP_ALL };
    assert_eq!(sweep(store, KEEP_ALL, NOW + 2250).messages, 0, "kept for ever");
    // From before NOW + 1250: seqs 1 to 1249.
    assert_eq!(sweep(store, policy, NOW + 2250).messages, 1249);
    let page = run(store.history(ANN, CONV, 0, Direction::Before, 100)).unwrap();
    assert_eq!((page.floor, page.head, page.more), (1250, 1300, false));
    assert_eq!(seqs(&page.entries), (1250..=1300).collect::<Vec<_>>());
    let entries = run(store.entries(CONV, 1, 1300, usize::MAX)).unwrap();
    assert_eq!(entries[0].seq, 1250, "the reader sees what was trimmed");
    let gone = all_rows(store)
        .into_iter()
        .any(|(_, value)| value.windows(12).any(|text| text == b"message 1249"));
    assert!(!gone, "the text is nowhere");
    assert_eq!(sweep(store, policy, NOW + 2250), Removed::default(), "once");
    clean(store);
    // Everything may go; the next message follows the head.
    assert_eq!(sweep(store, policy, NOW + 5 * DAY).messages, 51);
    let fence = take(store, OWNER);
    append(store, &fence, &[entry(1301)]);
    clean(store);
    let page = run(store.history(ANN, CONV, 0, Direction::Before, 100)).unwrap();
    assert_eq!((page.floor, seqs(&page.entries)), (1301, vec![1301]));
}

fn a_conversation_can_keep_its_messages_longer_shorter_or_for_ever(store: &Store) {
    conversation(store, 100);
    let policy = Policy { messages_ms: Some(50), ..KEEP_ALL };
    for (own_ms, all, removed) in
        [(Some(0), policy, 0), (Some(90), policy, 9), (Some(80), KEEP_ALL, 10), (None, policy, 30)]
    {
        run(store.set_retention(CONV, own_ms)).unwrap();
        assert_eq!(sweep(store, all, NOW + 100).messages, removed, "{own_ms:?}");
    }
    let nothing = run(store.set_retention(ConversationId(9), Some(1)));
    assert_eq!(nothing, Err(StoreError::NotAMember));
    clean(store);
}

fn dedupe_rows_go_after_the_horizon_of_their_commit(store: &Store) {
    conversation(store, 700);
    let now = NOW + 600 + KEEP_ALL.dedupe_ms;
    // All ids were made at NOW; the commits at NOW + seq decide.
    assert_eq!(sweep(store, KEEP_ALL, now).dedupe, 599);
    assert_eq!(run(store.find_sent(CONV, ANN, id(599), ANY)), Ok(None));
    assert!(run(store.find_sent(CONV, ANN, id(600), ANY)).unwrap().is_some());
    assert_eq!(count(store, b'd'), 101);
    assert_eq!(sweep(store, KEEP_ALL, now).dedupe, 0);
    assert_eq!(sweep(store, KEEP_ALL, 5).dedupe, 0, "a clock before the horizon removes nothing");
    clean(store);
}

fn create_device<E: Engine>(store: &Store<E>, user: UserId, device: u64, created_ms: u64) {
    let name = "phone".to_owned();
    let row = DeviceRow { user, device: DeviceId(device), name, created_ms, revoked: false };
    run(store.create_device(&row)).unwrap();
}

fn note<E: Engine>(store: &Store<E>, device: u64, cursor: Cursor, now_ms: u64) {
    committed(run(store.commit(device_cursor_plan(ANN, DeviceId(device), cursor, now_ms))));
}

fn cursor_now<E: Engine>(store: &Store<E>) -> Cursor {
    match run(store.inbox(ANN, None, 1, ANY)).unwrap() {
        InboxPage::Page { end, .. } => end,
        InboxPage::TooFar { now } => now,
    }
}

fn after<E: Engine>(store: &Store<E>, cursor: Cursor) -> Option<usize> {
    match run(store.inbox(ANN, Some(cursor), 1000, ANY)).unwrap() {
        InboxPage::Page { pointers, .. } => Some(pointers.len()),
        InboxPage::TooFar { .. } => None,
    }
}

fn pointers_below_the_slowest_device_go(store: &Store) {
    create_conversation(store);
    for device in [1, 2] {
        create_device(store, ANN, device, NOW);
    }
    let start = cursor_now(store);
    let fence = take(store, OWNER);
    let one_each = |seqs: std::ops::RangeInclusive<u64>| {
        for seq in seqs {
            append(store, &fence, &[entry(seq)]);
        }
    };
    one_each(1..=600);
    let slow = cursor_now(store);
    one_each(601..=650);
    let fast = cursor_now(store);
    one_each(651..=660);

    // Bob has no device: all of his go. Ann's devices told no cursor yet.
    assert_eq!(sweep(store, KEEP_ALL, NOW + DAY).pointers, 661);
    note(store, 1, slow, NOW);
    note(store, 2, fast, NOW + 20 * DAY);
    let (now, later) = (NOW + 29 * DAY, NOW + 31 * DAY);
    assert_eq!(sweep(store, KEEP_ALL, now).pointers, 601, "600 messages and the creation");
    assert_eq!(after(store, slow), Some(60), "the slowest reads on without a gap");
    assert_eq!(after(store, start), None, "who is behind it is told");
    assert_eq!(sweep(store, KEEP_ALL, now).pointers, 0);
    clean(store);
    assert_eq!(sweep(store, KEEP_ALL, later).pointers, 50, "the slow one was away for too long");
    assert_eq!(after(store, slow), None);
    assert_eq!(after(store, fast), Some(10));
    clean(store);
}

fn pointers_of_logs_that_ended_go(store: &Store) {
    conversation(store, 40);
    create_device(store, ANN, 1, NOW);
    run(store.renew_inbox_epoch()).unwrap();
    assert_eq!(count(store, b'i'), 4);
    let fence = take(store, OWNER);
    let entries = [entry(41)];
    let plan = append::plan(&append::Append { inbox_epoch: 2, ..append_of(&fence, &entries) });
    committed(run(store.commit(plan)));
    assert_eq!(sweep(store, KEEP_ALL, NOW).pointers, 4 + 1, "Bob's new one: he has no device");
    assert_eq!(count(store, b'i'), 1);
    clean(store);
}

fn several_nodes_may_sweep_at_once(store: &Store) {
    conversation(store, 1200);
    let policy = Policy { messages_ms: Some(DAY), dedupe_ms: DAY, ..KEEP_ALL };
    let now = NOW + DAY + 1000;
    let mut sweeps = [Sweep::new(policy, now), Sweep::new(policy, now + 3)];
    let mut running = 2;
    while running > 0 {
        running = 0;
        for sweep in &mut sweeps {
            running += usize::from(run(sweep.step(store)).unwrap().is_some());
        }
    }
    clean(store);
    assert_eq!((count(store, b'm'), count(store, b'd')), (198, 198), "from before NOW + 1003");
}

#[test]
fn a_step_that_failed_can_be_repeated() {
    for fault in [Fault::Busy, Fault::UnresolvedApplied, Fault::UnresolvedLost] {
        let engine = MemoryEngine::new();
        let store = Store::new(engine.clone());
        conversation(&store, 700);
        let policy = Policy { messages_ms: Some(DAY), dedupe_ms: DAY, ..KEEP_ALL };
        let mut plans = 0;
        engine.set_faults(move |_: &rookery_store::Plan| {
            plans += 1;
            if plans % 2 == 1 { fault } else { Fault::None }
        });
        let mut sweep = Sweep::new(policy, NOW + DAY + 500);
        loop {
            match run(sweep.step(&store)) {
                Ok(None) => break,
                Ok(Some(_)) | Err(StoreError::Busy) => {}
                Err(error) => panic!("{error}"),
            }
        }
        engine.clear_faults();
        clean(&store);
        assert_eq!((count(&store, b'm'), count(&store, b'd')), (201, 201), "{fault:?}");
    }
}

#[test]
fn a_damaged_row_is_passed_by_and_nothing_is_removed_on_a_guess() {
    let store = Store::new(MemoryEngine::new());
    conversation(&store, 10);
    set(&store, keys::message(CONV, 1), &[9]);
    set(&store, dedupe_key(3), &[]);
    let policy = Policy { messages_ms: Some(1), dedupe_ms: 1, ..KEEP_ALL };
    let removed = sweep(&store, policy, NOW + DAY);
    assert_eq!((removed.messages, removed.dedupe), (0, 9));
    assert_eq!((count(&store, b'm'), count(&store, b'd')), (10, 1));
}
