//! The open loop's clock: a thread that tells each sender when its next message is due.
//!
//! A thread of its own and not a runtime timer: those count whole milliseconds, which would add
//! up to one to every latency.

use crate::body::splitmix;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Messages of one sender that may be due and not taken yet; beyond, the run counts an error.
pub(crate) const QUEUE: usize = 1 << 16;

/// Between two looks whether a rest is over.
const RESTING: Duration = Duration::from_millis(5);

/// A running pacer.
#[derive(Debug)]
pub(crate) struct Pacer {
    stop: Arc<AtomicBool>,
    /// While this is set nothing becomes due; what would have been is left out.
    pub(crate) rest: Arc<AtomicBool>,
    /// How many messages it has told to be due.
    pub(crate) issued: Arc<AtomicU64>,
    /// How many it could not tell.
    pub(crate) dropped: Arc<AtomicU64>,
}

impl Pacer {
    /// Starts: `rate` messages a second, evenly, going round `senders` in an order drawn from
    /// `seed`. A due time is told as Unix microseconds, `origin` being `origin_us`.
    pub(crate) fn start(
        mut senders: Vec<mpsc::Sender<u64>>,
        rate: u32,
        seed: u64,
        origin: Instant,
        origin_us: u64,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (issued, dropped) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        shuffle(&mut senders, seed);
        let rest = Arc::new(AtomicBool::new(false));
        let pacer = Self {
            stop: Arc::clone(&stop),
            rest: Arc::clone(&rest),
            issued: Arc::clone(&issued),
            dropped: Arc::clone(&dropped),
        };
        thread::spawn(move || {
            let mut start = Instant::now();
            let mut told: u64 = 0;
            while let Some(sender) = round(&senders, told) {
                let after = Duration::from_nanos(told * 1_000_000_000 / u64::from(rate));
                while rest.load(Ordering::SeqCst) && !stop.load(Ordering::Relaxed) {
                    thread::sleep(RESTING);
                    start = start.max(Instant::now().checked_sub(after).unwrap_or(start));
                }
                let due = start + after;
                // Everything due is told without another look at the clock.
                if let Some(wait) = due.checked_duration_since(Instant::now()) {
                    thread::sleep(wait);
                }
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                if rest.load(Ordering::SeqCst) {
                    continue;
                }
                let after = due.saturating_duration_since(origin).as_micros();
                let due_us = origin_us + u64::try_from(after).unwrap_or(u64::MAX / 2);
                // Counted first: nobody may see a message taken that was not told.
                issued.fetch_add(1, Ordering::SeqCst);
                if sender.try_send(due_us).is_err() {
                    issued.fetch_sub(1, Ordering::SeqCst);
                    dropped.fetch_add(1, Ordering::SeqCst);
                }
                told += 1;
            }
        });
        pacer
    }

    /// No message becomes due after this.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn round(senders: &[mpsc::Sender<u64>], told: u64) -> Option<&mpsc::Sender<u64>> {
    let at = told.checked_rem(senders.len() as u64)?;
    usize::try_from(at).ok().and_then(|at| senders.get(at))
}

fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = seed;
    for at in (1..items.len()).rev() {
        let other = splitmix(&mut state) % (at as u64 + 1);
        items.swap(at, usize::try_from(other).unwrap_or(at));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn due_times_are_even_and_go_round_all_senders() {
        let (senders, mut receivers): (Vec<_>, Vec<_>) = (0..4).map(|_| mpsc::channel(100)).unzip();
        let pacer = Pacer::start(senders, 2000, 7, Instant::now(), 1_000_000);
        let mut due = Vec::new();
        for _ in 0..5 {
            for receiver in &mut receivers {
                due.push(receiver.recv().await.unwrap());
            }
        }
        pacer.stop();
        due.sort_unstable();
        assert!(due[0] >= 1_000_000);
        for pair in due.windows(2) {
            assert!((499..=501).contains(&(pair[1] - pair[0])), "{due:?}");
        }
    }
}
