//! What the engine asks of a cluster, as a small trait: the driver and everything it decides runs
//! on FoundationDB as well as on the simulated cluster of the tests.

use super::codes::Code;
use super::job::Member;
use super::space::Space;
use bytes::Bytes;
use std::pin::Pin;

/// An answer that comes later. Every answer comes within the client's own time-outs, except that
/// of a watch.
pub(super) type Answer<T> = Pin<Box<dyn Future<Output = Result<T, Code>> + Send>>;

/// One transaction.
#[derive(Debug)]
pub(super) struct Commit<'a> {
    /// Its read version.
    pub(super) base: u64,
    /// Where its rows lie.
    pub(super) space: &'a Space,
    /// Keys in the space: it fails with 1020 when one of them was written after `base`.
    pub(super) guarded: &'a [Bytes],
    /// The key of its mark, which it also fails for and writes.
    pub(super) mark: &'a [u8],
    /// What the mark holds after the 10 bytes of the commit.
    pub(super) tail: [u8; 11],
    /// The plans, whose operations apply in order.
    pub(super) members: &'a [Member],
}

/// A connection to a cluster. Keys are the cluster's own, except inside of plans.
pub(super) trait Client: Send + Sync + 'static {
    /// A version at which every commit reported so far shows.
    fn read_version(&self) -> Answer<u64>;
    /// Rows at a version.
    fn read(&self, at: u64, keys: Vec<Vec<u8>>) -> Answer<Vec<Option<Bytes>>>;
    /// Commits; the 10 bytes of its stamp.
    fn commit(&self, commit: &Commit<'_>) -> Answer<[u8; 10]>;
    /// Is answered when a key changes, or with an error when that can't be told any more.
    fn watch(&self, key: Vec<u8>) -> Answer<()>;
    /// Removes all keys with a prefix.
    fn clear(&self, prefix: Vec<u8>) -> Answer<()>;
}
