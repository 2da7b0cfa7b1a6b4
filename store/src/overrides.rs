//! Limits that operators changed while nodes run, for all nodes: one row of numbers and values.
//!
//! What a number stands for is the node's to know; one that a node does not know is kept, so that
//! an older node in an upgrade loses nothing of a newer one.

use crate::engine::{Engine, ReadError, View};
use crate::error::{Attempts, StoreError};
use crate::keys;
use crate::plan::{Op, Plan};
use crate::rows::{self, OverrideRow, OverridesRow};
use crate::store::Store;
use bytes::Bytes;
use std::collections::BTreeMap;

/// Most limits of the row.
pub const MAX_OVERRIDES: usize = 64;

impl<E: Engine> Store<E> {
    /// The limits that differ from the configuration, by their numbers.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn overrides(&self) -> Result<BTreeMap<u8, u64>, ReadError> {
        decode(self.latest().await?.get(keys::OVERRIDES).await?.as_ref())
    }

    /// Changes limits: a value sets one, none gives it back to the configuration. Returns all that
    /// hold then.
    ///
    /// # Errors
    /// [`StoreError::BadArgument`] for more than [`MAX_OVERRIDES`], and those of any commit.
    pub async fn change_overrides(
        &self,
        changes: &BTreeMap<u8, Option<u64>>,
    ) -> Result<BTreeMap<u8, u64>, StoreError> {
        let mut attempts = Attempts::new();
        loop {
            attempts.begin()?;
            let [row] = attempts.read(self.known([Bytes::from_static(keys::OVERRIDES)]).await)?;
            let held = attempts.read(decode(row.known.as_ref()))?;
            let mut wanted = held.clone();
            for (number, value) in changes {
                match value {
                    Some(value) => wanted.insert(*number, *value),
                    None => wanted.remove(number),
                };
            }
            if wanted.len() > MAX_OVERRIDES {
                return Err(StoreError::BadArgument("the number of limits"));
            }
            if wanted == held {
                return Ok(held);
            }
            let limits =
                wanted.iter().map(|(number, value)| OverrideRow { number: *number, value: *value });
            let value = rows::encode(&OverridesRow { limits: limits.collect() });
            let ops = vec![Op::Set { key: row.key.clone(), value }];
            let plan = Plan { guards: vec![row], ops };
            if attempts.settle(self.commit(plan).await)?.is_some() {
                return Ok(wanted);
            }
        }
    }
}

fn decode(row: Option<&Bytes>) -> Result<BTreeMap<u8, u64>, ReadError> {
    let Some(value) = row else { return Ok(BTreeMap::new()) };
    let OverridesRow { limits } = rows::decode(value)?;
    Ok(limits.into_iter().map(|limit| (limit.number, limit.value)).collect())
}
