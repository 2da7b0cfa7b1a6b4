//! Tokens of an identity the operator already has: another issuer signs, its keys are a JWKS.
//!
//! A client trades such a token once, at log-in, for tokens of this installation: from then on
//! its device is listed, refreshed and revoked like any other. Who comes for the first time gets an
//! account; the issuer and its `sub` say whose it is, for ever, whatever the name becomes.
//!
//! Safety: the algorithm must be one of [`ALGORITHMS`] (never `none`, never a shared secret) and
//! fit the key that the token names; issuer, audience, expiry and subject must be there and right.
//!
//! Keys are fetched when they are older than the configured time, and once more when a token names
//! one that is not known, though not more often than each [`RETRY`]. While they can't be fetched the
//! former ones are good: an issuer that is down for an hour locks nobody out.

use super::LEEWAY_S;
use super::fetch::{self, FetchError};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use rookery_cluster_config::Issuer as Section;
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// What a token may be signed with.
const ALGORITHMS: [Algorithm; 7] = [
    Algorithm::EdDSA,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
];
/// Most bytes of a token.
const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// Most bytes of a subject.
const MAX_SUBJECT_BYTES: usize = 255;
/// Most keys that are looked at.
const MAX_KEYS: usize = 64;
/// Keys are fetched no more often than this.
const RETRY: Duration = Duration::from_secs(10);

/// Who a foreign token speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct External {
    /// Issuer and subject in one: whose account it is.
    pub(super) hash: [u8; 32],
    /// What the issuer calls them.
    pub(super) name: Option<String>,
    /// How they want to be called.
    pub(super) display_name: Option<String>,
}

/// Why a foreign token opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is not good.
    Bad,
    /// It was good once.
    Expired,
    /// The issuer's keys can't be had.
    NoKeys,
}

/// An issuer and its keys.
#[derive(Debug)]
pub(super) struct Issuer {
    section: Section,
    keys: RwLock<Arc<[Jwk]>>,
    fetched: Mutex<Fetched>,
}

#[derive(Debug, Default)]
struct Fetched {
    good: Option<Instant>,
    tried: Option<Instant>,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

impl Issuer {
    pub(super) fn new(section: Section) -> Self {
        Self { section, keys: RwLock::new(Arc::default()), fetched: Mutex::default() }
    }

    /// Who the token speaks for, at `now_s` (Unix seconds).
    pub(super) async fn verify(&self, token: &str, now_s: u64) -> Result<External, Refused> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Refused::Bad);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| Refused::Bad)?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(Refused::Bad);
        }
        self.fetch(false).await;
        let mut key = self.key(header.kid.as_deref(), header.alg);
        if key.is_none() {
            self.fetch(true).await;
            key = self.key(header.kid.as_deref(), header.alg);
        }
        let Some(key) = key else {
            let none = self.keys().is_empty();
            return Err(if none { Refused::NoKeys } else { Refused::Bad });
        };
        let mut rules = Validation::new(header.alg);
        rules.set_issuer(&[&self.section.url]);
        rules.set_audience(&[&self.section.audience]);
        rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // Times are checked below, against a clock that tests can set.
        rules.validate_exp = false;
        let claims = jsonwebtoken::decode::<Map<String, Value>>(token, &key, &rules);
        self.mapped(&claims.map_err(|_| Refused::Bad)?.claims, now_s)
    }

    fn mapped(&self, claims: &Map<String, Value>, now_s: u64) -> Result<External, Refused> {
        let seconds = |name: &str| claims.get(name).map(|value| value.as_f64().unwrap_or(f64::NAN));
        let now =
            |leeway: i64| Duration::from_secs(now_s.saturating_add_signed(leeway)).as_secs_f64();
        let leeway = i64::try_from(LEEWAY_S).unwrap_or(0);
        match seconds("exp") {
            Some(expires) if expires > now(-leeway) => {}
            Some(expires) if expires.is_nan() => return Err(Refused::Bad),
            Some(_) => return Err(Refused::Expired),
            None => return Err(Refused::Bad),
        }
        // Not before, and issued at: a time that is no number is not good either.
        let early =
            |name: &str| seconds(name).is_some_and(|time| time.is_nan() || time > now(leeway));
        if early("nbf") || early("iat") {
            return Err(Refused::Bad);
        }
        let text = |name: &str| claims.get(name).and_then(Value::as_str).map(str::to_owned);
        let subject = text("sub").filter(|sub| !sub.is_empty() && sub.len() <= MAX_SUBJECT_BYTES);
        let subject = subject.ok_or(Refused::Bad)?;
        let mut hash = Sha256::new();
        hash.update(self.section.url.as_bytes());
        hash.update([0]);
        hash.update(subject.as_bytes());
        Ok(External {
            hash: hash.finalize().into(),
            name: text(&self.section.name_claim),
            display_name: text("name"),
        })
    }

    /// The key that a token names, if it is one for the algorithm.
    fn key(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<DecodingKey> {
        let keys = self.keys();
        let mut fitting = keys.iter().filter(|key| match kid {
            Some(kid) => key.common.key_id.as_deref() == Some(kid),
            // Without a name there must be no choice.
            None => keys.len() == 1,
        });
        let key = fitting.next()?;
        if let Some(told) = key.common.key_algorithm
            && told.to_string() != format!("{algorithm:?}")
        {
            return None;
        }
        DecodingKey::from_jwk(key).ok().filter(|key| key.family() == algorithm.family())
    }

    fn keys(&self) -> Arc<[Jwk]> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Fetches the keys if they are old, or at once if `wanted`; one request at a time.
    async fn fetch(&self, wanted: bool) {
        let mut fetched = self.fetched.lock().await;
        let refresh = Duration::from_secs(self.section.refresh_s);
        let old = fetched.good.is_none_or(|at| at.elapsed() >= refresh);
        let soon = fetched.tried.is_some_and(|at| at.elapsed() < RETRY.min(refresh));
        // The first token after the start is not held up by a fetch that failed a moment before.
        if soon || !(old || wanted) {
            return;
        }
        fetched.tried = Some(Instant::now());
        match self.fetched_keys().await {
            Ok(keys) => {
                fetched.good = Some(Instant::now());
                *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
            }
            Err(error) => tracing::warn!(%error, "the keys of the issuer can't be fetched"),
        }
    }

    async fn fetched_keys(&self) -> Result<Arc<[Jwk]>, FetchError> {
        let text = fetch::text(&self.section.jwks, self.section.ca.as_deref()).await?;
        let set: KeySet = serde_json::from_slice(&text).map_err(|_| FetchError::NotKeys)?;
        // A key of a kind that isn't known here must not cost the others.
        let keys = set.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok());
        Ok(keys.take(MAX_KEYS).collect())
    }
}
