//! A user's presence hub: it knows the user's sessions, and who watches the user. Pure.
//!
//! It holds nothing that can't be rebuilt: sessions register again when they hear that it was
//! lost (and every minute), watchers too. Only "last seen" is stored.
//!
//! Safety
//! - A user shows as offline only when no session is left, that is after the grace time of the last
//!   one or when it left on purpose; as away only when every session is.
//! - A watcher is told what the user's settings and blocks let it see, and nothing before they are
//!   known (`watchers`).
//!
//! Liveness: every watcher hears each change of status; of those between online and away that come
//! quickly after each other, the last.

use crate::cluster::NodeId;
mod watchers;

use crate::effect::{Effect, QueryResult};
use crate::message::{Envelope, PresenceMsg, SessionMsg, SessionRef};
use crate::time::Now;
use rookery_protocol::{CloseCode, SessionId, Status, UserId};
use rookery_store::{Outcome, Plan};
use std::collections::BTreeSet;
use std::sync::Arc;
use watchers::Eyes;

/// Most sessions of one user; the oldest makes room.
const MAX_SESSIONS: usize = 32;
/// A session that hasn't registered for this long is taken for gone.
const LEASE_MS: u64 = 180_000;
/// A session whose node is gone is taken for gone after this, unless its client comes back.
const GONE_MS: u64 = 30_000;
/// How often the leases are looked at.
const CHECK_MS: u64 = 60_000;
/// Last seen is written again after this, when the store refused it.
const RETRY_MS: u64 = 2_000;

/// Changes between online and away are told at most this often.
const AWAY_MS: u64 = 2_000;

const TOKEN_LAST_SEEN: u64 = 0;
const TOKEN_SIGHT: u64 = 1;

struct Registered {
    session: SessionId,
    node: NodeId,
    /// Taken for gone at this time, unless it registers again.
    left_ms: u64,
    away: bool,
}

/// The state of one user's hub.
pub struct Presence {
    user: UserId,
    sessions: Vec<Registered>,
    watchers: BTreeSet<SessionRef>,
    /// Watchers to be told once it is known what they may see.
    curious: BTreeSet<SessionRef>,
    eyes: Eyes,
    last_seen: LastSeen,
    /// What the watchers were told, and when.
    told: Status,
    told_ms: u64,
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
            curious: BTreeSet::new(),
            eyes: Eyes::default(),
            last_seen: LastSeen::Unknown,
            told: Status::Offline,
            told_ms: 0,
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
                self.unregister(now, session, last_seen_ms, out);
            }
            PresenceMsg::Away { session, away } => self.set_away(now, session, away, out),
            PresenceMsg::Watch(watcher) => self.watch(watcher, out),
            PresenceMsg::Unwatch(watcher) => {
                self.watchers.remove(&watcher);
                self.curious.remove(&watcher);
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
            PresenceMsg::HintsLost => {
                self.tell_sessions(|| SessionMsg::HintsLost, out);
                // One of them may have told that the settings changed.
                self.look_again(out);
            }
            PresenceMsg::Own => {
                self.tell_sessions(|| SessionMsg::Own, out);
                self.look_again(out);
            }
            PresenceMsg::HandOff => {
                // Sessions and watchers tell the new home by themselves; nobody went offline.
                self.sessions.clear();
                self.watchers.clear();
                self.curious.clear();
            }
            PresenceMsg::NodesGone(nodes) => self.nodes_gone(now, &nodes, out),
            PresenceMsg::Answer(_, QueryResult::LastSeen(answer)) => {
                self.last_seen_read(answer.ok().flatten(), out);
            }
            PresenceMsg::Answer(_, QueryResult::People(answer)) => {
                self.sight_read(now, answer, out)
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
        match self.sessions.iter().all(|known| known.away) {
            _ if self.sessions.is_empty() => Status::Offline,
            true => Status::Away,
            false => Status::Online,
        }
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
        let left_ms = now.mono_ms + LEASE_MS;
        self.sessions.push(Registered { session, node, left_ms, away: false });
        self.tell_change(now, out);
        self.arm(now.mono_ms + CHECK_MS, out);
    }

    fn unregister(
        &mut self,
        now: Now,
        session: SessionId,
        last_seen_ms: u64,
        out: &mut Vec<Effect>,
    ) {
        let before = self.sessions.len();
        self.sessions.retain(|known| known.session != session);
        if before > 0 && self.sessions.is_empty() {
            self.went_offline(now, last_seen_ms, out);
        } else {
            self.tell_change(now, out);
        }
    }

    fn set_away(&mut self, now: Now, session: SessionId, away: bool, out: &mut Vec<Effect>) {
        if let Some(known) = self.sessions.iter_mut().find(|known| known.session == session) {
            known.away = away;
            self.tell_change(now, out);
        }
    }

    fn went_offline(&mut self, now: Now, last_seen_ms: u64, out: &mut Vec<Effect>) {
        let known = match self.last_seen {
            LastSeen::Known(ms) | LastSeen::Dirty(ms, _) => ms,
            LastSeen::Unknown | LastSeen::Asked => 0,
        };
        let writing = matches!(self.last_seen, LastSeen::Dirty(_, true));
        self.last_seen = LastSeen::Dirty(last_seen_ms.max(known), writing);
        self.tell_change(now, out);
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
            self.went_offline(now, now.unix_ms.saturating_sub(LEASE_MS), out);
        }
        self.tell_change(now, out);
        self.ask_what_is_unknown(out);
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
mod tests;
