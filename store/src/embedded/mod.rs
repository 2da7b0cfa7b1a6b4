//! The engine of one machine, the default: an LSM (fjall) in the data directory, one writer.
//!
//! Safety: the promises of [`Engine`]; what they rest on is written at the parts:
//!
//! ```text
//! dir     the data directory: lock, format, creation, the note of what was committed
//! inspect what is checked of the LSM's files before it opens them
//! disk    the LSM: rows, version row, snapshots          row    checksums of rows
//! queue   bounded, in front of the writer                known  rows the writer remembers
//! writer  one thread: many plans, one batch, one sync
//! ```
//!
//! Liveness: a submission is answered when its batch is durable, or at once (`Busy`) when the
//! queue is full, closed, or the engine has failed. While the LSM can't keep up with flushing,
//! the writer waits for it; the queue fills and refuses.
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
mod row;
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
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
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
        }
    }
}

/// Whether an engine still takes commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Healthy,
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
    disk: Arc<Disk>,
    queue: Queue,
    failure: OnceLock<String>,
    /// Batches made durable.
    batches: AtomicU64,
    bells: Bells,
}

/// The writer's thread; dropping it ends the thread.
struct Running {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Shared {
    fn has_failed(&self) -> bool {
        self.failure.get().is_some()
    }

    /// Refuses commits from now on.
    fn fail(&self, why: &str) {
        if self.failure.set(why.to_owned()).is_ok() {
            tracing::error!(
                error = why,
                "the store could not write; commits are refused until it is opened again"
            );
        }
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
        let tuning = Tuning {
            cache_bytes: config.cache_bytes,
            journal_bytes: config.journal_bytes.max(64 << 20),
            memtable_bytes: config.memtable_bytes,
            worker_threads: config.worker_threads.max(1),
        };
        let opened = dir::open(&config.dir, &tuning)?;
        let queue = Queue::new(config.queue_bytes);
        let shared = Arc::new(Shared {
            disk: Arc::new(opened.disk),
            queue,
            failure: OnceLock::new(),
            batches: AtomicU64::new(0),
            bells: Bells::default(),
        });
        let on_unwind = StoppedOnUnwind(Arc::clone(&shared));
        let writer =
            Writer::new(Arc::clone(&shared), config.batch_bytes, opened.version, opened.committed);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || {
                let _on_unwind = on_unwind;
                writer.run();
            })
            .map_err(|source| OpenError::Io { path: config.dir.clone(), source })?;
        let running = Running { shared, thread: Mutex::new(Some(thread)) };
        Ok(Self { running: Arc::new(running) })
    }

    /// Whether commits are taken.
    #[must_use]
    pub fn health(&self) -> Health {
        let shared = &self.running.shared;
        match shared.failure.get() {
            Some(why) => Health::Failed(why.clone()),
            None if shared.queue.is_open() => Health::Healthy,
            None => Health::Closed,
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
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A `done` may hold the last handle: the writer can't wait for itself.
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            self.shared.fail("the writer panicked");
        }
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
        if shared.has_failed() {
            submission.answer_all(Outcome::Busy);
        } else if let Err(refused) = shared.queue.put(submission) {
            refused.answer_all(Outcome::Busy);
        }
    }

    async fn view(&self, at_least: Version) -> Result<EmbeddedView, ReadError> {
        let disk = Arc::clone(&self.running.shared.disk);
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
