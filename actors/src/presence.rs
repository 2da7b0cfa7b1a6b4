//! A user's presence hub: it knows the user's sessions, and who watches the user. Pure.
//!
//! It holds nothing that can't be rebuilt: sessions register again when they hear that it was
//! lost (and every minute), watchers too. Only "last seen" is stored.
//!
//! Safety: a user shows as offline only when no session is left, that is after the grace time of
//! the last one or when it left on purpose. Liveness: every watcher hears each change of status.

use crate::cluster::NodeId;
use crate::effect::{Effect, Query, QueryResult};
use crate::message::{Envelope, PresenceMsg, SessionMsg, SessionRef};
use crate::time::Now;
use rookery_protocol::{CloseCode, SessionId, Status, UserId};
use rookery_store::{Outcome, Plan};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Most sessions of one user; the oldest makes room.
const MAX_SESSIONS: usize = 32;
/// Most watchers of one user; more are not told.
const MAX_WATCHERS: usize = 100_000;
/// A session that hasn't registered for this long is taken for gone.
const LEASE_MS: u64 = 180_000;
/// A session whose node is gone is taken for gone after this, unless its client comes back.
const GONE_MS: u64 = 30_000;
/// How often the leases are looked at.
const CHECK_MS: u64 = 60_000;
/// Last seen is written again after this, when the store refused it.
const RETRY_MS: u64 = 2_000;

const TOKEN_LAST_SEEN: u64 = 0;

struct Registered {
    session: SessionId,
    node: NodeId,
    /// Taken for gone at this time, unless it registers again.
    left_ms: u64,
}

/// The state of one user's hub.
pub struct Presence {
    user: UserId,
    sessions: Vec<Registered>,
    watchers: BTreeSet<SessionRef>,
    /// Watchers to be told once last seen is known.
    curious: Vec<SessionRef>,
    last_seen: LastSeen,
    armed_ms: Option<u64>,
}

enum LastSeen {
    Unknown,
    Asked,
    Known(u64),
    /// To be written; the bool: a write is under way.
    Dirty(u64, bool),
}

impl Presence {
    /// A hub that knows of nobody yet.
    #[must_use]
    pub fn new(user: UserId) -> Self {
        Self {
            user,
            sessions: Vec::new(),
            watchers: BTreeSet::new(),
            curious: Vec::new(),
            last_seen: LastSeen::Unknown,
            armed_ms: None,
        }
    }

