//! The one writer: takes everything that waits, decides each plan in order, writes what it
//! accepted as one batch with one sync, then reports.
//!
//! ```text
//! queue --take--> [submission] --fetch--> memory of rows
//!                      | for each plan: guards by value? -> operations into the batch, version + 1
//!                      v
//!                one LSM batch + the version row --fdatasync--> visible --> COMMITTED --> done(..)
//! ```
//!
//! Safety: a batch that could not be written may or may not be on the disk, and the LSM's memory
//! no longer matches it. The writer stops for good then: that batch is unresolved, whatever comes
//! later is refused, reads go on. Opening the directory again finds out what is there.

use super::Shared;
use super::dir::Committed;
use super::disk::VersionRow;
use super::known::{Building, Cleared, Memory};
use super::queue::Submission;
use crate::apply::{apply, guards_hold};
use crate::engine::ReadError;
use crate::plan::{Op, Outcome, Plan, Version};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Callers that were just answered come back with their next plans a moment later. Syncing for
/// the first of them alone would make the others wait for two syncs, so after a batch of several
/// the writer waits for about as many: at most an eighth of what the batch took, and this. After
/// a lone plan it does not wait.
const MOST_PATIENCE: Duration = Duration::from_micros(500);

pub(super) struct Writer {
    shared: Arc<Shared>,
    batch_bytes: usize,
    version: Version,
    committed: Committed,
    memory: Memory,
    scratch: Vec<u8>,
    meters: Meters,
}

/// Handles of the metrics, looked up once.
struct Meters {
    committed: Counter,
    conflict: Counter,
    refused: Counter,
    unresolved: Counter,
    plans_per_commit: Histogram,
    commit_seconds: Histogram,
    queue_bytes: Gauge,
}

impl Meters {
    fn new() -> Self {
        let plans =
            |outcome: &'static str| counter!("rookery_store_plans_total", "outcome" => outcome);
        Self {
            committed: plans("committed"),
            conflict: plans("conflict"),
            refused: plans("refused"),
            unresolved: plans("unresolved"),
            plans_per_commit: histogram!("rookery_store_plans_per_commit"),
            commit_seconds: histogram!("rookery_store_commit_seconds"),
            queue_bytes: gauge!("rookery_store_queue_bytes"),
        }
    }

