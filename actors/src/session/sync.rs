//! How a session comes to hold, in order, everything its user has: hints when all is well, pulls
//! from the store when it starts, when a hint is missing, and when the client was slow. Pure.
//!
//! Safety
//! - A conversation's entries leave in dense rising order: a hint is passed on only when it
//!   continues what left before; anything else makes the session pull.
//! - The cursor rises only over pointers that were read from the store, and whose entries left.
//!
//! Liveness: a pull that is wanted starts once the client is there and has room; every live
//! session that was told something pulls again within the reconcile time, so a hint that was
//! lost is repaired.

use crate::effect::Span;
use crate::message::Batch;
use crate::plant::{self, Bug};
use rookery_protocol::{ConversationId, Cursor, Entry, OwnKind};
use rookery_store::{Pointer, PointerKind, Version};
use std::collections::HashMap;
use std::sync::Arc;

/// Pointers of one pull.
pub(super) const PULL_POINTERS: usize = 512;
/// Batches that wait while a pull is under way; what is beyond them is pulled.
const MAX_HELD: usize = 64;
/// Conversations whose place is remembered between pulls.
const MAX_DELIVERED: usize = 256;

/// Where a session stands in its user's inbox log.
#[derive(Default)]
pub(super) struct Sync {
    /// The client asked for delivery.
    pub(super) started: bool,
    /// Everything up to here left, as read from the store.
    pub(super) cursor: Option<Cursor>,
    /// The last seq that left, for conversations active since the cursor's last move.
    delivered: HashMap<ConversationId, u64>,
    /// A pull is wanted.
    pub(super) wanted: bool,
    /// Live delivery pauses until a pull reaches the end.
    pub(super) behind: bool,
    /// The next pull must see this version.
    pub(super) at_least: Version,
    /// The `Sync` request to be answered at the end of the pull.
    pub(super) request: Option<u32>,
    pull: Option<Pull>,
    /// A question of this pull, or of one that was given up, has no answer yet: there is one at a time,
    /// however often the client asks for a new start.
    pub(super) reading: bool,
    /// Counts pulls: an answer to an earlier one is ignored.
    generation: u32,
    held: Vec<Arc<Batch>>,
}

struct Pull {
    end: Option<Cursor>,
    more: bool,
    spans: Vec<Span>,
}

/// What a live batch means to the session.
pub(super) enum Verdict {
    /// Entries with a seq above this one leave.
    PassAfter(u64),
    /// It is old news, or is not wanted now.
    Ignore,
    /// Something before it is missing: pull.
    Missing,
}

/// What a page of pointers asks for.
pub(super) struct Step {
    /// Conversations the client should hear of.
    pub(super) created: Vec<ConversationId>,
    /// What of the user's own changed, each once.
    pub(super) own: Vec<(OwnKind, u64)>,
    /// Entries to read; none: the page is done.
    pub(super) spans: Vec<Span>,
}

impl Sync {
    /// Starts over from a cursor of the client.
    pub(super) fn start(&mut self, request: u32, cursor: Option<Cursor>) {
        *self = Self {
            started: true,
            cursor,
            wanted: true,
            request: Some(request),
            at_least: self.at_least,
            generation: self.generation,
            reading: self.reading,
            ..Self::default()
        };
    }

    /// Whether a pull is under way.
    pub(super) fn pulling(&self) -> bool {
        self.pull.is_some()
    }

    /// Begins a pull; its number.
    pub(super) fn begin(&mut self) -> u32 {
        self.wanted = false;
        self.pull = Some(Pull { end: None, more: false, spans: Vec::new() });
        self.generation = self.generation.wrapping_add(1);
        self.generation
    }

    /// Whether an answer belongs to the pull under way.
    pub(super) fn expects(&self, generation: u32) -> bool {
        self.pull.is_some() && self.generation == generation
    }

    /// The pull failed: it is wanted again.
    pub(super) fn failed(&mut self) {
        self.pull = None;
        self.wanted = true;
    }

    /// The log no longer holds what comes after the cursor.
    pub(super) fn too_far(&mut self, now: Cursor) {
        self.pull = None;
        self.cursor = Some(now);
        self.delivered.clear();
        self.behind = false;
    }

