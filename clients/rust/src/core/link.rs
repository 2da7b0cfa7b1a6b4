//! The connection's states, the endpoints it is made through, and its signs of life.

use super::Millis;
use super::backoff::{Rng, full_jitter};
use crate::config::Config;
use std::sync::Arc;

/// Most endpoints learnt from the server beside the configured ones.
const MAX_LEARNT: usize = 8;
/// A connection that lasted this long was a good one: the back-off starts anew after it.
const STABLE_MS: Millis = 2_000;

/// What the shell must do about its socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Drop the socket, if there is one, and dial this address.
    Open(Arc<str>),
    /// Drop the socket.
    Close,
}

/// Where the connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The next attempt comes at `until`.
    Waiting { until: Millis },
    /// Dialling and upgrading.
    Opening { deadline: Millis },
    /// Open; `Hello` is said (or about to be), `Welcome` is not here yet.
    Greeting { deadline: Millis, said: bool },
    /// Welcomed.
    Up { since: Millis },
    /// The token is no longer good; waits for a fresh one.
    NeedToken,
    /// Closed for good.
    Closed,
}

/// The connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) state: State,
    pub(super) order: Option<Order>,
    config: Arc<Config>,
    learnt: Vec<Arc<str>>,
    next: usize,
    attempt: u32,
    heartbeat_ms: Millis,
    last_sent: Millis,
    last_ping: Millis,
    /// When the first beat of this connection comes, until it came.
    first_ping: Option<Millis>,
    last_heard: Millis,
    /// When to leave a draining node.
    drain_at: Option<Millis>,
}

impl Link {
    pub(super) fn new(config: Arc<Config>, now: Millis) -> Self {
        Self {
            state: State::Waiting { until: now },
            order: None,
            config,
            learnt: Vec::new(),
            next: 0,
            attempt: 0,
            heartbeat_ms: Millis::MAX / 8,
            last_sent: now,
            last_ping: now,
            first_ping: None,
            last_heard: now,
            drain_at: None,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    /// Remembers addresses that the server named.
    pub(super) fn learn(&mut self, addresses: &[String]) {
        for address in addresses {
            let known = self.config.endpoints.iter().any(|e| e == address)
                || self.learnt.iter().any(|e| **e == **address);
            if !known && self.learnt.len() < MAX_LEARNT {
                self.learnt.push(address.as_str().into());
            }
        }
    }

    /// The next address in turn; none when there is none at all.
    fn rotate(&mut self) -> Option<Arc<str>> {
        let configured = self.config.endpoints.len();
        let at = self.next % (configured + self.learnt.len()).max(1);
        self.next = at + 1;
        match self.config.endpoints.get(at) {
            Some(address) => Some(address.as_str().into()),
            None => self.learnt.get(at - configured).cloned(),
        }
    }

    /// Dials when it is time to.
    pub(super) fn open_if_due(&mut self, now: Millis) {
        if let State::Waiting { until } = self.state
            && now >= until
            && let Some(address) = self.rotate()
        {
            self.order = Some(Order::Open(address));
            self.state = State::Opening { deadline: now + self.config.connect_timeout_ms };
        }
    }

    pub(super) fn opened(&mut self, now: Millis) {
        if let State::Opening { deadline } = self.state {
            self.state = State::Greeting { deadline, said: false };
            self.last_heard = now;
        }
    }

    pub(super) fn welcomed(&mut self, now: Millis, heartbeat_ms: u32, rng: &mut Rng) {
        self.state = State::Up { since: now };
        self.drain_at = None;
        self.heartbeat_ms = Millis::from(heartbeat_ms.max(100));
        self.last_heard = now;
        // The first beat comes at a random part of the interval, so that a crowd that connected
        // together does not beat together.
        self.first_ping = Some(now + rng.up_to(self.heartbeat_ms));
        self.last_sent = now;
        self.last_ping = now;
        // Stay where the welcome came from when the connection breaks.
        self.next = self.next.saturating_sub(1);
    }

    /// The connection is gone; returns the delay before the next attempt.
    pub(super) fn lost(&mut self, now: Millis, at_least: Millis, rng: &mut Rng) -> Millis {
        if let State::Up { since } = self.state
            && now >= since + STABLE_MS
        {
            self.attempt = 0;
        }
        let (base, max) = (self.config.backoff_base_ms, self.config.backoff_max_ms);
        let delay = full_jitter(rng, self.attempt, base, max).max(at_least);
        self.attempt = self.attempt.saturating_add(1);
        self.state = State::Waiting { until: now + delay };
        self.drain_at = None;
        delay
    }

    /// Leave for another node after `after_ms`.
    pub(super) fn drain(&mut self, now: Millis, after_ms: u32, alternates: &[String]) {
        self.learn(alternates);
        self.drain_at = Some(now + Millis::from(after_ms));
        // The node that drains is the one that `next` points at.
        self.next += 1;
    }

    pub(super) fn drain_due(&self, now: Millis) -> bool {
        self.is_up() && self.drain_at.is_some_and(|at| now >= at)
    }

    pub(super) fn heard(&mut self, now: Millis) {
        self.last_heard = now;
    }

    pub(super) fn sent(&mut self, now: Millis) {
        self.last_sent = now;
    }

    pub(super) fn pinged(&mut self, now: Millis) {
        self.last_ping = now;
        self.first_ping = None;
    }

    /// A ping goes out when nothing else did for a beat, so that the server knows us alive, and
    /// when nothing came for a beat, so that its answer tells us about the server.
    fn ping_at(&self) -> Millis {
        let quiet_since = self.last_sent.min(self.last_heard.max(self.last_ping));
        self.first_ping.unwrap_or(quiet_since + self.heartbeat_ms)
    }

    pub(super) fn ping_due(&self, now: Millis) -> bool {
        self.is_up() && now >= self.ping_at()
    }

    /// Why the connection must be given up now, if it must.
    pub(super) fn overdue(&self, now: Millis) -> Option<&'static str> {
        match self.state {
            State::Opening { deadline } if now >= deadline => Some("no connection in time"),
            State::Greeting { deadline, .. } if now >= deadline => Some("no welcome in time"),
            State::Up { .. } if now >= self.silent_at() => Some("the server is silent"),
            _ => None,
        }
    }

    /// Every beat is answered: three without an answer mean that the connection is dead.
    fn silent_at(&self) -> Millis {
        self.last_heard + 3 * self.heartbeat_ms
    }

    pub(super) fn deadline(&self) -> Option<Millis> {
        match self.state {
            State::Waiting { until } => Some(until),
            State::Opening { deadline } => Some(deadline),
            State::Greeting { said: false, .. } => Some(0),
            State::Greeting { deadline, .. } => Some(deadline),
            State::Up { .. } => {
                super::earliest(Some(self.ping_at().min(self.silent_at())), self.drain_at)
            }
            State::NeedToken | State::Closed => None,
        }
    }
}
