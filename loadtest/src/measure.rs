//! Latencies and counts of the measured part of a run.

use crate::report::Percentiles;
use crate::run::RunError;
use hdrhistogram::Histogram;

/// Longest latency told apart, microseconds: ten minutes.
const MAX_US: u64 = 600_000_000;

/// What is measured. Messages count by when they were due: one that was due in the measured part
/// counts whenever its answer comes, so that a stall at the end is not cut off.
#[derive(Debug)]
pub(crate) struct Measure {
    send_ack: Histogram<u64>,
    deliver: Histogram<u64>,
    pub(crate) acknowledged: u64,
    pub(crate) delivered: u64,
    /// The measured part, Unix microseconds.
    pub(crate) from_us: u64,
    pub(crate) until_us: u64,
}

impl Measure {
    pub(crate) fn new() -> Result<Self, RunError> {
        Ok(Self {
            send_ack: histogram()?,
            deliver: histogram()?,
            acknowledged: 0,
            delivered: 0,
            from_us: u64::MAX,
            until_us: u64::MAX,
        })
    }

    pub(crate) fn acknowledged(&mut self, due_us: u64, now_us: u64) {
        if (self.from_us..self.until_us).contains(&due_us) {
            self.acknowledged += 1;
            self.send_ack.saturating_record(now_us.saturating_sub(due_us).max(1));
        }
    }

    pub(crate) fn delivered(&mut self, due_us: u64, now_us: u64) {
        if (self.from_us..self.until_us).contains(&due_us) {
            self.delivered += 1;
            self.deliver.saturating_record(now_us.saturating_sub(due_us).max(1));
        }
    }

    pub(crate) fn send_ack_ms(&self) -> Percentiles {
        percentiles(&self.send_ack)
    }

    pub(crate) fn deliver_ms(&self) -> Percentiles {
        percentiles(&self.deliver)
    }
}

fn histogram() -> Result<Histogram<u64>, RunError> {
    Histogram::new_with_bounds(1, MAX_US, 3).map_err(|e| RunError::new(e.to_string()))
}

fn percentiles(h: &Histogram<u64>) -> Percentiles {
    let ms = |us: u64| us as f64 / 1000.0;
    let at = |q| ms(h.value_at_quantile(q));
    Percentiles { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: ms(h.max()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_messages_due_in_the_measured_part_count_whenever_they_are_answered() {
        let mut m = Measure::new().unwrap();
        m.acknowledged(5, 6);
        (m.from_us, m.until_us) = (10_000, 20_000);
        for (due, now) in [(9_999, 10_001), (10_000, 12_000), (19_999, 50_000), (20_000, 20_001)] {
            m.acknowledged(due, now);
            m.delivered(due, now);
        }
        assert_eq!((m.acknowledged, m.delivered), (2, 2));
        let ms = m.send_ack_ms();
        assert!((ms.p50 - 2.0).abs() < 0.01 && (ms.max - 30.0).abs() < 0.1, "{ms:?}");
    }
}
