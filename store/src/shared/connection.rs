//! One client of the server, in three threads: one reads frames and submits plans, one answers
//! reads from the client's snapshots, one writes answers.
//!
//! Nothing a client does reaches another: what it sends is decoded fallibly, what it may keep here
//! is bounded (plans, answers, reads that wait, snapshots and their life), and when it stops
//! taking answers only its own threads wait, until the write times out and it is dropped. Its
//! plans are committed all the same: they were handed over.

use super::message::{Answer, Request};
use super::outbox::Outbox;
use super::server::ServerConfig;
use super::watches::Watching;
use super::wire::{self, Frames, GREETING_BYTES, SOFT_FRAME_BYTES, Verdict};
use crate::engine::{Engine, ReadError, Row, View};
use crate::plan::{Outcome, Version};
use bytes::Bytes;
use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// Reads of one client that wait; beyond, its connection is not read from.
const WAITING_READS: usize = 2048;
/// Rows or keys read at a time, so that no answer is much over [`SOFT_FRAME_BYTES`].
const STEP: usize = 64;
/// What a row or a plan costs beside its bytes.
const OVERHEAD_BYTES: usize = 64;
/// How often snapshots are looked through for such that are too old.
const SWEEP: Duration = Duration::from_secs(1);
/// How long the end of a connection waits for the engine to answer what was submitted.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// Serves one client until it goes, or is dropped, or `stream` is shut down for reading.
pub(super) fn serve<E>(stream: &UnixStream, engine: &E, config: &ServerConfig, verdict: Verdict)
where
    E: Engine,
    E::View: 'static,
{
    match greet(stream, config, verdict) {
        Ok(true) => {}
        Ok(false) => return,
        Err(error) => return tracing::debug!(%error, "a client left before the greeting"),
    }
    let outbox = Arc::new(Outbox::new(config.plan_bytes, config.answer_bytes));
    let (reads, waiting) = sync_channel(WAITING_READS);
    std::thread::scope(|scope| {
        let writer = std::thread::Builder::new()
            .name("store-answers".to_owned())
            .spawn_scoped(scope, || write(stream, &outbox));
        let reader = std::thread::Builder::new()
            .name("store-reads".to_owned())
            .spawn_scoped(scope, || Snapshots::new(engine, config, &outbox).answer(waiting));
        match (writer, reader) {
            (Ok(_), Ok(_)) => read(stream, engine, config, &outbox, &reads),
            (_, Err(error)) | (Err(error), _) => tracing::error!(%error, "no thread for a client"),
        }
        drop(reads);
        outbox.close(LAST_ANSWERS);
    });
}

/// Exchanges greetings; true: go on.
fn greet(stream: &UnixStream, config: &ServerConfig, verdict: Verdict) -> std::io::Result<bool> {
    stream.set_read_timeout(Some(config.write_timeout))?;
    stream.set_write_timeout(Some(config.write_timeout))?;
    let mut greeting = [0; GREETING_BYTES];
    (&mut &*stream).read_exact(&mut greeting)?;
    let Some(version) = wire::greeted(&greeting) else {
        tracing::warn!("something that is no client of the store has connected");
        return Ok(false);
    };
    let verdict = if version == wire::VERSION { verdict } else { Verdict::OtherVersion };
    if verdict != Verdict::Welcome {
        tracing::warn!(version, ours = wire::VERSION, ?verdict, "a client is refused");
    }
    (&mut &*stream).write_all(&verdict.greeting())?;
    stream.set_read_timeout(None)?;
    Ok(verdict == Verdict::Welcome)
}

