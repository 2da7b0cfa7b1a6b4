//! Lays the sources over each other, key by key, and gathers every fault on the way.

use crate::fault::{Fault, Faults, Source};
use crate::keys::{KEYS, Key, Shape};
use crate::model::{Config, Engine};
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// What a configuration is made of. The caller passes the environment in, so that tests need no
/// process of their own.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file, if one was named. A named file that can't be read is a fault.
    pub file: Option<PathBuf>,
    /// Environment variables as (name, value); only names that start with `ROOKERY_` are looked
    /// at.
    pub environment: Vec<(String, String)>,
    /// Flags that were given.
    pub flags: Vec<FlagValue>,
}

/// A flag of the command line that sets a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagValue {
    /// The flag as it is typed, such as `--listen`.
    pub flag: &'static str,
    /// Path of the key it sets.
    pub key: &'static str,
    /// Its value.
    pub value: String,
}

/// A configuration that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is no fault but looks like a mistake, one line each.
    pub warnings: Vec<String>,
}

/// Variables of the `ROOKERY_` family that are no keys.
const NOT_KEYS: &[&str] =
    &["ROOKERY_CONFIG", "ROOKERY_DEV_PASSWORD_COST", "ROOKERY_ADMIN_TOKEN_FILE"];

/// Builds the configuration from its sources.
///
/// # Errors
/// [`Faults`] with everything that is wrong in any source, also in a value that another source
/// overrides.
pub fn load(sources: &Sources) -> Result<Loaded, Faults> {
    let mut config = Config::default();
    let mut faults = Vec::new();
    let mut warnings = Vec::new();

    if let Some(path) = &sources.file {
        apply_file(path, &mut config, &mut faults);
    }
    for (name, value) in &sources.environment {
        if !name.starts_with("ROOKERY_") || NOT_KEYS.contains(&name.as_str()) {
            continue;
        }
        match KEYS.iter().find(|key| key.variable() == *name) {
            Some(key) => {
                let source = Source::Environment(name.clone());
                apply(key, &Raw::Text(value), source, &mut config, &mut faults);
            }
            // Not a fault: orchestrators inject variables named after a service "rookery".
            None => warnings.push(format!("environment {name} names no key; it is ignored")),
        }
    }
    for FlagValue { flag, key: path, value } in &sources.flags {
        let source = Source::Flag(flag);
        match KEYS.iter().find(|key| key.path == *path) {
            Some(key) => apply(key, &Raw::Text(value), source, &mut config, &mut faults),
            None => faults.push(unknown(path, source)),
        }
    }

    check_relations(&config, &mut faults);
    if let Some(admin) = config.admin.listen.filter(|admin| !admin.ip().is_loopback()) {
        warnings.push(format!(
            "admin.listen {admin} is not loopback: operators' tokens travel in the clear; keep that \
             network to yourself"
        ));
    }
    if faults.is_empty() { Ok(Loaded { config, warnings }) } else { Err(Faults(faults)) }
}

fn apply_file(path: &Path, config: &mut Config, faults: &mut Vec<Fault>) {
    let whole_file = |found: String, expected: &str| Fault {
        key: String::new(),
        source: Source::File(path.to_owned()),
        found,
        expected: expected.to_owned(),
    };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            faults.push(whole_file(error.to_string(), "a readable file of UTF-8 text"));
            return;
        }
    };
    match text.parse::<Table>() {
        Ok(table) => apply_table("", &table, path, config, faults),
        Err(error) => {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let found = format!("\"{}\" in line {line}", error.message().replace('\n', " "));
            faults.push(whole_file(found, "TOML"));
        }
    }
}

fn apply_table(
    prefix: &str,
    table: &Table,
    file: &Path,
    config: &mut Config,
    faults: &mut Vec<Fault>,
) {
    for (name, value) in table {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        let source = Source::File(file.to_owned());
        let is_section = KEYS.iter().any(|key| section(key.path) == path);
        match (KEYS.iter().find(|key| key.path == path), value) {
            (Some(key), value) => apply(key, &Raw::Toml(value), source, config, faults),
            (None, Value::Table(inner)) if is_section => {
                apply_table(&path, inner, file, config, faults);
            }
            (None, _) if is_section => faults.push(Fault {
                key: path.clone(),
                source,
                found: describe(&Raw::Toml(value)),
                expected: format!("a section, [{path}]"),
            }),
            (None, _) => faults.push(unknown(&path, source)),
        }
    }
}

fn section(path: &str) -> &str {
    path.split_once('.').map_or("", |(section, _)| section)
}

/// The fault of a key that doesn't exist, with those that do beside it.
fn unknown(path: &str, source: Source) -> Fault {
    let inside: Vec<&str> =
        KEYS.iter().map(|key| key.path).filter(|p| section(p) == section(path)).collect();
    let expected = if inside.is_empty() {
        let mut sections: Vec<&str> = KEYS.iter().map(|key| section(key.path)).collect();
        sections.dedup();
        format!("one of the sections {}", sections.join(", "))
    } else {
        format!("one of {}", inside.join(", "))
    };
    Fault { key: path.to_owned(), source, found: "an unknown key".to_owned(), expected }
}

