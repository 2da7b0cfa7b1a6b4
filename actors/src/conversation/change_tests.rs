//! Tests of changes of a group on their way: what they wait for, and what waits for them.

use super::*;
use rookery_protocol::{GroupAction, GroupChange};
use rookery_store::group::{ChangeFacts, GroupFacts};

/// An actor of a group that Ada owns and Grace is in.
fn group() -> Actor {
    let mut this = Actor::cold();
    this.on(ConversationMsg::Typing { from: session(ADA), active: true });
    this.on(ConversationMsg::Fenced(Some(fence())));
    let ConversationMsg::Answer(token, QueryResult::LoadConversation(Ok(Some(mut loaded)))) =
        loaded()
    else {
        unreachable!("what a test loads");
    };
    loaded.kind = ConversationKind::Group;
    loaded.group = Some(GroupFacts::default());
    loaded.members[0].role = 3;
    this.on(ConversationMsg::Answer(token, QueryResult::LoadConversation(Ok(Some(loaded)))));
    this
}

fn change(user: UserId, n: u8, change: &GroupChange) -> ConversationMsg {
    let body = change.to_body();
    ConversationMsg::Send(Outgoing { kind: EntryKind::Group, body, ..outgoing(user, n, "") })
}

fn remove(user: UserId) -> GroupChange {
    GroupChange { users: vec![user], ..GroupChange::new(GroupAction::Remove) }
}

/// The token of the question that a change asks first.
fn asked(effects: &[Effect]) -> u64 {
    let asked = effects.iter().find_map(|effect| match effect {
        Effect::Query { token, query } if matches!(**query, Query::ChangeFacts { .. }) => {
            Some(*token)
        }
        _ => None,
    });
    asked.expect("a change asks")
}

fn facts(token: u64) -> ConversationMsg {
    ConversationMsg::Answer(token, QueryResult::ChangeFacts(Ok(ChangeFacts::default())))
}

#[test]
fn who_is_removed_while_a_message_waits_has_not_sent_it_and_hears_nothing_later() {
    let mut actor = group();
    let token = asked(&actor.on(change(ADA, 1, &remove(GRACE))));
    // The change has not its answer yet: what comes behind it waits.
    assert!(plans(&actor.on(send(GRACE, 2))).is_empty());
    assert_eq!(plans(&actor.on(facts(token))).len(), 1);
    let told = actor.commit(TOKEN_APPEND);
    assert_eq!(delivered(&told), [(ADA, vec![4]), (GRACE, vec![4])]);
    assert_eq!(answers(&told), [SendAnswer::Failed(ErrorCode::NotAMember)]);
    actor.on(send(ADA, 3));
    assert_eq!(delivered(&actor.commit(TOKEN_APPEND)), [(ADA, vec![5])]);
    assert_eq!(answers(&actor.on(send(GRACE, 4))), [SendAnswer::Failed(ErrorCode::NotAMember)]);
}

#[test]
fn a_change_waits_for_marks_that_are_being_written_and_goes_on_even_if_they_fail() {
    for outcome in [Outcome::Busy, Outcome::Unresolved] {
        let mut actor = group();
        actor.on(ConversationMsg::Mark { from: session(GRACE), kind: MarkKind::Read, seq: 3 });
        actor.mono_ms = MARKS_DELAY_MS;
        assert_eq!(plans(&actor.on(ConversationMsg::Wake))[0].0, TOKEN_MARKS);
        let token = asked(&actor.on(change(ADA, 1, &remove(GRACE))));
        assert!(plans(&actor.on(facts(token))).is_empty());
        let after = actor.on(ConversationMsg::Committed(TOKEN_MARKS, outcome));
        assert_eq!(plans(&after)[0].0, TOKEN_APPEND);
        // Grace's mark is not written after she has gone.
        actor.commit(TOKEN_APPEND);
        actor.mono_ms += 10 * MARKS_DELAY_MS;
        for (_, plan) in plans(&actor.on(ConversationMsg::Wake)) {
            let graces = rookery_store::keys::mark(CONVERSATION, GRACE, MarkKind::Read);
            let written = |op: &Op| matches!(op, Op::ByteMax { key, .. } if key[..] == graces[..]);
            assert!(!plan.ops.iter().any(written));
        }
    }
}

#[test]
fn a_change_that_may_not_be_is_refused_and_what_follows_it_goes_on() {
    let mut actor = group();
    let token = asked(&actor.on(change(GRACE, 1, &remove(ADA))));
    actor.on(send(GRACE, 2));
    let after = actor.on(facts(token));
    assert_eq!(answers(&after), [SendAnswer::Failed(ErrorCode::RoleTooLow)]);
    assert_eq!(plans(&after).len(), 1);
    // Refused ids are forgotten: the same may be tried again.
    actor.commit(TOKEN_APPEND);
    asked(&actor.on(change(GRACE, 1, &remove(ADA))));
}
