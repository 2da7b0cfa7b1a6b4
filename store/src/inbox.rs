//! A user's inbox: a log of pointers to where new entries are, and the cursors into it.
//!
//! Safety: a page never skips a pointer silently. What was trimmed, belongs to another log or to a
//! future this store has not seen is answered [`InboxPage::TooFar`].

use crate::engine::{Engine, ReadError, View};
use crate::error::{Attempts, StoreError};
use crate::keys;
use crate::plan::{Op, Plan, Stamp, Version};
use crate::rows::{self, InstallationRow, PointerRow};
use crate::store::{self, Store};
use bytes::Bytes;
use rookery_protocol::{ConversationId, Cursor, OwnKind, UserId};

/// Most pointers of one page, whatever the caller asks for.
pub const MAX_INBOX_PAGE: usize = 1000;

/// What a pointer tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PointerKind {
    /// Entries `first..=last` were appended.
    Messages,
    /// The user is a member of the conversation now.
    Created,
    /// Something of the user's own changed; the row's conversation is the id of what did.
    Own(OwnKind),
}

/// Codes of [`PointerKind::Own`] begin after this.
const OWN: u8 = 16;

impl PointerKind {
    /// The byte in the row.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Messages => 1,
            Self::Created => 2,
            Self::Own(kind) => OWN.saturating_add(kind.code()),
        }
    }

    pub(crate) fn from_code(code: u8) -> Result<Self, ReadError> {
        match code {
            1 => Ok(Self::Messages),
            2 => Ok(Self::Created),
            17..=19 => Ok(Self::Own(OwnKind::from_code(code - OWN))),
            other => Err(rows::damaged(
                "inbox pointer",
                &format!("kind {other}: perhaps from a newer version of the software"),
            )),
        }
    }
}

/// One row of an inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pointer {
    /// Its place in the log.
    pub stamp: Stamp,
    /// What it tells.
    pub kind: PointerKind,
    /// Of which conversation.
    pub conversation: ConversationId,
    /// First new seq; 0 when the kind has none.
    pub first: u64,
    /// Last new seq; 0 when the kind has none.
    pub last: u64,
}

/// What lies after a cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InboxPage {
    /// The next pointers.
    Page {
        /// By rising stamp.
        pointers: Vec<Pointer>,
        /// Where the next page starts: with `more` the last pointer, else everything the snapshot
        /// showed.
        end: Cursor,
        /// Whether the snapshot held further pointers.
        more: bool,
    },
    /// The log no longer holds everything after the cursor, or never was the cursor's.
    TooFar {
        /// The end of the log now.
        now: Cursor,
    },
}

