//! What links promise, judged: everything a link took is handed over once, in order, as it was, and
//! soon once all is well; of hints that it refused the receiver is told; and nobody sends beyond what
//! its peer grants.

use bytes::Bytes;
use rookery_actors::link::NodeKey;
use rookery_actors::link::frame::{Frame, Header};
use rookery_actors::link::peer::MESSAGE_COST;
use std::collections::{BTreeMap, VecDeque};

/// A way: sender and receiver.
type Way = (NodeKey, NodeKey);

/// What links owe.
#[derive(Default)]
pub struct Ledger {
    /// Messages that were taken and not handed over yet, and when they were taken.
    taken: BTreeMap<Way, VecDeque<(u64, Bytes)>>,
    /// When hints were refused of which the receiver has not been told yet.
    refused: BTreeMap<Way, u64>,
}

impl Ledger {
    /// A link took a message.
    pub fn taken(&mut self, from: NodeKey, to: NodeKey, message: &Bytes, now_us: u64) {
        self.taken.entry((from, to)).or_default().push_back((now_us, message.clone()));
    }

    /// A link handed a message over; what is wrong with that, if anything.
    pub fn handed_over(&mut self, from: NodeKey, to: NodeKey, message: &Bytes) -> Option<String> {
        // A sender that gave the link up takes nothing back: what is on its way may still come.
        let waiting = self.taken.get_mut(&(from, to))?;
        match waiting.pop_front() {
            Some((_, expected)) if expected == *message => None,
            Some(_) => Some("a message was lost, doubled or reordered".into()),
            None => Some("a message was handed over twice".into()),
        }
    }

    /// A link refused hints.
    pub fn refused(&mut self, from: NodeKey, to: NodeKey, now_us: u64) {
        self.refused.entry((from, to)).or_insert(now_us);
    }

    /// The receiver was told that hints are missing.
    pub fn confessed(&mut self, from: NodeKey, to: NodeKey) {
        self.refused.remove(&(from, to));
    }

    /// The sender gave the link up.
    pub fn given_up(&mut self, from: NodeKey, to: NodeKey) {
        self.taken.remove(&(from, to));
        self.refused.remove(&(from, to));
    }

    /// A way between two of these lives on which something is owed since before this time, and what.
    pub fn stuck(
        &self,
        lives: &[NodeKey],
        before_us: u64,
    ) -> Option<(NodeKey, NodeKey, &'static str)> {
        let live = |(from, to): &Way| lives.contains(from) && lives.contains(to);
        let late = |waiting: &VecDeque<(u64, Bytes)>| {
            waiting.front().is_some_and(|(taken_us, _)| *taken_us < before_us)
        };
        let mut stuck = self.taken.iter().filter(|(way, waiting)| live(way) && late(waiting));
        let mut silent =
            self.refused.iter().filter(|(way, since)| live(way) && **since < before_us);
        match (stuck.next(), silent.next()) {
            (Some(((from, to), _)), _) => Some((*from, *to, "delivers nothing")),
            (None, Some(((from, to), _))) => Some((*from, *to, "does not confess lost hints")),
            (None, None) => None,
        }
    }
}

/// What one end of a link has in flight, against what the other end granted.
pub struct Credit {
    window: usize,
    acknowledged: u64,
    /// Number and cost of each message.
    flight: VecDeque<(u64, usize)>,
}

impl Credit {
    /// Nothing in flight. The peer grants `window` bytes.
    pub fn new(window: usize) -> Self {
        Self { window, acknowledged: 0, flight: VecDeque::new() }
    }

    /// A new connection: nothing is in flight over it.
    pub fn connected(&mut self) {
        self.flight.clear();
    }

    /// The peer was heard.
    pub fn heard(&mut self, header: &Header) {
        self.acknowledged = self.acknowledged.max(header.ack);
        while self.flight.front().is_some_and(|(number, _)| *number < self.acknowledged) {
            self.flight.pop_front();
        }
    }

    /// A frame leaves; what is wrong with that, if anything.
    pub fn sent(&mut self, bytes: &[u8]) -> Option<String> {
        let frame = Frame::decode(Bytes::copy_from_slice(bytes)).ok()?;
        for (number, message) in (frame.first..).zip(&frame.messages) {
            if number >= self.acknowledged {
                self.flight.push_back((number, message.len() + MESSAGE_COST));
            }
        }
        let cost: usize = self.flight.iter().map(|(_, cost)| cost).sum();
        let over = cost > self.window && self.flight.len() > 1;
        over.then(|| format!("{cost} bytes in flight, {} granted", self.window))
    }
}
