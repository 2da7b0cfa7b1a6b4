//! The rules of the house that a compiler doesn't check, each with its reason.
//!
//! A rule that fails names the file and line; the remedy is in the rule's own words.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that fails fails its test"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Which crate may depend on which. An arrow that isn't here is a decision to take, not a line
/// to add.
const ARROWS: &[(&str, &[&str])] = &[
    ("rookery-protocol", &[]),
    ("rookery-store", &["rookery-protocol"]),
    ("rookery-actors", &["rookery-protocol", "rookery-store"]),
    ("rookery-cluster-config", &[]),
    (
        "rookery-node",
        &["rookery-protocol", "rookery-store", "rookery-actors", "rookery-cluster-config"],
    ),
    ("rookery-client", &["rookery-protocol"]),
    (
        "rookery-fuzz",
        &[
            "rookery-protocol",
            "rookery-store",
            "rookery-actors",
            "rookery-node",
            "rookery-cluster-config",
        ],
    ),
    ("rookery-loadtest", &["rookery-protocol", "rookery-client", "rookery-cluster-config"]),
];

/// Arrows of tests alone: a node is tested through the client library, as its users drive it; the
/// actors' tests and the simulation need their own crate with poison and with bugs that can be
/// planted, which no other build has.
const TEST_ARROWS: &[(&str, &str)] =
    &[("rookery-node", "rookery-client"), ("rookery-actors", "rookery-actors")];

/// Pure code: what begins with the first path and not with one of the others.
const PURE: &[(&str, &[&str])] = &[
    ("protocol/src/", &[]),
    // Bugs that tests plant are told by thread: a simulation runs in one.
    ("actors/src/", &["actors/src/shell", "actors/src/plant.rs"]),
    ("clients/rust/src/core", &[]),
    ("loadtest/src/oracle", &[]),
    ("loadtest/src/chaos/schedule.rs", &[]),
];

/// What pure code never names: runtimes, clocks, engines. Time and randomness are passed in.
const IMPURE: &[&str] =
    &["tokio", "ractor", "Instant::now", "SystemTime", "fjall", "getrandom", "std::thread"];

/// Functions over 70 lines, by file. The list only gets shorter.
const LONG_FUNCTIONS: &[(&str, usize)] = &[];

