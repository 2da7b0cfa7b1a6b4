//! The LSM as the engine uses it: its keyspaces and their settings, the version row, reads.
//!
//! One keyspace holds every row of the layer above, and the version row: the version of the last
//! plan of the last batch. That row is written in the batch whose version it tells, so a
//! snapshot's content and version can't differ; its key is longer than a key may be and greater
//! than any, so no plan and no range meets it. (In a keyspace of its own, hardly ever flushed, it
//! would keep every journal from being removed.)

use super::row::{read_error, sealed, unsealed};
use crate::engine::{ReadError, Row};
use crate::plan::{MAX_KEY_BYTES, Version};
use bytes::Bytes;
use fjall::{
    AbstractTree, Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode,
    Readable, Slice, Snapshot,
};
use std::fs::File;
use std::path::Path;

const VERSION_KEY: [u8; MAX_KEY_BYTES + 1] = [0xff; MAX_KEY_BYTES + 1];

/// The version row.
#[derive(Clone, Copy)]
pub(super) struct VersionRow {
    /// Of the last plan of its batch.
    pub(super) version: Version,
    /// Of the last plan of the batch before: a lost batch leaves a gap in the journal.
    pub(super) previous: Version,
}

impl VersionRow {
    /// The version row as a key and a value of the LSM; `None` if they are of another row.
    pub(super) fn of_stored(key: &[u8], stored: &[u8]) -> Option<Self> {
        if key != VERSION_KEY {
            return None;
        }
        let value = unsealed(key, Slice::from(stored)).ok()?;
        let (version, previous) = value.split_first_chunk::<8>()?;
        let previous = previous.try_into().ok()?;
        let [version, previous] = [*version, previous].map(|be| Version(u64::from_be_bytes(be)));
        Some(Self { version, previous })
    }

    fn value(self) -> [u8; 16] {
        (u128::from(self.version.0) << 64 | u128::from(self.previous.0)).to_be_bytes()
    }
}

/// The settings of the LSM that are not part of its files.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tuning {
    pub(super) cache_bytes: u64,
    pub(super) journal_bytes: u64,
    pub(super) memtable_bytes: u64,
    pub(super) worker_threads: usize,
}

/// An open LSM. The order of the fields is the order of closing: the lock goes last.
pub(super) struct Disk {
    pub(super) rows: Keyspace,
    database: Database,
    /// Held, not used.
    _lock: Option<Lock>,
}

/// The lock of a data directory. It is given back by an explicit unlock: closing the file is not
/// enough while a child process that is being spawned holds a copy of its descriptor.
pub(super) struct Lock(pub(super) File);

impl Drop for Lock {
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::debug!(%error, "the directory's lock goes with the last copy of its descriptor");
        }
    }
}

impl Disk {
    /// Opens or creates the LSM in `dir`, which exists.
    pub(super) fn open(dir: &Path, tuning: &Tuning, lock: Option<Lock>) -> fjall::Result<Self> {
        let database = Database::builder(dir)
            .cache_size(tuning.cache_bytes)
            .max_journaling_size(tuning.journal_bytes)
            .worker_threads(tuning.worker_threads)
            .open()?;
        let rows = database.keyspace("rows", || {
            KeyspaceCreateOptions::default().max_memtable_size(tuning.memtable_bytes)
        })?;
        Ok(Self { rows, database, _lock: lock })
    }

    /// A batch that is durable once committed.
    ///
    /// `SyncData` is `fdatasync` of the journal: the data and whatever metadata is needed to read
    /// it back (its length and blocks), so nothing is left to `fsync` but times. The LSM shows a
    /// batch to readers after that, so no view sees what a crash could take back.
    pub(super) fn batch(&self) -> OwnedWriteBatch {
        self.database.batch().durability(Some(PersistMode::SyncData))
    }

    /// Adds the version row to a batch.
    pub(super) fn put_version(&self, batch: &mut OwnedWriteBatch, row: VersionRow) {
        let value = sealed(&VERSION_KEY, &row.value(), &mut Vec::new());
        batch.insert(&self.rows, VERSION_KEY, value);
    }

    /// Whether it still takes batches; nothing is written for that.
    ///
    /// # Errors
    /// `Poisoned`, without the reason: flushing or merging in the background has failed.
    pub(super) fn check(&self) -> fjall::Result<()> {
        self.database.persist(PersistMode::Buffer)
    }

    /// Whether a batch might be held up for flushing or merging. Inside the LSM it would be held for
    /// ever if those failed meanwhile; its own marks, 4 memtables and 30 runs, leave room for what is
    /// written while a batch is on its way.
    pub(super) fn is_behind(&self) -> bool {
        self.rows.tree.sealed_memtable_count() >= 3 || self.rows.tree.l0_run_count() >= 26
    }

    /// Bytes of rows that are not in tables yet.
    pub(super) fn unflushed_bytes(&self) -> u64 {
        self.database.write_buffer_size()
    }

    /// Bytes of the tables.
    pub(super) fn table_bytes(&self) -> u64 {
        self.rows.disk_space()
    }

    /// Makes everything durable.
    pub(super) fn persist(&self) -> fjall::Result<()> {
        self.database.persist(PersistMode::SyncAll)
    }

    /// What a key holds after the last batch; for the writer.
    pub(super) fn latest(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        let stored = self.rows.get(key).map_err(|error| read_error(&error))?;
        stored.map(|stored| unsealed(key, stored)).transpose()
    }

    /// The keys in a range after the last batch; for the writer.
    pub(super) fn latest_keys(&self, from: &[u8], to: &[u8]) -> Result<Vec<Slice>, ReadError> {
        let keys = self.rows.range(from..to).map(fjall::Guard::key);
        keys.collect::<Result<_, _>>().map_err(|error| read_error(&error))
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        self.database.snapshot()
    }

    /// The version of a snapshot.
    pub(super) fn version(&self, snapshot: &Snapshot) -> Result<Version, ReadError> {
        let stored = snapshot.get(&self.rows, VERSION_KEY).map_err(|error| read_error(&error))?;
        let row = stored.and_then(|stored| VersionRow::of_stored(&VERSION_KEY, &stored));
        let missing = || ReadError::Damaged("the version row is missing or damaged".to_owned());
        row.map(|row| row.version).ok_or_else(missing)
    }

    pub(super) fn get(&self, snapshot: &Snapshot, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        if key == VERSION_KEY {
            return Ok(None);
        }
        let stored = snapshot.get(&self.rows, key).map_err(|error| read_error(&error))?;
        stored.map(|stored| unsealed(key, stored)).transpose()
    }

    pub(super) fn range(
        &self,
        snapshot: &Snapshot,
        from: &[u8],
        to: &[u8],
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<Row>, ReadError> {
        let to = to.min(&VERSION_KEY);
        if from >= to || limit == 0 {
            return Ok(Vec::new());
        }
        let rows = snapshot.range(&self.rows, from..to);
        let row = |guard: fjall::Guard| {
            let (key, stored) = guard.into_inner().map_err(|error| read_error(&error))?;
            let value = unsealed(&key, stored)?;
            Ok((Bytes::copy_from_slice(&key), value))
        };
        if reverse {
            rows.rev().take(limit).map(row).collect()
        } else {
            rows.take(limit).map(row).collect()
        }
    }
}
