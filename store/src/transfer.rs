//! Copies into a store: rows in guarded plans, with a row that tells how far the copy got.
//!
//! Safety
//! - While the transfer row (`Z`) is there, the store is no whole store: nodes refuse to start on
//!   it ([`Store::unfinished_transfer`]).
//! - Each plan of the copy guards on that row and moves it, so two copies into one store can't mix,
//!   and a copy that was interrupted goes on exactly where it stopped.
//! - The commit that removes the row is the one that starts new inbox logs: every cursor given out
//!   before is too far in what was copied.
//!
//! What the caller owes: no node has the target open when the copy begins.

use crate::engine::{Engine, ReadError, View};
use crate::error::{Attempts, StoreError};
use crate::plan::{Guard, Op, Plan};
use crate::rows::{self, InstallationRow, TransferRow};
use crate::store::{self, Store};
use crate::tally::{CHUNK, END};
use crate::{keys, schema};
use bytes::Bytes;

/// Bytes of rows gathered for one plan: well under the limit of a plan.
const PLAN_BYTES: usize = 600_000;
/// What a row counts beside its bytes.
const ROW_BYTES: usize = 16;
/// Rows removed by one plan.
const CLEAR_ROWS: usize = 2_000;

/// What kind of copy it is; the byte in the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The target is being emptied.
    Clearing,
    /// Rows of a backup come in.
    Restoring,
    /// Rows of another store come in.
    Migrating,
}

impl Phase {
    const fn code(self) -> u8 {
        match self {
            Self::Clearing => 1,
            Self::Restoring => 2,
            Self::Migrating => 3,
        }
    }
}

/// What a store that is to be copied into holds already.
pub(crate) enum Found {
    /// Nothing.
    Empty,
    /// Rows of its own.
    Occupied,
    /// What an unfinished migration from a source copied so far.
    Migration { source: u64, last_key: Bytes, rows: u64, guard: Guard },
    /// Another unfinished copy.
    Unfinished,
}

impl<E: Engine> Store<E> {
    /// Whether a restore or migration into this store was begun and not finished. Nobody may work
    /// on it then. Says how many rows it had copied.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn unfinished_transfer(&self) -> Result<Option<u64>, ReadError> {
        let row = self.latest().await?.get(keys::TRANSFER).await?;
        row.map(|value| Ok(rows::decode::<TransferRow<'_>>(&value)?.rows)).transpose()
    }
}

/// Looks at a store that is to be copied into.
pub(crate) async fn look<E: Engine>(store: &Store<E>) -> Result<Found, ReadError> {
    let [guard] = store.known([Bytes::from_static(keys::TRANSFER)]).await?;
    let Some(value) = guard.known.clone() else {
        let rows = store.latest().await?.range(b"", END, 1, false).await?;
        return Ok(if rows.is_empty() { Found::Empty } else { Found::Occupied });
    };
    let TransferRow { source, phase, last_key, rows } = rows::decode(&value)?;
    if phase != Phase::Migrating.code() {
        return Ok(Found::Unfinished);
    }
    Ok(Found::Migration { source, last_key: Bytes::copy_from_slice(last_key), rows, guard })
}

/// A copy under way.
pub(crate) struct Loader<'a, E> {
    store: &'a Store<E>,
    source: u64,
    phase: Phase,
    /// The transfer row as the last plan left it.
    guard: Guard,
    ops: Vec<Op>,
    bytes: usize,
    last_key: Bytes,
    rows: u64,
}

impl<'a, E: Engine> Loader<'a, E> {
    /// Begins a copy from `source`: from now on nobody else may use the store.
    pub(crate) async fn begin(
        store: &'a Store<E>,
        source: u64,
        phase: Phase,
    ) -> Result<Self, StoreError> {
        let [guard] = store.known([Bytes::from_static(keys::TRANSFER)]).await?;
        let mut loader = Self::resume(store, source, phase, guard, Bytes::new(), 0);
        loader.commit(Vec::new(), true).await?;
        Ok(loader)
    }

    /// Goes on with a copy.
    pub(crate) fn resume(
        store: &'a Store<E>,
        source: u64,
        phase: Phase,
        guard: Guard,
        last_key: Bytes,
        rows: u64,
    ) -> Self {
        Self { store, source, phase, guard, ops: Vec::new(), bytes: 0, last_key, rows }
    }

    /// How many rows were copied.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Adds a row; those before it are committed when they fill a plan.
    pub(crate) async fn put(&mut self, key: Bytes, value: Bytes) -> Result<(), StoreError> {
        let bytes = key.len() + value.len() + ROW_BYTES;
        if self.bytes + bytes > PLAN_BYTES {
            self.flush().await?;
        }
        self.bytes += bytes;
        self.last_key = key.clone();
        self.rows += 1;
        self.ops.push(Op::Set { key, value });
        Ok(())
    }

