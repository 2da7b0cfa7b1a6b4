//! What blocks and privacy settings of its members mean to a conversation. Pure.
//!
//! Safety
//! - A block, or its end, is committed under the fence and alone: no append is in flight beside it.
//!   So the head it is told with is the head, and each entry is before the block, under it, or after.
//! - From its commit on nobody but its sender is told of what was sent under a block.
//! - A mark that a member hides is told to that member's own devices only. What the settings say is
//!   never older than [`LOOK_MS`] when it is told.
//!
//! Liveness: every wish to block is answered, or its session gives up waiting.

use super::marks::{EVERYBODY, Marks};
use super::{Conversation, Phase, Ready, TOKEN_PEOPLE, TOKEN_SECRETIVE};
use crate::effect::{Effect, Query};
use crate::message::{Envelope, PresenceMsg, Receipts, SessionMsg, SessionRef};
use crate::people::{PeopleAnswer, PeopleQuery};
use crate::time::Now;
use rookery_protocol::{ConversationId, ConversationKind, ErrorCode, MarkKind, UserId};
use rookery_store::{BlockChange, Loaded, Outcome, Shade, StoreError, block_plan};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Privacy settings are read again before they are gone by after this.
const LOOK_MS: u64 = 30_000;
/// Wishes to block that wait: more than two users have devices.
const MAX_WISHES: usize = 16;

/// A member wants to block the other one, or to end that.
#[derive(Clone, Copy)]
struct Wish {
    from: SessionRef,
    request: u32,
    blocked: bool,
}

/// A wish whose plan is in flight.
struct Change {
    wish: Wish,
    shade: Shade,
    /// Up to where the member's own marks move.
    read_to: Option<u64>,
}

/// What is known of the members, beside their marks.
pub(super) struct People {
    direct: bool,
    shades: BTreeMap<UserId, Shade>,
    secretive: BTreeSet<UserId>,
    /// When the settings were asked for, if that went well; and whether the answer is awaited.
    looked_ms: Option<u64>,
    looking: bool,
    /// Marks that wait for it.
    held: Vec<Receipts>,
    wishes: VecDeque<Wish>,
    change: Option<Change>,
    /// The time that the sender's activity row holds, while entries are withheld.
    pub(super) withheld_active_ms: u64,
}

impl People {
    pub(super) fn new(now: Now, loaded: &Loaded) -> Self {
        Self {
            direct: loaded.kind == ConversationKind::Direct,
            shades: loaded.shades.iter().copied().collect(),
            secretive: loaded.secretive.clone(),
            looked_ms: Some(now.mono_ms),
            looking: false,
            held: Vec::new(),
            wishes: VecDeque::new(),
            change: None,
            withheld_active_ms: 0,
        }
    }

    fn shade(&self, user: UserId) -> Shade {
        self.shades.get(&user).copied().unwrap_or(Shade::NONE)
    }

    /// Whether this member has the other one blocked.
    pub(super) fn blocks(&self, user: UserId) -> bool {
        self.shade(user).blocks()
    }

    /// Whether a member has the other one blocked.
    pub(super) fn any_block(&self) -> bool {
        self.shades.values().any(|shade| shade.blocks())
    }

    /// Whether what this member sends is seen by nobody else.
    pub(super) fn withholds(&self, sender: UserId) -> bool {
        self.shades.iter().any(|(user, shade)| *user != sender && shade.blocks())
    }

    /// Whether a block waits or is in flight.
    pub(super) fn is_busy(&self) -> bool {
        self.change.is_some() || !self.wishes.is_empty()
    }

    fn hides_anything(&self) -> bool {
        !self.shades.is_empty() || !self.secretive.is_empty()
    }

    /// Whether `viewer` is told of a mark.
    fn tells(&self, (user, kind, seq): (UserId, MarkKind, u64), viewer: UserId) -> bool {
        if user == viewer {
            return true;
        }
        // Of all members of a group: what one of them hides can't be told of all.
        if user == EVERYBODY && kind == MarkKind::Read {
            return self.secretive.is_empty();
        }
        let secret = self.secretive.contains(&user) || self.secretive.contains(&viewer);
        let read = kind == MarkKind::Read && secret;
        !(self.any_block() || read || self.shade(user).shown_mark(kind, seq) < seq)
    }
}

