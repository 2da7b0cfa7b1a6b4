//! Messages on their way: to a shard of this node, or by a link to the node that works for the
//! receiver.
//!
//! Without a cluster nothing here asks where a receiver is, and nothing is encoded.

use super::cluster::Cluster;
use super::inbox::Inbox;
use super::shard::Item;
use super::system::{ActorSystem, Shared};
use crate::cluster::change::after_lost_hints;
use crate::cluster::{Carrier, Dispatch, NodeId, View};
use crate::host::{Conversations, Presences, Sessions};
use crate::link::NodeKey;
use crate::message::{Envelope, PresenceMsg, SessionMsg};
use crate::wire::{self, Content, Header, News};
use bytes::Bytes;
use rookery_protocol::{ErrorCode, ServerFrame};
use std::sync::Arc;

/// Messages of a turn on their way to other shards and nodes.
pub(super) struct Outgoing {
    lanes: Lanes,
    dispatch: Dispatch,
    /// What this turn goes by; none: look again, or there is no cluster.
    view: Option<Arc<View>>,
}

/// What is for the shards of this node.
struct Lanes {
    sessions: Vec<Vec<Item<Sessions>>>,
    conversations: Vec<Vec<Item<Conversations>>>,
    presences: Vec<Vec<Item<Presences>>>,
}

/// Carries what was dispatched.
struct Carrying<'a> {
    shared: &'a Shared,
    cluster: &'a Cluster,
    lanes: &'a mut Lanes,
}

impl Carrier for Carrying<'_> {
    fn here(&mut self, envelope: Envelope) {
        self.lanes.add(self.shared, envelope);
    }

    fn send(&mut self, to: NodeKey, message: Bytes) -> Result<(), ErrorCode> {
        self.cluster.send(to, message)
    }

    fn is_prompt(&self, node: NodeKey) -> bool {
        self.cluster.is_prompt(node)
    }

    fn hints_lost(&mut self, node: NodeKey) {
        self.cluster.lost_hints(node);
    }

    fn undeliverable(&mut self, code: ErrorCode) {
        metrics::counter!("rookery_messages_undeliverable_total", "code" => code.name())
            .increment(1);
    }

    fn forwarded(&mut self) {
        metrics::counter!("rookery_messages_forwarded_total").increment(1);
    }
}

impl Lanes {
    fn new(shared: &Shared) -> Self {
        fn lanes<T>(count: usize) -> Vec<Vec<T>> {
            (0..count).map(|_| Vec::new()).collect()
        }
        Self {
            sessions: lanes(shared.sessions.len()),
            conversations: lanes(shared.conversations.len()),
            presences: lanes(shared.presences.len()),
        }
    }

    fn add(&mut self, shared: &Shared, envelope: Envelope) {
        match envelope {
            Envelope::Session(to, msg) => {
                if let Some(lane) = self.sessions.get_mut(shared.user_shard(to.user)) {
                    lane.push(Item::Tell(to, msg));
                }
            }
            Envelope::Conversation(to, msg) => {
                if let Some(lane) = self.conversations.get_mut(shared.conversation_shard(to)) {
                    lane.push(Item::Tell(to, msg));
                }
            }
            Envelope::Presence(to, msg) => {
                if let Some(lane) = self.presences.get_mut(shared.user_shard(to)) {
                    lane.push(Item::Tell(to, msg));
                }
            }
        }
    }

    fn flush(&mut self, shared: &Shared) {
        fn flush<T>(lanes: &mut [Vec<T>], inboxes: &[Arc<Inbox<T>>]) {
            for (lane, inbox) in lanes.iter_mut().zip(inboxes) {
                inbox.append(lane);
            }
        }
        flush(&mut self.sessions, &shared.sessions);
        flush(&mut self.conversations, &shared.conversations);
        flush(&mut self.presences, &shared.presences);
    }
}

impl Outgoing {
    pub(super) fn new(shared: &Shared) -> Self {
        Self { lanes: Lanes::new(shared), dispatch: Dispatch::default(), view: None }
    }

    pub(super) fn add(&mut self, shared: &Shared, envelope: Envelope) {
        let Self { lanes, dispatch, view } = self;
        let Some(cluster) = &shared.cluster else { return lanes.add(shared, envelope) };
        let view = view.get_or_insert_with(|| cluster.view());
        dispatch.add(view, envelope, &mut Carrying { shared, cluster, lanes });
    }

    pub(super) fn flush(&mut self, shared: &Shared) {
        let Self { lanes, dispatch, view } = self;
        let view = view.take();
        if let Some(cluster) = shared.cluster.as_ref().filter(|_| !dispatch.is_empty()) {
            let view = view.unwrap_or_else(|| cluster.view());
            dispatch.flush(&view, &mut Carrying { shared, cluster, lanes });
        }
        lanes.flush(shared);
    }
}

impl Shared {
    /// A message of another node.
    pub(super) fn received(&self, from: NodeKey, message: &Bytes) {
        let Some(cluster) = &self.cluster else { return };
        let view = cluster.view();
        let (header, content) = match wire::decode(NodeId(view.me.incarnation), message) {
            Ok(decoded) => decoded,
            Err(error) => return cluster.malformed(from, &error),
        };
        if header.epoch > view.epoch {
            cluster.look_now();
        }
        match content {
            Content::Envelopes(envelopes) => self.arrived(&view, header, envelopes),
            Content::News(news) => self.news(&view, from, news),
            Content::Unknown(kind) => {
                tracing::debug!(%from, kind, "a message of an unknown kind was skipped");
                metrics::counter!("rookery_messages_refused_total", "why" => "unknown kind")
                    .increment(1);
            }
        }
    }

    fn arrived(&self, view: &View, header: Header, envelopes: Vec<Envelope>) {
        let Some(cluster) = &self.cluster else { return };
        let mut outgoing = Outgoing::new(self);
        let Outgoing { lanes, dispatch, .. } = &mut outgoing;
        let mut carrying = Carrying { shared: self, cluster, lanes };
        for envelope in envelopes {
            dispatch.arrived(view, header, envelope, &mut carrying);
        }
        dispatch.flush(view, &mut carrying);
        lanes.flush(self);
    }

    fn news(&self, view: &View, from: NodeKey, news: News) {
        match news {
            News::EndDevice(user, device) => {
                if let Some(cluster) = &self.cluster {
                    cluster.revoked(user, device);
                }
                self.end_device(user, device);
            }
            News::HintsLost => {
                for told in after_lost_hints(view, from) {
                    self.tell_all_sessions(&told);
                }
                for inbox in &self.presences {
                    inbox.push(Item::Each(Arc::new(|_, _: &_| Some(PresenceMsg::HintsLost))));
                }
            }
            News::HubLost(user) => self.hub_lost(user),
            News::HubsLost => {
                let slots = Arc::new(view.slots(from));
                self.tell_all_sessions(&SessionMsg::HubsMoved(slots));
            }
            News::Look => {
                if let Some(cluster) = &self.cluster {
                    cluster.look_now();
                }
            }
        }
    }
}

impl ActorSystem {
    /// Tells every client of this node.
    pub fn tell_clients(&self, frame: &ServerFrame) {
        self.shared.tell_all_sessions(&SessionMsg::Notice(frame.to_bytes()));
    }
}
