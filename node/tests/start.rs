//! Start and end of the binary as an operator meets them: the ready line, signals, and one clear
//! message for whatever keeps a node from starting.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that fails fails its test"
)]

mod support;

use rustix::process::Signal;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use support::process::{Ready, post, rookery, serve};

fn refused(command: &mut Command) -> (i32, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(stdout.is_empty(), "{}", String::from_utf8_lossy(&stdout));
    let stderr = String::from_utf8(stderr).unwrap();
    // The log may warn before; the last word is the reason.
    let at = stderr.find("rookery: ").unwrap_or_else(|| panic!("no reason in {stderr:?}"));
    (status.code().unwrap(), stderr[at..].trim_end().to_owned())
}

#[test]
fn a_node_says_where_it_serves_and_ends_with_0_after_a_signal() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("a/b");
    for signal in [Signal::TERM, Signal::INT] {
        let ready = Ready::start(serve(&data, &[]));
        let address = ready.address().to_owned();
        let shown = data.display();
        assert_eq!(
            ready.line,
            format!(
                "rookery ready: http://{address} (data {shown}, store embedded, node rookery)\n"
            )
        );
        assert!(!address.ends_with(":0"));
        ready.signal(signal);
        let (status, log) = ready.end();
        assert_eq!(status.code(), Some(0), "{log}");
    }
}

#[test]
fn a_store_on_foundationdb_that_cannot_be_had_is_told_with_its_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = serve(dir.path(), &[]);
    command.env("ROOKERY_STORE_ENGINE", "fdb");
    command.env("ROOKERY_STORE_CLUSTER_FILE", dir.path().join("missing.cluster"));
    let (code, reason) = refused(&mut command);
    assert_eq!(code, 1);
    let remedy = if cfg!(feature = "fdb") { "FDB_CLUSTER_FILE" } else { "--features fdb" };
    assert!(reason.contains(remedy), "{reason}");
}

#[test]
fn what_was_acknowledged_is_there_after_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let body = r#"{"name":"ada","password":"correct horse"}"#;
    let ready = Ready::start(serve(dir.path(), &[]));
    assert!(post(ready.address(), "/v1/signup", body).starts_with("HTTP/1.1 200"));
    ready.signal(Signal::KILL);
    ready.end();
    let ready = Ready::start(serve(dir.path(), &[]));
    assert!(post(ready.address(), "/v1/login", body).starts_with("HTTP/1.1 200"));
    assert!(post(ready.address(), "/v1/signup", body).starts_with("HTTP/1.1 409"));
}

#[test]
fn no_secret_reaches_the_log_even_at_its_widest() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = serve(dir.path(), &[]);
    command.env("ROOKERY_LOG_LEVEL", "trace").env("ROOKERY_LOG_FORMAT", "json");
    let ready = Ready::start(command);
    let body = r#"{"name":"ada","password":"canary-password"}"#;
    let answer = post(ready.address(), "/v1/signup", body);
    post(ready.address(), "/v1/login", r#"{"name":"canary-name","password":"canary-password"}"#);
    post(ready.address(), "/v1/login", r#"{"name":["canary-list"],"password":"canary-password"}"#);
    let json: serde_json::Value =
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    let refresh = json["refresh_token"].as_str().unwrap().to_owned();
    let access = json["access_token"].as_str().unwrap().to_owned();
    // A token may come again while nobody used the one that replaced it: that one is used first.
    let use_token = |token: &str| {
        post(ready.address(), "/v1/refresh", &format!(r#"{{"refresh_token":"{token}"}}"#))
    };
    let answer = use_token(&refresh);
    let json: serde_json::Value =
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    let replaced = json["refresh_token"].as_str().unwrap().to_owned();
    assert!(use_token(&replaced).starts_with("HTTP/1.1 200"));
    assert!(use_token(&refresh).starts_with("HTTP/1.1 401"));
    ready.signal(Signal::TERM);
    let (_, log) = ready.end();
    assert!(log.contains("came twice"), "the reuse is logged: {log}");
    for line in log.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "no JSON: {line}");
    }
    for secret in ["canary", refresh.as_str(), replaced.as_str(), access.as_str()] {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
}

#[test]
fn several_faults_of_the_configuration_are_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rookery.toml");
    std::fs::write(&file, "[http]\nlisten = 8080\n[sessions]\nbeat = 1\n").unwrap();
    let mut command = serve(dir.path(), &["--config", file.to_str().unwrap()]);
    let (code, text) = refused(command.env("ROOKERY_LOG_LEVEL", "loud"));
    assert_eq!(code, 2);
    assert!(text.starts_with("rookery: 3 faults in the configuration\n"), "{text}");
    for key in ["http.listen", "sessions.beat", "log.level"] {
        assert!(text.contains(key), "{key}: {text}");
    }
    assert_eq!(text.lines().count(), 4);
    assert_eq!(refused(rookery().args(["serve", "--config", "/nowhere.toml"])).0, 2);
}

#[test]
fn an_unknown_flag_is_refused() {
    let output = rookery().args(["serve", "--colour"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("--colour"));
}

#[test]
fn a_busy_port_is_told_with_the_flag_that_changes_it() {
    let dir = tempfile::tempdir().unwrap();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let flags = ["--listen", "--metrics", "--admin"];
    for flag in flags {
        let mut command = rookery();
        command.arg("serve").arg("--data").arg(dir.path());
        for other in flags {
            command.args([other, if other == flag { address.as_str() } else { "127.0.0.1:0" }]);
        }
        let (code, text) = refused(&mut command);
        assert_eq!(code, 1);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains(&address) && text.contains(flag), "{text}");
    }
}

#[test]
fn a_data_directory_in_use_is_told_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let first = Ready::start(serve(dir.path(), &[]));
    let (code, text) = refused(&mut serve(dir.path(), &[]));
    assert_eq!(code, 1);
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("in use") && text.contains(dir.path().to_str().unwrap()), "{text}");
    let body = r#"{"name":"ada","password":"correct horse"}"#;
    assert!(post(first.address(), "/v1/signup", body).starts_with("HTTP/1.1 200"));
}

#[test]
fn a_data_directory_that_cannot_be_written_is_told() {
    let dir = tempfile::tempdir().unwrap();
    // A file where a directory should be: unwritable for root too.
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let (code, text) = refused(&mut serve(&file.join("data"), &[]));
    assert_eq!(code, 1);
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("can't write"), "{text}");
}

#[test]
fn a_damaged_data_directory_is_told_and_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let ready = Ready::start(serve(dir.path(), &[]));
    let body = r#"{"name":"ada","password":"correct horse"}"#;
    assert!(post(ready.address(), "/v1/signup", body).starts_with("HTTP/1.1 200"));
    ready.signal(Signal::TERM);
    assert_eq!(ready.end().0.code(), Some(0));
    const DAMAGE: &[u8] = b"\xffnot what was written";
    let files: Vec<PathBuf> =
        files(dir.path()).into_iter().filter(|path| path.metadata().unwrap().len() > 0).collect();
    assert!(!files.is_empty());
    for path in &files {
        std::fs::write(path, DAMAGE).unwrap();
    }
    let (code, text) = refused(&mut serve(dir.path(), &[]));
    assert_eq!(code, 1, "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("damaged"), "{text}");
    for path in files.iter().filter(|path| !path.to_string_lossy().to_lowercase().ends_with("lock"))
    {
        assert_eq!(std::fs::read(path).unwrap(), DAMAGE, "{}", path.display());
    }
}

/// Every file under a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let (dirs, mut found): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    found.extend(dirs.iter().flat_map(|dir| files(dir)));
    found
}
