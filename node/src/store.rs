//! Opens the store that the configuration names, and knows how it fares.

use rookery_cluster_config::{Config, Engine};
use rookery_store::embedded::{EmbeddedConfig, EmbeddedEngine, Health, OpenError};
use rookery_store::engine::AnyEngine;

/// The store on any of its engines.
pub type Store = rookery_store::Store<AnyEngine>;

/// Opens the store. Blocks for as long as its journal takes to replay.
///
/// # Errors
/// [`OpenError`], whose text names the remedy.
pub fn open(config: &Config) -> Result<Store, OpenError> {
    match config.store.engine {
        Engine::Embedded => {
            let mut embedded = EmbeddedConfig::new(config.store_dir());
            embedded.cache_bytes = config.store.cache_bytes;
            Ok(Store::new(EmbeddedEngine::open(&embedded)?.into()))
        }
    }
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
    }
}

/// Ends the store: what was submitted is answered, nothing more is taken. Blocks.
pub(crate) fn close(store: &Store) {
    match store.engine() {
        AnyEngine::Memory(_) => {}
        AnyEngine::Embedded(engine) => engine.close(),
    }
}
