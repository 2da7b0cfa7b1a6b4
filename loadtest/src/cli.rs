//! The command line.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is what people read")]

use crate::chaos::{ChaosOptions, Fault, chaos};
use crate::compare::compare;
use crate::history::{History, HistoryError};
use crate::overload;
use crate::plant::Plant;
use crate::run::{Options, run};
use crate::scenario::Scenario;
use clap::{Parser, Subcommand, ValueEnum};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Load test of a Rookery server, with an oracle that finds what was lost, duplicated, reordered
/// or left out.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a scenario. Exit status: 0 clean, 1 a fault was found, 2 it could not run.
    Run {
        /// The scenario file, for example loadtest/scenarios/pairs.toml.
        scenario: PathBuf,
        /// A running node, for example http://127.0.0.1:8080.
        #[arg(long, conflicts_with = "spawn", required_unless_present = "spawn")]
        url: Option<String>,
        /// Start this many nodes on a temporary directory and end them afterwards: one on its
        /// embedded store; more on one process of the store, linked with mutual TLS.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=32))]
        spawn: Option<u16>,
        /// Write the report there.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// Accounts, order and content are drawn from it.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Plant a fault into the harness's receive path: the oracle must find it.
        #[arg(long, value_enum)]
        plant: Option<Plant>,
        /// Keep the history there; without it only that of a run with a fault is kept, in the
        /// directory for temporary files.
        #[arg(long, value_name = "FILE")]
        history: Option<PathBuf>,
    },
    /// Runs a scenario of kind "pairs" over a cluster of its own while faults are done to it, one at
    /// a time, each with a figure that is demanded of it. Exit status as that of `run`.
    Chaos {
        /// The scenario file, for example loadtest/scenarios/chaos.toml.
        scenario: PathBuf,
        /// Start this many nodes.
        #[arg(long, value_name = "N", default_value_t = 3,
            value_parser = clap::value_parser!(u16).range(2..=32))]
        spawn: u16,
        /// Schedule and load are drawn from it: the same seed, the same schedule.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Which faults, separated by commas [default: all].
        #[arg(long, value_enum, value_delimiter = ',')]
        faults: Vec<Fault>,
        /// How often each fault comes.
        #[arg(long, default_value_t = 1)]
        rounds: u32,
        /// Let faults hold for up to a minute.
        #[arg(long)]
        long: bool,
        /// Write the report there.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// Keep the history there.
        #[arg(long, value_name = "FILE")]
        history: Option<PathBuf>,
    },
    /// Judges a history again. Exit status as that of `run`; 2 also for a damaged history.
    Check {
        /// A file that a run kept.
        history: PathBuf,
    },
    /// Offers a node more than it can do. Exit status as that of run.
    Overload {
        /// The scenario file, for example loadtest/scenarios/overload.toml.
        scenario: PathBuf,
        /// A running node; without one a node is started and ended afterwards.
        #[arg(long)]
        url: Option<String>,
        /// Write the report there.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// Accounts are drawn from it.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Compares the reports of two runs and prints the ratios. Exit status: 0 no figure is worse
    /// beyond the tolerance, 1 one is, 2 they can't be compared.
    Compare {
        /// The report to compare with; several, separated by commas: their medians.
        before: String,
        /// The report that is judged; several, separated by commas: their medians.
        after: String,
        /// How much worse a figure may be: 0.1 is 10 %.
        #[arg(long, default_value_t = 0.1)]
        tolerance: f64,
    },
}

/// Parses the command line, runs, prints; returns the exit status.
#[must_use]
pub fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Run { scenario, url, spawn, json, seed, plant, history } => {
            let spawn = usize::from(spawn.unwrap_or(1));
            let options = Options { url, spawn, seed, plant, watcher: None, history };
            carry_out(&scenario, &options, json.as_deref())
        }
        Command::Chaos { scenario, spawn, seed, faults, rounds, long, json, history } => {
            let all = || Fault::value_variants().to_vec();
            let faults = if faults.is_empty() { all() } else { faults };
            let nodes = usize::from(spawn);
            let options = ChaosOptions { nodes, seed, faults, rounds, long, history };
            wreak(&scenario, &options, json.as_deref())
        }
        Command::Check { history } => check(&history),
        Command::Overload { scenario, url, json, seed } => {
            overload(&scenario, url.as_deref(), json.as_deref(), seed)
        }
        Command::Compare { before, after, tolerance } => judge(&before, &after, tolerance),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(words) => {
            eprintln!("rookery-loadtest: {words}");
            ExitCode::from(2)
        }
    }
}

fn judge(before: &str, after: &str, tolerance: f64) -> Result<bool, String> {
    let read = |files: &str| -> Result<Vec<serde_json::Value>, String> {
        files.split(',').map(report).collect()
    };
    let comparison = compare(&read(before)?, &read(after)?, tolerance)?;
    print!("{}", comparison.table);
    println!("{} of {} figures are worse", comparison.worse, comparison.compared);
    Ok(comparison.worse == 0)
}

fn report(file: &str) -> Result<serde_json::Value, String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("{file}: {e}"))?;
    serde_json::from_str(&text).map_err(|e| format!("{file}: {e}"))
}

fn read(file: &Path) -> Result<Scenario, String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    Scenario::parse(&text).map_err(|e| format!("{} is not valid:\n{e}", file.display()))
}

fn write_json(path: Option<&Path>, report: &impl Serialize) -> Result<(), String> {
    let Some(path) = path else { return Ok(()) };
    let text = serde_json::to_string_pretty(report).map_err(|e| e.to_string())?;
    std::fs::write(path, text + "\n").map_err(|e| format!("{}: {e}", path.display()))
}

fn carry_out(file: &Path, options: &Options, json: Option<&Path>) -> Result<bool, String> {
    let (report, remarks) = run(&read(file)?, options).map_err(|e| e.to_string())?;
    print!("{}", report.table(&remarks));
    write_json(json, &report)?;
    Ok(report.clean())
}

fn wreak(file: &Path, options: &ChaosOptions, json: Option<&Path>) -> Result<bool, String> {
    let report = chaos(&read(file)?, options, |words| println!("{words}"));
    let report = report.map_err(|e| e.to_string())?;
    print!("{}", report.table());
    write_json(json, &report)?;
    Ok(report.clean)
}

fn check(file: &Path) -> Result<bool, String> {
    let told = |e: HistoryError| e.to_string();
    let history = History::read(file).map_err(told)?;
    let verdict = history.judge().map_err(told)?;
    println!("scenario {} (seed {})", history.header.scenario, history.header.seed);
    println!("acknowledged {}, {:?}", verdict.acknowledged, verdict.counts);
    verdict.findings.iter().for_each(|finding| println!("  found {finding}"));
    println!("verdict {}", if verdict.clean() { "clean" } else { "NOT CLEAN" });
    Ok(verdict.clean())
}

fn overload(
    file: &Path,
    url: Option<&str>,
    json: Option<&Path>,
    seed: u64,
) -> Result<bool, String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let scenario = overload::Scenario::parse(&text)
        .map_err(|e| format!("{} is not valid:\n{e}", file.display()))?;
    let report = overload::run(&scenario, url, seed).map_err(|e| e.to_string())?;
    let faults = report.faults(overload::Limits::PROMISED);
    print!("{}", report.table());
    faults.iter().for_each(|fault| println!("FAULT: {fault}"));
    write_json(json, &report)?;
    Ok(faults.is_empty())
}
