//! Three nodes as processes, chat over all of them, and a fault in the middle: whatever was
//! acknowledged is there afterwards, once and in order, at every device.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test may fail, and shows what it measured"
)]

#[path = "../node_binary/mod.rs"]
mod node_binary;

use rookery_loadtest::cluster::{Cluster, Setup};
use rookery_loadtest::scenario::Scenario;
use rookery_loadtest::{Options, run};
use rustix::process::Signal;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const SCENARIO: &str = r#"
name = "cluster"
kind = "pairs"
pairs = 30
devices = 2
rate = 300
duration_s = 20
settle_s = 60
"#;
/// Messages acknowledged when the fault happens.
const FAULT_AT: u64 = 1_500;

/// Runs the scenario over three nodes with a fault in the middle; the greatest time from send to
/// acknowledgement, in milliseconds.
fn survives(seed: u64, fault: impl FnOnce(&mut Cluster)) {
    let Some(binary) = node_binary::rookery() else { return };
    let mut cluster = Setup::new(binary, 3).start().unwrap();
    let (watcher, watched) = mpsc::channel();
    let url = Some(cluster.url(0));
    let harness = thread::spawn(move || {
        let options = Options { url, seed, watcher: Some(watcher), ..Options::default() };
        run(&Scenario::parse(SCENARIO).unwrap(), &options)
    });
    assert!(watched.iter().any(|n| n >= FAULT_AT), "the run ended early");
    fault(&mut cluster);
    let (report, remarks) = harness.join().unwrap().unwrap();
    let table = report.table(&remarks);
    println!("{table}");
    assert!(report.clean(), "{table}\n{}", cluster.log(0));
    assert!(report.acknowledged >= 5_900, "{table}\n{}", cluster.log(0));
}

#[test]
fn a_node_that_is_killed_and_comes_back_costs_no_message() {
    survives(11, |cluster| {
        cluster.node(2).unwrap().kill().unwrap();
        cluster.wait_for(0, 2).unwrap();
        cluster.start_node(2).unwrap();
        for n in 0..3 {
            cluster.wait_for(n, 3).unwrap();
        }
    });
}

#[test]
fn a_node_that_stands_still_for_a_moment_costs_no_message() {
    survives(12, |cluster| {
        cluster.node(2).unwrap().signal(Signal::STOP);
        thread::sleep(Duration::from_secs(1));
        cluster.node(2).unwrap().signal(Signal::CONT);
        cluster.wait_for(0, 3).unwrap();
    });
}

#[test]
fn a_node_that_stands_still_for_long_is_replaced_and_comes_back_as_another() {
    survives(13, |cluster| {
        let incarnation =
            |cluster: &Cluster| cluster.status(0).unwrap()["nodes"][2]["incarnation"].clone();
        let before = incarnation(cluster);
        cluster.node(2).unwrap().signal(Signal::STOP);
        cluster.wait_for(0, 2).unwrap();
        cluster.node(2).unwrap().signal(Signal::CONT);
        cluster.wait_for(0, 3).unwrap();
        assert_ne!(incarnation(cluster), before);
    });
}

#[test]
fn a_node_that_drains_costs_no_message_and_ends_well() {
    survives(14, |cluster| {
        cluster.drain(2).unwrap();
        assert!(cluster.node(2).unwrap().wait().unwrap(), "{}", cluster.log(2));
        cluster.wait_for(0, 2).unwrap();
    });
}
