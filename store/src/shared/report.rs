//! The outcomes of one submission, which may travel in several frames.

use crate::engine::Done;
use crate::plan::Outcome;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

/// A submission's outcomes as they come in; its receiver is called when the last one is there.
pub(super) struct Report {
    state: Mutex<State>,
}

struct State {
    outcomes: Vec<Outcome>,
    left: usize,
    done: Option<Done>,
}

impl Report {
    pub(super) fn new(plans: usize, done: Done) -> Arc<Self> {
        let outcomes = vec![Outcome::Unresolved; plans];
        Arc::new(Self { state: Mutex::new(State { outcomes, left: plans, done: Some(done) }) })
    }

    /// Sets the outcomes of some plans.
    fn set(&self, plans: &[usize], outcomes: impl Iterator<Item = Outcome>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for (plan, outcome) in plans.iter().zip(outcomes) {
            if let Some(place) = state.outcomes.get_mut(*plan) {
                *place = outcome;
            }
        }
        state.left = state.left.saturating_sub(plans.len());
        if state.left > 0 {
            return;
        }
        let (outcomes, done) = (std::mem::take(&mut state.outcomes), state.done.take());
        drop(state);
        if let Some(done) = done
            && catch_unwind(AssertUnwindSafe(|| done(outcomes))).is_err()
        {
            tracing::error!("a receiver of commit outcomes panicked");
        }
    }
}

/// The part of a submission that travels in one frame. It is settled exactly once; one that is
/// dropped says `Unresolved`.
pub(super) struct Part {
    report: Arc<Report>,
    plans: Vec<usize>,
}

impl Part {
    pub(super) fn new(report: &Arc<Report>, plans: Vec<usize>) -> Self {
        Self { report: Arc::clone(report), plans }
    }

    /// As the server answered; an answer of another length says nothing.
    pub(super) fn settle(mut self, outcomes: Vec<Outcome>) {
        if outcomes.len() == self.plans.len() {
            let plans = std::mem::take(&mut self.plans);
            self.report.set(&plans, outcomes.into_iter());
        }
    }

    /// The same for every plan.
    pub(super) fn settle_all(mut self, outcome: Outcome) {
        let plans = std::mem::take(&mut self.plans);
        self.report.set(&plans, std::iter::repeat(outcome));
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.plans.is_empty() {
            self.report.set(&self.plans, std::iter::repeat(Outcome::Unresolved));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn the_receiver_is_called_once_with_all_parts_in_order() {
        let (sender, receiver) = channel();
        let report = Report::new(4, Box::new(move |all| sender.send(all).unwrap()));
        Part::new(&report, vec![1]).settle_all(Outcome::TooLarge);
        Part::new(&report, vec![2, 3]).settle(vec![Outcome::Conflict, Outcome::Busy]);
        assert!(receiver.try_recv().is_err(), "one is missing");
        drop(Part::new(&report, vec![0]));
        let expected =
            vec![Outcome::Unresolved, Outcome::TooLarge, Outcome::Conflict, Outcome::Busy];
        assert_eq!(receiver.try_recv(), Ok(expected));
        assert!(receiver.try_recv().is_err());
    }

    #[test]
    fn an_answer_of_another_length_leaves_all_unresolved() {
        let (sender, receiver) = channel();
        let report = Report::new(2, Box::new(move |all| sender.send(all).unwrap()));
        Part::new(&report, vec![0, 1]).settle(vec![Outcome::Conflict]);
        assert_eq!(receiver.recv(), Ok(vec![Outcome::Unresolved; 2]));
    }
}
