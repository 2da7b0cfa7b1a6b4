//! How fast the embedded engine commits, against bare fjall with the same rows in the same run.
//!
//! ```text
//! cargo run --release -p rookery-store --example engine_throughput -- \
//!     [--messages 200000] [--rounds 3] [--dir DIR]
//! ```
//!
//! A message is five rows: message, dedupe, head and two inbox pointers; a plan holds 1 to 64 of
//! one conversation under a guard on one of 64 fences. The engine is driven with a fixed number
//! of plans in flight; bare fjall then writes batches of as many plans as the engine's had on
//! average, each synced, without guards, checksums or reports. Rows are generated on another
//! thread in both. The two alternate, each in a new directory; the round with the middle ratio
//! is shown (the machine may be shared).
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation
)]

use bytes::Bytes;
use fjall::{Database, KeyspaceCreateOptions, PersistMode};
use rookery_store::embedded::{EmbeddedConfig, EmbeddedEngine};
use rookery_store::{Engine, Guard, Op, Outcome, Plan, Version};
use std::path::Path;
use std::sync::mpsc::{channel, sync_channel};
use std::time::{Duration, Instant};

const FENCES: u64 = 64;
const CONVERSATIONS: u64 = 5_000;

/// One shape of load: messages in a plan, plans in flight.
const LOADS: [(u64, usize); 6] = [(1, 1), (1, 64), (1, 256), (16, 16), (64, 4), (64, 16)];

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let value = |name: &str| args.iter().position(|arg| arg == name).map(|at| args[at + 1].clone());
    let messages: u64 = value("--messages").map_or(200_000, |text| text.parse().unwrap());
    let rounds: usize = value("--rounds").map_or(3, |text| text.parse().unwrap());
    let parent = value("--dir").map_or_else(std::env::temp_dir, Into::into);
    println!("messages/plan  in flight  plans/batch     who  plans/s  messages/s  us CPU  of bare");
    for (per_plan, in_flight) in LOADS {
        // A lone plan costs a whole sync: fewer of those.
        let messages = if in_flight * per_plan as usize <= 16 { messages / 40 } else { messages };
        let round = |_| {
            let (engine, batch) = run_engine(&parent, messages, per_plan, in_flight);
            (run_bare(&parent, messages, per_plan, batch), engine, batch)
        };
        let mut results: Vec<_> = (0..rounds).map(round).collect();
        results.sort_by(|a, b| (a.1.rate / a.0.rate).total_cmp(&(b.1.rate / b.0.rate)));
        let (bare, engine, batch) = &results[rounds / 2];
        for (who, figures) in [("bare", bare), ("engine", engine)] {
            println!(
                "{per_plan:>13}  {in_flight:>9}  {batch:>11}  {who:>6}  {:>7.0}  {:>10.0}  {:>6.2}  {:>7.2}",
                figures.rate / per_plan as f64,
                figures.rate,
                figures.cpu_us,
                figures.rate / bare.rate,
            );
        }
    }
}

/// Messages a second, and CPU time of the whole process a message.
#[derive(Clone, Copy)]
struct Figures {
    rate: f64,
    cpu_us: f64,
}

impl Figures {
    fn of(messages: u64, took: Duration, cpu: Duration) -> Self {
        let rate = messages as f64 / took.as_secs_f64();
        Self { rate, cpu_us: cpu.as_secs_f64() * 1e6 / messages as f64 }
    }
}

/// CPU time of this process so far (user and system, in ticks of 10 ms), 0 where unknown.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis(10 * (ticks(12) + ticks(13)))
}

/// A repeatable source of plans.
struct Source {
    random: u64,
    heads: Vec<u64>,
    per_plan: u64,
}

