//! Chaos on real processes: a load goes on over a cluster of this harness's own while one fault
//! after the other is done to it, each with the figure that is demanded of it.
//!
//! ```text
//! steady load -> fault ... held ... mended -> load for a moment -> rest: everybody has everything
//! '---------- an episode is measured ----------------------------' '- the oracle is told: settled
//! ```
//!
//! `schedule.rs` draws from the seed what happens (PURE), `ground.rs` does and mends it,
//! `report.rs` says what came of it. The oracle judges the whole run, as in any other.

mod ground;
mod report;
mod schedule;

pub use report::{ChaosReport, Figure, Outcome, Skipped};
pub use schedule::{Fault, Step, schedule};

use crate::control::Control;
use crate::measure::Episode;
use crate::procfs;
use crate::run::{Options, RunError, run_directed};
use crate::scenario::{Kind, Scenario};
use crate::shared::Phase;
use ground::Ground;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Load before a fault, and after it is mended.
const STEADY: Duration = Duration::from_secs(1);
/// Longest wait for all to come right; far beyond what is demanded, to see how long it takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at the cluster.
const LOOK: Duration = Duration::from_millis(50);

/// What is demanded, seconds.
const SERVING_S: f64 = 5.0;
const DECLARED_S: f64 = 6.0;
const REFUSED_S: f64 = 2.0;
/// A send to an owner that is cut off has no known outcome for 4 s, and is answered so then. What
/// the minority refuses by itself within 2 s is shown by `tests/partition`.
const UNKNOWN_S: f64 = 5.0;
const CONVERGED_S: f64 = 10.0;
const BACK_S: f64 = 5.0;
const RESUMED_S: f64 = 60.0;
/// Growth of the server's memory while some don't read, MiB.
const GROWTH_MIB: f64 = 64.0;
/// A pause shorter than this need not be noticed.
const NOTICED: Duration = Duration::from_millis(7_500);

/// What to do.
#[derive(Clone, Debug)]
pub struct ChaosOptions {
    /// How many nodes.
    pub nodes: usize,
    /// Schedule and load are drawn from it.
    pub seed: u64,
    /// Which faults.
    pub faults: Vec<Fault>,
    /// How often each.
    pub rounds: u32,
    /// Faults hold up to a minute.
    pub long: bool,
    /// See [`Options::history`].
    pub history: Option<PathBuf>,
}

/// Runs the load with its faults; `say` is told what happens.
///
/// # Errors
/// [`RunError`] when it could not be carried out; what the cluster did wrong is in the report.
pub fn chaos(
    scenario: &Scenario,
    options: &ChaosOptions,
    mut say: impl FnMut(&str),
) -> Result<ChaosReport, RunError> {
    if scenario.kind != Kind::Pairs || options.nodes < 2 {
        return Err(RunError::new(
            "chaos takes a scenario of kind \"pairs\" and two nodes or more",
        ));
    }
    let (mut faults, mut skipped) = (options.faults.clone(), Vec::new());
    faults.retain(|fault| match ground::unavailable(*fault) {
        Some(why) => {
            say(&format!("{fault:<16}SKIPPED: {why}"));
            skipped.push(Skipped { fault: *fault, why });
            false
        }
        None => true,
    });
    let ChaosOptions { nodes, seed, rounds, long, .. } = *options;
    let steps = schedule(seed, &faults, nodes, rounds, long);
    say(&format!("schedule of seed {seed}:"));
    steps.iter().for_each(|step| say(&format!("  {step}")));
    let mut ground = Ground::start(nodes, &faults)?;
    let (give, given) = mpsc::channel();
    let run_options = Options {
        url: Some(ground.cluster.url(0)),
        seed,
        history: options.history.clone(),
        ..Options::default()
    };
    let load = scenario.clone();
    let running = thread::spawn(move || run_directed(&load, &run_options, give));
    let mut outcomes = Vec::new();
    // Without a control the run failed before its load; it says why below.
    if let Ok(control) = given.recv() {
        let mut director = Director { control, ground: &mut ground };
        for step in steps {
            let outcome = director.step(step);
            let broken = outcome.is_err();
            let outcome = outcome.unwrap_or_else(|e| Outcome {
                step,
                figures: Vec::new(),
                violations: vec![e.to_string()],
            });
            say_outcome(&outcome, &mut say);
            outcomes.push(outcome);
            if broken {
                // What could not be done or mended would be blamed on the next fault.
                break;
            }
        }
    }
    let joined = running.join().map_err(|_| RunError::new("the load panicked"))?;
    let (mut load, remarks) = joined?;
    // The run knows only the address that it was given.
    load.nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
    load.store = ground.cluster.engine();
    let mut clean = load.clean() && outcomes.iter().all(Outcome::good);
    if let Err(e) = ground.end() {
        say(&format!("VIOLATION: {e}"));
        clean = false;
    }
    Ok(ChaosReport { seed, nodes, skipped, outcomes, load, remarks, clean })
}

