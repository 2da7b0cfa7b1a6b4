//! Every key of the store, built in this one file, so that the schema has one home.
//!
//! A key is a tag byte and big-endian ids: rows of one conversation or one user lie together, in
//! the order a reader wants them. Every value starts with a version byte (see `rows`).
//!
//! ```text
//! tag  rest of the key                        bytes  value
//! ---  -------------------------------------  -----  -------------------------------------------
//! m    conversation seq                          17  sender, device, time, client id, kind, body
//! h    conversation                               9  head: seq, time
//! b    conversation                               9  smallest seq still held (absent: 1); rises
//! c    conversation                               9  kind, title, time of creation
//! d    conversation sender client-msg-id         33  dedupe: seq, content hash, time
//! p    conversation user                         17  member: role, seq at which they joined
//! w    conversation user mark-kind               18  mark: seq; rises
//! x    lower-user higher-user                    17  the pair's one-to-one conversation
//! a    user conversation                         17  time of activity, at most once a minute
//! i    user inbox-epoch(4) stamp(12)             25  pointer: kind, conversation, first..=last
//! j    user                                       9  inbox floor: epoch, stamp; rises
//! u    user                                       9  account: name, password hash, creation
//! n    name                                    <=33  user
//! v    user device                               17  device: name, creation, revoked
//! t    sha-256 of a refresh token                33  user, device, expiry, used
//! y    user device                               17  refresh family: newest token hashes
//! s    user                                       9  last seen: Unix ms; rises
//! q    user device                               17  inbox cursor it came with, and when
//! r    conversation                               9  retention of its messages: ms
//! e    conversation                               9  group: avatar, settings
//! l    conversation                               9  secret of the link by which users join
//! z    user conversation                         17  a membership that ended: from, to, by whom
//! f    slot(2)                                    3  fence: node, incarnation, epoch
//! L    node                                       9  lease: incarnation, state, counter, addresses
//! R    stamp(12)                                 13  a device that was revoked: user, device, time
//! N    name without look-alikes                <=33  user
//! U    user                                       9  profile: display name, avatar
//! X    user                                       9  shut out: since when, being deleted
//! T    user                                       9  settings of the user's clients: name, value
//! O    sha-256 of a foreign issuer and subject    33  user
//! G    sha-256 of an invitation's code           33  expiry, uses left, creation
//! B    user other-user                           17  the other one is blocked: since when
//! C    user other-user                           17  the other one is a contact: since when
//! D    user conversation                         17  muted, archived, marked unread
//! P    conversation user                         17  what the user's block hides in it
//! Q    conversation seq reporter                 25  report: sender, reason, comment, time
//! V    user                                       9  privacy: who sees presence, last seen, marks
//! W    conversation word 0 not-seq           19..=50  the message at seq has the word; no value
//! F                                               1  whether words are indexed, and how far
//! E                                               1  cluster: name, epoch of the membership
//! I                                               1  installation: inbox epoch
//! K                                               1  the installation's secret, its first signing seed
//! J                                               1  signing keys, once there was another than the first
//! Y    time(8) id(8)                             17  what an operator did: who, where, what, how it went
//! A                                               1  notices to everybody who is connected
//! S                                               1  limits that operators changed: number, value
//! Z                                               1  a copy into this store that is under way
//! ```
//!
//! "Rises" marks rows that are only written by `ByteMax`: their bytes after the version compare
//! like their meaning. A tag is never used again for something else.

use crate::audit::AuditPlace;
#[path = "keys_own.rs"]
mod own_rows;
#[path = "keys_words.rs"]
mod word_rows;

use crate::engine::ReadError;
use crate::plan::{STAMP_BYTES, Stamp};
use crate::slot::Slot;
use bytes::{BufMut, Bytes, BytesMut};
pub(crate) use own_rows::report_ids;
pub use own_rows::{
    REPORTS, SHUT_OUT, block, blocks, contact, contacts, external, invitation, own_state,
    own_states, privacy, profile, report, reports_of, settings, shade, shut_out,
};
use rookery_protocol::{ClientMsgId, ConversationId, DeviceId, MarkKind, UserId};
pub use word_rows::{MAX_WORD_KEY_BYTES, WORD_INDEX, WORDS, word, words_from};
pub(crate) use word_rows::{word_at, word_parts, word_seqs};

