//! A conversation: gives each message its place in the order, exactly once. Pure.
//!
//! Safety
//! - A place (`seq`) is given only under the slot's fence, on a head read at or after the
//!   take-over; the store refuses the plan when somebody else has taken the slot since.
//! - One append is in flight at a time; what comes meanwhile joins the next one.
//! - A message is announced (delivered, acknowledged) only after its commit is known.
//! - A copy of a message, however late, is known as one: by what this activation remembers, or by a
//!   look into the store when it was passed on before this activation loaded. No clock is asked.
//! - After an outcome that is not known, nothing of this activation is believed any more: the
//!   fence is dropped (the next take-over makes the plan in doubt harmless or visible) and the
//!   actor stops. Senders hear `OutcomeUnknown` and retry; the dedupe row answers them.
//!
//! Liveness: every send is answered: by a batch, as a duplicate, or by an error. What an activation
//! could not finish the next one does ([`unsettled`]).
//!
//! ```text
//! Cold -> Fencing -> Loading -> Ready        any failure on the way: refuse what waits, stop
//! ```

mod appending;
mod batch;
mod ending;
mod group;
mod marks;
mod people;
mod queue;
mod requests;
mod state;
mod unsettled;

pub use unsettled::Unsettled;

use crate::effect::{Effect, Query, QueryResult};
use crate::message::{
    ConversationMsg, Envelope, Outgoing, PresenceMsg, Receipts, SendAnswer, SessionMsg, SessionRef,
};
use crate::plant::{self, Bug};
use crate::time::Now;
use appending::InFlight;
use group::Group;
use marks::Marks;
use people::People;
use queue::{Admission, SendQueue};
use rookery_protocol::{
    ClientMsgId, ConversationId, EntryKind, ErrorCode, GroupAction, GroupChange, MarkKind, UserId,
};
use rookery_store::group::ChangeFacts;
use rookery_store::{Fence, Known, Loaded, Outcome, StoreError, Version, slot_of};
use std::sync::Arc;

/// Without a message for this long, the actor stops.
const IDLE_MS: u64 = 60_000;
/// How long marks are gathered before they are written and told.
const MARKS_DELAY_MS: u64 = 250;
/// Requests other than sends that wait for the load.
const MAX_EARLY: usize = 256;

const TOKEN_LOAD: u64 = 0;
const TOKEN_APPEND: u64 = 1;
const TOKEN_MARKS: u64 = 2;
const TOKEN_PEOPLE: u64 = 3;
const TOKEN_SECRETIVE: u64 = 4;
const TOKEN_FIRST_LOOKUP: u64 = 16;

/// The state of one conversation's actor.
pub struct Conversation {
    id: ConversationId,
    phase: Phase,
    queue: SendQueue,
    early: Vec<ConversationMsg>,
    next_lookup: u64,
    used_ms: u64,
    flushing: bool,
    /// Another node has the slot.
    leaving: bool,
    /// What earlier activations left undone.
    unsettled: Unsettled,
}

enum Phase {
    Cold,
    Fencing,
    Loading(Fence),
    Ready(Box<Ready>),
}

/// What is known once the conversation is loaded.
struct Ready {
    fence: Fence,
    head: u64,
    head_time_ms: u64,
    active_written_ms: u64,
    /// The version of the load.
    loaded: Version,
    inbox_epoch: u32,
    /// Texts are found by their words.
    words: bool,
    /// By id.
    members: Vec<UserId>,
    /// What it is beside this, if it is a group, or could become one.
    group: Option<Group>,
    marks: Marks,
    people: People,
    in_flight: Option<InFlight>,
    /// Members were told to look for what was there before.
    told_to_look: bool,
}

impl Conversation {
    /// An actor that knows nothing yet.
    #[must_use]
    pub fn new(id: ConversationId) -> Self {
        Self {
            id,
            phase: Phase::Cold,
            queue: SendQueue::default(),
            early: Vec::new(),
            next_lookup: TOKEN_FIRST_LOOKUP,
            used_ms: 0,
            flushing: false,
            leaving: false,
            unsettled: Unsettled::default(),
        }
    }

