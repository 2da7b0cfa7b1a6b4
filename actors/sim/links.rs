//! Links between nodes: the real [`Link`] at each end, over connections that the simulation dials,
//! greets, delays, breaks and cuts.
//!
//! A connection carries frames in order, as TCP does, unless the seed wants worse: then single
//! frames vanish, come twice or late, which the links must bear. A way that is cut holds frames back
//! until it is open again, or loses them. What the links promise is judged at [`super::ledger`].

use super::keeper::CLUSTER;
use super::ledger::Credit;
use super::world::{Event, World};
use bytes::Bytes;
use rookery_actors::SessionMsg;
use rookery_actors::cluster::View;
use rookery_actors::link::frame::{Frame, NEWEST_VERSION, OLDEST_VERSION};
use rookery_actors::link::greeting::{Greeting, Me};
use rookery_actors::link::peer::{Effect, Input, Link};
use rookery_actors::link::{LinkRefused, NodeKey};
use rookery_protocol::ErrorCode;
use std::collections::BTreeMap;
use std::sync::Arc;

/// From the dial to the answer, microseconds, as in the shell.
const HANDSHAKE_US: u64 = 3_000_000;
const FIRST_PAUSE_US: u64 = 50_000;
const MAX_PAUSE_US: u64 = 1_000_000;
/// How often links look at the clock, microseconds.
const TICK_US: u64 = 100_000;

/// The links of one node.
#[derive(Default)]
pub struct Links(BTreeMap<NodeKey, PeerLink>);

/// A peer of the view.
struct PeerLink {
    name: String,
    link: Link,
    /// What frames leave over.
    over: Option<u64>,
    /// The newest connection, whether it is ready or not.
    current: Option<u64>,
    credit: Credit,
    pause_us: u64,
}

impl Links {
    /// Whether a peer is connected, in both directions.
    pub fn is_up(&self, peer: NodeKey) -> bool {
        self.0.get(&peer).is_some_and(|peer| peer.link.is_up())
    }

    /// Whether an answer of a peer is in sight.
    pub fn is_prompt(&self, peer: NodeKey) -> bool {
        self.0.get(&peer).is_some_and(|peer| !peer.link.is_quiet())
    }
}

/// A connection between two nodes: the dialer's end is 0.
pub struct Pipe {
    ends: [End; 2],
    /// When the last frame to an end comes, microseconds.
    last_us: [u64; 2],
}

#[derive(Clone, Copy)]
struct End {
    node: usize,
    life: u64,
    own: NodeKey,
    open: bool,
}

impl Pipe {
    /// The node and the life at an end.
    pub fn end(&self, side: usize) -> Option<(usize, u64)> {
        self.ends.get(side).map(|end| (end.node, end.life))
    }
}

impl World {
    // ---- peers ------------------------------------------------------------------------------

    /// A new view: links to those who are in it, and to nobody else.
    pub(super) fn set_peers(&mut self, at: usize, view: &View) {
        let start = (self.now_us + 1) * 1_000;
        let (window, queue) = (self.config.link_window, self.config.link_queue);
        let Some(node) = self.nodes.get_mut(at) else { return };
        let (own, name, life) = (view.me, node.name.clone(), node.life);
        let gone: Vec<NodeKey> =
            node.links.0.keys().filter(|key| !view.members.iter().any(|m| m.key == **key)).copied().collect();
        let mut dials = Vec::new();
        for member in view.others() {
            if node.links.0.contains_key(&member.key) {
                continue;
            }
            let link = Link::new(own, member.key, start, 0).bounded(window, queue);
            let name_ = member.lease.name.clone();
            if name < name_ {
                dials.push(member.key);
            }
            let peer = PeerLink {
                name: name_,
                link,
                over: None,
                current: None,
                credit: Credit::new(window),
                pause_us: FIRST_PAUSE_US,
            };
            node.links.0.insert(member.key, peer);
        }
        for key in gone {
            self.drop_link(at, key);
        }
        for peer in dials {
            self.at(100, Event::Dial(at, life, own, peer));
        }
    }

