//! What an operation of the layer costs on each engine, and bare fjall with the same rows.
//!
//! ```text
//! cargo bench -p rookery-store                       # data in the temporary directory
//! TMPDIR=/dev/shm cargo bench -p rookery-store       # in memory: no disk, the code alone
//! ```
//!
//! A batch that waits for a disk is as fast as the disk: compare `embedded` with `bare` of the same
//! run. Throughput under load, with many plans in flight, is in `examples/engine_throughput.rs`;
//! instructions, which a busy machine does not change, in `examples/layer_work.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a benchmark that fails stops"
)]

#[path = "shapes/mod.rs"]
mod shapes;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fjall::{Database, KeyspaceCreateOptions, PersistMode};
use rookery_protocol::UserId;
use rookery_store::{Op, Plan, Stamp, Version};
use shapes::{Conversation, SHAPES, fill, history_page, stores, submit, sync};
use tempfile::TempDir;

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

fn appends(c: &mut Criterion) {
    for shape in &SHAPES {
        let mut group = c.benchmark_group(shape.name);
        group.throughput(Throughput::Elements(shape.conversations * shape.entries));
        for (engine, store, _dir) in stores() {
            let mut writers = shape.writers(&store);
            group.bench_function(BenchmarkId::from_parameter(engine), |b| {
                b.iter(|| submit(&store, shape.plans(&mut writers)));
            });
        }
        let mut writers = shape.writers(&stores()[0].1);
        let mut bare = Bare::new();
        group.bench_function(BenchmarkId::from_parameter("bare fjall"), |b| {
            b.iter(|| bare.write(shape.plans(&mut writers)));
        });
        group.finish();
    }
}

fn reads(c: &mut Criterion) {
    for (engine, store, _dir) in stores() {
        fill(&store);
        let mut group = c.benchmark_group("history page of 100");
        let mut number = 0;
        group.bench_function(BenchmarkId::from_parameter(engine), |b| {
            b.iter(|| {
                number += 1;
                history_page(&store, number);
            });
        });
        group.finish();
        let mut group = c.benchmark_group("sync of 100 pointers and their 1000 entries");
        group.bench_function(BenchmarkId::from_parameter(engine), |b| b.iter(|| sync(&store)));
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
