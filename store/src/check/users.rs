//! The rules of rows that belong to a user or to the installation.

use super::conversations::{points_at, points_inside};
use super::known::{Judged, Parts, Stop, fault, must, other};
use crate::inbox::PointerKind;
use crate::plan::Stamp;
use crate::refresh::MAX_FAMILY;
use crate::rows::{
    self, AccountRow, BlockRow, ContactRow, DeviceValue, EpochRow, ExternalRow, FamilyRow,
    FenceRow, InstallationRow, InvitationRow, KeyRingRow, NameRow, PointerRow, PrivacyRow,
    ProfileRow, RefreshValue, RevocationRow, SettingsRow, ShutOutRow, SigningRow, SkeletonRow,
    TransferRow,
};
use crate::settings::MAX_SETTINGS;
use crate::slot::SLOTS;
use crate::{keys, members, names, store};
use rookery_protocol::{DeviceId, UserId};

pub(super) fn pointer(row: &mut Parts<'_>) -> Judged {
    let PointerRow { kind, conversation, first, last } = row.decode()?;
    let kind = PointerKind::from_code(kind).map_err(fault)?;
    let user = UserId(row.id(0));
    let epoch = row.rest(9).first_chunk::<4>().map_or(0, |epoch| u32::from_be_bytes(*epoch));
    let stamp = row.rest(13).first_chunk::<12>().map_or(Stamp::default(), |stamp| Stamp(*stamp));
    in_time(row, epoch, stamp)?;
    let floor = row.get(keys::inbox_floor(user))?;
    if let Some(floor) = floor {
        let floor = rows::decode_inbox_floor(&floor).map_err(|_| Stop::Elsewhere)?;
        must(epoch != floor.0 || stamp >= floor.1, || "it is below the inbox floor".to_owned())?;
    }
    match kind {
        PointerKind::Messages => points_inside(row, user, conversation, (first, last)),
        PointerKind::Created => points_at(row, user, conversation, first),
        // It names what may be gone by now.
        PointerKind::Own(_) => Ok(()),
    }
}

/// A place of the inbox log that this store can have given out.
fn in_time(row: &Parts<'_>, epoch: u32, stamp: Stamp) -> Judged {
    let (newest, version) = (row.context.epoch, row.context.version);
    must((1..=newest).contains(&epoch), || format!("inbox epoch {epoch} never began"))?;
    must(epoch < newest || stamp <= Stamp::end_of(version), || {
        format!("it is later than the newest commit, {}", version.0)
    })
}

pub(super) fn inbox_floor(row: &mut Parts<'_>) -> Judged {
    let (epoch, stamp) = rows::decode_inbox_floor(row.value()).map_err(fault)?;
    in_time(row, epoch, stamp)
}

pub(super) fn device_cursor(row: &mut Parts<'_>) -> Judged {
    let (epoch, stamp, _) = rows::decode_device_cursor(row.value()).map_err(fault)?;
    in_time(row, epoch, stamp)?;
    let (user, device) = (UserId(row.id(0)), DeviceId(row.id(1)));
    let there = row.has(keys::device(user, device))?;
    must(there, || format!("user {user} has no device {device}"))
}

pub(super) fn account(row: &mut Parts<'_>) -> Judged {
    let AccountRow { name, .. } = row.decode()?;
    let user = UserId(row.id(0));
    if name.is_empty() {
        // The account was deleted; what is left says that its id was somebody's.
        return Ok(());
    }
    let Some(holder) = row.get(keys::name(name))? else {
        return Err(Stop::Fault("nobody holds the account's name".to_owned()));
    };
    let holder = other::<NameRow>(&holder)?.user;
    must(holder == user, || format!("user {holder} holds the account's name"))
}

pub(super) fn name(row: &mut Parts<'_>) -> Judged {
    let NameRow { user } = row.decode()?;
    let Some(account) = row.get(keys::account(user))? else {
        return Err(Stop::Fault(format!("its user {user} has no account")));
    };
    let account: AccountRow<'_> = other(&account)?;
    must(account.name.as_bytes() == row.rest(1), || format!("user {user} has another name"))
}

pub(super) fn device(row: &mut Parts<'_>) -> Judged {
    let DeviceValue { revoked, .. } = row.decode()?;
    let (user, device) = (UserId(row.id(0)), DeviceId(row.id(1)));
    let account = row.has(keys::account(user))?;
    must(account, || format!("user {user} has no account"))?;
    let family = row.has(keys::family(user, device))?;
    must(!(revoked && family), || "it is revoked and still has refresh tokens".to_owned())
}

pub(super) fn refresh(row: &mut Parts<'_>) -> Judged {
    let RefreshValue { user, device, .. } = row.decode()?;
    let Some(family) = row.get(keys::family(user, device))? else {
        return Err(Stop::Fault(format!("device {device} of user {user} has no family")));
    };
    let FamilyRow { hashes } = other(&family)?;
    must(hashes.iter().any(|hash| hash == row.rest(1)), || {
        format!("it is not in the family of device {device} of user {user}")
    })
}

pub(super) fn family(row: &mut Parts<'_>) -> Judged {
    let FamilyRow { hashes } = row.decode()?;
    let (user, device) = (UserId(row.id(0)), DeviceId(row.id(1)));
    must(hashes.len() <= MAX_FAMILY, || format!("it has {} tokens", hashes.len()))?;
    let there = row.has(keys::device(user, device))?;
    must(there, || format!("user {user} has no device {device}"))?;
    for hash in &hashes {
        let Some(token) = row.get(keys::refresh(hash))? else {
            return Err(Stop::Fault("one of its tokens is missing".to_owned()));
        };
        let token: RefreshValue = other(&token)?;
        must((token.user, token.device) == (user, device), || {
            "one of its tokens belongs to another device".to_owned()
        })?;
    }
    Ok(())
}

