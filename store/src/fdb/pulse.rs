//! Whether the cluster answers: the circuit breaker, and when to ask for its version as a canary.
//!
//! A commit under a version of our own passes by FoundationDB's rate keeper, which throttles by
//! giving out versions slowly. So a real version is asked for regularly while there is traffic; when
//! it is late, or nothing at all is answered, new work is refused at once instead of piling up.

use std::time::{Duration, Instant};

/// Silence after which new work is refused.
pub(super) const STALL: Duration = Duration::from_millis(1_500);
/// Between two canaries while there is traffic, or while the cluster is silent.
pub(super) const CANARY: Duration = Duration::from_millis(250);

/// What is known of the cluster's answers.
#[derive(Debug)]
pub(super) struct Pulse {
    /// Since when at least one operation waits.
    waiting_since: Option<Instant>,
    last_answer: Instant,
    canary_since: Option<Instant>,
    last_canary: Instant,
    /// Whether there was traffic since the last canary.
    traffic: bool,
    stalled: bool,
}

impl Pulse {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            waiting_since: None,
            last_answer: now,
            canary_since: None,
            last_canary: now,
            traffic: false,
            stalled: false,
        }
    }

    /// An operation was sent.
    pub(super) fn sent(&mut self, now: Instant) {
        self.traffic = true;
        self.waiting_since.get_or_insert(now);
    }

    /// An operation was answered; `good` when the cluster did, rather than a time-out.
    pub(super) fn answered(&mut self, good: bool, still_waiting: bool, now: Instant) {
        if good {
            self.last_answer = now;
        }
        if !still_waiting {
            self.waiting_since = None;
        }
    }

    /// Whether a canary is to be sent now; if so it counts as sent.
    pub(super) fn canary_due(&mut self, now: Instant) -> bool {
        let due = self.canary_since.is_none()
            && (self.traffic || self.stalled)
            && now.saturating_duration_since(self.last_canary) >= CANARY;
        if due {
            self.canary_since = Some(now);
            self.last_canary = now;
            self.traffic = false;
        }
        due
    }

    /// The canary came back.
    pub(super) fn canary_back(&mut self, good: bool, now: Instant) {
        self.canary_since = None;
        if good {
            self.last_answer = now;
            self.stalled = false;
        } else {
            self.stalled = true;
        }
    }

    /// Whether new work is refused.
    pub(super) fn is_stalled(&mut self, now: Instant) -> bool {
        let silent = self.waiting_since.is_some_and(|since| {
            now.saturating_duration_since(since.max(self.last_answer)) >= STALL
        });
        let throttled =
            self.canary_since.is_some_and(|since| now.saturating_duration_since(since) >= STALL);
        // Once stalled, the canary alone says that it is over.
        self.stalled |= silent || throttled;
        self.stalled
    }

    /// When to look again at the latest.
    pub(super) fn next_look(&self, now: Instant) -> Option<Instant> {
        let watching = self.waiting_since.is_some() || self.canary_since.is_some();
        let canary = (self.traffic || self.stalled) && self.canary_since.is_none();
        (watching || canary).then(|| {
            let due = self.last_canary + CANARY;
            if canary && due > now { due } else { now + CANARY }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(100);

    #[test]
    fn silence_refuses_and_only_a_canary_ends_it() {
        let start = Instant::now();
        let mut pulse = Pulse::new(start);
        assert!(!pulse.is_stalled(start + 100 * STALL), "nothing waits");
        let sent = start + 100 * STALL;
        pulse.sent(sent);
        assert!(!pulse.is_stalled(sent + STALL - TICK));
        pulse.answered(true, true, sent + TICK);
        assert!(!pulse.is_stalled(sent + STALL), "another one was answered meanwhile");
        assert!(pulse.is_stalled(sent + STALL + TICK));
        pulse.answered(false, false, sent + 2 * STALL);
        assert!(pulse.is_stalled(sent + 2 * STALL), "a time-out is no sign of life");
        assert!(pulse.canary_due(sent + 2 * STALL));
        assert!(!pulse.canary_due(sent + 3 * STALL), "one at a time");
        pulse.canary_back(true, sent + 3 * STALL);
        assert!(!pulse.is_stalled(sent + 3 * STALL));
    }

    #[test]
    fn a_late_canary_refuses_though_commits_go_on() {
        let start = Instant::now();
        let mut pulse = Pulse::new(start);
        pulse.sent(start);
        let sent = start + CANARY;
        assert!(pulse.canary_due(sent));
        pulse.answered(true, false, sent + STALL);
        assert!(pulse.is_stalled(sent + STALL));
    }

    #[test]
    fn canaries_follow_traffic() {
        let start = Instant::now();
        let mut pulse = Pulse::new(start);
        assert!(!pulse.canary_due(start + CANARY), "no traffic");
        assert_eq!(pulse.next_look(start), None);
        pulse.sent(start);
        pulse.answered(true, false, start);
        assert!(!pulse.canary_due(start));
        assert_eq!(pulse.next_look(start), Some(start + CANARY));
        assert!(pulse.canary_due(start + CANARY));
        pulse.canary_back(true, start + CANARY);
        assert!(!pulse.canary_due(start + 2 * CANARY), "nothing since");
    }
}
