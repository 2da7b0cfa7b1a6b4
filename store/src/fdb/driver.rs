//! The one thread that commits: it takes what callers left, merges it into transactions, runs
//! several of them at a time, and reports.
//!
//! ```text
//! inbox --> submissions, each cut into segments that can share a transaction; one segment of a
//!           submission under way at a time, so its plans apply in their order
//!   queue of segments --merge--> Job (state machine) --Action--> Client --Event--> Job ...
//! ```
//!
//! A thread with its own small loop rather than a task of some runtime: the futures of the client
//! library are woken by its network thread and need nothing else, the state needs no lock, and the
//! store stays free of a runtime. A plan costs this thread microseconds; the network thread, of which
//! a process has one, is the narrower place.

use super::client::{Client, Commit};
use super::codes::Code;
use super::inbox::{Inbox, Submission, Watched};
use super::job::{Action, Event, Job, Member, Shared, base, guarded_keys};
use super::marks;
use super::merge::{Merge, guards_on_the_untracked};
use super::meters::Meters;
use super::pulse::Pulse;
use super::space::Space;
use crate::plan::Outcome;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// How a driver works.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tuning {
    /// Most transactions under way.
    pub(super) lanes: usize,
    /// Most bytes of plans in one transaction (a larger plan is still one).
    pub(super) merge_bytes: usize,
    /// How long a transaction is tried.
    pub(super) patience: Duration,
}

/// How long a submission waits for a lane.
const QUEUE_PATIENCE: Duration = Duration::from_secs(2);
/// Between two attempts to watch a key that can't be watched.
const WATCH_PAUSE: Duration = Duration::from_secs(1);
/// How long the last clean-up of a closing driver may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// Plans of one submission that can share a transaction.
struct Segment {
    submission: u64,
    members: Vec<Member>,
    bytes: usize,
}

/// A submission that isn't answered yet.
struct Open {
    submission: Submission,
    segments: VecDeque<Segment>,
    since: Instant,
}

/// What an operation of the client led to.
enum Output {
    Job(u64, Event),
    Canary(Result<u64, Code>),
    Watch(u64, Result<(), Code>),
}

type Running = FuturesUnordered<Pin<Box<dyn Future<Output = Output> + Send>>>;

