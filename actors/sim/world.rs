//! The world: everything that runs, and the one queue of what happens next. Time passes only here.
//!
//! Single-threaded and a function of its seed: no clock, no hash map that is walked, no thread. Every
//! event is folded into the trace hash.

use super::config::Config;
use super::coverage::{Conversations, Presences, Sessions};
use super::device::{Device, Do};
use super::dialing::Pipe;
use super::engine::Way;
use super::keeper::Keeper;
use super::leaving::Step;
use super::ledger::Ledger;
use super::node::{DAWN_MS, Mouth, Node, name};
use super::rng::Rng;
use super::truth::{Truth, user_id};
use bytes::Bytes;
use futures_util::FutureExt;
use rookery_actors::link::NodeKey;
use rookery_protocol::client::Resume;
use rookery_protocol::{ClientFrame, CloseCode, DeviceId, UserId};
use rookery_store::memory::MemoryEngine;
use rookery_store::{Account, Outcome, Plan};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

/// Handed outcomes.
pub type Then = Box<dyn FnOnce(&mut World, Vec<Outcome>)>;
/// Done with the answer of a task.
pub type Deliver = Box<dyn FnOnce(&mut World)>;

/// What happens.
pub enum Event {
    /// A shard's turn: node, its life, which shard.
    SessionTurn(usize, u64, usize),
    /// See `SessionTurn`.
    ConversationTurn(usize, u64, usize),
    /// See `SessionTurn`.
    PresenceTurn(usize, u64, usize),
    /// Plans reach the store.
    Apply(usize, u64, Vec<Plan>, Then),
    /// A plan in doubt reaches the store after all.
    Late(Plan),
    /// What became of plans reaches the node.
    Report(usize, u64, Vec<Outcome>, Then),
    /// A task goes on.
    Poll(u64),
    /// A node looks at its store: node, its life, which of its turns.
    Look(usize, u64, u64),
    /// The store has not answered: see `Look`.
    Patience(usize, u64, u64),
    /// A node begins its next life in the cluster, at the latest then, after a pause.
    Rejoin(usize, u64, u64, u64),
    /// A node leaves on purpose: how far it is, and when that step is given up.
    Leave(usize, u64, Step, u64),
    /// A node dials another: its lives, and the other's.
    Dial(usize, u64, NodeKey, NodeKey),
    /// A greeting reaches the node that was dialed.
    Greet(u64),
    /// Its answer reaches the dialer.
    Welcomed(u64, u8),
    /// It should have come by now.
    HandshakeLate(u64),
    /// An end of a connection between nodes finds it ended.
    HungUp(u64, usize),
    /// A frame reaches an end of a connection.
    Frame(u64, usize, Bytes),
    /// A copy of a message of another node comes late.
    Message(usize, u64, NodeKey, NodeKey, Bytes),
    /// Links look at the clock.
    Ticks(usize, u64),
    /// A client's `Hello` reaches its node.
    Hello(u64),
    /// Frames reach the node.
    ToServer(u64, Vec<ClientFrame>),
    /// Frames reach the client.
    ToClient(u64, Bytes),
    /// The server's close reaches the client.
    Closed(u64, CloseCode),
    /// The client finds the connection dead.
    ClientLost(u64),
    /// The node finds the connection dead.
    ServerLost(u64),
    /// All devices look at the time.
    Devices,
    /// A device's user does something.
    Act(usize),
    /// Something big goes wrong.
    Fault,
    /// A fault is over.
    Mend(super::faults::Mend),
    /// A node starts again.
    Start(usize),
    /// Faults end.
    Heal,
    /// Is all well?
    Judge,
}

/// A connection.
pub struct Conn {
    pub(super) device: usize,
    pub(super) node: usize,
    pub(super) life: u64,
    pub(super) session: u64,
    pub(super) resume: Option<Resume>,
    /// The server serves it.
    pub(super) open: bool,
    /// Nothing passes any more.
    pub(super) cut: bool,
    pub(super) losses: u32,
    pub(super) to_client_us: u64,
    pub(super) to_server_us: u64,
    pub(super) last_life_us: u64,
}

