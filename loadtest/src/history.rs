//! Histories: what a run told its oracle, kept in a file, so that it can be judged again.
//!
//! ```text
//! rookery-history 1 {"scenario":"pairs","seed":7}\n      for people and for the reader
//! Event Event Event ...                                  bincode, see oracle/event.rs
//! End { events, hash }                                   without it the file was cut short
//! ```
//!
//! Every run writes one, into the directory for temporary files unless it is told where; that one
//! goes away when the run was clean. A thread of its own writes: what the disk does must not show
//! in the latencies that are measured.

use crate::oracle::{Event, Oracle, Verdict};
use bincode::config::{Configuration, Limit, LittleEndian, Varint, standard};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

const MAGIC: &str = "rookery-history 1 ";
/// Bytes that are handed to the writing thread together.
const CHUNK: usize = 1 << 20;
/// Chunks that may wait for the disk; then the run waits too.
const CHUNKS: usize = 64;
/// Longest event: words of a failure.
const MAX_EVENT_BYTES: usize = 1 << 16;

const fn config() -> Configuration<LittleEndian, Varint, Limit<MAX_EVENT_BYTES>> {
    standard().with_limit::<MAX_EVENT_BYTES>()
}

/// What a history is of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The scenario's name.
    pub scenario: String,
    /// The run's seed.
    pub seed: u64,
}

/// Why a history can't be judged. It says nothing about the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryError(String);

impl fmt::Display for HistoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for HistoryError {}

/// A history that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// What it is of.
    pub header: Header,
    bytes: Vec<u8>,
    start: usize,
}

impl History {
    /// Reads a history.
    ///
    /// # Errors
    /// [`HistoryError`]: it can't be read, or is none.
    pub fn read(path: &Path) -> Result<Self, HistoryError> {
        let wrong = |why: &dyn fmt::Display| HistoryError(format!("{}: {why}", path.display()));
        let bytes = std::fs::read(path).map_err(|e| wrong(&e))?;
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let line = end.and_then(|end| bytes.get(..end)).map(String::from_utf8_lossy);
        let header = line.as_deref().and_then(|line| line.strip_prefix(MAGIC));
        let header = header.and_then(|json| serde_json::from_str(json).ok());
        match (header, end) {
            (Some(header), Some(end)) => Ok(Self { header, bytes, start: end + 1 }),
            _ => Err(wrong(&"it is not a history of this version")),
        }
    }

    /// Tells its events one after the other; the last one is told before an error is returned, so
    /// that one may look at what there is.
    ///
    /// # Errors
    /// [`HistoryError`]: it is damaged or was cut short.
    pub fn each(&self, mut tell: impl FnMut(Event)) -> Result<(), HistoryError> {
        let (mut at, mut events) = (self.start, 0);
        loop {
            let rest = self.bytes.get(at..).unwrap_or_default();
            let Ok((event, length)) = bincode::decode_from_slice(rest, config()) else {
                return Err(HistoryError(format!("damaged or cut short after {events} events")));
            };
            if let Event::End { events: said, hash } = event {
                let known = xxh3_64(self.bytes.get(..at).unwrap_or_default());
                let whole = at + length == self.bytes.len();
                return if (said, hash, whole) == (events, known, true) {
                    Ok(())
                } else {
                    Err(HistoryError("damaged: its end does not fit it".to_owned()))
                };
            }
            at += length;
            events += 1;
            tell(event);
        }
    }

    /// The verdict of an oracle that is told this.
    ///
    /// # Errors
    /// [`HistoryError`]: it is damaged or was cut short.
    pub fn judge(&self) -> Result<Verdict, HistoryError> {
        let mut oracle = Oracle::new();
        self.each(|event| {
            oracle.hear(&event);
        })?;
        Ok(oracle.finish())
    }
}

/// Writes a whole history.
///
/// # Errors
/// Those of the file.
pub fn write(
    path: &Path,
    header: &Header,
    events: impl IntoIterator<Item = Event>,
) -> io::Result<()> {
    let mut writer = Writer::create(path, header)?;
    events.into_iter().for_each(|event| writer.put(&event));
    writer.end()
}

enum Order {
    Bytes(Vec<u8>),
    End { events: u64 },
}

/// Writes events into a file.
#[derive(Debug)]
struct Writer {
    chunk: Vec<u8>,
    events: u64,
    to: SyncSender<Order>,
    thread: JoinHandle<io::Result<()>>,
}

