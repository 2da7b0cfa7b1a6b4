//! Tokens of another issuer, whose key pair is made here: what is let in, what is not, keys that
//! change.

use crate::support::wire::{Client, User, now_s};
use crate::support::{Answer, Running};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const URL: &str = "https://id.example";

/// A key of the issuer.
struct Key {
    kid: &'static str,
    algorithm: Algorithm,
    sign: EncodingKey,
    jwk: Value,
}

fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, byte| (word << 8) | u32::from(*byte));
        let word = word << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            text.push(char::from(DIGITS[((word >> (18 - 6 * place)) & 63) as usize]));
        }
    }
    text
}

impl Key {
    fn ed25519(kid: &'static str) -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let x = base64url(pair.public_key().as_ref());
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": kid, "x": x });
        let sign = EncodingKey::from_ed_der(der.as_ref());
        Self { kid, algorithm: Algorithm::EdDSA, sign, jwk }
    }

    fn p256(kid: &'static str) -> Self {
        let random = SystemRandom::new();
        let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_ref()).unwrap();
        let point = pair.public_key().as_ref();
        let (x, y) = (base64url(&point[1..33]), base64url(&point[33..]));
        let jwk =
            json!({ "kty": "EC", "crv": "P-256", "alg": "ES256", "kid": kid, "x": x, "y": y });
        let sign = EncodingKey::from_ec_der(der.as_ref());
        Self { kid, algorithm: Algorithm::ES256, sign, jwk }
    }

    fn token(&self, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(self.kid.to_owned());
        jsonwebtoken::encode(&header, claims, &self.sign).unwrap()
    }
}

fn set(keys: &[&Key]) -> String {
    json!({ "keys": keys.iter().map(|key| &key.jwk).collect::<Vec<_>>() }).to_string()
}

fn claims(sub: &str) -> Value {
    json!({
        "iss": URL, "aud": "rookery", "sub": sub, "exp": now_s() + 60, "iat": now_s(),
        "preferred_username": "Ada", "name": "Ada Lovelace",
    })
}

async fn start(jwks: &str) -> Running {
    let jwks = jwks.to_owned();
    Running::start_with(move |config| {
        config.issuer.url = URL.to_owned();
        config.issuer.jwks = jwks;
    })
    .await
}

async fn exchange(running: &Running, token: &str) -> Answer {
    running.post("/v1/token", &json!({ "token": token }).to_string()).await
}

fn write(dir: &Path, keys: &[&Key]) -> String {
    let path = dir.join("jwks.json");
    std::fs::write(&path, set(keys)).unwrap();
    path.to_string_lossy().into_owned()
}

#[tokio::test]
async fn who_comes_for_the_first_time_gets_an_account_and_later_the_same_one() {
    let dir = tempfile::tempdir().unwrap();
    let (ed, ec) = (Key::ed25519("one"), Key::p256("two"));
    let running = start(&write(dir.path(), &[&ed, &ec])).await;
    let first = exchange(&running, &ed.token(&claims("s-1"))).await.json();
    assert_eq!(first["name"], "ada");
    let user = User::from_answer(&first);
    let (mut client, _) = Client::welcomed(&running, &user).await;
    client.assert_alive().await;
    let mut renamed = claims("s-1");
    renamed["preferred_username"] = json!("somebody-else");
    let again = exchange(&running, &ec.token(&renamed)).await.json();
    assert_eq!((&again["user"], &again["name"]), (&first["user"], &first["name"]));
    assert_ne!(again["device"], first["device"]);
    // Another subject is another person, whatever they are called.
    let other = exchange(&running, &ed.token(&claims("s-2"))).await.json();
    assert_ne!(other["user"], first["user"]);
    assert!(other["name"].as_str().unwrap().starts_with("ada-"), "{other}");
    let request = crate::support::bearer("GET", "/v1/account", &user.token, None);
    assert_eq!(running.send(&request).await.json()["display_name"], "Ada Lovelace");
    // Such an account has no password, also not the empty one.
    for password in ["", "correct horse"] {
        let log_in = crate::support::credentials("ada", password);
        let answer = running.post("/v1/login", &log_in).await;
        assert_eq!(answer.error(), (401, "WrongCredentials".to_owned()));
    }
}