    /// All links of a node end, with the life they belonged to.
    pub(super) fn drop_links(&mut self, at: usize) {
        let keys = self.nodes.get(at).map(|node| node.links.0.keys().copied().collect());
        let keys: Vec<NodeKey> = keys.unwrap_or_default();
        for key in keys {
            self.drop_link(at, key);
        }
    }

    fn drop_link(&mut self, at: usize, key: NodeKey) {
        let Some(node) = self.nodes.get_mut(at) else { return };
        let own = node.keeper.me();
        let Some(peer) = node.links.0.remove(&key) else { return };
        self.ledger.given_up(own, key);
        if let Some(pipe) = peer.current {
            self.hang_up_pipe(pipe, at);
        }
    }

    // ---- connecting -------------------------------------------------------------------------

    fn passes(&self, from: usize, to: usize) -> bool {
        !self.cuts.contains(&(from, to))
    }

    /// A node dials a peer of its view.
    pub(super) fn dial(&mut self, at: usize, own: NodeKey, to: NodeKey) {
        let Some(node) = self.nodes.get_mut(at) else { return };
        let life = node.life;
        let current = node.keeper.me() == own;
        let Some(peer) = node.links.0.get_mut(&to).filter(|_| current) else { return };
        if peer.current.is_some() {
            return;
        }
        let pause_us = peer.pause_us;
        peer.pause_us = (pause_us * 2).min(MAX_PAUSE_US);
        let number = self.next_pipe;
        self.next_pipe += 1;
        let target = self.nodes.iter().position(|node| node.keeper.me().node == to.node);
        let Some(target) = target else { return };
        let (up, target_life) = self.nodes.get(target).map_or((false, 0), |n| (n.up, n.life));
        let reaches = up && self.passes(at, target) && self.passes(target, at);
        let jitter = self.rng.below(pause_us / 2 + 1);
        if !reaches {
            // Refused at once, or no answer at all.
            let wait = if up { HANDSHAKE_US } else { 1_000 };
            return self.at(wait + pause_us - jitter, Event::Dial(at, life, own, to));
        }
        let ends = [
            End { node: at, life, own, open: true },
            End { node: target, life: target_life, own: to, open: true },
        ];
        self.pipes.insert(number, Pipe { ends, last_us: [0; 2] });
        if let Some(peer) = self.nodes.get_mut(at).and_then(|node| node.links.0.get_mut(&to)) {
            peer.current = Some(number);
        }
        let wait = self.link_us();
        self.at(wait, Event::Greet(number));
        self.at(HANDSHAKE_US, Event::HandshakeLate(number));
    }

    /// The greeting reaches the node that was dialed: the real judgement.
    pub(super) fn greet(&mut self, number: u64) {
        let Some(Pipe { ends: [dialer, target], .. }) = self.pipes.get(&number) else { return };
        let (dialer, target) = (*dialer, *target);
        let name = |at: usize| self.nodes.get(at).map_or_else(String::new, |n| n.name.clone());
        let greeting = Greeting {
            oldest: OLDEST_VERSION,
            newest: NEWEST_VERSION,
            cluster: CLUSTER.into(),
            name: name(dialer.node),
            incarnation: dialer.own.incarnation,
            to_name: name(target.node),
            to_incarnation: target.own.incarnation,
            routers: vec![1],
        };
        let Some(node) = self.nodes.get_mut(target.node) else { return };
        let own = node.keeper.me();
        let me = Me { cluster: CLUSTER, name: &node.name, incarnation: own.incarnation };
        let judged = greeting.judge(me, true);
        let known = node.links.0.get_mut(&dialer.own);
        let (Ok(version), Some(peer)) = (judged, known) else {
            return self.hang_up_pipe(number, target.node);
        };
        // A new connection replaces the one before.
        let before = peer.current.replace(number);
        if let Some(before) = before.filter(|before| *before != number) {
            self.hang_up_pipe(before, target.node);
        }
        self.connected(target.node, dialer.own, number, version);
        let wait = self.link_us();
        self.at(wait, Event::Welcomed(number, version));
    }

