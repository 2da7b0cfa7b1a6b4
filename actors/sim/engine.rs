//! The store as one node of the simulation sees it: the engine in memory, behind a way that has
//! delays and may be cut.
//!
//! Reads and the layer's own commits are futures; each `await` is a point where the run may put
//! anything else in between. Plans are not applied here but handed to the world, which decides when
//! and whether they reach the store, and what is told of them.

use super::rng::Rng;
use bytes::Bytes;
use rookery_store::engine::{Done, Engine, ReadError};
use rookery_store::memory::{MemoryEngine, MemoryView};
use rookery_store::{Outcome, Plan, Version};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

/// One node's way to the store. Clones are the same way.
#[derive(Clone)]
pub struct Way {
    memory: MemoryEngine,
    state: Arc<Mutex<State>>,
}

struct State {
    rng: Rng,
    cut: bool,
    fails: u64,
    hops: u64,
    submitted: Vec<(Vec<Plan>, Done)>,
}

impl Way {
    /// A way to `memory` on which reads fail in `fails` of 1,000 cases.
    pub fn new(memory: &MemoryEngine, seed: u64, fails: u64) -> Self {
        let state =
            State { rng: Rng::new(seed), cut: false, fails, hops: 300, submitted: Vec::new() };
        Self { memory: memory.clone(), state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cuts the way, or opens it.
    pub fn set_cut(&self, cut: bool) {
        self.state().cut = cut;
    }

    /// Whether it is cut.
    pub fn is_cut(&self) -> bool {
        self.state().cut
    }

    /// From now on nothing fails.
    pub fn heal(&self) {
        let mut state = self.state();
        state.cut = false;
        state.fails = 0;
    }

    /// Plans that the layer handed over since the last call.
    pub fn submitted(&self) -> Vec<(Vec<Plan>, Done)> {
        std::mem::take(&mut self.state().submitted)
    }
}

/// Ready at the second look.
struct Hop(bool);

impl Future for Hop {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, false) { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl Engine for Way {
    type View = MemoryView;

    fn submit(&self, plans: Vec<Plan>, done: Done) {
        self.state().submitted.push((plans, done));
    }

    async fn view(&self, at_least: Version) -> Result<MemoryView, ReadError> {
        let waits = {
            let State { rng, hops, .. } = &mut *self.state();
            rng.chance(*hops)
        };
        Hop(waits).await;
        {
            let State { rng, cut, fails, .. } = &mut *self.state();
            if *cut || rng.chance(*fails) {
                return Err(ReadError::Unavailable("cut off".into()));
            }
        }
        self.memory.view(at_least).await
    }

    fn reads_block(&self) -> bool {
        false
    }
}

/// Applies a plan to the store now.
pub fn apply(memory: &MemoryEngine, plan: Plan) -> Outcome {
    let answer = Arc::new(Mutex::new(Outcome::Unresolved));
    let told = Arc::clone(&answer);
    let done = move |outcomes: Vec<Outcome>| {
        if let Some(outcome) = outcomes.first() {
            *told.lock().unwrap_or_else(PoisonError::into_inner) = *outcome;
        }
    };
    memory.submit(vec![plan], Box::new(done));
    *answer.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a key holds now; the engine in memory never makes a reader wait.
pub fn peek(memory: &MemoryEngine, key: &[u8]) -> Option<Bytes> {
    use futures_util::FutureExt;
    use rookery_store::View;
    let read = async {
        let view = memory.view(Version::default()).await.ok()?;
        view.get(key).await.ok()?
    };
    read.now_or_never().flatten()
}