#[tokio::test]
async fn every_wrong_claim_key_and_algorithm_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (ed, ec) = (Key::ed25519("one"), Key::p256("two"));
    let running = start(&write(dir.path(), &[&ed, &ec])).await;
    let changed = |name: &str, value: Value| {
        let mut claims = claims("s-1");
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.to_owned(), value),
        };
        ed.token(&claims)
    };
    let good = ed.token(&claims("s-1"));
    let (head, rest) = good.split_once('.').unwrap();
    let (body, signature) = rest.split_once('.').unwrap();
    let mut shared = Header::new(Algorithm::HS256);
    shared.kid = Some("one".to_owned());
    let public = ed.jwk["x"].as_str().unwrap();
    let confused = EncodingKey::from_secret(public.as_bytes());
    let forged = Key { kid: "one", ..Key::ed25519("one") };
    let swapped = Key { kid: "two", ..Key::ed25519("one") };
    let unknown = Key { kid: "three", ..Key::ed25519("three") };
    for (token, what) in [
        (changed("iss", json!("https://evil.example")), "issuer"),
        (changed("iss", Value::Null), "no issuer"),
        (changed("aud", json!("someone-else")), "audience"),
        (changed("aud", Value::Null), "no audience"),
        (changed("sub", Value::Null), "no subject"),
        (changed("sub", json!("")), "an empty subject"),
        (changed("sub", json!(7)), "a number for a subject"),
        (changed("exp", Value::Null), "no expiry"),
        (changed("exp", json!("never")), "an expiry in words"),
        (changed("nbf", json!(now_s() + 600)), "not yet"),
        (changed("iat", json!(now_s() + 600)), "from the future"),
        (forged.token(&claims("s-1")), "another key of the same name"),
        (swapped.token(&claims("s-1")), "a key of another kind"),
        (unknown.token(&claims("s-1")), "an unknown key"),
        (jsonwebtoken::encode(&shared, &claims("s-1"), &confused).unwrap(), "a shared secret"),
        (format!("eyJhbGciOiJub25lIn0.{body}."), "no algorithm"),
        (format!("eyJhbGciOiJub25lIn0.{body}.{signature}"), "no algorithm, signed"),
        (format!("{head}.{body}."), "no signature"),
        ("a.b.c".to_owned(), "no token"),
        ("a".repeat(9_000), "a long text"),
    ] {
        let answer = exchange(&running, &token).await;
        assert_eq!(answer.error(), (401, "BadToken".to_owned()), "{what}");
    }
    let old = changed("exp", json!(now_s() - 60));
    assert_eq!(exchange(&running, &old).await.error(), (401, "TokenExpired".to_owned()));
    assert_eq!(exchange(&running, &changed("aud", json!(["x", "rookery"]))).await.status, 200);
}

/// Serves a set of keys over HTTP, whichever is current; counts how often it is asked.
async fn serve(sets: Vec<String>) -> (String, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    let (current, asked) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now, count) = (Arc::clone(&current), Arc::clone(&asked));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.unwrap();
            assert!(request[..read].starts_with(b"GET /keys HTTP/1.1\r\n"));
            count.fetch_add(1, Ordering::SeqCst);
            let body = &sets[now.load(Ordering::SeqCst)];
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (url, current, asked)
}

#[tokio::test]
async fn keys_of_a_url_are_kept_and_unknown_ones_don_t_make_the_node_ask_again_and_again() {
    let (one, two) = (Key::ed25519("one"), Key::ed25519("two"));
    let (url, _, asked) = serve(vec![set(&[&one])]).await;
    let running = start(&url).await;
    for _ in 0..3 {
        assert_eq!(exchange(&running, &one.token(&claims("s-1"))).await.status, 200);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1, "they are kept");
    for _ in 0..3 {
        assert_eq!(exchange(&running, &two.token(&claims("s-1"))).await.status, 401);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1, "not within the time between two requests");
}

#[tokio::test]
async fn keys_that_were_replaced_are_good_no_more_and_an_issuer_that_is_down_locks_nobody_out() {
    let (one, two) = (Key::ed25519("one"), Key::ed25519("two"));
    let (url, current, asked) = serve(vec![set(&[&one]), set(&[&two]), "no keys".to_owned()]).await;
    let running = Running::start_with(move |config| {
        config.issuer.url = URL.to_owned();
        config.issuer.jwks = url;
        config.issuer.refresh_s = 0;
    })
    .await;
    assert_eq!(exchange(&running, &one.token(&claims("s-1"))).await.status, 200);
    current.store(1, Ordering::SeqCst);
    assert_eq!(exchange(&running, &two.token(&claims("s-1"))).await.status, 200);
    assert_eq!(exchange(&running, &one.token(&claims("s-1"))).await.status, 401);
    current.store(2, Ordering::SeqCst);
    let before = asked.load(Ordering::SeqCst);
    assert_eq!(exchange(&running, &two.token(&claims("s-1"))).await.status, 200);
    assert!(asked.load(Ordering::SeqCst) > before);
}

