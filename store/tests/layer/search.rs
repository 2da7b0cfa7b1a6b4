//! Search: what is found, in which order and pages, and that the index keeps in step with the log.

use crate::support::*;
use rookery_protocol::{ConversationId, DeviceId, EntryKind, GroupAction, GroupChange, UserId};
use rookery_store::check::check;
use rookery_store::group::{Ended, GroupFacts, GroupWrites, Seat, absent};
use rookery_store::memory::MemoryEngine;
use rookery_store::retention::{Policy, Sweep};
use rookery_store::words::Query;
use rookery_store::{
    Append, Engine, Fence, Found, IndexStep, SearchPlace, ShutOut, Store, StoreError, TakeOver,
    append, backup, keys, slot_of,
};

on_every_engine!(
    messages_are_found_by_their_words_newest_first
    words_of_conversations_are_apart_and_strangers_find_nothing
    a_search_of_all_goes_through_ones_own_conversations
    what_a_block_withholds_is_found_by_its_sender_alone
    what_is_trimmed_or_erased_is_not_found_and_leaves_no_words
    what_was_there_before_is_indexed_in_steps_that_go_on
    without_the_index_nothing_is_written_and_turned_off_it_goes
);

pub type Entry = rookery_protocol::Entry;

pub fn text(seq: u64, text: &str) -> Entry {
    Entry { body: text.into(), ..entry(seq) }
}

fn query(text: &str) -> Query {
    Query::parse(text).unwrap()
}

/// Commits entries of [`CONV`] with their words.
pub fn say<E: Engine>(store: &Store<E>, fence: &Fence, entries: &[Entry]) {
    let words = store.indexes_words();
    for batch in entries.chunks(100) {
        committed(run(store.commit(append::plan(&Append { words, ..append_of(fence, batch) }))));
    }
}

/// [`CONV`] with these texts, on a store that indexes words.
pub fn conversation<E: Engine>(store: &Store<E>, texts: &[&str]) -> Fence {
    run(store.index_words("node", true)).unwrap();
    create_conversation(store);
    let fence = take(store, OWNER);
    let entries: Vec<Entry> = (1..).zip(texts).map(|(seq, body)| text(seq, body)).collect();
    say(store, &fence, &entries);
    fence
}

pub fn page<E: Engine>(
    store: &Store<E>,
    me: UserId,
    text: &str,
    before: u64,
    limit: usize,
) -> Found {
    run(store.search_conversation(me, CONV, &query(text), (before, limit))).unwrap()
}

/// The seqs of all pages, which are small.
fn found<E: Engine>(store: &Store<E>, me: UserId, text: &str) -> Vec<u64> {
    found_by(store, me, text, 3)
}

fn found_by<E: Engine>(store: &Store<E>, me: UserId, text: &str, limit: usize) -> Vec<u64> {
    let mut seqs = Vec::new();
    let mut before = 0;
    loop {
        let Found { hits, next, .. } = page(store, me, text, before, limit);
        assert!(hits.len() <= limit);
        seqs.extend(hits.iter().map(|hit| hit.entry.seq));
        let Some(SearchPlace { conversation, before: next }) = next else { return seqs };
        assert_eq!(conversation, CONV);
        assert!(before == 0 || next < before, "a page that goes nowhere");
        before = next;
    }
}

fn clean<E: Engine>(store: &Store<E>) {
    let report = run(check(store, |_| {})).unwrap();
    assert!(report.is_clean(), "{:#?}", report.findings);
}

fn word_rows<E: Engine>(store: &Store<E>) -> usize {
    all_rows(store).iter().filter(|(key, _)| key[0] == b'W').count()
}

/// Steps until there is nothing to do; how many.
pub fn index<E: Engine>(store: &Store<E>) -> usize {
    for steps in 0.. {
        match run(store.index_step()).unwrap() {
            IndexStep::More => {}
            IndexStep::Done => return steps,
            IndexStep::Overtaken => panic!("by whom?"),
        }
    }
    0
}

