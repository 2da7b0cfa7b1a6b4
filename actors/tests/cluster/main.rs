//! A cluster in one process: several nodes on one store, joined by links without a network.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that fails fails its test"
)]

#[cfg(test)]
mod faults;
#[cfg(test)]
mod life;
#[cfg(test)]
mod support;
