//! Frames on a link: plain bytes, versioned, decoded by code that can only fail, never panic.
//!
//! ```text
//! every frame   version u8 | kind u8 | from node u64, incarnation u64 | to node u64, incarnation u64
//!               | ack u64 | base u64 | beat u64 | echo u64 | window u32
//! kind 0 beat   nothing more
//! kind 1 data   first u64 | count u32 | count times (length u32 | bytes)
//! ```
//!
//! Numbers are big-endian. `ack` is the sequence number the sender of the frame expects next, so all
//! below it arrived. `base` is the oldest it can still send: what is below and not there is lost.
//! `beat` counts the sender's signs of life, `echo` is the last one it heard of the other side.
//! `window` is how many bytes it lets the other side have in flight.
//!
//! | version | what it added |
//! |---|---|
//! | 1 | |
//! | 2 | frames as in 1; messages of kinds that version 1 does not know may be in them ([`crate::wire::since`]) |

use super::{MAX_MESSAGE_BYTES, NodeKey};
use bytes::{Buf, BufMut, Bytes};
use std::fmt;

/// The newest wire version this code speaks.
pub const NEWEST_VERSION: u8 = 2;
/// The oldest it still speaks: one version back, for rolling upgrades.
pub const OLDEST_VERSION: u8 = 1;

/// A batch is closed once it holds this many bytes.
pub const BATCH_BYTES: usize = 64 * 1024;
/// Largest frame in bytes: a nearly full batch and one largest message.
pub const MAX_FRAME_BYTES: usize =
    HEADER_BYTES + DATA_HEADER_BYTES + BATCH_BYTES + MAX_MESSAGE_BYTES + LENGTH_BYTES;

const HEADER_BYTES: usize = 2 + 4 * 8 + 4 * 8 + 4;
const DATA_HEADER_BYTES: usize = 8 + 4;
const LENGTH_BYTES: usize = 4;
const BEAT: u8 = 0;
const DATA: u8 = 1;

/// What every frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Wire version of this frame.
    pub version: u8,
    /// Who sends it.
    pub from: NodeKey,
    /// Who it is for.
    pub to: NodeKey,
    /// Sequence number the sender expects next.
    pub ack: u64,
    /// Oldest sequence number the sender can still send.
    pub base: u64,
    /// The sender's latest sign of life.
    pub beat: u64,
    /// The latest sign of life it heard.
    pub echo: u64,
    /// Bytes it lets the other side have unacknowledged.
    pub window: u32,
}

/// A decoded frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What every frame says.
    pub header: Header,
    /// Sequence number of the first message; 0 in a beat.
    pub first: u64,
    /// The messages, slices of the frame's own bytes; none in a beat.
    pub messages: Vec<Bytes>,
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// A wire version this node doesn't speak.
    Version(u8),
    /// A kind that no version it speaks has.
    Kind(u8),
    /// Ends too early, or a length leads past the end.
    Truncated,
    /// Bytes after the end.
    Trailing,
    /// The frame or one of its messages is over its limit.
    TooLarge,
    /// Sequence numbers that don't fit 64 bits, or acknowledge what was never sent.
    Sequence,
    /// For another node or another life of this one.
    NotForUs,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "wire version {version} is not spoken here"),
            Self::Kind(kind) => write!(f, "frame kind {kind} is not known"),
            Self::Truncated => f.write_str("the frame is cut short"),
            Self::Trailing => f.write_str("bytes follow the frame"),
            Self::TooLarge => f.write_str("the frame or a message in it is too large"),
            Self::Sequence => f.write_str("impossible sequence numbers"),
            Self::NotForUs => f.write_str("the frame is for another node or another life of it"),
        }
    }
}

impl std::error::Error for FrameError {}

/// Encodes a beat.
#[must_use]
pub fn beat(header: &Header) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    put_header(&mut bytes, header, BEAT);
    bytes
}

