//! The world: everything that runs, and the one queue of what happens next. Time passes only here.
//!
//! Single-threaded and a function of its seed: no clock, no hash map that is walked, no thread. Every
//! event is folded into the trace hash.

use super::config::Config;
use super::coverage::{Conversations, Presences, Sessions};
use super::device::{Device, Do};
use super::engine::Way;
use super::node::{DAWN_MS, Item, Mouth, Node};
use super::rng::Rng;
use super::truth::{Truth, user_id};
use bytes::Bytes;
use futures_util::FutureExt;
use rookery_actors::message::Envelope;
use rookery_protocol::client::Resume;
use rookery_protocol::{ClientFrame, CloseCode, DeviceId, UserId};
use rookery_store::memory::MemoryEngine;
use rookery_store::{Account, Outcome, Plan, Slot};
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
    /// A hint reaches a node: which, which of its lives, how often it was passed on.
    Hint(usize, u64, Envelope, u8),
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
    /// The membership changes, or slots move.
    Rebalance,
    /// A node comes to believe in an epoch.
    Adopt(usize, u64, usize),
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

/// A membership: who is in it, and how slots fall.
pub struct Epoch {
    pub(super) active: Vec<usize>,
    pub(super) salt: u64,
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
    pub(super) epochs: Vec<Epoch>,
    /// Ways between nodes that are cut.
    pub(super) cuts: Vec<(usize, usize)>,
    link_us: BTreeMap<(usize, usize), u64>,
    pub(super) healed_us: Option<u64>,
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
            epochs: vec![Epoch { active: (0..config.nodes).collect(), salt: rng.next() }],
            cuts: Vec::new(),
            link_us: BTreeMap::new(),
            healed_us: None,
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
            let node = self.fresh_node(at, 1);
            self.nodes.push(node);
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
        let mut node = Node::new(at, life, self.config.shards, self.now_us, way);
        node.epoch = self.epochs.len() - 1;
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

    fn happen(&mut self, event: Event) {
        let place = match &event {
            Event::SessionTurn(node, life, _)
            | Event::ConversationTurn(node, life, _)
            | Event::PresenceTurn(node, life, _)
            | Event::Report(node, life, ..)
            | Event::Hint(node, life, ..)
            | Event::Adopt(node, life, _) => Some((*node, *life)),
            Event::Poll(task) => self.tasks.get(task).map(|task| (task.node, task.life)),
            Event::Hello(conn) | Event::ToServer(conn, _) | Event::ServerLost(conn) => {
                self.conns.get(conn).map(|conn| (conn.node, conn.life))
            }
            _ => None,
        };
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
            Event::Hint(node, _, envelope, hops) => self.arrive(node, envelope, hops),
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
            Event::Rebalance => self.rebalance(),
            Event::Adopt(node, _, epoch) => self.adopt(node, epoch),
            Event::Heal => self.heal(),
            Event::Judge => self.judge(),
        }
    }

    // ---- where things are -------------------------------------------------------------------

    /// Who owns a slot, as an epoch has it.
    pub(super) fn owner(&self, epoch: usize, slot: Slot) -> usize {
        let Some(Epoch { active, salt }) = self.epochs.get(epoch) else { return 0 };
        let mixed = Rng::new(u64::from(slot.0) ^ salt).next();
        let at = usize::try_from(mixed % active.len().max(1) as u64).unwrap_or(0);
        active.get(at).copied().unwrap_or(0)
    }

    /// Which node a session lives on: its id tells.
    pub(super) fn node_of(&self, session: u64) -> usize {
        usize::try_from(session >> 48).unwrap_or(0)
    }

    /// Where a node would send this.
    fn destination(&self, from: usize, envelope: &Envelope) -> usize {
        let epoch = self.nodes.get(from).map_or(0, |node| node.epoch);
        match envelope {
            Envelope::Session(to, _) => self.node_of(to.session.0),
            Envelope::Conversation(to, _) => self.owner(epoch, rookery_store::slot_of(*to)),
            Envelope::Presence(to, _) => self.owner(epoch, rookery_store::slot_of_user(*to)),
        }
    }

    pub(super) fn route(&mut self, from: usize, envelope: Envelope, hops: u8) {
        let to = self.destination(from, &envelope);
        if to == from {
            return self.place(to, envelope);
        }
        self.link(from, to, envelope, hops);
    }

    fn arrive(&mut self, node: usize, envelope: Envelope, hops: u8) {
        if hops < 2 && !matches!(envelope, Envelope::Session(..)) {
            return self.route(node, envelope, hops + 1);
        }
        self.place(node, envelope);
    }

    /// Into the inbox of the shard.
    fn place(&mut self, at: usize, envelope: Envelope) {
        let Some(node) = self.nodes.get(at) else { return };
        match envelope {
            Envelope::Session(to, msg) => {
                let shard = node.user_shard(to.user);
                self.push::<Sessions>(at, shard, Item::Tell(to, msg));
            }
            Envelope::Conversation(to, msg) => {
                let shard = node.conversation_shard(to);
                self.push::<Conversations>(at, shard, Item::Tell(to, msg));
            }
            Envelope::Presence(to, msg) => {
                let shard = node.user_shard(to);
                self.push::<Presences>(at, shard, Item::Tell(to, msg));
            }
        }
    }

    fn link(&mut self, from: usize, to: usize, envelope: Envelope, hops: u8) {
        let well = self.healed_us.is_some();
        let life = self.nodes.get(to).map_or(0, |node| node.life);
        if self.cuts.contains(&(from, to)) || (!well && self.rng.chance(self.config.link_drop)) {
            return self.note(|| format!("hint lost {from}->{to}: {envelope:.200?}"));
        }
        let most = if well { 5 } else { self.config.link_ms };
        let mut wait = self.rng.below(most * 1_000) + 50;
        if !well
            && self.rng.chance(self.config.link_double)
            && let Some(twin) = super::net::double(&envelope)
        {
            // A copy may come much later than the first.
            let wait = self.rng.below(8_000_000);
            self.at(wait, Event::Hint(to, life, twin, hops));
        }
        if !self.config.hostile_links {
            let last = self.link_us.entry((from, to)).or_default();
            *last = (*last).max(self.now_us + wait);
            wait = *last - self.now_us;
        }
        self.at(wait, Event::Hint(to, life, envelope, hops));
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
