//! What an attacker tries, over the wire: to do what others may, to read what others wrote, to take
//! the node's memory, its sockets and its time.
//!
//! ```text
//! operations   every client frame and what it answers, to whom: the table
//! matrix       the table against everybody who may not
//! slow         sockets that do nothing, slowly (slowloris), while real people log in
//! large        oversized everything, and what claims to be
//! packed       compression is neither offered nor taken
//! ```
//!
//! Logs and metrics have their canary in `canary.rs`, the HTTP API its own tables in `http*.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that fails fails its test"
)]

#[path = "../support/mod.rs"]
mod support;

mod ear;
mod large;
mod matrix;
mod operations;
mod packed;
mod slow;