impl Source {
    fn new(per_plan: u64) -> Self {
        Self { random: 0x9e37_79b9_7f4a_7c15, heads: vec![0; CONVERSATIONS as usize], per_plan }
    }

    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// The fence's key and the rows of one plan's messages.
    fn rows(&mut self) -> (Bytes, Vec<(Bytes, Bytes)>) {
        let place = self.random() % CONVERSATIONS;
        let conversation = place.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        let mut rows = Vec::with_capacity(5 * self.per_plan as usize);
        for _ in 0..self.per_plan {
            self.heads[place as usize] += 1;
            let seq = self.heads[place as usize].to_be_bytes();
            let ids = [self.random().to_be_bytes(), self.random().to_be_bytes()].concat();
            let users = [self.random() % 10_000, self.random() % 10_000].map(u64::to_be_bytes);
            let body = 20 + (self.random() % 181) as usize;
            let value: Vec<u8> = ids.iter().copied().cycle().take(body).collect();
            let key = |parts: &[&[u8]]| Bytes::from(parts.concat());
            let small = Bytes::copy_from_slice(&ids);
            rows.push((key(&[b"m", &conversation, &seq]), Bytes::from(value)));
            rows.push((key(&[b"d", &conversation, &users[0], &ids]), small.clone()));
            rows.push((key(&[b"h", &conversation]), small.clone()));
            for user in users {
                rows.push((key(&[b"i", &user, b"\0\0\0\x01", &ids[..12]]), small.clone()));
            }
        }
        (fence(place % FENCES), rows)
    }

    fn plan(&mut self) -> Plan {
        let (key, rows) = self.rows();
        let known = Some(Bytes::from_static(b"owner"));
        let guards = vec![Guard { key, known, version: Version(1) }];
        let set = |(key, value)| Op::Set { key, value };
        Plan { guards, ops: rows.into_iter().map(set).collect() }
    }
}

fn fence(slot: u64) -> Bytes {
    Bytes::from([b"f".as_slice(), &(slot as u16).to_be_bytes()].concat())
}

fn run_engine(parent: &Path, messages: u64, per_plan: u64, in_flight: usize) -> (Figures, usize) {
    let dir = tempfile::tempdir_in(parent).unwrap();
    let engine = EmbeddedEngine::open(&EmbeddedConfig::new(dir.path())).unwrap();
    let (report, reports) = channel();
    let submit = |plan: Plan| {
        let report = report.clone();
        engine.submit(vec![plan], Box::new(move |outcomes| report.send(outcomes).unwrap()));
    };
    let set = |slot| Op::Set { key: fence(slot), value: Bytes::from_static(b"owner") };
    submit(Plan { guards: Vec::new(), ops: (0..FENCES).map(set).collect() });
    reports.recv().unwrap();

    let mut source = Source::new(per_plan);
    let plans = messages / per_plan;
    let (started, cpu_before) = (Instant::now(), cpu());
    for at in 0..plans + in_flight as u64 {
        if at >= in_flight as u64 {
            let outcomes = reports.recv().unwrap();
            assert!(matches!(outcomes[..], [Outcome::Committed { .. }]), "{outcomes:?}");
        }
        if at < plans {
            submit(source.plan());
        }
    }
    let figures = Figures::of(messages, started.elapsed(), cpu().saturating_sub(cpu_before));
    (figures, (plans as f64 / engine.batches() as f64).round() as usize)
}

fn run_bare(parent: &Path, messages: u64, per_plan: u64, plans_per_batch: usize) -> Figures {
    let dir = tempfile::tempdir_in(parent).unwrap();
    let database = Database::builder(dir.path()).cache_size(128 << 20).open().unwrap();
    let rows = database.keyspace("rows", KeyspaceCreateOptions::default).unwrap();
    let batches = messages / per_plan / plans_per_batch as u64;
    let (ready, take) = sync_channel(2);
    let (started, cpu_before) = (Instant::now(), cpu());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut source = Source::new(per_plan);
            for _ in 0..batches {
                let plans = (0..plans_per_batch).flat_map(|_| source.rows().1).collect::<Vec<_>>();
                ready.send(plans).unwrap();
            }
        });
        for plans in take {
            let mut batch = database.batch().durability(Some(PersistMode::SyncData));
            for (key, value) in plans {
                batch.insert(&rows, key.as_ref(), value.as_ref());
            }
            batch.commit().unwrap();
        }
    });
    let messages = batches * plans_per_batch as u64 * per_plan;
    Figures::of(messages, started.elapsed(), cpu().saturating_sub(cpu_before))
}
