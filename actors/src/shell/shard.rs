//! A shard: a ractor actor that hosts many virtual actors of one kind and runs them in turns.
//!
//! A turn takes what waits in the inbox, has the pure [`Host`] run the actors' handlers, gathers
//! what they want done, and at its end hands all plans to the store in one submission and all
//! messages to the other shards with one lock each. While commits are in flight the next turn
//! gathers: that is the group commit.

use super::inbox::Inbox;
use super::outbox::Outbox;
use super::routing::Outgoing;
use super::system::Shared;
use crate::cluster::View;
use crate::effect::{Query, QueryResult};
use crate::host::{Check, Host, Kind, Outlet, ReplyTo};
use crate::message::Envelope;
use crate::query;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use rookery_protocol::{CloseCode, ConversationId, Cursor, UserId};
use rookery_store::{Outcome, Plan, Slot, TakeOver};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

/// Most items of one turn; what is beyond waits for the next, so that others get the thread.
const MAX_TURN: usize = 8192;

/// Most users of one look for news: a read that long still lets others in between.
const MAX_CHECKS: usize = 256;

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
    Answer(ReplyTo<K::Key>, QueryResult),
    /// Outcomes of one submission.
    Outcomes(Vec<ReplyTo<K::Key>>, Vec<Outcome>),
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
    /// Panics outside of every actor: the shard fails whole.
    #[cfg(feature = "poison")]
    Poison,
}

/// The only message ractor carries to a shard: take what is in the inbox.
pub(super) struct Turn;

// Local: not serializable, so nothing of it is shown to other nodes.
impl ractor::Message for Turn {}

/// The ractor actor.
pub(super) struct ShardActor<K>(pub(super) PhantomData<fn() -> K>);

/// Its state.
pub(super) struct Shard<K: Kind> {
    host: Host<K, Arc<Outbox>>,
    desk: Desk<K>,
    timer: Option<(u64, tokio::task::JoinHandle<()>)>,
    empty: Vec<tokio::sync::oneshot::Sender<()>>,
    /// Of the turn under way; kept for their memory.
    items: Vec<Item<K>>,
}

/// Does, or gathers until the turn's end, what the host wants done.
struct Desk<K: Kind> {
    shared: Arc<Shared>,
    inbox: Arc<Inbox<Item<K>>>,
    outgoing: Outgoing,
    plans: Vec<Plan>,
    owners: Vec<ReplyTo<K::Key>>,
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
        let host = Host::new(&shared.settings, u64::from_le_bytes(first) >> 1);
        let desk = Desk { shared, inbox, outgoing, plans: Vec::new(), owners: Vec::new() };
        Ok(Shard { host, desk, timer: None, empty: Vec::new(), items: Vec::new() })
    }

    async fn handle(
        &self,
        _myself: ActorRef<Turn>,
        _turn: Turn,
        shard: &mut Shard<K>,
    ) -> Result<(), ActorProcessingErr> {
        let mut items = std::mem::take(&mut shard.items);
        shard.desk.inbox.take(&mut items);
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
        let now = self.desk.shared.now();
        let Self { host, desk, .. } = self;
        match item {
            Item::Tell(key, msg) => host.tell(now, key, msg, None, desk),
            // The node may have begun another life since it admitted this.
            Item::Attach(key, _, outbox) if !desk.shared.lives_as(K::life(key)) => {
                outbox.close(CloseCode::GoingAway);
            }
            Item::Attach(key, msg, outbox) => host.tell(now, key, msg, Some(outbox), desk),
            Item::Answer(to, result) => host.answered(now, to, result, desk),
            Item::Outcomes(owners, outcomes) => {
                for (to, outcome) in owners.into_iter().zip(outcomes) {
                    host.committed(now, to, outcome, desk);
                }
            }
            Item::Taken(slot, result) => host.taken(now, slot, result, desk),
            Item::Each(choose) => host.each(now, |key, actor| choose(key, actor), desk),
            Item::Placed(view) => host.placed(now, &view, desk),
            Item::Tick => {
                self.timer = None;
                host.tick(now, desk);
            }
            Item::WhenEmpty(reply) => self.empty.push(reply),
            #[cfg(feature = "poison")]
            #[expect(clippy::panic, reason = "the poison is there to panic")]
            Item::Poison => panic!("poisoned shard"),
        }
    }

    /// Hands over what the turn gathered, and arms the timer.
    fn end_turn(&mut self) {
        self.desk.end_turn();
        self.desk.inbox.note_hosted(self.host.len());
        metrics::gauge!("rookery_actors", "kind" => K::NAME, "shard" => "all")
            .set(f64::from(u32::try_from(self.host.len()).unwrap_or(u32::MAX)));
        if self.host.is_empty() {
            for waiting in self.empty.drain(..) {
                if waiting.send(()).is_err() {
                    tracing::debug!(kind = K::NAME, "nobody waits for the shard to be empty");
                }
            }
        }
        self.arm();
    }

    fn arm(&mut self) {
        let Some(at) = self.host.next_tick() else { return };
        if let Some((armed, timer)) = &self.timer {
            if *armed <= at {
                return;
            }
            timer.abort();
        }
        let inbox = Arc::clone(&self.desk.inbox);
        let wait = Duration::from_millis(at.saturating_sub(self.desk.shared.now().mono_ms));
        let timer = tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            inbox.push(Item::Tick);
        });
        self.timer = Some((at, timer));
    }
}

