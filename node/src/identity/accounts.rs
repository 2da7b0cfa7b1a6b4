//! An account after it was made: its profile, its password, its end.

use super::log_in::Attempt;
use super::names::{avatar, display_name};
use super::password::random;
use super::{Identity, IdentityError, PASSWORD_BYTES, Shared, hex, on_store};
use crate::clock::now_ms;
use rookery_protocol::{DeviceId, UserId};
use rookery_store::{Account, Invitation, Profile, ShutOut};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Devices revoked at a time.
const DEVICES: usize = 100;

/// What a user may change of a profile; `None` leaves it as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProfileChange {
    /// How the user wants to be called; empty takes it away.
    pub display_name: Option<String>,
    /// Where a picture is; empty takes it away.
    pub avatar: Option<String>,
}

impl Identity {
    /// An account and its profile.
    ///
    /// # Errors
    /// [`IdentityError::NotFound`], and [`IdentityError`].
    pub async fn account(&self, user: UserId) -> Result<(Account, Profile), IdentityError> {
        self.run(move |shared| async move {
            let read = on_store(&shared.store, move |store| async move {
                let account = store.account(user).await?;
                Ok::<_, rookery_store::ReadError>((account, store.profile(user).await?))
            });
            let (account, profile) = read.await??;
            Ok((account.ok_or(IdentityError::NotFound)?, profile))
        })
        .await
    }

    /// The user who has a name.
    ///
    /// # Errors
    /// [`IdentityError::NotFound`], and [`IdentityError`].
    pub async fn user_named(&self, name: &str) -> Result<UserId, IdentityError> {
        let name = super::names::folded(name).ok_or(IdentityError::NotFound)?;
        self.run(move |shared| async move {
            let account = shared.account_named(name).await?;
            account.map(|account| account.user).ok_or(IdentityError::NotFound)
        })
        .await
    }

    /// Changes what a user shows of themselves.
    ///
    /// # Errors
    /// [`IdentityError::BadProfile`], and [`IdentityError`].
    pub async fn change_profile(
        &self,
        user: UserId,
        change: ProfileChange,
    ) -> Result<Profile, IdentityError> {
        let bad = IdentityError::BadProfile;
        let name = change.display_name.map(|name| display_name(&name).ok_or(bad)).transpose()?;
        let avatar = change.avatar.map(|place| avatar(&place).ok_or(bad)).transpose()?;
        self.run(move |shared| async move {
            let changed_ms = now_ms();
            let changed = on_store(&shared.store, move |store| async move {
                let change = |held: Profile| Profile {
                    display_name: name.clone().unwrap_or(held.display_name),
                    avatar: avatar.clone().unwrap_or(held.avatar),
                    changed_ms,
                };
                store.change_profile(user, change).await
            });
            Ok(changed.await??)
        })
        .await
    }

    /// Changes the password of a user who shows the old one, and revokes every device but the one
    /// that asks. The caller closes the connections of those that are returned.
    ///
    /// # Errors
    /// [`IdentityError::WrongCredentials`], and [`IdentityError`]. When it fails after the change,
    /// some devices may still be there: their users see them in the list.
    pub async fn change_password(
        &self,
        attempt: Attempt,
        device: DeviceId,
        new: String,
    ) -> Result<Vec<(UserId, DeviceId)>, IdentityError> {
        if !PASSWORD_BYTES.contains(&new.len()) {
            return Err(IdentityError::BadPassword);
        }
        self.run(move |shared| async move {
            let account = shared.verified(attempt).await?;
            let user = account.user;
            let hash = shared.passwords.hash(new).await?;
            let changed = on_store(&shared.store, move |store| async move {
                store.change_password(&account, &hash).await
            });
            changed.await??;
            shared.revoke_all(user, Some(device)).await
        })
        .await
    }