    /// The names of [`Presence::state`].
    pub const STATES: &'static [&'static str] = &["p:empty", "p:watched", "p:online", "p:saving"];

    /// Its state in a word, for whoever looks on.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match (&self.last_seen, self.sessions.is_empty(), self.watchers.is_empty()) {
            (_, false, _) => "p:online",
            (LastSeen::Dirty(..), true, _) => "p:saving",
            (_, true, false) => "p:watched",
            (_, true, true) => "p:empty",
        }
    }

    /// Handles one message.
    pub fn handle(&mut self, now: Now, msg: PresenceMsg, out: &mut Vec<Effect>) {
        match msg {
            PresenceMsg::Register { session, node, device: _ } => {
                self.register(now, session, node, out);
            }
            PresenceMsg::Unregister { session, last_seen_ms } => {
                self.unregister(session, last_seen_ms, out);
            }
            PresenceMsg::Watch(watcher) => self.watch(watcher, out),
            PresenceMsg::Unwatch(watcher) => {
                self.watchers.remove(&watcher);
            }
            PresenceMsg::Deliver(batch) => {
                self.tell_sessions(|| SessionMsg::Deliver(Arc::clone(&batch)), out);
            }
            PresenceMsg::Receipts(receipts) => {
                self.tell_sessions(|| SessionMsg::Receipts(Arc::clone(&receipts)), out);
            }
            PresenceMsg::Typing { conversation, user, active } => {
                self.tell_sessions(|| SessionMsg::Typing { conversation, user, active }, out);
            }
            PresenceMsg::Changed(conversation, change) => {
                self.tell_sessions(|| SessionMsg::Changed(conversation, change), out);
            }
            PresenceMsg::HintsLost => self.tell_sessions(|| SessionMsg::HintsLost, out),
            PresenceMsg::HandOff => {
                // Sessions and watchers tell the new home by themselves; nobody went offline.
                self.sessions.clear();
                self.watchers.clear();
            }
            PresenceMsg::NodesGone(nodes) => self.nodes_gone(now, &nodes, out),
            PresenceMsg::Answer(_, QueryResult::LastSeen(answer)) => {
                self.last_seen_read(answer.ok().flatten(), out);
            }
            PresenceMsg::Answer(..) => {}
            PresenceMsg::Committed(_, outcome) => self.written(now, outcome, out),
            PresenceMsg::Wake => self.wake(now, out),
            #[cfg(feature = "poison")]
            #[expect(clippy::panic, reason = "the poison is there to panic")]
            PresenceMsg::Poison => panic!("poisoned presence"),
        }
        let idle = self.sessions.is_empty() && self.watchers.is_empty();
        if idle && !matches!(self.last_seen, LastSeen::Dirty(..)) {
            out.push(Effect::Stop);
        }
    }

    fn status(&self) -> Status {
        if self.sessions.is_empty() { Status::Offline } else { Status::Online }
    }

    fn register(&mut self, now: Now, session: SessionId, node: NodeId, out: &mut Vec<Effect>) {
        if let Some(known) = self.sessions.iter_mut().find(|known| known.session == session) {
            known.left_ms = now.mono_ms + LEASE_MS;
            return;
        }
        if self.sessions.len() >= MAX_SESSIONS {
            let oldest = self.sessions.remove(0);
            let to = self.address(&oldest);
            let end = SessionMsg::End(CloseCode::Replaced);
            out.push(Effect::Tell(Envelope::Session(to, end)));
        }
        // Most users have one device.
        self.sessions.reserve_exact(1);
        self.sessions.push(Registered { session, node, left_ms: now.mono_ms + LEASE_MS });
        if self.sessions.len() == 1 {
            self.tell_watchers(out);
        }
        self.arm(now.mono_ms + CHECK_MS, out);
    }

    fn unregister(&mut self, session: SessionId, last_seen_ms: u64, out: &mut Vec<Effect>) {
        let before = self.sessions.len();
        self.sessions.retain(|known| known.session != session);
        if before > 0 && self.sessions.is_empty() {
            self.went_offline(last_seen_ms, out);
        }
    }

    fn went_offline(&mut self, last_seen_ms: u64, out: &mut Vec<Effect>) {
        let known = match self.last_seen {
            LastSeen::Known(ms) | LastSeen::Dirty(ms, _) => ms,
            LastSeen::Unknown | LastSeen::Asked => 0,
        };
        let writing = matches!(self.last_seen, LastSeen::Dirty(_, true));
        self.last_seen = LastSeen::Dirty(last_seen_ms.max(known), writing);
        self.tell_watchers(out);
        if !writing {
            self.write_last_seen(out);
        }
    }

    fn write_last_seen(&mut self, out: &mut Vec<Effect>) {
        if let LastSeen::Dirty(ms, writing) = &mut self.last_seen {
            *writing = true;
            let plan: Plan = rookery_store::last_seen_plan(self.user, *ms);
            out.push(Effect::Commit { token: TOKEN_LAST_SEEN, plan });
        }
    }

    fn written(&mut self, now: Now, outcome: Outcome, out: &mut Vec<Effect>) {
        let LastSeen::Dirty(ms, writing) = &mut self.last_seen else { return };
        match outcome {
            Outcome::Committed { .. } => self.last_seen = LastSeen::Known(*ms),
            // It only rises: writing it once more does no harm, whatever happened.
            Outcome::Busy | Outcome::Unresolved | Outcome::Conflict | Outcome::TooLarge => {
                *writing = false;
                self.arm(now.mono_ms + RETRY_MS, out);
            }
        }
    }

    fn watch(&mut self, watcher: SessionRef, out: &mut Vec<Effect>) {
        if self.watchers.len() < MAX_WATCHERS {
            self.watchers.insert(watcher);
        }
        if self.sessions.is_empty() && matches!(self.last_seen, LastSeen::Unknown) {
            self.last_seen = LastSeen::Asked;
            let query = Box::new(Query::LastSeen(self.user));
            out.push(Effect::Query { token: TOKEN_LAST_SEEN, query });
        }
        if matches!(self.last_seen, LastSeen::Asked) && self.sessions.is_empty() {
            self.curious.push(watcher);
        } else {
            self.tell_watcher(watcher, out);
        }
    }

    fn last_seen_read(&mut self, seen: Option<u64>, out: &mut Vec<Effect>) {
        if matches!(self.last_seen, LastSeen::Asked) {
            self.last_seen = LastSeen::Known(seen.unwrap_or(0));
        }
        for watcher in std::mem::take(&mut self.curious) {
            self.tell_watcher(watcher, out);
        }
    }

    fn tell_watchers(&self, out: &mut Vec<Effect>) {
        for watcher in &self.watchers {
            self.tell_watcher(*watcher, out);
        }
    }

    fn tell_watcher(&self, watcher: SessionRef, out: &mut Vec<Effect>) {
        let status = self.status();
        let last_seen_ms = match self.last_seen {
            LastSeen::Known(ms) | LastSeen::Dirty(ms, _) if status == Status::Offline => ms,
            _ => 0,
        };
        let msg = SessionMsg::Presence { user: self.user, status, last_seen_ms };
        out.push(Effect::Tell(Envelope::Session(watcher, msg)));
    }

    fn tell_sessions(&self, msg: impl Fn() -> SessionMsg, out: &mut Vec<Effect>) {
        for known in &self.sessions {
            out.push(Effect::Tell(Envelope::Session(self.address(known), msg())));
        }
    }

    fn address(&self, known: &Registered) -> SessionRef {
        SessionRef { user: self.user, session: known.session, node: known.node }
    }

    /// Sessions of nodes that are gone get a last, short lease: their clients are on their way to
    /// other nodes, and nobody needs to see them leave and come.
    fn nodes_gone(&mut self, now: Now, nodes: &[NodeId], out: &mut Vec<Effect>) {
        self.watchers.retain(|watcher| !nodes.contains(&watcher.node));
        self.curious.retain(|watcher| !nodes.contains(&watcher.node));
        let mut left = false;
        for known in self.sessions.iter_mut().filter(|known| nodes.contains(&known.node)) {
            known.left_ms = known.left_ms.min(now.mono_ms + GONE_MS);
            left = true;
        }
        if left {
            self.arm(now.mono_ms + GONE_MS, out);
        }
    }

    fn wake(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.armed_ms = None;
        if matches!(self.last_seen, LastSeen::Dirty(_, false)) {
            self.write_last_seen(out);
        }
        let before = self.sessions.len();
        self.sessions.retain(|known| now.mono_ms < known.left_ms);
        if before > 0 && self.sessions.is_empty() {
            self.went_offline(now.unix_ms.saturating_sub(LEASE_MS), out);
        }
        if !self.sessions.is_empty() {
            self.arm(now.mono_ms + CHECK_MS, out);
        }
    }

    fn arm(&mut self, at_ms: u64, out: &mut Vec<Effect>) {
        if self.armed_ms.is_none_or(|armed| at_ms < armed) {
            self.armed_ms = Some(at_ms);
            out.push(Effect::WakeAt(at_ms));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Presence;
    use crate::cluster::NodeId;
    use crate::effect::{Effect, QueryResult};
    use crate::message::{Envelope, PresenceMsg, SessionMsg, SessionRef};
    use crate::time::Now;
    use rookery_protocol::{DeviceId, SessionId, Status, UserId};
    use rookery_store::{Outcome, Stamp, Version};

    const USER: UserId = UserId(7);
    const WATCHER: SessionRef =
        SessionRef { user: UserId(8), session: SessionId(80), node: NodeId(1) };

    struct Hub(Presence);

    impl Hub {
        fn new() -> Self {
            Self(Presence::new(USER))
        }

        /// Effects of a message, reduced to what the watcher was told and whether it stopped.
        fn on(&mut self, mono_ms: u64, msg: PresenceMsg) -> (Vec<(Status, u64)>, bool) {
            let mut out = Vec::new();
            self.0.handle(Now { mono_ms, unix_ms: 1_000_000 + mono_ms }, msg, &mut out);
            let told = out.iter().filter_map(|effect| match effect {
                Effect::Tell(Envelope::Session(
                    WATCHER,
                    SessionMsg::Presence { status, last_seen_ms, .. },
                )) => Some((*status, *last_seen_ms)),
                _ => None,
            });
            (told.collect(), out.iter().any(|effect| matches!(effect, Effect::Stop)))
        }
    }

    fn register(session: u64) -> PresenceMsg {
        PresenceMsg::Register { session: SessionId(session), node: NodeId(1), device: DeviceId(1) }
    }

    fn unregister(session: u64, last_seen_ms: u64) -> PresenceMsg {
        PresenceMsg::Unregister { session: SessionId(session), last_seen_ms }
    }

    fn committed() -> PresenceMsg {
        let (version, stamp) = (Version(1), Stamp::default());
        PresenceMsg::Committed(0, Outcome::Committed { version, stamp })
    }

    #[test]
    fn a_user_is_online_from_the_first_session_to_the_end_of_the_last() {
        let mut hub = Hub::new();
        hub.on(0, register(1));
        assert_eq!(hub.on(0, PresenceMsg::Watch(WATCHER)).0, [(Status::Online, 0)]);
        assert_eq!(hub.on(1, register(2)).0, []);
        assert_eq!(hub.on(2, unregister(1, 5)).0, []);
        assert_eq!(hub.on(3, unregister(2, 6)).0, [(Status::Offline, 6)]);
    }

    #[test]
    fn last_seen_of_an_absent_user_comes_from_the_store() {
        let mut hub = Hub::new();
        assert_eq!(hub.on(0, PresenceMsg::Watch(WATCHER)).0, []);
        let answer = PresenceMsg::Answer(0, QueryResult::LastSeen(Ok(Some(42))));
        assert_eq!(hub.on(1, answer).0, [(Status::Offline, 42)]);
    }

    #[test]
    fn an_empty_hub_stops_only_once_last_seen_is_written() {
        let mut hub = Hub::new();
        hub.on(0, register(1));
        assert!(!hub.on(1, unregister(1, 5)).1);
        assert!(!hub.on(2, PresenceMsg::Committed(0, Outcome::Busy)).1);
        assert!(!hub.on(9_000, PresenceMsg::Wake).1);
        assert!(hub.on(9_001, committed()).1);
    }

    #[test]
    fn a_session_that_stops_renewing_is_taken_for_gone() {
        let mut hub = Hub::new();
        hub.on(0, register(1));
        hub.on(0, PresenceMsg::Watch(WATCHER));
        assert_eq!(hub.on(60_000, PresenceMsg::Wake).0, []);
        assert_eq!(hub.on(200_000, PresenceMsg::Wake).0.len(), 1);
    }

    #[test]
    fn news_reaches_every_session_of_the_user() {
        let mut hub = Hub::new();
        for session in 1..=3 {
            hub.on(0, register(session));
        }
        let mut out = Vec::new();
        let typing = PresenceMsg::Typing {
            conversation: rookery_protocol::ConversationId(1),
            user: UserId(9),
            active: true,
        };
        hub.0.handle(Now { mono_ms: 1, unix_ms: 1 }, typing, &mut out);
        assert_eq!(out.len(), 3);
    }
}
