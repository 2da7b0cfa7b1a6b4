//! What becomes of a user's devices: may it still come in, which are there, and out with one.

use super::{Identity, IdentityError, on_store};
use crate::clock::now_ms;
use rookery_protocol::{DeviceId, UserId};
use rookery_store::DeviceRow;

/// What the store says of a device that shows a good token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may come in; the user's name.
    Good(String),
    /// It was revoked.
    Revoked,
    /// The account or the device is not there.
    Unknown,
}

/// Some of a user's devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevicePage {
    /// Those that may come in, by id.
    pub devices: Vec<DeviceRow>,
    /// Where the next page starts; `None`: there is none.
    pub next: Option<DeviceId>,
}

impl Identity {
    /// Whether a device may come in. A good access token does not say so: it may be older than the
    /// device's revocation.
    ///
    /// # Errors
    /// [`IdentityError::StoreUnavailable`], [`IdentityError::Busy`].
    pub async fn standing(
        &self,
        user: UserId,
        device: DeviceId,
    ) -> Result<Standing, IdentityError> {
        let asking = on_store(&self.shared.store, move |store| async move {
            match store.device(user, device).await? {
                Some(row) if row.revoked => return Ok(Standing::Revoked),
                Some(_) => {}
                None => return Ok(Standing::Unknown),
            }
            let account = store.account(user).await?;
            Ok(account.map_or(Standing::Unknown, |account| Standing::Good(account.name)))
        });
        asking.await?.map_err(|error: rookery_store::ReadError| error.into())
    }

    /// The devices of a user after one of them, at most `limit`.
    ///
    /// # Errors
    /// [`IdentityError::StoreUnavailable`], [`IdentityError::Busy`].
    pub async fn devices(
        &self,
        user: UserId,
        after: Option<DeviceId>,
        limit: usize,
    ) -> Result<DevicePage, IdentityError> {
        self.run(move |shared| async move {
            let page = on_store(&shared.store, move |store| async move {
                store.devices(user, after, limit).await
            });
            let (devices, next) = page.await??;
            Ok(DevicePage { devices, next })
        })
        .await
    }

    /// Revokes a device. The caller closes its connections.
    ///
    /// # Errors
    /// [`IdentityError::NotFound`] when the user has no such device, and [`IdentityError`].
    pub async fn revoke_device(&self, user: UserId, device: DeviceId) -> Result<(), IdentityError> {
        self.run(move |shared| async move {
            let now_ms = now_ms();
            let revoked = on_store(&shared.store, move |store| async move {
                store.revoke_device(user, device, now_ms).await
            });
            Ok(revoked.await??)
        })
        .await
    }
}
