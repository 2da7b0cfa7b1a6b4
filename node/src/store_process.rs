//! `rookery store`: the process that hosts the store of several nodes on one machine.
//!
//! It opens the data directory as an embedded node does (and may take over such a node's), and
//! serves it on a socket that only its user may open. It ends cleanly on a signal: what was
//! submitted is answered first. When it is killed instead, nothing acknowledged is lost, and the
//! nodes reconnect to the next one.

use crate::store;
use rookery_cluster_config::Config;
use rookery_store::embedded::{EmbeddedEngine, OpenError};
use rookery_store::shared::{BindError, Server, ServerConfig};
use std::fmt;
use std::path::PathBuf;

/// Why the store's process can't start. Its text is one line and names the remedy.
#[derive(Debug)]
pub enum StartError {
    /// The data directory can't be opened.
    Open(OpenError),
    /// The socket can't be served on.
    Bind(BindError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => error.fmt(f),
            Self::Bind(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Open(error) => Some(error),
            Self::Bind(error) => Some(error),
        }
    }
}

/// The running store.
#[derive(Debug)]
pub struct StoreProcess {
    engine: EmbeddedEngine,
    server: Server,
    data: PathBuf,
    socket: PathBuf,
}

impl StoreProcess {
    /// Opens the data directory and serves it. Blocks for as long as its journal takes to replay.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(config: &Config) -> Result<Self, StartError> {
        let engine = store::open_embedded(config).map_err(StartError::Open)?;
        let mut server = ServerConfig::new(config.store_socket());
        let watched = engine.clone();
        server.trouble = Some(std::sync::Arc::new(move || store::unhealthy(&watched)));
        let socket = server.socket.clone();
        let server = Server::start(engine.clone(), &server).map_err(StartError::Bind)?;
        Ok(Self { engine, server, data: config.store_dir(), socket })
    }

    /// The line that tells the operator, and programs that started it, that it serves.
    #[must_use]
    pub fn ready_line(&self) -> String {
        format!("rookery store ready: {} (data {})", self.socket.display(), self.data.display())
    }

    /// Ends it in order: what was submitted is answered and durable. Blocks.
    pub fn shutdown(self) {
        self.server.stop();
        self.engine.close();
        tracing::info!("the store has ended");
    }
}
