//! Connections between nodes: dialed, greeted with the real greeting, replaced, hung up and broken.
//!
//! The lower name dials, again and again; a new connection replaces the one before; an end that lets
//! a connection go is noticed by the other in its own time, or only by its silence.

use super::coverage;
use super::keeper::CLUSTER;
use super::world::{Event, World};
use rookery_actors::link::NodeKey;
use rookery_actors::link::frame::{NEWEST_VERSION, OLDEST_VERSION};
use rookery_actors::link::greeting::{Greeting, Me};
use rookery_actors::link::peer::Input;

/// From the dial to the answer, microseconds, as in the shell.
const HANDSHAKE_US: u64 = 3_000_000;
/// Before a peer is dialed again, microseconds, as in the shell.
pub const FIRST_PAUSE_US: u64 = 50_000;
const MAX_PAUSE_US: u64 = 1_000_000;

/// A connection between two nodes: the dialer's end is 0.
pub struct Pipe {
    pub(super) ends: [End; 2],
    /// When the last frame to an end comes, microseconds.
    pub(super) last_us: [u64; 2],
}

/// One end of a connection.
#[derive(Clone, Copy)]
pub struct End {
    pub(super) node: usize,
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
    /// Whether a way is open.
    pub(super) fn passes(&self, from: usize, to: usize) -> bool {
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
        let incarnation = own.incarnation;
        let newest = NEWEST_VERSION;
        let me = Me { cluster: CLUSTER, name: &node.name, incarnation, newest };
        let judged = greeting.judge(me, true);
        let known = node.links.0.get_mut(&dialer.own);
        let (Ok(version), Some(peer)) = (judged, known) else {
            coverage::reached(("greeting.refused", "n"));
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
            coverage::reached(("greeting.late", "n"));
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
}
