//! Contacts, blocks and what they hide, reports, one's own view, privacy.

use crate::support::*;
use rookery_protocol::people::OwnState;
use rookery_protocol::{
    Audience, ConversationId, Cursor, Direction, Entry, EntryKind, MarkKind, OwnKind, ReportReason,
    UserId,
};
use rookery_store::check::check;
use rookery_store::memory::MemoryEngine;
use rookery_store::{
    Append, Block, BlockChange, Complaint, Engine, Fence, InboxPage, MarkUpdate, OwnChange,
    PointerKind, Privacy, Shade, ShutOut, Store, StoreError, append, block_plan, marks,
};

on_every_engine! {
    contacts_and_blocks_are_one_list_by_pages
    what_is_wrong_about_people_is_refused
    every_change_is_told_to_the_users_own_devices_alone
    a_block_of_somebody_one_talks_to_is_left_to_the_conversations_owner
    what_was_sent_under_a_block_is_seen_by_its_sender_alone
    a_conversation_opened_under_a_block_is_its_openers_alone
    what_one_keeps_about_a_conversation_changes_by_parts
    read_marks_are_hidden_both_ways_and_delivered_ones_are_not
    a_report_is_kept_once_a_reporter_and_loses_its_words_with_the_account
    a_deleted_account_takes_its_lists_along
}

const DAN: UserId = UserId(4);

fn whole<E: Engine>(store: &Store<E>) {
    let report = run(check(store, |_| {})).unwrap();
    assert!(report.is_clean(), "{:#?}", report.findings);
}

/// The kinds of the user's pointers, and what they name.
fn pointers<E: Engine>(store: &Store<E>, user: UserId) -> Vec<(PointerKind, u64)> {
    let start = Cursor { epoch: 1, stamp: [0; 12] };
    match run(store.inbox(user, Some(start), 100, ANY)).unwrap() {
        InboxPage::Page { pointers, .. } => {
            pointers.iter().map(|pointer| (pointer.kind, pointer.conversation.0)).collect()
        }
        InboxPage::TooFar { .. } => panic!("too far"),
    }
}

fn list<E: Engine>(store: &Store<E>, me: UserId) -> Vec<(UserId, bool, bool)> {
    let (people, next) = run(store.people(me, None, 100)).unwrap();
    assert_eq!(next, None);
    people.into_iter().map(|person| (person.user, person.contact, person.blocked)).collect()
}

fn contacts_and_blocks_are_one_list_by_pages(store: &Store) {
    create_users(store);
    run(store.create_account(&account(DAN, "dan"))).unwrap();
    for other in [DAN, BOB] {
        run(store.set_contact(ANN, other, Some(NOW))).unwrap();
    }
    for other in [CAT, BOB] {
        assert_eq!(run(store.set_blocked(ANN, other, Some(NOW))), Ok(Block::Done));
    }
    let all = [(BOB, true, true), (CAT, false, true), (DAN, true, false)];
    assert_eq!(list(store, ANN), all);
    let (first, next) = run(store.people(ANN, None, 2)).unwrap();
    assert_eq!((first.len(), first[1].name.as_str(), next), (2, "cat", Some(CAT)));
    let (second, next) = run(store.people(ANN, next, 2)).unwrap();
    assert_eq!((second.len(), second[0].user, next), (1, DAN, None));
    run(store.set_contact(ANN, BOB, None)).unwrap();
    assert_eq!(run(store.set_blocked(ANN, CAT, None)), Ok(Block::Done));
    assert_eq!(list(store, ANN), [(BOB, false, true), (DAN, true, false)]);
    assert_eq!(list(store, BOB), []);
    whole(store);
}

