//! The values of all rows: a version byte, then a plain struct in bincode's standard form.
//!
//! Safety: a value that isn't exactly what its version says is [`ReadError::Damaged`], never a
//! guess; one from a newer version of the software is refused by name, so that an operator who
//! rolled back too far reads why. Rows that only rise (`ByteMax`) hold their number big-endian
//! after the version, because their bytes must compare like their meaning.

use crate::engine::ReadError;
use crate::plan::{MAX_VALUE_BYTES, Stamp};
use bincode::config::{self, Configuration, Limit, LittleEndian, Varint};
use bincode::enc::write::Writer;
use bincode::{BorrowDecode, Encode};
use bytes::{BufMut, Bytes, BytesMut};
use rookery_protocol::{
    ClientMsgId, ConversationId, ConversationKind, DeviceId, Entry, EntryKind, UserId,
};

const ENCODE: Configuration<LittleEndian, Varint> = config::standard();
const DECODE: Configuration<LittleEndian, Varint, Limit<MAX_VALUE_BYTES>> =
    config::standard().with_limit::<MAX_VALUE_BYTES>();

/// A kind of row.
pub(crate) trait Stored: Encode {
    /// What errors call it.
    const ROW: &'static str;
    /// The version this software writes and reads.
    const VERSION: u8 = 1;
}

macro_rules! rows {
    ($($(#[$doc:meta])* $name:ident $(<$life:tt>)? = $row:literal {
        $($field:ident: $type:ty),+ $(,)?
    })+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
            pub(crate) struct $name $(<$life>)? { $(pub(crate) $field: $type),+ }

            impl $(<$life>)? Stored for $name $(<$life>)? {
                const ROW: &'static str = $row;
            }
        )+

        /// Reads a value as a row of each kind; what can be read is written and read again.
        ///
        /// # Panics
        /// When a row does not come back as it was.
        #[cfg(feature = "fuzz")]
        pub(crate) fn read_as_every_kind(value: &[u8]) {
            $(
                if let Ok(row) = decode::<$name>(value) {
                    let again = encode(&row);
                    assert!(decode::<$name>(&again).is_ok_and(|again| again == row), "{row:?}");
                }
            )+
        }
    };
}