fn messages_are_found_by_their_words_newest_first(store: &Store) {
    let fence = conversation(
        store,
        &["Lunch at noon?", "lunch? Yes!", "no", "NOON it is", "launch at noon", "lunches at noon"],
    );
    assert_eq!(found(store, ANN, "lunch"), [6, 2, 1]);
    assert_eq!(found(store, BOB, "LUNCH "), [2, 1], "the whole word");
    assert_eq!(found(store, BOB, "noon"), [6, 5, 4, 1]);
    assert_eq!(found(store, BOB, "noon at l"), [6, 5, 1]);
    assert_eq!(found(store, BOB, "noon lunch "), [1]);
    assert_eq!(found(store, BOB, "no"), [6, 5, 4, 3, 1]);
    assert_eq!(found(store, BOB, "no "), [3]);
    assert_eq!(found(store, BOB, "dinner"), Vec::<u64>::new());
    assert_eq!(found(store, BOB, "noon dinner "), Vec::<u64>::new());
    // Bodies that only clients read, and what is no text.
    let opaque = Entry { kind: EntryKind::Opaque, ..text(7, "lunch") };
    let garbled = Entry { body: b"lunch \xff".to_vec(), ..entry(8) };
    say(store, &fence, &[opaque, garbled, text(9, "lunch")]);
    assert_eq!(found(store, ANN, "lunch"), [9, 6, 2, 1]);
    let page = page(store, ANN, "lunch", 9, 2);
    let seqs: Vec<u64> = page.hits.iter().map(|hit| hit.entry.seq).collect();
    assert_eq!(seqs, [6, 2]);
    assert_eq!(page.next, Some(SearchPlace { conversation: CONV, before: 2 }));
    assert_eq!(page.hits[1].entry.body, b"lunch? Yes!");
    index(store);
    clean(store);
}

/// A group of ANN (owner) with these members from the start.
fn group<E: Engine>(store: &Store<E>, id: ConversationId, members: &[UserId]) -> Fence {
    let TakeOver::Held(fence) = run(store.take_over(slot_of(id), OWNER)) else { panic!("held") };
    let users = members.iter().zip([3, 1, 1]);
    let writes = GroupWrites {
        facts: Some(GroupFacts { title: "g".into(), ..GroupFacts::default() }),
        joined: users.map(|(user, role)| Seat { user: *user, role, joined_seq: 0 }).collect(),
        guards: vec![absent(id, fence.version)],
        ..GroupWrites::default()
    };
    change(store, &fence, (id, 1), members, GroupAction::Create, &writes);
    fence
}

fn change<E: Engine>(
    store: &Store<E>,
    fence: &Fence,
    (id, seq): (ConversationId, u64),
    members: &[UserId],
    action: GroupAction,
    writes: &GroupWrites,
) {
    let body = GroupChange::new(action).to_body();
    let entries = [Entry { kind: EntryKind::Group, body, ..entry(seq) }];
    let append = Append {
        conversation: id,
        members,
        touch_activity: true,
        group: Some(writes),
        words: true,
        ..append_of(fence, &entries)
    };
    committed(run(store.commit(append::plan(&append))));
}

fn say_in<E: Engine>(store: &Store<E>, fence: &Fence, id: ConversationId, entry: Entry) {
    let entries = [entry];
    let append = Append { conversation: id, words: true, ..append_of(fence, &entries) };
    committed(run(store.commit(append::plan(&append))));
}

