//! The wall clock, read in one place: rows and tokens carry its time, durations never come from it.

use std::time::{SystemTime, UNIX_EPOCH};

/// Unix time in milliseconds; 0 when the machine's clock stands before 1970.
#[must_use]
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
