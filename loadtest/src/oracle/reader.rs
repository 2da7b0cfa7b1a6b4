//! What one device was given of one conversation.

use std::collections::BTreeSet;

/// Most missing places that are told apart; beyond, a late one counts as given twice.
const MAX_MISSING: u64 = 100_000;

/// How a seq stands to what came before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// The next one.
    InOrder,
    /// This many places were jumped over.
    Jumped(u64),
    /// One that was jumped over before.
    Late,
    /// One that was given before.
    Again,
}

/// A device's view of a conversation.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) conversation: u32,
    /// Greatest seq given.
    pub(super) last: u64,
    missing: BTreeSet<u64>,
    /// Missing places that were too many to remember.
    untold: u64,
}

impl Reader {
    pub(super) fn new(conversation: u32, base: u64) -> Self {
        Self { conversation, last: base, missing: BTreeSet::new(), untold: 0 }
    }

    pub(super) fn give(&mut self, seq: u64) -> Given {
        let next = self.last + 1;
        if seq == next {
            self.last = seq;
            return Given::InOrder;
        }
        if seq > next {
            let told = (seq - next).min(MAX_MISSING);
            self.missing.extend(next..next + told);
            self.untold += seq - next - told;
            self.last = seq;
            return Given::Jumped(seq - next);
        }
        if self.missing.remove(&seq) { Given::Late } else { Given::Again }
    }

    /// How many places below the last one were never given.
    pub(super) fn lacking(&self) -> u64 {
        self.missing.len() as u64 + self.untold
    }
}
