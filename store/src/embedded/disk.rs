//! The LSM as the engine uses it: its keyspaces and their settings, the version row, reads.
//!
//! ```text
//! keyspace "rows"   key -> value ++ checksum           every row of the layer above
//! keyspace "meta"   "version" -> u64 BE ++ checksum    version of the last plan of the last batch
//! ```
//!
//! The version row is written in the batch whose version it tells, so a snapshot's content and
//! version can't differ.

use super::row::{read_error, sealed, unsealed};
use crate::engine::{ReadError, Row};
use crate::plan::Version;
use bytes::Bytes;
use fjall::{
    Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Readable, Slice,
    Snapshot,
};
use std::fs::File;
use std::path::Path;

const VERSION_KEY: &[u8] = b"version";

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
    meta: Keyspace,
    database: Database,
    /// Held, not used.
    _lock: Option<File>,
}

impl Disk {
    /// Opens or creates the LSM in `dir`, which exists.
    pub(super) fn open(dir: &Path, tuning: &Tuning, lock: Option<File>) -> fjall::Result<Self> {
        let database = Database::builder(dir)
            .cache_size(tuning.cache_bytes)
            .max_journaling_size(tuning.journal_bytes)
            .worker_threads(tuning.worker_threads)
            .open()?;
        let rows = database.keyspace("rows", || {
            KeyspaceCreateOptions::default().max_memtable_size(tuning.memtable_bytes)
        })?;
        let meta = database.keyspace("meta", KeyspaceCreateOptions::default)?;
        Ok(Self { rows, meta, database, _lock: lock })
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
    pub(super) fn put_version(&self, batch: &mut OwnedWriteBatch, version: Version) {
        let value = sealed(VERSION_KEY, &version.0.to_be_bytes(), &mut Vec::new());
        batch.insert(&self.meta, VERSION_KEY, value);
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
        let stored = snapshot.get(&self.meta, VERSION_KEY).map_err(|error| read_error(&error))?;
        let Some(stored) = stored else {
            return Err(ReadError::Damaged("the version row is missing".to_owned()));
        };
        let value = unsealed(VERSION_KEY, stored)?;
        let bytes = value.as_ref().try_into();
        let bytes = bytes.map_err(|_| ReadError::Damaged("the version row".to_owned()))?;
        Ok(Version(u64::from_be_bytes(bytes)))
    }

    pub(super) fn get(&self, snapshot: &Snapshot, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
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
