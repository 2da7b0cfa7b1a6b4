//! Who guesses passwords waits: longer after each wrong one, but never for ever.
//!
//! ```text
//! one address at one name      FREE tries, then 1 s, 2 s, 4 s ... up to ADDRESS_CAP
//! all strange addresses at it  FREE_OF_ALL tries, then 1 s, 2 s, 4 s ... up to NAME_CAP
//! ```
//!
//! An attacker of many addresses could lock an owner out, so two things hold: the second wait is at
//! most [`NAME_CAP`], and it does not concern addresses from which somebody logged in to the
//! account before. A device that is logged in is never concerned: it refreshes its tokens.
//!
//! An attempt counts when it begins and is taken back when it succeeds, so that many at once don't
//! slip through. One that is refused here does not count. A name that nobody has is treated like
//! any other, so that waiting tells nothing. Each node counts for itself.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Wrong passwords that one address may send without waiting.
const FREE: u32 = 5;
/// The same of all addresses together.
const FREE_OF_ALL: u32 = 20;
/// Longest wait of one address.
const ADDRESS_CAP: Duration = Duration::from_secs(15 * 60);
/// Longest wait of a stranger because of other strangers.
const NAME_CAP: Duration = Duration::from_secs(30);
/// Failures are forgotten after so long without another.
const FORGOTTEN: Duration = Duration::from_secs(30 * 60);
/// Most entries of each map, about 4 MB.
const MAX_ENTRIES: usize = 65_536;

/// The counts.
#[derive(Debug)]
pub struct Lockout {
    /// Names come from strangers: only their hashes are kept, under a key of this process.
    hasher: RandomState,
    max_entries: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    by_address: HashMap<u64, Failures>,
    by_name: HashMap<u64, Failures>,
    /// Name and address of log-ins that were good.
    familiar: HashMap<u64, Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
    /// Nothing is tried before.
    until: Instant,
}

impl Failures {
    fn none(now: Instant) -> Self {
        Self { count: 0, last: now, until: now }
    }

    /// Counts one more and sets the wait after it.
    fn count(&mut self, now: Instant, free: u32, cap: Duration) {
        self.count = self.count.saturating_add(1);
        self.last = now;
        if let Some(over) = self.count.checked_sub(free) {
            let wait = Duration::from_secs(1_u64.checked_shl(over.min(32)).unwrap_or(u64::MAX));
            self.until = now + wait.min(cap);
        }
    }
}

impl Default for Lockout {
    fn default() -> Self {
        Self { hasher: RandomState::new(), max_entries: MAX_ENTRIES, state: Mutex::default() }
    }
}

impl Lockout {
    /// An attempt begins.
    ///
    /// # Errors
    /// The time to wait before there may be one.
    pub fn begin(&self, name: &str, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let (by_name, both) = self.keys(name, address);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let familiar = state.familiar.contains_key(&both);
        let fresh = |failures: Option<&Failures>| match failures {
            Some(held) if now.saturating_duration_since(held.last) < FORGOTTEN => *held,
            _ => Failures::none(now),
        };
        let mut of_address = fresh(state.by_address.get(&both));
        let mut of_name = fresh(state.by_name.get(&by_name));
        let of_others = if familiar { now } else { of_name.until };
        let wait = of_address.until.max(of_others).saturating_duration_since(now);
        if !wait.is_zero() {
            return Err(wait);
        }
        of_address.count(now, FREE, ADDRESS_CAP);
        self.put(&mut state.by_address, both, of_address, now);
        if !familiar {
            of_name.count(now, FREE_OF_ALL, NAME_CAP);
            self.put(&mut state.by_name, by_name, of_name, now);
        }
        Ok(())
    }

    /// The attempt was good: what was counted against this address is forgotten, and it is known
    /// from now on. What strangers did to the name stays.
    pub fn succeeded(&self, name: &str, address: IpAddr, now: Instant) {
        let (by_name, both) = self.keys(name, address);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.by_address.remove(&both);
        if let Some(failures) = state.by_name.get_mut(&by_name) {
            failures.count = failures.count.saturating_sub(1);
            if failures.count < FREE_OF_ALL {
                failures.until = now;
            }
        }
        if state.familiar.len() >= self.max_entries {
            let mut times: Vec<Instant> = state.familiar.values().copied().collect();
            let middle = times.len() / 2;
            let (_, median, _) = times.select_nth_unstable(middle);
            let median = *median;
            state.familiar.retain(|_, at| *at > median);
        }
        state.familiar.insert(both, now);
    }

