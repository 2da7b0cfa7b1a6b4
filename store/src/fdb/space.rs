//! Where an installation's rows lie in a database that it shares with others.
//!
//! ```text
//! <name> 00 'f'                          format row: whose the range is, and which version of it
//! <name> 00 'm' instance(8) number(4)    marks of commits (see `marks`)
//! <name> 00 'r' key                      rows
//! ```
//!
//! Safety: names hold no zero byte, so no name's range lies inside another's. The keys of one
//! section never leave it, so nothing but rows is ever shown.

use crate::keys::prefix_end;
use bytes::Bytes;

/// What the format row holds: a magic word, then the version of this layout.
const MAGIC: &[u8] = b"rookery store ";
const LAYOUT: u8 = 1;
/// Most bytes of a name.
pub(super) const MAX_NAME_BYTES: usize = 32;

/// The part of the database that belongs to one installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Space {
    rows: Bytes,
}

/// What the rows found under a prefix say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing: the format row is to be written.
    Empty,
    /// An installation of this version.
    Ours,
    /// An installation whose layout has this version.
    OtherVersion(u8),
    /// Keys that no installation wrote.
    Foreign,
}

impl Space {
    /// The space of a name; `None`: it isn't 1 to 32 of `a-z A-Z 0-9 . _ - /`.
    pub(super) fn new(name: &str) -> Option<Self> {
        let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/');
        if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(good) {
            return None;
        }
        Some(Self { rows: [name.as_bytes(), b"\0r"].concat().into() })
    }

    fn section(&self, tag: u8) -> Vec<u8> {
        let mut key = self.rows.to_vec();
        if let Some(last) = key.last_mut() {
            *last = tag;
        }
        key
    }

    /// Writes the key of a row.
    pub(super) fn row_into(&self, key: &[u8], to: &mut Vec<u8>) {
        to.clear();
        to.extend_from_slice(&self.rows);
        to.extend_from_slice(key);
    }

    /// The key of a row.
    pub(super) fn row(&self, key: &[u8]) -> Vec<u8> {
        [&self.rows, key].concat()
    }

    /// A row's key as the layer knows it; `None`: it lies elsewhere.
    pub(super) fn strip<'a>(&self, key: &'a [u8]) -> Option<&'a [u8]> {
        key.strip_prefix(self.rows.as_ref())
    }

    /// The key of the format row.
    pub(super) fn format(&self) -> Vec<u8> {
        self.section(b'f')
    }

    /// What comes before every mark's key.
    pub(super) fn marks(&self) -> Vec<u8> {
        self.section(b'm')
    }

    /// First key of everything, and the first key after it.
    pub(super) fn whole(&self) -> (Vec<u8>, Vec<u8>) {
        let mut from = self.rows.to_vec();
        from.pop();
        let to = prefix_end(&from).to_vec();
        (from, to)
    }

    /// What a format row of this version holds.
    pub(super) fn format_value() -> Vec<u8> {
        [MAGIC, &[LAYOUT]].concat()
    }

    /// Judges a prefix by its format row and its first key.
    pub(super) fn judge(format: Option<&[u8]>, first: Option<&[u8]>) -> Found {
        match (format.map(|value| value.strip_prefix(MAGIC)), first) {
            (Some(Some([LAYOUT])), _) => Found::Ours,
            (Some(Some([version, ..])), _) => Found::OtherVersion(*version),
            (None, None) => Found::Empty,
            _ => Found::Foreign,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_goes_in_and_comes_out() {
        let space = Space::new("chat").unwrap();
        assert_eq!(space.row(b"k"), b"chat\0rk");
        assert_eq!(space.strip(b"chat\0rk"), Some(b"k".as_slice()));
        assert_eq!(space.strip(b"chat\0mk"), None);
        assert_eq!(space.strip(b"chats\0rk"), None);
        assert_eq!(space.whole(), (b"chat\0".to_vec(), b"chat\x01".to_vec()));
        let mut scratch = b"old".to_vec();
        space.row_into(&[0xff; 2], &mut scratch);
        assert_eq!(scratch, b"chat\0r\xff\xff");
    }

    #[test]
    fn no_installation_lies_inside_another() {
        let (short, long) = (Space::new("a").unwrap(), Space::new("ab").unwrap());
        let (from, to) = short.whole();
        assert!(!(from..to).contains(&long.whole().0));
        for name in ["", "a\0b", "a b", "\u{fc}", &"n".repeat(33)] {
            assert_eq!(Space::new(name), None, "{name:?}");
        }
    }

    #[test]
    fn what_lies_under_a_prefix_is_judged() {
        let ours = Space::format_value();
        assert_eq!(Space::judge(Some(&ours), Some(b"x")), Found::Ours);
        assert_eq!(Space::judge(None, None), Found::Empty);
        assert_eq!(Space::judge(None, Some(b"x")), Found::Foreign);
        assert_eq!(Space::judge(Some(b"theirs"), Some(b"x")), Found::Foreign);
        let newer = [MAGIC, &[9, 0]].concat();
        assert_eq!(Space::judge(Some(&newer), Some(b"x")), Found::OtherVersion(9));
    }
}
