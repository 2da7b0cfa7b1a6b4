//! The conversation's state in a word, for whoever looks on.

use super::{Conversation, Phase};

impl Conversation {
    /// The names of [`Conversation::state`].
    pub const STATES: &'static [&'static str] =
        &["c:cold", "c:unsettled", "c:fencing", "c:loading", "c:ready", "c:appending", "c:marking"];

    /// Its state in a word, for whoever looks on.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match &self.phase {
            Phase::Cold if !self.unsettled.is_empty() => "c:unsettled",
            Phase::Cold => "c:cold",
            Phase::Fencing => "c:fencing",
            Phase::Loading(_) => "c:loading",
            Phase::Ready(ready) if ready.in_flight.is_some() => "c:appending",
            Phase::Ready(ready) if ready.marks.is_busy() => "c:marking",
            Phase::Ready(_) => "c:ready",
        }
    }

    /// Whether anything is under way or waits to be written.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        let ready = match &self.phase {
            Phase::Ready(ready) => {
                ready.in_flight.is_some() || ready.marks.is_busy() || ready.people.is_busy()
            }
            Phase::Cold => !self.unsettled.is_empty(),
            Phase::Fencing | Phase::Loading(_) => true,
        };
        ready || !self.queue.is_empty()
    }
}
