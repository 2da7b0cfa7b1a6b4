//! The oracle: PURE. It hears what was acknowledged, what each device was given and shown, and what
//! the server's history says at the end, and finds every way in which they disagree.
//!
//! Checked at each step (safety):
//! - nothing acknowledged is missing from the history or from any device: `lost`;
//! - no message stands at two places, no device is given a place twice: `duplicated`;
//! - one value for each (conversation, seq), whoever tells of it: a second one counts as `lost`,
//!   for one of the two messages is not where somebody was told it is;
//! - each device sees rising seqs; a sender's messages stand in the order they were sent, as far
//!   as the sender may expect it (see [`Oracle::acknowledged`]): `reordered`;
//! - places are dense, in the history and at each device: `gaps`;
//! - marks that a device is shown never go back: `marks`.
//!
//! Checked at [`Event::Settled`] and at the end (convergence): every device holds everything, thus
//! the same (`lost`), and sees every mark and everybody's presence as they are: `diverged`.
//!
//! A message is known by its lane (one sending device in one conversation) and its number there,
//! both carried in its id, and by a hash of its content: 8 bytes a place and 8 bytes a number.
//!
//! # How to use it
//! Every [`Event`] goes to [`Oracle::hear`] in the order in which it was seen; the methods of the
//! same names say what each means. [`Oracle::breach`] is the first finding so far: a simulation
//! looks at it after each step. [`Oracle::unsettled`] says what still has to come before `Settled`
//! may be told; [`Oracle::finish`] is the verdict. Nothing here reads a clock or a file, and the
//! same events give the same verdict: the load test keeps them (`history.rs`), a simulation need
//! not. In short:
//!
//! ```
//! use rookery_loadtest::oracle::{Course, Event, Oracle, Value};
//!
//! let mut oracle = Oracle::new();
//! let conversation = oracle.conversation(0);
//! let (lane, reader) = (oracle.lane(conversation), oracle.reader(conversation));
//! let value = Value { lane, number: 0, hash: 42 };
//! let floor = oracle.floor(lane);
//! oracle.hear(&Event::Acknowledged { value, seq: 1, floor, course: Course::Straight });
//! assert!(oracle.unsettled().is_some());
//! oracle.hear(&Event::Delivered { reader, value, seq: 1 });
//! assert_eq!((oracle.unsettled(), oracle.breach()), (None, None));
//! oracle.hear(&Event::Settled);
//! oracle.hear(&Event::ReadBack { conversation, value, seq: 1 });
//! assert!(oracle.finish().clean());
//! ```

mod event;
mod reader;
#[cfg(test)]
mod tests;
mod views;

pub use event::{Course, Event, Mark, Value};
use reader::{Given, Reader};
use views::Views;

/// How many findings are kept in words; the counters count all.
const MAX_FINDINGS: usize = 20;

/// The counts that must all be 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Acknowledged, and not where it must be.
    pub lost: u64,
    /// At two places, or given twice.
    pub duplicated: u64,
    /// Out of order.
    pub reordered: u64,
    /// Places jumped over.
    pub gaps: u64,
    /// Marks that went back.
    pub marks: u64,
    /// Devices that saw a mark or somebody's presence otherwise than it was when all was at rest.
    pub diverged: u64,
    /// Faults that the oracle was told of.
    pub failed: u64,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The counts.
    pub counts: Counts,
    /// Acknowledgements heard.
    pub acknowledged: u64,
    /// The first findings, in words.
    pub findings: Vec<String>,
}

impl Verdict {
    /// Nothing was found, and there was something to find it in.
    #[must_use]
    pub fn clean(&self) -> bool {
        self.counts == Counts::default() && self.acknowledged > 0
    }
}

/// One conversation's places: the value's hash at `seq - base - 1`, 0 while nobody told of it.
#[derive(Debug)]
struct Log {
    base: u64,
    values: Vec<u64>,
    /// Newest seq that was acknowledged or read back.
    head: u64,
    read_back: Option<u64>,
}

/// Where a lane's message stands, packed: `seq << 3 | refused | repeated | acknowledged`; 0: not
/// known.
#[derive(Clone, Copy, Debug, Default)]
struct Placed(u64);

const ACKNOWLEDGED: u64 = 1;
const REPEATED: u64 = 2;
const REFUSED: u64 = 4;
const FLAGS: u64 = 7;