/// Encodes messages; `first` is the sequence number of the first of them. The caller keeps each
/// within [`MAX_MESSAGE_BYTES`], and all but the last of them together within [`BATCH_BYTES`].
#[must_use]
pub fn data<'a>(
    header: &Header,
    first: u64,
    messages: impl ExactSizeIterator<Item = &'a Bytes>,
    payload_bytes: usize,
) -> Vec<u8> {
    let count = u32::try_from(messages.len()).unwrap_or(u32::MAX);
    let lengths = messages.len().saturating_mul(LENGTH_BYTES);
    let mut bytes = Vec::with_capacity(HEADER_BYTES + DATA_HEADER_BYTES + lengths + payload_bytes);
    put_header(&mut bytes, header, DATA);
    bytes.put_u64(first);
    bytes.put_u32(count);
    for message in messages {
        bytes.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
        bytes.extend_from_slice(message);
    }
    bytes
}

fn put_header(bytes: &mut Vec<u8>, header: &Header, kind: u8) {
    bytes.put_u8(header.version);
    bytes.put_u8(kind);
    for key in [header.from, header.to] {
        bytes.put_u64(key.node);
        bytes.put_u64(key.incarnation);
    }
    bytes.put_u64(header.ack);
    bytes.put_u64(header.base);
    bytes.put_u64(header.beat);
    bytes.put_u64(header.echo);
    bytes.put_u32(header.window);
}

impl Frame {
    /// Decodes a frame.
    ///
    /// # Errors
    /// [`FrameError`]; nothing of the frame may be used.
    pub fn decode(mut bytes: Bytes) -> Result<Self, FrameError> {
        if bytes.len() > MAX_FRAME_BYTES {
            return Err(FrameError::TooLarge);
        }
        // The version comes first: what follows may look different in a version we don't speak.
        let version = bytes.try_get_u8().map_err(|_| FrameError::Truncated)?;
        if !(OLDEST_VERSION..=NEWEST_VERSION).contains(&version) {
            return Err(FrameError::Version(version));
        }
        let kind = bytes.try_get_u8().map_err(|_| FrameError::Truncated)?;
        let header = Header {
            version,
            from: get_key(&mut bytes)?,
            to: get_key(&mut bytes)?,
            ack: get_u64(&mut bytes)?,
            base: get_u64(&mut bytes)?,
            beat: get_u64(&mut bytes)?,
            echo: get_u64(&mut bytes)?,
            window: get_u32(&mut bytes)?,
        };
        let (first, messages) = match kind {
            BEAT => (0, Vec::new()),
            DATA => get_messages(&mut bytes)?,
            kind => return Err(FrameError::Kind(kind)),
        };
        if bytes.has_remaining() {
            return Err(FrameError::Trailing);
        }
        Ok(Self { header, first, messages })
    }
}

fn get_u32(bytes: &mut Bytes) -> Result<u32, FrameError> {
    bytes.try_get_u32().map_err(|_| FrameError::Truncated)
}

fn get_u64(bytes: &mut Bytes) -> Result<u64, FrameError> {
    bytes.try_get_u64().map_err(|_| FrameError::Truncated)
}

fn get_key(bytes: &mut Bytes) -> Result<NodeKey, FrameError> {
    Ok(NodeKey { node: get_u64(bytes)?, incarnation: get_u64(bytes)? })
}

