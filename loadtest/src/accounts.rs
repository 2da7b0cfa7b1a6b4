//! Who takes part: accounts are signed up (or logged in, when an earlier run made them), with a
//! bounded number of calls at a time. None of it is measured.

use crate::run::RunError;
use rookery_client::{Api, ApiError, Login};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Pause before a call that failed for a while is made again.
const PAUSE: Duration = Duration::from_millis(200);
/// How often a call is made again.
const ATTEMPTS: u32 = 50;

/// Name and password of the `n`th user of a run with this seed.
fn credentials(seed: u64, n: usize) -> (String, String) {
    (format!("lt-{seed:x}-{n}"), format!("load test {seed:x} {n}"))
}

/// The name of the `n`th user.
pub(crate) fn name(seed: u64, n: usize) -> String {
    credentials(seed, n).0
}

/// Log-ins of `users` users with `devices` devices each: those of user 0 first.
pub(crate) async fn log_in_all(
    base: &str,
    seed: u64,
    users: usize,
    devices: usize,
    at_a_time: usize,
    done: Arc<AtomicUsize>,
) -> Result<Vec<Login>, RunError> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..at_a_time.min(users) {
        let api = Api::new(base).map_err(|e| RunError::new(format!("{base}: {e}")))?;
        workers.spawn(worker(api, seed, users, devices, Arc::clone(&next), Arc::clone(&done)));
    }
    let mut all = Vec::with_capacity(users);
    while let Some(finished) = workers.join_next().await {
        all.extend(finished.map_err(|e| RunError::new(e.to_string()))??);
    }
    all.sort_unstable_by_key(|(user, _)| *user);
    Ok(all.into_iter().flat_map(|(_, logins)| logins).collect())
}

async fn worker(
    mut api: Api,
    seed: u64,
    users: usize,
    devices: usize,
    next: Arc<AtomicUsize>,
    done: Arc<AtomicUsize>,
) -> Result<Vec<(usize, Vec<Login>)>, RunError> {
    let mut mine = Vec::new();
    loop {
        let user = next.fetch_add(1, Ordering::Relaxed);
        if user >= users {
            return Ok(mine);
        }
        let (name, password) = credentials(seed, user);
        let mut logins = Vec::with_capacity(devices);
        for device in 0..devices {
            logins.push(log_in(&mut api, &name, &password, device == 0).await?);
        }
        mine.push((user, logins));
        done.fetch_add(1, Ordering::Relaxed);
    }
}

/// One device. The first one of a user tries to sign up.
async fn log_in(api: &mut Api, name: &str, password: &str, first: bool) -> Result<Login, RunError> {
    let mut sign_up = first;
    let mut attempt = 0;
    loop {
        let outcome = if sign_up {
            api.sign_up(name, password).await
        } else {
            api.log_in(name, password, Some("load test")).await
        };
        attempt += 1;
        match outcome {
            Ok(login) => return Ok(login),
            Err(ApiError::Status { code, .. }) if sign_up && code == "NameTaken" => sign_up = false,
            Err(e) if e.retryable() && attempt < ATTEMPTS => tokio::time::sleep(PAUSE).await,
            Err(e) => return Err(RunError::new(format!("account {name}: {e}"))),
        }
    }
}
