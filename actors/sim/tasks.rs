//! The way to the store and back: reads that take time, commits that may go wrong.

use super::config::Config;
use super::world::{Deliver, Event, Task, Then, World};
use rookery_store::{Op, Outcome, Plan};
use std::future::Future;

impl World {
    // ---- tasks ------------------------------------------------------------------------------

    pub(super) fn spawn(&mut self, node: usize, future: impl Future<Output = Deliver> + 'static) {
        let task = self.next_task;
        self.next_task += 1;
        let life = self.nodes.get(node).map_or(0, |node| node.life);
        self.tasks.insert(task, Task { node, life, future: Box::pin(future) });
        let wait = self.store_us();
        self.at(wait, Event::Poll(task));
    }

    pub(super) fn store_us(&mut self) -> u64 {
        let most = if self.healed_us.is_some() { 5 } else { self.config.store_ms };
        self.rng.below(most * 1_000) + 50
    }

    pub(super) fn poll(&mut self, number: u64) {
        let Some(mut task) = self.tasks.remove(&number) else { return };
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match task.future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(deliver) => deliver(self),
            std::task::Poll::Pending => {
                let (node, life) = (task.node, task.life);
                self.tasks.insert(number, task);
                let submitted = self.nodes.get(node).map(|node| node.way.submitted());
                let submitted = submitted.unwrap_or_default();
                if submitted.is_empty() {
                    let wait = self.store_us();
                    self.at(wait, Event::Poll(number));
                }
                for (plans, done) in submitted {
                    let then: Then = Box::new(move |world, outcomes| {
                        done(outcomes);
                        world.at(0, Event::Poll(number));
                    });
                    self.submit(node, life, plans, then);
                }
            }
        }
    }

    // ---- the store --------------------------------------------------------------------------

    pub(super) fn submit(&mut self, node: usize, life: u64, plans: Vec<Plan>, then: Then) {
        let wait = self.store_us();
        self.at(wait, Event::Apply(node, life, plans, then));
    }

    pub(super) fn apply(&mut self, node: usize, life: u64, plans: Vec<Plan>, then: Then) {
        let cut = self.nodes.get(node).is_some_and(|node| node.life == life && node.way.is_cut());
        let mut outcomes = Vec::with_capacity(plans.len());
        for plan in plans {
            let plan = super::plant::at_the_store(plan);
            outcomes.push(self.decide(cut, plan));
        }
        let mut wait = self.store_us();
        if cut {
            wait += self.rng.below(2_000_000);
        }
        self.at(wait, Event::Report(node, life, outcomes, then));
    }

    fn decide(&mut self, cut: bool, plan: Plan) -> Outcome {
        let well = self.healed_us.is_some();
        let Config { store_busy, store_conflict, store_unresolved, .. } = self.config;
        if cut && self.config.gentle {
            return Outcome::Busy;
        }
        let unknown = cut || (!well && self.rng.chance(store_unresolved));
        if unknown {
            match self.rng.below(4) {
                0 if cut => return Outcome::Busy,
                0 | 1 => {}
                2 => {
                    self.truth.apply(plan);
                }
                _ => {
                    let late = self.rng.below(20_000_000);
                    self.at(late, Event::Late(plan));
                }
            }
            return Outcome::Unresolved;
        }
        // A refused write of marks is made up for by the next mark: many must be refused for the last
        // one to be among them.
        let of_marks = plan.ops.iter().all(|op| matches!(op, Op::ByteMax { .. }));
        let busy = if of_marks { 6 * store_busy } else { store_busy };
        if !well && (self.store_full || self.rng.chance(busy)) {
            return Outcome::Busy;
        }
        if !well && self.rng.chance(store_conflict) {
            return Outcome::Conflict;
        }
        let outcome = self.truth.apply(plan);
        self.fold(match outcome {
            Outcome::Committed { version, .. } => version.0,
            _ => 1,
        });
        outcome
    }
}