impl<K: Kind> Desk<K> {
    fn end_turn(&mut self) {
        if !self.plans.is_empty() {
            let (plans, owners) =
                (std::mem::take(&mut self.plans), std::mem::take(&mut self.owners));
            let inbox = Arc::clone(&self.inbox);
            let done = move |outcomes| inbox.push(Item::Outcomes(owners, outcomes));
            self.shared.store.submit(plans, Box::new(done));
        }
        self.outgoing.flush(&self.shared);
    }
}

impl<K: Kind> Outlet<K> for Desk<K> {
    fn tell(&mut self, envelope: Envelope) {
        self.outgoing.add(&self.shared, envelope);
    }

    fn commit(&mut self, to: ReplyTo<K::Key>, plan: Plan) {
        self.owners.push(to);
        self.plans.push(plan);
    }

    fn ask(&mut self, to: ReplyTo<K::Key>, query: Query) {
        let (shared, inbox) = (Arc::clone(&self.shared), Arc::clone(&self.inbox));
        tokio::spawn(async move {
            let unanswered = query::failed(&query);
            let result = match fresh_id() {
                Some(candidate) => run(&shared, query, candidate).await,
                None => None,
            };
            inbox.push(Item::Answer(to, result.unwrap_or(unanswered)));
        });
    }

    fn check(&mut self, asked: Vec<Check<K::Key>>) {
        let mut rest = asked.into_iter();
        loop {
            let group: Vec<_> = rest.by_ref().take(MAX_CHECKS).collect();
            if group.is_empty() {
                return;
            }
            let (shared, inbox) = (Arc::clone(&self.shared), Arc::clone(&self.inbox));
            tokio::spawn(async move {
                let (askers, questions): (Vec<_>, Vec<_>) = group.into_iter().unzip();
                // Without an answer they ask again in their time.
                let news = with_news(&shared, questions).await.unwrap_or_default();
                for (to, _) in askers.into_iter().zip(news).filter(|(_, news)| *news) {
                    inbox.push(Item::Answer(to, QueryResult::News(Ok(true))));
                }
            });
        }
    }

    fn may_own(&self, slot: Slot) -> bool {
        self.shared.may_own(slot)
    }

    fn take_over(&mut self, slot: Slot) {
        let (shared, inbox) = (Arc::clone(&self.shared), Arc::clone(&self.inbox));
        tokio::spawn(async move {
            let (store, owner) = (shared.store.clone(), shared.owner());
            let runtime = tokio::runtime::Handle::current();
            let taking = move || runtime.block_on(store.take_over(slot, owner));
            let taken = tokio::task::spawn_blocking(taking).await;
            inbox.push(Item::Taken(slot, taken.unwrap_or(TakeOver::Unavailable)));
        });
    }

    fn later(&mut self, key: K::Key, msg: K::Msg) {
        self.inbox.push(Item::Tell(key, msg));
    }

    fn dropped(&mut self) {
        metrics::counter!("rookery_actor_messages_dropped_total", "kind" => K::NAME).increment(1);
    }

    fn lost(&mut self, key: K::Key) {
        metrics::counter!("rookery_actor_panics_total", "kind" => K::NAME).increment(1);
        tracing::error!(kind = K::NAME, ?key, "a virtual actor panicked and was dropped");
        self.shared.lost(K::NAME, &key);
    }
}

/// The answer to a question; none when it could not be carried out at all.
async fn run(shared: &Shared, query: Query, candidate: ConversationId) -> Option<QueryResult> {
    let _permit = shared.reads.acquire().await;
    let store = shared.store.clone();
    let answered = if store.reads_block() {
        let runtime = tokio::runtime::Handle::current();
        let reading = move || runtime.block_on(query::run(&store, query, candidate));
        tokio::task::spawn_blocking(reading).await
    } else {
        tokio::spawn(async move { query::run(&store, query, candidate).await }).await
    };
    answered.ok()
}

/// For whom there is anything after the cursor; none when it could not be found out.
async fn with_news(shared: &Shared, questions: Vec<(UserId, Cursor)>) -> Option<Vec<bool>> {
    let _permit = shared.reads.acquire().await;
    let store = shared.store.clone();
    let answered = if store.reads_block() {
        let runtime = tokio::runtime::Handle::current();
        let reading = move || runtime.block_on(store.inbox_news(&questions));
        tokio::task::spawn_blocking(reading).await
    } else {
        tokio::spawn(async move { store.inbox_news(&questions).await }).await
    };
    answered.ok()?.ok()
}

/// An id for a conversation that a question may create; none: the system has no random numbers.
fn fresh_id() -> Option<ConversationId> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).ok()?;
    Some(ConversationId(u64::from_le_bytes(bytes)))
}
