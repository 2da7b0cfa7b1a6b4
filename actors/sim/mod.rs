//! A whole cluster in one thread, under one seed, time compressed.
//!
//! The actors are the real ones ([`rookery_actors`]: sessions, conversations, hubs, fences, and the
//! host that runs them in a shard), the store layer is the real one on the deterministic engine in
//! memory. Around them everything is made up, and goes wrong: nodes crash and stand still, shards and
//! single actors fail, ways between nodes and to the store are cut (also one way), hints are lost,
//! doubled, reordered and late, nodes act on a stale view of who owns what, wall clocks jump, and
//! commits conflict, are refused, or have an unknown outcome, some to be applied much later. Clients
//! keep to the protocol's document ([`device`]) and are restless.
//!
//! ```text
//! device --frames--> node: session shard -> conversation shard -> presence shard -> session ...
//!    ^                      |  hints between nodes: late, lost, twice        |
//!    `------ frames --------'                 plans, reads --> store ([`truth`] sees each commit)
//! ```
//!
//! Safety is judged at each step ([`truth`], [`receive`]), liveness after healing ([`judge`]).
//! What is modelled rather than real: the gateway ([`net`]), and membership and placement
//! ([`faults`]: each node comes to believe in an epoch in its own time).

mod config;
mod coverage;
mod device;
mod engine;
mod faults;
mod judge;
mod keeper;
mod leaving;
mod ledger;
mod links;
mod members;
mod net;
mod node;
mod plant;
mod post;
mod receive;
mod rng;
mod tasks;
mod truth;
mod turn;
mod world;

pub use coverage::Coverage;

use world::World;

/// What became of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was drawn from.
    pub seed: u64,
    /// Folded over every event: equal runs have equal ones.
    pub trace: u64,
    /// Events that happened.
    pub events: u64,
    /// Messages committed.
    pub committed: usize,
    /// Simulated milliseconds.
    pub simulated_ms: u64,
    /// What must never be, if it was.
    pub breach: Option<String>,
    /// The branches reached.
    pub coverage: Coverage,
    /// What happened, in words, when asked for.
    pub log: Vec<String>,
}

/// Runs a seed to its end.
#[must_use]
pub fn run(seed: u64, with_log: bool) -> Outcome {
    let mut world = World::new(seed);
    if with_log {
        world.log = Some(vec![format!("{:?}", world.config)]);
    }
    world.run();
    Outcome {
        seed,
        trace: world.hash,
        events: world.events,
        committed: world.truth.committed(),
        simulated_ms: world.now_ms(),
        breach: world.truth.breach().map(str::to_owned),
        coverage: coverage::take(),
        log: world.log.unwrap_or_default(),
    }
}
