//! The Rust client of the Rookery protocol.
//!
//! Three layers, each usable alone:
//!
//! ```text
//! Client    handle + task: async calls, a bounded channel of events      (applications)
//! Driver    the I/O shell: one socket, one timer, polled by its owner     (load generators)
//! Core      the state machine: (now, input) -> output, orders, events     (PURE: tests, simulation)
//! ```
//!
//! What the core promises its application (safety):
//! - every entry of a tracked conversation comes exactly once, by rising seq, without gap: as
//!   [`Event::Message`], or as [`Event::Sent`] with `placed`; where the server no longer holds
//!   entries, [`Event::Missing`] says so;
//! - a send is repeated with the same `client_msg_id` until it is answered, so it is applied once.
//!
//! Liveness: a lost connection is made again, through all known endpoints, with full-jitter
//! back-off, for as long as the driver is polled and the server doesn't refuse the device.
//!
//! What the caller owes: poll the driver; keep the cursor of [`Event::CaughtUp`] durably together
//! with the entries received before it; give a fresh token after [`Event::NeedToken`].

mod api;
mod client;
mod config;
mod core;
mod driver;
mod error;
mod event;
mod groups;
mod people;
mod socket;

pub use crate::core::{Core, Input, Lost, Millis, Order, Outgoing, Stats};
pub use api::{Api, Login};
pub use client::{Client, Events};
pub use config::Config;
pub use driver::{Driver, new_message_id};
pub use error::{ApiError, CallError, QueueError, Refusal, RequestError};
pub use event::{CloseReason, Connected, Course, Event, Reply, Sent};
pub use people::OwnChange;
