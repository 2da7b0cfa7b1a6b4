//! Syncs, seen from outside a child: none missing before an acknowledgement; and, by injection into
//! its system calls, such that fail or hang: no false acknowledgement, a stop for good after a
//! failure, a way on after a pause.

use super::child::{DIR, plan_of, spawn, tell, told, value_of};
use crate::contract::harness::{bytes, commit, latest, plan, set, wait};
use rookery_store::embedded::{EmbeddedConfig, EmbeddedEngine, Health};
use rookery_store::{Outcome, View};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What the stalled child's disk is given, and how long it takes: far apart from each other and from
/// what a busy machine takes.
const STALL: Duration = Duration::from_secs(1);
const PAUSE_US: u64 = 8_000_000;

/// Runs a test of this file again as a child in which a system call is tampered with; what it
/// told. `None`: it can't be done here.
fn tampered(test: &str, call: &str, how: &str, dir: &Path) -> Option<Vec<String>> {
    traced(test, &format!("-o /dev/null -e trace={call} -e inject={call}:{how}"), dir)
}

/// Runs a test of this file again as a child under `strace` with these arguments; what it told.
fn traced(test: &str, arguments: &str, dir: &Path) -> Option<Vec<String>> {
    let mut strace = Command::new("strace");
    strace.arg("-V").stdout(Stdio::null()).stderr(Stdio::null());
    if !strace.status().is_ok_and(|status| status.success()) {
        println!("SKIPPED: strace is not installed");
        return None;
    }
    let shell = format!("exec strace -f -qq {arguments} \"$0\" \"$@\"");
    let mut child = spawn(&format!("embedded::sync::{test}"), &shell, dir, 0);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let lines: Vec<String> = lines.filter_map(|line| told(&line).map(str::to_owned)).collect();
    let status = child.wait().unwrap();
    assert_ne!(status.code(), Some(101), "the child panicked, last told: {:?}", lines.last());
    if lines.is_empty() {
        println!("SKIPPED: strace may not trace here");
        return None;
    }
    assert!(status.success(), "the child failed, last told: {:?}", lines.last());
    Some(lines)
}

fn open(dir: &Path, memtable_bytes: u64) -> EmbeddedEngine {
    let config = EmbeddedConfig { memtable_bytes, ..EmbeddedConfig::new(dir) };
    EmbeddedEngine::open(&config).unwrap()
}

/// The child of failing syncs: writes until a write fails, with one of these outcomes, then says how
/// the engine behaves.
fn write_until_failed(dir: &Path, memtable_bytes: u64, outcomes: &[Outcome]) {
    let engine = open(dir, memtable_bytes);
    tell("open");
    let mut n = 0;
    let failed = loop {
        assert!(n < 100_000, "no sync failed");
        match commit(&engine, plan_of(n)) {
            Outcome::Committed { .. } => tell(&n.to_string()),
            other => break other,
        }
        n += 1;
    };
    assert!(outcomes.contains(&failed), "{failed:?}");
    for later in 1..100 {
        assert_eq!(commit(&engine, plan_of(n + later)), Outcome::Busy, "for good");
    }
    assert!(matches!(engine.health(), Health::Failed(_)), "{:?}", engine.health());
    let view = latest(&engine);
    for acknowledged in 0..n {
        let found = wait(view.get(format!("a{acknowledged:08}").as_bytes()));
        assert_eq!(found, Ok(Some(bytes(&value_of(acknowledged)))), "reads go on");
    }
    assert_eq!(wait(view.get(format!("a{n:08}").as_bytes())), Ok(None), "nothing unconfirmed");
    tell("passed");
}

/// Every number told is there whole after another start, and nothing else but the one in doubt.
fn holds(dir: &Path, mut told: Vec<String>) {
    assert_eq!(told.pop().as_deref(), Some("passed"));
    assert_eq!(told.remove(0), "open");
    let engine = EmbeddedEngine::open(&EmbeddedConfig::new(dir)).unwrap();
    let view = latest(&engine);
    for n in &told {
        let n: u64 = n.parse().unwrap();
        for row in ["a", "b"] {
            let found = wait(view.get(format!("{row}{n:08}").as_bytes())).unwrap();
            assert_eq!(found, Some(bytes(&value_of(n))), "{row}{n} was acknowledged");
        }
    }
    let end = u64::try_from(told.len()).unwrap() + 1;
    for n in end..end + 100 {
        let found = wait(view.get(format!("a{n:08}").as_bytes()));
        assert_eq!(found, Ok(None), "{n} was refused");
    }
    assert!(matches!(
        commit(&engine, plan(vec![set("a new start", "")])),
        Outcome::Committed { .. }
    ));
}

