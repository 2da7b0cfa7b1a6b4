//! A shard: a ractor actor that hosts many virtual actors of one kind and runs them in turns.
//!
//! A turn takes what waits in the inbox, runs the actors' pure handlers, gathers their effects, and
//! at its end hands all plans to the store in one submission and all messages to the other shards
//! with one lock each. While commits are in flight the next turn gathers: that is the group commit.
//!
//! A handler that panics costs its own actor, nobody else: see [`Shard::lose`].

use super::inbox::Inbox;
use super::kind::Kind;
use super::outbox::{Attached, Outbox};
use super::query;
use super::routing::Outgoing;
use super::system::Shared;
use crate::cluster::View;
use crate::effect::{ConnId, Effect, Query, QueryResult};
use crate::fences::{Fences, Need};
use crate::time::Now;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use rookery_protocol::CloseCode;
use rookery_store::{Outcome, Plan, Slot, TakeOver};
use std::collections::{BTreeSet, HashMap};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// Most items of one turn; what is beyond waits for the next, so that others get the thread.
const MAX_TURN: usize = 8192;
/// More panics of one actor than this within [`PANIC_WINDOW_MS`] make it pause.
const MAX_PANICS: u32 = 5;
const PANIC_WINDOW_MS: u64 = 10_000;
/// Longest pause of an actor that keeps panicking.
const MAX_PAUSE_MS: u64 = 30_000;

/// The message an actor gets in a broadcast, if any.
pub(super) type Choose<K> =
    Arc<dyn Fn(<K as Kind>::Key, &<K as Kind>::Actor) -> Option<<K as Kind>::Msg> + Send + Sync>;

/// What comes into a shard.
pub(super) enum Item<K: Kind> {
    /// A message for an actor.
    Tell(K::Key, K::Msg),
    /// A message for a session, with the connection it speaks of.
    Attach(K::Key, K::Msg, Arc<Outbox>),
    /// Answers meant for one activation of an actor.
    Answer(K::Key, u64, u64, QueryResult),
    /// Outcomes of one submission.
    Outcomes(Vec<(K::Key, u64, u64)>, Vec<Outcome>),
    /// A take-over of a slot ended.
    Taken(Slot, TakeOver),
    /// A message for every actor that the function gives one.
    Each(Choose<K>),
    /// The members of the cluster changed.
    Placed(Arc<View>),
    /// The armed timer fired.
    Tick,
    /// Tell when nothing is left to host.
    WhenEmpty(tokio::sync::oneshot::Sender<()>),
}

/// The only message ractor carries to a shard: take what is in the inbox.
pub(super) struct Turn;

// Local: not serializable, so nothing of it is shown to other nodes.
impl ractor::Message for Turn {}

struct Hosted<K: Kind> {
    actor: K::Actor,
    activation: u64,
    wake_at: Option<u64>,
    outboxes: Vec<Attached>,
}

#[derive(Default)]
struct Panics {
    count: u32,
    since_ms: u64,
    pause_until_ms: u64,
}

/// The ractor actor.
pub(super) struct ShardActor<K>(pub(super) PhantomData<fn() -> K>);

/// Its state.
pub(super) struct Shard<K: Kind> {
    shared: Arc<Shared>,
    inbox: Arc<Inbox<Item<K>>>,
    hosted: HashMap<K::Key, Hosted<K>>,
    next_activation: u64,
    fences: Fences,
    timers: BTreeSet<(u64, K::Key)>,
    timer: Option<(u64, tokio::task::JoinHandle<()>)>,
    panics: HashMap<K::Key, Panics>,
    empty: Vec<tokio::sync::oneshot::Sender<()>>,
    // Of the turn under way; kept for their memory.
    items: Vec<Item<K>>,
    effects: Vec<Effect>,
    outgoing: Outgoing,
    plans: Vec<Plan>,
    owners: Vec<(K::Key, u64, u64)>,
}

