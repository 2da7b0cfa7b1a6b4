//! The keys that sign access tokens: one at a time, each replaced after a while.
//!
//! An installation draws a secret once ([`Store::signing_key`]). It is the first signing key and,
//! for as long as the installation lives, what refresh tokens are derived with. Every later key is
//! drawn on its own and stands in one row, the key ring.
//!
//! A key is written before it signs, so that every node knows it by then, and stays after the last
//! token it signed has expired. When that is, is the caller's to know: it says from when a key
//! signs, and which old ones may go.

use crate::engine::{Engine, ReadError, View};
use crate::error::{Attempts, StoreError};
use crate::keys;
use crate::plan::{Op, Plan};
use crate::rows::{self, KeyRingRow, KeyRow, SigningRow};
use crate::store::Store;
use bytes::Bytes;
use std::fmt;

/// Most keys of the ring. Rotations so quick that tokens of more keys are about are refused.
pub const MAX_SIGNING_KEYS: usize = 16;

/// A key that signs or signed access tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// Its number; tokens carry it. The first key of an installation is 0.
    pub id: u32,
    /// Its Ed25519 seed.
    pub seed: [u8; 32],
    /// It signs from then on, Unix seconds, until the next key does.
    pub signs_from_s: u64,
}

// A seed never reaches a log through `{:?}`.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("id", &self.id)
            .field("signs_from_s", &self.signs_from_s)
            .finish_non_exhaustive()
    }
}

impl<E: Engine> Store<E> {
    /// The keys, in the order they were made; never empty once [`Store::signing_key`] was called.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn key_ring(&self) -> Result<Vec<SigningKey>, ReadError> {
        let view = self.latest().await?;
        match view.get(keys::KEY_RING).await? {
            Some(value) => ring(&value),
            None => match view.get(keys::SIGNING_KEY).await? {
                Some(value) => Ok(vec![first(rows::decode::<SigningRow>(&value)?.seed)]),
                None => Ok(Vec::new()),
            },
        }
    }

    /// Adds a key with this seed after the newest one, unless that is no longer `newest`, and
    /// removes the keys before `kept_from`. Returns the ring as it is then.
    ///
    /// # Errors
    /// [`StoreError::BadArgument`] when there are too many keys, or the key would sign earlier than
    /// the newest one, and those of any commit.
    pub async fn add_signing_key(
        &self,
        newest: u32,
        seed: [u8; 32],
        signs_from_s: u64,
        kept_from: u32,
    ) -> Result<Vec<SigningKey>, StoreError> {
        let mut attempts = Attempts::new();
        loop {
            attempts.begin()?;
            let wanted =
                [Bytes::from_static(keys::KEY_RING), Bytes::from_static(keys::SIGNING_KEY)];
            let [row, secret] = attempts.read(self.known(wanted).await)?;
            let mut keys = match (&row.known, &secret.known) {
                (Some(value), _) => attempts.read(ring(value))?,
                (None, Some(value)) => {
                    vec![first(attempts.read(rows::decode::<SigningRow>(value))?.seed)]
                }
                (None, None) => Vec::new(),
            };
            let Some(last) = keys.last().filter(|last| last.id == newest) else {
                return Ok(keys);
            };
            let id = newest.checked_add(1).filter(|_| last.signs_from_s <= signs_from_s);
            let id = id.ok_or(StoreError::BadArgument("the order of signing keys"))?;
            keys.retain(|key| key.id >= kept_from);
            keys.push(SigningKey { id, seed, signs_from_s });
            if keys.len() > MAX_SIGNING_KEYS {
                return Err(StoreError::BadArgument("the number of signing keys"));
            }
            let stored = keys.iter().map(|key| KeyRow {
                id: key.id,
                seed: key.seed,
                signs_from_s: key.signs_from_s,
            });
            let value = rows::encode(&KeyRingRow { keys: stored.collect() });
            let ops = vec![Op::Set { key: row.key.clone(), value }];
            let plan = Plan { guards: vec![row, secret], ops };
            if attempts.settle(self.commit(plan).await)?.is_some() {
                return Ok(keys);
            }
        }
    }
}

fn first(seed: [u8; 32]) -> SigningKey {
    SigningKey { id: 0, seed, signs_from_s: 0 }
}

fn ring(value: &[u8]) -> Result<Vec<SigningKey>, ReadError> {
    let keys = rows::decode::<KeyRingRow>(value)?.keys;
    let key = |KeyRow { id, seed, signs_from_s }| SigningKey { id, seed, signs_from_s };
    Ok(keys.into_iter().map(key).collect())
}