    /// A live batch came.
    pub(super) fn judge(&mut self, batch: &Arc<Batch>) -> Verdict {
        if !self.started {
            return Verdict::Ignore;
        }
        // Behind; or a sync without cursor has not found out yet where delivery starts, and would
        // start after what is passed on before.
        if self.behind || self.cursor.is_none() {
            self.want(batch.version);
            return Verdict::Ignore;
        }
        if self.pulling() {
            if self.held.len() < MAX_HELD {
                self.held.push(Arc::clone(batch));
            } else {
                self.want(batch.version);
            }
            return Verdict::Ignore;
        }
        match self.delivered.get(&batch.conversation) {
            Some(&last) if batch.last() <= last => Verdict::Ignore,
            Some(&last) if batch.first() <= last.saturating_add(1) => Verdict::PassAfter(last),
            Some(&last) if plant::is(Bug::NoGapCheck) => Verdict::PassAfter(last),
            Some(_) | None => {
                self.want(batch.version);
                Verdict::Missing
            }
        }
    }

    /// A pull is wanted that sees at least this version.
    pub(super) fn want(&mut self, at_least: Version) {
        self.wanted = true;
        self.at_least = self.at_least.max(at_least);
    }

    /// Entries up to this one left.
    pub(super) fn left(&mut self, conversation: ConversationId, seq: u64) {
        let last = self.delivered.entry(conversation).or_insert(seq);
        *last = seq.max(*last);
    }

    /// The user became a member of a conversation, with its entry at `first` (0: it was new and
    /// empty). True when that is news: who was a member before may have missed what lies between.
    pub(super) fn created(&mut self, conversation: ConversationId, first: u64) -> bool {
        if let Some(last) = self.delivered.get(&conversation) {
            return *last < first;
        }
        self.delivered.insert(conversation, 0);
        true
    }

    /// A page of pointers came: what to tell and to read.
    pub(super) fn page(&mut self, pointers: &[Pointer], end: Cursor, more: bool) -> Step {
        let mut created = Vec::new();
        let mut own = Vec::new();
        let mut spans: Vec<Span> = Vec::new();
        let mut places: HashMap<ConversationId, usize> = HashMap::new();
        for pointer in pointers {
            let conversation = pointer.conversation;
            match pointer.kind {
                PointerKind::Created => {
                    if self.created(conversation, pointer.first) {
                        created.push(conversation);
                    }
                }
                PointerKind::Own(kind) => {
                    // Told again when the page is read again: the client asks once more.
                    if !own.contains(&(kind, conversation.0)) {
                        own.push((kind, conversation.0));
                    }
                }
                PointerKind::Messages => {
                    let last = self.delivered.get(&conversation).copied().unwrap_or(0);
                    let from = pointer.first.max(last.saturating_add(1));
                    if from > pointer.last {
                        continue;
                    }
                    match places.get(&conversation).and_then(|place| spans.get_mut(*place)) {
                        // What lies between two memberships is not the user's to have.
                        Some(span) if from <= span.to.saturating_add(1) => {
                            span.to = span.to.max(pointer.last);
                        }
                        _ => {
                            places.insert(conversation, spans.len());
                            spans.push(Span { conversation, from, to: pointer.last });
                        }
                    }
                }
            }
        }
        self.pull = Some(Pull { end: Some(end), more, spans: spans.clone() });
        Step { created, own, spans }
    }

    /// Which of the entries read are news, by rising seq; they are about to leave.
    pub(super) fn news(&mut self, conversation: ConversationId, entries: &mut Vec<Entry>) {
        if let Some(&last) = self.delivered.get(&conversation) {
            entries.retain(|entry| entry.seq > last);
        }
        if let Some(newest) = entries.last() {
            self.left(conversation, newest.seq);
        }
    }

    /// The entries of the pull left. True when the log was followed to its end.
    pub(super) fn finish(&mut self, progress: bool) -> bool {
        let Some(pull) = self.pull.take() else { return false };
        let whole = pull.spans.iter().all(|span| {
            self.delivered.get(&span.conversation).is_some_and(|last| *last >= span.to)
        });
        if !whole && progress && !plant::is(Bug::CursorRunsAhead) {
            // Only a part was read: the same pointers again, for the rest.
            self.wanted = true;
            return false;
        }
        self.cursor = pull.end.or(self.cursor);
        if pull.more {
            self.wanted = true;
            return false;
        }
        true
    }

    /// The end of the log was reached: live delivery goes on with what came meanwhile.
    pub(super) fn go_live(&mut self) -> Vec<Arc<Batch>> {
        self.behind = false;
        if self.delivered.len() > MAX_DELIVERED {
            // Their next hint makes the session pull, which finds their place again.
            self.delivered.clear();
        }
        std::mem::take(&mut self.held)
    }
}
