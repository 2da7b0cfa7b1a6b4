//! What an operation of the layer costs on each engine, and bare fjall with the same rows.
//!
//! ```text
//! cargo bench -p rookery-store                       # data in the temporary directory
//! TMPDIR=/dev/shm cargo bench -p rookery-store       # in memory: no disk, the code alone
//! ```
//!
//! A batch that waits for a disk is as fast as the disk: compare `embedded` with `bare` of the same
//! run. Throughput under load, with many plans in flight, is in `examples/engine_throughput.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a benchmark that fails stops"
)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fjall::{Database, KeyspaceCreateOptions, PersistMode};
use rookery_protocol::{
    ClientMsgId, ConversationId, Cursor, DeviceId, Direction, Entry, EntryKind, UserId,
};
use rookery_store::embedded::{EmbeddedConfig, EmbeddedEngine};
use rookery_store::memory::MemoryEngine;
use rookery_store::{
    Account, AnyEngine, Append, Fence, InboxPage, Op, Outcome, Owner, Plan, Stamp, Store, TakeOver,
    Version, append, slot_of,
};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::task::{Context, Poll, Wake};
use std::thread::Thread;
use tempfile::TempDir;

const NOW: u64 = 1_700_000_000_000;
const OWNER: Owner = Owner { node: 1, incarnation: 1 };
const PAIR: &[UserId] = &[UserId(1), UserId(2)];
const READ_CONVERSATION: ConversationId = ConversationId(1);
const HISTORY: u64 = 10_000;
const MERGED: u64 = 64;

/// Runs a future on this thread.
fn run<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// The engines, each with a directory that lives as long.
fn stores() -> Vec<(&'static str, Store, Option<TempDir>)> {
    let dir = tempfile::tempdir().unwrap();
    let embedded = EmbeddedEngine::open(&EmbeddedConfig::new(dir.path())).unwrap();
    vec![
        ("memory", Store::new(AnyEngine::from(MemoryEngine::new())), None),
        ("embedded", Store::new(AnyEngine::from(embedded)), Some(dir)),
    ]
}

/// A writer of one conversation.
struct Conversation {
    id: ConversationId,
    fence: Fence,
    head: u64,
    members: Vec<UserId>,
}

impl Conversation {
    fn new(store: &Store, id: u64, members: &[UserId]) -> Self {
        let id = ConversationId(id);
        let TakeOver::Held(fence) = run(store.take_over(slot_of(id), OWNER)) else {
            panic!("no fence")
        };
        Self { id, fence, head: 0, members: members.to_vec() }
    }

    /// The plan of the next entries.
    fn plan(&mut self, count: u64) -> Plan {
        let first_seq = self.head + 1;
        self.head += count;
        let entry = |seq: u64| Entry {
            seq,
            sender: self.members[0],
            device: DeviceId(1),
            time_ms: NOW + seq,
            client_msg_id: ClientMsgId::from_parts(NOW + seq, random(self.id.0 << 32 | seq)),
            kind: EntryKind::Text,
            body: vec![b'x'; 100],
        };
        let entries: Vec<Entry> = (first_seq..=self.head).map(entry).collect();
        append::plan(&Append {
            conversation: self.id,
            fence: &self.fence,
            first_seq,
            entries: &entries,
            members: &self.members,
            touch_activity: false,
            inbox_epoch: 1,
        })
    }
}

/// Ten bytes that look random and repeat from run to run.
fn random(n: u64) -> [u8; 10] {
    let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    let mut bytes = [0; 10];
    bytes[2..].copy_from_slice(&mixed);
    bytes
}

fn submit(store: &Store, plans: Vec<Plan>) {
    let (report, outcomes) = channel();
    store.submit(plans, Box::new(move |all| report.send(all).unwrap()));
    let outcomes = outcomes.recv().unwrap();
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Committed { .. })));
}

/// Bare fjall that writes what plans would.
struct Bare {
    database: Database,
    rows: fjall::Keyspace,
    version: u64,
    _dir: TempDir,
}

