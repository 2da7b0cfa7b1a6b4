//! Who is who: accounts, passwords, devices, access and refresh tokens.
//!
//! ```text
//! sign up  name + password -> account, device, tokens
//! log in   name + password -> a new device, tokens
//! refresh  refresh token   -> the same device, tokens; a second use revokes the device
//! ```
//!
//! Safety: an unknown user and a wrong password answer alike and take alike. No password or token
//! reaches a log, a metric or an error. An operation that has begun runs to its end even when its
//! client leaves, so that no commit is half told; how many may run is bounded.

mod argon;
mod hex;
mod password;
mod refresh;
mod token;

pub use argon::Cost;
pub use password::{PasswordError, Passwords};
pub use refresh::RefreshToken;
pub use token::{Claims, LEEWAY_S, SigningFailed, TokenError, Tokens};

use crate::clock::now_ms;
use password::random;
use rookery_cluster_config::{Config, SignUp};
use rookery_protocol::limits::{MAX_NAME_BYTES, MIN_NAME_BYTES};
use rookery_protocol::{DeviceId, UserId};
use rookery_store::{Account, DeviceRow, ReadError, RefreshRow, Rotated, Store, StoreError};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Fewest and most bytes of a password.
pub const PASSWORD_BYTES: std::ops::RangeInclusive<usize> = 8..=256;
/// Most bytes of a device's name; a longer one is cut.
pub const MAX_DEVICE_NAME_BYTES: usize = 64;
/// Most time an operation may take before its client is told that the store is unavailable.
const PATIENCE: Duration = Duration::from_secs(5);
/// Times a random id is drawn anew when it is in use.
const ID_ATTEMPTS: usize = 4;

/// What a device needs to connect. Its tokens are shown once.
pub struct Credentials {
    /// Whose.
    pub user: UserId,
    /// The user's unique name.
    pub name: String,
    /// Which device.
    pub device: DeviceId,
    /// For `Hello`.
    pub access_token: String,
    /// Unix milliseconds at which it ends.
    pub access_expires_ms: u64,
    /// For the next refresh.
    pub refresh_token: RefreshToken,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .field("device", &self.device)
            .finish_non_exhaustive()
    }
}

/// Why nobody was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityError {
    /// The name is not 2 to 32 of a-z, 0-9, `_`, `.` and `-`.
    BadName,
    /// The password is not 8 to 256 bytes long.
    BadPassword,
    /// Another account holds the name.
    NameTaken,
    /// Sign-up is closed.
    SignUpClosed,
    /// No such user, or not the password.
    WrongCredentials,
    /// The refresh token is unknown, expired or was used before.
    BadToken,
    /// Too many requests wait.
    Busy,
    /// The store can't be reached, or did not answer in time; what was asked may have happened.
    StoreUnavailable,
    /// A fault of the node; it was logged.
    Internal,
}

impl From<PasswordError> for IdentityError {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Busy => Self::Busy,
            PasswordError::Failed => internal(&error),
        }
    }
}

impl From<StoreError> for IdentityError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NameTaken => Self::NameTaken,
            StoreError::Busy => Self::Busy,
            StoreError::Unresolved | StoreError::Read(ReadError::Unavailable(_)) => {
                Self::StoreUnavailable
            }
            StoreError::Read(ReadError::Damaged(_))
            | StoreError::NotAMember
            | StoreError::IdTaken
            | StoreError::BadArgument(_)
            | StoreError::UnknownUser => internal(&error),
        }
    }
}

impl From<ReadError> for IdentityError {
    fn from(error: ReadError) -> Self {
        StoreError::Read(error).into()
    }
}

impl From<SigningFailed> for IdentityError {
    fn from(error: SigningFailed) -> Self {
        internal(&error)
    }
}

fn internal(error: &dyn std::error::Error) -> IdentityError {
    tracing::error!(%error, "an identity operation failed");
    IdentityError::Internal
}

