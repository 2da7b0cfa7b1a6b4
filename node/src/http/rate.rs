//! How often an address may try: one token bucket for each, in a map of bounded size.
//!
//! It slows guessing from one place; the bounded password pool is what protects the machine.

use rookery_cluster_config::Rate;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Most addresses remembered at a time, about 6 MB. Beyond, new addresses share one bucket.
const MAX_ADDRESSES: usize = 65_536;
/// The shared bucket of a full map holds this many times one address's attempts.
const SHARED_FACTOR: u32 = 64;

/// The buckets.
#[derive(Debug)]
pub struct Attempts {
    limit_loopback: bool,
    max_addresses: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Time after which an address gets one more attempt.
    interval: Duration,
    burst: u64,
    /// When the bucket of an address will be full again; the only number a bucket needs.
    full_at: HashMap<IpAddr, Instant>,
    shared_full_at: Option<Instant>,
    swept: Option<Instant>,
}

impl Attempts {
    /// Buckets that hold `burst` attempts and gain `per_minute` of them.
    #[must_use]
    pub fn new(per_minute: u64, burst: u64, limit_loopback: bool) -> Self {
        Self::every(minute(per_minute), burst, limit_loopback)
    }

    /// Buckets of a rate; one of 0 an hour has no bottom.
    #[must_use]
    pub fn hourly(Rate { per_hour, burst }: Rate, limit_loopback: bool) -> Self {
        Self::every(hour(per_hour), burst, limit_loopback)
    }

    fn every(interval: Duration, burst: u64, limit_loopback: bool) -> Self {
        let state = State {
            interval,
            burst: burst.max(1),
            full_at: HashMap::new(),
            shared_full_at: None,
            swept: None,
        };
        Self { limit_loopback, max_addresses: MAX_ADDRESSES, state: Mutex::new(state) }
    }

    /// From now on buckets hold `burst` attempts and gain `per_minute` of them; what was taken
    /// stays taken.
    pub fn set(&self, per_minute: u64, burst: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.interval, state.burst) = (minute(per_minute), burst.max(1));
    }

    /// From now on buckets are those of a rate.
    pub fn set_hourly(&self, Rate { per_hour, burst }: Rate) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.interval, state.burst) = (hour(per_hour), burst.max(1));
    }

    /// Takes one attempt.
    ///
    /// # Errors
    /// The time to wait when the address has none left.
    pub fn take(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let address = bucket_of(address);
        if address.is_loopback() && !self.limit_loopback {
            return Ok(());
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (interval, burst) = (state.interval, state.burst);
        if interval.is_zero() {
            return Ok(());
        }
        self.make_room(&mut state, address, now);
        if state.full_at.len() < self.max_addresses || state.full_at.contains_key(&address) {
            let full_at = state.full_at.entry(address).or_insert(now);
            return take(full_at, now, interval, burst);
        }
        let interval = interval / SHARED_FACTOR;
        let full_at = state.shared_full_at.get_or_insert(now);
        take(full_at, now, interval, burst.saturating_mul(u64::from(SHARED_FACTOR)))
    }

    /// Forgets the full buckets, at most once a second, when there is no room for a new one.
    fn make_room(&self, state: &mut State, address: IpAddr, now: Instant) {
        let due = state.swept.is_none_or(|at| now.duration_since(at) >= Duration::from_secs(1));
        if due && state.full_at.len() >= self.max_addresses && !state.full_at.contains_key(&address)
        {
            state.full_at.retain(|_, full_at| *full_at > now);
            state.swept = Some(now);
        }
    }
}

fn minute(times: u64) -> Duration {
    Duration::from_nanos(60_000_000_000 / times.max(1))
}

fn hour(times: u64) -> Duration {
    Duration::from_nanos(3_600_000_000_000_u64.checked_div(times).unwrap_or(0))
}

