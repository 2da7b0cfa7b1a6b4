//! Access tokens: JWT signed with Ed25519, nothing else.
//!
//! Why a library and not a format of our own: the traps of tokens (algorithm confusion, unchecked
//! audience, lenient parsing) are known and `jsonwebtoken` has stood up to them. It was measured
//! at 30 us to sign and 64 us to verify on one core of the 2-core machine, against 51-72 us for
//! the bare signature check of ed25519-dalek: the format around it costs nothing that counts.
//! Its backend, aws-lc-rs, is the one TLS will need.
//!
//! A token names the key that signed it; keys follow each other (see `key_ring`), and the ring here
//! is what this node knows of them.
//!
//! Safety: the algorithm is pinned, issuer and audience must be ours, all claims must be there.
//! Times are compared to the `now` that is passed in, with [`LEEWAY_S`].

use super::hex;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rookery_protocol::limits::MAX_TOKEN_BYTES;
use rookery_protocol::{DeviceId, UserId};
use rookery_store::SigningKey;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

/// Who signs.
const ISSUER: &str = "rookery";
/// For whom: the gateway of protocol v1.
const AUDIENCE: &str = "rookery.v1";
/// How far apart, in seconds, the clocks of two nodes may be.
pub const LEEWAY_S: u64 = 5;

/// What a good token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Who.
    pub user: UserId,
    /// On which device.
    pub device: DeviceId,
    /// Issued at, Unix seconds.
    pub issued_s: u64,
    /// Good until, Unix seconds.
    pub expires_s: u64,
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// Not a token of this installation, or not for this audience.
    Bad,
    /// It was good once.
    Expired,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bad => "the token is not good",
            Self::Expired => "the token has expired",
        })
    }
}

impl std::error::Error for TokenError {}

/// The key of the installation was not usable, or the backend failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SigningFailed;

impl fmt::Display for SigningFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the signing key can't be used")
    }
}

impl std::error::Error for SigningFailed {}

/// The claims as they stand in a token; a missing or unknown one refuses it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    iss: String,
    aud: String,
    sub: String,
    dev: String,
    iat: u64,
    exp: u64,
}

/// Signs and verifies. Never printed.
pub struct Tokens {
    /// In the order the keys were made; never empty.
    ring: RwLock<Arc<[Key]>>,
    rules: Validation,
}

struct Key {
    id: u32,
    signs_from_s: u64,
    sign: EncodingKey,
    verify: DecodingKey,
}

impl Key {
    fn new(key: &SigningKey) -> Result<Self, SigningFailed> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&key.seed).map_err(|_| SigningFailed)?;
        let pkcs8: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| SigningFailed)?;
        Ok(Self {
            id: key.id,
            signs_from_s: key.signs_from_s,
            sign: EncodingKey::from_ed_der(pkcs8.as_ref()),
            verify: DecodingKey::from_ed_der(pair.public_key().as_ref()),
        })
    }
}

