//! Links inside one process, with faults on demand: for tests and simulation of what lies above.
//!
//! Keeps the promises of [`LinkOut`] and nothing more. Deterministic: a message is handed over
//! before `send` returns (or, sent from inside a handler, before the outermost `send` returns),
//! unless a fault holds it. There is no clock: a delay lasts until [`Loopback::release`].

use super::{LinkOut, LinkRefused, MAX_MESSAGE_BYTES, NodeKey, Notice, OnMessage, OnNotice, Peer};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Bytes that may wait between two nodes.
const WAITING_BYTES: usize = 4 * 1024 * 1024;

/// A network of nodes in one process. Clones are the same network.
#[derive(Clone, Default)]
pub struct Loopback {
    net: Arc<Mutex<Net>>,
}

#[derive(Default)]
struct Net {
    nodes: BTreeMap<NodeKey, Node>,
    lanes: BTreeMap<(NodeKey, NodeKey), Lane>,
    /// Handlers to call, in order, outside the lock.
    calls: VecDeque<Call>,
    /// Somebody is calling handlers: whoever adds calls need not.
    calling: bool,
}

struct Node {
    on_message: OnMessage,
    on_notice: OnNotice,
    peers: BTreeSet<NodeKey>,
    up: BTreeSet<NodeKey>,
}

#[derive(Default)]
struct Lane {
    waiting: VecDeque<Bytes>,
    bytes: usize,
    held: bool,
    cut: bool,
    /// This many of the next messages vanish without a word.
    drop: u64,
}

enum Call {
    Message(OnMessage, NodeKey, Bytes),
    Notice(OnNotice, Notice),
}

impl fmt::Debug for Loopback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loopback").finish_non_exhaustive()
    }
}

impl Loopback {
    /// A network without nodes and faults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A node appears. It is linked to a peer once both have each other in their views.
    #[must_use]
    pub fn join(
        &self,
        own: NodeKey,
        on_message: OnMessage,
        on_notice: OnNotice,
    ) -> Arc<LoopbackNode> {
        let node = Node { on_message, on_notice, peers: BTreeSet::new(), up: BTreeSet::new() };
        self.lock().nodes.insert(own, node);
        Arc::new(LoopbackNode { own, net: Arc::downgrade(&self.net) })
    }

    /// A node vanishes, as a killed process does: what waits for it waits on.
    pub fn crash(&self, node: NodeKey) {
        self.change(|net| {
            net.nodes.remove(&node);
            net.lanes.retain(|(from, _), _| *from != node);
            net.settle();
        });
    }

    /// The way from one node to another is cut: both see each other down, messages wait. Cut both
    /// ways for a partition; cut one way, the link is down all the same, as real ones are.
    pub fn cut(&self, from: NodeKey, to: NodeKey) {
        self.change(|net| {
            net.lane(from, to).cut = true;
            net.settle();
        });
    }

    /// The way is open again; what waited is handed over.
    pub fn heal(&self, from: NodeKey, to: NodeKey) {
        self.change(|net| {
            net.lane(from, to).cut = false;
            net.settle();
        });
    }

    /// Messages from one node to another are delayed until [`Loopback::release`].
    pub fn hold(&self, from: NodeKey, to: NodeKey) {
        self.change(|net| net.lane(from, to).held = true);
    }

    /// Delayed messages are handed over, later ones are not delayed.
    pub fn release(&self, from: NodeKey, to: NodeKey) {
        self.change(|net| {
            net.lane(from, to).held = false;
            net.settle();
        });
    }

    /// The next `count` messages from one node to another vanish without a word: worse than a link
    /// promises, as bad as the receiver must bear.
    pub fn drop_next(&self, from: NodeKey, to: NodeKey, count: u64) {
        self.change(|net| net.lane(from, to).drop = count);
    }

    fn lock(&self) -> MutexGuard<'_, Net> {
        lock(&self.net)
    }

    fn change(&self, what: impl FnOnce(&mut Net)) {
        what(&mut self.lock());
        call(&self.net);
    }
}

fn lock(net: &Mutex<Net>) -> MutexGuard<'_, Net> {
    // A handler that panicked did so outside the lock: the net is whole.
    net.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Calls the handlers that wait, unless a caller further up the stack does so already.
