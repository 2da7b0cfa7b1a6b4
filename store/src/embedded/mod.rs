//! The engine of one machine, the default: an LSM (fjall) in the data directory, one writer.
//!
//! Safety: the promises of [`Engine`]; what they rest on is written at the parts:
//!
//! ```text
//! dir     the data directory: lock, format, creation, the note of what was committed
//! inspect what is checked of the LSM's files before it opens them
//! disk    the LSM: rows, version row, snapshots          row    checksums of rows
//! queue   bounded, in front of the writer                known  rows the writer remembers
//! writer  one thread: many plans, one batch, one sync   watch   what holds it up
//! room    whether the disk has room
//! ```
//!
//! Liveness: a submission is answered when its batch is durable, or at once (`Busy`) when the
//! queue is full, closed, the disk has no room, or the engine has failed. While the LSM can't keep
//! up with flushing, the writer waits for it; the queue fills and refuses. A write that takes longer
//! than [`EmbeddedConfig::stall`] is not waited for.
//!
//! What fails, and how it goes on:
//!
//! | what | commits | reads | goes on |
//! |---|---|---|---|
//! | too little room ([`EmbeddedConfig::reserve_bytes`]) | `Busy` | yes | when there is room |
//! | a write found the disk full | that batch `Unresolved`, then `Busy` | yes | opens again when there is room |
//! | flushing or merging found the disk full | `Busy` (`Unresolved` if a batch was on its way) | yes | opens again when there is room |
//! | any other failed write or sync | that batch `Unresolved`, then `Busy` | yes | when opened again: the disk can't be trusted |
//!
//! Opening again cuts the batch that failed out of the journal: whatever of it reached the disk
//! was never confirmed, and what a failed sync left in memory only must not be read as durable.
//!
//! Not here: deleting a range without visiting its keys (the LSM has no such thing in a batch).
//! A `ClearRange` reads the keys of its range and removes each, so it costs as much as it clears
//! and holds those keys in memory: clear in pieces.

mod dir;
mod disk;
mod error;
mod inspect;
mod known;
mod queue;
mod room;
mod row;
mod watch;
mod writer;

pub use error::OpenError;

use crate::doorbell::{Bells, Doorbell};
use crate::engine::{Done, Engine, ReadError, Row, View};
use crate::plan::{Outcome, Plan, Version};
use bytes::Bytes;
use disk::{Disk, Tuning};
use fjall::Snapshot;
use queue::{Queue, Submission};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use watch::Watch;
use writer::Writer;

/// How to open an [`EmbeddedEngine`].
#[derive(Clone, Debug)]
pub struct EmbeddedConfig {
    /// The data directory; created if it does not exist.
    pub dir: PathBuf,
    /// Bytes of the cache of blocks read from disk.
    pub cache_bytes: u64,
    /// Most bytes of plans that wait or are being committed; beyond, submissions are `Busy`.
    pub queue_bytes: usize,
    /// Most bytes of plans in one commit (a larger submission is still one).
    pub batch_bytes: usize,
    /// Bytes of rows gathered in memory before they are sorted into a file. Fixed when the store
    /// is created.
    pub memtable_bytes: u64,
    /// Most bytes of journals on disk, at least 64 MiB.
    pub journal_bytes: u64,
    /// Threads that flush and compact, at least 1.
    pub worker_threads: usize,
    /// Free bytes of the disk below which plans are refused, beside room for flushing and merging,
    /// which a full disk would break off: as much as there is in memory, and as much as the tables
    /// take, up to 1 GiB. 0: plans are not refused, the write that finds the disk full tells.
    pub reserve_bytes: u64,
    /// Longest time a write may take before its plans are reported as `Unresolved` and others are
    /// refused. It goes on all the same.
    pub stall: Duration,
}

impl EmbeddedConfig {
    /// The defaults for a data directory.
    #[must_use]
    pub fn new(dir: impl AsRef<Path>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            dir: dir.as_ref().to_owned(),
            cache_bytes: 128 << 20,
            queue_bytes: 64 << 20,
            batch_bytes: 4 << 20,
            memtable_bytes: 64 << 20,
            journal_bytes: 512 << 20,
            worker_threads: cores.clamp(2, 4),
            reserve_bytes: 128 << 20,
            stall: Duration::from_secs(10),
        }
    }

    fn tuning(&self) -> Tuning {
        Tuning {
            cache_bytes: self.cache_bytes,
            journal_bytes: self.journal_bytes.max(64 << 20),
            memtable_bytes: self.memtable_bytes,
            worker_threads: self.worker_threads.max(1),
        }
    }
}

