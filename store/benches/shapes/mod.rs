//! The work that the benchmarks measure: appends of several shapes, a page of history, a sync.
//!
//! `benches/layer.rs` measures its time, `examples/layer_work.rs` does a fixed amount of it, for
//! counting instructions.

#[path = "../../tests/layer/run.rs"]
mod run;

pub use run::run;

use rookery_protocol::{
    ClientMsgId, ConversationId, Cursor, DeviceId, Direction, Entry, EntryKind, UserId,
};
use rookery_store::embedded::{EmbeddedConfig, EmbeddedEngine};
use rookery_store::memory::MemoryEngine;
use rookery_store::{
    Account, AnyEngine, Append, Fence, InboxPage, Outcome, Owner, Plan, Stamp, Store, TakeOver,
    Version, append, slot_of,
};
use std::sync::mpsc::channel;
use tempfile::TempDir;

const NOW: u64 = 1_700_000_000_000;
const OWNER: Owner = Owner { node: 1, incarnation: 1 };
const PAIR: &[UserId] = &[UserId(1), UserId(2)];
const READ_CONVERSATION: ConversationId = ConversationId(1);
/// Entries that [`fill`] writes.
const HISTORY: u64 = 10_000;

/// The engines, each with a directory that lives as long.
pub fn stores() -> Vec<(&'static str, Store, Option<TempDir>)> {
    let dir = tempfile::tempdir().unwrap();
    let embedded = EmbeddedEngine::open(&EmbeddedConfig::new(dir.path())).unwrap();
    vec![
        ("memory", Store::new(AnyEngine::from(MemoryEngine::new())), None),
        ("embedded", Store::new(AnyEngine::from(embedded)), Some(dir)),
    ]
}

/// A writer of one conversation.
pub struct Conversation {
    id: ConversationId,
    fence: Fence,
    head: u64,
    members: Vec<UserId>,
}

impl Conversation {
    pub fn new(store: &Store, id: u64, members: &[UserId]) -> Self {
        let id = ConversationId(id);
        let TakeOver::Held(fence) = run(store.take_over(slot_of(id), OWNER)) else {
            panic!("no fence")
        };
        Self { id, fence, head: 0, members: members.to_vec() }
    }

    /// The plan of the next entries.
    pub fn plan(&mut self, count: u64) -> Plan {
        let first_seq = self.head + 1;
        self.head += count;
        let entry = |seq: u64| Entry {
            seq,
            sender: self.members[0],
            device: DeviceId(1),
            time_ms: NOW + seq,
            client_msg_id: ClientMsgId::from_parts(NOW + seq, random(self.id.0 << 32 | seq)),
            kind: EntryKind::Text,
            body: vec![b'x'; 100],
        };
        let entries: Vec<Entry> = (first_seq..=self.head).map(entry).collect();
        append::plan(&Append {
            conversation: self.id,
            fence: &self.fence,
            first_seq,
            entries: &entries,
            members: &self.members,
            touch_activity: false,
            inbox_epoch: 1,
            withheld: false,
            words: false,
            group: None,
        })
    }
}

/// Ten bytes that look random and repeat from run to run.
fn random(n: u64) -> [u8; 10] {
    let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    let mut bytes = [0; 10];
    bytes[2..].copy_from_slice(&mixed);
    bytes
}

pub fn submit(store: &Store, plans: Vec<Plan>) {
    let (report, outcomes) = channel();
    store.submit(plans, Box::new(move |all| report.send(all).unwrap()));
    let outcomes = outcomes.recv().unwrap();
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Committed { .. })));
}

/// One shape of appends.
pub struct Shape {
    pub name: &'static str,
    /// Conversations in a submission, each with one plan.
    pub conversations: u64,
    /// Entries of a plan.
    pub entries: u64,
    /// Members of a conversation.
    pub members: u64,
}

const fn shape(name: &'static str, conversations: u64, entries: u64, members: u64) -> Shape {
    Shape { name, conversations, entries, members }
}

pub const SHAPES: [Shape; 4] = [
    shape("append alone", 1, 1, 2),
    shape("append merged, 64 conversations", 64, 1, 2),
    shape("append to a group of 100", 1, 1, 100),
    shape("append 16 to a group of 100", 1, 16, 100),
];

impl Shape {
    /// The writers of its conversations.
    pub fn writers(&self, store: &Store) -> Vec<Conversation> {
        let members: Vec<UserId> = (1..=self.members).map(UserId).collect();
        (0..self.conversations).map(|id| Conversation::new(store, 100 + id, &members)).collect()
    }

    /// The plans of its next submission.
    pub fn plans(&self, writers: &mut [Conversation]) -> Vec<Plan> {
        writers.iter_mut().map(|writer| writer.plan(self.entries)).collect()
    }
}

/// A conversation of a pair with [`HISTORY`] entries, ten a pointer.
pub fn fill(store: &Store) {
    for user in PAIR {
        let (name, password_hash) = (format!("user{}", user.0), "none".to_owned());
        run(store.create_account(&Account { user: *user, name, password_hash, created_ms: 0 }))
            .unwrap();
    }
    run(store.open_direct(PAIR[0], PAIR[1], READ_CONVERSATION, NOW)).unwrap();
    let mut writer = Conversation::new(store, READ_CONVERSATION.0, PAIR);
    for _ in 0..HISTORY / 100 {
        submit(store, (0..10).map(|_| writer.plan(10)).collect());
    }
}

/// Reads a page of 100 entries; another one for each number.
pub fn history_page(store: &Store, number: u64) {
    let before = number * 7919 % (HISTORY - 200) + 150;
    let page = store.history(PAIR[1], READ_CONVERSATION, before, Direction::Before, 100);
    assert_eq!(run(page).unwrap().entries.len(), 100);
}

/// Reads 100 pointers from the start of the inbox, and the 1000 entries they point to.
pub fn sync(store: &Store) {
    let start = Cursor { epoch: 1, stamp: Stamp::default().0 };
    let page = run(store.inbox(PAIR[1], Some(start), 101, Version(0))).unwrap();
    let InboxPage::Page { pointers, .. } = page else { panic!("too far") };
    let last = pointers.iter().map(|pointer| pointer.last).max().unwrap();
    let entries = run(store.entries(READ_CONVERSATION, 1, last, usize::MAX)).unwrap();
    assert_eq!(entries.len(), 1000);
}
