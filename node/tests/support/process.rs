//! The binary `rookery` as a process of its own: started, waited for, sent signals, reaped.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;

/// The binary, with nothing of the environment that would change what it does.
pub fn rookery() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rookery"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ROOKERY_") {
            command.env_remove(name);
        }
    }
    command.env("ROOKERY_DEV_PASSWORD_COST", "low");
    // One user of a test sends as many do.
    command.env("ROOKERY_LIMITS_SENDS_PER_HOUR", "0");
    command
}

/// `rookery serve` on free ports.
pub fn serve(data: &Path, more: &[&str]) -> Command {
    let mut command = serve_at(data, SocketAddr::from(([127, 0, 0, 1], 0)));
    command.args(more);
    command
}

/// `rookery serve` on an address that clients find again after a restart.
pub fn serve_at(data: &Path, listen: SocketAddr) -> Command {
    let mut command = rookery();
    command.arg("serve").arg("--data").arg(data);
    command.args(["--listen", &listen.to_string(), "--metrics", "127.0.0.1:0"]);
    // A variable: a flag of the test's own wins over it.
    command.env("ROOKERY_ADMIN_LISTEN", "127.0.0.1:0");
    command
}

/// A local address that nobody uses. It lies below the ports that systems hand out by themselves:
/// while the node is down nobody else gets it, not even a client's own end of a connection.
pub fn stable_address() -> SocketAddr {
    let mut random = [0; 2];
    getrandom::fill(&mut random).unwrap();
    let start = 20_000 + u16::from_be_bytes(random) % 10_000;
    (start..start + 1000)
        .map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
        .find(|address| TcpListener::bind(address).is_ok())
        .unwrap()
}

/// A node that is ready. It is killed when the test ends before it.
pub struct Ready {
    child: Child,
    pub line: String,
    /// Reads the log as it is written: a full pipe would stop the node.
    log: Option<JoinHandle<String>>,
}

impl Ready {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let mut stderr = child.stderr.take().unwrap();
        let log = std::thread::spawn(move || {
            let mut log = String::new();
            stderr.read_to_string(&mut log).unwrap();
            log
        });
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, line, log: Some(log) }
    }

    pub fn address(&self) -> &str {
        let (_, rest) = self.line.split_once("http://").unwrap_or_else(|| panic!("{}", self.line));
        rest.split(' ').next().unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for the end; how it ended, and the log.
    pub fn end(mut self) -> (ExitStatus, String) {
        let log = self.log.take().unwrap().join().unwrap();
        (self.child.wait().unwrap(), log)
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        // Fails when it has ended, which is as good.
        let _ended_before = self.child.kill();
        let _reaped_before = self.child.wait();
    }
}

/// Posts a JSON text; the whole answer.
pub fn post(address: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
