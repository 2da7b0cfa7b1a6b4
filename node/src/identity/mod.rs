//! Who is who: accounts, passwords, devices, access and refresh tokens.
//!
//! ```text
//! sign up  name + password -> account, device, tokens
//! log in   name + password -> a new device, tokens
//! refresh  refresh token   -> the same device, tokens; a second use revokes the device
//! ```
//!
//! `log_in` has these ways in (`lockout` slows who guesses), `accounts` and `devices` what becomes of them, `key_ring` the keys that sign.
//!
//! Safety: an unknown user and a wrong password answer alike and take alike. No password or token
//! reaches a log, a metric or an error. An operation that has begun runs to its end even when its
//! client leaves, so that no commit is half told; how many may run is bounded.

mod accounts;
mod argon;
mod devices;
mod external;
mod fetch;
pub(crate) mod hex;
mod issuer;
mod key_ring;
mod lockout;
mod log_in;
mod names;
mod operators;
mod password;
mod refresh;
mod token;

pub use accounts::ProfileChange;
pub use argon::Cost;
pub use devices::{DevicePage, Standing};
pub(crate) use key_ring::{Secrets, keep_keys};
pub use lockout::Lockout;
pub use log_in::{Attempt, Wanted};
pub use operators::Overview;
pub use password::{PasswordError, Passwords};
pub use refresh::{RefreshToken, SuccessionKey};
pub use token::{Claims, LEEWAY_S, SigningFailed, TokenError, Tokens};

use rookery_cluster_config::{Config, SignUp};
use rookery_protocol::{DeviceId, UserId};
use rookery_store::{ReadError, Store, StoreError};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// Fewest and most bytes of a password.
pub const PASSWORD_BYTES: std::ops::RangeInclusive<usize> = 8..=256;
/// Most bytes of a device's name; a longer one is cut.
pub const MAX_DEVICE_NAME_BYTES: usize = 64;
/// Most time an operation may take before its client is told that the store is unavailable.
const PATIENCE: Duration = Duration::from_secs(5);

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
    /// Sign-up is by invitation, and there was no good one.
    NotInvited,
    /// Too many wrong passwords: the time to wait.
    LockedOut(Duration),
    /// An operator, or its user, ended the account.
    ShutOut,
    /// A display name or avatar may not be one.
    BadProfile,
    /// No such user, or not the password.
    WrongCredentials,
    /// The token is unknown, expired or was used before.
    BadToken,
    /// The token is another device's.
    ForeignToken,
    /// The foreign token was good once.
    TokenExpired,
    /// No foreign issuer is configured.
    NoIssuer,
    /// There is no such thing.
    NotFound,
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
            StoreError::NotInvited => Self::NotInvited,
            StoreError::Busy => Self::Busy,
            StoreError::Unresolved | StoreError::Read(ReadError::Unavailable(_)) => {
                Self::StoreUnavailable
            }
            StoreError::Read(ReadError::Damaged(_))
            | StoreError::NotAMember
            | StoreError::IdTaken
            | StoreError::Full(_)
            | StoreError::BadArgument(_) => internal(&error),
            StoreError::UnknownUser => Self::NotFound,
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
    lockout: Lockout,
    issuer: Option<issuer::Issuer>,
    create_external: bool,
    tokens: Tokens,
    /// Operators may change it while the node runs.
    sign_up: watch::Sender<SignUp>,
    access_ttl_s: u64,
    refresh_ttl_ms: u64,
    refresh_grace_ms: u64,
    devices_per_user: usize,
    succession: SuccessionKey,
    /// Operations under way.
    places: Arc<Semaphore>,
}

impl Identity {
    /// The service of a node.
    ///
    /// # Errors
    /// [`IdentityError::Internal`] when the hasher or the signing key can't be used.
    pub(crate) fn new(
        config: &Config,
        cost: Cost,
        store: Store,
        secrets: &Secrets,
    ) -> Result<Self, IdentityError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = config.passwords.threads.or(cores / 2);
        let queue = config.passwords.queue;
        let places = threads.saturating_add(queue).min(Semaphore::MAX_PERMITS);
        let shared = Shared {
            store,
            passwords: Passwords::new(cost, threads, queue)?,
            lockout: Lockout::default(),
            issuer: (!config.issuer.url.is_empty())
                .then(|| issuer::Issuer::new(config.issuer.clone())),
            create_external: config.issuer.create_accounts,
            tokens: Tokens::with(&secrets.ring)?,
            succession: SuccessionKey::of(&secrets.secret),
            sign_up: watch::Sender::new(config.limits.sign_up),
            access_ttl_s: config.tokens.access_ttl_s,
            refresh_ttl_ms: config.tokens.refresh_ttl_s.saturating_mul(1000),
            refresh_grace_ms: config.tokens.refresh_grace_s.saturating_mul(1000),
            devices_per_user: config.limits.devices_per_user,
            places: Arc::new(Semaphore::new(places)),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Signs and verifies access tokens.
    #[must_use]
    pub fn tokens(&self) -> &Tokens {
        &self.shared.tokens
    }

    /// Whether strangers may make accounts, from now on.
    pub(crate) fn set_sign_up(&self, sign_up: SignUp) {
        self.shared.sign_up.send_replace(sign_up);
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

/// Calls the store; on a blocking thread when its reads do I/O while they are polled.
pub(crate) async fn on_store<T, F>(
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
