//! The layer's handle: an engine, and what every operation shares.

use crate::engine::{Done, Engine, ReadError, View};
use crate::error::{Attempts, StoreError};
use crate::plan::{Guard, Op, Outcome, Plan, Version};
use crate::{AnyEngine, keys, rows};
use bytes::Bytes;
use futures_channel::oneshot;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// The store: what actors and nodes work with. A clone is another handle of the same store.
#[derive(Debug)]
pub struct Store<E = AnyEngine> {
    inner: Arc<Inner<E>>,
}

#[derive(Debug)]
struct Inner<E> {
    engine: E,
    /// The inbox epoch once it was read; 0 before.
    inbox_epoch: AtomicU32,
    /// See [`Store::index_words`].
    words: AtomicBool,
}

impl<E> Clone for Store<E> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<E: Engine> Store<E> {
    /// A store on an engine.
    #[must_use]
    pub fn new(engine: E) -> Self {
        Self {
            inner: Arc::new(Inner {
                engine,
                inbox_epoch: AtomicU32::new(0),
                words: AtomicBool::new(false),
            }),
        }
    }

    /// The engine underneath.
    #[must_use]
    pub fn engine(&self) -> &E {
        &self.inner.engine
    }

    /// Hands plans over, see [`Engine::submit`].
    pub fn submit(&self, plans: Vec<Plan>, done: Done) {
        self.inner.engine.submit(plans, done);
    }

    /// Commits one plan. An engine that goes away without an answer leaves it unresolved.
    pub async fn commit(&self, plan: Plan) -> Outcome {
        let (answer, answered) = oneshot::channel();
        let done = move |outcomes: Vec<Outcome>| {
            // A caller that stopped waiting dropped its end; there is nobody left to tell.
            answer.send(outcomes.first().copied()).ok();
        };
        self.submit(vec![plan], Box::new(done));
        answered.await.ok().flatten().unwrap_or(Outcome::Unresolved)
    }

    /// Whether reads do their I/O while being polled, see [`Engine::reads_block`].
    #[must_use]
    pub fn reads_block(&self) -> bool {
        self.inner.engine.reads_block()
    }

    /// The epoch of the inbox logs: cursors of another one are [`crate::InboxPage::TooFar`]. It
    /// only changes when a backup is restored, so it is read once.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn inbox_epoch(&self) -> Result<u32, ReadError> {
        match self.inner.inbox_epoch.load(Ordering::Relaxed) {
            0 => {
                let view = self.latest().await?;
                let epoch = inbox_epoch(view.get(keys::INSTALLATION).await?.as_deref())?;
                self.inner.inbox_epoch.store(epoch, Ordering::Relaxed);
                Ok(epoch)
            }
            epoch => Ok(epoch),
        }
    }

    /// Whether texts that are appended through this store are found by their words.
    #[must_use]
    pub fn indexes_words(&self) -> bool {
        self.inner.words.load(Ordering::Relaxed)
    }

    /// Conversations loaded from now on are told so.
    pub(crate) fn note_words(&self, on: bool) {
        self.inner.words.store(on, Ordering::Relaxed);
    }

    /// A snapshot that shows at least every commit reported so far.
    pub(crate) async fn latest(&self) -> Result<E::View, ReadError> {
        self.inner.engine.view(Version::default()).await
    }

    /// A snapshot no older than `at_least`.
    pub(crate) async fn view(&self, at_least: Version) -> Result<E::View, ReadError> {
        self.inner.engine.view(at_least).await
    }

    /// What `N` keys hold now, as guards: the known values and the version of one snapshot, which
    /// is let go before the caller commits.
    pub(crate) async fn known<const N: usize>(
        &self,
        wanted: [Bytes; N],
    ) -> Result<[Guard; N], ReadError> {
        let view = self.latest().await?;
        let version = view.version();
        let mut values = get_all(&view, wanted.clone()).await?.into_iter();
        Ok(wanted.map(|key| Guard { key, known: values.next().flatten(), version }))
    }

    /// Writes a row whose key must be free: [`StoreError::IdTaken`] when it is not, unless by an
    /// earlier attempt of this very call.
    pub(crate) async fn put_new(&self, key: Bytes, value: Bytes) -> Result<(), StoreError> {
        let mut attempts = Attempts::new();
        loop {
            attempts.begin()?;
            let [row] = attempts.read(self.known([key.clone()]).await)?;
            match &row.known {
                Some(found) if attempts.in_doubt() && *found == value => return Ok(()),
                Some(_) => return Err(StoreError::IdTaken),
                None => {}
            }
            let ops = vec![Op::Set { key: key.clone(), value: value.clone() }];
            let plan = Plan { guards: vec![row], ops };
            if attempts.settle(self.commit(plan).await)?.is_some() {
                return Ok(());
            }
        }
    }

    /// Remembers an epoch that this process wrote.
    pub(crate) fn note_inbox_epoch(&self, epoch: u32) {
        self.inner.inbox_epoch.store(epoch, Ordering::Relaxed);
    }
}

/// The inbox epoch an installation row says; without one it is the first.
pub(crate) fn inbox_epoch(row: Option<&[u8]>) -> Result<u32, ReadError> {
    let Some(value) = row else { return Ok(1) };
    match rows::decode::<rows::InstallationRow>(value)?.inbox_epoch {
        0 => Err(rows::damaged("installation", "inbox epoch 0 never existed")),
        epoch => Ok(epoch),
    }
}

/// The values of keys, one for each.
pub(crate) async fn get_many(
    view: &impl View,
    wanted: &[Bytes],
) -> Result<Vec<Option<Bytes>>, ReadError> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let values = view.get_many(wanted).await?;
    if values.len() != wanted.len() {
        let why = format!("the engine answered {} of {} keys", values.len(), wanted.len());
        return Err(ReadError::Unavailable(why));
    }
    Ok(values)
}

/// The values of `N` keys.
pub(crate) async fn get_all<const N: usize>(
    view: &impl View,
    wanted: [Bytes; N],
) -> Result<[Option<Bytes>; N], ReadError> {
    let values = get_many(view, &wanted).await?;
    <[Option<Bytes>; N]>::try_from(values)
        .map_err(|_| ReadError::Unavailable(format!("the engine did not answer {N} keys")))
}