fn say_outcome(outcome: &Outcome, say: &mut impl FnMut(&str)) {
    say(&format!("{}: {}", outcome.step, if outcome.good() { "good" } else { "NOT GOOD" }));
    outcome.violations.iter().for_each(|violation| say(&format!("  {violation}")));
}

/// Does one fault after the other.
struct Director<'a> {
    control: Control,
    ground: &'a mut Ground,
}

/// What was seen while the faults held.
#[derive(Default)]
struct Seen {
    figures: Vec<Figure>,
    violations: Vec<String>,
}

impl Director<'_> {
    fn step(&mut self, step: Step) -> Result<Outcome, RunError> {
        let before = self.before(step)?;
        self.control.begin()?;
        let mut seen = Seen::default();
        let connects = self.control.connects();
        self.ground.inject(step)?;
        self.hold(step, &mut seen);
        if step.fault == Fault::SlowReader {
            self.control.enter(Phase::Run);
        }
        self.ground.heal(step)?;
        self.control.healed();
        let healed = Instant::now();
        thread::sleep(STEADY);
        let episode = self.control.end();
        let settled = self.control.settle(PATIENCE);
        let converged = healed.elapsed().as_secs_f64();
        if let Err(why) = settled {
            seen.violations.push(format!("not converged after {converged:.0} s: {why}"));
        }
        self.whole(&mut seen);
        if let Some(breach) = self.control.breach() {
            seen.violations.push(format!("the oracle: {breach}"));
        }
        if let Some(episode) = &episode {
            figures(step, episode, before.as_deref(), &mut seen);
            seen.figures.push(told("refused for good", episode.failed as f64, "", Some(0.0)));
        }
        if step.fault == Fault::ReconnectStorm {
            let resumed = self.control.connects().1 - connects.1;
            seen.figures.push(told("sessions resumed", resumed as f64, "", None));
        }
        seen.figures.push(told("converged", converged, "s", Some(CONVERGED_S)));
        Ok(Outcome { step, figures: seen.figures, violations: seen.violations })
    }

    /// Load without a fault; for slow readers as long as these will be, to compare with.
    fn before(&mut self, step: Step) -> Result<Option<Box<Episode>>, RunError> {
        self.control.begin()?;
        let slow = step.fault == Fault::SlowReader;
        thread::sleep(if slow { Duration::from_millis(step.hold_ms) } else { STEADY });
        Ok(self.control.end())
    }

    /// Lets a fault hold, and looks at what can be seen only meanwhile.
    fn hold(&mut self, step: Step, seen: &mut Seen) {
        let hold = Duration::from_millis(step.hold_ms);
        let start = Instant::now();
        match step.fault {
            Fault::Kill | Fault::Pause => {
                let declared = self.declared(step.node.unwrap_or(0), start, hold);
                let most = (hold >= NOTICED).then_some(DECLARED_S);
                match declared {
                    Some(after) => seen.figures.push(told("declared down", after, "s", most)),
                    None if most.is_some() => seen.violations.push("never declared down".into()),
                    None => {}
                }
            }
            Fault::DiskFull => match self.control.read(PATIENCE) {
                Ok(took) => {
                    let took = took.as_secs_f64();
                    seen.figures.push(told("all read meanwhile", took, "s", Some(REFUSED_S)));
                }
                Err(why) => seen.violations.push(why),
            },
            Fault::SlowReader => {
                let pids = self.ground.cluster.pids();
                let before = procfs::rss_bytes(&pids);
                self.control.enter(Phase::Slow);
                thread::sleep(hold);
                if let Some((before, now)) = before.zip(procfs::rss_bytes(&pids)) {
                    let growth = now.saturating_sub(before) as f64 / 1_048_576.0;
                    seen.figures.push(told("memory grew", growth, "MiB", Some(GROWTH_MIB)));
                }
            }
            Fault::ReconnectStorm => match self.control.cut(2 * PATIENCE) {
                Ok(took) => {
                    let took = took.as_secs_f64();
                    seen.figures.push(told("all connected again", took, "s", Some(RESUMED_S)));
                }
                Err(why) => seen.violations.push(why),
            },
            _ => {}
        }
        thread::sleep(hold.saturating_sub(start.elapsed()));
    }

    /// When another node no longer counted this one as active, seconds after `start`.
    fn declared(&self, node: usize, start: Instant, hold: Duration) -> Option<f64> {
        let observer = if node == 0 { 1 } else { 0 };
        while start.elapsed() < hold {
            let active = self.ground.cluster.active(observer).unwrap_or(usize::MAX);
            if active < self.ground.cluster.count() {
                return Some(start.elapsed().as_secs_f64());
            }
            thread::sleep(LOOK);
        }
        None
    }

    /// Every node must be a member again, and see all others, before the next fault.
    fn whole(&self, seen: &mut Seen) {
        let count = self.ground.cluster.count();
        for node in 0..count {
            if let Err(e) = self.ground.cluster.wait_for(node, count) {
                seen.violations.push(format!("node {node} does not see the whole cluster: {e}"));
            }
        }
    }
}