/// Whether an engine still takes commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Healthy,
    /// Commits are refused for now, because the disk is full or does not answer. It goes on by
    /// itself.
    Waiting(String),
    /// A write failed: every commit is refused until the store is opened again. Reads go on.
    Failed(String),
    /// It was closed.
    Closed,
}

/// The engine of one machine. Clones share one store.
///
/// The directory is free for another opening when the clones and their views are dropped.
#[derive(Clone)]
pub struct EmbeddedEngine {
    running: Arc<Running>,
}

/// What the handles and the writer share.
struct Shared {
    /// `None` while it is being opened again.
    disk: RwLock<Option<Arc<Disk>>>,
    queue: Queue,
    watch: Watch,
    trouble: Mutex<Option<Trouble>>,
    /// Batches made durable.
    batches: AtomicU64,
    bells: Bells,
}

/// Why no commit is taken.
#[derive(Clone)]
enum Trouble {
    /// There is not enough room on the disk; nothing has failed.
    NoRoom(String),
    /// A write, of a batch or in the background, failed for want of room: the LSM must be opened
    /// again.
    Full(String),
    /// For good.
    Failed(String),
}

/// The writer's thread and the one that watches it; dropping it ends both.
struct Running {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
    watch: Mutex<Option<JoinHandle<()>>>,
}

impl Shared {
    fn trouble(&self) -> Option<Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_trouble(&self, trouble: Option<Trouble>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    fn has_failed(&self) -> bool {
        matches!(self.trouble(), Some(Trouble::Failed(_)))
    }

    /// Refuses commits from now on.
    fn fail(&self, why: &str) {
        if !self.has_failed() {
            tracing::error!(
                error = why,
                "the store could not write; commits are refused until it is opened again"
            );
            self.set_trouble(Some(Trouble::Failed(why.to_owned())));
        }
    }

    fn disk(&self) -> Result<Arc<Disk>, ReadError> {
        let disk = self.disk.read().unwrap_or_else(PoisonError::into_inner).clone();
        disk.ok_or_else(|| ReadError::Unavailable("the store is being opened again".to_owned()))
    }

    /// Takes the LSM away from everybody, which takes as long as there are snapshots of it. False:
    /// there still were some after `patience`, and nothing has changed.
    fn close_disk(&self, patience: Duration) -> bool {
        let Some(disk) = self.disk.write().unwrap_or_else(PoisonError::into_inner).take() else {
            return true;
        };
        let until = Instant::now() + patience;
        while Arc::strong_count(&disk) > 1 {
            if Instant::now() >= until {
                self.set_disk(disk);
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        true
    }

    fn set_disk(&self, disk: Arc<Disk>) {
        *self.disk.write().unwrap_or_else(PoisonError::into_inner) = Some(disk);
    }
}

impl fmt::Debug for EmbeddedEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedEngine").field("health", &self.health()).finish_non_exhaustive()
    }
}

impl EmbeddedEngine {
    /// Opens the store of a data directory, or creates it. Replays the journal, so it takes time
    /// in proportion to it. Install a metrics recorder before.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(config: &EmbeddedConfig) -> Result<Self, OpenError> {
        let opened = dir::open(&config.dir, &config.tuning(), None)?;
        let queue = Queue::new(config.queue_bytes);
        let shared = Arc::new(Shared {
            disk: RwLock::new(Some(Arc::new(opened.disk))),
            queue,
            watch: Watch::default(),
            trouble: Mutex::new(None),
            batches: AtomicU64::new(0),
            bells: Bells::default(),
        });
        let failed = |source| OpenError::Io { path: config.dir.clone(), source };
        let on_unwind = StoppedOnUnwind(Arc::clone(&shared));
        let writer =
            Writer::new(Arc::clone(&shared), config.clone(), opened.version, opened.committed);
        let writer = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || {
                let _on_unwind = on_unwind;
                writer.run();
            })
            .map_err(failed)?;
        let mut running =
            Running { shared, writer: Mutex::new(Some(writer)), watch: Mutex::new(None) };
        let (watched, stall) = (Arc::clone(&running.shared), config.stall);
        let watch = std::thread::Builder::new()
            .name("store-watch".to_owned())
            .spawn(move || watch::run(&watched, stall))
            .map_err(failed)?;
        running.watch = Mutex::new(Some(watch));
        Ok(Self { running: Arc::new(running) })
    }

    /// Whether commits are taken.
    #[must_use]
    pub fn health(&self) -> Health {
        let shared = &self.running.shared;
        match shared.trouble() {
            Some(Trouble::Failed(why)) => Health::Failed(why),
            _ if !shared.queue.is_open() => Health::Closed,
            Some(Trouble::NoRoom(why) | Trouble::Full(why)) => Health::Waiting(why),
            None if shared.watch.is_overdue() => {
                Health::Waiting("the disk does not answer".to_owned())
            }
            None => Health::Healthy,
        }
    }

    /// How many batches were made durable since it was opened, each with one sync.
    #[must_use]
    pub fn batches(&self) -> u64 {
        self.running.shared.batches.load(Ordering::Relaxed)
    }

    /// Commits what was submitted, reports it, and ends the writer. Later submissions are `Busy`;
    /// views still work.
    pub fn close(&self) {
        self.running.stop();
    }
}

