//! Tests of the conversation: its phases, order, duplicates, failures, marks.

use super::{Conversation, IDLE_MS, MARKS_DELAY_MS, TOKEN_APPEND, TOKEN_MARKS};
use crate::effect::{Effect, Query, QueryResult};
use crate::message::{
    ConversationMsg, Envelope, Origin, Outgoing, PresenceMsg, SendAnswer, SessionMsg, SessionRef,
};
use crate::time::Now;
use bytes::Bytes;
use rookery_protocol::{
    ClientMsgId, ConversationId, ConversationKind, DeviceId, EntryKind, ErrorCode, MarkKind,
    SessionId, UserId,
};
use rookery_store::{
    Fence, Known, Loaded, MemberState, Op, Outcome, Plan, Shade, Stamp, Version, slot_of,
};
use std::collections::BTreeSet;

mod people;

const CONVERSATION: ConversationId = ConversationId(1);
pub(super) const ADA: UserId = UserId(10);
pub(super) const GRACE: UserId = UserId(20);
const START_MS: u64 = 1_000_000;

pub(super) struct Actor {
    actor: Conversation,
    pub(super) mono_ms: u64,
    version: u64,
}

impl Actor {
    pub(super) fn cold() -> Self {
        Self { actor: Conversation::new(CONVERSATION), mono_ms: 0, version: 5 }
    }

    /// An actor that has loaded a conversation of Ada and Grace with head 3.
    pub(super) fn ready() -> Self {
        let mut this = Self::cold();
        this.on(ConversationMsg::Typing { from: session(ADA), active: true });
        this.on(ConversationMsg::Fenced(Some(fence())));
        this.on(loaded());
        this
    }

    pub(super) fn on(&mut self, msg: ConversationMsg) -> Vec<Effect> {
        let mut out = Vec::new();
        let now = Now { mono_ms: self.mono_ms, unix_ms: START_MS + self.mono_ms };
        self.actor.handle(now, msg, &mut out);
        out
    }

    fn commit(&mut self, token: u64) -> Vec<Effect> {
        self.version += 1;
        let version = Version(self.version);
        let stamp = Stamp::new(version, 0, 0);
        self.on(ConversationMsg::Committed(token, Outcome::Committed { version, stamp }))
    }
}

pub(super) fn fence() -> Fence {
    Fence { slot: slot_of(CONVERSATION), value: Bytes::from_static(b"me"), version: Version(5) }
}

pub(super) fn loaded() -> ConversationMsg {
    loaded_with(Vec::new())
}

fn loaded_with(shades: Vec<(UserId, Shade)>) -> ConversationMsg {
    let member = |user| MemberState { user, role: 1, joined_seq: 0, delivered: 3, read: 2 };
    let loaded = Loaded {
        conversation: CONVERSATION,
        kind: ConversationKind::Direct,
        head: 3,
        head_time_ms: START_MS,
        floor: 1,
        active_written_ms: START_MS,
        members: vec![member(ADA), member(GRACE)],
        inbox_epoch: 1,
        shades,
        secretive: BTreeSet::new(),
        version: Version(5),
        group: None,
        words: false,
        exists: true,
    };
    ConversationMsg::Answer(0, QueryResult::LoadConversation(Ok(Some(loaded))))
}

pub(super) fn session(user: UserId) -> SessionRef {
    SessionRef { user, session: SessionId(user.0), node: crate::NodeId(1) }
}

fn id(n: u8) -> ClientMsgId {
    ClientMsgId::from_parts(START_MS + 60_000, [n; 10])
}

fn outgoing(user: UserId, n: u8, text: &str) -> Outgoing {
    Outgoing {
        from: Origin { session: session(user), device: DeviceId(user.0) },
        id: id(n),
        retry: false,
        seen: Version(5),
        kind: EntryKind::Text,
        body: text.into(),
    }
}

pub(super) fn send(user: UserId, n: u8) -> ConversationMsg {
    ConversationMsg::Send(outgoing(user, n, "hello"))
}

pub(super) fn retry(user: UserId, n: u8) -> ConversationMsg {
    ConversationMsg::Send(Outgoing { retry: true, ..outgoing(user, n, "hello") })
}

pub(super) fn plans(effects: &[Effect]) -> Vec<(u64, &Plan)> {
    let plans = effects.iter().filter_map(|effect| match effect {
        Effect::Commit { token, plan } => Some((*token, plan)),
        _ => None,
    });
    plans.collect()
}

