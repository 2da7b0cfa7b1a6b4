//! Ways in: sign-up, log-in, refresh.

use super::accounts::invitation_hash;
use super::names::{device_label, folded};
use super::password::random;
use super::{
    Claims, Credentials, Identity, IdentityError, PASSWORD_BYTES, RefreshToken, Shared, internal,
    on_store,
};
use crate::clock::now_ms;
use rookery_cluster_config::SignUp;
use rookery_protocol::{DeviceId, UserId};
use rookery_store::{Account, DeviceRow, Rotated, Rotation, StoreError};
use std::fmt;
use std::net::IpAddr;
use std::time::Instant;

/// Times a random id is drawn anew when it is in use.
const ID_ATTEMPTS: usize = 4;

/// Somebody shows a password.
pub struct Attempt {
    /// Of which account, as it was typed.
    pub name: String,
    /// The password.
    pub password: String,
    /// From where.
    pub address: IpAddr,
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Attempt(..)")
    }
}

/// Somebody wants an account.
pub struct Wanted {
    /// Its name, as it was typed.
    pub name: String,
    /// Its password.
    pub password: String,
    /// What the first device calls itself.
    pub device_name: Option<String>,
    /// The code of an invitation.
    pub invitation: Option<String>,
}

impl fmt::Debug for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wanted(..)")
    }
}

