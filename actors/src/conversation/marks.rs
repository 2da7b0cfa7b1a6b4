//! The delivered and read marks of a conversation's members: they only rise, are gathered for a
//! short time, written together, and told to the members only once they are durable.
//!
//! In a group each member's mark told to each other would be a square of news: there a user is told
//! of the own marks, and all of how far everybody got.

use crate::plant::{self, Bug};
use rookery_protocol::{MarkKind, UserId};
use rookery_store::{MarkUpdate, MemberState};
use std::collections::BTreeMap;

/// Stands for all members of a group.
pub(super) const EVERYBODY: UserId = UserId(0);

/// Marks of one conversation.
#[derive(Default)]
pub(super) struct Marks {
    /// (delivered, read) as far as told by anybody, durable or not.
    pub(super) known: BTreeMap<UserId, (u64, u64)>,
    /// What is to be written; by user and the kind's code.
    dirty: BTreeMap<(UserId, u8), u64>,
    due_at: Option<u64>,
    writing: Vec<MarkUpdate>,
    /// (delivered, read) as far as they are durable.
    pub(super) durable: BTreeMap<UserId, (u64, u64)>,
    /// (delivered, read) of everybody, as told.
    told: (u64, u64),
}

impl Marks {
    pub(super) fn new(members: &[MemberState]) -> Self {
        let known: BTreeMap<_, _> =
            members.iter().map(|m| (m.user, (m.delivered, m.read))).collect();
        let mut marks = Self { durable: known.clone(), known, ..Self::default() };
        marks.told = marks.least();
        marks
    }

    /// A user became a member: what was there before is no news.
    pub(super) fn joined(&mut self, user: UserId, seq: u64) {
        self.known.insert(user, (seq, seq));
        self.durable.insert(user, (seq, seq));
    }

    /// A user is no member any more.
    pub(super) fn left(&mut self, user: UserId) {
        self.known.remove(&user);
        self.durable.remove(&user);
        self.dirty.retain(|(whose, _), _| *whose != user);
    }

    pub(super) fn is_writing(&self) -> bool {
        !self.writing.is_empty()
    }

    /// The least (delivered, read) of all members.
    fn least(&self) -> (u64, u64) {
        let delivered = self.durable.values().map(|(delivered, _)| *delivered).min();
        let read = self.durable.values().map(|(_, read)| *read).min();
        (delivered.unwrap_or(0), read.unwrap_or(0))
    }

    /// How far everybody got, where that was not told yet.
    pub(super) fn everybody(&mut self) -> Vec<(UserId, MarkKind, u64)> {
        let (delivered, read) = self.least();
        let mut news = Vec::new();
        if delivered > self.told.0 {
            news.push((EVERYBODY, MarkKind::Delivered, delivered));
        }
        if read > self.told.1 {
            news.push((EVERYBODY, MarkKind::Read, read));
        }
        self.told = (delivered.max(self.told.0), read.max(self.told.1));
        news
    }

    /// For a planted bug: what is not written never will be.
    pub(super) fn forget(&mut self) {
        self.dirty.clear();
        self.due_at = None;
    }

    /// What is not known to be durable.
    pub(super) fn unwritten(&self) -> Vec<(UserId, MarkKind, u64)> {
        let writing = self.writing.iter().map(|m| (m.user, m.kind, m.seq));
        let dirty = self.dirty.iter();
        let dirty = dirty.map(|((user, kind), seq)| (*user, MarkKind::from_code(*kind), *seq));
        writing.chain(dirty).collect()
    }

    pub(super) fn is_busy(&self) -> bool {
        !self.dirty.is_empty() || !self.writing.is_empty()
    }

    /// When the gathered marks should be written, if there are any and none are being written.
    pub(super) fn due_at(&self) -> Option<u64> {
        if self.writing.is_empty() { self.due_at } else { None }
    }

    pub(super) fn due(&self, mono_ms: u64) -> bool {
        self.due_at().is_some_and(|due| due <= mono_ms)
    }

    /// Raises a mark; reading implies delivery. True when gathering starts with it.
    pub(super) fn raise(&mut self, user: UserId, kind: MarkKind, seq: u64, due_ms: u64) -> bool {
        let Some((delivered, read)) = self.known.get_mut(&user) else { return false };
        let mut raised = false;
        if seq > *delivered {
            *delivered = seq;
            self.dirty.insert((user, MarkKind::Delivered.code()), seq);
            raised = true;
        }
        if kind == MarkKind::Read && seq > *read {
            *read = seq;
            self.dirty.insert((user, MarkKind::Read.code()), seq);
            raised = true;
        }
        if raised && self.due_at.is_none() {
            self.due_at = Some(due_ms);
            return true;
        }
        false
    }

    /// What to write now; nothing while a write is under way.
    pub(super) fn take(&mut self) -> Vec<MarkUpdate> {
        if !self.writing.is_empty() {
            return Vec::new();
        }
        self.due_at = None;
        self.writing = std::mem::take(&mut self.dirty)
            .into_iter()
            .map(|((user, kind), seq)| MarkUpdate { user, kind: MarkKind::from_code(kind), seq })
            .collect();
        self.writing.clone()
    }

    /// The write is durable: what can be told, by user.
    pub(super) fn written(&mut self) -> Vec<(UserId, MarkKind, u64)> {
        let written = std::mem::take(&mut self.writing);
        for update in &written {
            if let Some((delivered, read)) = self.durable.get_mut(&update.user) {
                match update.kind {
                    MarkKind::Read => *read = update.seq.max(*read),
                    _ => *delivered = update.seq.max(*delivered),
                }
            }
        }
        written.into_iter().map(|m| (m.user, m.kind, m.seq)).collect()
    }

    /// The write failed: it is tried again at `due_ms`.
    pub(super) fn not_written(&mut self, due_ms: u64) {
        let writing = std::mem::take(&mut self.writing);
        if plant::is(Bug::MarksForgotten) {
            return;
        }
        for update in writing {
            let mark = self.dirty.entry((update.user, update.kind.code())).or_insert(0);
            *mark = update.seq.max(*mark);
        }
        self.due_at = Some(due_ms);
    }
}