/// Takes requests until the stream ends.
fn read<E: Engine>(
    mut stream: &UnixStream,
    engine: &E,
    config: &ServerConfig,
    outbox: &Arc<Outbox>,
    reads: &SyncSender<Request>,
) {
    let mut frames = Frames::default();
    let mut watching = Watching::new(outbox);
    loop {
        match frames.fill(&mut stream) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return tracing::debug!(%error, "a client can't be read from"),
        }
        loop {
            let frame = match frames.next() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(problem) => return tracing::warn!(?problem, "a client is dropped"),
            };
            if !outbox.wait_room() {
                return;
            }
            match Request::decode(frame) {
                Ok(Request::Ping) => {
                    let trouble = config.trouble.as_ref().and_then(|trouble| trouble());
                    outbox.push(Answer::Pong { trouble }.encode(), 0);
                }
                Ok(Request::Submit { id, plans }) => {
                    let bytes = frame.len() + plans.len() * OVERHEAD_BYTES;
                    if !outbox.admit(bytes) {
                        let outcomes = vec![Outcome::Busy; plans.len()];
                        outbox.push(Answer::Outcomes { id, outcomes }.encode(), 0);
                        continue;
                    }
                    let outbox = Arc::clone(outbox);
                    let done = move |outcomes| {
                        outbox.push(Answer::Outcomes { id, outcomes }.encode(), bytes);
                    };
                    engine.submit(plans, Box::new(done));
                }
                Ok(Request::Watch { watch, key }) => {
                    watching.watch(watch, || engine.doorbell(&key));
                }
                Ok(Request::Unwatch { watch }) => watching.unwatch(watch),
                Ok(read) => {
                    if reads.send(read).is_err() {
                        return;
                    }
                }
                Err(problem) => return tracing::warn!(?problem, "a client is dropped"),
            }
        }
    }
}

/// Writes answers until there are none any more, or the client doesn't take them.
fn write(mut stream: &UnixStream, outbox: &Outbox) {
    let mut bytes = Vec::new();
    while let Some(plans) = outbox.take(&mut bytes) {
        if let Err(error) = stream.write_all(&bytes) {
            tracing::info!(%error, "a client takes no answers and is dropped");
            outbox.break_off();
            break;
        }
        outbox.written(bytes.len(), plans);
        bytes.clear();
        bytes.shrink_to(SOFT_FRAME_BYTES);
    }
    // Also ends the reading.
    stream.shutdown(Shutdown::Both).unwrap_or_else(|error| {
        tracing::debug!(%error, "a connection had ended before");
    });
}

/// The snapshots of one client.
struct Snapshots<'a, E: Engine> {
    engine: &'a E,
    config: &'a ServerConfig,
    outbox: &'a Outbox,
    /// Each with the time of its last use.
    views: HashMap<u64, (E::View, Instant)>,
    swept: Instant,
}

impl<'a, E: Engine> Snapshots<'a, E> {
    fn new(engine: &'a E, config: &'a ServerConfig, outbox: &'a Outbox) -> Self {
        Self { engine, config, outbox, views: HashMap::new(), swept: Instant::now() }
    }