rows! {
    /// `m`: one entry of a conversation's log.
    MessageRow<'a> = "message" {
        sender: UserId,
        device: DeviceId,
        time_ms: u64,
        client_msg_id: ClientMsgId,
        kind: EntryKind,
        body: &'a [u8],
    }
    /// `h`: the newest seq and its time.
    HeadRow = "head" { seq: u64, time_ms: u64 }
    /// `c`: what a conversation is.
    ConversationRow<'a> = "conversation" {
        kind: ConversationKind,
        title: &'a str,
        created_ms: u64,
    }
    /// `d`: an answer already given to a `client_msg_id`.
    DedupeRow = "dedupe" { seq: u64, hash: u64, time_ms: u64 }
    /// `p`: a member of a conversation.
    MemberRow = "member" { role: u8, joined_seq: u64 }
    /// `x`: the one-to-one conversation of a pair.
    DirectRow = "direct index" { conversation: ConversationId }
    /// `a`: when something last happened in a conversation, for its place in the list.
    ActivityRow = "activity" { time_ms: u64 }
    /// `i`: where new entries of a user are.
    PointerRow = "inbox pointer" {
        kind: u8,
        conversation: ConversationId,
        first: u64,
        last: u64,
    }
    /// `u`: an account.
    AccountRow<'a> = "account" { name: &'a str, password_hash: &'a str, created_ms: u64 }
    /// `n`: who holds a name.
    NameRow = "name" { user: UserId }
    /// `v`: a device.
    DeviceValue<'a> = "device" { name: &'a str, created_ms: u64, revoked: bool }
    /// `t`: a refresh token; `used_ms` is 0 before its use. (It was a truth value once: 1, a
    /// time long ago, reads as "used" still.)
    RefreshValue = "refresh token" {
        user: UserId,
        device: DeviceId,
        expires_ms: u64,
        used_ms: u64,
    }
    /// `y`: the newest token hashes of a device, oldest first.
    FamilyRow = "refresh family" { hashes: Vec<[u8; 32]> }
    /// `f`: who may write in a slot.
    FenceRow = "fence" { node: u64, incarnation: u64, epoch: u64 }
    /// `L`: what a node says of itself, and what others decided about it.
    LeaseRow<'a> = "lease" {
        name: &'a str,
        incarnation: u64,
        state: u8,
        counter: u64,
        link: &'a str,
        endpoint: &'a str,
        zone: &'a str,
        capacity: u32,
        sessions: u32,
        lag_ms: u32,
    }
    /// `E`: which cluster works here, and how often its members changed.
    EpochRow<'a> = "epoch" { cluster: &'a str, epoch: u64 }
    /// `I`: facts about this installation.
    InstallationRow = "installation" { inbox_epoch: u32 }
    /// `K`: seed of the key that signs access tokens.
    SigningRow = "signing key" { seed: [u8; 32] }
    /// `J`: the keys that sign or signed access tokens, in the order they were made.
    KeyRingRow = "signing keys" { keys: Vec<KeyRow> }
    /// `R`: a device that was revoked.
    RevocationRow = "revocation" { user: UserId, device: DeviceId, time_ms: u64 }
    /// `N`: who holds the names that look like this.
    SkeletonRow = "name skeleton" { user: UserId }
    /// `U`: what a user shows of themselves.
    ProfileRow<'a> = "profile" { display_name: &'a str, avatar: &'a str, changed_ms: u64 }
    /// `T`: what a user's clients keep for each other.
    SettingsRow = "settings" { settings: Vec<SettingRow> }
    /// `X`: an account that nobody may use.
    ShutOutRow = "shut out" { since_ms: u64, deleting: bool }
    /// `O`: whose account a foreign issuer's subject has.
    ExternalRow = "external identity" { user: UserId }
    /// `G`: an invitation to sign up.
    InvitationRow = "invitation" { expires_ms: u64, uses_left: u32, created_ms: u64 }
    /// `B`: whom a user has blocked.
    BlockRow = "block" { since_ms: u64 }
    /// `C`: a contact.
    ContactRow = "contact" { since_ms: u64 }
    /// `D`: how a user sees a conversation.
    OwnStateRow = "own state" { muted_until_ms: u64, archived: bool, unread: bool }
    /// `P`: what a member's block hides.
    ShadeRow = "shade" { head: u64, until: u64, delivered: u64, read: u64 }
    /// `Q`: an entry that somebody reported.
    ReportRow<'a> = "report" { sender: UserId, reason: u8, comment: &'a str, time_ms: u64 }
    /// `V`: who sees what of a user.
    PrivacyRow = "privacy" { presence: u8, last_seen: u8, receipts: u8 }
    /// `r`: how long a conversation keeps its messages.
    RetentionRow = "retention" { keep_ms: u64 }
    /// `e`: what a group is beside its description. The bits of `flags` are `group`'s.
    GroupRow<'a> = "group" { avatar: &'a str, flags: u32 }
    /// `l`: the link by which users join a group.
    LinkRow = "group link" { secret: [u8; 16], made_ms: u64 }
    /// `z`: a membership that ended with the entry at `left_seq`.
    FormerRow = "former member" { joined_seq: u64, left_seq: u64, removed: bool }
    /// `Y`: what an operator did.
    AuditRow<'a> = "audit" {
        action_id: u64,
        operator: &'a str,
        node: &'a str,
        action: &'a str,
        target: &'a str,
        outcome: &'a str,
    }
    /// `A`: what everybody is told, and the greatest id that was given out.
    NoticesRow = "notices" { last: u64, notices: Vec<NoticeRow> }
    /// `S`: limits that differ from the configuration.
    OverridesRow = "changed limits" { limits: Vec<OverrideRow> }
    /// `F`: whether words are indexed. All conversations before `conversation` are, and of that one
    /// all messages below `seq`; `erased` counts what was emptied meanwhile.
    WordIndexRow = "word index" {
        on: bool,
        whole: bool,
        conversation: u64,
        seq: u64,
        erased: u64,
        nodes: Vec<String>,
    }
    /// `Z`: how far a copy into this store got, and from where. `phase` is of `transfer`.
    TransferRow<'a> = "transfer" { source: u64, phase: u8, last_key: &'a [u8], rows: u64 }
}

