//! Closing, opening again, and directories that are refused.

use crate::contract::harness::{apply, bytes, clear, commit, get, latest, plan, rows, set, submit};
use rookery_store::embedded::{EmbeddedConfig, EmbeddedEngine, Health, OpenError};
use rookery_store::{Engine, Op, Outcome, View};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;

fn open(dir: &Path) -> EmbeddedEngine {
    EmbeddedEngine::open(&EmbeddedConfig::new(dir)).unwrap()
}

fn refused(dir: &Path) -> OpenError {
    EmbeddedEngine::open(&EmbeddedConfig::new(dir)).expect_err("must be refused")
}

#[test]
fn every_row_and_the_version_are_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    let mut version = None;
    for round in 0..4 {
        let engine = open(dir.path());
        assert_eq!(rows(&latest(&engine)), expected, "round {round}");
        assert!(version.is_none_or(|version| latest(&engine).version() == version));
        let ops = (0..500).map(|at| set(&format!("{round}-{at}"), &"v".repeat(at))).collect();
        apply(&engine, ops);
        let twice = vec![
            set("twice", "first"),
            clear("twice"),
            set("twice", &round.to_string()),
            Op::ClearRange { from: bytes(&format!("{round}-1")), to: bytes(&format!("{round}-2")) },
            Op::SetStampedKey { prefix: bytes("stamp"), value: bytes("") },
        ];
        let (committed, _) = apply(&engine, twice);
        expected = rows(&latest(&engine));
        assert!(version.is_none_or(|version| version < committed));
        version = Some(committed);
    }
}

#[test]
fn a_closed_directory_opens_again_while_child_processes_are_being_spawned() {
    let dir = tempfile::tempdir().unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                assert!(Command::new("true").status().unwrap().success());
            }
        });
        for _ in 0..40 {
            let opened = EmbeddedEngine::open(&EmbeddedConfig::new(dir.path()));
            if let Err(error) = opened.map(drop) {
                stop.store(true, Ordering::Relaxed);
                panic!("{error}");
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn closing_commits_what_was_submitted_and_refuses_what_comes_later() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let (report, outcomes) = channel();
    for at in 0..100 {
        let report = report.clone();
        let one = plan(vec![set(&format!("{at:03}"), "")]);
        engine.submit(vec![one], Box::new(move |all| report.send(all).unwrap()));
    }
    drop(report);
    engine.close();
    let committed = outcomes.into_iter().flatten();
    assert_eq!(committed.filter(|one| matches!(one, Outcome::Committed { .. })).count(), 100);
    assert_eq!(engine.health(), Health::Closed);
    assert_eq!(commit(&engine, plan(vec![set("late", "")])), Outcome::Busy);
    assert_eq!(rows(&latest(&engine)).len(), 100, "views still work");
    drop(engine);
    assert_eq!(rows(&latest(&open(dir.path()))).len(), 100);
}

#[test]
fn the_last_handle_may_go_inside_the_report() {
    let dir = tempfile::tempdir().unwrap();
    let (report, outcomes) = channel();
    let engine = open(dir.path());
    let last = engine.clone();
    let done = move |all| {
        drop(last);
        report.send(all).unwrap();
    };
    engine.submit(vec![plan(vec![set("k", "")])], Box::new(done));
    drop(engine);
    assert!(matches!(outcomes.recv().unwrap()[..], [Outcome::Committed { .. }]));
}

#[test]
fn a_full_queue_is_busy_and_takes_plans_again_later() {
    let dir = tempfile::tempdir().unwrap();
    let config = EmbeddedConfig { queue_bytes: 200_000, ..EmbeddedConfig::new(dir.path()) };
    let engine = EmbeddedEngine::open(&config).unwrap();
    let (report, outcomes) = channel();
    let value = "v".repeat(50_000);
    for at in 0..50 {
        let report = report.clone();
        let one = plan(vec![set(&format!("{at:03}"), &value)]);
        engine.submit(vec![one], Box::new(move |all| report.send(all).unwrap()));
    }
    drop(report);
    let outcomes: Vec<Outcome> = outcomes.into_iter().flatten().collect();
    let busy = outcomes.iter().filter(|one| **one == Outcome::Busy).count();
    assert_eq!(outcomes.len(), 50);
    assert!(busy > 0, "50 x 50 kB did not fill 200 kB");
    assert_eq!(rows(&latest(&engine)).len(), 50 - busy, "busy means: nothing was applied");
    apply(&engine, vec![set("later", "")]);
}

#[test]
fn many_plans_share_a_batch() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let outcomes = submit(&engine, (0..100).map(|_| plan(vec![set("k", "")])).collect());
    assert_eq!(outcomes.len(), 100);
    assert_eq!(engine.batches(), 1);
}

#[test]
fn a_directory_that_is_open_is_refused_until_it_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    apply(&engine, vec![set("k", "1")]);
    let error = refused(dir.path());
    assert!(matches!(error, OpenError::Locked { holder: Some(_), .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(dir.path().to_str().unwrap()), "{text}");
    assert!(text.contains(&std::process::id().to_string()), "{text}");
    drop(engine);
    assert_eq!(get(&open(dir.path()), "k"), Some(bytes("1")));
}

#[test]
fn a_path_that_is_no_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = refused(&path);
        assert!(matches!(error, OpenError::NotWritable { .. }), "{error:?}");
        assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
    }
}

#[test]
fn a_newer_format_is_refused_by_its_number() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    fs::write(dir.path().join("store/FORMAT"), "rookery-store 7\n").unwrap();
    let error = refused(dir.path());
    assert!(matches!(error, OpenError::NewerFormat { found: 7, known: 1, .. }), "{error:?}");
    assert!(error.to_string().contains("format 7"), "{error}");
}

#[test]
fn missing_and_unreadable_parts_are_damage() {
    let dir = tempfile::tempdir().unwrap();
    apply(&open(dir.path()), vec![set("k", "1")]);
    for (file, contents) in [
        ("FORMAT", None),
        ("FORMAT", Some("rookery-store one\n")),
        ("COMMITTED", None),
        ("COMMITTED", Some("0123456789abcdef")),
    ] {
        let path = dir.path().join("store").join(file);
        let good = fs::read(&path).unwrap();
        match contents {
            Some(contents) => fs::write(&path, contents).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let error = refused(dir.path());
        assert!(matches!(error, OpenError::Damaged { .. }), "{file}: {error:?}");
        assert!(error.to_string().contains(file), "{error}");
        fs::write(&path, good).unwrap();
    }
    assert_eq!(get(&open(dir.path()), "k"), Some(bytes("1")));
}

#[test]
fn an_lsm_that_lost_confirmed_commits_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    apply(&engine, vec![set("k", "1")]);
    drop(engine);
    let old = dir.path().join("old");
    let lsm = dir.path().join("store/lsm");
    super::damage::copy(&lsm, &old);
    apply(&open(dir.path()), vec![set("k", "2")]);
    fs::remove_dir_all(&lsm).unwrap();
    fs::rename(&old, &lsm).unwrap();
    let error = refused(dir.path());
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains("confirmed"), "{error}");
}

#[test]
fn a_creation_that_was_cut_off_is_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let new = dir.path().join("store.new/lsm");
    fs::create_dir_all(&new).unwrap();
    fs::write(new.join("0.jnl"), "half of something").unwrap();
    apply(&open(&dir.path().join("deeper/and/deeper")), vec![set("k", "1")]);
    apply(&open(dir.path()), vec![set("k", "1")]);
    assert!(!dir.path().join("store.new").exists());
}
