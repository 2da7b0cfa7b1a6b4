//! The parts of frames, written and read: numbers, byte strings, lists, plans, outcomes.
//!
//! Safety: a reader takes only what is there and never allocates for elements that can't be.

use super::wire::{LENGTH_BYTES, MAX_ELEMENTS, Malformed};
use crate::plan::{Guard, Op, Outcome, Plan, STAMP_BYTES, Stamp, Version};
use bytes::Bytes;

/// A frame being written.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn new(kind: u8) -> Self {
        Self { bytes: vec![0, 0, 0, 0, kind] }
    }

    pub(super) fn u32(&mut self, number: usize) {
        // What is longer than a frame can be makes the frame too long, which its reader refuses.
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&number.to_le_bytes());
    }

    pub(super) fn u64(&mut self, number: u64) {
        self.bytes.extend_from_slice(&number.to_le_bytes());
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.u32(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn optional(&mut self, bytes: Option<&Bytes>) {
        self.bytes.push(u8::from(bytes.is_some()));
        if let Some(bytes) = bytes {
            self.bytes(bytes);
        }
    }

    pub(super) fn op(&mut self, op: &Op) {
        let (code, first, second) = match op {
            Op::Set { key, value } => (0, key, Some(value)),
            Op::Clear { key } => (1, key, None),
            Op::ClearRange { from, to } => (2, from, Some(to)),
            Op::SetStampedKey { prefix, value } => (3, prefix, Some(value)),
            Op::SetStampedValue { key, suffix } => (4, key, Some(suffix)),
            Op::Add { key, .. } => (5, key, None),
            Op::ByteMax { key, value } => (6, key, Some(value)),
        };
        self.bytes.push(code);
        self.bytes(first);
        if let Some(second) = second {
            self.bytes(second);
        }
        if let Op::Add { delta, .. } = op {
            self.u64(*delta);
        }
    }

    pub(super) fn outcome(&mut self, outcome: Outcome) {
        let code = match outcome {
            Outcome::Committed { .. } => 0,
            Outcome::Conflict => 1,
            Outcome::Busy => 2,
            Outcome::Unresolved => 3,
            Outcome::TooLarge => 4,
        };
        self.bytes.push(code);
        if let Outcome::Committed { version, stamp } = outcome {
            self.u64(version.0);
            self.bytes.extend_from_slice(&stamp.0);
        }
    }

    /// The whole frame.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let payload = self.bytes.len().saturating_sub(LENGTH_BYTES);
        let length = u32::try_from(payload).unwrap_or(u32::MAX).to_le_bytes();
        for (to, from) in self.bytes.iter_mut().zip(length) {
            *to = from;
        }
        self.bytes
    }
}

/// A frame being read.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    elements: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(frame: &'a [u8]) -> Self {
        Self { rest: frame, elements: 0 }
    }

    /// The result, if nothing is left over.
    pub(super) fn end<T>(self, read: T) -> Result<T, Malformed> {
        if self.rest.is_empty() { Ok(read) } else { Err(Malformed("bytes are left over")) }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(Malformed("cut off"))?;
        self.rest = rest;
        Ok(*array)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(super) fn flag(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("neither yes nor no")),
        }
    }

    fn length(&mut self) -> Result<usize, Malformed> {
        let length = u32::from_le_bytes(self.array()?);
        usize::try_from(length).map_err(|_| Malformed("too long"))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn bytes(&mut self) -> Result<Bytes, Malformed> {
        let length = self.length()?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Malformed("cut off"))?;
        self.rest = rest;
        Ok(Bytes::copy_from_slice(bytes))
    }

    pub(super) fn optional(&mut self) -> Result<Option<Bytes>, Malformed> {
        self.flag()?.then(|| self.bytes()).transpose()
    }

    pub(super) fn list<T>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count = self.length()?;
        self.elements = self.elements.saturating_add(count);
        // Every element has at least a byte: what claims more is refused before it costs memory.
        if count > self.rest.len() || self.elements > MAX_ELEMENTS {
            return Err(Malformed("too many elements"));
        }
        let mut list = Vec::with_capacity(count.min(1024));
        for _ in 0..count {
            list.push(element(self)?);
        }
        Ok(list)
    }

    pub(super) fn plan(&mut self) -> Result<Plan, Malformed> {
        Ok(Plan { guards: self.list(Self::guard)?, ops: self.list(Self::op)? })
    }

    fn guard(&mut self) -> Result<Guard, Malformed> {
        let (key, known) = (self.bytes()?, self.optional()?);
        Ok(Guard { key, known, version: Version(self.u64()?) })
    }

    fn op(&mut self) -> Result<Op, Malformed> {
        Ok(match self.u8()? {
            0 => Op::Set { key: self.bytes()?, value: self.bytes()? },
            1 => Op::Clear { key: self.bytes()? },
            2 => Op::ClearRange { from: self.bytes()?, to: self.bytes()? },
            3 => Op::SetStampedKey { prefix: self.bytes()?, value: self.bytes()? },
            4 => Op::SetStampedValue { key: self.bytes()?, suffix: self.bytes()? },
            5 => Op::Add { key: self.bytes()?, delta: self.u64()? },
            6 => Op::ByteMax { key: self.bytes()?, value: self.bytes()? },
            _ => return Err(Malformed("unknown operation")),
        })
    }

    pub(super) fn outcome(&mut self) -> Result<Outcome, Malformed> {
        Ok(match self.u8()? {
            0 => Outcome::Committed {
                version: Version(self.u64()?),
                stamp: Stamp(self.array::<STAMP_BYTES>()?),
            },
            1 => Outcome::Conflict,
            2 => Outcome::Busy,
            3 => Outcome::Unresolved,
            4 => Outcome::TooLarge,
            _ => return Err(Malformed("unknown outcome")),
        })
    }
}
