//! Keeps this node a member of its cluster: looks at the store, carries out what the pure core
//! decides, publishes the view, and begins another life when this one was ended.
//!
//! ```text
//! look at the store -> core -> commits -> view -> links, shards, sessions
//!        ^                                 |
//!        `------ each half renewal --------'
//! ```

use super::Cluster;
use crate::cluster::keeping::{Commit, Keeping, Next};
use crate::cluster::{Change, Load, Phase, Refused, View};
use crate::link::{Notice, OnMessage, OnNotice};
use crate::message::{PresenceMsg, SessionMsg};
use crate::shell::shard::Item;
use crate::shell::system::{Shared, random_u64};
use crate::wire::News;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use rookery_protocol::CloseCode;
use rookery_store::{Members, Outcome};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a former life may take to end.
const ENDING: Duration = Duration::from_secs(1);

impl Shared {
    /// Publishes a view, and tells everybody whom it concerns.
    fn publish(&self, cluster: &Cluster, view: View) {
        let view = Arc::new(view);
        let change = Change::between(&cluster.view(), &view);
        if change.peers {
            cluster.set_peers(&view);
        }
        cluster.view.send_replace(Arc::clone(&view));
        if !change.placed {
            return;
        }
        tracing::info!(
            epoch = view.epoch,
            members = view.members.len(),
            slots = view.slots_of(view.me),
            serving = view.serving,
            "the cluster changed"
        );
        for inbox in &self.conversations {
            inbox.push(Item::Placed(Arc::clone(&view)));
        }
        for inbox in &self.presences {
            inbox.push(Item::Placed(Arc::clone(&view)));
        }
        let Change { gone, moved, .. } = change;
        if !gone.is_empty() {
            for inbox in &self.presences {
                let gone = Arc::clone(&gone);
                let tell = move |_, _: &_| Some(PresenceMsg::NodesGone(Arc::clone(&gone)));
                inbox.push(Item::Each(Arc::new(tell)));
            }
        }
        if !moved.is_empty() {
            self.tell_all_sessions(&SessionMsg::HubsMoved(Arc::clone(&moved)));
            self.tell_all_sessions(&SessionMsg::SendsMoved(moved));
        }
    }

    fn load(&self, lag_ms: u64) -> Load {
        let sessions: usize = self.sessions.iter().map(|inbox| inbox.hosted()).sum();
        Load {
            sessions: u32::try_from(sessions).unwrap_or(u32::MAX),
            lag_ms: u32::try_from(lag_ms).unwrap_or(u32::MAX),
        }
    }
}

/// The ractor actor: one look a turn.
pub(in crate::shell) struct Keeper;

/// Look now.
pub(in crate::shell) struct Look;

// Local: not serializable, so nothing of it is shown to other nodes.
impl ractor::Message for Look {}

/// Its state.
pub(in crate::shell) struct Life {
    shared: Arc<Shared>,
    keeping: Keeping,
    lag_ms: u64,
}

impl Actor for Keeper {
    type Msg = Look;
    type State = Life;
    type Arguments = Arc<Shared>;

    async fn pre_start(
        &self,
        myself: ActorRef<Look>,
        shared: Arc<Shared>,
    ) -> Result<Life, ActorProcessingErr> {
        let cluster = shared.cluster.as_ref().ok_or("no cluster is configured")?;
        // A keeper that failed and is started again can't know what its former life still has
        // under way: it lives anew.
        let fresh = *cluster.phase.borrow() == Phase::Outside;
        let incarnation = if fresh { cluster.view().me.incarnation } else { random_u64()? };
        let (profile, timing) = (cluster.config.profile.clone(), cluster.config.timing);
        let keeping = Keeping::new(profile, incarnation, timing);
        let mut life = Life { shared, keeping, lag_ms: 0 };
        life.begin().await?;
        if !fresh {
            life.end_sessions().await;
        }
        myself.cast(Look)?;
        Ok(life)
    }