fn keys(ring: &[SigningKey]) -> Result<Arc<[Key]>, SigningFailed> {
    let keys = ring.iter().map(Key::new).collect::<Result<Arc<[Key]>, SigningFailed>>()?;
    if keys.is_empty() { Err(SigningFailed) } else { Ok(keys) }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

impl Tokens {
    /// With the only key of an installation, by its Ed25519 seed.
    ///
    /// # Errors
    /// [`SigningFailed`].
    pub fn new(seed: &[u8; 32]) -> Result<Self, SigningFailed> {
        Self::with(&[SigningKey { id: 0, seed: *seed, signs_from_s: 0 }])
    }

    /// With these keys, in the order they were made.
    ///
    /// # Errors
    /// [`SigningFailed`], also when there is none.
    pub fn with(ring: &[SigningKey]) -> Result<Self, SigningFailed> {
        let mut rules = Validation::new(Algorithm::EdDSA);
        rules.set_issuer(&[ISSUER]);
        rules.set_audience(&[AUDIENCE]);
        rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // Expiry is checked below, against a clock that tests can set.
        rules.validate_exp = false;
        Ok(Self { ring: RwLock::new(keys(ring)?), rules })
    }

    /// From now on there are these keys.
    ///
    /// # Errors
    /// [`SigningFailed`]; then the former ones stay.
    pub fn replace(&self, ring: &[SigningKey]) -> Result<(), SigningFailed> {
        let keys = keys(ring)?;
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    fn ring(&self) -> Arc<[Key]> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A token for one device of a user.
    ///
    /// # Errors
    /// [`SigningFailed`].
    pub fn issue(&self, claims: Claims) -> Result<String, SigningFailed> {
        let wire = Wire {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: claims.user.to_string(),
            dev: claims.device.to_string(),
            iat: claims.issued_s,
            exp: claims.expires_s,
        };
        let ring = self.ring();
        let due = ring.iter().rev().find(|key| key.signs_from_s <= claims.issued_s);
        let key = due.or(ring.first()).ok_or(SigningFailed)?;
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(key.id.to_string());
        jsonwebtoken::encode(&header, &wire, &key.sign).map_err(|_| SigningFailed)
    }

    /// What the token says, if it is good at `now_s` (Unix seconds).
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn verify(&self, token: &str, now_s: u64) -> Result<Claims, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Bad);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Bad)?;
        // Tokens of the first key named none once.
        let key_id = match header.kid {
            Some(kid) => kid.parse::<u32>().map_err(|_| TokenError::Bad)?,
            None => 0,
        };
        let ring = self.ring();
        let key = ring.iter().find(|key| key.id == key_id).ok_or(TokenError::Bad)?;
        let wire: Wire = jsonwebtoken::decode(token, &key.verify, &self.rules)
            .map_err(|_| TokenError::Bad)?
            .claims;
        if wire.iat > now_s.saturating_add(LEEWAY_S) {
            return Err(TokenError::Bad);
        }
        if wire.exp.saturating_add(LEEWAY_S) <= now_s {
            return Err(TokenError::Expired);
        }
        Ok(Claims {
            user: UserId(id(&wire.sub)?),
            device: DeviceId(id(&wire.dev)?),
            issued_s: wire.iat,
            expires_s: wire.exp,
        })
    }
}

