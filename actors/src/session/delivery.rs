//! What a session passes on: live batches, pulls from the store, receipts. Pure.

use super::sync::{PULL_POINTERS, Verdict};
use super::{
    MIN_WINDOW_BYTES, NOTE_MS, Pending, RECONCILE_MS, RETRY_MS, STUCK_MS, Session, TOKEN_NEWS,
    TOKEN_PULL,
};
use crate::effect::{Effect, Query};
use crate::message::{Batch, BatchEntry, Receipts};
use crate::plant::{self, Bug};
use crate::time::Now;
use bytes::Bytes;
use rookery_protocol::server::{
    Behind, CaughtUp, ConversationChanged, Message, OwnChanged, Receipt, Sent, TooFar,
};
use rookery_protocol::{Change, ClientMsgId, ConversationId, Cursor, DeviceId, Entry, ServerFrame};
use rookery_store::retention::device_cursor_plan;
use rookery_store::{InboxPage, Stamp, StoreError, Version};
use std::sync::Arc;

impl Session {
    pub(super) fn deliver(&mut self, now: Now, batch: &Arc<Batch>, out: &mut Vec<Effect>) {
        if !self.sync.started {
            return self.answer_own(batch, out);
        }
        match self.sync.judge(batch) {
            Verdict::Ignore => {}
            Verdict::Missing => self.pull(out),
            Verdict::PassAfter(last) => {
                if self.stream.room() < batch.frames.len()
                    && self.stream.room() < self.stream.window()
                {
                    return self.fall_behind(now, batch, out);
                }
                self.pass(batch, last, out);
                self.timers.reconcile.get_or_insert(now.mono_ms + RECONCILE_MS);
            }
        }
    }

    /// Answers the session's own sends of a batch: without `Sync` nothing else is delivered. The
    /// answers stand outside of the order ("duplicate"): with `Sync` the entries come as messages.
    fn answer_own(&mut self, batch: &Batch, out: &mut Vec<Effect>) {
        for entry in &batch.entries {
            if let Some(pending) = self.take_pending(entry.device, &entry.client_msg_id) {
                let at = (entry.client_msg_id, entry.seq, entry.time_ms);
                let frame = sent(pending.request, batch.conversation, at, true);
                self.emit(frame.to_bytes(), 1, batch.version, out);
            }
        }
    }

    pub(super) fn fall_behind(&mut self, now: Now, batch: &Batch, out: &mut Vec<Effect>) {
        self.sync.behind = true;
        self.sync.want(batch.version);
        self.timers.stuck = Some(now.mono_ms + STUCK_MS);
        self.write(ServerFrame::from(Behind {}).to_bytes(), out);
    }

    /// Passes on the entries of a batch with a seq above `last`.
    pub(super) fn pass(&mut self, batch: &Batch, last: u64, out: &mut Vec<Effect>) {
        let fresh = batch.entries.iter().filter(|entry| entry.seq > last);
        let own = self.device();
        let mine = |entry: &BatchEntry| {
            Some(entry.device) == own && self.pending.contains_key(&entry.client_msg_id)
        };
        let count = fresh.clone().count() as u64;
        let Some(start) = fresh.clone().next().map(|entry| entry.frame.start) else { return };
        let frames = if fresh.clone().any(mine) {
            let mut frames = Vec::with_capacity(64 * batch.entries.len());
            for entry in fresh {
                match self.take_pending(entry.device, &entry.client_msg_id) {
                    Some(pending) => {
                        let at = (entry.client_msg_id, entry.seq, entry.time_ms);
                        sent(pending.request, batch.conversation, at, false).encode(&mut frames);
                    }
                    None => frames.extend_from_slice(
                        batch.frames.get(entry.frame.clone()).unwrap_or_default(),
                    ),
                }
            }
            Bytes::from(frames)
        } else {
            batch.frames.slice(start..)
        };
        self.sync.left(batch.conversation, batch.last());
        self.emit(frames, count, batch.version, out);
    }

