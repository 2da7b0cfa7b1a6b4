//! One transaction's way to an outcome: a state machine that is told what happened and says what
//! to do next. It reads no clock and calls nothing.
//!
//! ```text
//!              guards fresh: base = the smallest version at which one is known to hold
//! begin ---------------------------------------------------------> Commit --> outcomes
//!   | a guard is old                                                 |  |
//!   v                                  1007, 1020, no room           |  | 1021, 1031, 1039, unknown codes
//! ReadVersion --> ReadGuards --(plans whose guard changed: Conflict) <  v
//!   ^                   | base = that version                       ReadVersion -> ReadMark: applied -> outcomes
//!   |                   `------------------------> Commit             ^               | not (yet)
//!   `---------------------- shut out: try again <---------------------+- Fence <------'
//! ```
//!
//! Safety
//! - `Conflict` is only said of a plan whose guard was read and held something else: a merge that
//!   conflicts is so split into those who are to blame and the rest, which is tried again.
//! - While an attempt may have been applied, nothing is tried again and no outcome but `Committed`
//!   or `Unresolved` is said. What ends the doubt is the mark (see `marks`).
//!
//! Liveness: every loop is bounded, by count or by the job's deadline.

use super::codes::{Code, CommitFailure, commit_failed};
use super::freshness::{Clock, FRESH, Known};
use super::marks::{Mark, Marks, Verdict, verdict};
use crate::plan::{Guard, Outcome, Plan, Stamp, Version};
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Most times the guards are read again because a commit conflicted though they held.
const MAX_RECHECKS: u32 = 16;
/// A plan without guards is committed under a version seen this recently.
const RECENT: Duration = Duration::from_secs(2);
/// Pauses double from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LAST_PAUSE: Duration = Duration::from_millis(320);

/// What all jobs of an engine share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) clock: Clock,
    pub(super) known: Known,
    pub(super) marks: Marks,
}

/// A plan and whose it is: the submission, and the place in it.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) submission: u64,
    pub(super) place: usize,
    pub(super) plan: Plan,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Ask the cluster for its version.
    ReadVersion,
    /// Read rows at a version.
    ReadGuards { at: u64, keys: Vec<Bytes> },
    /// Commit the job's plans; the guards' keys and the mark are conflicts.
    Commit { base: u64, mark: Mark },
    /// Read the mark's row at a version.
    ReadMark { at: u64, mark: Mark },
    /// Write over the mark that its transaction is void; the mark is a conflict.
    Fence { base: u64, mark: Mark },
    /// Wait.
    Pause(Duration),
    /// Nothing: every plan has its outcome.
    Finish,
}

/// What happened.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// The cluster's version.
    Version(Result<u64, Code>),
    /// Rows, in the order they were asked for.
    Rows(Result<Vec<Option<Bytes>>, Code>),
    /// The 10 bytes the cluster gave a commit or a fence.
    Committed(Result<[u8; 10], Code>),
    /// A pause is over.
    Paused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Versioning,
    Checking { at: u64 },
    Committing { mark: Mark },
    DoubtVersioning { mark: Mark },
    DoubtReading { at: u64, mark: Mark },
    Fencing { mark: Mark },
    Finished,
}

/// One transaction under way.
#[derive(Debug)]
pub(super) struct Job {
    members: Vec<Member>,
    /// What was cut off because the whole was too large; it comes next.
    rest: VecDeque<Vec<Member>>,
    outcomes: Vec<(u64, usize, Outcome)>,
    step: Step,
    rechecks: u32,
    pauses: u32,
    deadline: Instant,
}

impl Job {
    /// A job that has until `deadline`.
    pub(super) fn new(members: Vec<Member>, deadline: Instant) -> Self {
        let (rest, outcomes) = (VecDeque::new(), Vec::with_capacity(members.len()));
        Self { members, rest, outcomes, step: Step::Versioning, rechecks: 0, pauses: 0, deadline }
    }