impl Placed {
    fn seq(self) -> u64 {
        self.0 >> 3
    }

    fn is(self, flag: u64) -> bool {
        self.0 & flag != 0
    }
}

#[derive(Debug)]
struct Lane {
    conversation: u32,
    placed: Vec<Placed>,
    /// Newest acknowledged seq.
    newest: u64,
}

/// The oracle of one run.
#[derive(Debug, Default)]
pub struct Oracle {
    logs: Vec<Log>,
    lanes: Vec<Lane>,
    readers: Vec<Reader>,
    views: Views,
    /// The server refused a send for a while, somewhere.
    refusals: bool,
    found: Verdict,
}

impl Oracle {
    /// Nothing heard yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Hears what somebody saw; the number of what the event made, if it made something. What names
    /// a conversation, a lane or a reader that was not made counts as a fault.
    pub fn hear(&mut self, event: &Event) -> Option<u32> {
        match *event {
            Event::Conversation { base } => return Some(self.conversation(base)),
            Event::Lane { conversation } => return Some(self.lane(conversation)),
            Event::Reader { conversation, base } => {
                return Some(self.reader_from(conversation, base));
            }
            Event::Acknowledged { value, seq, floor, course } => {
                self.acknowledged(value, seq, floor, course);
            }
            Event::Delivered { reader, value, seq } => self.delivered(reader, value, seq),
            Event::Missing { reader, from, to } => self.missing(reader, from, to),
            Event::ReadBack { conversation, value, seq } => {
                self.read_back(conversation, value, seq)
            }
            Event::Marked { conversation, user, mark, seq } => {
                self.views.marked(conversation, user, mark, seq);
            }
            Event::Shown { reader, user, mark, seq } => self.shown(reader, user, mark, seq),
            Event::Online { user, online } => self.views.online(user, online),
            Event::Seen { reader, user, online } => self.views.seen(reader, user, online),
            Event::Settled => self.settled(),
            Event::Failed { ref words } => self.find(Fault::Failed, || words.clone()),
            Event::End { .. } => {}
        }
        None
    }

    /// A conversation whose newest seq is `base` before the run; returns its number.
    pub fn conversation(&mut self, base: u64) -> u32 {
        self.logs.push(Log { base, values: Vec::new(), head: base, read_back: None });
        number(self.logs.len() - 1)
    }

    /// A device that sends into a conversation; returns its lane.
    pub fn lane(&mut self, conversation: u32) -> u32 {
        self.lanes.push(Lane { conversation, placed: Vec::new(), newest: 0 });
        number(self.lanes.len() - 1)
    }

    /// A device that is given what is said in a conversation from the run's start on; returns its
    /// number.
    pub fn reader(&mut self, conversation: u32) -> u32 {
        let base = self.logs.get(conversation as usize).map_or(0, |l| l.base);
        self.reader_from(conversation, base)
    }

    /// [`Oracle::reader`] of one that holds everything up to `base` already.
    pub fn reader_from(&mut self, conversation: u32, base: u64) -> u32 {
        self.readers.push(Reader::new(conversation, base));
        number(self.readers.len() - 1)
    }

    /// The newest acknowledged seq of a lane: what a send made now must stand behind.
    #[must_use]
    pub fn floor(&self, lane: u32) -> u64 {
        self.lanes.get(lane as usize).map_or(0, |l| l.newest)
    }

    /// A send is durable at `seq`. `floor` is [`Oracle::floor`] at the time of the send: what was
    /// acknowledged before a message was sent stands before it. Messages under way together stand
    /// in the order they were sent too, unless the server refused one for a while. A refusal may
    /// be lost with its connection: in a run with refusals a repeated message is excused too.
    pub fn acknowledged(&mut self, value: Value, seq: u64, floor: u64, course: Course) {
        self.found.acknowledged += 1;
        self.refusals |= course == Course::Refused;
        let Some(lane) = self.lanes.get_mut(value.lane as usize) else {
            return self.find(Fault::Lost, || format!("no lane {} was made", value.lane));
        };
        lane.newest = lane.newest.max(seq);
        let conversation = lane.conversation;
        let flag = match course {
            Course::Straight => 0,
            Course::Repeated => REPEATED,
            Course::Refused => REFUSED,
        };
        self.place(conversation, value, seq, ACKNOWLEDGED | flag);
        if let Some(log) = self.logs.get_mut(conversation as usize) {
            log.head = log.head.max(seq);
        }
        if seq <= floor {
            self.find(Fault::Reordered, || {
                format!("{value:?} was sent after seq {floor} was acknowledged and stands at {seq}")
            });
        }
    }

