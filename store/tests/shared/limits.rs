//! Everything is bounded: plans, answers, snapshots and their life, clients.

use super::support::{Hosted, PATIENCE, frame, hosted_embedded, start, until, view};
use crate::contract::harness::{apply, bytes, get, plan, rows, set, submit, wait};
use bytes::Bytes;
use rookery_protocol::ConversationId;
use rookery_store::memory::Fault;
use rookery_store::shared::{ConnectError, SharedConfig, SharedEngine};
use rookery_store::{AnyEngine, Engine, Op, Outcome, Plan, ReadError, Store, View, backup, keys};
use std::io::{Read, Write};
use std::time::{Duration, Instant};

#[test]
fn plans_over_the_bytes_in_flight_are_busy_and_there_is_room_again_later() {
    let hosted = Hosted::start();
    let config = SharedConfig { plan_bytes: 100_000, ..hosted.client_config() };
    let client = SharedEngine::open(&config).unwrap();
    hosted.engine.set_faults(|_: &Plan| Fault::Hold);
    let large = || plan(vec![set("k", &"v".repeat(60_000))]);
    let first = start(&client, vec![large()]);
    assert_eq!(submit(&client, vec![large()]), [Outcome::Busy]);
    until("the first arrives", || hosted.engine.held() == 1);
    hosted.engine.clear_faults();
    hosted.engine.release_all();
    assert!(matches!(first.recv().unwrap()[..], [Outcome::Committed { .. }]));
    assert!(matches!(submit(&client, vec![large()])[..], [Outcome::Committed { .. }]));
}

#[test]
fn the_server_bounds_what_a_client_may_have_in_flight() {
    let hosted = Hosted::with(|config| config.plan_bytes = 100_000);
    let (client, other) = (hosted.client(), hosted.client());
    let held = |plan: &Plan| if plan.ops.len() == 1 { Fault::Hold } else { Fault::None };
    hosted.engine.set_faults(held);
    let large = || plan(vec![set("k", &"v".repeat(60_000))]);
    let first = start(&client, vec![large()]);
    until("the first arrives", || hosted.engine.held() == 1);
    assert_eq!(submit(&client, vec![large()]), [Outcome::Busy]);
    let two = plan(vec![set("k", &"v".repeat(60_000)), set("l", "")]);
    let others = submit(&other, vec![two]);
    assert!(matches!(others[..], [Outcome::Committed { .. }]), "the others have their own room");
    hosted.engine.release_all();
    assert!(matches!(first.recv().unwrap()[..], [Outcome::Committed { .. }]));
}

#[test]
fn snapshots_are_bounded_and_make_room_when_they_are_dropped() {
    let hosted = Hosted::with(|config| config.views = 3);
    let (client, other) = (hosted.client(), hosted.client());
    let held: Vec<_> = (0..3).map(|_| view(&client).unwrap()).collect();
    let one_more = view(&client).unwrap_err();
    assert!(matches!(&one_more, ReadError::Unavailable(why) if why.contains("snapshots")));
    assert!(view(&other).is_ok(), "the others have their own");
    drop(held);
    assert!(view(&client).is_ok(), "letting go travels ahead of the next request");
}

#[test]
fn a_snapshot_that_is_not_read_from_ends() {
    const LIFE: Duration = Duration::from_millis(200);
    let hosted = Hosted::with(|config| config.view_life = LIFE);
    let client = hosted.client();
    apply(&client, vec![set("k", "1")]);
    let held = view(&client).unwrap();
    std::thread::sleep(2 * LIFE);
    assert!(matches!(wait(held.get(b"k")), Err(ReadError::Unavailable(_))));
    assert!(matches!(wait(held.get(b"k")), Err(ReadError::Unavailable(_))), "for good");
    assert_eq!(get(&client, "k"), Some(bytes("1")), "a fresh one works");
}

/// A slow place to write to.
struct Slow {
    bytes: Vec<u8>,
    pause: Duration,
}

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        std::thread::sleep(self.pause);
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_backup_may_take_longer_than_a_snapshot_lives_unread() {
    const LIFE: Duration = Duration::from_secs(4);
    let hosted = Hosted::with(|config| config.view_life = LIFE);
    let client = hosted.client();
    let message = |seq| Op::Set {
        key: Bytes::copy_from_slice(&keys::message(ConversationId(1), seq)),
        value: Bytes::from(vec![b'x'; 300]),
    };
    for first in (0..20_000).step_by(1000) {
        apply(&client, (first..first + 1000).map(message).collect());
    }
    let store = Store::new(AnyEngine::from(client));
    let started = Instant::now();
    let mut out = Slow { bytes: Vec::new(), pause: LIFE / 8 };
    let totals = wait(backup::write(&store, &mut out, 1, |_| {})).unwrap();
    assert!(started.elapsed() > 2 * LIFE, "{:?}", started.elapsed());
    assert_eq!(totals.total(), 20_000);
    assert_eq!(backup::verify(&out.bytes[..]).unwrap().1, totals);
}

#[test]
fn a_client_too_many_is_refused_and_let_in_when_there_is_room() {
    let hosted = Hosted::with(|config| config.connections = 1);
    let first = hosted.client();
    let refused = SharedEngine::open(&hosted.client_config()).unwrap_err();
    assert!(matches!(refused, ConnectError::Full(_)), "{refused}");
    drop(first);
    until("there is room", || SharedEngine::open(&hosted.client_config()).is_ok());
}