fn what_is_wrong_about_people_is_refused(store: &Store) {
    create_users(store);
    let nobody = UserId(404);
    assert_eq!(run(store.set_contact(ANN, nobody, Some(NOW))), Err(StoreError::UnknownUser));
    assert_eq!(run(store.set_blocked(ANN, nobody, Some(NOW))), Err(StoreError::UnknownUser));
    let oneself = run(store.set_contact(ANN, ANN, Some(NOW)));
    assert!(matches!(oneself, Err(StoreError::BadArgument(_))), "{oneself:?}");
    let oneself = run(store.set_blocked(ANN, ANN, Some(NOW)));
    assert!(matches!(oneself, Err(StoreError::BadArgument(_))), "{oneself:?}");
    // Ending what never was is no fault.
    assert_eq!(run(store.set_blocked(ANN, nobody, None)), Ok(Block::Done));
    let unknown = Privacy { receipts: Audience::Other(9), ..Privacy::default() };
    let refused = run(store.set_privacy(ANN, unknown));
    assert!(matches!(refused, Err(StoreError::BadArgument(_))), "{refused:?}");
    let strange = OwnChange { archived: Some(true), ..OwnChange::default() };
    assert_eq!(run(store.set_own_state(ANN, CONV, strange)), Err(StoreError::NotAMember));
    assert_eq!(list(store, ANN), []);
}

fn every_change_is_told_to_the_users_own_devices_alone(store: &Store) {
    create_conversation(store);
    run(store.set_contact(ANN, BOB, Some(NOW))).unwrap();
    // The same again changes nothing, and tells nothing.
    run(store.set_contact(ANN, BOB, Some(NOW + 1))).unwrap();
    run(store.set_blocked(ANN, CAT, Some(NOW))).unwrap();
    let muted = OwnChange { muted_until_ms: Some(u64::MAX), ..OwnChange::default() };
    run(store.set_own_state(ANN, CONV, muted)).unwrap();
    run(store.set_own_state(ANN, CONV, muted)).unwrap();
    let shy = Privacy { presence: Audience::Nobody, ..Privacy::default() };
    run(store.set_privacy(ANN, shy)).unwrap();
    run(store.set_privacy(ANN, shy)).unwrap();
    let told = [
        (PointerKind::Created, CONV.0),
        (PointerKind::Own(OwnKind::Person), BOB.0),
        (PointerKind::Own(OwnKind::Person), CAT.0),
        (PointerKind::Own(OwnKind::Conversation), CONV.0),
        (PointerKind::Own(OwnKind::Privacy), 0),
    ];
    assert_eq!(pointers(store, ANN), told);
    for other in [BOB, CAT] {
        assert!(pointers(store, other).iter().all(|(kind, _)| *kind == PointerKind::Created));
    }
    whole(store);
}

fn a_block_of_somebody_one_talks_to_is_left_to_the_conversations_owner(store: &Store) {
    create_conversation(store);
    assert_eq!(run(store.set_blocked(ANN, BOB, Some(NOW))), Ok(Block::Via(CONV)));
    assert_eq!(list(store, ANN), [], "nothing happened yet");
    let fence = take(store, OWNER);
    change_block(store, &fence, Shade::NONE.begun(0, 0, 0), None);
    assert_eq!(list(store, ANN), [(BOB, false, true)]);
    assert_eq!(run(store.set_blocked(ANN, BOB, Some(NOW))), Ok(Block::Done));
    let loaded = run(store.load_conversation(CONV, ANY)).unwrap().unwrap();
    assert_eq!(loaded.shades, [(ANN, Shade::NONE.begun(0, 0, 0))]);
    assert!(pointers(store, ANN).contains(&(PointerKind::Own(OwnKind::Person), BOB.0)));
    whole(store);
}

/// Ann's block of Bob, or its end.
fn change_block<E: Engine>(store: &Store<E>, fence: &Fence, shade: Shade, read_to: Option<u64>) {
    let change = BlockChange {
        fence,
        conversation: CONV,
        user: ANN,
        other: BOB,
        shade,
        read_to,
        inbox_epoch: 1,
        now_ms: NOW,
    };
    committed(run(store.commit(block_plan(&change))));
}

fn of_bob(seq: u64) -> Entry {
    Entry { sender: BOB, ..entry(seq) }
}

