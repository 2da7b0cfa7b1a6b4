//! `rookery cluster status`: the members of a cluster, as a running node sees them.

use super::{Failure, configured, say};
use crate::admin::{Asked, ask};
use crate::cluster;
use clap::Args;
use rookery_cluster_config::FlagValue;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

const CLUSTER: Asked<'_> = Asked { method: "GET", path: "/cluster", token: None, body: None };

/// Which node is asked.
#[derive(Debug, Args)]
struct Node {
    /// Configuration file of the node (TOML); of its keys, metrics.listen counts.
    #[arg(long, value_name = "FILE", env = "ROOKERY_CONFIG")]
    config: Option<PathBuf>,
    /// The node's metrics address [default: 127.0.0.1:9090].
    #[arg(long, value_name = "ADDR")]
    metrics: Option<String>,
}

impl Node {
    fn address(self) -> Result<SocketAddr, Failure> {
        let flag =
            self.metrics.map(|value| FlagValue { flag: "--metrics", key: "metrics.listen", value });
        let config = configured(self.config, flag)?;
        config.metrics.listen.ok_or_else(|| {
            Failure::new("the node's metrics are off, and that is where operators ask it")
        })
    }
}

/// What `cluster status` takes.
#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    node: Node,
    /// One JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<ExitCode, Failure> {
        let answer = ask(self.node.address()?, CLUSTER).map_err(Failure::new)?;
        let status: cluster::Status = serde_json::from_str(&answer)
            .map_err(|error| Failure::new(format!("the answer is no status: {error}")))?;
        if self.json {
            say(out, answer);
        } else {
            say(out, status.table().trim_end());
        }
        Ok(ExitCode::SUCCESS)
    }
}
