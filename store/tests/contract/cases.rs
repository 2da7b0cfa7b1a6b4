//! Cases of one caller: operations, guards, ranges, limits, views.

use super::harness::{
    apply, bytes, clear, clear_range, commit, committed, get, guard, guarded, keys, latest, plan,
    rows, set, submit, wait,
};
use bytes::Bytes;
use rookery_store::plan::{MAX_KEY_BYTES, MAX_PLAN_BYTES, MAX_STAMPED_OPS, MAX_VALUE_BYTES};
use rookery_store::{Engine, Op, Outcome, Plan, ReadError, Version, View};

pub fn rows_are_read_as_they_were_written(engine: &impl Engine) {
    let long = "v".repeat(60_000);
    apply(engine, vec![set("a", "1"), set("b", ""), set("c", &long)]);
    assert_eq!(get(engine, "a"), Some(bytes("1")));
    assert_eq!(get(engine, "b"), Some(Bytes::new()), "an empty value is not an absent one");
    assert_eq!(get(engine, "c"), Some(bytes(&long)));
    assert_eq!(get(engine, "d"), None);
    apply(engine, vec![clear("a"), clear("never there")]);
    assert_eq!(get(engine, "a"), None);
}

pub fn operations_of_a_plan_apply_in_order(engine: &impl Engine) {
    let ops = vec![
        set("set-clear", "1"),
        clear("set-clear"),
        clear("clear-set"),
        set("clear-set", "2"),
        Op::Add { key: bytes("sum"), delta: 1 },
        Op::Add { key: bytes("sum"), delta: 2 },
        set("max", "b"),
        Op::ByteMax { key: bytes("max"), value: bytes("a") },
    ];
    apply(engine, ops);
    assert_eq!(keys(engine), ["clear-set", "max", "sum"]);
    assert_eq!(get(engine, "sum"), Some(Bytes::copy_from_slice(&3_u64.to_le_bytes())));
    assert_eq!(get(engine, "max"), Some(bytes("b")));
}

pub fn the_last_write_of_a_key_in_a_plan_wins(engine: &impl Engine) {
    apply(engine, vec![set("k", "1"), set("k", "2"), clear("k"), set("k", "3")]);
    assert_eq!(rows(&latest(engine)), [(bytes("k"), bytes("3"))]);
    apply(engine, vec![set("k", "4"), clear("k")]);
    assert_eq!(rows(&latest(engine)), []);
}

pub fn plans_of_a_submission_apply_in_order(engine: &impl Engine) {
    let write = |value: usize| plan(vec![set("k", &value.to_string())]);
    let outcomes = submit(engine, (0..100).map(write).collect());
    let versions: Vec<Version> = outcomes.into_iter().map(|one| committed(one).0).collect();
    assert!(versions.is_sorted(), "{versions:?}");
    assert_eq!(get(engine, "k"), Some(bytes("99")));
}

pub fn a_guard_on_an_absent_key_holds_until_it_exists(engine: &impl Engine) {
    let create = |value| guarded(vec![guard("k", None, Version(0))], vec![set("k", value)]);
    let (version, _) = committed(commit(engine, create("first")));
    assert_eq!(commit(engine, create("second")), Outcome::Conflict);
    assert_eq!(get(engine, "k"), Some(bytes("first")));
    let (gone, _) = apply(engine, vec![clear("k")]);
    assert!(gone > version);
    let again = guarded(vec![guard("k", None, gone)], vec![set("k", "third")]);
    committed(commit(engine, again));
}

pub fn a_guard_on_a_value_holds_until_it_changes(engine: &impl Engine) {
    let (first, _) = apply(engine, vec![set("k", "1")]);
    let expect = |known, version, to| {
        commit(engine, guarded(vec![guard("k", Some(known), version)], vec![set("k", to)]))
    };
    let (second, _) = committed(expect("1", first, "2"));
    assert_eq!(expect("1", first, "3"), Outcome::Conflict, "stale value");
    committed(expect("2", second, "3"));
    apply(engine, vec![clear("k")]);
    assert_eq!(expect("3", second, "4"), Outcome::Conflict, "removed");
    assert_eq!(get(engine, "k"), None);
}