/// Bytes of a message's key.
pub const MESSAGE_BYTES: usize = 17;
/// Bytes of a head's key.
pub const HEAD_BYTES: usize = 9;
/// Bytes of a dedupe row's key.
pub const DEDUPE_BYTES: usize = 33;
/// Bytes of an activity row's key.
pub const ACTIVITY_BYTES: usize = 17;
/// Bytes of an inbox pointer's key before its stamp.
pub const INBOX_PREFIX_BYTES: usize = 13;
/// Bytes of a mark's key.
pub const MARK_BYTES: usize = 18;

/// Key of the message at `seq`.
#[must_use]
pub fn message(conversation: ConversationId, seq: u64) -> [u8; MESSAGE_BYTES] {
    pair(b'm', conversation.0, seq)
}

/// Key of a conversation's head.
#[must_use]
pub fn head(conversation: ConversationId) -> [u8; HEAD_BYTES] {
    single(b'h', conversation.0)
}

/// Key of a conversation's floor.
#[must_use]
pub fn floor(conversation: ConversationId) -> [u8; 9] {
    single(b'b', conversation.0)
}

/// Key of a conversation's description.
#[must_use]
pub fn conversation(conversation: ConversationId) -> [u8; 9] {
    single(b'c', conversation.0)
}

/// Key of the dedupe row of one message of one sender.
#[must_use]
pub fn dedupe(conversation: ConversationId, sender: UserId, id: ClientMsgId) -> [u8; DEDUPE_BYTES] {
    let mut key = [0; DEDUPE_BYTES];
    let mut out = key.as_mut_slice();
    out.put_u8(b'd');
    out.put_u64(conversation.0);
    out.put_u64(sender.0);
    out.put_slice(&id.0);
    key
}

/// Key of a member.
#[must_use]
pub fn member(conversation: ConversationId, user: UserId) -> [u8; 17] {
    pair(b'p', conversation.0, user.0)
}

/// First key of a conversation's members; they end at [`prefix_end`] of it.
#[must_use]
pub fn members(conversation: ConversationId) -> [u8; 9] {
    single(b'p', conversation.0)
}

/// Key of a member's mark.
#[must_use]
pub fn mark(conversation: ConversationId, user: UserId, kind: MarkKind) -> [u8; MARK_BYTES] {
    let mut key = [0; MARK_BYTES];
    let mut out = key.as_mut_slice();
    out.put_u8(b'w');
    out.put_u64(conversation.0);
    out.put_u64(user.0);
    out.put_u8(kind.code());
    key
}

/// First key of a conversation's marks; they end at [`prefix_end`] of it.
#[must_use]
pub fn marks(conversation: ConversationId) -> [u8; 9] {
    single(b'w', conversation.0)
}

/// Whose mark a key of a mark holds, and which.
///
/// # Errors
/// [`ReadError::Damaged`] when the key has another length.
pub(crate) fn mark_of(key: &[u8]) -> Result<(UserId, MarkKind), ReadError> {
    match (key.get(9..17).and_then(|user| <[u8; 8]>::try_from(user).ok()), key.get(17..)) {
        (Some(user), Some([kind])) => {
            Ok((UserId(u64::from_be_bytes(user)), MarkKind::from_code(*kind)))
        }
        _ => Err(ReadError::Damaged(format!("mark: its key has {} bytes", key.len()))),
    }
}

/// Key of the one-to-one conversation of two users, the same from both sides.
#[must_use]
pub fn direct(one: UserId, other: UserId) -> [u8; 17] {
    pair(b'x', one.0.min(other.0), one.0.max(other.0))
}

/// Key of a user's activity row of a conversation.
#[must_use]
pub fn activity(user: UserId, conversation: ConversationId) -> [u8; ACTIVITY_BYTES] {
    pair(b'a', user.0, conversation.0)
}

/// First key of a user's activity rows; they end at [`prefix_end`] of it.
#[must_use]
pub fn activities(user: UserId) -> [u8; 9] {
    single(b'a', user.0)
}

/// Prefix of a user's inbox pointers of an epoch; a pointer's key ends with its stamp.
#[must_use]
pub fn inbox(user: UserId, epoch: u32) -> [u8; INBOX_PREFIX_BYTES] {
    let mut key = [0; INBOX_PREFIX_BYTES];
    let mut out = key.as_mut_slice();
    out.put_u8(b'i');
    out.put_u64(user.0);
    out.put_u32(epoch);
    key
}

/// Key of the pointer at `stamp`.
#[must_use]
pub fn pointer(user: UserId, epoch: u32, stamp: Stamp) -> [u8; 25] {
    let mut key = [0; 25];
    let mut out = key.as_mut_slice();
    out.put_slice(&inbox(user, epoch));
    out.put_slice(&stamp.0);
    key
}

