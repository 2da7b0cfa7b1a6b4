//! The binary `rookery`: reads the configuration, starts a node (or the store's process), waits
//! for a signal, ends it.
//!
//! With an operators' command it runs that instead (`commands`). Exit codes of a process: 0 after a
//! signal, 1 when it can't start or can't go on, 2 when the configuration or the command line is
//! wrong.

use clap::Parser;
use rookery_cluster_config::Config;
use rookery_node::cli::{Cli, Job, Process};
use rookery_node::run::{self, Signals};
use rookery_node::store_process::StoreProcess;
use rookery_node::{Node, log, raise_file_limit};
use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

const CANNOT_START: u8 = 1;
const WRONG_CONFIGURATION: u8 = 2;

fn main() -> ExitCode {
    let ended = match Cli::parse().job() {
        Job::Process(process) => serve(process),
        Job::Tool(tool) => tool.run(),
    };
    // Nothing uses the store any more, and its network thread may not outlive `main`.
    #[cfg(feature = "fdb")]
    rookery_store::fdb::stop_network();
    ended
}

fn serve(process: Process) -> ExitCode {
    let is_store = matches!(process, Process::Store(_));
    let loaded = match process.configuration(std::env::vars_os()) {
        Ok(loaded) => loaded,
        Err(faults) => return fail(WRONG_CONFIGURATION, &faults),
    };
    log::start(loaded.config.log);
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    if !is_store {
        raise_file_limit(loaded.config.limits.max_connections);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime {
        Ok(runtime) if is_store => runtime.block_on(run_store(loaded.config)),
        Ok(runtime) => runtime.block_on(run(loaded.config)),
        Err(error) => fail(CANNOT_START, &format!("can't start threads: {error}")),
    }
}

async fn run(config: Config) -> ExitCode {
    let signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return fail(CANNOT_START, &format!("can't listen for signals: {error}")),
    };
    let node = match Node::start(config).await {
        Ok(node) => node,
        Err(error) => return fail(CANNOT_START, &error),
    };
    say(&mut std::io::stdout(), &node.ready_line());
    run::run(node, signals).await.into()
}

async fn run_store(config: Config) -> ExitCode {
    let signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return fail(CANNOT_START, &format!("can't listen for signals: {error}")),
    };
    let starting = tokio::task::spawn_blocking(move || StoreProcess::start(&config));
    let store = match starting.await {
        Ok(Ok(store)) => store,
        Ok(Err(error)) => return fail(CANNOT_START, &error),
        Err(_) => return fail(CANNOT_START, &"the store panicked; the log says where"),
    };
    say(&mut std::io::stdout(), &store.ready_line());
    run::run_store(store, signals).await.into()
}

fn fail(code: u8, error: &dyn Display) -> ExitCode {
    say(&mut std::io::stderr(), &format!("rookery: {error}"));
    code.into()
}

/// Writes a line; a closed pipe is no reason to stop.
fn say(to: &mut dyn Write, line: &str) {
    if writeln!(to, "{line}").and_then(|()| to.flush()).is_err() {
        tracing::debug!("nobody reads the output");
    }
}