impl<E: Engine> Store<E> {
    /// At most `limit` (and [`MAX_INBOX_PAGE`]) pointers of `user` after a cursor, read no older
    /// than `at_least`. Without a cursor: an empty page that ends now.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn inbox(
        &self,
        user: UserId,
        after: Option<Cursor>,
        limit: usize,
        at_least: Version,
    ) -> Result<InboxPage, ReadError> {
        let epoch = self.inbox_epoch().await?;
        let view = self.view(at_least).await?;
        let now = Stamp::end_of(view.version()).cursor(epoch);
        let Some(after) = after else {
            return Ok(InboxPage::Page { pointers: Vec::new(), end: now, more: false });
        };
        let from = Stamp(after.stamp);
        if after.epoch != epoch || from > Stamp(now.stamp) {
            return Ok(InboxPage::TooFar { now });
        }
        if let Some(floor) = view.get(&keys::inbox_floor(user)).await?
            && (epoch, from) < rows::decode_inbox_floor(&floor)?
        {
            return Ok(InboxPage::TooFar { now });
        }
        let limit = limit.clamp(1, MAX_INBOX_PAGE);
        let start = keys::successor(&keys::pointer(user, epoch, from));
        let end = keys::prefix_end(&keys::inbox(user, epoch));
        let rows = view.range(&start, &end, limit + 1, false).await?;
        let more = rows.len() > limit;
        let pointers: Vec<Pointer> =
            rows.iter().take(limit).map(pointer).collect::<Result<_, _>>()?;
        let end = match pointers.last() {
            Some(last) if more => last.stamp.cursor(epoch),
            _ => now,
        };
        Ok(InboxPage::Page { pointers, end, more })
    }

    /// For each of these users whether [`Self::inbox`] has anything to tell after the cursor, in their
    /// order and as of one snapshot. What was trimmed after a cursor is not looked for: a device's
    /// noted cursor keeps it.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn inbox_news(&self, after: &[(UserId, Cursor)]) -> Result<Vec<bool>, ReadError> {
        let epoch = self.inbox_epoch().await?;
        let seen = after.iter().map(|(_, cursor)| Stamp(cursor.stamp).version()).max();
        let view = self.view(seen.unwrap_or_default()).await?;
        let mut news = Vec::with_capacity(after.len());
        for &(user, cursor) in after {
            let start = keys::successor(&keys::pointer(user, epoch, Stamp(cursor.stamp)));
            let end = keys::prefix_end(&keys::inbox(user, epoch));
            let first = view.range(&start, &end, 1, false).await?;
            news.push(cursor.epoch != epoch || !first.is_empty());
        }
        Ok(news)
    }

    /// Removes the pointers of `user` below a stamp; cursors below it are too far from then on.
    /// `below` is not after the newest commit, which the caller checks.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn trim_inbox(&self, user: UserId, below: Stamp) -> Result<(), StoreError> {
        let epoch = self.inbox_epoch().await?;
        // Repeating it changes nothing more: pointers only ever arrive above.
        self.repeat(trim_plan(user, epoch, Stamp::default(), below)).await
    }

    /// Starts new inbox logs, as a restored backup needs: all cursors given out before are too far.
    /// No node may be serving, because each reads the epoch once. Returns the new epoch.
    ///
    /// # Errors
    /// [`StoreError`]; after [`StoreError::Unresolved`] the epoch may have been raised.
    pub async fn renew_inbox_epoch(&self) -> Result<u32, StoreError> {
        let mut attempts = Attempts::new();
        loop {
            attempts.begin()?;
            let [guard] =
                attempts.read(self.known([Bytes::from_static(keys::INSTALLATION)]).await)?;
            let epoch = attempts.read(store::inbox_epoch(guard.known.as_deref()))?;
            let epoch = epoch.checked_add(1).ok_or(StoreError::BadArgument("no epoch is left"))?;
            let key = Bytes::from_static(keys::INSTALLATION);
            let value = rows::encode(&InstallationRow { inbox_epoch: epoch });
            let plan = Plan { guards: vec![guard], ops: vec![Op::Set { key, value }] };
            if attempts.settle(self.commit(plan).await)?.is_some() {
                self.note_inbox_epoch(epoch);
                return Ok(epoch);
            }
        }
    }
}

/// Raises a user's floor to `below` and removes the pointers from `from` up to there.
pub(crate) fn trim_plan(user: UserId, epoch: u32, from: Stamp, below: Stamp) -> Plan {
    let ops = vec![
        Op::ByteMax {
            key: keys::own(keys::inbox_floor(user)),
            value: keys::own(rows::encode_inbox_floor(epoch, below)),
        },
        Op::ClearRange {
            from: keys::own(keys::pointer(user, epoch, from)),
            to: keys::own(keys::pointer(user, epoch, below)),
        },
    ];
    Plan { guards: Vec::new(), ops }
}

/// Tells a user's devices that something of the user's own changed.
pub(crate) fn own_pointer(user: UserId, epoch: u32, kind: OwnKind, id: u64) -> Op {
    let kind = PointerKind::Own(kind).code();
    let row = PointerRow { kind, conversation: ConversationId(id), first: 0, last: 0 };
    Op::SetStampedKey { prefix: keys::own(keys::inbox(user, epoch)), value: rows::encode(&row) }
}

fn pointer((key, value): &(Bytes, Bytes)) -> Result<Pointer, ReadError> {
    let PointerRow { kind, conversation, first, last } = rows::decode(value)?;
    let kind = PointerKind::from_code(kind)?;
    Ok(Pointer { stamp: keys::last_stamp(key)?, kind, conversation, first, last })
}
