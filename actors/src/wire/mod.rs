//! What virtual actors say to each other across nodes, as bytes. Pure.
//!
//! ```text
//! message := header body
//! header  := version:u8 kind:u8 hops:u8 epoch:varint
//! body    := bincode 2, standard configuration, as its kind says
//! ```
//!
//! Safety: what a peer sends is decoded within limits, or refused; it never panics, and never
//! allocates more than it sent. Old and new nodes speak to each other: a kind that isn't known is
//! skipped, and so are bytes after a body, so that a newer version may append fields. A change that
//! an older node must not misread gets a new kind, which is only sent to nodes that speak the
//! version of links in which it came ([`since`]).
//!
//! News for many of a node's users or sessions travels once, with the list of its receivers.

mod body;
mod kinds;
mod own;

use crate::cluster::NodeId;
use crate::link::MAX_MESSAGE_BYTES;
use crate::message::Envelope;
use bincode::config::{self, Configuration, Limit, LittleEndian, Varint};
use bincode::{Decode, Encode};
use bytes::Bytes;
use rookery_protocol::{DeviceId, UserId};
use std::fmt;

/// The only version of the header there is.
const VERSION: u8 = 1;

const ENCODE: Configuration<LittleEndian, Varint> = config::standard();
const DECODE: Configuration<LittleEndian, Varint, Limit<MAX_MESSAGE_BYTES>> =
    config::standard().with_limit::<MAX_MESSAGE_BYTES>();

/// What every message carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// How often it was forwarded.
    pub hops: u8,
    /// The epoch of the view by which it was sent.
    pub epoch: u64,
}

/// What is meant for a node rather than for one of its actors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A device was revoked: end its sessions.
    EndDevice(UserId, DeviceId),
    /// The hub of this user was lost on the sending node.
    HubLost(UserId),
    /// Hubs of the sending node were lost, it can't say whose.
    HubsLost,
    /// Hints from the sending node to the receiving one were lost, it can't say which.
    HintsLost,
    /// The members changed: look at the store.
    Look,
}

/// What a message holds.
#[derive(Debug)]
pub enum Content {
    /// For actors, in order.
    Envelopes(Vec<Envelope>),
    /// For the node.
    News(News),
    /// Of a kind that this version doesn't know.
    Unknown(u8),
}

/// Why a message was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireError {
    /// Its header is of another version.
    Version(u8),
    /// It is damaged, or lies about its lengths.
    Malformed(&'static str),
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => {
                write!(f, "wire version {version}; this node speaks version {VERSION}")
            }
            Self::Malformed(what) => write!(f, "malformed {what}"),
        }
    }
}

impl std::error::Error for WireError {}

#[derive(Encode, Decode)]
struct RawHeader {
    version: u8,
    kind: u8,
    hops: u8,
    epoch: u64,
}

/// How many of the first envelopes travel as one message: all that carry the same thing.
#[must_use]
pub fn group(envelopes: &[Envelope]) -> usize {
    let Some(first) = envelopes.first() else { return 0 };
    1 + envelopes.iter().skip(1).take_while(|next| body::same(first, next)).count()
}

/// The message of a [`group`]; `None` for what never leaves its node.
#[must_use]
pub fn encode(header: Header, group: &[Envelope]) -> Option<Bytes> {
    let mut out = Vec::with_capacity(64);
    body::encode(header, group, &mut out)?;
    Some(out.into())
}

/// The message of news.
#[must_use]
pub fn encode_news(header: Header, news: &News) -> Bytes {
    let mut out = Vec::with_capacity(32);
    match news {
        News::EndDevice(user, device) => {
            put(header, kinds::END_DEVICE, (user, device), &mut out);
        }
        News::HubLost(user) => put(header, kinds::HUB_LOST, user, &mut out),
        News::HubsLost => put(header, kinds::HUBS_LOST, (), &mut out),
        News::HintsLost => put(header, kinds::HINTS_LOST, (), &mut out),
        News::Look => put(header, kinds::LOOK, (), &mut out),
    }
    out.into()
}

/// Reads a message. Sessions among its receivers live on `me`, the node that received it.
///
/// # Errors
/// [`WireError`]: nothing of it was understood.
pub fn decode(me: NodeId, message: &Bytes) -> Result<(Header, Content), WireError> {
    match message.first() {
        Some(&VERSION) => {}
        Some(&other) => return Err(WireError::Version(other)),
        None => return Err(WireError::Malformed("header")),
    }
    let (raw, read) = bincode::decode_from_slice::<RawHeader, _>(message, DECODE)
        .map_err(|_| WireError::Malformed("header"))?;
    let header = Header { hops: raw.hops, epoch: raw.epoch };
    let content = body::decode(me, raw.kind, &message.slice(read..))?;
    Ok((header, content))
}

/// The wire version of links since which messages of this one's kind exist: what a node speaks that
/// is to understand it.
#[must_use]
pub fn since(message: &Bytes) -> u8 {
    match message.get(1) {
        Some(kind) if !kinds::OF_VERSION_1.iter().any(|kinds| kinds.contains(kind)) => 2,
        _ => 1,
    }
}

/// Appends header and body.
fn put(header: Header, kind: u8, body: impl Encode, out: &mut Vec<u8>) {
    let raw = RawHeader { version: VERSION, kind, hops: header.hops, epoch: header.epoch };
    let written = bincode::encode_into_std_write((raw, body), out, ENCODE);
    // The buffer grows as needed and no body has a shape that bincode refuses; a test encodes
    // every kind. Were it otherwise, the cut-off message would be refused as malformed.
    debug_assert!(written.is_ok(), "kind {kind} does not encode");
}

#[cfg(test)]
mod tests;
