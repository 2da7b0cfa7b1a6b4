//! The operators' tools as the binary: check, backup of a running node, restore, migration, and
//! what they refuse.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that fails fails its test"
)]

mod support;

use bytes::Bytes;
use rookery_node::identity::Cost;
use rookery_node::{Node, StartError};
use rookery_store::embedded::{EmbeddedConfig, EmbeddedEngine};
use rookery_store::{AnyEngine, Op, Outcome, Plan, Store, keys};
use serde_json::Value;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use support::process::{Ready, rookery};
use support::{Running, config, credentials, post, send};
use tempfile::TempDir;

const PASSWORD: &str = "correct horse";

/// Exit code, stdout, stderr.
fn tool(args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = rookery().args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// A tool that succeeds; its stdout.
fn done(args: &[&str]) -> String {
    let (code, out, err) = tool(args);
    assert_eq!(code, 0, "{args:?}: {out}{err}");
    out
}

fn refused(args: &[&str], why: &str) {
    let (code, out, err) = tool(args);
    assert_eq!(code, 1, "{args:?}: {out}{err}");
    assert!(err.starts_with("rookery: ") && err.contains(why), "{args:?}: {err}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A data directory whose node had some users and has ended.
async fn stopped_node(names: &[&str]) -> TempDir {
    let Running { node, dir } = Running::start().await;
    for name in names {
        let request = post("/v1/signup", "application/json", &credentials(name, PASSWORD));
        assert_eq!(send(node.http_addr(), &request).await.status, 200);
    }
    node.shutdown().await;
    dir
}

/// Whether these can log in at a node on the directory.
async fn can_log_in(dir: &Path, names: &[&str]) {
    let node = Node::start_with(config(dir), Cost::Low).await.unwrap();
    for name in names {
        let request = post("/v1/login", "application/json", &credentials(name, PASSWORD));
        let answer = send(node.http_addr(), &request).await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.body);
    }
    node.shutdown().await;
}

/// Writes behind the tools' back.
async fn write(dir: &Path, op: Op) {
    let engine = EmbeddedEngine::open(&EmbeddedConfig::new(dir.join("store"))).unwrap();
    let store = Store::new(AnyEngine::from(engine));
    let outcome = store.commit(Plan { guards: Vec::new(), ops: vec![op] }).await;
    assert!(matches!(outcome, Outcome::Committed { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_node_is_backed_up_while_it_serves_and_restored_elsewhere() {
    let running = Running::start().await;
    running.sign_up("ada").await;
    let address = running.node.http_addr();
    let (stop, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writing = {
        let (stop, made) = (Arc::clone(&stop), Arc::clone(&made));
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let name = format!("user{}", made.load(Ordering::Relaxed));
                let body = credentials(&name, PASSWORD);
                let answer = send(address, &post("/v1/signup", "application/json", &body)).await;
                assert_eq!(answer.status, 200, "{}", answer.body);
                made.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let place = tempfile::tempdir().unwrap();
    let (file, data) = (place.path().join("chat.backup"), running.dir.path().to_owned());
    let target = place.path().join("restored");
    let told = {
        let (file, data) = (file.clone(), data.clone());
        tokio::task::spawn_blocking(move || done(&["backup", text(&file), "--data", text(&data)]))
    };
    let told = told.await.unwrap();
    stop.store(true, Ordering::Relaxed);
    writing.await.unwrap();
    assert!(told.contains(" rows, "), "{told}");
    assert!(made.load(Ordering::Relaxed) > 0, "the node went on serving");
    let leftovers = std::fs::read_dir(place.path()).unwrap().count();
    assert_eq!(leftovers, 1, "no temporary file is left");
    running.node.shutdown().await;
    assert!(!data.join("store/control.sock").exists());

    done(&["restore", text(&file), "--data", text(&target)]);
    done(&["store", "check", "--data", text(&target)]);
    can_log_in(&target, &["ada"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_a_node_is_checked_backed_up_and_moved() {
    let dir = stopped_node(&["ada", "bob"]).await;
    let data = text(dir.path());
    let table = done(&["store", "check", "--data", data]);
    assert!(table.contains("2  u  account") && table.contains("rows, 0 faults"), "{table}");
    let json: Value =
        serde_json::from_str(&done(&["store", "check", "--data", data, "--json"])).unwrap();
    assert_eq!(json["clean"], true);
    assert_eq!(json["rows"]["account"], 2);

    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("file");
    done(&["backup", text(&file), "--data", data]);
    refused(&["backup", text(&file), "--data", data], "exists; choose another name");
    refused(&["restore", text(&file), "--data", data], "the store is not empty");
    done(&["restore", text(&file), "--data", data, "--force"]);
    can_log_in(dir.path(), &["ada", "bob"]).await;

    let (from, target) = (format!("embedded:{data}"), place.path().join("moved"));
    let to = format!("embedded:{}", target.display());
    let told = done(&["migrate", "--from", &from, "--to", &to]);
    assert!(told.contains("equal on both sides"), "{told}");
    refused(&["migrate", "--from", &from, "--to", &to], "the target is not empty");
    refused(&["migrate", "--from", &from, "--to", &from], "the same store");
    done(&["store", "check", "--store", &to]);
    can_log_in(&target, &["ada", "bob"]).await;
}

#[tokio::test]
async fn a_store_moves_into_a_stores_process_and_is_worked_on_while_that_runs() {
    let dir = stopped_node(&["ada", "bob"]).await;
    let place = tempfile::tempdir().unwrap();
    let (socket, file) = (place.path().join("s"), place.path().join("file"));
    let mut command = rookery();
    command.arg("store").arg("--data").arg(place.path().join("data"));
    let _process = Ready::start({
        command.arg("--socket").arg(&socket);
        command
    });
    let (from, to) =
        (format!("embedded:{}", text(dir.path())), format!("shared:{}", text(&socket)));
    done(&["migrate", "--from", &from, "--to", &to]);
    done(&["store", "check", "--store", &to]);
    done(&["backup", text(&file), "--store", &to]);
    let target = place.path().join("restored");
    done(&["restore", text(&file), "--data", text(&target)]);
    can_log_in(&target, &["ada", "bob"]).await;
}

#[tokio::test]
async fn what_is_wrong_is_found_with_its_key_and_a_status_of_its_own() {
    let dir = stopped_node(&["ada"]).await;
    write(dir.path(), Op::Clear { key: keys::name("ada") }).await;
    let (code, out, _) = tool(&["store", "check", "--data", text(dir.path())]);
    assert_eq!(code, 3, "{out}");
    assert!(out.contains("account: nobody holds the account's name"), "{out}");
    let (code, out, _) = tool(&["store", "check", "--data", text(dir.path()), "--json"]);
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &json["clean"], &json["faults"]), (3, &Value::from(false), &Value::from(1)));
    assert!(json["findings"][0]["key"].as_str().unwrap().starts_with("75"), "{json}");
}

#[tokio::test]
async fn no_node_starts_on_a_store_that_is_half_copied() {
    let dir = stopped_node(&["ada"]).await;
    let key = Bytes::from_static(keys::TRANSFER);
    write(dir.path(), Op::Set { key, value: Bytes::from_static(&[1, 1, 2, 0, 5]) }).await;
    let refused_start = Node::start_with(config(dir.path()), Cost::Low).await.unwrap_err();
    assert!(matches!(refused_start, StartError::Unfinished(5)), "{refused_start}");
    let file = dir.path().join("file");
    refused(&["backup", text(&file), "--data", text(dir.path())], "was not finished");
    assert!(!file.exists());
}

#[tokio::test]
async fn what_is_no_backup_or_no_store_is_refused_and_leaves_nothing_behind() {
    let dir = stopped_node(&["ada"]).await;
    let place = tempfile::tempdir().unwrap();
    let (file, cut) = (place.path().join("file"), place.path().join("cut"));
    done(&["backup", text(&file), "--data", text(dir.path())]);
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&cut, &whole[..whole.len() - 30]).unwrap();
    let target = place.path().join("target");
    refused(&["restore", text(&cut), "--data", text(&target)], "ends too early");
    std::fs::write(&cut, "something else altogether").unwrap();
    refused(&["restore", text(&cut), "--data", text(&target)], "no backup of Rookery");
    refused(&["restore", "/nowhere/file", "--data", text(&target)], "can't read /nowhere/file");
    let empty = place.path().join("empty");
    refused(&["store", "check", "--data", text(&empty)], "there is no store in");
    refused(
        &["backup", text(&place.path().join("b")), "--data", text(&empty)],
        "there is no store",
    );
    assert!(!empty.exists() && !place.path().join("b").exists());
    let (code, _, err) = tool(&["migrate", "--from", "mysql:x", "--to", "embedded:y"]);
    assert_eq!(code, 2);
    assert!(err.contains("expected embedded:DIR"), "{err}");
    done(&["restore", text(&file), "--data", text(&target)]);
}
