//! What an activation leaves undone when it ends before its time, and how that is made up for. Pure.
//!
//! An append whose outcome is not known may be in, and then nobody was told of it; marks that waited to
//! be written are known to nobody else. Neither may wait for the next message to come by. So an
//! activation that ends with such a rest tells its conversation of it, as it would tell another: the
//! owner of the slot, here or on another node, takes the fence, which makes the append visible or
//! harmless, and makes up for the rest.
//!
//! Liveness: a rest that can't be settled now (the store is unreachable, nobody may work for the slot)
//! goes round again after a pause. It is lost only with its node: then sessions find the entries within
//! a minute, and a member's next mark makes up for those before.

use super::{Conversation, Phase, Ready};
use crate::effect::Effect;
use crate::message::{ConversationMsg, Envelope, PresenceMsg};
use crate::plant::{self, Bug};
use crate::time::Now;
use rookery_protocol::{Change, ConversationId, MarkKind, UserId};
use std::collections::BTreeMap;

/// A rest waits so long, and up to twice as long, before the fence is taken for it: whoever took it away
/// may still be at work.
const PAUSE_MS: u64 = 700;
/// Most marks of one message between nodes.
const MAX_MARKS: usize = 4_096;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unsettled {
    /// The head before an append whose outcome is not known.
    pub doubt_after: Option<u64>,
    /// Marks that were not written, or not known to be.
    pub marks: Vec<(UserId, MarkKind, u64)>,
}

impl Unsettled {
    /// Whether there is nothing to be made up for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.doubt_after.is_none() && self.marks.is_empty()
    }

    fn join(&mut self, other: Self) {
        let doubts = [self.doubt_after, other.doubt_after];
        self.doubt_after = doubts.into_iter().flatten().min();
        if self.marks.is_empty() {
            self.marks = other.marks;
        } else {
            let mut highest: BTreeMap<(UserId, u8), u64> = BTreeMap::new();
            for (user, kind, seq) in self.marks.drain(..).chain(other.marks) {
                let mark = highest.entry((user, kind.code())).or_insert(seq);
                *mark = seq.max(*mark);
            }
            let marks = highest.into_iter();
            self.marks =
                marks.map(|((user, kind), seq)| (user, MarkKind::from_code(kind), seq)).collect();
        }
    }

    /// As messages that links carry.
    fn messages(self) -> impl Iterator<Item = ConversationMsg> {
        let (first, rest) = self.marks.split_at(self.marks.len().min(MAX_MARKS));
        let first = Self { doubt_after: self.doubt_after, marks: first.to_vec() };
        let rest =
            rest.chunks(MAX_MARKS).map(|marks| Self { doubt_after: None, marks: marks.to_vec() });
        let all: Vec<Self> = std::iter::once(first).chain(rest).collect();
        all.into_iter().map(ConversationMsg::Unsettled)
    }
}

impl Conversation {
    /// What would be left undone if the activation ended now.
    #[must_use]
    pub fn rest(&self) -> Unsettled {
        let mut rest = self.unsettled.clone();
        if let Phase::Ready(ready) = &self.phase {
            let doubt_after = ready.in_flight.as_ref().map(|_| ready.head);
            rest.join(Unsettled { doubt_after, marks: ready.marks.unwritten() });
        }
        rest
    }

    /// The messages by which a rest reaches whoever owns the slot by then.
    pub(crate) fn pass_on(conversation: ConversationId, rest: Unsettled) -> Vec<Envelope> {
        if rest.is_empty() {
            return Vec::new();
        }
        rest.messages().map(|msg| Envelope::Conversation(conversation, msg)).collect()
    }

    /// An append may or may not have been applied behind this head.
    pub(super) fn doubt(&mut self, after: u64) {
        if !plant::is(Bug::DoubtForgotten) {
            self.unsettled.join(Unsettled { doubt_after: Some(after), marks: Vec::new() });
        }
    }

    /// The fence is gone, and with it the chance to write what waits.
    pub(super) fn keep_marks(&mut self) {
        if let Phase::Ready(ready) = &self.phase
            && !plant::is(Bug::MarksLostWithFence)
        {
            let marks = ready.marks.unwritten();
            self.unsettled.join(Unsettled { doubt_after: None, marks });
        }
    }

