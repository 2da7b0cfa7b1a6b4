//! The acknowledgement comes after the fsync: seen from outside, by the system calls of a node.
//!
//! `strace` makes every fsync return late. In a closed loop with one message under way an
//! acknowledgement then can't come sooner than that, and there are at least as many fsyncs as
//! acknowledgements. A node that acknowledged what is not on disk would be faster.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail, and says why not")]

mod node_binary;

use rookery_loadtest::scenario::Scenario;
use rookery_loadtest::{Options, run};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// How late each fsync returns, milliseconds.
const LATE_MS: u32 = 50;

const SCENARIO: &str = r#"
name = "fsync"
kind = "saturate"
pairs = 1
one_way = true
in_flight = 1
duration_s = 4
"#;

/// Ended when the test does.
struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        // It may be gone, if the test failed.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn strace_may_trace() -> bool {
    let mut strace = Command::new("strace");
    strace.args(["-qq", "-o", "/dev/null", "true"]).stdout(Stdio::null()).stderr(Stdio::null());
    match strace.status() {
        Err(_) => println!("SKIPPED: strace is not installed"),
        Ok(status) if !status.success() => println!("SKIPPED: strace may not trace here"),
        Ok(_) => return true,
    }
    false
}

/// The node under strace, and its address. With `-D` it is the node that is our child, not strace.
fn start(binary: &Path, directory: &Path) -> (Node, String) {
    let delay = format!("inject=fsync,fdatasync:delay_exit={}", LATE_MS * 1000);
    let mut child = Command::new("strace")
        .args(["-D", "-f", "-qq", "-e", "trace=fsync,fdatasync", "-e", &delay, "-o"])
        .arg(directory.join("trace"))
        .arg(binary)
        .args(["serve", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"])
        .args(["--admin", "off", "--data"])
        .arg(directory.join("data"))
        .env("ROOKERY_DEV_PASSWORD_COST", "low")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let node = Node(child);
    let ready = lines.find(|line| line.starts_with("rookery ready:")).unwrap();
    (node, ready.split_whitespace().nth(2).unwrap().to_owned())
}

#[test]
fn no_acknowledgement_comes_before_its_fsync() {
    if !strace_may_trace() {
        return;
    }
    let Some(binary) = node_binary::rookery() else { return };
    let directory = tempfile::tempdir().unwrap();
    let (node, address) = start(&binary, directory.path());
    let options = Options { url: Some(address), ..Options::default() };
    let (report, remarks) = run(&Scenario::parse(SCENARIO).unwrap(), &options).unwrap();
    drop(node);

    assert!(report.clean(), "{}", report.table(&remarks));
    let most_per_s = 1000.0 / f64::from(LATE_MS);
    assert!(report.acknowledged_per_s <= most_per_s, "{}", report.table(&remarks));
    assert!(report.send_ack_ms.p50 >= f64::from(LATE_MS), "{}", report.table(&remarks));
    let trace = std::fs::read_to_string(directory.path().join("trace")).unwrap();
    let fsyncs =
        trace.lines().filter(|line| line.contains("sync(") || line.contains("sync resumed"));
    let fsyncs = fsyncs.filter(|line| line.contains("= 0")).count() as u64;
    println!("{} acknowledgements, {fsyncs} fsyncs", report.acknowledged);
    assert!(fsyncs >= report.acknowledged, "{fsyncs} fsyncs");
}
