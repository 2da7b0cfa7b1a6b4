//! Full-jitter back-off and the small deterministic generator it draws from.
//!
//! Full jitter (a delay drawn evenly from 0 to a doubling bound) spreads a crowd of clients that
//! lost the same node; any fixed part would keep them in step.

/// SplitMix64: the core must not read a random source, so its shell seeds this one.
#[derive(Clone, Debug)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Evenly from `0..=bound`; the bias of the remainder is far below a millisecond here.
    pub(super) fn up_to(&mut self, bound: u64) -> u64 {
        match bound.checked_add(1) {
            Some(n) => self.next() % n,
            None => self.next(),
        }
    }
}

/// Delay in milliseconds before attempt number `attempt` (0 is the first repeat): evenly from 0 to
/// `base * 2^attempt`, the bound never above `max`.
pub(super) fn full_jitter(rng: &mut Rng, attempt: u32, base_ms: u64, max_ms: u64) -> u64 {
    let bound = base_ms.saturating_mul(1 << attempt.min(20)).min(max_ms);
    rng.up_to(bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_stays_under_the_doubling_bound_and_the_maximum() {
        let mut rng = Rng::new(1);
        for (attempt, bound) in [(0, 200), (1, 400), (3, 1600), (10, 20_000), (u32::MAX, 20_000)] {
            for _ in 0..200 {
                assert!(full_jitter(&mut rng, attempt, 200, 20_000) <= bound);
            }
        }
    }

    #[test]
    fn the_delay_uses_the_whole_range_from_zero() {
        let mut rng = Rng::new(2);
        let delays: Vec<u64> = (0..1000).map(|_| full_jitter(&mut rng, 0, 100, 1000)).collect();
        assert!(delays.iter().any(|&d| d < 10));
        assert!(delays.iter().any(|&d| d > 90));
        let mean = delays.iter().sum::<u64>() / 1000;
        assert!((40..60).contains(&mean), "mean {mean}");
    }
}
