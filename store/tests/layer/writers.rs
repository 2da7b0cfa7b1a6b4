//! A hundred owners at once append to one conversation, each taking the slot from the others: the
//! log is dense, in it is every message once, and a retry finds where.

use crate::support::{
    ANN, ANY, BOB, CONV, NOW, append_of, create_conversation, entry, on_every_engine, run,
};
use rookery_protocol::{ClientMsgId, Cursor, Entry, MarkKind};
use rookery_store::{
    InboxPage, MarkUpdate, Outcome, Owner, Store, TakeOver, append, marks, slot_of,
};
use std::collections::BTreeMap;
use std::sync::Mutex;

on_every_engine!(a_hundred_owners_append_a_dense_log_with_nothing_doubled);

const WRITERS: u64 = 100;

/// The id of a writer's message, sent a day later for each further writer: over a whole horizon.
fn id_of(writer: u64) -> ClientMsgId {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&writer.to_be_bytes());
    ClientMsgId::from_parts(NOW + writer % 7 * 86_400_000, random)
}

fn message(writer: u64, seq: u64) -> Entry {
    Entry { client_msg_id: id_of(writer), sender: ANN, ..entry(seq) }
}

/// Appends one message as an owner that knows nothing must: under a fence of its own, behind the
/// head it then reads, and only if it is not there yet. Says its seq.
fn append_once(store: &Store, writer: u64) -> u64 {
    let owner = Owner { node: writer, incarnation: 1 };
    loop {
        let TakeOver::Held(fence) = run(store.take_over(slot_of(CONV), owner)) else { continue };
        let at_least = fence.version;
        if let Some(known) = run(store.find_sent(CONV, ANN, id_of(writer), at_least)).unwrap() {
            return known.seq;
        }
        let head = run(store.load_conversation(CONV, at_least)).unwrap().unwrap().head;
        let entries = [message(writer, head + 1)];
        match run(store.commit(append::plan(&append_of(&fence, &entries)))) {
            Outcome::Committed { .. } => return head + 1,
            // Another owner was faster, or the outcome is open: look again.
            Outcome::Conflict | Outcome::Busy | Outcome::Unresolved => {}
            Outcome::TooLarge => panic!("one small message"),
        }
    }
}

fn a_hundred_owners_append_a_dense_log_with_nothing_doubled(store: &Store) {
    create_conversation(store);
    let seqs = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let seqs = &seqs;
            scope.spawn(move || {
                let seq = append_once(store, writer);
                assert_eq!(append_once(store, writer), seq, "a retry finds the first answer");
                seqs.lock().unwrap().insert(seq, writer);
            });
        }
    });
    let seqs = seqs.into_inner().unwrap();
    assert!(seqs.keys().copied().eq(1..=WRITERS), "dense, none twice: {seqs:?}");
    let log = run(store.entries(CONV, 1, WRITERS, usize::MAX)).unwrap();
    let writers: Vec<ClientMsgId> = log.iter().map(|entry| entry.client_msg_id).collect();
    let told: Vec<ClientMsgId> = seqs.values().map(|writer| id_of(*writer)).collect();
    assert_eq!(writers, told, "the log has what was told");
    for user in [ANN, BOB] {
        let start = Some(Cursor { epoch: 1, stamp: [0; 12] });
        let InboxPage::Page { pointers, .. } = run(store.inbox(user, start, 500, ANY)).unwrap()
        else {
            panic!("too far");
        };
        assert_eq!(pointers.len() as u64, WRITERS, "one pointer a message");
    }
    marks_of_many_writers_only_rise(store);
}

/// Every writer marks another place as read, in no order.
fn marks_of_many_writers_only_rise(store: &Store) {
    let TakeOver::Held(fence) =
        run(store.take_over(slot_of(CONV), Owner { node: 1, incarnation: 2 }))
    else {
        panic!("nobody else is there any more");
    };
    let fence = &fence;
    std::thread::scope(|scope| {
        for writer in 0..20 {
            scope.spawn(move || {
                let seq = 1 + (writer * 37) % WRITERS;
                let update = MarkUpdate { user: BOB, kind: MarkKind::Read, seq };
                let outcome = run(store.commit(marks::plan(fence, CONV, &[update])));
                assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
                let members = run(store.load_conversation(CONV, ANY)).unwrap().unwrap().members;
                let bob = members.iter().find(|member| member.user == BOB).unwrap();
                assert!(bob.read >= seq, "the mark went back to {}", bob.read);
            });
        }
    });
}
