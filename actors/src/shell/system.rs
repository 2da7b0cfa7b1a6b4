//! The actor system of a node: shards, routing between them, start and end.

use super::cluster::{Cluster, ClusterConfig, Keeper};
use super::inbox::{Full, Inbox};
use super::maintenance::{self, Maintenance};
use super::outbox::Outbox;
use super::routing::Outgoing;
use super::shard::{Item, ShardActor};
use super::supervisor::{Child, Supervisor};
use crate::cluster::{NodeId, Phase, Refused, View, Wish};
use crate::host::{Conversations, Kind, Presences, Sessions};
use crate::message::{Attach, ConversationMsg, Envelope, SessionMsg, SessionRef};
use crate::session::{Session, Settings};
use crate::time::Now;
use crate::wire::News;
use ractor::{Actor, ActorRef};
use rookery_protocol::{ClientFrame, CloseCode, ConversationId, DeviceId, UserId};
use rookery_store::{Owner, Slot, Store, slot_of};
use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{Semaphore, oneshot, watch};

/// Bytes of client frames that may wait in one shard's inbox.
const INBOX_BYTES: usize = 64 * 1024 * 1024;
/// What a message costs the inbox beside its frames.
const MESSAGE_BYTES: usize = 256;
/// Reads under way at once, of all shards.
const MAX_READS: usize = 64;
/// How long a node may take to join its cluster.
const JOIN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a node may take to leave placement, or its cluster.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the last clients of a draining node may take to go, at least.
const LAST_CLIENTS: Duration = Duration::from_secs(3);
/// In how many parts the clients of a draining node are told to go.
const WAVES: u64 = 10;
/// How long the actors may take to finish when the node ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// What the actors of a node need to know.
#[derive(Clone, Debug)]
pub struct SystemConfig {
    /// Shards of each kind; at least one.
    pub shards: usize,
    /// Who takes slots over.
    pub owner: Owner,
    /// What all sessions share.
    pub settings: Settings,
    /// What is swept out of the store.
    pub maintenance: Maintenance,
    /// None: this node works alone.
    pub cluster: Option<ClusterConfig>,
}

/// Why the actors can't start.
#[derive(Debug)]
pub struct StartError(String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the actors can't start: {}", self.0)
    }
}

impl std::error::Error for StartError {}

pub(super) type Inboxes<K> = Vec<Arc<Inbox<Item<K>>>>;

/// What all shards of a node share.
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) settings: Arc<Settings>,
    pub(super) reads: Semaphore,
    pub(super) cluster: Option<Cluster>,
    pub(super) sessions: Inboxes<Sessions>,
    pub(super) conversations: Inboxes<Conversations>,
    pub(super) presences: Inboxes<Presences>,
    /// Rounds of maintenance that this node finished.
    pub(super) rounds: AtomicU64,
    owner: Owner,
    started: Instant,
}

impl Shared {
    pub(super) fn now(&self) -> Now {
        let mono = self.started.elapsed().as_millis();
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        Now {
            mono_ms: u64::try_from(mono).unwrap_or(u64::MAX),
            unix_ms: u64::try_from(unix).unwrap_or(u64::MAX),
        }
    }

    /// Who takes slots over: this node, in this life.
    pub(super) fn owner(&self) -> Owner {
        self.cluster.as_ref().map_or(self.owner, |cluster| cluster.view().me.into())
    }

    /// Whether this node may take a slot over now.
    pub(super) fn may_own(&self, slot: Slot) -> bool {
        let may = |cluster: &Cluster| cluster.may_own(slot, self.now().mono_ms);
        self.cluster.as_ref().is_none_or(may)
    }

    /// A user's sessions and hub live in shards of the same number.
    pub(super) fn user_shard(&self, user: UserId) -> usize {
        // Ids are random; a multiplication spreads those that a test chose by hand.
        let mixed = user.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        usize::try_from(mixed).unwrap_or(0) % self.sessions.len().max(1)
    }

    pub(super) fn conversation_shard(&self, conversation: ConversationId) -> usize {
        usize::from(slot_of(conversation).0) % self.conversations.len().max(1)
    }

    fn session_inbox(&self, user: UserId) -> Option<&Arc<Inbox<Item<Sessions>>>> {
        self.sessions.get(self.user_shard(user))
    }

    /// A shard starts, perhaps not for the first time: hubs that were there are gone.
    pub(super) fn shard_started(&self, kind: &'static str) {
        if kind == Presences::NAME {
            self.tell_all_sessions(&SessionMsg::HubLost);
            self.tell_nodes(&News::HubsLost);
        }
    }