/// Six entries: two of Ann's, two of Bob's under Ann's block, two of Bob's after it.
fn through_a_block<E: Engine>(store: &Store<E>) {
    create_conversation(store);
    let fence = take(store, OWNER);
    append(store, &fence, &[entry(1), entry(2)]);
    let mark = |user, seq| MarkUpdate { user, kind: MarkKind::Read, seq };
    committed(run(store.commit(marks::plan(&fence, CONV, &[mark(ANN, 2), mark(BOB, 1)]))));
    change_block(store, &fence, Shade::NONE.begun(2, 2, 2), None);
    let withheld = [of_bob(3), of_bob(4)];
    let plan = Append { members: &[BOB], withheld: true, ..append_of(&fence, &withheld) };
    committed(run(store.commit(append::plan(&plan))));
    let (mine, theirs) = (info(store, ANN), info(store, BOB));
    assert_eq!((mine.head, mine.last.unwrap().seq, mine.members[0].read), (2, 2, 2));
    assert_eq!(mine.active_ms, NOW + 2, "no activity is seen");
    assert_eq!((theirs.head, theirs.last.unwrap().body), (4, entry(4).body));
    assert_eq!(
        seqs(&run(store.history(ANN, CONV, 0, Direction::Before, 9)).unwrap().entries),
        [1, 2]
    );
    change_block(store, &fence, Shade::NONE.begun(2, 2, 2).ended(4), Some(4));
    append(store, &fence, &[of_bob(5), of_bob(6)]);
}

fn info<E: Engine>(store: &Store<E>, me: UserId) -> rookery_protocol::ConversationInfo {
    let described = run(store.describe(me, CONV)).unwrap();
    let (listed, _) = run(store.list_conversations(me, 10, None)).unwrap();
    assert_eq!(listed, std::slice::from_ref(&described), "the list says the same");
    described
}

fn what_was_sent_under_a_block_is_seen_by_its_sender_alone(store: &Store) {
    through_a_block(store);
    let mine = run(store.history(ANN, CONV, 0, Direction::After, 9)).unwrap().entries;
    assert_eq!(seqs(&mine), [1, 2, 3, 4, 5, 6], "the log is dense for both");
    for seq in [3, 4] {
        let entry = &mine[seq - 1];
        assert_eq!((entry.kind, entry.sender), (EntryKind::Withheld, BOB));
        assert!(entry.body.is_empty() && entry.device.0 == 0 && entry.client_msg_id.0 == [0; 16]);
    }
    let theirs = run(store.history(BOB, CONV, 0, Direction::After, 9)).unwrap().entries;
    let sent: Vec<Entry> = vec![entry(1), entry(2), of_bob(3), of_bob(4), of_bob(5), of_bob(6)];
    assert_eq!(theirs, sent);
    assert_eq!(run(store.entries_for(ANN, CONV, (1, 6), usize::MAX)).unwrap(), mine);
    assert_eq!(run(store.entries_for(BOB, CONV, (1, 6), usize::MAX)).unwrap(), sent);
    // Ann has read what she could; to Bob her marks look as they stood.
    let own = info(store, ANN);
    assert_eq!((own.head, own.members[0].read), (6, 4));
    let seen = info(store, BOB);
    assert_eq!((seen.members[0].delivered, seen.members[0].read), (2, 2));
    let told: Vec<_> = pointers(store, ANN).into_iter().map(|(kind, _)| kind).collect();
    let messages = told.iter().filter(|kind| **kind == PointerKind::Messages).count();
    assert_eq!(messages, 2, "of the first batch and of the last");
    // A retry of a withheld message is known by its content.
    let known = run(store.find_sent(CONV, BOB, id(3), ANY)).unwrap().unwrap();
    let sent = of_bob(3);
    assert_eq!((known.seq, known.hash), (3, append::content_hash(sent.kind, &sent.body)));
    whole(store);
}

fn a_conversation_opened_under_a_block_is_its_openers_alone(store: &Store) {
    create_users(store);
    run(store.set_blocked(ANN, BOB, Some(NOW))).unwrap();
    assert_eq!(run(store.open_direct(BOB, ANN, CONV, NOW)), Ok((CONV, true)));
    assert_eq!(pointers(store, BOB), [(PointerKind::Created, CONV.0)]);
    assert_eq!(pointers(store, ANN), [(PointerKind::Own(OwnKind::Person), BOB.0)]);
    assert_eq!(run(store.list_conversations(ANN, 10, None)).unwrap().0, []);
    assert_eq!(run(store.list_conversations(BOB, 10, None)).unwrap().0.len(), 1);
    let loaded = run(store.load_conversation(CONV, ANY)).unwrap().unwrap();
    assert_eq!(loaded.shades, [(ANN, Shade::FROM_THE_START)]);
    whole(store);
    // Who opens it, sees it.
    assert_eq!(run(store.open_direct(ANN, BOB, ConversationId(5), NOW)), Ok((CONV, false)));
    assert_eq!(run(store.list_conversations(ANN, 10, None)).unwrap().0.len(), 1);
    assert!(pointers(store, ANN).contains(&(PointerKind::Created, CONV.0)));
    assert_eq!(run(store.open_direct(ANN, BOB, ConversationId(5), NOW)), Ok((CONV, false)));
    assert_eq!(pointers(store, ANN).len(), 2, "told once");
    whole(store);
}

