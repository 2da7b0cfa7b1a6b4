//! What the engine on FoundationDB adds to the contract: opening, sharing a database, round trips,
//! take-overs between two connections, and what is told when something is wrong.
//!
//! Needs the feature `fdb`; all but the first tests need the cluster of `FDB_CLUSTER_FILE`.
#![cfg(feature = "fdb")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "helpers of tests; a panic is how they fail"
)]

mod contract {
    pub mod harness;
}

use contract::harness::{
    apply, bytes, commit, committed, fdb_config, get, guard, guarded, plan, rows, set, wait,
};
use foundationdb::Database;
use rookery_protocol::{ClientMsgId, ConversationId, DeviceId, Entry, EntryKind, UserId};
use rookery_store::fdb::{FdbConfig, FdbEngine, OpenError};
use rookery_store::{
    Append, Engine, Fence, Op, Outcome, Owner, ReadError, Store, TakeOver, Version, View, append,
    slot_of,
};
use std::io::Write;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// An engine whose rows are erased with it.
struct Erased(FdbEngine);

impl Drop for Erased {
    fn drop(&mut self) {
        self.0.erase().unwrap();
    }
}

/// A new prefix, and how to open it again.
fn opened() -> Option<(Erased, FdbConfig)> {
    let config = fdb_config()?;
    Some((Erased(FdbEngine::open(&config).unwrap()), config))
}

fn cluster_file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn open_with(file: Option<&str>) -> OpenError {
    let file = file.map(cluster_file);
    let path = file.as_ref().map_or("/nowhere/fdb.cluster".into(), |file| file.path().to_owned());
    let timeout = Duration::from_secs(1);
    let config = FdbConfig { cluster_file: Some(path), timeout, ..FdbConfig::default() };
    FdbEngine::open(&config).unwrap_err()
}

#[test]
fn a_wrong_cluster_file_and_a_bad_prefix_are_told_with_their_remedy() {
    let missing = open_with(None);
    assert!(matches!(missing, OpenError::NoClusterFile { .. }), "{missing:?}");
    assert!(missing.to_string().contains("store.cluster_file"), "{missing}");
    let garbage = open_with(Some("hello"));
    assert!(matches!(garbage, OpenError::BadClusterFile { .. }), "{garbage:?}");
    assert!(garbage.to_string().contains("description:id@"), "{garbage}");
    let file = cluster_file("d:i@127.0.0.1:1");
    let cluster_file = Some(file.path().to_owned());
    let prefix = "no spaces".to_owned();
    let bad =
        FdbEngine::open(&FdbConfig { cluster_file, prefix, ..FdbConfig::default() }).unwrap_err();
    assert!(matches!(bad, OpenError::BadPrefix(_)), "{bad:?}");
}

#[test]
fn an_unreachable_cluster_is_told_within_the_time_limit() {
    let before = Instant::now();
    let unreachable = open_with(Some("d:i@127.0.0.1:1"));
    assert!(matches!(unreachable, OpenError::Unreachable { .. }), "{unreachable:?}");
    assert!(unreachable.to_string().contains("fdbcli --exec status"), "{unreachable}");
    assert!(before.elapsed() < Duration::from_secs(5), "{:?}", before.elapsed());
}

/// What an older library answers when it is asked for a newer API than it has.
const OLD_LIBRARY: &str = "
    int fdb_select_api_version_impl(int runtime, int header) { return 2203; }
    int fdb_get_max_api_version(void) { return 710; }
";