    /// A device was given a message. Own sends count as given when they are acknowledged in the
    /// stream's order.
    pub fn delivered(&mut self, reader: u32, value: Value, seq: u64) {
        let Some(at) = self.readers.get_mut(reader as usize) else {
            return self.find(Fault::Lost, || format!("no reader {reader} was made"));
        };
        let conversation = at.conversation;
        match at.give(seq) {
            Given::InOrder => {}
            Given::Jumped(places) => {
                self.found.counts.gaps += places;
                self.note(|| format!("reader {reader} was given seq {seq} {places} places early"));
            }
            Given::Late => {
                // It had counted as a gap; now it is known to be only late.
                self.found.counts.gaps = self.found.counts.gaps.saturating_sub(1);
                self.find(Fault::Reordered, || format!("reader {reader} was given seq {seq} late"));
            }
            Given::Again => {
                self.find(Fault::Duplicated, || {
                    format!("reader {reader} was given seq {seq} twice")
                });
            }
        }
        self.place(conversation, value, seq, 0);
    }

    /// The server told a device that it can't give these places any more.
    pub fn missing(&mut self, reader: u32, from: u64, to: u64) {
        self.found.counts.gaps += to.saturating_sub(from) + 1;
        self.note(|| format!("reader {reader} was told that {from} to {to} are missing"));
    }

    /// The history of a conversation holds this value at `seq`; called by rising seq.
    pub fn read_back(&mut self, conversation: u32, value: Value, seq: u64) {
        let Some(log) = self.logs.get_mut(conversation as usize) else {
            return self.find(Fault::Lost, || format!("no conversation {conversation} was made"));
        };
        let next = log.read_back.unwrap_or(log.base) + 1;
        log.read_back = Some(seq);
        log.head = log.head.max(seq);
        if seq > next {
            self.found.counts.gaps += seq - next;
            self.note(|| format!("the history of {conversation} jumps from {next} to {seq}"));
        } else if seq < next {
            self.find(Fault::Duplicated, || {
                format!("the history of {conversation} comes back to {seq}")
            });
        }
        self.place(conversation, value, seq, 0);
    }

    /// How many devices were not given everything that was acknowledged.
    #[must_use]
    pub fn readers_behind(&self) -> usize {
        self.readers.iter().filter(|r| r.last < self.head(r)).count()
    }

    /// Something that is not yet as it must be when all is at rest: a device that lacks something,
    /// or does not see marks and presence as they are.
    #[must_use]
    pub fn unsettled(&self) -> Option<String> {
        self.readers.iter().enumerate().find_map(|(at, r)| {
            let head = self.head(r);
            if r.last < head {
                return Some(format!("reader {at} holds {} of {head}", r.last));
            }
            self.views.behind(r.conversation, number(at)).map(|why| format!("reader {at}: {why}"))
        })
    }

    /// The first finding so far.
    #[must_use]
    pub fn breach(&self) -> Option<&str> {
        self.found.findings.first().map(String::as_str)
    }

    /// All is at rest: what does not hold now counts.
    pub fn settled(&mut self) {
        for at in 0..self.readers.len() {
            let Some(reader) = self.readers.get(at) else { continue };
            let (last, head) = (reader.last, self.head(reader));
            if let Some(why) = self.views.behind(reader.conversation, number(at)) {
                self.find(Fault::Diverged, || format!("at rest, reader {at}: {why}"));
            }
            if last < head {
                self.find(Fault::Lost, || format!("at rest, reader {at} holds {last} of {head}"));
            }
        }
    }

    /// A device was shown somebody's mark.
    pub fn shown(&mut self, reader: u32, user: u32, mark: Mark, seq: u64) {
        if self.readers.get(reader as usize).is_none() {
            return self.find(Fault::Marks, || format!("no reader {reader} was made"));
        }
        if let Some(before) = self.views.shown(reader, user, mark, seq) {
            self.find(Fault::Marks, || {
                format!("reader {reader}: {mark:?} of user {user} went from {before} to {seq}")
            });
        }
    }

