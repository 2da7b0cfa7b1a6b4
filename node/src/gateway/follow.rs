//! Revocations by other nodes, read from the store.
//!
//! Whoever revokes a device tells all nodes at once, over links that may be down. So each node also
//! reads the log of revocations: a device's sockets close within [`LOOK`] and the time of a read,
//! whatever became of the news. Ending a device twice does no harm.

use crate::AppState;
use crate::clock::now_ms;
use crate::identity::on_store;
use rookery_store::{MAX_REVOCATIONS, Stamp};
use std::time::{Duration, Instant};

/// Between two looks at the log: a quarter of the two seconds that are promised.
const LOOK: Duration = Duration::from_millis(500);
/// Between two removals of old rows.
const SWEEP: Duration = Duration::from_secs(60);
/// How long rows are kept: longer than a node can stand still and go on with the sessions it had.
const KEPT_MS: u64 = 3_600_000;

/// Closes what the log says is to be closed. Never returns.
pub(crate) async fn follow_revocations(state: &AppState) {
    let mut seen = Stamp::default();
    let mut swept = Instant::now();
    loop {
        let rows = on_store(&state.store, move |store| async move {
            let rows = store.revocations(seen).await?;
            Ok::<_, rookery_store::ReadError>(rows)
        });
        match rows.await {
            Ok(Ok(rows)) => {
                for row in &rows {
                    state.gateway.revoked_elsewhere(row.user, row.device);
                }
                seen = rows.last().map_or(seen, |row| row.stamp);
                if rows.len() == MAX_REVOCATIONS {
                    continue;
                }
            }
            // Sends fail as well, and are told; what is missed now is read later.
            Ok(Err(error)) => tracing::debug!(%error, "the revocations could not be read"),
            Err(error) => tracing::debug!(?error, "the revocations could not be read"),
        }
        if swept.elapsed() >= SWEEP {
            swept = Instant::now();
            sweep(state).await;
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn sweep(state: &AppState) {
    let before_ms = now_ms().saturating_sub(KEPT_MS);
    let done =
        on_store(
            &state.store,
            move |store| async move { store.forget_revocations(before_ms).await },
        );
    if let Ok(Err(error)) = done.await {
        tracing::debug!(%error, "old revocations stay for now");
    }
}
