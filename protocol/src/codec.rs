//! Frames to bytes and back: header, bincode payload, limits, and forward compatibility.
//!
//! Safety: nothing a peer sends makes these functions panic or allocate more than the payload's
//! own length can justify (bincode's limit is set at every decode).

use bincode::config::{self, Configuration, LittleEndian, Varint};
use bincode::{Decode, Encode};
use std::fmt;

/// Upper bound of any decode: no payload claims more memory than the largest frame.
const DECODE_LIMIT: usize = crate::limits::MAX_SERVER_FRAME_BYTES;

const ENCODE: Configuration<LittleEndian, Varint> = config::standard();
const DECODE: Configuration<LittleEndian, Varint, config::Limit<DECODE_LIMIT>> =
    config::standard().with_limit::<DECODE_LIMIT>();

/// Why bytes could not be read as a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The message ended inside a frame.
    Truncated,
    /// The frame's length is over the limit.
    TooLarge {
        /// What the header says.
        length: u64,
        /// What is allowed.
        limit: usize,
    },
    /// More frames in a message than allowed.
    TooMany,
    /// The payload is not what the frame's number says.
    Payload {
        /// The frame's number.
        number: u8,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the message ended inside a frame"),
            Self::TooLarge { length, limit } => {
                write!(f, "a frame of {length} bytes is over the limit of {limit}")
            }
            Self::TooMany => f.write_str("too many frames in one message"),
            Self::Payload { number } => {
                write!(f, "the payload of frame 0x{number:02x} does not decode")
            }
        }
    }
}

impl std::error::Error for DecodeError {}

/// A frame whose payload is not decoded yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawFrame<'a> {
    /// The frame's number.
    pub number: u8,
    /// Its payload.
    pub payload: &'a [u8],
}

/// Splits a message into its frames. The iterator ends after the first error.
pub fn frames(message: &[u8], frame_limit: usize) -> Frames<'_> {
    Frames { rest: message, frame_limit, left: crate::limits::MAX_FRAMES_PER_MESSAGE }
}

/// Iterator of [`frames`].
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    rest: &'a [u8],
    frame_limit: usize,
    left: usize,
}

impl<'a> Frames<'a> {
    fn split(&mut self) -> Result<RawFrame<'a>, DecodeError> {
        let (&number, rest) = self.rest.split_first().ok_or(DecodeError::Truncated)?;
        let (length, header): (u32, usize) =
            bincode::decode_from_slice(rest, DECODE).map_err(|_| DecodeError::Truncated)?;
        let length = length as usize;
        if length > self.frame_limit {
            return Err(DecodeError::TooLarge { length: length as u64, limit: self.frame_limit });
        }
        let body = rest.get(header..).ok_or(DecodeError::Truncated)?;
        let (payload, rest) = body.split_at_checked(length).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(RawFrame { number, payload })
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<RawFrame<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let item = match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                self.split()
            }
            None => Err(DecodeError::TooMany),
        };
        if item.is_err() {
            self.rest = &[];
        }
        Some(item)
    }
}

/// Decodes a payload, skipping trailing bytes that a newer peer may have added.
///
/// # Errors
/// [`DecodeError::Payload`] when the bytes are not a `T`.
pub fn decode_payload<T: Decode<()>>(number: u8, payload: &[u8]) -> Result<T, DecodeError> {
    match bincode::decode_from_slice(payload, DECODE) {
        Ok((value, _trailing)) => Ok(value),
        Err(_) => Err(DecodeError::Payload { number }),
    }
}

/// A payload alone, as bytes.
#[must_use]
pub fn encode_payload<T: Encode>(payload: &T) -> Vec<u8> {
    // Writing into a Vec can't fail and no payload type has an unsupported shape; an empty payload
    // is refused by whoever reads it.
    bincode::encode_to_vec(payload, ENCODE).unwrap_or_default()
}

/// Appends a frame to `out`.
pub fn encode_frame<T: Encode>(number: u8, payload: &T, out: &mut Vec<u8>) {
    out.push(number);
    // Nearly every frame is under 251 bytes: one byte is reserved for the length and widened in
    // place when that was not enough.
    let at = out.len();
    out.push(0);
    if bincode::encode_into_std_write(payload, out, ENCODE).is_err() {
        // Writing into a Vec can't fail and no payload type has an unsupported shape; a test
        // encodes every one. Keep the stream well-formed even so: an empty frame is skipped.
        out.truncate(at.saturating_sub(1));
        return;
    }
    let length = out.len() - at - 1;
    if let Ok(small @ 0..=250) = u8::try_from(length) {
        if let Some(byte) = out.get_mut(at) {
            *byte = small;
        }
        return;
    }
    let mut header = Vec::with_capacity(5);
    match u16::try_from(length) {
        Ok(length) => {
            header.push(251);
            header.extend_from_slice(&length.to_le_bytes());
        }
        Err(_) => {
            header.push(252);
            header.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        }
    }
    out.splice(at..=at, header);
}

/// Defines the enum over all frames of one direction, with encode and decode by number.
macro_rules! frame_enum {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $number:expr),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "each variant is documented at its struct")]
        pub enum $name {
            $($variant($variant),)+
        }

        impl $name {
            /// The frame's number.
            #[must_use]
            pub const fn number(&self) -> u8 {
                match self { $(Self::$variant(_) => $number,)+ }
            }

            /// The frame's name, as logs and metrics carry it.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => stringify!($variant),)+ }
            }

            /// Appends the frame to `out`.
            pub fn encode(&self, out: &mut Vec<u8>) {
                match self { $(Self::$variant(f) => $crate::codec::encode_frame($number, f, out),)+ }
            }

            /// The frame alone, as bytes.
            #[must_use]
            pub fn to_bytes(&self) -> bytes::Bytes {
                let mut out = Vec::with_capacity(64);
                self.encode(&mut out);
                out.into()
            }

            /// Decodes a raw frame; `None` when this version doesn't know its number.
            ///
            /// # Errors
            /// `DecodeError::Payload` when the payload is not what the number says.
            pub fn decode(
                raw: $crate::codec::RawFrame<'_>,
            ) -> Result<Option<Self>, $crate::codec::DecodeError> {
                Ok(Some(match raw.number {
                    $(n if n == $number => {
                        Self::$variant($crate::codec::decode_payload(n, raw.payload)?)
                    })+
                    _ => return Ok(None),
                }))
            }
        }

        $(impl From<$variant> for $name {
            fn from(frame: $variant) -> Self {
                Self::$variant(frame)
            }
        })+
    };
}

pub(crate) use frame_enum;
