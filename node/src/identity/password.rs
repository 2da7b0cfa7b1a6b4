//! Passwords: argon2id in a small, bounded pool.
//!
//! One hash takes 19 MiB and some 20 ms of a core, so a flood of log-ins is the cheapest attack
//! there is. Two bounds hold it: so many hashes at a time, and so many requests that wait.
//!
//! Safety: a password is in memory until its hash is done and nowhere else. An unknown user costs
//! the same time as a wrong password.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use std::fmt;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// What a hash costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// 19 MiB, two passes, one lane: OWASP's first choice for argon2id.
    Full,
    /// 64 KiB, one pass: for load tests that make thousands of accounts. Never for real users.
    Low,
}

impl Cost {
    /// Reads `ROOKERY_DEV_PASSWORD_COST`: only `low` changes anything.
    #[must_use]
    pub fn from_environment() -> Self {
        match std::env::var("ROOKERY_DEV_PASSWORD_COST").as_deref() {
            Ok("low") => Self::Low,
            _ => Self::Full,
        }
    }

    fn hasher(self) -> Result<Argon2<'static>, PasswordError> {
        let (memory_kib, passes) = match self {
            Self::Full => (19 * 1024, 2),
            Self::Low => (64, 1),
        };
        let params = Params::new(memory_kib, passes, 1, None).map_err(|_| PasswordError::Failed)?;
        Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
    }
}

/// Why there is no answer about a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordError {
    /// As many requests wait as may.
    Busy,
    /// The hasher failed, or a stored hash is no hash.
    Failed,
}

impl fmt::Display for PasswordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy => "too many passwords are waiting to be hashed",
            Self::Failed => "the password hasher failed",
        })
    }
}

impl std::error::Error for PasswordError {}

/// The pool. Clones share it.
#[derive(Clone)]
pub struct Passwords {
    cost: Cost,
    /// Requests that run or wait.
    places: Arc<Semaphore>,
    /// Requests that run.
    running: Arc<Semaphore>,
    /// A hash no password fits, checked when the user is unknown.
    nobody: Arc<str>,
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords").field("cost", &self.cost).finish_non_exhaustive()
    }
}

impl Passwords {
    /// A pool that hashes `threads` passwords at a time while at most `queue` more wait. It hashes
    /// one password here and now.
    ///
    /// # Errors
    /// [`PasswordError::Failed`] when the hasher or the random source does.
    pub fn new(cost: Cost, threads: usize, queue: usize) -> Result<Self, PasswordError> {
        let unguessable = random::<32>().ok_or(PasswordError::Failed)?;
        let nobody = hash(cost, &unguessable)?;
        let threads = threads.clamp(1, Semaphore::MAX_PERMITS / 2);
        let places = threads.saturating_add(queue).min(Semaphore::MAX_PERMITS);
        Ok(Self {
            cost,
            places: Arc::new(Semaphore::new(places)),
            running: Arc::new(Semaphore::new(threads)),
            nobody: nobody.into(),
        })
    }

    /// The hash of a new password, as text that carries its salt and cost.
    ///
    /// # Errors
    /// [`PasswordError`].
    pub async fn hash(&self, password: String) -> Result<String, PasswordError> {
        let cost = self.cost;
        self.run(move || hash(cost, password.as_bytes())).await
    }

    /// Whether the password fits the stored hash; `None` for a user that doesn't exist takes as
    /// long and answers false.
    ///
    /// # Errors
    /// [`PasswordError`].
    pub async fn verify(
        &self,
        password: String,
        stored: Option<String>,
    ) -> Result<bool, PasswordError> {
        let nobody = Arc::clone(&self.nobody);
        let cost = self.cost;
        self.run(move || {
            let known = stored.is_some();
            let parsed = PasswordHash::new(stored.as_deref().unwrap_or(&nobody))
                .map_err(|_| PasswordError::Failed)?;
            // The cost checked is the one the hash was made with, not today's.
            let fits = cost.hasher()?.verify_password(password.as_bytes(), &parsed).is_ok();
            Ok(known && fits)
        })
        .await
    }

    /// Runs a hash on a blocking thread. The permits go with it: when the caller gives up, the
    /// hash still counts until it is done.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            metrics::counter!("rookery_passwords_refused_total").increment(1);
            return Err(PasswordError::Busy);
        };
        let turn =
            Arc::clone(&self.running).acquire_owned().await.map_err(|_| PasswordError::Failed)?;
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop((place, turn));
            result
        });
        done.await.map_err(|_| PasswordError::Failed)?
    }
}

fn hash(cost: Cost, password: &[u8]) -> Result<String, PasswordError> {
    let salt = random::<16>().ok_or(PasswordError::Failed)?;
    let hash = cost
        .hasher()?
        .hash_password_with_salt(password, &salt)
        .map_err(|_| PasswordError::Failed)?;
    Ok(hash.to_string())
}

/// Bytes of the operating system's random source; `None` when it fails.
pub(crate) fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).ok().map(|()| bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_fits_its_own_hash_alone() {
        let pool = Passwords::new(Cost::Low, 2, 8).unwrap();
        let stored = pool.hash("correct horse".to_owned()).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{stored}");
        let verify = |password: &str, stored: &str| {
            pool.verify(password.to_owned(), Some(stored.to_owned()))
        };
        assert_eq!(verify("correct horse", &stored).await, Ok(true));
        assert_eq!(verify("correct horsf", &stored).await, Ok(false));
        assert_eq!(verify("", &stored).await, Ok(false));
        assert_eq!(pool.verify("correct horse".to_owned(), None).await, Ok(false));
        assert_eq!(verify("x", "not a hash").await, Err(PasswordError::Failed));
    }

    #[tokio::test]
    async fn a_hash_of_another_cost_still_verifies() {
        let full = Passwords::new(Cost::Full, 1, 8).unwrap();
        let stored = full.hash("correct horse".to_owned()).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        let low = Passwords::new(Cost::Low, 1, 8).unwrap();
        assert_eq!(low.verify("correct horse".to_owned(), Some(stored)).await, Ok(true));
    }

    #[tokio::test]
    async fn two_hashes_of_one_password_differ() {
        let pool = Passwords::new(Cost::Low, 1, 8).unwrap();
        let one = pool.hash("correct horse".to_owned()).await.unwrap();
        let two = pool.hash("correct horse".to_owned()).await.unwrap();
        assert_ne!(one, two);
    }

    #[tokio::test]
    async fn a_full_pool_refuses_at_once_and_recovers() {
        let pool = Passwords::new(Cost::Low, 1, 1).unwrap();
        let (release, held) = std::sync::mpsc::channel::<()>();
        let holder = pool.clone();
        let (started, running) = tokio::sync::oneshot::channel();
        let first = tokio::spawn(async move {
            let wait = move || {
                let _told = started.send(());
                held.recv().map_err(|_| PasswordError::Failed)
            };
            holder.run(wait).await
        });
        running.await.unwrap();
        let waiting = pool.hash("waits for its turn".to_owned());
        tokio::pin!(waiting);
        let polled = std::future::poll_fn(|cx| {
            std::task::Poll::Ready(Future::poll(waiting.as_mut(), cx).is_pending())
        });
        assert!(polled.await, "the second one waits");
        assert_eq!(pool.hash("one too many".to_owned()).await, Err(PasswordError::Busy));
        release.send(()).unwrap();
        assert_eq!(first.await.unwrap(), Ok(()));
        assert!(waiting.await.is_ok());
        assert!(pool.hash("room again".to_owned()).await.is_ok());
    }
}