impl Conversation {
    /// A member's wish to block the other one, or to end that.
    pub(super) fn block(
        &mut self,
        now: Now,
        (from, request, blocked): (SessionRef, u32, bool),
        out: &mut Vec<Effect>,
    ) {
        let Phase::Ready(ready) = &mut self.phase else { return };
        let refused = if !ready.members.contains(&from.user) {
            Some(ErrorCode::NotAMember)
        } else if !ready.people.direct {
            Some(ErrorCode::BadField)
        } else if self.leaving {
            Some(ErrorCode::Moved)
        } else if ready.people.wishes.len() >= MAX_WISHES {
            Some(ErrorCode::Busy)
        } else {
            None
        };
        if refused.is_some() {
            return answer(from, request, refused, out);
        }
        ready.people.wishes.push_back(Wish { from, request, blocked });
        self.pump(now, out);
    }

    /// Begins the next block; true: one is in flight, and nothing may be appended beside it. Not
    /// asked while an append is in flight.
    pub(super) fn change_people(&mut self, now: Now, out: &mut Vec<Effect>) -> bool {
        let id = self.id;
        let Phase::Ready(ready) = &mut self.phase else { return false };
        while ready.people.change.is_none()
            && let Some(wish) = ready.people.wishes.pop_front()
        {
            let user = wish.from.user;
            if ready.people.blocks(user) == wish.blocked {
                answer(wish.from, wish.request, None, out);
                continue;
            }
            ready.begin_change(now, id, wish, out);
        }
        ready.people.change.is_some()
    }

    /// What became of a block.
    pub(super) fn people_changed(&mut self, now: Now, outcome: Outcome, out: &mut Vec<Effect>) {
        let Phase::Ready(ready) = &mut self.phase else { return };
        let Some(Change { wish, shade, read_to }) = ready.people.change.take() else { return };
        let user = wish.from.user;
        let refused = match outcome {
            Outcome::Committed { version, .. } => {
                ready.fence.confirmed(version);
                ready.people.shades.insert(user, shade);
                if let Some(seq) = read_to {
                    ready.marks.moved(user, seq);
                }
                // What stood still for one of them is written for both again.
                ready.active_written_ms = 0;
                ready.people.withheld_active_ms = 0;
                out.push(Effect::Tell(Envelope::Presence(user, PresenceMsg::Own)));
                None
            }
            Outcome::Busy => Some(ErrorCode::StoreUnavailable),
            Outcome::TooLarge => Some(ErrorCode::Internal),
            Outcome::Conflict => Some(ErrorCode::Moved),
            Outcome::Unresolved => Some(ErrorCode::OutcomeUnknown),
        };
        answer(wish.from, wish.request, refused, out);
        match outcome {
            Outcome::Conflict => {
                self.drop_fence(out);
                self.give_up(ErrorCode::Moved, out);
            }
            Outcome::Unresolved => {
                self.drop_fence(out);
                self.give_up(ErrorCode::OutcomeUnknown, out);
            }
            _ => self.pump(now, out),
        }
    }

    /// The settings that were asked for.
    pub(super) fn people_read(
        &mut self,
        read: Result<PeopleAnswer, StoreError>,
        out: &mut Vec<Effect>,
    ) {
        let Phase::Ready(ready) = &mut self.phase else { return };
        ready.people.looking = false;
        if let Ok(PeopleAnswer::Secretive(secretive)) = read {
            ready.people.secretive = secretive;
        } else {
            // Who hides what is not known: nobody is told what others read, and it is asked again.
            ready.people.looked_ms = None;
            ready.people.secretive = ready.members.iter().copied().collect();
        }
        for receipts in std::mem::take(&mut ready.people.held) {
            ready.tell_receipts(receipts, out);
        }
    }

