//! The client's side of the connection: what waits to be sent, what waits for an answer, and what
//! becomes of both when the connection is lost.
//!
//! ```text
//! connect -> greet -> up: this thread reads, a second one writes -> lost -> pause -> connect
//! ```
//!
//! A frame is `sent` from the moment the writer takes it. When the connection is lost, plans that
//! were sent are `Unresolved` and those that were not are `Busy`; reads fail. Receivers are called
//! outside of the lock.

use super::client::SharedConfig;
use super::dial::{TICK, dial};
use super::message::{Answer, Request};
use super::report::Part;
use super::watches::Watches;
use super::wire::{self, Frames};
use crate::doorbell::Doorbell;
use crate::engine::ReadError;
use crate::plan::{Outcome, Version};
use futures_channel::oneshot;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Most reads under way; a further one fails at once.
const MAX_READS: usize = 1024;
/// Shortest and longest pause before connecting again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

pub(super) type ReadAnswer = oneshot::Sender<Result<Answer, ReadError>>;

/// Who waits for an answer.
pub(super) enum Waiting {
    Plans(Part),
    Read(ReadAnswer),
}

struct Pending {
    waiting: Waiting,
    since: Instant,
    sent: bool,
    /// Bytes of plans.
    bytes: usize,
}

pub(super) struct Link {
    pub(super) config: SharedConfig,
    state: Mutex<State>,
    changed: Condvar,
    next: AtomicU64,
}

#[derive(Default)]
struct State {
    phase: Phase,
    /// Counts connections; a snapshot belongs to one.
    generation: u64,
    stream: Option<UnixStream>,
    /// Frames that were not begun to be written, and the request they carry (0: none).
    queue: VecDeque<(u64, Vec<u8>)>,
    pending: HashMap<u64, Pending>,
    plan_bytes: usize,
    reads: usize,
    /// The greatest version the server told.
    seen: Version,
    /// Why the engine behind the server takes no commits, as it said last.
    engine_trouble: Option<String>,
    watches: Watches,
}

#[derive(Default)]
enum Phase {
    #[default]
    Starting,
    Up,
    Down(String),
    /// For good.
    Closed,
}

impl Link {
    pub(super) fn new(config: SharedConfig) -> Self {
        let (state, changed) = (Mutex::default(), Condvar::new());
        Self { config, state, changed, next: AtomicU64::new(1) }
    }

    /// A number that was not used before.
    pub(super) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Queues the frames of a submission, in order; those there is no room for are `Busy`.
    pub(super) fn submit(&self, frames: Vec<(u64, Vec<u8>, Part)>) {
        let mut refused = Vec::new();
        let mut state = self.lock();
        for (id, frame, part) in frames {
            let bytes = frame.len();
            let full = state.plan_bytes > 0
                && state.plan_bytes.saturating_add(bytes) > self.config.plan_bytes;
            if full || !matches!(state.phase, Phase::Up) {
                refused.push(part);
                continue;
            }
            state.plan_bytes += bytes;
            let waiting = Waiting::Plans(part);
            let pending = Pending { waiting, since: Instant::now(), sent: false, bytes };
            state.pending.insert(id, pending);
            state.queue.push_back((id, frame));
        }
        drop(state);
        self.changed.notify_all();
        refused.into_iter().for_each(|part| part.settle_all(Outcome::Busy));
    }

    /// Asks on a connection, or on the one there is; says which.
    pub(super) fn ask(
        &self,
        generation: Option<u64>,
        id: u64,
        request: &Request,
        answer: ReadAnswer,
    ) -> Result<u64, ReadError> {
        let mut state = self.lock();
        match &state.phase {
            Phase::Up if generation.is_none_or(|wanted| wanted == state.generation) => {}
            Phase::Up => return Err(unavailable("the snapshot ended with its connection")),
            Phase::Down(why) => return Err(unavailable(why)),
            Phase::Starting | Phase::Closed => return Err(unavailable("not connected")),
        }
        if state.reads >= MAX_READS {
            return Err(unavailable("too many reads are under way"));
        }
        state.reads += 1;
        let waiting = Waiting::Read(answer);
        state.pending.insert(id, Pending { waiting, since: Instant::now(), sent: false, bytes: 0 });
        state.queue.push_back((id, request.encode()));
        let generation = state.generation;
        drop(state);
        self.changed.notify_all();
        Ok(generation)
    }

