//! Everything there is, for operators: accounts and conversations by id, a page at a time.

use crate::accounts::{self, Account};
use crate::engine::{Engine, ReadError, View};
use crate::keys::{self, own};
use crate::store::Store;
use bytes::Bytes;
use rookery_protocol::{ConversationId, UserId};

/// Rows read at once.
const CHUNK: usize = 256;

impl<E: Engine> Store<E> {
    /// At most `limit` accounts after a user, by id, and after whom the next page begins, if there
    /// is one. Those that were deleted are left out.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn accounts(
        &self,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<(Vec<Account>, Option<UserId>), ReadError> {
        let account = |id, value: &Bytes| {
            let account = accounts::decode(UserId(id), value)?;
            Ok(Some(account).filter(|account| !account.name.is_empty()))
        };
        let after = after.map(keys::account);
        let (found, more) = self.page(keys::ACCOUNTS, after, limit, account).await?;
        let next = found.last().map(|account| account.user).filter(|_| more);
        Ok((found, next))
    }

    /// At most `limit` conversations after one of them, by id, and after which the next page
    /// begins, if there is one.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn all_conversations(
        &self,
        after: Option<ConversationId>,
        limit: usize,
    ) -> Result<(Vec<ConversationId>, Option<ConversationId>), ReadError> {
        let after = after.map(keys::conversation);
        let id = |id, _: &Bytes| Ok(Some(ConversationId(id)));
        let (found, more) = self.page(keys::CONVERSATIONS, after, limit, id).await?;
        let next = found.last().copied().filter(|_| more);
        Ok((found, next))
    }

    /// What `read` makes of the rows below a tag whose keys end with an id, and whether there are
    /// more than `limit`.
    async fn page<T>(
        &self,
        tag: &[u8],
        after: Option<[u8; 9]>,
        limit: usize,
        read: impl Fn(u64, &Bytes) -> Result<Option<T>, ReadError>,
    ) -> Result<(Vec<T>, bool), ReadError> {
        let view = self.latest().await?;
        let end = keys::prefix_end(tag);
        let mut from = after.map_or_else(|| own(tag), |key| keys::successor(&key));
        let mut found = Vec::new();
        loop {
            let rows = view.range(&from, &end, CHUNK, false).await?;
            for (key, value) in &rows {
                let Some(id) = key.last_chunk::<8>() else { continue };
                let Some(item) = read(u64::from_be_bytes(*id), value)? else { continue };
                if found.len() >= limit {
                    return Ok((found, true));
                }
                found.push(item);
            }
            match rows.last() {
                Some((last, _)) if rows.len() == CHUNK => from = keys::successor(last),
                _ => return Ok((found, false)),
            }
        }
    }
}
