//! What the tests share: stores to run on, an executor, ways to interfere, and small builders.

pub use crate::run::run;
use bytes::Bytes;
use rookery_protocol::{ClientMsgId, ConversationId, DeviceId, Entry, EntryKind, MarkKind, UserId};
use rookery_store::embedded::{EmbeddedConfig, EmbeddedEngine};
use rookery_store::engine::Done;
use rookery_store::memory::{Fault, MemoryEngine};
use rookery_store::shared::{Server, ServerConfig, SharedConfig, SharedEngine};
use rookery_store::{
    Account, AnyEngine, Append, DeviceRow, Engine, Fence, MarkUpdate, Op, Outcome, Owner, Plan,
    ReadError, RefreshRow, Rotation, Stamp, Store, TakeOver, Version, View, append, history, marks,
    slot_of,
};
use std::collections::VecDeque;
use std::sync::Mutex;

pub const ANN: UserId = UserId(1);
pub const BOB: UserId = UserId(2);
pub const CAT: UserId = UserId(3);
pub const CONV: ConversationId = ConversationId(0xc0);
pub const NOW: u64 = 1_700_000_000_000;
pub const OWNER: Owner = Owner { node: 1, incarnation: 1 };
pub const OTHER_OWNER: Owner = Owner { node: 2, incarnation: 1 };
/// A guard's version or a read's that asks for nothing in particular.
pub const ANY: Version = Version(0);

pub fn on_memory(scenario: fn(&Store)) {
    scenario(&Store::new(MemoryEngine::new().into()));
}

pub fn on_embedded(scenario: fn(&Store)) {
    let dir = tempfile::tempdir().unwrap();
    let engine = EmbeddedEngine::open(&EmbeddedConfig::new(dir.path())).unwrap();
    scenario(&Store::new(AnyEngine::Embedded(engine)));
}

/// On a client of the embedded engine's own process, here in this one.
pub fn on_shared(scenario: fn(&Store)) {
    let dir = tempfile::tempdir().unwrap();
    let engine = EmbeddedEngine::open(&EmbeddedConfig::new(dir.path().join("data"))).unwrap();
    let socket = dir.path().join("socket");
    let server = Server::start(engine, &ServerConfig::new(&socket)).unwrap();
    let client = SharedEngine::open(&SharedConfig::new(&socket)).unwrap();
    scenario(&Store::new(client.into()));
    server.stop();
}

#[cfg(feature = "fdb")]
#[path = "../contract/harness.rs"]
mod harness;

/// On a prefix of its own, where there is a cluster.
#[cfg(feature = "fdb")]
pub fn on_fdb(scenario: fn(&Store)) {
    if let Some(subject) = harness::Subject::fdb() {
        scenario(&Store::new(subject.engine.clone()));
    }
}

