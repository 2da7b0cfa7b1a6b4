//! Links over ractor_cluster 0.16.5: the shell around [`crate::link`].
//!
//! ```text
//! links (one-for-one)
//! |- router-0, router-1   the only remotable actors: frames come in here
//! |- sessions             ractor_cluster's NodeServer, one session a connection
//! |- ticks                the clock of all links
//! `- accept               the listener; each connection is greeted in a task of its own
//! tasks: one dial loop a peer with a higher name, which survives what goes wrong in it
//!
//! send -> Link (pure, under the peer's lock) -> cast to the peer's router -> session -> TLS -> TCP
//! TCP -> TLS -> session -> router -> Link -> handler
//! ```
//!
//! What ractor_cluster does not do, and what is done about it:
//!
//! | it | so |
//! |---|---|
//! | shows every actor with a serializable message to every peer, and tells each start and end of one | two routers have such messages, nothing else (tested) |
//! | has no flow control: all queues are unbounded | a window of bytes, granted by the receiver |
//! | does not notice a silent peer: it pings and never looks at the pongs | beats that must be echoed; silence for 5 s ends the connection |
//! | does not reconnect, and loses what was under way | we dial again; what isn't acknowledged is sent again |
//! | its listener does TLS inside its accept loop: one silent dialer blocks all others | we accept and dial ourselves, each in its own task, with time-outs, and hand the stream over |
//! | its listener can't be switched off, and listens on all addresses | it is bound to loopback, and its TLS refuses everybody |
//! | chooses between two sessions of the same names by lot, so a peer that comes back may lose to its dead self | the incarnation is in the name; the lower name dials; the older connection is ended, and waited for, first |
//! | authenticates by a cookie, not by who is there | mutual TLS bound to names; the cookie is no secret; the session's name is compared with the certified one |
//! | drops a message that can't be decoded without counting it | decoding to [`router`]'s message can't fail; frames are decoded by our own code after that |
//! | gives remote actors no address but groups and names, which are one name space a process | routers tell their numbers in the greeting, and are looked up among the session's children |
//! | stopping or killing a reference to a remote actor ends the local stand-in, for all | nobody does: connections are ended by ending the stream beneath ([`pipe`]) |
//!
//! `tests/ractor_cluster_defects.rs` shows these defects, so that an upgrade tells what changed.

mod accept;
mod connection;
mod core;
mod dial;
mod peers;
mod pipe;
mod refusals;
mod router;
mod sessions;
mod tls;

pub use tls::{TlsError, TlsFiles};

use self::core::Core;
use self::router::{ROUTERS, Router};
use self::tls::Tls;
use super::supervisor::{Child, Command, Supervisor};
use crate::link::frame::{MAX_FRAME_BYTES, NEWEST_VERSION, OLDEST_VERSION};
use crate::link::names;
use crate::link::{
    LinkOut, LinkRefused, MAX_MESSAGE_BYTES, NodeKey, Notice, OnMessage, OnNotice, Peer,
};
use bytes::Bytes;
use ractor::{Actor, ActorRef};
use ractor_cluster::node::NodeConnectionMode;
use ractor_cluster::{IncomingEncryptionMode, NodeServer, NodeServerMessage};
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// How often links look at the clock: a beat is late by no more than this.
const TICK: Duration = Duration::from_millis(100);
/// What ractor_cluster puts around a frame, at most.
const ENVELOPE_BYTES: usize = 1024;

/// What a node's links need to know.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// The cluster's name.
    pub cluster: String,
    /// This node's name.
    pub name: String,
    /// Which of its lives: never used twice.
    pub incarnation: u64,
    /// Where other nodes connect; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The node's certificates.
    pub tls: TlsFiles,
    /// The newest wire version to speak, when it is not the newest one known: while an upgrade may
    /// still be taken back.
    pub newest: Option<u8>,
}

/// Why links can't start.
#[derive(Debug)]
pub enum LinkStartError {
    /// The node's or the cluster's name is not allowed.
    Name(String),
    /// The certificates can't be used.
    Tls(TlsError),
    /// The address can't be listened on.
    Listen(SocketAddr, std::io::Error),
    /// The actors can't start.
    Actors(String),
}

