//! What a store engine is: the trait, its promises, and the closed set of engines.

mod any;

pub use any::{AnyEngine, AnyView};

use crate::doorbell::Doorbell;
use crate::plan::{Outcome, Plan, Version};
use bytes::Bytes;
use std::fmt;
use std::future::Future;

/// Called once with the outcomes of a submission, in the order of its plans. It runs on a thread
/// of the engine and must not block.
pub type Done = Box<dyn FnOnce(Vec<Outcome>) + Send>;

/// A row of a range.
pub type Row = (Bytes, Bytes);

/// An ordered, transactional key-value engine.
///
/// Safety
/// - A plan is applied whole or not at all; guards are checked and operations applied at one
///   point in the order of commits (serializable for what the guards name).
/// - `Committed` is said only after the plan is durable.
/// - Versions rise with that order; stamps too, and no two stamped rows share one.
/// - A view is one snapshot: it shows exactly the commits up to its version.
///
/// Liveness
/// - Every submission's `done` is called in bounded time, with `Busy` or `Unresolved` at worst.
///
/// What the caller owes
/// - At most one plan in flight for rows whose order matters to it.
/// - It never reads an error as "nothing happened": only `Conflict`, `Busy` and `TooLarge` say so.
pub trait Engine: Send + Sync {
    /// A snapshot.
    type View: View;

    /// Hands plans over; they are independent of each other and may share one commit. Plans of
    /// one submission are applied in their order.
    fn submit(&self, plans: Vec<Plan>, done: Done);

    /// A snapshot no older than `at_least` and no older than any commit already reported. It is
    /// good for some seconds (FoundationDB: 5 since it was taken); after that its reads may be
    /// [`ReadError::Unavailable`].
    ///
    /// # Errors
    /// [`ReadError::Unavailable`] when the engine can't be reached in time, or can't show
    /// `at_least` (it is a version this engine never gave).
    fn view(&self, at_least: Version)
    -> impl Future<Output = Result<Self::View, ReadError>> + Send;

    /// Whether the futures of this engine's views do their I/O while being polled, so that a
    /// caller on an async runtime should run them on a blocking thread.
    fn reads_block(&self) -> bool;

    /// A doorbell that rings when a key may have changed: a hint, see [`Doorbell`]. A node keeps
    /// one. Whoever waits for it polls as well, at longer intervals; with an engine that has none,
    /// that is all there is.
    fn doorbell(&self, _key: &[u8]) -> Doorbell {
        Doorbell::ended()
    }
}

/// A snapshot of the store.
pub trait View: Send + Sync {
    /// Which.
    fn version(&self) -> Version;

    /// The value of a key.
    ///
    /// # Errors
    /// [`ReadError`].
    fn get(&self, key: &[u8]) -> impl Future<Output = Result<Option<Bytes>, ReadError>> + Send;

    /// The values of several keys, in their order.
    ///
    /// # Errors
    /// [`ReadError`].
    fn get_many(
        &self,
        keys: &[Bytes],
    ) -> impl Future<Output = Result<Vec<Option<Bytes>>, ReadError>> + Send;

    /// At most `limit` rows of `from..to`, from the lowest key up or (reverse) from the highest
    /// down. A range that ends at or before its start is empty.
    ///
    /// # Errors
    /// [`ReadError`].
    fn range(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
        reverse: bool,
    ) -> impl Future<Output = Result<Vec<Row>, ReadError>> + Send;
}

/// Why a read gave no answer. None of them says that a row is absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The engine can't be reached, or not in time; retry.
    Unavailable(String),
    /// A row is damaged: its checksum, version byte or content is impossible.
    Damaged(String),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(why) => write!(f, "the store is unavailable: {why}"),
            Self::Damaged(why) => write!(f, "damaged row: {why}"),
        }
    }
}

impl std::error::Error for ReadError {}
