//! What is checked of the LSM's files before the LSM opens them.
//!
//! The LSM trusts some of its bytes: a flipped bit in a list of tables makes it delete the tables
//! that are no longer listed, one in the middle of the journal makes it drop what follows, and the
//! order number of a journal batch is under no checksum. So, first:
//!
//! - each list of tables (`keyspaces/*/v<n>`) must have the checksum told by its `current`;
//! - the journals (`*.jnl`) must be whole batches, numbered upwards, each continuing at the
//!   version where the one before ended, up to a version no older than the last one confirmed.
//!
//! What follows the last whole batch of the last journal was never confirmed: a crash cut it off,
//! or it is the unused rest of the file. It is removed. Any other deviation refuses the directory
//! and leaves it as it is. Table files carry checksums that the LSM does check.
//!
//! The layouts read here are those of fjall 3.1 and lsm-tree 3.1:
//!
//! ```text
//! current   u64 LE number n, u128 LE xxh3 of v<n>, u8 0
//! journal   batch*
//! batch     1 u32 LE items, u64 LE order   item*   3 u64 LE xxh3 of the items, "FJL" 3
//! item      2 u8 type, u8 compression, u64 LE keyspace, u16 LE key length, u32 LE length,
//!             u32 LE stored length, key, value      or      4 u64 LE keyspace
//! ```

use super::disk::VersionRow;
use super::error::OpenError;
use crate::plan::Version;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// Checks the files of the LSM in `store/lsm`; `confirmed` is a version known to be durable. A
/// batch beyond `last` is no part of the store: it was never confirmed, and is cut off.
///
/// # Errors
/// [`OpenError::Damaged`] when they can't be what was written; of the file system.
pub(super) fn inspect(
    store: &Path,
    confirmed: Version,
    last: Option<Version>,
) -> Result<(), OpenError> {
    let lsm = store.join("lsm");
    for keyspace in listed(&lsm.join("keyspaces"))? {
        check_tables_list(store, &keyspace)?;
    }
    let mut journals: Vec<(u64, PathBuf)> =
        listed(&lsm)?.into_iter().filter_map(|path| Some((journal_number(&path)?, path))).collect();
    journals.sort_unstable();
    let mut chain = Chain { last: last.map(|last| last.0), ..Chain::default() };
    let mut end = None;
    for (_, path) in &journals {
        let valid = chain.follow(path).map_err(|problem| problem.at(store, path))?;
        end = Some((path, valid));
        if chain.cut_off {
            // The failed batch was the last thing ever written: a later journal has no contents.
            break;
        }
    }
    if chain.version.is_some_and(|version| version < confirmed.0) {
        return Err(OpenError::damaged(store, "the journal ends before confirmed commits".into()));
    }
    match end {
        Some((path, valid)) => cut(path, valid).map_err(|error| OpenError::io(path, error)),
        None => Ok(()),
    }
}

fn listed(dir: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let entries = fs::read_dir(dir).and_then(|entries| {
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()
    });
    entries.map_err(|error| OpenError::io(dir, error))
}

fn journal_number(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(".jnl")?.parse().ok()
}

/// Checks a keyspace's list of tables against the checksum in `current`.
fn check_tables_list(store: &Path, keyspace: &Path) -> Result<(), OpenError> {
    let damaged = |what: &str| {
        let name = keyspace.file_name().unwrap_or_default().to_string_lossy();
        OpenError::damaged(store, format!("the list of tables of keyspace {name} {what}"))
    };
    let current = fs::read(keyspace.join("current")).map_err(|_| damaged("can't be found"))?;
    let (number, rest) = current.split_first_chunk::<8>().ok_or_else(|| damaged("is unknown"))?;
    let (sum, kind) = rest.split_first_chunk::<16>().ok_or_else(|| damaged("is unknown"))?;
    let list = keyspace.join(format!("v{}", u64::from_le_bytes(*number)));
    let list = fs::read(list).map_err(|_| damaged("can't be read"))?;
    if kind != [0] || xxh3_128(&list) != u128::from_le_bytes(*sum) {
        return Err(damaged("has another checksum"));
    }
    Ok(())
}

/// Shortens a file durably.
fn cut(path: &Path, len: u64) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    if file.metadata()?.len() > len {
        file.set_len(len)?;
        file.sync_all()?;
    }
    Ok(())
}

/// What the batches so far lead to.
#[derive(Default)]
struct Chain {
    order: Option<u64>,
    version: Option<u64>,
    /// The version beyond which nothing counts.
    last: Option<u64>,
    /// Something beyond it was met.
    cut_off: bool,
}

