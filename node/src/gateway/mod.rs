//! The door between HTTP and the actors: WebSocket connections, and the start and end of what
//! serves them.
//!
//! ```text
//! upgrade      GET /v1/ws -> 101, one task a connection
//! hello        the first frame: versions, token, device -> who it is
//! admission    how many sends are let in at a time
//! connection   frames to the session, the session's frames to the socket, signs of life, tokens
//! quota        how often a user may do what costs others something
//! refusal      Error, Bye, close
//! socket       one WebSocket: bytes in, chunks out, time to write
//! trim         memory given back after a storm
//! websocket    its framing: messages out of bytes; pure
//! ```
//!
//! Safety: nothing reaches a session before its token was verified and its device found not to be
//! revoked. Liveness: every wait of a connection has an end: for the upgrade, for `Hello`, for the
//! store, for a sign of life, for the client to take what is written, for it to close.

mod admission;
mod connection;
mod follow;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod hello;
mod meters;
mod quota;
mod refusal;
mod revoked;
mod socket;
mod trim;
mod upgrade;
mod websocket;

pub(crate) use follow::follow_revocations;
pub use upgrade::upgrade;

use crate::cluster;
use crate::store::Store;
use admission::Admission;
use meters::Meters;
use quota::Quotas;
use revoked::Revoked;
use rookery_actors::link::NodeKey;
use rookery_actors::message::PresenceMsg;
use rookery_actors::session::Settings;
use rookery_actors::shell::{ActorSystem, Maintenance, SystemConfig};
use rookery_actors::{ConnId, Envelope};
use rookery_cluster_config::{Config, Rate, Retention};
use rookery_protocol::{DeviceId, UserId};
use rookery_store::Owner;
use rookery_store::retention::Policy;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, watch};

/// Reads of accounts and devices under way at a time: each takes a thread.
const READS: usize = 32;
/// Time that connections get to end when the node does.
const LEAVING: Duration = Duration::from_secs(5);

/// What serves the connections of a node.
pub struct Gateway {
    system: ActorSystem,
    meters: Meters,
    admission: Admission,
    quotas: Quotas,
    revoked: Arc<Revoked>,
    reads: Semaphore,
    stop: watch::Sender<bool>,
    open: Arc<Open>,
    next_conn: AtomicU64,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("open", &self.open.count).finish_non_exhaustive()
    }
}

/// Connections that have not ended.
#[derive(Default)]
struct Open {
    count: AtomicUsize,
    ended: Notify,
}

/// Counts a connection for as long as it lives.
struct Opened(Arc<Open>);

impl Drop for Opened {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.ended.notify_waiters();
        }
    }
}

impl Gateway {
    /// Starts everything behind the door.
    ///
    /// # Errors
    /// Why it can't start, in one line.
    pub async fn start(
        config: &Config,
        store: &Store,
        http_addr: SocketAddr,
    ) -> Result<Self, String> {
        let sessions = config.sessions;
        let shards = config.shards;
        let node = config.node.name.as_str();
        let revoked = Arc::new(Revoked::default());
        let marks = Arc::clone(&revoked);
        let system = SystemConfig {
            shards: [shards.sessions, shards.conversations, shards.presence]
                .into_iter()
                .map(|count| count.or_cores())
                .max()
                .unwrap_or(1),
            owner: Owner {
                node: NodeKey::number(node),
                incarnation: random_u64().ok_or("the system has no random numbers")?,
            },
            settings: Settings {
                heartbeat_ms: u32::try_from(sessions.heartbeat_ms).unwrap_or(u32::MAX),
                grace_ms: u32::try_from(sessions.grace_ms).unwrap_or(u32::MAX),
                node: node.into(),
            },
            cluster: cluster::config(
                config,
                http_addr,
                Arc::new(move |user, device| {
                    marks.mark(user, device);
                }),
            ),
            maintenance: maintenance(&config.retention),
        };
        let started = ActorSystem::start(store.clone(), system).await;
        let system = started.map_err(|error| error.to_string())?;
        let (stop, stopping) = watch::channel(false);
        let open = Arc::default();
        tokio::spawn(trim::watch(Arc::clone(&open), stopping));
        Ok(Self {
            system,
            meters: Meters::new(),
            admission: Admission::new(),
            quotas: Quotas::new(&config.limits),
            revoked,
            reads: Semaphore::new(READS),
            stop,
            open,
            next_conn: AtomicU64::new(1),
        })
    }

