//! How many accounts may be made: from one address, and from all of them together.
//!
//! The first slows who makes them by the hundred, the second who has many addresses. Both are on top
//! of the attempts that an address has for anything with a password.

use super::rate::Attempts;
use rookery_cluster_config::{Limits, Rate};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

/// Whose bucket that of all addresses is.
const ALL: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// The buckets.
#[derive(Debug)]
pub struct SignUps {
    of_address: Attempts,
    of_all: Attempts,
    limit_loopback: bool,
}

impl SignUps {
    /// Buckets as configured.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let limit_loopback = limits.limit_loopback;
        let of_address = Attempts::hourly(limits.address_sign_ups, limit_loopback);
        let of_all = Attempts::hourly(limits.sign_ups, limit_loopback);
        Self { of_address, of_all, limit_loopback }
    }

    /// From now on these rates hold; what was taken stays taken.
    pub fn set(&self, of_address: Rate, of_all: Rate) {
        self.of_address.set_hourly(of_address);
        self.of_all.set_hourly(of_all);
    }

    /// Lets an address make one more account.
    ///
    /// # Errors
    /// The time to wait.
    pub fn take(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        if address.to_canonical().is_loopback() && !self.limit_loopback {
            return Ok(());
        }
        self.of_address.take(address, now)?;
        self.of_all.take(ALL, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u8) -> IpAddr {
        IpAddr::from([203, 0, 113, n])
    }

    #[test]
    fn an_address_has_its_share_and_all_of_them_together_have_theirs() {
        let rate = |burst| Rate { per_hour: 60, burst };
        let limits = Limits { address_sign_ups: rate(3), sign_ups: rate(5), ..Limits::default() };
        let sign_ups = SignUps::new(&limits);
        let now = Instant::now();
        let made =
            |n: u8, now: Instant| (0..9).filter(|_| sign_ups.take(address(n), now).is_ok()).count();
        assert_eq!(made(1, now), 3);
        assert_eq!(made(2, now), 2);
        assert_eq!(made(3, now), 0, "others have spent what there is for all");
        assert_eq!(made(1, now + Duration::from_secs(60)), 1);
        let own = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert!((0..99).all(|_| sign_ups.take(own, now).is_ok()));
        // Looser limits hold at once, and none at all is one too.
        sign_ups.set(rate(3), Rate { per_hour: 0, burst: 1 });
        assert_eq!(made(4, now), 3);
        sign_ups.set(Rate { per_hour: 0, burst: 1 }, Rate { per_hour: 0, burst: 1 });
        assert_eq!(made(4, now), 9);
    }

    #[test]
    fn nobody_waits_for_what_a_stricter_limit_took() {
        let strict = Rate { per_hour: 1, burst: 10 };
        let limits = Limits { address_sign_ups: strict, ..Limits::default() };
        let sign_ups = SignUps::new(&limits);
        let now = Instant::now();
        while sign_ups.take(address(1), now).is_ok() {}
        sign_ups.set(Rate { per_hour: 3_600, burst: 10 }, limits.sign_ups);
        let wait = sign_ups.take(address(1), now).unwrap_err();
        assert!(wait <= Duration::from_secs(1), "{wait:?}");
        assert!(sign_ups.take(address(1), now + wait).is_ok());
    }
}
