//! The data directory: who may open it, what is in it, and what is refused.
//!
//! ```text
//! DIR/LOCK              locked while a process has the store open; holds its process id
//! DIR/store/FORMAT      "rookery-store 1"
//! DIR/store/COMMITTED   a version that was durable, and its checksum
//! DIR/store/lsm/        the LSM
//! DIR/store.new/        a store being created; renamed to `store` when it is whole
//! ```
//!
//! `COMMITTED` is written after each commit was reported, without being synced. It can only be
//! behind. If the LSM has an older version than it tells, confirmed commits are gone, and opening
//! fails instead of going on without them.

use super::disk::{Disk, Lock, Tuning, VersionRow};
use super::error::OpenError;
use super::inspect::inspect;
use crate::plan::Version;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

/// The format this code reads and writes.
const FORMAT: u32 = 1;
const FORMAT_NAME: &str = "rookery-store";

/// An opened directory.
pub(super) struct Opened {
    pub(super) disk: Disk,
    pub(super) version: Version,
    pub(super) committed: Committed,
}

/// Opens the store of a directory, or creates it. What the journal has beyond `last` is cut out.
///
/// # Errors
/// [`OpenError`].
pub(super) fn open(
    dir: &Path,
    tuning: &Tuning,
    last: Option<Version>,
) -> Result<Opened, OpenError> {
    let dir = &std::path::absolute(dir).map_err(|error| OpenError::io(dir, error))?;
    create_dir(dir)?;
    let lock = lock(dir)?;
    let store = dir.join("store");
    if !store.try_exists().map_err(|error| OpenError::io(&store, error))? {
        create(dir, &store, tuning)?;
    }
    check_format(&store)?;
    let (committed, confirmed) = Committed::open(&store)?;
    inspect(&store, confirmed, last)?;
    let disk = open_lsm(&store, tuning, Some(lock))?;
    let version = disk
        .version(&disk.snapshot())
        .map_err(|error| OpenError::damaged(&store, error.to_string()))?;
    if version < confirmed {
        let what = format!(
            "commits up to {} were confirmed, those after {} are gone",
            confirmed.0, version.0
        );
        return Err(OpenError::damaged(&store, what));
    }
    Ok(Opened { disk, version, committed })
}

/// Creates the directory with its parents, each durable in the one above.
fn create_dir(dir: &Path) -> Result<(), OpenError> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        create_dir(parent)?;
    }
    match fs::create_dir(dir) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists || !dir.is_dir() => {
            Err(OpenError::io(dir, error))
        }
        _ => dir.parent().map_or(Ok(()), sync_dir),
    }
}

fn lock(dir: &Path) -> Result<Lock, OpenError> {
    let path = dir.join("LOCK");
    let failed = |error| OpenError::io(&path, error);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let holder = fs::read_to_string(&path).unwrap_or_default();
            return Err(OpenError::Locked {
                dir: dir.to_owned(),
                holder: holder.trim().parse().ok(),
            });
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    file.set_len(0).map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(Lock(file))
}

