//! What a judge knows: its row taken apart, and the rows it points at, once they are read.

use super::Context;
use crate::engine::{ReadError, View};
use crate::rows::{self, Stored};
use crate::{keys, schema};
use bincode::BorrowDecode;
use bytes::Bytes;
use rookery_protocol::ConversationId;
use std::collections::BTreeMap;

/// Why a judgement ended early.
pub(super) enum Stop {
    /// A row it needs is not read yet.
    Unread,
    /// The row is wrong: this is how.
    Fault(String),
    /// A row it points at is damaged, which is found at that row.
    Elsewhere,
}

/// A judgement.
pub(super) type Judged = Result<(), Stop>;

/// A fault, unless `holds`.
pub(super) fn must(holds: bool, what: impl FnOnce() -> String) -> Judged {
    if holds { Ok(()) } else { Err(Stop::Fault(what())) }
}

/// How many rows from where on.
type Range = (Bytes, usize);

/// Rows that were read from the snapshot, and those that are wanted.
#[derive(Default)]
pub(super) struct Known {
    values: BTreeMap<Bytes, Result<Option<Bytes>, ()>>,
    ranges: BTreeMap<Range, Result<Vec<Bytes>, ()>>,
    wanted: Vec<Bytes>,
    wanted_ranges: Vec<Range>,
}

impl Known {
    fn get(&mut self, key: &[u8]) -> Result<Option<Bytes>, Stop> {
        match self.values.get(key) {
            Some(Ok(value)) => Ok(value.clone()),
            Some(Err(())) => Err(Stop::Elsewhere),
            None => {
                self.wanted.push(Bytes::copy_from_slice(key));
                Err(Stop::Unread)
            }
        }
    }

    /// The keys that start with `prefix`, at most so many.
    fn keys(&mut self, prefix: &[u8], limit: usize) -> Result<Vec<Bytes>, Stop> {
        let range = (Bytes::copy_from_slice(prefix), limit);
        match self.ranges.get(&range) {
            Some(Ok(keys)) => Ok(keys.clone()),
            Some(Err(())) => Err(Stop::Elsewhere),
            None => {
                self.wanted_ranges.push(range);
                Err(Stop::Unread)
            }
        }
    }

    /// Reads what is wanted.
    pub(super) async fn read(&mut self, view: &impl View) -> Result<(), ReadError> {
        let mut wanted = std::mem::take(&mut self.wanted);
        wanted.sort_unstable();
        wanted.dedup();
        match view.get_many(&wanted).await {
            Ok(values) => {
                self.values.extend(wanted.into_iter().zip(values.into_iter().map(Ok)));
            }
            // One of them: find out which.
            Err(ReadError::Damaged(_)) => {
                for key in wanted {
                    let value = match view.get(&key).await {
                        Ok(value) => Ok(value),
                        Err(ReadError::Damaged(_)) => Err(()),
                        Err(error) => return Err(error),
                    };
                    self.values.insert(key, value);
                }
            }
            Err(error) => return Err(error),
        }
        for (prefix, limit) in std::mem::take(&mut self.wanted_ranges) {
            let rows = match view.range(&prefix, &keys::prefix_end(&prefix), limit, false).await {
                Ok(rows) => Ok(rows.into_iter().map(|(key, _)| key).collect()),
                Err(ReadError::Damaged(_)) => Err(()),
                Err(error) => return Err(error),
            };
            self.ranges.insert((prefix, limit), rows);
        }
        Ok(())
    }
}

/// A row, and what its judge may ask.
pub(super) struct Parts<'a> {
    key: &'a [u8],
    value: &'a Bytes,
    pub(super) context: &'a Context<'a>,
    known: &'a mut Known,
}

impl<'a> Parts<'a> {
    pub(super) fn new(
        key: &'a [u8],
        value: &'a Bytes,
        context: &'a Context<'a>,
        known: &'a mut Known,
    ) -> Self {
        Self { key, value, context, known }
    }

    /// The value as its bytes.
    pub(super) fn value(&self) -> &'a [u8] {
        self.value
    }

    /// The value as a row of its kind.
    pub(super) fn decode<R: Stored + BorrowDecode<'a, ()>>(&self) -> Result<R, Stop> {
        rows::decode(self.value()).map_err(fault)
    }

    /// The value of a row that rises.
    pub(super) fn rising(&self) -> Result<u64, Stop> {
        let name = self.key.first().map_or_else(String::new, |byte| schema::name_of(*byte));
        rows::decode_rising(self.value, &name).map_err(fault)
    }

    /// The 8-byte id that is `place`-th in the key, counted from 0. The key has its length.
    pub(super) fn id(&self, place: usize) -> u64 {
        let start = 1 + 8 * place;
        let id = self.key.get(start..start + 8).and_then(|id| <[u8; 8]>::try_from(id).ok());
        id.map_or(0, u64::from_be_bytes)
    }

    /// What of the key comes from this byte on.
    pub(super) fn rest(&self, from: usize) -> &'a [u8] {
        self.key.get(from..).unwrap_or_default()
    }

    /// The key before this one in the walk, if it is of the same kind of row.
    pub(super) fn previous(&self) -> Option<&'a [u8]> {
        self.context.previous.filter(|previous| previous.first() == self.key.first())
    }

    /// What another key holds.
    pub(super) fn get(&mut self, key: impl AsRef<[u8]>) -> Result<Option<Bytes>, Stop> {
        self.known.get(key.as_ref())
    }

    /// Whether another row is there.
    pub(super) fn has(&mut self, key: impl AsRef<[u8]>) -> Result<bool, Stop> {
        Ok(self.get(key)?.is_some())
    }

    /// The conversation, word and seq of the key of a word.
    pub(super) fn word(&self) -> Result<(ConversationId, &'a str, u64), Stop> {
        keys::word_parts(self.key).map_err(fault)
    }

    /// How many of these rows are not there. All are asked for at once.
    pub(super) fn missing(&mut self, keys: impl Iterator<Item = Bytes>) -> Result<usize, Stop> {
        let (mut missing, mut unread) = (0, false);
        for key in keys {
            match self.known.get(&key) {
                Ok(value) => missing += usize::from(value.is_none()),
                Err(Stop::Unread) => unread = true,
                Err(stop) => return Err(stop),
            }
        }
        if unread { Err(Stop::Unread) } else { Ok(missing) }
    }

    /// The keys that start with `prefix`, at most so many.
    pub(super) fn keys(&mut self, prefix: &[u8], limit: usize) -> Result<Vec<Bytes>, Stop> {
        self.known.keys(prefix, limit)
    }
}

/// Reads another row's value; if it can't be read, that is found at that row.
pub(super) fn other<'v, R: Stored + BorrowDecode<'v, ()>>(value: &'v [u8]) -> Result<R, Stop> {
    rows::decode(value).map_err(|_| Stop::Elsewhere)
}

pub(super) fn fault(error: ReadError) -> Stop {
    match error {
        ReadError::Damaged(what) | ReadError::Unavailable(what) => Stop::Fault(what),
    }
}
