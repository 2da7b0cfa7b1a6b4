//! The engine of production clusters: FoundationDB 7.3, behind the cargo feature `fdb`.
//!
//! ```text
//! engine    FdbEngine, its configuration, opening and closing       (feature)
//! connect   cluster file, first contact, whose rows lie there       (feature; judging is pure)
//! network   the client library's network thread, one a process      (feature)
//! library   the trait `client` on the crate `foundationdb`          (feature)
//! view      snapshots                                               (feature)
//!
//! core      inbox + driver's thread      driver   merges, runs jobs, reports
//! job       one transaction's way to an outcome, a pure state machine
//! merge     which plans share a transaction      translate  plans as mutations
//! freshness ages of versions and guards          marks      looking up lost outcomes
//! codes     what error codes mean                pulse      circuit breaker and canary
//! space     the key prefix                       inbox      bounded in bytes
//! ```
//!
//! Everything but the modules marked (feature) is compiled for every test run and tested on a
//! simulated cluster, so that the decisions are held to their rules where the library isn't installed.
//!
//! Safety
//! - A commit reads nothing: its read version is the oldest at which one of its guards is known to
//!   have held, and the guarded keys are its read conflicts. So a commit on a warm conversation is one
//!   round trip, and the cluster refuses it if a guarded key was written since.
//! - Guards are decided by value, like on every engine: what the cluster refuses is looked at again
//!   (see `job`).
//! - An outcome that got lost is looked up in the row that each transaction writes for it (see
//!   `marks`); without an answer in time it stays `Unresolved`.
//!
//! Liveness: everything has a time limit and a bound in bytes; while the cluster is silent, new work
//! is refused at once (see `pulse`).

mod client;
mod codes;
mod core;
mod driver;
mod freshness;
mod inbox;
mod job;
mod marks;
mod merge;
mod meters;
mod pulse;
mod space;
mod translate;

#[cfg(feature = "fdb")]
mod connect;
#[cfg(feature = "fdb")]
mod engine;
#[cfg(feature = "fdb")]
mod library;
#[cfg(feature = "fdb")]
mod network;
#[cfg(feature = "fdb")]
mod view;

#[cfg(test)]
mod sim;
#[cfg(test)]
mod simulated;
#[cfg(test)]
mod tests;

#[cfg(feature = "fdb")]
pub use connect::OpenError;
#[cfg(feature = "fdb")]
pub use engine::{FdbConfig, FdbEngine};
pub use meters::Operations;
#[cfg(feature = "fdb")]
pub use network::stop_network;
#[cfg(feature = "fdb")]
pub use view::FdbView;
