//! Rotation of the keys that sign access tokens.
//!
//! ```text
//! written ---- LEAD ---> signs ---- key_rotation_days ---> the next one signs
//!                                                          | access_ttl_s and leeway
//!                                                          '---------> forgotten
//! ```
//!
//! Every node reads the ring each [`LOOK`], so all know a key long before the first token is signed
//! with it, whichever node added it. Two nodes that add one at once end up with the first one's.

use super::password::random;
use super::{Identity, IdentityError, LEEWAY_S, on_store};
use crate::clock::now_ms;
use crate::store::Store;
use rookery_store::{SigningKey, StoreError};
use std::time::Duration;

/// Between two looks at the ring.
const LOOK: Duration = Duration::from_secs(15);
/// From writing a key to signing with it: several looks, and the clocks may differ.
const LEAD_S: u64 = 120;
const DAY_S: u64 = 86_400;

/// What an installation keeps secret.
pub(crate) struct Secrets {
    /// Drawn once.
    pub(crate) secret: [u8; 32],
    /// The keys that sign.
    pub(crate) ring: Vec<SigningKey>,
}

impl Secrets {
    /// Reads them; the first node to start draws the secret.
    pub(crate) async fn read(store: &Store) -> Result<Self, StoreError> {
        let candidate =
            random().ok_or(StoreError::BadArgument("the system has no random numbers"))?;
        let secret = store.signing_key(candidate).await?;
        Ok(Self { secret, ring: store.key_ring().await? })
    }
}

/// Follows the ring, and adds a key when it is time. Never returns.
pub(crate) async fn keep_keys(identity: &Identity, rotation_days: u64) {
    loop {
        tokio::time::sleep(LOOK).await;
        if let Err(error) = look(identity, rotation_days).await {
            tracing::warn!(?error, "the signing keys could not be looked at");
        }
    }
}

async fn look(identity: &Identity, rotation_days: u64) -> Result<(), IdentityError> {
    let shared = &identity.shared;
    let ring = on_store(&shared.store, |store| async move { store.key_ring().await }).await??;
    identity.tokens().replace(&ring)?;
    let every_s = rotation_days.saturating_mul(DAY_S);
    let Some(newest) = due(&ring, now_ms() / 1000, every_s) else { return Ok(()) };
    let kept_from = oldest_needed(&ring, now_ms() / 1000, shared.access_ttl_s);
    let seed = random().ok_or(IdentityError::Internal)?;
    let signs_from_s = (now_ms() / 1000).saturating_add(LEAD_S);
    let added = on_store(&shared.store, move |store| async move {
        store.add_signing_key(newest, seed, signs_from_s, kept_from).await
    });
    identity.tokens().replace(&added.await??)?;
    tracing::info!("a new signing key was added");
    Ok(())
}

/// The newest key, if another one is due. The age of an installation's first key is not known: it
/// counts as old.
fn due(ring: &[SigningKey], now_s: u64, every_s: u64) -> Option<u32> {
    let newest = ring.last()?;
    let over = newest.signs_from_s.saturating_add(every_s) <= now_s;
    (every_s > 0 && over).then_some(newest.id)
}

/// The oldest key that tokens which are still good may be signed with.
fn oldest_needed(ring: &[SigningKey], now_s: u64, access_ttl_s: u64) -> u32 {
    // A node with an old ring signs with an old key for a while longer.
    let longest_s = access_ttl_s.saturating_add(LEEWAY_S).saturating_add(LEAD_S);
    let over = |key: &&SigningKey| key.signs_from_s.saturating_add(longest_s) <= now_s;
    ring.iter().rev().find(over).or(ring.first()).map_or(0, |key| key.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: u32, signs_from_s: u64) -> SigningKey {
        SigningKey { id, seed: [0; 32], signs_from_s }
    }

    #[test]
    fn a_key_is_due_when_the_newest_has_signed_long_enough() {
        let ring = [key(0, 0), key(1, 1_000)];
        assert_eq!(due(&ring, 1_099, 100), None);
        assert_eq!(due(&ring, 1_100, 100), Some(1));
        assert_eq!(due(&ring, u64::MAX, 0), None, "rotation is switched off");
        assert_eq!(due(&[], 1_100, 100), None);
    }

    #[test]
    fn a_key_is_needed_until_its_last_token_has_expired() {
        let ring = [key(3, 0), key(4, 1_000), key(5, 2_000)];
        let over_s = 600 + LEEWAY_S + LEAD_S;
        assert_eq!(oldest_needed(&ring, 1_000, 600), 3);
        assert_eq!(oldest_needed(&ring, 1_000 + over_s - 1, 600), 3);
        assert_eq!(oldest_needed(&ring, 1_000 + over_s, 600), 4);
        assert_eq!(oldest_needed(&ring, 2_000 + over_s, 600), 5);
        assert_eq!(oldest_needed(&[], 9, 600), 0);
    }
}
