//! Which branches of the state machines a run reached: a message met in a state.

use super::node::{Node, Shard, SimKind};
use super::world::Event;
use rookery_actors::Envelope;
use rookery_actors::cluster::{NodeId, View};
use rookery_actors::conversation::Conversation;
use rookery_actors::effect::Effect;
use rookery_actors::effect::QueryResult;
use rookery_actors::host::{self, Kind};
use rookery_actors::presence::Presence;
use rookery_actors::session::Session;
use rookery_actors::session::Settings;
use rookery_actors::{ConversationMsg, Now, PresenceMsg, SendAnswer, SessionMsg};
use rookery_protocol::{ConversationId, EntryKind, MarkKind};
use rookery_store::{Fence, Outcome};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

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

/// Every branch that can be reached; see [`possible`].
fn branches() -> Vec<Branch> {
    let machines = [
        (SESSION_MESSAGES, Session::STATES),
        (CONVERSATION_MESSAGES, Conversation::STATES),
        (PRESENCE_MESSAGES, Presence::STATES),
    ];
    let mut all = NODES.to_vec();
    for (messages, states) in machines {
        for message in messages {
            for state in states {
                if possible(message, state) {
                    all.push((*message, *state));
                }
            }
        }
    }
    all
}

/// Whether any run can reach a branch: an actor is told only what it can have asked for in that
/// state, and one that was just made only what makes one.
fn possible(message: &str, state: &str) -> bool {
    match (message, state) {
        ("c.fenced" | "c.no_fence" | "c.not_here", state) => state == "c:fencing",
        ("c.loaded" | "c.load_failed", state) => state == "c:loading",
        (message, "c:cold") => {
            matches!(
                message,
                "c.send"
                    | "c.retry"
                    | "c.change"
                    | "c.delivered"
                    | "c.read"
                    | "c.typing"
                    | "c.unsettled"
            )
        }
        // Looked up only once loaded.
        (
            "c.found" | "c.not_found" | "c.facts" | "c.lookup_failed",
            "c:unsettled" | "c:fencing" | "c:loading",
        ) => false,
        ("c.committed" | "c.conflict" | "c.busy" | "c.unresolved", state) => {
            matches!(state, "c:appending" | "c:marking")
        }
        (message, "s:new") => message == "s.attach",
        // A connection says nothing after it was lost.
        ("s.frames", "s:away") => false,
        // Read only while pulling; the client may go away meanwhile.
        ("s.inbox" | "s.inbox_failed" | "s.entries" | "s.entries_failed", state) => {
            !matches!(state, "s:unsynced" | "s:behind")
        }
        (message, "p:empty") => matches!(message, "p.register" | "p.watch"),
        // While something is written the hub is online or saving.
        ("p.committed" | "p.refused", "p:watched") => false,
        _ => true,
    }
}

/// What happens to nodes and links rather than to actors.
const NODES: &[Branch] = &[
    ("dispatch.forwarded", "n"),
    ("dispatch.undeliverable", "n:moved"),
    ("dispatch.undeliverable", "n:full"),
    ("dispatch.hints_lost", "n"),
    ("dispatch.confessed", "n"),
    ("attach.refused", "n"),
    ("attach.late", "n"),
    ("keeper.blind", "n:outside"),
    ("keeper.blind", "n:joining"),
    ("keeper.blind", "n:active"),
    ("keeper.blind", "n:draining"),
    ("keeper.impatient", "n:read"),
    ("keeper.impatient", "n:commit"),
    ("keeper.not_serving", "n"),
    ("keeper.declared_dead", "n"),
    ("keeper.left", "n"),
    ("keeper.unlinked", "n"),
    ("greeting.refused", "n"),
    ("greeting.late", "n"),
    ("link.up", "l"),
    ("link.down", "l"),
    ("link.quiet", "l"),
    ("link.silent", "l"),
    ("link.gap", "l"),
    ("link.full", "l"),
];

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
    "s.hubs_moved",
    "s.sends_moved",
    "s.hints_lost",
    "s.drain",
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
    "c.change",
    "c.delivered",
    "c.read",
    "c.typing",
    "c.fenced",
    "c.no_fence",
    "c.loaded",
    "c.load_failed",
    "c.found",
    "c.not_found",
    "c.facts",
    "c.lookup_failed",
    "c.committed",
    "c.conflict",
    "c.busy",
    "c.unresolved",
    "c.wake",
    "c.flush",
    "c.not_here",
    "c.hand_off",
    "c.unsettled",
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
    "p.hints_lost",
    "p.hand_off",
    "p.nodes_gone",
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
        SessionMsg::HubsMoved(_) => "s.hubs_moved",
        SessionMsg::SendsMoved(_) => "s.sends_moved",
        SessionMsg::HintsLost => "s.hints_lost",
        SessionMsg::Drain(_) => "s.drain",
        SessionMsg::Wake => "s.wake",
        SessionMsg::End(_) => "s.end",
        SessionMsg::Answer(_, QueryResult::Inbox(Ok(_))) => "s.inbox",
        SessionMsg::Answer(_, QueryResult::Inbox(Err(_))) => "s.inbox_failed",
        SessionMsg::Answer(_, QueryResult::Entries(Ok(_))) => "s.entries",
        SessionMsg::Answer(_, QueryResult::Entries(Err(_))) => "s.entries_failed",
        SessionMsg::Answer(..) => "s.answer",
        // Never sent here: of the gateway's tokens, and of the poison.
        _ => "s.other",
    }
}