impl Writer {
    fn create(path: &Path, header: &Header) -> io::Result<Self> {
        let file = File::create(path)?;
        let mut chunk = Vec::with_capacity(CHUNK);
        writeln!(chunk, "{MAGIC}{}", serde_json::to_string(header)?)?;
        let (to, from) = sync_channel(CHUNKS);
        let thread = thread::spawn(move || write_chunks(file, &from));
        Ok(Self { chunk, events: 0, to, thread })
    }

    fn put(&mut self, event: &Event) {
        // Into memory, and an event is smaller than the limit: words are cut by who makes them.
        if bincode::encode_into_std_write(event, &mut self.chunk, config()).is_ok() {
            self.events += 1;
        }
        if self.chunk.len() + MAX_EVENT_BYTES > CHUNK {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK));
        // A thread that is gone says why when it is joined.
        self.to.send(Order::Bytes(chunk)).ok();
    }

    fn end(mut self) -> io::Result<()> {
        self.hand_over();
        self.to.send(Order::End { events: self.events }).ok();
        match self.thread.join() {
            Ok(written) => written,
            Err(_) => Err(io::Error::other("the writing thread panicked")),
        }
    }
}

fn write_chunks(mut file: File, from: &Receiver<Order>) -> io::Result<()> {
    let mut hash = Xxh3::new();
    while let Ok(order) = from.recv() {
        match order {
            Order::Bytes(bytes) => {
                hash.update(&bytes);
                file.write_all(&bytes)?;
            }
            Order::End { events } => {
                let end = Event::End { events, hash: hash.digest() };
                let bytes = bincode::encode_to_vec(end, config()).map_err(io::Error::other)?;
                return file.write_all(&bytes);
            }
        }
    }
    Ok(())
}

/// The oracle of a run, and the file in which everything is kept that it is told.
#[derive(Debug)]
pub(crate) struct Witness {
    oracle: Oracle,
    writer: Option<Writer>,
    path: PathBuf,
    /// The file stays whatever the verdict.
    wanted: bool,
}

impl Witness {
    /// Keeps the history in `path`, or in a temporary file.
    pub(crate) fn new(header: &Header, path: Option<&Path>) -> io::Result<Self> {
        let wanted = path.is_some();
        let path = path.map_or_else(|| temporary(header), Path::to_owned);
        let writer = Some(Writer::create(&path, header)?);
        Ok(Self { oracle: Oracle::new(), writer, path, wanted })
    }

    pub(crate) fn oracle(&self) -> &Oracle {
        &self.oracle
    }

    /// See [`Oracle::hear`].
    pub(crate) fn hear(&mut self, event: &Event) -> Option<u32> {
        if let Some(writer) = &mut self.writer {
            writer.put(event);
        }
        self.oracle.hear(event)
    }

    /// The verdict, and where the history is, if it was kept.
    pub(crate) fn finish(&mut self) -> (Verdict, Option<PathBuf>) {
        let mut verdict = std::mem::take(&mut self.oracle).finish();
        match self.writer.take().map(Writer::end) {
            Some(Ok(())) if !verdict.clean() || self.wanted => {
                return (verdict, Some(self.path.clone()));
            }
            Some(Err(e)) => {
                let words = format!("the history {}: {e}", self.path.display());
                verdict.counts.failed += 1;
                verdict.findings.push(words);
            }
            _ => {}
        }
        // A file that is gone already takes no room.
        std::fs::remove_file(&self.path).ok();
        (verdict, None)
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        // A run that could not be carried out has no verdict, and its history no end.
        if self.writer.take().is_some() && !self.wanted {
            std::fs::remove_file(&self.path).ok();
        }
    }
}

