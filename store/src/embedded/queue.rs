//! The bounded queue in front of the writer: many threads put submissions in, the writer takes
//! everything that waits, up to a batch.
//!
//! The bound is in bytes and counts what is queued and what the writer works on. A submission is
//! answered exactly once: one that is dropped without an answer says `Unresolved`.

use crate::engine::Done;
use crate::plan::{Outcome, Plan};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What an operation or a guard costs in memory beside the bytes it carries.
const OVERHEAD_BYTES: usize = 96;

/// Plans that came together, and whom to tell.
pub(super) struct Submission {
    /// `None`: over a size limit.
    plans: Vec<Option<Plan>>,
    receiver: Arc<Receiver>,
    bytes: usize,
}

/// Whom to tell, once: the writer, or whoever finds that it takes too long.
pub(super) struct Receiver {
    done: Mutex<Option<Done>>,
    plans: usize,
}

impl Receiver {
    /// Reports, unless it was done before; a panic of the receiver stays its own.
    fn tell(&self, outcomes: Vec<Outcome>) {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(done) = done
            && catch_unwind(AssertUnwindSafe(|| done(outcomes))).is_err()
        {
            tracing::error!("a receiver of commit outcomes panicked");
        }
    }

    /// Reports the same outcome for every plan.
    pub(super) fn tell_all(&self, outcome: Outcome) {
        self.tell(vec![outcome; self.plans]);
    }
}

impl Submission {
    pub(super) fn new(plans: Vec<Plan>, done: Done) -> Self {
        let receiver = Receiver { done: Mutex::new(Some(done)), plans: plans.len() };
        let mut bytes = OVERHEAD_BYTES;
        let limited = |plan: Plan| {
            let known = plan.guards.iter().filter_map(|guard| guard.known.as_ref());
            bytes += plan.bytes() + known.map(bytes::Bytes::len).sum::<usize>();
            bytes += OVERHEAD_BYTES * (plan.ops.len() + plan.guards.len());
            plan.within_limits().then_some(plan)
        };
        let plans = plans.into_iter().map(limited).collect();
        Self { plans, receiver: Arc::new(receiver), bytes }
    }

    pub(super) fn plans(&self) -> &[Option<Plan>] {
        &self.plans
    }

    pub(super) fn take_plans(&mut self) -> Vec<Option<Plan>> {
        std::mem::take(&mut self.plans)
    }

    pub(super) fn receiver(&self) -> Arc<Receiver> {
        Arc::clone(&self.receiver)
    }

    /// Reports.
    pub(super) fn answer(self, outcomes: Vec<Outcome>) {
        self.receiver.tell(outcomes);
    }

    /// Reports the same outcome for every plan.
    pub(super) fn answer_all(self, outcome: Outcome) {
        self.receiver.tell_all(outcome);
    }
}

impl Drop for Submission {
    fn drop(&mut self) {
        self.receiver.tell_all(Outcome::Unresolved);
    }
}

/// The queue.
pub(super) struct Queue {
    inner: Mutex<Inner>,
    arrived: Condvar,
    limit_bytes: usize,
}

struct Inner {
    waiting: VecDeque<Submission>,
    /// Of what waits and of what was taken and not yet released.
    bytes: usize,
    open: bool,
    /// How many submissions the writer sleeps for; 0: it does not sleep.
    writer_wants: usize,
}

impl Queue {
    pub(super) fn new(limit_bytes: usize) -> Self {
        let inner = Inner { waiting: VecDeque::new(), bytes: 0, open: true, writer_wants: 0 };
        Self { inner: Mutex::new(inner), arrived: Condvar::new(), limit_bytes }
    }