    /// Handles one message.
    pub fn handle(&mut self, now: Now, msg: ConversationMsg, out: &mut Vec<Effect>) {
        match msg {
            ConversationMsg::Send(send) => self.send(now, send, out),
            ConversationMsg::Mark { .. }
            | ConversationMsg::Typing { .. }
            | ConversationMsg::Block { .. } => {
                self.member_request(now, msg, out);
            }
            ConversationMsg::Fenced(fence) => self.fenced(fence, out),
            ConversationMsg::Answer(_, QueryResult::LoadConversation(loaded)) => {
                self.loaded(now, loaded, out);
            }
            ConversationMsg::Answer(token, QueryResult::FindSent(found)) => {
                self.looked_up(now, token, found.map(|sent| (sent, None)), out);
            }
            ConversationMsg::Answer(token, QueryResult::ChangeFacts(found)) => {
                let found = found.map(|facts| (facts.sent, Some(facts)));
                self.looked_up(now, token, found, out);
            }
            ConversationMsg::Answer(TOKEN_SECRETIVE, QueryResult::People(read)) => {
                self.people_read(read, out);
            }
            ConversationMsg::Answer(..) => {}
            ConversationMsg::Committed(TOKEN_APPEND, outcome) => self.appended(now, outcome, out),
            ConversationMsg::Committed(TOKEN_PEOPLE, outcome) => {
                self.people_changed(now, outcome, out);
            }
            ConversationMsg::Committed(_, outcome) => self.marks_written(now, outcome, out),
            ConversationMsg::Wake => self.wake(now, out),
            ConversationMsg::Flush => self.flushing = true,
            ConversationMsg::HandOff => self.hand_off(out),
            ConversationMsg::NotHere => self.give_up(ErrorCode::Moved, out),
            ConversationMsg::Unsettled(rest) => self.left_undone(now, rest, out),
            #[cfg(feature = "poison")]
            #[expect(clippy::panic, reason = "the poison is there to panic")]
            ConversationMsg::Poison => panic!("poisoned conversation"),
        }
        if self.flushing {
            self.wake(now, out);
        }
    }

    /// Who waits for an answer to a send, and to which.
    #[must_use]
    pub fn waiting(&self) -> Vec<(SessionRef, ClientMsgId)> {
        self.queue.asked()
    }

    fn touch(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.used_ms = now.mono_ms;
        if matches!(self.phase, Phase::Cold) {
            self.phase = Phase::Fencing;
            out.push(Effect::NeedFence(slot_of(self.id)));
        }
    }

    fn send(&mut self, now: Now, send: Outgoing, out: &mut Vec<Effect>) {
        let session = send.from.session;
        let id = send.id;
        if self.leaving {
            return answer(session, id, SendAnswer::Failed(ErrorCode::Moved), out);
        }
        self.touch(now, out);
        let lookup = self.next_lookup;
        let change = joining(&send);
        let result = match &self.phase {
            Phase::Ready(ready) => {
                // Who wants to make or to join a group is no member, and who is none any more may ask
                // what became of a message: what may be is decided later.
                let later = change.is_some() || (send.retry && ready.group.is_some());
                if !later && !ready.members.contains(&session.user) {
                    return answer(session, id, SendAnswer::Failed(ErrorCode::NotAMember), out);
                }
                if ready.people.blocks(session.user) {
                    return answer(session, id, SendAnswer::Failed(ErrorCode::Blocking), out);
                }
                // Made before this activation loaded, or before what it has forgotten: another copy
                // may be in already, whatever the client says.
                let old = send.seen < ready.loaded.max(self.queue.forgotten());
                let retry = (send.retry || old) && !plant::is(Bug::NoDedupe);
                self.queue.admit(send, (retry || change.is_some()).then_some(lookup))
            }
            // Who is a member, and what was sent before, is looked at once it is loaded.
            Phase::Cold | Phase::Fencing | Phase::Loading(_) => self.queue.admit_unchecked(send),
        };
        match result {
            Admission::Queued => self.pump(now, out),
            Admission::LookUp => {
                self.next_lookup += 1;
                self.look_up(lookup, (session.user, id), change, out);
            }
            Admission::Committed { seq, time_ms } => {
                let answered = SendAnswer::Duplicate { conversation: self.id, seq, time_ms };
                answer(session, id, answered, out);
            }
            Admission::Pending => {}
            Admission::OtherContent => {
                answer(session, id, SendAnswer::Failed(ErrorCode::IdReused), out);
            }
            Admission::Full => answer(session, id, SendAnswer::Failed(ErrorCode::Busy), out),
        }
    }