fn call(net: &Mutex<Net>) {
    {
        let mut net = lock(net);
        if net.calling {
            return;
        }
        net.calling = true;
    }
    loop {
        let next = {
            let mut net = lock(net);
            let next = net.calls.pop_front();
            net.calling = next.is_some();
            next
        };
        match next {
            Some(Call::Message(handler, from, message)) => handler(from, message),
            Some(Call::Notice(handler, notice)) => handler(notice),
            None => return,
        }
    }
}

impl Net {
    fn lane(&mut self, from: NodeKey, to: NodeKey) -> &mut Lane {
        self.lanes.entry((from, to)).or_default()
    }

    fn linked(&self, a: NodeKey, b: NodeKey) -> bool {
        let has = |a, b| self.nodes.get(&a).is_some_and(|node: &Node| node.peers.contains(&b));
        let cut = |a, b| self.lanes.get(&(a, b)).is_some_and(|lane| lane.cut);
        has(a, b) && has(b, a) && !cut(a, b) && !cut(b, a)
    }

    /// Tells each node who is up or down now, and hands over what may be.
    fn settle(&mut self) {
        let keys: Vec<NodeKey> = self.nodes.keys().copied().collect();
        for own in keys {
            let Some(node) = self.nodes.get(&own) else { continue };
            let known: Vec<NodeKey> = node.peers.union(&node.up).copied().collect();
            for peer in known {
                let linked = self.linked(own, peer);
                let Some(node) = self.nodes.get_mut(&own) else { continue };
                let was = node.up.contains(&peer);
                if linked == was {
                    continue;
                }
                // Without a clock, a peer that is down is quiet at once.
                let notices = if linked {
                    node.up.insert(peer);
                    vec![Notice::Up(peer)]
                } else {
                    node.up.remove(&peer);
                    vec![Notice::Down(peer), Notice::Quiet(peer)]
                };
                for notice in notices {
                    self.calls.push_back(Call::Notice(Arc::clone(&node.on_notice), notice));
                }
            }
        }
        let lanes: Vec<(NodeKey, NodeKey)> = self.lanes.keys().copied().collect();
        for (from, to) in lanes {
            self.hand_over(from, to);
        }
    }

    fn hand_over(&mut self, from: NodeKey, to: NodeKey) {
        if !self.linked(from, to) {
            return;
        }
        let Some(handler) = self.nodes.get(&to).map(|node| Arc::clone(&node.on_message)) else {
            return;
        };
        let Some(lane) = self.lanes.get_mut(&(from, to)) else { return };
        if lane.held {
            return;
        }
        lane.bytes = 0;
        for message in lane.waiting.drain(..) {
            self.calls.push_back(Call::Message(Arc::clone(&handler), from, message));
        }
    }

    fn send(&mut self, from: NodeKey, to: NodeKey, message: Bytes) -> Result<(), LinkRefused> {
        let known = self.nodes.get(&from).is_some_and(|node| node.peers.contains(&to));
        if !known {
            return Err(LinkRefused::Unknown);
        }
        if message.len() > MAX_MESSAGE_BYTES {
            return Err(LinkRefused::TooLarge);
        }
        let lane = self.lane(from, to);
        if lane.bytes + message.len() > WAITING_BYTES {
            return Err(LinkRefused::Full);
        }
        if lane.drop > 0 {
            lane.drop -= 1;
            return Ok(());
        }
        lane.bytes += message.len();
        lane.waiting.push_back(message);
        self.hand_over(from, to);
        Ok(())
    }

    fn set_peers(&mut self, own: NodeKey, peers: BTreeSet<NodeKey>) {
        let Some(node) = self.nodes.get_mut(&own) else { return };
        let gone: Vec<NodeKey> = node.peers.difference(&peers).copied().collect();
        node.peers = peers;
        self.settle();
        for peer in gone {
            let Some(lane) = self.lanes.get_mut(&(own, peer)) else { continue };
            let lost = u64::try_from(lane.waiting.len()).unwrap_or(u64::MAX);
            lane.waiting.clear();
            lane.bytes = 0;
            if lost > 0
                && let Some(node) = self.nodes.get(&own)
            {
                let notice = Notice::Lost(peer, lost);
                self.calls.push_back(Call::Notice(Arc::clone(&node.on_notice), notice));
            }
        }
    }
}

