//! The devices of a user: what a log-in creates and a revocation ends.

use crate::engine::{Engine, ReadError, View};
use crate::error::{Attempts, StoreError};
use crate::keys::{self, own};
use crate::plan::{Guard, Op, Plan};
use crate::refresh;
use crate::rows::{self, DeviceValue};
use crate::store::Store;
use bytes::Bytes;
use rookery_protocol::{DeviceId, UserId};

/// Most bytes of a device's name.
pub const MAX_DEVICE_NAME_BYTES: usize = 128;

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
        row.map(|value| {
            let DeviceValue { name, created_ms, revoked } = rows::decode(&value)?;
            Ok(DeviceRow { user, device, name: name.to_owned(), created_ms, revoked })
        })
        .transpose()
    }

    /// Revokes a device and removes its refresh tokens, in one commit. Revoking it again changes
    /// nothing.
    ///
    /// # Errors
    /// [`StoreError::UnknownUser`] when there is no such device, and those of any commit.
    pub async fn revoke_device(&self, user: UserId, device: DeviceId) -> Result<(), StoreError> {
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
            let plan = attempts.read(revocation(&held, row, family))?;
            if attempts.settle(self.commit(plan).await)?.is_some() {
                return Ok(());
            }
        }
    }
}

/// The plan that revokes a device and removes the tokens of its family.
pub(crate) fn revocation(
    held: &DeviceValue<'_>,
    device: Guard,
    family: Guard,
) -> Result<Plan, ReadError> {
    let mut ops: Vec<Op> = refresh::hashes(family.known.as_ref())?
        .iter()
        .map(|hash| Op::Clear { key: own(keys::refresh(hash)) })
        .collect();
    let revoked: Bytes = rows::encode(&DeviceValue { revoked: true, ..held.clone() });
    ops.push(Op::Clear { key: family.key.clone() });
    ops.push(Op::Set { key: device.key.clone(), value: revoked });
    Ok(Plan { guards: vec![device, family], ops })
}