    /// Answers reads until there are none any more. It owns their channel, so that nobody waits to
    /// hand over a read that would not be answered.
    fn answer(mut self, waiting: Receiver<Request>) {
        loop {
            let request = match waiting.recv_timeout(SWEEP) {
                Ok(request) => Some(request),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            self.sweep();
            let Some(request) = request else { continue };
            // An engine that panics on impossible contents costs this answer and nothing else.
            let number = number(&request);
            let answer = catch_unwind(AssertUnwindSafe(|| self.one(request)));
            let answer = answer.unwrap_or_else(|_| {
                number.map(|id| unavailable(id, "the read panicked in the store's process"))
            });
            if let Some(answer) = answer {
                if !self.outbox.wait_room() {
                    return;
                }
                self.outbox.push(answer.encode(), 0);
            }
        }
    }

    fn sweep(&mut self) {
        if self.swept.elapsed() >= SWEEP {
            self.swept = Instant::now();
            self.views.retain(|_, (_, used)| used.elapsed() < self.config.view_life);
        }
    }

    fn one(&mut self, request: Request) -> Option<Answer> {
        match request {
            Request::View { id, view, at_least } => Some(self.take(id, view, at_least)),
            Request::Release { view } => {
                self.views.remove(&view);
                None
            }
            Request::Get { id, view, keys } => Some(self.read(id, view, |view| {
                let values = values(view, &keys)?;
                Ok(Answer::Values { id, values })
            })),
            Request::Range { id, view, from, to, limit, reverse } => {
                let limit = usize::try_from(limit).unwrap_or(usize::MAX);
                Some(self.read(id, view, |view| {
                    let (rows, more) = range(view, (from, to), limit, reverse)?;
                    Ok(Answer::Rows { id, rows, more })
                }))
            }
            Request::Ping
            | Request::Submit { .. }
            | Request::Watch { .. }
            | Request::Unwatch { .. } => None,
        }
    }

    fn take(&mut self, id: u64, number: u64, at_least: Version) -> Answer {
        if self.views.len() >= self.config.views || self.views.contains_key(&number) {
            return unavailable(id, "too many snapshots are held");
        }
        match wait(self.engine.view(at_least)) {
            Ok(view) => {
                let version = view.version();
                self.views.insert(number, (view, Instant::now()));
                Answer::View { id, version }
            }
            Err(error) => Answer::Failed { id, error },
        }
    }

    /// Reads, which renews the snapshot.
    fn read(
        &mut self,
        id: u64,
        number: u64,
        read: impl FnOnce(&E::View) -> Result<Answer, ReadError>,
    ) -> Answer {
        match self.views.get_mut(&number) {
            Some((view, used)) if used.elapsed() < self.config.view_life => {
                let answer = read(view).unwrap_or_else(|error| Answer::Failed { id, error });
                *used = Instant::now();
                answer
            }
            _ => unavailable(id, "the snapshot is too old"),
        }
    }
}

fn number(request: &Request) -> Option<u64> {
    match request {
        Request::View { id, .. } | Request::Get { id, .. } | Request::Range { id, .. } => Some(*id),
        Request::Ping
        | Request::Submit { .. }
        | Request::Release { .. }
        | Request::Watch { .. }
        | Request::Unwatch { .. } => None,
    }
}

fn unavailable(id: u64, why: &str) -> Answer {
    Answer::Failed { id, error: ReadError::Unavailable(why.to_owned()) }
}

/// The values of the first keys, at least one, as many as an answer may hold.
fn values<V: View>(view: &V, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, ReadError> {
    let mut values = Vec::new();
    let mut bytes = 0;
    for step in keys.chunks(STEP) {
        let found = wait(view.get_many(step))?;
        let lengths = found.iter().flatten().map(Bytes::len);
        bytes += lengths.sum::<usize>() + found.len() * OVERHEAD_BYTES;
        values.extend(found);
        if bytes >= SOFT_FRAME_BYTES {
            break;
        }
    }
    Ok(values)
}

/// The first rows of a range, as many as an answer may hold; true: there may be more.
fn range<V: View>(
    view: &V,
    (mut from, mut to): (Bytes, Bytes),
    limit: usize,
    reverse: bool,
) -> Result<(Vec<Row>, bool), ReadError> {
    let mut rows = Vec::new();
    let mut bytes = 0;
    while bytes < SOFT_FRAME_BYTES {
        let step = STEP.min(limit - rows.len());
        let found = wait(view.range(&from, &to, step, reverse))?;
        let lengths = found.iter().map(|(key, value)| key.len() + value.len() + OVERHEAD_BYTES);
        bytes += lengths.sum::<usize>();
        let exhausted = found.len() < step;
        rows.extend(found);
        match rows.last() {
            Some((last, _)) if !exhausted && rows.len() < limit => {
                (from, to) = beyond(last, from, to, reverse);
            }
            _ => return Ok((rows, false)),
        }
    }
    Ok((rows, true))
}

/// What is left of a range behind its last row read.
pub(super) fn beyond(last: &Bytes, from: Bytes, to: Bytes, reverse: bool) -> (Bytes, Bytes) {
    if reverse { (from, last.clone()) } else { ([last, &[0][..]].concat().into(), to) }
}

/// Runs a future on this thread.
fn wait<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
