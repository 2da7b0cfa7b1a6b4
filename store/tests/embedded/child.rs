//! Tests with a child process: this test binary, run again for one test with variables set.
//!
//! The child writes and tells each outcome through a pipe; the parent kills it or takes its disk
//! away, and then holds the directory to what was told.

use crate::contract::harness::{bytes, latest, plan, set, wait};
use rookery_store::embedded::{EmbeddedConfig, EmbeddedEngine, Health};
use rookery_store::{Engine, Op, Outcome, Plan, Version, View};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};

pub const DIR: &str = "ROOKERY_TEST_CHILD_DIR";
const FIRST: &str = "ROOKERY_TEST_CHILD_FIRST";
/// `ROOKERY_TEST_KILLS` asks for more of them.
const KILLS: u64 = 10;
const IN_FLIGHT: u64 = 16;

/// What number `n` writes: three rows, one of them overwritten by every number.
pub fn plan_of(n: u64) -> Plan {
    plan(vec![
        set(&format!("a{n:08}"), &value_of(n)),
        set(&format!("b{n:08}"), &value_of(n)),
        Op::ByteMax { key: bytes("last"), value: bytes(&format!("{n:08}")) },
    ])
}

pub fn value_of(n: u64) -> String {
    let length = usize::try_from(n.wrapping_mul(0x9e37_79b9) % 3000).unwrap();
    format!("{n:08}").repeat(length / 8 + 1)
}

fn config(dir: &Path) -> EmbeddedConfig {
    // Small: memory is flushed and files are merged while the child runs.
    EmbeddedConfig { memtable_bytes: 256 << 10, ..EmbeddedConfig::new(dir) }
}

/// Tells the parent; the test harness's own lines have no such start.
pub fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\ntold {line}").unwrap();
    out.flush().unwrap();
}

pub fn told(line: &str) -> Option<&str> {
    line.strip_prefix("told ")
}