impl<K: Kind> Actor for ShardActor<K> {
    type Msg = Turn;
    type State = Shard<K>;
    type Arguments = (Arc<Shared>, Arc<Inbox<Item<K>>>);

    async fn pre_start(
        &self,
        myself: ActorRef<Turn>,
        (shared, inbox): Self::Arguments,
    ) -> Result<Shard<K>, ActorProcessingErr> {
        inbox.attach(Box::new(move || myself.cast(Turn).is_ok()));
        let outgoing = Outgoing::new(&shared);
        shared.shard_started(K::NAME);
        // Activations of an earlier life of the shard must not be taken for this one's.
        let mut first = [0; 8];
        getrandom::fill(&mut first)?;
        Ok(Shard {
            shared,
            inbox,
            hosted: HashMap::new(),
            next_activation: u64::from_le_bytes(first) >> 1,
            fences: Fences::default(),
            timers: BTreeSet::new(),
            timer: None,
            panics: HashMap::new(),
            empty: Vec::new(),
            items: Vec::new(),
            effects: Vec::new(),
            outgoing,
            plans: Vec::new(),
            owners: Vec::new(),
        })
    }

    async fn handle(
        &self,
        _myself: ActorRef<Turn>,
        _turn: Turn,
        shard: &mut Shard<K>,
    ) -> Result<(), ActorProcessingErr> {
        let mut items = std::mem::take(&mut shard.items);
        shard.inbox.take(&mut items);
        let mut taken = 0;
        for item in items.drain(..) {
            shard.item(item);
            taken += 1;
            if taken % MAX_TURN == 0 {
                shard.end_turn();
                tokio::task::yield_now().await;
            }
        }
        shard.items = items;
        shard.end_turn();
        Ok(())
    }
}

impl<K: Kind> Shard<K> {
    fn item(&mut self, item: Item<K>) {
        match item {
            Item::Tell(key, msg) => self.tell(key, msg, None),
            Item::Attach(key, msg, outbox) => self.tell(key, msg, Some(outbox)),
            Item::Answer(key, activation, token, result) => {
                if self.is_live(key, activation) {
                    self.tell(key, K::answer(token, result), None);
                }
            }
            Item::Outcomes(owners, outcomes) => {
                for ((key, activation, token), outcome) in owners.into_iter().zip(outcomes) {
                    if self.is_live(key, activation)
                        && let Some(msg) = K::committed(token, outcome)
                    {
                        self.tell(key, msg, None);
                    }
                }
            }
            Item::Taken(slot, result) => {
                let (waiting, fence) = self.fences.taken(slot, result);
                for conversation in waiting {
                    if let (Some(key), Some(msg)) =
                        (K::key_of(conversation), K::fenced(fence.clone()))
                    {
                        self.tell(key, msg, None);
                    }
                }
            }
            Item::Each(choose) => self.tell_each(|key, actor| choose(key, actor)),
            Item::Placed(view) => {
                self.fences.keep(|slot| view.owns(slot));
                self.tell_each(|key, _| K::placed(key, &view));
            }
            Item::Tick => self.tick(),
            Item::WhenEmpty(reply) => self.empty.push(reply),
        }
    }

    fn tell_each(&mut self, choose: impl Fn(K::Key, &K::Actor) -> Option<K::Msg>) {
        let chosen: Vec<_> = self
            .hosted
            .iter()
            .filter_map(|(key, hosted)| Some((*key, choose(*key, &hosted.actor)?)))
            .collect();
        for (key, msg) in chosen {
            self.tell(key, msg, None);
        }
    }

    fn is_live(&self, key: K::Key, activation: u64) -> bool {
        self.hosted.get(&key).is_some_and(|hosted| hosted.activation == activation)
    }

