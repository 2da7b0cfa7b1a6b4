//! Measures what an idle session costs inside a node as their number grows:
//!
//! `cargo run --release -p rookery-actors --example idle_sessions -- 1000 10000 100000 1000000`
//!
//! Each session is one of a user of its own, attached and caught up, its hub with it; in place of a
//! socket a task takes what the session writes, acknowledges it and then waits, as a connection's task
//! does. So a million of them need no million sockets: what a socket, its task and TLS cost beside this
//! is what `rookery-loadtest run loadtest/scenarios/idle.toml --spawn 1` measures.
//!
//! It is an example here and no option of the load test, because that knows no server internals: it
//! tests the wire as a stranger would.
//!
//! Prints for each number the growth of resident memory a session since the start, and what a log-in
//! (attach, sync, a row in the store) and a held session cost of processor time.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "an example that measures and prints")]

use rookery_actors::message::{Attach, Identity};
use rookery_actors::session::Settings;
use rookery_actors::shell::{ActorSystem, Event, Maintenance, Outbox, SystemConfig};
use rookery_actors::{ConnId, Envelope, SessionMsg, SessionRef};
use rookery_protocol::client::{Ack, Sync};
use rookery_protocol::{ClientFrame, DeviceId, SessionId, UserId};
use rookery_store::embedded::{EmbeddedConfig, EmbeddedEngine};
use rookery_store::{Owner, Store};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Log-ins under way at a time.
const AT_ONCE: u64 = 1000;
/// How long the sessions are held before memory is read.
const HOLD: Duration = Duration::from_secs(5);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut counts: Vec<u64> = std::env::args().skip(1).map(|arg| arg.parse().unwrap()).collect();
    if counts.is_empty() {
        counts = vec![1_000, 10_000, 100_000];
    }
    let dir = tempfile::tempdir().unwrap();
    let engine = EmbeddedEngine::open(&EmbeddedConfig::new(dir.path())).unwrap();
    let settings = Settings { heartbeat_ms: 5_000, grace_ms: 30_000, node: "n1".into() };
    let owner = Owner { node: 1, incarnation: 1 };
    let maintenance = Maintenance::default();
    let config = SystemConfig { shards: 2, owner, settings, maintenance, cluster: None };
    let system = ActorSystem::start(Store::new(engine.into()), config).await.unwrap();
    let live = Arc::new(AtomicU64::new(0));
    let before = resident_bytes();
    println!(
        "{:>10} {:>16} {:>14} {:>14} {:>20}",
        "sessions", "bytes each", "log-ins/s", "us a log-in", "us a session, a s"
    );
    let mut begun = 0;
    for count in counts {
        let (start, cpu, from) = (Instant::now(), processor_time(), begun);
        while live.load(Ordering::Acquire) < count {
            while begun < count && begun < live.load(Ordering::Acquire) + AT_ONCE {
                begun += 1;
                tokio::spawn(hold(system.clone(), begun, Arc::clone(&live)));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let (took, spent) = (start.elapsed(), processor_time() - cpu);
        let fresh = (count - from) as f64;
        let cpu = processor_time();
        tokio::time::sleep(HOLD).await;
        let held = (processor_time() - cpu).as_secs_f64() / HOLD.as_secs_f64() / count as f64;
        let bytes = resident_bytes().saturating_sub(before) / count;
        println!(
            "{count:>10} {bytes:>16} {:>14.0} {:>14.1} {:>20.3}",
            fresh / took.as_secs_f64(),
            spent.as_secs_f64() * 1e6 / fresh,
            held * 1e6,
        );
    }
    // A million sessions that say goodbye are not what is measured.
    std::process::exit(0);
}

/// One session and its connection's task, for ever.
async fn hold(system: ActorSystem, number: u64, live: Arc<AtomicU64>) {
    // Ids are random in a node: numbers in a row would lie in the store side by side.
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let conn = ConnId(number);
    let outbox = Outbox::new(conn, 1 << 20);
    let user = UserId(mixed);
    let me = SessionRef { user, session: SessionId(mixed), node: system.node() };
    let attach = Attach {
        conn,
        identity: Identity {
            user,
            device: DeviceId(number),
            name: format!("user{number}").into(),
            expires_ms: u64::MAX,
        },
        window_bytes: 256 * 1024,
        resume: None,
        fresh_secret: [7; 16],
        endpoints: Vec::new(),
    };
    system.attach(me, attach, Arc::clone(&outbox)).unwrap();
    let frames = |frame| SessionMsg::Frames(conn, vec![frame]);
    let tell = |frame| system.tell(Envelope::Session(me, frames(frame))).unwrap();
    let mut written = Vec::new();
    for next in [
        ClientFrame::from(Sync { request: 1, cursor: None }),
        ClientFrame::from(Ack { received: 1 }),
    ] {
        // First `Welcome`, then `CaughtUp`.
        while outbox.next(&mut written).await != Event::Frames {}
        written = Vec::new();
        tell(next);
    }
    live.fetch_add(1, Ordering::AcqRel);
    while outbox.next(&mut written).await == Event::Frames {
        written = Vec::new();
    }
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 =
        fields.iter().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 1_000 / rustix::param::clock_ticks_per_second())
}