    pub(super) fn take_pending(&mut self, device: DeviceId, id: &ClientMsgId) -> Option<Pending> {
        if Some(device) == self.device() { self.pending.remove(id) } else { None }
    }

    /// Starts a pull if one is wanted and can be served now.
    pub(super) fn pull(&mut self, out: &mut Vec<Effect>) {
        let enough = (self.stream.window() / 2).min(64 * 1024);
        let can = self.sync.started && self.conn.is_some() && self.stream.room() >= enough;
        let busy = self.sync.pulling() || self.sync.reading || self.timers.retry.is_some();
        if !self.sync.wanted || !can || busy {
            return;
        }
        self.sync.reading = true;
        self.timers.reconcile = None;
        let generation = self.sync.begin();
        let query = Query::Inbox {
            user: self.me.user,
            after: self.sync.cursor,
            limit: PULL_POINTERS,
            at_least: self.sync.at_least,
        };
        out.push(Effect::Query {
            token: TOKEN_PULL | u64::from(generation),
            query: Box::new(query),
        });
    }

    /// A hint may have been lost without a trace: asks, together with other sessions, whether the
    /// inbox holds anything new. Once an hour it is read, which moves the cursor on.
    pub(super) fn look_for_news(&mut self, now: Now, out: &mut Vec<Effect>) {
        let noted = self.noted_ms.is_some_and(|at| now.mono_ms < at.saturating_add(NOTE_MS));
        match self.sync.cursor {
            Some(after) if noted && !self.sync.pulling() => {
                out.push(Effect::Check { token: TOKEN_NEWS, user: self.me.user, after });
            }
            _ => self.sync.wanted |= self.sync.started,
        }
    }

    pub(super) fn inbox_read(
        &mut self,
        now: Now,
        token: u64,
        page: Result<InboxPage, StoreError>,
        out: &mut Vec<Effect>,
    ) {
        match page {
            Err(_) => self.pull_failed(now),
            Ok(InboxPage::TooFar { now: cursor }) => {
                let request = self.sync.request.take().unwrap_or(0);
                self.sync.too_far(cursor);
                self.note_cursor(now, cursor, out);
                let seen = Stamp(cursor.stamp).version();
                let frame = ServerFrame::from(TooFar { request, cursor });
                self.emit(frame.to_bytes(), 1, seen, out);
                self.went_live(now, false, out);
            }
            Ok(InboxPage::Page { pointers, end, more }) => {
                let step = self.sync.page(&pointers, end, more);
                for conversation in step.created {
                    let change = ConversationChanged { conversation, change: Change::Created };
                    self.emit(ServerFrame::from(change).to_bytes(), 1, Version::default(), out);
                }
                for (kind, id) in step.own {
                    let changed = OwnChanged { kind, id };
                    self.emit(ServerFrame::from(changed).to_bytes(), 1, Version::default(), out);
                }
                if step.spans.is_empty() {
                    return self.followed(now, true, out);
                }
                let max_bytes = self.stream.room().max(MIN_WINDOW_BYTES as usize) / 2;
                let query = Query::Entries { me: self.me.user, spans: step.spans, max_bytes };
                self.sync.reading = true;
                out.push(Effect::Query { token, query: Box::new(query) });
            }
        }
    }

    pub(super) fn entries_read(
        &mut self,
        now: Now,
        read: Result<Vec<(ConversationId, Vec<Entry>)>, StoreError>,
        out: &mut Vec<Effect>,
    ) {
        let Ok(read) = read else { return self.pull_failed(now) };
        let mut frames = Vec::new();
        let mut count = 0;
        for (conversation, mut entries) in read {
            self.sync.news(conversation, &mut entries);
            for entry in entries {
                count += 1;
                let frame = match self.take_pending(entry.device, &entry.client_msg_id) {
                    Some(pending) => {
                        let at = (entry.client_msg_id, entry.seq, entry.time_ms);
                        sent(pending.request, conversation, at, false)
                    }
                    None => ServerFrame::from(Message { conversation, entry }),
                };
                frame.encode(&mut frames);
            }
        }
        if count > 0 {
            self.emit(Bytes::from(frames), count, Version::default(), out);
        }
        self.pulled(now, count > 0, out);
    }