impl fmt::Display for LinkStartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(
                f,
                "{name:?} is no name for a node or a cluster: lower-case letters, digits and hyphens"
            ),
            Self::Tls(error) => write!(f, "certificates: {error}"),
            Self::Listen(address, error) => write!(f, "can't listen on {address}: {error}"),
            Self::Actors(error) => write!(f, "the links' actors can't start: {error}"),
        }
    }
}

impl std::error::Error for LinkStartError {}

/// What is known of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkStatus {
    /// Its name.
    pub name: String,
    /// Which of its lives.
    pub incarnation: u64,
    /// Connected, in both directions.
    pub up: bool,
    /// Bytes that wait for it or are in flight.
    pub waiting_bytes: usize,
}

/// The links of a node.
pub struct Links {
    core: Arc<Core>,
    tls: Arc<Tls>,
    root: ActorRef<Command>,
    ended: watch::Receiver<bool>,
    address: SocketAddr,
    runtime: Handle,
    dials: Mutex<HashMap<NodeKey, JoinHandle<()>>>,
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links").field("own", &self.core.own).finish_non_exhaustive()
    }
}

impl Links {
    /// Starts listening. There are no peers until [`LinkOut::set_peers`].
    ///
    /// # Errors
    /// [`LinkStartError`].
    pub async fn start(
        config: LinkConfig,
        on_message: OnMessage,
        on_notice: OnNotice,
    ) -> Result<Arc<Self>, LinkStartError> {
        let LinkConfig { cluster, name, incarnation, listen, tls, newest } = config;
        let newest = newest.unwrap_or(NEWEST_VERSION).clamp(OLDEST_VERSION, NEWEST_VERSION);
        if let Some(wrong) = [&cluster, &name].into_iter().find(|name| !names::is_valid(name)) {
            return Err(LinkStartError::Name(wrong.clone()));
        }
        let tls = Arc::new(Tls::new(tls, &cluster, &name).map_err(LinkStartError::Tls)?);
        let unbound = |error| LinkStartError::Listen(listen, error);
        let listener = TcpListener::bind(listen).await.map_err(unbound)?;
        let address = listener.local_addr().map_err(unbound)?;
        let core = Arc::new(Core::new((cluster, name, incarnation), newest, on_message, on_notice));
        let mut children = children(&core);
        children.extend(task_children(&core, &tls, listener));
        let (root, task) = Supervisor::spawn(None, Supervisor, children)
            .await
            .map_err(|error| LinkStartError::Actors(error.to_string()))?;
        let (end, ended) = watch::channel(false);
        let watched = Arc::clone(&core);
        tokio::spawn(async move {
            if let Err(error) = task.await {
                tracing::error!(%error, "the links' supervisor panicked");
            }
            end.send_replace(true);
            if !watched.ending.load(Ordering::Relaxed) {
                tracing::error!("the links gave up");
                (watched.on_notice)(Notice::Failed);
            }
        });
        let (runtime, dials) = (Handle::current(), Mutex::default());
        Ok(Arc::new(Self { core, tls, root, ended, address, runtime, dials }))
    }

    /// Where other nodes connect.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// All peers of the view, by name.
    #[must_use]
    pub fn status(&self) -> Vec<LinkStatus> {
        let peers = self.core.peers().into_iter().map(|peer| LinkStatus {
            name: peer.name.clone(),
            incarnation: peer.incarnation,
            up: peer.is_up(),
            waiting_bytes: peer.waiting_bytes(),
        });
        let mut status: Vec<_> = peers.collect();
        status.sort_by(|a, b| (&a.name, a.incarnation).cmp(&(&b.name, b.incarnation)));
        status
    }

    /// Resolves when the links' actors have ended, on purpose or because they gave up.
    pub async fn failed(&self) {
        // An error: the sender is gone, so the actors are.
        drop(self.ended.clone().wait_for(|ended| *ended).await);
    }

    /// Ends all links at once. What is not acknowledged is given up.
    pub async fn shutdown(&self) {
        self.core.ending.store(true, Ordering::Relaxed);
        self.set_peers(Vec::new());
        if let Err(error) = self.root.get_cell().stop_and_wait(None, None).await {
            tracing::warn!(%error, "the links' actors had ended before");
        }
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        // For who forgot to shut down: nothing of a link may outlive it.
        self.core.ending.store(true, Ordering::Relaxed);
        self.set_peers(Vec::new());
        self.root.stop(None);
    }
}

