//! Runs seeds of the cluster simulation: `simulate --seed S --count N`. See `actors/sim`.

#![allow(clippy::print_stdout, reason = "what it finds is for the person who runs it")]

#[path = "../sim/mod.rs"]
mod sim;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (mut seed, mut count, mut log) = (1u64, 1u64, false);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--seed" => seed = args.next().and_then(|v| v.parse().ok()).unwrap_or(seed),
            "--count" => count = args.next().and_then(|v| v.parse().ok()).unwrap_or(count),
            "--log" => log = true,
            _ => {}
        }
    }
    let started = std::time::Instant::now();
    let (mut events, mut committed, mut failed) = (0, 0, 0);
    let mut coverage = sim::Coverage::default();
    for seed in seed..seed + count {
        let outcome = sim::run(seed, log);
        events += outcome.events;
        committed += outcome.committed;
        coverage.merge(&outcome.coverage);
        for line in &outcome.log {
            println!("{line}");
        }
        if let Some(breach) = outcome.breach {
            failed += 1;
            println!("seed {seed} at {} ms: {breach:.600}", outcome.simulated_ms);
        }
        if count == 1 {
            println!(
                "trace {:016x} events {} simulated {} ms",
                outcome.trace, outcome.events, outcome.simulated_ms
            );
        }
    }
    let (reached, all, missed) = coverage.share();
    println!(
        "{count} seeds, {failed} failed, {events} events, {committed} messages, {:.1} s",
        started.elapsed().as_secs_f64()
    );
    println!("branches {reached} of {all}; missed {missed:?}");
    if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