pub(super) struct Driver<C> {
    client: Arc<C>,
    inbox: Arc<Inbox>,
    space: Space,
    tuning: Tuning,
    meters: Arc<Meters>,
    shared: Shared,
    pulse: Pulse,
    running: Running,
    /// Operations of jobs and canaries in `running`; watches wait for as long as they like.
    waiting: usize,
    jobs: HashMap<u64, Job>,
    paused: Vec<(Instant, u64)>,
    open: HashMap<u64, Open>,
    queue: VecDeque<Segment>,
    bells: HashMap<u64, Watched>,
    unwatched: Vec<(Instant, u64)>,
    next_id: u64,
    /// Something was added to `running` that was not polled yet.
    fresh: bool,
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl<C: Client> Driver<C> {
    pub(super) fn new(
        client: Arc<C>,
        inbox: Arc<Inbox>,
        space: Space,
        shared: Shared,
        tuning: Tuning,
        meters: Arc<Meters>,
    ) -> Self {
        Self {
            client,
            inbox,
            space,
            tuning,
            meters,
            shared,
            pulse: Pulse::new(Instant::now()),
            running: FuturesUnordered::new(),
            waiting: 0,
            jobs: HashMap::new(),
            paused: Vec::new(),
            open: HashMap::new(),
            queue: VecDeque::new(),
            bells: HashMap::new(),
            unwatched: Vec::new(),
            next_id: 0,
            fresh: false,
        }
    }

    /// Works until the inbox is closed and everything is answered.
    pub(super) fn run(mut self) {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        loop {
            let now = Instant::now();
            let closed = self.take_in(now);
            while let Poll::Ready(Some(output)) = self.running.poll_next_unpin(&mut context) {
                self.on_output(output, now);
            }
            self.on_time(now);
            self.start_jobs(now);
            if std::mem::take(&mut self.fresh) {
                continue;
            }
            if closed && self.open.is_empty() && self.jobs.is_empty() {
                break;
            }
            match self.next_look(now) {
                Some(at) => {
                    std::thread::park_timeout(at.saturating_duration_since(Instant::now()));
                }
                None => std::thread::park(),
            }
        }
        self.say_farewell(&mut context);
    }

    /// Removes this engine's marks: nothing is in doubt any more.
    fn say_farewell(&mut self, context: &mut Context<'_>) {
        let mut clearing = self.client.clear(self.shared.marks.prefix().to_vec());
        let deadline = Instant::now() + FAREWELL;
        while clearing.as_mut().poll(context).is_pending() && Instant::now() < deadline {
            std::thread::park_timeout(deadline.saturating_duration_since(Instant::now()));
        }
    }

    /// Takes over what callers left; says whether nothing more will come.
    fn take_in(&mut self, now: Instant) -> bool {
        let (submissions, watched, closed) = self.inbox.take();
        for mut submission in submissions {
            let id = self.new_id();
            let plans = std::mem::take(&mut submission.plans);
            let mut members = Vec::with_capacity(plans.len());
            for (place, plan) in plans.into_iter().enumerate() {
                if !plan.within_limits() {
                    submission.note(place, Outcome::TooLarge);
                } else if guards_on_the_untracked(&plan) {
                    tracing::error!("a plan guards on a row whose writes are not tracked");
                    submission.note(place, Outcome::Conflict);
                } else {
                    members.push(Member { submission: id, place, plan });
                }
            }
            let segments = segments(id, members, self.tuning.merge_bytes);
            self.open.insert(id, Open { submission, segments, since: now });
            self.go_on(id, false);
        }
        for bell in watched {
            let id = self.new_id();
            self.bells.insert(id, bell);
            self.watch(id);
        }
        closed
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Queues the next segment of a submission, or answers it. A later segment goes first: its
    /// submission has waited.
    fn go_on(&mut self, id: u64, later: bool) {
        let Some(open) = self.open.get_mut(&id) else { return };
        match open.segments.pop_front() {
            Some(segment) if later => self.queue.push_front(segment),
            Some(segment) => self.queue.push_back(segment),
            None if open.submission.is_done() => {
                if let Some(open) = self.open.remove(&id) {
                    self.meters.holds(self.inbox.release(open.submission.bytes));
                    open.submission.answer(Outcome::Unresolved);
                }
            }
            None => {}
        }
    }

    /// Starts jobs while there are segments and lanes.
    fn start_jobs(&mut self, now: Instant) {
        while self.jobs.len() < self.tuning.lanes && !self.queue.is_empty() {
            let members = self.merge(now);
            self.meters.merged(members.len());
            let id = self.new_id();
            let mut job = Job::new(members, now + self.tuning.patience);
            let action = job.begin(&mut self.shared, now);
            self.jobs.insert(id, job);
            self.act(id, action, now);
        }
    }

    /// Takes segments that can share a transaction from the queue. Those that need a look at their
    /// guards first don't hold up those that don't.
    fn merge(&mut self, now: Instant) -> Vec<Member> {
        let mut members: Vec<Member> = Vec::new();
        let mut merge = Merge::default();
        let mut left = VecDeque::new();
        let (mut warm, mut bytes) = (None, 0);
        while let Some(segment) = self.queue.pop_front() {
            let is_warm = base(&segment.members, &self.shared, now).is_some();
            let limit = self.tuning.merge_bytes;
            let mut plans = segment.members.iter().map(|member| &member.plan);
            let joins = warm.is_none_or(|warm| warm == is_warm)
                && (members.is_empty()
                    || (bytes + segment.bytes <= limit && plans.all(|p| merge.admits(p, limit))));
            if joins {
                warm = Some(is_warm);
                bytes += segment.bytes;
                segment.members.iter().for_each(|member| merge.add(&member.plan));
                members.extend(segment.members);
            } else {
                left.push_back(segment);
            }
            if bytes >= limit {
                break;
            }
        }
        while let Some(segment) = left.pop_back() {
            self.queue.push_front(segment);
        }
        members
    }

    /// Does what a job wants next.
    fn act(&mut self, id: u64, action: Action, now: Instant) {
        let client = Arc::clone(&self.client);
        let Some(job) = self.jobs.get(&id) else { return };
        let operation: Pin<Box<dyn Future<Output = Event> + Send>> = match action {
            Action::ReadVersion => {
                self.meters.read_version();
                let answer = client.read_version();
                Box::pin(async { Event::Version(answer.await) })
            }
            Action::ReadGuards { at, keys } => {
                self.meters.read();
                let keys = keys.iter().map(|key| self.space.row(key)).collect();
                let answer = client.read(at, keys);
                Box::pin(async { Event::Rows(answer.await) })
            }
            Action::ReadMark { at, mark } => {
                self.meters.read();
                let answer = client.read(at, vec![self.shared.marks.key(mark).to_vec()]);
                Box::pin(async { Event::Rows(answer.await) })
            }
            Action::Commit { base, mark } | Action::Fence { base, mark } => {
                self.meters.commit();
                let void = matches!(action, Action::Fence { .. });
                let members = if void { &[] } else { job.members() };
                let guarded: Vec<Bytes> = guarded_keys(members)
                    .iter()
                    .map(|key| Bytes::from(self.space.row(key)))
                    .collect();
                let mark_key = self.shared.marks.key(mark);
                let answer = client.commit(&Commit {
                    base,
                    space: &self.space,
                    guarded: &guarded,
                    mark: &mark_key,
                    tail: marks::tail(mark, void),
                    members,
                });
                let (meters, started) = (Arc::clone(&self.meters), now);
                Box::pin(async move {
                    let answer = answer.await;
                    meters.committed(started, answer.is_ok());
                    Event::Committed(answer)
                })
            }
            Action::Pause(time) => {
                self.paused.push((now + time, id));
                return;
            }
            Action::Finish => {
                self.finish(id);
                return;
            }
        };
        self.waiting += 1;
        self.pulse.sent(now);
        self.run_later(async move { Output::Job(id, operation.await) });
    }

    fn finish(&mut self, id: u64) {
        let Some(job) = self.jobs.remove(&id) else { return };
        let mut touched = Vec::new();
        for (submission, place, outcome) in job.into_outcomes() {
            self.meters.outcome(outcome);
            if let Some(open) = self.open.get_mut(&submission) {
                open.submission.note(place, outcome);
            }
            if touched.last() != Some(&submission) {
                touched.push(submission);
            }
        }
        touched.sort_unstable();
        touched.dedup();
        // Backwards, because later segments go to the front of the queue.
        touched.into_iter().rev().for_each(|submission| self.go_on(submission, true));
    }

    fn on_output(&mut self, output: Output, now: Instant) {
        match output {
            Output::Job(id, event) => {
                self.waiting -= 1;
                self.pulse.answered(is_answer(&event), self.waiting > 0, now);
                let action = match self.jobs.get_mut(&id) {
                    Some(job) => job.on(event, &mut self.shared, now),
                    None => return,
                };
                self.act(id, action, now);
            }
            Output::Canary(answer) => {
                self.waiting -= 1;
                if let Ok(version) = answer {
                    self.shared.clock.observe(version, now);
                }
                // Any code but the client's own time-out is an answer.
                let good = answer != Err(Code::TIMED_OUT);
                self.pulse.canary_back(good, now);
                self.pulse.answered(good, self.waiting > 0, now);
            }
            Output::Watch(id, answer) => {
                let heard = self.bells.get(&id).is_some_and(|watched| watched.bell.ring());
                match answer {
                    _ if !heard => drop(self.bells.remove(&id)),
                    Ok(()) => self.watch(id),
                    Err(code) => {
                        tracing::debug!(%code, "a key can't be watched for now");
                        self.unwatched.push((now + WATCH_PAUSE, id));
                    }
                }
            }
        }
    }

    fn watch(&mut self, id: u64) {
        let Some(watched) = self.bells.get(&id) else { return };
        let answer = self.client.watch(watched.key.clone());
        self.run_later(async move { Output::Watch(id, answer.await) });
    }

    fn run_later(&mut self, operation: impl Future<Output = Output> + Send + 'static) {
        self.running.push(Box::pin(operation));
        self.fresh = true;
    }

    /// Ends pauses, sends the canary, refuses what waited too long.
    fn on_time(&mut self, now: Instant) {
        for id in due(&mut self.paused, now) {
            let action = match self.jobs.get_mut(&id) {
                Some(job) => job.on(Event::Paused, &mut self.shared, now),
                None => continue,
            };
            self.act(id, action, now);
        }
        for id in due(&mut self.unwatched, now) {
            self.watch(id);
        }
        if self.pulse.canary_due(now) {
            self.meters.canary();
            let answer = self.client.read_version();
            let (meters, started) = (Arc::clone(&self.meters), now);
            self.waiting += 1;
            self.pulse.sent(now);
            self.run_later(async move {
                let answer = answer.await;
                meters.version_given(started);
                Output::Canary(answer)
            });
        }
        let stalled = self.pulse.is_stalled(now);
        self.inbox.set_stalled(stalled);
        self.refuse_late(stalled, now);
    }

    /// Refuses the segments that wait while the cluster is silent, or have waited too long.
    fn refuse_late(&mut self, stalled: bool, now: Instant) {
        let open = &self.open;
        let late = |segment: &Segment| {
            let since = open.get(&segment.submission).map(|open| open.since);
            stalled || since.is_some_and(|since| now - since >= QUEUE_PATIENCE)
        };
        if !self.queue.iter().any(late) {
            return;
        }
        let queue = std::mem::take(&mut self.queue);
        let (late, kept): (VecDeque<Segment>, _) = queue.into_iter().partition(late);
        self.queue = kept;
        for Segment { submission, members, .. } in late {
            let Some(open) = self.open.get_mut(&submission) else { continue };
            let rest = open.segments.drain(..).flat_map(|segment| segment.members);
            for Member { place, .. } in members.into_iter().chain(rest) {
                self.meters.outcome(Outcome::Busy);
                open.submission.note(place, Outcome::Busy);
            }
            self.go_on(submission, true);
        }
    }

    fn next_look(&self, now: Instant) -> Option<Instant> {
        let paused = self.paused.iter().chain(&self.unwatched).map(|(at, _)| *at);
        let queued = (!self.queue.is_empty()).then(|| now + QUEUE_PATIENCE / 4);
        paused.chain(self.pulse.next_look(now)).chain(queued).min()
    }
}

/// Cuts a submission into segments.
fn segments(submission: u64, members: Vec<Member>, limit_bytes: usize) -> VecDeque<Segment> {
    let mut segments: VecDeque<Segment> = VecDeque::new();
    let mut merge = Merge::default();
    for member in members {
        let joins = merge.admits(&member.plan, limit_bytes);
        if !joins {
            merge = Merge::default();
        }
        merge.add(&member.plan);
        let bytes = member.plan.bytes();
        match segments.back_mut() {
            Some(segment) if joins => {
                segment.bytes += bytes;
                segment.members.push(member);
            }
            _ => segments.push_back(Segment { submission, members: vec![member], bytes }),
        }
    }
    segments
}

/// Takes out what is due.
fn due(waiting: &mut Vec<(Instant, u64)>, now: Instant) -> Vec<u64> {
    waiting.extract_if(.., |(at, _)| *at <= now).map(|(_, id)| id).collect()
}

/// Whether an event shows that the cluster answers.
fn is_answer(event: &Event) -> bool {
    let code = match event {
        Event::Version(answer) => answer.err(),
        Event::Rows(answer) => answer.as_ref().err().copied(),
        Event::Committed(answer) => answer.err(),
        Event::Paused => None,
    };
    code != Some(Code::TIMED_OUT)
}
