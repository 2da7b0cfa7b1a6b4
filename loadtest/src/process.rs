//! One process of the `rookery` binary: started, signalled, waited for, and never left behind.

use crate::run::RunError;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Longest wait for the ready line.
const START: Duration = Duration::from_secs(60);
/// Longest wait after SIGTERM.
const END: Duration = Duration::from_secs(30);
/// Between two looks at another process: there is nothing to wait on.
const LOOK: Duration = Duration::from_millis(10);
/// Lines of a log that an error message shows.
const TAIL: usize = 30;
/// Makes password hashing cheap: honoured by the node for test installations only.
const PASSWORD_COST: (&str, &str) = ("ROOKERY_DEV_PASSWORD_COST", "low");

/// A running process. It is killed when this is dropped before it ended, also one that stands
/// still.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
    /// What it said when it was ready.
    pub ready: String,
}

impl Process {
    /// Starts a process that says in one line when it is ready, and waits for that. What it says
    /// on its standard error is appended to `log`.
    ///
    /// # Errors
    /// [`RunError`] with the end of the log.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self, RunError> {
        let failed = |why: String| RunError::new(format!("{why}\n{}", tail(log)));
        let stderr = File::options().append(true).create(true).open(log);
        let stderr = stderr.map_err(|e| failed(format!("{}: {e}", log.display())))?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .map_err(|e| failed(format!("{}: {e}", command.get_program().display())))?;
        let stdout = child.stdout.take();
        let mut process = Self { child, log: log.to_owned(), ready: String::new() };
        let Some(ready) = stdout.and_then(ready_line) else {
            return Err(failed("the process did not become ready:".to_owned()));
        };
        process.ready = ready;
        Ok(process)
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The end of its log.
    #[must_use]
    pub fn log(&self) -> String {
        tail(&self.log)
    }

    /// Sends it a signal; one that is gone hears nothing.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid().cast_signed()) {
            // That it is gone is found by whoever waits for it.
            kill_process(pid, signal).ok();
        }
    }

    /// Waits for its end; whether that was a good one.
    ///
    /// # Errors
    /// [`RunError`] when it does not end in time.
    pub fn wait(&mut self) -> Result<bool, RunError> {
        let start = Instant::now();
        while start.elapsed() < END {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(status.success()),
                _ => thread::sleep(LOOK),
            }
        }
        Err(RunError::new(format!("process {} does not end:\n{}", self.pid(), self.log())))
    }

    /// Kills it and waits until it is gone.
    ///
    /// # Errors
    /// [`RunError`] when it does not end in time.
    pub fn kill(&mut self) -> Result<(), RunError> {
        self.signal(Signal::KILL);
        self.wait().map(drop)
    }

    /// Asks it to end and waits for it.
    ///
    /// # Errors
    /// [`RunError`] when it does not end, or not well.
    pub fn end(mut self) -> Result<(), RunError> {
        self.signal(Signal::TERM);
        if self.wait()? {
            return Ok(());
        }
        Err(RunError::new(format!("process {} ended with a fault:\n{}", self.pid(), self.log())))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// A user of the load test stands for many: no rates, and devices as many as a scenario has.
const NO_LIMITS: [(&str, &str); 7] = [
    ("ROOKERY_LIMITS_ADDRESS_SIGN_UPS_PER_HOUR", "0"),
    ("ROOKERY_LIMITS_SIGN_UPS_PER_HOUR", "0"),
    ("ROOKERY_LIMITS_SENDS_PER_HOUR", "0"),
    ("ROOKERY_LIMITS_OPENS_PER_HOUR", "0"),
    ("ROOKERY_LIMITS_CHANGES_PER_HOUR", "0"),
    ("ROOKERY_LIMITS_REPORTS_PER_HOUR", "0"),
    ("ROOKERY_LIMITS_DEVICES_PER_USER", "1000"),
];

/// The binary as a command, with nothing of the environment that would change what it does, run
/// by the words of `through` (`ip netns exec NAME`) where there are any.
pub(crate) fn rookery(binary: &Path, through: &[String]) -> Command {
    let mut command = match through.split_first() {
        Some((program, arguments)) => {
            let mut command = Command::new(program);
            command.args(arguments).arg(binary);
            command
        }
        None => Command::new(binary),
    };
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ROOKERY_") {
            command.env_remove(name);
        }
    }
    command.env(PASSWORD_COST.0, PASSWORD_COST.1);
    command.envs(NO_LIMITS);
    command
}

/// The `rookery` binary beside this one. Under cargo it is built first (which does nothing when it
/// is fresh), so that a run never measures an old node.
pub(crate) fn binary() -> Result<PathBuf, RunError> {
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

/// The first line that says that the process is ready; the rest of its output is read and dropped,
/// so that it never waits for this process.
fn ready_line(stdout: ChildStdout) -> Option<String> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            // Nobody listens any more after the first.
            if line.contains(" ready:") {
                tell.send(line).ok();
            }
        }
    });
    told.recv_timeout(START).ok()
}

/// The end of a log, for an error message.
pub(crate) fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(TAIL)..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, log: &Path) -> Result<Process, RunError> {
        Process::start(Command::new("sh").args(["-c", script]), log)
    }

    #[test]
    fn a_process_is_known_by_its_ready_line_and_ends_when_asked() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let good = shell("trap 'exit 0' TERM; echo x ready: y; while :; do sleep 0.01; done", &log);
        let good = good.unwrap();
        assert_eq!(good.ready, "x ready: y");
        good.end().unwrap();
        let mut killed = shell("echo x ready: y; exec sleep 100", &log).unwrap();
        killed.signal(Signal::STOP);
        killed.kill().unwrap();
    }

    #[test]
    fn a_process_that_ends_before_it_is_ready_is_told_with_its_log() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let error = shell("echo the reason >&2", &log).unwrap_err();
        assert!(error.to_string().contains("the reason"), "{error}");
    }
}
