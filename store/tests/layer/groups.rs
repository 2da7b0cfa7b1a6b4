//! Groups in the store: members come and go with their rows, see what is theirs, and the end of an
//! account hands the group on.

use crate::support::*;
use bytes::Bytes;
use rookery_protocol::{
    ConversationId, Direction, Entry, EntryKind, GroupAction, GroupChange, MarkKind, UserId,
};
use rookery_store::check::check;
use rookery_store::group::{ChangeFacts, Ended, GroupFacts, GroupWrites, Seat};
use rookery_store::memory::MemoryEngine;
use rookery_store::{
    Append, Engine, Fence, InboxPage, MarkUpdate, Op, Plan, PointerKind, ShutOut, Store,
    StoreError, TakeOver, append, keys, marks, slot_of,
};

on_every_engine! {
    members_come_and_go_with_all_their_rows
    a_member_sees_what_came_after_joining_or_all_if_the_group_says_so
    the_end_of_an_owners_account_hands_the_group_on
    what_a_former_member_wrote_ends_with_the_account
    a_change_learns_who_is_there_and_who_was_removed
    the_marks_of_a_crowd_are_those_of_its_members
}

const GROUP: ConversationId = ConversationId(0x9a);

fn facts() -> GroupFacts {
    GroupFacts { title: "Lunch".into(), created_ms: NOW, ..GroupFacts::default() }
}

fn seat(user: UserId, role: u8, joined_seq: u64) -> Seat {
    Seat { user, role, joined_seq }
}

fn fence<E: Engine>(store: &Store<E>) -> Fence {
    match run(store.take_over(slot_of(GROUP), OWNER)) {
        TakeOver::Held(fence) => fence,
        other => panic!("{other:?}"),
    }
}

/// Appends an entry of `sender` that `members` are told of, with what it changes.
fn put<E: Engine>(
    store: &Store<E>,
    (sender, seq): (UserId, u64),
    members: &[UserId],
    writes: Option<GroupWrites>,
) {
    let kind = if writes.is_some() { EntryKind::Group } else { EntryKind::Text };
    let entries = [Entry { sender, kind, client_msg_id: id(1000 + seq), ..entry(seq) }];
    let fence = fence(store);
    let append = Append {
        conversation: GROUP,
        members,
        touch_activity: true,
        group: writes.as_ref(),
        ..append_of(&fence, &entries)
    };
    let plan = append::plan(&append);
    let bytes: usize = plan.ops.iter().map(bytes_of).sum();
    assert!(bytes <= append.bytes_bound(), "{bytes} of {}", append.bytes_bound());
    committed(run(store.commit(plan)));
}

fn bytes_of(op: &Op) -> usize {
    match op {
        Op::Set { key, value } | Op::ByteMax { key, value } => key.len() + value.len(),
        Op::SetStampedKey { prefix, value } => prefix.len() + 12 + value.len(),
        Op::Clear { key } => key.len(),
        other => panic!("{other:?}"),
    }
}

/// Ann's group, with Bob from its second entry on; then a message.
fn create<E: Engine>(store: &Store<E>) {
    create_users(store);
    let joined = vec![seat(ANN, 3, 0)];
    let made = GroupWrites { facts: Some(facts()), joined, ..GroupWrites::default() };
    put(store, (ANN, 1), &[ANN], Some(made));
    let added = GroupWrites { joined: vec![seat(BOB, 1, 1)], ..GroupWrites::default() };
    put(store, (ANN, 2), &[ANN, BOB], Some(added));
    put(store, (BOB, 3), &[ANN, BOB], None);
}

fn remove_bob<E: Engine>(store: &Store<E>, seq: u64) {
    let ended = vec![Ended { user: BOB, joined_seq: 1, removed: true }];
    put(store, (ANN, seq), &[ANN, BOB], Some(GroupWrites { ended, ..GroupWrites::default() }));
}

fn assert_clean<E: Engine>(store: &Store<E>) {
    let report = run(check(store, |_| {})).unwrap();
    assert!(report.is_clean(), "{:#?}", report.findings);
}

fn history(store: &Store, user: UserId) -> Result<(Vec<u64>, u64), StoreError> {
    let page = run(store.history(user, GROUP, 0, Direction::Before, 100))?;
    Ok((seqs(&page.entries), page.floor))
}

