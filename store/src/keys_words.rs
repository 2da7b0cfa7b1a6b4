//! The keys of the index of words. A part of `keys`, where the schema is drawn.
//!
//! Of one word, the newest message comes first: its seq lies inverted in the key. A word holds no
//! byte 0, so the one behind it keeps a word apart from those that begin with it.

use crate::engine::ReadError;
use crate::words::MAX_WORD_BYTES;
use bytes::{BufMut, Bytes, BytesMut};
use rookery_protocol::ConversationId;

/// Key of the row that says whether words are indexed.
pub const WORD_INDEX: &[u8] = b"F";
/// Prefix of the index of words; it ends at [`super::prefix_end`] of it.
pub const WORDS: &[u8] = b"W";
/// Bytes of a key beside its word.
const FIXED: usize = 1 + 8 + 1 + 8;
/// Most bytes of a key.
pub const MAX_WORD_KEY_BYTES: usize = FIXED + MAX_WORD_BYTES;

/// Key of the row that says that the message at `seq` has a word.
#[must_use]
pub fn word(conversation: ConversationId, word: &str, seq: u64) -> Bytes {
    word_at(&word_seqs(conversation, word), seq)
}

/// First key of the words of a conversation that begin with `prefix`; they end at
/// [`super::prefix_end`] of it.
#[must_use]
pub fn words_from(conversation: ConversationId, prefix: &str) -> Bytes {
    let mut key = BytesMut::with_capacity(FIXED + prefix.len());
    key.put_slice(WORDS);
    key.put_u64(conversation.0);
    key.put_slice(prefix.as_bytes());
    key.freeze()
}

/// What the keys of one word begin with.
pub(crate) fn word_seqs(conversation: ConversationId, word: &str) -> Bytes {
    let mut key = BytesMut::from(words_from(conversation, word));
    key.put_u8(0);
    key.freeze()
}

/// The key at `seq` among those that begin with `word`, a [`word_seqs`].
pub(crate) fn word_at(word: &[u8], seq: u64) -> Bytes {
    let mut key = BytesMut::with_capacity(word.len() + 8);
    key.put_slice(word);
    key.put_u64(!seq);
    key.freeze()
}

/// The conversation, the word and the seq of a key.
///
/// # Errors
/// [`ReadError::Damaged`] when it is not one.
pub(crate) fn word_parts(key: &[u8]) -> Result<(ConversationId, &str, u64), ReadError> {
    let parts = || {
        let (rest, not_seq) = key.strip_prefix(WORDS)?.split_last_chunk::<8>()?;
        let (conversation, word) = rest.split_first_chunk::<8>()?;
        let (word, 0) = word.split_last().map(|(end, word)| (word, *end))? else { return None };
        let word = std::str::from_utf8(word).ok()?;
        let seq = !u64::from_be_bytes(*not_seq);
        Some((ConversationId(u64::from_be_bytes(*conversation)), word, seq))
    };
    parts().ok_or_else(|| ReadError::Damaged("word: its key is not one".to_owned()))
}