impl Identity {
    /// Makes an account and its first device.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub async fn sign_up(&self, wanted: Wanted) -> Result<Credentials, IdentityError> {
        let sign_up = *self.shared.sign_up.borrow();
        let invitation = match sign_up {
            SignUp::Closed => return Err(IdentityError::SignUpClosed),
            SignUp::Open => None,
            SignUp::Invitation => {
                let code = wanted.invitation.as_deref().ok_or(IdentityError::NotInvited)?;
                Some(invitation_hash(code))
            }
        };
        let name = folded(&wanted.name).ok_or(IdentityError::BadName)?;
        if !PASSWORD_BYTES.contains(&wanted.password.len()) {
            return Err(IdentityError::BadPassword);
        }
        let Wanted { password, device_name, .. } = wanted;
        self.run(move |shared| async move {
            let account = shared.sign_up(name, password, invitation).await?;
            shared.new_device(account, device_name).await
        })
        .await
    }

    /// Makes a device of an account.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub async fn log_in(
        &self,
        attempt: Attempt,
        device_name: Option<String>,
    ) -> Result<Credentials, IdentityError> {
        self.run(move |shared| async move {
            let account = shared.verified(attempt).await?;
            match shared.new_device(account, device_name).await {
                // It was changed or ended while the password was looked at.
                Err(IdentityError::NotFound) => Err(IdentityError::WrongCredentials),
                done => done,
            }
        })
        .await
    }

    /// Trades a refresh token for fresh tokens, if it is this device's: another's is not used up.
    ///
    /// The second field is as of [`Identity::refresh`].
    pub async fn refresh_of(
        &self,
        owner: (UserId, DeviceId),
        token: &str,
    ) -> (Result<Credentials, IdentityError>, Option<(UserId, DeviceId)>) {
        let Some(hash) = RefreshToken::parse(token).map(|token| token.hash()) else {
            return (Err(IdentityError::BadToken), None);
        };
        let asked = self.run(move |shared| async move {
            let found =
                on_store(
                    &shared.store,
                    move |store| async move { store.refresh_owner(hash).await },
                );
            Ok(found.await??)
        });
        match asked.await {
            Ok(Some(found)) if found == owner => self.refresh(token).await,
            Ok(Some(_)) => (Err(IdentityError::ForeignToken), None),
            Ok(None) => (Err(IdentityError::BadToken), None),
            Err(error) => (Err(error), None),
        }
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
        &self,
        name: String,
        password: String,
        invitation: Option<[u8; 32]>,
    ) -> Result<Account, IdentityError> {
        // A taken name is told before a hash is spent on it; the commit decides all the same.
        if self.account_named(name.clone()).await?.is_some() {
            return Err(IdentityError::NameTaken);
        }
        let password_hash = self.passwords.hash(password).await?;
        let account = self.create_account(name, password_hash, invitation).await?;
        metrics::counter!("rookery_sign_ups_total").increment(1);
        Ok(account)
    }

    /// The account that holds a name, which is folded.
    pub(super) async fn account_named(
        &self,
        name: String,
    ) -> Result<Option<Account>, IdentityError> {
        let found =
            on_store(&self.store, move |store| async move { store.account_by_name(&name).await });
        Ok(found.await??)
    }

    /// The account of somebody who knows its password. Who guesses waits.
    pub(super) async fn verified(&self, attempt: Attempt) -> Result<Account, IdentityError> {
        let Attempt { name, password, address } = attempt;
        self.lockout.begin(&name, address, Instant::now()).map_err(IdentityError::LockedOut)?;
        let account = self.known(&name, password).await?;
        self.lockout.succeeded(&name, address, Instant::now());
        let user = account.user;
        let shut = on_store(&self.store, move |store| async move { store.is_shut_out(user).await });
        // Told only to who knows the password.
        if shut.await??.is_some() {
            return Err(IdentityError::ShutOut);
        }
        Ok(account)
    }

    async fn known(&self, name: &str, password: String) -> Result<Account, IdentityError> {
        // A name or password that no account can have goes the same way as an unknown one.
        let account = match folded(name) {
            Some(name) => self.account_named(name).await?,
            None => None,
        };
        let possible = PASSWORD_BYTES.contains(&password.len());
        let password = if possible { password } else { String::new() };
        // An account that a foreign issuer vouches for has no password.
        let stored = account.as_ref().map(|account| account.password_hash.clone());
        let stored = stored.filter(|stored| !stored.is_empty());
        let fits = self.passwords.verify(password, stored).await?;
        let account = account.filter(|_| fits && possible);
        let outcome = if account.is_some() { "good" } else { "refused" };
        metrics::counter!("rookery_log_ins_total", "outcome" => outcome).increment(1);
        account.ok_or(IdentityError::WrongCredentials)
    }

    async fn refresh(&self, token: &RefreshToken) -> Result<Credentials, Refused> {
        let fresh = token.successor(&self.succession).ok_or(IdentityError::Internal)?;
        let now_ms = now_ms();
        let rotation = Rotation {
            old: token.hash(),
            new: fresh.hash(),
            now_ms,
            expires_ms: now_ms.saturating_add(self.refresh_ttl_ms),
            grace_ms: self.refresh_grace_ms,
        };
        let rotated =
            on_store(&self.store, move |store| async move { store.rotate_refresh(rotation).await });
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
        invitation: Option<[u8; 32]>,
    ) -> Result<Account, IdentityError> {
        for _ in 0..ID_ATTEMPTS {
            let account = Account {
                user: UserId(random_id()?),
                name: name.clone(),
                password_hash: password_hash.clone(),
                created_ms: now_ms(),
            };
            let wanted = account.clone();
            let created = on_store(&self.store, move |store| async move {
                match invitation {
                    Some(hash) => {
                        store.create_invited_account(&wanted, hash, wanted.created_ms).await
                    }
                    None => store.create_account(&wanted).await,
                }
            });
            match created.await? {
                Err(StoreError::IdTaken) => {}
                done => return Ok(done.map(|()| account)?),
            }
        }
        Err(internal(&StoreError::IdTaken))
    }

    /// Makes a device and its tokens.
    pub(super) async fn new_device(
        &self,
        account: Account,
        device_name: Option<String>,
    ) -> Result<Credentials, IdentityError> {
        let user = account.user;
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
            let whose = account.clone();
            let created = on_store(&self.store, move |store| async move {
                store.admit_device(&whose, &row, (hash, expires_ms)).await
            });
            match created.await? {
                Err(StoreError::IdTaken) => {}
                done => {
                    done?;
                    self.make_room(user, device, now).await;
                    return self.credentials(user, account.name, device, refresh_token);
                }
            }
        }
        Err(internal(&StoreError::IdTaken))
    }

    /// Ends the devices that were away for longest where there are too many. Whoever lost devices is
    /// never locked out by them; their sockets close when the nodes read of it.
    async fn make_room(&self, user: UserId, new: DeviceId, now_ms: u64) {
        let most = self.devices_per_user;
        let done = on_store(&self.store, move |store| async move {
            for device in store.surplus_devices(user, new, most).await? {
                store.revoke_device(user, device, now_ms).await?;
            }
            Ok::<_, StoreError>(())
        });
        // The device is in: it is not worth failing its log-in for. The next one tries again.
        if let Ok(Err(error)) = done.await {
            tracing::warn!(%user, %error, "the devices of a user could not be made fewer");
        }
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

/// A random id; never 0, which stands for "none" in several places.
pub(super) fn random_id() -> Result<u64, IdentityError> {
    let bytes = random::<8>().ok_or(IdentityError::Internal)?;
    Ok(u64::from_be_bytes(bytes).max(1))
}