    fn tell(&mut self, key: K::Key, msg: K::Msg, outbox: Option<Arc<Outbox>>) {
        let now = self.shared.now();
        if !self.hosted.contains_key(&key) {
            if !K::activates(&msg) || self.is_paused(key, now) {
                metrics::counter!("rookery_actor_messages_dropped_total", "kind" => K::NAME)
                    .increment(1);
                if let Some(outbox) = outbox {
                    outbox.close(CloseCode::Internal);
                }
                return;
            }
            self.next_activation += 1;
            let hosted = Hosted {
                actor: K::create(key, &self.shared),
                activation: self.next_activation,
                wake_at: None,
                outboxes: Vec::new(),
            };
            self.hosted.insert(key, hosted);
        }
        let Some(hosted) = self.hosted.get_mut(&key) else { return };
        if let Some(outbox) = outbox {
            hosted.outboxes.push(Attached::new(outbox));
        }
        let mut effects = std::mem::take(&mut self.effects);
        let actor = &mut hosted.actor;
        // The actor is dropped when its handler panics, so nobody sees it half changed.
        let handled = catch_unwind(AssertUnwindSafe(|| K::handle(actor, now, msg, &mut effects)));
        if handled.is_ok() {
            for effect in effects.drain(..) {
                self.perform(key, effect);
            }
        } else {
            effects.clear();
            self.lose(key, now);
        }
        self.effects = effects;
    }

    fn is_paused(&self, key: K::Key, now: Now) -> bool {
        self.panics.get(&key).is_some_and(|panics| now.mono_ms < panics.pause_until_ms)
    }

    /// A handler panicked: its actor is dropped, its connections look for a new session, and who
    /// relied on it is told. If it keeps happening the key is left alone for a while.
    fn lose(&mut self, key: K::Key, now: Now) {
        metrics::counter!("rookery_actor_panics_total", "kind" => K::NAME).increment(1);
        tracing::error!(kind = K::NAME, ?key, "a virtual actor panicked and was dropped");
        self.remove(key);
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
        for envelope in K::lost(key, now) {
            self.outgoing.add(&self.shared, envelope);
        }
        self.shared.lost(K::NAME, &key);
    }

    fn remove(&mut self, key: K::Key) -> Option<Hosted<K>> {
        let hosted = self.hosted.remove(&key)?;
        if let Some(at) = hosted.wake_at {
            self.timers.remove(&(at, key));
        }
        Some(hosted)
    }

    fn perform(&mut self, key: K::Key, effect: Effect) {
        match effect {
            Effect::Tell(envelope) => self.outgoing.add(&self.shared, envelope),
            Effect::Commit { token, plan } => {
                if let Some(hosted) = self.hosted.get(&key) {
                    self.owners.push((key, hosted.activation, token));
                    self.plans.push(plan);
                }
            }
            Effect::Query { token, query } => {
                if let Some(hosted) = self.hosted.get(&key) {
                    self.ask(key, hosted.activation, token, *query);
                }
            }
            Effect::NeedFence(slot) => self.need_fence(key, slot),
            Effect::DropFence { slot, value } => self.fences.drop_fence(slot, &value),
            Effect::Write { conn, frames } => {
                if let Some(outbox) = self.outbox(key, conn) {
                    outbox.push(frames);
                }
            }
            Effect::Close { conn, code } => {
                if let Some(outbox) = self.release(key, conn) {
                    outbox.close(code);
                }
            }
            Effect::RefuseAttach(conn) => {
                if let Some(outbox) = self.release(key, conn) {
                    outbox.refuse();
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
                    for outbox in hosted.outboxes {
                        outbox.release();
                    }
                }
            }
        }
    }

    fn outbox(&self, key: K::Key, conn: ConnId) -> Option<&Attached> {
        self.hosted.get(&key)?.outboxes.iter().rev().find(|held| held.conn() == Some(conn))
    }

    fn release(&mut self, key: K::Key, conn: ConnId) -> Option<Arc<Outbox>> {
        let outboxes = &mut self.hosted.get_mut(&key)?.outboxes;
        let at = outboxes.iter().position(|held| held.conn() == Some(conn))?;
        outboxes.remove(at).release()
    }