/// The service. Clones share it.
#[derive(Clone, Debug)]
pub struct Identity {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    passwords: Passwords,
    tokens: Tokens,
    sign_up: SignUp,
    access_ttl_s: u64,
    refresh_ttl_ms: u64,
    /// Operations under way.
    places: Arc<Semaphore>,
}

impl Identity {
    /// The service of a node; `seed` is the installation's signing key.
    ///
    /// # Errors
    /// [`IdentityError::Internal`] when the hasher or the signing key can't be used.
    pub fn new(
        config: &Config,
        cost: Cost,
        store: Store,
        seed: &[u8; 32],
    ) -> Result<Self, IdentityError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = config.passwords.threads.or(cores / 2);
        let queue = config.passwords.queue;
        let places = threads.saturating_add(queue).min(Semaphore::MAX_PERMITS);
        let shared = Shared {
            store,
            passwords: Passwords::new(cost, threads, queue)?,
            tokens: Tokens::new(seed)?,
            sign_up: config.limits.sign_up,
            access_ttl_s: config.tokens.access_ttl_s,
            refresh_ttl_ms: config.tokens.refresh_ttl_s.saturating_mul(1000),
            places: Arc::new(Semaphore::new(places)),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Signs and verifies access tokens.
    #[must_use]
    pub fn tokens(&self) -> &Tokens {
        &self.shared.tokens
    }

    /// Makes an account and its first device.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub async fn sign_up(
        &self,
        name: String,
        password: String,
        device_name: Option<String>,
    ) -> Result<Credentials, IdentityError> {
        if self.shared.sign_up == SignUp::Closed {
            return Err(IdentityError::SignUpClosed);
        }
        let name = folded(&name).ok_or(IdentityError::BadName)?;
        if !PASSWORD_BYTES.contains(&password.len()) {
            return Err(IdentityError::BadPassword);
        }
        self.run(move |shared| async move { shared.sign_up(name, password, device_name).await })
            .await
    }

    /// Makes a device of an account.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub async fn log_in(
        &self,
        name: String,
        password: String,
        device_name: Option<String>,
    ) -> Result<Credentials, IdentityError> {
        self.run(move |shared| async move { shared.log_in(&name, password, device_name).await })
            .await
    }

    /// Trades a refresh token for fresh tokens. The second field names a device that was revoked
    /// because its token came a second time: the caller closes its connections.
    pub async fn refresh(
        &self,
        token: &str,
    ) -> (Result<Credentials, IdentityError>, Option<(UserId, DeviceId)>) {
        let Some(token) = RefreshToken::parse(token) else {
            return (Err(IdentityError::BadToken), None);
        };
        let done = self.run(move |shared| async move { Ok(shared.refresh(&token).await) }).await;
        match done {
            Ok(Ok(credentials)) => (Ok(credentials), None),
            Ok(Err(Refused { error, revoked })) => (Err(error), revoked),
            Err(error) => (Err(error), None),
        }
    }

    /// Runs an operation as a task of its own, within the bound, for as long as [`PATIENCE`].
    async fn run<T, F>(&self, operation: impl FnOnce(Arc<Shared>) -> F) -> Result<T, IdentityError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, IdentityError>> + Send + 'static,
    {
        let place =
            Arc::clone(&self.shared.places).try_acquire_owned().map_err(|_| IdentityError::Busy)?;
        let operation = operation(Arc::clone(&self.shared));
        let task = tokio::spawn(async move {
            let result = operation.await;
            drop(place);
            result
        });
        match tokio::time::timeout(PATIENCE, task).await {
            Ok(Ok(result)) => result,
            Ok(Err(panicked)) => Err(internal(&panicked)),
            Err(_) => Err(IdentityError::StoreUnavailable),
        }
    }
}

/// Why a refresh was refused, and the device that was revoked for it.
struct Refused {
    error: IdentityError,
    revoked: Option<(UserId, DeviceId)>,
}

