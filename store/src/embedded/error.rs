//! Why a data directory can't be opened, and what to do about it.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Why a data directory can't be opened. Its text names the path and the remedy.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it open.
    Locked {
        /// The directory.
        dir: PathBuf,
        /// The process that holds it, if it could be read.
        holder: Option<u32>,
    },
    /// It can't be created or written.
    NotWritable {
        /// What could not be written.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is in it can't have been written by a store, or confirmed commits are missing.
    Damaged {
        /// The directory.
        dir: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A newer release wrote it.
    NewerFormat {
        /// The directory.
        dir: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format this release reads.
        known: u32,
    },
    /// Another failure of the file system.
    Io {
        /// Where.
        path: PathBuf,
        /// Which.
        source: io::Error,
    },
}

impl OpenError {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            ErrorKind::PermissionDenied
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::NotADirectory
            | ErrorKind::AlreadyExists
            | ErrorKind::NotFound => Self::NotWritable { path, source },
            _ => Self::Io { path, source },
        }
    }

    pub(super) fn damaged(dir: &Path, what: String) -> Self {
        Self::Damaged { dir: dir.to_owned(), what }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked { dir, holder } => {
                write!(f, "the data directory {} is in use", dir.display())?;
                if let Some(holder) = holder {
                    write!(f, " by process {holder}")?;
                }
                f.write_str("; stop that process, or choose another directory")
            }
            Self::NotWritable { path, source } => write!(
                f,
                "can't write {}: {source}; make its directory writable for this user, or choose \
                 another data directory",
                path.display()
            ),
            Self::Damaged { dir, what } => write!(
                f,
                "the data in {} is damaged: {what}; keep a copy of it, restore a backup, and check \
                 the disk",
                dir.display()
            ),
            Self::NewerFormat { dir, found, known } => write!(
                f,
                "the data in {} has format {found}, this release reads up to {known}; use the \
                 release that wrote it or a later one",
                dir.display()
            ),
            Self::Io { path, source } => write!(
                f,
                "can't open {}: {source}; check that the disk has room and works, and the limit \
                 of open files",
                path.display()
            ),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotWritable { source, .. } | Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