/// Builds an empty store beside its place and moves it there, so that a crash leaves none or all.
fn create(dir: &Path, store: &Path, tuning: &Tuning) -> Result<(), OpenError> {
    let new = dir.join("store.new");
    let failed = |error| OpenError::io(&new, error);
    match fs::remove_dir_all(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    fs::create_dir(&new).map_err(failed)?;
    let mut format = File::create_new(new.join("FORMAT")).map_err(failed)?;
    writeln!(format, "{FORMAT_NAME} {FORMAT}").map_err(failed)?;
    format.sync_all().map_err(failed)?;
    let committed = Committed { file: File::create_new(new.join("COMMITTED")).map_err(failed)? };
    committed.set(Version(0)).map_err(failed)?;
    committed.file.sync_all().map_err(failed)?;
    let disk = open_lsm(&new, tuning, None)?;
    let mut batch = disk.batch();
    disk.put_version(&mut batch, VersionRow { version: Version(0), previous: Version(0) });
    batch.commit().and_then(|()| disk.persist()).map_err(|error| open_error(&new, &error))?;
    drop(disk);
    sync_dir(&new)?;
    fs::rename(&new, store).map_err(failed)?;
    sync_dir(dir)
}

fn check_format(store: &Path) -> Result<(), OpenError> {
    let path = store.join("FORMAT");
    let text = fs::read(&path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => OpenError::damaged(store, "FORMAT is missing".to_owned()),
        _ => OpenError::io(&path, error),
    })?;
    let text = String::from_utf8_lossy(&text);
    let version = text
        .strip_suffix('\n')
        .and_then(|line| line.strip_prefix(FORMAT_NAME)?.strip_prefix(' ')?.parse::<u32>().ok());
    match version {
        Some(FORMAT) => Ok(()),
        Some(found) if found > FORMAT => {
            Err(OpenError::NewerFormat { dir: store.to_owned(), found, known: FORMAT })
        }
        _ => Err(OpenError::damaged(store, format!("FORMAT can't be read: {:?}", text.trim()))),
    }
}

/// Opens the LSM; it panics on some impossible contents, which is damage too.
fn open_lsm(store: &Path, tuning: &Tuning, lock: Option<Lock>) -> Result<Disk, OpenError> {
    let lsm = store.join("lsm");
    match catch_unwind(AssertUnwindSafe(|| Disk::open(&lsm, tuning, lock))) {
        Ok(opened) => opened.map_err(|error| open_error(store, &error)),
        Err(_) => Err(OpenError::damaged(store, "impossible contents of the LSM".to_owned())),
    }
}

fn open_error(store: &Path, error: &fjall::Error) -> OpenError {
    use fjall::{Error, LsmError};
    match error {
        Error::Locked => OpenError::Locked { dir: store.to_owned(), holder: None },
        Error::Io(error) | Error::Storage(LsmError::Io(error)) => {
            let copy = std::io::Error::new(error.kind(), error.to_string());
            match error.kind() {
                // Files that end early or are not there.
                ErrorKind::UnexpectedEof | ErrorKind::NotFound | ErrorKind::InvalidData => {
                    OpenError::damaged(store, copy.to_string())
                }
                _ => OpenError::io(store, copy),
            }
        }
        other => OpenError::damaged(store, other.to_string()),
    }
}

fn sync_dir(dir: &Path) -> Result<(), OpenError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| OpenError::io(dir, error))
}

/// The file that tells a version known to be durable.
pub(super) struct Committed {
    file: File,
}

impl Committed {
    fn open(store: &Path) -> Result<(Self, Version), OpenError> {
        let path: PathBuf = store.join("COMMITTED");
        let bytes = fs::read(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => OpenError::damaged(store, "COMMITTED is missing".to_owned()),
            _ => OpenError::io(&path, error),
        })?;
        let file = OpenOptions::new().write(true).open(&path);
        let file = file.map_err(|error| OpenError::io(&path, error))?;
        let version = bytes.first_chunk::<8>().map(|bytes| Version(u64::from_be_bytes(*bytes)));
        match version {
            Some(version) if bytes == Self::bytes(version) => Ok((Self { file }, version)),
            _ => Err(OpenError::damaged(store, "COMMITTED can't be read".to_owned())),
        }
    }

    /// Notes that everything up to `version` is durable.
    ///
    /// # Errors
    /// Of the file system; the note stays behind then.
    pub(super) fn set(&self, version: Version) -> std::io::Result<()> {
        self.file.write_all_at(&Self::bytes(version), 0)
    }

    fn bytes(version: Version) -> [u8; 16] {
        let version = version.0.to_be_bytes();
        let mut bytes = [0; 16];
        for (to, from) in
            bytes.iter_mut().zip(version.into_iter().chain(xxh3_64(&version).to_be_bytes()))
        {
            *to = from;
        }
        bytes
    }
}