fn conversation_message(msg: &ConversationMsg) -> &'static str {
    match msg {
        ConversationMsg::Send(send) if send.kind == EntryKind::Group => "c.change",
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
        ConversationMsg::NotHere => "c.not_here",
        ConversationMsg::HandOff => "c.hand_off",
        ConversationMsg::Unsettled(_) => "c.unsettled",
        ConversationMsg::Answer(_, QueryResult::LoadConversation(Ok(_))) => "c.loaded",
        ConversationMsg::Answer(_, QueryResult::LoadConversation(Err(_))) => "c.load_failed",
        ConversationMsg::Answer(_, QueryResult::FindSent(Ok(Some(_)))) => "c.found",
        ConversationMsg::Answer(_, QueryResult::FindSent(Ok(None))) => "c.not_found",
        ConversationMsg::Answer(_, QueryResult::ChangeFacts(Ok(_))) => "c.facts",
        _ => "c.lookup_failed",
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
        PresenceMsg::HintsLost => "p.hints_lost",
        PresenceMsg::HandOff => "p.hand_off",
        PresenceMsg::NodesGone(_) => "p.nodes_gone",
        _ => "p.answer",
    }
}

/// Something else than a message to an actor was seen.
pub fn reached(branch: Branch) {
    REACHED.with_borrow_mut(|reached| reached.reached(branch));
}

thread_local! {
    static REACHED: RefCell<Coverage> = RefCell::default();
}

/// What was reached in this thread since the last call.
pub fn take() -> Coverage {
    REACHED.take()
}

/// A kind whose every message is noted, with the state it meets.
macro_rules! seen {
    ($(#[$doc:meta])* $name:ident, $kind:ty, $message:ident, $shards:ident, $turn:ident) => {
        $(#[$doc])*
        pub struct $name;

        impl Kind for $name {
            type Key = <$kind as Kind>::Key;
            type Msg = <$kind as Kind>::Msg;
            type Actor = <$kind as Kind>::Actor;
            const NAME: &'static str = <$kind as Kind>::NAME;

            fn create(key: Self::Key, settings: &Arc<Settings>) -> Self::Actor {
                <$kind>::create(key, settings)
            }

            fn activates(msg: &Self::Msg) -> bool {
                <$kind>::activates(msg)
            }

            fn handle(actor: &mut Self::Actor, now: Now, msg: Self::Msg, out: &mut Vec<Effect>) {
                let branch = ($message(&msg), actor.state());
                reached(branch);
                <$kind>::handle(actor, now, msg, out);
            }

            fn wake() -> Self::Msg {
                <$kind>::wake()
            }

            fn answer(token: u64, result: QueryResult) -> Self::Msg {
                <$kind>::answer(token, result)
            }

            fn committed(token: u64, outcome: Outcome) -> Option<Self::Msg> {
                <$kind>::committed(token, outcome)
            }

            fn fenced(fence: Option<Fence>) -> Option<Self::Msg> {
                <$kind>::fenced(fence)
            }

            fn not_here() -> Option<Self::Msg> {
                <$kind>::not_here()
            }

            fn placed(key: Self::Key, view: &View) -> Option<Self::Msg> {
                <$kind>::placed(key, view)
            }

            fn refused(msg: Self::Msg) -> Option<Envelope> {
                <$kind>::refused(msg)
            }

            fn lost(key: Self::Key, actor: &Self::Actor, now: Now) -> Vec<Envelope> {
                <$kind>::lost(key, actor, now)
            }

            fn conversation(key: Self::Key) -> Option<ConversationId> {
                <$kind>::conversation(key)
            }

            fn life(key: Self::Key) -> Option<NodeId> {
                <$kind>::life(key)
            }

            fn key_of(conversation: ConversationId) -> Option<Self::Key> {
                <$kind>::key_of(conversation)
            }
        }

        impl SimKind for $name {
            fn shards(node: &mut Node) -> &mut Vec<Shard<Self>> {
                &mut node.$shards
            }

            const TURN: fn(usize, u64, usize) -> Event = Event::$turn;
        }
    };
}

seen!(
    /// Sessions.
    Sessions, host::Sessions, session_message, sessions, SessionTurn
);
seen!(
    /// Conversations.
    Conversations, host::Conversations, conversation_message, conversations, ConversationTurn
);
seen!(
    /// Presence hubs.
    Presences, host::Presences, presence_message, presences, PresenceTurn
);
