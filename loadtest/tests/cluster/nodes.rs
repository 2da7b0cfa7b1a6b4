//! A cluster of real processes: the store's and the nodes', on free ports of this machine.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Nothing that is waited for takes this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process of the cluster, killed when the test ends before it.
pub struct Part(Child);

impl Part {
    fn start(command: &mut Command, log: &Path) -> Self {
        let log = std::fs::File::options().append(true).create(true).open(log).unwrap();
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let part = Self(child);
        assert!(line.contains(" ready"), "it ended before it was ready: {line:?}");
        part
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for its end; whether that was a good one.
    pub fn wait(&mut self) -> bool {
        self.0.wait().unwrap().success()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            // One that stands still can be killed all the same.
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }
}

/// Ports of a node.
struct Ports {
    http: u16,
    metrics: u16,
    link: u16,
}

/// See the module.
pub struct Cluster {
    binary: PathBuf,
    directory: tempfile::TempDir,
    ports: Vec<Ports>,
    pub nodes: Vec<Option<Part>>,
    _store: Part,
}

impl Cluster {
    /// Starts a store and this many nodes, which are all active members when it returns.
    pub fn start(binary: PathBuf, count: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path();
        let certs = data.join("certs");
        let cert = |arguments: &[&str]| {
            let mut command = rookery(&binary);
            command.arg("cert").args(arguments).args(["--cluster", "test", "--dir"]).arg(&certs);
            assert!(command.stdout(Stdio::null()).status().unwrap().success());
        };
        cert(&["authority"]);
        (0..count).for_each(|n| cert(&["node", "--name", &format!("n{n}")]));
        let mut store = rookery(&binary);
        store.arg("store").arg("--data").arg(data).arg("--socket").arg(data.join("store.sock"));
        let store = Part::start(&mut store, &data.join("store.log"));
        // Held until all are chosen, so that none is chosen twice.
        let listeners: Vec<TcpListener> =
            (0..3 * count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let free: Vec<u16> =
            listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        drop(listeners);
        let ports = free.chunks(3).map(|p| Ports { http: p[0], metrics: p[1], link: p[2] });
        let ports: Vec<Ports> = ports.collect();
        let nodes = (0..count).map(|_| None).collect();
        let mut cluster = Self { binary, directory, ports, nodes, _store: store };
        (0..count).for_each(|n| cluster.start_node(n));
        cluster.wait_for(0, count);
        cluster
    }

    pub fn start_node(&mut self, n: usize) {
        let data = self.directory.path();
        let Ports { http, metrics, link } = self.ports[n];
        let mut node = rookery(&self.binary);
        node.arg("serve").arg("--data").arg(data.join(format!("n{n}")));
        node.args(["--store", "shared", "--socket"]).arg(data.join("store.sock"));
        node.args(["--node", &format!("n{n}"), "--cluster", "test"]);
        node.args(["--listen", &format!("127.0.0.1:{http}")]);
        node.args(["--metrics", &format!("127.0.0.1:{metrics}")]);
        node.args(["--link", &format!("127.0.0.1:{link}")]);
        node.env("ROOKERY_CLUSTER_CERTIFICATES", data.join("certs"));
        self.nodes[n] = Some(Part::start(&mut node, &data.join(format!("n{n}.log"))));
    }

    pub fn url(&self, n: usize) -> String {
        format!("http://127.0.0.1:{}", self.ports[n].http)
    }

    pub fn node(&mut self, n: usize) -> &mut Part {
        self.nodes[n].as_mut().unwrap()
    }

    /// `rookery cluster status --json` of a node.
    pub fn status(&self, n: usize) -> serde_json::Value {
        let text = self.ask(n, "GET", "/cluster");
        serde_json::from_str(&text).unwrap()
    }

    pub fn drain(&self, n: usize) {
        self.ask(n, "POST", "/drain");
    }

    /// Waits until a node sees this many active, linked members.
    pub fn wait_for(&self, n: usize, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.status(n);
            let nodes = status["nodes"].as_array().unwrap();
            let good =
                nodes.iter().filter(|node| node["state"] == "active" && node["linked"] == true);
            if nodes.len() == count && good.count() == count {
                return;
            }
            assert!(Instant::now() < deadline, "{status:#}; {}", self.log(n));
            // Another process's state: there is nothing to wait on.
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The end of a node's log.
    pub fn log(&self, n: usize) -> String {
        let path = self.directory.path().join(format!("n{n}.log"));
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(30).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    fn ask(&self, n: usize, method: &str, path: &str) -> String {
        let address = format!("127.0.0.1:{}", self.ports[n].metrics);
        let mut stream = TcpStream::connect(&address).unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\nx-rookery-admin: 1\r\n\
             connection: close\r\ncontent-length: 0\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 20"), "{answer}");
        body.to_owned()
    }
}

/// The binary, with nothing of the environment that would change what it does.
fn rookery(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ROOKERY_") {
            command.env_remove(name);
        }
    }
    command.env("ROOKERY_DEV_PASSWORD_COST", "low");
    command
}
