//! The keys of users' own rows: profiles, people, how conversations are seen, reports, privacy, who
//! may come in. A part of `keys`, where the schema is drawn.

use super::{pair, single};
use crate::engine::ReadError;
use bytes::BufMut;
use rookery_protocol::{ConversationId, UserId};

/// Key of the row that says that `user` has `other` blocked.
#[must_use]
pub fn block(user: UserId, other: UserId) -> [u8; 17] {
    pair(b'B', user.0, other.0)
}

/// First key of whom a user has blocked; they end at [`super::prefix_end`] of it.
#[must_use]
pub fn blocks(user: UserId) -> [u8; 9] {
    single(b'B', user.0)
}

/// Key of the row that says that `other` is a contact of `user`.
#[must_use]
pub fn contact(user: UserId, other: UserId) -> [u8; 17] {
    pair(b'C', user.0, other.0)
}

/// First key of a user's contacts; they end at [`super::prefix_end`] of it.
#[must_use]
pub fn contacts(user: UserId) -> [u8; 9] {
    single(b'C', user.0)
}

/// Key of how a user sees a conversation.
#[must_use]
pub fn own_state(user: UserId, conversation: ConversationId) -> [u8; 17] {
    pair(b'D', user.0, conversation.0)
}

/// First key of how a user sees conversations; they end at [`super::prefix_end`] of it.
#[must_use]
pub fn own_states(user: UserId) -> [u8; 9] {
    single(b'D', user.0)
}

/// Key of what a block of `user` hides in a conversation.
#[must_use]
pub fn shade(conversation: ConversationId, user: UserId) -> [u8; 17] {
    pair(b'P', conversation.0, user.0)
}

/// Key of a user's report of an entry.
#[must_use]
pub fn report(conversation: ConversationId, seq: u64, reporter: UserId) -> [u8; 25] {
    let mut key = [0; 25];
    let mut out = key.as_mut_slice();
    out.put_u8(b'Q');
    out.put_u64(conversation.0);
    out.put_u64(seq);
    out.put_u64(reporter.0);
    key
}

/// First key of the reports of a conversation's entries; they end at [`super::prefix_end`] of it.
#[must_use]
pub fn reports_of(conversation: ConversationId) -> [u8; 9] {
    single(b'Q', conversation.0)
}

/// Prefix of all reports; they end at [`super::prefix_end`] of it.
pub const REPORTS: &[u8] = b"Q";

/// Key of a user's privacy settings.
#[must_use]
pub fn privacy(user: UserId) -> [u8; 9] {
    single(b'V', user.0)
}

/// Key of a user's profile.
#[must_use]
pub fn profile(user: UserId) -> [u8; 9] {
    single(b'U', user.0)
}

/// Key of the settings that a user's clients keep.
#[must_use]
pub fn settings(user: UserId) -> [u8; 9] {
    single(b'T', user.0)
}

/// Key of the row of an account that is shut out.
#[must_use]
pub fn shut_out(user: UserId) -> [u8; 9] {
    single(b'X', user.0)
}

/// Prefix of the rows of accounts that are shut out; they end at [`super::prefix_end`] of it.
pub const SHUT_OUT: &[u8] = b"X";

/// Key of who a foreign token speaks for, by the hash of its issuer and subject.
#[must_use]
pub fn external(hash: &[u8; 32]) -> [u8; 33] {
    let mut key = [0; 33];
    let mut out = key.as_mut_slice();
    out.put_u8(b'O');
    out.put_slice(hash);
    key
}

/// Key of an invitation, by the hash of its code.
#[must_use]
pub fn invitation(hash: &[u8; 32]) -> [u8; 33] {
    let mut key = [0; 33];
    let mut out = key.as_mut_slice();
    out.put_u8(b'G');
    out.put_slice(hash);
    key
}

/// The conversation, seq and reporter of a report's key.
///
/// # Errors
/// [`ReadError::Damaged`] when the key has another length.
pub(crate) fn report_ids(key: &[u8]) -> Result<(ConversationId, u64, UserId), ReadError> {
    let id = |at: usize| key.get(at..)?.first_chunk::<8>().map(|id| u64::from_be_bytes(*id));
    match (key.len(), id(1), id(9), id(17)) {
        (25, Some(conversation), Some(seq), Some(reporter)) => {
            Ok((ConversationId(conversation), seq, UserId(reporter)))
        }
        _ => Err(ReadError::Damaged(format!("report: its key has {} bytes", key.len()))),
    }
}
