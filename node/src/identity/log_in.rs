//! Ways in: sign-up, log-in, refresh.

use super::names::{device_label, folded};
use super::password::random;
use super::{
    Claims, Credentials, Identity, IdentityError, PASSWORD_BYTES, RefreshToken, Shared, internal,
    on_store,
};
use crate::clock::now_ms;
use rookery_cluster_config::SignUp;
use rookery_protocol::{DeviceId, UserId};
use rookery_store::{Account, DeviceRow, RefreshRow, Rotated, Rotation, StoreError};
use std::sync::Arc;

/// Times a random id is drawn anew when it is in use.
const ID_ATTEMPTS: usize = 4;

impl Identity {
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

/// A random id; never 0, which stands for "none" in several places.
fn random_id() -> Result<u64, IdentityError> {
    let bytes = random::<8>().ok_or(IdentityError::Internal)?;
    Ok(u64::from_be_bytes(bytes).max(1))
}
