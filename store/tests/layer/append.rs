//! Appends, dedupe and marks.

use crate::support::{
    ANN, ANY, BOB, CAT, CONV, NOW, OTHER_OWNER, OWNER, append, append_of, committed,
    create_conversation, entry, fill, id, on_every_engine, run, seqs, set, take,
};
use bytes::Bytes;
use proptest::prelude::*;
use rookery_protocol::{Cursor, Entry, EntryKind, MarkKind, UserId};
use rookery_store::memory::MemoryEngine;
use rookery_store::plan::MAX_PLAN_BYTES;
use rookery_store::{
    Append, Fence, InboxPage, Known, MarkUpdate, Op, Outcome, PointerKind, ReadError, Slot, Store,
    Version, append, keys, marks,
};

on_every_engine! {
    an_append_shows_in_log_head_inboxes_and_list
    a_retry_finds_the_first_answer
    marks_only_move_forward
    a_replaced_owner_moves_no_marks
}

fn an_append_shows_in_log_head_inboxes_and_list(store: &Store) {
    create_conversation(store);
    let fence = take(store, OWNER);
    let before = now(store, BOB);
    let entries = [entry(1), entry(2), entry(3)];
    let touch = Append { touch_activity: true, ..append_of(&fence, &entries) };
    let version = committed(run(store.commit(append::plan(&touch))));

    assert_eq!(run(store.entries(CONV, 1, 3, usize::MAX)), Ok(entries.to_vec()));
    let loaded = run(store.load_conversation(CONV, version)).unwrap().unwrap();
    assert_eq!((loaded.head, loaded.head_time_ms), (3, NOW + 3));
    assert_eq!(loaded.active_written_ms, NOW + 3);
    for user in [ANN, BOB] {
        let page = run(store.inbox(user, Some(before), 10, version)).unwrap();
        let InboxPage::Page { pointers, more: false, .. } = page else { panic!("{page:?}") };
        let [pointer] = pointers.as_slice() else { panic!("{pointers:?}") };
        assert_eq!(pointer.kind, PointerKind::Messages);
        assert_eq!((pointer.conversation, pointer.first, pointer.last), (CONV, 1, 3));
        assert_eq!(pointer.stamp.version(), version);
    }
    append(store, &fence, &[entry(4)]);
    let loaded = run(store.load_conversation(CONV, ANY)).unwrap().unwrap();
    assert_eq!((loaded.head, loaded.active_written_ms), (4, NOW + 3), "not touched this time");
}

fn now(store: &Store, user: UserId) -> Cursor {
    match run(store.inbox(user, None, 1, ANY)).unwrap() {
        InboxPage::Page { end, .. } => end,
        other @ InboxPage::TooFar { .. } => panic!("{other:?}"),
    }
}

fn a_retry_finds_the_first_answer(store: &Store) {
    create_conversation(store);
    let fence = take(store, OWNER);
    fill(store, &fence, 3);
    let hash = append::content_hash(EntryKind::Text, b"message 2");
    let known = run(store.find_sent(CONV, ANN, id(2), ANY));
    assert_eq!(known, Ok(Some(Known { seq: 2, hash, time_ms: NOW + 2 })));
    assert_eq!(run(store.find_sent(CONV, ANN, id(4), ANY)), Ok(None));
    assert_eq!(run(store.find_sent(CONV, BOB, id(2), ANY)), Ok(None), "ids are each sender's own");
    assert_ne!(hash, append::content_hash(EntryKind::Opaque, b"message 2"));
    assert_ne!(hash, append::content_hash(EntryKind::Text, b"message 3"));
}

fn marks_only_move_forward(store: &Store) {
    create_conversation(store);
    let fence = take(store, OWNER);
    fill(store, &fence, 9);
    let mark = |user, kind, seq| MarkUpdate { user, kind, seq };
    let rounds = [
        vec![mark(BOB, MarkKind::Delivered, 300), mark(BOB, MarkKind::Read, 4)],
        vec![mark(BOB, MarkKind::Delivered, 5), mark(BOB, MarkKind::Read, 256)],
        vec![mark(ANN, MarkKind::Read, 1), mark(ANN, MarkKind::Other(9), 8)],
    ];
    for updates in rounds {
        committed(run(store.commit(marks::plan(&fence, CONV, &updates))));
    }
    let loaded = run(store.load_conversation(CONV, ANY)).unwrap().unwrap();
    let seen: Vec<_> = loaded.members.iter().map(|m| (m.user, m.delivered, m.read)).collect();
    assert_eq!(seen, [(ANN, 0, 1), (BOB, 300, 256)]);
}

fn a_replaced_owner_moves_no_marks(store: &Store) {
    create_conversation(store);
    let old = take(store, OWNER);
    take(store, OTHER_OWNER);
    let update = MarkUpdate { user: BOB, kind: MarkKind::Read, seq: 1 };
    assert_eq!(run(store.commit(marks::plan(&old, CONV, &[update]))), Outcome::Conflict);
}