    fn keys(&self, name: &str, address: IpAddr) -> (u64, u64) {
        let name = name.to_ascii_lowercase();
        (self.hasher.hash_one(&name), self.hasher.hash_one((&name, Address(address))))
    }

    /// Puts an entry; a full map first lets go of what is forgotten, then of the fewest failures.
    fn put(&self, map: &mut HashMap<u64, Failures>, key: u64, value: Failures, now: Instant) {
        if map.len() >= self.max_entries && !map.contains_key(&key) {
            map.retain(|_, held| now.saturating_duration_since(held.last) < FORGOTTEN);
            let mut least = 1;
            while map.len() >= self.max_entries {
                map.retain(|_, held| held.count > least);
                least = least.saturating_mul(2);
            }
        }
        map.insert(key, value);
    }
}

/// An address as a subscriber has it: of IPv6, the first 64 bits.
struct Address(IpAddr);

impl Hash for Address {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        match self.0.to_canonical() {
            IpAddr::V4(v4) => v4.octets().hash(state),
            IpAddr::V6(v6) => v6.octets().iter().take(8).for_each(|byte| byte.hash(state)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u32) -> IpAddr {
        IpAddr::from(std::net::Ipv4Addr::from(0x0a00_0000 + n))
    }

    #[test]
    fn one_address_waits_longer_after_each_wrong_password_up_to_a_cap() {
        let (lockout, mut now) = (Lockout::default(), Instant::now());
        for _ in 0..FREE {
            assert_eq!(lockout.begin("ada", ip(1), now), Ok(()));
        }
        let mut waits = Vec::new();
        for _ in 0..14 {
            let wait = lockout.begin("ada", ip(1), now).unwrap_err();
            assert_eq!(lockout.begin("ADA", ip(1), now), Err(wait), "asking does not prolong it");
            waits.push(wait.as_secs());
            now += wait;
            assert_eq!(lockout.begin("ada", ip(1), now), Ok(()));
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900, 900]);
        assert_eq!(lockout.begin("bob", ip(1), now), Ok(()), "another name is another matter");
    }

    #[test]
    fn many_at_once_don_t_slip_through() {
        let (lockout, now) = (Lockout::default(), Instant::now());
        let begun = (0..100).filter(|_| lockout.begin("ada", ip(1), now).is_ok()).count();
        assert_eq!(begun, FREE as usize);
    }

    #[test]
    fn many_addresses_can_t_lock_the_owner_out() {
        let (lockout, mut now) = (Lockout::default(), Instant::now());
        lockout.begin("ada", ip(1), now).unwrap();
        lockout.succeeded("ada", ip(1), now);
        for n in 0..10_000 {
            if let Err(wait) = lockout.begin("ada", ip(100 + n), now) {
                assert!(wait <= NAME_CAP);
            }
        }
        assert_eq!(lockout.begin("ada", ip(1), now), Ok(()), "known from before");
        let wait = lockout.begin("ada", ip(2), now).unwrap_err();
        assert!(wait <= NAME_CAP, "from a new address: {wait:?}");
        now += wait;
        assert_eq!(lockout.begin("ada", ip(2), now), Ok(()));
    }

    #[test]
    fn success_and_time_forget() {
        let (lockout, now) = (Lockout::default(), Instant::now());
        for _ in 0..FREE {
            lockout.begin("ada", ip(1), now).unwrap();
        }
        lockout.succeeded("ada", ip(1), now);
        assert_eq!(lockout.begin("ada", ip(1), now), Ok(()));
        for _ in 0..FREE {
            let _waits_or_not = lockout.begin("bob", ip(1), now);
        }
        assert!(lockout.begin("bob", ip(1), now).is_err());
        let later = now + FORGOTTEN;
        let begun = (0..9).filter(|_| lockout.begin("bob", ip(1), later).is_ok()).count();
        assert_eq!(begun, FREE as usize);
    }

    #[test]
    fn the_maps_are_bounded() {
        let lockout = Lockout { max_entries: 10, ..Lockout::default() };
        let now = Instant::now();
        for n in 0..1000 {
            let _waits_or_not = lockout.begin(&format!("user{n}"), ip(n), now);
            lockout.succeeded(&format!("user{n}"), ip(n), now + Duration::from_secs(n.into()));
            let _waits_or_not = lockout.begin("ada", ip(n), now);
        }
        let state = lockout.state.lock().unwrap();
        assert!(state.by_address.len() <= 10 && state.by_name.len() <= 10);
        assert!(state.familiar.len() <= 10);
    }
}