fn words_of_conversations_are_apart_and_strangers_find_nothing(store: &Store) {
    conversation(store, &["lunch"]);
    assert_eq!(
        run(store.search_conversation(CAT, CONV, &query("lunch"), (0, 10))),
        Err(StoreError::NotAMember)
    );
    let nowhere = run(store.search_conversation(ANN, ConversationId(9), &query("a"), (0, 10)));
    assert_eq!(nowhere, Err(StoreError::NotAMember));
    // Who joins sees what comes then, and who leaves sees nothing any more, as with `history`.
    let id = ConversationId(0xc1);
    let fence = group(store, id, &[ANN, BOB]);
    say_in(store, &fence, id, text(2, "lunch before"));
    let joined = vec![Seat { user: CAT, role: 1, joined_seq: 2 }];
    let writes = GroupWrites { joined, ..GroupWrites::default() };
    change(store, &fence, (id, 3), &[ANN, BOB, CAT], GroupAction::Add, &writes);
    say_in(store, &fence, id, text(4, "lunch after"));
    let seqs = |me: UserId| {
        let found = run(store.search_conversation(me, id, &query("lunch"), (0, 10)))?;
        Ok(found.hits.iter().map(|hit| hit.entry.seq).collect::<Vec<_>>())
    };
    assert_eq!((seqs(ANN), seqs(CAT)), (Ok(vec![4, 2]), Ok(vec![4])));
    let ended = vec![Ended { user: BOB, joined_seq: 0, removed: false }];
    let writes = GroupWrites { ended, ..GroupWrites::default() };
    change(store, &fence, (id, 5), &[ANN, CAT], GroupAction::Leave, &writes);
    assert_eq!(seqs(BOB), Err(StoreError::NotAMember));
    index(store);
    clean(store);
}

fn a_search_of_all_goes_through_ones_own_conversations(store: &Store) {
    conversation(store, &["red one", "blue two", "red three"]);
    let ids = [0xc1, 0xc2, 0xc3].map(ConversationId);
    for id in ids {
        let with = if id.0 == 0xc2 { [ANN, CAT] } else { [ANN, BOB] };
        let fence = group(store, id, &with);
        say_in(store, &fence, id, text(2, "red in a group"));
        say_in(store, &fence, id, text(3, "blue in a group"));
    }
    let all = |me: UserId, limit: usize| {
        let (mut seen, mut from, mut pages) = (Vec::new(), None, 0);
        loop {
            let found = run(store.search_all(me, &query("red"), from, limit)).unwrap();
            assert!(found.hits.len() <= limit);
            seen.extend(found.hits.iter().map(|hit| (hit.conversation.0, hit.entry.seq)));
            pages += 1;
            let Some(next) = found.next else { return (seen, pages) };
            from = Some(next);
        }
    };
    let ann = vec![(0xc0, 3), (0xc0, 1), (0xc1, 2), (0xc2, 2), (0xc3, 2)];
    assert_eq!(all(ANN, 50), (ann.clone(), 1));
    for limit in 1..5 {
        assert_eq!(all(ANN, limit).0, ann, "{limit}");
    }
    assert_eq!(all(CAT, 50), (vec![(0xc2, 2)], 1));
    assert_eq!(all(BOB, 1).0, [(0xc0, 3), (0xc0, 1), (0xc1, 2), (0xc3, 2)]);
    assert_eq!(all(UserId(99), 50), (vec![], 1));
}

fn what_a_block_withholds_is_found_by_its_sender_alone(store: &Store) {
    let fence = conversation(store, &["secret before"]);
    let entries = [text(2, "secret that nobody gets")];
    let withheld =
        Append { members: &[ANN], withheld: true, words: true, ..append_of(&fence, &entries) };
    committed(run(store.commit(append::plan(&withheld))));
    assert_eq!(found(store, ANN, "secret"), [2, 1]);
    assert_eq!(found(store, BOB, "secret"), [1]);
    index(store);
    clean(store);
}

const DAY: u64 = 86_400_000;
const POLICY: Policy =
    Policy { messages_ms: Some(1_000), dedupe_ms: 7 * DAY, device_absent_ms: 30 * DAY };

fn sweep<E: Engine>(store: &Store<E>, now_ms: u64) {
    let mut sweep = Sweep::new(POLICY, now_ms);
    while run(sweep.step(store)).unwrap().is_some() {}
}

/// So many messages, each with 64 words of 32 bytes.
fn wordy(first: u64, last: u64) -> Vec<Entry> {
    let body = |seq| (0..64).map(|n| format!("{seq:016}w{n:015} ")).collect::<String>();
    (first..=last).map(|seq| text(seq, &body(seq))).collect()
}