enum Problem {
    Io(io::Error),
    Broken(String),
}

impl Problem {
    fn at(self, store: &Path, path: &Path) -> OpenError {
        match self {
            Self::Io(error) => OpenError::io(path, error),
            Self::Broken(what) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                OpenError::damaged(store, format!("journal {name}: {what}"))
            }
        }
    }
}

impl Chain {
    /// Follows the batches of a journal; says where the last whole one ends.
    fn follow(&mut self, path: &Path) -> Result<u64, Problem> {
        let mut journal = Journal::open(path).map_err(Problem::Io)?;
        let mut end = 0;
        while let Some(batch) = journal.batch().map_err(Problem::Io)? {
            if let (Some(last), Some(row)) = (self.last, batch.version)
                && row.version.0 > last
            {
                self.cut_off = true;
                break;
            }
            end = journal.at;
            if self.order.is_some_and(|order| batch.order <= order) {
                return Err(Problem::Broken(format!("a batch is out of order before byte {end}")));
            }
            self.order = Some(batch.order);
            if let Some(row) = batch.version {
                let before = row.previous.0;
                if self.version.is_some_and(|version| version != before) {
                    return Err(Problem::Broken(format!("commits up to {before} are missing")));
                }
                self.version = Some(row.version.0);
            }
        }
        Ok(end)
    }
}

struct Batch {
    order: u64,
    version: Option<VersionRow>,
}

/// A journal being read.
struct Journal {
    input: BufReader<File>,
    /// Bytes of the file.
    len: u64,
    /// Where reading is.
    at: u64,
    /// The part read last.
    part: Vec<u8>,
}

impl Journal {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        Ok(Self { input: BufReader::with_capacity(1 << 18, file), len, at: 0, part: Vec::new() })
    }

    /// Appends `count` bytes to the part. False: the file ends before.
    fn more(&mut self, count: usize) -> io::Result<bool> {
        let bytes = count as u64;
        if self.len - self.at < bytes {
            return Ok(false);
        }
        let start = self.part.len();
        self.part.resize(start + count, 0);
        self.input.read_exact(self.part.get_mut(start..).unwrap_or_default())?;
        self.at += bytes;
        Ok(true)
    }

    /// Reads the next part, of fixed size.
    fn fixed<const N: usize>(&mut self) -> io::Result<Option<[u8; N]>> {
        self.part.clear();
        Ok(if self.more(N)? { self.part.first_chunk().copied() } else { None })
    }

    /// The next whole batch. `None`: what follows is none.
    fn batch(&mut self) -> io::Result<Option<Batch>> {
        let Some([1, c0, c1, c2, c3, order @ ..]) = self.fixed::<13>()? else { return Ok(None) };
        let count = u32::from_le_bytes([c0, c1, c2, c3]);
        let mut batch = Batch { order: u64::from_le_bytes(order), version: None };
        let mut items = Xxh3::new();
        for _ in 0..count {
            if !self.item(&mut batch)? {
                return Ok(None);
            }
            items.update(&self.part);
        }
        let Some([3, sum @ .., b'F', b'J', b'L', 3]) = self.fixed::<13>()? else {
            return Ok(None);
        };
        Ok((sum == items.digest().to_le_bytes()).then_some(batch))
    }

    /// Reads an item into the part, and its version row into the batch. False: it is none.
    fn item(&mut self, batch: &mut Batch) -> io::Result<bool> {
        match self.fixed::<1>()? {
            Some([4]) => return self.more(8),
            Some([2]) if self.more(20)? => {}
            _ => return Ok(false),
        }
        let Some([_, _, _, _, _, _, _, _, _, _, _, k0, k1, _, _, _, _, v0, v1, v2, v3]) =
            self.part.first_chunk::<21>().copied()
        else {
            return Ok(false);
        };
        let key_len = usize::from(u16::from_le_bytes([k0, k1]));
        let Ok(value_len) = usize::try_from(u32::from_le_bytes([v0, v1, v2, v3])) else {
            return Ok(false);
        };
        if !self.more(key_len)? || !self.more(value_len)? {
            return Ok(false);
        }
        if let Some((key, value)) =
            self.part.get(21..).and_then(|row| row.split_at_checked(key_len))
            && let Some(row) = VersionRow::of_stored(key, value)
        {
            batch.version = Some(row);
        }
        Ok(true)
    }
}