/// Takes an attempt from the bucket that is full again at `full_at`: each attempt moves that
/// instant one interval away, and it may lie at most `burst` intervals ahead.
fn take(
    full_at: &mut Instant,
    now: Instant,
    interval: Duration,
    burst: u64,
) -> Result<(), Duration> {
    let most = interval.saturating_mul(u32::try_from(burst).unwrap_or(u32::MAX));
    // Under a limit that was loosened since, nobody waits for what a stricter one took.
    *full_at = (*full_at).clamp(now, now + most);
    let after = *full_at + interval;
    let ahead = after.duration_since(now);
    if ahead > most {
        return Err(ahead - most);
    }
    *full_at = after;
    Ok(())
}

/// An IPv6 subscriber has a /64 at least: all of it is one address here.
pub(super) fn bucket_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn taken(attempts: &Attempts, address: &str, now: Instant, tries: usize) -> usize {
        (0..tries).filter(|_| attempts.take(ip(address), now).is_ok()).count()
    }

    #[test]
    fn an_address_has_its_burst_and_then_its_rate() {
        let attempts = Attempts::new(60, 5, false);
        let start = Instant::now();
        assert_eq!(taken(&attempts, "10.0.0.1", start, 9), 5);
        assert_eq!(attempts.take(ip("10.0.0.1"), start), Err(Duration::from_secs(1)));
        let later = start + Duration::from_secs(3);
        assert_eq!(taken(&attempts, "10.0.0.1", later, 9), 3);
        let much_later = start + Duration::from_secs(3_600);
        assert_eq!(taken(&attempts, "10.0.0.1", much_later, 99), 5);
    }

    #[test]
    fn a_changed_rate_counts_at_once_and_forgives_nothing() {
        let attempts = Attempts::new(60, 5, false);
        let start = Instant::now();
        assert_eq!(taken(&attempts, "10.0.0.1", start, 9), 5);
        attempts.set(60, 7);
        assert_eq!(taken(&attempts, "10.0.0.1", start, 9), 2);
        attempts.set(6, 1);
        assert_eq!(taken(&attempts, "10.0.0.1", start + Duration::from_secs(7), 9), 1);
        assert_eq!(taken(&attempts, "10.0.0.2", start, 9), 1);
    }

    #[test]
    fn addresses_don_t_spend_each_others_attempts_but_a_slash_64_is_one() {
        let attempts = Attempts::new(60, 2, false);
        let now = Instant::now();
        assert_eq!(taken(&attempts, "10.0.0.1", now, 9), 2);
        assert_eq!(taken(&attempts, "10.0.0.2", now, 9), 2);
        assert_eq!(taken(&attempts, "2001:db8::1", now, 9), 2);
        assert_eq!(taken(&attempts, "2001:db8::ffff:2", now, 9), 0);
        assert_eq!(taken(&attempts, "2001:db8:0:1::1", now, 9), 2);
        assert_eq!(taken(&attempts, "::ffff:10.0.0.1", now, 9), 0);
    }

    #[test]
    fn loopback_is_limited_only_when_asked() {
        let now = Instant::now();
        assert_eq!(taken(&Attempts::new(60, 2, false), "127.0.0.1", now, 9), 9);
        assert_eq!(taken(&Attempts::new(60, 2, false), "::1", now, 9), 9);
        assert_eq!(taken(&Attempts::new(60, 2, true), "127.0.0.1", now, 9), 2);
        assert_eq!(taken(&Attempts::new(60, 2, true), "::1", now, 9), 2);
    }

    #[test]
    fn the_map_is_bounded_and_forgets_full_buckets() {
        let mut attempts = Attempts::new(60, 2, false);
        attempts.max_addresses = 10;
        let now = Instant::now();
        let address = |n: u32| IpAddr::from(std::net::Ipv4Addr::from(0x0a00_0000 + n));
        for n in 0..1000 {
            let _refused_or_not = attempts.take(address(n), now);
        }
        let remembered = || attempts.state.lock().unwrap().full_at.len();
        assert_eq!(remembered(), 10);
        // The shared bucket is spent by now: strangers wait, those who are known do not.
        assert!(attempts.take(address(5000), now).is_err());
        assert!(attempts.take(address(3), now).is_ok());
        assert!(attempts.take(address(5000), now + Duration::from_secs(60)).is_ok());
        assert_eq!(remembered(), 1);
    }
}
