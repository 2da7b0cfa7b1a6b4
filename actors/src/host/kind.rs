//! The three kinds of virtual actors, as a host sees them: keys, messages, how they start. Pure.

use crate::cluster::{NodeId, View};
use crate::conversation::Conversation;
use crate::effect::{Effect, QueryResult};
use crate::message::{ConversationMsg, Envelope, PresenceMsg, SendAnswer, SessionMsg, SessionRef};
use crate::presence::Presence;
use crate::session::{Session, Settings};
use crate::time::Now;
use rookery_protocol::{ConversationId, ErrorCode, UserId};
use rookery_store::{Fence, Outcome};
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

/// A kind of virtual actor.
pub trait Kind: Send + Sync + Sized + 'static {
    /// Its address.
    type Key: Copy + Eq + Ord + Hash + Debug + Send + Sync + 'static;
    /// What it is told.
    type Msg: Send + 'static;
    /// Its state.
    type Actor: Send + 'static;
    /// Its name in metrics and logs.
    const NAME: &'static str;

    /// An actor that knows nothing yet.
    fn create(key: Self::Key, settings: &Arc<Settings>) -> Self::Actor;
    /// Whether a message brings an actor into being that is not there.
    fn activates(msg: &Self::Msg) -> bool;
    /// Handles one message.
    fn handle(actor: &mut Self::Actor, now: Now, msg: Self::Msg, out: &mut Vec<Effect>);
    /// The time asked for has come.
    fn wake() -> Self::Msg;
    /// The store answers a question.
    fn answer(token: u64, result: QueryResult) -> Self::Msg;
    /// What became of a plan; `None`: this kind makes none.
    fn committed(token: u64, outcome: Outcome) -> Option<Self::Msg>;
    /// A slot's fence, or that it can't be had; `None`: this kind needs none.
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
    /// The life of a node that an actor belongs to, if it is bound to one.
    fn life(_key: Self::Key) -> Option<NodeId> {
        None
    }
    /// Who hears, and what, when a message finds its actor paused after panics.
    fn refused(_msg: Self::Msg) -> Option<Envelope> {
        None
    }
    /// What is to be told when an actor was lost in a panic, which may have left it half changed.
    fn lost(key: Self::Key, actor: &Self::Actor, now: Now) -> Vec<Envelope>;
    /// The conversation whose fence an actor waits for.
    fn conversation(_key: Self::Key) -> Option<ConversationId> {
        None
    }
    /// The actor of that conversation.
    fn key_of(_conversation: ConversationId) -> Option<Self::Key> {
        None
    }
}

/// Sessions.
pub struct Sessions;
/// Conversations.
pub struct Conversations;
/// Presence hubs.
pub struct Presences;

impl Kind for Sessions {
    type Key = SessionRef;
    type Msg = SessionMsg;
    type Actor = Session;
    const NAME: &'static str = "session";

    fn create(key: SessionRef, settings: &Arc<Settings>) -> Session {
        Session::new(key, settings)
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

    fn life(key: SessionRef) -> Option<NodeId> {
        Some(key.node)
    }

    fn lost(key: SessionRef, _actor: &Session, now: Now) -> Vec<Envelope> {
        let gone = PresenceMsg::Unregister { session: key.session, last_seen_ms: now.unix_ms };
        vec![Envelope::Presence(key.user, gone)]
    }
}

impl Kind for Conversations {
    type Key = ConversationId;
    type Msg = ConversationMsg;
    type Actor = Conversation;
    const NAME: &'static str = "conversation";

    fn create(key: ConversationId, _settings: &Arc<Settings>) -> Conversation {
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

    fn refused(msg: ConversationMsg) -> Option<Envelope> {
        let (to, answer) = match msg {
            ConversationMsg::Send(send) => {
                let answer = SendAnswer::Failed(ErrorCode::Busy);
                (send.from.session, SessionMsg::SendAnswer { id: send.id, answer })
            }
            ConversationMsg::Mark { from, .. } => (from, SessionMsg::Refused(ErrorCode::Busy)),
            ConversationMsg::Block { from, request, .. } => {
                (from, SessionMsg::Answered { request, refused: Some(ErrorCode::Busy) })
            }
            _ => return None,
        };
        Some(Envelope::Session(to, answer))
    }

    /// Senders without an answer: what became of their messages is not known here any more. And what
    /// else the actor had to do, its successor does.
    fn lost(key: ConversationId, actor: &Conversation, _now: Now) -> Vec<Envelope> {
        let unknown = SendAnswer::Failed(ErrorCode::OutcomeUnknown);
        let waiting = actor.waiting().into_iter();
        let answers = waiting
            .map(|(to, id)| Envelope::Session(to, SessionMsg::SendAnswer { id, answer: unknown }));
        answers.chain(Conversation::pass_on(key, actor.rest())).collect()
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

    fn create(key: UserId, _settings: &Arc<Settings>) -> Presence {
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
    fn lost(_key: UserId, _actor: &Presence, _now: Now) -> Vec<Envelope> {
        Vec::new()
    }
}