pub fn a_guard_compares_the_whole_value(engine: &impl Engine) {
    let (version, _) = apply(engine, vec![set("k", "value"), set("empty", "")]);
    for known in [Some("valu"), Some("value0"), Some(""), None] {
        let stale = guarded(vec![guard("k", known, Version(0))], vec![set("x", "")]);
        assert_eq!(commit(engine, stale), Outcome::Conflict, "{known:?}");
    }
    let absent = guarded(vec![guard("empty", None, Version(0))], vec![set("x", "")]);
    assert_eq!(commit(engine, absent), Outcome::Conflict, "empty is not absent");
    let empty = guarded(vec![guard("empty", Some(""), version)], vec![]);
    committed(commit(engine, empty));
    assert_eq!(get(engine, "x"), None);
}

pub fn a_guard_sees_earlier_plans_of_its_submission(engine: &impl Engine) {
    let take = |known, to| guarded(vec![guard("k", known, Version(0))], vec![set("k", to)]);
    let outcomes = submit(engine, vec![take(None, "1"), take(None, "2"), take(Some("1"), "3")]);
    committed(outcomes[0]);
    assert_eq!(outcomes[1], Outcome::Conflict, "the first plan took it");
    committed(outcomes[2]);
    assert_eq!(get(engine, "k"), Some(bytes("3")));
    let after_clear = vec![plan(vec![clear_range("a", "z")]), take(Some("3"), "4")];
    assert_eq!(submit(engine, after_clear)[1], Outcome::Conflict, "the range held the key");
    let after_add = vec![
        plan(vec![Op::Add { key: bytes("n"), delta: 1 }]),
        guarded(vec![guard("n", None, Version(0))], vec![set("n", "lost")]),
    ];
    assert_eq!(submit(engine, after_add)[1], Outcome::Conflict, "the sum created the key");
}

pub fn a_plan_with_one_stale_guard_applies_nothing(engine: &impl Engine) {
    let (version, _) = apply(engine, vec![set("good", "1"), set("bad", "1")]);
    let guards = vec![guard("good", Some("1"), version), guard("bad", Some("0"), version)];
    let ops = vec![
        set("x", "1"),
        clear("good"),
        clear_range("a", "z"),
        Op::Add { key: bytes("n"), delta: 1 },
        Op::SetStampedKey { prefix: bytes("s"), value: bytes("") },
    ];
    let plans = vec![plan(vec![set("before", "")]), guarded(guards, ops), plan(vec![set("q", "")])];
    let outcomes = submit(engine, plans);
    assert_eq!(outcomes[1], Outcome::Conflict);
    committed(outcomes[0]);
    committed(outcomes[2]);
    assert_eq!(keys(engine), ["bad", "before", "good", "q"]);
}

pub fn a_plan_does_not_see_its_own_writes_in_its_guards(engine: &impl Engine) {
    let guards = vec![guard("k", None, Version(0))];
    committed(commit(engine, guarded(guards, vec![set("k", "1"), set("k", "2")])));
    assert_eq!(get(engine, "k"), Some(bytes("2")));
}

/// Rows a to e.
fn letters(engine: &impl Engine) {
    apply(engine, ["a", "b", "c", "d", "e"].map(|key| set(key, key)).into());
}

fn range(engine: &impl Engine, from: &str, to: &str, limit: usize, reverse: bool) -> String {
    let view = latest(engine);
    let rows = wait(view.range(from.as_bytes(), to.as_bytes(), limit, reverse)).unwrap();
    assert!(rows.iter().all(|(key, value)| key == value));
    rows.iter().map(|(key, _)| str::from_utf8(key).unwrap()).collect()
}

