//! A node that is offered more than it can do, in short: everything is answered, what is refused may be
//! tried again, and work goes on. The figures of the promise are those of a release build:
//! `rookery-loadtest overload loadtest/scenarios/overload.toml`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may fail, and tells its figures"
)]

mod node_binary;

use rookery_loadtest::overload::{Limits, Scenario, run};

/// A debug build beside other tests: the shape counts, not the figures.
const LOOSE: Limits =
    Limits { goodput: 0.4, latency_times: 1e9, refusal_ms: 20_000.0, memory_bytes: 512 << 20 };

#[test]
fn a_node_goes_on_working_at_three_times_what_it_can_do() {
    if node_binary::rookery().is_none() {
        return;
    }
    let scenario = Scenario {
        name: "overload".to_owned(),
        connections: 40,
        in_flight: 8,
        body_bytes: 100,
        phase_s: 2.0,
        times: 3.0,
    };
    let report = run(&scenario, None, 11).unwrap();
    println!("{}", report.table());
    assert_eq!(report.faults(LOOSE), Vec::<String>::new(), "{report:?}");
    let overload = report.phases.last().unwrap();
    assert!(overload.acknowledged_per_s > 0.0 && overload.rss_bytes.is_some());
}
