//! The virtual actors of Rookery and the shards that host them.
//!
//! The actors are pure state machines: `(now, message) -> effects`. They read no clock, no socket
//! and no store; what they want done is data ([`Effect`]). `shell` performs the effects, and is the
//! only part of this crate that knows tokio and ractor.
//!
//! ```text
//! root (one-for-one)
//! |- cluster        keeper                 lease, view, rejoin; only in a cluster
//! |- gateway        session shards        Session, one per connected device
//! |- conversations  conversation shards   Conversation, one per active conversation
//! |- presence       presence shards       Presence, one per user who is online or watched
//! `- maintenance    retention              sweeps the store, now and then
//! ```
//!
//! A panic in a virtual actor drops that actor alone; it is rebuilt from the store when the next
//! message for it comes, a conversation not before every commit of its predecessor is known, and
//! one that keeps panicking is left alone for a while. A shard that fails is restarted by its
//! supervisor with back-off; its inbox outlives it, its actors come back lazily. A supervisor whose children fail more often
//! than its intensity allows fails itself, up to the root, which ends the node.
//!
//! In a cluster a message goes to the shard that hosts its receiver, or by a link to the node that
//! works for it (`cluster` decides who does, `wire` makes the bytes, `link` carries them).
//!
//! How a message travels: `Session` checks it and tells `Conversation`, which gives it a place in
//! the order, commits it and tells the `Presence` hub of each member, which tells that user's
//! sessions; a session turns it into `Sent` (its own) or `Message` (all others).
//!
//! `Host` holds the rules of a shard without its runtime; `shell` runs hosts in ractor actors, and
//! `sim/` beside this directory runs a whole cluster of them in one thread, under one seed.

pub mod cluster;
pub mod conversation;
pub mod effect;
pub mod fences;
pub mod host;
pub mod link;
pub mod message;
pub mod people;
pub mod plant;
pub mod presence;
pub mod query;
pub mod session;
pub mod shell;
pub mod time;
pub mod wire;

pub use cluster::NodeId;
pub use effect::{ConnId, Effect, Query, QueryResult};
pub use message::{
    Batch, ConversationMsg, Envelope, Origin, PresenceMsg, SendAnswer, SessionMsg, SessionRef,
};
pub use time::Now;