pub(super) struct Task {
    pub(super) node: usize,
    pub(super) life: u64,
    pub(super) future: Pin<Box<dyn Future<Output = Deliver>>>,
}

/// See the module.
pub struct World {
    pub(super) config: Config,
    pub(super) rng: Rng,
    pub(super) now_us: u64,
    queue: BTreeMap<(u64, u64), Event>,
    order: u64,
    pub(super) hash: u64,
    pub(super) events: u64,
    pub(super) memory: MemoryEngine,
    pub(super) truth: Truth,
    pub(super) nodes: Vec<Node>,
    pub(super) devices: Vec<Device>,
    /// The connection of each device.
    pub(super) of_device: Vec<Option<u64>>,
    pub(super) conns: BTreeMap<u64, Conn>,
    next_conn: u64,
    pub(super) tasks: BTreeMap<u64, Task>,
    pub(super) next_task: u64,
    pub(super) mouth: Mouth,
    pub(super) pipes: BTreeMap<u64, Pipe>,
    pub(super) next_pipe: u64,
    /// Frames that wait for a way to be open again.
    pub(super) held: Vec<(usize, usize, u64, usize, Vec<u8>)>,
    pub(super) ledger: Ledger,
    /// The store takes no writes.
    pub(super) store_full: bool,
    /// Ways between nodes that are cut.
    pub(super) cuts: Vec<(usize, usize)>,
    pub(super) healed_us: Option<u64>,
    /// A node began another life since.
    pub(super) restarted: bool,
    /// Everything has come right once since.
    pub(super) settled: bool,
    pub(super) said_goodbye: bool,
    pub(super) done: bool,
    /// The last events in words, when asked for.
    pub(super) log: Option<Vec<String>>,
}

