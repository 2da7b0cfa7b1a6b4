//! The binary with nodes of its own: a clean run ends with 0, a planted fault with 1.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

mod node_binary;

use std::process::{Command, Output};

const SCENARIO: &str = r#"
name = "small"
kind = "saturate"
pairs = 4
devices = 2
in_flight = 8
duration_s = 1
at_least = 500
settle_s = 20
"#;

fn run_with(directory: &std::path::Path, nodes: &str, more: &[&str]) -> Output {
    let file = directory.join("scenario.toml");
    std::fs::write(&file, SCENARIO).unwrap();
    Command::new(env!("CARGO_BIN_EXE_rookery-loadtest"))
        // The node was built by the test; with this it would be built once more.
        .env_remove("CARGO")
        .arg("run")
        .arg(&file)
        .args(["--spawn", nodes, "--json"])
        .arg(directory.join("out.json"))
        .args(more)
        .output()
        .unwrap()
}

#[test]
fn a_spawned_node_passes_and_every_planted_fault_is_found() {
    if node_binary::rookery().is_none() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let good = run_with(directory.path(), "1", &[]);
    assert_eq!(good.status.code(), Some(0), "{good:#?}");
    let json = std::fs::read_to_string(directory.path().join("out.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["nodes"], 1);
    assert!(report["store"].is_string());
    assert!(report["acknowledged"].as_u64().unwrap() >= 500);
    if cfg!(target_os = "linux") {
        assert!(report["server"]["rss_bytes"].as_u64().unwrap() > 0);
    }
    for plant in ["lose", "duplicate", "reorder"] {
        let planted = run_with(directory.path(), "1", &["--plant", plant]);
        assert_eq!(planted.status.code(), Some(1), "{plant}: {planted:#?}");
    }
}

#[test]
fn three_spawned_nodes_pass() {
    if node_binary::rookery().is_none() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let good = run_with(directory.path(), "3", &[]);
    assert_eq!(good.status.code(), Some(0), "{good:#?}");
    let json = std::fs::read_to_string(directory.path().join("out.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&report["nodes"], &report["store"]), (&3.into(), &"shared".into()));
}