impl<E: Into<IdentityError>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self { error: error.into(), revoked: None }
    }
}

impl Shared {
    async fn sign_up(
        self: Arc<Self>,
        name: String,
        password: String,
        device_name: Option<String>,
    ) -> Result<Credentials, IdentityError> {
        // A taken name is told before a hash is spent on it; the commit decides all the same.
        let wanted = name.clone();
        let taken = on_store(&self.store, move |store| async move {
            store.account_by_name(&wanted).await.map(|account| account.is_some())
        });
        if taken.await?? {
            return Err(IdentityError::NameTaken);
        }
        let password_hash = self.passwords.hash(password).await?;
        let user = self.create_account(name.clone(), password_hash).await?;
        let credentials = self.new_device(user, name, device_name).await?;
        metrics::counter!("rookery_sign_ups_total").increment(1);
        Ok(credentials)
    }

    async fn log_in(
        self: Arc<Self>,
        name: &str,
        password: String,
        device_name: Option<String>,
    ) -> Result<Credentials, IdentityError> {
        // A name or password that no account can have goes the same way as an unknown one.
        let account = match folded(name) {
            Some(name) => {
                let found = on_store(&self.store, move |store| async move {
                    store.account_by_name(&name).await
                });
                found.await??
            }
            None => None,
        };
        let possible = PASSWORD_BYTES.contains(&password.len());
        let password = if possible { password } else { String::new() };
        let stored = account.as_ref().map(|account| account.password_hash.clone());
        let fits = self.passwords.verify(password, stored).await?;
        let account = account.filter(|_| fits && possible);
        let outcome = if account.is_some() { "good" } else { "refused" };
        metrics::counter!("rookery_log_ins_total", "outcome" => outcome).increment(1);
        let account = account.ok_or(IdentityError::WrongCredentials)?;
        self.new_device(account.user, account.name, device_name).await
    }

    async fn refresh(self: Arc<Self>, token: &RefreshToken) -> Result<Credentials, Refused> {
        let fresh = RefreshToken::generate().ok_or(IdentityError::Internal)?;
        let (old, new, now) = (token.hash(), fresh.hash(), now_ms());
        let expires = now.saturating_add(self.refresh_ttl_ms);
        let rotated = on_store(&self.store, move |store| async move {
            store.rotate_refresh(old, new, now, expires).await
        });
        let (user, device) = match rotated.await?? {
            Rotated::Ok { user, device } => (user, device),
            Rotated::Unknown | Rotated::Expired => return Err(IdentityError::BadToken.into()),
            Rotated::Reused { user, device } => {
                tracing::warn!(%user, %device, "a refresh token came twice; its device is revoked");
                metrics::counter!("rookery_refresh_reused_total").increment(1);
                return Err(Refused {
                    error: IdentityError::BadToken,
                    revoked: Some((user, device)),
                });
            }
        };
        let account =
            on_store(&self.store, move |store| async move { store.account(user).await }).await??;
        let name = account.ok_or(IdentityError::BadToken)?.name;
        Ok(self.credentials(user, name, device, fresh)?)
    }

    async fn create_account(
        &self,
        name: String,
        password_hash: String,
    ) -> Result<UserId, IdentityError> {
        for _ in 0..ID_ATTEMPTS {
            let user = UserId(random_id()?);
            let account = Account {
                user,
                name: name.clone(),
                password_hash: password_hash.clone(),
                created_ms: now_ms(),
            };
            let created =
                on_store(
                    &self.store,
                    move |store| async move { store.create_account(&account).await },
                );
            match created.await? {
                Err(StoreError::IdTaken) => {}
                done => return Ok(done.map(|()| user)?),
            }
        }
        Err(internal(&StoreError::IdTaken))
    }