/// Makes a test on each engine of every scenario, a function of a [`Store`].
macro_rules! on_every_engine {
    ($($scenario:ident)+) => {
        mod memory {
            $(#[test] fn $scenario() { $crate::support::on_memory(super::$scenario); })+
        }
        mod embedded {
            $(#[test] fn $scenario() { $crate::support::on_embedded(super::$scenario); })+
        }
        mod shared {
            $(#[test] fn $scenario() { $crate::support::on_shared(super::$scenario); })+
        }
        #[cfg(feature = "fdb")]
        mod fdb {
            $(#[test] fn $scenario() { $crate::support::on_fdb(super::$scenario); })+
        }
    };
}
pub(crate) use on_every_engine;

/// A store in memory whose first plans meet these faults, in order.
pub fn faulty(faults: &[Fault]) -> (Store<MemoryEngine>, MemoryEngine) {
    let engine = MemoryEngine::new();
    set_faults(&engine, faults);
    (Store::new(engine.clone()), engine)
}

/// The next plans meet these faults, in order; what comes after them meets none.
pub fn set_faults(engine: &MemoryEngine, faults: &[Fault]) {
    let mut faults: VecDeque<Fault> = faults.iter().copied().collect();
    engine.set_faults(move |_: &Plan| faults.pop_front().unwrap_or_default());
}

/// The ways in which an outcome can be lost.
pub const UNRESOLVED: [Fault; 3] =
    [Fault::UnresolvedApplied, Fault::UnresolvedLost, Fault::UnresolvedLate];

type Hook = Box<dyn FnOnce() + Send>;

/// An engine that lets something else happen just before a plan arrives: between what an operation
/// read and what it commits.
pub struct Interleaved {
    engine: MemoryEngine,
    /// How many submissions pass before the hook runs, and the hook.
    hook: Mutex<Option<(usize, Hook)>>,
}

/// A store whose next commit is overtaken by what `hook` does with the second, plain handle.
pub fn overtaken(
    engine: &MemoryEngine,
    hook: impl FnOnce(&Store<MemoryEngine>) + Send + 'static,
) -> Store<Interleaved> {
    let plain = Store::new(engine.clone());
    let hook: Hook = Box::new(move || hook(&plain));
    Store::new(Interleaved { engine: engine.clone(), hook: Mutex::new(Some((0, hook))) })
}

/// A store whose first plan is lost for now, and arrives just before the second.
pub fn arriving_late(engine: &MemoryEngine) -> Store<Interleaved> {
    set_faults(engine, &[Fault::UnresolvedLate]);
    let late = engine.clone();
    let hook: Hook = Box::new(move || assert!(late.release_next()));
    Store::new(Interleaved { engine: engine.clone(), hook: Mutex::new(Some((1, hook))) })
}

impl Engine for Interleaved {
    type View = <MemoryEngine as Engine>::View;

    fn submit(&self, plans: Vec<Plan>, done: Done) {
        let hook = self.hook.lock().unwrap().take();
        match hook {
            Some((0, hook)) => hook(),
            Some((passes, hook)) => *self.hook.lock().unwrap() = Some((passes - 1, hook)),
            None => {}
        }
        self.engine.submit(plans, done);
    }

    async fn view(&self, at_least: Version) -> Result<Self::View, ReadError> {
        self.engine.view(at_least).await
    }

    fn reads_block(&self) -> bool {
        self.engine.reads_block()
    }
}

pub fn account(user: UserId, name: &str) -> Account {
    Account { user, name: name.into(), password_hash: "$argon2id$".into(), created_ms: NOW }
}

/// Ann, Bob and Cat.
pub fn create_users<E: Engine>(store: &Store<E>) {
    for (user, name) in [(ANN, "ann"), (BOB, "bob"), (CAT, "cat")] {
        run(store.create_account(&account(user, name))).unwrap();
    }
}

/// Ann and Bob's conversation [`CONV`].
pub fn create_conversation<E: Engine>(store: &Store<E>) {
    create_users(store);
    assert_eq!(run(store.open_direct(ANN, BOB, CONV, NOW)), Ok((CONV, true)));
}

/// The fence of [`CONV`].
pub fn take<E: Engine>(store: &Store<E>, owner: Owner) -> Fence {
    match run(store.take_over(slot_of(CONV), owner)) {
        TakeOver::Held(fence) => fence,
        other => panic!("{other:?}"),
    }
}

pub fn id(n: u64) -> ClientMsgId {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&n.to_be_bytes());
    ClientMsgId::from_parts(NOW, random)
}

/// An entry of Ann whose id and body follow from its seq.
pub fn entry(seq: u64) -> Entry {
    Entry {
        seq,
        sender: ANN,
        device: DeviceId(7),
        time_ms: NOW + seq,
        client_msg_id: id(seq),
        kind: EntryKind::Text,
        body: format!("message {seq}").into_bytes(),
    }
}

pub fn append_of<'a>(fence: &'a Fence, entries: &'a [Entry]) -> Append<'a> {
    Append {
        conversation: CONV,
        fence,
        first_seq: entries.first().map_or(1, |entry| entry.seq),
        entries,
        members: &[ANN, BOB],
        touch_activity: false,
        inbox_epoch: 1,
        withheld: false,
        words: false,
        group: None,
    }
}

/// Commits entries to [`CONV`]; the version.
pub fn append<E: Engine>(store: &Store<E>, fence: &Fence, entries: &[Entry]) -> Version {
    committed(run(store.commit(append::plan(&append_of(fence, entries)))))
}

/// Entries `1..=last`, in batches.
pub fn fill<E: Engine>(store: &Store<E>, fence: &Fence, last: u64) {
    let entries: Vec<Entry> = (1..=last).map(entry).collect();
    for batch in entries.chunks(40) {
        append(store, fence, batch);
    }
}

/// A bit of everything a store can hold: users, a conversation with 90 messages and marks, one of
/// them trimmed, devices, tokens.
pub fn populate<E: Engine>(store: &Store<E>) {
    create_conversation(store);
    run(store.signing_key([7; 32])).unwrap();
    let fence = take(store, OWNER);
    fill(store, &fence, 90);
    committed(run(store.commit(history::trim_plan(&fence, CONV, 3))));
    let mark = |user, kind, seq| MarkUpdate { user, kind, seq };
    let updates = [mark(ANN, MarkKind::Read, 90), mark(BOB, MarkKind::Delivered, 80)];
    committed(run(store.commit(marks::plan(&fence, CONV, &updates))));
    for (user, device) in [(ANN, 7), (BOB, 8)] {
        let name = "phone".to_owned();
        let device = DeviceId(device);
        let row = DeviceRow { user, device, name, created_ms: NOW, revoked: false };
        run(store.create_device(&row)).unwrap();
        let row = RefreshRow { user, device, expires_ms: NOW + 1_000_000 };
        run(store.put_refresh([u8::try_from(user.0).unwrap(); 32], &row)).unwrap();
        run(store.set_last_seen(user, NOW)).unwrap();
    }
    run(store.trim_inbox(ANN, Stamp::new(Version(6), 0, 0))).unwrap();
}

/// The use of token `old`, which becomes `new`.
pub fn rotation(old: u8, new: u8) -> Rotation {
    let expires_ms = NOW + 9;
    Rotation { old: [old; 32], new: [new; 32], now_ms: NOW, expires_ms, grace_ms: 0 }
}

/// Every row.
pub fn all_rows<E: Engine>(store: &Store<E>) -> Vec<(Bytes, Bytes)> {
    let view = run(store.engine().view(ANY)).unwrap();
    run(view.range(b"", &[0xff], usize::MAX, false)).unwrap()
}

pub fn committed(outcome: Outcome) -> Version {
    match outcome {
        Outcome::Committed { version, .. } => version,
        other => panic!("{other:?}"),
    }
}

pub fn seqs(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.seq).collect()
}

/// Damages the store: removes a row.
pub fn clear<E: Engine>(store: &Store<E>, key: impl AsRef<[u8]>) {
    write(store, Op::Clear { key: Bytes::copy_from_slice(key.as_ref()) });
}

/// Damages the store: overwrites a row.
pub fn set<E: Engine>(store: &Store<E>, key: impl AsRef<[u8]>, value: &[u8]) {
    let key = Bytes::copy_from_slice(key.as_ref());
    write(store, Op::Set { key, value: Bytes::copy_from_slice(value) });
}

fn write<E: Engine>(store: &Store<E>, op: Op) {
    committed(run(store.commit(Plan { guards: Vec::new(), ops: vec![op] })));
}
