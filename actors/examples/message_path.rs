//! The path of a message without I/O, the same instructions in every run: for counting them.
//!
//! `valgrind --tool=callgrind target/release/examples/message_path 2000`
//!
//! Two devices with a session each, their conversation and hubs, the store's engine in memory. One
//! sends so many messages, one after the other, each through codec, session, conversation, plan,
//! commit, hub and the other's session. `.ci/run` counts the instructions of a message (the difference
//! between a long run and a short one) and fails above a budget: a slow-down is seen where timing is
//! too noisy to show it. Every hash map of the path draws its seed at random, so a count differs from
//! the next by less than one in a hundred.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "an example that measures and prints")]

use bytes::Bytes;
use futures_util::FutureExt;
use rookery_actors::host::{Conversations, Host, Kind, Line, Outlet, Presences, ReplyTo, Sessions};
use rookery_actors::message::{Attach, Identity};
use rookery_actors::session::Settings;
use rookery_actors::{ConnId, Envelope, NodeId, Now, Query, SessionMsg, SessionRef, query};
use rookery_protocol::client::{Ack, Send, Sync};
use rookery_protocol::limits::MAX_CLIENT_FRAME_BYTES;
use rookery_protocol::{
    ClientFrame, ClientMsgId, CloseCode, ConversationId, DeviceId, EntryKind, SessionId, UserId,
    frames,
};
use rookery_store::memory::MemoryEngine;
use rookery_store::{Account, Owner, Plan, Slot, Store};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

const NOW: Now = Now { mono_ms: 1_000, unix_ms: 1_760_000_000_000 };
const OWNER: Owner = Owner { node: 1, incarnation: 1 };
const NODE: NodeId = NodeId(1);
const ANN: UserId = UserId(11);
const BOB: UserId = UserId(12);
/// A client acknowledges after so many messages.
const ACK_EVERY: u64 = 8;

/// A connection that takes everything.
#[derive(Clone)]
struct Sink(ConnId, Rc<std::cell::Cell<u64>>);

impl Line for Sink {
    fn conn(&self) -> ConnId {
        self.0
    }
    fn push(&self, frames: Bytes) {
        self.1.set(self.1.get() + frames.len() as u64);
    }
    fn close(&self, _: CloseCode) {}
    fn refuse(&self) {}
    fn lost(&self) {}
}

/// What a turn wants done.
struct Desk<K: Kind> {
    told: Vec<Envelope>,
    plans: Vec<(ReplyTo<K::Key>, Plan)>,
    asked: Vec<(ReplyTo<K::Key>, Query)>,
    slots: Vec<Slot>,
    later: Vec<(K::Key, K::Msg)>,
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
    fn may_own(&self, _: Slot) -> bool {
        true
    }
    fn take_over(&mut self, slot: Slot) {
        self.slots.push(slot);
    }
    fn later(&mut self, key: K::Key, msg: K::Msg) {
        self.later.push((key, msg));
    }
    fn dropped(&mut self) {}
    fn lost(&mut self, key: K::Key) {
        println!("{key:?} was lost");
    }
}

/// A shard without a runtime.
struct Shard<K: Kind> {
    host: Host<K, Sink>,
    desk: Desk<K>,
}

impl<K: Kind> Shard<K> {
    fn new(settings: &Arc<Settings>) -> Self {
        let desk = Desk {
            told: Vec::new(),
            plans: Vec::new(),
            asked: Vec::new(),
            slots: Vec::new(),
            later: Vec::new(),
        };
        Self { host: Host::new(settings, 1), desk }
    }

    fn tell(&mut self, key: K::Key, msg: K::Msg, line: Option<Sink>) {
        self.host.tell(NOW, key, msg, line, &mut self.desk);
    }

    /// Does what the turn wanted done, until nothing is left but messages for others.
    fn settle(&mut self, store: &Store, queue: &mut VecDeque<Envelope>) {
        loop {
            let desk = &mut self.desk;
            queue.extend(desk.told.drain(..));
            if let Some((key, msg)) = desk.later.pop() {
                self.host.tell(NOW, key, msg, None, desk);
            } else if let Some((to, plan)) = desk.plans.pop() {
                let outcome = store.commit(plan).now_or_never().unwrap();
                self.host.committed(NOW, to, outcome, desk);
            } else if let Some((to, query)) = desk.asked.pop() {
                let result = query::run(store, query, ConversationId(9)).now_or_never().unwrap();
                self.host.answered(NOW, to, result, desk);
            } else if let Some(slot) = desk.slots.pop() {
                let taken = store.take_over(slot, OWNER).now_or_never().unwrap();
                self.host.taken(NOW, slot, taken, desk);
            } else {
                return;
            }
        }
    }
}