/// (recipient, seqs) of the deliveries.
fn delivered(effects: &[Effect]) -> Vec<(UserId, Vec<u64>)> {
    let told = effects.iter().filter_map(|effect| match effect {
        Effect::Tell(Envelope::Presence(user, PresenceMsg::Deliver(batch))) => {
            Some((*user, batch.entries.iter().map(|entry| entry.seq).collect()))
        }
        _ => None,
    });
    told.collect()
}

fn answers(effects: &[Effect]) -> Vec<SendAnswer> {
    let answers = effects.iter().filter_map(|effect| match effect {
        Effect::Tell(Envelope::Session(_, SessionMsg::SendAnswer { answer, .. })) => Some(*answer),
        _ => None,
    });
    answers.collect()
}

fn stops(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Stop))
}

#[test]
fn the_first_message_waits_for_fence_and_load_then_takes_the_next_place() {
    let mut actor = Actor::cold();
    let effects = actor.on(send(ADA, 1));
    assert!(
        matches!(effects.as_slice(), [Effect::NeedFence(slot)] if *slot == slot_of(CONVERSATION))
    );
    let effects = actor.on(ConversationMsg::Fenced(Some(fence())));
    assert!(matches!(effects.as_slice(), [Effect::Query { .. }]));
    let effects = actor.on(loaded());
    assert_eq!(plans(&effects).len(), 1);
    let effects = actor.commit(TOKEN_APPEND);
    assert_eq!(delivered(&effects), [(ADA, vec![4]), (GRACE, vec![4])]);
}

#[test]
fn nothing_is_announced_before_its_commit() {
    let mut actor = Actor::ready();
    let effects = actor.on(send(ADA, 1));
    assert!(delivered(&effects).is_empty());
    assert!(answers(&effects).is_empty());
}

#[test]
fn what_comes_while_an_append_is_in_flight_joins_the_next_one() {
    let mut actor = Actor::ready();
    assert_eq!(plans(&actor.on(send(ADA, 1))).len(), 1);
    for n in 2..=4 {
        assert!(plans(&actor.on(send(GRACE, n))).is_empty(), "one append in flight");
    }
    let effects = actor.commit(TOKEN_APPEND);
    assert_eq!(delivered(&effects).first(), Some(&(ADA, vec![4])));
    assert_eq!(plans(&effects).len(), 1);
    let effects = actor.commit(TOKEN_APPEND);
    assert_eq!(delivered(&effects).first(), Some(&(ADA, vec![5, 6, 7])));
}

#[test]
fn every_append_guards_on_the_fence() {
    let mut actor = Actor::ready();
    let effects = actor.on(send(ADA, 1));
    let plans = plans(&effects);
    assert_eq!(plans[0].1.guards, [fence().guard()]);
}

#[test]
fn a_retry_of_a_committed_message_gets_its_first_place() {
    let mut actor = Actor::ready();
    actor.on(send(ADA, 1));
    actor.commit(TOKEN_APPEND);
    let effects = actor.on(retry(ADA, 1));
    assert!(plans(&effects).is_empty());
    assert!(matches!(answers(&effects)[..], [SendAnswer::Duplicate { seq: 4, .. }]));
}

#[test]
fn a_retry_that_is_not_remembered_is_looked_up_and_holds_back_what_follows() {
    let mut actor = Actor::ready();
    let effects = actor.on(retry(ADA, 1));
    let [Effect::Query { token, query }] = effects.as_slice() else { panic!("{effects:?}") };
    assert!(matches!(**query, Query::FindSent { sender: ADA, .. }));
    assert!(plans(&actor.on(send(ADA, 2))).is_empty(), "must not overtake");
    let effects = actor.on(ConversationMsg::Answer(*token, QueryResult::FindSent(Ok(None))));
    assert_eq!(plans(&effects).len(), 1);
    let effects = actor.commit(TOKEN_APPEND);
    assert_eq!(delivered(&effects).first(), Some(&(ADA, vec![4, 5])));
}

/// A link may hand a message over late, when its client has long sent it again another way and this
/// owner is a new one: neither the client's word nor a clock tells.
#[test]
fn a_message_passed_on_before_the_load_is_looked_up_though_it_is_no_retry() {
    let mut actor = Actor::ready();
    let late = Outgoing { seen: Version(4), ..outgoing(ADA, 1, "hello") };
    let effects = actor.on(ConversationMsg::Send(late));
    assert!(plans(&effects).is_empty());
    assert!(matches!(effects.as_slice(), [Effect::Query { .. }]), "{effects:?}");
}

