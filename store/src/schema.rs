//! The kinds of rows as a table: what tools that walk the whole store need to know of each tag.
//!
//! The keys themselves are built in `keys`; a test holds the two to each other. A tool that meets
//! a tag which isn't here says so, and carries its rows along rather than lose them. Why which row
//! travels is told to operators in `OPERATING.md`.

use crate::keys;
use bytes::Bytes;

/// One kind of row.
#[derive(Debug)]
pub struct Tag {
    /// The first byte of its keys.
    pub byte: u8,
    /// What tools call it.
    pub name: &'static str,
    /// Which copies of a store it belongs to.
    pub travels: Travels,
    /// Bytes its key may have.
    pub(crate) key_bytes: (usize, usize),
}

/// Which copies of a store a kind of row belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Travels {
    /// All.
    Always,
    /// Backups, and restores on demand only: a token used or revoked after the backup was made
    /// would be good again in what is restored from it.
    LogIns,
    /// Migrations only. The signing key is no part of a backup: who holds the file could make
    /// access tokens for anybody, and tokens given out after the backup must not outlive it.
    Secret,
    /// None: it is about this database, not about what people wrote. Inbox logs are ordered by
    /// this database's versions, so another one starts new logs; fences and leases name nodes that
    /// work on this one.
    Never,
}

const fn tag(byte: u8, name: &'static str, key_bytes: usize, travels: Travels) -> Tag {
    Tag { byte, name, travels, key_bytes: (key_bytes, key_bytes) }
}

/// Every tag, by its byte.
pub const TAGS: &[Tag] = &[
    tag(b'A', "notices", 1, Travels::Always),
    tag(b'B', "block", 17, Travels::Always),
    tag(b'C', "contact", 17, Travels::Always),
    tag(b'D', "own state", 17, Travels::Always),
    tag(b'E', "epoch", 1, Travels::Never),
    tag(b'F', "word index", 1, Travels::Always),
    tag(b'G', "invitation", 33, Travels::LogIns),
    tag(b'I', "installation", 1, Travels::Never),
    tag(b'J', "signing keys", 1, Travels::Secret),
    tag(b'K', "signing key", 1, Travels::Secret),
    tag(b'L', "lease", 9, Travels::Never),
    Tag { byte: b'N', name: "name skeleton", travels: Travels::Always, key_bytes: (2, 33) },
    tag(b'O', "external identity", 33, Travels::Always),
    tag(b'P', "shade", 17, Travels::Always),
    tag(b'Q', "report", 25, Travels::Always),
    tag(b'R', "revocation", 13, Travels::Never),
    tag(b'S', "changed limits", 1, Travels::Always),
    tag(b'T', "settings", 9, Travels::Always),
    tag(b'U', "profile", 9, Travels::Always),
    tag(b'V', "privacy", 9, Travels::Always),
    Tag {
        byte: b'W',
        name: "word",
        travels: Travels::Always,
        key_bytes: (19, keys::MAX_WORD_KEY_BYTES),
    },
    tag(b'X', "shut out", 9, Travels::Always),
    tag(b'Y', "audit", 17, Travels::Always),
    tag(b'Z', "transfer", 1, Travels::Never),
    tag(b'a', "activity", 17, Travels::Always),
    tag(b'b', "conversation floor", 9, Travels::Always),
    tag(b'c', "conversation", 9, Travels::Always),
    tag(b'd', "dedupe", 33, Travels::Always),
    tag(b'e', "group", 9, Travels::Always),
    tag(b'f', "fence", 3, Travels::Never),
    tag(b'h', "head", 9, Travels::Always),
    tag(b'i', "inbox pointer", 25, Travels::Never),
    tag(b'j', "inbox floor", 9, Travels::Never),
    tag(b'l', "group link", 9, Travels::Always),
    tag(b'm', "message", 17, Travels::Always),
    Tag { byte: b'n', name: "name", travels: Travels::Always, key_bytes: (2, 33) },
    tag(b'p', "member", 17, Travels::Always),
    tag(b'q', "device cursor", 17, Travels::Never),
    tag(b'r', "retention", 9, Travels::Always),
    tag(b's', "last seen", 9, Travels::Always),
    tag(b't', "refresh token", 33, Travels::LogIns),
    tag(b'u', "account", 9, Travels::Always),
    tag(b'v', "device", 17, Travels::Always),
    tag(b'w', "mark", 18, Travels::Always),
    tag(b'x', "direct index", 17, Travels::Always),
    tag(b'y', "refresh family", 17, Travels::LogIns),
    tag(b'z', "former member", 17, Travels::Always),
];