fn what_is_trimmed_or_erased_is_not_found_and_leaves_no_words(store: &Store) {
    let fence = conversation(store, &["apple old", "apple older"]);
    // More words than go with one plan.
    say(store, &fence, &wordy(3, 120));
    let bob = Entry { sender: BOB, ..text(121, "apple of Bob") };
    say(store, &fence, &[bob, text(122, "apple of Ann")]);
    index(store);
    clean(store);
    assert_eq!(found(store, ANN, "apple"), [122, 121, 2, 1]);
    // From before NOW + 110.
    sweep(store, NOW + 1_110);
    assert_eq!(found(store, ANN, "apple"), [122, 121]);
    assert_eq!(word_rows(store), 11 * 64 + 6);
    clean(store);
    run(store.shut_out(ANN, ShutOut { since_ms: NOW, deleting: true })).unwrap();
    run(store.erase_account(ANN, NOW)).unwrap();
    assert_eq!(found(store, BOB, "apple"), [121]);
    assert_eq!(word_rows(store), 3, "of Bob's message");
    clean(store);
    sweep(store, NOW + DAY);
    assert_eq!(word_rows(store), 0);
    clean(store);
}

fn what_was_there_before_is_indexed_in_steps_that_go_on(store: &Store) {
    create_conversation(store);
    let fence = take(store, OWNER);
    for batch in wordy(1, 110).chunks(20) {
        append(store, &fence, batch);
    }
    say(store, &fence, &[text(111, "old words")]);
    assert_eq!(word_rows(store), 0);
    run(store.index_words("a", true)).unwrap();
    assert_eq!(run(store.index_step()), Ok(IndexStep::More));
    let part = word_rows(store);
    assert!((1..110 * 64).contains(&part), "{part}");
    clean(store);
    assert!(!page(store, ANN, "old", 0, 9).whole);
    say(store, &fence, &[text(112, "new words")]);
    assert_eq!(found(store, ANN, "words"), [112]);
    assert!(index(store) > 0);
    assert_eq!(found(store, ANN, "words"), [112, 111]);
    assert!(page(store, ANN, "old", 0, 9).whole);
    assert_eq!(word_rows(store), 110 * 64 + 4);
    clean(store);
    // The same node again has nothing to do, another one makes sure of what it may have left out.
    run(store.index_words("a", true)).unwrap();
    assert_eq!(index(store), 0);
    append(store, &fence, &[text(113, "words of a node that was off")]);
    run(store.index_words("b", true)).unwrap();
    assert!(index(store) > 0);
    assert_eq!(found(store, ANN, "words"), [113, 112, 111]);
    clean(store);
}

fn without_the_index_nothing_is_written_and_turned_off_it_goes(store: &Store) {
    let rows =
        |tags: &[u8]| all_rows(store).iter().filter(|(key, _)| tags.contains(&key[0])).count();
    run(store.index_words("a", false)).unwrap();
    create_conversation(store);
    let fence = take(store, OWNER);
    say(store, &fence, &[text(1, "nothing of this")]);
    assert_eq!((index(store), rows(b"WF")), (0, 0));
    run(store.index_words("a", true)).unwrap();
    say(store, &fence, &wordy(2, 40));
    index(store);
    assert_eq!(rows(b"W"), 3 + 39 * 64);
    run(store.index_words("a", false)).unwrap();
    say(store, &fence, &[text(41, "nothing of this")]);
    // What is not gone yet still goes with its message.
    sweep(store, NOW + 1_003);
    clean(store);
    assert!(index(store) > 1, "in bounded steps");
    assert_eq!((rows(b"W"), index(store)), (0, 0));
    clean(store);
}

