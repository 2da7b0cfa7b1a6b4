//! Overload: what a node does with more than it can do.
//!
//! ```text
//! peak       closed loop: each connection keeps some sends without an answer under way
//! normal     open loop at half of the peak: how long an accepted send takes
//! overload   open loop at a multiple of the peak, whoever is refused
//! ```
//!
//! The client library is left out on purpose: it holds back what a node would refuse, retries and
//! waits, which is right for clients and hides what a node does with those who don't. The oracle
//! is left out as well: `run` and `chaos` are about correctness, this is about staying at work.

mod talk;
mod verdict;

pub use verdict::{Limits, Phase, Report};

use crate::accounts;
use crate::cluster::Setup;
use crate::process;
use crate::procfs;
use crate::run::RunError;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use talk::{Line, Load, Tally};
use tokio::task::JoinSet;

/// Sign-ups at the same time.
const SIGNING_UP: usize = 8;
/// Longest wait after each phase for answers that are late.
const SETTLE: Duration = Duration::from_secs(10);
/// How often the server's memory is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// A scenario of overload.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// As the report names it.
    pub name: String,
    /// Connections, two by two.
    pub connections: usize,
    /// Sends without an answer of each while the peak is found.
    pub in_flight: usize,
    /// Bytes of a body.
    pub body_bytes: usize,
    /// Length of each phase, seconds.
    pub phase_s: f64,
    /// How many times the peak is offered in the last phase.
    pub times: f64,
}

impl Scenario {
    /// Reads and checks a scenario.
    ///
    /// # Errors
    /// What is wrong, in one line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let this: Self = toml::from_str(text).map_err(|e| e.to_string())?;
        let good = this.connections >= 2
            && this.connections.is_multiple_of(2)
            && (1..=64).contains(&this.in_flight)
            && (1..=16_384).contains(&this.body_bytes)
            && this.phase_s > 0.0
            && this.times >= 1.0;
        if good { Ok(this) } else { Err("a number is out of its range".to_owned()) }
    }
}

/// Finds the peak, the normal latency, and what is left of both under overload. `url`: a node that runs
/// already; none: one is spawned, and its memory is known.
///
/// # Errors
/// [`RunError`] when it could not be carried out.
pub fn run(scenario: &Scenario, url: Option<&str>, seed: u64) -> Result<Report, RunError> {
    procfs::raise_open_files();
    let node = match url {
        Some(_) => None,
        None => Some(Setup::new(process::binary()?, 1).start()?),
    };
    let base = node.as_ref().map(|node| node.url(0)).or_else(|| url.map(str::to_owned));
    let base = base.ok_or_else(|| RunError::new("neither an address nor a node"))?;
    // One thread: the generator shares the machine with the server.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| RunError::new(e.to_string()))?;
    let server = node.as_ref().map(|node| node.pids()).unwrap_or_default();
    let outcome = runtime.block_on(phases(scenario, &base, &server, seed));
    node.map_or(Ok(()), |node| node.end())?;
    outcome
}

async fn phases(
    scenario: &Scenario,
    base: &str,
    server: &[u32],
    seed: u64,
) -> Result<Report, RunError> {
    let mut lines = connect(scenario, base, seed).await?;
    let phase = Duration::from_secs_f64(scenario.phase_s);
    let mut measured = Vec::new();
    let mut peak_per_s = 0.0;
    for name in ["peak", "normal", "overload"] {
        let load = |rate: f64| Load::Open { per_s: rate / scenario.connections as f64 };
        let load = match name {
            "peak" => Load::Closed { in_flight: scenario.in_flight },
            "normal" => load(peak_per_s / 2.0),
            _ => load(peak_per_s * scenario.times),
        };
        let (tally, rss_bytes) = carry_out(&mut lines, load, phase, server).await?;
        let done = Phase::of(name, tally, phase, rss_bytes);
        if name == "peak" {
            peak_per_s = done.acknowledged_per_s;
        }
        measured.push(done);
    }
    Ok(Report { scenario: scenario.name.clone(), seed, times: scenario.times, phases: measured })
}

/// Connections with a conversation each, two by two.
async fn connect(scenario: &Scenario, base: &str, seed: u64) -> Result<Vec<Line>, RunError> {
    let count = scenario.connections;
    let logins = accounts::log_in_all(base, seed, count, 1, SIGNING_UP, Arc::default()).await?;
    let mut lines: Vec<Line> = Vec::with_capacity(count);
    for (index, login) in logins.into_iter().enumerate() {
        // The second of a pair opens the conversation, the first is there already.
        let partner = accounts::name(seed, index ^ 1);
        let address = login.addresses().first().cloned().unwrap_or_default();
        let line = Line::open(&address, &login.access_token, &partner, scenario.body_bytes).await;
        lines.push(line.map_err(|e| RunError::new(format!("connection {index}: {e}")))?);
    }
    Ok(lines)
}

/// One phase on all connections; what was counted, and the server's greatest memory meanwhile.
async fn carry_out(
    lines: &mut Vec<Line>,
    load: Load,
    phase: Duration,
    server: &[u32],
) -> Result<(Tally, Option<u64>), RunError> {
    let mut talking = JoinSet::new();
    let count = lines.len();
    for (at, line) in lines.drain(..).enumerate() {
        // Spread over a tick: real clients don't move in step.
        let delay = talk::TICK.mul_f64(at as f64 / count as f64);
        talking.spawn(line.talk(load, delay, phase, SETTLE));
    }
    let mut rss = None;
    let mut total = Tally::new()?;
    let mut ticks = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            talked = talking.join_next() => match talked {
                None => return Ok((total, rss)),
                Some(talked) => {
                    let talked = talked.map_err(|e| RunError::new(e.to_string()))?;
                    let (line, tally) = talked.map_err(RunError::new)?;
                    total.add(&tally);
                    lines.push(line);
                }
            },
            _ = ticks.tick() => rss = rss.max(procfs::rss_bytes(server)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scenario_that_comes_with_the_harness_is_valid() {
        Scenario::parse(include_str!("../../scenarios/overload.toml")).unwrap();
        let odd = include_str!("../../scenarios/overload.toml").replace("= 400", "= 401");
        assert!(Scenario::parse(&odd).is_err());
    }
}
