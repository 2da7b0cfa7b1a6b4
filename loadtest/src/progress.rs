//! What a run says while it runs: a line for a terminal, numbers for a watcher.

use crate::shared::Shared;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::sleep;

/// How often the watcher is told.
const EVERY: Duration = Duration::from_millis(5);
/// How often the terminal's line is renewed; the rates count on it.
const LINE: Duration = Duration::from_millis(500);

/// Takes the number of messages acknowledged so far.
pub type Watcher = std::sync::mpsc::Sender<u64>;

/// Tells the watcher until it is gone.
pub(crate) async fn tell(shared: Arc<Shared>, watcher: Watcher) {
    loop {
        let acknowledged = shared.state().acknowledged;
        if watcher.send(acknowledged).is_err() {
            return;
        }
        sleep(EVERY).await;
    }
}

/// One line on the terminal, renewed twice a second.
pub(crate) async fn show(shared: Arc<Shared>, signed_up: Arc<AtomicUsize>) {
    let (mut acknowledged, mut delivered) = (0, 0);
    loop {
        let line = {
            let st = shared.state();
            let rate = |now: u64, before: u64| (now - before) * 2;
            let line = format!(
                "{:?}: {}/{} accounts, {}/{} sessions, acknowledged {} ({}/s), delivered {} ({}/s), \
                 under way {}, errors {}",
                *shared.phase.borrow(),
                signed_up.load(Ordering::Relaxed),
                shared.scenario.users(),
                st.synced,
                shared.scenario.sessions(),
                st.acknowledged,
                rate(st.acknowledged, acknowledged),
                st.delivered,
                rate(st.delivered, delivered),
                st.under_way,
                st.errors
            );
            (acknowledged, delivered) = (st.acknowledged, st.delivered);
            line
        };
        // A terminal that is gone takes no progress.
        drop(write!(std::io::stderr(), "\r\x1b[K{line}"));
        sleep(LINE).await;
    }
}

/// Leaves the terminal's line empty.
pub(crate) fn clear() {
    drop(write!(std::io::stderr(), "\r\x1b[K"));
}
