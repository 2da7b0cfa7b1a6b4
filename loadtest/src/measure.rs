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
    /// A part of the run that is looked at by itself.
    pub(crate) episode: Option<Box<Episode>>,
}

/// What is measured of a part of a run, from its beginning on: what was due before does not count.
#[derive(Debug)]
pub(crate) struct Episode {
    from_us: u64,
    /// When the fault was over.
    healed_us: Option<u64>,
    /// By lane: longest time from when a message was due to its acknowledgement.
    worst_us: Vec<u64>,
    /// By lane: time from the healing to the next acknowledgement.
    back_us: Vec<Option<u64>>,
    deliver: Histogram<u64>,
    /// Sends refused for the moment, and the longest time it took the server to say so.
    pub(crate) refused: u64,
    pub(crate) slowest_refusal_ms: u64,
    /// Sends refused for good.
    pub(crate) failed: u64,
}

impl Episode {
    pub(crate) fn new(from_us: u64, lanes: usize) -> Result<Self, RunError> {
        Ok(Self {
            from_us,
            healed_us: None,
            worst_us: vec![0; lanes],
            back_us: vec![None; lanes],
            deliver: histogram()?,
            refused: 0,
            slowest_refusal_ms: 0,
            failed: 0,
        })
    }

    pub(crate) fn healed(&mut self, now_us: u64) {
        self.healed_us = Some(now_us);
    }

    pub(crate) fn acknowledged(&mut self, lane: u32, due_us: u64, now_us: u64) {
        let lane = lane as usize;
        if due_us >= self.from_us
            && let Some(worst) = self.worst_us.get_mut(lane)
        {
            *worst = (*worst).max(now_us.saturating_sub(due_us));
        }
        if let Some(healed) = self.healed_us
            && let Some(back) = self.back_us.get_mut(lane)
        {
            back.get_or_insert(now_us.saturating_sub(healed));
        }
    }

    pub(crate) fn delivered(&mut self, due_us: u64, now_us: u64) {
        if due_us >= self.from_us {
            self.deliver.saturating_record(now_us.saturating_sub(due_us).max(1));
        }
    }

    pub(crate) fn refused(&mut self, waited_ms: u64) {
        self.refused += 1;
        self.slowest_refusal_ms = self.slowest_refusal_ms.max(waited_ms);
    }

    /// 99 of 100 senders waited at most this long for any of their acknowledgements, seconds.
    pub(crate) fn serving_s(&self) -> f64 {
        p99_s(self.worst_us.iter().copied())
    }

    /// 99 of 100 senders were acknowledged something within this time of the healing, seconds.
    pub(crate) fn back_s(&self) -> f64 {
        p99_s(self.back_us.iter().flatten().copied())
    }

    pub(crate) fn deliver_ms(&self) -> Percentiles {
        percentiles(&self.deliver)
    }
}

fn p99_s(times_us: impl Iterator<Item = u64>) -> f64 {
    let mut times: Vec<u64> = times_us.collect();
    times.sort_unstable();
    // The smallest that at least 99 of 100 don't exceed.
    let at = (times.len() * 99).div_ceil(100).saturating_sub(1);
    times.get(at).map_or(0.0, |us| *us as f64 / 1e6)
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
            episode: None,
        })
    }

    pub(crate) fn acknowledged(&mut self, lane: u32, due_us: u64, now_us: u64) {
        if let Some(episode) = &mut self.episode {
            episode.acknowledged(lane, due_us, now_us);
        }
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
    fn an_episode_keeps_the_worst_of_each_sender_and_the_first_after_the_healing() {
        let mut e = Episode::new(1_000, 100).unwrap();
        e.acknowledged(7, 999, 9_000_000);
        assert_eq!(e.serving_s(), 0.0, "it was due before");
        (0..100).for_each(|lane| e.acknowledged(lane, 1_000, 2_001_000));
        e.acknowledged(3, 1_000, 8_001_000);
        assert_eq!(e.serving_s(), 2.0, "one of a hundred may wait longer");
        assert_eq!(e.back_s(), 0.0);
        e.healed(9_000_000);
        for now in [9_500_000, 12_000_000] {
            (0..2).for_each(|lane| e.acknowledged(lane, 1_000, now));
        }
        assert_eq!(e.back_s(), 0.5);
    }

    #[test]
    fn only_messages_due_in_the_measured_part_count_whenever_they_are_answered() {
        let mut m = Measure::new().unwrap();
        m.acknowledged(0, 5, 6);
        (m.from_us, m.until_us) = (10_000, 20_000);
        for (due, now) in [(9_999, 10_001), (10_000, 12_000), (19_999, 50_000), (20_000, 20_001)] {
            m.acknowledged(0, due, now);
            m.delivered(due, now);
        }
        assert_eq!((m.acknowledged, m.delivered), (2, 2));
        let ms = m.send_ack_ms();
        assert!((ms.p50 - 2.0).abs() < 0.01 && (ms.max - 30.0).abs() < 0.1, "{ms:?}");
    }
}
