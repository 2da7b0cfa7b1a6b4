//! The harness as a whole against the in-test server: clean runs are clean, also over dropped
//! connections and refusals; planted faults are found; the binary's exit status says so.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

mod support;

use rookery_loadtest::report::{Remarks, Report};
use rookery_loadtest::scenario::Scenario;
use rookery_loadtest::{Options, Plant, run};
use std::process::Command;
use support::{FakeServer, Temper};

fn scenario(text: &str) -> Scenario {
    Scenario::parse(&format!("name = \"test\"\nsettle_s = 20\n{text}")).unwrap()
}

fn run_against(server: &FakeServer, text: &str, plant: Option<Plant>) -> (Report, Remarks) {
    let options = Options { url: Some(server.url()), seed: 5, plant, ..Options::default() };
    run(&scenario(text), &options).unwrap()
}

const SATURATE: &str =
    "kind = \"saturate\"\npairs = 5\nin_flight = 8\nduration_s = 0.5\nat_least = 500";
const PAIRS: &str = "kind = \"pairs\"\npairs = 10\nrate = 2000\nduration_s = 1";

#[test]
fn a_closed_loop_against_a_good_server_is_clean() {
    let server = FakeServer::start(Temper::default());
    let (report, remarks) = run_against(&server, SATURATE, None);
    assert!(report.clean(), "{}", report.table(&remarks));
    assert!(report.acknowledged >= 500);
    assert_eq!(report.sessions, 10);
    assert!(report.send_ack_ms.p50 > 0.0 && report.deliver_ms.max >= report.deliver_ms.p50);
    assert_eq!(remarks, Remarks::default());
}

#[test]
fn an_open_loop_sends_at_its_rate_to_all_devices() {
    let server = FakeServer::start(Temper::default());
    let (report, remarks) = run_against(&server, &format!("{PAIRS}\ndevices = 2"), None);
    assert!(report.clean(), "{}", report.table(&remarks));
    assert!((1_900..=2_100).contains(&report.acknowledged), "{}", report.acknowledged);
    // The sender's other device and both of the partner.
    assert_eq!(report.delivered, 3 * report.acknowledged);
}

#[test]
fn idle_sessions_are_held_and_live() {
    let server = FakeServer::start(Temper::default());
    let text = "kind = \"idle\"\npairs = 50\nprobe_pairs = 5\nduration_s = 0.2";
    let (report, remarks) = run_against(&server, text, None);
    assert!(report.clean(), "{}", report.table(&remarks));
    assert_eq!((report.sessions, report.acknowledged), (100, 20));
    // Nothing is known of a server that this run did not start.
    assert_eq!(report.server, Default::default());
    assert_eq!(report.store, None);
}

#[test]
fn a_second_run_on_the_same_accounts_starts_where_the_first_ended() {
    let server = FakeServer::start(Temper::default());
    for _ in 0..2 {
        let (report, remarks) = run_against(&server, SATURATE, None);
        assert!(report.clean(), "{}", report.table(&remarks));
    }
}

#[test]
fn dropped_connections_and_refusals_lose_duplicate_and_reorder_nothing() {
    for (temper, text) in [
        (Temper { drop_after: 40, ..Temper::default() }, PAIRS),
        (Temper { drop_after: 60, ..Temper::default() }, SATURATE),
        (Temper { busy_every: 10, ..Temper::default() }, PAIRS),
        (Temper { late_every: 7, ..Temper::default() }, PAIRS),
        (Temper { drop_after: 90, busy_every: 13, late_every: 11 }, PAIRS),
    ] {
        let server = FakeServer::start(temper);
        let (report, remarks) = run_against(&server, text, None);
        assert!(report.clean(), "{temper:?}\n{}", report.table(&remarks));
        assert_eq!(temper.drop_after > 0, remarks.reconnects > 0, "{temper:?} {remarks:?}");
        assert_eq!(temper.busy_every > 0, remarks.refusals > 0, "{temper:?} {remarks:?}");
        assert_eq!(temper.late_every > 0, remarks.filled > 0, "{temper:?} {remarks:?}");
    }
}

#[test]
fn a_planted_fault_is_found_under_its_name() {
    for plant in [Plant::Lose, Plant::Duplicate, Plant::Reorder] {
        let server = FakeServer::start(Temper::default());
        let (report, remarks) = run_against(&server, SATURATE, Some(plant));
        let count = match plant {
            Plant::Lose => report.lost,
            Plant::Duplicate => report.duplicated,
            Plant::Reorder => report.reordered,
        };
        assert_eq!(count, 1, "{plant:?}\n{}", report.table(&remarks));
        assert!(!report.clean());
        assert!(!remarks.findings.is_empty());
    }
}

#[test]
fn the_exit_status_and_the_json_file_say_what_happened() {
    let server = FakeServer::start(Temper::default());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("s.toml");
    let json = directory.path().join("out.json");
    std::fs::write(&file, format!("name = \"test\"\n{SATURATE}")).unwrap();
    let run = |more: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_rookery-loadtest"))
            .arg("run")
            .arg(&file)
            .arg("--json")
            .arg(&json)
            .args(more)
            .output()
            .unwrap()
    };
    let url = server.url();
    let good = run(&["--url", &url]);
    assert_eq!(good.status.code(), Some(0), "{good:?}");
    assert!(String::from_utf8_lossy(&good.stdout).contains("verdict               clean"));
    let read: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    assert_eq!(read["lost"], 0);
    assert!(read["acknowledged"].as_u64().unwrap() >= 500);
    assert!(read["server"]["cpu_s"].is_null());

    let planted = run(&["--url", &url, "--plant", "lose", "--seed", "9"]);
    assert_eq!(planted.status.code(), Some(1), "{planted:?}");

    let many = run(&["--spawn", "33"]);
    assert_eq!(many.status.code(), Some(2));

    std::fs::write(&file, "name = \"\"\nkind = \"idle\"\npairs = 0").unwrap();
    let invalid = run(&["--url", &url]);
    assert_eq!(invalid.status.code(), Some(2));
    let words = String::from_utf8_lossy(&invalid.stderr).into_owned();
    assert!(words.contains("name is empty") && words.contains("pairs is 0"), "{words}");
}