/// An authority, and what a server shows that it vouches for.
struct Authority {
    certificate: rcgen::Certificate,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, issuer: rcgen::Issuer::new(params, key) }
    }

    fn write(&self, dir: &Path) -> std::path::PathBuf {
        let path = dir.join("authority.pem");
        std::fs::write(&path, self.certificate.pem()).unwrap();
        path
    }

    /// A server of one name.
    fn server(&self, name: &str) -> Arc<rustls::ServerConfig> {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.into());
        Arc::new(config.unwrap())
    }
}

/// Serves a set of keys over HTTPS: its URL by that name.
async fn serve_https(name: &str, server: Arc<rustls::ServerConfig>, set: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{name}:{}/keys", listener.local_addr().unwrap().port());
    let acceptor = tokio_rustls::TlsAcceptor::from(server);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Who does not believe the certificate goes here.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.unwrap();
            assert!(request[..read].starts_with(b"GET /keys HTTP/1.1\r\n"));
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{set}", set.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
        }
    });
    url
}

#[tokio::test]
async fn keys_come_over_https_from_who_the_configured_authority_vouches_for_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let key = Key::ed25519("one");
    let (ours, theirs) = (Authority::new(), Authority::new());
    let ca = ours.write(dir.path());
    let trusted = serve_https("localhost", ours.server("localhost"), set(&[&key])).await;
    let foreign = serve_https("localhost", theirs.server("localhost"), set(&[&key])).await;
    let renamed = serve_https("localhost", ours.server("elsewhere.example"), set(&[&key])).await;
    for (jwks, ca, good, what) in [
        (&trusted, Some(ca.clone()), true, "the authority's own"),
        (&foreign, Some(ca.clone()), false, "another authority's"),
        (&renamed, Some(ca), false, "another name's"),
        (&trusted, None, false, "one this machine does not know"),
        (&trusted, Some(dir.path().join("none.pem")), false, "no file"),
    ] {
        let jwks = jwks.clone();
        let running = Running::start_with(move |config| {
            config.issuer.url = URL.to_owned();
            config.issuer.jwks = jwks;
            config.issuer.ca = ca;
        })
        .await;
        let answer = exchange(&running, &key.token(&claims("s-1"))).await;
        if good {
            assert_eq!(answer.status, 200, "{what}: {}", answer.body);
        } else {
            assert_eq!(answer.error(), (503, "Busy".to_owned()), "{what}");
        }
        running.node.shutdown().await;
    }
}

#[tokio::test]
async fn an_issuer_that_nobody_reaches_is_told_as_a_time_to_retry() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let key = Key::ed25519("one");
    // In the clear from another machine is never asked; nor is what is no URL of the web.
    for jwks in [
        format!("http://{free}/keys"),
        "http://10.0.0.1/keys".to_owned(),
        "ftp://x/keys".to_owned(),
    ] {
        let running = start(&jwks).await;
        let answer = exchange(&running, &key.token(&claims("s-1"))).await;
        assert_eq!(answer.error(), (503, "Busy".to_owned()), "{jwks}");
        assert!(answer.header("retry-after").is_some(), "{jwks}");
        assert_eq!(running.get("/healthz").await.status, 200);
    }
}

#[tokio::test]
async fn accounts_are_only_made_where_that_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let key = Key::ed25519("one");
    let jwks = write(dir.path(), &[&key]);
    let running = Running::start_with(|config| {
        config.issuer.url = URL.to_owned();
        config.issuer.jwks = jwks;
        config.issuer.create_accounts = false;
    })
    .await;
    let answer = exchange(&running, &key.token(&claims("s-1"))).await;
    assert_eq!(answer.error(), (403, "SignUpClosed".to_owned()));
    let none = Running::start().await;
    let answer = exchange(&none, &key.token(&claims("s-1"))).await;
    assert_eq!(answer.error(), (404, "NotFound".to_owned()));
}
