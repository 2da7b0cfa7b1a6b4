//! Entries that users reported, for the operators. The entry itself is not copied.

use crate::engine::{Engine, ReadError, View};
use crate::error::{Attempts, StoreError};
use crate::keys::{self, own};
use crate::plan::{Op, Plan};
use crate::rows::{self, MessageRow, ReportRow};
use crate::shade::Shade;
use crate::store::{Store, get_all};
use bytes::Bytes;
use rookery_protocol::limits::MAX_COMMENT_BYTES;
use rookery_protocol::{ConversationId, ReportReason, UserId};

/// Most reports of a page.
pub const MAX_REPORTS: usize = 100;
/// Rows read at once.
const CHUNK: usize = 256;

/// A report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Where the entry is.
    pub conversation: ConversationId,
    /// Which entry.
    pub seq: u64,
    /// Who reported it.
    pub reporter: UserId,
    /// Who had sent it.
    pub sender: UserId,
    /// Why.
    pub reason: ReportReason,
    /// In the reporter's words, at most [`MAX_COMMENT_BYTES`].
    pub comment: String,
    /// When it was reported, Unix milliseconds.
    pub time_ms: u64,
}

/// What a user says of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Which conversation.
    pub conversation: ConversationId,
    /// Which entry.
    pub seq: u64,
    /// Why.
    pub reason: ReportReason,
    /// In the user's words.
    pub comment: String,
}

/// Where a page of reports goes on.
pub type ReportPlace = (ConversationId, u64, UserId);

impl<E: Engine> Store<E> {
    /// Keeps a report of `me`, in place of an earlier one about the same entry.
    ///
    /// # Errors
    /// [`StoreError::NotAMember`], [`StoreError::BadArgument`] for an entry that isn't there or that
    /// `me` doesn't see, an unknown reason or too long a comment, and those of any commit.
    pub async fn report(
        &self,
        me: UserId,
        complaint: &Complaint,
        now_ms: u64,
    ) -> Result<(), StoreError> {
        let Complaint { conversation, seq, reason, comment } = complaint;
        if comment.len() > MAX_COMMENT_BYTES || matches!(reason, ReportReason::Other(_)) {
            return Err(StoreError::BadArgument("a report's reason or comment"));
        }
        let view = self.latest().await?;
        let wanted = [
            own(keys::member(*conversation, me)),
            own(keys::message(*conversation, *seq)),
            own(keys::shade(*conversation, me)),
        ];
        let [member, message, shade] = get_all(&view, wanted).await?;
        if member.is_none() {
            return Err(StoreError::NotAMember);
        }
        let seen = Shade::decode(shade.as_ref())?.shown_head(*seq) == *seq;
        let Some(message) = message.filter(|_| seen) else {
            return Err(StoreError::BadArgument("an entry that is not there"));
        };
        let sender = rows::decode::<MessageRow<'_>>(&message)?.sender;
        let key = own(keys::report(*conversation, *seq, me));
        let row = ReportRow { sender, reason: reason.code(), comment, time_ms: now_ms };
        self.repeat(Plan {
            guards: Vec::new(),
            ops: vec![Op::Set { key, value: rows::encode(&row) }],
        })
        .await
    }

    /// Reports by conversation, seq and reporter, after one of them: at most `limit` (and
    /// [`MAX_REPORTS`]).
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn reports(
        &self,
        after: Option<ReportPlace>,
        limit: usize,
    ) -> Result<Vec<Report>, ReadError> {
        let from = match after {
            Some((conversation, seq, reporter)) => {
                keys::successor(&keys::report(conversation, seq, reporter))
            }
            None => own(keys::REPORTS),
        };
        let limit = limit.clamp(1, MAX_REPORTS);
        let view = self.latest().await?;
        let rows = view.range(&from, &keys::prefix_end(keys::REPORTS), limit, false).await?;
        rows.iter().map(decode).collect()
    }

    /// One report.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn report_at(&self, place: ReportPlace) -> Result<Option<Report>, ReadError> {
        let (conversation, seq, reporter) = place;
        let key = own(keys::report(conversation, seq, reporter));
        let row = self.latest().await?.get(&key).await?;
        row.map(|value| decode(&(key, value))).transpose()
    }

    /// What a user reported in a conversation, by rising seq.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn reports_by(
        &self,
        reporter: UserId,
        conversation: ConversationId,
    ) -> Result<Vec<Report>, ReadError> {
        let view = self.latest().await?;
        let prefix = keys::reports_of(conversation);
        let (mut from, end) = (own(prefix), keys::prefix_end(&prefix));
        let mut found = Vec::new();
        loop {
            let rows = view.range(&from, &end, CHUNK, false).await?;
            for row in &rows {
                found.extend(Some(decode(row)?).filter(|report| report.reporter == reporter));
            }
            match rows.last() {
                Some((last, _)) if rows.len() == CHUNK => from = keys::successor(last),
                _ => return Ok(found),
            }
        }
    }

    /// Takes the words out of a user's reports about a conversation: the user's account ends.
    pub(crate) async fn erase_comments(
        &self,
        user: UserId,
        conversation: ConversationId,
    ) -> Result<(), StoreError> {
        let prefix = keys::reports_of(conversation);
        let (mut from, end) = (own(prefix), keys::prefix_end(&prefix));
        let mut attempts = Attempts::new();
        loop {
            let rows = self.latest().await?.range(&from, &end, CHUNK, false).await?;
            let mut ops = Vec::new();
            for row in &rows {
                let report = decode(row)?;
                if report.reporter == user && !report.comment.is_empty() {
                    let Report { sender, reason, time_ms, .. } = report;
                    let empty = ReportRow { sender, reason: reason.code(), comment: "", time_ms };
                    ops.push(Op::Set { key: row.0.clone(), value: rows::encode(&empty) });
                }
            }
            if !ops.is_empty() {
                attempts.begin()?;
                let plan = Plan { guards: Vec::new(), ops };
                if attempts.settle(self.commit(plan).await)?.is_none() {
                    continue;
                }
            }
            match rows.last() {
                Some((last, _)) if rows.len() == CHUNK => {
                    (from, attempts) = (keys::successor(last), Attempts::new());
                }
                _ => return Ok(()),
            }
        }
    }
}

fn decode((key, value): &(Bytes, Bytes)) -> Result<Report, ReadError> {
    let (conversation, seq, reporter) = keys::report_ids(key)?;
    let ReportRow { sender, reason, comment, time_ms } = rows::decode(value)?;
    let (reason, comment) = (ReportReason::from_code(reason), comment.to_owned());
    Ok(Report { conversation, seq, reporter, sender, reason, comment, time_ms })
}
