//! The cluster as the shards of a node see it: the view, the links, what is wished for.
//!
//! Safety: this node works for a slot only by a view that its own clock still allows: whatever
//! hangs, [`Cluster::may_own`] says no once the last renewal is too old.

mod keeper;

pub(in crate::shell) use keeper::Keeper;

use super::inbox::Full;
use super::system::{ActorSystem, Shared};
use crate::cluster::{NodeId, Phase, Profile, Timing, View, Wish};
use crate::link::frame::{NEWEST_VERSION, OLDEST_VERSION};
use crate::link::{LinkOut, LinkRefused, NodeKey, OnMessage, OnNotice};
use crate::wire::{self, Header, News, WireError};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use rookery_protocol::{DeviceId, ErrorCode, UserId};
use rookery_store::Slot;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tokio::sync::{Notify, watch};

/// Starts the links of a node for one life.
pub trait StartLinks: Send + Sync {
    /// StartLinks of the node that lives as `own`. Those of a former life have been let go.
    fn start(
        &self,
        own: NodeKey,
        on_message: OnMessage,
        on_notice: OnNotice,
    ) -> BoxFuture<'static, Result<Arc<dyn LinkOut>, String>>;
}

/// Is told of devices that were revoked on another node.
pub type OnRevoked = Arc<dyn Fn(UserId, DeviceId) + Send + Sync>;

/// What makes a node a member of a cluster.
#[derive(Clone)]
pub struct ClusterConfig {
    /// What it says of itself.
    pub profile: Profile,
    /// How often it renews, and how long a silent node is borne.
    pub timing: Timing,
    /// How it reaches others.
    pub links: Arc<dyn StartLinks>,
    /// Told before the sessions of a revoked device end.
    pub on_revoked: OnRevoked,
}

impl fmt::Debug for ClusterConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterConfig")
            .field("profile", &self.profile)
            .field("timing", &self.timing)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Whether this node lives that life; nothing is bound to one where there is no cluster.
    pub(in crate::shell) fn lives_as(&self, life: Option<NodeId>) -> bool {
        let (Some(life), Some(cluster)) = (life, &self.cluster) else { return true };
        cluster.view.borrow().me.incarnation == life.0
    }
}

impl ActorSystem {
    /// Whether there is a link to another node.
    #[must_use]
    pub fn is_linked(&self, node: NodeKey) -> bool {
        self.shared.cluster.as_ref().is_some_and(|cluster| cluster.is_up(node))
    }

    /// The wire version on the link to another node; of this node, the newest it knows.
    #[must_use]
    pub fn link_version(&self, node: NodeKey) -> u8 {
        self.shared.cluster.as_ref().map_or(NEWEST_VERSION, |cluster| cluster.speaks(node))
    }
}

/// The cluster as the shards of a node see it.
pub(in crate::shell) struct Cluster {
    config: ClusterConfig,
    view: watch::Sender<Arc<View>>,
    phase: watch::Sender<Phase>,
    wish: watch::Sender<Wish>,
    /// Until when, on this node's clock, the view allows it to work for its slots.
    serves_until_ms: AtomicU64,
    links: RwLock<Option<Arc<dyn LinkOut>>>,
    look: Notify,
    /// The links of this life can't go on.
    links_failed: AtomicBool,
    /// Nodes that did not get all hints, and don't know it yet.
    lossy: Mutex<BTreeSet<NodeKey>>,
}

impl Cluster {
    pub(in crate::shell) fn new(config: ClusterConfig, incarnation: u64) -> Self {
        let me = NodeKey::new(&config.profile.name, incarnation);
        Self {
            config,
            view: watch::channel(Arc::new(View::empty(me))).0,
            phase: watch::channel(Phase::Outside).0,
            wish: watch::channel(Wish::Serve).0,
            serves_until_ms: AtomicU64::new(0),
            links: RwLock::new(None),
            look: Notify::new(),
            links_failed: AtomicBool::new(false),
            lossy: Mutex::default(),
        }
    }

