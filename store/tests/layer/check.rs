//! The check of a whole store: clean after all that the layer does, and each rule broken once.

use crate::support::*;
use rookery_protocol::{ConversationId, DeviceId, MarkKind, UserId};
use rookery_store::check::{Report, check};
use rookery_store::memory::MemoryEngine;
use rookery_store::{Engine, Slot, Stamp, Store, Version, keys};

on_every_engine!(
    a_store_that_the_layer_wrote_is_clean
    an_empty_store_is_clean
);

fn report<E: Engine>(store: &Store<E>) -> Report {
    run(check(store, |_| {})).unwrap()
}

fn an_empty_store_is_clean(store: &Store) {
    let report = report(store);
    assert!(report.is_clean() && report.total() == 0, "{report:?}");
}

fn a_store_that_the_layer_wrote_is_clean(store: &Store) {
    populate(store);
    let report = report(store);
    assert!(report.is_clean(), "{:#?}", report.findings);
    assert_eq!(report.total(), all_rows(store).len() as u64);
    assert_eq!(report.rows[&b'm'], 88, "two of 90 were trimmed");
    assert_eq!(report.rows[&b'd'], 90);
}

const RISING_999: [u8; 9] = [1, 0, 0, 0, 0, 0, 0, 3, 0xe7];
const ELSE: ConversationId = ConversationId(0xdead);
const NOBODY: UserId = UserId(0x99);

/// What is broken, and a part of what the check says of it.
type Broken = (&'static str, fn(&Store<MemoryEngine>), &'static str);

const BROKEN: &[Broken] = &[
    ("a gap", |s| clear(s, keys::message(CONV, 50)), "the message before it is missing: seq 50"),
    ("the floor's message", |s| clear(s, keys::message(CONV, 3)), "seq 3 is missing"),
    ("the head's message", |s| clear(s, keys::message(CONV, 90)), "seq 90 is missing"),
    (
        "beyond the head",
        |s| copy(s, keys::message(CONV, 90), keys::message(CONV, 91)),
        "beyond the head",
    ),
    (
        "below the floor",
        |s| copy(s, keys::message(CONV, 3), keys::message(CONV, 2)),
        "below the floor",
    ),
    ("no head", |s| clear(s, keys::head(CONV)), "it has no head"),
    ("no description", |s| clear(s, keys::conversation(CONV)), "there is no conversation"),
    ("a floor beyond", |s| set(s, keys::floor(CONV), &RISING_999), "beyond the head 90 plus one"),
    ("dedupe of another", |s| copy(s, dedupe(5), dedupe(6)), "points at another message"),
    ("dedupe without a message", |s| clear(s, keys::message(CONV, 5)), "it points at is missing"),
    ("a wrong hash", |s| set(s, dedupe(5), &[1, 5, 0, 0]), "its hash is not that"),
    ("a member gone", |s| clear(s, keys::member(CONV, BOB)), "with 1 members"),
    ("not listed", |s| clear(s, keys::activity(ANN, CONV)), "not in the member's list"),
    (
        "listed and no member",
        |s| copy(s, keys::activity(ANN, CONV), keys::activity(CAT, CONV)),
        "is no member",
    ),
    (
        "a member without account",
        |s| copy(s, keys::member(CONV, ANN), keys::member(CONV, NOBODY)),
        "has no account",
    ),
    (
        "a mark beyond",
        |s| set(s, keys::mark(CONV, BOB, MarkKind::Read), &RISING_999),
        "the mark 999 is beyond the head 90",
    ),
    (
        "a mark of a new kind",
        |s| set(s, keys::mark(CONV, BOB, MarkKind::Other(9)), &[1; 9]),
        "mark kind 9",
    ),
    (
        "a pair of nothing",
        |s| copy(s, keys::direct(ANN, BOB), keys::direct(ANN, CAT)),
        "is no member",
    ),
    ("no pair", |s| clear(s, keys::direct(ANN, BOB)), "the index of the pair"),
    (
        "a pointer beyond",
        |s| set(s, pointer(BOB), &[1, 1, 0xc0, 1, 0xfb, 0, 9]),
        "it points at 1..=2304",
    ),
    ("a pointer of a stranger", |s| set(s, pointer(CAT), &[1, 1, 0xc0, 1, 2]), "is no member"),
    (
        "a pointer from tomorrow",
        |s| set(s, keys::pointer(BOB, 1, Stamp::new(Version(1 << 40), 0, 0)), &[1, 1, 0xc0, 1, 2]),
        "later than the newest commit",
    ),
    (
        "a pointer of no epoch",
        |s| set(s, keys::pointer(BOB, 2, Stamp::default()), &[1, 1, 0xc0, 1, 2]),
        "inbox epoch 2 never began",
    ),
    (
        "a pointer below the floor",
        |s| set(s, pointer(ANN), &[1, 1, 0xc0, 1, 2]),
        "below the inbox floor",
    ),
    ("a name of nobody", |s| clear(s, keys::account(CAT)), "has no account"),
    (
        "an account without its name",
        |s| clear(s, keys::name("cat")),
        "nobody holds the account's name",
    ),
    ("another's name", |s| copy(s, keys::name("ann"), keys::name("cat")), "has another name"),
    ("a token without family", |s| clear(s, keys::family(ANN, DeviceId(7))), "has no family"),
    (
        "a family without token",
        |s| clear(s, keys::refresh(&[1; 32])),
        "one of its tokens is missing",
    ),
    (
        "a device of nobody",
        |s| copy(s, keys::device(ANN, DeviceId(7)), keys::device(NOBODY, DeviceId(1))),
        "has no account",
    ),
    (
        "a revoked device with tokens",
        |s| set(s, keys::device(ANN, DeviceId(7)), &[1, 1, b'x', 5, 1]),
        "still has refresh tokens",
    ),
    (
        "seen and no account",
        |s| copy(s, keys::last_seen(ANN), keys::last_seen(NOBODY)),
        "has no account",
    ),
    (
        "a slot that isn't",
        |s| set(s, keys::fence(Slot(5000)), &[1, 1, 1, 1]),
        "slot 5000 does not exist",
    ),
    ("an epoch that isn't", |s| set(s, keys::INSTALLATION, &[1, 0]), "inbox epoch 0 never existed"),
    ("a short key", |s| set(s, b"m123", &[1]), "its key has 4 bytes instead of 17 to 17"),
    ("an unknown tag", |s| set(s, b"!something", &[1]), "no row of this version has such a tag"),
    (
        "an unfinished copy",
        |s| set(s, keys::TRANSFER, &[1, 1, 3, 0, 5]),
        "was not finished (5 rows so far)",
    ),
    (
        "a retention of nothing",
        |s| set(s, keys::retention(ELSE), &[1, 9]),
        "there is no conversation",
    ),
    (
        "a newer value",
        |s| set(s, keys::head(CONV), &[2, 1, 1]),
        "written by a newer version of the software",
    ),
    ("no value", |s| set(s, keys::account(ANN), &[]), "account: it is empty"),
    ("a longer value", |s| set(s, keys::member(CONV, ANN), &[1, 1, 0, 0]), "bytes follow its end"),
];

