//! How old a version is, and at which newer version a guarded value was seen again.
//!
//! FoundationDB's versions rise by about a million a second, and leap after a recovery. The age
//! that is estimated here only decides whether a commit may be tried without looking first: a wrong
//! estimate costs a failed attempt, never a wrong answer.

use crate::plan::Guard;
use bytes::Bytes;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// A guard known at a version older than this is read again before the commit. The cluster
/// forgets after 5 s; what is left is for the commit itself.
pub(super) const FRESH: Duration = Duration::from_secs(4);
/// Most keys remembered; there are 4,096 fences.
const MAX_KNOWN: usize = 16_384;

/// The newest version seen, and when.
#[derive(Debug, Default)]
pub(super) struct Clock {
    seen: Option<(u64, Instant)>,
}

impl Clock {
    /// Notes a version that the cluster gave.
    pub(super) fn observe(&mut self, version: u64, now: Instant) {
        if self.seen.is_none_or(|(newest, _)| newest < version) {
            self.seen = Some((version, now));
        }
    }

    /// How old a version is; `None` before any was seen.
    pub(super) fn age(&self, version: u64, now: Instant) -> Option<Duration> {
        let (newest, at) = self.seen?;
        let since = now.saturating_duration_since(at);
        Some(Duration::from_micros(newest.saturating_sub(version)) + since)
    }

    /// The newest version, if it was seen within the time.
    pub(super) fn recent(&self, within: Duration, now: Instant) -> Option<u64> {
        let (newest, at) = self.seen?;
        (now.saturating_duration_since(at) <= within).then_some(newest)
    }
}

/// Guarded values and the newest version at which each was seen: by a commit that guarded on it,
/// or by a read. It is kept for each key, so that one look at a fence serves its whole slot.
///
/// Safety: FoundationDB commits in batches, and all transactions of a batch have one version. A
/// value that held when a commit of version `v` was decided may be overwritten by a later one of the
/// same batch, and a read version of `v` would not find that out. So what a commit shows counts for
/// `v - 1`, and so does a guard's own version, which often is a commit's.
#[derive(Debug, Default)]
pub(super) struct Known {
    rows: HashMap<Bytes, (Option<Bytes>, u64)>,
}

impl Known {
    /// Notes that `key` held `value` at `version`.
    pub(super) fn learn(&mut self, key: &Bytes, value: Option<&Bytes>, version: u64) {
        if let Some(held) = self.rows.get_mut(key) {
            if held.1 < version {
                *held = (value.cloned(), version);
            }
            return;
        }
        if self.rows.len() >= MAX_KNOWN {
            // Whatever lies further back can't save a read any more.
            let oldest = version.saturating_sub(u64::try_from(FRESH.as_micros()).unwrap_or(0));
            self.rows.retain(|_, (_, seen)| *seen >= oldest);
            if self.rows.len() >= MAX_KNOWN {
                self.rows.clear();
            }
        }
        self.rows.insert(key.clone(), (value.cloned(), version));
    }

    /// The newest version at which the guard is known to have held.
    pub(super) fn version_of(&self, guard: &Guard) -> u64 {
        let own = guard.version.0.saturating_sub(1);
        match self.rows.get(&guard.key) {
            Some((value, version)) if *value == guard.known => own.max(*version),
            _ => own,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Version;

    #[test]
    fn a_versions_age_is_its_distance_and_the_time_since() {
        let (start, mut clock) = (Instant::now(), Clock::default());
        assert_eq!(clock.age(7, start), None);
        assert_eq!(clock.recent(FRESH, start), None);
        clock.observe(10_000_000, start);
        let later = start + Duration::from_secs(1);
        assert_eq!(clock.age(10_000_000, later), Some(Duration::from_secs(1)));
        assert_eq!(clock.age(8_000_000, later), Some(Duration::from_secs(3)));
        assert_eq!(clock.age(11_000_000, start), Some(Duration::ZERO), "newer than any seen");
        clock.observe(9_000_000, later);
        assert_eq!(clock.age(10_000_000, later), Some(Duration::from_secs(1)), "an old one");
        assert_eq!(clock.recent(Duration::from_secs(1), later), Some(10_000_000));
        assert_eq!(clock.recent(Duration::from_millis(999), later), None);
    }

    #[test]
    fn a_guard_is_as_fresh_as_the_last_look_at_its_value() {
        let mut known = Known::default();
        let key = Bytes::from_static(b"f");
        let guard = |value: &'static str, version| Guard {
            key: key.clone(),
            known: Some(Bytes::from_static(value.as_bytes())),
            version: Version(version),
        };
        assert_eq!(known.version_of(&guard("a", 5)), 4, "perhaps a commit's");
        known.learn(&key, Some(&Bytes::from_static(b"a")), 9);
        assert_eq!(known.version_of(&guard("a", 5)), 9);
        assert_eq!(known.version_of(&guard("a", 12)), 11);
        assert_eq!(known.version_of(&guard("b", 5)), 4, "another value was seen");
        known.learn(&key, None, 7);
        assert_eq!(known.version_of(&guard("a", 5)), 9, "what is older teaches nothing");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut known = Known::default();
        for at in 0..3 * MAX_KNOWN as u64 {
            known.learn(&Bytes::copy_from_slice(&at.to_be_bytes()), None, at);
        }
        assert!(known.rows.len() <= MAX_KNOWN);
    }
}
