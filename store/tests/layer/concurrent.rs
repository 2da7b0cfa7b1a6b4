//! A hundred writers of one conversation at once, on several nodes that all believe it is theirs.
//!
//! Each node does what the actors do: what comes while an append is under way joins the next one, a
//! conflict or an unknown outcome means to take the slot over, to load again, and to ask for each
//! message whether it is there already.

use crate::support::{
    ANN, ANY, BOB, CONV, create_conversation, entry, id, on_every_engine, run, seqs,
};
use rookery_protocol::{Cursor, DeviceId, Entry};
use rookery_store::{
    Append, Fence, InboxPage, MAX_INBOX_PAGE, Outcome, Owner, Pointer, PointerKind, Store,
    TakeOver, append, slot_of,
};
use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

const WRITERS: u64 = 100;
const MESSAGES: u64 = 3;
const NODES: u64 = 3;
/// Longer than anything takes that a test waits for.
const PATIENCE: Duration = Duration::from_secs(120);

on_every_engine! {
    a_hundred_writers_on_three_nodes_make_one_dense_log
}

/// A node that serves the conversation, whoever else does.
struct Node<'a> {
    store: &'a Store,
    owner: Owner,
    /// Messages that wait for the append under way, and whether they were sent before.
    waiting: Mutex<Vec<(Entry, bool)>>,
    serving: Mutex<Serving>,
}

#[derive(Default)]
struct Serving {
    /// What it knows of the conversation; `None`: it must take the slot over.
    held: Option<(Fence, u64)>,
    /// The seqs it acknowledged, by sending device and number.
    acknowledged: HashMap<(DeviceId, u64), u64>,
    conflicts: u64,
}

/// A message that has no seq yet; its time tells which of its writer's it is.
fn message(writer: u64, number: u64) -> Entry {
    let device = DeviceId(writer);
    Entry { device, client_msg_id: id(writer << 32 | number), time_ms: number, ..entry(0) }
}

impl Node<'_> {
    /// Sends a message and waits until it is acknowledged; its seq. One that is sent again may have
    /// been acknowledged by another node.
    fn send(&self, message: Entry, again: bool) -> u64 {
        let name = (message.device, message.time_ms);
        self.waiting.lock().unwrap().push((message, again));
        let mut serving = self.serving.lock().unwrap();
        // Whoever served before may have sent this one along.
        if !serving.acknowledged.contains_key(&name) {
            let waiting = std::mem::take(&mut *self.waiting.lock().unwrap());
            if waiting.iter().any(|(_, again)| *again) {
                serving.held = None;
            }
            self.append(waiting.into_iter().map(|(message, _)| message).collect(), &mut serving);
        }
        serving.acknowledged[&name]
    }

    fn append(&self, mut batch: Vec<Entry>, serving: &mut Serving) {
        let deadline = Instant::now() + PATIENCE;
        while !batch.is_empty() {
            assert!(Instant::now() < deadline, "no append got through");
            let Some((mut fence, head)) = serving.held.take() else {
                let Some(held) = self.take_over() else { continue };
                batch.retain(|one| {
                    let sent = run(self.store.find_sent(CONV, ANN, one.client_msg_id, ANY));
                    let sent = sent.unwrap().map(|known| known.seq);
                    let name = (one.device, one.time_ms);
                    sent.is_none_or(|seq| {
                        serving.acknowledged.insert(name, seq);
                        false
                    })
                });
                serving.held = Some(held);
                continue;
            };
            (head + 1..).zip(&mut batch).for_each(|(seq, one)| one.seq = seq);
            let plan = append::plan(&Append {
                conversation: CONV,
                fence: &fence,
                first_seq: head + 1,
                entries: &batch,
                members: &[ANN, BOB],
                touch_activity: false,
                inbox_epoch: 1,
                withheld: false,
                words: false,
                group: None,
            });
            match run(self.store.commit(plan)) {
                Outcome::Committed { version, .. } => {
                    fence.confirmed(version);
                    serving.held = Some((fence, head + batch.len() as u64));
                    let names = batch.drain(..).map(|one| ((one.device, one.time_ms), one.seq));
                    serving.acknowledged.extend(names);
                }
                Outcome::Conflict => serving.conflicts += 1,
                Outcome::Busy | Outcome::Unresolved => {}
                other @ Outcome::TooLarge => panic!("{other:?}"),
            }
        }
    }

    /// The slot's fence and the conversation's head under it.
    fn take_over(&self) -> Option<(Fence, u64)> {
        let TakeOver::Held(fence) = run(self.store.take_over(slot_of(CONV), self.owner)) else {
            return None;
        };
        let loaded = run(self.store.load_conversation(CONV, fence.version)).unwrap().unwrap();
        Some((fence, loaded.head))
    }
}

