//! The cluster simulation as a test: seeds without a breach, equal traces of equal seeds, and every
//! planted bug found.

#![allow(clippy::print_stdout, reason = "the table of planted bugs is for the reader")]

#[path = "../sim/mod.rs"]
#[allow(dead_code, reason = "the example reads more of an outcome")]
mod sim;

use rookery_actors::plant::{Bug, plant};

/// Seeds of a run of the tests; CI runs 10,000 more with optimised code.
const SEEDS: u64 = 600;
/// A planted bug is found within so many seeds, or the simulation is not good enough.
const MOST_SEEDS: u64 = 1_000;

#[test]
fn no_seed_finds_a_breach() {
    for seed in 1..=SEEDS {
        let outcome = sim::run(seed, false);
        assert_eq!(outcome.breach, None, "seed {seed} at {} ms", outcome.simulated_ms);
    }
}

#[test]
fn the_same_seed_leaves_the_same_trace_twenty_times_of_twenty() {
    for seed in [7, 42, 1_330] {
        let first = sim::run(seed, false).trace;
        let others: Vec<u64> = (1..20).map(|_| sim::run(seed, false).trace).collect();
        assert_eq!(others, [first; 19], "seed {seed}");
    }
    assert_ne!(sim::run(1, false).trace, sim::run(2, false).trace);
}

#[test]
fn every_planted_bug_is_found() {
    let mut missed = Vec::new();
    for bug in Bug::ALL {
        plant(Some(*bug));
        let found = (1..=MOST_SEEDS).find_map(|seed| Some((seed, sim::run(seed, false).breach?)));
        match found {
            Some((seed, breach)) => println!("{bug:?}: seed {seed}: {breach:.100}"),
            None => missed.push(*bug),
        }
    }
    plant(None);
    assert_eq!(missed, [], "not found within {MOST_SEEDS} seeds");
}
