//! Links between nodes: what the rest of the house sees of them, and the pure core beneath.
//!
//! What travels are hints (truth 5): the store knows better, and a receiver must bear a message
//! that comes late or not at all. A link still promises, for one **pair of incarnations**:
//!
//! - *Safety.* Messages of one sender reach the handler in the order in which `send` took them, none
//!   of them twice, none damaged.
//! - *Liveness.* While both nodes live and are connected again and again, everything `send` took is
//!   handed over. What is given up instead, because the view dropped the peer, is told by
//!   [`Notice::Lost`].
//! - *Bounds.* Bytes that wait for one peer are bounded; beyond that `send` refuses, at once.
//!
//! What the caller owes: a handler that returns fast and never blocks (it runs on the link's task),
//! messages of at most [`MAX_MESSAGE_BYTES`], and a view ([`LinkOut::set_peers`]) in which no two
//! nodes have the same number.
//!
//! A node that rejoins has a new incarnation, hence a new [`NodeKey`], hence a new link: nothing
//! meant for its former life is delivered to the new one.

pub mod frame;
pub mod greeting;
mod loopback;
pub mod names;
pub mod peer;
#[cfg(test)]
mod peer_tests;

pub use loopback::{Loopback, LoopbackNode};

use bytes::Bytes;
use rookery_store::Owner;
use std::fmt;
use std::sync::Arc;

/// Largest message a link takes, in bytes: far above any frame of the client protocol.
pub const MAX_MESSAGE_BYTES: usize = 1024 * 1024;

/// One life of one node, small enough to be copied everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeKey {
    /// Which node: a function of its name ([`NodeKey::number`]).
    pub node: u64,
    /// Which of its lives: never used twice by a name.
    pub incarnation: u64,
}

impl NodeKey {
    /// The key of a node's life.
    #[must_use]
    pub fn new(name: &str, incarnation: u64) -> Self {
        Self { node: Self::number(name), incarnation }
    }

    /// The number of a name: FNV-1a, the same on every machine and in every version. Two names of
    /// a cluster share a number once in 10^19 pairs; such a join is refused where leases are taken.
    #[must_use]
    pub fn number(name: &str) -> u64 {
        const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0000_0100_0000_01b3;
        name.bytes().fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
    }
}

impl fmt::Display for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}.{}", self.node, self.incarnation)
    }
}

impl From<NodeKey> for Owner {
    fn from(key: NodeKey) -> Self {
        Self { node: key.node, incarnation: key.incarnation }
    }
}

impl From<Owner> for NodeKey {
    fn from(owner: Owner) -> Self {
        Self { node: owner.node, incarnation: owner.incarnation }
    }
}

/// A node to keep a link to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name, as its certificate says it.
    pub name: String,
    /// Which of its lives.
    pub incarnation: u64,
    /// Where its link listens: `host:port`.
    pub address: String,
}

impl Peer {
    /// The key by which messages are sent to it.
    #[must_use]
    pub fn key(&self) -> NodeKey {
        NodeKey::new(&self.name, self.incarnation)
    }
}

/// Why a message was not taken. Nothing of it was or will be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkRefused {
    /// Too many bytes wait for this peer: retry later, or let the receiver pull from the store.
    Full,
    /// No such peer in the view (or this node itself): look at the view again.
    Unknown,
    /// Over [`MAX_MESSAGE_BYTES`]: no retry helps.
    TooLarge,
}

impl fmt::Display for LinkRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "too many bytes wait for the peer",
            Self::Unknown => "the peer is not in the view",
            Self::TooLarge => "the message is too large",
        })
    }
}

impl std::error::Error for LinkRefused {}

/// What became of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Connected: it hears us and we hear it.
    Up(NodeKey),
    /// Silent or disconnected. It may live (and even hear us); what was sent waits for it.
    Down(NodeKey),
    /// Nothing new was heard of it for a moment ([`peer::QUIET_MS`]), whether it is up or not: an
    /// answer to what was sent is not in sight. What was sent still waits for it.
    Quiet(NodeKey),
    /// Given up because the view no longer holds the peer: this many messages that `send` took were
    /// not acknowledged. Some of them may have been handled all the same.
    Lost(NodeKey, u64),
    /// The links themselves can't go on: all of them are gone, and nothing is taken or handed over
    /// any more. The node needs new ones, hence another life.
    Failed,
}

/// Takes what peers send: who, what. Called in order for each peer; calls for different peers may
/// be concurrent.
pub type OnMessage = Arc<dyn Fn(NodeKey, Bytes) + Send + Sync>;

/// Takes what becomes of peers.
pub type OnNotice = Arc<dyn Fn(Notice) + Send + Sync>;

/// The sending side of a node's links. Nothing here blocks.
pub trait LinkOut: Send + Sync {
    /// This node, in this life.
    fn own(&self) -> NodeKey;

    /// Takes a message for a peer, whether it is connected now or not.
    ///
    /// # Errors
    /// [`LinkRefused`]: nothing was or will be sent.
    fn send(&self, to: NodeKey, message: Bytes) -> Result<(), LinkRefused>;

    /// The peers to keep links to, all of them; this node itself may be among them and is passed
    /// over. Links to others end ([`Notice::Down`] if up, [`Notice::Lost`] if anything waited).
    fn set_peers(&self, peers: Vec<Peer>);

    /// The wire version that a peer is known to speak; the oldest while it is not known.
    fn speaks(&self, peer: NodeKey) -> u8;

    /// Whether a peer is connected and was heard lately.
    fn is_up(&self, peer: NodeKey) -> bool;

    /// Whether an answer of the peer is in sight: it was heard a moment ago, or its link is new.
    /// What needs an answer soon is better not sent to one that isn't prompt.
    fn is_prompt(&self, peer: NodeKey) -> bool;
}
