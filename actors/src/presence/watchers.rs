//! Who watches the user, and what they are told: as much as the user's settings and blocks let them
//! see, and nothing before these are known. Pure.

use super::{AWAY_MS, LastSeen, Presence, RETRY_MS, TOKEN_LAST_SEEN, TOKEN_SIGHT};
use crate::effect::{Effect, Query};
use crate::message::{Envelope, SessionMsg, SessionRef};
use crate::people::{PeopleAnswer, PeopleQuery};
use crate::time::Now;
use rookery_protocol::Status;
use rookery_store::{Sight, StoreError};

/// Most watchers of one user; more are not told.
const MAX_WATCHERS: usize = 100_000;

/// What is known of who may see what.
#[derive(Default)]
pub(super) struct Eyes {
    known: Option<Box<Sight>>,
    /// An answer is awaited.
    asked: bool,
    /// It will be old news: something changed since the question.
    stale: bool,
}

impl Presence {
    pub(super) fn watch(&mut self, watcher: SessionRef, out: &mut Vec<Effect>) {
        if self.watchers.len() >= MAX_WATCHERS && !self.watchers.contains(&watcher) {
            return;
        }
        self.watchers.insert(watcher);
        self.curious.insert(watcher);
        self.ask_what_is_unknown(out);
        self.satisfy(out);
    }

    /// Asks the store for what the watchers wait for.
    pub(super) fn ask_what_is_unknown(&mut self, out: &mut Vec<Effect>) {
        if self.watchers.is_empty() {
            return;
        }
        if self.sessions.is_empty() && matches!(self.last_seen, LastSeen::Unknown) {
            self.last_seen = LastSeen::Asked;
            let query = Box::new(Query::LastSeen(self.user));
            out.push(Effect::Query { token: TOKEN_LAST_SEEN, query });
        }
        if self.eyes.known.is_none() {
            self.ask_sight(out);
        }
    }

    /// Settings, contacts or blocks may be different now.
    pub(super) fn look_again(&mut self, out: &mut Vec<Effect>) {
        if self.eyes.asked {
            self.eyes.stale = true;
        } else if self.watchers.is_empty() {
            // Asked for when somebody watches.
            self.eyes.known = None;
        } else {
            self.ask_sight(out);
        }
    }

    fn ask_sight(&mut self, out: &mut Vec<Effect>) {
        if !self.eyes.asked {
            self.eyes.asked = true;
            let query = Query::People { me: self.user, query: PeopleQuery::Sight };
            out.push(Effect::Query { token: TOKEN_SIGHT, query: Box::new(query) });
        }
    }

    pub(super) fn sight_read(
        &mut self,
        now: Now,
        answer: Result<PeopleAnswer, StoreError>,
        out: &mut Vec<Effect>,
    ) {
        self.eyes.asked = false;
        let stale = std::mem::take(&mut self.eyes.stale);
        match answer {
            Ok(PeopleAnswer::Sight(sight)) => {
                let before = self.eyes.known.replace(Box::new(sight));
                if before.is_some() && before != self.eyes.known {
                    self.curious.extend(&self.watchers);
                }
            }
            // Until it is known nobody is told anything that may be hidden.
            _ => {
                self.eyes.known = None;
                self.arm(now.mono_ms + RETRY_MS, out);
            }
        }
        if stale {
            self.ask_sight(out);
        }
        self.satisfy(out);
    }

    pub(super) fn last_seen_read(&mut self, seen: Option<u64>, out: &mut Vec<Effect>) {
        if matches!(self.last_seen, LastSeen::Asked) {
            self.last_seen = LastSeen::Known(seen.unwrap_or(0));
        }
        self.satisfy(out);
    }

    /// Tells the watchers of a change of status. Between online and away it may wait for the next.
    pub(super) fn tell_change(&mut self, now: Now, out: &mut Vec<Effect>) {
        let status = self.status();
        if status == self.told {
            return;
        }
        let due_ms = self.told_ms + AWAY_MS;
        let by_choice = status != Status::Offline && self.told != Status::Offline;
        if by_choice && now.mono_ms < due_ms {
            return self.arm(due_ms, out);
        }
        (self.told, self.told_ms) = (status, now.mono_ms);
        self.curious.extend(&self.watchers);
        self.satisfy(out);
    }

    /// Tells those who wait, if what they may see is known.
    fn satisfy(&mut self, out: &mut Vec<Effect>) {
        let unseen = matches!(self.last_seen, LastSeen::Unknown | LastSeen::Asked);
        if self.eyes.known.is_none() || (self.sessions.is_empty() && unseen) {
            return;
        }
        for watcher in std::mem::take(&mut self.curious) {
            self.tell_watcher(watcher, out);
        }
    }

    fn tell_watcher(&self, watcher: SessionRef, out: &mut Vec<Effect>) {
        let Some(sight) = &self.eyes.known else { return };
        let own = watcher.user == self.user;
        let status = match own || sight.shows_presence(watcher.user) {
            true => self.told,
            false => Status::Offline,
        };
        let last_seen_ms = match self.last_seen {
            _ if status != Status::Offline => 0,
            LastSeen::Known(ms) | LastSeen::Dirty(ms, _)
                if own || sight.shows_last_seen(watcher.user) =>
            {
                ms
            }
            _ => 0,
        };
        let msg = SessionMsg::Presence { user: self.user, status, last_seen_ms };
        out.push(Effect::Tell(Envelope::Session(watcher, msg)));
    }
}