/// This test runs itself again with those two functions in front of the installed library's.
#[test]
fn an_older_client_library_is_told_with_its_remedy() {
    const CHILD: &str = "ROOKERY_TEST_OLD_LIBRARY";
    if std::env::var_os(CHILD).is_some() {
        let old = open_with(Some("d:i@127.0.0.1:1"));
        assert!(matches!(old, OpenError::OldLibrary { supports: 710, needs: 730 }), "{old:?}");
        assert!(old.to_string().contains("install foundationdb-clients 7.3"), "{old}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (source, library) = (dir.path().join("old.c"), dir.path().join("old.so"));
    std::fs::write(&source, OLD_LIBRARY).unwrap();
    let compiled =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status();
    if !compiled.is_ok_and(|status| status.success()) {
        println!("SKIPPED: there is no C compiler to build an older library with");
        return;
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["an_older_client_library_is_told_with_its_remedy", "--exact", "--nocapture"])
        .envs([("LD_PRELOAD", library.as_os_str()), (CHILD, "1".as_ref())])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("1 passed"), "{said}");
}

/// Writes a row past the engine.
fn write_raw(key: &[u8], value: &[u8]) {
    let database = Database::from_path(&std::env::var("FDB_CLUSTER_FILE").unwrap()).unwrap();
    let transaction = database.create_trx().unwrap();
    transaction.set(key, value);
    assert!(wait(transaction.commit()).is_ok());
}

#[test]
fn a_foreign_database_under_the_prefix_is_left_alone() {
    let Some((engine, config)) = opened() else { return };
    engine.0.erase().unwrap();
    let key = |tail: &[u8]| [config.prefix.as_bytes(), b"\0", tail].concat();
    write_raw(&key(b"theirs"), b"1");
    let foreign = FdbEngine::open(&config).unwrap_err();
    assert!(matches!(foreign, OpenError::Foreign { .. }), "{foreign:?}");
    write_raw(&key(b"f"), b"rookery store \x09");
    let newer = FdbEngine::open(&config).unwrap_err();
    assert!(matches!(newer, OpenError::OtherVersion { version: 9, .. }), "{newer:?}");
}

#[test]
fn installations_share_a_database_unseen_by_each_other() {
    let (Some((one, _)), Some((other, _))) = (opened(), opened()) else { return };
    apply(&one.0, vec![set("k", "one")]);
    apply(&other.0, vec![set("k", "other"), set("l", "")]);
    assert_eq!(get(&one.0, "k"), Some(bytes("one")));
    assert_eq!(rows(&wait(other.0.view(Version(0))).unwrap()).len(), 2);
}

#[test]
fn nodes_that_start_together_share_one_new_prefix() {
    let Some(config) = fdb_config() else { return };
    let open = || FdbEngine::open(&config).unwrap();
    let engines: Vec<FdbEngine> = std::thread::scope(|scope| {
        let opening: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
        opening.into_iter().map(|opening| opening.join().unwrap()).collect()
    });
    apply(&engines[0], vec![set("k", "v")]);
    assert_eq!(get(&engines[3], "k"), Some(bytes("v")));
    engines[1..].iter().for_each(FdbEngine::close);
    engines[0].erase().unwrap();
}

#[test]
fn a_closed_engine_refuses_commits_and_leaves_nothing_but_rows() {
    let Some((engine, config)) = opened() else { return };
    apply(&engine.0, vec![set("k", "v")]);
    engine.0.close();
    assert_eq!(commit(&engine.0, plan(vec![])), Outcome::Busy);
    assert_eq!(engine.0.trouble(), Some("the store is closed"));
    let again = FdbEngine::open(&config).unwrap();
    assert_eq!(get(&again, "k"), Some(bytes("v")));
}

#[test]
fn a_view_that_grew_too_old_says_so() {
    let Some((engine, _)) = opened() else { return };
    apply(&engine.0, vec![set("k", "v")]);
    let view = wait(engine.0.view(Version(0))).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        apply(&engine.0, vec![set("other", "")]);
        match wait(view.get(b"k")) {
            Ok(value) => assert_eq!(value, Some(bytes("v"))),
            Err(ReadError::Unavailable(why)) => break assert!(!why.is_empty()),
            Err(other) => panic!("{other:?}"),
        }
        assert!(Instant::now() < deadline, "a view lives for some seconds");
    }
}

const CONV: ConversationId = ConversationId(0xc0);
const MEMBERS: [UserId; 2] = [UserId(1), UserId(2)];

fn entry(seq: u64, device: u64) -> Entry {
    let mut id = [0; 10];
    id[..8].copy_from_slice(&seq.to_be_bytes());
    id[8..].copy_from_slice(&u16::try_from(device).unwrap().to_be_bytes());
    Entry {
        seq,
        sender: MEMBERS[0],
        device: DeviceId(device),
        time_ms: 1_700_000_000_000 + seq,
        client_msg_id: ClientMsgId::from_parts(1_700_000_000_000, id),
        kind: EntryKind::Text,
        body: format!("message {seq} of {device}").into_bytes(),
    }
}

fn appending(fence: &Fence, entries: &[Entry]) -> rookery_store::Plan {
    append::plan(&Append {
        conversation: CONV,
        fence,
        first_seq: entries[0].seq,
        entries,
        members: &MEMBERS,
        touch_activity: false,
        inbox_epoch: 1,
        withheld: false,
        words: false,
        group: None,
    })
}

fn take(store: &Store<FdbEngine>, node: u64) -> Fence {
    match wait(store.take_over(slot_of(CONV), Owner { node, incarnation: 1 })) {
        TakeOver::Held(fence) => fence,
        other => panic!("{other:?}"),
    }
}

