//! Retention in a running node: what the configuration lets go is gone, and the node goes on.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that fails fails its test"
)]

mod support;

use rookery_node::Node;
use rookery_node::identity::Cost;
use rookery_protocol::{
    ClientMsgId, ConversationId, DeviceId, Direction, Entry, EntryKind, UserId,
};
use rookery_store::embedded::{EmbeddedConfig, EmbeddedEngine};
use rookery_store::{Account, Append, Outcome, Owner, Store, TakeOver, append, slot_of};
use std::path::Path;
use std::time::Duration;
use support::config;

const ANN: UserId = UserId(1);
const BOB: UserId = UserId(2);
const CONVERSATION: ConversationId = ConversationId(7);
const DAY_MS: u64 = 86_400_000;

/// Twenty messages, one a day up to today.
async fn prepare(dir: &Path, now_ms: u64) {
    let engine = EmbeddedEngine::open(&EmbeddedConfig::new(dir.join("store"))).unwrap();
    let store = Store::new(engine);
    for (user, name) in [(ANN, "ann"), (BOB, "bob")] {
        let (name, password_hash) = (name.to_owned(), "none".to_owned());
        store.create_account(&Account { user, name, password_hash, created_ms: 0 }).await.unwrap();
    }
    store.open_direct(ANN, BOB, CONVERSATION, now_ms - 20 * DAY_MS).await.unwrap();
    let owner = Owner { node: 1, incarnation: 1 };
    let TakeOver::Held(fence) = store.take_over(slot_of(CONVERSATION), owner).await else {
        panic!("no fence")
    };
    let entry = |seq: u64| {
        let time_ms = now_ms - (20 - seq) * DAY_MS;
        Entry {
            seq,
            sender: ANN,
            device: DeviceId(1),
            time_ms,
            client_msg_id: ClientMsgId::from_parts(time_ms, [1; 10]),
            kind: EntryKind::Text,
            body: b"hello".to_vec(),
        }
    };
    let entries: Vec<Entry> = (1..=20).map(entry).collect();
    let plan = append::plan(&Append {
        conversation: CONVERSATION,
        fence: &fence,
        first_seq: 1,
        entries: &entries,
        members: &[ANN, BOB],
        touch_activity: false,
        inbox_epoch: 1,
        withheld: false,
        words: false,
        group: None,
    });
    assert!(matches!(store.commit(plan).await, Outcome::Committed { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_removes_what_its_configuration_lets_go() {
    let dir = tempfile::tempdir().unwrap();
    let now_ms = rookery_node::now_ms();
    prepare(dir.path(), now_ms).await;
    let mut config = config(dir.path());
    config.retention.messages_days = 10;
    config.retention.interval_s = 1;
    let node = Node::start_with(config, Cost::Low).await.unwrap();
    let store = node.state().store.clone();
    let mut looks = tokio::time::interval(Duration::from_millis(50));
    let gone = async {
        loop {
            looks.tick().await;
            let page = store.history(BOB, CONVERSATION, 0, Direction::Before, 100).await.unwrap();
            let id = ClientMsgId::from_parts(now_ms - 19 * DAY_MS, [1; 10]);
            let answered = store.find_sent(CONVERSATION, ANN, id, Default::default()).await;
            if page.floor > 10 && answered == Ok(None) {
                return page;
            }
        }
    };
    let page = tokio::time::timeout(Duration::from_secs(60), gone).await.unwrap();
    // That of seq 10 was just 10 days old: a first round may have left it.
    assert_eq!((page.floor, page.head, page.entries.len()), (11, 20, 10));
    drop(store);
    node.shutdown().await;
}
