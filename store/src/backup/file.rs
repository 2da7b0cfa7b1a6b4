//! The file of a backup: chunks of rows, each under its checksum, and an end that sums it all up.
//!
//! ```text
//! file     header part* end
//! header   "rookery backup\n"  u32 format (1)  u64 created, Unix ms  u32 inbox epoch
//!          u64 version of the snapshot  u64 checksum of all of this
//! part     u8 kind  u32 length  content  u64 checksum of kind, length and content
//!   1 rows     (u16 key length  u32 value length  key  value)*, keys rising
//!   2 end      u128 digest of all rows  (u8 tag  u64 rows)*      nothing follows it
//!   3 failure  UTF-8: why there is no more; the file is no backup
//! ```
//!
//! Numbers are little-endian; checksums are XXH3 seeded with the part's number, so that no part can
//! be left out, doubled or moved. They find damage; they don't keep anybody from making a file.

use crate::engine::Row;
use crate::plan::{MAX_KEY_BYTES, MAX_VALUE_BYTES};
use crate::schema::hex;
use crate::tally::{Tally, Totals};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

const MAGIC: &[u8; 15] = b"rookery backup\n";
const FORMAT: u32 = 1;
const HEADER_BYTES: usize = 15 + 4 + 8 + 4 + 8;
const ROWS: u8 = 1;
const END: u8 = 2;
const FAILURE: u8 = 3;
/// A part is written when it has this many bytes.
const PART_BYTES: usize = 256 << 10;
/// No part is longer: a length that lies is not allocated.
const MAX_PART_BYTES: usize = PART_BYTES + MAX_KEY_BYTES + MAX_VALUE_BYTES + 6;

/// What a backup says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// When it was begun, Unix milliseconds.
    pub created_ms: u64,
    /// The inbox epoch of the store it was made of.
    pub inbox_epoch: u32,
    /// The version of the snapshot.
    pub version: u64,
}

/// Why a file is no whole backup.
#[derive(Debug)]
pub enum FileError {
    /// It can't be read.
    Io(io::Error),
    /// It is something else.
    NotABackup,
    /// A newer release wrote it.
    NewerFormat(u32),
    /// It ends too early.
    Truncated,
    /// It isn't what was written.
    Damaged(String),
    /// Making it failed.
    Failed(String),
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "the backup can't be read: {error}"),
            Self::NotABackup => f.write_str("the file is no backup of Rookery"),
            Self::NewerFormat(found) => write!(
                f,
                "the backup has format {found}, this release reads up to {FORMAT}; use the release \
                 that wrote it or a later one"
            ),
            Self::Truncated => {
                f.write_str("the backup ends too early; take another one, nothing of it was used")
            }
            Self::Damaged(what) => {
                write!(f, "the backup is damaged: {what}; take another one, nothing of it was used")
            }
            Self::Failed(why) => write!(f, "making the backup failed: {why}"),
        }
    }
}

impl std::error::Error for FileError {}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::UnexpectedEof => Self::Truncated,
            _ => Self::Io(error),
        }
    }
}

