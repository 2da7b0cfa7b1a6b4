//! The closed set of engines as one type, so that the layer above is compiled once and the choice
//! of an engine is a line of configuration.

use super::{Done, Engine, ReadError, Row, View};
use crate::doorbell::Doorbell;
use crate::embedded::{EmbeddedEngine, EmbeddedView};
#[cfg(feature = "fdb")]
use crate::fdb::{FdbEngine, FdbView};
use crate::memory::{MemoryEngine, MemoryView};
use crate::plan::{Plan, Version};
use crate::shared::{SharedEngine, SharedView};
use bytes::Bytes;

/// Any of the engines. Clones share one store.
#[derive(Clone, Debug)]
pub enum AnyEngine {
    /// In memory, for simulation and unit tests.
    Memory(MemoryEngine),
    /// In a data directory of this machine.
    Embedded(EmbeddedEngine),
    /// In another process of this machine.
    Shared(SharedEngine),
    /// In a FoundationDB cluster.
    #[cfg(feature = "fdb")]
    Fdb(FdbEngine),
}

/// A snapshot of any of the engines.
#[derive(Debug)]
pub enum AnyView {
    /// Of the engine in memory.
    Memory(MemoryView),
    /// Of the engine of one machine.
    Embedded(EmbeddedView),
    /// Of the engine in another process.
    Shared(SharedView),
    /// Of a FoundationDB cluster.
    #[cfg(feature = "fdb")]
    Fdb(FdbView),
}

impl From<MemoryEngine> for AnyEngine {
    fn from(engine: MemoryEngine) -> Self {
        Self::Memory(engine)
    }
}

impl From<EmbeddedEngine> for AnyEngine {
    fn from(engine: EmbeddedEngine) -> Self {
        Self::Embedded(engine)
    }
}

impl From<SharedEngine> for AnyEngine {
    fn from(engine: SharedEngine) -> Self {
        Self::Shared(engine)
    }
}

#[cfg(feature = "fdb")]
impl From<FdbEngine> for AnyEngine {
    fn from(engine: FdbEngine) -> Self {
        Self::Fdb(engine)
    }
}

impl Engine for AnyEngine {
    type View = AnyView;

    fn submit(&self, plans: Vec<Plan>, done: Done) {
        match self {
            Self::Memory(engine) => engine.submit(plans, done),
            Self::Embedded(engine) => engine.submit(plans, done),
            Self::Shared(engine) => engine.submit(plans, done),
            #[cfg(feature = "fdb")]
            Self::Fdb(engine) => engine.submit(plans, done),
        }
    }

    async fn view(&self, at_least: Version) -> Result<AnyView, ReadError> {
        match self {
            Self::Memory(engine) => engine.view(at_least).await.map(AnyView::Memory),
            Self::Embedded(engine) => engine.view(at_least).await.map(AnyView::Embedded),
            Self::Shared(engine) => engine.view(at_least).await.map(AnyView::Shared),
            #[cfg(feature = "fdb")]
            Self::Fdb(engine) => engine.view(at_least).await.map(AnyView::Fdb),
        }
    }

    fn reads_block(&self) -> bool {
        match self {
            Self::Memory(engine) => engine.reads_block(),
            Self::Embedded(engine) => engine.reads_block(),
            Self::Shared(engine) => engine.reads_block(),
            #[cfg(feature = "fdb")]
            Self::Fdb(engine) => engine.reads_block(),
        }
    }

    fn doorbell(&self, key: &[u8]) -> Doorbell {
        match self {
            Self::Memory(engine) => engine.doorbell(key),
            Self::Embedded(engine) => engine.doorbell(key),
            Self::Shared(engine) => engine.doorbell(key),
            #[cfg(feature = "fdb")]
            Self::Fdb(engine) => engine.doorbell(key),
        }
    }
}

impl View for AnyView {
    fn version(&self) -> Version {
        match self {
            Self::Memory(view) => view.version(),
            Self::Embedded(view) => view.version(),
            Self::Shared(view) => view.version(),
            #[cfg(feature = "fdb")]
            Self::Fdb(view) => view.version(),
        }
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        match self {
            Self::Memory(view) => view.get(key).await,
            Self::Embedded(view) => view.get(key).await,
            Self::Shared(view) => view.get(key).await,
            #[cfg(feature = "fdb")]
            Self::Fdb(view) => view.get(key).await,
        }
    }

    async fn get_many(&self, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, ReadError> {
        match self {
            Self::Memory(view) => view.get_many(keys).await,
            Self::Embedded(view) => view.get_many(keys).await,
            Self::Shared(view) => view.get_many(keys).await,
            #[cfg(feature = "fdb")]
            Self::Fdb(view) => view.get_many(keys).await,
        }
    }

    async fn range(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<Row>, ReadError> {
        match self {
            Self::Memory(view) => view.range(from, to, limit, reverse).await,
            Self::Embedded(view) => view.range(from, to, limit, reverse).await,
            Self::Shared(view) => view.range(from, to, limit, reverse).await,
            #[cfg(feature = "fdb")]
            Self::Fdb(view) => view.range(from, to, limit, reverse).await,
        }
    }
}
