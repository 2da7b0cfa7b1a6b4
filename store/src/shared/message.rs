//! The messages of the wire and their frames: one enum a direction, every kind's number below.

use super::codec::{Reader, Writer};
use super::wire::{LENGTH_BYTES, MAX_ELEMENTS, MAX_FRAME_BYTES, Malformed, SOFT_FRAME_BYTES};
use crate::engine::{ReadError, Row};
use crate::plan::{Outcome, Plan, Version};
use bytes::Bytes;

/// What a client wants. The numbers of requests and snapshots are the client's choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// A sign of life.
    Ping,
    /// Commits plans, in their order.
    Submit { id: u64, plans: Vec<Plan> },
    /// Takes a snapshot.
    View { id: u64, view: u64, at_least: Version },
    /// Lets a snapshot go; not answered.
    Release { view: u64 },
    /// Reads keys of a snapshot.
    Get { id: u64, view: u64, keys: Vec<Bytes> },
    /// Reads a range of a snapshot.
    Range { id: u64, view: u64, from: Bytes, to: Bytes, limit: u64, reverse: bool },
    /// Asks for rings when a key may have changed; answered by every ring, and not otherwise.
    Watch { watch: u64, key: Bytes },
    /// Ends that; not answered.
    Unwatch { watch: u64 },
}

/// What the server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// To a ping: why the engine takes no commits, if it doesn't.
    Pong { trouble: Option<String> },
    /// To a submission: one for each plan.
    Outcomes { id: u64, outcomes: Vec<Outcome> },
    /// A snapshot was taken.
    View { id: u64, version: Version },
    /// Of the first of the keys asked for; the client asks again for the others.
    Values { id: u64, values: Vec<Option<Bytes>> },
    /// Of a range; `more`: the frame was full before the range and its limit were exhausted.
    Rows { id: u64, rows: Vec<Row>, more: bool },
    /// A read failed.
    Failed { id: u64, error: ReadError },
    /// The key of a watch may have changed; `ended`: it will not ring again.
    Rung { watch: u64, ended: bool },
}

mod kind {
    pub(super) const PING: u8 = 1;
    pub(super) const SUBMIT: u8 = 2;
    pub(super) const VIEW: u8 = 3;
    pub(super) const RELEASE: u8 = 4;
    pub(super) const GET: u8 = 5;
    pub(super) const RANGE: u8 = 6;
    pub(super) const WATCH: u8 = 7;
    pub(super) const UNWATCH: u8 = 8;
    pub(super) const PONG: u8 = 65;
    pub(super) const OUTCOMES: u8 = 66;
    pub(super) const VIEWED: u8 = 67;
    pub(super) const VALUES: u8 = 68;
    pub(super) const ROWS: u8 = 69;
    pub(super) const FAILED: u8 = 70;
    pub(super) const RUNG: u8 = 71;
}

/// A `Submit` frame that is filled plan by plan.
#[derive(Debug)]
pub(super) struct Submission {
    id: u64,
    writer: Writer,
    plans: usize,
    elements: usize,
}

/// Where the count of plans is: behind length, kind and id.
const COUNT_AT: usize = LENGTH_BYTES + 1 + 8;

impl Submission {
    pub(super) fn new(id: u64) -> Self {
        let mut writer = Writer::new(kind::SUBMIT);
        writer.u64(id);
        writer.u32(0);
        Self { id, writer, plans: 0, elements: 0 }
    }

    /// Adds a plan. False: it doesn't fit in any more, and nothing was added.
    pub(super) fn add(&mut self, plan: &Plan) -> bool {
        let before = self.writer.bytes.len();
        let elements = 1 + plan.guards.len() + plan.ops.len();
        if self.elements + elements > MAX_ELEMENTS {
            return false;
        }
        self.writer.u32(plan.guards.len());
        for guard in &plan.guards {
            self.writer.bytes(&guard.key);
            self.writer.optional(guard.known.as_ref());
            self.writer.u64(guard.version.0);
        }
        self.writer.u32(plan.ops.len());
        plan.ops.iter().for_each(|op| self.writer.op(op));
        if self.writer.bytes.len() - LENGTH_BYTES > MAX_FRAME_BYTES {
            self.writer.bytes.truncate(before);
            return false;
        }
        self.plans += 1;
        self.elements += elements;
        true
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn is_empty(&self) -> bool {
        self.plans == 0
    }

    /// Whether the next plan should go into a frame of its own.
    pub(super) fn is_full(&self) -> bool {
        self.writer.bytes.len() >= SOFT_FRAME_BYTES
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        let count = u32::try_from(self.plans).unwrap_or(u32::MAX).to_le_bytes();
        for (to, from) in self.writer.bytes.iter_mut().skip(COUNT_AT).zip(count) {
            *to = from;
        }
        self.writer.finish()
    }
}

impl Request {
    /// The frame.
    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Ping => Writer::new(kind::PING).finish(),
            Self::Submit { id, plans } => {
                let mut submission = Submission::new(*id);
                for plan in plans {
                    submission.add(plan);
                }
                submission.finish()
            }
            Self::View { id, view, at_least } => {
                let mut writer = Writer::new(kind::VIEW);
                [*id, *view, at_least.0].into_iter().for_each(|number| writer.u64(number));
                writer.finish()
            }
            Self::Release { view } => {
                let mut writer = Writer::new(kind::RELEASE);
                writer.u64(*view);
                writer.finish()
            }
            Self::Get { id, view, keys } => {
                let mut writer = Writer::new(kind::GET);
                writer.u64(*id);
                writer.u64(*view);
                writer.u32(keys.len());
                keys.iter().for_each(|key| writer.bytes(key));
                writer.finish()
            }
            Self::Range { id, view, from, to, limit, reverse } => {
                let mut writer = Writer::new(kind::RANGE);
                [*id, *view, *limit].into_iter().for_each(|number| writer.u64(number));
                writer.bytes.push(u8::from(*reverse));
                writer.bytes(from);
                writer.bytes(to);
                writer.finish()
            }
            Self::Watch { watch, key } => {
                let mut writer = Writer::new(kind::WATCH);
                writer.u64(*watch);
                writer.bytes(key);
                writer.finish()
            }
            Self::Unwatch { watch } => {
                let mut writer = Writer::new(kind::UNWATCH);
                writer.u64(*watch);
                writer.finish()
            }
        }
    }

    /// The request in a frame.
    ///
    /// # Errors
    /// [`Malformed`].
    pub(super) fn decode(frame: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(frame);
        let request = match reader.u8()? {
            kind::PING => Self::Ping,
            kind::SUBMIT => Self::Submit { id: reader.u64()?, plans: reader.list(Reader::plan)? },
            kind::VIEW => Self::View {
                id: reader.u64()?,
                view: reader.u64()?,
                at_least: Version(reader.u64()?),
            },
            kind::RELEASE => Self::Release { view: reader.u64()? },
            kind::GET => Self::Get {
                id: reader.u64()?,
                view: reader.u64()?,
                keys: reader.list(Reader::bytes)?,
            },
            kind::RANGE => {
                let (id, view, limit) = (reader.u64()?, reader.u64()?, reader.u64()?);
                let reverse = reader.flag()?;
                let (from, to) = (reader.bytes()?, reader.bytes()?);
                Self::Range { id, view, from, to, limit, reverse }
            }
            kind::WATCH => Self::Watch { watch: reader.u64()?, key: reader.bytes()? },
            kind::UNWATCH => Self::Unwatch { watch: reader.u64()? },
            _ => return Err(Malformed("unknown request")),
        };
        reader.end(request)
    }
}

