//! A node of the simulation: hosts in shards, as the shell has them, without its runtime.

use super::coverage::{Conversations, Presences, Sessions};
use super::engine::Way;
use super::keeper::Keeper;
use super::links::Links;
use bytes::Bytes;
use rookery_actors::cluster::View;
use rookery_actors::effect::{Query, QueryResult};
use rookery_actors::host::{Host, Kind, Line, Outlet, ReplyTo};
use rookery_actors::session::Settings;
use rookery_actors::{ConnId, Envelope, Now};
use rookery_protocol::{CloseCode, ConversationId, UserId};
use rookery_store::{Outcome, Plan, Slot, Store, TakeOver};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

/// What a session did with its connection.
#[derive(Clone, Debug)]
pub enum Said {
    /// Frames to write.
    Push(Bytes),
    /// Close it.
    Close(CloseCode),
    /// The session can't be resumed.
    Refused,
    /// The session was lost.
    Lost,
}

/// What sessions did with their connections, in order.
pub type Mouth = Rc<RefCell<Vec<(ConnId, Said)>>>;

/// A connection as its session sees it.
pub struct SimLine {
    /// Whose.
    pub conn: ConnId,
    /// Where it speaks.
    pub mouth: Mouth,
}

impl Line for SimLine {
    fn conn(&self) -> ConnId {
        self.conn
    }

    fn push(&self, frames: Bytes) {
        self.mouth.borrow_mut().push((self.conn, Said::Push(frames)));
    }

    fn close(&self, code: CloseCode) {
        self.mouth.borrow_mut().push((self.conn, Said::Close(code)));
    }

    fn refuse(&self) {
        self.mouth.borrow_mut().push((self.conn, Said::Refused));
    }

    fn lost(&self) {
        self.mouth.borrow_mut().push((self.conn, Said::Lost));
    }
}

/// Which message every actor of a shard gets, if any.
pub type Choose<K> = Box<dyn Fn(<K as Kind>::Key) -> Option<<K as Kind>::Msg>>;

/// What comes into a shard.
pub enum Item<K: Kind> {
    /// A message.
    Tell(K::Key, K::Msg),
    /// A message with the connection it speaks of.
    Attach(K::Key, K::Msg, SimLine),
    /// The store's answer.
    Answer(ReplyTo<K::Key>, QueryResult),
    /// Outcomes of one submission.
    Outcomes(Vec<(ReplyTo<K::Key>, Outcome)>),
    /// A take-over ended.
    Taken(Slot, TakeOver),
    /// For every actor that the function chooses.
    Each(Choose<K>),
    /// The members of the cluster changed.
    Placed(Arc<View>),
}

/// A shard.
pub struct Shard<K: Kind> {
    /// Its actors.
    pub host: Host<K, SimLine>,
    /// What waits.
    pub inbox: Vec<Item<K>>,
    /// A turn is due.
    pub scheduled: bool,
    /// The timer that is armed, microseconds of the world.
    pub armed: Option<u64>,
}

impl<K: Kind> Shard<K> {
    fn new(settings: &Arc<Settings>, first_activation: u64) -> Self {
        let host = Host::new(settings, first_activation);
        Self { host, inbox: Vec::new(), scheduled: false, armed: None }
    }
}

/// Gathers what a turn wants done.
pub struct Desk<K: Kind> {
    /// To be told.
    pub told: Vec<Envelope>,
    /// To be committed.
    pub plans: Vec<(ReplyTo<K::Key>, Plan)>,
    /// To be asked.
    pub asked: Vec<(ReplyTo<K::Key>, Query)>,
    /// To be taken over.
    pub slots: Vec<Slot>,
    /// For the next turn.
    pub later: Vec<(K::Key, K::Msg)>,
    /// Actors lost.
    pub lost: Vec<K::Key>,
    /// A slot this node took for its own.
    pub owned: Cell<Option<Slot>>,
    view: Arc<View>,
    until_ms: u64,
    now_ms: u64,
}

impl<K: Kind> Desk<K> {
    /// Nothing gathered in a turn of this node.
    pub fn new(node: &Node, now: Now) -> Self {
        Self {
            told: Vec::new(),
            plans: Vec::new(),
            asked: Vec::new(),
            slots: Vec::new(),
            later: Vec::new(),
            lost: Vec::new(),
            owned: Cell::new(None),
            view: Arc::clone(&node.keeper.view),
            until_ms: node.keeper.until_ms,
            now_ms: now.mono_ms,
        }
    }
}

impl<K: Kind> Outlet<K> for Desk<K> {
    fn tell(&mut self, envelope: Envelope) {
        self.told.push(envelope);
    }

