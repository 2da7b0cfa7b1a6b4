//! The actor system of a node: shards, routing between them, start and end.

use super::inbox::{Full, Inbox};
use super::kind::{Conversations, Kind, Presences, Sessions};
use super::maintenance::{Maintainer, Maintenance};
use super::outbox::Outbox;
use super::shard::{Item, ShardActor};
use super::supervisor::{Child, Supervisor};
use crate::message::{Attach, ConversationMsg, Envelope, SessionMsg, SessionRef};
use crate::session::{Session, Settings};
use crate::time::Now;
use ractor::{Actor, ActorRef};
use rookery_protocol::{ClientFrame, CloseCode, ConversationId, DeviceId, UserId};
use rookery_store::{Owner, Store, slot_of};
use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{Semaphore, oneshot, watch};

/// Bytes of client frames that may wait in one shard's inbox.
const INBOX_BYTES: usize = 64 * 1024 * 1024;
/// What a message costs the inbox beside its frames.
const MESSAGE_BYTES: usize = 256;
/// Reads under way at once, of all shards.
const MAX_READS: usize = 64;
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

type Inboxes<K> = Vec<Arc<Inbox<Item<K>>>>;

/// What all shards of a node share.
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) owner: Owner,
    pub(super) settings: Arc<Settings>,
    pub(super) reads: Semaphore,
    started: Instant,
    sessions: Inboxes<Sessions>,
    conversations: Inboxes<Conversations>,
    presences: Inboxes<Presences>,
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

    /// A user's sessions and hub live in shards of the same number.
    fn user_shard(&self, user: UserId) -> usize {
        // Ids are random; a multiplication spreads those that a test chose by hand.
        let mixed = user.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        usize::try_from(mixed).unwrap_or(0) % self.sessions.len().max(1)
    }

    fn conversation_shard(&self, conversation: ConversationId) -> usize {
        usize::from(slot_of(conversation).0) % self.conversations.len().max(1)
    }

    fn session_inbox(&self, user: UserId) -> Option<&Arc<Inbox<Item<Sessions>>>> {
        self.sessions.get(self.user_shard(user))
    }

    /// A shard starts, perhaps not for the first time: hubs that were there are gone.
    pub(super) fn shard_started(&self, kind: &'static str) {
        if kind == Presences::NAME {
            for inbox in &self.sessions {
                inbox.push(Item::Each(Arc::new(|_, _: &_| Some(SessionMsg::HubLost))));
            }
        }
    }

    /// An actor was lost in a panic: what only a broadcast can tell.
    pub(super) fn lost(&self, kind: &'static str, key: &dyn Any) {
        if kind != Presences::NAME {
            return;
        }
        let Some(&user) = key.downcast_ref::<UserId>() else { return };
        let tell = move |session: SessionRef| {
            let own = session.user == user;
            Some(if own { SessionMsg::HubLost } else { SessionMsg::WatchedHubLost(user) })
        };
        for inbox in &self.sessions {
            inbox.push(Item::Each(Arc::new(move |key, _| tell(key))));
        }
    }
}

/// Messages of a turn on their way to other shards.
pub(super) struct Outgoing {
    sessions: Vec<Vec<Item<Sessions>>>,
    conversations: Vec<Vec<Item<Conversations>>>,
    presences: Vec<Vec<Item<Presences>>>,
}

impl Outgoing {
    pub(super) fn new(shared: &Shared) -> Self {
        fn lanes<T>(count: usize) -> Vec<Vec<T>> {
            (0..count).map(|_| Vec::new()).collect()
        }
        Self {
            sessions: lanes(shared.sessions.len()),
            conversations: lanes(shared.conversations.len()),
            presences: lanes(shared.presences.len()),
        }
    }

    pub(super) fn add(&mut self, shared: &Shared, envelope: Envelope) {
        match envelope {
            Envelope::Session(to, msg) => {
                if let Some(lane) = self.sessions.get_mut(shared.user_shard(to.user)) {
                    lane.push(Item::Tell(to, msg));
                }
            }
            Envelope::Conversation(to, msg) => {
                if let Some(lane) = self.conversations.get_mut(shared.conversation_shard(to)) {
                    lane.push(Item::Tell(to, msg));
                }
            }
            Envelope::Presence(to, msg) => {
                if let Some(lane) = self.presences.get_mut(shared.user_shard(to)) {
                    lane.push(Item::Tell(to, msg));
                }
            }
        }
    }