pub fn ranges_are_half_open_and_go_both_ways(engine: &impl Engine) {
    letters(engine);
    for (from, to, found) in
        [("b", "d", "bc"), ("", "z", "abcde"), ("aa", "b\0", "b"), ("e", "f", "e"), ("f", "z", "")]
    {
        assert_eq!(range(engine, from, to, 100, false), found, "{from:?}..{to:?}");
        let backwards: String = found.chars().rev().collect();
        assert_eq!(range(engine, from, to, 100, true), backwards, "{from:?}..{to:?} reverse");
    }
    apply(engine, vec![clear("c")]);
    assert_eq!(range(engine, "a", "z", 100, false), "abde");
    assert_eq!(range(engine, "a", "z", 100, true), "edba");
}

pub fn ranges_keep_their_limit(engine: &impl Engine) {
    letters(engine);
    for (limit, up, down) in [(0, "", ""), (1, "b", "d"), (2, "bc", "dc"), (3, "bcd", "dcb")] {
        assert_eq!(range(engine, "b", "e", limit, false), up);
        assert_eq!(range(engine, "b", "e", limit, true), down);
    }
}

pub fn a_range_that_ends_before_it_starts_is_empty(engine: &impl Engine) {
    letters(engine);
    for (from, to) in [("c", "c"), ("d", "b"), ("z", ""), ("", "")] {
        assert_eq!(range(engine, from, to, 100, false), "");
        assert_eq!(range(engine, from, to, 100, true), "");
        apply(engine, vec![clear_range(from, to)]);
    }
    assert_eq!(range(engine, "", "z", 100, false), "abcde", "clearing those removes nothing");
}

pub fn clear_range_removes_what_earlier_operations_set(engine: &impl Engine) {
    apply(engine, vec![set("k1", "old"), set("k2", "old")]);
    let outcomes = submit(
        engine,
        vec![
            plan(vec![set("k3", "earlier plan"), set("other", "")]),
            plan(vec![set("k4", "same plan"), clear_range("k", "l"), set("k5", "after")]),
            plan(vec![Op::SetStampedKey { prefix: bytes("k"), value: bytes("later plan") }]),
        ],
    );
    for outcome in outcomes {
        committed(outcome);
    }
    let rows = rows(&latest(engine));
    let values: Vec<&Bytes> = rows.iter().map(|(_, value)| value).collect();
    assert_eq!(values, ["later plan", "after", ""], "{rows:?}");
    apply(engine, vec![clear_range("", "\u{7f}"), set("k1", "again")]);
    assert_eq!(keys(engine), ["k1"]);
}

pub fn clear_range_keeps_its_bounds(engine: &impl Engine) {
    letters(engine);
    apply(engine, vec![clear_range("b", "d")]);
    assert_eq!(range(engine, "", "z", 100, false), "ade");
    apply(engine, vec![clear_range("", "b")]);
    assert_eq!(range(engine, "", "z", 100, false), "de");
}

pub fn add_counts_absent_as_zero_and_wraps(engine: &impl Engine) {
    let add = |delta| Op::Add { key: bytes("n"), delta };
    let sum = || get(engine, "n").map(|value| u64::from_le_bytes(value[..].try_into().unwrap()));
    apply(engine, vec![add(5)]);
    assert_eq!(sum(), Some(5));
    apply(engine, vec![add(u64::MAX)]);
    assert_eq!(sum(), Some(4), "adding 2^64 - 1 subtracts one");
    apply(engine, vec![clear("n"), add(7)]);
    assert_eq!(sum(), Some(7));
    let outcomes = submit(engine, (0..50).map(|_| plan(vec![add(1)])).collect());
    assert_eq!(outcomes.len(), 50);
    assert_eq!(sum(), Some(57));
}

