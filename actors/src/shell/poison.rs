//! Poison for whole shards: for tests of supervision only.
//!
//! Single actors are poisoned by their own messages, as anybody may send them.

use super::kind::Kind;
use super::shard::Item;
use super::system::{ActorSystem, Inboxes};

impl ActorSystem {
    /// Every shard of sessions fails.
    pub fn poison_session_shards(&self) {
        poison(&self.shared.sessions);
    }

    /// Every shard of conversations fails.
    pub fn poison_conversation_shards(&self) {
        poison(&self.shared.conversations);
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