impl World {
    /// The world of a seed, before anything happened.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let config = Config::draw(&mut rng);
        let memory = MemoryEngine::new();
        let mut world = Self {
            now_us: 0,
            queue: BTreeMap::new(),
            order: 0,
            hash: 0xcbf2_9ce4_8422_2325,
            events: 0,
            truth: Truth::new(&memory),
            nodes: Vec::new(),
            devices: Vec::new(),
            of_device: Vec::new(),
            conns: BTreeMap::new(),
            next_conn: 1,
            tasks: BTreeMap::new(),
            next_task: 1,
            mouth: Mouth::default(),
            pipes: BTreeMap::new(),
            next_pipe: 1,
            held: Vec::new(),
            ledger: Ledger::default(),
            store_full: false,
            cuts: Vec::new(),
            healed_us: None,
            restarted: false,
            settled: false,
            said_goodbye: false,
            done: false,
            log: None,
            memory,
            rng,
            config,
        };
        world.populate();
        world
    }

    fn populate(&mut self) {
        for at in 0..self.config.nodes {
            let mut node = self.fresh_node(at, 1);
            node.up = false;
            self.nodes.push(node);
            let wait = self.rng.below(300_000);
            self.at(wait, Event::Start(at));
        }
        let names: Vec<(UserId, String)> =
            (0..self.config.users).map(|at| (user_id(at), format!("user{at}"))).collect();
        for (user, name) in &names {
            let account = Account {
                user: *user,
                name: name.clone(),
                password_hash: "-".into(),
                created_ms: DAWN_MS,
            };
            let made = self.truth.store().create_account(&account).now_or_never();
            // The layer awaits the answer of a commit that this engine gives at once.
            if made != Some(Ok(())) {
                self.truth.broken(|| format!("no account for {name}: {made:?}"));
            }
        }
        for (user, name) in &names {
            let count = self.rng.range(1, self.config.devices as u64);
            for _ in 0..count {
                let at = self.devices.len();
                let others = names.iter().filter(|(_, other)| other != name).cloned().collect();
                let mut device = Device::new(at, *user, DeviceId(0xd000 + at as u64), others);
                device.careful = self.rng.chance(500);
                if self.rng.chance(self.config.slow_device) {
                    device.ack_ms = self.rng.range(2_000, 70_000);
                }
                self.devices.push(device);
                self.of_device.push(None);
                let first = self.rng.below(2_000_000);
                self.at(first, Event::Act(at));
            }
        }
        self.at(0, Event::Devices);
        if self.config.big_fault_ms > 0 {
            let first = self.rng.below(self.config.big_fault_ms * 2_000);
            self.at(first, Event::Fault);
        }
        self.at(self.config.chaos_ms * 1_000, Event::Heal);
    }

    pub(super) fn fresh_node(&mut self, at: usize, life: u64) -> Node {
        let fails = if self.healed_us.is_some() { 0 } else { self.config.view_fails };
        let way = Way::new(&self.memory, self.rng.next(), fails);
        let keeper = Keeper::new(&name(at), self.rng.next() | 1, self.config.alone);
        let mut node = Node::new(at, life, self.config.shards, self.now_us, way, keeper);
        let drift = self.config.drift;
        node.rate = self.rng.range(1_000 - drift, 1_000 + drift);
        node
    }

    // ---- the queue --------------------------------------------------------------------------

    /// Something will happen so many microseconds from now.
    pub(super) fn at(&mut self, in_us: u64, event: Event) {
        self.order += 1;
        self.queue.insert((self.now_us + in_us, self.order), event);
    }

    /// Runs until the end, or the first breach.
    pub fn run(&mut self) {
        while !self.done && self.truth.breach().is_none() {
            let Some(((at, _), event)) = self.queue.pop_first() else { break };
            self.now_us = at;
            self.events += 1;
            self.fold(at);
            self.happen(event);
        }
    }

    /// Takes something into the trace hash.
    pub(super) fn fold(&mut self, bits: u64) {
        self.hash = (self.hash ^ bits).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(17);
    }

    /// Notes what happens, when somebody looks on.
    pub(super) fn note(&mut self, words: impl FnOnce() -> String) {
        let now_us = self.now_us;
        if let Some(log) = &mut self.log {
            log.push(format!("{:>12.3} ms  {}", now_us as f64 / 1_000.0, words()));
        }
    }

    /// The world's time in milliseconds.
    pub(super) fn now_ms(&self) -> u64 {
        self.now_us / 1_000
    }

    /// Puts an event off when its node stands still. False: the node lives no more, or later.
    fn awake(&mut self, node: usize, life: u64, event: Event) -> Option<Event> {
        let (up, lives, until) =
            self.nodes.get(node).map_or((false, 0, 0), |n| (n.up, n.life, n.paused_until));
        if !up || lives != life {
            return None;
        }
        if until > self.now_us {
            self.at(until - self.now_us, event);
            return None;
        }
        Some(event)
    }

    /// The node, and which of its lives, that an event needs awake.
    fn place_of(&self, event: &Event) -> Option<(usize, u64)> {
        match event {
            Event::SessionTurn(node, life, _)
            | Event::ConversationTurn(node, life, _)
            | Event::PresenceTurn(node, life, _)
            | Event::Report(node, life, ..)
            | Event::Look(node, life, _)
            | Event::Patience(node, life, _)
            | Event::Rejoin(node, life, ..)
            | Event::Leave(node, life, ..)
            | Event::Dial(node, life, ..)
            | Event::Message(node, life, ..)
            | Event::Ticks(node, life) => Some((*node, *life)),
            Event::Greet(pipe) => self.pipes.get(pipe).and_then(|pipe| pipe.end(1)),
            Event::Welcomed(pipe, _) | Event::HandshakeLate(pipe) => {
                self.pipes.get(pipe).and_then(|pipe| pipe.end(0))
            }
            Event::HungUp(pipe, side) | Event::Frame(pipe, side, _) => {
                self.pipes.get(pipe).and_then(|pipe| pipe.end(*side))
            }
            Event::Poll(task) => self.tasks.get(task).map(|task| (task.node, task.life)),
            Event::Hello(conn) | Event::ToServer(conn, _) | Event::ServerLost(conn) => {
                self.conns.get(conn).map(|conn| (conn.node, conn.life))
            }
            _ => None,
        }
    }

    fn happen(&mut self, event: Event) {
        let place = self.place_of(&event);
        let event = match place {
            Some((node, life)) => match self.awake(node, life, event) {
                Some(event) => event,
                None => return,
            },
            None => event,
        };
        match event {
            Event::SessionTurn(node, _, shard) => self.turn::<Sessions>(node, shard),
            Event::ConversationTurn(node, _, shard) => self.turn::<Conversations>(node, shard),
            Event::PresenceTurn(node, _, shard) => self.turn::<Presences>(node, shard),
            Event::Apply(node, life, plans, then) => self.apply(node, life, plans, then),
            Event::Late(plan) => {
                self.truth.apply(plan);
            }
            Event::Report(_, _, outcomes, then) => then(self, outcomes),
            Event::Poll(task) => self.poll(task),
            Event::Look(node, _, turn) => self.look_at_store(node, turn),
            Event::Patience(node, _, turn) => self.out_of_patience(node, turn),
            Event::Rejoin(node, _, until_us, pause_ms) => self.rejoin(node, until_us, pause_ms),
            Event::Leave(node, _, step, until_us) => self.leave(node, step, until_us),
            Event::Dial(node, _, own, to) => self.dial(node, own, to),
            Event::Greet(pipe) => self.greet(pipe),
            Event::Welcomed(pipe, version) => self.welcomed(pipe, version),
            Event::HandshakeLate(pipe) => self.handshake_late(pipe),
            Event::HungUp(pipe, side) => self.hung_up(pipe, side),
            Event::Frame(pipe, side, bytes) => self.frame(pipe, side, bytes),
            Event::Message(node, _, own, from, bytes) => self.copy(node, own, from, &bytes),
            Event::Ticks(node, _) => self.tick_links(node),
            Event::Hello(conn) => self.hello(conn),
            Event::ToServer(conn, frames) => self.reach_server(conn, frames),
            Event::ToClient(conn, frames) => self.reach_client(conn, &frames),
            Event::Closed(conn, code) => self.closed(conn, code),
            Event::ClientLost(conn) => self.client_lost(conn),
            Event::ServerLost(conn) => self.server_lost(conn),
            Event::Devices => self.look(),
            Event::Act(device) => self.act(device),
            Event::Fault => self.fault(),
            Event::Mend(mend) => self.mend(mend),
            Event::Start(node) => self.start(node),
            Event::Heal => self.heal(),
            Event::Judge => self.judge(),
        }
    }

    /// What a node's monotonic clock shows.
    pub(super) fn mono_ms(&self, at: usize) -> u64 {
        self.nodes.get(at).map_or(0, |node| node.mono_ms(self.now_us))
    }

    /// Which node a session was made on: its id tells.
    pub(super) fn node_of(&self, session: u64) -> usize {
        usize::try_from(session >> 48).unwrap_or(0)
    }

    pub(super) fn next_conn(&mut self) -> u64 {
        self.next_conn += 1;
        self.next_conn
    }

    /// A device acts on what it was told.
    pub(super) fn obey(&mut self, device: usize, orders: Vec<Do>) {
        for order in orders {
            match order {
                Do::Connect { resume } => self.connect(device, resume),
                Do::Frames(frames) => self.upload(device, frames),
                Do::HangUp => self.hang_up(device),
            }
        }
    }
}
