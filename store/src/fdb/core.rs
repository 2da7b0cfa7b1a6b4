//! The engine apart from FoundationDB's library: an inbox, and the driver's thread behind it.

use super::client::Client;
use super::driver::{Driver, Tuning};
use super::freshness::{Clock, Known};
use super::inbox::{Inbox, Submission, Watched};
use super::job::Shared;
use super::marks::Marks;
use super::meters::{Meters, Operations};
use super::space::Space;
use crate::doorbell::{Doorbell, doorbell};
use crate::engine::Done;
use crate::plan::Plan;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

/// A running driver; dropping it ends the driver.
pub(super) struct Core {
    inbox: Arc<Inbox>,
    meters: Arc<Meters>,
    space: Space,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Core {
    /// Starts a driver. `instance` is never used twice; `version` was just given by the cluster.
    pub(super) fn start<C: Client>(
        client: Arc<C>,
        space: Space,
        tuning: Tuning,
        queue_bytes: usize,
        instance: u64,
        version: u64,
    ) -> std::io::Result<Self> {
        let inbox = Arc::new(Inbox::new(queue_bytes));
        let meters = Arc::new(Meters::new());
        let mut clock = Clock::default();
        clock.observe(version, Instant::now());
        let marks = Marks::new(&space.marks(), instance);
        let shared = Shared { clock, known: Known::default(), marks };
        let ended = EndedOnUnwind(Arc::clone(&inbox));
        let (its_inbox, its_meters) = (Arc::clone(&inbox), Arc::clone(&meters));
        let its_space = space.clone();
        let work = move || {
            let _ended = ended;
            Driver::new(client, its_inbox, its_space, shared, tuning, its_meters).run();
        };
        let thread = std::thread::Builder::new().name("store-fdb".to_owned()).spawn(work)?;
        inbox.served_by(thread.thread().clone());
        Ok(Self { inbox, meters, space, thread: Mutex::new(Some(thread)) })
    }

    pub(super) fn submit(&self, plans: Vec<Plan>, done: Done) {
        self.inbox.put(Submission::new(plans, done));
    }

    pub(super) fn doorbell(&self, key: &[u8]) -> Doorbell {
        let (bell, doorbell) = doorbell();
        self.inbox.watch(Watched { key: self.space.row(key), bell });
        doorbell
    }

    pub(super) fn operations(&self) -> Operations {
        self.meters.operations()
    }

    /// Whether the cluster is silent.
    pub(super) fn is_stalled(&self) -> bool {
        self.inbox.is_stalled()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.inbox.is_closed()
    }

    /// Whether the driver has taken over everything that was submitted.
    #[cfg(test)]
    pub(super) fn has_taken_all(&self) -> bool {
        self.inbox.is_empty()
    }

    /// Answers what was submitted, and ends the driver.
    pub(super) fn close(&self) {
        self.inbox.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A `done` may hold the last handle: the driver can't wait for itself.
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the driver of the store panicked");
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.close();
    }
}

/// Closes the inbox when the driver ends by a panic, and lets go of what waits there: dropped
/// submissions answer themselves.
struct EndedOnUnwind(Arc<Inbox>);

impl Drop for EndedOnUnwind {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.close();
            drop(self.0.take());
        }
    }
}