fn temporary(header: &Header) -> PathBuf {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let scenario: String = header.scenario.chars().filter(|c| word(*c)).take(40).collect();
    let stamp = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let stamp = stamp.unwrap_or_default().as_micros();
    let name = format!("rookery-{scenario}-{}-{stamp}.history", header.seed);
    std::env::temp_dir().join(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{Course, Mark, Value};

    /// Two devices of two users, 20 messages, marks and presence.
    fn events() -> Vec<Event> {
        let mut events = vec![Event::Conversation { base: 0 }];
        for user in 0..2 {
            events.push(Event::Lane { conversation: 0 });
            events.push(Event::Reader { conversation: 0, base: 0 });
            events.push(Event::Online { user, online: true });
            events.push(Event::Seen { reader: user, user: 1 - user, online: true });
        }
        let value = |seq: u64| {
            let place = u32::try_from(seq).unwrap();
            let (lane, number) = (place % 2, (place - 1) / 2);
            Value { lane, number, hash: seq * 1_000_003 }
        };
        let (conversation, course, mark) = (0, Course::Straight, Mark::Read);
        for seq in 1..=20 {
            let (value, floor) = (value(seq), seq.saturating_sub(2));
            events.push(Event::Acknowledged { value, seq, floor, course });
            for reader in 0..2 {
                events.push(Event::Delivered { reader, value, seq });
            }
            events.push(Event::Marked { conversation, user: 1, mark, seq });
            events.push(Event::Shown { reader: 0, user: 1, mark, seq });
        }
        events.push(Event::Settled);
        events.extend((1..=20).map(|seq| Event::ReadBack { conversation, value: value(seq), seq }));
        events
    }

    fn judged(events: Vec<Event>) -> Verdict {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("h");
        write(&path, &Header { scenario: "x".to_owned(), seed: 7 }, events).unwrap();
        let history = History::read(&path).unwrap();
        assert_eq!(history.header.seed, 7);
        history.judge().unwrap()
    }

    #[test]
    fn a_history_comes_back_as_it_was_and_is_judged_alike() {
        let verdict = judged(events());
        assert!(verdict.clean(), "{verdict:?}");
        assert_eq!(verdict.acknowledged, 20);
    }

    /// Where the events of one kind are.
    fn all(events: &[Event], kind: fn(&Event) -> bool) -> Vec<usize> {
        (0..events.len()).filter(|at| kind(&events[*at])).collect()
    }

    #[test]
    fn a_dropped_a_doubled_and_a_swapped_message_are_found_wherever_they_are() {
        let given = all(&events(), |e| matches!(e, Event::Delivered { .. }));
        let read = all(&events(), |e| matches!(e, Event::ReadBack { .. }));
        for at in given.iter().chain(&read) {
            let mut dropped = events();
            dropped.remove(*at);
            let counts = judged(dropped).counts;
            assert!(counts.lost + counts.gaps > 0, "{at}");
            let mut doubled = events();
            doubled.insert(*at, doubled[*at].clone());
            assert!(judged(doubled).counts.duplicated > 0, "{at}");
        }
        // Those of one device come every second time.
        for pair in given.windows(3) {
            let mut swapped = events();
            swapped.swap(pair[0], pair[2]);
            assert!(judged(swapped).counts.reordered > 0, "{pair:?}");
        }
    }

    #[test]
    fn a_mark_that_goes_back_or_is_invented_and_a_missing_sight_are_found() {
        for (at, event) in events().iter().enumerate() {
            let Event::Shown { reader, user, mark, seq } = *event else { continue };
            if seq > 1 {
                let mut back = events();
                back.insert(at + 1, Event::Shown { reader, user, mark, seq: seq - 1 });
                assert!(judged(back).counts.marks > 0, "{seq}");
            }
            // One that is true later can't be told from a mark that moved with a send whose
            // acknowledgement was not heard of yet: this one never is.
            let mut ahead = events();
            ahead[at] = Event::Shown { reader, user, mark, seq: 21 };
            let counts = judged(ahead).counts;
            assert!(counts.marks + counts.diverged > 0, "{seq}");
        }
        let shown = all(&events(), |e| matches!(e, Event::Shown { .. }));
        let mut late = events();
        late.remove(*shown.last().unwrap());
        assert!(judged(late).counts.diverged > 0);
        let mut away = events();
        away.insert(5, Event::Online { user: 0, online: false });
        assert!(judged(away).counts.diverged > 0);
    }

    #[test]
    fn a_damaged_or_shortened_history_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("h");
        write(&path, &Header::default(), events()).unwrap();
        let good = std::fs::read(&path).unwrap();
        for (at, wrong) in [(good.len() - 1, true), (good.len() / 2, true), (good.len(), false)] {
            let mut bytes = good.clone();
            bytes.truncate(at);
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(History::read(&path).unwrap().judge().is_err(), wrong, "{at}");
        }
        let start = good.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for at in (start..good.len()).step_by(7) {
            let mut bytes = good.clone();
            bytes[at] ^= 0x40;
            std::fs::write(&path, &bytes).unwrap();
            assert!(History::read(&path).unwrap().judge().is_err(), "{at}");
        }
        std::fs::write(&path, "something else\n").unwrap();
        assert!(History::read(&path).is_err());
    }
}