#[test]
fn a_backup_brings_the_words_back() {
    let store = Store::new(MemoryEngine::new());
    conversation(&store, &["lunch at noon"]);
    index(&store);
    let mut file = Vec::new();
    run(backup::write(&store, &mut file, NOW, |_| {})).unwrap();
    let target = Store::new(MemoryEngine::new());
    let options = backup::RestoreOptions { force: false, keep_log_ins: false };
    run(backup::restore(&target, || Ok(file.as_slice()), options, |_| {})).unwrap();
    assert_eq!(found(&target, ANN, "lunch"), [1]);
    assert!(page(&target, ANN, "lunch", 0, 9).whole);
    clean(&target);
}

#[test]
fn a_message_erased_while_steps_index_it_leaves_no_words() {
    let engine = MemoryEngine::new();
    let plain = Store::new(engine.clone());
    create_conversation(&plain);
    let fence = take(&plain, OWNER);
    append(&plain, &fence, &[text(1, "gone soon")]);
    run(plain.index_words("a", true)).unwrap();
    run(plain.shut_out(ANN, ShutOut { since_ms: NOW, deleting: true })).unwrap();
    let store = overtaken(&engine, |other| {
        run(other.erase_account(ANN, NOW)).unwrap();
    });
    assert_eq!(run(store.index_step()), Ok(IndexStep::Overtaken));
    index(&store);
    assert_eq!(word_rows(&plain), 0);
    clean(&plain);
    // The same with what retention removes.
    append(&plain, &fence, &[text(2, "gone too")]);
    run(plain.index_words("b", true)).unwrap();
    let store = overtaken(&engine, |other| sweep(other, NOW + DAY));
    assert_eq!(run(store.index_step()), Ok(IndexStep::Overtaken));
    index(&store);
    assert_eq!(word_rows(&plain), 0);
    clean(&plain);
}

#[test]
fn an_index_that_begins_while_messages_are_trimmed_leaves_no_words() {
    let engine = MemoryEngine::new();
    let plain = Store::new(engine.clone());
    create_conversation(&plain);
    let fence = take(&plain, OWNER);
    append(&plain, &fence, &[text(1, "gone soon")]);
    let store = overtaken(&engine, |other| {
        run(other.index_words("a", true)).unwrap();
        index(other);
    });
    let mut first = Sweep::new(POLICY, NOW + DAY);
    assert_eq!(run(first.step(&store)), Err(StoreError::Busy));
    sweep(&plain, NOW + DAY);
    assert_eq!(word_rows(&plain), 0);
    clean(&plain);
}

/// What is broken, and a part of what the check says of it.
type Broken = (&'static str, fn(&Store<MemoryEngine>), &'static str);

#[test]
fn the_check_tells_words_without_message_and_messages_without_words() {
    let broken: [Broken; 5] = [
        ("a word gone", |s| clear(s, keys::word(CONV, "noon", 1)), "1 of its 2 words"),
        ("another word", |s| set(s, keys::word(CONV, "moon", 1), b""), "does not have the word"),
        ("no message", |s| set(s, keys::word(CONV, "noon", 9), b""), "is missing: seq 9"),
        ("a value", |s| set(s, keys::word(CONV, "noon", 1), b"x"), "is not empty"),
        ("no state", |s| clear(s, keys::WORD_INDEX), "no row says so"),
    ];
    for (what, damage, said) in broken {
        let store = Store::new(MemoryEngine::new());
        conversation(&store, &["lunch noon"]);
        index(&store);
        clean(&store);
        damage(&store);
        let report = run(check(&store, |_| {})).unwrap();
        let told = report.findings.iter().any(|finding| finding.what.contains(said));
        assert!(told, "{what}: {:#?}", report.findings);
    }
}

#[test]
fn a_device_of_a_reader_sees_hits_as_history_shows_them() {
    let store = Store::new(MemoryEngine::new());
    conversation(&store, &["lunch"]);
    let hit = &page(&store, BOB, "lunch", 0, 1).hits[0];
    let direction = rookery_protocol::Direction::Before;
    let history = run(store.history(BOB, CONV, 0, direction, 10)).unwrap();
    assert_eq!(hit.entry, history.entries[0]);
    assert_eq!(hit.entry.device, DeviceId(7));
}
