//! Poison for whole shards, and small inboxes: for tests of supervision and of overload only.
//!
//! Single actors are poisoned by their own messages.

use super::shard::Item;
use super::system::{ActorSystem, Inboxes};
use crate::host::Kind;

impl ActorSystem {
    /// Every shard of sessions fails.
    pub fn poison_session_shards(&self) {
        poison(&self.shared.sessions);
    }

    /// Every shard of conversations fails.
    pub fn poison_conversation_shards(&self) {
        poison(&self.shared.conversations);
    }

    /// From now on so many bytes of clients' frames may wait for a shard of sessions.
    pub fn shrink_session_inboxes(&self, bytes: usize) {
        for inbox in &self.shared.sessions {
            inbox.set_limit(bytes);
        }
    }

    /// Every shard of presence hubs fails.
    pub fn poison_presence_shards(&self) {
        poison(&self.shared.presences);
    }
}

fn poison<K: Kind>(inboxes: &Inboxes<K>) {
    for inbox in inboxes {
        inbox.push(Item::Poison);
    }
}
