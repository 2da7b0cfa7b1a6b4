//! `rookery admin`, and `rookery drain`: what operators ask of a running node, and the tokens they
//! show.
//!
//! Each question is one request of the operators' API ([`questions`]); its answer is printed as a
//! table ([`answers`]), or with `--json` as it came.

mod answers;
mod questions;

use super::{Failure, configured, say};
use crate::admin::{Asked, Credentials, ask};
use clap::{Args, Subcommand};
use questions::Question;
use rookery_cluster_config::{Config, FlagValue};
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// What `admin` takes.
#[derive(Debug, Args)]
pub struct Admin {
    #[command(flatten)]
    node: Node,
    /// The answer as JSON instead of a table.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    what: What,
}

/// Which node is asked, and by whom.
#[derive(Debug, Args)]
struct Node {
    /// Configuration file of the node (TOML); of its keys, those of admin and node.data_dir count.
    #[arg(long, value_name = "FILE", env = "ROOKERY_CONFIG", global = true)]
    config: Option<PathBuf>,
    /// The node's address for operators [default: 127.0.0.1:9190].
    #[arg(long, value_name = "ADDR", global = true)]
    admin: Option<String>,
    /// File that holds an operator's token.
    #[arg(long, value_name = "FILE", env = "ROOKERY_ADMIN_TOKEN_FILE", global = true)]
    token_file: Option<PathBuf>,
}

/// What `drain` takes.
#[derive(Debug, Args)]
pub struct Drain {
    #[command(flatten)]
    node: Node,
}

impl Drain {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<ExitCode, Failure> {
        Asking::new(self.node)?.ask("POST", "/admin/v1/drain", None)?;
        say(out, "the node is leaving; it ends when its clients are gone");
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(Debug, Subcommand)]
enum What {
    /// Makes a token for an operator and prints it; run it where the node runs, as its user.
    Token(Token),
    /// The names of the operators who have a token.
    Tokens(Data),
    #[command(flatten)]
    Ask(Question),
}

/// What `admin token` takes.
#[derive(Debug, Args)]
struct Token {
    /// The operator's name, as the log will tell it: 1 to 63 of a-z, 0-9, - and _.
    name: String,
    /// Take the token away instead.
    #[arg(long)]
    remove: bool,
    #[command(flatten)]
    data: Data,
}

/// Where the file of tokens is.
#[derive(Debug, Args)]
struct Data {
    /// Data directory of the node [default: ./rookery-data].
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
}

impl Admin {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<ExitCode, Failure> {
        let Self { node, json, what } = self;
        match what {
            What::Token(token) => token.run(node.config, out)?,
            What::Tokens(data) => {
                let names = data.credentials(node.config)?.names().map_err(Failure::new)?;
                names.iter().for_each(|name| say(out, name));
            }
            What::Ask(question) => {
                let asking = Asking::new(node)?;
                let (answer, table) = question.put(&asking)?;
                say(out, if json { answer.trim_end() } else { table.trim_end() });
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Token {
    fn run(self, config: Option<PathBuf>, out: &mut dyn Write) -> Result<(), Failure> {
        let credentials = self.data.credentials(config)?;
        if self.remove {
            credentials.remove(&self.name).map_err(Failure::new)?;
            say(out, "removed; it opens nothing from now on");
            return Ok(());
        }
        let token = credentials.add(&self.name).map_err(Failure::new)?;
        say(out, token);
        // Not on stdout: that may be the file the token goes to.
        say(
            &mut std::io::stderr(),
            "keep it in a file that only you can read, and name that with --token-file",
        );
        Ok(())
    }
}

impl Data {
    fn credentials(self, config: Option<PathBuf>) -> Result<Credentials, Failure> {
        let data = self.data.map(|value| FlagValue { flag: "--data", key: "node.data_dir", value });
        let config: Config = configured(config, data)?;
        Ok(Credentials::new(config.admin_tokens()))
    }
}

/// A node that is asked, and the token that is shown to it.
struct Asking {
    address: SocketAddr,
    token: String,
}

impl Asking {
    fn new(node: Node) -> Result<Self, Failure> {
        let flag =
            node.admin.map(|value| FlagValue { flag: "--admin", key: "admin.listen", value });
        let config = configured(node.config, flag)?;
        let off = || Failure::new("admin.listen is off: this node is asked nothing");
        let address = config.admin.listen.ok_or_else(off)?;
        let none = "name the file of your token with --token-file; `rookery admin token` makes one";
        let path = node.token_file.ok_or_else(|| Failure::new(none))?;
        let token = std::fs::read_to_string(&path)
            .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
        let token = token.trim().to_owned();
        if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Failure::new(format!("{} holds no token", path.display())));
        }
        Ok(Self { address, token })
    }

    /// The body of the answer.
    fn ask(&self, method: &str, path: &str, body: Option<&str>) -> Result<String, Failure> {
        let asked = Asked { method, path, token: Some(&self.token), body };
        ask(self.address, asked).map_err(Failure::new)
    }
}
