//! Opens the store that the configuration names, and knows how it fares.

use rookery_cluster_config::{Config, Engine};
use rookery_store::embedded::{EmbeddedConfig, EmbeddedEngine, Health};
use rookery_store::engine::AnyEngine;
use std::fmt;

/// The store on any of its engines.
pub type Store = rookery_store::Store<AnyEngine>;

/// Why a store can't be opened. Its text is one line and names the remedy.
#[derive(Debug)]
pub enum OpenError {
    /// The data directory can't be opened.
    Embedded(rookery_store::embedded::OpenError),
    /// The FoundationDB cluster can't be used.
    #[cfg(feature = "fdb")]
    Fdb(rookery_store::fdb::OpenError),
    /// This binary was built without the engine.
    NotBuilt,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded(error) => error.fmt(f),
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
            #[cfg(feature = "fdb")]
            Self::Fdb(error) => Some(error),
            Self::NotBuilt => None,
        }
    }
}

/// Opens the store. Blocks for as long as its journal takes to replay, or its cluster to answer.
///
/// # Errors
/// [`OpenError`].
pub fn open(config: &Config) -> Result<Store, OpenError> {
    let engine = match config.store.engine {
        Engine::Embedded => {
            let mut embedded = EmbeddedConfig::new(config.store_dir());
            embedded.cache_bytes = config.store.cache_bytes;
            EmbeddedEngine::open(&embedded).map_err(OpenError::Embedded)?.into()
        }
        Engine::Fdb => open_fdb(config)?,
    };
    Ok(Store::new(engine))
}

#[cfg(feature = "fdb")]
fn open_fdb(config: &Config) -> Result<AnyEngine, OpenError> {
    use rookery_store::fdb::{FdbConfig, FdbEngine};
    let fdb = FdbConfig {
        cluster_file: config.store.cluster_file.clone(),
        prefix: config.store.prefix.clone(),
        ..FdbConfig::default()
    };
    Ok(FdbEngine::open(&fdb).map_err(OpenError::Fdb)?.into())
}

#[cfg(not(feature = "fdb"))]
fn open_fdb(_config: &Config) -> Result<AnyEngine, OpenError> {
    Err(OpenError::NotBuilt)
}

/// Why the store takes no commits, for the operator; `None` while it does.
pub(crate) fn trouble(store: &Store) -> Option<String> {
    match store.engine() {
        AnyEngine::Memory(_) => None,
        AnyEngine::Embedded(engine) => match engine.health() {
            Health::Healthy => None,
            Health::Failed(why) => Some(format!("the store failed to write: {why}")),
            Health::Closed => Some("the store is closed".to_owned()),
        },
        #[cfg(feature = "fdb")]
        AnyEngine::Fdb(engine) => engine.trouble().map(str::to_owned),
    }
}

/// Ends the store: what was submitted is answered, nothing more is taken. Blocks.
pub(crate) fn close(store: &Store) {
    match store.engine() {
        AnyEngine::Memory(_) => {}
        AnyEngine::Embedded(engine) => engine.close(),
        #[cfg(feature = "fdb")]
        AnyEngine::Fdb(engine) => engine.close(),
    }
}
