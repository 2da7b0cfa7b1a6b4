//! Three nodes as processes of their own, joined by links over one store: what is revoked or ended at
//! one of them ends at the others, and what operators say is heard at all.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that fails fails its test"
)]
#![allow(clippy::print_stdout, reason = "what was measured is shown")]

mod support;

use rookery_protocol::{CloseCode, ServerFrame};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::io::{BufRead, BufReader, Lines};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Output};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};
use support::wire::{Client, User};
use support::{Answer, bearer, credentials, post, process, send};
use tempfile::TempDir;

const NODES: u16 = 3;
/// Ports a node has: page, metrics, operators, link.
const PORTS: u16 = 4;
/// What is demanded is two seconds. A machine that is busy with other tests may be late.
const LATE: Duration = Duration::from_secs(20);

/// A cluster that `rookery dev` started.
struct Cluster {
    dev: Child,
    said: Lines<BufReader<ChildStdout>>,
    /// The processes: the store, then the nodes.
    parts: Vec<u32>,
    base: u16,
    dir: TempDir,
}

impl Cluster {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let base = free_ports(NODES * PORTS);
        let mut command = process::rookery();
        command.args(["dev", "--nodes", &NODES.to_string(), "--data"]).arg(dir.path().join("dev"));
        for (at, flag) in (0..).zip(["--port", "--metrics-port", "--admin-port", "--link-port"]) {
            command.args([flag, &(base + NODES * at).to_string()]);
        }
        let mut dev = command.spawn().unwrap();
        let said = BufReader::new(dev.stdout.take().unwrap()).lines();
        let mut cluster = Self { dev, said, parts: Vec::new(), base, dir };
        let begun = cluster.until_said("rookery dev ready");
        cluster.parts = begun.iter().filter_map(|line| process_id(line)).collect();
        assert_eq!(cluster.parts.len(), 1 + usize::from(NODES), "{begun:?}");
        cluster
    }

    /// What `dev` says, up to and with the line that begins like this.
    fn until_said(&mut self, begins: &str) -> Vec<String> {
        let mut said = Vec::new();
        for line in self.said.by_ref().map_while(Result::ok) {
            let last = line.starts_with(begins);
            said.push(line);
            if last {
                return said;
            }
        }
        panic!("never said {begins:?}, but {said:?}");
    }

    /// Where clients reach a node, counted from 0.
    fn http(&self, n: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.base + n))
    }

    async fn post(&self, n: u16, path: &str, body: &str) -> Answer {
        send(self.http(n), &post(path, "application/json", body)).await
    }

    async fn sign_up(&self, n: u16, name: &str) -> User {
        let answer = self.post(n, "/v1/signup", &credentials(name, "correct horse")).await;
        User::from_answer(&answer.json())
    }

    async fn log_in(&self, n: u16, name: &str) -> User {
        let answer = self.post(n, "/v1/login", &credentials(name, "correct horse")).await;
        User::from_answer(&answer.json())
    }

    async fn refresh(&self, n: u16, token: &str) -> Answer {
        self.post(n, "/v1/refresh", &json!({ "refresh_token": token }).to_string()).await
    }

    /// A session of a user's device at a node.
    async fn connect(&self, n: u16, user: &User) -> Client {
        let mut client = Client::connect_to(self.http(n)).await;
        client.send(user.hello()).await;
        client.welcome().await;
        client
    }

    /// `rookery admin`, asking a node.
    fn admin(&self, n: u16, words: &[&str]) -> String {
        let data = self.dir.path().join(format!("dev/node-{}", n + 1));
        let token: PathBuf = data.join("test.token");
        let ran = |output: Output| {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        if !token.exists() {
            let mut making = process::rookery();
            making.args(["admin", "token", "test", "--data"]).arg(&data);
            std::fs::write(&token, ran(making.output().unwrap())).unwrap();
        }
        let at = format!("127.0.0.1:{}", self.base + NODES * 2 + n);
        let mut asking = process::rookery();
        asking.args(["admin", "--admin", &at, "--token-file"]).arg(&token).args(words);
        ran(asking.output().unwrap())
    }
}

