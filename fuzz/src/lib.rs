//! Fuzz targets: one for everything that turns bytes of somebody else into meaning.
//!
//! ```text
//! frames    client_frame, server_frame    what clients and nodes say to each other
//!           websocket                     the framing below it
//! cluster   link_frame, link_greeting, actor_message    what nodes say to each other
//! session   session                       a whole session: frames, resumes, cursors, the store's answers
//! stored    stored_value, backup_file, shared_wire      what disks and the store's process say
//! settings  configuration                 what an operator writes
//! http      http_request                  raw bytes into the node's HTTP side: heads, bodies, tokens
//! ```
//!
//! A target never fails for what it is given: it panics when a property does not hold (what was
//! read comes back as it was, answers keep to their limits). Three things run them:
//!
//! - `cargo test -p rookery-fuzz`, on the stable tool chain: replays `corpus/` and the seeds, then
//!   thousands of mutations of them, and measures the memory that took;
//! - `fuzz/run SECONDS [TARGET...]`: LLVM's fuzzer, guided by coverage, under a limit of memory;
//! - the binary `fuzz` with a file: one input once more.
//!
//! A new decoder gets a line in [`TARGETS`] and a few seeds; `corpus/TARGET/` is what the fuzzer found
//! worth keeping.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a target tells of a broken property by panicking"
)]

mod cluster;
mod frames;
mod http;
mod input;
mod session;
mod settings;
mod stored;

/// Something to be fuzzed.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, and that of its directory in `corpus/`.
    pub name: &'static str,
    /// Takes an input; panics when a property does not hold.
    pub run: fn(&[u8]),
    /// Valid inputs to start from, made by the code that writes them today.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "client_frame", run: frames::client, seeds: frames::seeds },
    Target { name: "server_frame", run: frames::server, seeds: frames::seeds },
    Target {
        name: "websocket",
        run: rookery_node::gateway::fuzz::websocket,
        seeds: frames::websockets,
    },
    Target { name: "link_frame", run: cluster::link_frame, seeds: cluster::link_frames },
    Target { name: "link_greeting", run: cluster::greeting, seeds: cluster::greetings },
    Target { name: "actor_message", run: cluster::message, seeds: cluster::messages },
    Target { name: "session", run: session::run, seeds: session::seeds },
    Target { name: "stored_value", run: stored::value, seeds: stored::values },
    Target { name: "backup_file", run: stored::backup, seeds: stored::backups },
    Target { name: "shared_wire", run: stored::shared_wire, seeds: stored::shared_frames },
    Target { name: "configuration", run: settings::configuration, seeds: settings::files },
    Target { name: "http_request", run: http::request, seeds: http::requests },
];

/// The target of a name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// The most memory that this process had resident, in bytes; `None` where the system doesn't say.
#[must_use]
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}
