//! What client and server say to each other: a greeting, then frames.
//!
//! ```text
//! greeting  client: MAGIC, u32 version     server: MAGIC, u32 version, u8 verdict
//! frame     u32 bytes of what follows, u8 kind, body; numbers are little-endian
//! bytes     u32 length, bytes              list: u32 count, elements
//! ```
//!
//! The greeting never changes, so that any two versions can tell each other apart; a version
//! speaks only to itself (both ends come from one release on one machine). A peer's bytes are
//! never trusted: decoding is fallible, takes every byte or refuses the frame, and allocates no
//! more than [`MAX_ELEMENTS`] elements. Contents are copied out of the frame, or a small row that
//! an engine remembers would keep a whole frame in memory.

use std::io::{self, Read};

/// First bytes of both sides.
pub(super) const MAGIC: [u8; 8] = *b"rkstore\n";
/// The version this code speaks.
pub(super) const VERSION: u32 = 2;
/// Bytes of the client's greeting.
pub(super) const GREETING_BYTES: usize = 12;
/// Bytes of the server's greeting.
pub(super) const VERDICT_BYTES: usize = 13;
/// Most bytes of a frame without its length.
pub const MAX_FRAME_BYTES: usize = 16 << 20;
/// Most plans, guards, operations, keys, values and rows in one frame.
pub const MAX_ELEMENTS: usize = 1 << 20;
/// A frame that has this many bytes takes no further plan, value or row.
pub(super) const SOFT_FRAME_BYTES: usize = 4 << 20;
/// Bytes of a frame's length.
pub(super) const LENGTH_BYTES: usize = 4;
/// Bytes asked of the socket at a time.
const READ_BYTES: usize = 64 << 10;

/// A client's greeting for a version.
pub(super) fn greeting(version: u32) -> [u8; GREETING_BYTES] {
    let [a, b, c, d, e, f, g, h] = MAGIC;
    let [v0, v1, v2, v3] = version.to_le_bytes();
    [a, b, c, d, e, f, g, h, v0, v1, v2, v3]
}

/// The version a greeting tells; `None`: the peer speaks something else.
pub(super) fn greeted(bytes: &[u8]) -> Option<u32> {
    let version = bytes.strip_prefix(&MAGIC)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*version))
}

/// What the server thinks of a greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Go on.
    Welcome,
    /// The server speaks another version: the one in its greeting.
    OtherVersion,
    /// The server has as many connections as it takes.
    Full,
}

impl Verdict {
    pub(super) fn greeting(self) -> [u8; VERDICT_BYTES] {
        let [a, b, c, d, e, f, g, h, v0, v1, v2, v3] = greeting(VERSION);
        let code = match self {
            Self::Welcome => 0,
            Self::OtherVersion => 1,
            Self::Full => 2,
        };
        [a, b, c, d, e, f, g, h, v0, v1, v2, v3, code]
    }

    pub(super) fn of_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Welcome),
            1 => Some(Self::OtherVersion),
            2 => Some(Self::Full),
            _ => None,
        }
    }
}

/// Why bytes are no frame of this protocol. The connection can't go on: where the next frame
/// begins is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// Frames of a stream, gathered as their bytes come.
#[derive(Debug, Default)]
pub(super) struct Frames {
    buffer: Vec<u8>,
    /// Up to where frames were handed out.
    taken: usize,
}

impl Frames {
    /// Reads once from the stream; says how many bytes came, 0 at its end.
    ///
    /// # Errors
    /// Of the stream.
    pub(super) fn fill(&mut self, stream: &mut impl Read) -> io::Result<usize> {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        if self.buffer.is_empty() {
            self.buffer.shrink_to(READ_BYTES);
        }
        let before = self.buffer.len();
        self.buffer.resize(before + READ_BYTES, 0);
        let read = stream.read(self.buffer.get_mut(before..).unwrap_or_default());
        self.buffer.truncate(before + *read.as_ref().unwrap_or(&0));
        read
    }

    /// The next whole frame, without its length.
    ///
    /// # Errors
    /// [`Malformed`] when it is longer than a frame may be.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, Malformed> {
        let rest = self.buffer.get(self.taken..).unwrap_or_default();
        let Some((length, rest)) = rest.split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if length > MAX_FRAME_BYTES {
            return Err(Malformed("a frame is too long"));
        }
        let frame = rest.get(..length);
        if frame.is_some() {
            self.taken += LENGTH_BYTES + length;
        }
        Ok(frame)
    }
}
