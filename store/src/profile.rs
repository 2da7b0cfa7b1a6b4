//! What users show of themselves: a display name and a reference to an avatar.

use crate::engine::{Engine, ReadError, View};
use crate::error::{Attempts, StoreError};
use crate::keys::{self, own};
use crate::plan::{Op, Plan};
use crate::rows::{self, ProfileRow};
use crate::store::Store;
use rookery_protocol::UserId;

/// Most bytes of a display name.
pub const MAX_DISPLAY_NAME_BYTES: usize = 128;
/// Most bytes of a reference to an avatar.
pub const MAX_AVATAR_BYTES: usize = 512;

/// A profile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// How the user wants to be called, at most [`MAX_DISPLAY_NAME_BYTES`]; may be empty.
    pub display_name: String,
    /// Where a picture is, at most [`MAX_AVATAR_BYTES`]; may be empty.
    pub avatar: String,
    /// When it was last changed, Unix milliseconds; 0: never.
    pub changed_ms: u64,
}

impl<E: Engine> Store<E> {
    /// A user's profile; an empty one if there is none.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn profile(&self, user: UserId) -> Result<Profile, ReadError> {
        let row = self.latest().await?.get(&keys::profile(user)).await?;
        row.map_or(Ok(Profile::default()), |value| decode(&value))
    }

    /// Changes a user's profile: `change` is told what it is, maybe more than once.
    ///
    /// # Errors
    /// [`StoreError::UnknownUser`] when there is no account, [`StoreError::BadArgument`] when a
    /// text is over its limit, and those of any commit.
    pub async fn change_profile(
        &self,
        user: UserId,
        change: impl Fn(Profile) -> Profile,
    ) -> Result<Profile, StoreError> {
        let mut attempts = Attempts::new();
        loop {
            attempts.begin()?;
            let wanted = [own(keys::account(user)), own(keys::profile(user))];
            let [account, row] = attempts.read(self.known(wanted).await)?;
            if account.known.is_none() {
                return Err(attempts.or_in_doubt(StoreError::UnknownUser));
            }
            let held = match &row.known {
                Some(value) => attempts.read(decode(value))?,
                None => Profile::default(),
            };
            let profile = change(held.clone());
            if profile == held {
                return Ok(profile);
            }
            let Profile { display_name, avatar, changed_ms } = &profile;
            if display_name.len() > MAX_DISPLAY_NAME_BYTES || avatar.len() > MAX_AVATAR_BYTES {
                return Err(StoreError::BadArgument("the length of a profile's text"));
            }
            let value = rows::encode(&ProfileRow { display_name, avatar, changed_ms: *changed_ms });
            let ops = vec![Op::Set { key: row.key.clone(), value }];
            let plan = Plan { guards: vec![account, row], ops };
            if attempts.settle(self.commit(plan).await)?.is_some() {
                return Ok(profile);
            }
        }
    }
}

fn decode(value: &[u8]) -> Result<Profile, ReadError> {
    let ProfileRow { display_name, avatar, changed_ms } = rows::decode(value)?;
    Ok(Profile { display_name: display_name.to_owned(), avatar: avatar.to_owned(), changed_ms })
}
