//! How what waits gets its places: one append at a time, each on what the one before left.
//!
//! A change of a group is an append of its own. It is decided on the members that all entries before
//! it leave, and what comes after it is held to the members it leaves: whoever is removed while a
//! message waits has not sent it.

use super::group::{self, Decision, Group, Wish};
use super::queue::{Next, Place};
use super::{Conversation, Phase, Ready, answer, batch};
use crate::effect::Effect;
use crate::message::{Batch, Envelope, Outgoing, PresenceMsg, SendAnswer};
use crate::plant::{self, Bug};
use crate::time::Now;
use rookery_protocol::{
    ConversationId, Entry, EntryKind, ErrorCode, GroupChange, MarkKind, UserId,
};
use rookery_store::Outcome;
use rookery_store::append::{self, Append};
use rookery_store::group::{ChangeFacts, GroupWrites};
use std::sync::Arc;

/// Most entries of one append.
const MAX_BATCH_ENTRIES: usize = 128;
/// Most bytes of entries in one append: half of a plan, the rest is for pointers.
const MAX_BATCH_BYTES: usize = 400_000;
/// The activity rows of a conversation are rewritten at most this often.
const ACTIVITY_MS: u64 = 60_000;

/// An append that is on its way to the store.
pub(super) struct InFlight {
    entries: Vec<Entry>,
    touched_activity: bool,
    change: Option<Box<Change>>,
    /// Nobody but this sender is told of them.
    alone: Option<UserId>,
}

/// What becomes of a group when the append is durable.
struct Change {
    after: Group,
    writes: GroupWrites,
    /// Who is told: the members before and after it.
    told: Vec<UserId>,
}

impl InFlight {
    pub(super) fn is_change(&self) -> bool {
        self.change.is_some()
    }
}

impl Conversation {
    /// Starts the next append if none is in flight.
    pub(super) fn pump(&mut self, now: Now, out: &mut Vec<Effect>) {
        loop {
            let Phase::Ready(ready) = &self.phase else { return };
            if ready.in_flight.is_some() || self.change_people(now, out) {
                return;
            }
            let Phase::Ready(ready) = &mut self.phase else { return };
            // A change may end a membership, and its marks: none may arrive after that.
            if ready.marks.is_writing() && self.queue.change_is_next() {
                return;
            }
            let place = ready.place(now);
            let mut strangers = Vec::new();
            let (members, people) = (&ready.members, &ready.people);
            let sides = (|user| members.contains(&user), |user| people.withholds(user));
            let next = self.queue.next(place, sides, &mut strangers);
            for (session, id) in strangers {
                answer(session, id, SendAnswer::Failed(ErrorCode::NotAMember), out);
            }
            match next {
                Next::Nothing => return,
                Next::Entries(entries) => ready.append(self.id, place, entries, out),
                Next::Change(send, facts) => {
                    if let Err(code) = ready.change(self.id, place, &send, &facts, out)
                        && let Some(asked) = self.queue.refused(&send)
                    {
                        answer(asked, send.id, SendAnswer::Failed(code), out);
                    }
                }
            }
        }
    }

    pub(super) fn appended(&mut self, now: Now, outcome: Outcome, out: &mut Vec<Effect>) {
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
                    match (in_flight.touched_activity, in_flight.alone) {
                        (false, _) => {}
                        (true, Some(_)) => ready.people.withheld_active_ms = last.time_ms,
                        (true, None) => ready.active_written_ms = last.time_ms,
                    }
                }
                match in_flight.change {
                    None => announce(ready.told(in_flight.alone.as_ref()), &batch, out),
                    Some(change) => {
                        announce(&change.told, &batch, out);
                        ready.changed(*change);
                    }
                }
                for entry in &in_flight.entries {
                    // Who writes has read what was there.
                    ready.mark(now, entry.sender, MarkKind::Read, entry.seq, out);
                }
                if let Some(due) = ready.marks.due_at() {
                    out.push(Effect::WakeAt(due));
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
                self.refuse_wishes(ErrorCode::StoreUnavailable, out);
            }
            Outcome::TooLarge => {
                self.fail_batch(&in_flight, ErrorCode::Internal, out);
                self.refuse_wishes(ErrorCode::Internal, out);
            }
            Outcome::Conflict => {
                self.fail_batch(&in_flight, ErrorCode::Moved, out);
                self.drop_fence(out);
                self.give_up(ErrorCode::Moved, out);
            }
            Outcome::Unresolved => {
                let before = ready.head;
                self.doubt(before);
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
    pub(super) fn fail_queue(&mut self, code: ErrorCode, out: &mut Vec<Effect>) {
        for (session, id) in self.queue.drain() {
            answer(session, id, SendAnswer::Failed(code), out);
        }
    }
}

impl Ready {
    fn place(&self, now: Now) -> Place {
        let skip = plant::is(Bug::SkippedSeq) && self.head % 5 == 3;
        Place {
            first_seq: self.head + 1 + u64::from(skip),
            time_ms: now.unix_ms.max(self.head_time_ms),
            max_entries: MAX_BATCH_ENTRIES,
            max_bytes: MAX_BATCH_BYTES,
        }
    }