    /// Makes a device and its tokens.
    async fn new_device(
        &self,
        user: UserId,
        name: String,
        device_name: Option<String>,
    ) -> Result<Credentials, IdentityError> {
        let refresh_token = RefreshToken::generate().ok_or(IdentityError::Internal)?;
        let hash = refresh_token.hash();
        for _ in 0..ID_ATTEMPTS {
            let device = DeviceId(random_id()?);
            let now = now_ms();
            let row = DeviceRow {
                user,
                device,
                name: device_label(device_name.as_deref()),
                created_ms: now,
                revoked: false,
            };
            let expires_ms = now.saturating_add(self.refresh_ttl_ms);
            let created = on_store(&self.store, move |store| async move {
                store.create_device(&row).await?;
                store.put_refresh(hash, &RefreshRow { user, device, expires_ms }).await
            });
            match created.await? {
                Err(StoreError::IdTaken) => {}
                done => {
                    done?;
                    return self.credentials(user, name, device, refresh_token);
                }
            }
        }
        Err(internal(&StoreError::IdTaken))
    }

    fn credentials(
        &self,
        user: UserId,
        name: String,
        device: DeviceId,
        refresh_token: RefreshToken,
    ) -> Result<Credentials, IdentityError> {
        let issued_s = now_ms() / 1000;
        let expires_s = issued_s.saturating_add(self.access_ttl_s);
        let access_token = self.tokens.issue(Claims { user, device, issued_s, expires_s })?;
        let access_expires_ms = expires_s.saturating_mul(1000);
        Ok(Credentials { user, name, device, access_token, access_expires_ms, refresh_token })
    }
}

/// Calls the store; on a blocking thread when its reads do I/O while they are polled.
async fn on_store<T, F>(
    store: &Store,
    call: impl FnOnce(Store) -> F + Send + 'static,
) -> Result<T, IdentityError>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let store = store.clone();
    if !store.reads_block() {
        return Ok(call(store).await);
    }
    let runtime = tokio::runtime::Handle::current();
    let work = move || runtime.block_on(call(store));
    tokio::task::spawn_blocking(work).await.map_err(|error| internal(&error))
}

/// The name in lower case, if it may be one.
fn folded(name: &str) -> Option<String> {
    let name = name.to_ascii_lowercase();
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.-".contains(&b);
    let fits = (MIN_NAME_BYTES..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(good);
    fits.then_some(name)
}

/// A device's name: what its client says of it, cut, without control characters.
fn device_label(name: Option<&str>) -> String {
    let mut label = String::new();
    for c in name.unwrap_or_default().trim().chars().filter(|c| !c.is_control()) {
        if label.len() + c.len_utf8() > MAX_DEVICE_NAME_BYTES {
            break;
        }
        label.push(c);
    }
    if label.is_empty() { "unnamed".to_owned() } else { label }
}

/// A random id; never 0, which stands for "none" in several places.
fn random_id() -> Result<u64, IdentityError> {
    let bytes = random::<8>().ok_or(IdentityError::Internal)?;
    Ok(u64::from_be_bytes(bytes).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_folded_and_held_to_their_alphabet() {
        for (text, name) in [
            ("ada", Some("ada")),
            ("Ada.L-1_x", Some("ada.l-1_x")),
            ("a", None),
            ("", None),
            ("a b", None),
            ("\u{e4}da", None),
            ("a\n", None),
            ("a/b", None),
        ] {
            assert_eq!(folded(text).as_deref(), name, "{text:?}");
        }
        assert!(folded(&"a".repeat(32)).is_some());
        assert!(folded(&"a".repeat(33)).is_none());
    }

    #[test]
    fn a_device_label_is_cut_between_characters() {
        assert_eq!(device_label(None), "unnamed");
        assert_eq!(device_label(Some(" \u{7}\n ")), "unnamed");
        assert_eq!(device_label(Some(" Ada's phone\0 ")), "Ada's phone");
        let long = device_label(Some(&"\u{20ac}".repeat(40)));
        assert_eq!(long, "\u{20ac}".repeat(21));
    }
}