/// Key of a user's inbox floor.
#[must_use]
pub fn inbox_floor(user: UserId) -> [u8; 9] {
    single(b'j', user.0)
}

/// Key of an account.
#[must_use]
pub fn account(user: UserId) -> [u8; 9] {
    single(b'u', user.0)
}

/// Key of a unique name. The caller bounds the name.
#[must_use]
pub fn name(name: &str) -> Bytes {
    let mut key = BytesMut::with_capacity(1 + name.len());
    key.put_u8(b'n');
    key.put_slice(name.as_bytes());
    key.freeze()
}

/// Key of a device.
#[must_use]
pub fn device(user: UserId, device: DeviceId) -> [u8; 17] {
    pair(b'v', user.0, device.0)
}

/// Key of a refresh token, by its hash.
#[must_use]
pub fn refresh(hash: &[u8; 32]) -> [u8; 33] {
    let mut key = [0; 33];
    let mut out = key.as_mut_slice();
    out.put_u8(b't');
    out.put_slice(hash);
    key
}

/// Key of a device's refresh family.
#[must_use]
pub fn family(user: UserId, device: DeviceId) -> [u8; 17] {
    pair(b'y', user.0, device.0)
}

/// Prefix of the log of revoked devices; a row's key ends with its stamp.
pub const REVOCATIONS: &[u8] = b"R";

/// Key of the revocation at `stamp`.
#[must_use]
pub fn revocation(stamp: Stamp) -> [u8; 13] {
    let mut key = [0; 13];
    let mut out = key.as_mut_slice();
    out.put_u8(b'R');
    out.put_slice(&stamp.0);
    key
}

/// The stamp that ends a revocation's key; an error when the key has another length.
pub(crate) fn revocation_stamp(key: &[u8]) -> Result<Stamp, ReadError> {
    match key.last_chunk::<12>() {
        Some(stamp) if key.len() == 13 => Ok(Stamp(*stamp)),
        _ => Err(ReadError::Damaged(format!("revocation: its key has {} bytes", key.len()))),
    }
}

/// Key of an entry of the operators' log.
#[must_use]
pub fn audit(place: AuditPlace) -> [u8; 17] {
    pair(b'Y', place.time_ms, place.id)
}

/// The place that an audit entry's key names; an error when the key has another length.
pub(crate) fn audit_place(key: &[u8]) -> Result<AuditPlace, ReadError> {
    let id = last_id(key, "audit")?;
    let time = key.get(1..9).and_then(|time| <[u8; 8]>::try_from(time).ok());
    Ok(AuditPlace { time_ms: time.map_or(0, u64::from_be_bytes), id })
}

/// Key of a name's skeleton (see `names`): names that look alike have one. The caller bounds it.
#[must_use]
pub fn skeleton(skeleton: &str) -> Bytes {
    let mut key = BytesMut::with_capacity(1 + skeleton.len());
    key.put_u8(b'N');
    key.put_slice(skeleton.as_bytes());
    key.freeze()
}

/// Key of the time a user was last seen.
#[must_use]
pub fn last_seen(user: UserId) -> [u8; 9] {
    single(b's', user.0)
}

/// Key of the inbox cursor a device was last seen with.
#[must_use]
pub fn device_cursor(user: UserId, device: DeviceId) -> [u8; 17] {
    pair(b'q', user.0, device.0)
}

/// First key of a user's device cursors; they end at [`prefix_end`] of it.
#[must_use]
pub fn device_cursors(user: UserId) -> [u8; 9] {
    single(b'q', user.0)
}

/// First key of a user's devices; they end at [`prefix_end`] of it.
#[must_use]
pub fn devices(user: UserId) -> [u8; 9] {
    single(b'v', user.0)
}

/// Key of what a group is beside its description.
#[must_use]
pub fn group(conversation: ConversationId) -> [u8; 9] {
    single(b'e', conversation.0)
}

/// Key of the link by which users join a group.
#[must_use]
pub fn link(conversation: ConversationId) -> [u8; 9] {
    single(b'l', conversation.0)
}

/// Key of a user's membership that ended.
#[must_use]
pub fn former(user: UserId, conversation: ConversationId) -> [u8; 17] {
    pair(b'z', user.0, conversation.0)
}

/// First key of a user's memberships that ended; they end at [`prefix_end`] of it.
#[must_use]
pub fn formers(user: UserId) -> [u8; 9] {
    single(b'z', user.0)
}

