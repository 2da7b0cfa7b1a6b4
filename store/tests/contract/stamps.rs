//! Cases of stamped rows: each stamp is unique and rises with the order of commits.

use super::harness::{apply, bytes, committed, get, latest, plan, rows, submit, wait};
use bytes::Bytes;
use rookery_store::{Engine, Op, Stamp, View};

fn stamped_key(prefix: &str, value: &str) -> Op {
    Op::SetStampedKey { prefix: bytes(prefix), value: bytes(value) }
}

pub fn stamped_keys_and_values_carry_the_commits_stamp(engine: &impl Engine) {
    let value = Op::SetStampedValue { key: bytes("value"), suffix: bytes("suffix") };
    let (version, stamp) = apply(engine, vec![stamped_key("key", "v"), value]);
    assert_eq!(stamp.version(), version);
    assert!(stamp <= Stamp::end_of(version));
    let key = [b"key".as_slice(), &stamp.0].concat();
    assert_eq!(wait(latest(engine).get(&key)), Ok(Some(bytes("v"))));
    let held = get(engine, "value").unwrap();
    let (second, suffix) = held.split_first_chunk::<12>().unwrap();
    assert_eq!(suffix, b"suffix");
    assert!(Stamp(*second) > stamp, "the second stamped operation has its own");
    assert_eq!(second[..10], stamp.0[..10], "in the same plan of the same commit");
}

pub fn stamps_of_one_plan_are_distinct_and_rise(engine: &impl Engine) {
    let ops: Vec<Op> = (0..1000).map(|at| stamped_key("i", &format!("{at:04}"))).collect();
    apply(engine, ops);
    let rows = rows(&latest(engine));
    assert_eq!(rows.len(), 1000);
    assert!(rows.is_sorted_by_key(|(_, value)| value.clone()), "keys rise with the operations");
}

pub fn stamps_rise_from_plan_to_plan(engine: &impl Engine) {
    let mut last = Stamp::default();
    let mut number = 0;
    for _ in 0..20 {
        let plans: Vec<_> = (0..5)
            .map(|_| {
                number += 1;
                plan(vec![stamped_key("i", &format!("{number:04}"))])
            })
            .collect();
        for outcome in submit(engine, plans) {
            let (_, stamp) = committed(outcome);
            assert!(stamp > last, "{stamp:?} after {last:?}");
            last = stamp;
        }
    }
    let rows = rows(&latest(engine));
    assert_eq!(rows.len(), 100);
    assert!(rows.is_sorted_by_key(|(_, value)| value.clone()));
}

pub fn a_cursor_at_a_views_version_covers_what_it_shows(engine: &impl Engine) {
    apply(engine, vec![stamped_key("i", "seen"), stamped_key("i", "seen")]);
    let view = latest(engine);
    apply(engine, vec![stamped_key("i", "new")]);
    let cursor = [b"i".as_slice(), &Stamp::end_of(view.version()).0].concat();
    let after = wait(latest(engine).range(&cursor, b"j", 10, false)).unwrap();
    let values: Vec<Bytes> = after.into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, ["new"]);
}
