//! A whole cluster in one thread, under one seed, time compressed.
//!
//! Real are the actors ([`rookery_actors`]: sessions, conversations, hubs, fences, and the host that
//! runs them in a shard), membership, placement, the views nodes go by and what follows from them
//! ([`rookery_actors::cluster`]), the links and their frames ([`rookery_actors::link`]), the wire
//! format, and the store layer on the deterministic engine in memory. Around them everything is made
//! up, and goes wrong: nodes crash, stand still, leave and come back, shards and single actors fail,
//! ways between nodes and to the store are cut (also one way), connections break, frames are late,
//! messages are lost and doubled beyond what links promise, clocks run fast, slow, and jump, and
//! commits conflict, are refused, or have an unknown outcome, some to be applied much later. Clients
//! keep to the protocol's document ([`device`]) and are restless.
//!
//! ```text
//! device --frames--> node: session shard -> conversation shard -> presence shard -> session ...
//!    ^                      |  [`post`]: by the node's view, over [`links`]: late, again
//!    `------ frames --------'                 plans, reads --> store ([`truth`] sees each commit)
//!                       [`keeper`]: leases, epochs --^
//! ```
//!
//! Safety is judged at each step ([`truth`], [`members`], [`groups`], [`ledger`], [`receive`]), liveness after
//! healing ([`judge`]). What is modelled rather than real: the gateway ([`net`]), connections between
//! nodes ([`dialing`]), and the shell's order of doing what the pure code decides ([`keeper`],
//! [`leaving`], [`post`], [`turn`]).

mod config;
mod coverage;
mod device;
mod dialing;
mod engine;
mod faults;
mod govern;
mod groups;
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
