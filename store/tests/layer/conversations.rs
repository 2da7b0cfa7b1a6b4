//! Conversations: opening, describing, listing.

use crate::support::{
    ANN, ANY, BOB, CAT, CONV, NOW, OWNER, UNRESOLVED, append, append_of, arriving_late, clear,
    committed, create_conversation, create_users, entry, faulty, fill, on_every_engine, overtaken,
    run, set, set_faults, take,
};
use rookery_protocol::limits::{MAX_PAGE_BYTES, MAX_SERVER_FRAME_BYTES};
use rookery_protocol::types::ListCursor;
use rookery_protocol::{ConversationId, ConversationKind, Entry, UserId};
use rookery_store::memory::{Fault, MemoryEngine};
use rookery_store::{
    Append, Engine, InboxPage, MemberState, PointerKind, ReadError, Store, StoreError, TakeOver,
    append, keys, slot_of,
};

on_every_engine! {
    both_sides_open_the_same_conversation
    a_new_conversation_loads_empty
    opening_is_refused_where_it_makes_no_sense
    both_members_find_the_new_conversation_in_their_inbox
    a_description_tells_members_names_and_the_last_entry
    the_list_has_the_latest_activity_first_and_goes_on_where_it_stopped
    sharing_is_told_for_each_user_asked_about
}

fn both_sides_open_the_same_conversation(store: &Store) {
    create_users(store);
    let opened = run(store.open_direct(BOB, ANN, CONV, NOW));
    assert_eq!(opened, Ok((CONV, true)));
    for (me, other) in [(ANN, BOB), (BOB, ANN)] {
        let again = run(store.open_direct(me, other, ConversationId(0xdead), NOW + 5));
        assert_eq!(again, Ok((CONV, false)));
    }
    let same_candidate = run(store.open_direct(ANN, BOB, CONV, NOW));
    assert_eq!(same_candidate, Ok((CONV, false)));
    assert_eq!(run(store.load_conversation(ConversationId(0xdead), ANY)), Ok(None));
}

fn a_new_conversation_loads_empty(store: &Store) {
    create_conversation(store);
    let loaded = run(store.load_conversation(CONV, ANY)).unwrap().unwrap();
    let member = |user| MemberState { user, role: 1, joined_seq: 0, delivered: 0, read: 0 };
    assert_eq!(loaded.members, [member(ANN), member(BOB)]);
    assert_eq!((loaded.conversation, loaded.kind), (CONV, ConversationKind::Direct));
    assert_eq!((loaded.head, loaded.floor), (0, 1));
    assert_eq!((loaded.head_time_ms, loaded.active_written_ms), (NOW, NOW));
}

fn opening_is_refused_where_it_makes_no_sense(store: &Store) {
    create_conversation(store);
    let oneself = run(store.open_direct(ANN, ANN, ConversationId(5), NOW));
    assert!(matches!(oneself, Err(StoreError::BadArgument(_))), "{oneself:?}");
    let nobody = run(store.open_direct(ANN, UserId(99), ConversationId(5), NOW));
    assert_eq!(nobody, Err(StoreError::UnknownUser));
    let id_taken = run(store.open_direct(ANN, CAT, CONV, NOW));
    assert_eq!(id_taken, Err(StoreError::IdTaken));
    assert_eq!(run(store.describe(CAT, CONV)), Err(StoreError::NotAMember));
}

fn both_members_find_the_new_conversation_in_their_inbox(store: &Store) {
    create_users(store);
    let InboxPage::Page { end, .. } = run(store.inbox(ANN, None, 1, ANY)).unwrap() else {
        panic!("no cursor is too far")
    };
    run(store.open_direct(ANN, BOB, CONV, NOW)).unwrap();
    for user in [ANN, BOB] {
        let page = run(store.inbox(user, Some(end), 9, ANY)).unwrap();
        let InboxPage::Page { pointers, .. } = page else { panic!("{page:?}") };
        let [pointer] = pointers.as_slice() else { panic!("{pointers:?}") };
        assert_eq!((pointer.kind, pointer.conversation), (PointerKind::Created, CONV));
    }
}

fn a_description_tells_members_names_and_the_last_entry(store: &Store) {
    create_conversation(store);
    let empty = run(store.describe(ANN, CONV)).unwrap();
    assert_eq!((empty.head, empty.floor, empty.last, empty.active_ms), (0, 1, None, NOW));
    let fence = take(store, OWNER);
    fill(store, &fence, 3);
    let info = run(store.describe(BOB, CONV)).unwrap();
    let names: Vec<&str> = info.members.iter().map(|member| member.name.as_str()).collect();
    assert_eq!(names, ["ann", "bob"]);
    assert_eq!((info.head, info.active_ms, info.last), (3, NOW + 3, Some(entry(3))));
    assert_eq!(run(store.describe(CAT, CONV)), Err(StoreError::NotAMember));
    assert_eq!(run(store.describe(ANN, ConversationId(1))), Err(StoreError::NotAMember));
}

