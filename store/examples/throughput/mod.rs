//! What the throughput examples share: their arguments, figures, and the table they print.
//!
//! Each compares an engine with a bare client of the same store that writes the same rows. A round
//! measures one shortly after the other, because the machine may be shared, and the round with the
//! middle ratio is shown.

use std::str::FromStr;
use std::time::{Duration, Instant};

/// The value behind a flag of the command line.
pub fn argument<T: FromStr>(name: &str) -> Option<T> {
    let args: Vec<String> = std::env::args().collect();
    let at = args.iter().position(|arg| arg == name)?;
    let value = args.get(at + 1).unwrap_or_else(|| panic!("{name} needs a value"));
    Some(value.parse().unwrap_or_else(|_| panic!("{name} {value} can't be read")))
}

/// Messages a second, and CPU time of the whole process a message.
#[derive(Clone, Copy)]
pub struct Figures {
    pub rate: f64,
    pub cpu_us: f64,
}

/// Measures from its start on.
pub struct Measure {
    started: Instant,
    cpu: Duration,
}

impl Measure {
    pub fn start() -> Self {
        Self { started: Instant::now(), cpu: cpu() }
    }

    /// What this many messages cost.
    pub fn end(&self, messages: u64) -> Figures {
        let took = self.started.elapsed();
        let cpu = cpu().saturating_sub(self.cpu);
        let messages = messages as f64;
        Figures { rate: messages / took.as_secs_f64(), cpu_us: cpu.as_secs_f64() * 1e6 / messages }
    }
}

/// CPU time of this process so far: all its threads, user and system.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.try_into().unwrap_or_default()
}

/// One round: the bare client, the engine, and how much went into a commit.
pub struct Round {
    pub bare: Figures,
    pub ours: Figures,
    pub batch: u64,
}

/// Prints the round with the middle ratio, and between what the middle half of them lie; `load` says
/// what was done, in columns.
pub fn show(load: &str, (other, who): (&str, &str), per_plan: u64, mut rounds: Vec<Round>) {
    let ratio = |round: &Round| round.ours.rate / round.bare.rate;
    rounds.sort_by(|a, b| ratio(a).total_cmp(&ratio(b)));
    let quarter = rounds.len() / 4;
    let (low, high) = (ratio(&rounds[quarter]), ratio(&rounds[rounds.len() - 1 - quarter]));
    let Round { bare, ours, batch } = &rounds[rounds.len() / 2];
    for (who, figures) in [(other, bare), (who, ours)] {
        println!(
            "{load}  {batch:>12}  {who:>6}  {:>8.0}  {:>10.0}  {:>6.2}  {:>7.2}",
            figures.rate / per_plan as f64,
            figures.rate,
            figures.cpu_us,
            figures.rate / bare.rate,
        );
    }
    println!("{load}  in the middle half of {} rounds {low:.2} to {high:.2}", rounds.len());
}
