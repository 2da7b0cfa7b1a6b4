//! The cluster, decided: who its members are, and which of them works for which key. Pure.
//!
//! ```text
//! membership  leases and epochs in the store: joins, renewals, suspicion, drain, leave
//! timing      how often, and how long is borne
//! placement   key -> slot -> node, a function of the active members of an epoch
//! view        what a node goes by between two looks at the store
//! change      who has to hear of a new view
//! keeping     what the keeper of the membership does next
//! dispatch    which node a message goes to, and what becomes of one that nobody takes
//! ```
//!
//! What lies in the store is written at `rookery_store::members`; `shell::cluster` does the I/O.

pub mod change;
pub mod dispatch;
pub mod keeping;
pub mod membership;
pub mod placement;
pub mod slots;
pub mod timing;
pub mod view;

pub use change::Change;
pub use dispatch::{Carrier, Dispatch};
pub use keeping::{Keeping, Wish};
pub use membership::{Attempt, Decision, Load, Membership, Phase, Profile, Refused};
pub use placement::Table;
pub use slots::SlotSet;
pub use timing::Timing;
pub use view::{Member, Route, View};

use std::fmt;

/// A life of a node, as addresses of sessions carry it: the incarnation. No two lives share one,
/// whatever their names.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u64);

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({:016x})", self.0)
    }
}

#[cfg(test)]
mod model_tests;