    /// Lets a snapshot go, if its connection is still there.
    pub(super) fn release(&self, generation: u64, view: u64) {
        let mut state = self.lock();
        if matches!(state.phase, Phase::Up) && state.generation == generation {
            state.queue.push_back((0, Request::Release { view }.encode()));
            drop(state);
            self.changed.notify_all();
        }
    }

    /// A doorbell for a key, rung by this and every later connection.
    pub(super) fn watch(&self, key: &[u8]) -> Doorbell {
        let number = self.number();
        let mut state = self.lock();
        if matches!(state.phase, Phase::Closed) {
            return Doorbell::ended();
        }
        let (doorbell, request) = state.watches.hang(number, key);
        if matches!(state.phase, Phase::Up) {
            state.queue.push_back((0, request.encode()));
        }
        drop(state);
        self.changed.notify_all();
        doorbell
    }

    /// The greatest version the server told.
    pub(super) fn seen(&self) -> Version {
        self.lock().seen
    }

    /// Why there is no connection, or no commit is taken; `None` if all is well.
    pub(super) fn trouble(&self) -> Option<String> {
        let state = self.lock();
        match &state.phase {
            Phase::Up => state.engine_trouble.clone(),
            Phase::Starting => Some("connecting".to_owned()),
            Phase::Down(why) => Some(why.clone()),
            Phase::Closed => Some("closed".to_owned()),
        }
    }

    /// Waits, for a bounded time, until what was submitted is answered; then ends for good.
    pub(super) fn close(&self, patience: Duration) {
        let busy = |state: &mut State| matches!(state.phase, Phase::Up) && state.plan_bytes > 0;
        let waited = self.changed.wait_timeout_while(self.lock(), patience, busy);
        drop(waited);
        self.lose(Phase::Closed);
    }

