//! What the application was given of each conversation: repeats are dropped, gaps are filled.
//!
//! Safety: [`Heads::offer`] and [`Heads::page`] let a conversation's items out by rising seq,
//! each once, without gap; a hole that the server can't fill any more is told as `Missing`.

use crate::event::{Event, Sent};
use rookery_protocol::{ConversationId, Entry};
use std::collections::{BTreeMap, HashMap};

/// Most items kept while a gap before them is being filled; later ones are fetched again.
const MAX_HELD: usize = 256;
/// Most conversations with a head; the entries of others pass unchecked.
const MAX_TRACKED: usize = 100_000;

/// An entry, or the place of an own send, with the event that tells it.
pub(super) type Item = (u64, Event);

/// What became of an offered item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// It was let out.
    Delivered,
    /// The application had it already.
    Repeat,
    /// Items before it are missing; `true` when the fetch must be started.
    Gap(bool),
}

/// What a page of history led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    /// The gap is closed (or no fill was under way).
    Done,
    /// Ask for the page after the new head.
    More,
    /// The page moved nothing: ask again a little later.
    Stuck,
}

/// Pages in a row that move nothing before a fill gives up.
const MAX_STUCK: u8 = 10;

#[derive(Debug, Default)]
struct Fill {
    /// The newest seq known to exist.
    target: u64,
    /// Pages in a row that moved nothing.
    stuck: u8,
    held: BTreeMap<u64, Event>,
}

#[derive(Debug)]
struct Head {
    seq: u64,
    /// Boxed: nearly always absent.
    fill: Option<Box<Fill>>,
}

/// All heads.
#[derive(Debug, Default)]
pub(super) struct Heads {
    map: HashMap<ConversationId, Head>,
    filling: usize,
}

impl Heads {
    /// How many conversations have a gap that is being filled.
    pub(super) fn filling(&self) -> usize {
        self.filling
    }

    /// The newest seq the application was given; none for an unknown conversation.
    pub(super) fn get(&self, conversation: ConversationId) -> Option<u64> {
        self.map.get(&conversation).map(|h| h.seq)
    }

    /// The application holds everything up to `seq`. Never moves backwards.
    pub(super) fn track(&mut self, conversation: ConversationId, seq: u64) {
        if let Some(head) = self.map.get_mut(&conversation) {
            head.seq = head.seq.max(seq);
        } else if self.map.len() < MAX_TRACKED {
            self.map.insert(conversation, Head { seq, fill: None });
        }
    }

    /// Takes one item of the stream; `out` gets what may be told now.
    pub(super) fn offer(
        &mut self,
        conversation: ConversationId,
        (seq, event): Item,
        out: &mut impl Extend<Event>,
    ) -> Offer {
        let Some(head) = self.map.get_mut(&conversation) else {
            // The first item of an unknown conversation says where it starts for this client.
            self.track(conversation, seq);
            out.extend([event]);
            return Offer::Delivered;
        };
        if seq <= head.seq {
            return Offer::Repeat;
        }
        match &mut head.fill {
            None if seq == head.seq + 1 => {
                head.seq = seq;
                out.extend([event]);
                Offer::Delivered
            }
            None => {
                let held = BTreeMap::from([(seq, event)]);
                head.fill = Some(Box::new(Fill { target: seq, stuck: 0, held }));
                self.filling += 1;
                Offer::Gap(true)
            }
            Some(fill) => {
                fill.target = fill.target.max(seq);
                if fill.held.len() < MAX_HELD && !fill.held.contains_key(&seq) {
                    fill.held.insert(seq, event);
                } else if let Event::Sent(sent) = event
                    && sent.answer
                {
                    // The entry comes by the page; that it answers a send must be told now.
                    out.extend([Event::Sent(Sent { placed: false, ..sent })]);
                }
                Offer::Gap(false)
            }
        }
    }

    /// Starts a fill up to wherever the conversation ends; false when one is under way.
    pub(super) fn start_fill(&mut self, conversation: ConversationId) -> bool {
        match self.map.get_mut(&conversation) {
            Some(head) if head.fill.is_none() => {
                head.fill = Some(Box::default());
                self.filling += 1;
                true
            }
            _ => false,
        }
    }

    /// Takes a page of entries after the head (rising seqs), the newest seq and the smallest one
    /// held. `tell` makes the event of an entry.
    pub(super) fn page(
        &mut self,
        conversation: ConversationId,
        entries: Vec<Entry>,
        newest: u64,
        floor: u64,
        mut tell: impl FnMut(Entry) -> Event,
        out: &mut impl Extend<Event>,
    ) -> Page {
        let Some(head) = self.map.get_mut(&conversation) else { return Page::Done };
        let Some(fill) = &mut head.fill else { return Page::Done };
        fill.target = fill.target.max(newest);
        let before = head.seq;
        if floor > head.seq + 1 {
            out.extend([missing(conversation, head.seq + 1, floor - 1)]);
            head.seq = floor - 1;
        }
        for entry in entries {
            if entry.seq == head.seq + 1 {
                head.seq = entry.seq;
                // What was held knows whether it answers a send; the page doesn't.
                let held = fill.held.remove(&entry.seq);
                out.extend([held.unwrap_or_else(|| tell(entry))]);
            }
        }
        while let Some(first) = fill.held.first_entry() {
            if *first.key() > head.seq + 1 {
                break;
            }
            let (seq, event) = first.remove_entry();
            if seq == head.seq + 1 {
                head.seq = seq;
                out.extend([event]);
            }
        }
        if head.seq >= fill.target {
            head.fill = None;
            self.filling -= 1;
            return Page::Done;
        }
        if head.seq > before {
            fill.stuck = 0;
            return Page::More;
        }
        // The server says that there is something and does not give it: not for ever.
        fill.stuck += 1;
        if fill.stuck >= MAX_STUCK {
            self.give_up(conversation, out);
            return Page::Done;
        }
        Page::Stuck
    }

    /// The fill can't be carried out: tells the hole and goes on behind it.
    pub(super) fn give_up(&mut self, conversation: ConversationId, out: &mut impl Extend<Event>) {
        let Some(head) = self.map.get_mut(&conversation) else { return };
        let Some(fill) = head.fill.take() else { return };
        self.filling -= 1;
        for (seq, event) in fill.held {
            if seq > head.seq + 1 {
                out.extend([missing(conversation, head.seq + 1, seq - 1)]);
            }
            if seq > head.seq {
                head.seq = seq;
                out.extend([event]);
            }
        }
        if fill.target > head.seq {
            out.extend([missing(conversation, head.seq + 1, fill.target)]);
            head.seq = fill.target;
        }
    }

    /// Every conversation with a head, in a fixed order.
    pub(super) fn tracked(&self) -> Vec<ConversationId> {
        let mut all: Vec<ConversationId> = self.map.keys().copied().collect();
        all.sort_unstable();
        all
    }
}

fn missing(conversation: ConversationId, from: u64, to: u64) -> Event {
    Event::Missing { conversation, from, to }
}
