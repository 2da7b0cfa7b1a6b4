//! How fast the layer commits appends to FoundationDB, against a bare client that writes the same
//! rows in the same run.
//!
//! ```text
//! FDB_CLUSTER_FILE=... cargo run --release -p rookery-store --features fdb \
//!     --example fdb_throughput -- [--messages 40000] [--rounds 3]
//! ```
//!
//! An append writes five rows a message (message, dedupe, two inbox pointers, head) under its slot's
//! fence; each conversation has one in flight. The bare client then commits as many messages in a
//! transaction, on as many threads, as the engine did on average. It has every freedom that the
//! engine takes (no read version of its own, untracked writes, "read your writes" off), and no
//! guards, no marks, no outcomes to report. Both build their rows with the layer's own code. The two
//! alternate, each under a new prefix; the round with the middle ratio is shown.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

mod throughput;

use bytes::Bytes;
use foundationdb::Database;
use foundationdb::options::{MutationType, TransactionOption};
use rookery_protocol::{ClientMsgId, ConversationId, DeviceId, Entry, EntryKind, UserId};
use rookery_store::fdb::{FdbConfig, FdbEngine, stop_network};
use rookery_store::{
    Append, Engine, Fence, Op, Outcome, Owner, Plan, Store, TakeOver, Version, append, keys,
    slot_of,
};
use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::task::{Context, Poll, Wake, Waker};
use throughput::{Figures, Measure, Round, argument};

/// One shape of load: messages in an append, conversations (each with one append in flight).
const LOADS: [(u64, u64); 5] = [(1, 16), (1, 64), (1, 256), (1, 1024), (16, 64)];
const NOW: u64 = 1_700_000_000_000;

fn main() {
    let messages: u64 = argument("--messages").unwrap_or(40_000);
    let rounds: u64 = argument("--rounds").unwrap_or(3);
    println!(
        "messages/append  conversations  messages/commit     who  appends/s  messages/s  us CPU  of bare"
    );
    for (per_append, conversations) in LOADS {
        let round = |_| {
            let (ours, batch) = run_layer(messages, per_append, conversations);
            Round { bare: run_bare(messages, per_append, conversations, batch), ours, batch }
        };
        let load = format!("{per_append:>15}  {conversations:>13}");
        throughput::show(&load, ("bare", "layer"), per_append, (0..rounds).map(round).collect());
    }
    stop_network();
}

fn wait<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

fn config() -> FdbConfig {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let prefix = format!("bench/{}/{number}", std::process::id());
    FdbConfig { prefix, ..FdbConfig::default() }
}

/// One conversation's head, and the plan of its next append.
struct Source {
    conversation: ConversationId,
    head: u64,
    fence: Fence,
}

impl Source {
    fn new(at: u64, fence: Fence) -> Self {
        Self { conversation: id(at), head: 0, fence }
    }

    fn append(&mut self, count: u64) -> Plan {
        let first = self.head + 1;
        let entries: Vec<Entry> = (first..first + count).map(|seq| self.entry(seq)).collect();
        self.head += count;
        append::plan(&Append {
            conversation: self.conversation,
            fence: &self.fence,
            first_seq: first,
            entries: &entries,
            members: &[UserId(self.conversation.0), UserId(!self.conversation.0)],
            touch_activity: false,
            inbox_epoch: 1,
            withheld: false,
            words: false,
            group: None,
        })
    }

