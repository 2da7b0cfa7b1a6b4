//! Gives memory back after a storm: when most connections are gone, what they used is free, but the
//! C library's allocator keeps what lies between what is still in use.

use super::Open;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;

/// How often the number of connections is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// Fewer connections than this leave nothing worth the look through the heaps.
const STORM: usize = 1_000;

/// The most connections since memory was given back last.
#[derive(Debug, Default)]
struct Peak {
    most: usize,
}

impl Peak {
    /// Whether, now that there are so many connections, most of those there were are gone.
    fn fell(&mut self, now: usize) -> bool {
        self.most = self.most.max(now);
        let fell = self.most >= STORM && now < self.most / 2;
        if fell {
            self.most = now;
        }
        fell
    }
}

/// Watches the connections until the node ends.
pub(super) async fn watch(open: Arc<Open>, mut stop: watch::Receiver<bool>) {
    let mut peak = Peak::default();
    let mut looks = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            () = crate::http::accept::stopped(&mut stop) => return,
        }
        if peak.fell(open.count.load(Ordering::Relaxed)) {
            let given = tokio::task::spawn_blocking(crate::process::give_memory_back).await;
            tracing::debug!(ok = given.is_ok(), "memory was given back after connections ended");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Peak, STORM};

    #[test]
    fn memory_is_given_back_once_when_most_are_gone() {
        let mut peak = Peak::default();
        assert!(!peak.fell(3 * STORM));
        assert!(!peak.fell(2 * STORM), "more than half are there");
        assert!(peak.fell(STORM));
        assert!(!peak.fell(STORM), "it was given back already");
        assert!(peak.fell(0), "nor is it forgotten that there still were many");
    }

    #[test]
    fn few_connections_are_not_worth_it() {
        let mut peak = Peak::default();
        assert!(!peak.fell(STORM - 1));
        assert!(!peak.fell(0));
    }
}