/// Writes the parts.
pub(super) struct Writer<W> {
    out: W,
    part: u64,
    begun: bool,
    rows: BytesMut,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, part: 0, begun: false, rows: BytesMut::with_capacity(MAX_PART_BYTES) }
    }

    pub(super) fn header(&mut self, header: &Header) -> io::Result<()> {
        let mut bytes = BytesMut::with_capacity(HEADER_BYTES + 8);
        bytes.put_slice(MAGIC);
        bytes.put_u32_le(FORMAT);
        bytes.put_u64_le(header.created_ms);
        bytes.put_u32_le(header.inbox_epoch);
        bytes.put_u64_le(header.version);
        let sum = xxh3_64(&bytes);
        bytes.put_u64_le(sum);
        self.begun = true;
        self.out.write_all(&bytes)
    }

    pub(super) fn row(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let too_long = |_| io::Error::new(ErrorKind::InvalidData, "a row is over its limit");
        self.rows.put_u16_le(u16::try_from(key.len()).map_err(too_long)?);
        self.rows.put_u32_le(u32::try_from(value.len()).map_err(too_long)?);
        self.rows.put_slice(key);
        self.rows.put_slice(value);
        if self.rows.len() >= PART_BYTES { self.flush_rows() } else { Ok(()) }
    }

    fn flush_rows(&mut self) -> io::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let rows = self.rows.split();
        self.part(ROWS, &rows)
    }

    pub(super) fn end(&mut self, totals: &Totals) -> io::Result<()> {
        self.flush_rows()?;
        let mut content = BytesMut::new();
        content.put_u128_le(totals.digest);
        for (tag, rows) in &totals.rows {
            content.put_u8(*tag);
            content.put_u64_le(*rows);
        }
        self.part(END, &content)?;
        self.out.flush()
    }

    pub(super) fn failure(&mut self, why: &str) -> io::Result<()> {
        if !self.begun {
            self.header(&Header { created_ms: 0, inbox_epoch: 0, version: 0 })?;
        }
        let end = why.len().min(PART_BYTES);
        self.part(FAILURE, why.as_bytes().get(..end).unwrap_or_default())?;
        self.out.flush()
    }

    fn part(&mut self, kind: u8, content: &[u8]) -> io::Result<()> {
        let too_long = |_| io::Error::new(ErrorKind::InvalidData, "a part is over its limit");
        let [a, b, c, d] = u32::try_from(content.len()).map_err(too_long)?.to_le_bytes();
        let head = [kind, a, b, c, d];
        let sum = checksum(self.part, head, content);
        self.part += 1;
        self.out.write_all(&head)?;
        self.out.write_all(content)?;
        self.out.write_all(&sum.to_le_bytes())
    }
}

/// A file of these parts (kind, content), its checksums right: what fuzzing reads.
#[cfg(feature = "fuzz")]
pub(crate) fn of_parts(parts: &[(u8, Vec<u8>)]) -> io::Result<Vec<u8>> {
    let mut file = Vec::new();
    let mut writer = Writer::new(&mut file);
    writer.header(&Header { created_ms: 1, inbox_epoch: 1, version: 1 })?;
    parts.iter().try_for_each(|(kind, content)| writer.part(*kind, content))?;
    Ok(file)
}

fn checksum(part: u64, head: [u8; 5], content: &[u8]) -> u64 {
    xxh3_64_with_seed(content, xxh3_64_with_seed(&head, part))
}

/// Reads a backup part by part and checks all of it.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    header: Header,
    part: u64,
    tally: Summed,
    last_key: Bytes,
}

enum Summed {
    Counting(Box<Tally>),
    Ended(Totals),
}

