//! What an operator may count on: the example tells the truth, sources win in their order, and
//! every fault is told at once.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use rookery_cluster_config::{Config, Count, Faults, FlagValue, KEYS, LogFormat, Sources, load};
use std::path::PathBuf;

struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

fn from_file(name: &str, text: &str) -> Result<Config, Faults> {
    let File(path) = File::new(name, text);
    load(&Sources { file: Some(path), ..Sources::default() }).map(|loaded| loaded.config)
}

fn variable(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[test]
fn the_example_holds_every_key_with_its_default() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/single-node.toml");
    let loaded =
        load(&Sources { file: Some(path.clone()), ..Sources::default() }).expect("the example");
    assert_eq!(loaded.config, Config::default());

    let table: toml::Table = std::fs::read_to_string(path).unwrap().parse().unwrap();
    for key in KEYS {
        let (section, name) = key.path.split_once('.').unwrap();
        assert!(table[section].get(name).is_some(), "{} is not in the example", key.path);
    }
}

#[test]
fn nothing_at_all_is_a_good_configuration() {
    let loaded = load(&Sources::default()).unwrap();
    assert_eq!(loaded.config, Config::default());
    assert_eq!(loaded.warnings, Vec::<String>::new());
    assert_eq!(loaded.config.store_dir(), PathBuf::from("./rookery-data/store"));
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let File(file) = File::new(
        "order.toml",
        "[http]\nlisten = \"127.0.0.1:1001\"\n[node]\nname = \"a\"\n[log]\nformat = \"json\"\n",
    );
    let loaded = load(&Sources {
        file: Some(file),
        environment: vec![
            variable("ROOKERY_HTTP_LISTEN", "127.0.0.1:1002"),
            variable("ROOKERY_NODE_NAME", "b"),
            variable("ROOKERY_SHARDS_SESSIONS", "3"),
            variable("ROOKERY_HTTP_ALLOWED_ORIGINS", "https://a.example, https://b.example:8443"),
            variable("ROOKERY_LIMITS_LIMIT_LOOPBACK", "true"),
        ],
        flags: vec![FlagValue {
            flag: "--listen",
            key: "http.listen",
            value: "[::1]:1003".to_owned(),
        }],
    })
    .unwrap();
    assert_eq!(loaded.config.http.listen, "[::1]:1003".parse().unwrap());
    assert_eq!(loaded.config.node.name, "b");
    assert_eq!(loaded.config.log.format, LogFormat::Json);
    assert_eq!(loaded.config.shards.sessions, Count::Fixed(3));
    assert_eq!(loaded.config.http.allowed_origins, ["https://a.example", "https://b.example:8443"]);
    assert!(loaded.config.limits.limit_loopback);
}

#[test]
fn all_faults_of_all_sources_are_told_at_once() {
    let File(file) = File::new(
        "faults.toml",
        r#"
        colour = "blue"
        shards = 7
        [http]
        listen = "localhost"
        allowed_origins = ["https://a.example/path"]
        lisen = "127.0.0.1:1"
        [sessions]
        heartbeat_ms = "soon"
        [tokens]
        access_ttl_s = -1
        [store]
        engine = "mysql"
        "#,
    );
    let faults = load(&Sources {
        file: Some(file),
        environment: vec![variable("ROOKERY_PASSWORDS_QUEUE", "0")],
        flags: vec![FlagValue {
            flag: "--metrics",
            key: "metrics.listen",
            value: "9090".to_owned(),
        }],
    })
    .unwrap_err();
    let mut told: Vec<&str> = faults.0.iter().map(|fault| fault.key.as_str()).collect();
    told.sort_unstable();
    assert_eq!(
        told,
        [
            "colour",
            "http.allowed_origins",
            "http.lisen",
            "http.listen",
            "metrics.listen",
            "passwords.queue",
            "sessions.heartbeat_ms",
            "shards",
            "store.engine",
            "tokens.access_ttl_s",
        ]
    );
    let text = faults.to_string();
    assert!(text.starts_with("10 faults in the configuration\n"), "{text}");
    assert!(text.contains("found \"soon\"; expected a whole number from 500 to 600000"), "{text}");
    assert!(text.contains("(flag --metrics): found \"9090\""), "{text}");
    assert!(text.contains("(environment ROOKERY_PASSWORDS_QUEUE): found \"0\""), "{text}");
    assert!(text.contains("http.lisen") && text.contains("one of http.listen"), "{text}");
}

