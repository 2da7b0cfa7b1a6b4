//! The devices of a user: what a log-in creates and a revocation ends.

use crate::accounts::Account;
use crate::engine::{Engine, ReadError, View};
use crate::error::{Attempts, StoreError};
use crate::keys::{self, own};
use crate::plan::{Guard, Op, Plan};
use crate::refresh;
use crate::revocations;
use crate::rows::{self, DeviceValue};
use crate::store::{Store, get_many};
use bytes::Bytes;
pub use rookery_protocol::limits::MAX_DEVICE_NAME_BYTES;
use rookery_protocol::people::DeviceInfo;
use rookery_protocol::{DeviceId, UserId};

/// Rows read at once.
const CHUNK: usize = 256;
/// Most devices of a page with what is known beside them.
const MAX_PAGE: usize = 100;

/// A device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRow {
    /// Whose.
    pub user: UserId,
    /// Which.
    pub device: DeviceId,
    /// What its user calls it, at most [`MAX_DEVICE_NAME_BYTES`].
    pub name: String,
    /// When it first logged in, Unix milliseconds.
    pub created_ms: u64,
    /// Whether it is shut out for good.
    pub revoked: bool,
}

impl<E: Engine> Store<E> {
    /// Creates a device, if its id is free. How many a user has is the caller's to bound.
    ///
    /// # Errors
    /// [`StoreError::IdTaken`] (choose another id), [`StoreError::BadArgument`] when the name is
    /// over its limit, and those of any commit.
    pub async fn create_device(&self, device: &DeviceRow) -> Result<(), StoreError> {
        let DeviceRow { user, device, name, created_ms, revoked } = device;
        if name.len() > MAX_DEVICE_NAME_BYTES {
            return Err(StoreError::BadArgument("the length of a device's name"));
        }
        let row = DeviceValue { name, created_ms: *created_ms, revoked: *revoked };
        let value = rows::encode(&row);
        let mut attempts = Attempts::new();
        loop {
            attempts.begin()?;
            let wanted = [own(keys::device(*user, *device))];
            let [held] = attempts.read(self.known(wanted).await)?;
            match &held.known {
                Some(found) if attempts.in_doubt() && *found == value => return Ok(()),
                Some(_) => return Err(StoreError::IdTaken),
                None => {}
            }
            let ops = vec![Op::Set { key: held.key.clone(), value: value.clone() }];
            let plan = Plan { guards: vec![held], ops };
            if attempts.settle(self.commit(plan).await)?.is_some() {
                return Ok(());
            }
        }
    }

    /// Creates a device of an account with its first refresh token, in one commit, if the account
    /// still is what the caller knows and is not shut out: a log-in that a change of the password
    /// or the end of the account overtakes comes to nothing.
    ///
    /// # Errors
    /// [`StoreError::UnknownUser`] when the account is another one by now, [`StoreError::IdTaken`]
    /// when the device's id or the token's hash is in use, [`StoreError::BadArgument`] when the name
    /// is over its limit, and those of any commit.
    pub async fn admit_device(
        &self,
        account: &Account,
        device: &DeviceRow,
        (hash, expires_ms): ([u8; 32], u64),
    ) -> Result<(), StoreError> {
        let DeviceRow { user, device, name, created_ms, revoked } = device;
        if name.len() > MAX_DEVICE_NAME_BYTES {
            return Err(StoreError::BadArgument("the length of a device's name"));
        }
        let value = rows::encode(&DeviceValue { name, created_ms: *created_ms, revoked: *revoked });
        let mut attempts = Attempts::new();
        loop {
            attempts.begin()?;
            let wanted = [
                own(keys::account(*user)),
                own(keys::shut_out(*user)),
                own(keys::device(*user, *device)),
                own(keys::refresh(&hash)),
                own(keys::family(*user, *device)),
            ];
            let [whose, shut, held, token, family] = attempts.read(self.known(wanted).await)?;
            if whose.known.as_ref() != Some(&account.row()) || shut.known.is_some() {
                return Err(attempts.or_in_doubt(StoreError::UnknownUser));
            }
            match (&held.known, &token.known) {
                (Some(found), Some(_)) if attempts.in_doubt() && *found == value => return Ok(()),
                (None, None) => {}
                _ => return Err(StoreError::IdTaken),
            }
            let mut ops = vec![Op::Set { key: held.key.clone(), value: value.clone() }];
            attempts.read(refresh::first(hash, (*user, *device), expires_ms, &family, &mut ops))?;
            let plan = Plan { guards: vec![whose, shut, held, token, family], ops };
            if attempts.settle(self.commit(plan).await)?.is_some() {
                return Ok(());
            }
        }
    }

