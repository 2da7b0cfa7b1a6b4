//! The one writer: takes everything that waits, decides each plan in order, writes what it
//! accepted as one batch with one sync, then reports.
//!
//! ```text
//! queue --take--> [submission] --fetch--> memory of rows
//!                      | for each plan: guards by value? -> operations into the batch, version + 1
//!                      v
//!                one LSM batch + the version row --fdatasync--> visible --> done(..) --> COMMITTED
//! ```
//!
//! Safety: a batch that could not be written may or may not be on the disk, and the LSM's memory
//! no longer matches it. So the LSM takes no further batch: that one is unresolved, whatever comes
//! later is refused, reads go on. The same when flushing or merging has failed, except that no batch
//! is in doubt. If it was for want of room, the directory is opened again, without that batch, once
//! there is some; after any other failure only a new start does that.

use super::dir::{self, Committed};
use super::disk::{Disk, VersionRow};
use super::known::{Building, Cleared, Memory};
use super::queue::Submission;
use super::room::{Again, Look, Room};
use super::{EmbeddedConfig, Shared, Trouble};
use crate::apply::{apply, guards_hold};
use crate::engine::ReadError;
use crate::plan::{Op, Outcome, Plan, Version};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Callers that were just answered come back with their next plans a moment later. Syncing for
/// the first of them alone would make the others wait for two syncs, so after a batch of several
/// the writer waits for about as many: at most an eighth of what the batch took, and this. After
/// a lone plan it does not wait.
const MOST_PATIENCE: Duration = Duration::from_micros(500);
/// How long opening again waits for snapshots to end before it leaves them alone for now.
const SNAPSHOTS_END: Duration = Duration::from_millis(100);
/// Between two looks at an LSM that must flush or merge first.
const BEHIND: Duration = Duration::from_millis(2);

