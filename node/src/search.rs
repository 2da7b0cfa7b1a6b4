//! The index of words as the configuration wants it: turned on or off before anything is appended,
//! then brought there in small steps, in the background.
//!
//! Each node of a cluster takes steps; they guard on each other, and who comes second waits longer.

use crate::identity::{IdentityError, on_store};
use crate::store::Store;
use rookery_cluster_config::Config;
use rookery_store::{IndexStep, StoreError};
use std::time::Duration;

/// After a step.
const PAUSE: Duration = Duration::from_millis(20);
/// After a step that failed, or that another node was before.
const RETRY: Duration = Duration::from_secs(5);
/// Between two looks whether there is something to do: another node may have been started.
const LOOK: Duration = Duration::from_secs(30);

/// Turns the index on or off.
///
/// # Errors
/// Of the store.
pub(crate) async fn begin(store: &Store, config: &Config) -> Result<(), StoreError> {
    let (node, on) = (config.node.name.clone(), config.search.enabled);
    let turning = on_store(store, move |store| async move { store.index_words(&node, on).await });
    // A panic was logged; the store was told nothing.
    turning.await.unwrap_or(Err(StoreError::Busy))
}

/// Takes steps as long as there is something to do, and looks again now and then. Never returns.
pub(crate) async fn keep(store: Store) {
    loop {
        let step = on_store(&store, |store| async move { store.index_step().await }).await;
        tokio::time::sleep(wait(&step)).await;
    }
}

/// How long to wait after a step.
fn wait(step: &Result<Result<IndexStep, StoreError>, IdentityError>) -> Duration {
    match step {
        Ok(Ok(IndexStep::More)) => {
            metrics::counter!("rookery_search_steps_total").increment(1);
            PAUSE
        }
        Ok(Ok(IndexStep::Done)) => LOOK,
        Ok(Ok(IndexStep::Overtaken)) => RETRY,
        Ok(Err(error)) => {
            tracing::warn!(%error, "a step of the index of words failed; it is tried again");
            RETRY
        }
        Err(_) => RETRY,
    }
}
