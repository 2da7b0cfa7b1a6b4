//! The two clocks a virtual actor is told, never reads: monotonic to measure, wall to record.

/// The moment a message is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Milliseconds since the node started; never goes back.
    pub mono_ms: u64,
    /// Milliseconds since the Unix epoch; may jump.
    pub unix_ms: u64,
}
