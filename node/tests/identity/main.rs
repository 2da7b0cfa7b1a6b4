//! Who is let in, as clients meet it over HTTP and the wire. One binary, because each costs a link.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a helper that fails fails its test"
)]

mod accounts;
mod admin;
mod admin_limits;
mod admin_tools;
mod bad_input;
mod http2;
mod issuer;
mod openapi;
mod revocation;
mod search;
#[path = "../support/mod.rs"]
mod support;
mod tls;