fn what_one_keeps_about_a_conversation_changes_by_parts(store: &Store) {
    create_conversation(store);
    let plain = OwnState { conversation: CONV, muted_until_ms: 0, archived: false, unread: false };
    assert_eq!(run(store.own_states(ANN, &[CONV])), Ok(vec![plain]));
    let muted = OwnChange { muted_until_ms: Some(NOW), ..OwnChange::default() };
    run(store.set_own_state(ANN, CONV, muted)).unwrap();
    let archived = OwnChange { archived: Some(true), unread: Some(true), ..OwnChange::default() };
    run(store.set_own_state(ANN, CONV, archived)).unwrap();
    let all = OwnState { muted_until_ms: NOW, archived: true, unread: true, ..plain };
    let other = ConversationId(9);
    let of_other = OwnState { conversation: other, ..plain };
    assert_eq!(run(store.own_states(ANN, &[other, CONV])), Ok(vec![of_other, all]));
    assert_eq!(run(store.own_states(BOB, &[CONV])), Ok(vec![plain]));
    let back = OwnChange { muted_until_ms: Some(0), archived: Some(false), unread: Some(false) };
    run(store.set_own_state(ANN, CONV, back)).unwrap();
    assert_eq!(run(store.own_states(ANN, &[CONV])), Ok(vec![plain]));
    whole(store);
}

fn read_marks_are_hidden_both_ways_and_delivered_ones_are_not(store: &Store) {
    create_conversation(store);
    let fence = take(store, OWNER);
    append(store, &fence, &[entry(1), entry(2)]);
    let mark = |user, kind, seq| MarkUpdate { user, kind, seq };
    let updates = [
        mark(ANN, MarkKind::Delivered, 2),
        mark(ANN, MarkKind::Read, 2),
        mark(BOB, MarkKind::Delivered, 2),
        mark(BOB, MarkKind::Read, 1),
    ];
    committed(run(store.commit(marks::plan(&fence, CONV, &updates))));
    let seen = |me| {
        let members = info(store, me).members;
        members.iter().map(|member| (member.delivered, member.read)).collect::<Vec<_>>()
    };
    assert_eq!(seen(BOB), [(2, 2), (2, 1)]);
    let with = |receipts| Privacy { receipts, ..Privacy::default() };
    run(store.set_privacy(ANN, with(Audience::Nobody))).unwrap();
    assert_eq!(seen(BOB), [(2, 0), (2, 1)]);
    assert_eq!(seen(ANN), [(2, 2), (2, 0)]);
    assert_eq!(run(store.secretive(&[ANN, BOB], true)).unwrap().len(), 2);
    run(store.set_privacy(ANN, with(Audience::Contacts))).unwrap();
    assert_eq!(seen(BOB), [(2, 0), (2, 1)]);
    run(store.set_contact(ANN, BOB, Some(NOW))).unwrap();
    assert_eq!(seen(BOB), [(2, 2), (2, 1)]);
    assert_eq!(seen(ANN), [(2, 2), (2, 1)]);
    // In a group a contact's sight would depend on who looks.
    assert_eq!(Vec::from_iter(run(store.secretive(&[ANN, BOB, CAT], false)).unwrap()), [ANN]);
    let sight = run(store.sight(ANN)).unwrap();
    assert!(sight.shows_presence(CAT) && sight.contacts.is_empty(), "{sight:?}");
}

