//! The log of what operators did: appended to, read newest first, never changed.
//!
//! A key begins with the time, so that the log reads in order on whichever database it was carried
//! to; two entries of one millisecond are told apart by a random id. Each node writes with its own
//! clock: entries of two nodes may stand in the wrong order by as much as their clocks differ.

use crate::engine::{Engine, ReadError, View};
use crate::error::StoreError;
use crate::keys::{self, own};
use crate::rows::{self, AuditRow};
use crate::store::Store;

/// Most bytes of each text of an entry.
pub const MAX_AUDIT_TEXT_BYTES: usize = 256;
/// Most entries of a page.
pub const MAX_AUDIT_PAGE: usize = 200;

/// An entry's place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditPlace {
    /// When, Unix milliseconds.
    pub time_ms: u64,
    /// Tells entries of one millisecond apart.
    pub id: u64,
}

/// What an operator did, or tried to. Texts are at most [`MAX_AUDIT_TEXT_BYTES`] long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its place.
    pub place: AuditPlace,
    /// The entries of one action share this number.
    pub action_id: u64,
    /// Who: the name of the token that was shown.
    pub operator: String,
    /// Which node was asked.
    pub node: String,
    /// What.
    pub action: String,
    /// To whom or what; may be empty.
    pub target: String,
    /// How it went; `begun` before anything happened.
    pub outcome: String,
}

impl<E: Engine> Store<E> {
    /// Appends an entry.
    ///
    /// # Errors
    /// [`StoreError::IdTaken`] (choose another id), [`StoreError::BadArgument`] when a text is over
    /// its limit, and those of any commit.
    pub async fn append_audit(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        let AuditEntry { place, action_id, operator, node, action, target, outcome } = entry;
        let texts = [operator, node, action, target, outcome];
        if texts.into_iter().any(|text| text.len() > MAX_AUDIT_TEXT_BYTES) {
            return Err(StoreError::BadArgument("the length of a text of the audit log"));
        }
        let action_id = *action_id;
        let value = rows::encode(&AuditRow { action_id, operator, node, action, target, outcome });
        self.put_new(own(keys::audit(*place)), value).await
    }

    /// At most `limit` (and [`MAX_AUDIT_PAGE`]) entries before a place, or the newest ones; newest
    /// first. The place of the last is where the next page goes on; none: there are no older ones.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn audit_log(
        &self,
        before: Option<AuditPlace>,
        limit: usize,
    ) -> Result<(Vec<AuditEntry>, Option<AuditPlace>), ReadError> {
        let limit = limit.clamp(1, MAX_AUDIT_PAGE);
        let end = match before {
            Some(place) => own(keys::audit(place)),
            None => keys::prefix_end(keys::AUDIT),
        };
        let view = self.latest().await?;
        let rows = view.range(keys::AUDIT, &end, limit + 1, true).await?;
        let more = rows.len() > limit;
        let mut entries = Vec::with_capacity(limit.min(rows.len()));
        for (key, value) in rows.iter().take(limit) {
            let AuditRow { action_id, operator, node, action, target, outcome } =
                rows::decode(value)?;
            entries.push(AuditEntry {
                place: keys::audit_place(key)?,
                action_id,
                operator: operator.to_owned(),
                node: node.to_owned(),
                action: action.to_owned(),
                target: target.to_owned(),
                outcome: outcome.to_owned(),
            });
        }
        let next = entries.last().map(|entry| entry.place).filter(|_| more);
        Ok((entries, next))
    }
}
