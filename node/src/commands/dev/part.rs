//! One process of `rookery dev`: how it is started, and started again when it ends by itself.

use super::super::{Failure, say};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The wait before a part is started again; each time in a row that it ends, twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest such wait.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Who has lived so long begins with [`FIRST_WAIT`] again.
const LONG_LIFE: Duration = Duration::from_secs(60);

/// A part of the cluster.
pub(super) struct Part {
    name: String,
    command: Command,
    log: PathBuf,
    wait: Duration,
    state: State,
}

enum State {
    Runs {
        child: Child,
        since: Instant,
    },
    /// It is started again at this time.
    Waits(Instant),
    /// It was asked to end, and has, or never started.
    Ended,
}

impl Part {
    /// A part that is yet to be started; what it says goes to `log`.
    pub(super) fn new(name: &str, command: Command, log: PathBuf) -> Self {
        Self { name: name.to_owned(), command, log, wait: FIRST_WAIT, state: State::Ended }
    }

    /// Starts it for the first time, with an empty log, and waits until it is ready; returns what
    /// it says then.
    ///
    /// # Errors
    /// It can't be started, or ended before it was ready.
    pub(super) fn start(&mut self) -> Result<String, Failure> {
        let ready = File::create(&self.log)
            .and_then(|log| self.spawn(log, Stdio::piped()))
            .and_then(|()| self.first_line());
        match ready {
            Ok(line) => Ok(format!("{} (process {}): {line}", self.name, self.id().unwrap_or(0))),
            Err(why) => Err(Failure::new(format!(
                "{} did not start ({why}); see {}",
                self.name,
                self.log.display()
            ))),
        }
    }

    fn spawn(&mut self, log: File, stdout: Stdio) -> io::Result<()> {
        let command = self.command.stdin(Stdio::null()).stdout(stdout).stderr(log);
        let child = command.process_group(0).spawn()?;
        self.state = State::Runs { child, since: Instant::now() };
        Ok(())
    }

    fn first_line(&mut self) -> io::Result<String> {
        let State::Runs { child, .. } = &mut self.state else { return Ok(String::new()) };
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        if line.is_empty() {
            return Err(io::Error::other("it ended"));
        }
        line.truncate(line.trim_end().len());
        Ok(line)
    }

    fn id(&self) -> Option<u32> {
        match &self.state {
            State::Runs { child, .. } => Some(child.id()),
            State::Waits(_) | State::Ended => None,
        }
    }

    /// Looks whether it has ended, or is due to be started again, and says so.
    pub(super) fn look(&mut self, now: Instant, out: &mut dyn Write) {
        match &mut self.state {
            State::Runs { child, since } => {
                let Ok(Some(status)) = child.try_wait() else { return };
                let lived = now.saturating_duration_since(*since);
                if status.success() {
                    self.state = State::Ended;
                    say(out, format_args!("{} has ended, as it was asked to", self.name));
                    return;
                }
                let (wait, next) = waits(self.wait, lived);
                self.wait = next;
                self.state = State::Waits(now + wait);
                let (name, seconds) = (&self.name, wait.as_secs());
                say(out, format_args!("{name} has ended ({status}), again in {seconds} s"));
            }
            State::Waits(until) if *until <= now => self.start_again(now, out),
            State::Waits(_) | State::Ended => {}
        }
    }

    fn start_again(&mut self, now: Instant, out: &mut dyn Write) {
        let log = OpenOptions::new().append(true).create(true).open(&self.log);
        match log.and_then(|log| self.spawn(log, Stdio::null())) {
            Ok(()) => {
                let id = self.id().unwrap_or(0);
                say(out, format_args!("{} was started again (process {id})", self.name));
            }
            Err(why) => {
                self.state = State::Waits(now + LONGEST_WAIT);
                say(out, format_args!("{} can't be started again: {why}", self.name));
            }
        }
    }

    /// Asks it to end.
    pub(super) fn terminate(&self) {
        // Only one that was not waited for: otherwise its number may be another process's by now.
        let pid = self.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid
            && kill_process(pid, Signal::TERM).is_err()
        {
            tracing::debug!(self.name, "had ended before");
        }
    }

    /// Waits until it has ended.
    pub(super) fn wait(self) {
        if let State::Runs { mut child, .. } = self.state
            && let Err(error) = child.wait()
        {
            tracing::warn!(self.name, %error, "can't be waited for");
        }
    }
}

/// How long to wait now that it ended after `lived`, and the next time, if it should not live long.
fn waits(wait: Duration, lived: Duration) -> (Duration, Duration) {
    let wait = if lived >= LONG_LIFE { FIRST_WAIT } else { wait };
    (wait, (wait * 2).min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_ends_again_and_again_is_waited_for_longer_each_time() {
        let mut wait = FIRST_WAIT;
        let mut waited = Vec::new();
        for lived in [0, 3, 59, 1, 1, 1, 1, 60, 5] {
            let now;
            (now, wait) = waits(wait, Duration::from_secs(lived));
            waited.push(now.as_secs());
        }
        assert_eq!(waited, [1, 2, 4, 8, 16, 30, 30, 1, 2]);
    }
}
