//! Invitations to sign up: codes that may be used a number of times until they expire. Only their
//! hashes are stored.

use crate::engine::{Engine, ReadError};
use crate::error::StoreError;
use crate::keys::{self, own};
use crate::plan::{Guard, Op};
use crate::rows::{self, InvitationRow};
use crate::store::Store;

/// An invitation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// How many may still sign up with it.
    pub uses_left: u32,
    /// Until when, Unix milliseconds.
    pub expires_ms: u64,
    /// When it was made, Unix milliseconds.
    pub created_ms: u64,
}

impl<E: Engine> Store<E> {
    /// Stores an invitation by the hash of its code.
    ///
    /// # Errors
    /// [`StoreError::IdTaken`] when there is one, [`StoreError::BadArgument`] when nobody could use
    /// it, and those of any commit.
    pub async fn invite(&self, hash: [u8; 32], invitation: Invitation) -> Result<(), StoreError> {
        if invitation.uses_left == 0 {
            return Err(StoreError::BadArgument("the uses of an invitation"));
        }
        self.put_new(own(keys::invitation(&hash)), encode(invitation)).await
    }
}

/// The operation that uses an invitation up by one, for the commit that also guards on its row;
/// `None`: it can't be used.
pub(crate) fn used(row: &Guard, now_ms: u64) -> Result<Option<Op>, ReadError> {
    let Some(value) = &row.known else { return Ok(None) };
    let InvitationRow { expires_ms, uses_left, created_ms } = rows::decode(value)?;
    if expires_ms <= now_ms {
        return Ok(None);
    }
    let key = row.key.clone();
    Ok(match uses_left {
        0 => None,
        1 => Some(Op::Clear { key }),
        _ => {
            let uses_left = uses_left - 1;
            Some(Op::Set { key, value: encode(Invitation { uses_left, expires_ms, created_ms }) })
        }
    })
}

fn encode(invitation: Invitation) -> bytes::Bytes {
    let Invitation { uses_left, expires_ms, created_ms } = invitation;
    rows::encode(&InvitationRow { expires_ms, uses_left, created_ms })
}