    /// What holds now.
    pub(in crate::shell) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }

    /// Whether this node may work for a slot at this moment.
    pub(in crate::shell) fn may_own(&self, slot: Slot, now_ms: u64) -> bool {
        let until_ms = self.serves_until_ms.load(Ordering::Relaxed);
        self.view.borrow().may_own(slot, now_ms, until_ms)
    }

    /// Whether a session may begin here under this address.
    pub(in crate::shell) fn admits(&self, node: NodeId) -> Result<(), Full> {
        if self.view.borrow().admits(node) { Ok(()) } else { Err(Full) }
    }

    /// Hands a message to the link.
    pub(in crate::shell) fn send(&self, to: NodeKey, message: Bytes) -> Result<(), ErrorCode> {
        let links = self.links.read().unwrap_or_else(PoisonError::into_inner);
        let Some(links) = links.as_ref() else { return Err(ErrorCode::Moved) };
        // An older node would skip it in silence: what it can't do yet is refused here.
        let since = wire::since(&message);
        if since > OLDEST_VERSION && since > links.speaks(to) {
            metrics::counter!("rookery_messages_refused_total", "why" => "older node").increment(1);
            return Err(ErrorCode::Moved);
        }
        links.send(to, message).map_err(|refused| match refused {
            LinkRefused::Full => ErrorCode::Busy,
            LinkRefused::Unknown => ErrorCode::Moved,
            LinkRefused::TooLarge => ErrorCode::Internal,
        })
    }

    /// A message for a node was refused: once there is room it is told that hints are missing.
    pub(in crate::shell) fn lost_hints(&self, node: NodeKey) {
        self.lossy.lock().unwrap_or_else(PoisonError::into_inner).insert(node);
    }

    /// Tells nodes that they missed hints.
    fn confess(&self) {
        let view = self.view();
        let lossy = std::mem::take(&mut *self.lossy.lock().unwrap_or_else(PoisonError::into_inner));
        let message = wire::encode_news(Header { hops: 0, epoch: view.epoch }, &News::HintsLost);
        for node in lossy {
            let member = view.members.iter().any(|member| member.key == node);
            if member && self.send(node, message.clone()).is_err() {
                self.lost_hints(node);
            }
        }
    }

    /// Tells every other node.
    pub(in crate::shell) fn tell_nodes(&self, news: &News) {
        let view = self.view();
        let message = wire::encode_news(Header { hops: 0, epoch: view.epoch }, news);
        for member in view.others() {
            if self.send(member.key, message.clone()).is_err() {
                tracing::warn!(node = member.lease.name, ?news, "a node could not be told");
            }
        }
    }

    /// The members may have changed.
    pub(in crate::shell) fn look_now(&self) {
        self.look.notify_one();
    }

    pub(in crate::shell) fn wish(&self, wish: Wish) {
        self.wish.send_replace(wish);
        self.look_now();
    }

    /// Where the node is in its life, now and when that changes.
    pub(in crate::shell) fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// A device was revoked on another node.
    pub(in crate::shell) fn revoked(&self, user: UserId, device: DeviceId) {
        (self.config.on_revoked)(user, device);
    }

    /// A message could not be read.
    pub(in crate::shell) fn malformed(&self, from: NodeKey, error: &WireError) {
        let why = match error {
            WireError::Version(_) => "version",
            WireError::Malformed(_) => "malformed",
        };
        metrics::counter!("rookery_messages_refused_total", "why" => why).increment(1);
        tracing::warn!(%from, %error, "a message of another node was refused");
    }

    fn set_links(&self, links: Option<Arc<dyn LinkOut>>) {
        *self.links.write().unwrap_or_else(PoisonError::into_inner) = links;
    }

    fn set_peers(&self, view: &View) {
        let links = self.links.read().unwrap_or_else(PoisonError::into_inner);
        let Some(links) = links.as_ref() else { return };
        links.set_peers(view.peers());
    }

    /// Whether a node is linked.
    pub(in crate::shell) fn is_up(&self, node: NodeKey) -> bool {
        let links = self.links.read().unwrap_or_else(PoisonError::into_inner);
        links.as_ref().is_some_and(|links| links.is_up(node))
    }

    /// The members that are linked.
    fn linked(&self, view: &View) -> BTreeSet<NodeKey> {
        view.others().map(|member| member.key).filter(|key| self.is_up(*key)).collect()
    }

    /// The wire version that a node speaks.
    pub(in crate::shell) fn speaks(&self, node: NodeKey) -> u8 {
        let links = self.links.read().unwrap_or_else(PoisonError::into_inner);
        links.as_ref().map_or(OLDEST_VERSION, |links| match node == links.own() {
            true => NEWEST_VERSION,
            false => links.speaks(node),
        })
    }

    /// Whether an answer of a node is in sight.
    pub(in crate::shell) fn is_prompt(&self, node: NodeKey) -> bool {
        let links = self.links.read().unwrap_or_else(PoisonError::into_inner);
        links.as_ref().is_some_and(|links| links.is_prompt(node))
    }

    /// Whether all active members are linked.
    fn is_linked(&self, view: &View) -> bool {
        let links = self.links.read().unwrap_or_else(PoisonError::into_inner);
        let Some(links) = links.as_ref() else { return false };
        view.is_linked(|node| links.is_up(node))
    }
}
