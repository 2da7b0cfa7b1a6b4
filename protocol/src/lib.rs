//! The Rookery wire protocol, version 1: ids, limits, frames, codec, errors.
//!
//! This crate exists so that server, clients and load test share one definition of the wire. It is
//! pure: no I/O, no clock, no runtime. The document for people who write a client in another
//! language is `PROTOCOL.md` beside this crate's manifest; a test keeps the two in step.
//!
//! ```text
//! WebSocket binary message := frame+
//! frame                    := number:u8  length:varint  payload:[u8; length]
//! payload                  := bincode 2, standard configuration (little endian, varint)
//! ```

pub mod client;
pub mod codec;
pub mod error;
pub mod group;
pub mod ids;
pub mod limits;
pub mod number;
mod open_enum;
pub mod people;
pub mod server;
pub mod types;

pub use client::ClientFrame;
pub use codec::{DecodeError, RawFrame, frames};
pub use error::{CloseCode, ErrorClass, ErrorCode};
pub use group::{GroupAction, GroupChange};
pub use ids::{ClientMsgId, ConversationId, DeviceId, SessionId, UserId};
pub use people::{Audience, OwnKind, ReportReason};
pub use server::ServerFrame;
pub use types::{
    Change, ConversationInfo, ConversationKind, Cursor, Direction, Entry, EntryKind, MarkKind,
    Status,
};

/// The WebSocket subprotocol a client offers and the server selects.
pub const SUBPROTOCOL: &str = "rookery.v1";
/// Protocol versions this crate speaks, best first.
pub const VERSIONS: &[u16] = &[1];
