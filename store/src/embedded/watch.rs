//! Looks after the writer: a write that takes too long, a disk that is full.
//!
//! Safety: plans whose batch is being written are told `Unresolved` when that takes longer than
//! [`super::EmbeddedConfig::stall`], because they may be applied all the same; plans that wait, and
//! those that come while it lasts, are told `Busy` and are never applied.
//!
//! Liveness: so every submission is answered in bounded time although nobody can interrupt a
//! write. When it ends, plans are taken again. The disk and the LSM are looked at again and again,
//! plans or none: whether there is room, and whether the LSM's background has failed.

use super::Shared;
use super::queue::{Receiver, Submission};
use crate::plan::Outcome;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often it is looked.
const TICK: Duration = Duration::from_millis(100);

/// The write under way.
#[derive(Default)]
pub(super) struct Watch {
    writing: Mutex<Option<Writing>>,
    /// There will be no write any more.
    pub(super) ended: AtomicBool,
}

struct Writing {
    since: Instant,
    receivers: Vec<Arc<Receiver>>,
    overdue: bool,
}

impl Watch {
    /// A write begins, with the look at the disk before it, of the plans of these receivers.
    pub(super) fn begin(&self, receivers: Vec<Arc<Receiver>>) {
        let writing = Writing { since: Instant::now(), receivers, overdue: false };
        *self.writing.lock().unwrap_or_else(PoisonError::into_inner) = Some(writing);
    }

    /// It has ended.
    pub(super) fn end(&self) {
        *self.writing.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether it takes too long.
    pub(super) fn is_overdue(&self) -> bool {
        let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        writing.as_ref().is_some_and(|writing| writing.overdue)
    }

    /// Who must be told now that it takes too long; none if it doesn't, or they were.
    fn overdue(&self, stall: Duration) -> Vec<Arc<Receiver>> {
        let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        match writing.as_mut() {
            Some(writing) if writing.since.elapsed() > stall => {
                if !writing.overdue {
                    writing.overdue = true;
                    tracing::error!("the disk does not answer; commits are refused until it does");
                }
                std::mem::take(&mut writing.receivers)
            }
            _ => Vec::new(),
        }
    }
}

/// The life of the watching thread: it ends with the writer.
pub(super) fn run(shared: &Shared, stall: Duration) {
    while !shared.watch.ended.load(Ordering::Acquire) {
        std::thread::park_timeout(TICK);
        for receiver in shared.watch.overdue(stall) {
            receiver.tell_all(Outcome::Unresolved);
        }
        if shared.watch.is_overdue() {
            shared.queue.drain().into_iter().for_each(|one| one.answer_all(Outcome::Busy));
        }
        if !shared.has_failed() {
            // Wakes the writer, which looks at the disk: this thread must not wait for it.
            let nothing = Submission::new(Vec::new(), Box::new(|_| {}));
            drop(shared.queue.put(nothing));
        }
    }
}
