//! Counts and a checksum of rows: how two copies of a store are held to each other.

use crate::engine::{Engine, ReadError, View};
use crate::keys;
use crate::schema::{self, Travels};
use crate::store::Store;
use bytes::Bytes;
use std::collections::BTreeMap;
use xxhash_rust::xxh3::Xxh3;

/// Rows read at once.
pub(crate) const CHUNK: usize = 1000;
/// After every key: tags are letters.
pub(crate) const END: &[u8] = &[u8::MAX];

/// How many rows there are of each tag, and a checksum over all of them in the order of their keys.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Totals {
    /// By tag.
    pub rows: BTreeMap<u8, u64>,
    /// XXH3 over length and bytes of each key and value. It finds damage and mistakes; it is no
    /// signature.
    pub digest: u128,
}

impl Totals {
    /// All rows.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.rows.values().sum()
    }

    /// The first difference to another count of the same rows, in words.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<String> {
        let tags = self.rows.keys().chain(other.rows.keys());
        for tag in tags {
            let count = |totals: &Self| totals.rows.get(tag).copied().unwrap_or(0);
            let (here, there) = (count(self), count(other));
            if here != there {
                return Some(format!("{} rows: {here} against {there}", schema::name_of(*tag)));
            }
        }
        (self.digest != other.digest).then(|| {
            format!("as many rows, another checksum: {:x} against {:x}", self.digest, other.digest)
        })
    }
}

/// Counts rows as they come, in the order of their keys.
#[derive(Default)]
pub(crate) struct Tally {
    rows: BTreeMap<u8, u64>,
    hash: Xxh3,
}

impl Tally {
    pub(crate) fn add(&mut self, key: &[u8], value: &[u8]) {
        if let Some(tag) = key.first() {
            *self.rows.entry(*tag).or_default() += 1;
        }
        // With the lengths, no two lists of rows are the same stream of bytes.
        for part in [key, value] {
            self.hash.update(&(part.len() as u64).to_le_bytes());
            self.hash.update(part);
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.rows.values().sum()
    }

    pub(crate) fn finish(self) -> Totals {
        Totals { rows: self.rows, digest: self.hash.digest128() }
    }
}

/// Which rows of a store a copy of it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Copy {
    /// The same installation in another database.
    Migration,
    /// What a backup holds.
    Backup,
    /// What a restore brings back without the log-ins.
    RestoreWithoutLogIns,
}

impl Copy {
    /// Whether the copy has this row.
    pub(crate) fn holds(self, key: &[u8]) -> bool {
        match schema::travels(key) {
            Travels::Always => true,
            Travels::LogIns => self != Self::RestoreWithoutLogIns,
            Travels::Secret => self == Self::Migration,
            Travels::Never => false,
        }
    }
}

/// Counts the rows of a store that a copy has. Each chunk is read from a new snapshot, so nothing
/// may write meanwhile.
pub(crate) async fn tally<E: Engine>(
    store: &Store<E>,
    copy: Copy,
    mut progress: impl FnMut(u64),
) -> Result<Totals, ReadError> {
    let mut tally = Tally::default();
    let mut from = Bytes::new();
    loop {
        let rows = store.latest().await?.range(&from, END, CHUNK, false).await?;
        for (key, value) in rows.iter().filter(|(key, _)| copy.holds(key)) {
            tally.add(key, value);
        }
        progress(tally.total());
        match rows.last() {
            Some((last, _)) if rows.len() == CHUNK => from = keys::successor(last),
            _ => return Ok(tally.finish()),
        }
    }
}