struct House {
    store: Store,
    sessions: Shard<Sessions>,
    conversations: Shard<Conversations>,
    presences: Shard<Presences>,
    queue: VecDeque<Envelope>,
    written: Rc<std::cell::Cell<u64>>,
}

impl House {
    fn settle(&mut self) {
        self.sessions.settle(&self.store, &mut self.queue);
        while let Some(envelope) = self.queue.pop_front() {
            match envelope {
                Envelope::Session(to, msg) => {
                    self.sessions.tell(to, msg, None);
                    self.sessions.settle(&self.store, &mut self.queue);
                }
                Envelope::Conversation(to, msg) => {
                    self.conversations.tell(to, msg, None);
                    self.conversations.settle(&self.store, &mut self.queue);
                }
                Envelope::Presence(to, msg) => {
                    self.presences.tell(to, msg, None);
                    self.presences.settle(&self.store, &mut self.queue);
                }
            }
        }
    }

    /// A frame of a client, through the codec as a connection does it.
    fn client(&mut self, session: SessionRef, frame: impl Into<ClientFrame>) {
        let mut bytes = Vec::new();
        frame.into().encode(&mut bytes);
        let decoded = frames(&bytes, MAX_CLIENT_FRAME_BYTES)
            .map(|raw| ClientFrame::decode(raw.unwrap()).unwrap().unwrap())
            .collect();
        self.sessions.tell(session, SessionMsg::Frames(ConnId(session.user.0), decoded), None);
        self.settle();
    }

    fn log_in(&mut self, user: UserId, name: &str) -> SessionRef {
        let session = SessionRef { user, session: SessionId(user.0), node: NODE };
        let conn = ConnId(user.0);
        let identity =
            Identity { user, device: DeviceId(user.0), name: name.into(), expires_ms: u64::MAX };
        let attach = Attach {
            conn,
            identity,
            window_bytes: 1 << 20,
            resume: None,
            fresh_secret: [7; 16],
            endpoints: Vec::new(),
        };
        let line = Sink(conn, Rc::clone(&self.written));
        self.sessions.tell(session, SessionMsg::Attach(attach), Some(line));
        self.settle();
        self.client(session, Sync { request: 1, cursor: None });
        session
    }
}

fn main() {
    let messages: u64 = std::env::args().nth(1).map_or(2_000, |count| count.parse().unwrap());
    let settings = Arc::new(Settings { heartbeat_ms: 5_000, grace_ms: 30_000, node: "n1".into() });
    let store: Store = Store::new(MemoryEngine::new().into());
    for (user, name) in [(ANN, "ann"), (BOB, "bob")] {
        let name = name.to_owned();
        let account = Account { user, name, password_hash: String::new(), created_ms: 1 };
        store.create_account(&account).now_or_never().unwrap().unwrap();
    }
    let opened = store.open_direct(ANN, BOB, ConversationId(77), NOW.unix_ms).now_or_never();
    let (conversation, _) = opened.unwrap().unwrap();
    let mut house = House {
        store,
        sessions: Shard::new(&settings),
        conversations: Shard::new(&settings),
        presences: Shard::new(&settings),
        queue: VecDeque::new(),
        written: Rc::default(),
    };
    let ann = house.log_in(ANN, "ann");
    let bob = house.log_in(BOB, "bob");
    for number in 1..=messages {
        let mut random = [0; 10];
        random[..8].copy_from_slice(&number.to_be_bytes());
        let send = Send {
            request: u32::try_from(number).unwrap(),
            conversation,
            client_msg_id: ClientMsgId::from_parts(NOW.unix_ms, random),
            retry: false,
            kind: EntryKind::Text,
            body: vec![b'a'; 100],
        };
        house.client(ann, send);
        if number % ACK_EVERY == 0 {
            // One more than the messages: `CaughtUp`.
            house.client(ann, Ack { received: number });
            house.client(bob, Ack { received: number });
        }
    }
    let head = house.store.describe(ANN, conversation).now_or_never().unwrap().unwrap().head;
    println!("{head} messages committed, {} bytes to clients", house.written.get());
    assert_eq!(head, messages);
    assert!(house.written.get() > 2 * messages * 60, "they were delivered");
}
