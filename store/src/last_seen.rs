//! When a user was last connected.

use crate::engine::{Engine, ReadError, View};
use crate::error::{Attempts, StoreError};
use crate::plan::{Op, Plan};
use crate::{keys, rows, store::Store};
use rookery_protocol::UserId;

/// The plan that notes that `user` was connected at `ms` (Unix milliseconds); an earlier time than
/// the one held changes nothing, so it may be committed again at will.
#[must_use]
pub fn last_seen_plan(user: UserId, ms: u64) -> Plan {
    let key = keys::own(keys::last_seen(user));
    let value = keys::own(rows::encode_rising(ms));
    Plan { guards: Vec::new(), ops: vec![Op::ByteMax { key, value }] }
}

impl<E: Engine> Store<E> {
    /// Notes that `user` was connected at `ms` (Unix milliseconds); an earlier time than the one
    /// held changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Busy`], [`StoreError::Unresolved`].
    pub async fn set_last_seen(&self, user: UserId, ms: u64) -> Result<(), StoreError> {
        let plan = last_seen_plan(user, ms);
        let mut attempts = Attempts::new();
        loop {
            attempts.begin()?;
            // Taking the greater twice is taking it once: an attempt in doubt is just repeated.
            if attempts.settle(self.commit(plan.clone()).await)?.is_some() {
                return Ok(());
            }
        }
    }

    /// When `user` was last connected, Unix milliseconds.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn last_seen(&self, user: UserId) -> Result<Option<u64>, ReadError> {
        let row = self.latest().await?.get(&keys::last_seen(user)).await?;
        row.map(|value| rows::decode_rising(&value, "last seen")).transpose()
    }
}
