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
//! Liveness: every send is answered: by a batch, as a duplicate, or by an error.
//!
//! ```text
//! Cold -> Fencing -> Loading -> Ready        any failure on the way: refuse what waits, stop
//! ```

mod batch;
mod ending;
mod marks;
mod queue;
mod state;

use crate::effect::{Effect, Query, QueryResult};
use crate::message::{
    Batch, ConversationMsg, Envelope, Outgoing, PresenceMsg, SendAnswer, SessionMsg, SessionRef,
};
use crate::plant::{self, Bug};
use crate::time::Now;
use marks::Marks;
use queue::{Admission, SendQueue};
use rookery_protocol::{ClientMsgId, ConversationId, Entry, ErrorCode, MarkKind, UserId};
use rookery_store::append::{self, Append};
use rookery_store::{Fence, Loaded, Outcome, StoreError, Version, slot_of};
use std::sync::Arc;

/// Most entries of one append.
const MAX_BATCH_ENTRIES: usize = 128;
/// Most bytes of entries in one append: half of a plan, the rest is for pointers.
const MAX_BATCH_BYTES: usize = 400_000;
/// Without a message for this long, the actor stops.
const IDLE_MS: u64 = 60_000;
/// How long marks are gathered before they are written and told.
const MARKS_DELAY_MS: u64 = 250;
/// The activity rows of a conversation are rewritten at most this often.
const ACTIVITY_MS: u64 = 60_000;
/// Requests other than sends that wait for the load.
const MAX_EARLY: usize = 256;

const TOKEN_LOAD: u64 = 0;
const TOKEN_APPEND: u64 = 1;
const TOKEN_MARKS: u64 = 2;
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
    members: Vec<UserId>,
    marks: Marks,
    in_flight: Option<InFlight>,
}