pub(super) fn last_seen(row: &mut Parts<'_>) -> Judged {
    row.rising()?;
    let user = UserId(row.id(0));
    let account = row.has(keys::account(user))?;
    must(account, || format!("user {user} has no account"))
}

pub(super) fn fence(row: &mut Parts<'_>) -> Judged {
    let FenceRow { epoch, .. } = row.decode()?;
    let slot = row.rest(1).first_chunk::<2>().map_or(u16::MAX, |slot| u16::from_be_bytes(*slot));
    must(slot < SLOTS, || format!("slot {slot} does not exist"))?;
    must(epoch >= 1, || "its epoch never began".to_owned())
}

pub(super) fn lease(row: &mut Parts<'_>) -> Judged {
    members::judge(row.value()).map_err(fault)
}

pub(super) fn epoch(row: &mut Parts<'_>) -> Judged {
    let EpochRow { cluster, epoch } = row.decode()?;
    must(epoch >= 1 && !cluster.is_empty(), || "its cluster never began".to_owned())
}

pub(super) fn installation(row: &mut Parts<'_>) -> Judged {
    row.decode::<InstallationRow>()?;
    store::inbox_epoch(Some(row.value())).map(drop).map_err(fault)
}

pub(super) fn signing_key(row: &mut Parts<'_>) -> Judged {
    row.decode::<SigningRow>().map(drop)
}

pub(super) fn key_ring(row: &mut Parts<'_>) -> Judged {
    let KeyRingRow { keys } = row.decode()?;
    must(!keys.is_empty(), || "it holds no key".to_owned())?;
    let rising = keys.is_sorted_by(|a, b| a.id < b.id && a.signs_from_s <= b.signs_from_s);
    must(rising, || "its keys are not in the order they were made".to_owned())
}

pub(super) fn skeleton(row: &mut Parts<'_>) -> Judged {
    let SkeletonRow { user } = row.decode()?;
    let Some(account) = row.get(keys::account(user))? else {
        return Err(Stop::Fault(format!("its user {user} has no account")));
    };
    let account: AccountRow<'_> = other(&account)?;
    must(names::skeleton(account.name).as_bytes() == row.rest(1), || {
        format!("the name of user {user} looks otherwise")
    })
}

pub(super) fn profile(row: &mut Parts<'_>) -> Judged {
    row.decode::<ProfileRow<'_>>()?;
    of_an_account(row)
}

pub(super) fn settings(row: &mut Parts<'_>) -> Judged {
    let SettingsRow { settings } = row.decode()?;
    must(settings.len() <= MAX_SETTINGS, || format!("it has {} settings", settings.len()))?;
    must(settings.is_sorted_by(|a, b| a.name < b.name), || {
        "a setting stands in it twice, or out of its order".to_owned()
    })?;
    of_an_account(row)
}

pub(super) fn shut_out(row: &mut Parts<'_>) -> Judged {
    row.decode::<ShutOutRow>()?;
    of_an_account(row)
}

pub(super) fn block(row: &mut Parts<'_>) -> Judged {
    row.decode::<BlockRow>()?;
    of_two(row)
}

pub(super) fn contact(row: &mut Parts<'_>) -> Judged {
    row.decode::<ContactRow>()?;
    of_two(row)
}

pub(super) fn privacy(row: &mut Parts<'_>) -> Judged {
    row.decode::<PrivacyRow>()?;
    of_an_account(row)
}

/// Both users are somebody, or were.
fn of_two(row: &mut Parts<'_>) -> Judged {
    of_an_account(row)?;
    let (user, other) = (UserId(row.id(0)), UserId(row.id(1)));
    must(user != other, || "it is about the user itself".to_owned())?;
    let account = row.has(keys::account(other))?;
    must(account, || format!("user {other} has no account"))
}

/// The user whose row it is has an account.
fn of_an_account(row: &mut Parts<'_>) -> Judged {
    let user = UserId(row.id(0));
    let account = row.has(keys::account(user))?;
    must(account, || format!("user {user} has no account"))
}

/// Whose account a foreign subject has; the account may have been deleted since.
pub(super) fn external(row: &mut Parts<'_>) -> Judged {
    let ExternalRow { user } = row.decode()?;
    let account = row.has(keys::account(user))?;
    must(account, || format!("user {user} has no account"))
}

pub(super) fn invitation(row: &mut Parts<'_>) -> Judged {
    let InvitationRow { uses_left, .. } = row.decode()?;
    must(uses_left > 0, || "it was used up and is still there".to_owned())
}

/// A device that was revoked; the device may be gone since.
pub(super) fn revocation(row: &mut Parts<'_>) -> Judged {
    let RevocationRow { user, device, .. } = row.decode()?;
    match row.get(keys::device(user, device))? {
        Some(device) => {
            let revoked = other::<DeviceValue<'_>>(&device)?.revoked;
            must(revoked, || "its device is not revoked".to_owned())
        }
        None => Ok(()),
    }
}

/// A copy that was not finished: what is here is not a whole store.
pub(super) fn transfer(row: &mut Parts<'_>) -> Judged {
    let TransferRow { rows, .. } = row.decode()?;
    Err(Stop::Fault(format!(
        "a restore or migration into this store was not finished ({rows} rows so far): run it again"
    )))
}
