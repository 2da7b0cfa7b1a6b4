//! The contract suite on the simulated cluster, well and with every tenth operation failing: what
//! the suite demands of every engine must not depend on which commits were lost on the way.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the cases are functions outside of #[test]; a panic is how they fail"
)]

#[path = "../../tests/contract/cases.rs"]
mod cases;
#[path = "../../tests/contract/concurrent.rs"]
mod concurrent;
#[path = "../../tests/contract/harness.rs"]
mod harness;
#[path = "../../tests/contract/list.rs"]
mod list;
#[path = "../../tests/contract/model.rs"]
mod model;
#[path = "../../tests/contract/stamps.rs"]
mod stamps;

use super::core::Core;
use super::driver::Tuning;
use super::sim::Sim;
use super::space::Space;
use crate::doorbell::Doorbell;
use crate::engine::{Done, Engine, ReadError, Row, View};
use crate::plan::{Plan, Version};
use bytes::Bytes;
use list::every_case;
use std::sync::Arc;
use std::time::Duration;

struct SimEngine {
    sim: Sim,
    core: Core,
}

struct SimView {
    sim: Sim,
    version: u64,
}

fn space() -> Space {
    Space::new("sim").unwrap()
}

fn unavailable(what: impl ToString) -> ReadError {
    ReadError::Unavailable(what.to_string())
}

impl SimEngine {
    fn new(fails_every: u64) -> Self {
        let sim = Sim::new();
        let tuning = Tuning { lanes: 3, merge_bytes: 200_000, patience: Duration::from_secs(30) };
        let version = sim.version();
        let core =
            Core::start(Arc::new(sim.clone()), space(), tuning, 64 << 20, 1, version).unwrap();
        sim.fail_every(fails_every);
        Self { sim, core }
    }
}

impl Engine for SimEngine {
    type View = SimView;

    fn submit(&self, plans: Vec<Plan>, done: Done) {
        self.core.submit(plans, done);
    }

    async fn view(&self, at_least: Version) -> Result<SimView, ReadError> {
        let version = self.sim.version();
        if version < at_least.0 {
            return Err(unavailable("a version that was never given"));
        }
        Ok(SimView { sim: self.sim.clone(), version })
    }

    fn reads_block(&self) -> bool {
        false
    }

    fn doorbell(&self, key: &[u8]) -> Doorbell {
        self.core.doorbell(key)
    }
}

impl View for SimView {
    fn version(&self) -> Version {
        Version(self.version)
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        Ok(self.get_many(&[Bytes::copy_from_slice(key)]).await?.pop().flatten())
    }

    async fn get_many(&self, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, ReadError> {
        let keys = keys.iter().map(|key| space().row(key)).collect();
        self.sim.peek(self.version, keys).map_err(unavailable)
    }

    async fn range(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<Row>, ReadError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let space = space();
        let mut rows = self.sim.range(&space.row(from), &space.row(to), self.version);
        if reverse {
            rows.reverse();
        }
        rows.truncate(limit);
        let stripped = |(key, value): (Vec<u8>, Bytes)| {
            (Bytes::copy_from_slice(space.strip(&key).unwrap()), value)
        };
        Ok(rows.into_iter().map(stripped).collect())
    }
}

/// A test of every case on a simulated cluster of which every so many-th operation fails.
macro_rules! simulated {
    ($name:ident: $fails_every:expr; $($file:ident: $($case:ident)+;)+) => {
        mod $name {
            $($(#[test] fn $case() { super::$file::$case(&super::SimEngine::new($fails_every)); })+)+
        }
    };
}

every_case! { simulated! well: 0 }
every_case! { simulated! failing: 10 }