impl fmt::Debug for Summed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Counting(tally) => write!(f, "{} rows so far", tally.total()),
            Self::Ended(totals) => totals.fmt(f),
        }
    }
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn new(mut source: R) -> Result<Self, FileError> {
        let mut magic = [0; 15];
        source.read_exact(&mut magic).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => FileError::NotABackup,
            _ => FileError::Io(error),
        })?;
        if &magic != MAGIC {
            return Err(FileError::NotABackup);
        }
        let mut rest = [0; HEADER_BYTES - 15 + 8];
        source.read_exact(&mut rest)?;
        let mut fields = rest.as_slice();
        let format = fields.get_u32_le();
        if format > FORMAT {
            return Err(FileError::NewerFormat(format));
        }
        let header = Header {
            created_ms: fields.get_u64_le(),
            inbox_epoch: fields.get_u32_le(),
            version: fields.get_u64_le(),
        };
        let summed = [magic.as_slice(), rest.get(..HEADER_BYTES - 15).unwrap_or_default()].concat();
        if format != FORMAT || fields.get_u64_le() != xxh3_64(&summed) {
            return Err(FileError::Damaged("its header".to_owned()));
        }
        let tally = Summed::Counting(Box::default());
        Ok(Self { source, header, part: 0, tally, last_key: Bytes::new() })
    }

    /// What the backup says of itself.
    #[must_use]
    pub fn header(&self) -> Header {
        self.header
    }

    /// The next rows; `None` after the last, when the file was found whole.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn next_rows(&mut self) -> Result<Option<Vec<Row>>, FileError> {
        if matches!(self.tally, Summed::Ended(_)) {
            return Ok(None);
        }
        let (kind, content) = self.next_part()?;
        match kind {
            ROWS => self.rows(content).map(Some),
            END => self.ended(content).map(|()| None),
            FAILURE => Err(FileError::Failed(String::from_utf8_lossy(&content).into_owned())),
            _ => Err(FileError::Damaged(format!("part {} is of no known kind", self.part))),
        }
    }

    /// What the backup holds, once it was read to its end.
    ///
    /// # Errors
    /// [`FileError::Truncated`] before.
    pub fn into_totals(self) -> Result<Totals, FileError> {
        match self.tally {
            Summed::Ended(totals) => Ok(totals),
            Summed::Counting(_) => Err(FileError::Truncated),
        }
    }

    fn next_part(&mut self) -> Result<(u8, Bytes), FileError> {
        let damaged = |part: u64| FileError::Damaged(format!("part {part}"));
        let mut head = [0; 5];
        self.source.read_exact(&mut head)?;
        let [kind, a, b, c, d] = head;
        let length = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if length > MAX_PART_BYTES {
            return Err(damaged(self.part));
        }
        let mut content = vec![0; length];
        self.source.read_exact(&mut content)?;
        let mut sum = [0; 8];
        self.source.read_exact(&mut sum)?;
        if u64::from_le_bytes(sum) != checksum(self.part, head, &content) {
            return Err(damaged(self.part));
        }
        self.part += 1;
        Ok((kind, content.into()))
    }

    fn rows(&mut self, mut content: Bytes) -> Result<Vec<Row>, FileError> {
        let part = self.part - 1;
        let damaged = |what: &str| FileError::Damaged(format!("part {part}: {what}"));
        let Summed::Counting(tally) = &mut self.tally else { return Err(FileError::Truncated) };
        let mut rows = Vec::new();
        while content.has_remaining() {
            if content.remaining() < 6 {
                return Err(damaged("a row is cut off"));
            }
            let key_len = usize::from(content.get_u16_le());
            let value_len = usize::try_from(content.get_u32_le()).unwrap_or(usize::MAX);
            if content.remaining() < key_len.saturating_add(value_len) {
                return Err(damaged("a row is cut off"));
            }
            let (key, value) = (content.split_to(key_len), content.split_to(value_len));
            if key.is_empty() || key_len > MAX_KEY_BYTES || value_len > MAX_VALUE_BYTES {
                return Err(damaged("a row is over its limit"));
            }
            if key <= self.last_key {
                return Err(damaged(&format!("key {} is out of order", hex(&key))));
            }
            self.last_key = key.clone();
            tally.add(&key, &value);
            rows.push((key, value));
        }
        Ok(rows)
    }

    fn ended(&mut self, mut content: Bytes) -> Result<(), FileError> {
        let damaged = |what: String| FileError::Damaged(format!("its end: {what}"));
        if content.remaining() < 16 || !(content.remaining() - 16).is_multiple_of(9) {
            return Err(damaged("its length".to_owned()));
        }
        let mut told = Totals { digest: content.get_u128_le(), ..Totals::default() };
        while content.has_remaining() {
            told.rows.insert(content.get_u8(), content.get_u64_le());
        }
        // Nothing is whole until everything was compared: who asks after an error is told so.
        let counting = std::mem::replace(&mut self.tally, Summed::Counting(Box::default()));
        let Summed::Counting(tally) = counting else { return Err(FileError::Truncated) };
        if let Some(what) = tally.finish().difference(&told) {
            return Err(damaged(what));
        }
        if self.source.read(&mut [0])? > 0 {
            return Err(damaged("bytes follow it".to_owned()));
        }
        self.tally = Summed::Ended(told);
        Ok(())
    }
}