    /// Commits what was added.
    pub(crate) async fn flush(&mut self) -> Result<(), StoreError> {
        self.bytes = 0;
        let ops = std::mem::take(&mut self.ops);
        if ops.is_empty() { Ok(()) } else { self.commit(ops, true).await }
    }

    /// Removes every row but those that tell of this copy and of the inbox epoch, in bounded steps.
    pub(crate) async fn clear(&mut self) -> Result<(), StoreError> {
        let mut from = Bytes::new();
        loop {
            let view = self.store.latest().await?;
            let found = view.range(&from, END, CLEAR_ROWS, false).await?;
            drop(view);
            let Some((last, _)) = found.last() else { return Ok(()) };
            let next = keys::successor(last);
            let kept = |key: &Bytes| key == keys::TRANSFER || key == keys::INSTALLATION;
            let ops = found.iter().filter(|(key, _)| !kept(key));
            let ops: Vec<Op> = ops.map(|(key, _)| Op::Clear { key: key.clone() }).collect();
            if !ops.is_empty() {
                self.commit(ops, true).await?;
            }
            from = next;
        }
    }

    /// Turns the clearing into the copy proper.
    pub(crate) async fn turn(&mut self, phase: Phase) -> Result<(), StoreError> {
        self.phase = phase;
        self.commit(Vec::new(), true).await
    }

    /// Ends the copy: the store is whole, its inbox logs are new. `epoch` is the source's.
    pub(crate) async fn finish(mut self, epoch: u32) -> Result<u32, StoreError> {
        let [held] = self.store.known([Bytes::from_static(keys::INSTALLATION)]).await?;
        let held = store::inbox_epoch(held.known.as_deref())?;
        let next =
            held.max(epoch).checked_add(1).ok_or(StoreError::BadArgument("no epoch left"))?;
        let value = rows::encode(&InstallationRow { inbox_epoch: next });
        let installation = Op::Set { key: Bytes::from_static(keys::INSTALLATION), value };
        self.commit(vec![installation], false).await?;
        self.store.note_inbox_epoch(next);
        Ok(next)
    }

    /// Commits operations and moves the transfer row, or (not `stays`) removes it.
    async fn commit(&mut self, mut ops: Vec<Op>, stays: bool) -> Result<(), StoreError> {
        let key = self.guard.key.clone();
        let value = stays.then(|| {
            rows::encode(&TransferRow {
                source: self.source,
                phase: self.phase.code(),
                last_key: &self.last_key,
                rows: self.rows,
            })
        });
        ops.push(match &value {
            Some(value) => Op::Set { key: key.clone(), value: value.clone() },
            None => Op::Clear { key: key.clone() },
        });
        let mut attempts = Attempts::new();
        loop {
            attempts.begin()?;
            let plan = Plan { guards: vec![self.guard.clone()], ops: ops.clone() };
            if let Some(version) = attempts.settle(self.store.commit(plan).await)? {
                self.guard = Guard { key, known: value, version };
                return Ok(());
            }
            let [now] = attempts.read(self.store.known([key.clone()]).await)?;
            if attempts.in_doubt() && now.known == value {
                self.guard = now;
                return Ok(());
            }
            // Another copy moved the row: it isn't ours.
            if now.known != self.guard.known {
                return Err(StoreError::Busy);
            }
            self.guard = now;
        }
    }
}

/// Rows of a store that a copy has, in order from a key on: at most [`CHUNK`], and where to go on.
pub(crate) async fn source_rows<V: View>(
    view: &V,
    from: &[u8],
    copy: crate::tally::Copy,
) -> Result<(Vec<(Bytes, Bytes)>, Option<Bytes>), ReadError> {
    let mut rows = view.range(from, END, CHUNK, false).await?;
    let next = match rows.last() {
        Some((last, _)) if rows.len() == CHUNK => Some(keys::successor(last)),
        _ => None,
    };
    rows.retain(|(key, _)| copy.holds(key));
    // Most rows of a store may be of a kind that stays behind (inbox pointers): pass them at once.
    let next = match (next, rows.is_empty()) {
        (Some(next), true) => skip_tag(next, copy),
        (next, _) => next,
    };
    Ok((rows, next))
}

/// Where to go on when everything at `next` of its tag stays behind.
fn skip_tag(next: Bytes, copy: crate::tally::Copy) -> Option<Bytes> {
    if copy.holds(&next) {
        return Some(next);
    }
    next.first().and_then(|tag| schema::after_tag(*tag))
}