impl LinkOut for Links {
    fn own(&self) -> NodeKey {
        self.core.own
    }

    fn send(&self, to: NodeKey, message: Bytes) -> Result<(), LinkRefused> {
        if message.len() > MAX_MESSAGE_BYTES {
            return Err(LinkRefused::TooLarge);
        }
        self.core.peer(to).ok_or(LinkRefused::Unknown)?.send(message)
    }

    fn set_peers(&self, peers: Vec<Peer>) {
        let begun = self.core.set_peers(peers);
        let mut dials = self.dials.lock().unwrap_or_else(PoisonError::into_inner);
        dials.retain(|key, dial| {
            let kept = self.core.peer(*key).is_some();
            if !kept {
                dial.abort();
            }
            kept
        });
        for peer in begun {
            if self.core.name < peer.name {
                let (core, tls, key) = (Arc::clone(&self.core), Arc::clone(&self.tls), peer.key);
                let dial = self.runtime.spawn(dial::dial_loop(core, tls, peer));
                dials.insert(key, dial);
            }
        }
    }

    fn is_up(&self, peer: NodeKey) -> bool {
        self.core.peer(peer).is_some_and(|peer| peer.is_up())
    }

    fn speaks(&self, peer: NodeKey) -> u8 {
        self.core.peer(peer).and_then(|peer| peer.version()).unwrap_or(OLDEST_VERSION)
    }

    fn is_prompt(&self, peer: NodeKey) -> bool {
        self.core.peer(peer).is_some_and(|peer| peer.is_prompt())
    }
}

async fn tick_loop(core: Arc<Core>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for peer in core.peers() {
            peer.tick(&core);
        }
    }
}

/// What listens outlives what accepts, so that a restart loses no connection.
fn task_children(core: &Arc<Core>, tls: &Arc<Tls>, listener: TcpListener) -> [Child; 2] {
    let (ticked, core, tls) = (Arc::clone(core), Arc::clone(core), Arc::clone(tls));
    let listener = Arc::new(listener);
    [
        Child::task("ticks", move || tick_loop(Arc::clone(&ticked))),
        Child::task("accept", move || {
            accept::accept_loop(Arc::clone(&core), Arc::clone(&tls), Arc::clone(&listener))
        }),
    ]
}

fn children(core: &Arc<Core>) -> Vec<Child> {
    let router = |number: usize| {
        let core = Arc::clone(core);
        Child::new(format!("router-{number}"), move |parent| {
            let core = Arc::clone(&core);
            // Without a name: names are one name space a process.
            Box::pin(async move {
                let (actor, _) = Router::spawn_linked(None, Router(number), core, parent).await?;
                Ok(actor.get_cell())
            })
        })
    };
    let core = Arc::clone(core);
    let sessions = Child::new("sessions", move |parent| {
        let core = Arc::clone(&core);
        Box::pin(async move {
            let server = node_server(&core)
                .map_err(|error| ractor::SpawnErr::StartupFailed(error.into()))?;
            let (actor, _) = NodeServer::spawn_linked(None, server, (), parent).await?;
            let subscription = Box::new(core.sessions.clone());
            let subscribe =
                NodeServerMessage::SubscribeToEvents { id: "links".to_owned(), subscription };
            actor
                .cast(subscribe)
                .map_err(|error| ractor::SpawnErr::StartupFailed(error.to_string().into()))?;
            core.server_started(actor.clone());
            Ok(actor.get_cell())
        })
    });
    (0..ROUTERS).map(router).chain([sessions]).collect()
}

fn node_server(core: &Core) -> Result<NodeServer, TlsError> {
    let refuses_all = TlsAcceptor::from(tls::refuses_all()?);
    let limit = u64::try_from(MAX_FRAME_BYTES + ENVELOPE_BYTES).unwrap_or(u64::MAX);
    let server = NodeServer::new(
        0,
        // Both sides must say the same; who a peer is, is for TLS.
        core.cluster.clone(),
        format!("{}.{}", core.name, core.incarnation),
        core.cluster.clone(),
        Some(IncomingEncryptionMode::Tls(refuses_all)),
        Some(NodeConnectionMode::Isolated),
    );
    Ok(server.with_listen_addr(IpAddr::V4(Ipv4Addr::LOCALHOST)).with_max_inbound_frame_size(limit))
}
