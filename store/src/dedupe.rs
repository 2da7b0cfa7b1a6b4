//! What was already sent: the answer to a retry.

use crate::engine::{Engine, ReadError, View};
use crate::plan::Version;
use crate::rows::{self, DedupeRow};
use crate::{keys, store::Store};
use rookery_protocol::{ClientMsgId, ConversationId, UserId};

/// The answer a `client_msg_id` got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its place in the conversation.
    pub seq: u64,
    /// [`crate::append::content_hash`] of what was sent.
    pub hash: u64,
    /// When it was committed, Unix milliseconds.
    pub time_ms: u64,
}

impl<E: Engine> Store<E> {
    /// The answer `sender` got for `id`, read no older than `at_least`. `None`: never committed up
    /// to there, or longer ago than the dedupe horizon.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn find_sent(
        &self,
        conversation: ConversationId,
        sender: UserId,
        id: ClientMsgId,
        at_least: Version,
    ) -> Result<Option<Known>, ReadError> {
        let view = self.view(at_least).await?;
        let Some(value) = view.get(&keys::dedupe(conversation, sender, id)).await? else {
            return Ok(None);
        };
        let DedupeRow { seq, hash, time_ms } = rows::decode(&value)?;
        Ok(Some(Known { seq, hash, time_ms }))
    }
}
