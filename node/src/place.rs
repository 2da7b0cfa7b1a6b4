//! Where a store is, as the command line names it, and opening it from there.
//!
//! ```text
//! embedded:DIR     the data directory of a node, or the store inside it
//! shared:SOCKET    the socket of a store's process (`rookery store`)
//! fdb:FILE         a FoundationDB cluster, by its cluster file; another prefix: fdb:FILE#PREFIX
//! ```
//!
//! An engine of its own process or cluster gets a line here, a variant of [`Place`] and an arm of
//! [`Place::open`]; nothing else of the tools knows the engines.

use crate::store::{OpenError, Store, open_fdb};
use rookery_cluster_config::{Config, Engine};
use rookery_store::ReadError;
use rookery_store::embedded::{EmbeddedConfig, EmbeddedEngine};
use rookery_store::shared::{SharedConfig, SharedEngine};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The directory the embedded engine opens.
    Embedded(PathBuf),
    /// The socket of a store's process.
    Shared(PathBuf),
    /// A FoundationDB cluster.
    Fdb {
        /// Its cluster file; `None`: `FDB_CLUSTER_FILE`, or the packages' own.
        cluster_file: Option<PathBuf>,
        /// What the installation's keys begin with.
        prefix: String,
    },
}

/// Why a store can't be opened. Its text names the remedy.
#[derive(Debug)]
pub enum PlaceError {
    /// There is none.
    Missing(PathBuf),
    /// The engine refused.
    Open(OpenError),
    /// It can't be read.
    Read(ReadError),
    /// It holds an unfinished copy of this many rows.
    Unfinished(u64),
}

impl fmt::Display for PlaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(dir) => write!(
                f,
                "there is no store in {}; name the data directory of a node with --data or --store",
                dir.display()
            ),
            Self::Open(error) => error.fmt(f),
            Self::Read(error) => error.fmt(f),
            Self::Unfinished(rows) => write!(
                f,
                "a restore or migration into this store was not finished ({rows} rows so far); run \
                 that command again"
            ),
        }
    }
}

impl std::error::Error for PlaceError {}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("embedded", dir)) if !dir.is_empty() => Ok(Self::Embedded(inside(dir.into()))),
            Some(("shared", socket)) if !socket.is_empty() => Ok(Self::Shared(socket.into())),
            Some(("fdb", place)) => {
                let (file, prefix) = match place.rsplit_once('#') {
                    Some((file, prefix)) => (file, prefix.to_owned()),
                    None => (place, rookery_cluster_config::Store::default().prefix),
                };
                let cluster_file = (!file.is_empty()).then(|| file.into());
                Ok(Self::Fdb { cluster_file, prefix })
            }
            _ => Err("expected embedded:DIR, shared:SOCKET or fdb:CLUSTERFILE".to_owned()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded(dir) => write!(f, "embedded:{}", dir.display()),
            Self::Shared(socket) => write!(f, "shared:{}", socket.display()),
            Self::Fdb { cluster_file, prefix } => {
                let file = cluster_file.as_deref().unwrap_or(Path::new(""));
                write!(f, "fdb:{}#{prefix}", file.display())
            }
        }
    }
}

/// The store inside a node's data directory; a directory that is a store itself stays.
fn inside(dir: PathBuf) -> PathBuf {
    if holds_store(&dir) { dir } else { dir.join("store") }
}

/// Whether the embedded engine has its files here.
fn holds_store(dir: &Path) -> bool {
    dir.join("store").join("FORMAT").is_file()
}

impl Place {
    /// Where the store of a configured node is.
    #[must_use]
    pub fn configured(config: &Config) -> Self {
        match config.store.engine {
            Engine::Embedded => Self::Embedded(config.store_dir()),
            Engine::Shared => Self::Shared(config.store_socket()),
            Engine::Fdb => Self::Fdb {
                cluster_file: config.store.cluster_file.clone(),
                prefix: config.store.prefix.clone(),
            },
        }
    }

    /// The directory with the socket on which a running node makes backups, if it has one. The
    /// store of several nodes is open to tools beside them.
    #[must_use]
    pub fn control_dir(&self) -> Option<&Path> {
        match self {
            Self::Embedded(dir) => Some(dir),
            Self::Shared(_) | Self::Fdb { .. } => None,
        }
    }

    /// Opens a store that exists.
    ///
    /// # Errors
    /// [`PlaceError`].
    pub fn open(&self) -> Result<Store, PlaceError> {
        match self {
            Self::Embedded(dir) if !holds_store(dir) => Err(PlaceError::Missing(dir.clone())),
            Self::Embedded(_) | Self::Shared(_) | Self::Fdb { .. } => self.open_or_create(),
        }
    }

    /// Opens a store, or creates an empty one.
    ///
    /// # Errors
    /// [`PlaceError`].
    pub fn open_or_create(&self) -> Result<Store, PlaceError> {
        match self {
            Self::Embedded(dir) => {
                let engine = EmbeddedEngine::open(&EmbeddedConfig::new(dir));
                let engine =
                    engine.map_err(|error| PlaceError::Open(OpenError::Embedded(error)))?;
                Ok(Store::new(engine.into()))
            }
            Self::Shared(socket) => {
                let engine = SharedEngine::open(&SharedConfig::new(socket));
                let engine = engine.map_err(|error| PlaceError::Open(OpenError::Shared(error)))?;
                Ok(Store::new(engine.into()))
            }
            Self::Fdb { cluster_file, prefix } => {
                let engine = open_fdb(cluster_file.clone(), prefix.clone());
                engine.map(Store::new).map_err(PlaceError::Open)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_and_shown_alike() {
        let place: Place = "embedded:/data".parse().unwrap();
        assert_eq!(place, Place::Embedded("/data/store".into()));
        assert_eq!(place.to_string(), "embedded:/data/store");
        let place: Place = "shared:/run/s".parse().unwrap();
        assert_eq!(place.to_string(), "shared:/run/s");
        let place: Place = "fdb:/etc/fdb.cluster".parse().unwrap();
        assert_eq!(place.to_string(), "fdb:/etc/fdb.cluster#rookery");
        assert_eq!(place.to_string().parse(), Ok(place));
        let cluster_file = None;
        assert_eq!("fdb:#eu".parse(), Ok(Place::Fdb { cluster_file, prefix: "eu".into() }));
        for wrong in ["", "embedded", "embedded:", "redis:/x", "/data"] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_directory_that_is_a_store_is_taken_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("store")).unwrap();
        std::fs::write(dir.path().join("store/FORMAT"), "").unwrap();
        let place: Place = format!("embedded:{}", dir.path().display()).parse().unwrap();
        assert_eq!(place, Place::Embedded(dir.path().to_owned()));
    }

    #[test]
    fn a_store_that_is_not_there_is_not_created_by_reading() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::Embedded(dir.path().join("store"));
        assert!(matches!(place.open(), Err(PlaceError::Missing(_))));
        assert!(!dir.path().join("store").exists());
    }
}
