//! The store of Rookery: a key schema and transactions over a small engine trait.
//!
//! A commit is data (a [`Plan`]), so that pure code can build it and every engine can batch it.
//! What an engine promises is written at [`engine::Engine`]; the contract suite in `tests/` holds
//! every engine to it.
//!
//! ```text
//! layer     accounts, conversations, append, history, inbox, marks, fences   (this crate's API)
//!   |            builds plans, reads views; owns the key schema (`keys`)
//! engine    submit(plans) / view(at least version)
//!   |- memory     simulation and unit tests
//!   `- embedded   one machine: an LSM, one writer, one fsync for many plans
//! ```

mod apply;
pub mod embedded;
pub mod engine;
pub mod memory;
pub mod plan;

pub use engine::{Engine, ReadError, View};
pub use plan::{Guard, Op, Outcome, Plan, Stamp, Version};
