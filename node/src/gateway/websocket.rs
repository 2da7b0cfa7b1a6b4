//! WebSocket framing of the server's side (RFC 6455): messages out of bytes, headers for what
//! leaves. Pure.
//!
//! Why this is not the library's stream, whose headers are parsed and written here: it keeps a read
//! and a write buffer, two wakers and its configuration for each connection, about 2 kB that an idle
//! client would cost, and copies what leaves. Here nothing is kept between two messages, and what
//! leaves is written from where it lies, shared by all who receive it.
//!
//! Safety: bytes are kept as they came, never room for what a header only announces; no message is
//! longer than its bound. What breaks the protocol is told once, and nothing is read after it.

use bytes::{Buf, Bytes, BytesMut};
use rookery_protocol::limits::MAX_CLIENT_MESSAGE_BYTES;
use std::io::Cursor;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

/// Most payload bytes of a control frame.
const MAX_CONTROL_BYTES: usize = 125;
/// What closes a connection whose client gave a code that may not be given.
const PROTOCOL_ERROR: u16 = 1002;

/// What came out of the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// A binary message, whole.
    Message(Bytes),
    /// The beginning of a text message.
    Text,
    /// A message is over its limit.
    TooLarge,
    /// This is not WebSocket.
    Broken,
    /// To be answered with this as payload.
    Ping(Bytes),
    /// Of no consequence.
    Pong,
    /// The client closed, with this code if it gave one.
    Close(Option<u16>),
}

/// Makes messages of a client's bytes.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// Bytes that are not worked off: a part of a frame, or frames that came together.
    waiting: BytesMut,
    /// The fragments of a message that is not whole yet.
    fragments: Vec<u8>,
    fragmented: bool,
    ended: bool,
}

impl Reader {
    /// Bytes that came.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    /// The next message or fault; none: more bytes are needed, or there was a fault or an end.
    pub(super) fn next(&mut self) -> Option<Read> {
        loop {
            if self.ended || self.waiting.is_empty() {
                // Nothing is kept for what may come.
                self.waiting = BytesMut::new();
                return None;
            }
            let read = match self.frame() {
                Ok(Some((opcode, is_final, payload))) => self.take(opcode, is_final, payload),
                Ok(None) => return None,
                Err(fault) => Some(fault),
            };
            let Some(read) = read else { continue };
            self.ended =
                matches!(read, Read::Text | Read::TooLarge | Read::Broken | Read::Close(_));
            return Some(read);
        }
    }

    /// The next whole frame, unmasked. What its header alone tells to be wrong is told at once.
    fn frame(&mut self) -> Result<Option<(OpCode, bool, Bytes)>, Read> {
        let mut cursor = Cursor::new(&self.waiting);
        let parsed = FrameHeader::parse(&mut cursor).map_err(|_| Read::Broken)?;
        let Some((header, length)) = parsed else { return Ok(None) };
        let at = usize::try_from(cursor.position()).map_err(|_| Read::Broken)?;
        let reserved = header.rsv1 || header.rsv2 || header.rsv3;
        let Some(mask) = header.mask.filter(|_| !reserved) else { return Err(Read::Broken) };
        match header.opcode {
            OpCode::Control(_) if !header.is_final || length > MAX_CONTROL_BYTES as u64 => {
                return Err(Read::Broken);
            }
            OpCode::Data(Data::Continue) if !self.fragmented => return Err(Read::Broken),
            OpCode::Data(Data::Binary | Data::Text) if self.fragmented => return Err(Read::Broken),
            OpCode::Data(Data::Text) => return Err(Read::Text),
            _ => {}
        }
        let length = usize::try_from(length).map_err(|_| Read::TooLarge)?;
        let is_data = matches!(header.opcode, OpCode::Data(_));
        if is_data && length.saturating_add(self.fragments.len()) > MAX_CLIENT_MESSAGE_BYTES {
            return Err(Read::TooLarge);
        }
        if self.waiting.len() - at < length {
            return Ok(None);
        }
        self.waiting.advance(at);
        let mut payload = if self.waiting.len() == length {
            std::mem::take(&mut self.waiting)
        } else {
            self.waiting.split_to(length)
        };
        unmask(&mut payload, mask);
        Ok(Some((header.opcode, header.is_final, payload.freeze())))
    }

    fn take(&mut self, opcode: OpCode, is_final: bool, payload: Bytes) -> Option<Read> {
        match opcode {
            OpCode::Control(Control::Ping) => Some(Read::Ping(payload)),
            OpCode::Control(Control::Close) => Some(close(&payload)),
            OpCode::Control(_) => Some(Read::Pong),
            OpCode::Data(_) if is_final && !self.fragmented => Some(Read::Message(payload)),
            OpCode::Data(_) => {
                self.fragments.extend_from_slice(&payload);
                self.fragmented = !is_final;
                is_final.then(|| Read::Message(std::mem::take(&mut self.fragments).into()))
            }
        }
    }
}

/// What a close frame says.
fn close(payload: &[u8]) -> Read {
    match payload.split_first_chunk() {
        None if payload.is_empty() => Read::Close(None),
        Some((code, reason)) if std::str::from_utf8(reason).is_ok() => {
            let code = u16::from_be_bytes(*code);
            let allowed = CloseCode::from(code).is_allowed();
            Read::Close(Some(if allowed { code } else { PROTOCOL_ERROR }))
        }
        _ => Read::Broken,
    }
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let (words, rest) = payload.as_chunks_mut::<4>();
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ u32::from_ne_bytes(mask)).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

/// The header of a binary message of so many bytes.
pub(super) fn message_header(length: usize) -> Vec<u8> {
    header(OpCode::Data(Data::Binary), length, 0)
}

/// A whole pong.
pub(super) fn pong(payload: &[u8]) -> Vec<u8> {
    control(Control::Pong, payload)
}

/// A whole close frame; without a code an empty one.
pub(super) fn close_frame(code: Option<u16>, reason: &str) -> Vec<u8> {
    let mut payload = Vec::new();
    if let Some(code) = code {
        payload.extend_from_slice(&code.to_be_bytes());
        if payload.len() + reason.len() <= MAX_CONTROL_BYTES {
            payload.extend_from_slice(reason.as_bytes());
        }
    }
    control(Control::Close, &payload)
}

fn control(kind: Control, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(OpCode::Control(kind), payload.len(), payload.len());
    frame.extend_from_slice(payload);
    frame
}

/// A header, with room for exactly so many bytes behind it.
fn header(opcode: OpCode, length: usize, room: usize) -> Vec<u8> {
    let header = FrameHeader { opcode, ..FrameHeader::default() };
    let mut bytes = Vec::with_capacity(header.len(length as u64) + room);
    // Writing into a Vec can't fail.
    header.format(length as u64, &mut bytes).ok();
    bytes
}

#[cfg(test)]
#[path = "websocket_tests.rs"]
mod tests;
