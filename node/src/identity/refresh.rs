//! Refresh tokens: opaque random bytes, of which the store knows only the hash.
//!
//! A stolen store opens no account with them, and because each is used once, the second use of one
//! tells that two hold it: then the whole family (the device) is revoked.
//!
//! What replaces a token is derived from it with a secret of the installation. So a device that
//! never saw the answer to its refresh gets the same one again, from any node, although nobody keeps
//! the token in the clear. Who holds a token but not the secret can't tell what follows it.

use super::hex;
use super::password::random;
use aws_lc_rs::hmac;
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

    /// What replaces this token; `None` when the backend fails.
    #[must_use]
    pub fn successor(&self, secret: &SuccessionKey) -> Option<Self> {
        let tag = hmac::sign(&secret.0, &self.0);
        tag.as_ref().try_into().ok().map(Self)
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

/// The secret with which tokens follow from each other.
pub struct SuccessionKey(hmac::Key);

impl fmt::Debug for SuccessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SuccessionKey(..)")
    }
}

impl SuccessionKey {
    /// Derived from the installation's secret, for this use alone.
    #[must_use]
    pub fn of(secret: &[u8; 32]) -> Self {
        let installation = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let derived = hmac::sign(&installation, b"rookery: refresh tokens follow each other");
        Self(hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_one_successor_that_only_the_secret_tells() {
        let (ours, theirs) = (SuccessionKey::of(&[1; 32]), SuccessionKey::of(&[2; 32]));
        let token = RefreshToken::generate().unwrap();
        let next = token.successor(&ours).unwrap();
        assert_eq!(token.successor(&SuccessionKey::of(&[1; 32])), Some(next.clone()));
        assert_ne!(token.successor(&theirs), Some(next.clone()));
        assert_ne!(next, token);
        assert_ne!(next.successor(&ours), Some(token));
    }

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
