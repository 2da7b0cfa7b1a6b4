//! Links between nodes: the real [`Link`] at each end, over connections that the simulation dials,
//! greets, delays, breaks and cuts.
//!
//! A connection carries frames in order, as TCP does, unless the seed wants worse: then single
//! frames vanish, come twice or late, which the links must bear. A way that is cut holds frames back
//! until it is open again, or the connection ends then. What links promise is judged at
//! [`super::ledger`]; how connections come and go is at [`super::dialing`].

use super::coverage;
use super::dialing::FIRST_PAUSE_US;
use super::ledger::Credit;
use super::world::{Event, World};
use bytes::Bytes;
use rookery_actors::SessionMsg;
use rookery_actors::cluster::View;
use rookery_actors::link::frame::Frame;
use rookery_actors::link::peer::{Effect, Input, Link, Why};
use rookery_actors::link::{LinkRefused, NodeKey};
use rookery_protocol::ErrorCode;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How often links look at the clock, microseconds.
const TICK_US: u64 = 100_000;

/// The links of one node.
#[derive(Default)]
pub struct Links(pub(super) BTreeMap<NodeKey, PeerLink>);

/// A peer of the view.
pub struct PeerLink {
    pub(super) link: Link,
    /// What frames leave over.
    pub(super) over: Option<u64>,
    /// The newest connection, whether it is ready or not.
    pub(super) current: Option<u64>,
    pub(super) credit: Credit,
    /// Before it is dialed again, microseconds.
    pub(super) pause_us: u64,
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

impl World {
    // ---- peers ------------------------------------------------------------------------------

    /// A new view: links to those who are in it, and to nobody else.
    pub(super) fn set_peers(&mut self, at: usize, view: &View) {
        let start = (self.now_us + 1) * 1_000;
        let (window, queue) = (self.config.link_window, self.config.link_queue);
        let Some(node) = self.nodes.get_mut(at) else { return };
        let (own, name, life) = (view.me, node.name.clone(), node.life);
        let gone: Vec<NodeKey> = node
            .links
            .0
            .keys()
            .filter(|key| !view.members.iter().any(|m| m.key == **key))
            .copied()
            .collect();
        let mut dials = Vec::new();
        for member in view.others() {
            if node.links.0.contains_key(&member.key) {
                continue;
            }
            let link = Link::new(own, member.key, start, 0).bounded(window, queue);
            if name < member.lease.name {
                dials.push(member.key);
            }
            let peer = PeerLink {
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

    // ---- frames -----------------------------------------------------------------------------

    /// How long a frame is under way.
    pub(super) fn link_us(&mut self) -> u64 {
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
            return self.held.push((at, to, number, far, bytes));
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
            if !self.config.cuts_hold {
                // Too much was lost for the connection to go on.
                self.at(100, Event::HungUp(number, side));
                self.at(100, Event::HungUp(number, 1 - side));
                continue;
            }
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
            let mut effects = Vec::new();
            peer.link.handle(now_ms, Input::Tick, &mut effects);
            due.push((*key, effects));
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
            LinkRefused::Full => {
                coverage::reached(("link.full", "l"));
                ErrorCode::Busy
            }
            LinkRefused::Unknown => ErrorCode::Moved,
            LinkRefused::TooLarge => ErrorCode::Internal,
        })?;
        self.ledger.taken(own, to, &message, self.now_us);
        self.perform(at, to, effects);
        Ok(())
    }

    pub(super) fn perform(&mut self, at: usize, peer: NodeKey, effects: Vec<Effect>) {
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
                Effect::Up => {
                    coverage::reached(("link.up", "l"));
                    self.look_now(at);
                }
                Effect::Down => {
                    coverage::reached(("link.down", "l"));
                    self.look_now(at);
                }
                Effect::Quiet => {
                    coverage::reached(("link.quiet", "l"));
                    self.quiet(at, peer);
                    self.look_now(at);
                }
                Effect::Disconnect(why) => {
                    let over = held.and_then(|held| held.over.take());
                    match why {
                        Why::Silent => coverage::reached(("link.silent", "l")),
                        Why::Gap => coverage::reached(("link.gap", "l")),
                        Why::Damaged(error) => {
                            self.truth.broken(|| format!("node {at} to {peer}: {error}"));
                        }
                    }
                    self.note(|| format!("node {at} gives its link to {peer} up: {why:?}"));
                    if let Some(number) = over {
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
            // That hints are missing may be what is lost: the link has told it all the same.
            self.ledger.confessed(from, own);
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