#[test]
fn a_store_on_foundationdb_has_a_cluster_file_and_a_prefix() {
    let config = from_file(
        "fdb.toml",
        "[store]\nengine = \"fdb\"\ncluster_file = \"/etc/fdb\"\nprefix = \"chat/eu-1\"\n",
    )
    .unwrap();
    assert_eq!(config.store.engine.as_str(), "fdb");
    assert_eq!(config.store.cluster_file, Some(PathBuf::from("/etc/fdb")));
    assert_eq!(config.store.prefix, "chat/eu-1");
    for prefix in ["", "two words", "123456789012345678901234567890123"] {
        let faults = from_file("prefix.toml", &format!("[store]\nprefix = \"{prefix}\"\n"));
        assert_eq!(faults.unwrap_err().0[0].key, "store.prefix", "{prefix:?}");
    }
}

#[test]
fn values_that_contradict_each_other_are_faults() {
    let faults = from_file(
        "relations.toml",
        "[sessions]\nheartbeat_ms = 5000\ngrace_ms = 9999\n\
         [tokens]\naccess_ttl_s = 86400\nrefresh_ttl_s = 3600\n\
         [metrics]\nlisten = \"127.0.0.1:8080\"\n",
    )
    .unwrap_err();
    let told: Vec<&str> = faults.0.iter().map(|fault| fault.key.as_str()).collect();
    assert_eq!(told, ["sessions.grace_ms", "tokens.refresh_ttl_s", "metrics.listen"]);
}

#[test]
fn a_file_that_is_no_toml_is_told_with_its_line() {
    let faults = from_file("syntax.toml", "[http]\nlisten = \n").unwrap_err();
    assert_eq!(faults.0.len(), 1);
    assert!(faults.to_string().contains("in line 2"), "{faults}");
}

#[test]
fn a_named_file_that_is_missing_is_a_fault() {
    let missing = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("no-such-file.toml");
    let faults = load(&Sources { file: Some(missing), ..Sources::default() }).unwrap_err();
    assert!(faults.to_string().contains("no-such-file.toml"), "{faults}");
}

#[test]
fn an_unknown_variable_is_a_warning_because_orchestrators_inject_such() {
    let loaded = load(&Sources {
        environment: vec![
            variable("ROOKERY_SERVICE_HOST", "10.0.0.1"),
            variable("ROOKERY_DEV_PASSWORD_COST", "low"),
            variable("HOME", "/"),
        ],
        ..Sources::default()
    })
    .unwrap();
    assert_eq!(loaded.warnings.len(), 1);
    assert!(loaded.warnings[0].contains("ROOKERY_SERVICE_HOST"));
}

#[test]
fn every_limit_is_inclusive_and_a_step_beyond_is_refused() {
    for (value, good) in [("499", false), ("500", true), ("15000", true), ("600001", false)] {
        let loaded = load(&Sources {
            environment: vec![variable("ROOKERY_SESSIONS_HEARTBEAT_MS", value)],
            ..Sources::default()
        });
        assert_eq!(loaded.is_ok(), good, "{value}: {loaded:?}");
    }
    for (name, good) in [("", false), ("a", true), ("A", false), ("a_b", false)] {
        let loaded = load(&Sources {
            environment: vec![variable("ROOKERY_NODE_NAME", name)],
            ..Sources::default()
        });
        assert_eq!(loaded.is_ok(), good, "{name:?}: {loaded:?}");
    }
}

#[test]
fn a_member_of_a_cluster_needs_a_store_to_share_and_a_port_others_can_know() {
    let member = "[cluster]\nname = \"chat\"\n";
    let shared = format!("{member}[store]\nengine = \"shared\"\n");
    assert_eq!(from_file("member.toml", &shared).unwrap().cluster.name.as_deref(), Some("chat"));
    let alone = from_file("embedded.toml", member).unwrap_err().to_string();
    assert!(alone.contains("store.engine"), "{alone}");
    let any = format!("{member}listen = \"127.0.0.1:0\"\n[store]\nengine = \"shared\"\n");
    let any = from_file("any-port.toml", &any).unwrap_err().to_string();
    assert!(any.contains("cluster.listen"), "{any}");
    let hasty = from_file("hasty.toml", "[cluster]\nsuspicion_ms = 1900\n").unwrap_err();
    assert!(hasty.to_string().contains("four renewals"), "{hasty}");
}

#[test]
fn names_and_addresses_of_a_cluster_are_held_to_their_form() {
    for (key, bad) in [
        ("name", "-a"),
        ("zone", "a_b"),
        ("advertise", "host"),
        ("advertise", "host:0"),
        ("endpoint", "http://a"),
        ("certificates", ""),
    ] {
        let text = format!("[cluster]\n{key} = \"{bad}\"\n");
        let fault = from_file("form.toml", &text).unwrap_err().to_string();
        assert!(fault.contains(&format!("cluster.{key}")), "{key} {bad}: {fault}");
    }
    let good = "[cluster]\nadvertise = \"node-1:7300\"\nendpoint = \"wss://a/v1/ws\"\n";
    assert!(from_file("good.toml", good).is_ok());
}
