//! Nodes of the harness's own, as real processes on a temporary directory.
//!
//! ```text
//! 1 node     rookery serve, on its embedded store
//! N nodes    rookery store, and N times rookery serve on its socket, joined by links with mutual
//!            TLS; the certificates come from rookery cert
//! ```
//!
//! The parts are what an operator types. A node keeps its ports over restarts, so that clients find
//! it again. This is the only place that starts a cluster for a test or a run.

use crate::gate::Gate;
use crate::process::{Process, rookery, tail};
use crate::run::RunError;
use rustix::process::Signal;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Nothing that is waited for takes this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at another process's state: there is nothing to wait on.
const LOOK: Duration = Duration::from_millis(50);
/// Longest wait for an answer of a node's own port: one that stands still gives none.
const ASKING: Duration = Duration::from_secs(5);
/// The cluster's name.
const NAME: &str = "test";
/// Ports are taken from here, below those that a system gives to connections: a client that dials
/// a port of that range where nobody listens may be connected to itself.
const PORTS: std::ops::Range<u16> = 10_000..32_000;

/// Where a node runs.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its address, on which the other nodes and this process reach it.
    pub address: IpAddr,
    /// The words that its command is run by, for example `ip netns exec NAME`.
    pub through: Vec<String>,
}

impl Default for Place {
    fn default() -> Self {
        Self { address: Ipv4Addr::LOCALHOST.into(), through: Vec::new() }
    }
}

/// What to start.
#[derive(Clone, Debug)]
pub struct Setup {
    binary: PathBuf,
    nodes: usize,
    places: Vec<Place>,
    store: Option<PathBuf>,
    environment: Vec<(String, String)>,
    of_node: Vec<(usize, String, String)>,
    gated: bool,
}

/// Ports of a node.
#[derive(Clone, Copy, Debug)]
struct Ports {
    http: u16,
    metrics: u16,
    link: u16,
}

impl Setup {
    /// This many nodes of this binary.
    #[must_use]
    pub fn new(binary: PathBuf, nodes: usize) -> Self {
        Self {
            binary,
            nodes,
            places: Vec::new(),
            store: None,
            environment: Vec::new(),
            of_node: Vec::new(),
            gated: false,
        }
    }

    /// Where the nodes run, in their order; those beyond the list run on 127.0.0.1.
    #[must_use]
    pub fn places(mut self, places: Vec<Place>) -> Self {
        self.places = places;
        self
    }

    /// Where the store's process keeps its data, for a file system of its own.
    #[must_use]
    pub fn store_on(mut self, directory: PathBuf) -> Self {
        self.store = Some(directory);
        self
    }

    /// A variable of the nodes' environment, for a setting that has no flag.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Each node reaches the store through a gate of its own: see [`Cluster::gate`].
    #[must_use]
    pub fn gated(mut self) -> Self {
        self.gated = true;
        self
    }

    /// Starts it all; the nodes are active members, linked to each other, when this returns.
    ///
    /// # Errors
    /// [`RunError`] with the log of what did not start.
    pub fn start(self) -> Result<Cluster, RunError> {
        let directory = tempfile::Builder::new().prefix("rookery-loadtest-").tempdir();
        let directory = directory.map_err(|e| fault("temporary directory", &e))?;
        let count = self.nodes;
        let ports = free_ports(3 * count)?;
        let ports = ports
            .chunks_exact(3)
            .filter_map(|p| match *p {
                [http, metrics, link] => Some(Ports { http, metrics, link }),
                _ => None,
            })
            .collect();
        let nodes = (0..count).map(|_| None).collect();
        let gates = Vec::new();
        let mut cluster = Cluster { nodes, gates, store: None, setup: self, ports, directory };
        if count > 1 {
            cluster.certify()?;
            cluster.start_store()?;
        }
        if cluster.setup.gated {
            cluster.set_gates()?;
        }
        (0..count).try_for_each(|n| cluster.start_node(n))?;
        if count > 1 {
            (0..count).try_for_each(|n| cluster.wait_for(n, count))?;
        }
        Ok(cluster)
    }
}

