//! The binary `rookery`: reads the configuration, starts a node, waits for a signal, ends it.
//!
//! Exit codes: 0 after a signal, 1 when the node can't start or can't go on, 2 when the configuration or the
//! command line is wrong.

use clap::Parser;
use rookery_cluster_config::Config;
use rookery_node::cli::Cli;
use rookery_node::{Node, log, raise_file_limit};
use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;
use tokio::signal::unix::{Signal, SignalKind, signal};

const CANNOT_START: u8 = 1;
const CANNOT_GO_ON: u8 = 1;
const WRONG_CONFIGURATION: u8 = 2;
/// As shells tell a program that was interrupted.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let loaded = match Cli::parse().serve().configuration(std::env::vars_os()) {
        Ok(loaded) => loaded,
        Err(faults) => return fail(WRONG_CONFIGURATION, &faults),
    };
    log::start(loaded.config.log);
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    raise_file_limit(loaded.config.limits.max_connections);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(run(loaded.config)),
        Err(error) => fail(CANNOT_START, &format!("can't start threads: {error}")),
    };
    // Nothing uses the store any more, and its network thread may not outlive `main`.
    #[cfg(feature = "fdb")]
    rookery_store::fdb::stop_network();
    ended
}

async fn run(config: Config) -> ExitCode {
    let signals = signal(SignalKind::terminate()).and_then(|terminate| {
        signal(SignalKind::interrupt()).map(|interrupt| (terminate, interrupt))
    });
    let (mut terminate, mut interrupt) = match signals {
        Ok(signals) => signals,
        Err(error) => return fail(CANNOT_START, &format!("can't listen for signals: {error}")),
    };
    let node = match Node::start(config).await {
        Ok(node) => node,
        Err(error) => return fail(CANNOT_START, &error),
    };
    say(&mut std::io::stdout(), &node.ready_line());
    let ended = tokio::select! {
        () = asked_to_end(&mut terminate, &mut interrupt) => {
            tracing::info!("asked to end; a second signal ends at once");
            ExitCode::SUCCESS
        }
        () = node.failed() => {
            tracing::error!("the actors can't go on: the node ends");
            CANNOT_GO_ON.into()
        }
    };
    tokio::select! {
        () = node.shutdown() => ended,
        () = asked_to_end(&mut terminate, &mut interrupt) => INTERRUPTED.into(),
    }
}

async fn asked_to_end(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
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