    /// Refuses the wishes that wait.
    pub(super) fn refuse_wishes(&mut self, code: ErrorCode, out: &mut Vec<Effect>) {
        let Phase::Ready(ready) = &mut self.phase else { return };
        for wish in std::mem::take(&mut ready.people.wishes) {
            answer(wish.from, wish.request, Some(code), out);
        }
    }
}

impl Ready {
    fn begin_change(
        &mut self,
        now: Now,
        conversation: ConversationId,
        wish: Wish,
        out: &mut Vec<Effect>,
    ) {
        let user = wish.from.user;
        let Some(other) = self.members.iter().copied().find(|member| *member != user) else {
            return answer(wish.from, wish.request, Some(ErrorCode::Internal), out);
        };
        let held = self.people.shade(user);
        let (delivered, read) = self.marks.of(user);
        let (shade, read_to) = if wish.blocked {
            (held.begun(self.head, delivered, read), None)
        } else {
            // Who had read all there was to see has nothing unread after it.
            (held.ended(self.head), (read >= held.head).then_some(self.head))
        };
        let plan = block_plan(&BlockChange {
            fence: &self.fence,
            conversation,
            user,
            other,
            shade,
            read_to,
            inbox_epoch: self.inbox_epoch,
            now_ms: now.unix_ms,
        });
        self.people.change = Some(Change { wish, shade, read_to });
        out.push(Effect::Commit { token: TOKEN_PEOPLE, plan });
    }

    /// Marks are durable: they are told, once it is known to whom.
    pub(super) fn announce_marks(&mut self, now: Now, receipts: Receipts, out: &mut Vec<Effect>) {
        let fresh = |looked_ms: u64| now.mono_ms.saturating_sub(looked_ms) < LOOK_MS;
        if !self.people.looking && !self.people.looked_ms.is_some_and(fresh) {
            self.people.looking = true;
            self.people.looked_ms = Some(now.mono_ms);
            let (members, direct) = (self.members.clone(), self.people.direct);
            let me = members.first().copied().unwrap_or_default();
            let query = PeopleQuery::Secretive { members, direct };
            let query = Box::new(Query::People { me, query });
            out.push(Effect::Query { token: TOKEN_SECRETIVE, query });
        }
        if self.people.looking {
            return self.people.held.push(receipts);
        }
        self.tell_receipts(receipts, out);
    }

    fn tell_receipts(&self, receipts: Receipts, out: &mut Vec<Effect>) {
        let conversation = receipts.conversation;
        let mut tell = |member: UserId, receipts: Arc<Receipts>| {
            let told = PresenceMsg::Receipts(receipts);
            out.push(Effect::Tell(Envelope::Presence(member, told)));
        };
        if !self.people.hides_anything() {
            let receipts = Arc::new(receipts);
            for member in &self.members {
                tell(*member, Arc::clone(&receipts));
            }
            return;
        }
        for member in &self.members {
            let marks = receipts.marks.iter().copied();
            let marks: Vec<_> = marks.filter(|mark| self.people.tells(*mark, *member)).collect();
            if !marks.is_empty() {
                tell(*member, Arc::new(Receipts { conversation, marks }));
            }
        }
    }
}

impl Marks {
    /// How a member's delivered and read marks stand, durable or not.
    fn of(&self, user: UserId) -> (u64, u64) {
        self.known.get(&user).copied().unwrap_or_default()
    }

    /// A member's marks were moved by another plan; nobody is told.
    fn moved(&mut self, user: UserId, seq: u64) {
        for marks in [&mut self.known, &mut self.durable] {
            if let Some((delivered, read)) = marks.get_mut(&user) {
                (*delivered, *read) = (seq.max(*delivered), seq.max(*read));
            }
        }
    }
}

/// Answers the wish of a session.
pub(super) fn answer(
    from: SessionRef,
    request: u32,
    refused: Option<ErrorCode>,
    out: &mut Vec<Effect>,
) {
    let answered = SessionMsg::Answered { request, refused };
    out.push(Effect::Tell(Envelope::Session(from, answered)));
}
