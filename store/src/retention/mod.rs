//! Retention: what may go, found and removed in bounded steps.
//!
//! ```text
//! messages   older than the conversation's retention, or else the installation's
//! dedupe     rows older than the horizon
//! inbox      pointers below the slowest device that counts, and all of logs that ended
//! ```
//!
//! What may go is decided by pure functions (`decide`); here rows are read for them and plans are
//! committed. Several nodes may do the same at once: floors only rise, and what is removed twice is
//! removed once.
//!
//! Safety
//! - A floor rises in the commit that removes what lies below it: no reader meets a hole that
//!   nobody told of. Heads are not touched, so a conversation's owner needs no notice, and the plans
//!   need no fence.
//! - A range begins at what was read as its first row: on an LSM, what was removed before would be
//!   passed again and again until it is compacted.
//! - New messages and pointers only arrive above what is removed. A dedupe row may arrive anywhere
//!   (its id is the client's), so those are removed key by key, not by range.
//!
//! - Where words are indexed, or were once, the rows of a message's words go in the commit that removes
//!   the message. Where they never were, the plan guards on that: the index may begin meanwhile.
//!
//! Nothing else keeps a message's content: what is gone here is gone, once the engine has compacted
//! its files. There is no media yet: no row points to a file. Who adds such rows must remove them in
//! the plan that removes their message, and the file after that plan, or it is kept for ever.

mod decide;
mod sweep;

pub use decide::Policy;
pub use sweep::{Removed, Sweep};

use crate::engine::{Engine, ReadError, View};
use crate::error::{Attempts, StoreError};
use crate::keys::{self, own};
use crate::plan::{Op, Plan, Stamp};
use crate::rows::{self, RetentionRow};
use crate::store::Store;
use rookery_protocol::{ConversationId, Cursor, DeviceId, UserId};

/// The plan that notes the inbox cursor a device came with, at `now_ms` (Unix milliseconds): its
/// pointers from there on are kept for it. The last note counts.
#[must_use]
pub fn device_cursor_plan(user: UserId, device: DeviceId, cursor: Cursor, now_ms: u64) -> Plan {
    let key = own(keys::device_cursor(user, device));
    let value = own(rows::encode_device_cursor(cursor.epoch, Stamp(cursor.stamp), now_ms));
    Plan { guards: Vec::new(), ops: vec![Op::Set { key, value }] }
}

impl<E: Engine> Store<E> {
    /// Sets how long a conversation keeps its messages, in milliseconds (0: for ever), whatever the
    /// installation's retention is; `None`: as the installation does.
    ///
    /// # Errors
    /// [`StoreError::NotAMember`] when there is no such conversation, and those of any commit.
    pub async fn set_retention(
        &self,
        conversation: ConversationId,
        keep_ms: Option<u64>,
    ) -> Result<(), StoreError> {
        let view = self.latest().await?;
        if view.get(&keys::conversation(conversation)).await?.is_none() {
            return Err(StoreError::NotAMember);
        }
        drop(view);
        let key = own(keys::retention(conversation));
        let op = match keep_ms {
            Some(keep_ms) => Op::Set { key, value: rows::encode(&RetentionRow { keep_ms }) },
            None => Op::Clear { key },
        };
        self.repeat(Plan { guards: Vec::new(), ops: vec![op] }).await
    }

    /// Commits a plan that may be committed twice.
    pub(crate) async fn repeat(&self, plan: Plan) -> Result<(), StoreError> {
        let mut attempts = Attempts::new();
        loop {
            attempts.begin()?;
            if attempts.settle(self.commit(plan.clone()).await)?.is_some() {
                return Ok(());
            }
        }
    }
}

/// How long a conversation keeps its messages, as its row says; `None`: no row.
fn own_retention(row: Option<&[u8]>) -> Result<Option<u64>, ReadError> {
    row.map(|value| Ok(rows::decode::<RetentionRow>(value)?.keep_ms)).transpose()
}
