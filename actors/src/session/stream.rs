//! The counted stream of a session: what was sent and is not acknowledged, within the window.
//!
//! It is the replay buffer too: what the client's count doesn't cover is sent again on resume.

use crate::plant::{self, Bug};
use bytes::Bytes;
use rookery_protocol::limits::MAX_SERVER_FRAME_BYTES;
use rookery_protocol::number::is_stream;
use rookery_store::Version;
use std::collections::VecDeque;

struct Chunk {
    /// Frames sent before this chunk.
    before: u64,
    /// Frames in it.
    count: u64,
    /// The version of the store it told of.
    version: Version,
    frames: Bytes,
}

/// Unacknowledged frames of one session.
pub(super) struct Stream {
    sent: u64,
    acked: u64,
    /// The newest version of the store that the client is known to have seen.
    seen: Version,
    chunks: VecDeque<Chunk>,
    bytes: usize,
    window: usize,
}

impl Stream {
    pub(super) fn new(window: usize) -> Self {
        let seen = Version::default();
        Self { sent: 0, acked: 0, seen, chunks: VecDeque::new(), bytes: 0, window }
    }

    /// Keeps frames until they are acknowledged. They tell of what is in the store at `version`;
    /// 0: of no particular one.
    pub(super) fn push(&mut self, frames: Bytes, count: u64, version: Version) {
        self.bytes += frames.len();
        self.chunks.push_back(Chunk { before: self.sent, count, version, frames });
        self.sent += count;
    }

    /// Bytes the client still allows. An empty stream always has some: a frame larger than the
    /// window must get through alone.
    pub(super) fn room(&self) -> usize {
        self.window.saturating_sub(self.bytes)
    }

    /// Frames sent in all.
    #[cfg(test)]
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    pub(super) fn window(&self) -> usize {
        self.window
    }

    pub(super) fn set_window(&mut self, window: usize) {
        self.window = window;
    }

    /// The client has received so many frames in all. False: so many were never sent.
    pub(super) fn ack(&mut self, received: u64) -> bool {
        if received > self.sent {
            return false;
        }
        self.acked = self.acked.max(received);
        while let Some(chunk) = self.chunks.front()
            && chunk.before + chunk.count <= self.acked
        {
            self.bytes = self.bytes.saturating_sub(chunk.frames.len());
            self.seen = self.seen.max(chunk.version);
            self.chunks.pop_front();
        }
        if self.chunks.is_empty() {
            // An idle session holds no buffer.
            self.chunks = VecDeque::new();
        }
        true
    }

    /// The newest version of the store that the client acknowledged having seen.
    pub(super) fn seen(&self) -> Version {
        self.seen
    }

    /// What a client that received so many frames has missed; none when it is no longer held.
    pub(super) fn replay(&self, received: u64) -> Option<Vec<Bytes>> {
        let held_from = self.chunks.front().map_or(self.sent, |chunk| chunk.before);
        if received > self.sent || received < held_from {
            return None;
        }
        let received = match received {
            0 => 0,
            _ if plant::is(Bug::ReplayRepeats) => received - 1,
            _ if plant::is(Bug::ReplaySkips) => received + 1,
            _ => received,
        };
        let missed = self.chunks.iter().filter(|c| c.before + c.count > received);
        Some(missed.map(|c| skip(&c.frames, received.saturating_sub(c.before))).collect())
    }
}

/// The chunk without its first `count` counted frames. It may hold more of them than one WebSocket
/// message does.
fn skip(frames: &Bytes, count: u64) -> Bytes {
    let mut rest = frames.clone();
    let mut skipped = 0;
    while skipped < count {
        let Some(Ok(frame)) = rookery_protocol::frames(&rest, MAX_SERVER_FRAME_BYTES).next() else {
            break;
        };
        skipped += u64::from(is_stream(frame.number));
        // The next frame starts where this payload ends.
        let at = (frame.payload.as_ptr() as usize).saturating_sub(rest.as_ptr() as usize)
            + frame.payload.len();
        rest = rest.slice(at.min(rest.len())..);
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::Stream;
    use bytes::Bytes;
    use rookery_protocol::ServerFrame;
    use rookery_protocol::server::CaughtUp;
    use rookery_store::Version;

    fn frames(from: u32, count: u32) -> Bytes {
        let mut out = Vec::new();
        for request in from..from + count {
            let frame = CaughtUp { request, cursor: rookery_protocol::Cursor::default() };
            ServerFrame::from(frame).encode(&mut out);
        }
        out.into()
    }

    fn stream() -> Stream {
        let mut stream = Stream::new(1_000);
        stream.push(frames(0, 3), 3, Version(1));
        stream.push(frames(3, 2), 2, Version(2));
        stream
    }

    #[test]
    fn what_the_client_has_not_received_is_replayed_even_from_the_middle_of_a_chunk() {
        let stream = stream();
        for received in 0..=5u32 {
            let missed = stream.replay(u64::from(received)).expect("held").concat();
            assert_eq!(missed, frames(received, 5 - received), "received {received}");
        }
    }

    #[test]
    fn a_chunk_of_more_frames_than_a_message_holds_is_replayed_from_its_middle() {
        let mut stream = Stream::new(1 << 20);
        stream.push(frames(0, 3_000), 3_000, Version(1));
        for received in [1_023, 1_025, 2_999] {
            let missed = stream.replay(u64::from(received)).expect("held").concat();
            assert_eq!(missed, frames(received, 3_000 - received), "received {received}");
        }
    }

    #[test]
    fn a_count_beyond_what_was_sent_is_refused() {
        let mut stream = stream();
        assert!(stream.replay(6).is_none());
        assert!(!stream.ack(6));
    }

    #[test]
    fn what_was_acknowledged_gives_room_and_is_not_replayed() {
        let mut stream = stream();
        let before = stream.room();
        assert!(stream.ack(3));
        assert_eq!(stream.seen(), Version(1));
        assert!(stream.room() > before);
        assert!(stream.replay(2).is_none(), "acknowledged frames are gone");
        assert!(stream.replay(3).is_some());
        assert!(stream.ack(5));
        assert_eq!(stream.room(), 1_000);
    }
}