    /// The answer reaches the dialer.
    pub(super) fn welcomed(&mut self, number: u64, version: u8) {
        let Some(Pipe { ends: [dialer, target], .. }) = self.pipes.get(&number) else { return };
        let (dialer, peer) = (*dialer, target.own);
        if dialer.open {
            self.connected(dialer.node, peer, number, version);
        }
    }

    /// No answer came in time.
    pub(super) fn handshake_late(&mut self, number: u64) {
        let Some(Pipe { ends: [dialer, target], .. }) = self.pipes.get(&number) else { return };
        let (at, key) = (dialer.node, target.own);
        let waits = self.nodes.get(at).and_then(|node| node.links.0.get(&key));
        if waits.is_some_and(|peer| peer.current == Some(number) && peer.over.is_none()) {
            self.hang_up_pipe(number, at);
        }
    }

    fn connected(&mut self, at: usize, peer: NodeKey, number: u64, version: u8) {
        let now_ms = self.mono_ms(at);
        let Some(node) = self.nodes.get_mut(at) else { return };
        let Some(held) = node.links.0.get_mut(&peer) else { return };
        if held.current != Some(number) {
            return;
        }
        held.over = Some(number);
        held.pause_us = FIRST_PAUSE_US;
        held.credit.connected();
        let mut effects = Vec::new();
        held.link.handle(now_ms, Input::Connected { version }, &mut effects);
        self.perform(at, peer, effects);
    }

    /// An end lets a connection go; the other finds out in its own time, or by silence.
    pub(super) fn hang_up_pipe(&mut self, number: u64, at: usize) {
        let Some(pipe) = self.pipes.get_mut(&number) else { return };
        let Some(side) = pipe.ends.iter().position(|end| end.node == at) else { return };
        let mut other = None;
        for (n, end) in pipe.ends.iter_mut().enumerate() {
            if n == side {
                end.open = false;
            } else {
                other = Some((n, end.node));
            }
        }
        let Some((far_side, far)) = other else { return };
        self.let_go(number, side);
        if self.passes(at, far) {
            let wait = self.link_us();
            self.at(wait, Event::HungUp(number, far_side));
        }
    }

    /// An end finds a connection ended by the other.
    pub(super) fn hung_up(&mut self, number: u64, side: usize) {
        let Some(pipe) = self.pipes.get_mut(&number) else { return };
        let Some(end) = pipe.ends.get_mut(side) else { return };
        if std::mem::replace(&mut end.open, false) {
            self.let_go(number, side);
        }
    }

    /// This end of a connection is closed: its link learns of it, and the dialer dials again.
    fn let_go(&mut self, number: u64, side: usize) {
        let Some(pipe) = self.pipes.get(&number) else { return };
        let (Some(end), Some(far)) = (pipe.ends.get(side), pipe.ends.get(1 - side)) else { return };
        let (at, life, own, peer) = (end.node, end.life, end.own, far.own);
        if pipe.ends.iter().all(|end| !end.open) {
            self.pipes.remove(&number);
        }
        let now_ms = self.mono_ms(at);
        let Some(node) = self.nodes.get_mut(at).filter(|node| node.life == life) else { return };
        let Some(held) = node.links.0.get_mut(&peer) else { return };
        if held.current == Some(number) {
            held.current = None;
        }
        let mut effects = Vec::new();
        if held.over == Some(number) {
            held.over = None;
            held.link.handle(now_ms, Input::Disconnected, &mut effects);
        }
        let pause_us = held.pause_us;
        if side == 0 {
            let wait = pause_us - self.rng.below(pause_us / 2 + 1);
            self.at(wait, Event::Dial(at, life, own, peer));
        }
        self.perform(at, peer, effects);
    }

    /// A node's process is gone, and its connections with it.
    pub(super) fn break_pipes(&mut self, at: usize) {
        let numbers: Vec<u64> = self
            .pipes
            .iter()
            .filter(|(_, pipe)| pipe.ends.iter().any(|end| end.node == at))
            .map(|(number, _)| *number)
            .collect();
        for number in numbers {
            // A machine that dies says nothing; a process that is killed does.
            let silent = self.rng.chance(300);
            let Some(pipe) = self.pipes.get_mut(&number) else { continue };
            let mut far = None;
            for (side, end) in pipe.ends.iter_mut().enumerate() {
                if end.node == at {
                    end.open = false;
                } else {
                    far = Some((side, end.node, end.open));
                }
            }
            let Some((side, node, true)) = far else {
                self.pipes.remove(&number);
                continue;
            };
            if !silent && self.passes(at, node) {
                let wait = self.link_us();
                self.at(wait, Event::HungUp(number, side));
            }
        }
    }

