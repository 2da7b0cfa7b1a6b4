//! A host: the virtual actors of one kind in one shard, and the rules by which they are told, lost,
//! woken and fenced. Pure: what is to be done outside goes to an [`Outlet`].
//!
//! The shell runs a host in a ractor actor; a simulation runs many in one thread.
//!
//! Safety
//! - An answer or an outcome reaches the activation that asked, or nobody: an actor that was
//!   dropped and made anew never takes its predecessor's for its own.
//! - A handler that panics costs its own actor, nobody else, and none of its effects are performed.
//! - A conversation that went without finishing keeps its successor waiting until every plan of it is
//!   known, so that an append still under way can't share places with the successor's (`orphans`).

mod kind;
mod line;
mod orphans;

pub use kind::{Conversations, Kind, Presences, Sessions};
pub use line::{Attached, Line};

use crate::cluster::View;
use crate::effect::{ConnId, Effect, Query, QueryResult};
use crate::fences::{Fences, Need};
use crate::message::Envelope;
use crate::session::Settings;
use crate::time::Now;
use orphans::Orphans;
use rookery_protocol::{CloseCode, Cursor, UserId};
use rookery_store::{Outcome, Plan, Slot, TakeOver, slot_of};
use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// More panics of one actor than this within [`PANIC_WINDOW_MS`] make it pause.
const MAX_PANICS: u32 = 5;
const PANIC_WINDOW_MS: u64 = 10_000;
/// Actors for which there always is room.
const KEPT: usize = 1_024;
/// Longest pause of an actor that keeps panicking.
const MAX_PAUSE_MS: u64 = 30_000;

/// Where an answer goes: an actor, which of its activations, and the token of its question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyTo<A> {
    /// The actor's address.
    pub key: A,
    /// Which of its activations asked.
    pub activation: u64,
    /// Which question or plan it was.
    pub token: u64,
}

/// A question after news: who asks, whose inbox, after what.
pub type Check<A> = (ReplyTo<A>, (UserId, Cursor));

/// What a host wants done outside of it.
pub trait Outlet<K: Kind> {
    /// Tell a virtual actor, of this host or another.
    fn tell(&mut self, envelope: Envelope);
    /// Commit a plan; answered by [`Host::committed`].
    fn commit(&mut self, to: ReplyTo<K::Key>, plan: Plan);
    /// Ask the store; answered by [`Host::answered`].
    fn ask(&mut self, to: ReplyTo<K::Key>, query: Query);
    /// Ask [`Query::News`] for many; who has none needs no answer.
    fn check(&mut self, asked: Vec<Check<K::Key>>) {
        for (to, (user, after)) in asked {
            self.ask(to, Query::News { user, after });
        }
    }
    /// Whether this node is the one to work for a slot, as far as it knows.
    fn may_own(&self, slot: Slot) -> bool;
    /// Take a slot over; answered by [`Host::taken`].
    fn take_over(&mut self, slot: Slot);
    /// Give the actor this message, but not before the handler under way has returned.
    fn later(&mut self, key: K::Key, msg: K::Msg);
    /// A message found no actor that could take it.
    fn dropped(&mut self);
    /// An actor was lost in a panic.
    fn lost(&mut self, key: K::Key);
}

struct Hosted<K: Kind, L: Line> {
    actor: K::Actor,
    activation: u64,
    wake_at: Option<u64>,
    lines: Vec<Attached<L>>,
    /// Plans whose outcome is not known yet.
    plans: u32,
}

#[derive(Default)]
struct Panics {
    count: u32,
    since_ms: u64,
    pause_until_ms: u64,
}

/// See the module.
pub struct Host<K: Kind, L: Line> {
    settings: Arc<Settings>,
    /// Boxed: a table is half empty after it grew, and empty places should cost a pointer.
    hosted: HashMap<K::Key, Box<Hosted<K, L>>>,
    next_activation: u64,
    fences: Fences,
    timers: BTreeSet<(u64, K::Key)>,
    panics: HashMap<K::Key, Panics>,
    orphans: Orphans<K::Key>,
    /// What is to be asked for many together, at the end of a tick.
    checks: Vec<Check<K::Key>>,
    /// Of the message being handled; kept for its memory.
    effects: Vec<Effect>,
}

