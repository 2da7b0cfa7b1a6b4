//! The operators' command line: `rookery admin` and `rookery drain`.

use crate::support::wire::{Client, Goodbye, User};
use crate::support::{Running, process};
use rookery_protocol::CloseCode;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Output;

/// `rookery admin` with these words.
fn run(node: SocketAddr, token: &Path, words: &[&str]) -> Output {
    let mut command = process::rookery();
    command.args(["admin", "--admin", &node.to_string(), "--token-file"]).arg(token).args(words);
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_node_is_drained_by_an_operator_alone_and_then_ends_well() {
    let dir = tempfile::tempdir().unwrap();
    let admin = process::stable_address();
    let mut serving = process::serve(dir.path(), &[]);
    serving.env("ROOKERY_ADMIN_LISTEN", admin.to_string());
    let node = process::Ready::start(serving);
    let token = dir.path().join("ops.token");
    let drain = || {
        let mut command = process::rookery();
        command.args(["drain", "--admin", &admin.to_string(), "--token-file"]).arg(&token);
        command.output().unwrap()
    };
    std::fs::write(&token, "0".repeat(64)).unwrap();
    let refused = drain();
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("rookery admin token"));
    let mut making = process::rookery();
    making.args(["admin", "token", "ops", "--data"]).arg(dir.path());
    std::fs::write(&token, said(&making.output().unwrap())).unwrap();
    assert!(said(&drain()).starts_with("the node is leaving"));
    let (status, log) = node.end();
    assert!(status.success(), "{log}");
    assert!(log.contains("asked to leave"), "{log}");
    assert!(log.contains("node.drain"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_asks_and_prints_tables_or_json() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let node = running.node.admin_addr().unwrap();
    let token = running.dir.path().join("ops.token");
    let mut making = process::rookery();
    making.args(["admin", "token", "ops", "--data"]).arg(running.dir.path());
    std::fs::write(&token, said(&making.output().unwrap())).unwrap();
    let mut naming = process::rookery();
    naming.args(["admin", "tokens", "--data"]).arg(running.dir.path());
    assert_eq!(said(&naming.output().unwrap()), "ops\n");
    let tell = |words: &[&str]| said(&run(node, &token, words));

    let (mut client, _) = Client::welcomed(&running, &ada).await;
    let users = tell(&["users"]);
    assert!(users.starts_with("user ") && users.contains("  ada   good"), "{users}");
    let json: Value = serde_json::from_str(&tell(&["users", "--json"])).unwrap();
    assert_eq!(json["users"][0]["name"], "ada");
    assert_eq!(tell(&["disable", "Ada"]), "done; devices logged out: 1\n");
    assert_eq!(client.goodbye().await, Goodbye::with(None, CloseCode::Revoked));
    assert!(tell(&["user", &ada.user.to_string()]).contains("disabled since 20"));
    assert_eq!(tell(&["enable", "ada"]), "done\n");
    let refused = run(node, &token, &["delete", "ada"]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--yes"));
    assert!(tell(&["status"]).contains("connections"));
    assert!(tell(&["limit", "sign_up", "closed"]).contains("closed"));
    assert!(!tell(&["limit", "sign_up", "--reset"]).contains("closed"));
    assert!(tell(&["notice", "Back soon."]).starts_with("notice 1 is told until 20"));
    assert!(tell(&["notices"]).contains("Back soon."));
    assert_eq!(tell(&["notices", "--withdraw"]), "done\n");
    assert!(tell(&["reports"]).starts_with("time (UTC)  reason"));
    assert_eq!(tell(&["invite"]).trim().len(), 32);
    assert_eq!(tell(&["conversations"]), "conversation\n");
    assert!(tell(&["delete", "ada", "--yes"]).starts_with("done"));
    let log = tell(&["audit"]);
    for action in ["user.disable", "user.enable", "limit.set", "notice.post", "user.delete"] {
        assert!(log.contains(action), "{action} is not in\n{log}");
    }
    for words in [&["user", "nobody"][..], &["conversation", "0000000000000001"]] {
        let refused = run(node, &token, words);
        assert_eq!(refused.status.code(), Some(1), "{words:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("NotFound"), "{words:?}");
    }
    std::fs::write(&token, "0000").unwrap();
    let refused = run(node, &token, &["status"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("rookery admin token"));
}
