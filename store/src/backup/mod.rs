//! Backups: the rows of a store at one version in one file, and back into an empty store.
//!
//! Safety
//! - A backup is one snapshot. An engine that can't hold a snapshot until the last row is written
//!   (FoundationDB keeps five seconds) makes the backup fail; nothing is pieced together.
//! - A file is checked from its first byte to its last before anything of it is written to a store;
//!   what was written is counted and summed again from the store at the end.
//! - A store that a restore left half way says so, and no node starts on it (see `transfer`).
//!
//! What is in the file and what isn't is decided by the table in `schema`: no signing key, no inbox
//! logs, no fences.

mod file;

#[cfg(feature = "fuzz")]
pub(crate) use file::of_parts;
pub use file::{FileError, Header, Reader};

use crate::engine::{Engine, ReadError, View};
use crate::error::StoreError;
use crate::keys;
use crate::store::{self, Store};
use crate::tally::{self, Copy, Tally, Totals};
use crate::transfer::{self, Found, Loader, Phase};
use bytes::Bytes;
use file::Writer;
use std::fmt;
use std::io::{self, Read, Write};

/// Why there is no backup.
#[derive(Debug)]
pub enum BackupError {
    /// The store could not be read to its end at one version.
    Read(ReadError),
    /// A restore or migration into the store was not finished.
    Unfinished,
    /// The file could not be written.
    Write(io::Error),
}

impl fmt::Display for BackupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(
                f,
                "the store could not be read to its end at one version: {error}; a FoundationDB \
                 cluster that can't be read within 5 seconds is backed up with its own fdbbackup"
            ),
            Self::Unfinished => f.write_str(UNFINISHED),
            Self::Write(error) => write!(f, "the backup could not be written: {error}"),
        }
    }
}

impl std::error::Error for BackupError {}

impl From<ReadError> for BackupError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<io::Error> for BackupError {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

const UNFINISHED: &str =
    "a restore or migration into this store was not finished; run that command again";

/// Writes a backup; `progress` is told the rows so far. Reads and writes block: run it on a thread
/// that may. What fails is also noted in what was written, so that its reader learns why.
///
/// # Errors
/// [`BackupError`]; what was written until then is no backup.
pub async fn write<E: Engine, W: Write>(
    store: &Store<E>,
    out: W,
    created_ms: u64,
    mut progress: impl FnMut(u64),
) -> Result<Totals, BackupError> {
    let mut writer = Writer::new(out);
    match rows_into(store, &mut writer, created_ms, &mut progress).await {
        Err(error @ (BackupError::Read(_) | BackupError::Unfinished)) => {
            writer.failure(&error.to_string())?;
            Err(error)
        }
        other => other,
    }
}

/// Writes, in the place of a backup, why there is none.
///
/// # Errors
/// When it can't be written.
pub fn refuse(out: impl Write, why: &str) -> io::Result<()> {
    Writer::new(out).failure(why)
}

async fn rows_into<E: Engine, W: Write>(
    store: &Store<E>,
    writer: &mut Writer<W>,
    created_ms: u64,
    progress: &mut impl FnMut(u64),
) -> Result<Totals, BackupError> {
    let view = store.latest().await?;
    let installation = view.get(keys::INSTALLATION).await?;
    let inbox_epoch = store::inbox_epoch(installation.as_deref())?;
    if view.get(keys::TRANSFER).await?.is_some() {
        return Err(BackupError::Unfinished);
    }
    writer.header(&Header { created_ms, inbox_epoch, version: view.version().0 })?;
    let mut tally = Tally::default();
    let mut from = Some(Bytes::new());
    while let Some(at) = from {
        let (rows, next) = transfer::source_rows(&view, &at, Copy::Backup).await?;
        for (key, value) in &rows {
            tally.add(key, value);
            writer.row(key, value)?;
        }
        progress(tally.total());
        from = next;
    }
    let totals = tally.finish();
    writer.end(&totals)?;
    Ok(totals)
}

/// Reads a backup to its end.
///
/// # Errors
/// [`FileError`] when it isn't whole.
pub fn verify(source: impl Read) -> Result<(Header, Totals), FileError> {
    let mut reader = Reader::new(source)?;
    while reader.next_rows()?.is_some() {}
    let header = reader.header();
    Ok((header, reader.into_totals()?))
}

/// How to restore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestoreOptions {
    /// Remove what the store holds first.
    pub force: bool,
    /// Bring refresh tokens back: devices stay logged in. A token that was used or revoked after
    /// the backup was made is good again then.
    pub keep_log_ins: bool,
}

