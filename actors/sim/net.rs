//! Connections of clients as a gateway has them.

use super::coverage::{self, Sessions};
use super::device::Link;
use super::node::{DAWN_MS, Item, Said, SimLine};
use super::world::{Conn, Event, World};
use bytes::Bytes;
use rookery_actors::message::{Attach, Identity};
use rookery_actors::{ConnId, SessionMsg, SessionRef};
use rookery_protocol::client::Resume;
use rookery_protocol::{ClientFrame, CloseCode, ServerFrame, SessionId, UserId};
use std::rc::Rc;
use std::sync::Arc;

/// Sessions in a row that a connection asks for before it gives up, as the gateway does.
const MAX_LOSSES: u32 = 8;

impl World {
    /// A device opens a connection.
    pub(super) fn connect(&mut self, device: usize, resume: Option<Resume>) {
        let number = self.next_conn();
        let at = self.rng.index(self.nodes.len());
        // Mostly to where it was before.
        let node = match resume {
            Some(resume) if self.rng.chance(700) => self.node_of(resume.session.0),
            _ => at,
        };
        let life = self.nodes.get(node).map_or(0, |node| node.life);
        let conn = Conn {
            device,
            node,
            life,
            session: 0,
            resume,
            open: false,
            cut: false,
            losses: 0,
            to_client_us: 0,
            to_server_us: 0,
            last_life_us: self.now_us,
        };
        self.conns.insert(number, conn);
        if let Some(of) = self.of_device.get_mut(device) {
            *of = Some(number);
        }
        self.note(|| format!("device {device} connects to node {node} as {number}: {resume:?}"));
        let wait = self.rng.below(3_000) + 100;
        if self.nodes.get(node).is_some_and(|node| node.up) {
            self.at(wait, Event::Hello(number));
        } else {
            self.at(wait, Event::ClientLost(number));
        }
    }

    /// The node lets the client in.
    pub(super) fn hello(&mut self, number: u64) {
        let Some(conn) = self.conns.get_mut(&number) else { return };
        conn.open = true;
        let resume = conn.resume.take();
        self.attach(number, resume);
        if self.conns.get(&number).is_some_and(|conn| conn.cut) {
            // The client gave up before; it takes a while to notice.
            let wait = self.rng.below(15_000_000);
            self.at(wait, Event::ServerLost(number));
        }
    }

    fn attach(&mut self, number: u64, resume: Option<Resume>) {
        let fresh = self.rng.next() & 0xffff_ffff;
        let fresh_secret = self.rng.bytes();
        let window_bytes = if self.config.small_windows { 16_384 } else { 262_144 };
        let Some(conn) = self.conns.get_mut(&number) else { return };
        let at = conn.node;
        conn.session = resume.map_or((at as u64) << 48 | fresh, |resume| resume.session.0);
        let Some(device) = self.devices.get(conn.device) else { return };
        let identity = Identity {
            user: device.user,
            device: device.device,
            name: Arc::from(format!("user{}", device.user.0)),
            expires_ms: DAWN_MS * 2,
        };
        let attach = Attach {
            conn: ConnId(number),
            identity,
            window_bytes,
            resume: resume.map(|resume| (resume.secret, resume.received)),
            fresh_secret,
            endpoints: Vec::new(),
        };
        let session = SessionId(conn.session);
        let key = SessionRef { user: device.user, session, node: self.node_id(at) };
        if !self.nodes.get(at).is_some_and(|node| node.keeper.view.admits(key.node)) {
            coverage::reached(("attach.refused", "n"));
            return self.close(number, CloseCode::Overloaded);
        }
        let line = SimLine { conn: ConnId(number), mouth: Rc::clone(&self.mouth) };
        let Some(shard) = self.nodes.get(at).map(|node| node.user_shard(key.user)) else { return };
        self.push::<Sessions>(at, shard, Item::Attach(key, SessionMsg::Attach(attach), line));
    }

    fn tell_session(&mut self, number: u64, msg: SessionMsg) {
        let Some(conn) = self.conns.get(&number) else { return };
        let Some(device) = self.devices.get(conn.device) else { return };
        let at = conn.node;
        let session = SessionId(conn.session);
        let key = SessionRef { user: device.user, session, node: self.node_id(at) };
        let Some(shard) = self.nodes.get(at).map(|node| node.user_shard(key.user)) else { return };
        self.push::<Sessions>(at, shard, Item::Tell(key, msg));
    }

    /// A session did something with its connection.
    pub(super) fn said(&mut self, number: u64, said: Said) {
        let delay = self.rng.below(3_000) + 50;
        let Some(conn) = self.conns.get_mut(&number) else { return };
        if !conn.open {
            return;
        }
        match said {
            Said::Push(frames) => {
                conn.to_client_us = conn.to_client_us.max(self.now_us + delay);
                let wait = conn.to_client_us - self.now_us;
                self.at(wait, Event::ToClient(number, frames));
            }
            Said::Close(code) => self.close(number, code),
            Said::Refused | Said::Lost => {
                conn.losses += 1;
                if conn.losses > MAX_LOSSES {
                    self.close(number, CloseCode::Internal);
                } else {
                    self.attach(number, None);
                }
            }
        }
    }

    fn close(&mut self, number: u64, code: CloseCode) {
        let Some(conn) = self.conns.get_mut(&number) else { return };
        conn.open = false;
        conn.to_client_us = conn.to_client_us.max(self.now_us + 100);
        let wait = conn.to_client_us - self.now_us;
        self.at(wait, Event::Closed(number, code));
        self.detach(number);
    }

