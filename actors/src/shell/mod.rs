//! The shell: hosts the pure actors in ractor shards and performs their effects.
//!
//! The only part of the crate that knows tokio, ractor, clocks and randomness.

mod cluster;
mod inbox;
mod kind;
pub mod link;
mod outbox;
mod query;
mod routing;
mod shard;
mod supervisor;
mod system;

pub use cluster::{ClusterConfig, Links};
pub use inbox::Full;
pub use outbox::{Event, Outbox};
pub use system::{ActorSystem, StartError, SystemConfig};
