//! The engine a node uses when the store is another process on its machine.

use super::connection::beyond;
use super::dial::dial;
use super::link::{Link, unavailable};
use super::message::{Answer, Request, Submission};
use super::report::{Part, Report};
use super::wire;
use crate::doorbell::Doorbell;
use crate::engine::{Done, Engine, ReadError, Row, View};
use crate::plan::{Outcome, Plan, Version};
use bytes::Bytes;
use futures_channel::oneshot;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How to reach the store's process.
#[derive(Clone, Debug)]
pub struct SharedConfig {
    /// Path of its socket.
    pub socket: PathBuf,
    /// How long [`SharedEngine::open`] tries.
    pub open_timeout: Duration,
    /// A store that is asked for a sign of life and gives none for so long is taken for gone.
    pub silence: Duration,
    /// Longest wait for a single answer of a store that gives signs of life.
    pub patience: Duration,
    /// Most bytes of plans that are not answered yet; beyond, plans are `Busy`.
    pub plan_bytes: usize,
}

impl SharedConfig {
    /// The defaults for a socket.
    #[must_use]
    pub fn new(socket: impl AsRef<Path>) -> Self {
        Self {
            socket: socket.as_ref().to_owned(),
            open_timeout: Duration::from_secs(5),
            // With a third of it before the question, a store that stands still is noticed within 2 s.
            silence: Duration::from_millis(1200),
            patience: Duration::from_secs(5),
            plan_bytes: 32 << 20,
        }
    }
}

/// Why the store's process can't be used. Its text names the socket and the remedy.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// Nobody answers.
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It speaks another version.
    OtherVersion {
        /// The socket.
        socket: PathBuf,
        /// Its version.
        theirs: u32,
    },
    /// It has as many clients as it takes.
    Full(PathBuf),
    /// What answers there is no store.
    NoStore(PathBuf),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { socket, source } => write!(
                f,
                "no store answers on {} ({source}); start one with `rookery store --data DIR \
                 --socket {}`, or set store.socket",
                socket.display(),
                socket.display()
            ),
            Self::OtherVersion { socket, theirs } => write!(
                f,
                "the store on {} speaks version {theirs} of the protocol, this node version {}; \
                 run both from one release",
                socket.display(),
                wire::VERSION
            ),
            Self::Full(socket) => write!(
                f,
                "the store on {} has as many clients as it takes; end some",
                socket.display()
            ),
            Self::NoStore(socket) => write!(
                f,
                "what answers on {} is no store; set store.socket to the store's",
                socket.display()
            ),
        }
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreachable { source, .. } => Some(source),
            Self::OtherVersion { .. } | Self::Full(_) | Self::NoStore(_) => None,
        }
    }
}

/// The client of a store in another process. Clones share one connection, which is made again
/// when it is lost.
#[derive(Clone)]
pub struct SharedEngine {
    handle: Arc<Handle>,
}

/// Dropping it ends the link.
struct Handle {
    link: Arc<Link>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.link.close(Duration::ZERO);
    }
}

impl fmt::Debug for SharedEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let link = &self.handle.link;
        f.debug_struct("SharedEngine")
            .field("socket", &link.config.socket)
            .field("trouble", &link.trouble())
            .finish()
    }
}

impl SharedEngine {
    /// Connects; waits a while for a store that is only starting. Blocks.
    ///
    /// # Errors
    /// [`ConnectError`], of the last attempt.
    pub fn open(config: &SharedConfig) -> Result<Self, ConnectError> {
        let link = Arc::new(Link::new(config.clone()));
        let until = Instant::now() + config.open_timeout;
        // The first attempts are made here, for their errors.
        loop {
            match dial(config) {
                Ok(probe) => break drop(probe),
                Err(error @ (ConnectError::OtherVersion { .. } | ConnectError::NoStore(_))) => {
                    return Err(error);
                }
                Err(error) if Instant::now() >= until => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
        let failed = |source| ConnectError::Unreachable { socket: config.socket.clone(), source };
        let running = Arc::clone(&link);
        std::thread::Builder::new()
            .name("store-link".to_owned())
            .spawn(move || running.run())
            .map_err(failed)?;
        let engine = Self { handle: Arc::new(Handle { link }) };
        let patience = until.saturating_duration_since(Instant::now()).max(config.silence);
        engine.handle.link.wait_up(patience).map_err(|why| failed(io::Error::other(why)))?;
        Ok(engine)
    }

    /// Why the store can't be reached or takes no commits; `None` if all is well. Noticed within
    /// [`SharedConfig::silence`].
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.handle.link.trouble()
    }

    /// Waits, for a bounded time, until what was submitted is answered, then ends. Later
    /// submissions are `Busy`, reads fail.
    pub fn close(&self) {
        self.handle.link.close(self.handle.link.config.patience);
    }
}

impl Engine for SharedEngine {
    type View = SharedView;

