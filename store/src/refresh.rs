//! Refresh tokens: used once, replaced at each use, and deadly to their family when used again.
//!
//! The tokens of a device are a family. Only their hashes are stored, the newest [`MAX_FAMILY`] of
//! them; a used one stays among them so that its second use is noticed (somebody holds a copy) and
//! takes the device and all of the family down in the same commit.
//!
//! An honest device may use a token twice: the answer to its first use got lost on the way. So for a
//! short while after its use a token may come again, as long as nobody used what replaced it, and
//! gets the same answer. The caller makes the same new token of the same old one, which is how the
//! store, knowing hashes alone, can tell.
//!
//! Safety: every change of a family guards on the family's row, so two uses of one token can't both
//! replace it.

use crate::devices::revocation;
use crate::engine::{Engine, ReadError, View};
use crate::error::{Attempts, StoreError};
use crate::keys::{self, own};
use crate::plan::{Guard, Op, Plan};
use crate::revocations;
use crate::rows::{self, DeviceValue, FamilyRow, RefreshValue};
use crate::store::Store;
use bytes::Bytes;
use rookery_protocol::{DeviceId, UserId};

/// Tokens remembered of a device. An older one is refused all the same, but no longer tells that
/// somebody holds a copy.
pub const MAX_FAMILY: usize = 16;

/// A refresh token that was given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshRow {
    /// Whose.
    pub user: UserId,
    /// Of which device, which is also its family.
    pub device: DeviceId,
    /// Until when it can be used, Unix milliseconds.
    pub expires_ms: u64,
}

/// The use of a refresh token. Times are Unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Hash of the token.
    pub old: [u8; 32],
    /// Hash of the token that replaces it: always the same one for the same old token.
    pub new: [u8; 32],
    /// When.
    pub now_ms: u64,
    /// When the new token expires.
    pub expires_ms: u64,
    /// For how long, in milliseconds, the old token may come again.
    pub grace_ms: u64,
}

/// What the use of a refresh token led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotated {
    /// The new token replaces it, now or since a moment ago.
    Ok {
        /// Whose.
        user: UserId,
        /// Of which device.
        device: DeviceId,
    },
    /// It was never given out, is too old to be remembered, or its device is revoked.
    Unknown,
    /// Its time is over.
    Expired,
    /// It had been used: the device and its whole family are revoked now.
    Reused {
        /// Whose.
        user: UserId,
        /// Of which device.
        device: DeviceId,
    },
}

/// What the rows say about a use.
enum Use {
    /// Commit this; when it is in doubt and read again, `becomes` is the answer.
    Commit(Plan, Rotated),
    Answer(Rotated),
    /// The hash of the new token is another's.
    Taken,
}

impl<E: Engine> Store<E> {
    /// Stores the first token of a device's log-in, by its hash.
    ///
    /// # Errors
    /// [`StoreError::IdTaken`] when the hash is in use, and those of any commit.
    pub async fn put_refresh(&self, hash: [u8; 32], row: &RefreshRow) -> Result<(), StoreError> {
        let RefreshRow { user, device, expires_ms } = *row;
        let value = rows::encode(&RefreshValue { user, device, expires_ms, used_ms: 0 });
        let mut attempts = Attempts::new();
        loop {
            attempts.begin()?;
            let wanted = [own(keys::refresh(&hash)), own(keys::family(user, device))];
            let [token, family] = attempts.read(self.known(wanted).await)?;
            match &token.known {
                Some(found) if attempts.in_doubt() && *found == value => return Ok(()),
                Some(_) => return Err(StoreError::IdTaken),
                None => {}
            }
            let mut ops = vec![Op::Set { key: token.key.clone(), value: value.clone() }];
            attempts.read(join_family(hash, &family, &mut ops))?;
            let plan = Plan { guards: vec![token, family], ops };
            if attempts.settle(self.commit(plan).await)?.is_some() {
                return Ok(());
            }
        }
    }

    /// Whose a token is and of which device, by its hash; `None`: nobody's that is remembered.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn refresh_owner(
        &self,
        hash: [u8; 32],
    ) -> Result<Option<(UserId, DeviceId)>, ReadError> {
        let row = self.latest().await?.get(&keys::refresh(&hash)).await?;
        let owner = |value: Bytes| {
            let RefreshValue { user, device, .. } = rows::decode(&value)?;
            Ok((user, device))
        };
        row.map(owner).transpose()
    }

    /// Uses a token: marks it used and stores the new one in its place, or finds out why not.
    ///
    /// # Errors
    /// [`StoreError::IdTaken`] when the hash `new` is that of another family's token, and those of
    /// any commit. After [`StoreError::Unresolved`] the old token may have been used up.
    pub async fn rotate_refresh(&self, rotation: Rotation) -> Result<Rotated, StoreError> {
        let mut attempts = Attempts::new();
        let mut revoking = None;
        loop {
            attempts.begin()?;
            let wanted = [own(keys::refresh(&rotation.old)), own(keys::refresh(&rotation.new))];
            let [old_row, new_row] = attempts.read(self.known(wanted).await)?;
            let Some(value) = old_row.known.clone() else {
                return Ok(revoking.unwrap_or(Rotated::Unknown));
            };
            let token = attempts.read(rows::decode::<RefreshValue>(&value))?;
            let RefreshValue { user, device, .. } = token;
            let wanted = [own(keys::device(user, device)), own(keys::family(user, device))];
            let [device_row, family] = attempts.read(self.known(wanted).await)?;
            let rows = Rows { token, old_row, new_row, device_row, family };
            let (plan, becomes) = match attempts.read(decide(rows, &rotation))? {
                Use::Taken => return Err(attempts.or_in_doubt(StoreError::IdTaken)),
                Use::Answer(answer) => return Ok(revoking.unwrap_or(answer)),
                Use::Commit(plan, becomes) => (plan, becomes),
            };
            if attempts.settle(self.commit(plan).await)?.is_some() {
                return Ok(becomes);
            }
            if attempts.in_doubt() && matches!(becomes, Rotated::Reused { .. }) {
                revoking = Some(becomes);
            }
        }
    }
}