    pub(super) fn flush(&mut self, shared: &Shared) {
        fn flush<T>(lanes: &mut [Vec<T>], inboxes: &[Arc<Inbox<T>>]) {
            for (lane, inbox) in lanes.iter_mut().zip(inboxes) {
                inbox.append(lane);
            }
        }
        flush(&mut self.sessions, &shared.sessions);
        flush(&mut self.conversations, &shared.conversations);
        flush(&mut self.presences, &shared.presences);
    }
}

/// The running actors of a node.
#[derive(Clone)]
pub struct ActorSystem {
    shared: Arc<Shared>,
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
            settings: Arc::new(config.settings),
            reads: Semaphore::new(MAX_READS),
            started: Instant::now(),
            sessions: inboxes(shards),
            conversations: inboxes(shards),
            presences: inboxes(shards),
        });
        // Ended in reverse: connections first, what they rely on last.
        let children = vec![
            maintenance_child(&shared.store, config.maintenance),
            Child::supervisor("presence", shard_children(&shared, &shared.presences)),
            Child::supervisor("conversations", shard_children(&shared, &shared.conversations)),
            Child::supervisor("gateway", shard_children(&shared, &shared.sessions)),
        ];
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
        Ok(Self { shared, root, ended })
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

    /// Ends every session of a device.
    pub fn end_device(&self, user: UserId, device: DeviceId) {
        if let Some(inbox) = self.shared.session_inbox(user) {
            inbox.push(Item::Each(Arc::new(move |key: SessionRef, session: &Session| {
                let meant = key.user == user && session.device() == Some(device);
                meant.then_some(SessionMsg::End(CloseCode::Revoked))
            })));
        }
    }

    /// Resolves when the supervision tree has ended, on purpose or because it gave up.
    pub async fn failed(&self) {
        // An error: the sender is gone, so the tree is.
        drop(self.ended.clone().wait_for(|ended| *ended).await);
    }

    /// Ends sessions, then writes what conversations still hold, then stops the tree.
    pub async fn shutdown(&self) {
        for inbox in &self.shared.sessions {
            let end = |_, _: &_| Some(SessionMsg::End(CloseCode::GoingAway));
            inbox.push(Item::Each(Arc::new(end)));
        }
        self.drained(&self.shared.sessions).await;
        for inbox in &self.shared.conversations {
            inbox.push(Item::Each(Arc::new(|_, _: &_| Some(ConversationMsg::Flush))));
        }
        self.drained(&self.shared.conversations).await;
        self.drained_presence().await;
        if let Err(error) = self.root.get_cell().stop_and_wait(None, None).await {
            tracing::warn!(%error, "the supervision tree had ended before");
        }
    }

    /// Hubs end by themselves once their last session's end is written; watchers are gone.
    async fn drained_presence(&self) {
        self.drained(&self.shared.presences).await;
    }

    /// Waits, for a bounded time, until the shards host nobody any more.
    async fn drained<K: Kind>(&self, inboxes: &Inboxes<K>) {
        let waiting = inboxes.iter().map(|inbox| {
            let (reply, empty) = oneshot::channel();
            inbox.push(Item::WhenEmpty(reply));
            empty
        });
        let all = futures_util::future::join_all(waiting);
        if tokio::time::timeout(FLUSH_TIMEOUT, all).await.is_err() {
            tracing::warn!(kind = K::NAME, "actors did not finish in time");
        }
    }
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

fn maintenance_child(store: &Store, maintenance: Maintenance) -> Child {
    let store = store.clone();
    Child::new("maintenance", move |parent| {
        let arguments = (store.clone(), maintenance);
        Box::pin(async move {
            let (actor, _) = Maintainer::spawn_linked(None, Maintainer, arguments, parent).await?;
            Ok(actor.get_cell())
        })
    })
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
