//! Requests without an answer: all are idempotent, so they are repeated until answered or late.

use super::Millis;
use rookery_protocol::{ClientFrame, ConversationId};

/// Who waits for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The application.
    App,
    /// The core: delivery starts with it.
    Sync,
    /// The core, which needs no answer.
    Core,
    /// The core: it fills a gap of this conversation.
    Fill(ConversationId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Queued,
    InFlight { since: Millis },
    Waiting { until: Millis },
}

#[derive(Debug)]
struct Pending {
    id: u32,
    frame: ClientFrame,
    owner: Owner,
    state: State,
    attempts: u32,
    /// When the application is told that there is no answer; never for the core's own.
    deadline: Millis,
}

/// The requests, oldest first.
#[derive(Debug, Default)]
pub(super) struct Requests {
    list: Vec<Pending>,
    queued: usize,
}

impl Requests {
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn push(&mut self, id: u32, frame: ClientFrame, owner: Owner, deadline: Millis) {
        let state = State::Queued;
        self.list.push(Pending { id, frame, owner, state, attempts: 0, deadline });
        self.queued += 1;
    }

    pub(super) fn sendable(&self) -> bool {
        self.queued > 0
    }

    /// Hands queued requests to `emit` while at most `limit` are on the wire.
    pub(super) fn encode(
        &mut self,
        now: Millis,
        limit: usize,
        mut emit: impl FnMut(&ClientFrame) -> bool,
    ) {
        let mut in_flight =
            self.list.iter().filter(|p| matches!(p.state, State::InFlight { .. })).count();
        for pending in &mut self.list {
            if self.queued == 0 || in_flight >= limit {
                return;
            }
            if pending.state == State::Queued {
                if !emit(&pending.frame) {
                    return;
                }
                pending.state = State::InFlight { since: now };
                pending.attempts = pending.attempts.saturating_add(1);
                self.queued -= 1;
                in_flight += 1;
            }
        }
    }

    /// Takes out the request with this number: it has its answer.
    pub(super) fn answered(&mut self, id: u32) -> Option<Owner> {
        let at = self.list.iter().position(|p| p.id == id)?;
        let pending = self.list.remove(at);
        if pending.state == State::Queued {
            self.queued -= 1;
        }
        Some(pending.owner)
    }

    /// How often the request was tried, and for whom.
    pub(super) fn attempts(&self, id: u32) -> Option<u32> {
        self.list.iter().find(|p| p.id == id).map(|p| p.attempts)
    }

    /// The attempt was refused; another one at `until`.
    pub(super) fn refused(&mut self, id: u32, until: Millis) {
        if let Some(p) = self.list.iter_mut().find(|p| p.id == id) {
            if p.state == State::Queued {
                self.queued -= 1;
            }
            p.state = State::Waiting { until };
        }
    }

    /// The connection is gone: everything goes again.
    pub(super) fn connection_lost(&mut self) {
        for pending in &mut self.list {
            pending.state = State::Queued;
        }
        self.queued = self.list.len();
    }

    /// Drops the `Sync` of a session that is gone.
    pub(super) fn forget_sync(&mut self) {
        self.list.retain(|p| p.owner != Owner::Sync);
        self.queued = self.list.iter().filter(|p| p.state == State::Queued).count();
    }

    /// When [`Requests::tick`] has something to do.
    pub(super) fn deadline(&self, timeout: Millis) -> Option<Millis> {
        self.list
            .iter()
            .map(|p| {
                p.deadline.min(match p.state {
                    State::Queued => Millis::MAX,
                    State::InFlight { since } => since + timeout,
                    State::Waiting { until } => until,
                })
            })
            .min()
    }

    /// Queues again what is due; hands the numbers of the late ones to `late`.
    pub(super) fn tick(&mut self, now: Millis, timeout: Millis, mut late: impl FnMut(u32)) {
        self.list.retain_mut(|p| {
            if now >= p.deadline {
                late(p.id);
                return false;
            }
            match p.state {
                State::InFlight { since } if now >= since + timeout => p.state = State::Queued,
                State::Waiting { until } if now >= until => p.state = State::Queued,
                _ => {}
            }
            true
        });
        self.queued = self.list.iter().filter(|p| p.state == State::Queued).count();
    }

    /// Empties the list, for a client that closes for good: the application's numbers.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = u32> {
        self.queued = 0;
        std::mem::take(&mut self.list).into_iter().filter(|p| p.owner == Owner::App).map(|p| p.id)
    }
}