    async fn handle(
        &self,
        myself: ActorRef<Look>,
        _look: Look,
        life: &mut Life,
    ) -> Result<(), ActorProcessingErr> {
        let wait = life.look().await?;
        if let Some(wait) = wait {
            let shared = Arc::clone(&life.shared);
            tokio::spawn(async move {
                if let Some(cluster) = &shared.cluster {
                    let called = cluster.look.notified();
                    // A call and the time mean the same: look.
                    tokio::time::timeout(wait, called).await.ok();
                }
                if myself.cast(Look).is_err() {
                    tracing::debug!("the cluster's keeper has ended");
                }
            });
        }
        Ok(())
    }
}

impl Life {
    fn cluster(&self) -> Result<&Cluster, ActorProcessingErr> {
        self.shared.cluster.as_ref().ok_or_else(|| "no cluster is configured".into())
    }

    /// Starts the links of a life.
    async fn begin(&mut self) -> Result<(), ActorProcessingErr> {
        let cluster = self.cluster()?;
        cluster.set_links(None);
        let me = self.keeping.me();
        self.shared.publish(cluster, View::empty(me));
        let (for_messages, for_notices) =
            (Arc::downgrade(&self.shared), Arc::downgrade(&self.shared));
        let on_message: OnMessage = Arc::new(move |from, message| {
            if let Some(shared) = for_messages.upgrade() {
                shared.received(from, &message);
            }
        });
        let on_notice: OnNotice = Arc::new(move |notice| {
            if let Some(shared) = for_notices.upgrade() {
                noticed(&shared, notice);
            }
        });
        let links = cluster.config.links.start(me, on_message, on_notice).await?;
        self.cluster()?.set_links(Some(links));
        Ok(())
    }

    /// One look at the store and what follows from it; how long to wait for the next, none when
    /// there will be no next one.
    async fn look(&mut self) -> Result<Option<Duration>, ActorProcessingErr> {
        if self.cluster()?.links_failed.swap(false, Ordering::Relaxed) {
            // Started again, the keeper begins another life with other links.
            return Err("the links can't go on".into());
        }
        let wish = *self.cluster()?.wish.borrow();
        self.keeping.wish(wish);
        let started_ms = self.shared.now().mono_ms;
        let read = self.read().await;
        let now_ms = self.shared.now().mono_ms;
        self.lag_ms = now_ms.saturating_sub(started_ms);
        metrics::histogram!("rookery_cluster_look_seconds")
            .record(Duration::from_millis(self.lag_ms).as_secs_f64());
        match read {
            Some(members) => self.follow(started_ms, now_ms, &members).await?,
            None => self.blind()?,
        }
        self.cluster()?.phase.send_replace(self.keeping.phase().clone());
        match self.keeping.next() {
            Next::Left => {
                self.cluster()?.set_links(None);
                Ok(None)
            }
            Next::Reborn(why, pause_ms) => {
                self.ended(&why).await?;
                Ok(Some(Duration::from_millis(pause_ms)))
            }
            Next::LookIn(wait_ms) => Ok(Some(Duration::from_millis(wait_ms))),
        }
    }

    /// What lies in the store; none when it can't be read in time.
    async fn read(&self) -> Option<Members> {
        let patience = self.shared.cluster.as_ref()?.config.timing.renew_ms;
        let store = self.shared.store.clone();
        let reading = async move {
            if store.reads_block() {
                let runtime = tokio::runtime::Handle::current();
                let reading = move || runtime.block_on(store.members());
                tokio::task::spawn_blocking(reading).await.ok()
            } else {
                Some(store.members().await)
            }
        };
        let read = tokio::time::timeout(Duration::from_millis(patience), reading).await;
        match read.ok().flatten()? {
            Ok(members) => Some(members),
            Err(error) => {
                tracing::warn!(%error, "the members can't be read");
                None
            }
        }
    }