/// The figures of one fault, from what was measured of its episode.
fn figures(step: Step, episode: &Episode, before: Option<&Episode>, seen: &mut Seen) {
    let serving = |most| told("serving again, p99 of senders", episode.serving_s(), "s", most);
    let back = || told("acknowledged again, p99 of senders", episode.back_s(), "s", Some(BACK_S));
    let refusal = episode.slowest_refusal_ms as f64 / 1e3;
    let refusal = |most| told("slowest refusal", refusal, "s", Some(most));
    let figures = &mut seen.figures;
    match step.fault {
        Fault::Kill => figures.push(serving(Some(SERVING_S))),
        Fault::Pause | Fault::Drain => figures.push(serving(None)),
        Fault::Partition | Fault::OneWay => {
            figures.extend([refusal(UNKNOWN_S), serving(None)]);
        }
        Fault::StoreDown | Fault::StoreSlow | Fault::DiskFull | Fault::SyncError => {
            figures.extend([refusal(REFUSED_S), back()]);
            if episode.refused == 0 {
                seen.violations.push("nothing was refused".to_owned());
            }
        }
        Fault::SlowReader => {
            let p99 = |episode: &Episode| episode.deliver_ms().p99;
            if let Some(before) = before {
                // Only told: one run's p99 differs from the next one's by more than may be allowed.
                figures.push(told("delivery to others before, p99", p99(before), "ms", None));
                figures.push(told("delivery to others, p99", p99(episode), "ms", None));
            }
        }
        Fault::ReconnectStorm => figures.push(serving(None)),
    }
}

fn told(name: &'static str, measured: f64, unit: &'static str, at_most: Option<f64>) -> Figure {
    Figure { name, measured, unit, at_most }
}
