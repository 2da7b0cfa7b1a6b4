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
mod strangers;

use rookery_loadtest::cluster::{Cluster, Setup};
use rookery_loadtest::scenario::Scenario;
use rookery_loadtest::{Options, run};
use rustix::process::Signal;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

const SCENARIO: &str = r#"
name = "cluster"
kind = "pairs"
pairs = 30
devices = 2
rate = 300
duration_s = 20
settle_s = 60
"#;
/// How many times a figure's time a machine may need that is shared and stands still at times.
const SLACK: u32 = 3;
/// Messages acknowledged when the fault happens.
const FAULT_AT: u64 = 1_500;

/// Runs the scenario over three nodes with a fault in the middle; the greatest time from send to
/// acknowledgement, in milliseconds.
fn survives(seed: u64, fault: impl FnOnce(&mut Cluster)) {
    survives_with(|binary| Setup::new(binary, 3), seed, fault);
}

fn survives_with(
    setup: impl FnOnce(PathBuf) -> Setup,
    seed: u64,
    fault: impl FnOnce(&mut Cluster),
) {
    let Some(binary) = node_binary::rookery() else { return };
    let mut cluster = setup(binary).start().unwrap();
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

/// A minute of standing still, in the long run: `ROOKERY_LONG=1`; a few seconds here.
#[test]
fn a_node_that_stands_still_far_beyond_its_lease_writes_nothing_as_its_former_self() {
    let long = std::env::var_os("ROOKERY_LONG").is_some();
    let still = Duration::from_secs(if long { 60 } else { 8 });
    survives(15, |cluster| {
        let began = Instant::now();
        cluster.node(1).unwrap().signal(Signal::STOP);
        cluster.wait_for(0, 2).unwrap();
        println!("declared dead after {} ms", began.elapsed().as_millis());
        assert!(began.elapsed() < SLACK * Duration::from_secs(6), "{:?}", began.elapsed());
        thread::sleep(still.saturating_sub(began.elapsed()));
        cluster.node(1).unwrap().signal(Signal::CONT);
        for n in 0..3 {
            cluster.wait_for(n, 3).unwrap();
        }
    });
}

#[test]
fn a_store_that_is_away_for_ten_seconds_costs_no_message_and_no_node_its_life() {
    survives(16, |cluster| {
        let lives = |cluster: &Cluster| {
            let status = cluster.status(0).unwrap();
            let nodes = status["nodes"].as_array().unwrap().clone();
            nodes.into_iter().map(|node| node["incarnation"].clone()).collect::<Vec<_>>()
        };
        let before = lives(cluster);
        cluster.store().unwrap().signal(Signal::STOP);
        thread::sleep(Duration::from_secs(10));
        cluster.store().unwrap().signal(Signal::CONT);
        let since = Instant::now();
        while !(0..3).all(|n| cluster.status(n).unwrap()["serving"] == true) {
            assert!(since.elapsed() < SLACK * Duration::from_secs(5), "{}", cluster.log(0));
            thread::sleep(Duration::from_millis(50));
        }
        println!("serving again {} ms after the store", since.elapsed().as_millis());
        assert_eq!(lives(cluster), before, "{}", cluster.log(0));
    });
}

/// The version before on all nodes, then on fewer and fewer: each drained, ended, started anew.
#[test]
fn nodes_are_upgraded_one_after_the_other_and_clients_notice_nothing() {
    const VERSION: &str = "ROOKERY_CLUSTER_LINK_VERSION";
    let versions = |cluster: &Cluster| {
        let status = cluster.status(0).unwrap();
        let nodes = status["nodes"].as_array().unwrap().clone();
        nodes.iter().map(|node| node["link_version"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let setup =
        |binary| Setup::new(binary, 3).with(VERSION, "1").with("ROOKERY_CLUSTER_DRAIN_MS", "500");
    survives_with(setup, 17, |cluster| {
        assert_eq!(versions(cluster)[1..], [1, 1]);
        for n in [2, 1] {
            cluster.drain(n).unwrap();
            assert!(cluster.node(n).unwrap().wait().unwrap(), "{}", cluster.log(n));
            cluster.set(n, VERSION, "0");
            cluster.start_node(n).unwrap();
            (0..3).for_each(|of| cluster.wait_for(of, 3).unwrap());
            // The newer ones among themselves speak the newer version, and the older one's with it.
            assert_eq!(versions(cluster)[1..], [1, 1]);
        }
        let status = cluster.status(1).unwrap();
        let spoken = |n: usize| status["nodes"][n]["link_version"].as_u64();
        assert_eq!((spoken(0), spoken(2)), (Some(1), Some(2)));
    });
}

#[test]
fn the_tenth_node_joins_within_ten_seconds() {
    const NODES: usize = 10;
    let Some(binary) = node_binary::rookery() else { return };
    let began = Instant::now();
    let mut cluster = Setup::new(binary, NODES).start().unwrap();
    println!("{NODES} nodes, one after the other: {} ms", began.elapsed().as_millis());
    cluster.node(NODES - 1).unwrap().kill().unwrap();
    cluster.wait_for(0, NODES - 1).unwrap();
    let began = Instant::now();
    cluster.start_node(NODES - 1).unwrap();
    (0..NODES).for_each(|n| cluster.wait_for(n, NODES).unwrap());
    println!("the last of them, until all see and reach it: {} ms", began.elapsed().as_millis());
    assert!(began.elapsed() < SLACK * Duration::from_secs(10), "{:?}", began.elapsed());
}