    /// Looks for an earlier attempt; for a change also at the users it would make members.
    fn look_up(
        &self,
        token: u64,
        (sender, id): (UserId, ClientMsgId),
        change: Option<Vec<UserId>>,
        out: &mut Vec<Effect>,
    ) {
        let Phase::Ready(ready) = &self.phase else { return };
        let (conversation, at_least) = (self.id, ready.fence.version);
        let query = match change {
            None => Query::FindSent { conversation, sender, id, at_least },
            Some(users) => Query::ChangeFacts { conversation, sender, id, users, at_least },
        };
        out.push(Effect::Query { token, query: Box::new(query) });
    }

    fn looked_up(
        &mut self,
        now: Now,
        token: u64,
        found: Result<(Option<Known>, Option<ChangeFacts>), StoreError>,
        out: &mut Vec<Effect>,
    ) {
        match found {
            Ok((None, facts)) => self.queue.not_sent_before(token, facts),
            Ok((Some(known), _)) => {
                if let Some((session, id, same)) = self.queue.sent_before(token, known) {
                    let answered = if same {
                        self.told_before(out);
                        let (seq, time_ms) = (known.seq, known.time_ms);
                        SendAnswer::Duplicate { conversation: self.id, seq, time_ms }
                    } else {
                        SendAnswer::Failed(ErrorCode::IdReused)
                    };
                    answer(session, id, answered, out);
                }
            }
            Err(_) => {
                if let Some((session, id)) = self.queue.refuse(token) {
                    answer(session, id, SendAnswer::Failed(ErrorCode::StoreUnavailable), out);
                }
            }
        }
        self.pump(now, out);
    }

    fn fenced(&mut self, fence: Option<Fence>, out: &mut Vec<Effect>) {
        if !matches!(self.phase, Phase::Fencing) {
            return;
        }
        let Some(fence) = fence else { return self.give_up(ErrorCode::StoreUnavailable, out) };
        let query = Query::LoadConversation { conversation: self.id, at_least: fence.version };
        out.push(Effect::Query { token: TOKEN_LOAD, query: Box::new(query) });
        self.phase = Phase::Loading(fence);
    }

    fn loaded(
        &mut self,
        now: Now,
        loaded: Result<Option<Loaded>, StoreError>,
        out: &mut Vec<Effect>,
    ) {
        if !matches!(self.phase, Phase::Loading(_)) {
            return;
        }
        let loaded = match loaded {
            // A group may be about to be made.
            Ok(Some(loaded)) if loaded.exists || self.queue.has_unchecked_change() => loaded,
            Ok(_) => {
                self.unsettled = Unsettled::default();
                return self.give_up(ErrorCode::NotAMember, out);
            }
            Err(StoreError::Read(rookery_store::ReadError::Damaged(_))) => {
                self.unsettled = Unsettled::default();
                return self.give_up(ErrorCode::Internal, out);
            }
            Err(_) => return self.give_up(ErrorCode::StoreUnavailable, out),
        };
        let Phase::Loading(fence) = std::mem::replace(&mut self.phase, Phase::Cold) else { return };
        self.phase = Phase::Ready(Box::new(Ready {
            fence,
            head: loaded.head,
            head_time_ms: loaded.head_time_ms,
            active_written_ms: loaded.active_written_ms,
            loaded: loaded.version,
            inbox_epoch: loaded.inbox_epoch,
            words: loaded.words,
            members: loaded.members.iter().map(|m| m.user).collect(),
            group: Group::loaded(&loaded),
            marks: Marks::new(&loaded.members),
            people: People::new(now, &loaded),
            in_flight: None,
            told_to_look: false,
        }));
        // The latest call counts: marks that waited for this want to be written sooner.
        out.push(Effect::WakeAt(now.mono_ms + IDLE_MS));
        self.settle(now, out);
        for send in self.queue.take_unchecked() {
            self.send(now, send, out);
        }
        for msg in std::mem::take(&mut self.early) {
            self.member_request(now, msg, out);
        }
        self.pump(now, out);
    }