fn dedupe(seq: u64) -> [u8; keys::DEDUPE_BYTES] {
    keys::dedupe(CONV, ANN, id(seq))
}

fn pointer(user: UserId) -> [u8; 25] {
    keys::pointer(user, 1, Stamp::new(Version(2), 0, 9))
}

/// Puts what one key holds under another, too.
fn copy(store: &Store<MemoryEngine>, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) {
    let rows = all_rows(store);
    let (_, value) = rows.iter().find(|(key, _)| key.as_ref() == from.as_ref()).unwrap();
    set(store, to, value);
}

#[test]
fn each_broken_rule_is_found() {
    for (name, break_it, wanted) in BROKEN {
        let store = Store::new(MemoryEngine::new());
        populate(&store);
        break_it(&store);
        let report = report(&store);
        let found = report.findings.iter().find(|finding| finding.what.contains(wanted));
        assert!(found.is_some(), "{name}: {wanted:?} is not in {:#?}", report.findings);
        assert!(!report.is_clean());
        assert!(report.faults <= 100, "{name}: one fault is not told of every row");
    }
}

#[test]
fn a_finding_names_its_row_and_key() {
    let store = Store::new(MemoryEngine::new());
    populate(&store);
    set(&store, keys::head(CONV), &[]);
    let report = report(&store);
    let finding = &report.findings[0];
    assert_eq!(report.faults, 1, "what points at a damaged row is not blamed: {report:#?}");
    assert_eq!(finding.row, "head");
    assert_eq!(finding.key, "6800000000000000c0");
}

#[test]
fn findings_are_bounded_and_still_counted() {
    let store = Store::new(MemoryEngine::new());
    let ops = (0..3000_u64).map(|n| rookery_store::Op::Set {
        key: bytes::Bytes::copy_from_slice(&keys::last_seen(UserId(n))),
        value: bytes::Bytes::from_static(&[1; 9]),
    });
    let plan = rookery_store::Plan { guards: Vec::new(), ops: ops.collect() };
    committed(run(store.commit(plan)));
    let report = report(&store);
    assert_eq!(report.faults, 3000);
    assert_eq!(report.findings.len(), rookery_store::check::MAX_FINDINGS);
}
