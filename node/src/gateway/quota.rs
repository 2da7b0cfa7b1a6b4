//! How often a user may do what costs others something: send, open conversations, change lists,
//! report, search. A token bucket for each kind, over all of the user's devices on this node.
//!
//! A bucket outlives its user's connections until it is full again, so that a new connection brings
//! no new tokens. What has a full bucket is forgotten: memory is bounded by the connections there are
//! and by what was spent of late.

use rookery_cluster_config::{Limits, Rate};
use rookery_protocol::{ClientFrame, UserId};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Entries from which on the full ones are looked for, as soon as there are twice as many as were
/// kept the last time.
const SWEEP_FROM: usize = 1_024;

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A message.
    Send,
    /// A conversation found or opened by a name, or users found: it also finds out names.
    Open,
    /// A change of the user's own things.
    Change,
    /// A report.
    Report,
    /// A page of a search.
    Search,
}

/// How many kinds there are.
pub(crate) const KINDS: usize = 5;

/// What a frame counts as; `None`: it is not limited.
pub(crate) fn kind_of(frame: &ClientFrame) -> Option<Kind> {
    match frame {
        ClientFrame::Send(_) => Some(Kind::Send),
        ClientFrame::OpenDirect(_) | ClientFrame::FindUsers(_) => Some(Kind::Open),
        ClientFrame::SetContact(_)
        | ClientFrame::SetBlocked(_)
        | ClientFrame::SetOwnState(_)
        | ClientFrame::SetPrivacy(_)
        | ClientFrame::NameDevice(_)
        | ClientFrame::RevokeDevice(_) => Some(Kind::Change),
        ClientFrame::Report(_) => Some(Kind::Report),
        _ => None,
    }
}

/// A bucket's measures, in microseconds.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Time in which it gains a token; 0: it has no bottom.
    interval: u64,
    /// Time in which it fills.
    depth: u64,
}

impl From<Rate> for Bucket {
    fn from(Rate { per_hour, burst }: Rate) -> Self {
        const HOUR: u64 = 3_600_000_000;
        let interval = HOUR.checked_div(per_hour).unwrap_or(0);
        Self { interval, depth: interval.saturating_mul(burst.max(1)) }
    }
}

/// The buckets of one user: when each will be full again, microseconds.
#[derive(Debug, Default)]
pub(crate) struct Quota([AtomicU64; KINDS]);

impl Quota {
    /// Takes a token; or the time until there is one, in microseconds. A token moves the time at
    /// which the bucket is full one interval away, and that may lie no farther than its depth.
    fn take(&self, kind: Kind, bucket: Bucket, now: u64) -> Result<(), u64> {
        let Some(full_at) = self.0.get(kind as usize) else { return Ok(()) };
        // Under a limit that was loosened since, nobody waits for what a stricter one took.
        full_at.fetch_min(now.saturating_add(bucket.depth), Ordering::Relaxed);
        let after = |full_at: u64| full_at.max(now).saturating_add(bucket.interval);
        let fits = |full_at: u64| after(full_at) - now <= bucket.depth;
        let taken = full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
            fits(full_at).then(|| after(full_at))
        });
        taken.map(drop).map_err(|full_at| after(full_at) - now - bucket.depth)
    }

    fn is_full(&self, now: u64) -> bool {
        self.0.iter().all(|full_at| full_at.load(Ordering::Relaxed) <= now)
    }
}

/// A bucket's measures, which operators change while they are in use. One that is half changed is
/// of no consequence.
#[derive(Debug, Default)]
struct Measures {
    interval: AtomicU64,
    depth: AtomicU64,
}

impl Measures {
    fn set(&self, Bucket { interval, depth }: Bucket) {
        self.interval.store(interval, Ordering::Relaxed);
        self.depth.store(depth, Ordering::Relaxed);
    }

    fn bucket(&self) -> Bucket {
        let (interval, depth) = (&self.interval, &self.depth);
        let interval = interval.load(Ordering::Relaxed);
        Bucket { interval, depth: depth.load(Ordering::Relaxed).max(interval) }
    }
}

/// The buckets of all users of the node.
#[derive(Debug)]
pub(crate) struct Quotas {
    measures: [Measures; KINDS],
    users: Mutex<Users>,
}

#[derive(Debug)]
struct Users {
    quotas: HashMap<UserId, Arc<Quota>>,
    sweep_at: usize,
}

impl Quotas {
    pub(crate) fn new(limits: &Limits) -> Self {
        let users = Users { quotas: HashMap::new(), sweep_at: SWEEP_FROM };
        let quotas = Self { measures: Default::default(), users: Mutex::new(users) };
        let Limits { sends, opens, changes, reports, searches, .. } = *limits;
        quotas.set([sends, opens, changes, reports, searches]);
        quotas
    }

