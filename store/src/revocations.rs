//! The log of revoked devices: how a node learns of a revocation whose hint got lost.
//!
//! A revocation is told to the other nodes at once, but such news is a hint. The commit that
//! revokes a device therefore also appends to this log, and every node reads the log's new rows
//! about once a second. Stamps rise with commit order and a reader remembers the last one it saw,
//! so no row is passed over.
//!
//! Rows are needed until every node has read them. Whoever reads may remove old ones: a node that
//! saw nothing for longer than that was declared dead and has no sessions left.

use crate::engine::{Engine, ReadError, View};
use crate::error::StoreError;
use crate::keys::{self, own};
use crate::plan::{Op, Outcome, Plan, Stamp};
use crate::rows::{self, RevocationRow};
use crate::store::Store;
use rookery_protocol::{DeviceId, UserId};

/// Most rows that one read of the log returns.
pub const MAX_REVOCATIONS: usize = 1_000;

/// A device that was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Its place in the log.
    pub stamp: Stamp,
    /// Whose device.
    pub user: UserId,
    /// Which.
    pub device: DeviceId,
    /// When, Unix milliseconds.
    pub time_ms: u64,
}

/// The operation that appends to the log.
pub(crate) fn logged(user: UserId, device: DeviceId, time_ms: u64) -> Op {
    let value = rows::encode(&RevocationRow { user, device, time_ms });
    Op::SetStampedKey { prefix: own(keys::REVOCATIONS), value }
}

impl<E: Engine> Store<E> {
    /// The rows after a stamp, oldest first, at most [`MAX_REVOCATIONS`]; none: there is nothing
    /// new.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn revocations(&self, after: Stamp) -> Result<Vec<Revocation>, ReadError> {
        let from = keys::successor(&keys::revocation(after));
        let end = keys::prefix_end(keys::REVOCATIONS);
        let rows = self.latest().await?.range(&from, &end, MAX_REVOCATIONS, false).await?;
        let row = |(key, value): (bytes::Bytes, bytes::Bytes)| {
            let RevocationRow { user, device, time_ms } = rows::decode(&value)?;
            Ok(Revocation { stamp: keys::revocation_stamp(&key)?, user, device, time_ms })
        };
        rows.into_iter().map(row).collect()
    }

    /// Removes the rows from before `time_ms` (Unix milliseconds), at most [`MAX_REVOCATIONS`] at
    /// a time. Several nodes may do so at once.
    ///
    /// # Errors
    /// [`StoreError::Read`], [`StoreError::Busy`]. An outcome that is not known is none: the next
    /// call finds out.
    pub async fn forget_revocations(&self, time_ms: u64) -> Result<(), StoreError> {
        let oldest = self.revocations(Stamp::default()).await?;
        let old = oldest.iter().take_while(|row| row.time_ms < time_ms);
        let Some(last) = old.last() else { return Ok(()) };
        let (from, to) = (own(keys::REVOCATIONS), keys::successor(&keys::revocation(last.stamp)));
        let plan = Plan { guards: Vec::new(), ops: vec![Op::ClearRange { from, to }] };
        match self.commit(plan).await {
            Outcome::Busy => Err(StoreError::Busy),
            _ => Ok(()),
        }
    }
}
