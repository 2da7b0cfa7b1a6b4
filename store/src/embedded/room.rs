//! Whether the disk has room: for a batch beside what the LSM may write by itself at any moment, for
//! opening it again, and whether a failure of its background was for want of room.
//!
//! Flushing writes what is in memory only; a merge writes its inputs anew before it deletes them. A
//! full disk breaks either off, and the LSM then takes no further batch and keeps the half-written
//! file until it is opened again, without saying why. So plans are refused early enough for both; and
//! when it is somebody else who fills the disk, the free bytes tell: the half-written file keeps them
//! few, so the next look, or the look before it, finds too few.

use super::disk::Disk;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Most bytes that merges write at once: at the LSM's settings the tables of level 0 and those of
/// level 1 that they overlap, and a merge further down beside it.
const MOST_MERGED: u64 = 1 << 30;
/// Least room for opening the LSM again: it begins a journal and may flush.
const REOPEN_BYTES: u64 = 16 << 20;
/// How long the count of the tables' bytes is good for.
const COUNT_AGE: Duration = Duration::from_millis(100);
/// Pauses between two openings that brought no batch: from, to.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// What the LSM may write by itself, in bytes.
#[derive(Clone, Copy, Default)]
pub(super) struct Pending {
    /// Of rows that are in memory and in the journal only.
    pub(super) unflushed: u64,
    /// Of the tables there are.
    pub(super) tables: u64,
}

impl Pending {
    fn bytes(self) -> u64 {
        self.unflushed.saturating_add(self.tables.min(MOST_MERGED))
    }
}

/// What a look at the disk found, in bytes.
#[derive(Clone, Copy)]
pub(super) struct Look {
    pub(super) free: u64,
    /// What a batch wants there to be.
    pub(super) needed: u64,
    /// There was too little now or at the look before.
    pub(super) short_lately: bool,
}

impl Look {
    pub(super) fn is_short(self) -> bool {
        self.free < self.needed
    }
}

/// The room of one data directory.
pub(super) struct Room {
    dir: PathBuf,
    /// [`super::EmbeddedConfig::reserve_bytes`].
    reserve: u64,
    tables: u64,
    counted: Option<Instant>,
    was_short: bool,
}

impl Room {
    pub(super) fn new(dir: &Path, reserve: u64) -> Self {
        let dir = dir.to_owned();
        Self { dir, reserve, tables: 0, counted: None, was_short: false }
    }

    /// Whether there is room for a batch. A system that doesn't say is not taken for a full one: the
    /// write will tell.
    pub(super) fn look(&mut self, disk: &Disk) -> Look {
        if self.counted.is_none_or(|counted| counted.elapsed() > COUNT_AGE) {
            (self.tables, self.counted) = (disk.table_bytes(), Some(Instant::now()));
        }
        let free = free_bytes(&self.dir).unwrap_or(u64::MAX);
        self.seen(free, Pending { unflushed: disk.unflushed_bytes(), tables: self.tables })
    }

    fn seen(&mut self, free: u64, pending: Pending) -> Look {
        let needed = self.reserve.saturating_add(pending.bytes());
        let is_short = free < needed;
        let short_lately = std::mem::replace(&mut self.was_short, is_short) || is_short;
        Look { free, needed, short_lately }
    }

    /// Whether plans are refused while there is too little.
    pub(super) fn is_kept(&self) -> bool {
        self.reserve > 0
    }

    /// Whether there is room for opening the LSM again. That gives back what a merge that broke off
    /// has left behind, so it is not kept waiting for the room of a merge.
    pub(super) fn is_enough_to_open(&self) -> bool {
        free_bytes(&self.dir).unwrap_or(u64::MAX) >= self.reserve.max(REOPEN_BYTES)
    }

    /// The LSM was opened again.
    pub(super) fn opened(&mut self) {
        (self.counted, self.was_short) = (None, false);
    }
}

/// Bytes that this process may still write on the file system of a directory.
fn free_bytes(dir: &Path) -> std::io::Result<u64> {
    let found = rustix::fs::statvfs(dir)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// When the LSM may be opened again: at once, but not again and again while that brings nothing.
#[derive(Default)]
pub(super) struct Again {
    pause: Duration,
    opened: Option<Instant>,
}

impl Again {
    pub(super) fn may(&self, now: Instant) -> bool {
        self.opened.is_none_or(|opened| now.saturating_duration_since(opened) >= self.pause)
    }

    /// It is opened.
    pub(super) fn opens(&mut self, now: Instant) {
        let [first, longest] = PAUSES;
        self.pause = if self.opened.is_none() { first } else { longest.min(self.pause * 2) };
        self.opened = Some(now);
    }

    /// A batch was taken.
    pub(super) fn went_well(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1 << 20;

    fn room(reserve: u64) -> Room {
        Room::new(Path::new("/nowhere"), reserve)
    }

    fn pending(unflushed: u64, tables: u64) -> Pending {
        Pending { unflushed, tables }
    }

    #[test]
    fn a_batch_wants_the_reserve_and_what_flushing_and_merging_may_write_at_once() {
        let look = room(10 * MB).seen(39 * MB, pending(10 * MB, 20 * MB));
        assert_eq!((look.needed, look.is_short()), (40 * MB, true));
        assert!(!room(10 * MB).seen(40 * MB, pending(10 * MB, 20 * MB)).is_short());
        let large = room(0).seen(0, pending(0, 1 << 40));
        assert_eq!(large.needed, MOST_MERGED, "a merge is of a few tables, however many there are");
    }

    #[test]
    fn a_shortage_is_remembered_for_one_look_and_forgotten_by_opening() {
        let mut room = room(10 * MB);
        let mut short = |free| room.seen(free, Pending::default()).short_lately;
        assert_eq!([20, 5, 20, 20].map(|free| short(free * MB)), [false, true, true, false]);
        assert!(short(0));
        room.opened();
        assert!(!room.seen(20 * MB, Pending::default()).short_lately);
    }

    #[test]
    fn opening_again_is_done_at_once_then_ever_more_seldom_until_a_batch_is_taken() {
        let (mut again, start) = (Again::default(), Instant::now());
        let mut now = start;
        let mut pauses = Vec::new();
        for _ in 0..9 {
            let from = now;
            while !again.may(now) {
                now += Duration::from_millis(500);
            }
            again.opens(now);
            pauses.push((now - from).as_secs());
        }
        assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 32, 60, 60]);
        again.went_well();
        assert!(again.may(now));
    }
}
