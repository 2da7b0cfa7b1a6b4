//! Groups under load, against real nodes: everybody is given everything in one order, on one node
//! and on three.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

mod node_binary;

use rookery_loadtest::scenario::Scenario;
use rookery_loadtest::{Options, run};

const SCENARIO: &str = "name = \"groups\"\nkind = \"saturate\"\npairs = 3\nmembers = 6\ndevices = 2\n\
                        in_flight = 2\nduration_s = 1\nat_least = 200\nsettle_s = 120";

fn groups_on(spawn: usize) {
    if node_binary::rookery().is_none() {
        return;
    }
    let options = Options { spawn, seed: 11, ..Options::default() };
    let (report, remarks) = run(&Scenario::parse(SCENARIO).unwrap(), &options).unwrap();
    assert!(report.clean(), "{}", report.table(&remarks));
    assert_eq!(report.sessions, 36);
    assert!(report.acknowledged >= 200, "{}", report.acknowledged);
    assert!(report.delivered > report.acknowledged, "{}", report.delivered);
}

#[test]
fn every_device_of_every_member_is_given_everything() {
    groups_on(1);
}

#[test]
fn every_device_of_every_member_is_given_everything_over_three_nodes() {
    groups_on(3);
}
