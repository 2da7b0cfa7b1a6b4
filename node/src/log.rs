//! Where log lines go and which.
//!
//! Lines go to stderr; stdout is for the ready line alone. Crates that are not ours never log
//! below `info`, whatever the level: their traces can hold frames, and frames hold messages and
//! tokens. For the same reason no environment variable widens the filter.

use rookery_cluster_config::{Log, LogFormat, LogLevel};
use std::io::{IsTerminal, stderr};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts logging for the process; a second call changes nothing.
pub fn start(log: Log) {
    let lines = tracing_subscriber::fmt::layer().with_writer(stderr);
    let filter = filter(log.level);
    let started = match log.format {
        LogFormat::Text => {
            let lines = lines.with_ansi(stderr().is_terminal());
            tracing_subscriber::registry().with(filter).with(lines).try_init()
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_current_span(false);
            tracing_subscriber::registry().with(filter).with(lines).try_init()
        }
    };
    if started.is_err() {
        tracing::debug!("logging had been started before");
    }
}

fn filter(level: LogLevel) -> Targets {
    let ours = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // A target's rule covers all targets that begin with its text: rookery_node, rookery_store...
    Targets::new().with_target("rookery", ours).with_default(ours.min(LevelFilter::INFO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn other_crates_never_log_below_info() {
        let filter = filter(LogLevel::Trace);
        assert!(filter.would_enable("rookery_node::serve", &Level::TRACE));
        assert!(filter.would_enable("hyper::proto", &Level::INFO));
        assert!(!filter.would_enable("hyper::proto", &Level::DEBUG));
        let quiet = super::filter(LogLevel::Error);
        assert!(!quiet.would_enable("hyper::proto", &Level::WARN));
        assert!(!quiet.would_enable("rookery_node", &Level::WARN));
    }
}
