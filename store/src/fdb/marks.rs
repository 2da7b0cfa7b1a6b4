//! Marks: a row that every transaction writes beside its plans, so that a commit whose answer was
//! lost can be looked up.
//!
//! ```text
//! mark = stamp(12) nonce(8) kind(1)      kind 1: the transaction `nonce` was applied, here
//!                                        kind 2: it was not, and can't be any more
//! ```
//!
//! Safety: a transaction also reads its mark (as a conflict range). Writing kind 2 over a mark that
//! doesn't show the transaction therefore shuts it out, however late it arrives. A mark is used
//! again only under a read version at which its last use is past: otherwise the transaction would
//! conflict with that.
//!
//! A process that is killed leaves its marks behind, some thousands of small rows at most; the
//! next one to open the store removes those older than [`STALE_VERSIONS`].

use crate::plan::{STAMP_BYTES, Stamp};
use bytes::{BufMut, Bytes};
use std::collections::VecDeque;

/// Marks older than an hour belong to nobody: a lost answer is looked up within seconds.
pub(super) const STALE_VERSIONS: u64 = 3_600_000_000;

const NONCE_BYTES: usize = 8;
const APPLIED: u8 = 1;
const VOID: u8 = 2;

/// One use of a mark: which row, and by which transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    number: u32,
    nonce: u64,
    /// The commit that wrote it last; 0: none did.
    written: u64,
}

/// What a mark's row says about a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was applied, with this stamp.
    Applied([u8; 10]),
    /// It was not, and can't be any more.
    Void,
    /// It was not, and may still be on its way.
    Open,
}

/// The marks of one engine.
#[derive(Debug)]
pub(super) struct Marks {
    prefix: Bytes,
    /// Not in use, oldest first.
    free: VecDeque<(u32, u64)>,
    minted: u32,
    nonce: u64,
}

impl Marks {
    /// The marks of an engine, below the prefix; `instance` is never used twice.
    pub(super) fn new(prefix: &[u8], instance: u64) -> Self {
        let prefix = [prefix, &instance.to_be_bytes()].concat().into();
        Self { prefix, free: VecDeque::new(), minted: 0, nonce: 0 }
    }

    /// A mark for a transaction with this read version.
    pub(super) fn take(&mut self, base: u64) -> Mark {
        self.nonce += 1;
        let nonce = self.nonce;
        if self.free.front().is_some_and(|(_, written)| *written <= base)
            && let Some((number, written)) = self.free.pop_front()
        {
            return Mark { number, nonce, written };
        }
        self.minted = self.minted.wrapping_add(1);
        Mark { number: self.minted, nonce, written: 0 }
    }

    /// Gives a mark back that a commit has written.
    pub(super) fn written(&mut self, mark: Mark, version: u64) {
        self.free.push_back((mark.number, version));
    }

    /// Gives a mark back that was certainly not written.
    pub(super) fn unused(&mut self, mark: Mark) {
        self.free.push_front((mark.number, mark.written));
    }

    /// The key of a mark's row.
    pub(super) fn key(&self, mark: Mark) -> Bytes {
        [self.prefix.as_ref(), &mark.number.to_be_bytes()].concat().into()
    }

    /// What comes before the keys of all marks of this engine.
    pub(super) fn prefix(&self) -> &Bytes {
        &self.prefix
    }
}

/// What a mark's row holds after its first 10 bytes, which the commit fills in.
pub(super) fn tail(mark: Mark, void: bool) -> [u8; 11] {
    let mut tail = [0; 11];
    let mut out = tail.as_mut_slice();
    out.put_u16(0);
    out.put_u64(mark.nonce);
    out.put_u8(if void { VOID } else { APPLIED });
    tail
}

/// Reads a mark's row.
pub(super) fn verdict(mark: Mark, row: Option<&[u8]>) -> Verdict {
    let parts = row.and_then(|row| row.split_first_chunk::<STAMP_BYTES>());
    let Some((stamp, rest)) = parts else { return Verdict::Open };
    let Some((nonce, [kind])) = rest.split_first_chunk::<NONCE_BYTES>() else {
        return Verdict::Open;
    };
    let ours = u64::from_be_bytes(*nonce) == mark.nonce;
    match (ours, *kind, stamp.first_chunk::<10>()) {
        (true, APPLIED, Some(stamp)) => Verdict::Applied(*stamp),
        (true, VOID, _) => Verdict::Void,
        _ => Verdict::Open,
    }
}

/// Whether a mark found at `now` belongs to nobody any more.
pub(super) fn is_stale(row: &[u8], now: u64) -> bool {
    row.first_chunk::<STAMP_BYTES>()
        .is_some_and(|stamp| Stamp(*stamp).version().0.saturating_add(STALE_VERSIONS) < now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_used_again_only_when_its_last_use_is_past() {
        let mut marks = Marks::new(b"p", 1);
        let first = marks.take(100);
        marks.written(first, 150);
        let second = marks.take(149);
        assert_ne!(second.number, first.number);
        let third = marks.take(150);
        assert_eq!((third.number, third.written), (first.number, 150));
        assert_ne!(third.nonce, first.nonce);
        marks.unused(third);
        assert_eq!(marks.take(150).number, first.number);
        assert_eq!(marks.key(first), b"p\0\0\0\0\0\0\0\x01\0\0\0\x01".as_slice());
    }

    #[test]
    fn a_row_tells_its_own_transaction_from_any_other() {
        let mut marks = Marks::new(b"p", 1);
        let (ours, other) = (marks.take(0), marks.take(0));
        let row = |mark, void| [[7; 10].as_slice(), &tail(mark, void)].concat();
        assert_eq!(verdict(ours, Some(&row(ours, false))), Verdict::Applied([7; 10]));
        assert_eq!(verdict(ours, Some(&row(ours, true))), Verdict::Void);
        for open in [None, Some(row(other, false)), Some(row(other, true)), Some(vec![7; 12])] {
            assert_eq!(verdict(ours, open.as_deref()), Verdict::Open);
        }
    }

    #[test]
    fn marks_are_stale_after_an_hour() {
        let row = [5_u64.to_be_bytes().as_slice(), &[0; 13]].concat();
        assert!(!is_stale(&row, 5 + STALE_VERSIONS));
        assert!(is_stale(&row, 6 + STALE_VERSIONS));
        assert!(!is_stale(b"short", u64::MAX));
    }
}