/// One node's links in a [`Loopback`].
pub struct LoopbackNode {
    own: NodeKey,
    net: Weak<Mutex<Net>>,
}

impl fmt::Debug for LoopbackNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopbackNode").field("own", &self.own).finish_non_exhaustive()
    }
}

impl LinkOut for LoopbackNode {
    fn own(&self) -> NodeKey {
        self.own
    }

    fn send(&self, to: NodeKey, message: Bytes) -> Result<(), LinkRefused> {
        let net = self.net.upgrade().ok_or(LinkRefused::Unknown)?;
        let taken = lock(&net).send(self.own, to, message);
        call(&net);
        taken
    }

    fn set_peers(&self, peers: Vec<Peer>) {
        let Some(net) = self.net.upgrade() else { return };
        let peers = peers.iter().map(Peer::key).filter(|key| *key != self.own).collect();
        lock(&net).set_peers(self.own, peers);
        call(&net);
    }

    fn is_up(&self, peer: NodeKey) -> bool {
        let Some(net) = self.net.upgrade() else { return false };
        lock(&net).nodes.get(&self.own).is_some_and(|node| node.up.contains(&peer))
    }

    fn is_prompt(&self, peer: NodeKey) -> bool {
        self.is_up(peer)
    }

    fn speaks(&self, _peer: NodeKey) -> u8 {
        super::frame::NEWEST_VERSION
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Log = Arc<Mutex<Vec<String>>>;

    fn node(net: &Loopback, name: &str) -> (Arc<LoopbackNode>, Peer, Log) {
        let log = Log::default();
        let peer = Peer { name: name.to_owned(), incarnation: 1, address: String::new() };
        let (messages, notices) = (Arc::clone(&log), Arc::clone(&log));
        let node = net.join(
            peer.key(),
            Arc::new(move |_, message| {
                messages.lock().unwrap().push(String::from_utf8(message.to_vec()).unwrap());
            }),
            Arc::new(move |notice| {
                let word = match notice {
                    Notice::Up(_) => "up".to_owned(),
                    Notice::Down(_) => "down".to_owned(),
                    Notice::Quiet(_) => "quiet".to_owned(),
                    Notice::Lost(_, count) => format!("lost {count}"),
                    Notice::Failed => "failed".to_owned(),
                };
                notices.lock().unwrap().push(word);
            }),
        );
        (node, peer, log)
    }

    fn seen(log: &Log) -> Vec<String> {
        std::mem::take(&mut *log.lock().unwrap())
    }

    #[test]
    fn a_cut_link_keeps_messages_until_it_heals_and_a_dropped_peer_loses_them() {
        let net = Loopback::new();
        let (a, peer_a, log_a) = node(&net, "a");
        let (b, peer_b, log_b) = node(&net, "b");
        let to_b = peer_b.key();
        assert_eq!(a.send(to_b, Bytes::from_static(b"0")), Err(LinkRefused::Unknown));
        a.set_peers(vec![peer_a.clone(), peer_b]);
        assert!(!a.is_up(to_b));
        b.set_peers(vec![peer_a.clone()]);
        assert!(a.is_up(to_b));
        assert_eq!(a.send(to_b, Bytes::from_static(b"1")), Ok(()));
        net.cut(a.own(), to_b);
        assert_eq!(a.send(to_b, Bytes::from_static(b"2")), Ok(()));
        net.heal(a.own(), to_b);
        assert_eq!(seen(&log_b), ["up", "1", "down", "quiet", "up", "2"]);
        net.hold(a.own(), to_b);
        assert_eq!(a.send(to_b, Bytes::from_static(b"3")), Ok(()));
        assert_eq!(seen(&log_b), Vec::<String>::new());
        net.release(a.own(), to_b);
        assert_eq!(seen(&log_b), ["3"]);
        net.cut(a.own(), to_b);
        assert_eq!(a.send(to_b, Bytes::from_static(b"4")), Ok(()));
        a.set_peers(vec![peer_a]);
        assert_eq!(seen(&log_a), ["up", "down", "quiet", "up", "down", "quiet", "lost 1"]);
    }
}