    /// Ends this activation; what it leaves undone goes to the next.
    pub(super) fn stop(&mut self, out: &mut Vec<Effect>) {
        let rest = std::mem::take(&mut self.unsettled);
        out.extend(Self::pass_on(self.id, rest).into_iter().map(Effect::Tell));
        self.phase = Phase::Cold;
        out.push(Effect::Stop);
    }

    /// An earlier activation left this undone.
    pub(super) fn left_undone(&mut self, now: Now, rest: Unsettled, out: &mut Vec<Effect>) {
        self.unsettled.join(rest);
        match self.phase {
            Phase::Cold => {
                let pause_ms = PAUSE_MS + self.id.0 % PAUSE_MS;
                out.push(Effect::WakeAt(now.mono_ms + pause_ms));
            }
            // One that is about to go takes no new work: it goes on with the rest of its own.
            Phase::Ready(_) if !self.leaving => self.settle(now, out),
            _ => {}
        }
    }

    /// A retry found its message in the store: the activation that put it there may have ended before
    /// it told the members.
    pub(super) fn told_before(&mut self, out: &mut Vec<Effect>) {
        if let Phase::Ready(ready) = &mut self.phase
            && !std::mem::replace(&mut ready.told_to_look, true)
        {
            ready.tell_to_look(self.id, out);
        }
    }

    /// Makes up for what was left undone, by what the store holds under the own fence.
    pub(super) fn settle(&mut self, now: Now, out: &mut Vec<Effect>) {
        let Phase::Ready(ready) = &mut self.phase else { return };
        let rest = std::mem::take(&mut self.unsettled);
        if rest.doubt_after.is_some_and(|after| ready.head > after) {
            ready.tell_to_look(self.id, out);
        }
        for (user, kind, seq) in rest.marks {
            if seq <= ready.head {
                ready.mark(now, user, kind, seq, out);
            }
        }
    }
}

