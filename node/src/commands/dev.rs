//! `rookery dev`: a whole cluster on this machine, each part a process of its own.
//!
//! ```text
//! DIR/certs          certificates of the nodes, made at the first start
//! DIR/store          the data, DIR/store.sock its process
//! DIR/NODE           what a node keeps, DIR/NODE.log what it says
//! ```
//!
//! The parts are ordinary `rookery cert`, `store` and `serve` processes with flags that anybody
//! can type. They are in process groups of their own, so that an interrupt at the terminal ends
//! them in order: nodes first, then the store they stand on. One that ends otherwise is started
//! again, as the service manager of a real machine does it.

mod part;

use super::{Failure, say};
use clap::Args;
use part::Part;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// The cluster's name.
const CLUSTER: &str = "dev";
/// Between two looks whether a part has ended.
const WATCH: Duration = Duration::from_millis(500);

/// What `dev` takes.
#[derive(Debug, Args)]
pub struct Dev {
    /// How many nodes.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=32))]
    nodes: u16,
    /// Directory of everything.
    #[arg(long, value_name = "DIR", default_value = "./rookery-dev")]
    data: PathBuf,
    /// Port of the first node's page; the others follow.
    #[arg(long, default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..=65_000))]
    port: u16,
    /// Port of the first node's metrics; the others follow.
    #[arg(long, default_value_t = 9090, value_parser = clap::value_parser!(u16).range(1..=65_000))]
    metrics_port: u16,
    /// Port of the first node for operators; the others follow.
    #[arg(long, default_value_t = 9190, value_parser = clap::value_parser!(u16).range(1..=65_000))]
    admin_port: u16,
    /// Port of the first node's link; the others follow.
    #[arg(long, default_value_t = 7300, value_parser = clap::value_parser!(u16).range(1..=65_000))]
    link_port: u16,
}

impl Dev {
    pub(super) async fn run(self, out: &mut dyn Write) -> Result<ExitCode, Failure> {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::new)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(Failure::new)?;
        std::fs::create_dir_all(&self.data).map_err(|error| {
            Failure::new(format!("can't make {}: {error}", self.data.display()))
        })?;
        self.certify()?;
        let mut parts = Vec::new();
        let started = self.start(&mut parts, out);
        if started.is_ok() {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => break,
                    _ = terminate.recv() => break,
                    () = tokio::time::sleep(WATCH) => {
                        let now = Instant::now();
                        parts.iter_mut().for_each(|part| part.look(now, out));
                    }
                }
            }
        }
        say(out, "ending");
        // All nodes at once: none needs to hand anything to another. Then the store.
        parts.iter().skip(1).for_each(Part::terminate);
        while let Some(part) = parts.pop() {
            if parts.is_empty() {
                part.terminate();
            }
            part.wait();
        }
        started.map(|()| ExitCode::SUCCESS)
    }

    fn certs(&self) -> PathBuf {
        self.data.join("certs")
    }

    fn node(number: u16) -> String {
        format!("node-{}", number + 1)
    }

    /// Makes the certificates that are not there yet.
    fn certify(&self) -> Result<(), Failure> {
        let certs = self.certs();
        if !certs.join("ca.pem").exists() {
            self.cert(&["authority"])?;
        }
        for number in 0..self.nodes {
            let name = Self::node(number);
            if !certs.join(format!("{name}.pem")).exists() {
                self.cert(&["node", "--name", &name])?;
            }
        }
        Ok(())
    }

    fn cert(&self, arguments: &[&str]) -> Result<(), Failure> {
        let mut command = rookery()?;
        command.arg("cert").args(arguments).args(["--cluster", CLUSTER, "--dir"]);
        let done = command.arg(self.certs()).stdout(Stdio::null()).status();
        match done {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Failure::new(format!("certificates can't be made ({status})"))),
            Err(error) => Err(Failure::new(format!("certificates can't be made: {error}"))),
        }
    }

    /// Starts all parts and says where they are.
    fn start(&self, parts: &mut Vec<Part>, out: &mut dyn Write) -> Result<(), Failure> {
        let socket = self.data.join("store.sock");
        let mut store = rookery()?;
        store.arg("store").arg("--data").arg(&self.data).arg("--socket").arg(&socket);
        self.part("store", store, parts, out)?;
        for number in 0..self.nodes {
            let name = Self::node(number);
            let at = |port: u16| format!("127.0.0.1:{}", port.saturating_add(number));
            let mut node = rookery()?;
            node.arg("serve").arg("--data").arg(self.data.join(&name));
            node.args(["--store", "shared", "--socket"]).arg(&socket);
            node.args(["--node", &name, "--cluster", CLUSTER]);
            node.args(["--listen", &at(self.port), "--metrics", &at(self.metrics_port)]);
            node.args(["--admin", &at(self.admin_port), "--link", &at(self.link_port)]);
            node.env("ROOKERY_CLUSTER_CERTIFICATES", self.certs());
            self.part(&name, node, parts, out)?;
        }
        for number in 0..self.nodes {
            let port = self.port.saturating_add(number);
            say(out, format_args!("page of {}: http://127.0.0.1:{port}/", Self::node(number)));
        }
        let metrics = self.metrics_port;
        say(out, format_args!("rookery cluster status --metrics 127.0.0.1:{metrics}"));
        say(out, "rookery dev ready");
        Ok(())
    }

    /// Starts a part and waits until it says that it is ready.
    fn part(
        &self,
        name: &str,
        command: Command,
        parts: &mut Vec<Part>,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        let mut part = Part::new(name, command, self.data.join(format!("{name}.log")));
        let ready = part.start();
        parts.push(part);
        say(out, ready?);
        Ok(())
    }
}

/// This program once more.
fn rookery() -> Result<Command, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::new(format!("can't find this program: {error}")))?;
    Ok(Command::new(program))
}
