//! What can go wrong with a plan, and who decides it: the injection hook of the engine in memory.

use crate::engine::ReadError;
use crate::plan::Plan;

/// What happens to a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: its guards decide.
    #[default]
    None,
    /// It is refused as if a guard were stale.
    Conflict,
    /// It is refused for want of room.
    Busy,
    /// It is applied if its guards hold, and the outcome gets lost.
    UnresolvedApplied,
    /// It is not applied and never will be, and the caller doesn't get to know.
    UnresolvedLost,
    /// The outcome gets lost now; the plan is applied when released, if its guards hold then.
    UnresolvedLate,
    /// The whole submission waits until released; nothing is applied before.
    Hold,
    /// The plan is applied; the report of the whole submission waits until released.
    HoldReport,
}

/// Decides what goes wrong. It is asked under the engine's lock: it must not call the engine.
///
/// A closure `FnMut(&Plan) -> Fault` is one.
pub trait Faults: Send {
    /// Decides about a plan, when it is submitted, in the order of the submission.
    fn on_plan(&mut self, plan: &Plan) -> Fault;

    /// Decides about a view that is asked for.
    ///
    /// # Errors
    /// What the caller of [`crate::Engine::view`] gets instead of a view.
    fn on_view(&mut self) -> Result<(), ReadError> {
        Ok(())
    }
}

impl<F: FnMut(&Plan) -> Fault + Send> Faults for F {
    fn on_plan(&mut self, plan: &Plan) -> Fault {
        self(plan)
    }
}
