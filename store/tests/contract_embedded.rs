//! What the embedded engine adds to the contract: what happens to a data directory when the
//! process ends, is killed, can't write, or finds the files changed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "helpers of tests; a panic is how they fail, and a skipped one says why"
)]

mod contract {
    pub mod harness;
}
mod embedded {
    pub mod child;
    pub mod damage;
    pub mod full;
    pub mod opening;
    pub mod sync;
}