fn a_report_is_kept_once_a_reporter_and_loses_its_words_with_the_account(store: &Store) {
    through_a_block(store);
    let complaint = |seq, comment: &str| Complaint {
        conversation: CONV,
        seq,
        reason: ReportReason::Abuse,
        comment: comment.to_owned(),
    };
    run(store.report(ANN, &complaint(5, "first"), NOW)).unwrap();
    run(store.report(ANN, &complaint(5, "second"), NOW + 1)).unwrap();
    run(store.report(BOB, &complaint(1, ""), NOW)).unwrap();
    assert_eq!(run(store.report(CAT, &complaint(1, ""), NOW)), Err(StoreError::NotAMember));
    for bad in [complaint(0, ""), complaint(7, ""), complaint(1, &"x".repeat(1_001))] {
        let refused = run(store.report(ANN, &bad, NOW));
        assert!(matches!(refused, Err(StoreError::BadArgument(_))), "{refused:?}");
    }
    let reports = run(store.reports(None, 10)).unwrap();
    let told: Vec<_> = reports.iter().map(|r| (r.seq, r.reporter, r.sender)).collect();
    assert_eq!(told, [(1, BOB, ANN), (5, ANN, BOB)]);
    assert_eq!((reports[1].comment.as_str(), reports[1].time_ms), ("second", NOW + 1));
    let first = &reports[0];
    let after = Some((first.conversation, first.seq, first.reporter));
    assert_eq!(run(store.reports(after, 10)).unwrap(), &reports[1..]);
    whole(store);
    erase(store, ANN);
    let reports = run(store.reports(None, 10)).unwrap();
    assert_eq!((reports.len(), reports[1].comment.as_str()), (2, ""));
    whole(store);
}

fn erase<E: Engine>(store: &Store<E>, user: UserId) {
    run(store.shut_out(user, ShutOut { since_ms: NOW, deleting: true })).unwrap();
    run(store.erase_account(user, NOW)).unwrap();
}

fn a_deleted_account_takes_its_lists_along(store: &Store) {
    create_conversation(store);
    run(store.set_contact(ANN, BOB, Some(NOW))).unwrap();
    run(store.set_contact(BOB, ANN, Some(NOW))).unwrap();
    run(store.set_blocked(ANN, CAT, Some(NOW))).unwrap();
    let archived = OwnChange { archived: Some(true), ..OwnChange::default() };
    run(store.set_own_state(ANN, CONV, archived)).unwrap();
    let shy = Privacy { presence: Audience::Nobody, ..Privacy::default() };
    run(store.set_privacy(ANN, shy)).unwrap();
    erase(store, ANN);
    let own = |tag: u8, key: &[u8]| {
        key.first() == Some(&tag) && key.get(1..9) == Some(&ANN.0.to_be_bytes()[..])
    };
    for (key, _) in all_rows(store) {
        assert!(!b"BCDV".iter().any(|tag| own(*tag, &key)), "{key:?}");
    }
    let (people, _) = run(store.people(BOB, None, 10)).unwrap();
    assert_eq!((people[0].user, people[0].name.as_str()), (ANN, ""));
    assert_eq!(run(store.set_contact(CAT, ANN, Some(NOW))), Err(StoreError::UnknownUser));
    whole(store);
}

#[test]
fn a_block_and_the_first_conversation_of_a_pair_can_t_miss_each_other() {
    let engine = MemoryEngine::new();
    create_users(&Store::new(engine.clone()));
    // The conversation comes between what the block read and what it commits.
    let store = overtaken(&engine, |plain| {
        assert_eq!(run(plain.open_direct(BOB, ANN, CONV, NOW)), Ok((CONV, true)));
    });
    assert_eq!(run(store.set_blocked(ANN, BOB, Some(NOW))), Ok(Block::Via(CONV)));
    // And the other way round.
    let engine = MemoryEngine::new();
    create_users(&Store::new(engine.clone()));
    let store = overtaken(&engine, |plain| {
        assert_eq!(run(plain.set_blocked(ANN, BOB, Some(NOW))), Ok(Block::Done));
    });
    assert_eq!(run(store.open_direct(BOB, ANN, CONV, NOW)), Ok((CONV, true)));
    let loaded = run(store.load_conversation(CONV, ANY)).unwrap().unwrap();
    assert_eq!(loaded.shades, [(ANN, Shade::FROM_THE_START)]);
    whole(&store);
}
