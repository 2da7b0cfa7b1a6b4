//! Which branches of the state machines a run reached: a message met in a state.

use super::node::{Node, Shard, SimKind};
use super::world::{Event, World};
use rookery_actors::conversation::Conversation;
use rookery_actors::effect::QueryResult;
use rookery_actors::host::{Conversations, Presences, Sessions};
use rookery_actors::presence::Presence;
use rookery_actors::session::Session;
use rookery_actors::{ConversationMsg, PresenceMsg, SendAnswer, SessionMsg, SessionRef};
use rookery_protocol::{ConversationId, MarkKind, UserId};
use rookery_store::Outcome;
use std::collections::BTreeSet;

/// A message, and the state it met.
pub type Branch = (&'static str, &'static str);

/// The branches reached.
#[derive(Clone, Debug, Default)]
pub struct Coverage(BTreeSet<Branch>);

impl Coverage {
    /// A message met a state.
    pub fn reached(&mut self, branch: Branch) {
        self.0.insert(branch);
    }

    /// Takes what another run reached too.
    pub fn merge(&mut self, other: &Self) {
        self.0.extend(&other.0);
    }

    /// How many of the branches that exist were reached, of how many, and which were not.
    pub fn share(&self) -> (usize, usize, Vec<Branch>) {
        let all = branches();
        let missed: Vec<Branch> = all.iter().filter(|b| !self.0.contains(*b)).copied().collect();
        (all.len() - missed.len(), all.len(), missed)
    }
}

/// Every branch that can be reached; see [`IMPOSSIBLE`].
fn branches() -> Vec<Branch> {
    let machines = [
        (SESSION_MESSAGES, Session::STATES),
        (CONVERSATION_MESSAGES, Conversation::STATES),
        (PRESENCE_MESSAGES, Presence::STATES),
    ];
    let mut all = Vec::new();
    for (messages, states) in machines {
        for message in messages {
            for state in states {
                if !IMPOSSIBLE.contains(&(message, state)) {
                    all.push((*message, *state));
                }
            }
        }
    }
    all
}

/// Branches that no run can reach, because an earlier message of the same actor is needed.
const IMPOSSIBLE: &[Branch] = &[];

const SESSION_MESSAGES: &[&str] = &[
    "s.attach",
    "s.frames",
    "s.detached",
    "s.duplicate",
    "s.failed",
    "s.refused",
    "s.deliver",
    "s.receipts",
    "s.typing",
    "s.changed",
    "s.presence",
    "s.hub_lost",
    "s.watched_hub_lost",
    "s.inbox",
    "s.inbox_failed",
    "s.entries",
    "s.entries_failed",
    "s.answer",
    "s.wake",
    "s.end",
];
const CONVERSATION_MESSAGES: &[&str] = &[
    "c.send",
    "c.retry",
    "c.delivered",
    "c.read",
    "c.typing",
    "c.fenced",
    "c.no_fence",
    "c.loaded",
    "c.load_failed",
    "c.found",
    "c.not_found",
    "c.lookup_failed",
    "c.committed",
    "c.conflict",
    "c.busy",
    "c.unresolved",
    "c.wake",
    "c.flush",
];
const PRESENCE_MESSAGES: &[&str] = &[
    "p.register",
    "p.unregister",
    "p.watch",
    "p.unwatch",
    "p.deliver",
    "p.receipts",
    "p.typing",
    "p.changed",
    "p.answer",
    "p.committed",
    "p.refused",
    "p.wake",
];

fn session_message(msg: &SessionMsg) -> &'static str {
    match msg {
        SessionMsg::Attach(_) => "s.attach",
        SessionMsg::Frames(..) => "s.frames",
        SessionMsg::Detached { .. } => "s.detached",
        SessionMsg::SendAnswer { answer: SendAnswer::Duplicate { .. }, .. } => "s.duplicate",
        SessionMsg::SendAnswer { answer: SendAnswer::Failed(_), .. } => "s.failed",
        SessionMsg::Refused(_) => "s.refused",
        SessionMsg::Deliver(_) => "s.deliver",
        SessionMsg::Receipts(_) => "s.receipts",
        SessionMsg::Typing { .. } => "s.typing",
        SessionMsg::Changed(..) => "s.changed",
        SessionMsg::Presence { .. } => "s.presence",
        SessionMsg::HubLost => "s.hub_lost",
        SessionMsg::WatchedHubLost(_) => "s.watched_hub_lost",
        SessionMsg::Wake => "s.wake",
        SessionMsg::End(_) => "s.end",
        // Never sent here: of the gateway's tokens, and of the poison.
        _ => "s.other",
    }
}