    /// The plans to commit.
    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }

    /// The outcomes, when it is finished: submission, place, outcome.
    pub(super) fn into_outcomes(self) -> Vec<(u64, usize, Outcome)> {
        self.outcomes
    }

    /// The first action.
    pub(super) fn begin(&mut self, shared: &mut Shared, now: Instant) -> Action {
        match base(&self.members, shared, now) {
            Some(base) => self.commit(base, shared),
            None => self.recheck(),
        }
    }

    /// The next action.
    pub(super) fn on(&mut self, event: Event, shared: &mut Shared, now: Instant) -> Action {
        match (self.step, event) {
            (_, Event::Paused) => match self.step {
                Step::Finished => Action::Finish,
                _ => Action::ReadVersion,
            },
            (Step::Versioning, Event::Version(Ok(at))) => {
                shared.clock.observe(at, now);
                let keys = guarded_keys(&self.members);
                if keys.is_empty() {
                    return self.commit(at, shared);
                }
                self.step = Step::Checking { at };
                Action::ReadGuards { at, keys }
            }
            (Step::Checking { at }, Event::Rows(Ok(rows))) => self.checked(at, &rows, shared, now),
            (Step::Versioning | Step::Checking { .. }, Event::Version(Err(code)))
            | (Step::Checking { .. }, Event::Rows(Err(code))) => {
                self.step = Step::Versioning;
                self.pause(code, now)
            }
            (Step::Committing { mark }, Event::Committed(Ok(stamp))) => {
                self.committed(mark, stamp, shared, now)
            }
            (Step::Committing { mark }, Event::Committed(Err(code))) => {
                self.failed(mark, code, shared, now)
            }
            (Step::DoubtVersioning { mark }, Event::Version(Ok(at))) => {
                shared.clock.observe(at, now);
                self.step = Step::DoubtReading { at, mark };
                Action::ReadMark { at, mark }
            }
            (Step::DoubtReading { at, mark }, Event::Rows(Ok(rows))) => {
                self.looked_up(at, mark, rows.first().and_then(Option::as_deref), shared, now)
            }
            (Step::Fencing { mark }, Event::Committed(Ok(stamp))) => {
                shared.marks.written(mark, version(stamp));
                self.recheck()
            }
            (
                Step::DoubtVersioning { mark }
                | Step::DoubtReading { mark, .. }
                | Step::Fencing { mark },
                Event::Version(Err(code)) | Event::Rows(Err(code)) | Event::Committed(Err(code)),
            ) => self.doubt(mark, code, now),
            (step, event) => {
                // The driver answers each action with its own event.
                tracing::error!(?step, ?event, "an event out of order");
                self.finish(Outcome::Unresolved)
            }
        }
    }

    fn commit(&mut self, base: u64, shared: &mut Shared) -> Action {
        let mark = shared.marks.take(base);
        self.step = Step::Committing { mark };
        Action::Commit { base, mark }
    }

    fn recheck(&mut self) -> Action {
        self.step = Step::Versioning;
        Action::ReadVersion
    }

    /// Plans whose guards hold at `at` go on; the others have conflicted.
    fn checked(
        &mut self,
        at: u64,
        rows: &[Option<Bytes>],
        shared: &mut Shared,
        now: Instant,
    ) -> Action {
        let keys = guarded_keys(&self.members);
        for (key, row) in keys.iter().zip(rows) {
            shared.known.learn(key, row.as_ref(), at);
        }
        let holds = |guard: &Guard| {
            let place = keys.binary_search(&guard.key).ok();
            place.and_then(|place| rows.get(place)).is_some_and(|row| *row == guard.known)
        };
        let outcomes = &mut self.outcomes;
        self.members.retain(|Member { submission, place, plan }| {
            let good = plan.guards.iter().all(holds);
            if !good {
                outcomes.push((*submission, *place, Outcome::Conflict));
            }
            good
        });
        if self.members.is_empty() { self.next(shared, now) } else { self.commit(at, shared) }
    }

    fn committed(
        &mut self,
        mark: Mark,
        stamp: [u8; 10],
        shared: &mut Shared,
        now: Instant,
    ) -> Action {
        let version = version(stamp);
        shared.clock.observe(version, now);
        shared.marks.written(mark, version);
        let [.., b0, b1] = stamp;
        let batch = u16::from_be_bytes([b0, b1]);
        let mut stamped: u16 = 0;
        for Member { submission, place, plan } in self.members.drain(..) {
            for guard in &plan.guards {
                // It held until this commit. At `version` itself it may not: this transaction may
                // write the key, and so may a later one of the same batch, which has the same version.
                shared.known.learn(&guard.key, guard.known.as_ref(), version.saturating_sub(1));
            }
            let stamp = Stamp::new(Version(version), batch, stamped);
            let outcome = Outcome::Committed { version: Version(version), stamp };
            self.outcomes.push((submission, place, outcome));
            let own = plan.ops.iter().filter(|op| op.is_stamped()).count();
            stamped = stamped.saturating_add(u16::try_from(own).unwrap_or(u16::MAX));
        }
        self.next(shared, now)
    }

    fn failed(&mut self, mark: Mark, code: Code, shared: &mut Shared, now: Instant) -> Action {
        let failure = commit_failed(code);
        if failure != CommitFailure::Unknown {
            shared.marks.unused(mark);
        }
        match failure {
            CommitFailure::Unknown => {
                tracing::debug!(%code, "the outcome of a commit is unknown; looking at its mark");
                self.step = Step::DoubtVersioning { mark };
                Action::ReadVersion
            }
            CommitFailure::Recheck if self.rechecks < MAX_RECHECKS => {
                self.rechecks += 1;
                self.recheck()
            }
            CommitFailure::Recheck => self.finish(Outcome::Busy),
            CommitFailure::Later => {
                self.step = Step::Versioning;
                self.pause(code, now)
            }
            CommitFailure::TooLarge if self.members.len() > 1 => {
                let tail = self.members.split_off(self.members.len() / 2);
                self.rest.push_front(tail);
                self.begin(shared, now)
            }
            CommitFailure::TooLarge => {
                self.settle(Outcome::TooLarge);
                self.next(shared, now)
            }
            CommitFailure::Refused => {
                tracing::warn!(%code, "the cluster refuses commits: is the database locked?");
                self.finish(Outcome::Busy)
            }
        }
    }

    fn looked_up(
        &mut self,
        at: u64,
        mark: Mark,
        row: Option<&[u8]>,
        shared: &mut Shared,
        now: Instant,
    ) -> Action {
        match verdict(mark, row) {
            Verdict::Applied(stamp) => self.committed(mark, stamp, shared, now),
            Verdict::Void => {
                // By a fence of this job whose own answer was lost; the version is past.
                shared.marks.written(mark, at);
                self.recheck()
            }
            Verdict::Open => {
                self.step = Step::Fencing { mark };
                Action::Fence { base: at, mark }
            }
        }
    }

    /// Looks again, while there is time.
    fn doubt(&mut self, mark: Mark, code: Code, now: Instant) -> Action {
        self.step = Step::DoubtVersioning { mark };
        if now >= self.deadline {
            tracing::warn!(%code, "the outcome of a commit stays unknown");
            return self.finish(Outcome::Unresolved);
        }
        Action::Pause(self.longer_pause())
    }

    /// Waits, while there is time; nothing is in doubt.
    fn pause(&mut self, code: Code, now: Instant) -> Action {
        if now >= self.deadline {
            tracing::warn!(%code, "a commit is refused: the cluster did not take it in time");
            return self.finish(Outcome::Busy);
        }
        Action::Pause(self.longer_pause())
    }

    fn longer_pause(&mut self) -> Duration {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.pauses.min(6));
        self.pauses += 1;
        pause.min(LAST_PAUSE)
    }

    /// Goes on with what was cut off, if anything was.
    fn next(&mut self, shared: &mut Shared, now: Instant) -> Action {
        match self.rest.pop_front() {
            Some(members) => {
                self.members = members;
                self.begin(shared, now)
            }
            None => {
                self.step = Step::Finished;
                Action::Finish
            }
        }
    }

    /// Ends the members with one outcome.
    fn settle(&mut self, outcome: Outcome) {
        for Member { submission, place, .. } in self.members.drain(..) {
            self.outcomes.push((submission, place, outcome));
        }
    }

    /// Ends the job: the members with this outcome, what was cut off with "nothing applied".
    fn finish(&mut self, outcome: Outcome) -> Action {
        self.settle(outcome);
        for members in std::mem::take(&mut self.rest) {
            self.members = members;
            self.settle(Outcome::Busy);
        }
        self.step = Step::Finished;
        Action::Finish
    }
}

/// The read version under which these plans can be committed without a look at their guards.
pub(super) fn base(members: &[Member], shared: &Shared, now: Instant) -> Option<u64> {
    let guards = members.iter().flat_map(|member| &member.plan.guards);
    match guards.map(|guard| shared.known.version_of(guard)).min() {
        Some(oldest) => {
            shared.clock.age(oldest, now).is_some_and(|age| age < FRESH).then_some(oldest)
        }
        None => shared.clock.recent(RECENT, now),
    }
}

/// The keys that the members guard on, each once, in order.
pub(super) fn guarded_keys(members: &[Member]) -> Vec<Bytes> {
    let guards = members.iter().flat_map(|member| &member.plan.guards);
    let mut keys: Vec<Bytes> = guards.map(|guard| guard.key.clone()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn version(stamp: [u8; 10]) -> u64 {
    let [v0, v1, v2, v3, v4, v5, v6, v7, ..] = stamp;
    u64::from_be_bytes([v0, v1, v2, v3, v4, v5, v6, v7])
}