    fn count(&self, outcomes: &[Vec<Outcome>]) {
        let mut counts = [0_u64; 4];
        let [committed, conflict, refused, unresolved] = &mut counts;
        for outcome in outcomes.iter().flatten() {
            match outcome {
                Outcome::Committed { .. } => *committed += 1,
                Outcome::Conflict => *conflict += 1,
                Outcome::Busy | Outcome::TooLarge => *refused += 1,
                Outcome::Unresolved => *unresolved += 1,
            }
        }
        let meters = [&self.committed, &self.conflict, &self.refused, &self.unresolved];
        for (meter, count) in meters.into_iter().zip(counts).filter(|(_, count)| *count > 0) {
            meter.increment(count);
        }
    }
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        batch_bytes: usize,
        version: Version,
        committed: Committed,
    ) -> Self {
        let (memory, meters) = (Memory::new(), Meters::new());
        Self { shared, batch_bytes, version, committed, memory, scratch: Vec::new(), meters }
    }

    /// Works until the queue is closed and empty, or a write fails.
    pub(super) fn run(mut self) {
        let mut batch = Vec::new();
        let (mut wanted, mut patience) = (0, Duration::ZERO);
        while let Some(bytes) =
            self.shared.queue.take(&mut batch, self.batch_bytes, wanted, patience)
        {
            let started = Instant::now();
            wanted = batch.len() * 3 / 4;
            if self.shared.has_failed() {
                batch.drain(..).for_each(|submission| submission.answer_all(Outcome::Busy));
            } else {
                self.commit(&mut batch);
            }
            let held = self.shared.queue.release(bytes);
            // A gauge is a float; exact to 2^53 bytes.
            #[expect(clippy::cast_precision_loss)]
            self.meters.queue_bytes.set(held as f64);
            self.memory.sweep();
            patience = (started.elapsed() / 8).min(MOST_PATIENCE);
        }
        if let Err(error) = self.shared.disk.persist() {
            self.shared.fail(&error.to_string());
        }
    }

    /// Decides, writes and reports one batch.
    fn commit(&mut self, submissions: &mut Vec<Submission>) {
        let mut cleared = Cleared::new();
        let fetched: Vec<Vec<bool>> = submissions
            .iter()
            .map(|submission| {
                let fetch = |plan: &Option<Plan>| {
                    plan.as_ref().is_none_or(|plan| self.fetch(plan, &mut cleared))
                };
                submission.plans().iter().map(fetch).collect()
            })
            .collect();
        let shared = Arc::clone(&self.shared);
        let plans = submissions.iter().flat_map(|submission| submission.plans().iter().flatten());
        let rung = shared.bells.touched(plans.flat_map(|plan| &plan.ops));
        let mut building = Building {
            disk: &shared.disk,
            memory: &mut self.memory,
            batch: shared.disk.batch(),
            cleared: &cleared,
            set: Vec::new(),
            scratch: &mut self.scratch,
        };
        let mut version = self.version;
        let mut outcomes = Vec::with_capacity(submissions.len());
        for (submission, fetched) in submissions.iter_mut().zip(fetched) {
            let plans = submission.take_plans().into_iter().zip(fetched);
            let decide = |(plan, fetched)| decide(plan, fetched, &mut version, &mut building);
            outcomes.push(plans.map(decide).collect::<Vec<_>>());
        }
        if version > self.version {
            let Building { batch, .. } = building;
            let plans = version.0 - self.version.0;
            self.write(batch, version, plans, &mut outcomes);
        }
        self.meters.count(&outcomes);
        shared.bells.ring(&rung);
        for (submission, outcomes) in submissions.drain(..).zip(outcomes) {
            submission.answer(outcomes);
        }
    }

    /// Reads what the plan needs. False: it can't be decided.
    fn fetch(&mut self, plan: &Plan, cleared: &mut Cleared) -> bool {
        let disk = &self.shared.disk;
        let mut fetch = || -> Result<(), ReadError> {
            self.memory.fetch(plan, disk)?;
            for op in &plan.ops {
                if let Op::ClearRange { from, to } = op
                    && from < to
                {
                    let keys = disk.latest_keys(from, to)?;
                    cleared.insert((from.clone(), to.clone()), keys);
                }
            }
            Ok(())
        };
        fetch()
            .inspect_err(
                |error| tracing::error!(%error, "a plan is refused: its rows can't be read"),
            )
            .is_ok()
    }

    fn write(
        &mut self,
        mut batch: fjall::OwnedWriteBatch,
        version: Version,
        plans: u64,
        outcomes: &mut [Vec<Outcome>],
    ) {
        let row = VersionRow { version, previous: self.version };
        self.shared.disk.put_version(&mut batch, row);
        let started = Instant::now();
        if let Err(error) = batch.commit() {
            self.shared.fail(&error.to_string());
            for outcome in outcomes.iter_mut().flatten() {
                if matches!(outcome, Outcome::Committed { .. }) {
                    *outcome = Outcome::Unresolved;
                }
            }
            return;
        }
        self.meters.commit_seconds.record(started.elapsed());
        #[expect(clippy::cast_precision_loss)]
        self.meters.plans_per_commit.record(plans as f64);
        self.shared.batches.fetch_add(1, Ordering::Relaxed);
        self.version = version;
        if let Err(error) = self.committed.set(version) {
            // The note stays behind, which is allowed; the commit is durable.
            tracing::warn!(%error, "could not note the committed version");
        }
    }
}

/// Decides one plan against the rows as the plans before it left them.
fn decide(
    plan: Option<Plan>,
    fetched: bool,
    version: &mut Version,
    building: &mut Building<'_>,
) -> Outcome {
    let Some(plan) = plan else { return Outcome::TooLarge };
    if !fetched {
        return Outcome::Busy;
    }
    if !guards_hold(&plan.guards, building) {
        return Outcome::Conflict;
    }
    *version = Version(version.0 + 1);
    let stamp = apply(plan.ops, *version, building);
    Outcome::Committed { version: *version, stamp }
}
