//! What the protocol's tests share: the golden file, its frames, and arbitrary frames.
#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helper fails by panicking"
)]

pub mod arbitrary;
pub mod arbitrary_people;
pub mod file;
pub mod vectors;

use rookery_protocol::{ClientFrame, DecodeError, RawFrame, ServerFrame, frames, limits};

/// A frame of either direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    Client(ClientFrame),
    Server(ServerFrame),
}

impl Frame {
    pub fn number(&self) -> u8 {
        match self {
            Self::Client(f) => f.number(),
            Self::Server(f) => f.number(),
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::Client(f) => f.name(),
            Self::Server(f) => f.name(),
        }
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Client(f) => f.encode(&mut out),
            Self::Server(f) => f.encode(&mut out),
        }
        out
    }

    /// Decodes by the number's range; `None` when the number is not known.
    pub fn decode(raw: RawFrame<'_>) -> Result<Option<Self>, DecodeError> {
        Ok(if raw.number < 0x80 {
            ClientFrame::decode(raw)?.map(Self::Client)
        } else {
            ServerFrame::decode(raw)?.map(Self::Server)
        })
    }
}

/// Every known frame of a message, or the first error.
pub fn decode_message(message: &[u8]) -> Result<Vec<Frame>, DecodeError> {
    let mut known = Vec::new();
    for raw in frames(message, limits::MAX_SERVER_FRAME_BYTES) {
        known.extend(Frame::decode(raw?)?);
    }
    Ok(known)
}

/// Two digits a byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ")
}
