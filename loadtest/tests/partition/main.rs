//! Nodes that lose each other: real processes, each in a network namespace of its own, cut off by
//! rules in the middle of a run. Whoever can't be served is told within two seconds, ten seconds
//! after healing everything is as before, and nothing acknowledged is lost, doubled or reordered.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test may fail, and shows what it measured"
)]

#[path = "../node_binary/mod.rs"]
mod node_binary;
mod probe;

use probe::{Probe, Round};
use rookery_loadtest::cluster::{Cluster, Setup};
use rookery_loadtest::netns::{self, Network};
use rookery_loadtest::scenario::Scenario;
use rookery_loadtest::{Options, run};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const SCENARIO: &str = r#"
name = "partition"
kind = "pairs"
pairs = 20
devices = 2
rate = 100
duration_s = 40
settle_s = 60
"#;
/// Messages acknowledged when the cut happens.
const CUT_AT: u64 = 500;
/// How many times a figure's time a machine may need that is shared and stands still at times.
const SLACK: u32 = 3;
/// How long it lasts.
const CUT: Duration = Duration::from_secs(10);
/// Within this a client is told that it can't be served.
const REFUSED_WITHIN: Duration = Duration::from_secs(2);
/// Within this a node that is cut off is declared dead.
const DECLARED_WITHIN: Duration = Duration::from_secs(6);
/// Within this all is well after healing.
const HEALED_WITHIN: Duration = Duration::from_secs(10);
/// So many that each node works for some.
const ROOMS: usize = 12;
const NODES: usize = 3;
/// The node that is cut off.
const CUT_OFF: usize = 2;

struct World {
    network: Network,
    cluster: Cluster,
    runtime: Runtime,
}

impl World {
    /// None, with a line that says why, where it can't be had.
    fn start() -> Option<Self> {
        if let Some(why) = netns::unavailable() {
            println!("SKIPPED: {why}");
            return None;
        }
        let binary = node_binary::rookery()?;
        let network = Network::create(NODES).unwrap();
        let places = (0..NODES).map(|host| network.place(host)).collect();
        // All accounts are made from one address, which is not loopback.
        let setup = Setup::new(binary, NODES).with("ROOKERY_LIMITS_ATTEMPTS_BURST", "100000");
        let cluster = setup.places(places).gated().start().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Some(Self { network, cluster, runtime })
    }

    fn probe(&self, node: usize, name: &str) -> Probe {
        let url = self.cluster.url(node);
        self.runtime.block_on(Probe::join(&url, name, ROOMS))
    }