pub fn add_pads_short_values_and_cuts_long_ones(engine: &impl Engine) {
    let add = |key| Op::Add { key: bytes(key), delta: 1 };
    apply(engine, vec![set("short", "\u{1}\u{1}"), set("long", "\u{1}\0\0\0\0\0\0\0tail")]);
    apply(engine, vec![add("short"), add("long")]);
    assert_eq!(get(engine, "short"), Some(bytes("\u{2}\u{1}\0\0\0\0\0\0")));
    assert_eq!(get(engine, "long"), Some(bytes("\u{2}\0\0\0\0\0\0\0")));
}

pub fn byte_max_never_goes_back(engine: &impl Engine) {
    let max = |value| plan(vec![Op::ByteMax { key: bytes("k"), value: bytes(value) }]);
    for (candidate, held) in
        [("b", "b"), ("a", "b"), ("b", "b"), ("ba", "ba"), ("b", "ba"), ("c", "c"), ("", "c")]
    {
        committed(commit(engine, max(candidate)));
        assert_eq!(get(engine, "k"), Some(bytes(held)), "after {candidate:?}");
    }
    submit(engine, vec![max("d"), max("e"), max("c")]);
    assert_eq!(get(engine, "k"), Some(bytes("e")), "within one submission");
    let fresh = Op::ByteMax { key: bytes("fresh"), value: Bytes::new() };
    apply(engine, vec![fresh]);
    assert_eq!(get(engine, "fresh"), Some(Bytes::new()), "absent is smaller than empty");
}

/// A plan of exactly so many bytes.
fn plan_of(size: usize) -> Plan {
    let mut ops = Vec::new();
    let mut left = size;
    while left > 0 {
        let value = left.saturating_sub(8).min(MAX_VALUE_BYTES);
        let key = if left < 8 { left } else { 8 };
        let key = Bytes::from(format!("{:08}", ops.len()).into_bytes()[8 - key..].to_vec());
        left -= key.len() + value;
        ops.push(Op::Set { key, value: Bytes::from(vec![b'v'; value]) });
    }
    plan(ops)
}

pub fn a_plan_at_the_size_limit_commits(engine: &impl Engine) {
    let whole = plan_of(MAX_PLAN_BYTES);
    assert_eq!(whole.bytes(), MAX_PLAN_BYTES);
    let count = whole.ops.len();
    committed(commit(engine, whole));
    assert_eq!(rows(&latest(engine)).len(), count);
    let key = Bytes::from(vec![b'k'; MAX_KEY_BYTES]);
    let value = Bytes::from(vec![b'v'; MAX_VALUE_BYTES]);
    apply(engine, vec![Op::Set { key: key.clone(), value: value.clone() }]);
    assert_eq!(wait(latest(engine).get(&key)), Ok(Some(value)));
}

pub fn a_plan_over_a_size_limit_is_refused_alone(engine: &impl Engine) {
    let key = |len| Bytes::from(vec![b'k'; len]);
    let value = |len| Bytes::from(vec![b'v'; len]);
    let stamped = Op::SetStampedKey { prefix: Bytes::new(), value: Bytes::new() };
    let over = vec![
        plan_of(MAX_PLAN_BYTES + 1),
        plan(vec![Op::Set { key: key(MAX_KEY_BYTES + 1), value: value(1) }]),
        plan(vec![Op::Set { key: key(0), value: value(1) }]),
        plan(vec![Op::Set { key: key(1), value: value(MAX_VALUE_BYTES + 1) }]),
        plan(vec![Op::SetStampedKey { prefix: key(MAX_KEY_BYTES - 11), value: value(1) }]),
        plan(vec![Op::SetStampedValue { key: key(1), suffix: value(MAX_VALUE_BYTES - 11) }]),
        plan(vec![stamped; MAX_STAMPED_OPS + 1]),
        plan(vec![Op::Clear { key: key(0) }]),
        plan(vec![Op::ClearRange { from: key(1), to: key(MAX_KEY_BYTES + 1) }]),
        guarded(
            vec![guard(&"g".repeat(MAX_KEY_BYTES + 1), None, Version(0))],
            vec![set("guarded", "")],
        ),
    ];
    let count = over.len();
    let mut plans = over;
    plans.push(plan(vec![set("fits", "")]));
    let outcomes = submit(engine, plans);
    assert_eq!(outcomes[..count], vec![Outcome::TooLarge; count]);
    committed(outcomes[count]);
    assert_eq!(keys(engine), ["fits"]);
}

