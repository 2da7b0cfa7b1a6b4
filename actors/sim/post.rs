//! Messages between actors on their way, as the shell's routing carries them: the real
//! [`Dispatch`], the real wire format, and the links.

use super::coverage::{self, Conversations, Presences, Sessions};
use super::node::Item;
use super::world::World;
use bytes::Bytes;
use rookery_actors::cluster::change::after_lost_hints;
use rookery_actors::cluster::{Carrier, Dispatch, View};
use rookery_actors::link::NodeKey;
use rookery_actors::wire::{self, Content, Header, News};
use rookery_actors::{Envelope, PresenceMsg, SessionMsg};
use rookery_protocol::{ErrorCode, UserId};
use std::sync::Arc;

/// A node's hands.
struct Hands<'a> {
    world: &'a mut World,
    at: usize,
}

impl Carrier for Hands<'_> {
    fn here(&mut self, envelope: Envelope) {
        self.world.place(self.at, envelope);
    }

    fn send(&mut self, to: NodeKey, message: Bytes) -> Result<(), ErrorCode> {
        let sent = self.world.link_send(self.at, to, message);
        if sent == Err(ErrorCode::Busy) {
            let (own, now_us) = (self.world.key(self.at), self.world.now_us);
            self.world.ledger.refused(own, to, now_us);
        }
        sent
    }

    fn is_prompt(&self, node: NodeKey) -> bool {
        self.world.nodes.get(self.at).is_some_and(|here| here.links.is_prompt(node))
    }

    fn hints_lost(&mut self, node: NodeKey) {
        coverage::reached(("dispatch.hints_lost", "n"));
        if let Some(here) = self.world.nodes.get_mut(self.at) {
            here.keeper.lossy.insert(node);
        }
    }

    fn undeliverable(&mut self, code: ErrorCode) {
        coverage::reached(match code {
            ErrorCode::Busy => ("dispatch.undeliverable", "n:full"),
            _ => ("dispatch.undeliverable", "n:moved"),
        });
    }

    fn forwarded(&mut self) {
        coverage::reached(("dispatch.forwarded", "n"));
    }
}

impl World {
    fn view(&self, at: usize) -> Option<Arc<View>> {
        self.nodes.get(at).filter(|node| node.up).map(|node| Arc::clone(&node.keeper.view))
    }

    /// What a turn told.
    pub(super) fn post(&mut self, at: usize, envelopes: Vec<Envelope>) {
        let Some(view) = self.view(at) else { return };
        let mut dispatch = Dispatch::default();
        let mut hands = Hands { world: self, at };
        for envelope in envelopes {
            dispatch.add(&view, envelope, &mut hands);
        }
        dispatch.flush(&view, &mut hands);
    }

    /// A message of another node.
    pub(super) fn received(&mut self, at: usize, from: NodeKey, message: &Bytes) {
        let Some(view) = self.view(at) else { return };
        let (header, content) = match wire::decode(self.node_id(at), message) {
            Ok(decoded) => decoded,
            Err(error) => return self.truth.broken(|| format!("a message is garbled: {error}")),
        };
        if header.epoch > view.epoch {
            self.look_now(at);
        }
        match content {
            Content::Envelopes(envelopes) => self.arrived(at, &view, header, envelopes),
            Content::News(news) => self.news(at, from, &news),
            Content::Unknown(kind) => {
                self.truth.broken(|| format!("a message of the unknown kind {kind}"));
            }
        }
    }

    fn arrived(&mut self, at: usize, view: &View, header: Header, envelopes: Vec<Envelope>) {
        // Once forwarded, and once answered by who would not forward it again.
        if header.hops > 2 {
            self.truth.broken(|| format!("forwarded {} times: {envelopes:.200?}", header.hops));
        }
        let mut dispatch = Dispatch::default();
        let mut hands = Hands { world: self, at };
        for envelope in envelopes {
            dispatch.arrived(view, header, envelope, &mut hands);
        }
        dispatch.flush(view, &mut hands);
    }

    fn news(&mut self, at: usize, from: NodeKey, news: &News) {
        match *news {
            News::EndDevice(..) => {}
            News::HintsLost => {
                coverage::reached(("dispatch.confessed", "n"));
                let own = self.key(at);
                self.ledger.confessed(from, own);
                let view = self.view(at);
                for told in view.map_or_else(Vec::new, |view| after_lost_hints(&view, from)) {
                    let told = Arc::new(told);
                    self.each_session(at, move |_| told.news());
                }
                self.each_hub(at, |_| Some(PresenceMsg::HintsLost));
            }
            News::HubLost(user) => self.hub_lost(at, user),
            News::HubsLost => {
                let slots = self.slots_of(at, from);
                self.each_session(at, move |_| Some(SessionMsg::HubsMoved(Arc::clone(&slots))));
            }
            News::Look => self.look_now(at),
        }
    }

    /// The hub of a user was lost, on whichever node.
    pub(super) fn hub_lost(&mut self, at: usize, user: UserId) {
        self.each_session(at, move |session| {
            let own = session.user == user;
            Some(if own { SessionMsg::HubLost } else { SessionMsg::WatchedHubLost(user) })
        });
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
}