    /// A connection of a node breaks under it.
    pub(super) fn break_links(&mut self, at: usize) {
        let numbers: Vec<u64> = self.pipes.keys().copied().collect();
        for number in numbers {
            if self.pipes.get(&number).is_some_and(|pipe| pipe.ends.iter().any(|e| e.node == at)) {
                self.hang_up_pipe(number, at);
            }
        }
    }

    // ---- frames -----------------------------------------------------------------------------

    /// How long a frame is under way.
    fn link_us(&mut self) -> u64 {
        let most = if self.healed_us.is_some() { 5 } else { self.config.link_ms };
        self.rng.below(most * 1_000) + 50
    }

    fn transmit(&mut self, at: usize, number: u64, bytes: Vec<u8>) {
        let well = self.healed_us.is_some();
        let Some(pipe) = self.pipes.get(&number) else { return };
        let Some(far) = pipe.ends.iter().position(|end| end.node != at) else { return };
        let to = pipe.ends.get(far).map_or(0, |end| end.node);
        let (drop, twice, late) = (
            !well && self.rng.chance(self.config.frame_drop),
            !well && self.rng.chance(self.config.frame_double),
            !well && self.rng.chance(self.config.frame_late),
        );
        if drop {
            return;
        }
        if !self.passes(at, to) {
            if self.config.cuts_hold {
                self.held.push((at, to, number, far, bytes));
            }
            return;
        }
        let mut wait = self.link_us();
        if twice {
            let again = self.rng.below(3_000_000);
            self.at(again, Event::Frame(number, far, bytes.clone().into()));
        }
        if late {
            wait += self.rng.below(500_000);
        } else if let Some(last_us) =
            self.pipes.get_mut(&number).and_then(|pipe| pipe.last_us.get_mut(far))
        {
            *last_us = (*last_us).max(self.now_us + wait);
            wait = *last_us - self.now_us;
        }
        self.at(wait, Event::Frame(number, far, bytes.into()));
    }

