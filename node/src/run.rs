//! The life of a node, or of the store's process: until a signal asks it to end, or until it can't
//! go on.

use crate::Node;
use crate::store_process::StoreProcess;
use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Status of a process that could not go on: a node's actors failed more often than they may, or a
/// store could not be ended in order.
pub const CANNOT_GO_ON: u8 = 1;
/// As shells tell a program that was interrupted.
pub const INTERRUPTED: u8 = 130;

/// The signals that ask a process to end.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on: a signal during the start is not missed.
    ///
    /// # Errors
    /// The system does not let signals be listened for.
    pub fn listen() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Lets a node serve until its end; the status of the process: 0 after a signal, [`CANNOT_GO_ON`],
/// or [`INTERRUPTED`] by a second signal before all was done.
pub async fn run(node: Node, mut signals: Signals) -> u8 {
    let status = tokio::select! {
        () = signals.asked() => {
            tracing::info!("asked to end; a second signal ends at once");
            0
        }
        () = node.asked_to_leave() => {
            tracing::info!("asked to leave; a signal ends at once");
            0
        }
        () = node.failed() => {
            tracing::error!("the actors can't go on: the node ends");
            CANNOT_GO_ON
        }
    };
    tokio::select! {
        () = node.shutdown() => status,
        () = signals.asked() => INTERRUPTED,
    }
}

/// Lets a store serve until a signal; the status as of [`run`].
pub async fn run_store(store: StoreProcess, mut signals: Signals) -> u8 {
    signals.asked().await;
    tracing::info!("asked to end; a second signal ends at once");
    tokio::select! {
        ended = tokio::task::spawn_blocking(move || store.shutdown()) => {
            if ended.is_ok() { 0 } else { CANNOT_GO_ON }
        }
        () = signals.asked() => INTERRUPTED,
    }
}