impl Ready {
    /// Something is in that its members may not have been told of: their sessions read their inboxes.
    pub(super) fn tell_to_look(&self, conversation: ConversationId, out: &mut Vec<Effect>) {
        for member in &self.members {
            // Of this change sessions learn by reading their inboxes, and in no other way.
            let look = PresenceMsg::Changed(conversation, Change::Created);
            out.push(Effect::Tell(Envelope::Presence(*member, look)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ADA, Actor, GRACE, fence, loaded, plans, retry, send, session};
    use super::super::{MARKS_DELAY_MS, TOKEN_APPEND};
    use super::*;
    use crate::effect::QueryResult;
    use rookery_store::{Known, Outcome};

    /// What an activation left to the next.
    fn left(effects: &[Effect]) -> Vec<&Unsettled> {
        let left = effects.iter().filter_map(|effect| match effect {
            Effect::Tell(Envelope::Conversation(_, ConversationMsg::Unsettled(rest))) => Some(rest),
            _ => None,
        });
        left.collect()
    }

    fn told_to_look(effects: &[Effect]) -> Vec<UserId> {
        let told = effects.iter().filter_map(|effect| match effect {
            Effect::Tell(Envelope::Presence(user, PresenceMsg::Changed(_, Change::Created))) => {
                Some(*user)
            }
            _ => None,
        });
        told.collect()
    }

    fn wakes_at(effects: &[Effect]) -> Option<u64> {
        effects.iter().rev().find_map(|effect| match effect {
            Effect::WakeAt(at) => Some(*at),
            _ => None,
        })
    }

    /// A fresh activation that was left this, up to its load; the effects of that.
    fn settled(rest: Unsettled) -> (Actor, Vec<Effect>) {
        let mut actor = Actor::cold();
        let wake = wakes_at(&actor.on(ConversationMsg::Unsettled(rest)));
        actor.mono_ms = wake.unwrap();
        let effects = actor.on(ConversationMsg::Wake);
        assert!(matches!(effects.as_slice(), [Effect::NeedFence(_)]), "{effects:?}");
        actor.on(ConversationMsg::Fenced(Some(fence())));
        let effects = actor.on(loaded());
        (actor, effects)
    }

    #[test]
    fn an_append_of_unknown_outcome_is_followed_up_and_its_members_are_told_to_look() {
        let mut actor = Actor::ready();
        actor.on(send(ADA, 1));
        let effects = actor.on(ConversationMsg::Committed(TOKEN_APPEND, Outcome::Unresolved));
        let [rest] = left(&effects)[..] else { panic!("{effects:?}") };
        assert_eq!(rest.doubt_after, Some(3));
        // The store holds three: nothing was appended behind the head, or one thing.
        assert_eq!(told_to_look(&settled(rest.clone()).1), []);
        let one_less = Unsettled { doubt_after: Some(2), marks: Vec::new() };
        assert_eq!(told_to_look(&settled(one_less).1), [ADA, GRACE]);
    }

    #[test]
    fn marks_that_wait_when_the_fence_is_lost_are_written_by_the_next_owner() {
        let mut actor = Actor::ready();
        actor.on(ConversationMsg::Mark { from: session(GRACE), kind: MarkKind::Read, seq: 3 });
        actor.on(send(ADA, 1));
        let effects = actor.on(ConversationMsg::Committed(TOKEN_APPEND, Outcome::Conflict));
        let [rest] = left(&effects)[..] else { panic!("{effects:?}") };
        assert_eq!(rest.marks, [(GRACE, MarkKind::Read, 3)]);
        let (mut actor, effects) = settled(rest.clone());
        assert_eq!(wakes_at(&effects), Some(actor.mono_ms + MARKS_DELAY_MS));
        actor.mono_ms += MARKS_DELAY_MS;
        assert_eq!(plans(&actor.on(ConversationMsg::Wake)).len(), 1);
    }

    #[test]
    fn what_can_not_be_settled_goes_round_again_after_a_pause() {
        let mut actor = Actor::cold();
        let rest = Unsettled { doubt_after: Some(2), marks: vec![(ADA, MarkKind::Read, 2)] };
        let wake = wakes_at(&actor.on(ConversationMsg::Unsettled(rest.clone())));
        assert!(wake.unwrap() >= PAUSE_MS);
        actor.on(ConversationMsg::Wake);
        let effects = actor.on(ConversationMsg::Fenced(None));
        assert_eq!(left(&effects), [&rest]);
        assert!(effects.iter().any(|effect| matches!(effect, Effect::Stop)));
    }

    #[test]
    fn an_activation_that_finished_leaves_nothing() {
        let mut actor = Actor::ready();
        actor.mono_ms += 600_000;
        let effects = actor.on(ConversationMsg::Wake);
        assert!(matches!(effects.as_slice(), [Effect::Stop]), "{effects:?}");
    }

    #[test]
    fn a_retry_that_finds_its_message_in_the_store_makes_members_look_once() {
        let mut actor = Actor::ready();
        let mut told = Vec::new();
        for n in [1, 2] {
            let effects = actor.on(retry(ADA, n));
            let [Effect::Query { token, .. }] = effects.as_slice() else { panic!("{effects:?}") };
            let hash =
                rookery_store::append::content_hash(rookery_protocol::EntryKind::Text, b"hello");
            let known = Known { seq: u64::from(n), hash, time_ms: 9 };
            let answer = QueryResult::FindSent(Ok(Some(known)));
            told.extend(told_to_look(&actor.on(ConversationMsg::Answer(*token, answer))));
        }
        assert_eq!(told, [ADA, GRACE]);
    }

    #[test]
    fn rests_of_several_activations_add_up() {
        let mut rest = Unsettled { doubt_after: Some(7), marks: vec![(ADA, MarkKind::Read, 2)] };
        let marks = vec![(ADA, MarkKind::Read, 1), (GRACE, MarkKind::Delivered, 4)];
        rest.join(Unsettled { doubt_after: Some(5), marks });
        assert_eq!(rest.doubt_after, Some(5));
        assert_eq!(rest.marks, [(ADA, MarkKind::Read, 2), (GRACE, MarkKind::Delivered, 4)]);
        assert!(Unsettled::default().is_empty() && !rest.is_empty());
    }
}