/// Key of how long a conversation keeps its messages.
#[must_use]
pub fn retention(conversation: ConversationId) -> [u8; 9] {
    single(b'r', conversation.0)
}

/// Key of a slot's fence.
#[must_use]
pub fn fence(slot: Slot) -> [u8; 3] {
    let [high, low] = slot.0.to_be_bytes();
    [b'f', high, low]
}

/// Key of a node's lease, by the node's number.
#[must_use]
pub fn lease(node: u64) -> [u8; 9] {
    single(b'L', node)
}

/// Prefix of all leases; they end at [`prefix_end`] of it.
pub const LEASES: &[u8] = b"L";
/// Key of the membership's epoch.
pub const EPOCH: &[u8] = b"E";
/// Key of the installation row.
pub const INSTALLATION: &[u8] = b"I";
/// Key of the signing seed.
pub const SIGNING_KEY: &[u8] = b"K";
/// Key of the signing keys.
pub const KEY_RING: &[u8] = b"J";
/// Prefix of all accounts.
pub const ACCOUNTS: &[u8] = b"u";
/// Prefix of all conversations' descriptions.
pub const CONVERSATIONS: &[u8] = b"c";
/// Prefix of the log of what operators did.
pub const AUDIT: &[u8] = b"Y";
/// Key of the notices to everybody.
pub const NOTICES: &[u8] = b"A";
/// Key of the limits that operators changed.
pub const OVERRIDES: &[u8] = b"S";
/// Key of the row that tells of a copy into this store.
pub const TRANSFER: &[u8] = b"Z";

/// Whether a key of this length whose first byte is `tag` is of a family that nothing guards on:
/// messages, dedupe rows, inbox pointers and words, which are most of what is written. An engine that
/// detects conflicts by key need not track writes to them; a plan that guards on one is refused.
#[must_use]
pub fn is_never_guarded(tag: Option<&u8>, length: usize) -> bool {
    match tag {
        Some(b'm') => length == MESSAGE_BYTES,
        Some(b'd') => length == DEDUPE_BYTES,
        Some(b'i') => length == INBOX_PREFIX_BYTES + STAMP_BYTES,
        Some(b'W') => length > 1,
        _ => false,
    }
}

/// The first key after all keys that start with `prefix`.
#[must_use]
pub fn prefix_end(prefix: &[u8]) -> Bytes {
    let kept = prefix.iter().rposition(|byte| *byte != u8::MAX).map_or(0, |last| last + 1);
    let mut end: Vec<u8> = prefix.iter().take(kept).copied().collect();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end.into()
}

/// The first key after `key`.
#[must_use]
pub fn successor(key: &[u8]) -> Bytes {
    let mut next = BytesMut::with_capacity(key.len() + 1);
    next.put_slice(key);
    next.put_u8(0);
    next.freeze()
}

/// The seq, user or conversation that ends a key of 17 bytes; `row` names the kind.
///
/// # Errors
/// [`ReadError::Damaged`] when the key has another length.
pub(crate) fn last_id(key: &[u8], row: &str) -> Result<u64, ReadError> {
    match key.last_chunk::<8>() {
        Some(id) if key.len() == 17 => Ok(u64::from_be_bytes(*id)),
        _ => Err(ReadError::Damaged(format!("{row}: its key has {} bytes", key.len()))),
    }
}

/// The stamp that ends an inbox pointer's key; an error when the key has another length.
pub(crate) fn last_stamp(key: &[u8]) -> Result<Stamp, ReadError> {
    match key.last_chunk::<12>() {
        Some(stamp) if key.len() == INBOX_PREFIX_BYTES + 12 => Ok(Stamp(*stamp)),
        _ => Err(ReadError::Damaged(format!("inbox pointer: its key has {} bytes", key.len()))),
    }
}

/// A key as the engine takes it.
pub(crate) fn own(key: impl AsRef<[u8]>) -> Bytes {
    Bytes::copy_from_slice(key.as_ref())
}

fn single(tag: u8, id: u64) -> [u8; 9] {
    let mut key = [0; 9];
    let mut out = key.as_mut_slice();
    out.put_u8(tag);
    out.put_u64(id);
    key
}

fn pair(tag: u8, first: u64, second: u64) -> [u8; 17] {
    let mut key = [0; 17];
    let mut out = key.as_mut_slice();
    out.put_u8(tag);
    out.put_u64(first);
    out.put_u64(second);
    key
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
