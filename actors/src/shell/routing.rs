//! Messages on their way: to a shard of this node, or by a link to the node that works for the
//! receiver.
//!
//! Without a cluster nothing here asks where a receiver is, and nothing is encoded.

use super::inbox::Inbox;
use super::shard::Item;
use super::system::Shared;
use crate::cluster::{NodeId, Route, SlotSet, View};
use crate::host::{Conversations, Presences, Sessions};
use crate::link::NodeKey;
use crate::message::{ConversationMsg, Envelope, PresenceMsg, SendAnswer, SessionMsg, SessionRef};
use crate::wire::{self, Content, Header, News};
use bytes::Bytes;
use rookery_protocol::{ErrorCode, UserId};
use rookery_store::{Slot, slot_of_user};
use std::sync::Arc;

/// Messages of a turn on their way to other shards and nodes.
pub(super) struct Outgoing {
    sessions: Vec<Vec<Item<Sessions>>>,
    conversations: Vec<Vec<Item<Conversations>>>,
    presences: Vec<Vec<Item<Presences>>>,
    /// What this turn goes by; none: look again, or there is no cluster.
    view: Option<Arc<View>>,
    remote: Vec<(NodeKey, Vec<Envelope>)>,
    /// How often these messages were forwarded already.
    hops: u8,
}

impl Outgoing {
    pub(super) fn new(shared: &Shared) -> Self {
        fn lanes<T>(count: usize) -> Vec<Vec<T>> {
            (0..count).map(|_| Vec::new()).collect()
        }
        Self {
            sessions: lanes(shared.sessions.len()),
            conversations: lanes(shared.conversations.len()),
            presences: lanes(shared.presences.len()),
            view: None,
            remote: Vec::new(),
            hops: 0,
        }
    }

    pub(super) fn add(&mut self, shared: &Shared, envelope: Envelope) {
        let Some(cluster) = &shared.cluster else { return self.local(shared, envelope) };
        let view = self.view.get_or_insert_with(|| cluster.view());
        match view.route(&envelope) {
            Route::Local => self.local(shared, envelope),
            Route::Node(node) => self.to(node, envelope),
            Route::Nowhere => self.give_back(shared, &envelope, ErrorCode::Moved),
        }
    }

    fn to(&mut self, node: NodeKey, envelope: Envelope) {
        match self.remote.iter_mut().find(|(to, _)| *to == node) {
            Some((_, lane)) => lane.push(envelope),
            None => self.remote.push((node, vec![envelope])),
        }
    }

    fn local(&mut self, shared: &Shared, envelope: Envelope) {
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

    /// A message that nobody takes: whoever waits for an answer gets one, whoever must be known
    /// tries again later, and the rest are hints that the store repairs.
    fn give_back(&mut self, shared: &Shared, envelope: &Envelope, code: ErrorCode) {
        metrics::counter!("rookery_messages_undeliverable_total", "code" => code.name())
            .increment(1);
        let (to, msg) = match envelope {
            Envelope::Conversation(_, ConversationMsg::Send(send)) => {
                let answer = SendAnswer::Failed(code);
                (send.from.session, SessionMsg::SendAnswer { id: send.id, answer })
            }
            Envelope::Conversation(_, ConversationMsg::Mark { from, .. }) => {
                (*from, SessionMsg::Refused(code))
            }
            Envelope::Presence(user, PresenceMsg::Register { session, node, .. }) => {
                let session = SessionRef { user: *user, session: *session, node: *node };
                (session, again(*user))
            }
            Envelope::Presence(user, PresenceMsg::Watch(watcher)) => (*watcher, again(*user)),
            _ => return,
        };
        let Some(view) = shared.cluster.as_ref().map(|cluster| cluster.view()) else { return };
        if to.node == NodeId(view.me.incarnation) {
            self.local(shared, Envelope::Session(to, msg));
        } else if let Some(node) = view.node(to.node) {
            self.to(node, Envelope::Session(to, msg));
        }
    }

    pub(super) fn flush(&mut self, shared: &Shared) {
        self.flush_remote(shared);
        fn flush<T>(lanes: &mut [Vec<T>], inboxes: &[Arc<Inbox<T>>]) {
            for (lane, inbox) in lanes.iter_mut().zip(inboxes) {
                inbox.append(lane);
            }
        }
        flush(&mut self.sessions, &shared.sessions);
        flush(&mut self.conversations, &shared.conversations);
        flush(&mut self.presences, &shared.presences);
    }

    /// Hands what is for other nodes to the links; each thing is encoded once for a node.
    fn flush_remote(&mut self, shared: &Shared) {
        let view = self.view.take();
        let Some(cluster) = shared.cluster.as_ref().filter(|_| !self.remote.is_empty()) else {
            return;
        };
        let epoch = view.unwrap_or_else(|| cluster.view()).epoch;
        let header = Header { hops: self.hops, epoch };
        // Answers to what can't be sent are for sessions: they are not answered in turn, so this
        // ends.
        while let Some((node, envelopes)) = self.remote.pop() {
            let prompt = cluster.is_prompt(node);
            let mut rest = envelopes.as_slice();
            while !rest.is_empty() {
                let (group, others) = rest.split_at(wire::group(rest));
                rest = others;
                if !prompt && group.first().is_some_and(waits_for_an_answer) {
                    for envelope in group {
                        self.give_back(shared, envelope, ErrorCode::Moved);
                    }
                    continue;
                }
                let sent = match wire::encode(header, group) {
                    Some(message) => cluster.send(node, message),
                    None => Err(ErrorCode::Internal),
                };
                if let Err(code) = sent {
                    cluster.lost_hints(node);
                    for envelope in group {
                        self.give_back(shared, envelope, code);
                    }
                }
            }
        }
    }
}

/// Whether a client waits for what becomes of this. To a node that isn't heard it is not sent: a
/// refusal at once is better than an answer when the link is back.
fn waits_for_an_answer(envelope: &Envelope) -> bool {
    let Envelope::Conversation(_, msg) = envelope else { return false };
    matches!(msg, ConversationMsg::Send(_) | ConversationMsg::Mark { .. })
}

fn again(user: UserId) -> SessionMsg {
    let mut slots = SlotSet::default();
    slots.insert(slot_of_user(user));
    SessionMsg::HubsMoved(Arc::new(slots))
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
        let mut outgoing = Outgoing::new(self);
        outgoing.hops = header.hops.saturating_add(1);
        for envelope in envelopes {
            match view.route(&envelope) {
                Route::Local => outgoing.local(self, envelope),
                // Sent by an older view than ours: forwarded once. By a newer one: we are about to
                // look, and whoever sent it asks again.
                Route::Node(_) if header.hops == 0 && header.epoch <= view.epoch => {
                    metrics::counter!("rookery_messages_forwarded_total").increment(1);
                    outgoing.add(self, envelope);
                }
                Route::Node(_) | Route::Nowhere => {
                    outgoing.give_back(self, &envelope, ErrorCode::Moved);
                }
            }
        }
        outgoing.flush(self);
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
                self.tell_all_sessions(&SessionMsg::HintsLost);
                for inbox in &self.presences {
                    inbox.push(Item::Each(Arc::new(|_, _: &_| Some(PresenceMsg::HintsLost))));
                }
            }
            News::HubLost(user) => self.hub_lost(user),
            News::HubsLost => {
                let slots = SlotSet::of(|slot: Slot| view.owner(slot) == Some(from));
                self.tell_all_sessions(&SessionMsg::HubsMoved(Arc::new(slots)));
            }
            News::Look => {
                if let Some(cluster) = &self.cluster {
                    cluster.look_now();
                }
            }
        }
    }
}
