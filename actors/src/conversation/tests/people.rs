//! Blocks and privacy: who hears of what, and that a block stands between entries, not among them.

use super::*;
use crate::conversation::{TOKEN_PEOPLE, TOKEN_SECRETIVE};
use crate::people::{PeopleAnswer, PeopleQuery};
use rookery_protocol::EntryKind;
use rookery_store::{Shade, StoreError};

fn block(user: UserId, request: u32, blocked: bool) -> ConversationMsg {
    ConversationMsg::Block { from: session(user), request, blocked }
}

/// What became of requests: whose, which, why refused.
fn answered(effects: &[Effect]) -> Vec<(UserId, u32, Option<ErrorCode>)> {
    let answers = effects.iter().filter_map(|effect| match effect {
        Effect::Tell(Envelope::Session(to, SessionMsg::Answered { request, refused })) => {
            Some((to.user, *request, *refused))
        }
        _ => None,
    });
    answers.collect()
}

/// Who was told of whose marks: member, user, kind, seq.
fn receipts(effects: &[Effect]) -> Vec<(UserId, UserId, MarkKind, u64)> {
    let mut told = Vec::new();
    for effect in effects {
        if let Effect::Tell(Envelope::Presence(member, PresenceMsg::Receipts(receipts))) = effect {
            told.extend(
                receipts.marks.iter().map(|(user, kind, seq)| (*member, *user, *kind, *seq)),
            );
        }
    }
    told
}

/// An actor in which Ada has Grace blocked.
fn blocked() -> Actor {
    let mut actor = Actor::ready();
    actor.on(block(ADA, 1, true));
    assert_eq!(answered(&actor.commit(TOKEN_PEOPLE)), [(ADA, 1, None)]);
    actor
}

#[test]
fn a_block_waits_for_the_append_in_flight_and_holds_up_the_next() {
    let mut actor = Actor::ready();
    assert_eq!(plans(&actor.on(send(GRACE, 1)))[0].0, TOKEN_APPEND);
    assert!(plans(&actor.on(block(ADA, 9, true))).is_empty());
    assert!(plans(&actor.on(send(GRACE, 2))).is_empty());
    let effects = actor.commit(TOKEN_APPEND);
    assert_eq!(plans(&effects).iter().map(|(token, _)| *token).collect::<Vec<_>>(), [TOKEN_PEOPLE]);
    assert_eq!(delivered(&effects), [(ADA, vec![4]), (GRACE, vec![4])]);
    let effects = actor.commit(TOKEN_PEOPLE);
    assert_eq!(answered(&effects), [(ADA, 9, None)]);
    assert_eq!(plans(&effects)[0].0, TOKEN_APPEND, "what waited goes on, under the block");
    assert_eq!(delivered(&actor.commit(TOKEN_APPEND)), [(GRACE, vec![5])]);
}

#[test]
fn under_a_block_only_the_sender_hears_of_a_message_and_the_blocking_member_sends_none() {
    let mut actor = blocked();
    let effects = actor.on(send(GRACE, 1));
    let (_, plan) = plans(&effects)[0];
    let pointers = plan.ops.iter().filter(|op| matches!(op, Op::SetStampedKey { .. })).count();
    assert_eq!(pointers, 1, "Ada's inbox is left alone");
    assert_eq!(delivered(&actor.commit(TOKEN_APPEND)), [(GRACE, vec![4])]);
    let refused = SendAnswer::Failed(ErrorCode::Blocking);
    assert_eq!(answers(&actor.on(send(ADA, 2))), [refused]);
    for user in [ADA, GRACE] {
        let typing = ConversationMsg::Typing { from: session(user), active: true };
        assert!(actor.on(typing).is_empty());
    }
    // Grace blocks too: now she hears that she does, and nothing else.
    actor.on(block(GRACE, 3, true));
    assert_eq!(answered(&actor.commit(TOKEN_PEOPLE)), [(GRACE, 3, None)]);
    assert_eq!(answers(&actor.on(send(GRACE, 4))), [refused]);
}

#[test]
fn a_batch_holds_entries_of_one_side_of_a_block_only() {
    let mut actor = Actor::ready();
    actor.on(send(GRACE, 1));
    actor.on(send(ADA, 2));
    actor.on(send(GRACE, 3));
    actor.on(block(ADA, 9, true));
    actor.commit(TOKEN_APPEND);
    let effects = actor.commit(TOKEN_PEOPLE);
    assert_eq!(plans(&effects).len(), 1);
    // Ada's was taken before the block: it is for both. Grace's is under it.
    assert_eq!(delivered(&actor.commit(TOKEN_APPEND)), [(ADA, vec![5]), (GRACE, vec![5])]);
    assert_eq!(delivered(&actor.commit(TOKEN_APPEND)), [(GRACE, vec![6])]);
}