    fn commit(&mut self, to: ReplyTo<K::Key>, plan: Plan) {
        self.plans.push((to, plan));
    }

    fn ask(&mut self, to: ReplyTo<K::Key>, query: Query) {
        self.asked.push((to, query));
    }

    fn may_own(&self, slot: Slot) -> bool {
        let may = self.view.may_own(slot, self.now_ms, self.until_ms);
        if may {
            self.owned.set(Some(slot));
        }
        may
    }

    fn take_over(&mut self, slot: Slot) {
        self.slots.push(slot);
    }

    fn later(&mut self, key: K::Key, msg: K::Msg) {
        self.later.push((key, msg));
    }

    fn dropped(&mut self) {}

    fn lost(&mut self, key: K::Key) {
        self.lost.push(key);
    }
}

/// A node.
pub struct Node {
    /// Its name.
    pub name: String,
    /// Which of its lives.
    pub life: u64,
    /// It runs.
    pub up: bool,
    /// It stands still until then, microseconds of the world.
    pub paused_until: u64,
    /// When its life began, microseconds of the world.
    pub began_us: u64,
    /// How far its wall clock is off, milliseconds.
    pub clock_ms: i64,
    /// How fast its monotonic clock runs, per mille.
    pub rate: u64,
    /// Its membership.
    pub keeper: Keeper,
    /// Its links.
    pub links: Links,
    /// Its way to the store.
    pub way: Way,
    /// The store layer over it.
    pub store: Store<Way>,
    /// Session shards.
    pub sessions: Vec<Shard<Sessions>>,
    /// Conversation shards.
    pub conversations: Vec<Shard<Conversations>>,
    /// Presence shards.
    pub presences: Vec<Shard<Presences>>,
    /// What all its sessions share.
    pub settings: Arc<Settings>,
    shards: usize,
}

/// The wall clock of the world's first moment, Unix milliseconds.
pub const DAWN_MS: u64 = 1_760_000_000_000;

impl Node {
    /// A node that just started.
    pub fn new(at: usize, life: u64, shards: usize, now_us: u64, way: Way, keeper: Keeper) -> Self {
        let settings = Arc::new(Settings {
            heartbeat_ms: 5_000,
            grace_ms: 30_000,
            node: format!("n{at}").into(),
        });
        // Lives far apart: an answer to an earlier one must find nobody.
        let first = life << 40;
        Self {
            name: name(at),
            life,
            up: true,
            paused_until: 0,
            began_us: now_us,
            clock_ms: 0,
            rate: 1_000,
            keeper,
            links: Links::default(),
            store: Store::new(way.clone()),
            way,
            sessions: (0..shards).map(|_| Shard::new(&settings, first)).collect(),
            conversations: (0..shards).map(|_| Shard::new(&settings, first)).collect(),
            presences: (0..shards).map(|_| Shard::new(&settings, first)).collect(),
            settings,
            shards,
        }
    }

    /// The clocks its actors are told.
    pub fn now(&self, now_us: u64) -> Now {
        let unix_ms = (DAWN_MS + now_us / 1_000).saturating_add_signed(self.clock_ms);
        Now { mono_ms: self.mono_ms(now_us), unix_ms }
    }

    /// What its monotonic clock shows at a moment of the world.
    pub fn mono_ms(&self, at_us: u64) -> u64 {
        at_us.saturating_sub(self.began_us) * self.rate / 1_000_000
    }

    /// How long something takes that takes so long by its clock, microseconds of the world.
    pub fn real_us(&self, by_clock_ms: u64) -> u64 {
        by_clock_ms.saturating_mul(1_000_000).div_ceil(self.rate)
    }

    /// Where a user's session and hub are.
    pub fn user_shard(&self, user: UserId) -> usize {
        usize::try_from(user.0 >> 4).unwrap_or(0) % self.shards
    }

    /// Where a conversation is.
    pub fn conversation_shard(&self, conversation: ConversationId) -> usize {
        usize::from(rookery_store::slot_of(conversation).0) % self.shards
    }
}

/// The name of a node.
pub fn name(at: usize) -> String {
    format!("n{at}")
}

/// A kind of virtual actor in the simulation.
pub trait SimKind: Kind {
    /// The node's shards of this kind.
    fn shards(node: &mut Node) -> &mut Vec<Shard<Self>>;
    /// Tells of a turn that is due.
    const TURN: fn(usize, u64, usize) -> super::world::Event;
}

/// A shard fails and starts again: its actors are gone, its inbox stays.
pub fn renew<K: Kind>(shards: &mut [Shard<K>], at: usize, settings: &Arc<Settings>, first: u64) {
    if let Some(shard) = shards.get_mut(at) {
        shard.host = Host::new(settings, first);
        shard.armed = None;
    }
}
