//! Answers of one connection on their way to the client, and the room its plans take up.
//!
//! Everything is bounded: a submission's bytes count from its arrival until its answer is
//! written, so outcomes (which must be taken whenever they come) are bounded by them; for any
//! other answer the connection waits for room first and thereby stops reading.

use super::message::Answer;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub(super) struct Outbox {
    state: Mutex<State>,
    changed: Condvar,
    plan_bytes: usize,
    answer_bytes: usize,
}

#[derive(Default)]
struct State {
    frames: VecDeque<(Vec<u8>, usize)>,
    /// Watches that rang since the last frames were taken, and whether they have ended.
    rung: BTreeMap<u64, bool>,
    /// Of frames that wait or are being written.
    bytes: usize,
    /// Of plans whose answers are not yet written.
    plans: usize,
    /// No frame comes any more.
    closed: bool,
    /// No frame can be written any more.
    broken: bool,
}

impl Outbox {
    pub(super) fn new(plan_bytes: usize, answer_bytes: usize) -> Self {
        let (state, changed) = (Mutex::default(), Condvar::new());
        Self { state, changed, plan_bytes, answer_bytes }
    }

    /// Whether there is room for a submission; if so it counts until its answer is written. One
    /// that is larger than the bound is taken when nothing else is there.
    pub(super) fn admit(&self, bytes: usize) -> bool {
        let mut state = self.lock();
        let admitted = state.plans == 0 || state.plans.saturating_add(bytes) <= self.plan_bytes;
        if admitted {
            state.plans += bytes;
        }
        admitted
    }

    /// Adds a frame that answers a submission of so many bytes, or 0.
    pub(super) fn push(&self, frame: Vec<u8>, plans: usize) {
        let mut state = self.lock();
        if state.broken {
            state.plans = state.plans.saturating_sub(plans);
        } else {
            state.bytes += frame.len();
            state.frames.push_back((frame, plans));
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Adds the ring of a watch. A watch has one that waits, so that rings are bounded.
    pub(super) fn ring(&self, watch: u64, ended: bool) {
        let mut state = self.lock();
        if !state.broken {
            *state.rung.entry(watch).or_default() |= ended;
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until there is room for an answer. False: no answer can be written any more.
    pub(super) fn wait_room(&self) -> bool {
        let full = |state: &mut State| state.bytes > self.answer_bytes && !state.broken;
        let waited = self.changed.wait_while(self.lock(), full);
        !waited.unwrap_or_else(PoisonError::into_inner).broken
    }

    /// Waits for frames and moves them all into `into`, one behind the other; says the bytes of
    /// plans they answer. `None`: there are none and there won't be.
    pub(super) fn take(&self, into: &mut Vec<u8>) -> Option<usize> {
        let nothing = |state: &State| state.frames.is_empty() && state.rung.is_empty();
        let empty = |state: &mut State| nothing(state) && !state.closed && !state.broken;
        let waited = self.changed.wait_while(self.lock(), empty);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        if state.broken || nothing(&state) {
            return None;
        }
        let mut plans = 0;
        for (watch, ended) in std::mem::take(&mut state.rung) {
            into.extend_from_slice(&Answer::Rung { watch, ended }.encode());
        }
        for (frame, answered) in state.frames.drain(..) {
            into.extend_from_slice(&frame);
            plans += answered;
        }
        Some(plans)
    }

    /// What was taken is written.
    pub(super) fn written(&self, bytes: usize, plans: usize) {
        let mut state = self.lock();
        state.bytes = state.bytes.saturating_sub(bytes);
        state.plans = state.plans.saturating_sub(plans);
        drop(state);
        self.changed.notify_all();
    }

    /// The client can't be written to: whatever waits is dropped.
    pub(super) fn break_off(&self) {
        let mut state = self.lock();
        *state = State { broken: true, closed: true, ..State::default() };
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until every plan is answered and written, for a bounded time, and takes no more.
    pub(super) fn close(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let mut state = self.lock();
        while (state.plans > 0 || state.bytes > 0) && !state.broken {
            let Some(left) = until.checked_duration_since(Instant::now()) else { break };
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.closed = true;
        drop(state);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_take_up_room_until_their_answer_is_written() {
        let outbox = Outbox::new(100, 100);
        assert!(outbox.admit(300), "alone, even one over the bound");
        assert!(!outbox.admit(1));
        outbox.push(vec![0; 10], 300);
        assert!(!outbox.admit(1), "not written yet");
        let mut bytes = Vec::new();
        assert_eq!(outbox.take(&mut bytes), Some(300));
        outbox.written(bytes.len(), 300);
        assert!(outbox.admit(60) && !outbox.admit(60) && outbox.admit(40));
    }

    #[test]
    fn a_broken_outbox_wakes_everybody_and_holds_nothing() {
        let outbox = Outbox::new(100, 1);
        assert!(outbox.admit(50));
        outbox.push(vec![0; 10], 0);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| outbox.wait_room());
            outbox.break_off();
            assert!(!waiting.join().unwrap());
        });
        outbox.push(vec![0; 10], 50);
        assert_eq!(outbox.take(&mut Vec::new()), None);
        outbox.close(Duration::from_secs(60));
    }
}
