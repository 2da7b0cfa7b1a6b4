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
//!   |- embedded   one machine: an LSM, one writer, one fsync for many plans
//!   |- shared     several nodes of one machine: a client of the embedded engine's own process
//!   `- fdb        production clusters: FoundationDB (cargo feature `fdb`)
//! ```

// The contract suite names this crate as its users do, and also runs inside of it.
#[cfg(test)]
extern crate self as rookery_store;

mod accounts;
pub mod append;
mod apply;
mod audit;
pub mod backup;
pub mod check;
mod conversation;
mod dedupe;
mod deletion;
mod devices;
mod direct;
mod doorbell;
pub mod embedded;
pub mod engine;
mod error;
#[cfg(any(feature = "fdb", test))]
#[cfg_attr(
    not(feature = "fdb"),
    allow(dead_code, reason = "the parts that use it all are behind the feature")
)]
pub mod fdb;
mod fence;
#[cfg(feature = "fuzz")]
pub mod fuzz;
pub mod group;
pub mod history;
pub mod inbox;
mod invitations;
pub mod keys;
mod last_seen;
mod list;
pub mod marks;
pub mod members;
pub mod memory;
pub mod migrate;
pub mod names;
mod notices;
mod overrides;
mod own;
mod people;
pub mod plan;
mod profile;
mod refresh;
mod reports;
pub mod retention;
mod revocations;
mod roster;
mod rows;
pub mod schema;
mod search;
mod settings;
mod shade;
#[cfg(unix)]
pub mod shared;
mod signing;
pub mod slot;
mod store;
mod tally;
mod transfer;
mod word_index;
pub mod words;

pub use accounts::{Account, MAX_PASSWORD_HASH_BYTES};
pub use append::Append;
pub use audit::{AuditEntry, AuditPlace, MAX_AUDIT_PAGE, MAX_AUDIT_TEXT_BYTES};
pub use conversation::{FAN_OUT_LIMIT, Loaded, MemberState};
pub use dedupe::Known;
pub use deletion::ShutOut;
pub use devices::{DeviceRow, MAX_DEVICE_NAME_BYTES};
pub use direct::ROLE_MEMBER;
pub use doorbell::Doorbell;
pub use engine::{AnyEngine, AnyView, Engine, ReadError, View};
pub use error::StoreError;
pub use fence::{Fence, Owner, TakeOver};
pub use history::History;
pub use inbox::{InboxPage, MAX_INBOX_PAGE, Pointer, PointerKind};
pub use invitations::Invitation;
pub use last_seen::last_seen_plan;
pub use list::MAX_SCANNED;
pub use marks::MarkUpdate;
pub use members::{Lease, Members, NodeState};
pub use notices::{MAX_NOTICE_BYTES, MAX_NOTICES, Notice};
pub use overrides::MAX_OVERRIDES;
pub use own::{OwnChange, Privacy, Sight};
pub use people::{Block, Contact, MAX_PEOPLE_PAGE};
pub use plan::{Guard, Op, Outcome, Plan, Stamp, Version};
pub use profile::{MAX_AVATAR_BYTES, MAX_DISPLAY_NAME_BYTES, Profile};
pub use refresh::{MAX_FAMILY, RefreshRow, Rotated, Rotation};
pub use reports::{Complaint, MAX_REPORTS, Report, ReportPlace};
pub use revocations::{MAX_REVOCATIONS, Revocation};
pub use search::{Found, Hit, MAX_HITS, SearchPlace};
pub use settings::{MAX_SETTING_BYTES, MAX_SETTING_NAME_BYTES, MAX_SETTINGS};
pub use shade::{BlockChange, Shade, block_plan};
pub use signing::{MAX_SIGNING_KEYS, SigningKey};
pub use slot::{SLOTS, Slot, slot_of, slot_of_user};
pub use store::Store;
pub use tally::Totals;
pub use word_index::IndexStep;
