//! Passwords: argon2id in a small, bounded pool.
//!
//! One hash takes 19 MiB and 20 to 40 ms of a core, so a flood of log-ins is the cheapest attack
//! there is. Two bounds hold it: so many hashes at a time, and so many requests that wait.
//!
//! Safety: a password is in memory until its hash is done and nowhere else. An unknown user costs
//! the same time as a wrong password.

use super::argon::{self, Cost, Scratch};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;

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
    /// All of them: when every place is free, nobody waits.
    all_places: usize,
    /// Memory of hashes that are done, kept while others wait.
    spare: Arc<Mutex<Vec<Scratch>>>,
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
        let nobody = hash(cost, &unguessable, &mut Scratch::new())?;
        let threads = threads.clamp(1, Semaphore::MAX_PERMITS / 2);
        let places = threads.saturating_add(queue).min(Semaphore::MAX_PERMITS);
        Ok(Self {
            cost,
            places: Arc::new(Semaphore::new(places)),
            running: Arc::new(Semaphore::new(threads)),
            all_places: places,
            spare: Arc::default(),
            nobody: nobody.into(),
        })
    }

    /// The hash of a new password, as text that carries its salt and cost.
    ///
    /// # Errors
    /// [`PasswordError`].
    pub async fn hash(&self, password: String) -> Result<String, PasswordError> {
        let cost = self.cost;
        self.run(move |scratch| hash(cost, password.as_bytes(), scratch)).await
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
        self.run(move |scratch| {
            let known = stored.is_some();
            let stored = stored.as_deref().unwrap_or(&nobody);
            Ok(argon::verify(password.as_bytes(), stored, scratch)? && known)
        })
        .await
    }

    /// Runs a hash on a blocking thread. The permits go with it: when the caller gives up, the
    /// hash still counts until it is done.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Scratch) -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            metrics::counter!("rookery_passwords_refused_total").increment(1);
            return Err(PasswordError::Busy);
        };
        let turn =
            Arc::clone(&self.running).acquire_owned().await.map_err(|_| PasswordError::Failed)?;
        let pool = self.clone();
        let done = tokio::task::spawn_blocking(move || {
            let mut scratch = pool.spare().pop().unwrap_or_else(Scratch::new);
            let result = work(&mut scratch);
            pool.spare().push(scratch);
            drop((place, turn));
            pool.give_back_when_idle();
            result
        });
        done.await.map_err(|_| PasswordError::Failed)?
    }

    fn spare(&self) -> std::sync::MutexGuard<'_, Vec<Scratch>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the spare memory back when nobody runs or waits. Who comes here last, after letting
    /// its place go, sees every place free.
    fn give_back_when_idle(&self) {
        if self.places.available_permits() >= self.all_places {
            self.spare().clear();
        }
    }
}

fn hash(cost: Cost, password: &[u8], scratch: &mut Scratch) -> Result<String, PasswordError> {
    let salt = random::<16>().ok_or(PasswordError::Failed)?;
    argon::hash(cost, password, &salt, scratch)
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
            let wait = move |_: &mut Scratch| {
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
        assert!(pool.spare().is_empty(), "memory is kept although nobody waits");
    }

    #[tokio::test]
    async fn the_memory_of_many_hashes_is_given_back() {
        let Some(before) = crate::process::resident_bytes() else {
            println!("SKIPPED: there is no /proc here");
            return;
        };
        let pool = Passwords::new(Cost::Full, 2, 64).unwrap();
        for _ in 0..4 {
            let hashes = (0..16).map(|n| pool.hash(format!("password {n}")));
            for hash in futures_util::future::join_all(hashes).await {
                assert!(hash.unwrap().starts_with("$argon2id$v=19$m=19456,"));
            }
        }
        let grown = crate::process::resident_bytes().unwrap() - before;
        // 64 hashes use 1.2 GiB one after the other; tests beside this one hold a few buffers.
        assert!(grown < 200e6, "grew by {grown} bytes");
    }
}
