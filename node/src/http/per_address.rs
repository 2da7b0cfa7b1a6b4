//! How many connections an address has open: a flood from one place takes nobody else's room.

use super::rate::bucket_of;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The counts. Clones share them. There are at most as many as there are connections.
#[derive(Clone, Debug)]
pub struct PerAddress {
    /// 0: no limit. Operators may change it while the node runs.
    most: Arc<AtomicUsize>,
    limit_loopback: bool,
    /// Proxies: behind each are many clients.
    exempt: Arc<[IpAddr]>,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One connection of an address, for as long as this lives.
#[derive(Debug)]
pub struct Counted {
    address: Option<IpAddr>,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.remove(&address);
            }
        }
    }
}

impl PerAddress {
    /// At most `most` (0: no limit) connections of an address; those of proxies are not counted.
    #[must_use]
    pub fn new(most: usize, limit_loopback: bool, proxies: Vec<IpAddr>) -> Self {
        let open = Arc::default();
        let most = Arc::new(AtomicUsize::new(most));
        Self { most, limit_loopback, exempt: proxies.into(), open }
    }

    /// From now on an address may have at most `most` (0: no limit) connections; those that are
    /// open stay.
    pub fn set(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// No limit.
    #[must_use]
    pub fn unlimited() -> Self {
        Self::new(0, false, Vec::new())
    }

    /// Counts a connection; `None` when its address has as many as it may.
    pub(super) fn count(&self, address: IpAddr) -> Option<Counted> {
        let address = address.to_canonical();
        let most = self.most.load(Ordering::Relaxed);
        let free = most == 0
            || (address.is_loopback() && !self.limit_loopback)
            || self.exempt.contains(&address);
        if free {
            return Some(Counted { address: None, open: Arc::clone(&self.open) });
        }
        let address = bucket_of(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Counted { address: Some(address), open: Arc::clone(&self.open) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_its_connections_and_gets_them_back() {
        let counts = PerAddress::new(2, false, vec![ip("10.0.0.9")]);
        let held: Vec<_> = (0..5).filter_map(|_| counts.count(ip("10.0.0.1"))).collect();
        assert_eq!(held.len(), 2);
        assert!(counts.count(ip("::ffff:10.0.0.1")).is_none());
        assert!(counts.count(ip("10.0.0.2")).is_some());
        let many = (0..5).filter_map(|_| counts.count(ip("10.0.0.9")).map(std::mem::forget));
        assert_eq!(many.count(), 5, "a proxy");
        let many = (0..5).filter_map(|_| counts.count(ip("127.0.0.1")).map(std::mem::forget));
        assert_eq!(many.count(), 5, "the machine itself");
        drop(held);
        assert!(counts.count(ip("10.0.0.1")).is_some());
        assert!(counts.open.lock().unwrap().is_empty(), "nothing is remembered of who left");
    }

    #[test]
    fn a_subscriber_of_ipv6_is_one_address() {
        let counts = PerAddress::new(1, false, Vec::new());
        let held = counts.count(ip("2001:db8::1"));
        assert!(held.is_some());
        assert!(counts.count(ip("2001:db8::2")).is_none());
        assert!(counts.count(ip("2001:db8:0:1::1")).is_some());
    }
}