fn get_messages(bytes: &mut Bytes) -> Result<(u64, Vec<Bytes>), FrameError> {
    let first = get_u64(bytes)?;
    let count = get_u32(bytes)?;
    if first.checked_add(u64::from(count)).is_none() {
        return Err(FrameError::Sequence);
    }
    let count = usize::try_from(count).map_err(|_| FrameError::TooLarge)?;
    // A count that can't be true must not reserve memory.
    if count.checked_mul(LENGTH_BYTES).is_none_or(|least| least > bytes.len()) {
        return Err(FrameError::Truncated);
    }
    let mut messages = Vec::with_capacity(count);
    for _ in 0..count {
        let length = usize::try_from(get_u32(bytes)?).map_err(|_| FrameError::TooLarge)?;
        if length > MAX_MESSAGE_BYTES {
            return Err(FrameError::TooLarge);
        }
        if length > bytes.len() {
            return Err(FrameError::Truncated);
        }
        messages.push(bytes.split_to(length));
    }
    Ok((first, messages))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> Header {
        Header {
            version: NEWEST_VERSION,
            from: NodeKey { node: 1, incarnation: 2 },
            to: NodeKey { node: 3, incarnation: 4 },
            ack: 5,
            base: 6,
            beat: 7,
            echo: 8,
            window: 9,
        }
    }

    fn encoded(first: u64, messages: &[Bytes]) -> Vec<u8> {
        data(&header(), first, messages.iter(), messages.iter().map(Bytes::len).sum())
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_bytes_of_a_version_never_change() {
        let head = concat!(
            "0000000000000001", // from: node
            "0000000000000002", // from: incarnation
            "0000000000000003", // to: node
            "0000000000000004", // to: incarnation
            "0000000000000005", // ack
            "0000000000000006", // base
            "0000000000000007", // beat
            "0000000000000008", // echo
            "00000009",         // window
        );
        assert_eq!(hex(&beat(&header())), format!("0200{head}"));
        let former = Header { version: 1, ..header() };
        assert_eq!(hex(&beat(&former)), format!("0100{head}"));
        assert_eq!(Frame::decode(beat(&former).into()).unwrap().header, former);
        let messages = [Bytes::from_static(b"hi"), Bytes::new()];
        let tail = concat!(
            "000000000000000a", // first
            "00000002",         // count
            "000000026869",     // "hi"
            "00000000",         // an empty message
        );
        assert_eq!(hex(&encoded(10, &messages)), format!("0201{head}{tail}"));
    }

    #[test]
    fn what_is_no_frame_is_refused_with_the_reason() {
        let refused = |bytes: Vec<u8>| Frame::decode(bytes.into()).unwrap_err();
        let whole = encoded(1, &[Bytes::from_static(b"x")]);
        for length in 0..whole.len() {
            assert_eq!(refused(whole[..length].to_vec()), FrameError::Truncated, "{length}");
        }
        let mut long = whole.clone();
        long.push(0);
        assert_eq!(refused(long), FrameError::Trailing);
        let mut other = whole.clone();
        other[0] = 99;
        assert_eq!(refused(other), FrameError::Version(99));
        let mut other = whole.clone();
        other[1] = 99;
        assert_eq!(refused(other), FrameError::Kind(99));
        assert_eq!(refused(vec![1; MAX_FRAME_BYTES + 1]), FrameError::TooLarge);
        assert_eq!(refused(encoded(u64::MAX, &[Bytes::new()])), FrameError::Sequence);
        let large = Bytes::from(vec![0; MAX_MESSAGE_BYTES + 1]);
        assert_eq!(refused(encoded(1, &[large])), FrameError::TooLarge);
        // A count of four billion in a frame of a few bytes.
        let mut count = whole;
        count[HEADER_BYTES + 8..HEADER_BYTES + 12].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(refused(count), FrameError::Truncated);
    }

    #[test]
    fn the_largest_frame_a_link_makes_is_taken() {
        let messages = [
            Bytes::from(vec![1; BATCH_BYTES - 2 * LENGTH_BYTES]),
            vec![2; MAX_MESSAGE_BYTES].into(),
        ];
        let frame = Frame::decode(encoded(1, &messages).into()).unwrap();
        assert_eq!(frame.messages, messages);
    }

    proptest! {
        #[test]
        fn a_frame_comes_back_as_it_was(
            first in 0..u64::MAX - 100,
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..20),
        ) {
            let messages: Vec<Bytes> = messages.into_iter().map(Bytes::from).collect();
            let frame = Frame::decode(encoded(first, &messages).into()).unwrap();
            prop_assert_eq!(frame, Frame { header: header(), first, messages });
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            drop(Frame::decode(bytes.into()));
        }

        #[test]
        fn damaged_frames_never_panic(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..9),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        ) {
            let messages: Vec<Bytes> = messages.into_iter().map(Bytes::from).collect();
            let mut bytes = encoded(1, &messages);
            for (at, value) in damage {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            drop(Frame::decode(bytes.into()));
        }
    }
}
