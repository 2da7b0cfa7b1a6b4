//! Engines under test, and short ways to commit to and read from them.
#![allow(dead_code, clippy::print_stdout, reason = "each test binary uses a part")]

use bytes::Bytes;
use rookery_store::embedded::{EmbeddedConfig, EmbeddedEngine};
use rookery_store::engine::{AnyEngine, Row};
use rookery_store::memory::MemoryEngine;
use rookery_store::shared::{Server, ServerConfig, SharedConfig, SharedEngine};
use rookery_store::{Engine, Guard, Op, Outcome, Plan, Stamp, Version, View};
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use tempfile::TempDir;

/// An engine, and what lives as long: its server and its directory, or a prefix that is erased.
pub struct Subject {
    pub engine: AnyEngine,
    _server: Option<Server>,
    _dir: Option<TempDir>,
}

impl Drop for Subject {
    fn drop(&mut self) {
        #[cfg(feature = "fdb")]
        if let AnyEngine::Fdb(engine) = &self.engine
            && let Err(error) = engine.erase()
        {
            println!("the rows of a test are left behind: {error}");
        }
    }
}

impl Subject {
    pub fn memory() -> Self {
        Self { engine: MemoryEngine::new().into(), _server: None, _dir: None }
    }

    pub fn embedded() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = EmbeddedEngine::open(&EmbeddedConfig::new(dir.path())).unwrap();
        Self { engine: engine.into(), _server: None, _dir: Some(dir) }
    }

    /// A client of a server that hosts the embedded engine.
    pub fn shared() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = EmbeddedEngine::open(&EmbeddedConfig::new(dir.path().join("data"))).unwrap();
        let socket = dir.path().join("socket");
        let server = Server::start(engine, &ServerConfig::new(&socket)).unwrap();
        let client = SharedEngine::open(&SharedConfig::new(&socket)).unwrap();
        Self { engine: client.into(), _server: Some(server), _dir: Some(dir) }
    }
}

#[cfg(feature = "fdb")]
impl Subject {
    /// A prefix of its own in the cluster of `FDB_CLUSTER_FILE`; `None`, said aloud, without one.
    pub fn fdb() -> Option<Self> {
        use rookery_store::fdb::FdbEngine;
        let engine = FdbEngine::open(&fdb_config()?).unwrap();
        Some(Self { engine: engine.into(), _server: None, _dir: None })
    }
}

/// How to open a new prefix in the cluster of `FDB_CLUSTER_FILE`.
#[cfg(feature = "fdb")]
pub fn fdb_config() -> Option<rookery_store::fdb::FdbConfig> {
    use std::hash::{BuildHasher, RandomState};
    if std::env::var_os("FDB_CLUSTER_FILE").is_none_or(|path| path.is_empty()) {
        println!("SKIPPED: FDB_CLUSTER_FILE is not set");
        return None;
    }
    let prefix = format!("test/{:016x}", RandomState::new().hash_one(0));
    Some(rookery_store::fdb::FdbConfig { prefix, ..Default::default() })
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread.
pub fn wait<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Submits plans together and waits for their outcomes.
pub fn submit<E: Engine>(engine: &E, plans: Vec<Plan>) -> Vec<Outcome> {
    let (report, outcomes) = channel();
    engine.submit(plans, Box::new(move |all| report.send(all).unwrap()));
    outcomes.recv().unwrap()
}

pub fn commit<E: Engine>(engine: &E, plan: Plan) -> Outcome {
    let outcomes = submit(engine, vec![plan]);
    assert_eq!(outcomes.len(), 1);
    outcomes[0]
}

/// Commits operations without guards.
pub fn apply<E: Engine>(engine: &E, ops: Vec<Op>) -> (Version, Stamp) {
    committed(commit(engine, plan(ops)))
}

/// What a committed outcome says; panics on any other.
pub fn committed(outcome: Outcome) -> (Version, Stamp) {
    match outcome {
        Outcome::Committed { version, stamp } => (version, stamp),
        other => panic!("expected a commit, got {other:?}"),
    }
}

pub fn latest<E: Engine>(engine: &E) -> E::View {
    wait(engine.view(Version(0))).unwrap()
}

pub fn get<E: Engine>(engine: &E, key: &str) -> Option<Bytes> {
    wait(latest(engine).get(key.as_bytes())).unwrap()
}

/// All rows of a view.
pub fn rows<V: View>(view: &V) -> Vec<Row> {
    wait(view.range(b"", &[0xff; 8], usize::MAX, false)).unwrap()
}

pub fn keys<E: Engine>(engine: &E) -> Vec<String> {
    let text = |(key, _): Row| String::from_utf8(key.to_vec()).unwrap();
    rows(&latest(engine)).into_iter().map(text).collect()
}

pub fn plan(ops: Vec<Op>) -> Plan {
    Plan { guards: Vec::new(), ops }
}

pub fn guarded(guards: Vec<Guard>, ops: Vec<Op>) -> Plan {
    Plan { guards, ops }
}

pub fn set(key: &str, value: &str) -> Op {
    Op::Set { key: bytes(key), value: bytes(value) }
}

pub fn clear(key: &str) -> Op {
    Op::Clear { key: bytes(key) }
}

pub fn clear_range(from: &str, to: &str) -> Op {
    Op::ClearRange { from: bytes(from), to: bytes(to) }
}

pub fn guard(key: &str, known: Option<&str>, version: Version) -> Guard {
    Guard { key: bytes(key), known: known.map(bytes), version }
}

pub fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}
