//! What the shared engine adds to the contract: what happens when the store's process or one of
//! its clients goes away, stands still or talks nonsense.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests; a panic is how they fail"
)]

mod contract {
    pub mod harness;
}
mod shared {
    pub mod connection;
    pub mod limits;
    pub mod loss;
    pub mod support;
    pub mod watches;
}
