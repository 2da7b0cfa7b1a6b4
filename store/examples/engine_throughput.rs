//! How fast the embedded engine commits, against bare fjall with the same rows in the same run.
//!
//! ```text
//! cargo run --release -p rookery-store --example engine_throughput -- \
//!     [--messages 20000] [--rounds 15] [--dir DIR]
//! ```
//!
//! A message is five rows: message, dedupe, head and two inbox pointers; a plan holds 1 to 64 of
//! one conversation under a guard on one of 64 fences. The engine is driven with a fixed number
//! of plans in flight; bare fjall then writes batches of as many plans as the engine's had on
//! average, each synced, without guards, checksums or reports. `handed` is bare fjall on a thread of
//! its own: each batch is handed to it, and it reports back before it is given another one. No engine
//! that doesn't block its caller can be faster with one plan in flight, because it does the same.
//! Rows are made before the clock starts. They alternate in short rounds, each in a directory of its
//! own that it keeps.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation
)]

mod throughput;

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use rookery_store::embedded::{EmbeddedConfig, EmbeddedEngine};
use rookery_store::{Engine, Guard, Op, Outcome, Plan, Version};
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use tempfile::TempDir;
use throughput::{Figures, Measure, Round, argument};

const FENCES: u64 = 64;
const CONVERSATIONS: u64 = 5_000;

/// One shape of load: messages in a plan, plans in flight.
const LOADS: [(u64, u64); 6] = [(1, 1), (1, 64), (1, 256), (16, 16), (64, 4), (64, 16)];

fn main() {
    let messages: u64 = argument("--messages").unwrap_or(20_000);
    let rounds: u64 = argument("--rounds").unwrap_or(15);
    let parent = argument::<PathBuf>("--dir").unwrap_or_else(std::env::temp_dir);
    println!(
        "messages/plan  in flight   plans/batch     who   plans/s  messages/s  us CPU  of bare"
    );
    for (per_plan, in_flight) in LOADS {
        // A lone plan costs a whole sync: fewer of those.
        let messages = if in_flight * per_plan <= 16 { messages / 40 } else { messages };
        let plans = (messages / per_plan).max(4 * in_flight);
        let (mut hosted, mut bare) = (Hosted::open(&parent), Bare::open(&parent));
        let mut handed = Bare::open(&parent);
        let (mut of_bare, mut of_handed) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let (engine, batch) = hosted.run(plans, per_plan, in_flight);
            let batches = plans / batch;
            let of = |other| Round { bare: other, ours: engine, batch };
            of_bare.push(of(bare.run(batches, batch, per_plan)));
            of_handed.push(of(handed.run_handed(batches, batch, per_plan)));
        }
        let load = format!("{per_plan:>13}  {in_flight:>9}");
        throughput::show(&load, ("bare", "engine"), per_plan, of_bare);
        if in_flight == 1 {
            throughput::show(&load, ("handed", "engine"), per_plan, of_handed);
        }
    }
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

    /// Batches of the rows of several plans.
    fn batches(&mut self, batches: u64, plans: u64) -> Vec<Rows> {
        (0..batches).map(|_| (0..plans).flat_map(|_| self.rows().1).collect()).collect()
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

/// The engine and its directory.
struct Hosted {
    engine: EmbeddedEngine,
    _dir: TempDir,
}

impl Hosted {
    fn open(parent: &Path) -> Self {
        let dir = tempfile::tempdir_in(parent).unwrap();
        let engine = EmbeddedEngine::open(&EmbeddedConfig::new(dir.path())).unwrap();
        let set = |slot| Op::Set { key: fence(slot), value: Bytes::from_static(b"owner") };
        let fences = Plan { guards: Vec::new(), ops: (0..FENCES).map(set).collect() };
        let (report, reports) = channel();
        engine.submit(vec![fences], Box::new(move |outcomes| report.send(outcomes).unwrap()));
        reports.recv().unwrap();
        Self { engine, _dir: dir }
    }

    /// Its figures, and how many plans it wrote in a batch on average.
    fn run(&mut self, plans: u64, per_plan: u64, in_flight: u64) -> (Figures, u64) {
        let (report, reports) = channel();
        let mut source = Source::new(per_plan);
        let mut ready = (0..plans).map(|_| source.plan()).collect::<Vec<_>>().into_iter();
        let batches = self.engine.batches();
        let measure = Measure::start();
        for at in 0..plans + in_flight {
            if at >= in_flight {
                let outcome = reports.recv().unwrap();
                assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
            }
            if let Some(plan) = ready.next() {
                let report = report.clone();
                let done = move |outcomes: Vec<Outcome>| report.send(outcomes[0]).unwrap();
                self.engine.submit(vec![plan], Box::new(done));
            }
        }
        let figures = measure.end(plans * per_plan);
        let batches = (self.engine.batches() - batches).max(1);
        (figures, ((plans as f64 / batches as f64).round() as u64).max(1))
    }
}

type Rows = Vec<(Bytes, Bytes)>;

/// Bare fjall and its directory.
struct Bare {
    database: Database,
    rows: Keyspace,
    _dir: TempDir,
}

impl Bare {
    fn open(parent: &Path) -> Self {
        let dir = tempfile::tempdir_in(parent).unwrap();
        let database = Database::builder(dir.path()).cache_size(128 << 20).open().unwrap();
        let rows = database.keyspace("rows", KeyspaceCreateOptions::default).unwrap();
        Self { database, rows, _dir: dir }
    }

    fn write(&self, rows: Rows) {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for (key, value) in rows {
            batch.insert(&self.rows, key.as_ref(), value.as_ref());
        }
        batch.commit().unwrap();
    }

    fn run(&mut self, batches: u64, plans: u64, per_plan: u64) -> Figures {
        let ready = Source::new(per_plan).batches(batches, plans);
        let measure = Measure::start();
        ready.into_iter().for_each(|rows| self.write(rows));
        measure.end(batches * plans * per_plan)
    }

    /// Each batch is handed to a thread that writes it and reports.
    fn run_handed(&mut self, batches: u64, plans: u64, per_plan: u64) -> Figures {
        let ready = Source::new(per_plan).batches(batches, plans);
        let (hand, handed) = channel::<Rows>();
        let (report, reports) = channel();
        std::thread::scope(|scope| {
            let bare = &*self;
            scope.spawn(move || {
                handed.into_iter().for_each(|rows| {
                    bare.write(rows);
                    report.send(()).unwrap();
                })
            });
            let measure = Measure::start();
            for rows in ready {
                hand.send(rows).unwrap();
                reports.recv().unwrap();
            }
            drop(hand);
            measure.end(batches * plans * per_plan)
        })
    }
}
