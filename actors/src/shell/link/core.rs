//! What all parts of a node's links share: who it is, its peers, the clock.

use super::peers::PeerLink;
use super::refusals::Refusals;
use super::router::ROUTERS;
use super::sessions::Sessions;
use crate::link::frame::{Frame, FrameError};
use crate::link::{NodeKey, OnMessage, OnNotice, Peer};
use bytes::Bytes;
use ractor::ActorRef;
use ractor_cluster::NodeServerMessage;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

/// Dropped peers whose numbers are remembered.
const REMEMBERED: usize = 1024;

/// See the module.
pub(super) struct Core {
    pub(super) own: NodeKey,
    pub(super) name: String,
    pub(super) incarnation: u64,
    pub(super) cluster: String,
    /// The newest wire version this node speaks.
    pub(super) newest: u8,
    pub(super) on_message: OnMessage,
    pub(super) on_notice: OnNotice,
    pub(super) sessions: Sessions,
    pub(super) refusals: Refusals,
    peers: RwLock<HashMap<NodeKey, Arc<PeerLink>>>,
    /// What was expected from peers that the view dropped: it may hold them again.
    former: Mutex<VecDeque<(NodeKey, u64)>>,
    server: Mutex<Option<ActorRef<NodeServerMessage>>>,
    routers: Mutex<[u64; ROUTERS]>,
    connections: AtomicU64,
    /// The links are ended on purpose.
    pub(super) ending: AtomicBool,
    started: Instant,
}

impl Core {
    pub(super) fn new(
        (cluster, name, incarnation): (String, String, u64),
        newest: u8,
        on_message: OnMessage,
        on_notice: OnNotice,
    ) -> Self {
        Self {
            own: NodeKey::new(&name, incarnation),
            name,
            incarnation,
            cluster,
            newest,
            on_message,
            on_notice,
            sessions: Sessions::default(),
            refusals: Refusals::default(),
            peers: RwLock::default(),
            former: Mutex::default(),
            server: Mutex::default(),
            routers: Mutex::new([0; ROUTERS]),
            connections: AtomicU64::new(0),
            ending: AtomicBool::new(false),
            started: Instant::now(),
        }
    }

    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The name by which ractor_cluster knows a node: one a life, so that a node that comes back is
    /// never taken for its former self.
    pub(super) fn session_name(&self, name: &str, incarnation: u64) -> String {
        format!("{name}.{incarnation}@{}", self.cluster)
    }

    pub(super) fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn server(&self) -> Option<ActorRef<NodeServerMessage>> {
        lock(&self.server).clone()
    }

    pub(super) fn server_started(&self, server: ActorRef<NodeServerMessage>) {
        *lock(&self.server) = Some(server);
        self.sessions.forget_all();
    }

    /// A router started. Peers that know an earlier one by its number must learn the new one.
    pub(super) fn router_started(&self, number: usize, pid: u64) {
        let earlier = {
            let mut routers = lock(&self.routers);
            routers.get_mut(number).map(|router| std::mem::replace(router, pid))
        };
        if earlier.is_some_and(|earlier| earlier != 0) {
            for peer in self.peers() {
                peer.hang_up();
            }
        }
    }

    pub(super) fn routers(&self) -> Vec<u64> {
        lock(&self.routers).to_vec()
    }

    /// Bytes from another node.
    pub(super) fn received(&self, bytes: Bytes) {
        metrics::counter!("rookery_link_frames_received_total").increment(1);
        let frame = match Frame::decode(bytes) {
            Ok(frame) => frame,
            // Who sent it is not known: ractor_cluster does not tell. If messages are missing now, the
            // link to that peer finds out by their numbers.
            Err(error) => return self.refusals.bad_frame("unknown", &error),
        };
        let from = frame.header.from;
        match self.peer(from) {
            Some(peer) if frame.header.to == self.own => peer.frame(self, frame),
            _ => self.refusals.bad_frame(&from.to_string(), &FrameError::NotForUs),
        }
    }

    /// A message that no version of this code sends.
    pub(super) fn unknown_message(&self) {
        self.refusals.bad_frame("unknown", &"not a cast");
    }

    pub(super) fn peer(&self, key: NodeKey) -> Option<Arc<PeerLink>> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }

    pub(super) fn peers(&self) -> Vec<Arc<PeerLink>> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// A new view. Peers to begin with.
    pub(super) fn set_peers(&self, view: Vec<Peer>) -> Vec<Arc<PeerLink>> {
        let mut begun = Vec::new();
        let dropped = {
            let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
            let mut kept = HashMap::with_capacity(view.len());
            for peer in view {
                let key = peer.key();
                if key == self.own {
                    continue;
                }
                let link = match peers.remove(&key) {
                    Some(link) => {
                        link.set_address(peer.address);
                        link
                    }
                    None => {
                        let link = Arc::new(self.begin(peer));
                        begun.push(Arc::clone(&link));
                        link
                    }
                };
                kept.insert(key, link);
            }
            std::mem::replace(&mut *peers, kept)
        };
        for (key, peer) in dropped {
            if let Some(expected) = peer.close(self) {
                let mut former = lock(&self.former);
                former.push_back((key, expected));
                if former.len() > REMEMBERED {
                    former.pop_front();
                }
            }
        }
        begun
    }

    fn begin(&self, peer: Peer) -> PeerLink {
        let expected = {
            let mut former = lock(&self.former);
            let at = former.iter().rposition(|(key, _)| *key == peer.key());
            at.and_then(|at| former.remove(at)).map_or(0, |(_, expected)| expected)
        };
        let start = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        PeerLink::new(self.own, peer, start, expected)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these guard is replaced in one step, never half.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