    /// The actors behind the door.
    #[must_use]
    pub fn actors(&self) -> &ActorSystem {
        &self.system
    }

    /// Closes the connections of a device whose refresh family was revoked.
    pub async fn device_revoked(&self, user: UserId, device: DeviceId) {
        // First the mark, then the end: a hello that read the device's row before is caught by one
        // of the two.
        self.revoked.mark(user, device);
        self.system.end_device(user, device);
    }

    /// Closes the connections that a device has here: another node revoked it, and all were told.
    fn revoked_elsewhere(&self, user: UserId, device: DeviceId) {
        self.revoked.mark(user, device);
        self.system.end_device_here(user, device);
    }

    /// Lets a user make one more change of their own things.
    ///
    /// # Errors
    /// The milliseconds to wait.
    pub(crate) fn may_change(&self, user: UserId) -> Result<(), u32> {
        self.take(user, quota::Kind::Change)
    }

    /// Lets a user make one more search.
    ///
    /// # Errors
    /// The milliseconds to wait.
    pub(crate) fn may_search(&self, user: UserId) -> Result<(), u32> {
        self.take(user, quota::Kind::Search)
    }

    fn take(&self, user: UserId, kind: quota::Kind) -> Result<(), u32> {
        let now_ms = self.system.now().mono_ms;
        self.quotas.take(&self.quotas.of(user, now_ms), kind, now_ms)
    }

    /// From now on users have these rates: of sends, opens, changes, reports, searches.
    pub(crate) fn set_rates(&self, rates: [Rate; quota::KINDS]) {
        self.quotas.set(rates);
    }

    /// Tells a user's devices that something of the user's own changed in the store.
    pub(crate) fn own_changed(&self, user: UserId) {
        // Only sessions have an inbox that can be full.
        let told = self.system.tell(Envelope::Presence(user, PresenceMsg::Own));
        debug_assert!(told.is_ok(), "presences take what they are told");
    }

    /// How many connections are open.
    pub(crate) fn open_connections(&self) -> usize {
        self.open.count.load(Ordering::Acquire)
    }

    /// The actors.
    pub(crate) fn system(&self) -> &ActorSystem {
        &self.system
    }

    /// WebSocket addresses for a client, best first; none when this node works alone.
    pub(crate) fn endpoints(&self, user: Option<UserId>) -> Vec<String> {
        self.system.endpoints(user)
    }

    /// Hands everything to the other nodes of the cluster, if there is one.
    pub(crate) async fn drain(&self, spread: Duration) {
        self.system.drain(spread).await;
    }

    /// Returns when the actors can't go on: the node must end.
    pub async fn failed(&self) {
        self.system.failed().await;
    }

    /// Ends every connection and actor; returns when all that was under way is done.
    pub async fn shutdown(&self) {
        self.stop.send_replace(true);
        self.system.shutdown().await;
        if tokio::time::timeout(LEAVING, self.all_ended()).await.is_err() {
            let open = self.open.count.load(Ordering::Acquire);
            tracing::warn!(open, "connections were still open when the gateway ended");
        }
    }

    async fn all_ended(&self) {
        loop {
            // Asked for before the count is read: an end in between is not missed.
            let ended = self.open.ended.notified();
            if self.open.count.load(Ordering::Acquire) == 0 {
                return;
            }
            ended.await;
        }
    }

    fn opened(&self) -> Opened {
        self.open.count.fetch_add(1, Ordering::AcqRel);
        Opened(Arc::clone(&self.open))
    }

    fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    fn next_conn(&self) -> ConnId {
        ConnId(self.next_conn.fetch_add(1, Ordering::Relaxed))
    }
}

/// The configured retention as the store takes it: 0 days of messages keep them for ever.
fn maintenance(retention: &Retention) -> Maintenance {
    const DAY_MS: u64 = 24 * 3_600 * 1_000;
    let days = |days: u64| days.saturating_mul(DAY_MS);
    let policy = Policy {
        messages_ms: Some(days(retention.messages_days)).filter(|ms| *ms > 0),
        dedupe_ms: days(retention.dedupe_days),
        device_absent_ms: days(retention.device_absent_days),
    };
    Maintenance { policy, interval: Duration::from_secs(retention.interval_s) }
}

fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).ok()?;
    Some(bytes)
}

/// A random number that is never 0.
fn random_u64() -> Option<u64> {
    random().map(|bytes| u64::from_be_bytes(bytes).max(1))
}