    fn submit(&self, plans: Vec<Plan>, done: Done) {
        if plans.is_empty() {
            return done(Vec::new());
        }
        let link = &self.handle.link;
        let report = Report::new(plans.len(), done);
        let mut frames = Vec::new();
        let mut too_large = Vec::new();
        let (mut id, mut numbers) = (link.number(), Vec::new());
        let mut frame = Submission::new(id);
        for (number, plan) in plans.iter().enumerate() {
            if !plan.within_limits() {
                too_large.push(number);
                continue;
            }
            let mut added = !frame.is_full() && frame.add(plan);
            if !added && !frame.is_empty() {
                let full = std::mem::replace(&mut frame, Submission::new(link.number()));
                let numbers = std::mem::take(&mut numbers);
                frames.push((id, full.finish(), Part::new(&report, numbers)));
                id = frame.id();
                added = frame.add(plan);
            }
            // What a frame of its own can't hold never fits.
            if added { numbers.push(number) } else { too_large.push(number) }
        }
        if !frame.is_empty() {
            frames.push((id, frame.finish(), Part::new(&report, numbers)));
        }
        if !too_large.is_empty() {
            Part::new(&report, too_large).settle_all(Outcome::TooLarge);
        }
        if !frames.is_empty() {
            link.submit(frames);
        }
    }

    async fn view(&self, at_least: Version) -> Result<SharedView, ReadError> {
        let link = &self.handle.link;
        // A store that does not know of commits it told is not the one it was.
        let at_least = at_least.max(link.seen());
        let (id, view) = (link.number(), link.number());
        let (answer, answered) = oneshot::channel();
        let generation = link.ask(None, id, &Request::View { id, view, at_least }, answer)?;
        // Made before the answer is there, so that a caller who stops waiting lets it go.
        let mut held = SharedView { link: Arc::clone(link), generation, view, version: at_least };
        match received(answered).await? {
            Answer::View { version, .. } => {
                held.version = version;
                Ok(held)
            }
            _ => Err(unavailable(NO_SUCH_ANSWER)),
        }
    }

    fn reads_block(&self) -> bool {
        false
    }

    fn doorbell(&self, key: &[u8]) -> Doorbell {
        self.handle.link.watch(key)
    }
}

const NO_SUCH_ANSWER: &str = "the store answered another question";

async fn received(
    answered: oneshot::Receiver<Result<Answer, ReadError>>,
) -> Result<Answer, ReadError> {
    answered.await.unwrap_or_else(|_| Err(unavailable("the connection to the store is lost")))
}

/// A snapshot that the store's process holds for this one. It is let go when it is dropped.
pub struct SharedView {
    link: Arc<Link>,
    generation: u64,
    view: u64,
    version: Version,
}

impl fmt::Debug for SharedView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedView").field("version", &self.version).finish_non_exhaustive()
    }
}

impl Drop for SharedView {
    fn drop(&mut self) {
        self.link.release(self.generation, self.view);
    }
}

impl SharedView {
    async fn ask(&self, request: impl FnOnce(u64) -> Request) -> Result<Answer, ReadError> {
        let id = self.link.number();
        let (answer, answered) = oneshot::channel();
        self.link.ask(Some(self.generation), id, &request(id), answer)?;
        received(answered).await
    }

    /// The values of the first keys, at least one.
    async fn values(&self, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, ReadError> {
        let view = self.view;
        match self.ask(|id| Request::Get { id, view, keys: keys.to_vec() }).await? {
            Answer::Values { values, .. } if !values.is_empty() && values.len() <= keys.len() => {
                Ok(values)
            }
            _ => Err(unavailable(NO_SUCH_ANSWER)),
        }
    }
}

/// Most keys asked for at a time.
const MAX_KEYS: usize = 4096;

impl View for SharedView {
    fn version(&self) -> Version {
        self.version
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        let values = self.values(&[Bytes::copy_from_slice(key)]).await?;
        Ok(values.into_iter().next().flatten())
    }

    async fn get_many(&self, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, ReadError> {
        let mut values = Vec::with_capacity(keys.len());
        while let Some(left) = keys.get(values.len()..).filter(|left| !left.is_empty()) {
            let asked = left.get(..MAX_KEYS).unwrap_or(left);
            values.extend(self.values(asked).await?);
        }
        Ok(values)
    }

    async fn range(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<Row>, ReadError> {
        let (mut from, mut to) = (Bytes::copy_from_slice(from), Bytes::copy_from_slice(to));
        let mut found = Vec::new();
        while found.len() < limit && from < to {
            let (view, left) = (self.view, (limit - found.len()) as u64);
            let (start, end) = (from.clone(), to.clone());
            let ask = |id| Request::Range { id, view, from: start, to: end, limit: left, reverse };
            let Answer::Rows { rows, more, .. } = self.ask(ask).await? else {
                return Err(unavailable(NO_SUCH_ANSWER));
            };
            if more && rows.is_empty() {
                return Err(unavailable(NO_SUCH_ANSWER));
            }
            found.extend(rows);
            match found.last() {
                Some((last, _)) if more => (from, to) = beyond(last, from, to, reverse),
                _ => break,
            }
        }
        Ok(found)
    }
}