    /// From now on these rates hold: of sends, opens, changes, reports, searches. What was taken
    /// stays taken.
    pub(crate) fn set(&self, rates: [Rate; KINDS]) {
        for (measures, rate) in self.measures.iter().zip(rates) {
            measures.set(rate.into());
        }
    }

    /// The buckets of a user.
    pub(crate) fn of(&self, user: UserId, now_ms: u64) -> Arc<Quota> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if users.quotas.len() >= users.sweep_at {
            let now = now_ms.saturating_mul(1_000);
            users.quotas.retain(|_, quota| Arc::strong_count(quota) > 1 || !quota.is_full(now));
            users.sweep_at = (2 * users.quotas.len()).max(SWEEP_FROM);
        }
        Arc::clone(users.quotas.entry(user).or_default())
    }

    /// Whether this kind is limited at all.
    pub(crate) fn limits(&self, kind: Kind) -> bool {
        self.measures.get(kind as usize).is_some_and(|measures| measures.bucket().interval > 0)
    }

    /// Takes a token of a user; or the milliseconds until there is one.
    pub(crate) fn take(&self, quota: &Quota, kind: Kind, now_ms: u64) -> Result<(), u32> {
        let Some(measures) = self.measures.get(kind as usize) else { return Ok(()) };
        let wait = quota.take(kind, measures.bucket(), now_ms.saturating_mul(1_000));
        wait.map_err(|us| u32::try_from(us.div_ceil(1_000)).unwrap_or(u32::MAX).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: UserId = UserId(1);

    fn quotas(per_hour: u64, burst: u64) -> Quotas {
        Quotas::new(&Limits { sends: Rate { per_hour, burst }, ..Limits::default() })
    }

    fn taken(quotas: &Quotas, user: UserId, now_ms: u64, tries: usize) -> usize {
        let quota = quotas.of(user, now_ms);
        (0..tries).filter(|_| quotas.take(&quota, Kind::Send, now_ms).is_ok()).count()
    }

    #[test]
    fn a_user_has_a_burst_and_then_a_rate_over_all_connections() {
        let quotas = quotas(3_600, 5);
        assert_eq!(taken(&quotas, USER, 1_000, 9), 5);
        let quota = quotas.of(USER, 1_000);
        assert_eq!(quotas.take(&quota, Kind::Send, 1_000), Err(1_000));
        assert_eq!(quotas.take(&quota, Kind::Send, 1_500), Err(500));
        assert_eq!(taken(&quotas, USER, 4_000, 9), 3);
        assert_eq!(taken(&quotas, UserId(2), 4_000, 9), 5, "others spend their own");
        assert_eq!(taken(&quotas, USER, 3_600_000, 99), 5, "no more than a burst is saved");
    }

    #[test]
    fn kinds_are_apart_and_some_frames_count_as_none() {
        let quotas = quotas(3_600, 2);
        let quota = quotas.of(USER, 0);
        assert_eq!(taken(&quotas, USER, 0, 9), 2);
        assert!(quotas.take(&quota, Kind::Report, 0).is_ok());
        let ping = rookery_protocol::client::Ping { nonce: 1 };
        assert_eq!(kind_of(&ping.into()), None);
    }

    #[test]
    fn without_a_rate_there_is_no_limit() {
        let quotas = quotas(0, 1);
        assert!(!quotas.limits(Kind::Send));
        assert!(quotas.limits(Kind::Open));
        assert_eq!(taken(&quotas, USER, 0, 10_000), 10_000);
    }

    #[test]
    fn a_changed_rate_holds_at_once_and_nobody_waits_for_what_a_stricter_one_took() {
        let quotas = quotas(1, 3);
        assert_eq!(taken(&quotas, USER, 0, 9), 3);
        let set = |per_hour, burst| {
            let Limits { opens, changes, reports, searches, .. } = Limits::default();
            quotas.set([Rate { per_hour, burst }, opens, changes, reports, searches]);
        };
        set(3_600, 5);
        let quota = quotas.of(USER, 0);
        assert_eq!(quotas.take(&quota, Kind::Send, 0), Err(1_000));
        assert_eq!(taken(&quotas, USER, 2_000, 9), 2);
        set(0, 1);
        assert_eq!(taken(&quotas, USER, 2_000, 999), 999);
        set(3_600, 1);
        assert_eq!(taken(&quotas, UserId(2), 2_000, 9), 1);
    }

    #[test]
    fn who_is_gone_and_has_spent_nothing_is_forgotten_and_nobody_else() {
        let quotas = quotas(3_600, 5);
        let here = quotas.of(UserId(0), 0);
        taken(&quotas, UserId(1), 0, 3);
        for user in 2..5_000 {
            drop(quotas.of(UserId(user), 0));
        }
        let kept = quotas.users.lock().unwrap().quotas.len();
        assert!(kept <= SWEEP_FROM, "{kept}");
        assert_eq!(taken(&quotas, UserId(1), 0, 9), 2);
        assert!(Arc::ptr_eq(&here, &quotas.of(UserId(0), 0)));
    }
}