impl<K: Kind, L: Line> Host<K, L> {
    /// A host of nobody. `first_activation` is such that the activations of an earlier life of the
    /// shard can't be taken for this one's: random, or counted on.
    #[must_use]
    pub fn new(settings: &Arc<Settings>, first_activation: u64) -> Self {
        Self {
            settings: Arc::clone(settings),
            hosted: HashMap::new(),
            next_activation: first_activation,
            fences: Fences::default(),
            timers: BTreeSet::new(),
            panics: HashMap::new(),
            orphans: Orphans::default(),
            checks: Vec::new(),
            effects: Vec::new(),
        }
    }

    /// How many actors are there.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hosted.len()
    }

    /// Whether nobody is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hosted.is_empty()
    }

    /// An actor, if it is there.
    #[must_use]
    pub fn actor(&self, key: K::Key) -> Option<&K::Actor> {
        self.hosted.get(&key).map(|hosted| &hosted.actor)
    }

    /// Who is there, by rising address: the order of a hash map would make runs differ.
    #[must_use]
    pub fn keys(&self) -> Vec<K::Key> {
        let mut keys: Vec<K::Key> = self.hosted.keys().copied().collect();
        keys.sort_unstable();
        keys
    }

    /// A message for an actor, with the connection it speaks of if there is one.
    pub fn tell(
        &mut self,
        now: Now,
        key: K::Key,
        msg: K::Msg,
        line: Option<L>,
        out: &mut impl Outlet<K>,
    ) {
        if !self.hosted.contains_key(&key) {
            if !K::activates(&msg) || self.is_paused(key, now) {
                out.dropped();
                if let Some(line) = line {
                    line.close(CloseCode::Internal);
                }
                if let Some(answer) = K::refused(msg) {
                    out.tell(answer);
                }
                return;
            }
            self.next_activation += 1;
            let hosted = Hosted {
                actor: K::create(key, &self.settings),
                activation: self.next_activation,
                wake_at: None,
                lines: Vec::new(),
                plans: 0,
            };
            self.hosted.insert(key, Box::new(hosted));
        }
        let Some(hosted) = self.hosted.get_mut(&key) else { return };
        if let Some(line) = line {
            hosted.lines.reserve_exact(1);
            hosted.lines.push(Attached::new(line));
        }
        let mut effects = std::mem::take(&mut self.effects);
        let actor = &mut hosted.actor;
        // The actor is dropped when its handler panics, so nobody sees it half changed.
        let handled = catch_unwind(AssertUnwindSafe(|| K::handle(actor, now, msg, &mut effects)));
        if handled.is_ok() {
            for effect in effects.drain(..) {
                self.perform(key, effect, out);
            }
        } else {
            effects.clear();
            self.lose(now, key, out);
        }
        self.effects = effects;
    }

    /// The answer to a question.
    pub fn answered(
        &mut self,
        now: Now,
        to: ReplyTo<K::Key>,
        result: QueryResult,
        out: &mut impl Outlet<K>,
    ) {
        if self.is_live(to) {
            self.tell(now, to.key, K::answer(to.token, result), None, out);
        }
    }

    /// What became of a plan.
    pub fn committed(
        &mut self,
        now: Now,
        to: ReplyTo<K::Key>,
        outcome: Outcome,
        out: &mut impl Outlet<K>,
    ) {
        match self.hosted.get_mut(&to.key) {
            Some(hosted) if hosted.activation == to.activation => {
                hosted.plans = hosted.plans.saturating_sub(1);
                if let Some(msg) = K::committed(to.token, outcome) {
                    self.tell(now, to.key, msg, None, out);
                }
            }
            _ => self.orphan_known(to, outcome, out),
        }
    }

    /// What became of a plan whose actor is not there any more.
    fn orphan_known(&mut self, to: ReplyTo<K::Key>, outcome: Outcome, out: &mut impl Outlet<K>) {
        let Some(settled) = self.orphans.known(to.key, to.activation, &outcome) else { return };
        if settled.unresolved
            && let Some(conversation) = K::conversation(to.key)
        {
            self.fences.doubt(slot_of(conversation));
        }
        if let Some(slot) = settled.waiting {
            self.need_fence(to.key, slot, out);
        }
    }

    /// A take-over of a slot ended.
    pub fn taken(&mut self, now: Now, slot: Slot, result: TakeOver, out: &mut impl Outlet<K>) {
        let (waiting, fence) = self.fences.taken(slot, result);
        for conversation in waiting {
            if let (Some(key), Some(msg)) = (K::key_of(conversation), K::fenced(fence.clone())) {
                self.tell(now, key, msg, None, out);
            }
        }
    }

    /// A message for every actor that the function gives one.
    pub fn each(
        &mut self,
        now: Now,
        choose: impl Fn(K::Key, &K::Actor) -> Option<K::Msg>,
        out: &mut impl Outlet<K>,
    ) {
        let mut chosen: Vec<(K::Key, K::Msg)> = self
            .hosted
            .iter()
            .filter_map(|(key, hosted)| Some((*key, choose(*key, &hosted.actor)?)))
            .collect();
        chosen.sort_unstable_by_key(|(key, _)| *key);
        for (key, msg) in chosen {
            self.tell(now, key, msg, None, out);
        }
    }

    /// The members of the cluster changed: what belongs to another node now is handed off.
    pub fn placed(&mut self, now: Now, view: &View, out: &mut impl Outlet<K>) {
        self.fences.keep(|slot| view.owns(slot));
        self.each(now, |key, _| K::placed(key, view), out);
    }

    /// When [`Host::tick`] is due, monotonic milliseconds.
    #[must_use]
    pub fn next_tick(&self) -> Option<u64> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Wakes the actors whose time has come.
    pub fn tick(&mut self, now: Now, out: &mut impl Outlet<K>) {
        while let Some(&(at, key)) = self.timers.first()
            && at <= now.mono_ms
        {
            self.timers.pop_first();
            if let Some(hosted) = self.hosted.get_mut(&key) {
                hosted.wake_at = None;
                self.tell(now, key, K::wake(), None, out);
            }
        }
        if !self.checks.is_empty() {
            out.check(std::mem::take(&mut self.checks));
        }
    }

    /// A handler panicked: its actor is dropped, its connections look for a new session, and who
    /// relied on it is told. If it keeps happening the key is left alone for a while.
    pub fn lose(&mut self, now: Now, key: K::Key, out: &mut impl Outlet<K>) {
        if let Some(hosted) = self.remove(key) {
            self.orphans.add(key, hosted.activation, hosted.plans);
            // Only read, and even that is not trusted: the panic may have left anything.
            let told = catch_unwind(AssertUnwindSafe(|| K::lost(key, &hosted.actor, now)));
            for envelope in told.unwrap_or_default() {
                out.tell(envelope);
            }
        }
        if self.panics.len() > 10_000 {
            self.panics.retain(|_, p| now.mono_ms.saturating_sub(p.since_ms) < MAX_PAUSE_MS);
        }
        let panics = self.panics.entry(key).or_default();
        if now.mono_ms.saturating_sub(panics.since_ms) > PANIC_WINDOW_MS.max(MAX_PAUSE_MS) {
            *panics = Panics { since_ms: now.mono_ms, ..Panics::default() };
        }
        panics.count += 1;
        if panics.count > MAX_PANICS {
            let exponent = (panics.count - MAX_PANICS).min(5);
            panics.pause_until_ms = now.mono_ms + (1_000 << exponent).min(MAX_PAUSE_MS);
        }
        out.lost(key);
    }

    fn is_paused(&self, key: K::Key, now: Now) -> bool {
        self.panics.get(&key).is_some_and(|panics| now.mono_ms < panics.pause_until_ms)
    }

    fn is_live(&self, to: ReplyTo<K::Key>) -> bool {
        self.hosted.get(&to.key).is_some_and(|hosted| hosted.activation == to.activation)
    }

    fn remove(&mut self, key: K::Key) -> Option<Box<Hosted<K, L>>> {
        let hosted = self.hosted.remove(&key)?;
        if self.hosted.capacity() > KEPT && self.hosted.len() < self.hosted.capacity() / 8 {
            // After a storm the memory is given back.
            self.hosted.shrink_to(2 * self.hosted.len());
        }
        if let Some(at) = hosted.wake_at {
            self.timers.remove(&(at, key));
        }
        Some(hosted)
    }

    fn perform(&mut self, key: K::Key, effect: Effect, out: &mut impl Outlet<K>) {
        match effect {
            Effect::Tell(envelope) => out.tell(envelope),
            Effect::Commit { token, plan } => {
                if let Some(hosted) = self.hosted.get_mut(&key) {
                    hosted.plans += 1;
                    out.commit(ReplyTo { key, activation: hosted.activation, token }, plan);
                }
            }
            Effect::Query { token, query } => {
                if let Some(to) = self.reply_to(key, token) {
                    out.ask(to, *query);
                }
            }
            Effect::Check { token, user, after } => {
                if let Some(to) = self.reply_to(key, token) {
                    self.checks.push((to, (user, after)));
                }
            }
            Effect::NeedFence(slot) => self.need_fence(key, slot, out),
            Effect::DropFence { slot, value } => self.fences.drop_fence(slot, &value),
            Effect::Write { conn, frames } => {
                if let Some(line) = self.line(key, conn) {
                    line.push(frames);
                }
            }
            Effect::Close { conn, code } => {
                if let Some(line) = self.release(key, conn) {
                    line.close(code);
                }
            }
            Effect::RefuseAttach(conn) => {
                if let Some(line) = self.release(key, conn) {
                    line.refuse();
                }
            }
            Effect::WakeAt(at) => {
                if let Some(hosted) = self.hosted.get_mut(&key) {
                    if let Some(old) = hosted.wake_at.replace(at) {
                        self.timers.remove(&(old, key));
                    }
                    self.timers.insert((at, key));
                }
            }
            Effect::Stop => {
                if let Some(hosted) = self.remove(key) {
                    for line in hosted.lines {
                        line.release();
                    }
                }
            }
        }
    }

    fn reply_to(&self, key: K::Key, token: u64) -> Option<ReplyTo<K::Key>> {
        let activation = self.hosted.get(&key)?.activation;
        Some(ReplyTo { key, activation, token })
    }

    fn line(&self, key: K::Key, conn: ConnId) -> Option<&Attached<L>> {
        self.hosted.get(&key)?.lines.iter().rev().find(|held| held.conn() == Some(conn))
    }

    fn release(&mut self, key: K::Key, conn: ConnId) -> Option<L> {
        let lines = &mut self.hosted.get_mut(&key)?.lines;
        let at = lines.iter().position(|held| held.conn() == Some(conn))?;
        lines.remove(at).release()
    }

    fn need_fence(&mut self, key: K::Key, slot: Slot, out: &mut impl Outlet<K>) {
        let Some(conversation) = K::conversation(key) else { return };
        if !out.may_own(slot) {
            if let Some(msg) = K::not_here() {
                out.later(key, msg);
            }
            return;
        }
        if self.orphans.holds_up(key, slot) {
            return;
        }
        match self.fences.need(slot, conversation) {
            Need::Wait => {}
            Need::Held(fence) => {
                if let Some(msg) = K::fenced(Some(fence)) {
                    out.later(key, msg);
                }
            }
            Need::Start => out.take_over(slot),
        }
    }
}

#[cfg(test)]
mod tests;
