//! What the writer knows of the rows: the keys its plans read (guards, sums, maxima), held in
//! memory, and the batch it is building.
//!
//! There is one writer, so what it has read or written stays true until it writes again. Every
//! key that a plan of a batch reads is fetched before the first plan of the batch is applied;
//! from then on each write keeps it current. So a plan sees the plans before it, and the few
//! fence rows that guard most plans are read from the LSM once.

use super::disk::Disk;
use super::row::sealed;
use crate::apply::Rows;
use crate::engine::ReadError;
use crate::plan::{Op, Plan};
use bytes::Bytes;
use fjall::{OwnedWriteBatch, Slice};
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hasher, RandomState};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Most bytes of keys and values remembered between batches.
const MOST_BYTES: usize = 32 << 20;
/// What an entry costs beside its key and value.
const ENTRY_BYTES: usize = 128;

struct Known {
    value: Option<Bytes>,
    /// Read by a plan since the last sweep.
    used: bool,
}

/// The rows the writer remembers.
pub(super) struct Memory {
    rows: HashMap<Bytes, Known, Keyed>,
    bytes: usize,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self { rows: HashMap::with_hasher(Keyed(RandomState::new().hash_one(0))), bytes: 0 }
    }

    /// Fetches what the plan reads and is not known yet.
    ///
    /// # Errors
    /// [`ReadError`] when a row can't be read: the plan can't be decided.
    pub(super) fn fetch(&mut self, plan: &Plan, disk: &Disk) -> Result<(), ReadError> {
        for guard in &plan.guards {
            self.fetch_key(&guard.key, disk)?;
        }
        for op in &plan.ops {
            if let Op::Add { key, .. } | Op::ByteMax { key, .. } = op {
                self.fetch_key(key, disk)?;
            }
        }
        Ok(())
    }

    fn fetch_key(&mut self, key: &Bytes, disk: &Disk) -> Result<(), ReadError> {
        if let Some(known) = self.rows.get_mut(key) {
            known.used = true;
            return Ok(());
        }
        let value = disk.latest(key)?;
        self.bytes += ENTRY_BYTES + key.len() + value.as_ref().map_or(0, Bytes::len);
        // The key may be a part of a larger buffer, which must not live as long as the entry.
        self.rows.insert(Bytes::copy_from_slice(key), Known { value, used: true });
        Ok(())
    }

    /// Forgets rows when there are too many: first those no plan read since the last time.
    pub(super) fn sweep(&mut self) {
        if self.bytes <= MOST_BYTES {
            return;
        }
        self.rows.retain(|_, known| std::mem::take(&mut known.used));
        let size = |(key, known): (&Bytes, &Known)| {
            ENTRY_BYTES + key.len() + known.value.as_ref().map_or(0, Bytes::len)
        };
        self.bytes = self.rows.iter().map(size).sum();
        if self.bytes > MOST_BYTES / 2 {
            self.rows.clear();
            self.bytes = 0;
        }
    }

    fn set(&mut self, key: &[u8], value: Option<&Bytes>) {
        if let Some(known) = self.rows.get_mut(key) {
            let before = known.value.as_ref().map_or(0, Bytes::len);
            self.bytes = (self.bytes + value.map_or(0, Bytes::len)).saturating_sub(before);
            known.value = value.map(|value| Bytes::copy_from_slice(value));
        }
    }

    fn remove_range(&mut self, from: &[u8], to: &[u8]) {
        for (key, known) in &mut self.rows {
            if (from..to).contains(&key.as_ref()) {
                known.value = None;
            }
        }
    }
}

/// The keys the LSM holds in the ranges that the plans of a batch clear.
pub(super) type Cleared = BTreeMap<(Bytes, Bytes), Vec<Slice>>;

/// A batch being built.
pub(super) struct Building<'a> {
    pub(super) disk: &'a Disk,
    pub(super) memory: &'a mut Memory,
    pub(super) batch: OwnedWriteBatch,
    pub(super) cleared: &'a Cleared,
    /// Keys set in this batch, kept if some plan of it clears a range.
    pub(super) set: Vec<Bytes>,
    pub(super) scratch: &'a mut Vec<u8>,
}

impl Rows for Building<'_> {
    fn held(&self, key: &Bytes) -> Option<Bytes> {
        debug_assert!(self.memory.rows.contains_key(key), "read without having been fetched");
        self.memory.rows.get(key).and_then(|known| known.value.clone())
    }

    fn put(&mut self, key: Bytes, value: Bytes) {
        self.memory.set(&key, Some(&value));
        let stored = sealed(&key, &value, self.scratch);
        self.batch.insert(&self.disk.rows, key.as_ref(), stored);
        if !self.cleared.is_empty() {
            self.set.push(key);
        }
    }

    fn remove(&mut self, key: Bytes) {
        self.memory.set(&key, None);
        self.batch.remove(&self.disk.rows, key.as_ref());
    }

    fn remove_range(&mut self, from: Bytes, to: Bytes) {
        self.memory.remove_range(&from, &to);
        for key in self.set.extract_if(.., |key| *key >= from && *key < to) {
            self.batch.remove(&self.disk.rows, key.as_ref());
        }
        for key in self.cleared.get(&(from, to)).into_iter().flatten() {
            self.batch.remove(&self.disk.rows, key.clone());
        }
    }
}

/// One-shot hashing of keys with a secret seed: users choose a part of some keys.
#[derive(Clone)]
struct Keyed(u64);

impl BuildHasher for Keyed {
    type Hasher = KeyHasher;

    fn build_hasher(&self) -> KeyHasher {
        KeyHasher(self.0)
    }
}

struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    /// The length before the bytes: a key is hashed whole, so it says nothing more.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}
