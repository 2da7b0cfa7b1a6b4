//! The times of membership: renewals, looks, suspicion, and the bound on the own work. Pure.

/// How often and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// A lease is renewed this often.
    pub renew_ms: u64,
    /// A lease that stands still for this long is ended. At least four renewals.
    pub suspicion_ms: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self { renew_ms: 500, suspicion_ms: 3_000 }
    }
}

impl Timing {
    /// Without a renewal for this long, a node stops serving.
    #[must_use]
    pub fn fence_ms(&self) -> u64 {
        self.unlinked_ms() * 2 / 3
    }

    /// A lease that stands still for this long is ended, if its node has no link to the observer.
    pub(super) fn unlinked_ms(&self) -> u64 {
        self.suspicion_ms * 4 / 5
    }

    /// How long to wait between two looks at the store.
    #[must_use]
    pub fn look_ms(&self) -> u64 {
        (self.renew_ms / 2).max(1)
    }

    /// Looks that are further apart than this saw too little to suspect anybody.
    pub(super) fn gap_ms(&self) -> u64 {
        self.suspicion_ms / 2
    }
}
