//! Maintenance: sweeps what retention lets go out of the store, now and then, in small steps.
//!
//! In a cluster one node does it: the one that works for slot [`CHOSEN`], which is as good as any,
//! and whose place is taken like any other's when it goes. For a moment of a hand-over there may
//! be two, or none; two at once do no harm (see `rookery_store::retention`). A step is one commit
//! at most of a few hundred rows, and a pause follows each that removed something: messages go
//! first.

use super::supervisor::Child;
use super::system::Shared;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use rookery_store::retention::{Policy, Sweep};
use rookery_store::{Slot, StoreError};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Who works for this slot sweeps.
const CHOSEN: Slot = Slot(0);

/// After a step that removed rows.
const PAUSE: Duration = Duration::from_millis(20);
/// After a step that failed.
const RETRY: Duration = Duration::from_secs(5);
/// Failed steps in a row after which a round is given up until the next.
const MAX_FAILURES: u32 = 5;

/// What maintenance does, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Maintenance {
    /// What is kept for how long.
    pub policy: Policy,
    /// From the end of one round to the begin of the next.
    pub interval: Duration,
}

impl Default for Maintenance {
    /// Messages are kept for ever, retries recognised for a week, absent devices waited for a month.
    fn default() -> Self {
        const DAY_MS: u64 = 24 * 3_600 * 1_000;
        let policy =
            Policy { messages_ms: None, dedupe_ms: 7 * DAY_MS, device_absent_ms: 30 * DAY_MS };
        Self { policy, interval: Duration::from_secs(3_600) }
    }
}

/// The actor; its state holds the round under way.
pub(super) struct Maintainer;

/// Time for a step.
pub(super) struct Tick;

// Local: not serializable, so nothing of it is shown to other nodes.
impl ractor::Message for Tick {}

pub(super) struct State {
    shared: Arc<Shared>,
    maintenance: Maintenance,
    sweep: Option<Sweep>,
    failures: u32,
}

impl Actor for Maintainer {
    type Msg = Tick;
    type State = State;
    type Arguments = (Arc<Shared>, Maintenance);

    async fn pre_start(
        &self,
        myself: ActorRef<Tick>,
        (shared, maintenance): (Arc<Shared>, Maintenance),
    ) -> Result<State, ActorProcessingErr> {
        let mut random = [0];
        getrandom::fill(&mut random)?;
        myself.send_after(maintenance.interval.mul_f64(f64::from(random[0]) / 256.0), || Tick);
        Ok(State { shared, maintenance, sweep: None, failures: 0 })
    }

    async fn handle(
        &self,
        myself: ActorRef<Tick>,
        Tick: Tick,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let wait = state.step().await;
        myself.send_after(wait, || Tick);
        Ok(())
    }
}

impl State {
    /// One step; how long to wait for the next.
    async fn step(&mut self) -> Duration {
        if !self.shared.may_own(CHOSEN) {
            // Another node's round begins anew anyway: nothing of this one is worth keeping.
            self.sweep = None;
            return self.maintenance.interval;
        }
        let policy = self.maintenance.policy;
        let mut sweep = self.sweep.take().unwrap_or_else(|| Sweep::new(policy, now_ms()));
        let store = self.shared.store.clone();
        let runtime = tokio::runtime::Handle::current();
        // Reads may block.
        let stepping = move || {
            let removed = runtime.block_on(sweep.step(&store));
            (sweep, removed)
        };
        let Ok((sweep, result)) = tokio::task::spawn_blocking(stepping).await else {
            tracing::error!("a step of the maintenance panicked; its round is given up");
            return self.maintenance.interval;
        };
        match result {
            Ok(None) => {
                metrics::counter!("rookery_maintenance_rounds_total").increment(1);
                self.shared.rounds.fetch_add(1, Ordering::Relaxed);
                self.failures = 0;
                self.maintenance.interval
            }
            Ok(Some(removed)) => {
                for (what, count) in [
                    ("messages", removed.messages),
                    ("dedupe", removed.dedupe),
                    ("pointers", removed.pointers),
                ] {
                    if count > 0 {
                        metrics::counter!("rookery_maintenance_removed_total", "what" => what)
                            .increment(count);
                    }
                }
                (self.sweep, self.failures) = (Some(sweep), 0);
                PAUSE
            }
            Err(error) => self.failed(sweep, &error),
        }
    }

    /// The same step again, or the next round when it keeps failing.
    fn failed(&mut self, sweep: Sweep, error: &StoreError) -> Duration {
        self.failures += 1;
        if self.failures < MAX_FAILURES {
            tracing::debug!(%error, "a step of the maintenance failed");
            self.sweep = Some(sweep);
            return RETRY.min(self.maintenance.interval);
        }
        tracing::warn!(%error, "a round of the maintenance is given up");
        self.failures = 0;
        self.maintenance.interval
    }
}

/// The maintenance of a node, under supervision.
pub(super) fn child(shared: &Arc<Shared>, maintenance: Maintenance) -> Child {
    let shared = Arc::clone(shared);
    Child::new("maintenance", move |parent| {
        let arguments = (Arc::clone(&shared), maintenance);
        Box::pin(async move {
            let (actor, _) = Maintainer::spawn_linked(None, Maintainer, arguments, parent).await?;
            Ok(actor.get_cell())
        })
    })
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
