//! What the engine counts: operations sent to the cluster, and what became of plans.

use crate::plan::Outcome;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// How many operations of each kind an engine has sent to its cluster: each is a round trip.
/// Views are their callers' own and not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Operations {
    /// Read versions that a commit waited for.
    pub read_versions: u64,
    /// Reads that a commit waited for.
    pub reads: u64,
    /// Transactions committed, or tried to.
    pub commits: u64,
    /// Read versions asked for as a canary; nothing waits for those.
    pub canaries: u64,
}

/// Handles of the metrics, looked up once, and the engine's own counters.
pub(super) struct Meters {
    read_versions: AtomicU64,
    reads: AtomicU64,
    commits: AtomicU64,
    canaries: AtomicU64,
    outcomes: [Counter; 4],
    operations: [Counter; 4],
    plans_per_commit: Histogram,
    commit_seconds: Histogram,
    version_seconds: Histogram,
    queue_bytes: Gauge,
}

impl Meters {
    pub(super) fn new() -> Self {
        let plans =
            |outcome: &'static str| counter!("rookery_store_plans_total", "outcome" => outcome);
        let operations =
            |kind: &'static str| counter!("rookery_store_fdb_operations_total", "kind" => kind);
        Self {
            read_versions: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            canaries: AtomicU64::new(0),
            outcomes: ["committed", "conflict", "refused", "unresolved"].map(plans),
            operations: ["read_version", "read", "commit", "canary"].map(operations),
            plans_per_commit: histogram!("rookery_store_plans_per_commit"),
            commit_seconds: histogram!("rookery_store_commit_seconds"),
            version_seconds: histogram!("rookery_store_fdb_read_version_seconds"),
            queue_bytes: gauge!("rookery_store_queue_bytes"),
        }
    }

    pub(super) fn operations(&self) -> Operations {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Operations {
            read_versions: count(&self.read_versions),
            reads: count(&self.reads),
            commits: count(&self.commits),
            canaries: count(&self.canaries),
        }
    }

    pub(super) fn read_version(&self) {
        self.read_versions.fetch_add(1, Ordering::Relaxed);
        let [versions, ..] = &self.operations;
        versions.increment(1);
    }

    pub(super) fn read(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let [_, reads, ..] = &self.operations;
        reads.increment(1);
    }

    pub(super) fn commit(&self) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        let [_, _, commits, _] = &self.operations;
        commits.increment(1);
    }

    pub(super) fn canary(&self) {
        self.canaries.fetch_add(1, Ordering::Relaxed);
        let [.., canaries] = &self.operations;
        canaries.increment(1);
    }

    /// How long the cluster took to give a version: it throttles by giving them slowly.
    pub(super) fn version_given(&self, since: Instant) {
        self.version_seconds.record(since.elapsed());
    }

    pub(super) fn committed(&self, since: Instant, good: bool) {
        if good {
            self.commit_seconds.record(since.elapsed());
        }
    }

    // Histograms and gauges are floats; exact to 2^53.
    #[expect(clippy::cast_precision_loss)]
    pub(super) fn merged(&self, plans: usize) {
        self.plans_per_commit.record(plans as f64);
    }

    #[expect(clippy::cast_precision_loss)]
    pub(super) fn holds(&self, bytes: usize) {
        self.queue_bytes.set(bytes as f64);
    }

    pub(super) fn outcome(&self, outcome: Outcome) {
        let [committed, conflict, refused, unresolved] = &self.outcomes;
        match outcome {
            Outcome::Committed { .. } => committed.increment(1),
            Outcome::Conflict => conflict.increment(1),
            Outcome::Busy | Outcome::TooLarge => refused.increment(1),
            Outcome::Unresolved => unresolved.increment(1),
        }
    }
}