    /// Adds a submission, or gives it back: the queue is full or closed. A submission that is
    /// larger than the bound is taken when nothing else is there.
    pub(super) fn put(&self, submission: Submission) -> Result<(), Submission> {
        let mut inner = self.lock();
        let full = inner.bytes > 0 && inner.bytes + submission.bytes > self.limit_bytes;
        if full || !inner.open {
            return Err(submission);
        }
        inner.bytes += submission.bytes;
        inner.waiting.push_back(submission);
        let wake = inner.writer_wants > 0 && inner.waiting.len() >= inner.writer_wants;
        if wake {
            inner.writer_wants = 0;
        }
        drop(inner);
        if wake {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Waits for submissions and moves them into `batch`, at least one and up to `most_bytes`;
    /// says their bytes. `None`: the queue is closed and empty.
    ///
    /// With one there, it waits up to `patience` for as many as `wanted`.
    pub(super) fn take(
        &self,
        batch: &mut Vec<Submission>,
        most_bytes: usize,
        wanted: usize,
        patience: Duration,
    ) -> Option<usize> {
        let mut inner = self.lock();
        while inner.waiting.is_empty() {
            if !inner.open {
                return None;
            }
            inner.writer_wants = 1;
            inner = self.arrived.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        if inner.waiting.len() < wanted && inner.open {
            inner.writer_wants = wanted;
            let slept = self.arrived.wait_timeout(inner, patience);
            inner = slept.unwrap_or_else(PoisonError::into_inner).0;
        }
        inner.writer_wants = 0;
        let mut bytes = 0;
        while let Some(next) = inner.waiting.front() {
            if bytes > 0 && bytes + next.bytes > most_bytes {
                break;
            }
            bytes += next.bytes;
            batch.extend(inner.waiting.pop_front());
        }
        Some(bytes)
    }

    /// Gives back the room of a batch; says the bytes still held.
    pub(super) fn release(&self, bytes: usize) -> usize {
        let mut inner = self.lock();
        inner.bytes = inner.bytes.saturating_sub(bytes);
        inner.bytes
    }

    /// Takes out everything that waits, for somebody else than the writer.
    pub(super) fn drain(&self) -> Vec<Submission> {
        let mut inner = self.lock();
        let waiting: Vec<Submission> = inner.waiting.drain(..).collect();
        inner.bytes = inner.bytes.saturating_sub(waiting.iter().map(|one| one.bytes).sum());
        waiting
    }

    /// Takes no more; what waits is still handed out.
    pub(super) fn close(&self) {
        self.lock().open = false;
        self.arrived.notify_all();
    }

    pub(super) fn is_open(&self) -> bool {
        self.lock().open
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Op;
    use std::sync::mpsc::{Receiver, channel};

    fn submission(value_bytes: usize) -> (Submission, Receiver<Vec<Outcome>>) {
        let (sender, receiver) = channel();
        let op = Op::Set { key: "k".into(), value: vec![0; value_bytes].into() };
        let plan = Plan { guards: Vec::new(), ops: vec![op] };
        let done = Box::new(move |outcomes| sender.send(outcomes).unwrap_or_default());
        (Submission::new(vec![plan], done), receiver)
    }

    #[test]
    fn a_full_queue_gives_the_submission_back_until_room_is_released() {
        let queue = Queue::new(10_000);
        assert!(queue.put(submission(50_000).0).is_ok(), "alone, even one over the bound");
        assert!(queue.put(submission(1).0).is_err(), "full");
        let mut batch = Vec::new();
        let bytes = queue.take(&mut batch, 1, 0, Duration::ZERO).unwrap();
        assert!(queue.put(submission(1).0).is_err(), "the batch still counts");
        assert_eq!(queue.release(bytes), 0);
        assert!(queue.put(submission(1).0).is_ok());
    }

    #[test]
    fn a_closed_queue_hands_out_what_waits_and_takes_no_more() {
        let queue = Queue::new(10_000);
        assert!(queue.put(submission(1).0).is_ok());
        queue.close();
        assert!(queue.put(submission(1).0).is_err());
        assert!(queue.take(&mut Vec::new(), 1, 0, Duration::ZERO).is_some());
        assert!(queue.take(&mut Vec::new(), 1, 0, Duration::ZERO).is_none());
    }

    #[test]
    fn a_dropped_submission_says_unresolved() {
        let (submission, outcomes) = submission(1);
        drop(submission);
        assert_eq!(outcomes.recv(), Ok(vec![Outcome::Unresolved]));
    }

    #[test]
    fn a_panicking_receiver_does_not_reach_the_writer() {
        Submission::new(Vec::new(), Box::new(|_| panic!("receiver"))).answer(Vec::new());
    }
}
