//! The three kinds of virtual actors, as the shard sees them: keys, messages, how they start.

use super::system::Shared;
use crate::cluster::View;
use crate::conversation::Conversation;
use crate::effect::{Effect, QueryResult};
use crate::message::{ConversationMsg, Envelope, PresenceMsg, SessionMsg, SessionRef};
use crate::presence::Presence;
use crate::session::Session;
use crate::time::Now;
use rookery_protocol::{ConversationId, UserId};
use rookery_store::{Fence, Outcome};
use std::fmt::Debug;
use std::hash::Hash;

/// A kind of virtual actor.
pub(super) trait Kind: Send + Sync + Sized + 'static {
    type Key: Copy + Eq + Ord + Hash + Debug + Send + Sync + 'static;
    type Msg: Send + 'static;
    type Actor: Send + 'static;
    const NAME: &'static str;

    fn create(key: Self::Key, shared: &Shared) -> Self::Actor;
    fn activates(msg: &Self::Msg) -> bool;
    fn handle(actor: &mut Self::Actor, now: Now, msg: Self::Msg, out: &mut Vec<Effect>);
    fn wake() -> Self::Msg;
    fn answer(token: u64, result: QueryResult) -> Self::Msg;
    fn committed(token: u64, outcome: Outcome) -> Option<Self::Msg>;
    fn fenced(_fence: Option<Fence>) -> Option<Self::Msg> {
        None
    }
    /// What an actor is told whose slot belongs to another node.
    fn not_here() -> Option<Self::Msg> {
        None
    }
    /// What an actor is told when this view holds, if it belongs elsewhere.
    fn placed(_key: Self::Key, _view: &View) -> Option<Self::Msg> {
        None
    }
    /// What is to be told when an actor was lost in a panic.
    fn lost(key: Self::Key, now: Now) -> Vec<Envelope>;
    /// The conversation whose fence an actor waits for.
    fn conversation(_key: Self::Key) -> Option<ConversationId> {
        None
    }
    fn key_of(_conversation: ConversationId) -> Option<Self::Key> {
        None
    }
}

/// Sessions.
pub(super) struct Sessions;
/// Conversations.
pub(super) struct Conversations;
/// Presence hubs.
pub(super) struct Presences;

impl Kind for Sessions {
    type Key = SessionRef;
    type Msg = SessionMsg;
    type Actor = Session;
    const NAME: &'static str = "session";

    fn create(key: SessionRef, shared: &Shared) -> Session {
        Session::new(key, &shared.settings)
    }

    fn activates(msg: &SessionMsg) -> bool {
        msg.activates()
    }

    fn handle(actor: &mut Session, now: Now, msg: SessionMsg, out: &mut Vec<Effect>) {
        actor.handle(now, msg, out);
    }

    fn wake() -> SessionMsg {
        SessionMsg::Wake
    }

    fn answer(token: u64, result: QueryResult) -> SessionMsg {
        SessionMsg::Answer(token, result)
    }

    fn committed(_token: u64, _outcome: Outcome) -> Option<SessionMsg> {
        None
    }

    fn lost(key: SessionRef, now: Now) -> Vec<Envelope> {
        let gone = PresenceMsg::Unregister { session: key.session, last_seen_ms: now.unix_ms };
        vec![Envelope::Presence(key.user, gone)]
    }
}

impl Kind for Conversations {
    type Key = ConversationId;
    type Msg = ConversationMsg;
    type Actor = Conversation;
    const NAME: &'static str = "conversation";

    fn create(key: ConversationId, _shared: &Shared) -> Conversation {
        Conversation::new(key)
    }

    fn activates(msg: &ConversationMsg) -> bool {
        msg.activates()
    }

    fn handle(actor: &mut Conversation, now: Now, msg: ConversationMsg, out: &mut Vec<Effect>) {
        actor.handle(now, msg, out);
    }

    fn wake() -> ConversationMsg {
        ConversationMsg::Wake
    }

    fn answer(token: u64, result: QueryResult) -> ConversationMsg {
        ConversationMsg::Answer(token, result)
    }

    fn committed(token: u64, outcome: Outcome) -> Option<ConversationMsg> {
        Some(ConversationMsg::Committed(token, outcome))
    }

    fn fenced(fence: Option<Fence>) -> Option<ConversationMsg> {
        Some(ConversationMsg::Fenced(fence))
    }

    fn not_here() -> Option<ConversationMsg> {
        Some(ConversationMsg::NotHere)
    }

    fn placed(key: ConversationId, view: &View) -> Option<ConversationMsg> {
        (!view.owns_conversation(key)).then_some(ConversationMsg::HandOff)
    }

    /// Nobody: senders look into the store when no answer comes.
    fn lost(_key: ConversationId, _now: Now) -> Vec<Envelope> {
        Vec::new()
    }

    fn conversation(key: ConversationId) -> Option<ConversationId> {
        Some(key)
    }

    fn key_of(conversation: ConversationId) -> Option<ConversationId> {
        Some(conversation)
    }
}

impl Kind for Presences {
    type Key = UserId;
    type Msg = PresenceMsg;
    type Actor = Presence;
    const NAME: &'static str = "presence";

    fn create(key: UserId, _shared: &Shared) -> Presence {
        Presence::new(key)
    }

    fn activates(msg: &PresenceMsg) -> bool {
        msg.activates()
    }

    fn handle(actor: &mut Presence, now: Now, msg: PresenceMsg, out: &mut Vec<Effect>) {
        actor.handle(now, msg, out);
    }

    fn wake() -> PresenceMsg {
        PresenceMsg::Wake
    }

    fn answer(token: u64, result: QueryResult) -> PresenceMsg {
        PresenceMsg::Answer(token, result)
    }

    fn committed(token: u64, outcome: Outcome) -> Option<PresenceMsg> {
        Some(PresenceMsg::Committed(token, outcome))
    }

    fn placed(key: UserId, view: &View) -> Option<PresenceMsg> {
        (!view.is_home_of(key)).then_some(PresenceMsg::HandOff)
    }

    /// Sessions are told by a broadcast, see the shard: the hub alone knew which.
    fn lost(_key: UserId, _now: Now) -> Vec<Envelope> {
        Vec::new()
    }
}