    /// Carries out what a look leads to.
    async fn follow(
        &mut self,
        started_ms: u64,
        now_ms: u64,
        members: &Members,
    ) -> Result<(), ActorProcessingErr> {
        let before = self.cluster()?.view();
        let load = self.shared.load(self.lag_ms);
        self.keeping.linked_to(self.cluster()?.linked(&before));
        let looked = self.keeping.looked(started_ms, now_ms, load, members, &before);
        self.publish(looked.view)?;
        let cluster = self.cluster()?;
        let linked = cluster.is_linked(&cluster.view());
        if self.keeping.linked(now_ms, linked) {
            tracing::warn!("some members can't be reached by links; joining without them");
        }
        let patience = Duration::from_millis(self.cluster()?.config.timing.renew_ms);
        for Commit { attempt, plan, changes } in looked.commits {
            let committing = self.shared.store.commit(plan);
            let outcome = tokio::time::timeout(patience, committing).await;
            let outcome = outcome.unwrap_or(Outcome::Unresolved);
            if self.keeping.committed(attempt, changes, &outcome) {
                self.cluster()?.tell_nodes(&News::Look);
            }
        }
        self.allow()?;
        self.cluster()?.confess();
        Ok(())
    }

    fn publish(&self, view: View) -> Result<(), ActorProcessingErr> {
        let cluster = self.cluster()?;
        metrics::gauge!("rookery_cluster_epoch").set(gauge(view.epoch));
        metrics::gauge!("rookery_cluster_members").set(gauge(view.members.len() as u64));
        metrics::gauge!("rookery_cluster_slots").set(gauge(view.slots_of(view.me) as u64));
        metrics::gauge!("rookery_cluster_serving").set(gauge(view.serving.into()));
        self.allow()?;
        self.shared.publish(cluster, view);
        Ok(())
    }

    /// Says until when this node may work for its slots.
    fn allow(&self) -> Result<(), ActorProcessingErr> {
        let until = self.keeping.serves_until_ms();
        self.cluster()?.serves_until_ms.store(until, Ordering::Relaxed);
        Ok(())
    }

    /// The store could not be read: the view stays, unless it is too old to work by it.
    fn blind(&mut self) -> Result<(), ActorProcessingErr> {
        let view = self.cluster()?.view();
        if let Some(view) = self.keeping.blind(self.shared.now().mono_ms, &view) {
            tracing::warn!("the lease can't be renewed: this node stops working for its slots");
            self.publish(view)?;
        }
        Ok(())
    }

    /// The life is over: everything that belonged to it ends, and another one begins.
    async fn ended(&mut self, why: &Refused) -> Result<(), ActorProcessingErr> {
        tracing::error!(%why, "this node is out of the cluster; it rejoins as another");
        metrics::counter!("rookery_cluster_rejoins_total").increment(1);
        let incarnation = random_u64()?;
        let cluster = self.cluster()?;
        let (profile, timing) = (cluster.config.profile.clone(), cluster.config.timing);
        self.keeping = Keeping::new(profile, incarnation, timing);
        self.begin().await?;
        self.end_sessions().await;
        Ok(())
    }

    /// Ends the sessions of the former life. One that was admitted before the view changed, and
    /// comes to its shard after this, is turned away there: see [`Shared::lives_as`].
    async fn end_sessions(&self) {
        for inbox in &self.shared.sessions {
            let end = |_, _: &_| Some(SessionMsg::End(CloseCode::GoingAway));
            inbox.push(Item::Each(Arc::new(end)));
        }
        if tokio::time::timeout(ENDING, self.shared.sessions_ended()).await.is_err() {
            tracing::warn!("sessions of the former life did not end in time");
        }
    }
}

fn noticed(shared: &Shared, notice: Notice) {
    let Some(cluster) = &shared.cluster else { return };
    match notice {
        Notice::Up(node) => tracing::info!(%node, "a link is up"),
        Notice::Down(node) => tracing::warn!(%node, "a link is down"),
        Notice::Quiet(node) => {
            // Whoever waits for an answer of that node asks again rather than wait for the link.
            let view = cluster.view();
            let slots = view.slots(node);
            if !slots.is_empty() {
                shared.tell_all_sessions(&SessionMsg::SendsMoved(Arc::new(slots)));
            }
        }
        Notice::Failed => cluster.links_failed.store(true, Ordering::Relaxed),
        Notice::Lost(node, count) => {
            metrics::counter!("rookery_messages_lost_total").increment(count);
            tracing::info!(%node, count, "messages to a node that is gone were given up");
        }
    }
    cluster.look_now();
}

/// Gauges are floating-point numbers; these are small.
fn gauge(number: u64) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