    /// Begins the deletion of the account of a user who shows the password: from now on nobody
    /// gets in, and everything is erased at once or, if this node should end, by another one. The
    /// caller closes the connections of the devices that are returned.
    ///
    /// # Errors
    /// [`IdentityError::WrongCredentials`], and [`IdentityError`].
    pub async fn delete(&self, attempt: Attempt) -> Result<Vec<(UserId, DeviceId)>, IdentityError> {
        let devices = self.run(move |shared| async move {
            let user = shared.verified(attempt).await?.user;
            shared.shut_out(user, true).await.map(|devices| (user, devices))
        });
        let (user, devices) = devices.await?;
        self.erase_soon(user);
        Ok(devices)
    }

    /// Erases an account that was shut out for it, in the background.
    pub(super) fn erase_soon(&self, user: UserId) {
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            if let Err(error) = shared.erase(user).await {
                tracing::warn!(%user, ?error, "a deletion will be gone on with");
            }
        });
    }

    /// Goes on with deletions that were begun, on whichever node.
    ///
    /// # Errors
    /// [`IdentityError`]; what is left is done the next time.
    pub async fn finish_deletions(&self) -> Result<(), IdentityError> {
        let shared = &self.shared;
        let begun = on_store(&shared.store, |store| async move { store.deletions().await });
        for user in begun.await?? {
            shared.erase(user).await?;
        }
        Ok(())
    }

    /// Makes an invitation that `uses` may sign up with for `ttl_s` seconds: its code, shown once.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub async fn invite(&self, uses: u32, ttl_s: u64) -> Result<String, IdentityError> {
        let code = hex::encode(&random::<16>().ok_or(IdentityError::Internal)?);
        let hash = invitation_hash(&code);
        let created_ms = now_ms();
        let expires_ms = created_ms.saturating_add(ttl_s.saturating_mul(1000));
        let invitation = Invitation { uses_left: uses.max(1), expires_ms, created_ms };
        self.run(move |shared| async move {
            let invited = on_store(&shared.store, move |store| async move {
                store.invite(hash, invitation).await
            });
            Ok(invited.await??)
        })
        .await?;
        Ok(code)
    }
}

/// What the store knows of an invitation's code.
pub(super) fn invitation_hash(code: &str) -> [u8; 32] {
    Sha256::digest(code.as_bytes()).into()
}

impl Shared {
    /// Lets nobody use an account any more, and revokes its devices.
    pub(super) async fn shut_out(
        &self,
        user: UserId,
        deleting: bool,
    ) -> Result<Vec<(UserId, DeviceId)>, IdentityError> {
        let wanted = ShutOut { since_ms: now_ms(), deleting };
        let shut =
            on_store(&self.store, move |store| async move { store.shut_out(user, wanted).await });
        shut.await??;
        self.revoke_all(user, None).await
    }

    /// Revokes the devices of a user but one; those that were.
    pub(super) async fn revoke_all(
        &self,
        user: UserId,
        but: Option<DeviceId>,
    ) -> Result<Vec<(UserId, DeviceId)>, IdentityError> {
        let (mut revoked, mut after) = (Vec::new(), None);
        loop {
            let page = on_store(&self.store, move |store| async move {
                store.devices(user, after, DEVICES).await
            });
            let (devices, next) = page.await??;
            for device in devices.into_iter().map(|row| row.device) {
                if Some(device) == but {
                    continue;
                }
                let now_ms = now_ms();
                let done = on_store(&self.store, move |store| async move {
                    store.revoke_device(user, device, now_ms).await
                });
                done.await??;
                revoked.push((user, device));
            }
            match next {
                Some(_) => after = next,
                None => return Ok(revoked),
            }
        }
    }

    async fn erase(&self, user: UserId) -> Result<(), IdentityError> {
        let now_ms = now_ms();
        let erased =
            on_store(
                &self.store,
                move |store| async move { store.erase_account(user, now_ms).await },
            );
        erased.await??;
        tracing::info!(%user, "an account was deleted");
        metrics::counter!("rookery_accounts_deleted_total").increment(1);
        Ok(())
    }
}