    fn detach(&mut self, number: u64) {
        let Some(conn) = self.conns.get(&number) else { return };
        let last_us = conn.last_life_us;
        let last_life_ms = self.nodes.get(conn.node).map_or(0, |node| node.mono_ms(last_us));
        self.tell_session(number, SessionMsg::Detached { conn: ConnId(number), last_life_ms });
    }

    pub(super) fn reach_server(&mut self, number: u64, frames: Vec<ClientFrame>) {
        let now_us = self.now_us;
        let Some(conn) = self.conns.get_mut(&number).filter(|conn| conn.open && !conn.cut) else {
            return;
        };
        conn.last_life_us = now_us;
        self.tell_session(number, SessionMsg::Frames(ConnId(number), frames));
    }

    pub(super) fn reach_client(&mut self, number: u64, frames: &Bytes) {
        self.fold(frames.len() as u64);
        let now = self.now_ms();
        self.note(|| {
            let frames = rookery_protocol::frames(frames, usize::MAX);
            let words = frames.filter_map(|raw| in_words(&ServerFrame::decode(raw.ok()?).ok()??));
            format!("connection {number} is given {}", words.collect::<Vec<_>>().join(", "))
        });
        let Some(conn) = self.conns.get(&number).filter(|conn| !conn.cut) else { return };
        let at = conn.device;
        if self.of_device.get(at) != Some(&Some(number)) {
            return;
        }
        let mut orders = Vec::new();
        if let Some(device) = self.devices.get_mut(at) {
            device.received(now, frames, &mut self.truth, &mut self.rng, &mut orders);
        }
        self.obey(at, orders);
    }

    pub(super) fn closed(&mut self, number: u64, code: CloseCode) {
        let now = self.now_ms();
        // Of one that is cut the client hears nothing; it finds out by itself.
        if self.conns.get(&number).is_none_or(|conn| conn.cut) {
            return;
        }
        let Some(conn) = self.conns.remove(&number) else { return };
        self.note(|| format!("device {} is closed: {code:?}", conn.device));
        if self.of_device.get(conn.device) != Some(&Some(number)) {
            return;
        }
        if let Some(device) = self.devices.get_mut(conn.device) {
            device.closed(now, code, &mut self.truth, &mut self.rng);
        }
    }

    /// A connection breaks: nothing passes, and each side finds out in its own time.
    pub(super) fn break_conn(&mut self, number: u64) {
        let Some(conn) = self.conns.get_mut(&number) else { return };
        conn.cut = true;
        let (client, server) = (self.rng.below(15_000_000), self.rng.below(15_000_000));
        // Most ends are seen at once.
        let quick = self.rng.chance(600);
        let shorter = |us: u64| if quick { us / 1_000 } else { us };
        self.at(shorter(client), Event::ClientLost(number));
        self.at(shorter(server), Event::ServerLost(number));
    }

    pub(super) fn client_lost(&mut self, number: u64) {
        let now = self.now_ms();
        let Some(conn) = self.conns.get_mut(&number) else { return };
        conn.cut = true;
        let at = conn.device;
        if self.of_device.get(at) != Some(&Some(number)) {
            return;
        }
        if let Some(device) = self.devices.get_mut(at) {
            device.hung_up(now);
            device.back_off(now, &mut self.rng);
        }
    }

    pub(super) fn server_lost(&mut self, number: u64) {
        let Some(conn) = self.conns.get_mut(&number) else { return };
        conn.cut = true;
        if std::mem::replace(&mut conn.open, false) {
            self.detach(number);
        }
    }

    /// The device gives its connection up.
    pub(super) fn hang_up(&mut self, device: usize) {
        let Some(number) = self.of_device.get_mut(device).and_then(Option::take) else { return };
        let Some(conn) = self.conns.get_mut(&number) else { return };
        conn.cut = true;
        let wait = self.rng.below(2_000_000);
        self.at(wait, Event::ServerLost(number));
    }

    pub(super) fn upload(&mut self, device: usize, frames: Vec<ClientFrame>) {
        let Some(Some(number)) = self.of_device.get(device).copied() else { return };
        self.note(|| format!("device {device} sends {frames:.300?}"));
        let delay = self.rng.below(3_000) + 50;
        let Some(conn) = self.conns.get_mut(&number).filter(|conn| !conn.cut) else { return };
        conn.to_server_us = conn.to_server_us.max(self.now_us + delay);
        let wait = conn.to_server_us - self.now_us;
        self.at(wait, Event::ToServer(number, frames));
    }

    /// All devices look at the time.
    pub(super) fn look(&mut self) {
        let now = self.now_ms();
        for at in 0..self.devices.len() {
            let mut orders = Vec::new();
            if let Some(device) = self.devices.get_mut(at) {
                device.tick(now, &mut self.rng, &mut orders);
            }
            self.obey(at, orders);
        }
        let wait = if self.healed_us.is_some() { 200_000 } else { 50_000 };
        self.at(wait, Event::Devices);
    }

    /// Whether any device of a user is connected.
    pub(super) fn is_online(&self, user: UserId) -> bool {
        self.devices.iter().any(|device| device.user == user && device.link == Link::Up)
    }
}

/// A frame in few words, for whoever reads a trace.
fn in_words(frame: &ServerFrame) -> Option<String> {
    Some(match frame {
        ServerFrame::Message(message) => {
            format!("Message {}/{}", message.conversation, message.entry.seq)
        }
        ServerFrame::Sent(sent) => {
            format!("Sent {}/{} again: {}", sent.conversation, sent.seq, sent.duplicate)
        }
        ServerFrame::ConversationPage(page) => format!("a list of {}", page.conversations.len()),
        ServerFrame::HistoryPage(page) => {
            format!("{} of {} up to {}", page.entries.len(), page.conversation, page.head)
        }
        other => format!("{other:.120?}"),
    })
}
