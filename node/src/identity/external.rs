//! The way in for who comes from another issuer.

use super::issuer::{External, Refused};
use super::log_in::random_id;
use super::names::{display_name, folded};
use super::{Credentials, Identity, IdentityError, Shared, internal, on_store};
use crate::clock::now_ms;
use rookery_protocol::UserId;
use rookery_protocol::limits::MAX_NAME_BYTES;
use rookery_store::{Account, Profile, StoreError};

/// Names that are tried for a new account, and ids with them.
const ATTEMPTS: usize = 6;
/// Digits added to a name that can't be had.
const DIGITS: usize = 6;

impl From<Refused> for IdentityError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Bad => Self::BadToken,
            Refused::Expired => Self::TokenExpired,
            // The issuer, not the store; to the client it is the same: later, perhaps.
            Refused::NoKeys => Self::Busy,
        }
    }
}

impl Identity {
    /// Makes a device for who shows a good token of the foreign issuer, and an account for who
    /// comes for the first time.
    ///
    /// # Errors
    /// [`IdentityError::NoIssuer`], [`IdentityError::BadToken`], [`IdentityError::TokenExpired`],
    /// [`IdentityError::SignUpClosed`] for who has no account where none is made, and
    /// [`IdentityError`].
    pub async fn exchange(
        &self,
        token: String,
        device_name: Option<String>,
    ) -> Result<Credentials, IdentityError> {
        self.run(move |shared| async move {
            let issuer = shared.issuer.as_ref().ok_or(IdentityError::NoIssuer)?;
            let external = issuer.verify(&token, now_ms() / 1000).await?;
            let account = shared.external_account(&external).await?;
            let user = account.user;
            let shut =
                on_store(&shared.store, move |store| async move { store.is_shut_out(user).await });
            if shut.await??.is_some() {
                return Err(IdentityError::ShutOut);
            }
            shared.new_device(account, device_name).await
        })
        .await
    }
}

impl Shared {
    async fn external_account(&self, external: &External) -> Result<Account, IdentityError> {
        let hash = external.hash;
        for attempt in 0..ATTEMPTS {
            let found =
                on_store(
                    &self.store,
                    move |store| async move { store.external_account(hash).await },
                );
            if let Some(account) = found.await?? {
                return Ok(account);
            }
            if !self.create_external {
                return Err(IdentityError::SignUpClosed);
            }
            let account = Account {
                user: UserId(random_id()?),
                name: name(external.name.as_deref(), attempt, random_id()?),
                password_hash: String::new(),
                created_ms: now_ms(),
            };
            let wanted = account.clone();
            let created = on_store(&self.store, move |store| async move {
                store.create_external_account(&wanted, hash).await
            });
            match created.await? {
                Ok(()) => {
                    metrics::counter!("rookery_sign_ups_total").increment(1);
                    self.show(account.user, external).await;
                    return Ok(account);
                }
                // Another name; or another request of the same person was quicker.
                Err(StoreError::NameTaken | StoreError::IdTaken) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(internal(&StoreError::NameTaken))
    }

    /// Takes over how the issuer says they want to be called; not worth a refusal.
    async fn show(&self, user: UserId, external: &External) {
        let shown = external.display_name.as_deref().and_then(display_name);
        let Some(display_name) = shown.filter(|name| !name.is_empty()) else { return };
        let changed_ms = now_ms();
        let changed = on_store(&self.store, move |store| async move {
            let change =
                |held: Profile| Profile { display_name: display_name.clone(), changed_ms, ..held };
            store.change_profile(user, change).await
        });
        if !matches!(changed.await, Ok(Ok(_))) {
            tracing::debug!(%user, "a display name was not taken over");
        }
    }
}

/// A name for a new account: what the issuer says, as far as it can be one; digits are added when
/// that is taken.
fn name(told: Option<&str>, attempt: usize, random: u64) -> String {
    // An e-mail address is a common name: what stands before the @ is enough.
    let told = told.unwrap_or_default().split('@').next().unwrap_or_default();
    let good = |c: &char| c.is_ascii_alphanumeric() || "_.-".contains(*c);
    let kept: String = told.chars().filter(good).take(MAX_NAME_BYTES).collect();
    match folded(&kept) {
        Some(name) if attempt == 0 => name,
        name => {
            let base = name.unwrap_or_else(|| "user".to_owned());
            let base: String = base.chars().take(MAX_NAME_BYTES - DIGITS - 1).collect();
            format!("{base}-{:06}", random % 1_000_000)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_the_issuer_says_as_far_as_it_can_be_one() {
        assert_eq!(name(Some("Ada.L"), 0, 7), "ada.l");
        assert_eq!(name(Some("ada@work.example"), 0, 7), "ada");
        assert_eq!(name(Some("Ada Lovelace"), 0, 7), "adalovelace");
        assert_eq!(name(Some("ada"), 1, 1_000_007), "ada-000007");
        assert_eq!(name(None, 0, 7), "user-000007");
        assert_eq!(name(Some("\u{e4}"), 0, 7), "user-000007");
        let long = name(Some(&"a".repeat(99)), 1, 7);
        assert_eq!(long.len(), MAX_NAME_BYTES);
    }
}
