//! A node of the harness's own: the `rookery` binary on a temporary directory, ended by SIGTERM.

use crate::run::RunError;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longest wait for the ready line.
const START: Duration = Duration::from_secs(60);
/// Longest wait after SIGTERM.
const END: Duration = Duration::from_secs(30);
/// Makes password hashing cheap: honoured by the node for test installations only.
const PASSWORD_COST: (&str, &str) = ("ROOKERY_DEV_PASSWORD_COST", "low");

/// A running node.
#[derive(Debug)]
pub(crate) struct Node {
    child: Child,
    /// `http://host:port`.
    pub(crate) url: String,
    /// The engine, as the ready line names it.
    pub(crate) store: Option<String>,
    // Removed when the node is dropped, after the child was ended.
    directory: TempDir,
}

impl Node {
    /// Starts a node and waits until it is ready.
    pub(crate) fn spawn() -> Result<Self, RunError> {
        let binary = binary()?;
        let io = |what: &str, e: std::io::Error| RunError::new(format!("{what}: {e}"));
        let directory = tempfile::Builder::new()
            .prefix("rookery-loadtest-")
            .tempdir()
            .map_err(|e| io("temporary directory", e))?;
        let log = directory.path().join("node.log");
        let mut child = Command::new(&binary)
            .args(["serve", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--data"])
            .arg(directory.path().join("data"))
            .env(PASSWORD_COST.0, PASSWORD_COST.1)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).map_err(|e| io("node log", e))?)
            .spawn()
            .map_err(|e| io(&binary.display().to_string(), e))?;
        let line = child.stdout.take().and_then(ready_line);
        let Some((url, store)) = line.as_deref().and_then(parse_ready) else {
            // It may be gone already.
            drop(child.kill());
            drop(child.wait());
            return Err(RunError::new(format!(
                "the node did not become ready (it said {line:?}):\n{}",
                tail(&log)
            )));
        };
        Ok(Self { child, url, store, directory })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks the node to end and waits for it.
    pub(crate) fn end(mut self) -> Result<(), RunError> {
        let log = self.directory.path().join("node.log");
        if let Some(pid) = rustix::process::Pid::from_raw(self.pid().cast_signed()) {
            // A node that is gone already is found by the wait below.
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).ok();
        }
        let start = Instant::now();
        while start.elapsed() < END {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => {
                    return Err(RunError::new(format!(
                        "the node ended with {status}:\n{}",
                        tail(&log)
                    )));
                }
                _ => thread::sleep(Duration::from_millis(20)),
            }
        }
        Err(RunError::new(format!("the node did not end on SIGTERM:\n{}", tail(&log))))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Ended already, unless the run failed.
        if let Ok(None) = self.child.try_wait() {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// The `rookery` binary beside this one. Under cargo it is built first (which does nothing when it
/// is fresh), so that a run never measures an old node.
fn binary() -> Result<PathBuf, RunError> {
    let here = std::env::current_exe().map_err(|e| RunError::new(e.to_string()))?;
    let mut directory = here.parent().unwrap_or(Path::new(".")).to_owned();
    if directory.file_name().is_some_and(|n| n == "deps") {
        directory.pop();
    }
    let release = directory.file_name().is_some_and(|n| n == "release");
    let binary = directory.join(format!("rookery{}", std::env::consts::EXE_SUFFIX));
    let build = if release {
        "cargo build --release -p rookery-node"
    } else {
        "cargo build -p rookery-node"
    };
    if let Some(cargo) = std::env::var_os("CARGO") {
        let mut command = Command::new(cargo);
        command.args(["build", "--quiet", "-p", "rookery-node"]);
        if release {
            command.arg("--release");
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
        let built = command.current_dir(root).status();
        if !built.is_ok_and(|status| status.success()) {
            return Err(RunError::new(format!("`{build}` failed")));
        }
    }
    if binary.is_file() {
        return Ok(binary);
    }
    Err(RunError::new(format!(
        "{} is not there: run `{build}` first, or give --url",
        binary.display()
    )))
}

/// The first line that says that the node is ready; the rest of its output is read and dropped, so
/// that the node never waits for this process.
fn ready_line(stdout: std::process::ChildStdout) -> Option<String> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if line.starts_with("rookery ready:") && tell.send(line).is_err() {
                break;
            }
        }
    });
    told.recv_timeout(START).ok()
}

/// Address and store engine of a ready line.
fn parse_ready(line: &str) -> Option<(String, Option<String>)> {
    let rest = line.strip_prefix("rookery ready:")?.trim();
    let (url, details) = rest.split_once(' ').unwrap_or((rest, ""));
    let store = details
        .trim_matches(['(', ')'])
        .split(", ")
        .find_map(|part| part.strip_prefix("store "))
        .map(str::to_owned);
    url.starts_with("http://").then(|| (url.to_owned(), store))
}

/// The end of the node's log, for an error message.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_gives_address_and_store() {
        let line = "rookery ready: http://127.0.0.1:8080 (data ./d, store embedded, node n1)";
        let (url, store) = parse_ready(line).unwrap();
        assert_eq!((url.as_str(), store.as_deref()), ("http://127.0.0.1:8080", Some("embedded")));
        assert_eq!(parse_ready("rookery ready: http://h:1").unwrap(), ("http://h:1".into(), None));
        assert_eq!(parse_ready("listening"), None);
    }
}