/// What a use reads. The rows come from two snapshots; each is guarded at its own version, so a
/// plan made of them is refused when they don't fit together.
struct Rows {
    token: RefreshValue,
    old_row: Guard,
    new_row: Guard,
    device_row: Guard,
    family: Guard,
}

fn decide(rows: Rows, rotation: &Rotation) -> Result<Use, ReadError> {
    let Rotation { new, now_ms, expires_ms, .. } = *rotation;
    let Rows { token, old_row, new_row, device_row, family } = rows;
    let RefreshValue { user, device, .. } = token;
    let Some(value) = device_row.known.clone() else {
        return Ok(Use::Answer(Rotated::Unknown));
    };
    let held = rows::decode::<DeviceValue<'_>>(&value)?;
    if held.revoked {
        return Ok(Use::Answer(Rotated::Unknown));
    }
    if token.used_ms != 0 {
        if comes_again(&token, &new_row, rotation)? {
            return Ok(Use::Answer(Rotated::Ok { user, device }));
        }
        let log = revocations::logged(user, device, now_ms);
        let mut plan = revocation(&held, device_row, family, log)?;
        plan.guards.push(old_row);
        return Ok(Use::Commit(plan, Rotated::Reused { user, device }));
    }
    if token.expires_ms <= now_ms {
        return Ok(Use::Answer(Rotated::Expired));
    }
    if new_row.known.is_some() {
        return Ok(Use::Taken);
    }
    let fresh = RefreshValue { user, device, expires_ms, used_ms: 0 };
    let used = RefreshValue { used_ms: now_ms.max(1), ..token };
    let mut ops = vec![
        Op::Set { key: old_row.key.clone(), value: rows::encode(&used) },
        Op::Set { key: new_row.key.clone(), value: rows::encode(&fresh) },
    ];
    join_family(new, &family, &mut ops)?;
    let plan = Plan { guards: vec![old_row, new_row, device_row, family], ops };
    Ok(Use::Commit(plan, Rotated::Ok { user, device }))
}

/// Adds the first token of a device to the operations of its log-in.
pub(crate) fn first(
    hash: [u8; 32],
    (user, device): (UserId, DeviceId),
    expires_ms: u64,
    family: &Guard,
    ops: &mut Vec<Op>,
) -> Result<(), ReadError> {
    let value = rows::encode(&RefreshValue { user, device, expires_ms, used_ms: 0 });
    ops.push(Op::Set { key: own(keys::refresh(&hash)), value });
    join_family(hash, family, ops)
}

/// Whether a used token is used by who never saw the answer: a moment ago it was replaced by this
/// very token, which nobody has used yet.
fn comes_again(
    token: &RefreshValue,
    new_row: &Guard,
    rotation: &Rotation,
) -> Result<bool, ReadError> {
    let Some(value) = &new_row.known else { return Ok(false) };
    let new = rows::decode::<RefreshValue>(value)?;
    let soon = rotation.now_ms <= token.used_ms.saturating_add(rotation.grace_ms);
    let theirs = (new.user, new.device) == (token.user, token.device);
    Ok(soon && theirs && new.used_ms == 0 && new.expires_ms > rotation.now_ms)
}

/// Adds a token to its family; the oldest is forgotten when there are too many.
fn join_family(hash: [u8; 32], family: &Guard, ops: &mut Vec<Op>) -> Result<(), ReadError> {
    let mut known = hashes(family.known.as_ref())?;
    known.push(hash);
    let forgotten = known.len().saturating_sub(MAX_FAMILY);
    for hash in known.drain(..forgotten) {
        ops.push(Op::Clear { key: own(keys::refresh(&hash)) });
    }
    let value = rows::encode(&FamilyRow { hashes: known });
    ops.push(Op::Set { key: family.key.clone(), value });
    Ok(())
}

/// The token hashes of a family, oldest first.
pub(crate) fn hashes(family: Option<&Bytes>) -> Result<Vec<[u8; 32]>, ReadError> {
    family.map_or(Ok(Vec::new()), |value| Ok(rows::decode::<FamilyRow>(value)?.hashes))
}
