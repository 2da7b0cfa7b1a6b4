//! The engine in memory: deterministic, for simulation and unit tests, with faults on demand.
//!
//! A plan is applied inside [`Engine::submit`] and `done` is called before it returns, on the
//! caller's thread and outside of the engine's lock, so a run is a function of its inputs. What
//! goes wrong is decided by a [`Faults`]: conflicts, refusals, unknown outcomes, and submissions
//! held until the test releases them.
//!
//! Safety: the promises of [`Engine`], except that "durable" means "held by this process".
//!
//! ```text
//! MemoryEngine --lock--> State { rows: multi-version map, version, held submissions, faults }
//! MemoryView   = the engine + a version; it pins what that version can see until it is dropped
//! ```

mod faults;
mod rows;

pub use faults::{Fault, Faults};

use crate::apply::{apply, guards_hold};
use crate::doorbell::{Bells, Doorbell};
use crate::engine::{Done, Engine, ReadError, Row, View};
use crate::plan::{Outcome, Plan, Version};
use bytes::Bytes;
use rows::{Versions, Writing};
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An engine in memory. Clones share one store.
#[derive(Clone, Default)]
pub struct MemoryEngine {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    rows: Versions,
    version: Version,
    held: VecDeque<Held>,
    faults: Option<Box<dyn Faults>>,
    bells: Bells,
}

/// What waits for a release.
enum Held {
    /// A submission of which nothing was applied.
    Submission(Vec<(Plan, Fault)>, Done),
    /// A plan that was reported as unresolved and is applied when released.
    Late(Plan),
    /// A submission that was applied and not yet reported.
    Report(Vec<Outcome>, Done),
}

impl fmt::Debug for MemoryEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("MemoryEngine")
            .field("version", &state.version)
            .field("held", &state.held.len())
            .finish_non_exhaustive()
    }
}

impl MemoryEngine {
    /// An empty store without faults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store with faults.
    #[must_use]
    pub fn with_faults(faults: impl Faults + 'static) -> Self {
        let engine = Self::default();
        engine.set_faults(faults);
        engine
    }

    /// Replaces what decides about faults; what is held stays held.
    pub fn set_faults(&self, faults: impl Faults + 'static) {
        self.lock().faults = Some(Box::new(faults));
    }

    /// From now on nothing goes wrong; what is held stays held.
    pub fn clear_faults(&self) {
        self.lock().faults = None;
    }

    /// How many submissions (and late plans) wait for a release.
    #[must_use]
    pub fn held(&self) -> usize {
        self.lock().held.len()
    }

    /// Lets the `index`-th held submission go on, counted from the oldest: its guards are checked
    /// and its plans applied now. False: there is no such.
    pub fn release(&self, index: usize) -> bool {
        let (done, outcomes) = {
            let mut state = self.lock();
            match state.held.remove(index) {
                None => return false,
                Some(Held::Submission(plans, done)) => {
                    let (outcomes, _) = state.run(plans);
                    (done, outcomes)
                }
                Some(Held::Late(plan)) => {
                    state.commit(plan);
                    return true;
                }
                Some(Held::Report(outcomes, done)) => (done, outcomes),
            }
        };
        done(outcomes);
        true
    }

    /// Releases the oldest held submission. False: there is none.
    pub fn release_next(&self) -> bool {
        self.release(0)
    }

    /// Releases everything held, oldest first, and what gets held meanwhile.
    pub fn release_all(&self) {
        while self.release_next() {}
    }

    /// The latest version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.lock().version
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Decides, applies and says the outcomes; true: they are to be reported on release.
    fn run(&mut self, plans: Vec<(Plan, Fault)>) -> (Vec<Outcome>, bool) {
        let mut hold_report = false;
        let mut outcomes = Vec::with_capacity(plans.len());
        for (plan, fault) in plans {
            outcomes.push(match fault {
                Fault::None | Fault::Hold => self.commit(plan),
                Fault::HoldReport => {
                    hold_report = true;
                    self.commit(plan)
                }
                Fault::Conflict => Outcome::Conflict,
                Fault::Busy => Outcome::Busy,
                Fault::UnresolvedLost => Outcome::Unresolved,
                Fault::UnresolvedApplied => {
                    self.commit(plan);
                    Outcome::Unresolved
                }
                Fault::UnresolvedLate => {
                    self.held.push_back(Held::Late(plan));
                    Outcome::Unresolved
                }
            });
        }
        (outcomes, hold_report)
    }

    /// Applies one plan if its guards hold.
    fn commit(&mut self, plan: Plan) -> Outcome {
        if !plan.within_limits() {
            return Outcome::TooLarge;
        }
        let version = Version(self.version.0 + 1);
        let mut rows = Writing { rows: &mut self.rows, version: version.0 };
        if !guards_hold(&plan.guards, &rows) {
            return Outcome::Conflict;
        }
        let rung = self.bells.touched(plan.ops.iter());
        let stamp = apply(plan.ops, version, &mut rows);
        self.bells.ring(&rung);
        self.version = version;
        self.rows.collect(version.0);
        Outcome::Committed { version, stamp }
    }

    fn decide(&mut self, plan: &Plan) -> Fault {
        self.faults.as_mut().map_or(Fault::None, |faults| faults.on_plan(plan))
    }
}

impl Engine for MemoryEngine {
    type View = MemoryView;

    fn submit(&self, plans: Vec<Plan>, done: Done) {
        let outcomes = {
            let mut state = self.lock();
            let mut decided = Vec::with_capacity(plans.len());
            for plan in plans {
                let fault = state.decide(&plan);
                decided.push((plan, fault));
            }
            if decided.iter().any(|(_, fault)| *fault == Fault::Hold) {
                state.held.push_back(Held::Submission(decided, done));
                return;
            }
            let (outcomes, hold_report) = state.run(decided);
            if hold_report {
                state.held.push_back(Held::Report(outcomes, done));
                return;
            }
            outcomes
        };
        done(outcomes);
    }

    async fn view(&self, at_least: Version) -> Result<MemoryView, ReadError> {
        let mut state = self.lock();
        if let Some(faults) = state.faults.as_mut() {
            faults.on_view()?;
        }
        let version = state.version;
        if version < at_least {
            let why = format!("version {} was asked for, {} is the latest", at_least.0, version.0);
            return Err(ReadError::Unavailable(why));
        }
        state.rows.pin(version.0);
        Ok(MemoryView { engine: self.clone(), version })
    }

    fn reads_block(&self) -> bool {
        false
    }

    fn doorbell(&self, key: &[u8]) -> Doorbell {
        self.lock().bells.hang(key)
    }
}

/// A snapshot of a [`MemoryEngine`].
#[derive(Debug)]
pub struct MemoryView {
    engine: MemoryEngine,
    version: Version,
}

impl Drop for MemoryView {
    fn drop(&mut self) {
        self.engine.lock().rows.unpin(self.version.0);
    }
}

impl View for MemoryView {
    fn version(&self) -> Version {
        self.version
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        Ok(self.engine.lock().rows.get(key, self.version.0))
    }

    async fn get_many(&self, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, ReadError> {
        let state = self.engine.lock();
        Ok(keys.iter().map(|key| state.rows.get(key, self.version.0)).collect())
    }

    async fn range(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<Row>, ReadError> {
        Ok(self.engine.lock().rows.range(from, to, self.version.0, limit, reverse))
    }
}