impl Running {
    fn stop(&self) {
        self.shared.queue.close();
        if ended(&self.writer).is_err() {
            self.shared.fail("the writer panicked");
        }
        self.shared.watch.ended.store(true, Ordering::Release);
        if let Some(watch) = self.watch.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            watch.thread().unpark();
        }
        if ended(&self.watch).is_err() {
            tracing::error!("the thread that watches the writer panicked");
        }
    }
}

/// Waits for a thread's end. A `done` may hold the last handle, so the thread may be this one.
fn ended(thread: &Mutex<Option<JoinHandle<()>>>) -> std::thread::Result<()> {
    match thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(thread) if thread.thread().id() != std::thread::current().id() => thread.join(),
        _ => Ok(()),
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Answers what waits when the writer ends by a panic, so that no caller waits for ever.
struct StoppedOnUnwind(Arc<Shared>);

impl Drop for StoppedOnUnwind {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("the writer panicked");
            self.0.queue.close();
            let mut left = Vec::new();
            while self.0.queue.take(&mut left, usize::MAX, 0, Duration::ZERO).is_some() {
                left.drain(..).for_each(|submission| submission.answer_all(Outcome::Busy));
            }
        }
    }
}

impl Engine for EmbeddedEngine {
    type View = EmbeddedView;

    fn submit(&self, plans: Vec<Plan>, done: Done) {
        let shared = &self.running.shared;
        let submission = Submission::new(plans, done);
        if shared.has_failed() || shared.watch.is_overdue() {
            submission.answer_all(Outcome::Busy);
        } else if let Err(refused) = shared.queue.put(submission) {
            refused.answer_all(Outcome::Busy);
        }
    }

    async fn view(&self, at_least: Version) -> Result<EmbeddedView, ReadError> {
        let disk = self.running.shared.disk()?;
        let snapshot = disk.snapshot();
        let version = disk.version(&snapshot)?;
        if version < at_least {
            let why = format!("version {} was asked for, {} is the latest", at_least.0, version.0);
            return Err(ReadError::Unavailable(why));
        }
        Ok(EmbeddedView { snapshot, version, disk })
    }

    fn reads_block(&self) -> bool {
        true
    }

    fn doorbell(&self, key: &[u8]) -> Doorbell {
        self.running.shared.bells.hang(key)
    }
}

/// A snapshot of an [`EmbeddedEngine`]. It keeps old rows from being compacted away: drop it soon.
pub struct EmbeddedView {
    snapshot: Snapshot,
    version: Version,
    disk: Arc<Disk>,
}

impl fmt::Debug for EmbeddedView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedView").field("version", &self.version).finish_non_exhaustive()
    }
}

impl View for EmbeddedView {
    fn version(&self) -> Version {
        self.version
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.disk.get(&self.snapshot, key)
    }

    async fn get_many(&self, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, ReadError> {
        keys.iter().map(|key| self.disk.get(&self.snapshot, key)).collect()
    }

    async fn range(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<Row>, ReadError> {
        self.disk.range(&self.snapshot, from, to, limit, reverse)
    }
}
