//! Sends without an answer: their order, their repeats, and how many are on the wire.
//!
//! Safety: a send leaves this queue only by an answer, so it is repeated with the same
//! `client_msg_id` until then. Order: unless the application asked for pipelining, a conversation's
//! next send waits until the one before it is answered, so nothing overtakes a refused one. With
//! pipelining, those that were not sent yet wait behind a refused one.

use super::Millis;
use crate::event::Course;
use rookery_protocol::client::Send;
use rookery_protocol::{ClientMsgId, ConversationId};
use std::collections::VecDeque;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Queued,
    InFlight { since: Millis },
    Waiting { until: Millis },
}

/// A send without an answer.
#[derive(Debug)]
pub(super) struct Pending {
    frame: Send,
    state: State,
    attempts: u32,
    /// The server refused an attempt.
    refused: bool,
}

impl Pending {
    pub(super) fn conversation(&self) -> ConversationId {
        self.frame.conversation
    }

    pub(super) fn course(&self) -> Course {
        match (self.refused, self.attempts) {
            (true, _) => Course::Refused,
            (false, 0 | 1) => Course::Straight,
            (false, _) => Course::Repeated,
        }
    }

    pub(super) fn client_msg_id(&self) -> ClientMsgId {
        self.frame.client_msg_id
    }
}

/// The queue, in the order the application sent.
#[derive(Debug, Default)]
pub(super) struct Sends {
    queue: VecDeque<Pending>,
    queued: usize,
    in_flight: usize,
    waiting: usize,
    /// Smallest `until` of the waiting ones, or earlier.
    next_retry: Millis,
}

impl Sends {
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn push(&mut self, frame: Send) {
        self.queue.push_back(Pending { frame, state: State::Queued, attempts: 0, refused: false });
        self.queued += 1;
    }

    /// Whether [`Sends::encode`] may find something.
    pub(super) fn sendable(&self, limit: usize) -> bool {
        self.queued > 0 && self.in_flight < limit
    }

    /// Hands queued sends to `emit`, in order, until `limit` are on the wire or `emit` has no room.
    pub(super) fn encode(
        &mut self,
        now: Millis,
        limit: usize,
        pipeline: bool,
        request: &mut u32,
        mut emit: impl FnMut(&Send) -> bool,
    ) {
        let mut blocked: Vec<ConversationId> = Vec::new();
        for pending in &mut self.queue {
            if self.queued == 0 || self.in_flight >= limit {
                return;
            }
            match pending.state {
                State::InFlight { .. } if pipeline => {}
                State::InFlight { .. } | State::Waiting { .. } => {
                    blocked.push(pending.frame.conversation)
                }
                State::Queued if blocked.contains(&pending.frame.conversation) => {}
                State::Queued => {
                    // A new number for each attempt: a late answer to an old one is then ignored.
                    pending.frame.request = *request;
                    pending.frame.retry = pending.attempts > 0;
                    if !emit(&pending.frame) {
                        return;
                    }
                    *request = super::next_request(*request);
                    pending.attempts = pending.attempts.saturating_add(1);
                    pending.state = State::InFlight { since: now };
                    self.queued -= 1;
                    self.in_flight += 1;
                    if !pipeline {
                        blocked.push(pending.frame.conversation);
                    }
                }
            }
        }
    }

    /// Takes the send with this id out: it is durable.
    pub(super) fn answered(&mut self, id: ClientMsgId) -> Option<Pending> {
        // Answers come nearly in order: the search ends at the first few.
        let at = self.queue.iter().position(|p| p.frame.client_msg_id == id)?;
        self.remove(at)
    }

    /// Takes the send of this attempt out: it was refused for good.
    pub(super) fn failed(&mut self, request: u32) -> Option<Pending> {
        let at = self.find_attempt(request)?;
        self.remove(at)
    }

    /// Whether this is the number of an attempt on the wire.
    pub(super) fn is_attempt(&self, request: u32) -> bool {
        self.find_attempt(request).is_some()
    }

    /// How often the send of this attempt was tried.
    pub(super) fn attempts(&self, request: u32) -> u32 {
        self.find_attempt(request).and_then(|at| self.queue.get(at)).map_or(0, |p| p.attempts)
    }

    /// The attempt was refused; another one at `until`. Which send it was, and since when it was
    /// on the wire.
    pub(super) fn refused(&mut self, request: u32, until: Millis) -> Option<(&Pending, Millis)> {
        let pending = self.find_attempt(request).and_then(|at| self.queue.get_mut(at))?;
        let State::InFlight { since } = pending.state else { return None };
        pending.state = State::Waiting { until };
        pending.refused = true;
        self.in_flight -= 1;
        self.next_retry = if self.waiting == 0 { until } else { self.next_retry.min(until) };
        self.waiting += 1;
        Some((pending, since))
    }

    /// The connection is gone: everything without an answer goes again, in the same order.
    pub(super) fn connection_lost(&mut self) {
        for pending in &mut self.queue {
            pending.state = State::Queued;
        }
        self.queued = self.queue.len();
        self.in_flight = 0;
        self.waiting = 0;
    }

    /// When [`Sends::tick`] has something to do: for a refused one its time, for one on the wire
    /// the time-out of the oldest.
    pub(super) fn deadline(&self, timeout: Millis) -> Option<Millis> {
        let retry = (self.waiting > 0).then_some(self.next_retry);
        let oldest = match self.queue.front() {
            Some(Pending { state: State::InFlight { since }, .. }) => Some(since + timeout),
            _ => None,
        };
        super::earliest(retry, oldest)
    }

    /// Queues again what has waited long enough, or had no answer for `timeout`.
    pub(super) fn tick(&mut self, now: Millis, timeout: Millis) {
        if self.deadline(timeout).is_none_or(|at| now < at) {
            return;
        }
        self.next_retry = Millis::MAX;
        for pending in &mut self.queue {
            match pending.state {
                State::Waiting { until } if until <= now => {
                    pending.state = State::Queued;
                    self.waiting -= 1;
                    self.queued += 1;
                }
                State::Waiting { until } => self.next_retry = self.next_retry.min(until),
                State::InFlight { since } if since + timeout <= now => {
                    pending.state = State::Queued;
                    self.in_flight -= 1;
                    self.queued += 1;
                }
                State::InFlight { .. } | State::Queued => {}
            }
        }
    }

    /// Empties the queue, for a client that closes for good.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Pending> {
        self.queued = 0;
        self.in_flight = 0;
        self.waiting = 0;
        std::mem::take(&mut self.queue).into_iter()
    }

    fn find_attempt(&self, request: u32) -> Option<usize> {
        self.queue
            .iter()
            .position(|p| p.frame.request == request && matches!(p.state, State::InFlight { .. }))
    }

    fn remove(&mut self, at: usize) -> Option<Pending> {
        let pending = self.queue.remove(at)?;
        match pending.state {
            State::Queued => self.queued -= 1,
            State::InFlight { .. } => self.in_flight -= 1,
            State::Waiting { .. } => self.waiting -= 1,
        }
        Some(pending)
    }
}
