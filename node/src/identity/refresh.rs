//! Refresh tokens: opaque random bytes, of which the store knows only the hash.
//!
//! A stolen store opens no account with them, and because each is used once, the second use of one
//! tells that two hold it: then the whole family (the device) is revoked.

use super::hex;
use super::password::random;
use sha2::{Digest, Sha256};
use std::fmt;

/// A refresh token in the clear: shown to its client once, never kept.
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshToken([u8; 32]);

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefreshToken(..)")
    }
}

impl RefreshToken {
    /// A new one; `None` when the random source fails.
    #[must_use]
    pub fn generate() -> Option<Self> {
        random().map(Self)
    }

    /// The token of its text form; `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        hex::decode(text).map(Self)
    }

    /// The text form: 64 digits of hex.
    #[must_use]
    pub fn to_text(&self) -> String {
        hex::encode(&self.0)
    }

    /// What the store knows of it. One round of SHA-256 is enough: there is nothing to guess in
    /// 32 random bytes.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_parses_to_the_same_token() {
        let token = RefreshToken::generate().unwrap();
        assert_eq!(RefreshToken::parse(&token.to_text()), Some(token.clone()));
        assert_eq!(RefreshToken::parse(&token.to_text()[1..]), None);
        assert_ne!(RefreshToken::generate().unwrap(), token);
    }

    #[test]
    fn neither_hash_nor_debug_shows_the_token() {
        let token = RefreshToken([0xab; 32]);
        assert_eq!(format!("{token:?}"), "RefreshToken(..)");
        assert_eq!(
            hex::encode(&token.hash()),
            "9a2db2e23f1504cd056606553ac049c5e718e8f9ce9233876df1a7a1821af885"
        );
    }
}