    /// A device of a user.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn device(
        &self,
        user: UserId,
        device: DeviceId,
    ) -> Result<Option<DeviceRow>, ReadError> {
        let row = self.latest().await?.get(&keys::device(user, device)).await?;
        row.map(|value| decode(user, device, &value)).transpose()
    }

    /// The devices of a user that are not revoked, by id, after one of them: at most `limit`, and
    /// after which one the next page begins, if there is one.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn devices(
        &self,
        user: UserId,
        after: Option<DeviceId>,
        limit: usize,
    ) -> Result<(Vec<DeviceRow>, Option<DeviceId>), ReadError> {
        let view = self.latest().await?;
        let end = keys::prefix_end(&keys::devices(user));
        let mut from = match after {
            Some(device) => keys::successor(&keys::device(user, device)),
            None => own(keys::devices(user)),
        };
        let mut found = Vec::new();
        loop {
            let rows = view.range(&from, &end, CHUNK, false).await?;
            for (key, value) in &rows {
                let device = decode(user, DeviceId(keys::last_id(key, "device")?), value)?;
                if device.revoked {
                    continue;
                }
                if found.len() >= limit {
                    let next = found.last().map(|device: &DeviceRow| device.device);
                    return Ok((found, next));
                }
                found.push(device);
            }
            match rows.last() {
                Some((last, _)) if rows.len() == CHUNK => from = keys::successor(last),
                _ => return Ok((found, None)),
            }
        }
    }

    /// As [`Store::devices`], with when each last came for news (to the hour): at most 100.
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub async fn devices_seen(
        &self,
        user: UserId,
        after: Option<DeviceId>,
        limit: usize,
    ) -> Result<(Vec<DeviceInfo>, Option<DeviceId>), StoreError> {
        let (devices, next) = self.devices(user, after, limit.clamp(1, MAX_PAGE)).await?;
        let seen = self.seen(user, devices.iter().map(|device| device.device)).await?;
        let info = |(row, seen_ms): (DeviceRow, u64)| DeviceInfo {
            device: row.device,
            name: row.name,
            created_ms: row.created_ms,
            seen_ms,
        };
        Ok((devices.into_iter().zip(seen).map(info).collect(), next))
    }

    /// The devices of a user to do without so that at most `most` are left: those not seen for longest.
    /// `new` is not among them.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn surplus_devices(
        &self,
        user: UserId,
        new: DeviceId,
        most: usize,
    ) -> Result<Vec<DeviceId>, ReadError> {
        let (devices, _) = self.devices(user, None, usize::MAX).await?;
        let surplus = devices.len().saturating_sub(most.max(1));
        if surplus == 0 {
            return Ok(Vec::new());
        }
        let seen = self.seen(user, devices.iter().map(|device| device.device)).await?;
        let seen = devices.iter().zip(seen);
        let mut seen: Vec<(u64, DeviceId)> = seen
            .filter(|(device, _)| device.device != new)
            .map(|(device, seen_ms)| (seen_ms.max(device.created_ms), device.device))
            .collect();
        seen.sort_unstable();
        Ok(seen.into_iter().take(surplus).map(|(_, device)| device).collect())
    }

    /// When devices last came for news, Unix milliseconds; 0: never.
    async fn seen(
        &self,
        user: UserId,
        devices: impl Iterator<Item = DeviceId>,
    ) -> Result<Vec<u64>, ReadError> {
        let wanted: Vec<Bytes> =
            devices.map(|device| own(keys::device_cursor(user, device))).collect();
        let rows = get_many(&self.latest().await?, &wanted).await?;
        let seen_ms = |row: Option<Bytes>| match row {
            Some(value) => Ok(rows::decode_device_cursor(&value)?.2),
            None => Ok(0),
        };
        rows.into_iter().map(seen_ms).collect()
    }

    /// Gives a device another name.
    ///
    /// # Errors
    /// [`StoreError::UnknownUser`] when there is no such device or it was revoked,
    /// [`StoreError::BadArgument`] when the name is over its limit, and those of any commit.
    pub async fn name_device(
        &self,
        user: UserId,
        device: DeviceId,
        name: &str,
    ) -> Result<(), StoreError> {
        if name.len() > MAX_DEVICE_NAME_BYTES {
            return Err(StoreError::BadArgument("the length of a device's name"));
        }
        let mut attempts = Attempts::new();
        loop {
            attempts.begin()?;
            let [row] = attempts.read(self.known([own(keys::device(user, device))]).await)?;
            let Some(value) = row.known.clone() else {
                return Err(attempts.or_in_doubt(StoreError::UnknownUser));
            };
            let held = attempts.read(rows::decode::<DeviceValue<'_>>(&value))?;
            if held.revoked {
                return Err(attempts.or_in_doubt(StoreError::UnknownUser));
            }
            if held.name == name {
                return Ok(());
            }
            let value = rows::encode(&DeviceValue { name, ..held });
            let ops = vec![Op::Set { key: row.key.clone(), value }];
            if attempts.settle(self.commit(Plan { guards: vec![row], ops }).await)?.is_some() {
                return Ok(());
            }
        }
    }

    /// Revokes a device at `now_ms` (Unix milliseconds), removes its refresh tokens and logs the
    /// revocation for the other nodes, in one commit. Revoking it again changes nothing.
    ///
    /// # Errors
    /// [`StoreError::UnknownUser`] when there is no such device, and those of any commit.
    pub async fn revoke_device(
        &self,
        user: UserId,
        device: DeviceId,
        now_ms: u64,
    ) -> Result<(), StoreError> {
        let mut attempts = Attempts::new();
        loop {
            attempts.begin()?;
            let wanted = [own(keys::device(user, device)), own(keys::family(user, device))];
            let [row, family] = attempts.read(self.known(wanted).await)?;
            let Some(value) = row.known.clone() else { return Err(StoreError::UnknownUser) };
            let held = attempts.read(rows::decode::<DeviceValue<'_>>(&value))?;
            if held.revoked && family.known.is_none() {
                return Ok(());
            }
            let log = revocations::logged(user, device, now_ms);
            let plan = attempts.read(revocation(&held, row, family, log))?;
            if attempts.settle(self.commit(plan).await)?.is_some() {
                return Ok(());
            }
        }
    }
}

fn decode(user: UserId, device: DeviceId, value: &[u8]) -> Result<DeviceRow, ReadError> {
    let DeviceValue { name, created_ms, revoked } = rows::decode(value)?;
    Ok(DeviceRow { user, device, name: name.to_owned(), created_ms, revoked })
}

/// The plan that revokes a device, removes the tokens of its family and logs it.
pub(crate) fn revocation(
    held: &DeviceValue<'_>,
    device: Guard,
    family: Guard,
    log: Op,
) -> Result<Plan, ReadError> {
    let mut ops: Vec<Op> = refresh::hashes(family.known.as_ref())?
        .iter()
        .map(|hash| Op::Clear { key: own(keys::refresh(hash)) })
        .collect();
    let revoked: Bytes = rows::encode(&DeviceValue { revoked: true, ..held.clone() });
    ops.push(Op::Clear { key: family.key.clone() });
    ops.push(Op::Set { key: device.key.clone(), value: revoked });
    ops.push(log);
    Ok(Plan { guards: vec![device, family], ops })
}