#[test]
fn a_damaged_dedupe_row_is_told_and_never_taken_for_a_first_send() {
    let store = Store::new(MemoryEngine::new());
    set(&store, keys::dedupe(CONV, ANN, id(1)), b"\x01");
    let known = run(store.find_sent(CONV, ANN, id(1), ANY));
    assert!(matches!(known, Err(ReadError::Damaged(_))), "{known:?}");
}

#[test]
fn an_owner_replaced_in_the_middle_loses_its_next_append_whole() {
    let store = Store::new(MemoryEngine::new());
    create_conversation(&store);
    let old = take(&store, OWNER);
    append(&store, &old, &[entry(1), entry(2)]);
    let new = take(&store, OTHER_OWNER);
    let theirs = Entry { client_msg_id: id(103), ..entry(3) };
    append(&store, &new, std::slice::from_ref(&theirs));
    let entries = [entry(3), entry(4)];
    let outcome = run(store.commit(append::plan(&append_of(&old, &entries))));
    assert_eq!(outcome, Outcome::Conflict);
    let log = run(store.entries(CONV, 1, 9, usize::MAX)).unwrap();
    assert_eq!(seqs(&log), [1, 2, 3]);
    assert_eq!(log[2], theirs);
    assert_eq!(run(store.find_sent(CONV, ANN, id(3), ANY)), Ok(None));
}

#[test]
fn all_members_share_one_pointer_and_all_pieces_one_buffer() {
    let fence = Fence { slot: Slot(1), value: Bytes::from_static(b"x"), version: Version(1) };
    let entries = [entry(1)];
    let members: Vec<UserId> = (0..100).map(UserId).collect();
    let append = Append { members: &members, touch_activity: true, ..append_of(&fence, &entries) };
    let plan = append::plan(&append);
    assert_eq!(plan.ops.len(), 3 + 200);
    let pointers: Vec<*const u8> = plan
        .ops
        .iter()
        .filter_map(|op| match op {
            Op::SetStampedKey { value, .. } => Some(value.as_ptr()),
            _ => None,
        })
        .collect();
    assert_eq!(pointers.len(), 100);
    assert!(pointers.iter().all(|pointer| *pointer == pointers[0]));
    let starts: Vec<usize> = plan
        .ops
        .iter()
        .flat_map(|op| match op {
            Op::Set { key, value } => [key, value].map(|bytes| bytes.as_ptr() as usize),
            Op::SetStampedKey { prefix, value } => [prefix, value].map(|b| b.as_ptr() as usize),
            other => panic!("{other:?}"),
        })
        .collect();
    let (first, last) = (starts.iter().min().unwrap(), starts.iter().max().unwrap());
    assert!(last - first <= append.bytes_bound(), "the buffer was not grown");
}

#[test]
fn an_append_of_nothing_only_guards_on_the_fence() {
    let fence = Fence { slot: Slot(1), value: Bytes::from_static(b"x"), version: Version(1) };
    let plan = append::plan(&append_of(&fence, &[]));
    assert_eq!((plan.guards, plan.ops), (vec![fence.guard()], Vec::new()));
}

#[test]
fn a_batch_for_a_full_group_fits_a_plan() {
    let fence = Fence { slot: Slot(1), value: Bytes::from_static(b"x"), version: Version(1) };
    let members: Vec<UserId> = (0..100).map(|n| UserId(u64::MAX - n)).collect();
    let entries: Vec<Entry> =
        (1..=32).map(|seq| Entry { body: vec![7; 16 * 1024], ..entry(seq) }).collect();
    let append = Append { members: &members, touch_activity: true, ..append_of(&fence, &entries) };
    assert!(append.bytes_bound() < MAX_PLAN_BYTES, "{}", append.bytes_bound());
    let one_more = entries.iter().chain(entries.iter().take(30)).cloned().collect::<Vec<_>>();
    let parts: usize = one_more.iter().map(append::entry_bytes_bound).sum();
    assert!(parts > MAX_PLAN_BYTES, "the bound tells what does not fit");
}

proptest! {
    #[test]
    fn no_plan_is_over_its_bound(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..8),
        numbers: [u64; 4], members in 0_usize..50, touch_activity: bool, epoch: u32,
    ) {
        let [conversation, sender, device, time_ms] = numbers;
        let first_seq = conversation / 2 + 1;
        let entries: Vec<Entry> = (first_seq..).zip(bodies).map(|(seq, body)| Entry {
            seq,
            sender: UserId(sender),
            device: rookery_protocol::DeviceId(device),
            time_ms,
            client_msg_id: id(seq),
            kind: EntryKind::Opaque,
            body,
        }).collect();
        let fence = Fence { slot: Slot(1), value: Bytes::from_static(b"x"), version: Version(1) };
        let members = vec![CAT; members];
        let append = Append {
            conversation: rookery_protocol::ConversationId(conversation),
            fence: &fence,
            first_seq,
            entries: &entries,
            members: &members,
            touch_activity,
            inbox_epoch: epoch,
            withheld: false,
            words: false,
            group: None,
        };
        let plan = append::plan(&append);
        prop_assert!(plan.bytes() <= append.bytes_bound());
        prop_assert_eq!(plan.ops.len(), plan.ops.capacity());
    }
}