    /// The verdict, after everything was told. Conversations with anything in them must have been
    /// read back.
    #[must_use]
    pub fn finish(mut self) -> Verdict {
        for (at, log) in self.logs.iter().enumerate() {
            let end = log.read_back.unwrap_or(log.base);
            if end < log.head {
                self.found.counts.lost += log.head - end;
                note(&mut self.found, || {
                    format!("the history of {at} ends at {end}, {} was acknowledged", log.head)
                });
            }
        }
        for (at, reader) in self.readers.iter().enumerate() {
            let head = self.logs.get(reader.conversation as usize).map_or(0, |l| l.head);
            let lacking = head.saturating_sub(reader.last) + reader.lacking();
            if let Some(why) = self.views.behind(reader.conversation, number(at)) {
                self.found.counts.diverged += 1;
                note(&mut self.found, || format!("at the end, reader {at}: {why}"));
            }
            if lacking > 0 {
                self.found.counts.lost += lacking;
                note(&mut self.found, || {
                    format!("reader {at} ends at {} of {head} and lacks {lacking}", reader.last)
                });
            }
        }
        let excused = if self.refusals { REFUSED | REPEATED } else { 0 };
        for (at, lane) in self.lanes.iter().enumerate() {
            let mut before = 0;
            for placed in lane.placed.iter().filter(|p| p.is(ACKNOWLEDGED) && !p.is(excused)) {
                if placed.seq() < before {
                    self.found.counts.reordered += 1;
                    note(&mut self.found, || {
                        format!(
                            "lane {at}: a later message stands at {}, before {before}",
                            placed.seq()
                        )
                    });
                }
                before = before.max(placed.seq());
            }
        }
        self.found
    }

    /// A witness says that `value` stands at `seq`: nobody may have said otherwise.
    fn place(&mut self, conversation: u32, value: Value, seq: u64, flags: u64) {
        let Some(log) = self.logs.get_mut(conversation as usize) else { return };
        let Some(at) = seq.checked_sub(log.base + 1).and_then(|at| usize::try_from(at).ok()) else {
            return self.find(Fault::Duplicated, || format!("{value:?} at {seq}, before the run"));
        };
        // A hash of 0 means "not known" here.
        let hash = value.hash.max(1);
        if log.values.len() <= at {
            log.values.resize(at + 1, 0);
        }
        let mut other = false;
        if let Some(known) = log.values.get_mut(at) {
            other = *known != 0 && *known != hash;
            *known = hash;
        }
        if other {
            self.find(Fault::Lost, || format!("two values at {conversation}/{seq}: {value:?}"));
        }
        let Some(lane) = self.lanes.get_mut(value.lane as usize) else {
            return self.find(Fault::Lost, || format!("{value:?} at {seq} is of no lane"));
        };
        let number = value.number as usize;
        if lane.placed.len() <= number {
            lane.placed.resize(number + 1, Placed::default());
        }
        if let Some(placed) = lane.placed.get_mut(number) {
            let before = placed.seq();
            *placed = Placed((seq << 3) | (placed.0 & FLAGS) | flags);
            if before != 0 && before != seq {
                self.find(Fault::Duplicated, || format!("{value:?} stands at {before} and {seq}"));
            }
        }
    }

    fn head(&self, reader: &Reader) -> u64 {
        self.logs.get(reader.conversation as usize).map_or(0, |log| log.head)
    }

    fn find(&mut self, fault: Fault, words: impl FnOnce() -> String) {
        let counts = &mut self.found.counts;
        *match fault {
            Fault::Lost => &mut counts.lost,
            Fault::Duplicated => &mut counts.duplicated,
            Fault::Reordered => &mut counts.reordered,
            Fault::Marks => &mut counts.marks,
            Fault::Diverged => &mut counts.diverged,
            Fault::Failed => &mut counts.failed,
        } += 1;
        self.note(words);
    }

    fn note(&mut self, words: impl FnOnce() -> String) {
        note(&mut self.found, words);
    }
}

enum Fault {
    Lost,
    Duplicated,
    Reordered,
    Marks,
    Diverged,
    Failed,
}

fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

fn note(found: &mut Verdict, words: impl FnOnce() -> String) {
    if found.findings.len() < MAX_FINDINGS {
        found.findings.push(words());
    }
}