/// What a user's inbox tells: kind, first, last.
fn pointers(store: &Store, user: UserId) -> Vec<(PointerKind, u64, u64)> {
    let start = rookery_protocol::Cursor { epoch: 1, ..Default::default() };
    match run(store.inbox(user, Some(start), 100, ANY)).unwrap() {
        InboxPage::Page { pointers, .. } => {
            pointers.iter().map(|p| (p.kind, p.first, p.last)).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn members_come_and_go_with_all_their_rows(store: &Store) {
    use PointerKind::{Created, Messages};
    create(store);
    assert_clean(store);
    let loaded = run(store.load_conversation(GROUP, ANY)).unwrap().unwrap();
    assert_eq!(loaded.group, Some(facts()));
    let bob = loaded.members.iter().find(|member| member.user == BOB).unwrap();
    assert_eq!((bob.role, bob.joined_seq, bob.read), (1, 1, 1), "what was before is no news");
    remove_bob(store, 4);
    put(store, (ANN, 5), &[ANN], None);
    assert_clean(store);
    assert_eq!(
        pointers(store, BOB),
        [(Created, 2, 2), (Messages, 2, 2), (Messages, 3, 3), (Messages, 4, 4)]
    );
    assert_eq!(run(store.list_conversations(BOB, 10, None)).unwrap().0, []);
    assert_eq!(run(store.describe(BOB, GROUP)), Err(StoreError::NotAMember));
    // A pointer to what came later is found.
    let late = keys::pointer(BOB, 1, rookery_store::Stamp::new(rookery_store::Version(2), 0, 77));
    set(store, late, &[1, 1, 0x9a, 5, 5]);
    let report = run(check(store, |_| {})).unwrap();
    assert!(report.findings.iter().any(|f| f.what.contains("was a member up to 4")), "{report:#?}");
    clear(store, late);
    let added = GroupWrites { joined: vec![seat(BOB, 1, 5)], ..GroupWrites::default() };
    put(store, (ANN, 6), &[ANN, BOB], Some(added));
    assert_clean(store);
    assert_eq!(history(store, BOB), Ok((vec![6], 6)), "what lies between is not Bob's");
}

fn a_member_sees_what_came_after_joining_or_all_if_the_group_says_so(store: &Store) {
    create(store);
    assert_eq!(history(store, ANN), Ok((vec![1, 2, 3], 1)));
    assert_eq!(history(store, BOB), Ok((vec![2, 3], 2)));
    let page = run(store.history(BOB, GROUP, 1, Direction::Before, 10)).unwrap();
    assert!(page.entries.is_empty() && !page.more);
    let info = run(store.describe(BOB, GROUP)).unwrap();
    assert_eq!((info.floor, info.head, info.title.as_str()), (2, 3, "Lunch"));
    assert_eq!(
        run(store.marks_at(BOB, GROUP, 1)).err(),
        Some(StoreError::BadArgument("a seq outside of the log"))
    );
    assert_eq!(run(store.marks_at(BOB, GROUP, 2)).unwrap().len(), 2);
    let open = Some(GroupFacts { open_history: true, ..facts() });
    put(store, (ANN, 4), &[ANN, BOB], Some(GroupWrites { facts: open, ..GroupWrites::default() }));
    assert_eq!(history(store, BOB), Ok((vec![1, 2, 3, 4], 1)));
    assert_clean(store);
}

fn the_end_of_an_owners_account_hands_the_group_on(store: &Store) {
    create(store);
    let added = GroupWrites { joined: vec![seat(CAT, 2, 3)], ..GroupWrites::default() };
    put(store, (ANN, 4), &[ANN, BOB, CAT], Some(added));
    let before = fence(store);
    run(store.shut_out(ANN, ShutOut { since_ms: NOW, deleting: true })).unwrap();
    run(store.erase_account(ANN, NOW)).unwrap();
    assert_clean(store);
    let loaded = run(store.load_conversation(GROUP, ANY)).unwrap().unwrap();
    let roles: Vec<_> = loaded.members.iter().map(|m| (m.user, m.role)).collect();
    assert_eq!(roles, [(BOB, 1), (CAT, 3)], "an admin comes before an older member");
    let last = run(store.history(BOB, GROUP, 4, Direction::After, 10)).unwrap().entries;
    let change = GroupChange::from_body(&last[0].body).unwrap();
    assert_eq!((change.action, change.users), (GroupAction::Leave, vec![CAT]));
    assert_eq!(pointers(store, CAT).last(), Some(&(PointerKind::Messages, 5, 5)));
    // Who worked for the conversation before finds out.
    let entries = [entry(6)];
    let stale = Append { conversation: GROUP, ..append_of(&before, &entries) };
    assert_eq!(run(store.commit(append::plan(&stale))), rookery_store::Outcome::Conflict);
    run(store.erase_account(BOB, NOW)).unwrap_err();
}

fn what_a_former_member_wrote_ends_with_the_account(store: &Store) {
    create(store);
    remove_bob(store, 4);
    run(store.shut_out(BOB, ShutOut { since_ms: NOW, deleting: true })).unwrap();
    run(store.erase_account(BOB, NOW)).unwrap();
    assert_clean(store);
    let page = run(store.history(ANN, GROUP, 0, Direction::Before, 100)).unwrap();
    let bobs: Vec<_> = page.entries.iter().filter(|entry| entry.sender == BOB).collect();
    assert!(bobs.len() == 1 && bobs[0].body.is_empty(), "{bobs:?}");
    for (key, _) in all_rows(store) {
        let own = key.first() == Some(&b'z') && key.get(1..9) == Some(&BOB.0.to_be_bytes()[..]);
        assert!(!own, "{key:?}");
    }
}

fn a_change_learns_who_is_there_and_who_was_removed(store: &Store) {
    create(store);
    let nobody = UserId(0x99);
    let found = |sender, users: &[UserId]| -> ChangeFacts {
        run(store.change_facts(GROUP, (sender, id(7)), users, ANY)).unwrap()
    };
    let facts = found(ANN, &[CAT, nobody]);
    assert_eq!((facts.unknown.as_slice(), facts.sent, facts.removed), (&[nobody][..], None, false));
    let plan = |facts: &ChangeFacts| Plan {
        guards: facts.guards.clone(),
        ops: vec![Op::Set { key: Bytes::from_static(b"!"), value: Bytes::from_static(b"1") }],
    };
    committed(run(store.commit(plan(&facts))));
    // Whoever goes in the meantime is not made a member.
    run(store.shut_out(CAT, ShutOut { since_ms: NOW, deleting: true })).unwrap();
    assert_eq!(run(store.commit(plan(&facts))), rookery_store::Outcome::Conflict);
    assert_eq!(found(ANN, &[CAT]).unknown, [CAT]);
    assert!(!found(BOB, &[]).removed);
    remove_bob(store, 4);
    assert!(found(BOB, &[]).removed);
    let sent = run(store.change_facts(GROUP, (ANN, id(1004)), &[], ANY)).unwrap().sent.unwrap();
    assert_eq!(sent.seq, 4);
    clear(store, b"!");
}

fn the_marks_of_a_crowd_are_those_of_its_members(store: &Store) {
    create(store);
    let crowd: Vec<UserId> = (10..60).map(UserId).collect();
    for user in &crowd {
        run(store.create_account(&account(*user, &format!("member{user}")))).unwrap();
    }
    let members: Vec<UserId> = [ANN, BOB].into_iter().chain(crowd.iter().copied()).collect();
    let joined = crowd.iter().map(|user| seat(*user, 1, 3)).collect();
    put(store, (ANN, 4), &members, Some(GroupWrites { joined, ..GroupWrites::default() }));
    let fence = fence(store);
    let update = |user, kind, seq| MarkUpdate { user, kind, seq };
    let updates = [update(BOB, MarkKind::Read, 2), update(crowd[7], MarkKind::Delivered, 4)];
    committed(run(store.commit(marks::plan(&fence, GROUP, &updates))));
    let info = run(store.describe(crowd[0], GROUP)).unwrap();
    assert_eq!((info.members.len(), info.floor), (52, 4));
    let of = |user| {
        let member = info.members.iter().find(|member| member.user == user).unwrap();
        (member.delivered, member.read)
    };
    assert_eq!((of(ANN), of(BOB), of(crowd[0]), of(crowd[7])), ((0, 0), (1, 2), (3, 3), (4, 3)));
    assert_clean(store);
}

/// What is broken, and a part of what the check says of it.
type Broken = (&'static str, fn(&Store<MemoryEngine>), &'static str);

const BROKEN: &[Broken] = &[
    ("no row of its own", |s| clear(s, keys::group(GROUP)), "a group without its row"),
    ("a pair as a group", |s| set(s, keys::group(CONV), &[1, 0, 0]), "there is no conversation"),
    ("a link to nothing", |s| set(s, keys::link(CONV), &[1; 18]), "there is no conversation"),
    (
        "both a member and a former one",
        |s| set(s, keys::former(ANN, GROUP), &[1, 0, 2, 1]),
        "is a member again",
    ),
    (
        "a stay beyond the head",
        |s| set(s, keys::former(CAT, GROUP), &[1, 0, 99, 1]),
        "the head is 3",
    ),
    (
        "a mark of a former member",
        |s| set(s, keys::mark(GROUP, CAT, MarkKind::Read), &[1, 0, 0, 0, 0, 0, 0, 0, 1]),
        "is no member",
    ),
];

#[test]
fn each_broken_rule_of_groups_is_found() {
    for (name, break_it, wanted) in BROKEN {
        let store = Store::new(MemoryEngine::new());
        create(&store);
        break_it(&store);
        let report = run(check(&store, |_| {})).unwrap();
        let found = report.findings.iter().any(|finding| finding.what.contains(wanted));
        assert!(found, "{name}: {wanted:?} is not in {:#?}", report.findings);
    }
}