impl Cluster {
    /// `rookery cluster status`, asking the first node.
    fn status(&self) -> String {
        let mut asking = process::rookery();
        let metrics = format!("127.0.0.1:{}", self.base + NODES);
        let output = asking.args(["cluster", "status", "--metrics", &metrics]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // It ends its parts in order; killed, it would leave them behind.
        let pid = Pid::from_raw(i32::try_from(self.dev.id()).unwrap()).unwrap();
        let _ended_before = kill_process(pid, Signal::TERM);
        let _reaped_before = self.dev.wait();
    }
}

/// The process that a line of `dev` names.
fn process_id(line: &str) -> Option<u32> {
    line.split_once("(process ")?.1.split_once(')')?.0.parse().ok()
}

fn kill_9(id: u32) {
    let pid = Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

/// The first of so many ports in a row that nobody uses, below those that a system hands out. Each call
/// looks in a range of its own: clusters take their ports one after the other.
fn free_ports(count: u16) -> u16 {
    static CALLS: AtomicU16 = AtomicU16::new(0);
    let mut random = [0; 2];
    getrandom::fill(&mut random).unwrap();
    let range = 11_000 + CALLS.fetch_add(1, Ordering::Relaxed) * 9_000;
    let from = range + u16::from_be_bytes(random) % 7_000;
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    (from..range + 9_000)
        .step_by(usize::from(count))
        .find(|base| (*base..base + count).all(free))
        .unwrap()
}

/// Waits until each of these connections is closed because its device was revoked.
async fn all_revoked(what: &str, since: Instant, clients: Vec<Client>) {
    for mut client in clients {
        let goodbye = tokio::time::timeout(LATE, client.goodbye()).await.unwrap();
        assert_eq!(goodbye.close, Some(CloseCode::Revoked.code()), "{what}");
    }
    println!("{what}: closed on all nodes after {} ms", since.elapsed().as_millis());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_revoked_or_ended_at_one_node_closes_at_every_other() {
    let cluster = Cluster::start();
    let phone = cluster.sign_up(0, "ada").await;
    let laptop = cluster.log_in(1, "ada").await;
    let bob = cluster.sign_up(2, "bob").await;
    let mut bobs = Vec::new();
    let mut laptops = Vec::new();
    let mut phones = Vec::new();
    for n in 0..NODES {
        phones.push(cluster.connect(n, &phone).await);
        laptops.push(cluster.connect(n, &laptop).await);
        bobs.push(cluster.connect(n, &bob).await);
    }

    // Over the API, at the first node.
    let path = format!("/v1/devices/{}", phone.device);
    let since = Instant::now();
    let answer = send(cluster.http(0), &bearer("DELETE", &path, &laptop.token, None)).await;
    assert_eq!(answer.status, 204, "{}", answer.body);
    all_revoked("a revoked device", since, phones).await;
    for client in laptops.iter_mut().chain(&mut bobs) {
        client.assert_alive().await;
    }
    for n in 0..NODES {
        assert_eq!(cluster.refresh(n, &phone.refresh_token).await.error().0, 401, "node {n}");
        let own = send(cluster.http(n), &bearer("GET", "/v1/account", &phone.token, None)).await;
        assert_eq!(own.error().0, 401, "node {n}");
    }

    // A refresh token that somebody copied, used at another node each time.
    let fresh = cluster.refresh(0, &laptop.refresh_token).await.json();
    let next = fresh["refresh_token"].as_str().unwrap();
    assert_eq!(cluster.refresh(1, next).await.status, 200);
    let since = Instant::now();
    assert_eq!(cluster.refresh(2, &laptop.refresh_token).await.error().0, 401);
    all_revoked("a refresh token used twice", since, laptops).await;
    for client in &mut bobs {
        client.assert_alive().await;
    }

    // By an operator, at the second node.
    let since = Instant::now();
    assert_eq!(cluster.admin(1, &["disable", "bob"]), "done; devices logged out: 1\n");
    all_revoked("a disabled account", since, bobs).await;
    for n in 0..NODES {
        let log_in = credentials("bob", "correct horse");
        let answer = cluster.post(n, "/v1/login", &log_in).await;
        assert_eq!(answer.error(), (403, "AccountDisabled".to_owned()), "node {n}");
    }
    cluster.admin(2, &["enable", "bob"]);
    cluster.log_in(0, "bob").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_operators_say_and_change_at_one_node_holds_at_all() {
    let cluster = Cluster::start();
    let ada = cluster.sign_up(0, "ada").await;
    let mut clients = Vec::new();
    for n in 0..NODES {
        clients.push(cluster.connect(n, &ada).await);
    }
    let since = Instant::now();
    cluster.admin(1, &["notice", "Back at 22:00."]);
    for client in &mut clients {
        let notice = client.until(|frame| match frame {
            ServerFrame::Notice(notice) => Some(notice.text.clone()),
            _ => None,
        });
        assert_eq!(tokio::time::timeout(LATE, notice).await.unwrap(), "Back at 22:00.");
    }
    println!("a notice: at all nodes after {} ms", since.elapsed().as_millis());

    let since = Instant::now();
    cluster.admin(2, &["limit", "sign_up", "closed"]);
    for n in 0..NODES {
        let mut tried = 0;
        loop {
            tried += 1;
            let name = format!("late-{n}-{tried}");
            let body = credentials(&name, "correct horse");
            let answer = cluster.post(n, "/v1/signup", &body).await;
            if answer.status != 200 {
                assert_eq!(answer.error(), (403, "SignUpClosed".to_owned()), "node {n}");
                break;
            }
            assert!(since.elapsed() < LATE, "node {n} still takes new accounts");
        }
    }
    println!("a changed limit: at all nodes after {} ms", since.elapsed().as_millis());
    // The log is one, whichever node was asked.
    let log = cluster.admin(0, &["audit"]);
    assert!(log.contains("notice.post") && log.contains("limit.set"), "{log}");
    assert!(log.contains("node-2") && log.contains("node-3"), "{log}");
    assert!(cluster.admin(0, &["status"]).contains("node-3"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_killed_is_started_again_and_nobody_has_to_be_told() {
    let mut cluster = Cluster::start();
    let ada = cluster.sign_up(0, "ada").await;
    cluster.sign_up(1, "bob").await;
    let mut client = cluster.connect(0, &ada).await;
    let conversation = client.open_direct("bob").await;
    kill_9(cluster.parts[2]);
    cluster.until_said("node-2 has ended (signal: 9");
    let again = cluster.until_said("node-2 was started again");
    assert_ne!(process_id(again.last().unwrap()).unwrap(), cluster.parts[2]);
    kill_9(cluster.parts[0]);
    cluster.until_said("store was started again");
    // Refusals until the store is back and the slots are taken over may be retried, as clients do.
    let since = Instant::now();
    loop {
        let request = client.say(conversation, "still there").await;
        let answer = client.until(|frame| match frame {
            ServerFrame::Sent(sent) if sent.request == request => Some(None),
            ServerFrame::Error(error) if error.request == request => Some(Some(error.clone())),
            _ => None,
        });
        let Some(refused) = tokio::time::timeout(LATE, answer).await.unwrap() else { break };
        let code = rookery_protocol::ErrorCode::from_code(refused.code).unwrap();
        assert!(code.retryable(), "{refused:?}");
        assert!(since.elapsed() < LATE, "{refused:?}");
    }
    println!("a send after the store's death: {} ms", since.elapsed().as_millis());
    // The members tell when the one that was killed is back among them.
    while cluster.status().matches(" active ").count() < usize::from(NODES) {
        assert!(since.elapsed() < LATE, "{}", cluster.status());
    }
}