    fn wake(&mut self, now: Now, out: &mut Vec<Effect>) {
        if matches!(self.phase, Phase::Cold) && !self.unsettled.is_empty() {
            return self.touch(now, out);
        }
        let Phase::Ready(ready) = &mut self.phase else { return };
        // What a change makes of the members is not known before it is durable.
        let changing = ready.in_flight.as_ref().is_some_and(InFlight::is_change);
        if !changing && (self.flushing || ready.marks.due(now.mono_ms)) {
            ready.write_marks(self.id, out);
        }
        let idle = now.mono_ms.saturating_sub(self.used_ms) >= IDLE_MS;
        if (idle || self.flushing) && !self.is_busy() {
            return self.stop(out);
        }
        let Phase::Ready(ready) = &self.phase else { return };
        let idle_at = (self.used_ms + IDLE_MS).max(now.mono_ms + 1_000);
        // The end of a change wakes too.
        let due = ready.marks.due_at().filter(|_| !changing);
        out.push(Effect::WakeAt(due.map_or(idle_at, |due| due.min(idle_at))));
    }

    fn marks_written(&mut self, now: Now, outcome: Outcome, out: &mut Vec<Effect>) {
        let Phase::Ready(ready) = &mut self.phase else { return };
        match outcome {
            Outcome::Committed { version, .. } => {
                ready.fence.confirmed(version);
                ready.tell_marks(now, self.id, out);
            }
            // Marks only rise: writing them again does no harm, whatever happened.
            Outcome::Busy | Outcome::Unresolved | Outcome::TooLarge => {
                ready.marks.not_written(now.mono_ms + 4 * MARKS_DELAY_MS);
            }
            Outcome::Conflict => {
                // An append in flight hears the same, or that the store was wrong about it.
                ready.marks.not_written(now.mono_ms + 4 * MARKS_DELAY_MS);
                if ready.in_flight.is_none() {
                    self.drop_fence(out);
                    return self.give_up(ErrorCode::Moved, out);
                }
            }
        }
        if let Some(due) = ready.marks.due_at() {
            out.push(Effect::WakeAt(due));
        }
        // A change of the group may have waited for the marks.
        self.pump(now, out);
    }
}

/// Of a change of a group: the users it would make members.
fn joining(send: &Outgoing) -> Option<Vec<UserId>> {
    let change = (send.kind == EntryKind::Group).then(|| GroupChange::from_body(&send.body))?;
    let change = change.unwrap_or_else(|| GroupChange::new(GroupAction::Other(0)));
    match change.action {
        GroupAction::Create | GroupAction::Add if change.is_well_formed() => Some(change.users),
        _ => Some(Vec::new()),
    }
}

impl Ready {
    /// Tells the marks that are durable now.
    fn tell_marks(&mut self, now: Now, conversation: ConversationId, out: &mut Vec<Effect>) {
        let written = self.marks.written();
        let all = if self.group.is_none() {
            written
        } else {
            for marks in written.chunk_by(|(one, ..), (other, ..)| one == other) {
                let Some((user, ..)) = marks.first() else { continue };
                let receipts = Arc::new(Receipts { conversation, marks: marks.to_vec() });
                out.push(Effect::Tell(Envelope::Presence(*user, PresenceMsg::Receipts(receipts))));
            }
            self.marks.everybody()
        };
        if !all.is_empty() {
            self.announce_marks(now, Receipts { conversation, marks: all }, out);
        }
    }

    fn mark(&mut self, now: Now, user: UserId, kind: MarkKind, seq: u64, out: &mut Vec<Effect>) {
        if self.marks.raise(user, kind, seq, now.mono_ms + MARKS_DELAY_MS)
            && let Some(due) = self.marks.due_at()
        {
            out.push(Effect::WakeAt(due));
        }
    }

    fn write_marks(&mut self, conversation: ConversationId, out: &mut Vec<Effect>) {
        let updates = self.marks.take();
        if !updates.is_empty() {
            let plan = rookery_store::marks::plan(&self.fence, conversation, &updates);
            out.push(Effect::Commit { token: TOKEN_MARKS, plan });
        }
    }
}

fn answer(session: SessionRef, id: ClientMsgId, answer: SendAnswer, out: &mut Vec<Effect>) {
    let msg = SessionMsg::SendAnswer { id, answer };
    out.push(Effect::Tell(Envelope::Session(session, msg)));
}

fn refused(session: SessionRef, code: ErrorCode, out: &mut Vec<Effect>) {
    out.push(Effect::Tell(Envelope::Session(session, SessionMsg::Refused(code))));
}

#[cfg(test)]
mod tests;