fn a_hundred_writers_on_three_nodes_make_one_dense_log(store: &Store) {
    create_conversation(store);
    let node = |node| Node {
        store,
        owner: Owner { node, incarnation: 1 },
        waiting: Mutex::default(),
        serving: Mutex::default(),
    };
    let nodes: Vec<Node<'_>> = (0..NODES).map(node).collect();
    // A writer goes from node to node, as after lost connections.
    let at = |writer, number| &nodes[usize::try_from((writer + number) % NODES).unwrap()];
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || {
                let mut last = 0;
                for number in 0..MESSAGES {
                    let seq = at(writer, number).send(message(writer, number), false);
                    assert!(seq > last, "a writer's messages keep their order");
                    last = seq;
                }
                let retry = at(writer, MESSAGES).send(message(writer, MESSAGES - 1), true);
                assert_eq!(retry, last, "a retry on another node finds the first answer");
            });
        }
    });
    let acknowledged: Vec<HashMap<_, _>> =
        nodes.iter().map(|node| node.serving.lock().unwrap().acknowledged.clone()).collect();
    holds(store, &acknowledged);
    let conflicts: u64 = nodes.iter().map(|node| node.serving.lock().unwrap().conflicts).sum();
    assert!(conflicts > 0, "the nodes were in each other's way");
}

/// The log is dense, each message is in it once where it was acknowledged, and pointers and dedupe
/// rows say the same.
fn holds(store: &Store, acknowledged: &[HashMap<(DeviceId, u64), u64>]) {
    let all = WRITERS * MESSAGES;
    let log = run(store.entries(CONV, 1, all + 1, usize::MAX)).unwrap();
    assert_eq!(seqs(&log), (1..=all).collect::<Vec<_>>());
    let ids: HashSet<_> = log.iter().map(|one| one.client_msg_id).collect();
    assert_eq!(ids.len() as u64, all, "no message is there twice");
    for (&(device, number), &seq) in acknowledged.iter().flatten() {
        let one = &log[usize::try_from(seq).unwrap() - 1];
        assert_eq!((one.device, one.time_ms), (device, number), "acknowledged as {seq}");
    }
    for one in &log {
        let sent = run(store.find_sent(CONV, ANN, one.client_msg_id, ANY)).unwrap();
        assert_eq!(sent.map(|known| known.seq), Some(one.seq));
    }
    for user in [ANN, BOB] {
        let messages: Vec<(u64, u64)> = pointers(store, user)
            .iter()
            .filter(|pointer| pointer.kind == PointerKind::Messages)
            .map(|pointer| (pointer.first, pointer.last))
            .collect();
        let mut next = 1;
        for (first, last) in messages {
            assert_eq!(first, next, "every entry has one pointer, in order");
            next = last + 1;
        }
        assert_eq!(next, all + 1);
    }
}

fn pointers(store: &Store, user: rookery_protocol::UserId) -> Vec<Pointer> {
    let mut all = Vec::new();
    let mut cursor = Cursor { epoch: 1, stamp: [0; 12] };
    loop {
        match run(store.inbox(user, Some(cursor), MAX_INBOX_PAGE, ANY)).unwrap() {
            InboxPage::Page { pointers, end, more } => {
                all.extend(pointers);
                cursor = end;
                if !more {
                    return all;
                }
            }
            InboxPage::TooFar { .. } => panic!("too far"),
        }
    }
}
