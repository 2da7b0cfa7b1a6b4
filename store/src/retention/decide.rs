//! What may go: pure decisions over rows that were read.

use crate::plan::Stamp;
use bytes::Bytes;

/// For how long what is kept. Times are milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Messages of conversations without a retention of their own; `None`: for ever.
    pub messages_ms: Option<u64>,
    /// Answers to retries: at least what clients are promised, 7 days.
    pub dedupe_ms: u64,
    /// A device not seen for so long doesn't keep pointers any more; when it comes back, its cursor
    /// is too far.
    pub device_absent_ms: u64,
}

impl Policy {
    /// When messages of a conversation stop being kept: those from before this time may go.
    /// `own_ms` is what its own row says, 0 for ever.
    pub(super) fn messages_before(&self, own_ms: Option<u64>, now_ms: u64) -> Option<u64> {
        match own_ms {
            Some(0) => None,
            Some(own_ms) => now_ms.checked_sub(own_ms),
            None => now_ms.checked_sub(self.messages_ms?),
        }
    }
}

/// The floor after messages from before a time are removed: of `entries` (seq and time, dense from
/// the floor up) those that come before the first one kept. `None`: none may go.
pub(super) fn messages_below(entries: &[(u64, u64)], before_ms: u64) -> Option<u64> {
    let expired = entries.iter().take_while(|(_, time_ms)| *time_ms < before_ms);
    expired.last().map(|(seq, _)| seq + 1)
}

/// The keys of dedupe rows (with the time of their commit) from before a time. Their ids carry a
/// time too, but that one is the client's word.
pub(super) fn dedupe_expired(rows: Vec<(Bytes, u64)>, before_ms: u64) -> Vec<Bytes> {
    rows.into_iter().filter(|(_, time_ms)| *time_ms < before_ms).map(|(key, _)| key).collect()
}

/// A device of a user, as far as it keeps pointers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DeviceState {
    pub(super) created_ms: u64,
    pub(super) revoked: bool,
    /// Epoch and stamp of the cursor it came with, and when.
    pub(super) cursor: Option<(u32, Stamp, u64)>,
}

/// Below which stamp nobody needs the pointers of a user; `None`: that isn't known. `now` is the
/// log's end, `last_seen_ms` the user's.
pub(super) fn inbox_below(
    devices: &[DeviceState],
    last_seen_ms: Option<u64>,
    (epoch, now): (u32, Stamp),
    alive_since_ms: u64,
) -> Option<Stamp> {
    let devices = || devices.iter().filter(|device| !device.revoked);
    // Without any cursor of the user, that they were there is all that is known.
    let none_told = devices().all(|device| device.cursor.is_none());
    if none_told && last_seen_ms.is_some_and(|seen_ms| seen_ms >= alive_since_ms) {
        return None;
    }
    let mut below = now;
    for device in devices() {
        match device.cursor {
            // Of a log that ended, or of none that ever was: too far whatever is kept.
            Some((of, stamp, _)) if of != epoch || stamp > now => {}
            Some((_, stamp, seen_ms)) if seen_ms >= alive_since_ms => below = below.min(stamp),
            Some(_) => {}
            None if device.created_ms >= alive_since_ms => return None,
            None => {}
        }
    }
    Some(below)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Version;

    const DAY: u64 = 86_400_000;
    const SINCE: u64 = 100 * DAY;

    fn stamp(version: u64) -> Stamp {
        Stamp::new(Version(version), 0, 0)
    }

    fn device(cursor: Option<(u32, u64, u64)>) -> DeviceState {
        let cursor = cursor.map(|(epoch, version, seen)| (epoch, stamp(version), seen));
        DeviceState { created_ms: 0, revoked: false, cursor }
    }

    fn below(devices: &[DeviceState], last_seen_ms: Option<u64>) -> Option<Stamp> {
        inbox_below(devices, last_seen_ms, (2, stamp(1000)), SINCE)
    }

    #[test]
    fn the_slowest_device_that_was_there_lately_decides() {
        let (fast, slow) = (device(Some((2, 900, SINCE))), device(Some((2, 300, SINCE + 5))));
        assert_eq!(below(&[fast, slow], None), Some(stamp(300)));
        let gone = device(Some((2, 10, SINCE - 1)));
        assert_eq!(below(&[fast, gone], None), Some(stamp(900)));
        let revoked = DeviceState { revoked: true, ..slow };
        assert_eq!(below(&[fast, revoked], None), Some(stamp(900)));
        assert_eq!(below(&[], None), Some(stamp(1000)), "without devices nobody needs any");
    }

    #[test]
    fn a_cursor_that_is_too_far_anyway_keeps_nothing() {
        let (old, never) = (device(Some((1, 10, SINCE))), device(Some((2, 5000, SINCE))));
        assert_eq!(below(&[old, never], None), Some(stamp(1000)));
    }

    #[test]
    fn what_is_not_known_keeps_everything() {
        let fast = device(Some((2, 900, SINCE)));
        let young = DeviceState { created_ms: SINCE, ..device(None) };
        assert_eq!(below(&[fast, young], None), None);
        let old = device(None);
        assert_eq!(below(&[old], Some(SINCE)), None, "the user was there with some device");
        assert_eq!(below(&[old], Some(SINCE - 1)), Some(stamp(1000)));
        assert_eq!(below(&[fast, old], Some(SINCE)), Some(stamp(900)));
    }

    #[test]
    fn a_conversations_own_retention_wins_and_0_keeps_for_ever() {
        let policy = Policy { messages_ms: Some(10), dedupe_ms: 0, device_absent_ms: 0 };
        assert_eq!(policy.messages_before(None, 100), Some(90));
        assert_eq!(policy.messages_before(Some(30), 100), Some(70));
        assert_eq!(policy.messages_before(Some(0), 100), None);
        assert_eq!(policy.messages_before(Some(101), 100), None, "before 1970");
        let for_ever = Policy { messages_ms: None, ..policy };
        assert_eq!(for_ever.messages_before(None, 100), None);
        assert_eq!(for_ever.messages_before(Some(1), 100), Some(99));
    }

    #[test]
    fn messages_go_up_to_the_first_that_is_kept() {
        let entries = [(5, 10), (6, 20), (7, 30), (8, 20)];
        assert_eq!(messages_below(&entries, 10), None);
        assert_eq!(messages_below(&entries, 25), Some(7), "8 comes after one that is kept");
        assert_eq!(messages_below(&entries, 99), Some(9));
        assert_eq!(messages_below(&[], 99), None);
    }
}