    pub(super) fn pulled(&mut self, now: Now, progress: bool, out: &mut Vec<Effect>) {
        if progress {
            // Where something came from, the hint of the next may get lost.
            self.timers.reconcile = Some(now.mono_ms + RECONCILE_MS);
        }
        self.followed(now, progress, out);
    }

    fn followed(&mut self, now: Now, progress: bool, out: &mut Vec<Effect>) {
        if self.sync.finish(progress) {
            self.went_live(now, true, out);
        }
        self.pull(out);
    }

    pub(super) fn went_live(&mut self, now: Now, tell: bool, out: &mut Vec<Effect>) {
        self.timers.stuck = None;
        let held = self.sync.go_live();
        let request = self.sync.request.take();
        if tell
            && !plant::is(Bug::SyncUnanswered)
            && let Some(cursor) = self.sync.cursor
        {
            self.note_cursor(now, cursor, out);
            let caught_up = CaughtUp { request: request.unwrap_or(0), cursor };
            let seen = Stamp(cursor.stamp).version();
            self.emit(ServerFrame::from(caught_up).to_bytes(), 1, seen, out);
        }
        for batch in held {
            self.deliver(now, &batch, out);
        }
    }

    /// The client is told a cursor. What it held before is noted in the store, where retention keeps
    /// everything from there on for it: the one just told may get lost with the connection.
    fn note_cursor(&mut self, now: Now, told: Cursor, out: &mut Vec<Effect>) {
        // After another epoch's cursor only the one just told is good.
        let held = self.held.replace(told).filter(|held| held.epoch == told.epoch);
        let due = self.noted_ms.is_none_or(|at| now.mono_ms >= at.saturating_add(NOTE_MS));
        if let (Some(device), true) = (self.device(), due) {
            self.noted_ms = Some(now.mono_ms);
            let held = held.unwrap_or(told);
            let plan = device_cursor_plan(self.me.user, device, held, now.unix_ms);
            // Nobody waits for the outcome: a note that got lost keeps more, not less.
            out.push(Effect::Commit { token: 0, plan });
        }
    }

    pub(super) fn pull_failed(&mut self, now: Now) {
        self.sync.failed();
        self.timers.retry = Some(now.mono_ms + RETRY_MS);
    }

    pub(super) fn receipts(&mut self, receipts: &Receipts, out: &mut Vec<Effect>) {
        if !self.sync.started || self.sync.behind {
            return;
        }
        let mut frames = Vec::with_capacity(receipts.marks.len() * 32);
        for &(user, kind, seq) in &receipts.marks {
            let receipt = Receipt { conversation: receipts.conversation, user, kind, seq };
            ServerFrame::from(receipt).encode(&mut frames);
        }
        if self.stream.room() >= frames.len() {
            let count = receipts.marks.len() as u64;
            self.emit(Bytes::from(frames), count, Version::default(), out);
        }
    }

    pub(super) fn changed(
        &mut self,
        conversation: ConversationId,
        change: Change,
        out: &mut Vec<Effect>,
    ) {
        let nowhere = self.sync.cursor.is_none();
        let waits = !self.sync.started || self.sync.behind || self.sync.pulling() || nowhere;
        if waits || change == Change::Created {
            // The pointer is in the inbox: a pull tells it. A new conversation is told in no other
            // way: a hint that comes late would begin one that the cursor has long passed.
            self.sync.wanted |= self.sync.started;
            return self.pull(out);
        }
        let frame = ConversationChanged { conversation, change };
        self.emit(ServerFrame::from(frame).to_bytes(), 1, Version::default(), out);
    }
}

pub(super) fn sent(
    request: u32,
    conversation: ConversationId,
    (client_msg_id, seq, time_ms): (ClientMsgId, u64, u64),
    duplicate: bool,
) -> ServerFrame {
    Sent { request, conversation, client_msg_id, seq, time_ms, duplicate }.into()
}