fn create(store: &Store<FdbEngine>) {
    for user in MEMBERS {
        let name = format!("user{}", user.0);
        let account = rookery_store::Account {
            user,
            name,
            password_hash: "$".into(),
            created_ms: 1_700_000_000_000,
        };
        wait(store.create_account(&account)).unwrap();
    }
    wait(store.open_direct(MEMBERS[0], MEMBERS[1], CONV, 1_700_000_000_000)).unwrap();
}

#[test]
fn an_append_on_a_warm_conversation_is_one_round_trip() {
    let Some((engine, _)) = opened() else { return };
    let store = Store::new(engine.0.clone());
    create(&store);
    let mut fence = take(&store, 1);
    fence.confirmed(committed(wait(store.commit(appending(&fence, &[entry(1, 1)])))).0);
    let before = engine.0.operations();
    for seq in 2..=21 {
        let outcome = wait(store.commit(appending(&fence, &[entry(seq, 1)])));
        fence.confirmed(committed(outcome).0);
    }
    let after = engine.0.operations();
    assert_eq!(after.commits - before.commits, 20);
    assert_eq!((after.reads, after.read_versions), (before.reads, before.read_versions));
}

#[test]
fn an_owner_that_was_replaced_in_the_middle_of_appends_finds_out() {
    let Some((engine, config)) = opened() else { return };
    let other_engine = FdbEngine::open(&config).unwrap();
    let (old, new) = (Store::new(engine.0.clone()), Store::new(other_engine));
    create(&old);
    let mut fence = take(&old, 1);
    let (progress, progressed) = channel();
    let acknowledged = std::thread::scope(|scope| {
        let appending_on = scope.spawn(|| {
            let mut acknowledged = 0;
            loop {
                let entry = entry(acknowledged + 1, 1);
                match wait(old.commit(appending(&fence, &[entry]))) {
                    Outcome::Committed { version, .. } => fence.confirmed(version),
                    Outcome::Conflict => break acknowledged,
                    other => panic!("{other:?}"),
                }
                acknowledged += 1;
                progress.send(acknowledged).ok();
            }
        });
        while progressed.recv().unwrap() < 10 {}
        let fence = take(&new, 2);
        let loaded = wait(new.load_conversation(CONV, fence.version)).unwrap().unwrap();
        for seq in loaded.head + 1..=loaded.head + 20 {
            committed(wait(new.commit(appending(&fence, &[entry(seq, 2)]))));
        }
        let acknowledged = appending_on.join().unwrap();
        assert_eq!(acknowledged, loaded.head, "nothing of the old owner came after the take-over");
        acknowledged
    });
    let entries = wait(new.entries(CONV, 1, acknowledged + 20, usize::MAX)).unwrap();
    assert_eq!(entries.len() as u64, acknowledged + 20);
    for (seq, entry) in (1..).zip(&entries) {
        let device = if seq <= acknowledged { 1 } else { 2 };
        assert_eq!((entry.seq, entry.device), (seq, DeviceId(device)));
    }
}

#[test]
fn plans_of_many_callers_share_transactions() {
    const CALLERS: u64 = 64;
    const ROUNDS: u64 = 20;
    let Some((engine, _)) = opened() else { return };
    let fences: Vec<Op> = (0..CALLERS).map(|at| set(&format!("f{at}"), "me")).collect();
    let (version, _) = apply(&engine.0, fences);
    let before = engine.0.operations();
    std::thread::scope(|scope| {
        for at in 0..CALLERS {
            let engine = &engine.0;
            scope.spawn(move || {
                let mut known = version;
                for round in 0..ROUNDS {
                    let fence = guard(&format!("f{at}"), Some("me"), known);
                    let write = set(&format!("k{at}/{round}"), "v");
                    known = committed(commit(engine, guarded(vec![fence], vec![write]))).0;
                }
            });
        }
    });
    let commits = engine.0.operations().commits - before.commits;
    assert!(commits < CALLERS * ROUNDS / 3, "{commits} transactions for {}", CALLERS * ROUNDS);
    let view = wait(engine.0.view(Version(0))).unwrap();
    assert_eq!(rows(&view).len() as u64, CALLERS + CALLERS * ROUNDS);
}

