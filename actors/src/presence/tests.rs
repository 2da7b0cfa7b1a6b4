//! Tests of the hub: who is online, away, offline; who hears of it, and what they may see.

use super::{AWAY_MS, Presence, RETRY_MS};
use crate::cluster::NodeId;
use crate::effect::{Effect, QueryResult};
use crate::message::{Envelope, PresenceMsg, SessionMsg, SessionRef};
use crate::people::PeopleAnswer;
use crate::time::Now;
use rookery_protocol::{Audience, DeviceId, SessionId, Status, UserId};
use rookery_store::{Outcome, Privacy, Sight, Stamp, StoreError, Version};

const USER: UserId = UserId(7);
const WATCHER: SessionRef = SessionRef { user: UserId(8), session: SessionId(80), node: NodeId(1) };

struct Hub(Presence);

impl Hub {
    fn new() -> Self {
        Self(Presence::new(USER))
    }

    /// Effects of a message, reduced to what the watcher was told and whether it stopped.
    fn on(&mut self, mono_ms: u64, msg: PresenceMsg) -> (Vec<(Status, u64)>, bool) {
        let mut out = Vec::new();
        self.0.handle(Now { mono_ms, unix_ms: 1_000_000 + mono_ms }, msg, &mut out);
        let told = out.iter().filter_map(|effect| match effect {
            Effect::Tell(Envelope::Session(
                WATCHER,
                SessionMsg::Presence { status, last_seen_ms, .. },
            )) => Some((*status, *last_seen_ms)),
            _ => None,
        });
        (told.collect(), out.iter().any(|effect| matches!(effect, Effect::Stop)))
    }
}

/// The store's answer to who may see the user.
fn sight(sight: Sight) -> PresenceMsg {
    PresenceMsg::Answer(1, QueryResult::People(Ok(PeopleAnswer::Sight(sight))))
}

fn away(session: u64, away: bool) -> PresenceMsg {
    PresenceMsg::Away { session: SessionId(session), away }
}

fn register(session: u64) -> PresenceMsg {
    PresenceMsg::Register { session: SessionId(session), node: NodeId(1), device: DeviceId(1) }
}

fn unregister(session: u64, last_seen_ms: u64) -> PresenceMsg {
    PresenceMsg::Unregister { session: SessionId(session), last_seen_ms }
}

fn committed() -> PresenceMsg {
    let (version, stamp) = (Version(1), Stamp::default());
    PresenceMsg::Committed(0, Outcome::Committed { version, stamp })
}

#[test]
fn a_user_is_online_from_the_first_session_to_the_end_of_the_last() {
    let mut hub = Hub::new();
    hub.on(0, register(1));
    assert_eq!(hub.on(0, PresenceMsg::Watch(WATCHER)).0, []);
    assert_eq!(hub.on(0, sight(Sight::default())).0, [(Status::Online, 0)]);
    assert_eq!(hub.on(1, register(2)).0, []);
    assert_eq!(hub.on(2, unregister(1, 5)).0, []);
    assert_eq!(hub.on(3, unregister(2, 6)).0, [(Status::Offline, 6)]);
}

#[test]
fn last_seen_of_an_absent_user_comes_from_the_store() {
    let mut hub = Hub::new();
    assert_eq!(hub.on(0, PresenceMsg::Watch(WATCHER)).0, []);
    assert_eq!(hub.on(0, sight(Sight::default())).0, []);
    let answer = PresenceMsg::Answer(0, QueryResult::LastSeen(Ok(Some(42))));
    assert_eq!(hub.on(1, answer).0, [(Status::Offline, 42)]);
}

#[test]
fn an_empty_hub_stops_only_once_last_seen_is_written() {
    let mut hub = Hub::new();
    hub.on(0, register(1));
    assert!(!hub.on(1, unregister(1, 5)).1);
    assert!(!hub.on(2, PresenceMsg::Committed(0, Outcome::Busy)).1);
    assert!(!hub.on(9_000, PresenceMsg::Wake).1);
    assert!(hub.on(9_001, committed()).1);
}

#[test]
fn a_session_that_stops_renewing_is_taken_for_gone() {
    let mut hub = Hub::new();
    hub.on(0, register(1));
    hub.on(0, PresenceMsg::Watch(WATCHER));
    hub.on(0, sight(Sight::default()));
    assert_eq!(hub.on(60_000, PresenceMsg::Wake).0, []);
    assert_eq!(hub.on(200_000, PresenceMsg::Wake).0.len(), 1);
}

#[test]
fn news_reaches_every_session_of_the_user() {
    let mut hub = Hub::new();
    for session in 1..=3 {
        hub.on(0, register(session));
    }
    let mut out = Vec::new();
    let typing = PresenceMsg::Typing {
        conversation: rookery_protocol::ConversationId(1),
        user: UserId(9),
        active: true,
    };
    hub.0.handle(Now { mono_ms: 1, unix_ms: 1 }, typing, &mut out);
    assert_eq!(out.len(), 3);
}