    fn append(
        &mut self,
        conversation: ConversationId,
        place: Place,
        entries: Vec<Entry>,
        out: &mut Vec<Effect>,
    ) {
        let sender = entries.first().map(|entry| entry.sender);
        let alone = sender.filter(|sender| self.people.withholds(*sender));
        let written_ms = match alone {
            Some(_) => self.people.withheld_active_ms,
            None => self.active_written_ms,
        };
        let touch_activity = place.time_ms >= written_ms.saturating_add(ACTIVITY_MS);
        let plan = append::plan(&Append {
            conversation,
            fence: &self.fence,
            first_seq: place.first_seq,
            entries: &entries,
            members: self.told(alone.as_ref()),
            touch_activity,
            inbox_epoch: self.inbox_epoch,
            withheld: alone.is_some(),
            words: self.words,
            group: None,
        });
        if plant::is(Bug::AckBeforeCommit) {
            let batch = Arc::new(batch::encode(conversation, &entries, self.fence.version));
            announce(self.told(alone.as_ref()), &batch, out);
        }
        let in_flight = InFlight { entries, touched_activity: touch_activity, change: None, alone };
        self.in_flight = Some(in_flight);
        out.push(Effect::Commit { token: super::TOKEN_APPEND, plan });
    }

    /// Who is told of entries: all members, or the one who is `alone` with them.
    fn told<'a>(&'a self, alone: Option<&'a UserId>) -> &'a [UserId] {
        alone.map_or(self.members.as_slice(), std::slice::from_ref)
    }

    /// Begins a change, if it may be made.
    fn change(
        &mut self,
        conversation: ConversationId,
        place: Place,
        send: &Outgoing,
        facts: &ChangeFacts,
        out: &mut Vec<Effect>,
    ) -> Result<(), ErrorCode> {
        let sender = send.from.session.user;
        let Some(group) = &self.group else {
            let member = self.members.contains(&sender);
            return Err(if member { ErrorCode::NotAGroup } else { ErrorCode::NotAMember });
        };
        let change = GroupChange::from_body(&send.body).filter(GroupChange::is_well_formed);
        let change = change.ok_or(ErrorCode::BadField)?;
        let (seq, time_ms) = (place.first_seq, place.time_ms);
        let hash = append::content_hash(send.kind, &send.body);
        let wish = Wish { sender, change: &change, hash, seq, time_ms };
        let Decision { after, writes } = group::decide(group, &wish, facts)?;
        let entry = Entry {
            seq,
            sender,
            device: send.from.device,
            time_ms,
            client_msg_id: send.id,
            kind: EntryKind::Group,
            body: change.without_secret().to_body(),
        };
        let mut told = self.members.clone();
        told.extend(writes.joined.iter().map(|seat| seat.user));
        let entries = vec![entry];
        let plan = append::plan(&Append {
            conversation,
            fence: &self.fence,
            first_seq: seq,
            entries: &entries,
            members: &told,
            touch_activity: true,
            inbox_epoch: self.inbox_epoch,
            withheld: false,
            words: self.words,
            group: Some(&writes),
        });
        let change = Some(Box::new(Change { after, writes, told }));
        let in_flight = InFlight { entries, touched_activity: true, change, alone: None };
        self.in_flight = Some(in_flight);
        out.push(Effect::Commit { token: super::TOKEN_APPEND, plan });
        Ok(())
    }

    /// A change is durable.
    fn changed(&mut self, change: Change) {
        for seat in &change.writes.joined {
            self.marks.joined(seat.user, seat.joined_seq);
        }
        for ended in &change.writes.ended {
            self.marks.left(ended.user);
        }
        if !plant::is(Bug::MembersKept) {
            self.members = change.after.members();
        }
        self.group = Some(change.after);
    }
}

fn announce(members: &[UserId], batch: &Arc<Batch>, out: &mut Vec<Effect>) {
    for member in members {
        let deliver = PresenceMsg::Deliver(Arc::clone(batch));
        out.push(Effect::Tell(Envelope::Presence(*member, deliver)));
    }
}