#[test]
fn a_failed_sync_of_a_commit_stops_the_store_and_acknowledges_nothing() {
    let test = "a_failed_sync_of_a_commit_stops_the_store_and_acknowledges_nothing";
    if let Ok(dir) = std::env::var(DIR) {
        // It may be on the disk.
        return write_until_failed(Path::new(&dir), 64 << 20, &[Outcome::Unresolved]);
    }
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), 64 << 20));
    if let Some(told) = tampered(test, "fdatasync", "error=EIO:when=30", dir.path()) {
        assert!(told.len() > 20, "{told:?}");
        holds(dir.path(), told);
    }
}

#[test]
fn a_failed_sync_in_the_background_stops_the_store_before_it_acknowledges_more() {
    let test = "a_failed_sync_in_the_background_stops_the_store_before_it_acknowledges_more";
    // Small: sorted files are written and synced while the child writes.
    let memtable_bytes = 256 << 10;
    if let Ok(dir) = std::env::var(DIR) {
        // Before a batch was begun, or while one was on its way.
        let outcomes = [Outcome::Busy, Outcome::Unresolved];
        return write_until_failed(Path::new(&dir), memtable_bytes, &outcomes);
    }
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), memtable_bytes));
    if let Some(told) = tampered(test, "fsync", "error=EIO:when=20+", dir.path()) {
        holds(dir.path(), told);
    }
}

/// The child of the stalled disk: one sync takes long, those before and after don't.
fn write_through_a_stall(dir: &Path) {
    let config = EmbeddedConfig { stall: STALL, ..EmbeddedConfig::new(dir) };
    let engine = EmbeddedEngine::open(&config).unwrap();
    tell("open");
    let mut n = 0;
    let started = loop {
        let started = Instant::now();
        match commit(&engine, plan_of(n)) {
            Outcome::Committed { .. } => n += 1,
            Outcome::Unresolved => break started,
            other => panic!("{other:?}"),
        }
        assert!(n < 1000, "no sync took long");
    };
    let pause = Duration::from_micros(PAUSE_US);
    assert!(started.elapsed() < pause, "{:?}", started.elapsed());
    assert_eq!(commit(&engine, plan_of(1_000_000)), Outcome::Busy);
    assert!(matches!(engine.health(), Health::Waiting(_)), "{:?}", engine.health());
    let read = wait(latest(&engine).get(b"a00000000"));
    assert_eq!(read, Ok(Some(bytes(&value_of(0)))), "reads go on");
    while engine.health() != Health::Healthy {
        assert!(started.elapsed() < 10 * pause, "{:?}", engine.health());
        std::thread::sleep(Duration::from_millis(10));
    }
    let in_doubt = wait(latest(&engine).get(format!("a{n:08}").as_bytes()));
    assert_eq!(in_doubt, Ok(Some(bytes(&value_of(n)))), "it was applied after all");
    assert_eq!(wait(latest(&engine).get(b"a01000000")), Ok(None), "what was refused was not");
    assert!(matches!(commit(&engine, plan_of(n + 1)), Outcome::Committed { .. }));
    tell("passed");
}

#[test]
fn a_sync_that_takes_long_is_not_waited_for_and_commits_go_on_after_it() {
    let test = "a_sync_that_takes_long_is_not_waited_for_and_commits_go_on_after_it";
    if let Ok(dir) = std::env::var(DIR) {
        return write_through_a_stall(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), 64 << 20));
    let how = format!("delay_enter={PAUSE_US}:when=30");
    if let Some(told) = tampered(test, "fdatasync", &how, dir.path()) {
        assert_eq!(told, ["open", "passed"]);
    }
}

/// The child that is watched: commits plans one by one and tells each.
fn write_one_by_one(dir: &Path) {
    let engine = open(dir, 64 << 20);
    tell("open");
    for n in 0..200 {
        assert!(matches!(commit(&engine, plan_of(n)), Outcome::Committed { .. }));
        tell(&n.to_string());
    }
    tell("passed");
}

#[test]
fn every_acknowledgement_comes_after_a_sync_of_its_own() {
    let test = "every_acknowledgement_comes_after_a_sync_of_its_own";
    if let Ok(dir) = std::env::var(DIR) {
        return write_one_by_one(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), 64 << 20));
    let log = dir.path().join("calls");
    let arguments = format!("-o {} -e trace=fdatasync,write", log.display());
    if traced(test, &arguments, dir.path()).is_none() {
        return;
    }
    let (mut syncs, mut acknowledged) = (0, 0);
    for line in std::fs::read_to_string(&log).unwrap().lines() {
        if line.contains("fdatasync") && line.ends_with("= 0") {
            syncs += 1;
        } else if line.contains("write(1, ")
            && let Some((_, told)) = line.split_once("told ")
            && told.starts_with(|first: char| first.is_ascii_digit())
        {
            acknowledged += 1;
            assert!(syncs >= acknowledged, "{syncs} syncs before acknowledgement {acknowledged}");
        }
    }
    assert_eq!(acknowledged, 200);
    println!("{syncs} syncs, {acknowledged} acknowledgements");
}