/// Starts this test again as a child, through a shell command that ends in `exec "$0" "$@"`.
pub fn spawn(test: &str, shell: &str, dir: &Path, first: u64) -> Child {
    Command::new("sh")
        .args(["-c", shell])
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(DIR, dir)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn submit(engine: &EmbeddedEngine, n: u64, outcomes: &Sender<(u64, Outcome)>) {
    let outcomes = outcomes.clone();
    let done = Box::new(move |all: Vec<Outcome>| outcomes.send((n, all[0])).unwrap());
    engine.submit(vec![plan_of(n)], done);
}

/// The child of the kill test: writes from a number on and tells what was committed, for ever.
fn write_until_killed(dir: &Path, first: u64) {
    let engine = EmbeddedEngine::open(&config(dir)).unwrap();
    let (report, outcomes) = channel();
    (first..first + IN_FLIGHT).for_each(|n| submit(&engine, n, &report));
    for (n, outcome) in &outcomes {
        assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
        tell(&n.to_string());
        submit(&engine, n + IN_FLIGHT, &report);
    }
}

/// Every number told is there whole; any other is there whole or not at all.
fn check(dir: &Path, told: &[u64]) {
    let engine = EmbeddedEngine::open(&config(dir)).unwrap();
    let view = latest(&engine);
    for n in told {
        for row in ["a", "b"] {
            let key = format!("{row}{n:08}");
            let found = wait(view.get(key.as_bytes())).unwrap();
            assert_eq!(found, Some(bytes(&value_of(*n))), "{key} was acknowledged");
        }
    }
    let half = |row: &str, end: &str| {
        let rows = wait(view.range(row.as_bytes(), end.as_bytes(), usize::MAX, false)).unwrap();
        rows.into_iter().map(|(key, value)| (key.slice(1..), value)).collect::<Vec<_>>()
    };
    let (a, b) = (half("a", "b"), half("b", "c"));
    assert_eq!(a, b, "plans are there whole or not at all");
    assert_eq!(view.version(), Version(a.len() as u64), "a version for each plan");
    let last = wait(view.get(b"last")).unwrap();
    assert_eq!(last, a.last().map(|(n, _)| n.clone()));
}

#[test]
fn acknowledged_rows_survive_kill_9() {
    if let (Ok(dir), Ok(first)) = (std::env::var(DIR), std::env::var(FIRST)) {
        return write_until_killed(Path::new(&dir), first.parse().unwrap());
    }
    if !cfg!(unix) {
        println!("SKIPPED: needs a Unix shell and SIGKILL");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let test = "embedded::child::acknowledged_rows_survive_kill_9";
    let mut all = Vec::new();
    let kills = super::damage::variable("ROOKERY_TEST_KILLS", KILLS);
    for round in 0..kills {
        let mut child = spawn(test, "exec \"$0\" \"$@\"", dir.path(), 1_000_000 * round);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // A different moment each time, measured in what the child got done.
        let enough = all.len() + 100 + 40 * usize::try_from(round % 10).unwrap();
        while all.len() < enough {
            let line = lines.next().expect("the child ended early").unwrap();
            all.extend(told(&line).map(|n| n.parse::<u64>().unwrap()));
        }
        child.kill().unwrap();
        // What it told before it died counts, too.
        for line in lines.map_while(Result::ok) {
            all.extend(told(&line).and_then(|n| n.parse::<u64>().ok()));
        }
        child.wait().unwrap();
        check(dir.path(), &all);
    }
    assert!(
        all.len() > 250 * usize::try_from(kills).unwrap(),
        "{} rows acknowledged in all",
        all.len()
    );
}

/// The child of the failing disk: writes until a write fails, then says how the engine behaves.
fn write_until_refused(dir: &Path) {
    let config = EmbeddedConfig { memtable_bytes: 1 << 30, ..EmbeddedConfig::new(dir) };
    let engine = EmbeddedEngine::open(&config).unwrap();
    let (report, outcomes) = channel();
    let write = |n: u64| {
        let report = report.clone();
        let mut one = plan_of(n);
        one.ops.extend((0..180).map(|at| set(&format!("c{at}"), &"v".repeat(4000))));
        engine.submit(vec![one], Box::new(move |all| report.send(all[0]).unwrap()));
        outcomes.recv().unwrap()
    };
    let mut n = 0;
    let failed = loop {
        match write(n) {
            Outcome::Committed { .. } => tell(&n.to_string()),
            other => break other,
        }
        n += 1;
    };
    assert_eq!(failed, Outcome::Unresolved, "the batch that could not be written");
    assert_eq!(write(n + 1), Outcome::Busy, "whatever comes later");
    assert!(matches!(engine.health(), Health::Failed(_)), "{:?}", engine.health());
    let view = latest(&engine);
    assert_eq!(view.version(), Version(n));
    assert_eq!(wait(view.get(b"a00000000")), Ok(Some(bytes(&value_of(0)))), "reads go on");
    assert_eq!(wait(view.get(format!("a{n:08}").as_bytes())), Ok(None), "nothing unconfirmed");
    tell("passed");
}

#[test]
fn after_a_failed_write_commits_are_refused_and_reads_go_on() {
    if let Ok(dir) = std::env::var(DIR) {
        return write_until_refused(Path::new(&dir));
    }
    if !cfg!(unix) {
        println!("SKIPPED: needs a Unix shell with ulimit");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let test = "embedded::child::after_a_failed_write_commits_are_refused_and_reads_go_on";
    // Files end at 70 MB or 140 MB (the unit differs among shells): a write beyond fails.
    let shell = "trap '' XFSZ; ulimit -f 140000 || exit 9; exec \"$0\" \"$@\"";
    let mut child = spawn(test, shell, dir.path(), 0);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut lines: Vec<String> = lines.filter_map(|line| told(&line).map(str::to_owned)).collect();
    let status = child.wait().unwrap();
    if status.code() == Some(9) {
        println!("SKIPPED: the shell can't limit the size of files");
        return;
    }
    assert!(status.success(), "the child failed, last told: {:?}", lines.last());
    assert_eq!(lines.pop().as_deref(), Some("passed"));
    assert!(!lines.is_empty());
    let engine = EmbeddedEngine::open(&EmbeddedConfig::new(dir.path())).unwrap();
    let view = latest(&engine);
    for n in lines {
        let n: u64 = n.parse().unwrap();
        let found = wait(view.get(format!("b{n:08}").as_bytes())).unwrap();
        assert_eq!(found, Some(bytes(&value_of(n))));
    }
    assert_eq!(engine.health(), Health::Healthy);
}