#[test]
fn a_copy_that_comes_after_its_first_was_forgotten_is_looked_up() {
    let mut actor = Actor::ready();
    actor.on(send(ADA, 0));
    actor.commit(TOKEN_APPEND);
    for n in 0..1_024_u16 {
        assert!(matches!(answers(&actor.on(send(ADA, 0)))[..], [SendAnswer::Duplicate { .. }]));
        let [high, low] = n.to_be_bytes();
        let id = ClientMsgId::from_parts(u64::from(high), [low; 10]);
        let seen = Version(actor.version);
        actor.on(ConversationMsg::Send(Outgoing { id, seen, ..outgoing(GRACE, 1, "hello") }));
        actor.commit(TOKEN_APPEND);
    }
    let effects = actor.on(send(ADA, 0));
    assert!(matches!(effects.as_slice(), [Effect::Query { .. }]), "{effects:?}");
}

#[test]
fn a_lookup_that_finds_the_message_answers_with_the_stored_place() {
    let mut actor = Actor::ready();
    let effects = actor.on(retry(ADA, 1));
    let [Effect::Query { token, .. }] = effects.as_slice() else { panic!("{effects:?}") };
    let hash = rookery_store::append::content_hash(EntryKind::Text, b"hello");
    let known = Known { seq: 2, hash, time_ms: 9 };
    let effects = actor.on(ConversationMsg::Answer(*token, QueryResult::FindSent(Ok(Some(known)))));
    assert!(matches!(answers(&effects)[..], [SendAnswer::Duplicate { seq: 2, time_ms: 9, .. }]));
    assert!(plans(&effects).is_empty());
}

#[test]
fn the_same_id_with_other_content_is_refused() {
    let mut actor = Actor::ready();
    actor.on(send(ADA, 1));
    let effects = actor.on(ConversationMsg::Send(outgoing(ADA, 1, "other")));
    assert_eq!(answers(&effects), [SendAnswer::Failed(ErrorCode::IdReused)]);
    let lookup = actor.on(retry(ADA, 2));
    let [Effect::Query { token, .. }] = lookup.as_slice() else { panic!("{lookup:?}") };
    let known = Known { seq: 2, hash: 1, time_ms: 9 };
    let effects = actor.on(ConversationMsg::Answer(*token, QueryResult::FindSent(Ok(Some(known)))));
    assert_eq!(answers(&effects), [SendAnswer::Failed(ErrorCode::IdReused)]);
}

#[test]
fn a_stranger_can_neither_send_nor_mark_nor_type() {
    let mut actor = Actor::ready();
    let stranger = UserId(99);
    let effects = actor.on(send(stranger, 1));
    assert_eq!(answers(&effects), [SendAnswer::Failed(ErrorCode::NotAMember)]);
    let from = session(stranger);
    for msg in [
        ConversationMsg::Mark { from, kind: MarkKind::Read, seq: 1 },
        ConversationMsg::Typing { from, active: true },
    ] {
        let effects = actor.on(msg);
        assert!(matches!(
            effects.as_slice(),
            [Effect::Tell(Envelope::Session(_, SessionMsg::Refused(ErrorCode::NotAMember)))]
        ));
    }
}

#[test]
fn a_conflict_means_another_owner_the_fence_is_dropped_and_senders_retry() {
    let mut actor = Actor::ready();
    actor.on(send(ADA, 1));
    actor.on(send(GRACE, 2));
    let effects = actor.on(ConversationMsg::Committed(TOKEN_APPEND, Outcome::Conflict));
    assert_eq!(answers(&effects), [SendAnswer::Failed(ErrorCode::Moved); 2]);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::DropFence { .. })));
    assert!(stops(&effects));
}

#[test]
fn an_unknown_outcome_is_told_as_unknown_and_ends_the_activation() {
    let mut actor = Actor::ready();
    actor.on(send(ADA, 1));
    let effects = actor.on(ConversationMsg::Committed(TOKEN_APPEND, Outcome::Unresolved));
    assert_eq!(answers(&effects), [SendAnswer::Failed(ErrorCode::OutcomeUnknown)]);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::DropFence { .. })));
    assert!(stops(&effects));
}

