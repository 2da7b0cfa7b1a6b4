//! The shell: hosts the pure actors in ractor shards and performs their effects.
//!
//! The only part of the crate that knows tokio, ractor, clocks and randomness.

mod cluster;
mod inbox;
pub mod link;
mod maintenance;
mod outbox;
#[cfg(feature = "poison")]
mod poison;
mod routing;
mod shard;
mod supervisor;
mod system;

pub use cluster::{ClusterConfig, OnRevoked, StartLinks};
pub use inbox::Full;
pub use maintenance::Maintenance;
pub use outbox::{Event, Outbox};
pub use system::{ActorSystem, StartError, SystemConfig};