fn conversation_message(msg: &ConversationMsg) -> &'static str {
    match msg {
        ConversationMsg::Send(send) if send.retry => "c.retry",
        ConversationMsg::Send(_) => "c.send",
        ConversationMsg::Mark { kind: MarkKind::Read, .. } => "c.read",
        ConversationMsg::Mark { .. } => "c.delivered",
        ConversationMsg::Typing { .. } => "c.typing",
        ConversationMsg::Fenced(Some(_)) => "c.fenced",
        ConversationMsg::Fenced(None) => "c.no_fence",
        ConversationMsg::Committed(_, Outcome::Committed { .. }) => "c.committed",
        ConversationMsg::Committed(_, Outcome::Conflict) => "c.conflict",
        ConversationMsg::Committed(_, Outcome::Unresolved) => "c.unresolved",
        ConversationMsg::Committed(..) => "c.busy",
        ConversationMsg::Wake => "c.wake",
        ConversationMsg::Flush => "c.flush",
        // Answers are named by what they hold.
        _ => "c.other",
    }
}

fn presence_message(msg: &PresenceMsg) -> &'static str {
    match msg {
        PresenceMsg::Register { .. } => "p.register",
        PresenceMsg::Unregister { .. } => "p.unregister",
        PresenceMsg::Watch(_) => "p.watch",
        PresenceMsg::Unwatch(_) => "p.unwatch",
        PresenceMsg::Deliver(_) => "p.deliver",
        PresenceMsg::Receipts(_) => "p.receipts",
        PresenceMsg::Typing { .. } => "p.typing",
        PresenceMsg::Changed(..) => "p.changed",
        PresenceMsg::Committed(_, Outcome::Committed { .. }) => "p.committed",
        PresenceMsg::Committed(..) => "p.refused",
        PresenceMsg::Wake => "p.wake",
        // Answers are named by what they hold.
        _ => "p.other",
    }
}

impl SimKind for Sessions {
    fn shards(node: &mut Node) -> &mut Vec<Shard<Self>> {
        &mut node.sessions
    }

    const TURN: fn(usize, u64, usize) -> Event = Event::SessionTurn;

    fn was_lost(_: &mut World, _: usize, _: SessionRef) {}

    fn answer_name(result: &QueryResult) -> &'static str {
        match result {
            QueryResult::Inbox(Ok(_)) => "s.inbox",
            QueryResult::Inbox(Err(_)) => "s.inbox_failed",
            QueryResult::Entries(Ok(_)) => "s.entries",
            QueryResult::Entries(Err(_)) => "s.entries_failed",
            _ => "s.answer",
        }
    }

    fn names(msg: &SessionMsg, actor: Option<&Session>) -> Branch {
        (session_message(msg), actor.map_or("s:new", Session::state))
    }
}

impl SimKind for Conversations {
    fn shards(node: &mut Node) -> &mut Vec<Shard<Self>> {
        &mut node.conversations
    }

    const TURN: fn(usize, u64, usize) -> Event = Event::ConversationTurn;

    fn was_lost(_: &mut World, _: usize, _: ConversationId) {}

    fn answer_name(result: &QueryResult) -> &'static str {
        match result {
            QueryResult::LoadConversation(Ok(_)) => "c.loaded",
            QueryResult::LoadConversation(Err(_)) => "c.load_failed",
            QueryResult::FindSent(Ok(Some(_))) => "c.found",
            QueryResult::FindSent(Ok(None)) => "c.not_found",
            _ => "c.lookup_failed",
        }
    }

    fn names(msg: &ConversationMsg, actor: Option<&Conversation>) -> Branch {
        (conversation_message(msg), actor.map_or("c:cold", Conversation::state))
    }
}

impl SimKind for Presences {
    fn shards(node: &mut Node) -> &mut Vec<Shard<Self>> {
        &mut node.presences
    }

    const TURN: fn(usize, u64, usize) -> Event = Event::PresenceTurn;

    fn was_lost(world: &mut World, node: usize, user: UserId) {
        world.hub_lost(node, user);
    }

    fn answer_name(_: &QueryResult) -> &'static str {
        "p.answer"
    }

    fn names(msg: &PresenceMsg, actor: Option<&Presence>) -> Branch {
        (presence_message(msg), actor.map_or("p:empty", Presence::state))
    }
}