/// A value as its source wrote it.
enum Raw<'a> {
    Toml(&'a Value),
    Text(&'a str),
}

fn apply(key: &Key, raw: &Raw<'_>, source: Source, config: &mut Config, faults: &mut Vec<Fault>) {
    let good = match key.shape {
        Shape::Whole { min, max, set, .. } => whole(raw)
            .filter(|value| (min..=max).contains(value))
            .map(|value| set(config, value))
            .is_some(),
        Shape::Text { set, .. } => text(raw).is_some_and(|value| set(config, value)),
        Shape::List { set, .. } => list(raw).is_some_and(|value| set(config, &value)),
        Shape::Switch { set } => switch(raw).map(|value| set(config, value)).is_some(),
    };
    if !good {
        faults.push(Fault {
            key: key.path.to_owned(),
            source,
            found: describe(raw),
            expected: key.expects(),
        });
    }
}

fn whole(raw: &Raw<'_>) -> Option<u64> {
    match raw {
        Raw::Toml(Value::Integer(value)) => u64::try_from(*value).ok(),
        Raw::Text(text) => text.trim().parse().ok(),
        Raw::Toml(_) => None,
    }
}

fn text<'a>(raw: &Raw<'a>) -> Option<&'a str> {
    match raw {
        Raw::Toml(Value::String(text)) => Some(text),
        Raw::Text(text) => Some(text.trim()),
        Raw::Toml(_) => None,
    }
}

/// A list is an array of strings, or one text with commas.
fn list(raw: &Raw<'_>) -> Option<Vec<String>> {
    match raw {
        Raw::Toml(Value::Array(items)) => {
            items.iter().map(|item| item.as_str().map(str::to_owned)).collect()
        }
        Raw::Text(text) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Some(items.map(str::to_owned).collect())
        }
        Raw::Toml(_) => None,
    }
}

fn switch(raw: &Raw<'_>) -> Option<bool> {
    match raw {
        Raw::Toml(Value::Boolean(value)) => Some(*value),
        Raw::Text(text) => text.trim().parse().ok(),
        Raw::Toml(_) => None,
    }
}

/// A value in words, short enough for a line.
fn describe(raw: &Raw<'_>) -> String {
    const MOST: usize = 60;
    let text = match raw {
        Raw::Toml(Value::String(text)) => format!("{text:?}"),
        Raw::Toml(Value::Integer(value)) => value.to_string(),
        Raw::Toml(Value::Float(value)) => value.to_string(),
        Raw::Toml(Value::Boolean(value)) => value.to_string(),
        Raw::Toml(Value::Datetime(value)) => value.to_string(),
        Raw::Toml(Value::Table(_)) => "a section".to_owned(),
        Raw::Toml(Value::Array(items)) => {
            let items: Vec<String> =
                items.iter().take(MOST).map(|item| describe(&Raw::Toml(item))).collect();
            format!("[{}]", items.join(", "))
        }
        Raw::Text(text) => format!("{text:?}"),
    };
    if text.chars().count() <= MOST {
        return text;
    }
    text.chars().take(MOST).chain("...".chars()).collect()
}

/// What no key alone can show.
fn check_relations(config: &Config, faults: &mut Vec<Fault>) {
    let mut contradicts = |key: &str, found: String, expected: &str| {
        faults.push(Fault {
            key: key.to_owned(),
            source: Source::Together,
            found,
            expected: expected.to_owned(),
        });
    };
    let sessions = config.sessions;
    if sessions.grace_ms < 2 * sessions.heartbeat_ms {
        contradicts(
            "sessions.grace_ms",
            format!("{} beside a heartbeat of {} ms", sessions.grace_ms, sessions.heartbeat_ms),
            "at least two heartbeats, or a single late one ends a session",
        );
    }
    let tokens = config.tokens;
    if tokens.refresh_ttl_s <= tokens.access_ttl_s {
        contradicts(
            "tokens.refresh_ttl_s",
            format!("{} beside access tokens of {} s", tokens.refresh_ttl_s, tokens.access_ttl_s),
            "more than tokens.access_ttl_s",
        );
    }
    let cluster = &config.cluster;
    if cluster.name.is_some() && config.store.engine == Engine::Embedded {
        contradicts(
            "store.engine",
            "embedded beside cluster.name".to_owned(),
            "one that several nodes can share, such as shared",
        );
    }
    if cluster.name.is_some() && cluster.listen.port() == 0 {
        contradicts("cluster.listen", cluster.listen.to_string(), "a port that others can know");
    }
    if cluster.suspicion_ms < 4 * cluster.renew_ms {
        contradicts(
            "cluster.suspicion_ms",
            format!("{} beside renewals each {} ms", cluster.suspicion_ms, cluster.renew_ms),
            "at least four renewals, or a single late one stops a node's work",
        );
    }
    let issuer = &config.issuer;
    if !issuer.url.is_empty() && (issuer.jwks.is_empty() || issuer.audience.is_empty()) {
        contradicts(
            "issuer.jwks",
            "issuer.url without issuer.jwks or issuer.audience".to_owned(),
            "the keys of the issuer and the audience of its tokens",
        );
    }
    if config.http.tls_certificate.is_some() != config.http.tls_key.is_some() {
        contradicts(
            "http.tls_certificate",
            "one of http.tls_certificate and http.tls_key without the other".to_owned(),
            "both, or neither",
        );
    }
    let http = config.http.listen;
    if http.port() != 0 && config.metrics.listen == Some(http) {
        contradicts("metrics.listen", http.to_string(), "another port than http.listen");
    }
    if let Some(admin) = config.admin.listen.filter(|admin| admin.port() != 0)
        && (admin == http || config.metrics.listen == Some(admin))
    {
        let expected = "another port than http.listen and metrics.listen";
        contradicts("admin.listen", admin.to_string(), expected);
    }
}