    fn entry(&self, seq: u64) -> Entry {
        let mut random = [0; 10];
        random[2..].copy_from_slice(&seq.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        let body: Vec<u8> =
            random.iter().copied().cycle().take(20 + (seq % 181) as usize).collect();
        Entry {
            seq,
            sender: UserId(self.conversation.0),
            device: DeviceId(1),
            time_ms: NOW + seq,
            client_msg_id: ClientMsgId::from_parts(NOW + seq, random),
            kind: EntryKind::Text,
            body,
        }
    }
}

fn id(at: u64) -> ConversationId {
    ConversationId((at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// The layer's figures, and how many messages it committed in a transaction on average.
fn run_layer(messages: u64, per_append: u64, conversations: u64) -> (Figures, u64) {
    let engine = FdbEngine::open(&config()).unwrap();
    let store = Store::new(engine.clone());
    let mut fences = HashMap::new();
    let mut sources: Vec<Source> = (0..conversations)
        .map(|at| {
            let slot = slot_of(id(at));
            let fence = fences.entry(slot).or_insert_with(|| {
                let owner = Owner { node: 1, incarnation: 1 };
                match wait(store.take_over(slot, owner)) {
                    TakeOver::Held(fence) => fence,
                    other => panic!("{other:?}"),
                }
            });
            Source::new(at, fence.clone())
        })
        .collect();
    let (report, reports) = channel();
    let submit = |source: &mut Source, at: usize| {
        let report = report.clone();
        let done = move |outcomes: Vec<Outcome>| report.send((at, outcomes[0])).unwrap();
        store.submit(vec![source.append(per_append)], Box::new(done));
    };
    // Warm: every fence was looked at once since it was taken.
    sources.iter_mut().enumerate().for_each(|(at, source)| submit(source, at));
    let mut left = messages / per_append;
    let mut flying = 0;
    let mut before = (Measure::start(), engine.operations());
    for answered in 0.. {
        let (at, outcome) = reports.recv().unwrap();
        let Outcome::Committed { version, .. } = outcome else { panic!("{outcome:?}") };
        sources[at].fence.confirmed(version);
        if answered + 1 == conversations {
            before = (Measure::start(), engine.operations());
            sources.iter_mut().enumerate().for_each(|(at, source)| submit(source, at));
            flying = conversations;
        } else if answered >= conversations {
            flying -= 1;
            if left > conversations {
                left -= 1;
                flying += 1;
                submit(&mut sources[at], at);
            } else if flying == 0 {
                break;
            }
        }
    }
    let sent: u64 = sources.iter().map(|source| source.head - per_append).sum();
    let figures = before.0.end(sent);
    let commits = engine.operations().commits - before.1.commits;
    engine.erase().unwrap();
    (figures, (sent / commits.max(1)).max(1))
}

fn run_bare(messages: u64, per_append: u64, conversations: u64, batch: u64) -> Figures {
    let config = config();
    let engine = FdbEngine::open(&config).unwrap();
    let version = wait(engine.view(Version(0))).unwrap();
    let version = AtomicI64::new(rookery_store::View::version(&version).0 as i64);
    let prefix = [config.prefix.as_bytes(), b"\0r"].concat();
    let appends = (batch / per_append).max(1);
    let threads = (conversations / appends).clamp(1, config.lanes as u64);
    let database = Database::from_path(&std::env::var("FDB_CLUSTER_FILE").unwrap()).unwrap();
    let commits = messages / (appends * per_append * threads);
    let measure = Measure::start();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (database, version, prefix) = (&database, &version, &prefix);
            scope.spawn(move || {
                let fence = Fence {
                    slot: slot_of(id(0)),
                    value: Bytes::from_static(b"-"),
                    version: Version(0),
                };
                let mut sources: Vec<Source> = (0..appends)
                    .map(|at| Source::new(thread * appends + at, fence.clone()))
                    .collect();
                for _ in 0..commits {
                    let plans: Vec<Plan> =
                        sources.iter_mut().map(|source| source.append(per_append)).collect();
                    let mut base = version.load(Ordering::Relaxed);
                    let committed = loop {
                        match write(database, prefix, base, &plans) {
                            Ok(committed) => break committed,
                            // A busy machine loses answers and makes versions old: again, at a new one.
                            Err(_) => base = fresh(database),
                        }
                    };
                    version.fetch_max(committed, Ordering::Relaxed);
                }
            });
        }
    });
    let figures = measure.end(commits * appends * per_append * threads);
    engine.erase().unwrap();
    figures
}

/// The cluster's version.
fn fresh(database: &Database) -> i64 {
    loop {
        let transaction = database.create_trx().unwrap();
        if let Ok(version) = wait(transaction.get_read_version()) {
            return version;
        }
    }
}

/// One transaction of a bare client; its version, or an error's code.
fn write(database: &Database, prefix: &[u8], base: i64, plans: &[Plan]) -> Result<i64, i32> {
    let transaction = database.create_trx().unwrap();
    transaction.set_option(TransactionOption::ReadYourWritesDisable).unwrap();
    transaction.set_read_version(base);
    let untracked = || {
        transaction.set_option(TransactionOption::NextWriteNoWriteConflictRange).unwrap();
    };
    let (mut key, mut op_number) = (Vec::new(), 0_u16);
    for op in plans.iter().flat_map(|plan| &plan.ops) {
        key.clear();
        key.extend_from_slice(prefix);
        match op {
            Op::Set { key: row, value } => {
                if keys::is_never_guarded(row.first(), row.len()) {
                    untracked();
                }
                key.extend_from_slice(row);
                transaction.set(&key, value);
            }
            Op::SetStampedKey { prefix: row, value } => {
                untracked();
                key.extend_from_slice(row);
                let offset = key.len() as u32;
                key.extend_from_slice(&[0; 10]);
                key.extend_from_slice(&op_number.to_be_bytes());
                key.extend_from_slice(&offset.to_le_bytes());
                op_number += 1;
                transaction.atomic_op(&key, value, MutationType::SetVersionstampedKey);
            }
            other => panic!("an append has no {other:?}"),
        }
    }
    let committed = wait(transaction.commit()).map_err(|error| error.code());
    Ok(committed?.committed_version().unwrap())
}