impl Answer {
    /// The frame.
    pub(super) fn encode(&self) -> Vec<u8> {
        let numbered = |kind, id: &u64| {
            let mut writer = Writer::new(kind);
            writer.u64(*id);
            writer
        };
        match self {
            Self::Pong { trouble } => {
                let mut writer = Writer::new(kind::PONG);
                writer.bytes.push(u8::from(trouble.is_some()));
                if let Some(trouble) = trouble {
                    writer.bytes(trouble.as_bytes());
                }
                writer.finish()
            }
            Self::Outcomes { id, outcomes } => {
                let mut writer = numbered(kind::OUTCOMES, id);
                writer.u32(outcomes.len());
                outcomes.iter().for_each(|outcome| writer.outcome(*outcome));
                writer.finish()
            }
            Self::View { id, version } => {
                let mut writer = numbered(kind::VIEWED, id);
                writer.u64(version.0);
                writer.finish()
            }
            Self::Values { id, values } => {
                let mut writer = numbered(kind::VALUES, id);
                writer.u32(values.len());
                values.iter().for_each(|value| writer.optional(value.as_ref()));
                writer.finish()
            }
            Self::Rows { id, rows, more } => {
                let mut writer = numbered(kind::ROWS, id);
                writer.bytes.push(u8::from(*more));
                writer.u32(rows.len());
                for (key, value) in rows {
                    writer.bytes(key);
                    writer.bytes(value);
                }
                writer.finish()
            }
            Self::Failed { id, error } => {
                let mut writer = numbered(kind::FAILED, id);
                let (code, text) = match error {
                    ReadError::Unavailable(text) => (0, text),
                    ReadError::Damaged(text) => (1, text),
                };
                writer.bytes.push(code);
                writer.bytes(text.as_bytes());
                writer.finish()
            }
            Self::Rung { watch, ended } => {
                let mut writer = numbered(kind::RUNG, watch);
                writer.bytes.push(u8::from(*ended));
                writer.finish()
            }
        }
    }

    /// The answer in a frame.
    ///
    /// # Errors
    /// [`Malformed`].
    pub(super) fn decode(frame: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(frame);
        let answer = match reader.u8()? {
            kind::PONG => {
                let trouble = reader.optional()?;
                let text = |text: Bytes| String::from_utf8_lossy(&text).into_owned();
                Self::Pong { trouble: trouble.map(text) }
            }
            kind::OUTCOMES => {
                Self::Outcomes { id: reader.u64()?, outcomes: reader.list(Reader::outcome)? }
            }
            kind::VIEWED => Self::View { id: reader.u64()?, version: Version(reader.u64()?) },
            kind::VALUES => {
                Self::Values { id: reader.u64()?, values: reader.list(Reader::optional)? }
            }
            kind::ROWS => {
                let (id, more) = (reader.u64()?, reader.flag()?);
                let row = |reader: &mut Reader<'_>| Ok((reader.bytes()?, reader.bytes()?));
                Self::Rows { id, rows: reader.list(row)?, more }
            }
            kind::FAILED => {
                let (id, code, text) = (reader.u64()?, reader.u8()?, reader.bytes()?);
                let text = String::from_utf8_lossy(&text).into_owned();
                let error = match code {
                    0 => ReadError::Unavailable(text),
                    1 => ReadError::Damaged(text),
                    _ => return Err(Malformed("unknown error")),
                };
                Self::Failed { id, error }
            }
            kind::RUNG => Self::Rung { watch: reader.u64()?, ended: reader.flag()? },
            _ => return Err(Malformed("unknown answer")),
        };
        reader.end(answer)
    }
}
