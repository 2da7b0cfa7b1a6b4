//! The command line: which flags there are, and how they become a configuration.

use crate::commands::{Admin, Backup, Cert, Check, Dev, Drain, Migrate, Restore, Status, Tool};
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
    /// Starts the store's process for several nodes on one machine (store.engine "shared"), or
    /// works on a store.
    #[command(args_conflicts_with_subcommands = true)]
    Store(StoreArgs),
    /// Writes a backup, also while a node is running.
    Backup(Backup),
    /// Restores a backup into an empty store.
    Restore(Restore),
    /// Moves a store to another engine.
    Migrate(Migrate),
    /// Asks a running node about its cluster.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Asks a running node to leave in order: its slots and clients go to the others, it ends.
    Drain(Drain),
    /// Makes and renews the certificates that nodes of a cluster show each other.
    Cert(Cert),
    /// Runs a whole cluster on this machine, for development.
    Dev(Dev),
    /// What operators ask of a running node: users, conversations, notices, limits, the log.
    Admin(Admin),
}

#[derive(Debug, Subcommand)]
enum ClusterCommand {
    /// The nodes, their state, slots, sessions, links.
    Status(Status),
}

#[derive(Debug, Args)]
struct StoreArgs {
    #[command(subcommand)]
    command: Option<StoreCommand>,
    #[command(flatten)]
    process: StoreProcess,
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Holds every row to the schema; status 0 only if nothing is wrong.
    Check(Check),
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Job {
    /// To start a process that serves until a signal.
    Process(Process),
    /// To run an operators' tool.
    Tool(Tool),
}

/// A process that serves until a signal.
#[derive(Debug)]
pub enum Process {
    /// A node.
    Serve(Box<Serve>),
    /// The store of several nodes.
    Store(StoreProcess),
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
    /// Certificate chain (PEM): then the node speaks TLS.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<String>,
    /// Private key of the certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<String>,
    /// Address of the metrics, or "off" [default: 127.0.0.1:9090].
    #[arg(long, value_name = "ADDR")]
    metrics: Option<String>,
    /// Address for operators (`rookery admin`), or "off" [default: 127.0.0.1:9190].
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    /// What holds the data: embedded, or shared [default: embedded].
    #[arg(long, value_name = "ENGINE")]
    store: Option<String>,
    /// Socket of the store's process, for the engine "shared" [default: DIR/store.sock].
    #[arg(long, value_name = "PATH")]
    socket: Option<String>,
    /// Name of this node.
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Name of the cluster to join; without one the node works alone.
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// Address where other nodes connect [default: 127.0.0.1:7300].
    #[arg(long, value_name = "ADDR")]
    link: Option<String>,
}

/// What `store` takes.
#[derive(Clone, Debug, Default, Args)]
pub struct StoreProcess {
    /// Configuration file (TOML); of its keys, those of node.data_dir, store and log count.
    #[arg(long, value_name = "FILE", env = "ROOKERY_CONFIG")]
    config: Option<PathBuf>,
    /// Data directory; an embedded node's may be taken over [default: ./rookery-data].
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Socket to listen on [default: DIR/store.sock].
    #[arg(long, value_name = "PATH")]
    socket: Option<String>,
}

type Flag = (&'static str, &'static str, Option<String>);

impl Cli {
    /// What to do.
    #[must_use]
    pub fn job(self) -> Job {
        match self.command {
            None => Job::Process(Process::Serve(Box::new(self.serve))),
            Some(Command::Serve(serve)) => Job::Process(Process::Serve(Box::new(serve))),
            Some(Command::Store(store)) => match store.command {
                None => Job::Process(Process::Store(store.process)),
                Some(StoreCommand::Check(check)) => Job::Tool(Tool::Check(check)),
            },
            Some(Command::Backup(backup)) => Job::Tool(Tool::Backup(backup)),
            Some(Command::Restore(restore)) => Job::Tool(Tool::Restore(restore)),
            Some(Command::Migrate(migrate)) => Job::Tool(Tool::Migrate(migrate)),
            Some(Command::Cluster(ClusterCommand::Status(status))) => {
                Job::Tool(Tool::Status(status))
            }
            Some(Command::Drain(drain)) => Job::Tool(Tool::Drain(drain)),
            Some(Command::Cert(cert)) => Job::Tool(Tool::Cert(cert)),
            Some(Command::Dev(dev)) => Job::Tool(Tool::Dev(dev)),
            Some(Command::Admin(admin)) => Job::Tool(Tool::Admin(admin)),
        }
    }
}

impl Process {
    /// The configuration that the file, the environment and the command's flags make.
    ///
    /// # Errors
    /// [`Faults`]: all of them.
    pub fn configuration(
        self,
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Loaded, Faults> {
        let (file, flags) = match self {
            Self::Serve(serve) => serve.flags(),
            Self::Store(store) => store.flags(),
        };
        let flags = flags
            .into_iter()
            .filter_map(|(flag, key, value)| Some(FlagValue { flag, key, value: value? }))
            .collect();
        // What isn't Unicode is told as a fault of its key rather than dropped.
        let lossy = |text: OsString| text.to_string_lossy().into_owned();
        let environment = environment.map(|(name, value)| (lossy(name), lossy(value))).collect();
        rookery_cluster_config::load(&Sources { file, environment, flags })
    }
}

impl Serve {
    fn flags(self) -> (Option<PathBuf>, Vec<Flag>) {
        let flags = vec![
            ("--data", "node.data_dir", self.data),
            ("--listen", "http.listen", self.listen),
            ("--tls-cert", "http.tls_certificate", self.tls_cert),
            ("--tls-key", "http.tls_key", self.tls_key),
            ("--metrics", "metrics.listen", self.metrics),
            ("--admin", "admin.listen", self.admin),
            ("--store", "store.engine", self.store),
            ("--socket", "store.socket", self.socket),
            ("--node", "node.name", self.node),
            ("--cluster", "cluster.name", self.cluster),
            ("--link", "cluster.listen", self.link),
        ];
        (self.config, flags)
    }
}

impl StoreProcess {
    fn flags(self) -> (Option<PathBuf>, Vec<Flag>) {
        let flags =
            vec![("--data", "node.data_dir", self.data), ("--socket", "store.socket", self.socket)];
        (self.config, flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rookery_cluster_config::Config;

    fn configured(line: &str) -> Result<Config, Faults> {
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        let none = std::iter::empty();
        let Job::Process(process) = cli.job() else { panic!("{line} starts no process") };
        process.configuration(none).map(|loaded| loaded.config)
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
    fn the_stores_process_and_its_nodes_name_the_socket_alike() {
        let node = configured("rookery serve --store shared --socket /run/s").unwrap();
        let store = configured("rookery store --data /tmp/x --socket /run/s").unwrap();
        assert_eq!(node.store.engine, rookery_cluster_config::Engine::Shared);
        assert_eq!(node.store_socket(), store.store_socket());
        let default = configured("rookery store --data /tmp/x").unwrap();
        assert_eq!(default.store_socket(), PathBuf::from("/tmp/x/store.sock"));
        assert_eq!(default.store_dir(), PathBuf::from("/tmp/x/store"));
    }

    #[test]
    fn a_wrong_flag_is_told_with_its_name() {
        let faults = configured("rookery serve --listen here").unwrap_err();
        assert!(faults.to_string().contains("http.listen (flag --listen)"), "{faults}");
    }
}