    /// Rounds at several nodes at a time, until the time is over; all of them.
    fn rounds(&self, probes: &mut [&mut Probe], span: Duration) -> Vec<Vec<Round>> {
        let end = Instant::now() + span;
        self.runtime.block_on(async {
            let rounds = probes.iter_mut().map(|probe| async {
                let mut rounds = Vec::new();
                while Instant::now() < end {
                    rounds.push(probe.round().await);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                rounds
            });
            futures_util::future::join_all(rounds).await
        })
    }

    /// Waits until sends into all rooms of a new probe at each node are taken, and all nodes see
    /// each other.
    fn converged(&self, since: Instant) {
        for node in 0..NODES {
            self.cluster.wait_for(node, NODES).unwrap();
            let mut probe = self.probe(node, &format!("after-{node}"));
            while self.runtime.block_on(probe.round()).sent < ROOMS {
                assert!(since.elapsed() < SLACK * HEALED_WITHIN, "node {node} does not serve");
            }
        }
        let after = since.elapsed();
        println!("converged {} ms after healing", after.as_millis());
        assert!(after < SLACK * HEALED_WITHIN, "{after:?}");
    }
}

/// No client waits longer than it should; the slowest answer, and how many were refusals.
fn judge(what: &str, rounds: &[Round]) -> usize {
    let mut slowest: Vec<Duration> = rounds.iter().map(|round| round.slowest).collect();
    slowest.sort_by_key(|slowest| std::cmp::Reverse(*slowest));
    // A machine that stands still for a moment slows one round or two.
    let usual = slowest.get(2).copied().unwrap_or_default();
    let slowest = slowest.first().copied().unwrap_or_default();
    let sent: usize = rounds.iter().map(|round| round.sent).sum();
    let refused: usize = rounds.iter().flat_map(|round| round.refused.values()).sum();
    println!("{what}: {sent} taken, {refused} refused, slowest {} ms", slowest.as_millis());
    assert!(usual < REFUSED_WITHIN, "{what}: {rounds:?}");
    assert!(slowest < SLACK * REFUSED_WITHIN, "{what}: {rounds:?}");
    refused
}

/// Runs the scenario with a cut in the middle and what is to be seen meanwhile.
fn survives(seed: u64, cut: impl FnOnce(&mut World)) {
    let Some(mut world) = World::start() else { return };
    let (watcher, watched) = mpsc::channel();
    let url = Some(world.cluster.url(0));
    let harness = thread::spawn(move || {
        let options = Options { url, seed, watcher: Some(watcher), ..Options::default() };
        run(&Scenario::parse(SCENARIO).unwrap(), &options)
    });
    assert!(watched.iter().any(|n| n >= CUT_AT), "the run ended early");
    cut(&mut world);
    let (report, remarks) = harness.join().unwrap().unwrap();
    let table = report.table(&remarks);
    println!("{table}");
    assert!(report.clean(), "{table}\n{}", world.cluster.log(CUT_OFF));
    assert!(report.acknowledged >= 3_900, "{table}\n{}", world.cluster.log(CUT_OFF));
}

#[test]
fn a_node_without_peers_and_store_refuses_and_comes_back_as_another() {
    survives(21, |world| {
        let mut here = world.probe(CUT_OFF, "here");
        let mut there = world.probe(0, "there");
        let began = Instant::now();
        world.network.isolate(CUT_OFF).unwrap();
        world.cluster.gate(CUT_OFF).unwrap().close();
        let rounds = thread::scope(|scope| {
            let cluster = &world.cluster;
            let declared = scope.spawn(move || {
                cluster.wait_for(0, NODES - 1).unwrap();
                began.elapsed()
            });
            let rounds = world.rounds(&mut [&mut here, &mut there], CUT);
            let declared = declared.join().unwrap();
            println!("declared dead after {} ms", declared.as_millis());
            assert!(declared < SLACK * DECLARED_WITHIN, "{declared:?}");
            rounds
        });
        assert!(judge("the node that is cut off", &rounds[0]) > 0);
        judge("the others", &rounds[1]);
        // The others work for all rooms by now.
        assert_eq!(rounds[1].last().unwrap().sent, ROOMS);
        assert_eq!(rounds[0].last().unwrap().sent, 0, "it works for nothing");
        let healed = Instant::now();
        world.network.heal().unwrap();
        world.cluster.gate(CUT_OFF).unwrap().open();
        world.converged(healed);
    });
}

#[test]
fn a_node_that_nobody_hears_is_no_ones_reason_to_wait() {
    survives(22, |world| {
        let mut here = world.probe(CUT_OFF, "here");
        let mut there = world.probe(0, "there");
        // It hears the others and reaches the store, so it stays a member.
        for other in 0..CUT_OFF {
            world.network.cut_one_way(CUT_OFF, other).unwrap();
        }
        let rounds = world.rounds(&mut [&mut here, &mut there], CUT);
        assert!(judge("the node that is not heard", &rounds[0]) > 0);
        assert!(judge("the others", &rounds[1]) > 0);
        assert!(rounds.iter().flatten().all(|round| round.sent > 0), "some rooms go on");
        let healed = Instant::now();
        world.network.heal().unwrap();
        world.converged(healed);
    });
}
