//! Fences: the one row of a slot that says who may write in it.
//!
//! Safety
//! - Every take-over raises the row's epoch, so no value ever comes back: a plan that guards on an
//!   earlier value is refused for good, however late it arrives.
//! - A [`Fence`] is only handed out for a value that was seen committed.
//!
//! What the caller owes
//! - One take-over of a slot at a time in a process.
//! - It guards every write to a conversation of the slot on the fence, and drops what it cached of
//!   the slot when such a plan conflicts.

use crate::engine::{Engine, ReadError};
use crate::error::MAX_ATTEMPTS;
use crate::plan::{Guard, Op, Outcome, Plan, Version};
use crate::rows::{self, FenceRow};
use crate::slot::Slot;
use crate::{keys, store::Store};
use bytes::Bytes;

/// One life of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    /// Which node.
    pub node: u64,
    /// Which of its lives: never used twice.
    pub incarnation: u64,
}

/// The right to write in a slot, as last known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// Which slot.
    pub slot: Slot,
    /// What the row holds while the slot is ours.
    pub value: Bytes,
    /// A version at which the row was known to hold it: the take-over's, or a later commit's that
    /// guarded on it.
    pub version: Version,
}

impl Fence {
    /// The guard of a write in this slot.
    #[must_use]
    pub fn guard(&self) -> Guard {
        Guard {
            key: keys::own(keys::fence(self.slot)),
            known: Some(self.value.clone()),
            version: self.version,
        }
    }

    /// Notes that a commit at `version` guarded on this fence.
    pub fn confirmed(&mut self, version: Version) {
        self.version = self.version.max(version);
    }
}

/// What became of a take-over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TakeOver {
    /// The slot is ours.
    Held(Fence),
    /// Another one took it in the meantime: look at the placement again, then retry.
    Contended,
    /// The store could not be asked, or gave no clear answer; the slot may or may not be ours.
    Unavailable,
}

impl<E: Engine> Store<E> {
    /// Takes a slot over, whoever holds it.
    pub async fn take_over(&self, slot: Slot, owner: Owner) -> TakeOver {
        match self.try_take_over(slot, owner).await {
            Ok(outcome) => outcome,
            Err(error) => {
                tracing::warn!(slot = slot.0, %error, "a slot could not be taken over");
                TakeOver::Unavailable
            }
        }
    }

    async fn try_take_over(&self, slot: Slot, owner: Owner) -> Result<TakeOver, ReadError> {
        let key = keys::own(keys::fence(slot));
        let mut in_doubt: Option<Bytes> = None;
        for _ in 0..MAX_ATTEMPTS {
            let [guard] = self.known([key.clone()]).await?;
            if let Some(value) = in_doubt.take_if(|ours| guard.known.as_ref() == Some(ours)) {
                return Ok(TakeOver::Held(Fence { slot, value, version: guard.version }));
            }
            let value = next_value(guard.known.as_deref(), owner)?;
            if in_doubt.as_ref().is_some_and(|ours| *ours != value) {
                return Ok(TakeOver::Contended);
            }
            let plan = Plan {
                guards: vec![guard],
                ops: vec![Op::Set { key: key.clone(), value: value.clone() }],
            };
            match self.commit(plan).await {
                Outcome::Committed { version, .. } => {
                    return Ok(TakeOver::Held(Fence { slot, value, version }));
                }
                Outcome::Conflict if in_doubt.is_none() => return Ok(TakeOver::Contended),
                // The attempt in doubt may be what this one collided with: read again.
                Outcome::Conflict => {}
                // Whether it is applied or not, the next attempt writes the same value under the
                // same guard, so at most one of them is.
                Outcome::Unresolved => in_doubt = Some(value),
                Outcome::Busy | Outcome::TooLarge => return Ok(TakeOver::Unavailable),
            }
        }
        Ok(TakeOver::Unavailable)
    }
}

/// What the row holds after `owner` took over from what it holds now.
fn next_value(known: Option<&[u8]>, owner: Owner) -> Result<Bytes, ReadError> {
    let epoch = match known {
        Some(value) => rows::decode::<FenceRow>(value)?.epoch,
        None => 0,
    };
    let epoch = epoch.checked_add(1).ok_or_else(|| rows::damaged("fence", "no epoch is left"))?;
    let Owner { node, incarnation } = owner;
    Ok(rows::encode(&FenceRow { node, incarnation, epoch }))
}
