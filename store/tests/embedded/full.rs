//! A disk that is full: nothing is acknowledged that isn't durable, reads go on, and commits are
//! taken again by themselves when there is room. On a small file system in memory, which takes the
//! right to mount one.

use crate::contract::harness::{apply, bytes, commit, latest, plan, set, wait};
use rookery_store::embedded::{EmbeddedConfig, EmbeddedEngine, Health};
use rookery_store::{Outcome, View};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const SIZE: u64 = 96 << 20;
const BALLAST: u64 = 32 << 20;
const PATIENCE: Duration = Duration::from_secs(120);

/// A mounted file system, gone at the end.
struct Small {
    dir: TempDir,
}

impl Small {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={SIZE}"), "tmpfs"]).arg(dir.path());
        let status = mount.stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !status.is_ok_and(|status| status.success()) {
            println!("SKIPPED: needs the right to mount a tmpfs");
            return None;
        }
        Some(Self { dir })
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

/// Writes until the disk or `bytes` are full.
fn fill(path: &Path, bytes: u64) {
    let mut file = File::options().create(true).append(true).open(path).unwrap();
    let piece = vec![7; 1 << 16];
    for _ in 0..bytes / piece.len() as u64 {
        if file.write_all(&piece).is_err() {
            return;
        }
    }
}

fn key(n: u64) -> String {
    format!("k{n:06}")
}

fn value(n: u64) -> String {
    format!("{n:08}").repeat(500 + usize::try_from(n % 500).unwrap())
}

fn write(engine: &EmbeddedEngine, n: u64) -> Outcome {
    commit(engine, plan(vec![set(&key(n), &value(n)), set("last", &key(n))]))
}

/// Writes numbers from `first` on until one is not committed: which, and what became of it.
fn write_until_refused(engine: &EmbeddedEngine, first: u64) -> (u64, Outcome) {
    (first..)
        .map(|n| (n, write(engine, n)))
        .find(|(_, outcome)| !matches!(outcome, Outcome::Committed { .. }))
        .unwrap()
}

/// Exactly the numbers before `end` are there.
fn holds(engine: &EmbeddedEngine, end: u64) {
    let view = latest(engine);
    for n in 0..end {
        assert_eq!(wait(view.get(key(n).as_bytes())), Ok(Some(bytes(&value(n)))), "{n}");
    }
    assert_eq!(wait(view.get(key(end).as_bytes())), Ok(None), "{end} was never acknowledged");
    assert_eq!(wait(view.get(b"last")), Ok(Some(bytes(&key(end - 1)))));
}

fn goes_on(engine: &EmbeddedEngine) {
    let started = Instant::now();
    while engine.health() != Health::Healthy {
        assert!(started.elapsed() < PATIENCE, "{:?}", engine.health());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn waits(engine: &EmbeddedEngine) {
    assert!(matches!(engine.health(), Health::Waiting(_)), "{:?}", engine.health());
}

#[test]
fn plans_are_refused_before_the_disk_is_full_and_taken_again_when_there_is_room() {
    let Some(small) = Small::mount() else { return };
    fill(&small.ballast(), BALLAST);
    let config = EmbeddedConfig {
        reserve_bytes: 24 << 20,
        memtable_bytes: 2 << 20,
        ..EmbeddedConfig::new(small.path().join("data"))
    };
    let engine = EmbeddedEngine::open(&config).unwrap();
    let (end, refused) = write_until_refused(&engine, 0);
    assert!(end > 100, "{end} rows fit");
    assert_eq!(refused, Outcome::Busy, "nothing had to fail");
    // A merge that ends may make room; not if somebody else takes it.
    fill(&small.ballast(), SIZE);
    assert_eq!(write(&engine, end), Outcome::Busy);
    waits(&engine);
    holds(&engine, end);
    fs::remove_file(small.ballast()).unwrap();
    goes_on(&engine);
    assert!(matches!(write(&engine, end), Outcome::Committed { .. }));
    holds(&engine, end + 1);
    drop(engine);
    holds(&EmbeddedEngine::open(&config).unwrap(), end + 1);
}

#[test]
fn a_merge_that_finds_the_disk_full_is_got_over_when_there_is_room() {
    let Some(small) = Small::mount() else { return };
    // Nothing is kept free and memory is flushed all the time, so the background meets the full
    // disk about as often as a commit does.
    let config = EmbeddedConfig {
        reserve_bytes: 0,
        memtable_bytes: 1 << 20,
        ..EmbeddedConfig::new(small.path().join("data"))
    };
    fill(&small.ballast(), SIZE / 4 * 3);
    let engine = EmbeddedEngine::open(&config).unwrap();
    let mut end = 0;
    // Each round has as much more room than the one before, and gives enough for opening again.
    for sixths in [3, 2, 1, 0] {
        let (refused, outcome) = write_until_refused(&engine, end);
        assert!(refused > end, "nothing was taken");
        end = refused;
        assert!(matches!(outcome, Outcome::Busy | Outcome::Unresolved), "{outcome:?}");
        println!("{end} rows, {outcome:?}, {:?}", engine.health());
        holds(&engine, end);
        fs::remove_file(small.ballast()).unwrap();
        goes_on(&engine);
        fill(&small.ballast(), SIZE / 6 * sixths);
    }
    drop(engine);
    fs::remove_file(small.ballast()).unwrap();
    holds(&EmbeddedEngine::open(&config).unwrap(), end);
}

#[test]
fn a_write_that_finds_the_disk_full_is_unresolved_and_the_store_opens_itself_again() {
    let Some(small) = Small::mount() else { return };
    let config = EmbeddedConfig {
        reserve_bytes: 0,
        memtable_bytes: 64 << 20,
        ..EmbeddedConfig::new(small.path().join("data"))
    };
    let engine = EmbeddedEngine::open(&config).unwrap();
    let mut end = 0;
    for round in 0..3 {
        // The disk fills from one commit to the next, whatever was reserved.
        for n in end..end + 50 {
            assert!(matches!(write(&engine, n), Outcome::Committed { .. }), "{n}");
        }
        fill(&small.ballast(), SIZE);
        let (refused, outcome) = write_until_refused(&engine, end + 50);
        end = refused;
        assert_eq!(outcome, Outcome::Unresolved, "round {round}");
        waits(&engine);
        holds(&engine, end);
        assert_eq!(write(&engine, end), Outcome::Busy);
        // A snapshot that is read from meanwhile is not taken away.
        let view = latest(&engine);
        fs::remove_file(small.ballast()).unwrap();
        // Longer than the store takes to look whether there is room.
        std::thread::sleep(Duration::from_millis(700));
        assert_eq!(wait(view.get(key(0).as_bytes())), Ok(Some(bytes(&value(0)))));
        drop(view);
        goes_on(&engine);
        holds(&engine, end);
        assert!(matches!(write(&engine, end), Outcome::Committed { .. }));
        end += 1;
        holds(&engine, end);
    }
    drop(engine);
    let engine = EmbeddedEngine::open(&config).unwrap();
    holds(&engine, end);
    apply(&engine, vec![set("after", "all")]);
}
