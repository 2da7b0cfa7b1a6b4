//! What operators do to accounts: see them, shut them out, let them in again, end them.
//!
//! What is revoked here closes on every node: the caller ends the connections of the devices that
//! are returned at once, and every node reads the log of revocations besides.

use super::{DevicePage, Identity, IdentityError, on_store};
use rookery_protocol::{DeviceId, UserId};
use rookery_store::{Account, DeviceRow, Profile, ReadError, ShutOut};

/// Most devices that are shown of an account.
const MAX_DEVICES: usize = 100;

/// An account as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overview {
    /// The account.
    pub account: Account,
    /// What the user shows of themselves.
    pub profile: Profile,
    /// When the user was last seen, Unix milliseconds.
    pub last_seen_ms: Option<u64>,
    /// Since when nobody may use it.
    pub shut_out: Option<ShutOut>,
}

type Revoked = Vec<(UserId, DeviceId)>;

impl Identity {
    /// At most `limit` accounts after a user, by id, and after whom the next page begins.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub async fn accounts(
        &self,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<(Vec<Overview>, Option<UserId>), IdentityError> {
        self.run(move |shared| async move {
            let page = on_store(&shared.store, move |store| async move {
                let (accounts, next) = store.accounts(after, limit).await?;
                let mut seen = Vec::with_capacity(accounts.len());
                for account in accounts {
                    let user = account.user;
                    seen.push(Overview {
                        account,
                        profile: store.profile(user).await?,
                        last_seen_ms: store.last_seen(user).await?,
                        shut_out: store.is_shut_out(user).await?,
                    });
                }
                Ok::<_, ReadError>((seen, next))
            });
            Ok(page.await??)
        })
        .await
    }

    /// An account and its devices, at most 100 of them.
    ///
    /// # Errors
    /// [`IdentityError::NotFound`], and [`IdentityError`].
    pub async fn overview(
        &self,
        user: UserId,
    ) -> Result<(Overview, Vec<DeviceRow>), IdentityError> {
        let account = self.account(user).await?;
        let DevicePage { devices, .. } = self.devices(user, None, MAX_DEVICES).await?;
        self.run(move |shared| async move {
            let more = on_store(&shared.store, move |store| async move {
                Ok::<_, ReadError>((store.last_seen(user).await?, store.is_shut_out(user).await?))
            });
            let (last_seen_ms, shut_out) = more.await??;
            let (account, profile) = account;
            Ok((Overview { account, profile, last_seen_ms, shut_out }, devices))
        })
        .await
    }

    /// Lets nobody use an account, and revokes its devices. The caller closes their connections.
    ///
    /// # Errors
    /// [`IdentityError::NotFound`], and [`IdentityError`]: then do it again.
    pub async fn disable(&self, user: UserId) -> Result<Revoked, IdentityError> {
        self.run(move |shared| async move { shared.shut_out(user, false).await }).await
    }

    /// Lets an account be used again; its user logs in anew.
    ///
    /// # Errors
    /// [`IdentityError::NotFound`], also when it is being deleted, and [`IdentityError`].
    pub async fn enable(&self, user: UserId) -> Result<(), IdentityError> {
        self.run(move |shared| async move {
            let done =
                on_store(&shared.store, move |store| async move { store.readmit(user).await });
            Ok(done.await??)
        })
        .await
    }

    /// Revokes every device of an account. The caller closes their connections.
    ///
    /// # Errors
    /// [`IdentityError::NotFound`], and [`IdentityError`]: then do it again.
    pub async fn revoke_devices(&self, user: UserId) -> Result<Revoked, IdentityError> {
        self.account(user).await?;
        self.run(move |shared| async move { shared.revoke_all(user, None).await }).await
    }

    /// Begins the deletion of an account; see [`Identity::delete`], which needs its password.
    ///
    /// # Errors
    /// [`IdentityError::NotFound`], and [`IdentityError`]: then do it again.
    pub async fn delete_account(&self, user: UserId) -> Result<Revoked, IdentityError> {
        let devices =
            self.run(move |shared| async move { shared.shut_out(user, true).await }).await?;
        self.erase_soon(user);
        Ok(devices)
    }
}