impl Bare {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::builder(dir.path()).cache_size(128 << 20).open().unwrap();
        let rows = database.keyspace("rows", KeyspaceCreateOptions::default).unwrap();
        Self { database, rows, version: 0, _dir: dir }
    }

    fn write(&mut self, plans: Vec<Plan>) {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for plan in plans {
            self.version += 1;
            let mut stamped = 0;
            for op in plan.ops {
                match op {
                    Op::Set { key, value } => {
                        batch.insert(&self.rows, key.as_ref(), value.as_ref())
                    }
                    Op::SetStampedKey { prefix, value } => {
                        let stamp = Stamp::new(Version(self.version), 0, stamped);
                        stamped += 1;
                        let key = [prefix.as_ref(), &stamp.0].concat();
                        batch.insert(&self.rows, key, value.as_ref());
                    }
                    other => panic!("{other:?} is no part of an append"),
                }
            }
        }
        batch.commit().unwrap();
    }
}

/// One shape of appends: name, conversations in a submission, entries each, members each.
const SHAPES: [(&str, u64, u64, u64); 4] = [
    ("append alone", 1, 1, 2),
    ("append merged, 64 conversations", MERGED, 1, 2),
    ("append to a group of 100", 1, 1, 100),
    ("append 16 to a group of 100", 1, 16, 100),
];

fn appends(c: &mut Criterion) {
    for (name, conversations, entries, members) in SHAPES {
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Elements(conversations * entries));
        let members: Vec<UserId> = (1..=members).map(UserId).collect();
        for (engine, store, _dir) in stores() {
            let mut writers: Vec<Conversation> = (0..conversations)
                .map(|id| Conversation::new(&store, 100 + id, &members))
                .collect();
            group.bench_function(BenchmarkId::from_parameter(engine), |b| {
                b.iter(|| submit(&store, writers.iter_mut().map(|w| w.plan(entries)).collect()));
            });
        }
        let any = &stores()[0].1;
        let mut writers: Vec<Conversation> =
            (0..conversations).map(|id| Conversation::new(any, 100 + id, &members)).collect();
        let mut bare = Bare::new();
        group.bench_function(BenchmarkId::from_parameter("bare fjall"), |b| {
            b.iter(|| bare.write(writers.iter_mut().map(|w| w.plan(entries)).collect()));
        });
        group.finish();
    }
}

fn reads(c: &mut Criterion) {
    for (engine, store, _dir) in stores() {
        for user in PAIR {
            let (name, password_hash) = (format!("user{}", user.0), "none".to_owned());
            run(store.create_account(&Account { user: *user, name, password_hash, created_ms: 0 }))
                .unwrap();
        }
        run(store.open_direct(PAIR[0], PAIR[1], READ_CONVERSATION, NOW)).unwrap();
        let mut writer = Conversation::new(&store, READ_CONVERSATION.0, PAIR);
        for _ in 0..HISTORY / 100 {
            submit(&store, (0..10).map(|_| writer.plan(10)).collect());
        }
        let mut group = c.benchmark_group("history page of 100");
        let mut anchor = 0_u64;
        group.bench_function(BenchmarkId::from_parameter(engine), |b| {
            b.iter(|| {
                anchor = (anchor + 7919) % (HISTORY - 200);
                let page =
                    store.history(PAIR[1], READ_CONVERSATION, anchor + 150, Direction::Before, 100);
                assert_eq!(run(page).unwrap().entries.len(), 100);
            });
        });
        group.finish();
        let mut group = c.benchmark_group("sync of 100 pointers and their 1000 entries");
        let start = Cursor { epoch: 1, stamp: Stamp::default().0 };
        group.bench_function(BenchmarkId::from_parameter(engine), |b| {
            b.iter(|| {
                let page = run(store.inbox(PAIR[1], Some(start), 101, Version(0))).unwrap();
                let InboxPage::Page { pointers, .. } = page else { panic!("too far") };
                let last = pointers.iter().map(|pointer| pointer.last).max().unwrap();
                let entries = run(store.entries(READ_CONVERSATION, 1, last, usize::MAX)).unwrap();
                assert_eq!(entries.len(), 1000);
            });
        });
        group.finish();
    }
}

/// Building an append's plan: no engine at all.
fn plans(c: &mut Criterion) {
    let store = &stores()[0].1;
    for (name, members) in [("a pair", 2), ("a group of 100", 100)] {
        let members: Vec<UserId> = (1..=members).map(UserId).collect();
        let mut writer = Conversation::new(store, 100, &members);
        c.bench_function(&format!("plan of 16 entries for {name}"), |b| b.iter(|| writer.plan(16)));
    }
}

criterion_group!(layer, appends, reads, plans);
criterion_main!(layer);
