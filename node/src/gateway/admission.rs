//! How many sends a node has under way: so many as it answers within a bounded time, and no more.
//!
//! Each client keeps to its own number of sends without an answer, but there may be any number of
//! clients. Beyond what a node can commit, each further send would only wait longer, cost memory
//! meanwhile, and be given up by its client before it is answered. So what is over the limit is
//! refused at the door with a retryable error, before it costs more than reading it.
//!
//! The limit follows the work done (Little's law: under way = rate times time). The rate is the
//! greatest of late; the time is what a send may wait, at least [`PATIENCE_MS`] and, where the store
//! itself is slow, a few times of what it takes unloaded. A node that has little to do never refuses:
//! [`ALWAYS`] are let in whatever the rate.

use rookery_protocol::{codec, frames, number};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Sends that are under way before any is refused.
const ALWAYS: usize = 4_096;
/// What a send may take under load, in milliseconds.
const PATIENCE_MS: f64 = 100.0;
/// Where the store is slow even so: this many times its time without load.
const PATIENCE_TIMES: f64 = 3.0;
/// How often the limit is reckoned anew.
const WINDOW_MS: u64 = 100;
/// What is left of the greatest rate after a window.
const KEPT: f64 = 0.95;
/// How much a window's fastest answer counts for the time without load.
const FRESH: f64 = 0.1;
/// A send without an answer for so long is not waited for: its session told its client that the
/// outcome is unknown, or another attempt was answered in its place.
const FORGOTTEN_MS: u64 = 10_000;

/// What was learned from the windows so far.
#[derive(Debug)]
struct Course {
    /// Answers a millisecond, the greatest of late.
    rate: f64,
    /// What the fastest answers took while there was little to do.
    unloaded_ms: f64,
}

impl Course {
    const START: Self = Self { rate: 0.0, unloaded_ms: 0.0 };

    /// A window of `ms` is over: how many were answered, the fastest of them, and whether there was
    /// much to do. The new limit.
    fn window(&mut self, ms: u64, answered: u64, fastest_ms: u64, loaded: bool) -> usize {
        let (ms, answered) = (ms.max(1) as f64, answered as f64);
        self.rate = (self.rate * KEPT).max(answered / ms);
        if !loaded && answered > 0.0 {
            let fastest = fastest_ms as f64;
            self.unloaded_ms = match fastest < self.unloaded_ms {
                true => fastest,
                false => self.unloaded_ms * (1.0 - FRESH) + fastest * FRESH,
            };
        }
        let patience_ms = PATIENCE_MS.max(PATIENCE_TIMES * self.unloaded_ms);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
        let most = (self.rate * patience_ms) as usize;
        most.max(ALWAYS)
    }
}

/// The door of a node.
#[derive(Debug)]
pub(crate) struct Admission {
    under_way: AtomicUsize,
    most: AtomicUsize,
    answered: AtomicU64,
    fastest_ms: AtomicU64,
    window_from_ms: AtomicU64,
    course: Mutex<Course>,
    gauges: (metrics::Gauge, metrics::Gauge),
}

impl Admission {
    pub(crate) fn new() -> Self {
        let most = metrics::gauge!("rookery_sends_under_way_limit");
        Self {
            under_way: AtomicUsize::new(0),
            most: AtomicUsize::new(ALWAYS),
            answered: AtomicU64::new(0),
            fastest_ms: AtomicU64::new(u64::MAX),
            window_from_ms: AtomicU64::new(0),
            course: Mutex::new(Course::START),
            gauges: (metrics::gauge!("rookery_sends_under_way"), most),
        }
    }

    fn admit(&self) -> bool {
        let before = self.under_way.fetch_add(1, Ordering::Relaxed);
        let admitted = before < self.most.load(Ordering::Relaxed);
        if !admitted {
            self.under_way.fetch_sub(1, Ordering::Relaxed);
        }
        admitted
    }

    fn answered(&self, took_ms: u64, now_ms: u64) {
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.fastest_ms.fetch_min(took_ms, Ordering::Relaxed);
        let from_ms = self.window_from_ms.load(Ordering::Relaxed);
        let ms = now_ms.saturating_sub(from_ms);
        let (read, write) = (Ordering::Relaxed, Ordering::Relaxed);
        // One of those who find the window over ends it.
        let ends = || self.window_from_ms.compare_exchange(from_ms, now_ms, write, read).is_ok();
        if ms >= WINDOW_MS && ends() {
            self.turn(ms);
        }
    }

    /// A window is over.
    fn turn(&self, ms: u64) {
        let answered = self.answered.swap(0, Ordering::Relaxed);
        let fastest_ms = self.fastest_ms.swap(u64::MAX, Ordering::Relaxed);
        let under_way = self.under_way.load(Ordering::Relaxed);
        let loaded = under_way > self.most.load(Ordering::Relaxed) / 2;
        let mut course = self.course.lock().unwrap_or_else(PoisonError::into_inner);
        let most = course.window(ms, answered, fastest_ms, loaded);
        self.most.store(most, Ordering::Relaxed);
        self.gauges.0.set(under_way as f64);
        self.gauges.1.set(most as f64);
    }

    fn forget(&self, sends: usize) {
        self.under_way.fetch_sub(sends, Ordering::Relaxed);
    }
}

/// The sends of one connection that are under way: their requests, and since when. Nothing is
/// allocated for a connection that sends nothing.
#[derive(Debug, Default)]
pub(crate) struct UnderWay(VecDeque<(u32, u64)>);

