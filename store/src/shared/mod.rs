//! The engine of several nodes on one machine: `rookery store` hosts an engine behind a Unix
//! socket, and each node's [`SharedEngine`] is a client of it. For development and CI: one
//! machine is one point of failure, so production clusters use a replicated store.
//!
//! ```text
//! node process                                    store process
//! SharedEngine  client: plans and reads           server      socket, accept, end
//!   link        what waits, reconnecting          connection  one client: three threads
//!   report      outcomes of a submission's parts  outbox      answers on their way, bounded
//!   dial        connecting          watches       doorbells, both ends of them
//!         wire: greeting, frames     message: what they say     codec: its parts
//! ```
//!
//! Threads, not a runtime: an engine is called back from its own threads and its futures wait for
//! one channel, so the crate stays free of a runtime and works under any. A process has few
//! connections, so a few blocking threads for each cost little. The server reads, answers reads
//! and writes in three threads, so that a slow read holds up no commit and a slow peer nobody
//! else.
//!
//! Safety
//! - A plan is `Busy` only if its frame was never begun to be written, or the server said so; once
//!   begun and not answered it is `Unresolved`, because it may have been applied or still be.
//! - A snapshot lives in the server, belongs to one connection and ends with it, or when it was not
//!   read from for [`ServerConfig::view_life`]: reads on it then fail, they never answer from a later
//!   one. So a backup may take as long as it goes on reading.
//!
//! Liveness
//! - A server that says nothing for [`SharedConfig::silence`] is taken for gone, one that keeps a
//!   single request for [`SharedConfig::patience`] for failing at it. While it is gone plans are
//!   `Busy` and reads `Unavailable` at once; connecting is tried again with a jittered back-off.
//! - A client that doesn't take its answers for [`ServerConfig::write_timeout`] is dropped. Until
//!   then it costs the server at most its buffers, and the others nothing.
//!
//! Group commit survives: the plans of one submission travel in one frame (of up to 4 MiB and a
//! plan), and the plans of all clients meet in the hosted engine's queue.

mod client;
mod codec;
mod connection;
mod dial;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod link;
mod message;
mod outbox;
mod report;
mod server;
mod watches;
mod wire;
#[cfg(test)]
mod wire_tests;

pub use client::{ConnectError, SharedConfig, SharedEngine, SharedView};
pub use server::{BindError, Server, ServerConfig, Trouble};
pub use wire::{MAX_ELEMENTS, MAX_FRAME_BYTES};