    /// A way between nodes is open again: what it held back comes now.
    pub(super) fn release(&mut self, from: usize, to: usize) {
        let (due, held): (Vec<_>, Vec<_>) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|(at, far, ..)| (*at, *far) == (from, to));
        self.held = held;
        for (.., number, side, bytes) in due {
            let Some(last_us) =
                self.pipes.get_mut(&number).and_then(|pipe| pipe.last_us.get_mut(side))
            else {
                continue;
            };
            *last_us = (*last_us).max(self.now_us + 1_000);
            let wait = *last_us - self.now_us;
            self.at(wait, Event::Frame(number, side, bytes.into()));
        }
    }

    /// A frame reaches a node.
    pub(super) fn frame(&mut self, number: u64, side: usize, bytes: Bytes) {
        let Some((at, _)) = self.pipes.get(&number).and_then(|pipe| pipe.end(side)) else { return };
        let now_ms = self.mono_ms(at);
        let frame = match Frame::decode(bytes) {
            Ok(frame) => frame,
            Err(error) => return self.truth.broken(|| format!("a frame is garbled: {error}")),
        };
        let Some(node) = self.nodes.get_mut(at) else { return };
        let from = frame.header.from;
        let Some(peer) = node.links.0.get_mut(&from) else { return };
        if frame.header.to == node.keeper.me() {
            peer.credit.heard(&frame.header);
            let mut effects = Vec::new();
            peer.link.handle(now_ms, Input::Frame(frame), &mut effects);
            self.perform(at, from, effects);
        }
    }

    /// The links of a node look at the clock.
    pub(super) fn tick_links(&mut self, at: usize) {
        let now_ms = self.mono_ms(at);
        let Some(node) = self.nodes.get_mut(at) else { return };
        let life = node.life;
        let mut due = Vec::new();
        for (key, peer) in &mut node.links.0 {
            if peer.link.deadline_ms().is_some_and(|deadline| deadline <= now_ms) {
                let mut effects = Vec::new();
                peer.link.handle(now_ms, Input::Tick, &mut effects);
                due.push((*key, effects));
            }
        }
        for (key, effects) in due {
            self.perform(at, key, effects);
        }
        self.at(TICK_US, Event::Ticks(at, life));
    }

    /// Hands a message to the link.
    pub(super) fn link_send(
        &mut self,
        at: usize,
        to: NodeKey,
        message: Bytes,
    ) -> Result<(), ErrorCode> {
        let Some(node) = self.nodes.get_mut(at) else { return Err(ErrorCode::Moved) };
        let own = node.keeper.me();
        let Some(peer) = node.links.0.get_mut(&to) else { return Err(ErrorCode::Moved) };
        let mut effects = Vec::new();
        peer.link.send(message.clone(), &mut effects).map_err(|refused| match refused {
            LinkRefused::Full => ErrorCode::Busy,
            LinkRefused::Unknown => ErrorCode::Moved,
            LinkRefused::TooLarge => ErrorCode::Internal,
        })?;
        self.ledger.taken(own, to, &message, self.now_us);
        self.perform(at, to, effects);
        Ok(())
    }

    fn perform(&mut self, at: usize, peer: NodeKey, effects: Vec<Effect>) {
        for effect in effects {
            let held = self.nodes.get_mut(at).and_then(|node| node.links.0.get_mut(&peer));
            match effect {
                Effect::Transmit(bytes) => {
                    let Some((held, number)) =
                        held.and_then(|held| held.over.map(|number| (held, number)))
                    else {
                        continue;
                    };
                    if let Some(words) = held.credit.sent(&bytes) {
                        self.truth.broken(|| format!("node {at} to {peer}: {words}"));
                    }
                    self.transmit(at, number, bytes);
                }
                Effect::Deliver(messages) => {
                    for message in messages {
                        self.deliver(at, peer, message);
                    }
                }
                Effect::Up | Effect::Down => self.look_now(at),
                Effect::Quiet => {
                    self.quiet(at, peer);
                    self.look_now(at);
                }
                Effect::Disconnect(why) => {
                    self.note(|| format!("node {at} gives its link to {peer} up: {why:?}"));
                    if let Some(number) = held.and_then(|held| held.over.take()) {
                        self.hang_up_pipe(number, at);
                    }
                }
            }
        }
    }

    /// A link hands a message over: judged, and then treated worse than a link would.
    fn deliver(&mut self, at: usize, from: NodeKey, message: Bytes) {
        let own = self.nodes.get(at).map(|node| node.keeper.me());
        let Some(own) = own else { return };
        if let Some(words) = self.ledger.handed_over(from, own, &message) {
            self.truth.broken(|| format!("link {from} to {own}: {words}"));
        }
        let well = self.healed_us.is_some();
        if !well && self.rng.chance(self.config.hint_drop) {
            return self.note(|| format!("a message from {from} to node {at} is lost"));
        }
        if !well && self.rng.chance(self.config.hint_double) {
            let life = self.nodes.get(at).map_or(0, |node| node.life);
            let wait = self.rng.below(8_000_000);
            self.at(wait, Event::Message(at, life, own, from, message.clone()));
        }
        self.received(at, from, &message);
    }

    /// A copy of a message comes late.
    pub(super) fn copy(&mut self, at: usize, own: NodeKey, from: NodeKey, message: &Bytes) {
        if self.nodes.get(at).is_some_and(|node| node.keeper.me() == own) {
            self.received(at, from, message);
        }
    }

    /// A peer is not heard: who waits for its answers asks again.
    fn quiet(&mut self, at: usize, peer: NodeKey) {
        let slots = self.slots_of(at, peer);
        self.each_session(at, move |_| Some(SessionMsg::SendsMoved(Arc::clone(&slots))));
    }
}
