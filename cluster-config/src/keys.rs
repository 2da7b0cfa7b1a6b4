//! Every key, in one table: its path, what it expects, and where its value goes.
//!
//! The environment variable of a key follows from its path: `http.listen` is
//! `ROOKERY_HTTP_LISTEN`.

use crate::model::{Config, Engine, LogFormat, LogLevel, SignUp};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// One key of the configuration.
#[derive(Debug)]
pub struct Key {
    /// Its path, `section.name`.
    pub path: &'static str,
    pub(crate) shape: Shape,
}

/// What a key's value looks like, and where it goes. A setter of text answers whether the text
/// was what it expects.
#[derive(Debug)]
pub(crate) enum Shape {
    Whole { min: u64, max: u64, unit: &'static str, set: fn(&mut Config, u64) },
    Text { expects: &'static str, set: fn(&mut Config, &str) -> bool },
    List { expects: &'static str, set: fn(&mut Config, &[String]) -> bool },
    Switch { set: fn(&mut Config, bool) },
}

impl Key {
    /// The key's environment variable.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("ROOKERY_{}", self.path.replace('.', "_").to_ascii_uppercase())
    }

    /// What the key expects, in words.
    #[must_use]
    pub fn expects(&self) -> String {
        match self.shape {
            Shape::Whole { min, max, unit, .. } => {
                format!("a whole number from {min} to {max} ({unit})")
            }
            Shape::Text { expects, .. } | Shape::List { expects, .. } => expects.to_owned(),
            Shape::Switch { .. } => "true or false".to_owned(),
        }
    }
}

const fn whole(
    path: &'static str,
    (min, max, unit): (u64, u64, &'static str),
    set: fn(&mut Config, u64),
) -> Key {
    Key { path, shape: Shape::Whole { min, max, unit, set } }
}

const fn text(
    path: &'static str,
    expects: &'static str,
    set: fn(&mut Config, &str) -> bool,
) -> Key {
    Key { path, shape: Shape::Text { expects, set } }
}

const fn list(
    path: &'static str,
    expects: &'static str,
    set: fn(&mut Config, &[String]) -> bool,
) -> Key {
    Key { path, shape: Shape::List { expects, set } }
}

const fn switch(path: &'static str, set: fn(&mut Config, bool)) -> Key {
    Key { path, shape: Shape::Switch { set } }
}

const HOUR_MS: u64 = 3_600_000;
const YEAR_S: u64 = 366 * 24 * 3_600;
/// A thousand a second.
const MAX_RATE: u64 = 3_600_000;
/// Ten years, for what is kept.
const MAX_DAYS: u64 = 3_653;
const WORKERS: (u64, u64, &str) = (0, 1024, "workers; 0: the machine decides");

/// All keys, in the order of the example file.
pub static KEYS: &[Key] = &[
    text("node.name", "1 to 63 of a-z, 0-9 and -", |c, v| {
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        put(&mut c.node.name, Some(v.to_owned()).filter(|v| v.len() < 64 && v.bytes().all(good)))
            && !v.is_empty()
    }),
    text("node.data_dir", "the path of a directory", |c, v| put(&mut c.node.data_dir, path(v))),
    text("http.listen", "an IP address and a port, such as 127.0.0.1:8080", |c, v| {
        put(&mut c.http.listen, v.parse().ok())
    }),
    list("http.allowed_origins", "a list of origins, such as https://chat.example.org", |c, v| {
        put(&mut c.http.allowed_origins, v.iter().map(|v| origin(v)).collect())
    }),
    text("http.public_url", "\"\", or an origin such as https://chat.example.org", |c, v| {
        put(&mut c.http.public_url, optional(v, origin))
    }),
    list("http.trusted_proxies", "a list of IP addresses, such as 10.0.0.7", |c, v| {
        put(&mut c.http.trusted_proxies, v.iter().map(|v| v.parse::<IpAddr>().ok()).collect())
    }),
    whole("http.header_timeout_ms", (100, HOUR_MS, "milliseconds"), |c, v| {
        c.http.header_timeout_ms = v;
    }),
    whole("http.body_timeout_ms", (100, HOUR_MS, "milliseconds"), |c, v| {
        c.http.body_timeout_ms = v;
    }),
    text("http.tls_certificate", "\"\", or the path of a PEM file", |c, v| {
        put(&mut c.http.tls_certificate, optional(v, path))
    }),
    text("http.tls_key", "\"\", or the path of a PEM file", |c, v| {
        put(&mut c.http.tls_key, optional(v, path))
    }),
    text(
        "metrics.listen",
        "an IP address and a port, such as 127.0.0.1:9090, or \"off\"",
        |c, v| put(&mut c.metrics.listen, address_or_off(v)),
    ),
    text("admin.listen", "an IP address and a port, such as 127.0.0.1:9190, or \"off\"", |c, v| {
        put(&mut c.admin.listen, address_or_off(v))
    }),
    text("admin.tokens", "\"\", or the path of a file", |c, v| {
        put(&mut c.admin.tokens, optional(v, path))
    }),
    text("log.level", "error, warn, info, debug or trace", |c, v| {
        let level = match v {
            "error" => Some(LogLevel::Error),
            "warn" => Some(LogLevel::Warn),
            "info" => Some(LogLevel::Info),
            "debug" => Some(LogLevel::Debug),
            "trace" => Some(LogLevel::Trace),
            _ => None,
        };
        put(&mut c.log.level, level)
    }),
    text("log.format", "text or json", |c, v| {
        let format = match v {
            "text" => Some(LogFormat::Text),
            "json" => Some(LogFormat::Json),
            _ => None,
        };
        put(&mut c.log.format, format)
    }),
    whole("sessions.heartbeat_ms", (500, 600_000, "milliseconds"), |c, v| {
        c.sessions.heartbeat_ms = v;
    }),
    whole("sessions.grace_ms", (1_000, HOUR_MS, "milliseconds"), |c, v| c.sessions.grace_ms = v),
    whole("tokens.access_ttl_s", (60, 86_400, "seconds"), |c, v| c.tokens.access_ttl_s = v),
    whole("tokens.refresh_ttl_s", (3_600, YEAR_S, "seconds"), |c, v| c.tokens.refresh_ttl_s = v),
    whole("tokens.refresh_grace_s", (0, 300, "seconds"), |c, v| c.tokens.refresh_grace_s = v),
    whole("tokens.key_rotation_days", (0, MAX_DAYS, "days; 0: never"), |c, v| {
        c.tokens.key_rotation_days = v;
    }),
    text("issuer.url", "\"\", or what iss of the issuer's tokens says", |c, v| {
        put(&mut c.issuer.url, claim(v))
    }),
    text("issuer.audience", "at most 255 visible characters", |c, v| {
        put(&mut c.issuer.audience, claim(v))
    }),
    text("issuer.jwks", "\"\", the path of a file, or a URL of https", |c, v| {
        put(&mut c.issuer.jwks, claim(v))
    }),
    text("issuer.ca", "\"\", or the path of a PEM file", |c, v| {
        put(&mut c.issuer.ca, optional(v, path))
    }),
    whole("issuer.refresh_s", (10, 86_400, "seconds"), |c, v| c.issuer.refresh_s = v),
    text("issuer.name_claim", "the name of a claim", |c, v| {
        put(&mut c.issuer.name_claim, claim(v))
    }),
    switch("issuer.create_accounts", |c, v| c.issuer.create_accounts = v),
    whole("passwords.threads", WORKERS, |c, v| c.passwords.threads = number(v).into()),
    whole("passwords.queue", (1, 100_000, "requests"), |c, v| c.passwords.queue = number(v)),
    whole("limits.max_connections", (1, 10_000_000, "connections"), |c, v| {
        c.limits.max_connections = number(v);
    }),
    whole("limits.hello_timeout_ms", (100, HOUR_MS, "milliseconds"), |c, v| {
        c.limits.hello_timeout_ms = v;
    }),
    text("limits.sign_up", "open, invitation or closed", |c, v| {
        let sign_up = match v {
            "open" => Some(SignUp::Open),
            "invitation" => Some(SignUp::Invitation),
            "closed" => Some(SignUp::Closed),
            _ => None,
        };
        put(&mut c.limits.sign_up, sign_up)
    }),
    whole("limits.attempts_per_minute", (1, 1_000_000, "attempts a minute"), |c, v| {
        c.limits.attempts_per_minute = v;
    }),
    whole("limits.attempts_burst", (1, 1_000_000, "attempts"), |c, v| c.limits.attempts_burst = v),
    whole(
        "limits.address_sign_ups_per_hour",
        (0, MAX_RATE, "accounts an hour; 0: no limit"),
        |c, v| {
            c.limits.address_sign_ups.per_hour = v;
        },
    ),
    whole("limits.address_sign_ups_burst", (1, 1_000_000, "accounts"), |c, v| {
        c.limits.address_sign_ups.burst = v;
    }),
    whole("limits.sign_ups_per_hour", (0, MAX_RATE, "accounts an hour; 0: no limit"), |c, v| {
        c.limits.sign_ups.per_hour = v;
    }),
    whole("limits.sign_ups_burst", (1, 1_000_000, "accounts"), |c, v| c.limits.sign_ups.burst = v),
    whole("limits.connections_per_address", (0, 10_000_000, "connections; 0: no limit"), |c, v| {
        c.limits.connections_per_address = number(v);
    }),
    switch("limits.limit_loopback", |c, v| c.limits.limit_loopback = v),
    whole("limits.sends_per_hour", (0, MAX_RATE, "messages an hour; 0: no limit"), |c, v| {
        c.limits.sends.per_hour = v;
    }),
    whole("limits.sends_burst", (1, 1_000_000, "messages"), |c, v| c.limits.sends.burst = v),
    whole("limits.opens_per_hour", (0, MAX_RATE, "conversations an hour; 0: no limit"), |c, v| {
        c.limits.opens.per_hour = v;
    }),
    whole("limits.opens_burst", (1, 1_000_000, "conversations"), |c, v| c.limits.opens.burst = v),
    whole("limits.changes_per_hour", (0, MAX_RATE, "changes an hour; 0: no limit"), |c, v| {
        c.limits.changes.per_hour = v;
    }),
    whole("limits.changes_burst", (1, 1_000_000, "changes"), |c, v| c.limits.changes.burst = v),
    whole("limits.reports_per_hour", (0, MAX_RATE, "reports an hour; 0: no limit"), |c, v| {
        c.limits.reports.per_hour = v;
    }),
    whole("limits.reports_burst", (1, 1_000_000, "reports"), |c, v| c.limits.reports.burst = v),
    whole("limits.searches_per_hour", (0, MAX_RATE, "searches an hour; 0: no limit"), |c, v| {
        c.limits.searches.per_hour = v;
    }),
    whole("limits.searches_burst", (1, 1_000_000, "searches"), |c, v| c.limits.searches.burst = v),
    whole("limits.devices_per_user", (1, 1_000, "devices"), |c, v| {
        c.limits.devices_per_user = number(v);
    }),
    text("store.engine", "embedded, shared or fdb", |c, v| {
        let engine = match v {
            "embedded" => Some(Engine::Embedded),
            "shared" => Some(Engine::Shared),
            "fdb" => Some(Engine::Fdb),
            _ => None,
        };
        put(&mut c.store.engine, engine)
    }),
    text("store.path", "\"\", or the path of a directory", |c, v| {
        put(&mut c.store.path, optional(v, path))
    }),
    text("store.socket", "\"\", or the path of a Unix socket", |c, v| {
        put(&mut c.store.socket, optional(v, path))
    }),
    whole("store.cache_bytes", (1 << 20, 1 << 40, "bytes"), |c, v| c.store.cache_bytes = v),
    text("store.cluster_file", "\"\", or the path of a FoundationDB cluster file", |c, v| {
        put(&mut c.store.cluster_file, optional(v, path))
    }),
    text("store.prefix", "1 to 32 of a-z, A-Z, 0-9 and . _ - /", |c, v| {
        let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/');
        put(
            &mut c.store.prefix,
            Some(v.to_owned()).filter(|v| v.len() <= 32 && v.bytes().all(good)),
        ) && !v.is_empty()
    }),
    whole("retention.messages_days", (0, MAX_DAYS, "days; 0: for ever"), |c, v| {
        c.retention.messages_days = v;
    }),
    // Clients are promised a week.
    whole("retention.dedupe_days", (7, 366, "days"), |c, v| c.retention.dedupe_days = v),
    whole("retention.device_absent_days", (1, MAX_DAYS, "days"), |c, v| {
        c.retention.device_absent_days = v;
    }),
    whole("retention.interval_s", (1, 7 * 86_400, "seconds"), |c, v| c.retention.interval_s = v),
    switch("search.enabled", |c, v| c.search.enabled = v),
    whole("shards.sessions", WORKERS, |c, v| c.shards.sessions = number(v).into()),
    whole("shards.conversations", WORKERS, |c, v| c.shards.conversations = number(v).into()),
    whole("shards.presence", WORKERS, |c, v| c.shards.presence = number(v).into()),
    text("cluster.name", "\"\", or 1 to 63 of a-z, 0-9 and - with no - at an end", |c, v| {
        put(&mut c.cluster.name, optional(v, label))
    }),
    text("cluster.zone", "at most 63 of a-z, 0-9 and -", |c, v| {
        put(&mut c.cluster.zone, optional(v, label).map(Option::unwrap_or_default))
    }),
    whole("cluster.capacity", (1, 64, "shares"), |c, v| {
        c.cluster.capacity = u32::try_from(v).unwrap_or(1);
    }),
    text("cluster.listen", "an IP address and a port, such as 10.0.0.7:7300", |c, v| {
        put(&mut c.cluster.listen, v.parse().ok())
    }),
    text("cluster.advertise", "\"\", or a host and a port, such as node-1:7300", |c, v| {
        put(&mut c.cluster.advertise, optional(v, host_and_port))
    }),
    text("cluster.endpoint", "\"\", or a URL such as wss://node-1.example.org/v1/ws", |c, v| {
        put(&mut c.cluster.endpoint, optional(v, websocket))
    }),
    text("cluster.certificates", "the path of a directory", |c, v| {
        put(&mut c.cluster.certificates, path(v))
    }),
    whole("cluster.renew_ms", (100, 60_000, "milliseconds"), |c, v| c.cluster.renew_ms = v),
    whole("cluster.suspicion_ms", (300, HOUR_MS, "milliseconds"), |c, v| {
        c.cluster.suspicion_ms = v;
    }),
    whole("cluster.drain_ms", (0, HOUR_MS, "milliseconds"), |c, v| c.cluster.drain_ms = v),
    whole("cluster.link_version", (0, 255, "a version; 0: the newest"), |c, v| {
        c.cluster.link_version = u8::try_from(v).ok().filter(|version| *version > 0);
    }),
];

/// Puts a value where it belongs; false when there is none.
fn put<T>(place: &mut T, value: Option<T>) -> bool {
    match value {
        Some(value) => {
            *place = value;
            true
        }
        None => false,
    }
}

/// `Some(None)` for "off".
#[expect(clippy::option_option, reason = "the outer one says whether the text was good")]
fn address_or_off(text: &str) -> Option<Option<SocketAddr>> {
    if text == "off" { Some(None) } else { text.parse().ok().map(Some) }
}

/// Every number's maximum fits a `usize` of 64 bits; on a smaller machine it saturates.
fn number(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

fn path(text: &str) -> Option<PathBuf> {
    (!text.is_empty() && !text.contains('\0')).then(|| PathBuf::from(text))
}

/// `Some(None)` for the empty text, which says "not set".
#[expect(clippy::option_option, reason = "the outer one says whether the text was good")]
fn optional<T>(text: &str, parse: fn(&str) -> Option<T>) -> Option<Option<T>> {
    if text.is_empty() { Some(None) } else { parse(text).map(Some) }
}

/// What may be a label of a DNS name.
fn label(text: &str) -> Option<String> {
    let byte = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let ends = text.starts_with('-') || text.ends_with('-');
    (text.len() < 64 && text.bytes().all(byte) && !ends).then(|| text.to_owned())
}

/// A text of visible ASCII.
fn claim(text: &str) -> Option<String> {
    let good = text.len() <= 255 && text.bytes().all(|b| b.is_ascii_graphic());
    good.then(|| text.to_owned())
}

fn host_and_port(text: &str) -> Option<String> {
    let (host, port) = text.rsplit_once(':')?;
    let byte = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']');
    let good = !host.is_empty() && text.len() <= 255 && host.bytes().all(byte);
    (good && port.parse::<u16>().is_ok_and(|port| port != 0)).then(|| text.to_owned())
}

fn websocket(text: &str) -> Option<String> {
    let rest = text.strip_prefix("wss://").or_else(|| text.strip_prefix("ws://"))?;
    let byte = |b: u8| b.is_ascii_graphic() && b != b'"';
    (!rest.is_empty() && text.len() <= 255 && rest.bytes().all(byte)).then(|| text.to_owned())
}

/// Scheme, host and perhaps a port, in lower case, as browsers send it in `Origin`.
fn origin(text: &str) -> Option<String> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    let host_byte = |b: u8| {
        b.is_ascii_lowercase()
            || b.is_ascii_digit()
            || matches!(b, b'.' | b'-' | b':' | b'[' | b']')
    };
    (!host.is_empty() && host.bytes().all(host_byte)).then(|| text.to_owned())
}