#[test]
fn a_user_is_away_once_every_device_is_and_back_with_the_first() {
    let mut hub = Hub::new();
    hub.on(0, register(1));
    hub.on(0, register(2));
    hub.on(0, PresenceMsg::Watch(WATCHER));
    hub.on(0, sight(Sight::default()));
    assert_eq!(hub.on(10_000, away(1, true)).0, []);
    assert_eq!(hub.on(20_000, away(2, true)).0, [(Status::Away, 0)]);
    assert_eq!(hub.on(30_000, away(1, false)).0, [(Status::Online, 0)]);
    assert_eq!(hub.on(40_000, unregister(1, 5)).0, [(Status::Away, 0)]);
    assert_eq!(hub.on(40_001, unregister(2, 6)).0, [(Status::Offline, 6)]);
}

#[test]
fn who_goes_away_and_comes_back_at_once_is_told_at_most_once() {
    let mut hub = Hub::new();
    hub.on(0, register(1));
    hub.on(0, PresenceMsg::Watch(WATCHER));
    hub.on(0, sight(Sight::default()));
    assert_eq!(hub.on(10_000, away(1, true)).0.len(), 1);
    for n in 0..50 {
        assert_eq!(hub.on(10_001 + n, away(1, n % 2 == 1)).0, []);
    }
    assert_eq!(hub.on(10_100, away(1, false)).0, []);
    assert_eq!(hub.on(10_000 + AWAY_MS, PresenceMsg::Wake).0, [(Status::Online, 0)]);
}

#[test]
fn a_watcher_sees_what_the_settings_and_blocks_let_it_see() {
    let with = |presence, last_seen, contact: bool, blocked: bool| Sight {
        privacy: Privacy { presence, last_seen, receipts: Audience::Everyone },
        contacts: contact.then_some(WATCHER.user).into_iter().collect(),
        blocked: blocked.then_some(WATCHER.user).into_iter().collect(),
    };
    let (everyone, contacts, nobody) = (Audience::Everyone, Audience::Contacts, Audience::Nobody);
    let hidden = (Status::Offline, 0);
    let cases = [
        (with(everyone, everyone, false, false), (Status::Online, 0), (Status::Offline, 6)),
        (with(everyone, everyone, true, true), hidden, hidden),
        (with(contacts, contacts, false, false), hidden, hidden),
        (with(contacts, contacts, true, false), (Status::Online, 0), (Status::Offline, 6)),
        (with(everyone, nobody, true, false), (Status::Online, 0), hidden),
        (with(nobody, everyone, false, false), hidden, (Status::Offline, 6)),
        (with(nobody, nobody, true, false), hidden, hidden),
        (with(Audience::Other(9), everyone, true, true), hidden, hidden),
    ];
    for (case, online, offline) in cases {
        let mut hub = Hub::new();
        hub.on(0, register(1));
        hub.on(0, PresenceMsg::Watch(WATCHER));
        assert_eq!(hub.on(0, sight(case.clone())).0, [online], "{case:?}");
        assert_eq!(hub.on(1, unregister(1, 6)).0, [offline], "{case:?}");
    }
}

#[test]
fn a_change_of_the_settings_is_told_to_those_who_watch() {
    let mut hub = Hub::new();
    hub.on(0, register(1));
    hub.on(0, PresenceMsg::Watch(WATCHER));
    assert_eq!(hub.on(0, sight(Sight::default())).0, [(Status::Online, 0)]);
    assert_eq!(hub.on(1, PresenceMsg::Own).0, []);
    let blocked = Sight { blocked: [WATCHER.user].into(), ..Sight::default() };
    // It changed again before the answer: that one is looked at, and asked for anew.
    hub.on(2, PresenceMsg::Own);
    assert_eq!(hub.on(3, sight(blocked)).0, [(Status::Offline, 0)]);
    assert_eq!(hub.on(4, sight(Sight::default())).0, [(Status::Online, 0)]);
    assert_eq!(hub.on(5, PresenceMsg::Own).0, []);
    assert_eq!(hub.on(6, sight(Sight::default())).0, [], "nothing is different");
}

#[test]
fn nobody_is_told_anything_while_it_is_not_known_who_may_see_it() {
    let mut hub = Hub::new();
    hub.on(0, register(1));
    hub.on(0, PresenceMsg::Watch(WATCHER));
    let failed = PresenceMsg::Answer(1, QueryResult::People(Err(StoreError::Busy)));
    assert_eq!(hub.on(1, failed).0, []);
    assert_eq!(hub.on(2, away(1, true)).0, []);
    assert_eq!(hub.on(2 + RETRY_MS, PresenceMsg::Wake).0, []);
    assert_eq!(hub.on(3 + RETRY_MS, sight(Sight::default())).0.len(), 1);
}
