//! Devices revoked a moment ago.
//!
//! Why: a hello reads its device's row, then attaches. A revocation in between would be seen by
//! neither the read nor the end of the device's sessions. A hello looks here after it attached.

use rookery_protocol::{DeviceId, UserId};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longer than any hello takes from its read to its attachment.
const KEPT: Duration = Duration::from_secs(60);

/// Devices and when each was revoked.
#[derive(Default)]
pub(crate) struct Revoked {
    recent: Mutex<BTreeMap<(UserId, DeviceId), Instant>>,
}

impl Revoked {
    /// Takes a device in, and lets go of old ones.
    pub(crate) fn mark(&self, user: UserId, device: DeviceId) {
        let now = Instant::now();
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|_, at| now.duration_since(*at) < KEPT);
        recent.insert((user, device), now);
    }

    /// Whether the device was revoked a moment ago.
    pub(crate) fn contains(&self, user: UserId, device: DeviceId) -> bool {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.contains_key(&(user, device))
    }
}