/// Ann with `count` others, the conversation with id `n` last active at `NOW + n * 7 % 5`.
fn crowd<E: Engine>(store: &Store<E>, count: u64) {
    create_users(store);
    for n in 0..count {
        let user = UserId(1000 + n);
        run(store.create_account(&crate::support::account(user, &format!("user{n}")))).unwrap();
        let opened = run(store.open_direct(ANN, user, ConversationId(n), NOW + n * 7 % 5));
        assert_eq!(opened, Ok((ConversationId(n), true)));
    }
}

/// All pages of Ann's list.
fn pages<E: Engine>(store: &Store<E>, limit: u16) -> Vec<Vec<ConversationId>> {
    let mut pages = Vec::new();
    let mut after: Option<ListCursor> = None;
    loop {
        let (page, next) = run(store.list_conversations(ANN, limit, after)).unwrap();
        pages.push(page.iter().map(|info| info.conversation).collect());
        match next {
            Some(_) if pages.len() < 100 => after = next,
            Some(_) => panic!("the list never ends"),
            None => return pages,
        }
    }
}

fn the_list_has_the_latest_activity_first_and_goes_on_where_it_stopped(store: &Store) {
    crowd(store, 12);
    let mut wanted: Vec<u64> = (0..12).collect();
    wanted.sort_by_key(|n| (std::cmp::Reverse(n * 7 % 5), *n));
    let wanted: Vec<ConversationId> = wanted.into_iter().map(ConversationId).collect();
    for (limit, sizes) in [(5, vec![5, 5, 2]), (6, vec![6, 6]), (100, vec![12]), (0, vec![1; 12])] {
        let pages = pages(store, limit);
        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), sizes, "limit {limit}");
        assert_eq!(pages.concat(), wanted, "limit {limit}");
    }
    let (page, next) = run(store.list_conversations(CAT, 10, None)).unwrap();
    assert!(page.is_empty() && next.is_none());
    // Activity moves a conversation to the front.
    let last = wanted[11];
    let TakeOver::Held(fence) = run(store.take_over(slot_of(last), OWNER)) else { panic!() };
    let entries = [Entry { time_ms: NOW + 100, ..entry(1) }];
    let append = Append { conversation: last, touch_activity: true, ..append_of(&fence, &entries) };
    committed(run(store.commit(append::plan(&append))));
    assert_eq!(pages(store, 100)[0][0], last);
}

fn sharing_is_told_for_each_user_asked_about(store: &Store) {
    create_conversation(store);
    let shared = run(store.shares_conversation(ANN, &[BOB, CAT, UserId(99), ANN]));
    assert_eq!(shared, Ok(vec![true, false, false, true]));
    assert_eq!(run(store.shares_conversation(BOB, &[ANN])), Ok(vec![true]));
    assert_eq!(run(store.shares_conversation(CAT, &[])), Ok(Vec::new()));
}

#[test]
fn two_sides_that_open_at_once_get_one_conversation() {
    let engine = MemoryEngine::new();
    create_users(&Store::new(engine.clone()));
    let store = overtaken(&engine, |other| {
        let opened = run(other.open_direct(BOB, ANN, ConversationId(0xb0), NOW));
        assert_eq!(opened, Ok((ConversationId(0xb0), true)));
    });
    let opened = run(store.open_direct(ANN, BOB, CONV, NOW));
    assert_eq!(opened, Ok((ConversationId(0xb0), false)));
    assert_eq!(run(store.load_conversation(CONV, ANY)), Ok(None), "nothing of the loser is left");
    let (list, _) = run(store.list_conversations(ANN, 10, None)).unwrap();
    assert_eq!(list.len(), 1);
}

#[test]
fn a_candidate_taken_by_another_pair_in_the_meantime_is_refused() {
    let engine = MemoryEngine::new();
    create_users(&Store::new(engine.clone()));
    let store = overtaken(&engine, |other| {
        run(other.open_direct(BOB, CAT, CONV, NOW)).unwrap();
    });
    assert_eq!(run(store.open_direct(ANN, BOB, CONV, NOW)), Err(StoreError::IdTaken));
}

#[test]
fn an_opening_whose_outcome_got_lost_is_found_out_and_happens_once() {
    for fault in UNRESOLVED {
        let (store, engine) = faulty(&[]);
        create_users(&store);
        set_faults(&engine, &[fault]);
        assert_eq!(run(store.open_direct(ANN, BOB, CONV, NOW)), Ok((CONV, true)), "{fault:?}");
        engine.release_all();
        let opened = run(store.open_direct(BOB, ANN, ConversationId(9), NOW));
        assert_eq!(opened, Ok((CONV, false)), "{fault:?}");
        let all = rookery_protocol::Cursor { epoch: 1, stamp: [0; 12] };
        let page = run(store.inbox(BOB, Some(all), 10, ANY)).unwrap();
        let InboxPage::Page { pointers, .. } = page else { panic!("{page:?}") };
        assert_eq!(pointers.len(), 1, "{fault:?}: told once");
    }
}

