//! Whom a session shows, how it is away, and what becomes of a block it asked for.

use super::*;
use crate::people::{PeopleAnswer, PeopleQuery, Watchable};
use crate::session::TOKEN_SIGHT;
use crate::session::people::IDLE_MS;
use rookery_protocol::client;
use rookery_protocol::{OwnKind, Status};
use rookery_store::StoreError;

fn seen(user: u64) -> Watchable {
    Watchable { user: UserId(user), presence: true, last_seen: true }
}

fn watches(effects: &[Effect]) -> usize {
    let watch = |effect: &&Effect| {
        matches!(effect, Effect::Tell(Envelope::Presence(_, PresenceMsg::Watch(_))))
    };
    effects.iter().filter(watch).count()
}

#[test]
fn a_status_that_found_no_room_is_asked_for_again_when_there_is_some() {
    let mut actor = Actor::live();
    let allowed = QueryResult::MayWatch(Ok(vec![seen(2)]));
    actor.frame(ClientFrame::Watch(client::Watch { request: 9, users: vec![UserId(2)] }));
    assert_eq!(watches(&actor.on(SessionMsg::Answer(TOKEN_REQUEST | 9, allowed))), 1);
    actor.actor.stream.set_window(4_096);
    let mut seq = 0;
    while actor.actor.stream.room() >= actor.actor.stream.window() / 2 {
        seq += 1;
        actor.on(batch_from(DeviceId(222), seq..=seq));
    }
    let online = SessionMsg::Presence { user: UserId(2), status: Status::Online, last_seen_ms: 0 };
    assert!(actor.on(online).is_empty());
    let received = actor.actor.stream.sent();
    assert_eq!(watches(&actor.frame(ClientFrame::Ack(Ack { received }))), 1);
}

#[test]
fn a_resumed_client_is_shown_anew_whom_it_watches() {
    let mut actor = Actor::live();
    let allowed = QueryResult::MayWatch(Ok(vec![seen(2), seen(3)]));
    actor.frame(ClientFrame::Watch(client::Watch { request: 9, users: vec![UserId(2)] }));
    actor.on(SessionMsg::Answer(TOKEN_REQUEST | 9, allowed));
    actor.on(SessionMsg::Detached { conn: CONN, last_life_ms: 0 });
    let received = actor.actor.stream.sent();
    let effects = actor.on(attach(ConnId(2), Some((SECRET, received))));
    assert_eq!(watches(&effects), 2);
}

/// What the hub was told about being away.
fn away(effects: &[Effect]) -> Vec<bool> {
    let told = effects.iter().filter_map(|effect| match effect {
        Effect::Tell(Envelope::Presence(_, PresenceMsg::Away { away, .. })) => Some(*away),
        _ => None,
    });
    told.collect()
}

/// The frames that were written.
fn written(effects: &[Effect]) -> Vec<ServerFrame> {
    let mut all = Vec::new();
    for effect in effects {
        if let Effect::Write { frames: bytes, .. } = effect {
            for raw in frames(bytes, usize::MAX) {
                all.extend(ServerFrame::decode(raw.unwrap()).unwrap());
            }
        }
    }
    all
}

fn block(actor: &mut Actor) -> Vec<Effect> {
    let wish = client::SetBlocked { request: 5, user: UserId(2), blocked: true };
    actor.frame(ClientFrame::SetBlocked(wish))
}

/// The conversation has to do it.
fn via(actor: &mut Actor) -> Vec<Effect> {
    let answer = QueryResult::People(Ok(PeopleAnswer::Via(CONVERSATION)));
    actor.on(SessionMsg::Answer(TOKEN_REQUEST | 5, answer))
}

#[test]
fn a_client_is_away_when_it_says_so_or_does_nothing_of_its_users_will_for_long() {
    let mut actor = Actor::live();
    let set = |away| ClientFrame::SetAway(client::SetAway { away });
    assert_eq!(away(&actor.frame(set(true))), [true]);
    assert_eq!(away(&actor.frame(set(true))), [], "it said so before");
    assert_eq!(away(&actor.on(SessionMsg::HubLost)), [true], "a new hub is told");
    assert_eq!(away(&actor.frame(set(false))), [false]);
    let mut idle = Vec::new();
    while actor.mono_ms < IDLE_MS + RENEW_MS {
        actor.mono_ms += RENEW_MS;
        actor.frame(ClientFrame::Ack(Ack { received: 0 }));
        idle.extend(away(&actor.on(SessionMsg::Wake)));
    }
    assert_eq!(idle, [true], "acknowledging is no sign of somebody there");
    assert_eq!(away(&actor.send(9)), [false]);
}