    fn ask(&self, key: K::Key, activation: u64, token: u64, query: Query) {
        let (shared, inbox) = (Arc::clone(&self.shared), Arc::clone(&self.inbox));
        tokio::spawn(async move {
            let unanswered = query::failed(&query);
            let _permit = shared.reads.acquire().await;
            let store = shared.store.clone();
            let result = if store.reads_block() {
                let runtime = tokio::runtime::Handle::current();
                let reading = move || runtime.block_on(query::run(&store, query));
                tokio::task::spawn_blocking(reading).await
            } else {
                tokio::spawn(async move { query::run(&store, query).await }).await
            };
            let result = result.unwrap_or(unanswered);
            inbox.push(Item::Answer(key, activation, token, result));
        });
    }

    fn need_fence(&mut self, key: K::Key, slot: Slot) {
        let Some(conversation) = K::conversation(key) else { return };
        if !self.shared.may_own(slot) {
            if let Some(msg) = K::not_here() {
                self.inbox.push(Item::Tell(key, msg));
            }
            return;
        }
        match self.fences.need(slot, conversation) {
            Need::Wait => {}
            Need::Held(fence) => {
                if let Some(msg) = K::fenced(Some(fence)) {
                    // Through the inbox: the handler that asked has not returned yet.
                    self.inbox.push(Item::Tell(key, msg));
                }
            }
            Need::Start => {
                let (shared, inbox) = (Arc::clone(&self.shared), Arc::clone(&self.inbox));
                tokio::spawn(async move {
                    let (store, owner) = (shared.store.clone(), shared.owner());
                    let runtime = tokio::runtime::Handle::current();
                    let taking = move || runtime.block_on(store.take_over(slot, owner));
                    let taken = tokio::task::spawn_blocking(taking).await;
                    inbox.push(Item::Taken(slot, taken.unwrap_or(TakeOver::Unavailable)));
                });
            }
        }
    }

    fn tick(&mut self) {
        self.timer = None;
        let now = self.shared.now().mono_ms;
        while let Some(&(at, key)) = self.timers.first()
            && at <= now
        {
            self.timers.pop_first();
            if let Some(hosted) = self.hosted.get_mut(&key) {
                hosted.wake_at = None;
                self.tell(key, K::wake(), None);
            }
        }
    }

    /// Hands over what the turn gathered, and arms the timer.
    fn end_turn(&mut self) {
        if !self.plans.is_empty() {
            let (plans, owners) =
                (std::mem::take(&mut self.plans), std::mem::take(&mut self.owners));
            let inbox = Arc::clone(&self.inbox);
            let done = move |outcomes| inbox.push(Item::Outcomes(owners, outcomes));
            self.shared.store.submit(plans, Box::new(done));
        }
        self.outgoing.flush(&self.shared);
        self.inbox.note_hosted(self.hosted.len());
        metrics::gauge!("rookery_actors", "kind" => K::NAME, "shard" => "all")
            .set(f64::from(u32::try_from(self.hosted.len()).unwrap_or(u32::MAX)));
        if self.hosted.is_empty() {
            for waiting in self.empty.drain(..) {
                if waiting.send(()).is_err() {
                    tracing::debug!(kind = K::NAME, "nobody waits for the shard to be empty");
                }
            }
        }
        self.arm();
    }

    fn arm(&mut self) {
        let Some(&(at, _)) = self.timers.first() else { return };
        if let Some((armed, timer)) = &self.timer {
            if *armed <= at {
                return;
            }
            timer.abort();
        }
        let inbox = Arc::clone(&self.inbox);
        let wait = Duration::from_millis(at.saturating_sub(self.shared.now().mono_ms));
        let timer = tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            inbox.push(Item::Tick);
        });
        self.timer = Some((at, timer));
    }
}