    fn tell_nodes(&self, news: &News) {
        if let Some(cluster) = &self.cluster {
            cluster.tell_nodes(news);
        }
    }

    /// Tells every session of this node what can be told to all alike.
    pub(super) fn tell_all_sessions(&self, msg: &SessionMsg) {
        for inbox in &self.sessions {
            let msg = msg.news();
            inbox.push(Item::Each(Arc::new(move |_, _: &_| {
                msg.as_ref().and_then(SessionMsg::news)
            })));
        }
    }

    /// The hub of a user was lost, on whichever node.
    pub(super) fn hub_lost(&self, user: UserId) {
        let tell = move |session: SessionRef| {
            let own = session.user == user;
            Some(if own { SessionMsg::HubLost } else { SessionMsg::WatchedHubLost(user) })
        };
        for inbox in &self.sessions {
            inbox.push(Item::Each(Arc::new(move |key, _| tell(key))));
        }
    }

    /// Ends every session of a device on this node.
    pub(super) fn end_device(&self, user: UserId, device: DeviceId) {
        if let Some(inbox) = self.session_inbox(user) {
            inbox.push(Item::Each(Arc::new(move |key: SessionRef, session: &Session| {
                let meant = key.user == user && session.device() == Some(device);
                meant.then_some(SessionMsg::End(CloseCode::Revoked))
            })));
        }
    }

    /// Resolves when this node hosts no session.
    pub(super) async fn sessions_ended(&self) {
        emptied(&self.sessions).await;
    }

    /// An actor was lost in a panic: what only a broadcast can tell.
    pub(super) fn lost(&self, kind: &'static str, key: &dyn Any) {
        if kind != Presences::NAME {
            return;
        }
        let Some(&user) = key.downcast_ref::<UserId>() else { return };
        self.hub_lost(user);
        self.tell_nodes(&News::HubLost(user));
    }
}

/// The running actors of a node.
#[derive(Clone)]
pub struct ActorSystem {
    pub(super) shared: Arc<Shared>,
    root: ActorRef<super::supervisor::Command>,
    ended: watch::Receiver<bool>,
}

impl fmt::Debug for ActorSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActorSystem").finish_non_exhaustive()
    }
}

impl ActorSystem {
    /// Starts the supervision tree.
    ///
    /// # Errors
    /// [`StartError`] when a shard can't start.
    pub async fn start(store: Store, config: SystemConfig) -> Result<Self, StartError> {
        fn inboxes<K: Kind>(count: usize) -> Inboxes<K> {
            (0..count).map(|_| Arc::new(Inbox::new(INBOX_BYTES))).collect()
        }
        let shards = config.shards.max(1);
        let shared = Arc::new(Shared {
            store,
            owner: config.owner,
            cluster: config.cluster.map(|cluster| Cluster::new(cluster, config.owner.incarnation)),
            settings: Arc::new(config.settings),
            reads: Semaphore::new(MAX_READS),
            rounds: AtomicU64::new(0),
            started: Instant::now(),
            sessions: inboxes(shards),
            conversations: inboxes(shards),
            presences: inboxes(shards),
        });
        // Ended in reverse: connections first, what they rely on last.
        let mut children = vec![
            maintenance::child(&shared, config.maintenance),
            Child::supervisor("presence", shard_children(&shared, &shared.presences)),
            Child::supervisor("conversations", shard_children(&shared, &shared.conversations)),
            Child::supervisor("gateway", shard_children(&shared, &shared.sessions)),
        ];
        if shared.cluster.is_some() {
            let keeper = keeper_child(&shared);
            children.insert(0, Child::supervisor("cluster", vec![keeper]));
        }
        let (root, task) = Supervisor::spawn(None, Supervisor, children)
            .await
            .map_err(|error| StartError(error.to_string()))?;
        let (end, ended) = watch::channel(false);
        tokio::spawn(async move {
            if let Err(error) = task.await {
                tracing::error!(%error, "the root supervisor panicked");
            }
            end.send_replace(true);
        });
        let system = Self { shared, root, ended };
        if let Err(error) = system.joined().await {
            system.root.get_cell().stop_and_wait(None, None).await.ok();
            return Err(error);
        }
        Ok(system)
    }