/// One of the notices of a [`NoticesRow`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub(crate) struct NoticeRow {
    pub(crate) id: u64,
    pub(crate) time_ms: u64,
    pub(crate) until_ms: u64,
    pub(crate) text: String,
}

/// One of the settings of a [`SettingsRow`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub(crate) struct SettingRow {
    pub(crate) name: String,
    pub(crate) value: String,
}

/// One of the limits of an [`OverridesRow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub(crate) struct OverrideRow {
    pub(crate) number: u8,
    pub(crate) value: u64,
}

/// One of the keys of a [`KeyRingRow`].
#[derive(Clone, PartialEq, Eq, Encode, BorrowDecode)]
pub(crate) struct KeyRow {
    pub(crate) id: u32,
    pub(crate) seed: [u8; 32],
    pub(crate) signs_from_s: u64,
}

// A seed never reaches a log through `{:?}`.
impl std::fmt::Debug for KeyRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyRow").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Most bytes of a message's value beside its body.
pub(crate) const MESSAGE_OVERHEAD_BYTES: usize = 1 + 9 + 9 + 9 + 16 + 1 + 9;
/// Most bytes of a value made of a version byte and `numbers` 64-bit numbers.
pub(crate) const fn numbers_bytes(numbers: usize) -> usize {
    1 + 9 * numbers
}

/// Appends a value to `out`.
pub(crate) fn encode_into<R: Stored>(row: &R, out: &mut BytesMut) {
    out.put_u8(R::VERSION);
    let written = bincode::encode_into_writer(row, Buffer(out), ENCODE);
    // The buffer grows as needed and no row has a shape that bincode refuses; a test encodes every
    // kind. Were it otherwise, the cut-off value would read as damaged, never as another one.
    debug_assert!(written.is_ok(), "{} does not encode", R::ROW);
}

/// A value of its own.
pub(crate) fn encode<R: Stored>(row: &R) -> Bytes {
    let mut out = BytesMut::with_capacity(64);
    encode_into(row, &mut out);
    out.freeze()
}

/// Reads a value.
///
/// # Errors
/// [`ReadError::Damaged`] naming the kind of row.
pub(crate) fn decode<'a, R: Stored + BorrowDecode<'a, ()>>(
    value: &'a [u8],
) -> Result<R, ReadError> {
    let content = content(value, R::ROW, R::VERSION)?;
    match bincode::borrow_decode_from_slice(content, DECODE) {
        Ok((row, read)) if read == content.len() => Ok(row),
        Ok((_, read)) => {
            Err(damaged(R::ROW, &format!("{} bytes follow its end", content.len() - read)))
        }
        Err(error) => Err(damaged(R::ROW, &error.to_string())),
    }
}

/// The value of a row that rises.
pub(crate) fn encode_rising(number: u64) -> [u8; 9] {
    let mut value = [0; 9];
    let mut out = value.as_mut_slice();
    out.put_u8(1);
    out.put_u64(number);
    value
}

/// Reads what [`encode_rising`] wrote.
///
/// # Errors
/// [`ReadError::Damaged`] naming `row`.
pub(crate) fn decode_rising(value: &[u8], row: &str) -> Result<u64, ReadError> {
    let content = content(value, row, 1)?;
    let number = <[u8; 8]>::try_from(content).map_err(|_| damaged(row, "its length is wrong"))?;
    Ok(u64::from_be_bytes(number))
}

/// The value of an inbox floor: it rises by epoch, then by stamp.
pub(crate) fn encode_inbox_floor(epoch: u32, stamp: Stamp) -> [u8; 17] {
    let mut value = [0; 17];
    let mut out = value.as_mut_slice();
    out.put_u8(1);
    out.put_u32(epoch);
    out.put_slice(&stamp.0);
    value
}