#[test]
fn a_block_goes_to_the_conversation_and_its_answer_to_the_client() {
    let mut actor = Actor::live();
    let effects = block(&mut actor);
    let asks = |effect: &Effect| match effect {
        Effect::Query { query, .. } => matches!(
            **query,
            Query::People { query: PeopleQuery::SetBlocked { other: UserId(2), .. }, .. }
        ),
        _ => false,
    };
    assert!(effects.iter().any(asks), "{effects:?}");
    let effects = via(&mut actor);
    let told = |effect: &Effect| {
        let Effect::Tell(Envelope::Conversation(to, msg)) = effect else { return false };
        *to == CONVERSATION
            && matches!(msg, ConversationMsg::Block { request: 5, blocked: true, .. })
    };
    assert!(effects.iter().any(told), "{effects:?}");
    let answered = actor.on(SessionMsg::Answered { request: 5, refused: None });
    assert_eq!(written(&answered), [rookery_protocol::server::Done { request: 5 }.into()]);
    // A second answer has nobody to answer.
    assert!(actor.on(SessionMsg::Answered { request: 5, refused: None }).is_empty());
}

#[test]
fn a_block_that_no_conversation_answers_has_an_unknown_outcome() {
    let mut actor = Actor::live();
    block(&mut actor);
    via(&mut actor);
    actor.mono_ms += 4_000;
    let frames = written(&actor.on(SessionMsg::Wake));
    let unknown = |frame: &ServerFrame| match frame {
        ServerFrame::Error(error) => {
            error.request == 5 && error.code == ErrorCode::OutcomeUnknown.code()
        }
        _ => false,
    };
    assert!(frames.iter().any(unknown), "{frames:?}");
    let refused = QueryResult::People(Err(StoreError::Full("blocked users")));
    block(&mut actor);
    let frames = written(&actor.on(SessionMsg::Answer(TOKEN_REQUEST | 5, refused)));
    let ServerFrame::Error(error) = &frames[0] else { panic!("{frames:?}") };
    assert_eq!(error.code, ErrorCode::TooManyPeople.code());
}

#[test]
fn who_does_not_show_something_does_not_see_it() {
    let mut actor = Actor::live();
    actor.frame(ClientFrame::Watch(client::Watch { request: 9, users: vec![UserId(2)] }));
    let allowed = QueryResult::MayWatch(Ok(vec![seen(2)]));
    actor.on(SessionMsg::Answer(TOKEN_REQUEST | 9, allowed));
    let online =
        || SessionMsg::Presence { user: UserId(2), status: Status::Online, last_seen_ms: 0 };
    let offline =
        || SessionMsg::Presence { user: UserId(2), status: Status::Offline, last_seen_ms: 7 };
    let shown = |effects: Vec<Effect>| match written(&effects)[..] {
        [ServerFrame::Presence(presence)] => (presence.status, presence.last_seen_ms),
        ref other => panic!("{other:?}"),
    };
    assert_eq!(shown(actor.on(online())), (Status::Online, 0));
    // The settings change: the hub is asked again, and what it says is dimmed.
    let effects = actor.on(SessionMsg::Own);
    let asks = |effect: &Effect| matches!(effect, Effect::Query { token: TOKEN_SIGHT, .. });
    assert!(effects.iter().any(asks), "{effects:?}");
    let dim = Watchable { presence: false, ..seen(2) };
    let answer = SessionMsg::Answer(TOKEN_SIGHT, QueryResult::MayWatch(Ok(vec![dim])));
    assert_eq!(watches(&actor.on(answer)), 1);
    assert_eq!(shown(actor.on(online())), (Status::Offline, 0));
    assert_eq!(shown(actor.on(offline())), (Status::Offline, 7));
    let dim = Watchable { last_seen: false, ..seen(2) };
    actor.on(SessionMsg::Answer(TOKEN_SIGHT, QueryResult::MayWatch(Ok(vec![dim]))));
    assert_eq!(shown(actor.on(online())), (Status::Online, 0));
    assert_eq!(shown(actor.on(offline())), (Status::Offline, 0));
}

#[test]
fn what_changed_comes_out_of_the_inbox_each_once() {
    let mut actor = Actor::live();
    actor.on(SessionMsg::Own);
    let kind = PointerKind::Own(OwnKind::Conversation);
    let frames = written(&actor.pulled(2, &[pointer(kind, 0, 0), pointer(kind, 0, 0)]));
    let id = CONVERSATION.0;
    let changed = rookery_protocol::server::OwnChanged { kind: OwnKind::Conversation, id };
    assert_eq!(frames.first(), Some(&changed.into()), "{frames:?}");
    assert_eq!(frames.len(), 2, "then `CaughtUp`");
}
