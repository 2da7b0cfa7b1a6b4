//! What a run of overload is held to, and how it is told.

use super::talk::Tally;
use crate::report::Percentiles;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::fmt::Write;
use std::time::Duration;

/// One phase.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Phase {
    /// `peak`, `normal` or `overload`.
    pub name: String,
    /// Sends offered, a second; in the closed loop those that were sent.
    pub offered_per_s: f64,
    /// Sends acknowledged within the phase, a second.
    pub acknowledged_per_s: f64,
    /// Deliveries within the phase, a second.
    pub deliveries_per_s: f64,
    /// Sends refused, a second.
    pub refused_per_s: f64,
    /// Refusals by their code.
    pub refusals: Vec<(u16, u64)>,
    /// Refusals that say "never".
    pub not_retryable: u64,
    /// Sends that were never answered.
    pub unanswered: u64,
    /// From a send to its acknowledgement, milliseconds.
    pub accepted_ms: Percentiles,
    /// From a send to its refusal, milliseconds.
    pub refused_ms: Percentiles,
    /// The server's greatest resident memory.
    pub rss_bytes: Option<u64>,
}

impl Phase {
    pub(super) fn of(name: &str, tally: Tally, phase: Duration, rss_bytes: Option<u64>) -> Self {
        let per_s = |count: u64| count as f64 / phase.as_secs_f64();
        Self {
            name: name.to_owned(),
            offered_per_s: per_s(tally.due.max(tally.sent)),
            acknowledged_per_s: per_s(tally.acknowledged),
            deliveries_per_s: per_s(tally.delivered),
            refused_per_s: per_s(tally.refused.values().sum()),
            refusals: tally.refused.into_iter().collect(),
            not_retryable: tally.not_retryable,
            unanswered: tally.unanswered,
            accepted_ms: percentiles(&tally.accepted_us),
            refused_ms: percentiles(&tally.refused_us),
            rss_bytes,
        }
    }
}

fn percentiles(histogram: &Histogram<u64>) -> Percentiles {
    let ms = |us: u64| us as f64 / 1000.0;
    let at = |q: f64| ms(histogram.value_at_quantile(q));
    Percentiles { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: ms(histogram.max()) }
}

/// What overload is held to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Least part of the peak that is still acknowledged.
    pub goodput: f64,
    /// Most times as long an accepted send takes as under normal load, at p99.
    pub latency_times: f64,
    /// Most milliseconds of a refusal, at p99.
    pub refusal_ms: f64,
    /// Most growth of the server's memory from the peak to overload, bytes.
    pub memory_bytes: u64,
}

impl Limits {
    /// What the project promises.
    pub const PROMISED: Self =
        Self { goodput: 0.9, latency_times: 10.0, refusal_ms: 1_000.0, memory_bytes: 256 << 20 };
}

/// The result.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// What accounts were drawn from.
    pub seed: u64,
    /// How many times the peak was offered.
    pub times: f64,
    /// The phases, in their order.
    pub phases: Vec<Phase>,
}

impl Report {
    /// What does not hold, one line each.
    #[must_use]
    pub fn faults(&self, limits: Limits) -> Vec<String> {
        let [peak, normal, overload] = self.phases.as_slice() else {
            return vec!["a phase is missing".to_owned()];
        };
        let goodput = overload.acknowledged_per_s / peak.acknowledged_per_s.max(1.0);
        let times = overload.accepted_ms.p99 / normal.accepted_ms.p99.max(0.1);
        let never: u64 = self.phases.iter().map(|phase| phase.not_retryable).sum();
        let silent: u64 = self.phases.iter().map(|phase| phase.unanswered).sum();
        let grown = overload.rss_bytes.zip(peak.rss_bytes);
        let grown = grown.map_or(0, |(now, before)| now.saturating_sub(before));
        [
            (goodput < limits.goodput, format!("goodput is {:.0} % of the peak", 100.0 * goodput)),
            (
                times > limits.latency_times,
                format!("accepted sends take {times:.1} times as long as under normal load (p99)"),
            ),
            (
                overload.refused_ms.p99 > limits.refusal_ms,
                format!("refusals take {:.0} ms (p99)", overload.refused_ms.p99),
            ),
            (never > 0, format!("{never} refusals can't be retried")),
            (silent > 0, format!("{silent} sends were never answered")),
            (grown > limits.memory_bytes, format!("memory grew by {} MiB", grown >> 20)),
        ]
        .into_iter()
        .filter_map(|(wrong, text)| wrong.then_some(text))
        .collect()
    }

    /// For people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = format!("{}: {} times the peak\n", self.scenario, self.times);
        let title = ["offered/s", "acked/s", "refused/s", "p50 ms", "p99 ms", "refusal p99", "MiB"];
        let title: String = title.iter().map(|name| format!("{name:>13}")).collect();
        // Writing to a String can't fail.
        writeln!(text, "{:<10}{title}", "").ok();
        for phase in &self.phases {
            let mib = phase.rss_bytes.map_or_else(|| "-".to_owned(), |b| (b >> 20).to_string());
            let row = [
                format!("{:.0}", phase.offered_per_s),
                format!("{:.0}", phase.acknowledged_per_s),
                format!("{:.0}", phase.refused_per_s),
                format!("{:.1}", phase.accepted_ms.p50),
                format!("{:.1}", phase.accepted_ms.p99),
                format!("{:.1}", phase.refused_ms.p99),
                mib,
            ];
            let row: String = row.iter().map(|cell| format!("{cell:>13}")).collect();
            writeln!(text, "{:<10}{row}", phase.name).ok();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(goodput: f64, p99: f64) -> Report {
        let phase = |name: &str, per_s: f64, p99: f64| Phase {
            name: name.to_owned(),
            acknowledged_per_s: per_s,
            accepted_ms: Percentiles { p99, ..Percentiles::default() },
            rss_bytes: Some(1 << 30),
            ..Phase::default()
        };
        let phases = vec![
            phase("peak", 1000.0, 20.0),
            phase("normal", 500.0, 5.0),
            phase("overload", 1000.0 * goodput, p99),
        ];
        Report { scenario: "o".to_owned(), seed: 1, times: 2.0, phases }
    }

    #[test]
    fn what_does_not_hold_is_told() {
        assert_eq!(report(0.95, 40.0).faults(Limits::PROMISED), Vec::<String>::new());
        let faults = report(0.5, 400.0).faults(Limits::PROMISED);
        assert_eq!(faults.len(), 2, "{faults:?}");
        let mut silent = report(1.0, 5.0);
        silent.phases[2].unanswered = 1;
        silent.phases[2].rss_bytes = Some(2 << 30);
        assert_eq!(silent.faults(Limits::PROMISED).len(), 2);
        assert!(silent.table().contains("overload"));
    }
}