pub(super) struct Writer {
    shared: Arc<Shared>,
    config: EmbeddedConfig,
    version: Version,
    /// The version that `committed` tells.
    noted: Version,
    committed: Committed,
    room: Room,
    again: Again,
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
        config: EmbeddedConfig,
        version: Version,
        committed: Committed,
    ) -> Self {
        let (memory, meters) = (Memory::new(), Meters::new());
        let (noted, scratch) = (version, Vec::new());
        let (room, again) = (Room::new(&config.dir, config.reserve_bytes), Again::default());
        Self { shared, config, version, noted, committed, room, again, memory, scratch, meters }
    }

    /// Works until the queue is closed and empty, or a write fails.
    pub(super) fn run(mut self) {
        let mut batch = Vec::new();
        let (mut wanted, mut patience) = (0, Duration::ZERO);
        while let Some(bytes) =
            self.shared.queue.take(&mut batch, self.config.batch_bytes, wanted, patience)
        {
            let started = Instant::now();
            wanted = batch.len() * 3 / 4;
            // Even looking at the disk may take as long as it likes.
            self.shared.watch.begin(batch.iter().map(Submission::receiver).collect());
            match self.disk_with_room() {
                Some(disk) => self.commit(&disk, &mut batch),
                None => {
                    self.shared.watch.end();
                    batch.drain(..).for_each(|one| one.answer_all(Outcome::Busy));
                }
            }
            let held = self.shared.queue.release(bytes);
            // A gauge is a float; exact to 2^53 bytes.
            #[expect(clippy::cast_precision_loss)]
            self.meters.queue_bytes.set(held as f64);
            self.memory.sweep();
            patience = (started.elapsed() / 8).min(MOST_PATIENCE);
        }
        if self.shared.trouble().is_none()
            && let Ok(disk) = self.shared.disk()
            && let Err(error) = disk.persist()
        {
            self.shared.fail(&error.to_string());
        }
    }

    /// The LSM, if it takes a batch; opens it again if that is what it needs.
    fn disk_with_room(&mut self) -> Option<Arc<Disk>> {
        let trouble = self.shared.trouble();
        match trouble {
            Some(Trouble::Failed(_)) => return None,
            Some(Trouble::Full(_)) if !self.open_again() => return None,
            _ => {}
        }
        let disk = self.shared.disk().ok()?;
        let look = self.room.look(&disk);
        if let Err(error) = disk.check() {
            self.failed(&error, look);
            return None;
        }
        if self.room.is_kept() && look.is_short() {
            self.refuse(look, trouble.is_none());
            return None;
        }
        if trouble.is_some() {
            tracing::info!("the disk has room again; commits are taken");
            self.shared.set_trouble(None);
        }
        Some(disk)
    }

    /// Takes no plans for want of room.
    fn refuse(&self, Look { free, needed, .. }: Look, is_new: bool) {
        if is_new {
            tracing::error!(free, needed, "the disk is full; commits are refused for now");
        }
        let why = format!("{free} bytes are free on the disk, {needed} are needed");
        self.shared.set_trouble(Some(Trouble::NoRoom(why)));
    }

    /// Opens the LSM again at the last version that was confirmed.
    fn open_again(&mut self) -> bool {
        let now = Instant::now();
        if !self.again.may(now) || !self.room.is_enough_to_open() {
            return false;
        }
        if !self.shared.close_disk(SNAPSHOTS_END) {
            return false;
        }
        self.again.opens(now);
        match dir::open(&self.config.dir, &self.config.tuning(), Some(self.version)) {
            Ok(opened) if opened.version == self.version => {
                (self.committed, self.memory) = (opened.committed, Memory::new());
                self.room.opened();
                self.shared.set_disk(Arc::new(opened.disk));
                true
            }
            Ok(opened) => {
                let (found, ours) = (opened.version.0, self.version.0);
                self.shared.fail(&format!("opened again at version {found}, {ours} was confirmed"));
                self.shared.set_disk(Arc::new(opened.disk));
                false
            }
            Err(error) => {
                tracing::error!(%error, "the store could not be opened again; it is tried later");
                false
            }
        }
    }

    /// Decides, writes and reports one batch.
    fn commit(&mut self, disk: &Disk, submissions: &mut Vec<Submission>) {
        let mut cleared = Cleared::new();
        let fetched: Vec<Vec<bool>> = submissions
            .iter()
            .map(|submission| {
                let fetch = |plan: &Option<Plan>| {
                    plan.as_ref().is_none_or(|plan| self.fetch(disk, plan, &mut cleared))
                };
                submission.plans().iter().map(fetch).collect()
            })
            .collect();
        let plans = submissions.iter().flat_map(|submission| submission.plans().iter().flatten());
        let rung = self.shared.bells.touched(plans.flat_map(|plan| &plan.ops));
        let mut building = Building {
            disk,
            memory: &mut self.memory,
            batch: disk.batch(),
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
            self.write(disk, batch, (version, plans), &mut outcomes);
        }
        self.shared.watch.end();
        self.meters.count(&outcomes);
        self.shared.bells.ring(&rung);
        for (submission, outcomes) in submissions.drain(..).zip(outcomes) {
            submission.answer(outcomes);
        }
        self.note();
    }

    /// Notes the version behind the reports: the callers need not wait for it.
    fn note(&mut self) {
        if self.noted == self.version {
            return;
        }
        self.noted = self.version;
        if let Err(error) = self.committed.set(self.version) {
            // The note stays behind, which is allowed; the commit is durable.
            tracing::warn!(%error, "could not note the committed version");
        }
    }

    /// Reads what the plan needs. False: it can't be decided.
    fn fetch(&mut self, disk: &Disk, plan: &Plan, cleared: &mut Cleared) -> bool {
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

    /// A batch could not be written, or nothing can any more because the background has failed.
    fn failed(&self, error: &fjall::Error, look: Look) {
        // The background does not say why; see `room`.
        let no_room = matches!(error, fjall::Error::Poisoned) && look.short_lately;
        if is_full(error) || no_room {
            tracing::error!(%error, "the disk is full; commits are refused for now");
            self.shared.set_trouble(Some(Trouble::Full(format!("the disk is full: {error}"))));
        } else {
            self.shared.fail(&error.to_string());
        }
    }

    fn write(
        &mut self,
        disk: &Disk,
        mut batch: fjall::OwnedWriteBatch,
        (version, plans): (Version, u64),
        outcomes: &mut [Vec<Outcome>],
    ) {
        let row = VersionRow { version, previous: self.version };
        disk.put_version(&mut batch, row);
        let started = Instant::now();
        let written = match caught_up(disk) {
            Ok(()) => batch.commit().map_err(|error| (error, Outcome::Unresolved)),
            Err(error) => Err((error, Outcome::Busy)),
        };
        if let Err((error, instead)) = written {
            let look = self.room.look(disk);
            self.failed(&error, look);
            for outcome in outcomes.iter_mut().flatten() {
                if matches!(outcome, Outcome::Committed { .. }) {
                    *outcome = instead;
                }
            }
            return;
        }
        self.again.went_well();
        self.meters.commit_seconds.record(started.elapsed());
        #[expect(clippy::cast_precision_loss)]
        self.meters.plans_per_commit.record(plans as f64);
        self.shared.batches.fetch_add(1, Ordering::Relaxed);
        self.version = version;
    }
}

/// Waits until the LSM has flushed and merged as much as it wants to before the next batch.
///
/// # Errors
/// Of the background, which won't do it any more; nothing of the batch was written.
fn caught_up(disk: &Disk) -> fjall::Result<()> {
    while disk.is_behind() {
        disk.check()?;
        std::thread::sleep(BEHIND);
    }
    Ok(())
}

/// Whether a write failed because the disk, or this user's part of it, is full.
fn is_full(error: &fjall::Error) -> bool {
    use fjall::{Error, LsmError};
    match error {
        Error::Io(error) | Error::Storage(LsmError::Io(error)) => {
            matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
        }
        _ => false,
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
