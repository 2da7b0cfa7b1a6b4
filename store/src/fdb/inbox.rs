//! What callers hand to the driver: submissions, bounded in bytes, and doorbells to watch.
//!
//! A submission is answered exactly once: one that is dropped without an answer says `Unresolved`
//! of the plans whose outcome isn't known.

use crate::doorbell::Bell;
use crate::engine::Done;
use crate::plan::{Outcome, Plan};
use bytes::Bytes;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;

/// What an operation or a guard costs in memory beside the bytes it carries.
const OVERHEAD_BYTES: usize = 96;

/// Plans that came together, and whom to tell.
pub(super) struct Submission {
    /// Not taken over by the driver yet.
    pub(super) plans: Vec<Plan>,
    outcomes: Vec<Option<Outcome>>,
    open: usize,
    done: Option<Done>,
    pub(super) bytes: usize,
}

impl Submission {
    pub(super) fn new(plans: Vec<Plan>, done: Done) -> Self {
        let bytes = |plan: &Plan| {
            let known = plan.guards.iter().filter_map(|guard| guard.known.as_ref());
            plan.bytes()
                + known.map(Bytes::len).sum::<usize>()
                + OVERHEAD_BYTES * (plan.ops.len() + plan.guards.len())
        };
        let bytes = OVERHEAD_BYTES + plans.iter().map(bytes).sum::<usize>();
        let open = plans.len();
        Self { plans, outcomes: vec![None; open], open, done: Some(done), bytes }
    }

    /// Notes an outcome.
    pub(super) fn note(&mut self, place: usize, outcome: Outcome) {
        if let Some(none @ None) = self.outcomes.get_mut(place) {
            *none = Some(outcome);
            self.open -= 1;
        }
    }

    /// Whether every outcome is known.
    pub(super) fn is_done(&self) -> bool {
        self.open == 0
    }

    /// Reports `outcome` where none is known.
    pub(super) fn answer(mut self, outcome: Outcome) {
        self.report(outcome);
    }

    fn report(&mut self, otherwise: Outcome) {
        let Some(done) = self.done.take() else { return };
        let outcomes = self.outcomes.iter().map(|outcome| outcome.unwrap_or(otherwise)).collect();
        // A panic of the receiver stays its own.
        if catch_unwind(AssertUnwindSafe(|| done(outcomes))).is_err() {
            tracing::error!("a receiver of commit outcomes panicked");
        }
    }
}

impl Drop for Submission {
    fn drop(&mut self) {
        self.report(Outcome::Unresolved);
    }
}

/// A doorbell to serve.
pub(super) struct Watched {
    pub(super) key: Vec<u8>,
    pub(super) bell: Bell,
}

/// Where callers leave things, and the driver finds them.
pub(super) struct Inbox {
    inner: Mutex<Inner>,
    driver: OnceLock<Thread>,
    limit_bytes: usize,
    /// New work is refused: the cluster is silent.
    stalled: AtomicBool,
}

#[derive(Default)]
struct Inner {
    submissions: Vec<Submission>,
    watched: Vec<Watched>,
    /// Of what waits here and of what the driver works on.
    bytes: usize,
    closed: bool,
}

impl Inbox {
    pub(super) fn new(limit_bytes: usize) -> Self {
        let stalled = AtomicBool::new(false);
        Self { inner: Mutex::default(), driver: OnceLock::new(), limit_bytes, stalled }
    }

    /// Tells whom to wake; once.
    pub(super) fn served_by(&self, driver: Thread) {
        if self.driver.set(driver).is_err() {
            tracing::error!("an inbox has one driver");
        }
    }

    /// Leaves a submission, or refuses it: there is no room, the cluster is silent, or the engine
    /// closed. One that is larger than the bound is taken when nothing else is there.
    pub(super) fn put(&self, submission: Submission) {
        let mut inner = self.lock();
        let full = inner.bytes > 0 && inner.bytes + submission.bytes > self.limit_bytes;
        if full || inner.closed || self.is_stalled() {
            drop(inner);
            submission.answer(Outcome::Busy);
            return;
        }
        inner.bytes += submission.bytes;
        let wake = inner.submissions.is_empty();
        inner.submissions.push(submission);
        drop(inner);
        if wake {
            self.wake();
        }
    }

    /// Leaves a doorbell; a closed engine lets go of it, which ends it.
    pub(super) fn watch(&self, watched: Watched) {
        let mut inner = self.lock();
        if !inner.closed {
            inner.watched.push(watched);
        }
        drop(inner);
        self.wake();
    }

    /// What was left since the last time, and whether nothing more will come.
    pub(super) fn take(&self) -> (Vec<Submission>, Vec<Watched>, bool) {
        let mut inner = self.lock();
        let submissions = std::mem::take(&mut inner.submissions);
        (submissions, std::mem::take(&mut inner.watched), inner.closed)
    }

    /// Whether the driver has taken over everything.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.lock().submissions.is_empty()
    }

    /// Gives back the room of submissions that were answered; says the bytes still held.
    pub(super) fn release(&self, bytes: usize) -> usize {
        let mut inner = self.lock();
        inner.bytes = inner.bytes.saturating_sub(bytes);
        inner.bytes
    }

    /// Takes nothing more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.wake();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    pub(super) fn set_stalled(&self, stalled: bool) {
        if self.stalled.swap(stalled, Ordering::Relaxed) != stalled {
            if stalled {
                tracing::warn!("FoundationDB does not answer: commits and reads are refused");
            } else {
                tracing::info!("FoundationDB answers again");
            }
        }
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }

    fn wake(&self) {
        if let Some(driver) = self.driver.get() {
            driver.unpark();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