/// Reads what [`encode_inbox_floor`] wrote.
///
/// # Errors
/// [`ReadError::Damaged`].
pub(crate) fn decode_inbox_floor(value: &[u8]) -> Result<(u32, Stamp), ReadError> {
    let wrong = || damaged("inbox floor", "its length is wrong");
    let content = content(value, "inbox floor", 1)?;
    let (epoch, stamp) = content.split_first_chunk::<4>().ok_or_else(wrong)?;
    let stamp = <[u8; 12]>::try_from(stamp).map_err(|_| wrong())?;
    Ok((u32::from_be_bytes(*epoch), Stamp(stamp)))
}

/// The value of a device's cursor, and of the time it was noted.
pub(crate) fn encode_device_cursor(epoch: u32, stamp: Stamp, seen_ms: u64) -> [u8; 25] {
    let mut value = [0; 25];
    let mut out = value.as_mut_slice();
    out.put_slice(&encode_inbox_floor(epoch, stamp));
    out.put_u64(seen_ms);
    value
}

/// Reads what [`encode_device_cursor`] wrote.
///
/// # Errors
/// [`ReadError::Damaged`].
pub(crate) fn decode_device_cursor(value: &[u8]) -> Result<(u32, Stamp, u64), ReadError> {
    let wrong = || damaged("device cursor", "its length is wrong");
    content(value, "device cursor", 1)?;
    let (place, seen_ms) = value.split_last_chunk::<8>().ok_or_else(wrong)?;
    let (epoch, stamp) = decode_inbox_floor(place).map_err(|_| wrong())?;
    Ok((epoch, stamp, u64::from_be_bytes(*seen_ms)))
}

/// Set in the stored kind of an entry that its sender alone sees: the other member had the sender
/// blocked.
const WITHHELD: u8 = 0x80;

/// The kind as it is stored.
pub(crate) fn stored_kind(kind: EntryKind, withheld: bool) -> EntryKind {
    if withheld { EntryKind::from_code(kind.code() | WITHHELD) } else { kind }
}

impl MessageRow<'_> {
    /// The entry at `seq`, as its sender sees it.
    pub(crate) fn entry(&self, seq: u64) -> Entry {
        Entry {
            seq,
            sender: self.sender,
            device: self.device,
            time_ms: self.time_ms,
            client_msg_id: self.client_msg_id,
            kind: self.sent_kind(),
            body: self.body.to_vec(),
        }
    }

    /// The entry at `seq`, as `me` sees it.
    pub(crate) fn entry_for(&self, seq: u64, me: UserId) -> Entry {
        if !self.is_withheld() || self.sender == me {
            return self.entry(seq);
        }
        Entry {
            seq,
            sender: self.sender,
            device: DeviceId(0),
            time_ms: self.time_ms,
            client_msg_id: ClientMsgId([0; 16]),
            kind: EntryKind::Withheld,
            body: Vec::new(),
        }
    }

    pub(crate) fn is_withheld(&self) -> bool {
        self.kind.code() & WITHHELD != 0
    }

    /// The kind the sender chose.
    pub(crate) fn sent_kind(&self) -> EntryKind {
        EntryKind::from_code(self.kind.code() & !WITHHELD)
    }
}

pub(crate) fn damaged(row: &str, why: &str) -> ReadError {
    ReadError::Damaged(format!("{row}: {why}"))
}

fn content<'a>(value: &'a [u8], row: &str, known: u8) -> Result<&'a [u8], ReadError> {
    match value.split_first() {
        Some((version, content)) if *version == known => Ok(content),
        Some((version, _)) if *version > known => Err(damaged(
            row,
            &format!(
                "written by a newer version of the software (row version {version}, this one \
                 reads {known})"
            ),
        )),
        Some((version, _)) => Err(damaged(row, &format!("row version {version} never existed"))),
        None => Err(damaged(row, "it is empty")),
    }
}

/// Lets bincode write where the plan's other bytes are.
struct Buffer<'a>(&'a mut BytesMut);

impl Writer for Buffer<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
