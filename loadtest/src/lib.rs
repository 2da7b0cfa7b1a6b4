//! The load-test harness: it tests a node over the wire as a stranger would.
//!
//! ```text
//! scenario.rs  what to do            body.rs     what a message carries
//! cluster.rs   nodes of its own      process.rs  one process of them
//! accounts.rs  who takes part
//! social.rs    marks and presence
//! session.rs   one device's task     pacer.rs    when sends are due (open loop)
//! chaos/       a run with faults     control.rs  what is done to a run meanwhile
//! oracle/      PURE: what was acknowledged, delivered, read back; the verdict
//! history.rs   what the oracle was told, kept to be judged again
//! run.rs       the phases of a run   load.rs     the load and its end
//! report.rs    JSON and table
//! overload/    what a node does with more than it can do
//! compare.rs   two reports: is one worse
//! netns.rs     a network to cut      gate.rs     a socket to cut
//! ```
//!
//! It knows nothing of the server's inside: only the protocol, the client library, and the
//! start-up line of `rookery serve` and its port for operators.

mod accounts;
mod body;
pub mod chaos;
pub mod cli;
pub mod cluster;
pub mod compare;
mod control;
pub mod gate;
pub mod history;
mod load;
mod measure;
pub mod netns;
pub mod oracle;
pub mod overload;
mod pacer;
mod plant;
pub mod process;
mod procfs;
mod progress;
pub mod report;
mod run;
pub mod scenario;
mod session;
mod shared;
mod social;

pub use plant::Plant;
pub use progress::Watcher;
pub use run::{Options, RunError, run};
