//! Opens the store that the configuration names, and knows how it fares.

use rookery_cluster_config::{Config, Engine};
use rookery_store::embedded::{self, EmbeddedConfig, EmbeddedEngine, Health};
use rookery_store::engine::AnyEngine;
use rookery_store::shared::{ConnectError, SharedConfig, SharedEngine};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Longest write that senders wait for: with it they are refused within two seconds.
const STALL: Duration = Duration::from_millis(1500);

/// The store on any of its engines.
pub type Store = rookery_store::Store<AnyEngine>;

/// Why the store can't be used. Its text names the remedy.
#[derive(Debug)]
pub enum OpenError {
    /// Its directory can't be opened.
    Embedded(embedded::OpenError),
    /// Its process can't be reached.
    Shared(ConnectError),
    /// Its FoundationDB cluster can't be used.
    #[cfg(feature = "fdb")]
    Fdb(rookery_store::fdb::OpenError),
    /// This binary was built without the engine.
    NotBuilt,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded(error) => error.fmt(f),
            Self::Shared(error) => error.fmt(f),
            #[cfg(feature = "fdb")]
            Self::Fdb(error) => error.fmt(f),
            Self::NotBuilt => f.write_str(
                "store.engine is \"fdb\", and this binary was built without it; build it with \
                 `cargo build --release --features fdb`",
            ),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Embedded(error) => Some(error),
            Self::Shared(error) => Some(error),
            #[cfg(feature = "fdb")]
            Self::Fdb(error) => Some(error),
            Self::NotBuilt => None,
        }
    }
}

/// Opens the store. Blocks for as long as its journal takes to replay, or its process or
/// cluster to answer.
///
/// # Errors
/// [`OpenError`], whose text names the remedy.
pub fn open(config: &Config) -> Result<Store, OpenError> {
    match config.store.engine {
        Engine::Embedded => {
            let engine = open_embedded(config).map_err(OpenError::Embedded)?;
            Ok(Store::new(engine.into()))
        }
        Engine::Shared => {
            let shared = SharedConfig::new(config.store_socket());
            let engine = SharedEngine::open(&shared).map_err(OpenError::Shared)?;
            Ok(Store::new(engine.into()))
        }
        Engine::Fdb => {
            let rookery_cluster_config::Store { cluster_file, prefix, .. } = config.store.clone();
            open_fdb(cluster_file, prefix).map(Store::new)
        }
    }
}

/// Opens the engine on FoundationDB.
///
/// # Errors
/// [`OpenError`]; without the feature always.
#[cfg(feature = "fdb")]
pub(crate) fn open_fdb(
    cluster_file: Option<PathBuf>,
    prefix: String,
) -> Result<AnyEngine, OpenError> {
    use rookery_store::fdb::{FdbConfig, FdbEngine};
    let fdb = FdbConfig { cluster_file, prefix, ..FdbConfig::default() };
    Ok(FdbEngine::open(&fdb).map_err(OpenError::Fdb)?.into())
}

#[cfg(not(feature = "fdb"))]
pub(crate) fn open_fdb(
    _cluster_file: Option<PathBuf>,
    _prefix: String,
) -> Result<AnyEngine, OpenError> {
    Err(OpenError::NotBuilt)
}

/// Opens the engine of one machine.
///
/// # Errors
/// Of the data directory.
pub(crate) fn open_embedded(config: &Config) -> Result<EmbeddedEngine, embedded::OpenError> {
    let mut embedded = EmbeddedConfig::new(config.store_dir());
    embedded.cache_bytes = config.store.cache_bytes;
    embedded.stall = STALL;
    EmbeddedEngine::open(&embedded)
}

/// Why the store takes no commits, for the operator; `None` while it does.
pub(crate) fn trouble(store: &Store) -> Option<String> {
    match store.engine() {
        AnyEngine::Memory(_) => None,
        AnyEngine::Embedded(engine) => unhealthy(engine),
        AnyEngine::Shared(engine) => engine.trouble(),
        #[cfg(feature = "fdb")]
        AnyEngine::Fdb(engine) => engine.trouble().map(str::to_owned),
    }
}

/// Why the engine of one machine takes no commits.
pub(crate) fn unhealthy(engine: &EmbeddedEngine) -> Option<String> {
    match engine.health() {
        Health::Healthy => None,
        Health::Waiting(why) => Some(format!("the store takes no commits for now: {why}")),
        Health::Failed(why) => Some(format!("the store failed to write: {why}")),
        Health::Closed => Some("the store is closed".to_owned()),
    }
}

/// Ends the store: what was submitted is answered, nothing more is taken. Blocks.
pub(crate) fn close(store: &Store) {
    match store.engine() {
        AnyEngine::Memory(_) => {}
        AnyEngine::Embedded(engine) => engine.close(),
        AnyEngine::Shared(engine) => engine.close(),
        #[cfg(feature = "fdb")]
        AnyEngine::Fdb(engine) => engine.close(),
    }
}