pub fn an_empty_plan_commits(engine: &impl Engine) {
    let (first, _) = committed(commit(engine, plan(Vec::new())));
    let (second, _) = apply(engine, vec![set("k", "")]);
    assert!(second > first);
    assert!(latest(engine).version() >= second);
}

pub fn an_empty_submission_is_reported(engine: &impl Engine) {
    assert_eq!(submit(engine, Vec::new()), []);
}

pub fn an_engines_own_rows_are_never_shown(engine: &impl Engine) {
    let greatest = Bytes::from(vec![0xff; MAX_KEY_BYTES]);
    apply(engine, vec![Op::Set { key: greatest.clone(), value: bytes("greatest") }]);
    let view = latest(engine);
    for reverse in [false, true] {
        let all = wait(view.range(b"", &[0xff; 2 * MAX_KEY_BYTES], 10, reverse)).unwrap();
        assert_eq!(all, [(greatest.clone(), bytes("greatest"))]);
    }
    for length in MAX_KEY_BYTES + 1..MAX_KEY_BYTES + 20 {
        assert_eq!(wait(view.get(&vec![0xff; length])), Ok(None));
    }
    apply(engine, vec![Op::ClearRange { from: Bytes::new(), to: greatest }]);
    assert_eq!(rows(&latest(engine)).len(), 0);
    assert!(latest(engine).version() > view.version());
}

pub fn get_many_answers_in_order(engine: &impl Engine) {
    letters(engine);
    let keys = ["d", "x", "a", "d"].map(bytes);
    let found = wait(latest(engine).get_many(&keys)).unwrap();
    assert_eq!(found, [Some(bytes("d")), None, Some(bytes("a")), Some(bytes("d"))]);
    assert_eq!(wait(latest(engine).get_many(&[])), Ok(Vec::new()));
}

pub fn a_view_does_not_change(engine: &impl Engine) {
    letters(engine);
    let view = latest(engine);
    let before = rows(&view);
    let version = view.version();
    apply(engine, vec![set("a", "changed"), clear("b"), set("new", ""), clear_range("d", "f")]);
    // Many versions in few commits: a view is only good for some seconds.
    for round in 0..3 {
        let write = |at: u32| plan(vec![set("c", &(100 * round + at).to_string())]);
        submit(engine, (0..100).map(write).collect());
        assert_eq!(rows(&view), before);
    }
    assert_eq!(rows(&view), before);
    assert_eq!(view.version(), version);
    assert_eq!(wait(view.get(b"b")), Ok(Some(bytes("b"))));
    assert_eq!(wait(view.get(b"new")), Ok(None));
    drop(view);
    assert_eq!(keys(engine), ["a", "c", "new"]);
}

pub fn a_view_shows_every_reported_commit(engine: &impl Engine) {
    for round in 0..100 {
        let (version, _) = apply(engine, vec![set("k", &round.to_string())]);
        let view = wait(engine.view(version)).unwrap();
        assert!(view.version() >= version);
        assert_eq!(wait(view.get(b"k")), Ok(Some(bytes(&round.to_string()))));
    }
}

pub fn a_view_at_a_version_that_was_never_given_is_refused(engine: &impl Engine) {
    let (version, _) = apply(engine, vec![set("k", "")]);
    // FoundationDB's versions rise by a million a second.
    let future = wait(engine.view(Version(version.0 + 1_000_000_000_000)));
    assert!(matches!(future, Err(ReadError::Unavailable(_))), "{:?}", future.err());
}