impl UnderWay {
    /// A send comes. False: it must be refused.
    pub(crate) fn begin(&mut self, door: &Admission, request: u32, now_ms: u64) -> bool {
        self.forget(door, now_ms);
        let admitted = door.admit();
        if admitted {
            self.0.push_back((request, now_ms));
        }
        admitted
    }

    /// Frames leave: which of them answer sends?
    pub(crate) fn leave(&mut self, door: &Admission, chunk: &[u8], now_ms: u64) {
        if self.0.is_empty() {
            return;
        }
        for raw in frames(chunk, usize::MAX).map_while(Result::ok) {
            if !matches!(raw.number, number::SENT | number::ERROR) {
                continue;
            }
            // Both begin with the request they answer.
            let Ok(request) = codec::decode_payload::<u32>(raw.number, raw.payload) else {
                continue;
            };
            // Answers come nearly in order: the search ends at the first few.
            let Some(at) = self.0.iter().position(|(sent, _)| *sent == request) else { continue };
            if let Some((_, since_ms)) = self.0.remove(at) {
                door.answered(now_ms.saturating_sub(since_ms), now_ms);
            }
        }
        if self.0.is_empty() {
            self.0 = VecDeque::new();
        }
    }

    /// A send that was let in went no further. False: it had been refused before.
    pub(crate) fn cancel(&mut self, door: &Admission, request: u32) -> bool {
        let at = self.0.iter().rposition(|(sent, _)| *sent == request);
        let found = at.and_then(|at| self.0.remove(at)).is_some();
        door.forget(usize::from(found));
        found
    }

    /// Takes out what nobody waits for any more.
    pub(crate) fn forget(&mut self, door: &Admission, now_ms: u64) {
        while let Some((_, since_ms)) = self.0.front()
            && now_ms.saturating_sub(*since_ms) >= FORGOTTEN_MS
        {
            self.0.pop_front();
            door.forget(1);
        }
    }

    /// The connection ends.
    pub(crate) fn end(&mut self, door: &Admission) {
        door.forget(self.0.len());
        self.0 = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rookery_protocol::{ClientMsgId, ConversationId, ErrorCode, ServerFrame, server};

    fn sent(request: u32) -> ServerFrame {
        server::Sent {
            request,
            conversation: ConversationId(1),
            client_msg_id: ClientMsgId([1; 16]),
            seq: 1,
            time_ms: 1,
            duplicate: false,
        }
        .into()
    }

    fn under_way(door: &Admission) -> usize {
        door.under_way.load(Ordering::Relaxed)
    }

    #[test]
    fn what_is_over_the_limit_is_refused_until_something_is_answered() {
        let (door, mut sends) = (Admission::new(), UnderWay::default());
        for request in 0..ALWAYS {
            assert!(sends.begin(&door, u32::try_from(request).unwrap(), 0));
        }
        assert!(!sends.begin(&door, 9_999, 0));
        let mut chunk = sent(3).to_bytes().to_vec();
        ServerFrame::from(ErrorCode::NotAMember.frame(700, "")).encode(&mut chunk);
        // Of requests that are no sends.
        ServerFrame::from(ErrorCode::BadField.frame(90_000, "")).encode(&mut chunk);
        sends.leave(&door, &chunk, 1);
        assert_eq!(under_way(&door), ALWAYS - 2);
        assert!(sends.begin(&door, 10_000, 1));
        assert!(sends.cancel(&door, 10_000));
        assert!(!sends.cancel(&door, 9_999), "it was refused");
        sends.end(&door);
        assert_eq!(under_way(&door), 0);
    }

    #[test]
    fn a_send_that_is_never_answered_is_forgotten() {
        let (door, mut sends) = (Admission::new(), UnderWay::default());
        sends.begin(&door, 1, 0);
        sends.begin(&door, 2, FORGOTTEN_MS - 1);
        assert_eq!(under_way(&door), 2);
        sends.forget(&door, FORGOTTEN_MS);
        assert_eq!(under_way(&door), 1);
    }

    #[test]
    fn the_limit_follows_the_greatest_rate_of_late() {
        let mut course = Course::START;
        assert_eq!(course.window(100, 10, 2, false), ALWAYS);
        // 100 answers a millisecond: what is answered within the patience.
        let busy = course.window(100, 10_000, 2, true);
        assert!((9_000..11_000).contains(&busy), "{busy}");
        // A stall of two windows, then a long one.
        course.window(100, 0, u64::MAX, true);
        let stalled = course.window(100, 0, u64::MAX, true);
        assert!((8_500..busy).contains(&stalled), "{stalled}");
        for _ in 0..100 {
            course.window(100, 0, u64::MAX, true);
        }
        assert_eq!(course.window(100, 0, u64::MAX, true), ALWAYS);
    }

    #[test]
    fn a_store_that_is_slow_by_itself_is_given_its_time_and_load_is_not_taken_for_it() {
        let mut slow = Course::START;
        for _ in 0..100 {
            slow.window(100, 2_000, 200, false);
        }
        let most = slow.window(100, 2_000, 200, false);
        // 20 a millisecond, 600 ms.
        assert!((11_000..13_000).contains(&most), "{most}");
        let mut loaded = Course::START;
        for _ in 0..100 {
            loaded.window(100, 5_000, 200, true);
        }
        assert_eq!(loaded.window(100, 5_000, 200, true), 5_000);
    }
}