/// Running processes. Whatever still runs when this is dropped is killed.
#[derive(Debug)]
pub struct Cluster {
    // The nodes go before the store they stand on, and the files last.
    nodes: Vec<Option<Process>>,
    gates: Vec<Gate>,
    store: Option<Process>,
    setup: Setup,
    ports: Vec<Ports>,
    directory: TempDir,
}

impl Cluster {
    /// How many nodes it was set up with.
    #[must_use]
    pub fn count(&self) -> usize {
        self.ports.len()
    }

    /// Where everything lies.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Starts a node that is not running.
    ///
    /// # Errors
    /// [`RunError`] with its log.
    pub fn start_node(&mut self, n: usize) -> Result<(), RunError> {
        let Ports { http, metrics, link } = self.ports(n)?;
        let Place { address, through } = self.place(n);
        let data = self.directory();
        let at = |port: u16| SocketAddr::new(address, port).to_string();
        let mut node = rookery(&self.setup.binary, &through);
        node.arg("serve").arg("--data").arg(data.join(name(n)));
        node.args(["--node", &name(n), "--listen", &at(http), "--metrics", &at(metrics)]);
        node.args(["--admin", "off"]);
        if self.count() > 1 {
            let gate = self.gates.get(n).map(|gate| gate.path().to_owned());
            node.args(["--store", "shared", "--socket"]);
            node.arg(gate.unwrap_or_else(|| self.socket()));
            node.args(["--cluster", NAME, "--link", &at(link)]);
            node.env("ROOKERY_CLUSTER_CERTIFICATES", data.join("certs"));
        }
        node.envs(self.setup.environment.iter().map(|(name, value)| (name, value)));
        let own = self.setup.of_node.iter().filter(|(of, ..)| *of == n);
        node.envs(own.map(|(_, name, value)| (name, value)));
        let node = Process::start(&mut node, &self.log_file(n))?;
        if let Some(place) = self.nodes.get_mut(n) {
            *place = Some(node);
        }
        Ok(())
    }

    /// A variable of one node's environment, from its next start on.
    pub fn set(&mut self, n: usize, name: &str, value: &str) {
        self.setup.of_node.push((n, name.to_owned(), value.to_owned()));
    }

    /// Starts the store's process, when it is not running.
    ///
    /// # Errors
    /// [`RunError`] with its log.
    pub fn start_store(&mut self) -> Result<(), RunError> {
        // The one before lets go of the data first.
        self.store = None;
        let data = self.setup.store.clone().unwrap_or_else(|| self.directory().join("store"));
        let mut store = rookery(&self.setup.binary, &[]);
        store.arg("store").arg("--data").arg(data).arg("--socket").arg(self.socket());
        self.store = Some(Process::start(&mut store, &self.directory().join("store.log"))?);
        Ok(())
    }

    /// What stands between a node and the store: closed, the node is cut off from it.
    ///
    /// # Errors
    /// [`RunError`] when the cluster was set up without gates.
    pub fn gate(&self, n: usize) -> Result<&Gate, RunError> {
        self.gates.get(n).ok_or_else(|| RunError::new(format!("node {n} has no gate")))
    }

    /// A node's process.
    ///
    /// # Errors
    /// [`RunError`] when it was not started, or there is none.
    pub fn node(&mut self, n: usize) -> Result<&mut Process, RunError> {
        let node = self.nodes.get_mut(n).and_then(Option::as_mut);
        node.ok_or_else(|| RunError::new(format!("there is no node {n}")))
    }

    /// The store's process.
    ///
    /// # Errors
    /// [`RunError`] where the one node holds the store itself.
    pub fn store(&mut self) -> Result<&mut Process, RunError> {
        self.store.as_mut().ok_or_else(|| RunError::new("there is no process of the store"))
    }