#[test]
fn a_client_that_takes_no_answers_is_dropped_and_harms_nobody() {
    let hosted = Hosted::with(|config| {
        config.write_timeout = Duration::from_millis(300);
        config.answer_bytes = 1 << 20;
    });
    let client = hosted.client();
    let value = "v".repeat(90_000);
    apply(&client, (0..10).map(|at| set(&at.to_string(), &value)).collect());
    // It takes a snapshot and asks for a megabyte again and again without ever reading.
    let mut stopped = hosted.peer();
    stopped.set_write_timeout(Some(PATIENCE)).unwrap();
    let number = |number: u64| number.to_le_bytes();
    stopped.write_all(&frame(3, &[number(1), number(9), number(0)].concat())).unwrap();
    let range = [&[number(2), number(9), number(100)].concat()[..], &[0], &[0; 4]].concat();
    let range = frame(6, &[&range[..], &[1, 0, 0, 0, b'z']].concat());
    let asking = std::thread::spawn(move || {
        let mut asked = 0;
        while stopped.write_all(&range).is_ok() {
            asked += 1;
        }
        asked
    });
    for round in 0..50 {
        apply(&client, vec![set("k", &round.to_string())]);
        assert_eq!(get(&client, "k"), Some(bytes(&round.to_string())));
    }
    assert!(asking.join().unwrap() > 0);
    until("it is dropped", || hosted.clients() == 1);
    apply(&client, vec![set("k", "after")]);
}

#[test]
fn more_than_a_frame_of_plans_values_or_rows_travels_in_several() {
    let (_engine, _server, config, _dir) = hosted_embedded();
    let client = SharedEngine::open(&config).unwrap();
    let value = Bytes::from(vec![b'v'; 90_000]);
    let key = |at: usize| Bytes::from(format!("{at:04}"));
    let one = |at| plan(vec![Op::Set { key: key(at), value: value.clone() }]);
    let outcomes = submit(&client, (0..200).map(one).collect());
    assert!(outcomes.iter().all(|one| matches!(one, Outcome::Committed { .. })));
    let view = view(&client).unwrap();
    let all = rows(&view);
    assert_eq!(all.len(), 200);
    assert!(all.iter().enumerate().all(|(at, row)| *row == (key(at), value.clone())));
    for (limit, reverse) in [(150, false), (150, true), (usize::MAX, true)] {
        let mut expected = all.clone();
        if reverse {
            expected.reverse();
        }
        expected.truncate(limit);
        assert_eq!(wait(view.range(b"", b"z", limit, reverse)).unwrap(), expected);
    }
    let keys: Vec<Bytes> = (0..400).map(|at| key(at / 2 * 2)).collect();
    let values = wait(view.get_many(&keys)).unwrap();
    assert_eq!(values.len(), 400);
    let there = |(at, found): (usize, &Option<Bytes>)| found.is_some() == (at / 2 * 2 < 200);
    assert!(values.iter().enumerate().all(there));
}

#[test]
fn a_read_that_is_given_up_leaves_no_snapshot_behind() {
    let hosted = Hosted::with(|config| config.views = 2);
    let client = hosted.client();
    for _ in 0..20 {
        let mut asking = std::pin::pin!(client.view(rookery_store::Version(0)));
        let waker = std::task::Waker::noop();
        drop(asking.as_mut().poll(&mut std::task::Context::from_waker(waker)));
    }
    until("all are let go", || view(&client).is_ok());
}

#[test]
fn plans_of_several_clients_share_a_sync() {
    let (engine, _server, config, _dir) = hosted_embedded();
    let clients: Vec<SharedEngine> = (0..4).map(|_| SharedEngine::open(&config).unwrap()).collect();
    let before = engine.batches();
    std::thread::scope(|scope| {
        for (number, client) in clients.iter().enumerate() {
            scope.spawn(move || {
                for at in 0..50 {
                    let one = |part| plan(vec![set(&format!("{number}-{at}-{part}"), "")]);
                    let outcomes = submit(client, (0..5).map(one).collect());
                    assert!(outcomes.iter().all(|one| matches!(one, Outcome::Committed { .. })));
                }
            });
        }
    });
    let batches = engine.batches() - before;
    // 200 submissions of 5 plans: one batch each at worst, and clients join one another's.
    assert!(batches < 180, "{batches} syncs for 1000 plans in 200 submissions");
}

#[test]
fn garbage_costs_its_connection_and_nothing_else() {
    let hosted = Hosted::start();
    let client = hosted.client();
    let mut noise = 0x2545_f491_4f6c_dd1d_u64;
    for round in 0..64_usize {
        let mut peer = hosted.peer();
        let mut garbage = Vec::new();
        for _ in 0..round * 8 + 5 {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            garbage.push((noise >> 56) as u8);
        }
        // Half of them claim a plausible length.
        if round % 2 == 0 {
            garbage = frame(garbage[0] % 8, &garbage);
        }
        peer.write_all(&garbage).unwrap();
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answers = Vec::new();
        // A reset is as good an end as any.
        peer.read_to_end(&mut answers).unwrap_or_default();
    }
    until("all are gone", || hosted.clients() == 1);
    apply(&client, vec![set("k", "fine")]);
    assert_eq!(rows(&view(&client).unwrap()).len(), 1);
}
