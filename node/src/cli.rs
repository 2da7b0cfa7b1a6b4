//! The command line: which flags there are, and how they become a configuration.

use crate::cert::Cert;
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
    /// Makes and renews the certificates that nodes of a cluster show each other.
    Cert(Cert),
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Task {
    /// To run a node.
    Serve(Serve),
    /// To make certificates.
    Cert(Cert),
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
    pub fn task(self) -> Task {
        match self.command {
            Some(Command::Serve(serve)) => Task::Serve(serve),
            Some(Command::Cert(cert)) => Task::Cert(cert),
            None => Task::Serve(self.serve),
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
        let Task::Serve(serve) = cli.task() else { panic!("{line:?} does not serve") };
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
