//! Typed, validated configuration of a Rookery node.
//!
//! This crate exists so that a node is either configured whole and right, or says everything that
//! is wrong at once: the key's path, where the value came from, what was found and what is
//! expected. It owns the keys, their defaults and their limits; it starts nothing.
//!
//! ```text
//! defaults  <-  file (TOML)  <-  environment (ROOKERY_<SECTION>_<KEY>)  <-  flags
//! ```
//!
//! `examples/single-node.toml` documents every key with its default; a test keeps the two equal.

mod fault;
mod keys;
mod load;
mod model;
mod shards;

pub use fault::{Fault, Faults, Source};
pub use keys::{KEYS, Key};
pub use load::{FlagValue, Loaded, Sources, load};
pub use model::{
    Admin, Cluster, Config, Engine, Http, Issuer, Limits, Log, LogFormat, LogLevel, Metrics, Node,
    Passwords, Rate, Retention, Sessions, SignUp, Store, Tokens,
};
pub use shards::{Count, Shards};