    /// A node's address, `http://host:port`.
    #[must_use]
    pub fn url(&self, n: usize) -> String {
        let port = self.ports.get(n).map_or(0, |ports| ports.http);
        format!("http://{}", SocketAddr::new(self.place(n).address, port))
    }

    /// The engine of the store, as the node names it.
    #[must_use]
    pub fn engine(&self) -> Option<String> {
        let ready = &self.nodes.first()?.as_ref()?.ready;
        parse_engine(ready).map(str::to_owned)
    }

    /// The processes that run.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.nodes.iter().flatten().chain(&self.store).map(Process::pid).collect()
    }

    /// `rookery cluster status --json` of a node.
    ///
    /// # Errors
    /// [`RunError`] when it gives no answer.
    pub fn status(&self, n: usize) -> Result<serde_json::Value, RunError> {
        let text = self.ask(n, "/cluster")?;
        serde_json::from_str(&text).map_err(|e| fault("cluster status", &e))
    }

    /// How many active members a node sees.
    ///
    /// # Errors
    /// [`RunError`] when it gives no answer.
    pub fn active(&self, n: usize) -> Result<usize, RunError> {
        let status = self.status(n)?;
        let nodes = status.get("nodes").and_then(serde_json::Value::as_array);
        let active = |node: &&serde_json::Value| node.get("state") == Some(&"active".into());
        Ok(nodes.map_or(0, |nodes| nodes.iter().filter(active).count()))
    }

    /// Asks a node to leave in order and to end.
    ///
    /// # Errors
    /// [`RunError`] when it was not started, or there is none.
    pub fn drain(&mut self, n: usize) -> Result<(), RunError> {
        self.node(n).map(|node| node.signal(Signal::TERM))
    }

    /// Waits until a node sees this many members, all of them active and linked.
    ///
    /// # Errors
    /// [`RunError`] with what it sees instead.
    pub fn wait_for(&self, n: usize, count: usize) -> Result<(), RunError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.status(n);
            if let Ok(status) = &status
                && members(status) == (count, count)
            {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(RunError::new(format!("{status:?}; {}", self.log(n))));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// The end of a node's log.
    #[must_use]
    pub fn log(&self, n: usize) -> String {
        tail(&self.log_file(n))
    }

    /// Asks all nodes to end, then the store, and waits for them.
    ///
    /// # Errors
    /// [`RunError`] of the first that did not end well.
    pub fn end(mut self) -> Result<(), RunError> {
        let nodes = self.nodes.iter_mut().filter_map(Option::take);
        let mut ended: Vec<_> = nodes.map(Process::end).collect();
        ended.extend(self.store.take().map(Process::end));
        ended.into_iter().collect()
    }

    fn set_gates(&mut self) -> Result<(), RunError> {
        let gate =
            |n| Gate::new(&self.directory().join(format!("{}.sock", name(n))), &self.socket());
        let gates: Result<_, _> = (0..self.count()).map(gate).collect();
        self.gates = gates.map_err(|e| fault("a gate", &e))?;
        Ok(())
    }

    fn certify(&self) -> Result<(), RunError> {
        let certs = self.directory().join("certs");
        let cert = |arguments: &[&str]| {
            let mut command = rookery(&self.setup.binary, &[]);
            command.arg("cert").args(arguments).args(["--cluster", NAME, "--dir"]).arg(&certs);
            match command.stdout(Stdio::null()).status() {
                Ok(status) if status.success() => Ok(()),
                other => Err(RunError::new(format!("rookery cert: {other:?}"))),
            }
        };
        cert(&["authority"])?;
        (0..self.count()).try_for_each(|n| cert(&["node", "--name", &name(n)]))
    }

    fn ask(&self, n: usize, path: &str) -> Result<String, RunError> {
        let address = SocketAddr::new(self.place(n).address, self.ports(n)?.metrics);
        let exchange = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect_timeout(&address, ASKING)?;
            stream.set_read_timeout(Some(ASKING))?;
            let request = format!(
                "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            );
            stream.write_all(request.as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = exchange().map_err(|e| fault(&format!("{path} of node {n}"), &e))?;
        match answer.split_once("\r\n\r\n") {
            Some((head, body)) if head.starts_with("HTTP/1.1 20") => Ok(body.to_owned()),
            _ => Err(RunError::new(format!("{path} of node {n}: {answer}"))),
        }
    }

    fn place(&self, n: usize) -> Place {
        self.setup.places.get(n).cloned().unwrap_or_default()
    }

    fn ports(&self, n: usize) -> Result<Ports, RunError> {
        self.ports.get(n).copied().ok_or_else(|| RunError::new(format!("there is no node {n}")))
    }

    fn socket(&self) -> PathBuf {
        self.directory().join("store.sock")
    }

    fn log_file(&self, n: usize) -> PathBuf {
        self.directory().join(format!("{}.log", name(n)))
    }
}

/// A node's name in the cluster.
fn name(n: usize) -> String {
    format!("n{n}")
}

fn fault(what: &str, error: &dyn std::fmt::Display) -> RunError {
    RunError::new(format!("{what}: {error}"))
}

/// How many members a status shows, and how many of them are active and linked.
fn members(status: &serde_json::Value) -> (usize, usize) {
    let nodes = status.get("nodes").and_then(serde_json::Value::as_array);
    let nodes = nodes.map_or(&[][..], Vec::as_slice);
    let good = |node: &&serde_json::Value| {
        let is = |key: &str, value: serde_json::Value| node.get(key) == Some(&value);
        is("state", "active".into()) && is("linked", true.into())
    };
    (nodes.len(), nodes.iter().filter(good).count())
}

/// The store's engine in a ready line.
fn parse_engine(line: &str) -> Option<&str> {
    let (_, details) = line.split_once('(')?;
    details.trim_end_matches(')').split(", ").find_map(|part| part.strip_prefix("store "))
}

/// Ports that nobody listens on.
fn free_ports(count: usize) -> Result<Vec<u16>, RunError> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let room = PORTS.end - PORTS.start;
    // Processes that run side by side start at different places.
    let start = u16::try_from(std::process::id().wrapping_mul(97) % u32::from(room)).unwrap_or(0);
    // Held until all are chosen, so that none is chosen twice.
    let mut held = Vec::new();
    for _ in PORTS {
        if held.len() == count {
            break;
        }
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % room;
        let port = PORTS.start + (start + step) % room;
        held.extend(TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).map(|l| (l, port)));
    }
    if held.len() < count {
        return Err(RunError::new("there are no free ports"));
    }
    Ok(held.into_iter().map(|(_, port)| port).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_gives_the_engine() {
        let line = "rookery ready: http://127.0.0.1:8080 (data ./d, store embedded, node n1)";
        assert_eq!(parse_engine(line), Some("embedded"));
        assert_eq!(parse_engine("rookery ready: http://h:1"), None);
    }

    #[test]
    fn ports_are_free_and_all_different() {
        let (one, other) = (free_ports(20).unwrap(), free_ports(20).unwrap());
        let all: std::collections::BTreeSet<u16> = one.into_iter().chain(other).collect();
        assert_eq!(all.len(), 40);
        assert!(all.iter().all(|port| PORTS.contains(port)));
    }

    #[test]
    fn members_count_when_they_are_active_and_linked() {
        let node =
            |state: &str, linked: bool| serde_json::json!({"state": state, "linked": linked});
        let nodes = [node("active", true), node("draining", true), node("active", false)];
        assert_eq!(members(&serde_json::json!({ "nodes": nodes })), (3, 1));
        assert_eq!(members(&serde_json::json!({})), (0, 0));
    }
}