fn id(text: &str) -> Result<u64, TokenError> {
    hex::decode(text).map(u64::from_be_bytes).ok_or(TokenError::Bad)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const NOW: u64 = 1_800_000_000;
    const CLAIMS: Claims = Claims {
        user: UserId(0xa1),
        device: DeviceId(0xffff_ffff_ffff_fff0),
        issued_s: NOW,
        expires_s: NOW + 3600,
    };

    fn tokens() -> Tokens {
        Tokens::new(&[7; 32]).unwrap()
    }

    /// Signs any claims with the installation's own key.
    fn signed(header: &Header, claims: &Value) -> String {
        jsonwebtoken::encode(header, claims, &tokens().ring()[0].sign).unwrap()
    }

    fn claims_with(name: &str, value: Value) -> Value {
        let mut claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": "00000000000000a1",
            "dev": "fffffffffffffff0", "iat": NOW, "exp": NOW + 3600,
        });
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.to_owned(), value),
        };
        claims
    }

    #[test]
    fn a_token_says_what_was_signed() {
        let token = tokens().issue(CLAIMS).unwrap();
        assert_eq!(tokens().verify(&token, NOW), Ok(CLAIMS));
        let header = Header::new(Algorithm::EdDSA);
        let same = signed(&header, &claims_with("iss", json!(ISSUER)));
        assert_eq!(tokens().verify(&same, NOW), Ok(CLAIMS));
    }

    #[test]
    fn a_token_expires_after_the_leeway_and_is_not_good_before_its_time() {
        let token = tokens().issue(CLAIMS).unwrap();
        let verify = |now| tokens().verify(&token, now);
        assert_eq!(verify(NOW + 3600 + LEEWAY_S - 1), Ok(CLAIMS));
        assert_eq!(verify(NOW + 3600 + LEEWAY_S), Err(TokenError::Expired));
        assert_eq!(verify(u64::MAX), Err(TokenError::Expired));
        assert_eq!(verify(NOW - LEEWAY_S), Ok(CLAIMS));
        assert_eq!(verify(NOW - LEEWAY_S - 1), Err(TokenError::Bad));
        assert_eq!(verify(0), Err(TokenError::Bad));
    }

    #[test]
    fn keys_follow_each_other_and_a_token_lives_as_long_as_its_key_is_kept() {
        let key = |id: u32, signs_from_s| {
            let seed = [u8::try_from(id).unwrap(); 32];
            SigningKey { id, seed, signs_from_s }
        };
        let (one, two, three) = (key(1, 0), key(2, NOW), key(3, NOW + 60));
        let tokens = Tokens::with(std::slice::from_ref(&one)).unwrap();
        let first = tokens.issue(CLAIMS).unwrap();
        tokens.replace(&[one, two.clone(), three]).unwrap();
        let second = tokens.issue(CLAIMS).unwrap();
        let later = Claims { issued_s: NOW + 60, ..CLAIMS };
        let third = tokens.issue(later).unwrap();
        let kid = |token: &str| jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
        assert_eq!([kid(&first), kid(&second), kid(&third)], ["1", "2", "3"]);
        assert_eq!(tokens.verify(&first, NOW), Ok(CLAIMS));
        assert_eq!(tokens.verify(&second, NOW), Ok(CLAIMS));
        assert_eq!(tokens.verify(&third, NOW + 60), Ok(later));
        tokens.replace(&[two]).unwrap();
        assert_eq!(tokens.verify(&first, NOW), Err(TokenError::Bad));
        assert_eq!(tokens.verify(&second, NOW), Ok(CLAIMS));
        assert_eq!(tokens.verify(&third, NOW), Err(TokenError::Bad), "not known here yet");
        assert_eq!(tokens.replace(&[]), Err(SigningFailed));
        assert_eq!(tokens.verify(&second, NOW), Ok(CLAIMS));
    }

    #[test]
    fn a_token_of_another_installation_is_bad() {
        let foreign = Tokens::new(&[8; 32]).unwrap().issue(CLAIMS).unwrap();
        assert_eq!(tokens().verify(&foreign, NOW), Err(TokenError::Bad));
    }

    #[test]
    fn no_byte_of_a_token_can_be_changed() {
        let token = tokens().issue(CLAIMS).unwrap();
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'x' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(tokens().verify(&changed, NOW), Err(TokenError::Bad), "byte {at}");
        }
        for end in 0..token.len() {
            assert_eq!(tokens().verify(&token[..end], NOW), Err(TokenError::Bad), "cut at {end}");
        }
    }

    #[test]
    fn every_wrong_or_missing_claim_refuses_the_token() {
        let header = Header::new(Algorithm::EdDSA);
        for (name, value) in [
            ("aud", json!("someone-else")),
            ("aud", json!([AUDIENCE, "someone-else"])),
            ("aud", Value::Null),
            ("iss", json!("someone-else")),
            ("iss", Value::Null),
            ("sub", json!("a1")),
            ("sub", json!(161)),
            ("sub", Value::Null),
            ("dev", json!("zz")),
            ("dev", Value::Null),
            ("iat", Value::Null),
            ("exp", json!("never")),
            ("exp", json!(-1)),
            ("exp", Value::Null),
            ("admin", json!(true)),
        ] {
            let token = signed(&header, &claims_with(name, value.clone()));
            assert_eq!(tokens().verify(&token, NOW), Err(TokenError::Bad), "{name} = {value}");
        }
    }

    #[test]
    fn no_other_algorithm_is_taken_and_none_least_of_all() {
        let token = tokens().issue(CLAIMS).unwrap();
        let mut parts = token.split('.');
        let (_, body, signature) =
            (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        // {"alg":"none"}, {"typ":"JWT","alg":"none"}
        for header in ["eyJhbGciOiJub25lIn0", "eyJ0eXAiOiJKV1QiLCJhbGciOiJub25lIn0"] {
            for signature in ["", signature] {
                let forged = format!("{header}.{body}.{signature}");
                assert_eq!(tokens().verify(&forged, NOW), Err(TokenError::Bad), "{forged}");
            }
        }
        // The classic confusion: HMAC keyed with the public key, which anybody may know.
        let public = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let hmac = EncodingKey::from_secret(public.public_key().as_ref());
        let header = Header::new(Algorithm::HS256);
        let forged =
            jsonwebtoken::encode(&header, &claims_with("iss", json!(ISSUER)), &hmac).unwrap();
        assert_eq!(tokens().verify(&forged, NOW), Err(TokenError::Bad));
    }

    #[test]
    fn what_is_no_token_at_all_is_bad() {
        let long = "a".repeat(MAX_TOKEN_BYTES + 1);
        for text in ["", ".", "..", "a.b.c", "....", "\u{e9}.\u{e9}.\u{e9}", &long] {
            assert_eq!(tokens().verify(text, NOW), Err(TokenError::Bad), "{text:.20}");
        }
    }
}
