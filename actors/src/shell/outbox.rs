//! What waits to be written to a connection, and how its session tells it to end.
//!
//! The shard pushes, the connection task takes; one consumer. An idle outbox holds no buffer.

use crate::effect::ConnId;
use crate::host::Line;
use bytes::Bytes;
use rookery_protocol::CloseCode;
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

/// What the connection task is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Write the chunks.
    Frames,
    /// Say goodbye and close.
    Close(CloseCode),
    /// The session wanted can't be resumed: attach to a new one.
    Refused,
    /// The session was lost: attach to a new one.
    Lost,
}

#[derive(Default)]
struct State {
    chunks: Vec<Bytes>,
    bytes: usize,
    signal: Option<Event>,
}

/// See the module.
pub struct Outbox {
    conn: ConnId,
    cap_bytes: usize,
    state: Mutex<State>,
    ready: Notify,
}

impl Outbox {
    /// An outbox that holds at most `cap_bytes`; what is beyond closes the connection as a slow
    /// consumer.
    #[must_use]
    pub fn new(conn: ConnId, cap_bytes: usize) -> Arc<Self> {
        let state = Mutex::new(State::default());
        Arc::new(Self { conn, cap_bytes, state, ready: Notify::new() })
    }

    /// Whose it is.
    #[must_use]
    pub fn conn(&self) -> ConnId {
        self.conn
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Frames to write.
    pub fn push(&self, frames: Bytes) {
        let mut state = self.state();
        if state.bytes + frames.len() > self.cap_bytes && state.bytes > 0 {
            state.signal = Some(Event::Close(CloseCode::SlowConsumer));
        } else {
            state.bytes += frames.len();
            state.chunks.push(frames);
        }
        drop(state);
        self.ready.notify_one();
    }

    /// The connection is to end.
    pub fn close(&self, code: CloseCode) {
        self.signal(Event::Close(code));
    }

    /// The session wanted can't be resumed.
    pub fn refuse(&self) {
        self.signal(Event::Refused);
    }

    /// The session was lost.
    pub fn lost(&self) {
        self.signal(Event::Lost);
    }

    fn signal(&self, event: Event) {
        let mut state = self.state();
        // A close is final.
        if !matches!(state.signal, Some(Event::Close(_))) {
            state.signal = Some(event);
        }
        drop(state);
        self.ready.notify_one();
    }

    /// The next thing to do; frames that wait come before a signal, except that what a lost
    /// session left is dropped with it. Cancel-safe.
    pub async fn next(&self, chunks: &mut Vec<Bytes>) -> Event {
        loop {
            {
                let mut state = self.state();
                if !state.chunks.is_empty() {
                    state.bytes = 0;
                    if chunks.is_empty() {
                        *chunks = std::mem::take(&mut state.chunks);
                    } else {
                        chunks.append(&mut state.chunks);
                    }
                    return Event::Frames;
                }
                if let Some(event) = state.signal.take() {
                    return event;
                }
            }
            self.ready.notified().await;
        }
    }
}

impl Line for Arc<Outbox> {
    fn conn(&self) -> ConnId {
        self.conn
    }

    fn push(&self, frames: Bytes) {
        Outbox::push(self, frames);
    }

    fn close(&self, code: CloseCode) {
        Outbox::close(self, code);
    }

    fn refuse(&self) {
        Outbox::refuse(self);
    }

    fn lost(&self) {
        Outbox::lost(self);
    }
}

#[cfg(test)]
mod tests {
    use super::{Event, Outbox};
    use crate::effect::ConnId;
    use crate::host::Attached;
    use bytes::Bytes;
    use futures_util::FutureExt;
    use rookery_protocol::CloseCode;

    fn next(outbox: &Outbox) -> Option<(Event, usize)> {
        let mut chunks = Vec::new();
        let event = outbox.next(&mut chunks).now_or_never()?;
        Some((event, chunks.len()))
    }

    #[test]
    fn frames_come_first_then_the_signal_then_nothing() {
        let outbox = Outbox::new(ConnId(1), 100);
        outbox.push(Bytes::from_static(b"a"));
        outbox.push(Bytes::from_static(b"b"));
        outbox.close(CloseCode::GoingAway);
        assert_eq!(next(&outbox), Some((Event::Frames, 2)));
        assert_eq!(next(&outbox), Some((Event::Close(CloseCode::GoingAway), 0)));
        assert_eq!(next(&outbox), None);
    }

    #[test]
    fn a_consumer_that_does_not_take_is_closed_and_memory_stays_bounded() {
        let outbox = Outbox::new(ConnId(1), 100);
        for _ in 0..1000 {
            outbox.push(Bytes::from_static(&[0; 60]));
        }
        assert_eq!(next(&outbox), Some((Event::Frames, 1)));
        assert_eq!(next(&outbox), Some((Event::Close(CloseCode::SlowConsumer), 0)));
    }

    #[test]
    fn a_dropped_hold_says_lost_and_a_released_one_does_not() {
        let outbox = Outbox::new(ConnId(1), 100);
        drop(Attached::new(outbox.clone()));
        assert_eq!(next(&outbox), Some((Event::Lost, 0)));
        assert!(Attached::new(outbox.clone()).release().is_some());
        assert_eq!(next(&outbox), None);
    }
}