/// Why a restore failed.
#[derive(Debug)]
pub enum RestoreError {
    /// The file is no whole backup; the store was not touched.
    File(FileError),
    /// The store holds rows and `force` was not given; it was not touched.
    Occupied,
    /// The store could not be written, or not be read again. It is half restored and says so.
    Store(StoreError),
    /// What lies in the store is not what was in the file. It is half restored and says so.
    Different(String),
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::Occupied => f.write_str(
                "the store is not empty; restore into a new one, or give --force to remove what \
                 it holds",
            ),
            Self::Store(error) => write!(
                f,
                "the store could not be written: {error}; it is half restored and no node starts \
                 on it: run the restore again with --force"
            ),
            Self::Different(what) => write!(
                f,
                "what was restored is not what the file holds ({what}): was anything else writing? \
                 No node starts on it: run the restore again with --force"
            ),
        }
    }
}

impl std::error::Error for RestoreError {}

impl From<FileError> for RestoreError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

impl From<StoreError> for RestoreError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<ReadError> for RestoreError {
    fn from(error: ReadError) -> Self {
        Self::Store(error.into())
    }
}

/// Restores a backup into a store; `open` opens the file, twice: it is checked as a whole before
/// the store is touched. Afterwards all inbox cursors are too far, the signing key is a new one
/// (the first node to start draws it), and so access tokens given out before are void.
///
/// # Errors
/// [`RestoreError`].
pub async fn restore<E: Engine, R: Read>(
    store: &Store<E>,
    mut open: impl FnMut() -> io::Result<R>,
    options: RestoreOptions,
    mut progress: impl FnMut(u64),
) -> Result<Totals, RestoreError> {
    let (header, whole) = verify(open().map_err(FileError::Io)?)?;
    let source = u64::try_from(whole.digest & u128::from(u64::MAX)).unwrap_or_default();
    let mut loader = match transfer::look(store).await? {
        Found::Empty => Loader::begin(store, source, Phase::Restoring).await?,
        Found::Occupied | Found::Migration { .. } | Found::Unfinished if !options.force => {
            return Err(RestoreError::Occupied);
        }
        _ => {
            let mut loader = Loader::begin(store, source, Phase::Clearing).await?;
            loader.clear().await?;
            loader.turn(Phase::Restoring).await?;
            loader
        }
    };
    let copy = if options.keep_log_ins { Copy::Backup } else { Copy::RestoreWithoutLogIns };
    let mut reader = Reader::new(open().map_err(FileError::Io)?)?;
    let mut wanted = Tally::default();
    while let Some(rows) = reader.next_rows()? {
        for (key, value) in rows.into_iter().filter(|(key, _)| copy.holds(key)) {
            wanted.add(&key, &value);
            loader.put(key, value).await?;
        }
        progress(loader.rows());
    }
    loader.flush().await?;
    // The file may have been replaced between the two readings.
    if let Some(what) = reader.into_totals()?.difference(&whole) {
        return Err(RestoreError::Different(what));
    }
    let wanted = wanted.finish();
    let found = tally::tally(store, copy, |_| {}).await?;
    if let Some(what) = found.difference(&wanted) {
        return Err(RestoreError::Different(what));
    }
    loader.finish(header.inbox_epoch).await?;
    Ok(wanted)
}
