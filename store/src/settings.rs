//! What a user's clients keep for each other: small settings by name, the same on every device.
//!
//! The server gives them no meaning. They lie in one row, so that a change of several is one, and
//! bounded, so that nobody takes this for a file system.

use crate::engine::{Engine, ReadError, View};
use crate::error::{Attempts, StoreError};
use crate::keys::{self, own};
use crate::plan::{Op, Plan};
use crate::rows::{self, SettingRow, SettingsRow};
use crate::store::Store;
use bytes::Bytes;
use rookery_protocol::UserId;
use std::collections::BTreeMap;

/// Most settings of a user.
pub const MAX_SETTINGS: usize = 64;
/// Most bytes of a setting's name.
pub const MAX_SETTING_NAME_BYTES: usize = 64;
/// Most bytes of a setting's value.
pub const MAX_SETTING_BYTES: usize = 512;

impl<E: Engine> Store<E> {
    /// A user's settings by name.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn settings(&self, user: UserId) -> Result<BTreeMap<String, String>, ReadError> {
        decode(self.latest().await?.get(&keys::settings(user)).await?.as_ref())
    }

    /// Changes settings of a user, if `fits` says so of those that hold: a value sets one, none
    /// removes it. Returns all that hold then; `None`: they did not fit, and nothing was changed. A
    /// change that has been made already is made, whatever it fits.
    ///
    /// # Errors
    /// [`StoreError::UnknownUser`] when there is no account, [`StoreError::BadArgument`] when a name
    /// or value is over its limit, or there would be more than [`MAX_SETTINGS`], and those of any
    /// commit.
    pub async fn change_settings(
        &self,
        user: UserId,
        changes: &BTreeMap<String, Option<String>>,
        fits: impl Fn(&BTreeMap<String, String>) -> bool,
    ) -> Result<Option<BTreeMap<String, String>>, StoreError> {
        let short = |(name, value): (&String, &Option<String>)| {
            (1..=MAX_SETTING_NAME_BYTES).contains(&name.len())
                && value.as_ref().is_none_or(|value| value.len() <= MAX_SETTING_BYTES)
        };
        if !changes.iter().all(short) {
            return Err(StoreError::BadArgument("the length of a setting"));
        }
        let mut attempts = Attempts::new();
        loop {
            attempts.begin()?;
            let wanted = [own(keys::account(user)), own(keys::settings(user))];
            let [account, row] = attempts.read(self.known(wanted).await)?;
            if account.known.is_none() {
                return Err(attempts.or_in_doubt(StoreError::UnknownUser));
            }
            let held = attempts.read(decode(row.known.as_ref()))?;
            let mut wanted = held.clone();
            for (name, value) in changes {
                match value {
                    Some(value) => wanted.insert(name.clone(), value.clone()),
                    None => wanted.remove(name),
                };
            }
            if wanted == held {
                return Ok(Some(held));
            }
            if !fits(&held) {
                return if attempts.in_doubt() { Err(StoreError::Unresolved) } else { Ok(None) };
            }
            if wanted.len() > MAX_SETTINGS {
                return Err(attempts.or_in_doubt(StoreError::BadArgument("too many settings")));
            }
            let settings = wanted
                .iter()
                .map(|(name, value)| SettingRow { name: name.clone(), value: value.clone() });
            let value = rows::encode(&SettingsRow { settings: settings.collect() });
            let ops = vec![Op::Set { key: row.key.clone(), value }];
            let plan = Plan { guards: vec![account, row], ops };
            if attempts.settle(self.commit(plan).await)?.is_some() {
                return Ok(Some(wanted));
            }
        }
    }
}

fn decode(row: Option<&Bytes>) -> Result<BTreeMap<String, String>, ReadError> {
    let Some(value) = row else { return Ok(BTreeMap::new()) };
    let SettingsRow { settings } = rows::decode(value)?;
    Ok(settings.into_iter().map(|setting| (setting.name, setting.value)).collect())
}