    /// The life of the link's thread.
    pub(super) fn run(self: Arc<Self>) {
        let mut pause = PAUSE.0;
        while !self.is_closed() {
            match dial(&self.config) {
                Ok(stream) => {
                    let since = Instant::now();
                    let why = self.attend(&stream);
                    if self.is_closed() {
                        return;
                    }
                    tracing::warn!(why, "the connection to the store is lost");
                    self.lose(Phase::Down(format!("the connection to the store is lost: {why}")));
                    if since.elapsed() > PAUSE.1 {
                        pause = PAUSE.0;
                    }
                }
                Err(error) => self.lose(Phase::Down(error.to_string())),
            }
            let closed = |state: &mut State| !matches!(state.phase, Phase::Closed);
            drop(self.changed.wait_timeout_while(self.lock(), jittered(pause), closed));
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// Works on a connection until it is lost; says why.
    fn attend(self: &Arc<Self>, stream: &UnixStream) -> String {
        let generation = {
            let mut state = self.lock();
            if matches!(state.phase, Phase::Closed) {
                return "closed".to_owned();
            }
            match stream.try_clone() {
                Ok(clone) => state.stream = Some(clone),
                Err(error) => return error.to_string(),
            }
            state.generation += 1;
            state.phase = Phase::Up;
            let again = state.watches.again();
            state.queue.extend(again.into_iter().map(|request| (0, request.encode())));
            state.generation
        };
        self.changed.notify_all();
        std::thread::scope(|scope| {
            let writer = std::thread::Builder::new()
                .name("store-requests".to_owned())
                .spawn_scoped(scope, || self.write(stream, generation));
            let why = match writer {
                Ok(_) => self.read(stream, generation),
                Err(error) => error.to_string(),
            };
            // The writer ends with the phase.
            self.lose(Phase::Down(why.clone()));
            why
        })
    }

    /// Writes what is queued until the connection of this generation is over.
    fn write(&self, mut stream: &UnixStream, generation: u64) {
        let mut bytes = Vec::new();
        loop {
            if !self.next_frames(generation, &mut bytes) {
                return;
            }
            if let Err(error) = stream.write_all(&bytes) {
                tracing::debug!(%error, "the store takes no requests");
                // The reader notices the end.
                stream.shutdown(Shutdown::Both).unwrap_or_default();
                return;
            }
            bytes.clear();
            bytes.shrink_to(wire::SOFT_FRAME_BYTES);
        }
    }

    /// Waits for frames and moves them all into `bytes`; they count as sent. False: it is over.
    fn next_frames(&self, generation: u64, bytes: &mut Vec<u8>) -> bool {
        let idle = |state: &mut State| state.is_up(generation) && state.queue.is_empty();
        let waited = self.changed.wait_while(self.lock(), idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        if !state.is_up(generation) {
            return false;
        }
        let State { queue, pending, .. } = &mut *state;
        for (id, frame) in queue.drain(..) {
            bytes.extend_from_slice(&frame);
            if let Some(pending) = pending.get_mut(&id) {
                pending.sent = true;
            }
        }
        true
    }

    /// Reads answers, sends signs of life and looks at the time until the connection is over;
    /// says why.
    fn read(&self, mut stream: &UnixStream, generation: u64) -> String {
        let mut frames = Frames::default();
        let (mut asked, mut heard) = (None::<Instant>, Instant::now());
        let mut looked = Instant::now();
        loop {
            match frames.fill(&mut stream) {
                Ok(0) => return "the store closed it".to_owned(),
                Ok(_) => (asked, heard) = (None, Instant::now()),
                Err(error) if is_timeout(&error) => {}
                Err(error) => return error.to_string(),
            }
            loop {
                match frames.next().and_then(|frame| frame.map(Answer::decode).transpose()) {
                    Ok(Some(answer)) => self.answered(answer),
                    Ok(None) => break,
                    Err(problem) => return format!("the store sent nonsense: {}", problem.0),
                }
            }
            if looked.elapsed() < TICK {
                continue;
            }
            looked = Instant::now();
            // Counted from the question, which is only old if nothing was there to read since: a
            // process that was stopped for a while finds the answer before it judges.
            if asked.is_some_and(|at| at.elapsed() > self.config.silence) {
                return "the store does not answer".to_owned();
            }
            if asked.is_none() && heard.elapsed() > self.config.silence / 3 {
                asked = Some(Instant::now());
                self.ping(generation);
            }
            self.expire();
        }
    }

    fn ping(&self, generation: u64) {
        let mut state = self.lock();
        if state.is_up(generation) {
            state.queue.push_back((0, Request::Ping.encode()));
        }
        drop(state);
        self.changed.notify_all();
    }

    fn answered(&self, answer: Answer) {
        let id = match &answer {
            Answer::Pong { .. } | Answer::Rung { .. } => 0,
            Answer::Outcomes { id, .. }
            | Answer::View { id, .. }
            | Answer::Values { id, .. }
            | Answer::Rows { id, .. }
            | Answer::Failed { id, .. } => *id,
        };
        let mut state = self.lock();
        match answer {
            Answer::Pong { trouble } => return state.engine_trouble = trouble,
            Answer::Rung { watch, ended } => {
                let unheard = state.watches.rung(watch, ended);
                state.queue.extend(unheard.map(|request| (0, request.encode())));
                drop(state);
                return self.changed.notify_all();
            }
            _ => {}
        }
        state.note(&answer);
        let pending = state.take(id);
        drop(state);
        self.changed.notify_all();
        match (pending.map(|pending| pending.waiting), answer) {
            (Some(Waiting::Plans(part)), Answer::Outcomes { outcomes, .. }) => {
                part.settle(outcomes);
            }
            (Some(Waiting::Read(reader)), Answer::Failed { error, .. }) => tell(reader, Err(error)),
            (Some(Waiting::Read(reader)), answer) => tell(reader, Ok(answer)),
            // Nobody waits any more; or a failed submission, which its drop calls unresolved.
            (None | Some(Waiting::Plans(_)), _) => {}
        }
    }

    /// Gives up what a store that is alive has not answered in time.
    fn expire(&self) {
        let mut state = self.lock();
        let late =
            |pending: &Pending| pending.sent && pending.since.elapsed() > self.config.patience;
        let ids: Vec<u64> =
            state.pending.iter().filter(|(_, p)| late(p)).map(|(id, _)| *id).collect();
        let late: Vec<Pending> = ids.into_iter().filter_map(|id| state.take(id)).collect();
        drop(state);
        if !late.is_empty() {
            tracing::warn!(requests = late.len(), "the store did not answer in time");
        }
        settle(late, "the store did not answer in time");
    }

    /// Ends the connection, if there is one, and answers everything that waits.
    fn lose(&self, phase: Phase) {
        let mut state = self.lock();
        if matches!(phase, Phase::Closed) {
            state.watches = Watches::default();
        }
        if !matches!(state.phase, Phase::Closed) {
            state.phase = phase;
        }
        state.queue.clear();
        (state.plan_bytes, state.reads, state.engine_trouble) = (0, 0, None);
        let lost: Vec<Pending> = state.pending.drain().map(|(_, pending)| pending).collect();
        let stream = state.stream.take();
        drop(state);
        self.changed.notify_all();
        if let Some(stream) = stream {
            // Fails when the other end is gone, which is as good.
            stream.shutdown(Shutdown::Both).unwrap_or_default();
        }
        settle(lost, "the connection to the store is lost");
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.lock().phase, Phase::Closed)
    }

    /// Waits for the first connection; says why there is none.
    pub(super) fn wait_up(&self, patience: Duration) -> Result<(), String> {
        let down = |state: &mut State| !matches!(state.phase, Phase::Up | Phase::Closed);
        drop(self.changed.wait_timeout_while(self.lock(), patience, down));
        let is_up = matches!(self.lock().phase, Phase::Up);
        if is_up { Ok(()) } else { Err(self.trouble().unwrap_or_default()) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_up(&self, generation: u64) -> bool {
        matches!(self.phase, Phase::Up) && self.generation == generation
    }

    fn take(&mut self, id: u64) -> Option<Pending> {
        let pending = self.pending.remove(&id)?;
        match pending.waiting {
            Waiting::Plans(_) => self.plan_bytes = self.plan_bytes.saturating_sub(pending.bytes),
            Waiting::Read(_) => self.reads = self.reads.saturating_sub(1),
        }
        Some(pending)
    }

    fn note(&mut self, answer: &Answer) {
        let version = match answer {
            Answer::View { version, .. } => Some(*version),
            Answer::Outcomes { outcomes, .. } => outcomes
                .iter()
                .filter_map(|outcome| match outcome {
                    Outcome::Committed { version, .. } => Some(*version),
                    _ => None,
                })
                .max(),
            _ => None,
        };
        self.seen = self.seen.max(version.unwrap_or_default());
    }
}

/// Answers what the store did not.
fn settle(lost: Vec<Pending>, why: &str) {
    for pending in lost {
        match pending.waiting {
            Waiting::Plans(part) if pending.sent => part.settle_all(Outcome::Unresolved),
            Waiting::Plans(part) => part.settle_all(Outcome::Busy),
            Waiting::Read(reader) => tell(reader, Err(unavailable(why))),
        }
    }
}

fn tell(reader: ReadAnswer, answer: Result<Answer, ReadError>) {
    // A reader that stopped waiting dropped its end.
    reader.send(answer).ok();
}

pub(super) fn unavailable(why: &str) -> ReadError {
    ReadError::Unavailable(why.to_owned())
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// Between half and all of it, so that clients don't come back in step.
fn jittered(pause: Duration) -> Duration {
    let random = RandomState::new().hash_one(0_u8) % 512;
    pause / 2 + pause / 1024 * u32::try_from(random).unwrap_or(0)
}