#[test]
fn a_busy_store_refuses_all_that_waits_and_the_next_send_takes_the_same_place() {
    let mut actor = Actor::ready();
    actor.on(send(ADA, 1));
    actor.on(send(ADA, 2));
    let effects = actor.on(ConversationMsg::Committed(TOKEN_APPEND, Outcome::Busy));
    assert_eq!(answers(&effects), [SendAnswer::Failed(ErrorCode::StoreUnavailable); 2]);
    actor.on(send(ADA, 3));
    assert_eq!(delivered(&actor.commit(TOKEN_APPEND)).first(), Some(&(ADA, vec![4])));
}

#[test]
fn without_a_fence_everything_that_waits_is_refused() {
    let mut actor = Actor::cold();
    actor.on(send(ADA, 1));
    let effects = actor.on(ConversationMsg::Fenced(None));
    assert_eq!(answers(&effects), [SendAnswer::Failed(ErrorCode::StoreUnavailable)]);
    assert!(stops(&effects));
}

#[test]
fn marks_are_gathered_written_once_and_told_only_then() {
    let mut actor = Actor::ready();
    let from = session(GRACE);
    for seq in [1, 3, 2] {
        let effects = actor.on(ConversationMsg::Mark { from, kind: MarkKind::Read, seq });
        assert!(plans(&effects).is_empty());
    }
    actor.mono_ms += MARKS_DELAY_MS;
    let effects = actor.on(ConversationMsg::Wake);
    let plans = plans(&effects);
    assert_eq!(plans.len(), 1);
    assert!(plans[0].1.ops.iter().all(|op| matches!(op, Op::ByteMax { .. })));
    let effects = actor.commit(TOKEN_MARKS);
    let told = effects.iter().filter_map(|effect| match effect {
        Effect::Tell(Envelope::Presence(_, PresenceMsg::Receipts(receipts))) => Some(receipts),
        _ => None,
    });
    for receipts in told.clone() {
        assert_eq!(receipts.marks, [(GRACE, MarkKind::Read, 3)]);
    }
    assert_eq!(told.count(), 2, "both members hear of it");
}

#[test]
fn a_mark_that_brought_the_conversation_into_being_is_written_as_soon_as_any() {
    let mut actor = Actor::cold();
    let from = session(GRACE);
    actor.on(ConversationMsg::Mark { from, kind: MarkKind::Read, seq: 3 });
    actor.on(ConversationMsg::Fenced(Some(fence())));
    let effects = actor.on(loaded());
    let wakes = effects.iter().filter_map(|effect| match effect {
        Effect::WakeAt(at) => Some(*at),
        _ => None,
    });
    // The latest call counts.
    assert_eq!(wakes.last(), Some(actor.mono_ms + MARKS_DELAY_MS));
}

#[test]
fn marks_that_conflict_beside_an_append_are_written_again() {
    let mut actor = Actor::ready();
    let from = session(GRACE);
    actor.on(ConversationMsg::Mark { from, kind: MarkKind::Read, seq: 3 });
    actor.mono_ms += MARKS_DELAY_MS;
    actor.on(ConversationMsg::Wake);
    actor.on(send(ADA, 1));
    actor.on(ConversationMsg::Committed(TOKEN_MARKS, Outcome::Conflict));
    // The store was wrong: the fence is still ours.
    actor.commit(TOKEN_APPEND);
    actor.mono_ms += 4 * MARKS_DELAY_MS;
    assert_eq!(plans(&actor.on(ConversationMsg::Wake)).len(), 1);
}

#[test]
fn a_mark_beyond_the_head_is_refused() {
    let mut actor = Actor::ready();
    let from = session(GRACE);
    let effects = actor.on(ConversationMsg::Mark { from, kind: MarkKind::Read, seq: 4 });
    assert!(matches!(
        effects.as_slice(),
        [Effect::Tell(Envelope::Session(_, SessionMsg::Refused(ErrorCode::BeyondHead)))]
    ));
}

#[test]
fn an_idle_conversation_stops_and_a_busy_one_does_not() {
    let mut actor = Actor::ready();
    actor.on(send(ADA, 1));
    actor.mono_ms += IDLE_MS;
    assert!(!stops(&actor.on(ConversationMsg::Wake)), "an append is in flight");
    actor.commit(TOKEN_APPEND);
    actor.mono_ms += IDLE_MS;
    actor.on(ConversationMsg::Wake);
    actor.commit(TOKEN_MARKS);
    actor.mono_ms += IDLE_MS;
    assert!(stops(&actor.on(ConversationMsg::Wake)));
}

#[path = "change_tests.rs"]
mod changes;