struct InFlight {
    entries: Vec<Entry>,
    touched_activity: bool,
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
        }
    }

    /// Handles one message.
    pub fn handle(&mut self, now: Now, msg: ConversationMsg, out: &mut Vec<Effect>) {
        match msg {
            ConversationMsg::Send(send) => self.send(now, send, out),
            ConversationMsg::Mark { .. } | ConversationMsg::Typing { .. } => {
                self.member_request(now, msg, out);
            }
            ConversationMsg::Fenced(fence) => self.fenced(fence, out),
            ConversationMsg::Answer(_, QueryResult::LoadConversation(loaded)) => {
                self.loaded(now, loaded, out);
            }
            ConversationMsg::Answer(token, QueryResult::FindSent(found)) => {
                self.looked_up(now, token, found, out);
            }
            ConversationMsg::Answer(..) => {}
            ConversationMsg::Committed(TOKEN_APPEND, outcome) => self.appended(now, outcome, out),
            ConversationMsg::Committed(_, outcome) => self.marks_written(now, outcome, out),
            ConversationMsg::Wake => self.wake(now, out),
            ConversationMsg::Flush => self.flushing = true,
            ConversationMsg::HandOff => self.hand_off(out),
            ConversationMsg::NotHere => self.give_up(ErrorCode::Moved, out),
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
        let result = match &self.phase {
            Phase::Ready(ready) => {
                if !ready.members.contains(&session.user) {
                    return answer(session, id, SendAnswer::Failed(ErrorCode::NotAMember), out);
                }
                // Made before this activation loaded, or before what it has forgotten: another copy
                // may be in already, whatever the client says.
                let old = send.seen < ready.loaded.max(self.queue.forgotten());
                let retry = (send.retry || old) && !plant::is(Bug::NoDedupe);
                self.queue.admit(send, retry.then_some(lookup))
            }
            // Who is a member, and what was sent before, is looked at once it is loaded.
            Phase::Cold | Phase::Fencing | Phase::Loading(_) => self.queue.admit_unchecked(send),
        };
        match result {
            Admission::Queued => self.pump(now, out),
            Admission::LookUp => {
                self.next_lookup += 1;
                self.look_up(lookup, session.user, id, out);
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

    fn look_up(&self, token: u64, sender: UserId, id: ClientMsgId, out: &mut Vec<Effect>) {
        let Phase::Ready(ready) = &self.phase else { return };
        let query =
            Query::FindSent { conversation: self.id, sender, id, at_least: ready.fence.version };
        out.push(Effect::Query { token, query: Box::new(query) });
    }

    fn looked_up(
        &mut self,
        now: Now,
        token: u64,
        found: Result<Option<rookery_store::Known>, StoreError>,
        out: &mut Vec<Effect>,
    ) {
        match found {
            Ok(None) => self.queue.not_sent_before(token),
            Ok(Some(known)) => {
                if let Some((session, id, same)) = self.queue.sent_before(token, known) {
                    let answered = if same {
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
            Ok(Some(loaded)) => loaded,
            Ok(None) => return self.give_up(ErrorCode::NotAMember, out),
            Err(StoreError::Read(rookery_store::ReadError::Damaged(_))) => {
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
            members: loaded.members.iter().map(|m| m.user).collect(),
            marks: Marks::new(&loaded.members),
            in_flight: None,
        }));
        // The latest call counts: marks that waited for this want to be written sooner.
        out.push(Effect::WakeAt(now.mono_ms + IDLE_MS));
        for send in self.queue.take_unchecked() {
            self.send(now, send, out);
        }
        for msg in std::mem::take(&mut self.early) {
            self.member_request(now, msg, out);
        }
        self.pump(now, out);
    }

    /// Marks and typing: only for members, and not worth a lookup.
    fn member_request(&mut self, now: Now, msg: ConversationMsg, out: &mut Vec<Effect>) {
        self.touch(now, out);
        let Phase::Ready(ready) = &mut self.phase else {
            if self.early.len() < MAX_EARLY {
                self.early.push(msg);
            } else if let ConversationMsg::Mark { from, .. } = msg {
                refused(from, ErrorCode::Busy, out);
            }
            return;
        };
        match msg {
            ConversationMsg::Mark { from, kind, seq } => {
                if !ready.members.contains(&from.user) {
                    return refused(from, ErrorCode::NotAMember, out);
                }
                if seq > ready.head {
                    return refused(from, ErrorCode::BeyondHead, out);
                }
                ready.mark(now, from.user, kind, seq, out);
            }
            ConversationMsg::Typing { from, active } => {
                if !ready.members.contains(&from.user) {
                    return refused(from, ErrorCode::NotAMember, out);
                }
                for member in ready.members.iter().filter(|m| **m != from.user) {
                    let typing =
                        PresenceMsg::Typing { conversation: self.id, user: from.user, active };
                    out.push(Effect::Tell(Envelope::Presence(*member, typing)));
                }
            }
            _ => {}
        }
    }

    /// Starts the next append if none is in flight.
    fn pump(&mut self, now: Now, out: &mut Vec<Effect>) {
        let Phase::Ready(ready) = &mut self.phase else { return };
        if ready.in_flight.is_some() {
            return;
        }
        let time_ms = now.unix_ms.max(ready.head_time_ms);
        let skip = plant::is(Bug::SkippedSeq) && ready.head % 5 == 3;
        let first_seq = ready.head + 1 + u64::from(skip);
        let entries = self.queue.next_batch(first_seq, time_ms, MAX_BATCH_ENTRIES, MAX_BATCH_BYTES);
        if entries.is_empty() {
            return;
        }
        let touch_activity = time_ms >= ready.active_written_ms.saturating_add(ACTIVITY_MS);
        let plan = append::plan(&Append {
            conversation: self.id,
            fence: &ready.fence,
            first_seq,
            entries: &entries,
            members: &ready.members,
            touch_activity,
            inbox_epoch: ready.inbox_epoch,
        });
        if plant::is(Bug::AckBeforeCommit) {
            let batch = Arc::new(batch::encode(self.id, &entries, ready.fence.version));
            ready.announce(&batch, out);
        }
        ready.in_flight = Some(InFlight { entries, touched_activity: touch_activity });
        out.push(Effect::Commit { token: TOKEN_APPEND, plan });
    }

    fn appended(&mut self, now: Now, outcome: Outcome, out: &mut Vec<Effect>) {
        let Phase::Ready(ready) = &mut self.phase else { return };
        let Some(in_flight) = ready.in_flight.take() else { return };
        match outcome {
            Outcome::Committed { version, .. } => {
                ready.fence.confirmed(version);
                let batch = Arc::new(batch::encode(self.id, &in_flight.entries, version));
                if !plant::is(Bug::HeadNotMoved) {
                    ready.head = batch.last();
                }
                if let Some(last) = in_flight.entries.last() {
                    ready.head_time_ms = last.time_ms;
                    if in_flight.touched_activity {
                        ready.active_written_ms = last.time_ms;
                    }
                }
                ready.announce(&batch, out);
                for entry in &in_flight.entries {
                    // Who writes has read what was there.
                    ready.mark(now, entry.sender, MarkKind::Read, entry.seq, out);
                }
                self.queue.committed(&in_flight.entries, version);
                self.pump(now, out);
            }
            Outcome::Unresolved if plant::is(Bug::UnknownIsFailed) => {
                self.fail_batch(&in_flight, ErrorCode::StoreUnavailable, out);
            }
            Outcome::Busy => {
                self.fail_batch(&in_flight, ErrorCode::StoreUnavailable, out);
                self.fail_queue(ErrorCode::StoreUnavailable, out);
            }
            Outcome::TooLarge => self.fail_batch(&in_flight, ErrorCode::Internal, out),
            Outcome::Conflict => {
                self.fail_batch(&in_flight, ErrorCode::Moved, out);
                self.drop_fence(out);
                self.give_up(ErrorCode::Moved, out);
            }
            Outcome::Unresolved => {
                self.fail_batch(&in_flight, ErrorCode::OutcomeUnknown, out);
                self.drop_fence(out);
                self.give_up(ErrorCode::OutcomeUnknown, out);
            }
        }
    }

    fn fail_batch(&mut self, failed: &InFlight, code: ErrorCode, out: &mut Vec<Effect>) {
        for (session, id) in self.queue.failed(&failed.entries) {
            answer(session, id, SendAnswer::Failed(code), out);
        }
    }

    /// Refuses all that waits: what was sent after a refused message must not overtake it.
    fn fail_queue(&mut self, code: ErrorCode, out: &mut Vec<Effect>) {
        for (session, id) in self.queue.drain() {
            answer(session, id, SendAnswer::Failed(code), out);
        }
    }

    fn wake(&mut self, now: Now, out: &mut Vec<Effect>) {
        let Phase::Ready(ready) = &mut self.phase else { return };
        if self.flushing || ready.marks.due(now.mono_ms) {
            ready.write_marks(self.id, out);
        }
        let idle = now.mono_ms.saturating_sub(self.used_ms) >= IDLE_MS;
        if (idle || self.flushing) && !self.is_busy() {
            self.phase = Phase::Cold;
            out.push(Effect::Stop);
            return;
        }
        let Phase::Ready(ready) = &self.phase else { return };
        let idle_at = (self.used_ms + IDLE_MS).max(now.mono_ms + 1_000);
        out.push(Effect::WakeAt(ready.marks.due_at().map_or(idle_at, |due| due.min(idle_at))));
    }

    fn marks_written(&mut self, now: Now, outcome: Outcome, out: &mut Vec<Effect>) {
        let Phase::Ready(ready) = &mut self.phase else { return };
        match outcome {
            Outcome::Committed { version, .. } => {
                ready.fence.confirmed(version);
                if let Some(receipts) = ready.marks.written(self.id) {
                    let receipts = Arc::new(receipts);
                    for member in &ready.members {
                        let told = PresenceMsg::Receipts(Arc::clone(&receipts));
                        out.push(Effect::Tell(Envelope::Presence(*member, told)));
                    }
                }
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
    }
}

impl Ready {
    fn announce(&self, batch: &Arc<Batch>, out: &mut Vec<Effect>) {
        for member in &self.members {
            let deliver = PresenceMsg::Deliver(Arc::clone(batch));
            out.push(Effect::Tell(Envelope::Presence(*member, deliver)));
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
