//! The count of stream frames: what `Ack` and `Hello.resume` carry, and when an `Ack` is due.

use super::Millis;

/// Count of the session's stream frames, and what of it the server was told.
#[derive(Clone, Debug, Default)]
pub(super) struct Stream {
    received: u64,
    acked: u64,
    /// Bytes received since the last `Ack`: the part of the window in use.
    unacked_bytes: u32,
    /// When the oldest of them came.
    since: Millis,
}

impl Stream {
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// A fresh session counts from 0.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    pub(super) fn count(&mut self, now: Millis, bytes: usize) {
        if self.received == self.acked {
            self.since = now;
        }
        self.received += 1;
        self.unacked_bytes =
            self.unacked_bytes.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// When an `Ack` must go out on its own.
    pub(super) fn deadline(&self, delay: Millis) -> Option<Millis> {
        (self.received > self.acked).then(|| self.since + delay)
    }

    /// Whether an `Ack` should go out now: a quarter of the window is used, or the oldest frame
    /// waited long enough. With other bytes on their way an `Ack` costs almost nothing, so then a
    /// part of either is enough.
    pub(super) fn due(&self, now: Millis, window: u32, delay: Millis, company: bool) -> bool {
        if self.received == self.acked {
            return false;
        }
        let (part, delay) = if company { (16, delay / 4) } else { (4, delay) };
        self.unacked_bytes >= window / part || now >= self.since + delay
    }

    /// The `Ack` to send; the server knows everything from here.
    pub(super) fn take(&mut self) -> u64 {
        self.acked = self.received;
        self.unacked_bytes = 0;
        self.received
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ack_is_due_by_bytes_or_by_time_and_sooner_in_company() {
        // (bytes received at 0, now, company) -> due, with window 1600 and delay 400.
        for (bytes, now, company, due) in [
            (0, 1000, true, false),
            (10, 399, false, false),
            (10, 400, false, true),
            (10, 99, true, false),
            (10, 100, true, true),
            (399, 0, false, false),
            (400, 0, false, true),
            (99, 0, true, false),
            (100, 0, true, true),
        ] {
            let mut stream = Stream::default();
            if bytes > 0 {
                stream.count(0, bytes);
            }
            assert_eq!(stream.due(now, 1600, 400, company), due, "{bytes} {now} {company}");
        }
    }

    #[test]
    fn acks_are_cumulative_and_count_every_frame() {
        let mut stream = Stream::default();
        for _ in 0..3 {
            stream.count(5, 100);
        }
        assert_eq!(stream.take(), 3);
        assert_eq!(stream.deadline(10), None);
        stream.count(20, 100);
        assert_eq!(stream.deadline(10), Some(30));
        assert_eq!(stream.take(), 4);
    }
}