#[test]
fn marks_are_told_to_their_own_user_alone_until_one_is_beyond_what_was_withheld() {
    let mut actor = blocked();
    actor.on(send(GRACE, 1));
    actor.commit(TOKEN_APPEND);
    actor.mono_ms += MARKS_DELAY_MS;
    actor.on(ConversationMsg::Wake);
    let own = |user: UserId, seq| {
        [(user, user, MarkKind::Delivered, seq), (user, user, MarkKind::Read, seq)]
    };
    assert_eq!(receipts(&actor.commit(TOKEN_MARKS)), own(GRACE, 4));
    let read = ConversationMsg::Mark { from: session(ADA), kind: MarkKind::Read, seq: 3 };
    actor.on(read);
    actor.mono_ms += MARKS_DELAY_MS;
    actor.on(ConversationMsg::Wake);
    assert_eq!(receipts(&actor.commit(TOKEN_MARKS)), [(ADA, ADA, MarkKind::Read, 3)]);
    // Ada had read everything: after the block nothing is unread, and nobody hears of it.
    let effects = actor.on(block(ADA, 2, false));
    let marks = |op: &&Op| matches!(op, Op::ByteMax { .. });
    assert_eq!(plans(&effects)[0].1.ops.iter().filter(marks).count(), 2);
    assert!(receipts(&actor.commit(TOKEN_PEOPLE)).is_empty());
    actor.on(send(GRACE, 5));
    assert_eq!(delivered(&actor.commit(TOKEN_APPEND)).len(), 2);
    actor.on(ConversationMsg::Mark { from: session(ADA), kind: MarkKind::Read, seq: 5 });
    actor.mono_ms += MARKS_DELAY_MS;
    actor.on(ConversationMsg::Wake);
    let told = receipts(&actor.commit(TOKEN_MARKS));
    assert!(told.contains(&(GRACE, ADA, MarkKind::Read, 5)), "{told:?}");
}

#[test]
fn a_block_that_is_refused_is_answered_and_leaves_everything_as_it_was() {
    let stranger = UserId(30);
    let mut actor = Actor::ready();
    let refused = answered(&actor.on(block(stranger, 1, true)));
    assert_eq!(refused, [(stranger, 1, Some(ErrorCode::NotAMember))]);
    actor.on(block(ADA, 2, true));
    let busy = actor.on(ConversationMsg::Committed(TOKEN_PEOPLE, Outcome::Busy));
    assert_eq!(answered(&busy), [(ADA, 2, Some(ErrorCode::StoreUnavailable))]);
    actor.on(send(GRACE, 3));
    assert_eq!(delivered(&actor.commit(TOKEN_APPEND)).len(), 2);
    // The same again, and its end twice: the second time there is nothing to do.
    for (request, blocked) in [(4, true), (6, false)] {
        actor.on(block(ADA, request, blocked));
        actor.commit(TOKEN_PEOPLE);
        let again = actor.on(block(ADA, request + 1, blocked));
        assert_eq!(answered(&again), [(ADA, request + 1, None)]);
        assert!(plans(&again).is_empty());
    }
}

#[test]
fn a_block_whose_outcome_is_unknown_ends_the_activation_and_answers_all_who_wait() {
    for (outcome, code) in
        [(Outcome::Conflict, ErrorCode::Moved), (Outcome::Unresolved, ErrorCode::OutcomeUnknown)]
    {
        let mut actor = Actor::ready();
        actor.on(block(ADA, 1, true));
        actor.on(block(GRACE, 2, true));
        let effects = actor.on(ConversationMsg::Committed(TOKEN_PEOPLE, outcome));
        let all = [(ADA, 1, Some(code)), (GRACE, 2, Some(code))];
        assert_eq!(answered(&effects), all);
        assert!(effects.iter().any(|effect| matches!(effect, Effect::DropFence { .. })));
        assert!(effects.iter().any(|effect| matches!(effect, Effect::Stop)));
    }
    let mut cold = Actor::cold();
    cold.on(block(ADA, 1, true));
    let effects = cold.on(ConversationMsg::Fenced(None));
    assert_eq!(answered(&effects), [(ADA, 1, Some(ErrorCode::StoreUnavailable))]);
}

#[test]
fn what_a_block_hid_before_this_activation_is_known_from_the_load() {
    let mut actor = Actor::cold();
    actor.on(ConversationMsg::Typing { from: session(ADA), active: true });
    actor.on(ConversationMsg::Fenced(Some(fence())));
    actor.on(loaded_with(vec![(ADA, Shade::NONE.begun(3, 3, 2))]));
    actor.on(send(GRACE, 1));
    assert_eq!(delivered(&actor.commit(TOKEN_APPEND)), [(GRACE, vec![4])]);
}

#[test]
fn settings_are_looked_at_again_before_reading_is_told() {
    let mut actor = Actor::ready();
    let mark = |seq| ConversationMsg::Mark { from: session(ADA), kind: MarkKind::Read, seq };
    actor.mono_ms += 29_000;
    actor.on(mark(3));
    actor.mono_ms += 2_000;
    actor.on(ConversationMsg::Wake);
    let effects = actor.commit(TOKEN_MARKS);
    assert!(receipts(&effects).is_empty(), "not before it is known to whom");
    let asks = |effect: &Effect| match effect {
        Effect::Query { token: TOKEN_SECRETIVE, query } => {
            matches!(**query, Query::People { query: PeopleQuery::Secretive { .. }, .. })
        }
        _ => false,
    };
    assert!(effects.iter().any(asks));
    let answer = |answer| ConversationMsg::Answer(TOKEN_SECRETIVE, QueryResult::People(answer));
    let secretive = Ok(PeopleAnswer::Secretive([ADA, GRACE].into()));
    assert_eq!(receipts(&actor.on(answer(secretive))), [(ADA, ADA, MarkKind::Read, 3)]);
    actor.mono_ms += 31_000;
    actor.on(ConversationMsg::Mark { from: session(GRACE), kind: MarkKind::Read, seq: 3 });
    actor.mono_ms += MARKS_DELAY_MS;
    actor.on(ConversationMsg::Wake);
    actor.commit(TOKEN_MARKS);
    let unknown = actor.on(answer(Err(StoreError::Busy)));
    assert_eq!(receipts(&unknown), [(GRACE, GRACE, MarkKind::Read, 3)]);
}

#[test]
fn a_withheld_kind_is_never_what_a_client_sent() {
    assert_eq!(EntryKind::Withheld.code() & 0x80, 0, "its stored form would be ambiguous");
}