    /// Resolves once this node is an active member of its cluster, if it has one.
    async fn joined(&self) -> Result<(), StartError> {
        let Some(cluster) = &self.shared.cluster else { return Ok(()) };
        let mut phase = cluster.phase();
        let settled = phase.wait_for(|phase| match phase {
            Phase::Active => true,
            Phase::Ended(why) => *why != Refused::DeclaredDead,
            _ => false,
        });
        match tokio::time::timeout(JOIN_TIMEOUT, settled).await {
            Ok(Ok(phase)) => match &*phase {
                Phase::Ended(why) => Err(StartError(why.to_string())),
                _ => Ok(()),
            },
            Ok(Err(_)) => Err(StartError("the cluster's keeper ended".into())),
            Err(_) => Err(StartError("the node could not join its cluster in time".into())),
        }
    }

    /// This node, in this life, as addresses of sessions carry it.
    #[must_use]
    pub fn node(&self) -> NodeId {
        NodeId(self.shared.owner().incarnation)
    }

    /// What this node knows of its cluster; none when it works alone.
    #[must_use]
    pub fn view(&self) -> Option<Arc<View>> {
        self.shared.cluster.as_ref().map(Cluster::view)
    }

    /// WebSocket addresses for a client, best first; none when this node works alone.
    #[must_use]
    pub fn endpoints(&self, user: Option<UserId>) -> Vec<String> {
        self.view().map_or_else(Vec::new, |view| view.endpoints(user))
    }

    /// How many rounds of maintenance this node finished.
    #[must_use]
    pub fn maintenance_rounds(&self) -> u64 {
        self.shared.rounds.load(Ordering::Relaxed)
    }

    /// The clocks the actors are told.
    #[must_use]
    pub fn now(&self) -> Now {
        self.shared.now()
    }

    /// A connection wants a session.
    ///
    /// # Errors
    /// [`Full`]: nothing happened.
    pub fn attach(
        &self,
        session: SessionRef,
        attach: Attach,
        outbox: Arc<Outbox>,
    ) -> Result<(), Full> {
        if let Some(cluster) = &self.shared.cluster {
            cluster.admits(session.node)?;
        }
        let inbox = self.shared.session_inbox(session.user).ok_or(Full)?;
        let item = Item::Attach(session, SessionMsg::Attach(attach), outbox);
        inbox.offer(item, MESSAGE_BYTES)
    }

    /// A message from outside the actors: the gateway's frames and news.
    ///
    /// # Errors
    /// [`Full`]: nothing happened. News that a connection is gone is always taken.
    pub fn tell(&self, envelope: Envelope) -> Result<(), Full> {
        match envelope {
            Envelope::Session(to, msg) => {
                let inbox = self.shared.session_inbox(to.user).ok_or(Full)?;
                let bytes = weight(&msg);
                let item = Item::Tell(to, msg);
                match bytes {
                    Some(bytes) => inbox.offer(item, bytes)?,
                    None => inbox.push(item),
                }
            }
            other => {
                let mut outgoing = Outgoing::new(&self.shared);
                outgoing.add(&self.shared, other);
                outgoing.flush(&self.shared);
            }
        }
        Ok(())
    }

    /// Ends every session of a device, on all nodes.
    pub fn end_device(&self, user: UserId, device: DeviceId) {
        self.shared.end_device(user, device);
        self.shared.tell_nodes(&News::EndDevice(user, device));
    }

    /// Ends every session of a device on this node.
    pub fn end_device_here(&self, user: UserId, device: DeviceId) {
        self.shared.end_device(user, device);
    }

    /// Leaves placement, hands the actors off, and sends the clients to other nodes, in waves over
    /// `spread`. Returns when no session is left, or when those that are left don't go.
    pub async fn drain(&self, spread: Duration) {
        let Some(cluster) = &self.shared.cluster else { return };
        cluster.wish(Wish::Drain);
        let mut phase = cluster.phase();
        let left = phase.wait_for(|phase| !matches!(phase, Phase::Joining | Phase::Active));
        if tokio::time::timeout(LEAVE_TIMEOUT, left).await.is_err() {
            tracing::warn!("the node could not leave placement in time");
        }
        self.drained(&self.shared.conversations).await;
        let alternates: Arc<[String]> = self.endpoints(None).into();
        if alternates.is_empty() {
            return;
        }
        tokio::select! {
            () = self.shared.sessions_ended() => {}
            () = self.send_away(&alternates, spread) => {
                tracing::info!("some clients did not leave when they were asked to");
            }
        }
    }

    /// Tells all clients to go, in waves, and gives the last of them time to.
    async fn send_away(&self, alternates: &Arc<[String]>, spread: Duration) {
        for wave in 0..WAVES {
            for inbox in &self.shared.sessions {
                let alternates = Arc::clone(alternates);
                inbox.push(Item::Each(Arc::new(move |key: SessionRef, _: &_| {
                    let meant = key.session.0 % WAVES == wave;
                    meant.then(|| SessionMsg::Drain(Arc::clone(&alternates)))
                })));
            }
            tokio::time::sleep(spread / u32::try_from(WAVES).unwrap_or(1)).await;
        }
        tokio::time::sleep(spread.max(LAST_CLIENTS)).await;
    }