#[test]
fn an_opening_that_collides_with_its_own_attempt_in_doubt_has_created() {
    let engine = MemoryEngine::new();
    create_users(&Store::new(engine.clone()));
    let store = arriving_late(&engine);
    assert_eq!(run(store.open_direct(ANN, BOB, CONV, NOW)), Ok((CONV, true)));
    assert_eq!(engine.held(), 0);
}

#[test]
fn an_opening_in_doubt_that_lost_to_the_other_side_gives_their_answer() {
    let engine = MemoryEngine::new();
    create_users(&Store::new(engine.clone()));
    set_faults(&engine, &[Fault::None, Fault::UnresolvedLate]);
    let store = overtaken(&engine, |other| {
        run(other.open_direct(BOB, ANN, ConversationId(0xb0), NOW)).unwrap();
    });
    let opened = run(store.open_direct(ANN, BOB, CONV, NOW));
    assert_eq!(opened, Ok((ConversationId(0xb0), false)));
    engine.release_all();
    assert_eq!(run(store.load_conversation(CONV, ANY)), Ok(None), "the late attempt is refused");
}

#[test]
fn an_opening_that_stays_in_doubt_is_told_as_unknown() {
    let (store, engine) = faulty(&[]);
    create_users(&store);
    set_faults(&engine, &[Fault::UnresolvedLost; 100]);
    let opened = run(store.open_direct(ANN, BOB, CONV, NOW));
    assert_eq!(opened, Err(StoreError::Unresolved));
}

#[test]
fn a_list_page_ends_before_it_outgrows_a_frame() {
    let store = Store::new(MemoryEngine::new());
    crowd(&store, 40);
    for n in 0..40 {
        let conversation = ConversationId(n);
        let TakeOver::Held(fence) = run(store.take_over(slot_of(conversation), OWNER)) else {
            panic!("not held")
        };
        let entries = [Entry { body: vec![b'x'; 16 * 1024], ..entry(1) }];
        let append = Append { conversation, ..append_of(&fence, &entries) };
        committed(run(store.commit(append::plan(&append))));
    }
    let (page, next) = run(store.list_conversations(ANN, 100, None)).unwrap();
    let bytes: usize = page.iter().filter_map(|info| Some(info.last.as_ref()?.body.len())).sum();
    assert!(bytes <= MAX_PAGE_BYTES && MAX_PAGE_BYTES < MAX_SERVER_FRAME_BYTES, "{bytes}");
    // Sixteen bodies alone would fill it.
    assert!(next.is_some() && page.len() == 15, "{} conversations", page.len());
    let mut all = pages(&store, 100).concat();
    all.sort_unstable();
    assert_eq!(all, (0..40).map(ConversationId).collect::<Vec<_>>());
}

#[test]
fn a_list_longer_than_what_is_read_at_once_is_whole() {
    let store = Store::new(MemoryEngine::new());
    crowd(&store, 2100);
    assert_eq!(pages(&store, 100).concat().len(), 2100);
}

#[test]
fn missing_and_damaged_rows_of_a_conversation_are_told() {
    let damaged = |result: Result<_, StoreError>| {
        assert!(matches!(result, Err(StoreError::Read(ReadError::Damaged(_)))), "{result:?}");
    };
    let fresh = || {
        let store = Store::new(MemoryEngine::new());
        create_conversation(&store);
        let fence = take(&store, OWNER);
        append(&store, &fence, &[entry(1)]);
        store
    };
    for key in [keys::head(CONV), keys::conversation(CONV)] {
        let store = fresh();
        clear(&store, key);
        damaged(run(store.describe(ANN, CONV)).map(|_| ()));
        damaged(run(store.list_conversations(ANN, 5, None)).map(|_| ()));
    }
    let store = fresh();
    clear(&store, keys::head(CONV));
    assert!(run(store.load_conversation(CONV, ANY)).is_err(), "a lost head is no new conversation");
    let store = fresh();
    clear(&store, keys::message(CONV, 1));
    damaged(run(store.describe(ANN, CONV)).map(|_| ()));
    let store = fresh();
    set(&store, keys::direct(ANN, BOB), b"\x01");
    damaged(run(store.open_direct(ANN, BOB, ConversationId(4), NOW)).map(|_| ()));
    // A stranger learns nothing from damage.
    clear(&store, keys::head(CONV));
    assert_eq!(run(store.describe(CAT, CONV)), Err(StoreError::NotAMember));
}

#[test]
fn more_members_than_the_fan_out_limit_are_damage() {
    let store = Store::new(MemoryEngine::new());
    create_conversation(&store);
    for n in 0..98 {
        set(&store, keys::member(CONV, UserId(500 + n)), b"\x01\x01\x00");
    }
    let loaded = run(store.load_conversation(CONV, ANY)).unwrap().unwrap();
    assert_eq!(loaded.members.len(), 100);
    set(&store, keys::member(CONV, UserId(600)), b"\x01\x01\x00");
    assert!(matches!(run(store.load_conversation(CONV, ANY)), Err(ReadError::Damaged(_))));
}
