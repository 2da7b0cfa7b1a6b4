//! The command line: which flags there are, and how they become a configuration.

use crate::commands::{Backup, Check, Migrate, Restore, Tool};
use clap::{Args, Parser, Subcommand};
use rookery_cluster_config::{Faults, FlagValue, Loaded, Sources};
use std::ffi::OsString;
use std::path::PathBuf;

/// A chat backend that operators run on their own machines.
#[derive(Debug, Parser)]
#[command(name = "rookery", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts a node (what `rookery` without a command does too).
    Serve(Serve),
    /// Works on a store.
    #[command(subcommand)]
    Store(StoreCommand),
    /// Writes a backup, also while a node is running.
    Backup(Backup),
    /// Restores a backup into an empty store.
    Restore(Restore),
    /// Moves a store to another engine.
    Migrate(Migrate),
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Holds every row to the schema; status 0 only if nothing is wrong.
    Check(Check),
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Job {
    /// To start a node.
    Serve(Serve),
    /// To run an operators' tool.
    Tool(Tool),
}

/// What `serve` takes.
#[derive(Clone, Debug, Default, Args)]
pub struct Serve {
    /// Configuration file (TOML). Without one the defaults hold.
    #[arg(long, value_name = "FILE", env = "ROOKERY_CONFIG")]
    config: Option<PathBuf>,
    /// Data directory [default: ./rookery-data].
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Address of HTTP, WebSocket and page [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Address of the metrics, or "off" [default: 127.0.0.1:9090].
    #[arg(long, value_name = "ADDR")]
    metrics: Option<String>,
}

impl Cli {
    /// What to do.
    #[must_use]
    pub fn job(self) -> Job {
        match self.command {
            Some(Command::Serve(serve)) => Job::Serve(serve),
            Some(Command::Store(StoreCommand::Check(check))) => Job::Tool(Tool::Check(check)),
            Some(Command::Backup(backup)) => Job::Tool(Tool::Backup(backup)),
            Some(Command::Restore(restore)) => Job::Tool(Tool::Restore(restore)),
            Some(Command::Migrate(migrate)) => Job::Tool(Tool::Migrate(migrate)),
            None => Job::Serve(self.serve),
        }
    }
}

impl Serve {
    /// The configuration that the file, the environment and these flags make.
    ///
    /// # Errors
    /// [`Faults`]: all of them.
    pub fn configuration(
        self,
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Loaded, Faults> {
        let flags = [
            ("--data", "node.data_dir", self.data),
            ("--listen", "http.listen", self.listen),
            ("--metrics", "metrics.listen", self.metrics),
        ];
        let flags = flags
            .into_iter()
            .filter_map(|(flag, key, value)| Some(FlagValue { flag, key, value: value? }))
            .collect();
        // What isn't Unicode is told as a fault of its key rather than dropped.
        let lossy = |text: OsString| text.to_string_lossy().into_owned();
        let environment = environment.map(|(name, value)| (lossy(name), lossy(value))).collect();
        rookery_cluster_config::load(&Sources { file: self.config, environment, flags })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rookery_cluster_config::Config;

    fn configured(line: &str) -> Result<Config, Faults> {
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        let none = std::iter::empty();
        let Job::Serve(serve) = cli.job() else { panic!("{line} does not serve") };
        serve.configuration(none).map(|loaded| loaded.config)
    }

    #[test]
    fn no_command_serves_with_the_defaults_as_serve_does() {
        assert_eq!(configured("rookery"), Ok(Config::default()));
        assert_eq!(configured("rookery serve"), Ok(Config::default()));
    }

    #[test]
    fn flags_reach_their_keys_with_and_without_the_command() {
        for command in ["rookery", "rookery serve"] {
            let flags = "--data /tmp/x --listen 127.0.0.1:0 --metrics off";
            let config = configured(&format!("{command} {flags}")).unwrap();
            assert_eq!(config.node.data_dir, PathBuf::from("/tmp/x"));
            assert_eq!(config.http.listen.port(), 0);
            assert_eq!(config.metrics.listen, None);
        }
    }

    #[test]
    fn a_wrong_flag_is_told_with_its_name() {
        let faults = configured("rookery serve --listen here").unwrap_err();
        assert!(faults.to_string().contains("http.listen (flag --listen)"), "{faults}");
    }
}
