//! Cases of many callers at once.

use super::harness::{bytes, commit, get, guarded, latest, plan, rows, set, wait};
use rookery_store::{Engine, Guard, Op, Outcome, Version, View};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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

pub fn a_doorbell_rings_after_its_key_changed_and_only_hints(engine: &impl Engine) {
    let mut doorbell = engine.doorbell(b"epoch");
    let rounds = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let listener = scope.spawn(|| {
            for _ in 0..3 {
                assert!(wait(doorbell.rung()));
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
