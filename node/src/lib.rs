//! A Rookery node as a library: the binary `rookery` is a thin wrapper, and tests start nodes in
//! their own process with [`Node::start`].
//!
//! ```text
//! cli ── commands ── place (opens a store by its name): the operators' tools
//!  '─── configuration ── serve (start-up order, shutdown order)
//!                           |- store      opens the engine
//!                           |- control    backups of the open store, for `commands`
//!                           |- identity   passwords, tokens, devices
//!                           |- gateway    WebSocket connections and the actors behind them
//!                           |- http       accept loop, API, health, page
//!                           |- search     the index of words, brought up to what it should be
//!                           |- metrics    Prometheus on a listener of its own
//!                           `- admin      what operators ask, on a listener of its own; cluster
//! store_process: `rookery store`, the store of several nodes on one machine
//! ```

pub mod admin;
pub mod cli;
mod clock;
pub mod cluster;
pub mod commands;
pub mod control;
pub mod gateway;
pub mod http;
pub mod identity;
pub mod log;
pub mod metrics;
pub mod place;
mod process;
pub mod run;
mod search;
pub mod serve;
pub mod store;
pub mod store_process;
mod table;

pub use clock::now_ms;
pub use process::raise_file_limit;
pub use serve::{Node, StartError};

use gateway::Gateway;
use identity::Identity;
use rookery_cluster_config::Config;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{Notify, Semaphore};

/// What every request and connection of a node shares.
#[derive(Debug)]
pub struct AppState {
    /// The configuration.
    pub config: Config,
    /// Where HTTP, WebSocket and page are served.
    pub http_addr: SocketAddr,
    /// The truth.
    pub store: store::Store,
    /// Accounts and tokens.
    pub identity: Identity,
    /// Connections and actors.
    pub gateway: Gateway,
    /// Attempts to log in that each address has left.
    pub attempts: http::Attempts,
    /// Accounts that may still be made.
    pub sign_ups: http::SignUps,
    /// Connections that each address has open.
    pub per_address: http::PerAddress,
    /// What everybody is told who connects.
    pub(crate) notices: admin::Notices,
    /// Reads that requests have under way.
    reads: Semaphore,
    /// Exports that are being made.
    exports: Arc<Semaphore>,
    draining: AtomicBool,
    /// An operator asked the node to leave.
    leave: Notify,
}

impl AppState {
    /// Whether the node is leaving: it takes no new sessions.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Why the store takes no commits; `None` while it does.
    #[must_use]
    pub fn store_trouble(&self) -> Option<String> {
        store::trouble(&self.store)
    }
}
