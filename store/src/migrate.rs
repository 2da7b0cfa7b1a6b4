//! Moves a whole store into another database: the same installation on another engine.
//!
//! The rows travel in the order of their keys; the transfer row in the target says how far, so an
//! interrupted migration goes on where it stopped. At the end the rows of both sides are counted
//! and summed. Only then is the target a store that nodes start on; the source is left as it was.
//!
//! Safety: a target is only written when it is empty or holds an unfinished migration from this
//! very source. A source that changes meanwhile is noticed by the sums at the end.
//!
//! What the caller owes: no node has either side open.

use crate::engine::{Engine, ReadError};
use crate::error::StoreError;
use crate::keys;
use crate::rows::{self, TransferRow};
use crate::store::{self, Store, get_all};
use crate::tally::{self, Copy, Totals};
use crate::transfer::{self, Found, Loader, Phase};
use bytes::Bytes;
use std::fmt;
use xxhash_rust::xxh3::xxh3_64;

/// What a migration is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Rows an earlier run had copied, before this one copies any.
    Resuming(u64),
    /// Rows copied so far, by this run and earlier ones.
    Copying(u64),
    /// Rows of the source counted so far.
    CountingSource(u64),
    /// Rows of the target counted so far.
    CountingTarget(u64),
}

/// Why a migration ended early.
#[derive(Debug)]
pub enum MigrateError {
    /// The source can't be read.
    Source(ReadError),
    /// The source itself is an unfinished copy.
    SourceUnfinished,
    /// The target can't be read or written; what was copied stays, and the next run goes on.
    Target(StoreError),
    /// The target holds something else; it was not touched.
    Foreign,
    /// The two sides differ at the end.
    Different(String),
}

impl fmt::Display for MigrateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(error) => write!(f, "the source can't be read: {error}"),
            Self::SourceUnfinished => f.write_str(
                "the source is itself an unfinished restore or migration; finish that first",
            ),
            Self::Target(error) => write!(
                f,
                "the target can't be written: {error}; run the same command again, it goes on \
                 where it stopped"
            ),
            Self::Foreign => f.write_str(
                "the target is not empty and not an unfinished migration from this source; \
                 choose an empty one",
            ),
            Self::Different(what) => write!(
                f,
                "source and target differ at the end ({what}): something wrote to one of them. \
                 Stop all nodes, and run it again with --restart"
            ),
        }
    }
}

impl std::error::Error for MigrateError {}

impl From<StoreError> for MigrateError {
    fn from(error: StoreError) -> Self {
        Self::Target(error)
    }
}

/// What the target is to know of the source.
struct Origin {
    /// The same for every run from one installation, different for others: their signing keys are.
    identity: u64,
    inbox_epoch: u32,
}

/// Migrates; `restart` forgets what earlier runs from this source copied. Reads and commits may
/// block: run it on a thread that may.
///
/// # Errors
/// [`MigrateError`].
pub async fn migrate<A: Engine, B: Engine>(
    source: &Store<A>,
    target: &Store<B>,
    restart: bool,
    mut progress: impl FnMut(Step),
) -> Result<Totals, MigrateError> {
    let origin = origin(source).await?;
    let (mut loader, mut from) = match transfer::look(target).await.map_err(StoreError::from)? {
        Found::Empty => {
            (Loader::begin(target, origin.identity, Phase::Migrating).await?, Bytes::new())
        }
        Found::Migration { source, last_key, rows, guard } if source == origin.identity => {
            progress(Step::Resuming(rows));
            let from = keys::successor(&last_key);
            let phase = Phase::Migrating;
            let mut loader = Loader::resume(target, source, phase, guard, last_key, rows);
            if restart {
                loader.clear().await?;
                loader = Loader::begin(target, source, phase).await?;
            }
            (loader, if restart { Bytes::new() } else { from })
        }
        Found::Occupied | Found::Migration { .. } | Found::Unfinished => {
            return Err(MigrateError::Foreign);
        }
    };
    loop {
        let view = source.latest().await.map_err(MigrateError::Source)?;
        let (rows, next) = transfer::source_rows(&view, &from, Copy::Migration)
            .await
            .map_err(MigrateError::Source)?;
        drop(view);
        for (key, value) in rows {
            loader.put(key, value).await?;
        }
        progress(Step::Copying(loader.rows()));
        match next {
            Some(next) => from = next,
            None => break,
        }
    }
    loader.flush().await?;
    let wanted = tally::tally(source, Copy::Migration, |rows| progress(Step::CountingSource(rows)))
        .await
        .map_err(MigrateError::Source)?;
    let found = tally::tally(target, Copy::Migration, |rows| progress(Step::CountingTarget(rows)))
        .await
        .map_err(StoreError::from)?;
    if let Some(what) = wanted.difference(&found) {
        return Err(MigrateError::Different(what));
    }
    loader.finish(origin.inbox_epoch).await?;
    Ok(found)
}

async fn origin<E: Engine>(source: &Store<E>) -> Result<Origin, MigrateError> {
    let read = async {
        let view = source.latest().await?;
        let wanted = [keys::INSTALLATION, keys::SIGNING_KEY, keys::TRANSFER];
        let [installation, key, transfer] = get_all(&view, wanted.map(Bytes::from_static)).await?;
        let unfinished = match &transfer {
            Some(value) => rows::decode::<TransferRow<'_>>(value).map(|_| true)?,
            None => false,
        };
        let inbox_epoch = store::inbox_epoch(installation.as_deref())?;
        let identity = xxh3_64(key.as_deref().unwrap_or_default());
        Ok((Origin { identity, inbox_epoch }, unfinished))
    };
    match read.await.map_err(MigrateError::Source)? {
        (_, true) => Err(MigrateError::SourceUnfinished),
        (origin, false) => Ok(origin),
    }
}
