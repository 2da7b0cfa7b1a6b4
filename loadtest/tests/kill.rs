//! SIGKILL in the middle of `pairs`, twice: whatever was acknowledged is there afterwards, once
//! and in order, at every device; and what was not is sent again.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod node_binary;

use rookery_loadtest::scenario::Scenario;
use rookery_loadtest::{Options, run};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

const SCENARIO: &str = r#"
name = "kill"
kind = "pairs"
pairs = 20
devices = 2
rate = 400
duration_s = 8
settle_s = 60
"#;

/// A node on a given port and directory, killed when the test fails.
struct Node(Child);

impl Node {
    fn start(binary: &Path, data: &Path, port: u16) -> Self {
        let mut child = Command::new(binary)
            .args(["serve", "--listen", &format!("127.0.0.1:{port}")])
            .args(["--admin", "off", "--metrics", "127.0.0.1:0", "--data"])
            .arg(data)
            .env("ROOKERY_DEV_PASSWORD_COST", "low")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let ready = lines.find(|line| line.starts_with("rookery ready:"));
        let node = Self(child);
        assert!(ready.is_some(), "the node ended before it was ready");
        // Whatever it says later must not fill the pipe.
        thread::spawn(move || lines.for_each(drop));
        node
    }

    fn kill(mut self) {
        // SIGKILL on Unix: no handler, no flush.
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }
}

#[test]
fn a_node_that_is_killed_and_started_again_in_the_middle_of_pairs_loses_nothing() {
    let Some(binary) = node_binary::rookery() else { return };
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut node = Node::start(&binary, &data, port);

    let (watcher, watched) = mpsc::channel();
    let harness = thread::spawn(move || {
        let url = Some(format!("http://127.0.0.1:{port}"));
        let options = Options { url, seed: 3, watcher: Some(watcher), ..Options::default() };
        run(&Scenario::parse(SCENARIO).unwrap(), &options)
    });
    for acknowledged in [700, 1_700] {
        assert!(watched.iter().any(|n| n >= acknowledged), "the run ended early");
        node.kill();
        node = Node::start(&binary, &data, port);
    }
    let (report, remarks) = harness.join().unwrap().unwrap();
    let table = report.table(&remarks);
    println!("{table}");
    assert!(report.clean(), "{table}");
    // Everything that came due was sent in the end, also what came due while the node was away.
    assert!((3_000..=3_300).contains(&report.acknowledged), "{table}");
    // 80 sessions, each lost its connection twice.
    assert!(remarks.reconnects >= 160, "{table}");
    drop(node);
}