#[test]
fn many_writers_under_take_overs_of_their_slots_lose_and_double_nothing() {
    const WRITERS: u64 = 16;
    let Some((engine, config)) = opened() else { return };
    let thief = FdbEngine::open(&config).unwrap();
    let fence = |at: u64| format!("f{at}");
    let (version, _) = apply(&engine.0, (0..WRITERS).map(|at| set(&fence(at), "0")).collect());
    let writing = AtomicBool::new(true);
    let counts: Vec<u64> = std::thread::scope(|scope| {
        let writer = |at: u64| {
            let (engine, writing) = (&engine.0, &writing);
            move || {
                let (mut known, mut value, mut count) = (version, "0".to_owned(), 0);
                while writing.load(Ordering::Relaxed) {
                    let guard = guard(&fence(at), Some(&value), known);
                    let add = Op::Add { key: bytes(&format!("n{at}")), delta: 1 };
                    match commit(engine, guarded(vec![guard], vec![add])) {
                        Outcome::Committed { version, .. } => (known, count) = (version, count + 1),
                        Outcome::Conflict => {
                            let view = wait(engine.view(Version(0))).unwrap();
                            let held = wait(view.get(fence(at).as_bytes())).unwrap().unwrap();
                            value = String::from_utf8(held.to_vec()).unwrap();
                            known = view.version();
                        }
                        other => panic!("{other:?}"),
                    }
                }
                count
            }
        };
        let writers: Vec<_> = (0..WRITERS).map(|at| scope.spawn(writer(at))).collect();
        for round in 1..=30 {
            let at = round * 7 % WRITERS;
            apply(&thief, vec![set(&fence(at), &round.to_string())]);
        }
        writing.store(false, Ordering::Relaxed);
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    for (at, count) in counts.into_iter().enumerate() {
        let held = get(&engine.0, &format!("n{at}"))
            .map_or(0, |held| u64::from_le_bytes(held[..].try_into().unwrap()));
        assert_eq!(held, count, "writer {at}");
    }
}

/// How long the next test writes: seconds from `ROOKERY_FDB_LOAD_S`, so that somebody has the time
/// to kill a process of the cluster meanwhile.
fn load_time() -> Duration {
    let seconds = std::env::var("ROOKERY_FDB_LOAD_S").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(2))
}

#[test]
fn whatever_happens_to_the_cluster_acknowledged_commits_are_there_once() {
    const WRITERS: u64 = 16;
    let Some((engine, _)) = opened() else { return };
    let engine = &engine.0;
    let deadline = Instant::now() + load_time();
    let writer = |at: u64| {
        let (row, prefix) = (format!("n{at}"), format!("s{at:02}"));
        let (mut acknowledged, mut unresolved, mut refused, mut longest) =
            (0_u64, 0_u64, 0_u64, Duration::ZERO);
        while Instant::now() < deadline {
            let ops = vec![
                Op::Add { key: bytes(&row), delta: 1 },
                Op::SetStampedKey { prefix: bytes(&prefix), value: bytes("") },
            ];
            let before = Instant::now();
            match commit(engine, plan(ops)) {
                Outcome::Committed { .. } => acknowledged += 1,
                Outcome::Unresolved => unresolved += 1,
                Outcome::Busy => {
                    refused += 1;
                    std::thread::yield_now();
                }
                other => panic!("{other:?}"),
            }
            longest = longest.max(before.elapsed());
        }
        (acknowledged, unresolved, refused, longest)
    };
    let written: Vec<_> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS).map(|at| scope.spawn(move || writer(at))).collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    let view = loop {
        // The cluster may be recovering still.
        if let Ok(view) = wait(engine.view(Version(0))) {
            break view;
        }
    };
    let (mut all, mut in_doubt, mut refusals, mut longest) = (0, 0, 0, Duration::ZERO);
    for (at, (acknowledged, unresolved, refused, slowest)) in (0..WRITERS).zip(written) {
        let held = wait(view.get(format!("n{at}").as_bytes())).unwrap();
        let held = held.map_or(0, |held| u64::from_le_bytes(held[..].try_into().unwrap()));
        let (from, to) = (format!("s{at:02}"), format!("s{at:02}\u{7f}"));
        let mut stamped = 0;
        let mut from = from.into_bytes();
        loop {
            let page = wait(view.range(&from, to.as_bytes(), 10_000, false)).unwrap();
            stamped += page.len() as u64;
            let Some((last, _)) = page.last() else { break };
            from = [last, &[0][..]].concat();
        }
        assert_eq!(stamped, held, "writer {at}: both rows of each plan or none");
        assert!((acknowledged..=acknowledged + unresolved).contains(&held), "writer {at}");
        (all, in_doubt, refusals) = (all + acknowledged, in_doubt + unresolved, refusals + refused);
        longest = longest.max(slowest);
    }
    println!("{all} acknowledged, {in_doubt} unresolved, {refusals} refused, longest {longest:?}");
}
