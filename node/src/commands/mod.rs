//! The operators' tools: `store check`, `backup`, `restore`, `migrate`, `cluster status`, `drain`,
//! `dev`, `cert`, `admin`.
//!
//! Each is one file: its flags, what it does, what it prints. Results go to stdout, progress and
//! failures to stderr. Exit codes: 0 done (and nothing found), 1 it could not be done, 2 wrong
//! command line, 3 the check found something.

mod admin;
mod backup;
mod cert;
mod check;
mod cluster;
mod dev;
mod migrate;
mod restore;

pub use admin::{Admin, Drain};
pub use backup::Backup;
pub use cert::{Cert, CertError};
pub use check::Check;
pub use cluster::Status;
pub use dev::Dev;
pub use migrate::Migrate;
pub use restore::Restore;

use crate::log;
use crate::place::Place;
use clap::Args;
use rookery_cluster_config::{Config, FlagValue, Log, LogFormat, LogLevel, Sources};
use std::fmt::Display;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const FAILED: u8 = 1;
const WRONG_CONFIGURATION: u8 = 2;
const FOUND: u8 = 3;
/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(1);

/// A tool and its flags.
#[derive(Debug)]
pub enum Tool {
    /// `store check`
    Check(Check),
    /// `backup`
    Backup(Backup),
    /// `restore`
    Restore(Restore),
    /// `migrate`
    Migrate(Migrate),
    /// `cluster status`
    Status(Status),
    /// `drain`
    Drain(Drain),
    /// `cert`
    Cert(Cert),
    /// `dev`
    Dev(Dev),
    /// `admin`
    Admin(Admin),
}

/// Why a tool ended without doing its work: the exit code, and one line that names the remedy.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    fn new(error: impl Display) -> Self {
        Self { code: FAILED, text: error.to_string() }
    }
}

impl Tool {
    /// Does the work and says how it went.
    #[must_use]
    pub fn run(self) -> ExitCode {
        log::start(Log { level: LogLevel::Warn, format: LogFormat::Text });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let mut out = std::io::stdout().lock();
        let done = match runtime.map_err(Failure::new) {
            Err(failure) => Err(failure),
            Ok(runtime) => runtime.block_on(async {
                match self {
                    Self::Check(check) => check.run(&mut out).await,
                    Self::Backup(backup) => backup.run(&mut out).await,
                    Self::Restore(restore) => restore.run(&mut out).await,
                    Self::Migrate(migrate) => migrate.run(&mut out).await,
                    Self::Status(status) => status.run(&mut out),
                    Self::Drain(drain) => drain.run(&mut out),
                    Self::Cert(cert) => {
                        say(&mut out, cert.run().map_err(Failure::new)?.trim_end());
                        Ok(ExitCode::SUCCESS)
                    }
                    Self::Dev(dev) => dev.run(&mut out).await,
                    Self::Admin(admin) => admin.run(&mut out),
                }
            }),
        };
        match done {
            Ok(code) => code,
            Err(Failure { code, text }) => {
                say(&mut std::io::stderr(), format_args!("rookery: {text}"));
                code.into()
            }
        }
    }
}

/// Which store: by default the configured node's.
#[derive(Debug, Args)]
pub struct Which {
    /// The store: embedded:DIR, shared:SOCKET or fdb:CLUSTERFILE. Without it, the configured one.
    #[arg(long, value_name = "PLACE", conflicts_with_all = ["config", "data"])]
    store: Option<Place>,
    /// Configuration file of the node (TOML).
    #[arg(long, value_name = "FILE", env = "ROOKERY_CONFIG")]
    config: Option<PathBuf>,
    /// Data directory of the node [default: ./rookery-data].
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
}

impl Which {
    fn place(self) -> Result<Place, Failure> {
        if let Some(place) = self.store {
            return Ok(place);
        }
        let data = self.data.map(|value| FlagValue { flag: "--data", key: "node.data_dir", value });
        Ok(Place::configured(&configured(self.config, data)?))
    }
}

/// The node's configuration, as its file, the environment and a flag make it.
fn configured(file: Option<PathBuf>, flag: Option<FlagValue>) -> Result<Config, Failure> {
    let environment = std::env::vars_os()
        .map(|(name, value)| (lossy(name), lossy(value)))
        .filter(|(name, _)| name.starts_with("ROOKERY_"))
        .collect();
    let sources = Sources { file, environment, flags: flag.into_iter().collect() };
    let loaded = rookery_cluster_config::load(&sources)
        .map_err(|faults| Failure { code: WRONG_CONFIGURATION, text: faults.to_string() })?;
    Ok(loaded.config)
}

fn lossy(text: std::ffi::OsString) -> String {
    text.to_string_lossy().into_owned()
}

/// Writes a line; a closed pipe is no reason to stop.
fn say(to: &mut dyn Write, line: impl Display) {
    if writeln!(to, "{line}").and_then(|()| to.flush()).is_err() {
        tracing::debug!("nobody reads the output");
    }
}

/// Tells on stderr how far a long work is, at most once a second.
struct Progress {
    told: Instant,
}

impl Progress {
    fn new() -> Self {
        Self { told: Instant::now() }
    }

    fn tell(&mut self, line: impl FnOnce() -> String) {
        if self.told.elapsed() >= PROGRESS {
            self.told = Instant::now();
            say(&mut std::io::stderr(), line());
        }
    }
}