/// Most lines of a source file: beyond, it holds two things.
const MAX_FILE_LINES: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every file of the repository whose extension is one of these, as (path from the root, text).
fn files(extensions: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![root()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                let skipped = ["target", ".git", "node_modules", "rookery-data"];
                if !skipped.contains(&name.as_str()) {
                    open.push(path);
                }
                continue;
            }
            let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
            if extensions.contains(&extension.as_str())
                && let Ok(text) = std::fs::read_to_string(&path)
            {
                let path = path.strip_prefix(root()).unwrap();
                found.push((path.to_string_lossy().into_owned(), text));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no files: the test looks in the wrong place");
    found
}

/// Lines that hold one of the words, as "path:line: word".
fn hits(files: &[(String, String)], words: &[String], strip_comments: bool) -> Vec<String> {
    let mut hits = Vec::new();
    for (path, text) in files {
        for (at, line) in text.lines().enumerate() {
            let line = match line.split_once("//") {
                Some((code, _)) if strip_comments => code,
                _ => line,
            };
            for word in words.iter().filter(|word| line.contains(word.as_str())) {
                hits.push(format!("{path}:{}: {word}", at + 1));
            }
        }
    }
    hits
}

/// The crates of this workspace that a manifest names, and whether only for tests.
fn arrows(manifest: &Table) -> Vec<(String, bool)> {
    let mut tables: Vec<&Table> = vec![manifest];
    if let Some(Value::Table(targets)) = manifest.get("target") {
        tables.extend(targets.values().filter_map(Value::as_table));
    }
    let mut arrows = Vec::new();
    for table in tables {
        for kind in ["dependencies", "build-dependencies", "dev-dependencies"] {
            let Some(Value::Table(dependencies)) = table.get(kind) else { continue };
            for (key, value) in dependencies {
                let renamed = value.get("package").and_then(Value::as_str);
                let name = renamed.unwrap_or(key);
                if name.starts_with("rookery-") {
                    arrows.push((name.to_owned(), kind == "dev-dependencies"));
                }
            }
        }
    }
    arrows
}

#[test]
fn crates_depend_on_each_other_only_by_the_arrows_of_the_design() {
    let mut seen = Vec::new();
    for (path, text) in files(&["toml"]) {
        if !path.ends_with("/Cargo.toml") {
            continue;
        }
        let manifest: Table = text.parse().unwrap();
        let Some(name) = manifest.get("package").and_then(|p| p.get("name")) else { continue };
        let name = name.as_str().unwrap();
        let allowed = ARROWS.iter().find(|(from, _)| *from == name);
        let (_, allowed) = allowed.unwrap_or_else(|| panic!("{path}: {name} is not a known crate"));
        for (to, for_tests) in arrows(&manifest) {
            let test_arrow = for_tests && TEST_ARROWS.contains(&(name, to.as_str()));
            assert!(allowed.contains(&to.as_str()) || test_arrow, "{path}: {name} -> {to}");
        }
        seen.push(name.to_owned());
    }
    for (name, _) in ARROWS {
        assert!(seen.iter().any(|seen| seen == name), "{name} is gone: take its arrows away");
    }
}

#[test]
fn every_rust_file_opens_by_saying_why_it_exists() {
    let silent: Vec<String> = files(&["rs"])
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//! "))
        .map(|(path, _)| path)
        .collect();
    assert_eq!(silent, Vec::<String>::new(), "these don't open with `//! `");
}

#[test]
fn pure_modules_name_no_runtime_no_clock_and_no_engine() {
    let pure = |path: &str| {
        PURE.iter().any(|(inside, except)| {
            path.starts_with(inside) && !except.iter().any(|except| path.starts_with(except))
        })
    };
    let files: Vec<_> = files(&["rs"]).into_iter().filter(|(path, _)| pure(path)).collect();
    let words: Vec<String> = IMPURE.iter().map(|word| (*word).to_owned()).collect();
    assert_eq!(hits(&files, &words, true), Vec::<String>::new());
    assert!(files.iter().any(|(path, _)| path.starts_with("protocol/src/")));
}

#[test]
fn the_protocol_crate_depends_on_no_runtime() {
    let text = std::fs::read_to_string(root().join("protocol/Cargo.toml")).unwrap();
    let manifest: Table = text.parse().unwrap();
    let dependencies = manifest["dependencies"].as_table().unwrap();
    let names: Vec<&str> = dependencies.keys().map(String::as_str).collect();
    assert_eq!(names, ["bincode", "bytes"]);
}

#[test]
fn long_functions_are_on_the_list_and_the_list_only_shrinks() {
    // The lint itself stops a function over the threshold in clippy.toml; what is counted here is
    // where somebody switched it off.
    let lint = "clippy::too_many_lines".to_owned();
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    for hit in hits(&files(&["rs"]), &[lint], true) {
        let path = hit.split(':').next().unwrap().to_owned();
        if !path.ends_with("house_rules.rs") {
            *found.entry(path).or_default() += 1;
        }
    }
    let listed: BTreeMap<String, usize> =
        LONG_FUNCTIONS.iter().map(|(path, count)| ((*path).to_owned(), *count)).collect();
    assert_eq!(found, listed, "left: found; right: LONG_FUNCTIONS");
    let clippy = std::fs::read_to_string(root().join("clippy.toml")).unwrap();
    assert!(clippy.contains("too-many-lines-threshold = 70"));
}

#[test]
fn no_source_file_is_longer_than_five_hundred_lines() {
    let long: Vec<String> = files(&["rs", "js", "mjs", "css", "html"])
        .into_iter()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > MAX_FILE_LINES)
        .map(|(path, lines)| format!("{path}: {lines} lines"))
        .collect();
    assert_eq!(long, Vec::<String>::new(), "split these");
}

#[test]
fn nothing_names_a_directory_of_somebodys_machine() {
    // Put together here, so that this file doesn't find itself.
    let homes = ["home", "Users", "root", "work"].map(|dir| format!("/{dir}/"));
    let text = ["rs", "toml", "md", "js", "mjs", "json", "html", "css", "yaml", "yml", "sh"];
    let mut files = files(&text);
    if let Ok(ci) = std::fs::read_to_string(root().join(".ci/run")) {
        files.push((".ci/run".to_owned(), ci));
    }
    assert_eq!(hits(&files, &homes, false), Vec::<String>::new());
}

#[test]
fn no_test_is_switched_off_and_nothing_is_left_for_later() {
    let words = ["#[igno", "TOD", "FIXM"].map(|start| match start {
        "#[igno" => format!("{start}re"),
        "TOD" => format!("{start}O:"),
        start => format!("{start}E"),
    });
    let files = files(&["rs", "js", "mjs", "toml"]);
    assert_eq!(hits(&files, &words, false), Vec::<String>::new());
}

#[test]
fn the_protocol_has_its_document() {
    let document = root().join("protocol/PROTOCOL.md");
    assert!(document.is_file(), "{} is missing", document.display());
}
