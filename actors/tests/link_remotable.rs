//! What of a node other nodes are shown: the routers, and nothing else.
//!
//! ractor_cluster shows every actor with a serializable message to every peer and tells each start
//! and end of one, so a single shard among them would cost a message a peer and open it to casts.

mod support;

use ractor::registry::pid_registry::get_all_pids;
use rookery_actors::session::Settings;
use rookery_actors::shell::{ActorSystem, Maintenance, SystemConfig};
use rookery_store::Store;
use rookery_store::memory::MemoryEngine;
use support::{Authority, Node};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_routers_of_a_node_are_remotable() {
    let authority = Authority::new("chat");
    let node = Node::start(&authority, "a", 1).await;
    let before = get_all_pids().len();
    let store = Store::new(MemoryEngine::new().into());
    let config = SystemConfig {
        shards: 4,
        owner: node.key().into(),
        settings: Settings { heartbeat_ms: 5_000, grace_ms: 30_000, node: "a".into() },
        maintenance: Maintenance::default(),
        cluster: None,
    };
    let system = ActorSystem::start(store, config).await.unwrap();
    assert!(get_all_pids().len() > before + 12, "all shards run");
    let remotable = get_all_pids().into_iter().filter(|actor| actor.supports_remoting());
    assert_eq!(remotable.count(), 2);
    system.shutdown().await;
}
