//! The rig of the core's tests: a clock, a server that says what it is told to, and ears.

mod connection;
mod delivery;

use super::*;
use crate::event::{Reply, Sent};
use rookery_protocol::limits::{Limits, MAX_CLIENT_FRAME_BYTES};
use rookery_protocol::server::{self, ServerFrame};
use rookery_protocol::{
    ClientMsgId, DeviceId, Entry, EntryKind, ErrorCode, SessionId, frames, number,
};

const ME: UserId = UserId(1);
const OTHER: UserId = UserId(2);
const ROOM: ConversationId = ConversationId(7);

fn id(n: u8) -> ClientMsgId {
    ClientMsgId::from_parts(1, [n; 10])
}

fn cursor(n: u8) -> Cursor {
    Cursor { epoch: 1, stamp: [n; 12] }
}

fn entry(seq: u64, sender: UserId, n: u8) -> Entry {
    Entry {
        seq,
        sender,
        device: DeviceId(1),
        time_ms: seq,
        client_msg_id: id(n),
        kind: EntryKind::Text,
        body: vec![n],
    }
}

fn welcome(resumed: bool) -> ServerFrame {
    server::Welcome {
        version: 1,
        session: SessionId(5),
        secret: [9; 16],
        resumed,
        user: ME,
        device: DeviceId(1),
        name: "me".into(),
        heartbeat_ms: 5_000,
        grace_ms: 30_000,
        server_time_ms: 0,
        token_expires_ms: 3_600_000,
        limits: Limits::with_window(64 * 1024),
        node: "n".into(),
        endpoints: vec!["ws://b".into()],
    }
    .into()
}

fn message(seq: u64) -> ServerFrame {
    server::Message { conversation: ROOM, entry: entry(seq, OTHER, 100) }.into()
}

fn sent(seq: u64, n: u8, duplicate: bool) -> ServerFrame {
    let client_msg_id = id(n);
    server::Sent { request: 0, conversation: ROOM, client_msg_id, seq, time_ms: seq, duplicate }
        .into()
}

fn page(request: u32, seqs: std::ops::RangeInclusive<u64>, head: u64, floor: u64) -> ServerFrame {
    let entries = seqs.map(|s| entry(s, OTHER, 100)).collect();
    server::HistoryPage { request, conversation: ROOM, entries, head, floor, more: false }.into()
}

/// A core with a clock, and a place to look at what it did.
struct Rig {
    core: Core,
    now: Millis,
}

impl Rig {
    fn new() -> Self {
        Self::with(true)
    }

    fn with(pipeline_sends: bool) -> Self {
        let config =
            Config { max_pending_sends: 100, pipeline_sends, ..Config::with_endpoint("ws://a") };
        Self { core: Core::new(Arc::new(config), "token".into(), None, 1, 0), now: 0 }
    }

    /// Connected, synced, nothing left to look at.
    fn up() -> Self {
        Self::new().synced()
    }

    fn synced(self) -> Self {
        let mut rig = self;
        rig.connect(false);
        rig.say(server::CaughtUp { request: rig.sync_request(), cursor: cursor(1) }.into());
        rig.events();
        rig
    }

    fn sync_request(&self) -> u32 {
        self.core.next_request - 1
    }

    fn dial(&mut self) -> ClientFrame {
        self.now = self.core.deadline().unwrap_or(self.now).max(self.now);
        self.core.handle(self.now, Input::Tick);
        assert!(matches!(self.core.poll_order(), Some(Order::Open(_))));
        self.core.handle(self.now, Input::Opened);
        let mut hello = self.written();
        assert_eq!(hello.len(), 1);
        hello.remove(0)
    }

    fn connect(&mut self, resumed: bool) -> Vec<ClientFrame> {
        self.dial();
        self.say(welcome(resumed));
        self.written()
    }

    fn say(&mut self, frame: ServerFrame) {
        self.core.handle(self.now, Input::Received(&frame.to_bytes()));
    }

    fn wait(&mut self, ms: Millis) {
        self.now += ms;
        self.core.handle(self.now, Input::Tick);
    }

    fn lose(&mut self) {
        self.core.handle(self.now, Input::Lost(Lost::default()));
        assert_eq!(self.core.poll_order(), Some(Order::Close));
    }

    fn send(&mut self, n: u8) {
        let message = Outgoing {
            conversation: ROOM,
            client_msg_id: id(n),
            kind: EntryKind::Text,
            body: vec![n],
        };
        self.core.send(message).unwrap();
    }

    fn written(&mut self) -> Vec<ClientFrame> {
        let mut all = Vec::new();
        while let Some(bytes) = self.core.poll_output(self.now) {
            for raw in frames(&bytes, MAX_CLIENT_FRAME_BYTES) {
                all.push(ClientFrame::decode(raw.unwrap()).unwrap().unwrap());
            }
        }
        all
    }

    fn sends(&mut self) -> Vec<(u8, bool, u32)> {
        self.written()
            .into_iter()
            .filter_map(|f| match f {
                ClientFrame::Send(s) => Some((s.body[0], s.retry, s.request)),
                _ => None,
            })
            .collect()
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.core.poll_event()).collect()
    }

    /// The seqs the application was given, own sends included; 0 stands for a hole.
    fn seqs(&mut self) -> Vec<u64> {
        self.events()
            .into_iter()
            .filter_map(|e| match e {
                Event::Message { entry, .. } => Some(entry.seq),
                Event::Sent(Sent { placed: true, seq, .. }) => Some(seq),
                Event::Missing { .. } => Some(0),
                _ => None,
            })
            .collect()
    }

    fn history_request(&mut self) -> (u32, u64) {
        let mut written = self.written();
        written.retain(|f| !matches!(f, ClientFrame::Ack(_)));
        match written.as_slice() {
            [ClientFrame::History(h)] => (h.request, h.anchor),
            other => panic!("expected one History, got {other:?}"),
        }
    }
}
