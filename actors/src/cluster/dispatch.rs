//! Messages on their way, decided: to an actor of this node, with others in one message to another
//! node, or back to whoever waits for an answer. Pure; the shell and the simulation carry them.
//!
//! Safety: a message is forwarded at most once, so two nodes that take each other for the receiver's
//! node never pass it to and fro. Liveness: a send, a mark, a registration and a watch that nobody
//! takes are answered; what a conversation left undone stays at its node until somebody takes it;
//! everything else is a hint that the store repairs.

use super::{NodeId, Route, SlotSet, View};
use crate::link::NodeKey;
use crate::message::{ConversationMsg, Envelope, PresenceMsg, SendAnswer, SessionMsg, SessionRef};
use crate::plant::{self, Bug};
use crate::wire::{self, Header};
use bytes::Bytes;
use rookery_protocol::{ErrorCode, UserId};
use rookery_store::slot_of_user;
use std::sync::Arc;

/// Takes what was decided.
pub trait Carrier {
    /// For an actor of this node.
    fn here(&mut self, envelope: Envelope);

    /// For another node.
    ///
    /// # Errors
    /// Why the link refused it: nothing was or will be sent.
    fn send(&mut self, to: NodeKey, message: Bytes) -> Result<(), ErrorCode>;

    /// Whether an answer of a node is in sight.
    fn is_prompt(&self, node: NodeKey) -> bool;

    /// Hints for this node were refused: it is to be told once there is room.
    fn hints_lost(&mut self, node: NodeKey);

    /// Nobody takes a message; whoever waits for its answer gets one.
    fn undeliverable(&mut self, code: ErrorCode);

    /// A message came to the wrong node and is passed on.
    fn forwarded(&mut self);
}

/// Messages that were dispatched together: of a turn, or of one message of another node.
#[derive(Debug, Default)]
pub struct Dispatch {
    remote: Vec<(NodeKey, Vec<Envelope>)>,
    /// How often they were forwarded already.
    hops: u8,
}

impl Dispatch {
    /// A message of this node.
    pub fn add(&mut self, view: &View, envelope: Envelope, out: &mut impl Carrier) {
        match view.route(&envelope) {
            Route::Local => out.here(envelope),
            Route::Node(node) => self.to(node, envelope),
            Route::Nowhere => self.give_back(view, &envelope, ErrorCode::Moved, out),
        }
    }

    /// A message of another node. To be called for those of one header only.
    pub fn arrived(
        &mut self,
        view: &View,
        header: Header,
        envelope: Envelope,
        out: &mut impl Carrier,
    ) {
        self.hops = header.hops.saturating_add(1);
        match view.route(&envelope) {
            Route::Local => out.here(envelope),
            // Sent by an older view than ours: forwarded once. By a newer one: we are about to
            // look, and whoever sent it asks again.
            Route::Node(node) if header.hops == 0 && header.epoch <= view.epoch => {
                out.forwarded();
                self.to(node, envelope);
            }
            Route::Node(_) | Route::Nowhere => {
                self.give_back(view, &envelope, ErrorCode::Moved, out);
            }
        }
    }

    /// Hands what is for other nodes to the links; each thing is encoded once for a node.
    pub fn flush(&mut self, view: &View, out: &mut impl Carrier) {
        let header = Header { hops: self.hops, epoch: view.epoch };
        // Answers to what can't be sent are for sessions: they are not answered in turn, so this
        // ends.
        while let Some((node, envelopes)) = self.remote.pop() {
            let prompt = out.is_prompt(node);
            let mut rest = envelopes.as_slice();
            while !rest.is_empty() {
                let (group, others) = rest.split_at(wire::group(rest));
                rest = others;
                if !prompt && group.first().is_some_and(waits_for_an_answer) {
                    for envelope in group {
                        self.give_back(view, envelope, ErrorCode::Moved, out);
                    }
                    continue;
                }
                let sent = match wire::encode(header, group) {
                    Some(message) => out.send(node, message),
                    None => Err(ErrorCode::Internal),
                };
                if let Err(code) = sent {
                    if !plant::is(Bug::HintsNotConfessed) {
                        out.hints_lost(node);
                    }
                    for envelope in group {
                        self.give_back(view, envelope, code, out);
                    }
                }
            }
        }
    }

    /// Whether anything waits for [`Dispatch::flush`].
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remote.is_empty()
    }

    fn to(&mut self, node: NodeKey, envelope: Envelope) {
        match self.remote.iter_mut().find(|(to, _)| *to == node) {
            Some((_, lane)) => lane.push(envelope),
            None => self.remote.push((node, vec![envelope])),
        }
    }

    /// A message that nobody takes: whoever waits for an answer gets one, whoever must be known
    /// tries again later, and the rest are hints that the store repairs.
    fn give_back(
        &mut self,
        view: &View,
        envelope: &Envelope,
        code: ErrorCode,
        out: &mut impl Carrier,
    ) {
        if let Envelope::Conversation(to, ConversationMsg::Unsettled(rest)) = envelope {
            // It goes round again, at its own pace.
            let rest = ConversationMsg::Unsettled(rest.clone());
            return out.here(Envelope::Conversation(*to, rest));
        }
        out.undeliverable(code);
        let Some((to, msg)) = answer(envelope, code) else { return };
        if to.node == NodeId(view.me.incarnation) {
            out.here(Envelope::Session(to, msg));
        } else if let Some(node) = view.node(to.node) {
            self.to(node, Envelope::Session(to, msg));
        }
    }
}

/// Whether a client waits for what becomes of this. To a node that isn't heard it is not sent: a
/// refusal at once is better than an answer when the link is back.
fn waits_for_an_answer(envelope: &Envelope) -> bool {
    let Envelope::Conversation(_, msg) = envelope else { return false };
    matches!(
        msg,
        ConversationMsg::Send(_) | ConversationMsg::Mark { .. } | ConversationMsg::Block { .. }
    )
}

/// Who is told, and what, when nobody takes a message.
fn answer(envelope: &Envelope, code: ErrorCode) -> Option<(SessionRef, SessionMsg)> {
    match envelope {
        Envelope::Conversation(_, ConversationMsg::Send(send)) => {
            let answer = SendAnswer::Failed(code);
            Some((send.from.session, SessionMsg::SendAnswer { id: send.id, answer }))
        }
        Envelope::Conversation(_, ConversationMsg::Mark { from, .. }) => {
            Some((*from, SessionMsg::Refused(code)))
        }
        Envelope::Conversation(_, ConversationMsg::Block { from, request, .. }) => {
            Some((*from, SessionMsg::Answered { request: *request, refused: Some(code) }))
        }
        Envelope::Presence(user, PresenceMsg::Register { session, node, .. }) => {
            let session = SessionRef { user: *user, session: *session, node: *node };
            Some((session, again(*user)))
        }
        Envelope::Presence(user, PresenceMsg::Watch(watcher)) => Some((*watcher, again(*user))),
        _ => None,
    }
}

fn again(user: UserId) -> SessionMsg {
    let mut slots = SlotSet::default();
    slots.insert(slot_of_user(user));
    SessionMsg::HubsMoved(Arc::new(slots))
}

#[cfg(test)]
#[path = "dispatch_tests.rs"]
mod tests;
