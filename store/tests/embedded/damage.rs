//! Damage to the files, of every kind a disk or an operator makes, is found or harmless: never a
//! value that was not written, never a row that is silently not there.
//!
//! `ROOKERY_TEST_SEED` and `ROOKERY_TEST_MUTATIONS` choose others than the usual run's.

use crate::contract::harness::{apply, bytes, latest, set, wait};
use rookery_store::embedded::{EmbeddedConfig, EmbeddedEngine};
use rookery_store::{Op, ReadError, View};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

const MUTATIONS: u64 = 200;
const SEED: u64 = 1_592_590_337;
const ROWS: u64 = 400;

pub fn variable(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap())
}

/// Copies a directory.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn config(dir: &Path) -> EmbeddedConfig {
    EmbeddedConfig { memtable_bytes: 32 << 10, worker_threads: 1, ..EmbeddedConfig::new(dir) }
}

fn value_of(n: u64, round: u64) -> String {
    format!("value {n} of round {round} ").repeat(1 + usize::try_from(n % 12).unwrap())
}

/// Fills a directory with rows in sorted files and in the journal; says what each key holds.
fn fill(dir: &Path) -> BTreeMap<String, String> {
    let mut expected = BTreeMap::new();
    let engine = EmbeddedEngine::open(&config(dir)).unwrap();
    for round in 0..3 {
        for group in 0..ROWS / 20 {
            let rows = (0..20).map(|at| (group * 20 + at) * (round + 1) % ROWS);
            let rows: Vec<(String, String)> =
                rows.map(|n| (format!("k{n:04}"), value_of(n, round))).collect();
            let ops = rows.iter().map(|(key, value)| set(key, value)).collect::<Vec<Op>>();
            apply(&engine, ops);
            expected.extend(rows);
        }
    }
    drop(engine);
    // Opening cuts the journal to what was written, so that flips meet contents.
    drop(EmbeddedEngine::open(&config(dir)).unwrap());
    expected
}

/// All files with contents, by path, and their sizes.
fn files(dir: &Path, found: &mut Vec<(PathBuf, u64)>) {
    let mut entries: Vec<_> = fs::read_dir(dir).unwrap().map(Result::unwrap).collect();
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        let size = entry.metadata().unwrap().len();
        if entry.file_type().unwrap().is_dir() {
            files(&entry.path(), found);
        } else if size > 0 {
            found.push((entry.path(), size));
        }
    }
}

fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Damages a file; says how.
fn damage(path: &Path, size: u64, state: &mut u64) -> String {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let (kind, at, random_byte) = (random(state) % 8, random(state) % size, random(state));
    let length = (1 + random(state) % 4096).min(size - at);
    match kind {
        0..=2 => {
            let (mut byte, bit) = ([0], random_byte % 8);
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ (1 << bit)], at).unwrap();
            format!("bit {bit} of byte {at} is flipped")
        }
        3 => {
            file.set_len(at).unwrap();
            format!("cut at byte {at}")
        }
        4 => {
            file.write_all_at(&vec![0; usize::try_from(length).unwrap()], at).unwrap();
            format!("{length} bytes from {at} are zeroed")
        }
        5 => {
            let noise: Vec<u8> = (0..length).map(|_| random(state).to_le_bytes()[3]).collect();
            file.write_all_at(&noise, at).unwrap();
            format!("{length} bytes from {at} are noise")
        }
        6 => {
            // As when a write went to the wrong place.
            let mut other = vec![0; usize::try_from(length).unwrap()];
            let from = random(state) % (size - length + 1);
            file.read_exact_at(&mut other, from).unwrap();
            file.write_all_at(&other, at).unwrap();
            format!("{length} bytes from {at} are those from {from}")
        }
        _ => {
            let noise: Vec<u8> = (0..length).map(|_| random(state).to_le_bytes()[3]).collect();
            file.write_all_at(&noise, size).unwrap();
            format!("{length} bytes of noise behind its end")
        }
    }
}

/// What became of one mutation.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Seen {
    NotOpened,
    SomeReadsFailed,
    Harmless,
}

/// Opens and reads everything; panics if a read gives what was not written last.
fn read_all(dir: &Path, expected: &BTreeMap<String, String>) -> Seen {
    let Ok(engine) = EmbeddedEngine::open(&config(dir)) else { return Seen::NotOpened };
    let view = latest(&engine);
    let mut failed = false;
    let mut meet = |error: ReadError| {
        assert!(!error.to_string().is_empty());
        failed = true;
    };
    for (key, value) in expected {
        match wait(view.get(key.as_bytes())) {
            Ok(found) => assert_eq!(found, Some(bytes(value)), "{key}"),
            Err(error) => meet(error),
        }
    }
    match wait(view.range(b"", b"z", usize::MAX, false)) {
        Ok(rows) => {
            let written = |(key, value): (&String, &String)| (bytes(key), bytes(value));
            assert!(rows.into_iter().eq(expected.iter().map(written)), "a range is wrong");
        }
        Err(error) => meet(error),
    }
    if failed { Seen::SomeReadsFailed } else { Seen::Harmless }
}

#[test]
fn a_damaged_file_is_never_a_wrong_answer() {
    let parent = tempfile::tempdir().unwrap();
    let good = parent.path().join("good");
    let expected = fill(&good);
    assert_eq!(read_all(&good, &expected), Seen::Harmless, "before any damage");
    let mut found = Vec::new();
    files(&good.join("store"), &mut found);
    assert!(found.len() > 8, "tables, journal and manifests: {found:?}");
    let seed = variable("ROOKERY_TEST_SEED", SEED);
    let mutations = variable("ROOKERY_TEST_MUTATIONS", MUTATIONS);
    let mut state = seed;
    let mut counts = BTreeMap::new();
    let mut wrong = Vec::new();
    for mutation in 0..mutations {
        let dir = parent.path().join(format!("mutated{mutation}"));
        copy(&good, &dir);
        let (path, size) = &found[usize::try_from(random(&mut state)).unwrap() % found.len()];
        let path = dir.join(path.strip_prefix(&good).unwrap());
        let how = damage(&path, *size, &mut state);
        let seen = catch_unwind(AssertUnwindSafe(|| read_all(&dir, &expected)));
        let what = format!("seed {seed}, mutation {mutation}: {path:?}: {how}");
        match seen {
            Ok(seen) => *counts.entry(seen).or_insert(0) += 1,
            Err(panic) => {
                let why = panic.downcast::<String>().map_or(String::new(), |text| *text);
                wrong.push(format!("{what}: {why}"));
            }
        }
        fs::remove_dir_all(&dir).unwrap();
    }
    println!("{counts:?}");
    assert!(wrong.is_empty(), "{} wrong reads:\n{}", wrong.len(), wrong.join("\n"));
    assert!(counts.get(&Seen::Harmless).is_none_or(|count| *count < mutations), "{counts:?}");
}
