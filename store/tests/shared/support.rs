//! Servers on engines that can be held, clients, and a peer that says what it is told.

use crate::contract::harness::wait;
use rookery_store::embedded::{EmbeddedConfig, EmbeddedEngine};
use rookery_store::memory::MemoryEngine;
use rookery_store::shared::{Server, ServerConfig, SharedConfig, SharedEngine, SharedView};
use rookery_store::{Engine, Outcome, Plan, ReadError, Version};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longer than anything takes that a test waits for.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A server and its engine, to be stopped and started again.
pub struct Hosted {
    pub server: Option<Server>,
    pub engine: MemoryEngine,
    pub config: ServerConfig,
    _dir: TempDir,
}

impl Hosted {
    pub fn start() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut ServerConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = ServerConfig::new(dir.path().join("socket"));
        change(&mut config);
        let engine = MemoryEngine::new();
        let mut hosted = Self { server: None, engine, config, _dir: dir };
        hosted.restart();
        hosted
    }

    pub fn restart(&mut self) {
        self.server = Some(Server::start(self.engine.clone(), &self.config).unwrap());
    }

    pub fn stop(&mut self) {
        self.server.take().unwrap().stop();
    }

    pub fn client(&self) -> SharedEngine {
        SharedEngine::open(&self.client_config()).unwrap()
    }

    /// Patient enough for a busy machine, and no more: some tests wait for what it says.
    pub fn client_config(&self) -> SharedConfig {
        SharedConfig {
            open_timeout: Duration::from_secs(2),
            silence: Duration::from_secs(3),
            ..SharedConfig::new(&self.config.socket)
        }
    }

    /// A peer that has been welcomed.
    pub fn peer(&self) -> UnixStream {
        let (peer, verdict) = self.greet(&greeting(VERSION));
        assert_eq!(verdict.last(), Some(&0));
        peer
    }

    /// A peer that said something, and what came back before the end or the next silence.
    pub fn greet(&self, greeting: &[u8]) -> (UnixStream, Vec<u8>) {
        let mut peer = UnixStream::connect(&self.config.socket).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        peer.write_all(greeting).unwrap();
        let mut verdict = [0; 13];
        // A reset is as good an end as any.
        let read = peer.read(&mut verdict).unwrap_or(0);
        (peer, verdict[..read].to_vec())
    }

    pub fn clients(&self) -> usize {
        self.server.as_ref().unwrap().clients()
    }
}

/// An embedded engine behind a server.
pub fn hosted_embedded() -> (EmbeddedEngine, Server, SharedConfig, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let engine = EmbeddedEngine::open(&EmbeddedConfig::new(dir.path().join("data"))).unwrap();
    let socket = dir.path().join("socket");
    let server = Server::start(engine.clone(), &ServerConfig::new(&socket)).unwrap();
    (engine, server, SharedConfig::new(&socket), dir)
}

/// The version of the wire.
pub const VERSION: u32 = 2;

pub fn greeting(version: u32) -> Vec<u8> {
    [&b"rkstore\n"[..], &version.to_le_bytes()].concat()
}

/// A frame: its length, its kind, its body.
pub fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 1).unwrap();
    [&length.to_le_bytes()[..], &[kind], body].concat()
}

/// Submits without waiting.
pub fn start<E: Engine>(engine: &E, plans: Vec<Plan>) -> Receiver<Vec<Outcome>> {
    let (report, outcomes) = channel();
    engine.submit(plans, Box::new(move |all| report.send(all).unwrap_or_default()));
    outcomes
}

pub fn view(engine: &SharedEngine) -> Result<SharedView, ReadError> {
    wait(engine.view(Version(0)))
}

/// Waits until something is so; the condition's own event is not visible from here.
pub fn until(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "never: {what}");
        std::thread::yield_now();
    }
}
