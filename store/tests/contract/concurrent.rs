//! Cases of many callers at once.

use super::harness::{apply, bytes, commit, get, guarded, latest, plan, rows, set, wait};
use rookery_store::{Engine, Guard, Op, Outcome, Stamp, Version, View};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const WRITERS: u64 = 100;
const INCREMENTS: u64 = 2;

pub fn a_hundred_guarded_writers_of_one_counter_lose_no_update(engine: &impl Engine) {
    let increment = || {
        loop {
            let view = latest(engine);
            let known = wait(view.get(b"counter")).unwrap();
            let number = known
                .as_ref()
                .map_or(0, |value| str::from_utf8(value).unwrap().parse::<u64>().unwrap());
            let guard = Guard { key: bytes("counter"), known, version: view.version() };
            let next = set("counter", &(number + 1).to_string());
            match commit(engine, guarded(vec![guard], vec![next])) {
                Outcome::Committed { .. } => return,
                Outcome::Conflict => {}
                other => panic!("{other:?}"),
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| (0..INCREMENTS).for_each(|_| increment()));
        }
    });
    assert_eq!(get(engine, "counter"), Some(bytes(&(WRITERS * INCREMENTS).to_string())));
}

pub fn concurrent_views_never_see_half_a_plan(engine: &impl Engine) {
    let writing = AtomicBool::new(true);
    let names: Vec<String> = (0..10).map(|at| format!("row{at}")).collect();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut last = Version(0);
            let mut views = 0;
            while writing.load(Ordering::Relaxed) || views < 10 {
                let view = latest(engine);
                assert!(view.version() >= last, "versions of later views never fall");
                last = view.version();
                let rows = rows(&view);
                assert!(rows.is_empty() || rows.len() == names.len(), "{rows:?}");
                assert!(rows.windows(2).all(|pair| pair[0].1 == pair[1].1), "{rows:?}");
                views += 1;
            }
        });
        for round in 0..200 {
            let value = round.to_string();
            let outcome = commit(engine, plan(names.iter().map(|key| set(key, &value)).collect()));
            assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
        }
        writing.store(false, Ordering::Relaxed);
        reader.join().unwrap();
    });
}

/// Several threads commit, and each says what it knows when it begins and what it was told.
pub fn a_commit_that_begins_after_a_report_has_a_later_version_and_stamp(engine: &impl Engine) {
    let told = Mutex::new((Version(0), Stamp::default()));
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let told = &told;
            scope.spawn(move || {
                for at in 0..25 {
                    let before = *told.lock().unwrap();
                    let (version, stamp) = apply(engine, vec![set(&format!("{writer}-{at}"), "")]);
                    assert!(version > before.0 && stamp > before.1, "{version:?} {stamp:?}");
                    let mut told = told.lock().unwrap();
                    *told = (told.0.max(version), told.1.max(stamp));
                }
            });
        }
    });
}

/// A log of stamped rows as an inbox uses it: its reader goes on from the version of each view.
pub fn a_reader_that_follows_a_cursor_sees_every_stamped_row_once(engine: &impl Engine) {
    const WRITERS: usize = 6;
    const ROWS: usize = 40;
    let writing = AtomicUsize::new(WRITERS);
    let mut seen = Vec::new();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let writing = &writing;
            scope.spawn(move || {
                for at in 0..ROWS / 2 {
                    let row = |half| Op::SetStampedKey {
                        prefix: bytes("i"),
                        value: bytes(&format!("{writer}-{at}-{half}")),
                    };
                    apply(engine, vec![row("a"), row("b")]);
                }
                writing.fetch_sub(1, Ordering::Release);
            });
        }
        let mut cursor = Stamp::default();
        loop {
            let is_last = writing.load(Ordering::Acquire) == 0;
            let view = latest(engine);
            // From just behind the cursor; no stamp is the cursor itself.
            let from = [b"i".as_slice(), &cursor.0].concat();
            seen.extend(wait(view.range(&from, b"j", usize::MAX, false)).unwrap());
            cursor = Stamp::end_of(view.version());
            if is_last {
                break;
            }
        }
    });
    assert!(seen.is_sorted_by(|a, b| a.0 < b.0), "in the order of their stamps, none twice");
    let mut values: Vec<_> = seen.into_iter().map(|(_, value)| value).collect();
    values.sort_unstable();
    values.dedup();
    assert_eq!(values.len(), WRITERS * ROWS, "none is missing");
}

pub fn concurrent_sums_lose_nothing_and_maxima_never_go_back(engine: &impl Engine) {
    let writing = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut greatest, mut total) = (None, 0);
            while writing.load(Ordering::Relaxed) {
                let view = latest(engine);
                let mark = wait(view.get(b"mark")).unwrap();
                assert!(mark >= greatest, "the mark went back from {greatest:?} to {mark:?}");
                greatest = mark;
                let sum = wait(view.get(b"sum")).unwrap();
                let sum = sum.map_or(0, |sum| u64::from_le_bytes(sum[..].try_into().unwrap()));
                assert!(sum >= total, "the sum went back from {total} to {sum}");
                total = sum;
            }
        });
        let writers: Vec<_> = (0..20_u64)
            .map(|writer| {
                scope.spawn(move || {
                    for at in 0..20_u64 {
                        // Each writer's marks go up and down.
                        let mark = (writer * 7 + at * 13) % 100;
                        let mark = bytes(&format!("{mark:03}"));
                        let sum = Op::Add { key: bytes("sum"), delta: 3 };
                        apply(engine, vec![Op::ByteMax { key: bytes("mark"), value: mark }, sum]);
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        writing.store(false, Ordering::Relaxed);
        reader.join().unwrap();
    });
    let highest = (0..20_u64).flat_map(|w| (0..20).map(move |at| (w * 7 + at * 13) % 100)).max();
    assert_eq!(get(engine, "mark"), Some(bytes(&format!("{:03}", highest.unwrap()))));
    assert_eq!(get(engine, "sum").unwrap(), 1200_u64.to_le_bytes()[..]);
}

pub fn a_doorbell_rings_after_its_key_changed_and_only_hints(engine: &impl Engine) {
    let mut doorbell = engine.doorbell(b"epoch");
    let rounds = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let listener = scope.spawn(|| {
            for _ in 0..3 {
                assert!(wait(doorbell.rung()), "the doorbell ended");
                rounds.fetch_add(1, Ordering::Relaxed);
            }
        });
        // A ring may be lost while the watch is set up, so changes go on until all were heard.
        let deadline = Instant::now() + Duration::from_secs(60);
        while !listener.is_finished() {
            let heard = rounds.load(Ordering::Relaxed);
            commit(engine, plan(vec![set("epoch", &heard.to_string()), set("other", "")]));
            let add = Op::Add { key: bytes("epoch"), delta: 1 };
            commit(engine, plan(vec![add]));
            assert!(Instant::now() < deadline, "{heard} rings heard");
        }
        listener.join().unwrap();
    });
    drop(doorbell);
    commit(engine, plan(vec![set("epoch", "nobody listens")]));
}