/// The kind of row a key belongs to; `None`: a tag this version doesn't know.
#[must_use]
pub fn tag_of(key: &[u8]) -> Option<&'static Tag> {
    let byte = key.first()?;
    TAGS.iter().find(|tag| tag.byte == *byte)
}

/// What tools call a kind of row.
#[must_use]
pub fn name_of(byte: u8) -> String {
    match tag_of(&[byte]) {
        Some(tag) => tag.name.to_owned(),
        None => format!("unknown tag {byte:02x}"),
    }
}

/// Where a row's key belongs: rows of unknown kinds travel.
pub(crate) fn travels(key: &[u8]) -> Travels {
    tag_of(key).map_or(Travels::Always, |tag| tag.travels)
}

/// The first key after all rows of a tag; `None` after the last possible one.
pub(crate) fn after_tag(byte: u8) -> Option<Bytes> {
    Some(keys::prefix_end(&[byte])).filter(|end| !end.is_empty())
}

/// A key in hexadecimal, as tools show it.
#[must_use]
pub fn hex(key: &[u8]) -> String {
    use std::fmt::Write as _;
    key.iter().fold(String::with_capacity(2 * key.len()), |mut text, byte| {
        // Writing to a string can't fail.
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Stamp, Version};
    use crate::slot::Slot;
    use rookery_protocol::{ClientMsgId, ConversationId, DeviceId, MarkKind, UserId};

    #[test]
    fn every_key_that_can_be_built_has_its_row_in_the_table() {
        let (conv, user, device) = (ConversationId(1), UserId(2), DeviceId(3));
        let built: Vec<Vec<u8>> = vec![
            keys::message(conv, 1).into(),
            keys::head(conv).into(),
            keys::floor(conv).into(),
            keys::conversation(conv).into(),
            keys::dedupe(conv, user, ClientMsgId([1; 16])).into(),
            keys::member(conv, user).into(),
            keys::mark(conv, user, MarkKind::Read).into(),
            keys::direct(user, UserId(4)).into(),
            keys::activity(user, conv).into(),
            keys::pointer(user, 1, Stamp::new(Version(1), 0, 0)).into(),
            keys::inbox_floor(user).into(),
            keys::account(user).into(),
            keys::name("ann").into(),
            keys::device(user, device).into(),
            keys::refresh(&[1; 32]).into(),
            keys::family(user, device).into(),
            keys::revocation(Stamp::new(Version(1), 0, 0)).into(),
            keys::skeleton("ann").into(),
            keys::profile(user).into(),
            keys::external(&[1; 32]).into(),
            keys::shut_out(user).into(),
            keys::settings(user).into(),
            keys::invitation(&[1; 32]).into(),
            keys::block(user, UserId(4)).into(),
            keys::contact(user, UserId(4)).into(),
            keys::own_state(user, conv).into(),
            keys::shade(conv, user).into(),
            keys::report(conv, 1, user).into(),
            keys::privacy(user).into(),
            keys::last_seen(user).into(),
            keys::device_cursor(user, device).into(),
            keys::retention(conv).into(),
            keys::group(conv).into(),
            keys::link(conv).into(),
            keys::former(user, conv).into(),
            keys::fence(Slot(1)).into(),
            keys::EPOCH.into(),
            keys::lease(5).into(),
            keys::INSTALLATION.into(),
            keys::SIGNING_KEY.into(),
            keys::TRANSFER.into(),
            keys::KEY_RING.into(),
            keys::audit(crate::AuditPlace { time_ms: 1, id: 2 }).into(),
            keys::NOTICES.into(),
            keys::OVERRIDES.into(),
            keys::word(conv, "a", 1).into(),
            keys::WORD_INDEX.into(),
        ];
        for key in &built {
            let tag = tag_of(key).unwrap_or_else(|| panic!("{} is not in the table", hex(key)));
            let (least, most) = tag.key_bytes;
            assert!((least..=most).contains(&key.len()), "{}: {} bytes", tag.name, key.len());
        }
        assert_eq!(built.len(), TAGS.len(), "a tag in the table that no key has");
        assert!(TAGS.is_sorted_by_key(|tag| tag.byte));
    }
}