    /// Resolves when the supervision tree has ended, on purpose or because it gave up.
    pub async fn failed(&self) {
        // An error: the sender is gone, so the tree is.
        drop(self.ended.clone().wait_for(|ended| *ended).await);
    }

    /// Ends sessions, then writes what conversations still hold, then stops the tree.
    pub async fn shutdown(&self) {
        if *self.ended.borrow() {
            // The tree gave up: nobody is left to finish anything.
            return;
        }
        for inbox in &self.shared.sessions {
            let end = |_, _: &_| Some(SessionMsg::End(CloseCode::GoingAway));
            inbox.push(Item::Each(Arc::new(end)));
        }
        self.drained(&self.shared.sessions).await;
        for inbox in &self.shared.conversations {
            inbox.push(Item::Each(Arc::new(|_, _: &_| Some(ConversationMsg::Flush))));
        }
        self.drained(&self.shared.conversations).await;
        // Hubs end by themselves once their last session's end is written; watchers are gone.
        self.drained(&self.shared.presences).await;
        self.leave().await;
        if let Err(error) = self.root.get_cell().stop_and_wait(None, None).await {
            tracing::warn!(%error, "the supervision tree had ended before");
        }
    }

    /// Gives the lease back, so that nobody has to find out that this node is gone.
    async fn leave(&self) {
        let Some(cluster) = &self.shared.cluster else { return };
        cluster.wish(Wish::Leave);
        let mut phase = cluster.phase();
        let left = phase.wait_for(|phase| *phase == Phase::Left);
        if tokio::time::timeout(LEAVE_TIMEOUT, left).await.is_err() {
            tracing::warn!("the node could not give its lease back in time");
        }
    }

    /// Waits, for a bounded time, until the shards host nobody any more.
    async fn drained<K: Kind>(&self, inboxes: &Inboxes<K>) {
        if tokio::time::timeout(FLUSH_TIMEOUT, emptied(inboxes)).await.is_err() {
            tracing::warn!(kind = K::NAME, "actors did not finish in time");
        }
    }
}

/// Resolves when these shards host nobody.
async fn emptied<K: Kind>(inboxes: &Inboxes<K>) {
    let waiting = inboxes.iter().map(|inbox| {
        let (reply, empty) = oneshot::channel();
        inbox.push(Item::WhenEmpty(reply));
        empty
    });
    futures_util::future::join_all(waiting).await;
}

/// A random number that is never 0.
pub(super) fn random_u64() -> Result<u64, getrandom::Error> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes).max(1))
}

fn keeper_child(shared: &Arc<Shared>) -> Child {
    let shared = Arc::clone(shared);
    Child::new("keeper", move |parent| {
        let shared = Arc::clone(&shared);
        Box::pin(async move {
            let (actor, _) = Keeper::spawn_linked(None, Keeper, shared, parent).await?;
            Ok(actor.get_cell())
        })
    })
}

/// What a connection's message counts for in the inbox; `None`: it must not be refused.
fn weight(msg: &SessionMsg) -> Option<usize> {
    match msg {
        SessionMsg::Detached { .. } => None,
        SessionMsg::Frames(_, frames) => {
            let frames = frames.iter().map(|frame| match frame {
                ClientFrame::Send(send) => MESSAGE_BYTES + send.body.len(),
                ClientFrame::Watch(watch) => MESSAGE_BYTES + watch.users.len() * 8,
                _ => MESSAGE_BYTES,
            });
            Some(MESSAGE_BYTES + frames.sum::<usize>())
        }
        _ => Some(MESSAGE_BYTES),
    }
}

fn shard_children<K: Kind>(shared: &Arc<Shared>, inboxes: &Inboxes<K>) -> Vec<Child> {
    let children = inboxes.iter().enumerate().map(|(number, inbox)| {
        let (shared, inbox) = (Arc::clone(shared), Arc::clone(inbox));
        Child::new(format!("{}-{number}", K::NAME), move |parent| {
            let arguments = (Arc::clone(&shared), Arc::clone(&inbox));
            Box::pin(async move {
                let shard = ShardActor::<K>(PhantomData);
                let (actor, _) = ShardActor::spawn_linked(None, shard, arguments, parent).await?;
                Ok(actor.get_cell())
            })
        })
    });
    children.collect()
}
