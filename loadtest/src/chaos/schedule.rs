//! The schedule of a chaos run, drawn from its seed: which fault, at which node, for how long. The
//! same seed and list give the same schedule. No I/O.

use crate::body::splitmix;
use clap::ValueEnum;
use serde::Serialize;
use std::fmt;

/// What is done to a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// SIGKILL of a node, which is started again later.
    Kill,
    /// SIGSTOP of a node, long enough to be declared dead.
    Pause,
    /// A node and all others no longer reach each other, nor the node the store.
    Partition,
    /// A node still sends to the others and hears nothing of them.
    OneWay,
    /// The store's process is killed, and started again later.
    StoreDown,
    /// The store's process stands still.
    StoreSlow,
    /// The disk of the store is full.
    DiskFull,
    /// Syncs of the store fail; then it is started again.
    SyncError,
    /// One of ten devices does not read.
    SlowReader,
    /// All connections are dropped at the same moment.
    ReconnectStorm,
    /// A node drains and ends, and is started again.
    Drain,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.pad(value.as_ref().map_or("", |value| value.get_name()))
    }
}

/// One fault of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Which fault.
    pub fault: Fault,
    /// At which node, where the fault is a node's.
    pub node: Option<usize>,
    /// How long until it is mended, milliseconds.
    pub hold_ms: u64,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<16}", self.fault)?;
        match self.node {
            Some(node) => write!(f, "node {node}  ")?,
            None => f.write_str("        ")?,
        }
        write!(f, "for {:.1} s", self.hold_ms as f64 / 1e3)
    }
}

/// Shortest and longest time that a fault holds, milliseconds; `long` is for runs that nobody waits
/// for.
fn hold(fault: Fault, long: bool) -> (u64, u64) {
    match (fault, long) {
        (Fault::Kill, false) => (4_000, 6_000),
        (Fault::Kill, true) => (1_000, 20_000),
        // Declared dead within 6 s: a shorter one shows something else.
        (Fault::Pause, false) => (8_000, 10_000),
        (Fault::Pause, true) => (1_000, 60_000),
        (Fault::Partition | Fault::OneWay, false) => (4_000, 8_000),
        (Fault::Partition | Fault::OneWay, true) => (1_000, 30_000),
        (Fault::StoreDown | Fault::StoreSlow, _) => (10_000, 10_000),
        (Fault::DiskFull, _) => (5_000, 8_000),
        (Fault::SyncError, _) => (3_000, 5_000),
        (Fault::SlowReader, false) => (8_000, 8_000),
        (Fault::SlowReader, true) => (8_000, 15_000),
        (Fault::ReconnectStorm, _) => (0, 0),
        (Fault::Drain, _) => (2_000, 4_000),
    }
}

/// Draws the steps of `rounds` rounds over `nodes` nodes: in each round every fault of the list
/// once, in an order of its own.
#[must_use]
pub fn schedule(seed: u64, faults: &[Fault], nodes: usize, rounds: u32, long: bool) -> Vec<Step> {
    let mut state = seed;
    let mut below = |n: u64| splitmix(&mut state).checked_rem(n).unwrap_or(0);
    let mut steps = Vec::new();
    for _ in 0..rounds {
        let mut order = faults.to_vec();
        for at in (1..order.len()).rev() {
            let other = usize::try_from(below(at as u64 + 1)).unwrap_or(at);
            order.swap(at, other);
        }
        for fault in order {
            // Drawn for each, so that a change of one fault leaves the others where they are.
            let (node, length) = (below(nodes as u64), below(1_000));
            let of_node = matches!(
                fault,
                Fault::Kill | Fault::Pause | Fault::Partition | Fault::OneWay | Fault::Drain
            );
            let (shortest, longest) = hold(fault, long);
            let node = of_node.then(|| usize::try_from(node).unwrap_or(0));
            let hold_ms = shortest + (longest - shortest) * length / 1_000;
            steps.push(Step { fault, node, hold_ms });
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAULTS: [Fault; 4] = [Fault::Kill, Fault::Pause, Fault::StoreDown, Fault::Drain];

    #[test]
    fn the_same_seed_gives_the_same_schedule_and_another_one_another() {
        let draw = |seed| schedule(seed, &FAULTS, 3, 3, false);
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn each_round_has_each_fault_once_within_its_bounds() {
        for seed in 0..50 {
            let steps = schedule(seed, &FAULTS, 3, 2, true);
            for round in steps.chunks(4) {
                for fault in FAULTS {
                    assert_eq!(round.iter().filter(|step| step.fault == fault).count(), 1);
                }
            }
            for step in steps {
                let (shortest, longest) = hold(step.fault, true);
                assert!((shortest..=longest).contains(&step.hold_ms));
                assert!(step.node.is_none_or(|node| node < 3));
                assert_eq!(step.node.is_none(), step.fault == Fault::StoreDown);
            }
        }
    }
}
