//! What operators tell everybody who is connected: a few short texts in one row.
//!
//! Ids rise with the commits that post them, so a node that remembers the greatest one it told
//! knows what is new. A notice holds until its end, for who connects meanwhile; it is removed with
//! the next one that is posted after that.

use crate::engine::{Engine, ReadError, View};
use crate::error::{Attempts, StoreError};
use crate::keys;
use crate::plan::{Op, Plan};
use crate::rows::{self, NoticeRow, NoticesRow};
use crate::store::Store;
use bytes::Bytes;

/// Most bytes of a notice.
pub const MAX_NOTICE_BYTES: usize = 1_024;
/// Most notices at a time.
pub const MAX_NOTICES: usize = 8;

/// A notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Rises from notice to notice; never 0.
    pub id: u64,
    /// When it was posted, Unix milliseconds.
    pub time_ms: u64,
    /// Until when it is told to who connects, Unix milliseconds.
    pub until_ms: u64,
    /// What it says.
    pub text: String,
}

impl<E: Engine> Store<E> {
    /// The notices that were posted last, by rising id, also those that are over.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn notices(&self) -> Result<Vec<Notice>, ReadError> {
        let row = self.latest().await?.get(keys::NOTICES).await?;
        Ok(decode(row.as_ref())?.0)
    }

    /// Posts a notice: it, with its id.
    ///
    /// # Errors
    /// [`StoreError::BadArgument`] when the text is empty or over [`MAX_NOTICE_BYTES`],
    /// [`StoreError::Busy`] when there are [`MAX_NOTICES`] that are not over, and those of any
    /// commit.
    pub async fn post_notice(
        &self,
        text: &str,
        time_ms: u64,
        until_ms: u64,
    ) -> Result<Notice, StoreError> {
        if text.is_empty() || text.len() > MAX_NOTICE_BYTES {
            return Err(StoreError::BadArgument("the length of a notice"));
        }
        let mut attempts = Attempts::new();
        loop {
            attempts.begin()?;
            let [row] = attempts.read(self.known([Bytes::from_static(keys::NOTICES)]).await)?;
            let (mut notices, last) = attempts.read(decode(row.known.as_ref()))?;
            let same = |held: &&Notice| {
                (held.text.as_str(), held.time_ms, held.until_ms) == (text, time_ms, until_ms)
            };
            if attempts.in_doubt()
                && let Some(posted) = notices.iter().find(same)
            {
                return Ok(posted.clone());
            }
            notices.retain(|held| held.until_ms > time_ms);
            if notices.len() >= MAX_NOTICES {
                return Err(attempts.or_in_doubt(StoreError::Busy));
            }
            let notice = Notice { id: last + 1, time_ms, until_ms, text: text.to_owned() };
            notices.push(notice.clone());
            let ops = vec![Op::Set { key: row.key.clone(), value: encode(&notices, last + 1) }];
            let plan = Plan { guards: vec![row], ops };
            if attempts.settle(self.commit(plan).await)?.is_some() {
                return Ok(notice);
            }
        }
    }

    /// Takes all notices back: who connects from now on is told none of them.
    ///
    /// # Errors
    /// Those of any commit.
    pub async fn withdraw_notices(&self) -> Result<(), StoreError> {
        let mut attempts = Attempts::new();
        loop {
            attempts.begin()?;
            let [row] = attempts.read(self.known([Bytes::from_static(keys::NOTICES)]).await)?;
            let (notices, last) = attempts.read(decode(row.known.as_ref()))?;
            if notices.is_empty() {
                return Ok(());
            }
            let ops = vec![Op::Set { key: row.key.clone(), value: encode(&[], last) }];
            let plan = Plan { guards: vec![row], ops };
            if attempts.settle(self.commit(plan).await)?.is_some() {
                return Ok(());
            }
        }
    }
}

/// The notices, and the greatest id that was given out.
fn decode(row: Option<&Bytes>) -> Result<(Vec<Notice>, u64), ReadError> {
    let Some(value) = row else { return Ok((Vec::new(), 0)) };
    let NoticesRow { last, notices } = rows::decode(value)?;
    let notice = |row: NoticeRow| {
        let NoticeRow { id, time_ms, until_ms, text } = row;
        Notice { id, time_ms, until_ms, text }
    };
    Ok((notices.into_iter().map(notice).collect(), last))
}

fn encode(notices: &[Notice], last: u64) -> Bytes {
    let row = |notice: &Notice| {
        let Notice { id, time_ms, until_ms, text } = notice.clone();
        NoticeRow { id, time_ms, until_ms, text }
    };
    rows::encode(&NoticesRow { last, notices: notices.iter().map(row).collect() })
}
