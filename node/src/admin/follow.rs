//! What operators changed, on whichever node: read from the store, applied here.
//!
//! A look is two small reads. Nothing else tells a node: what is in the store comes through also
//! when links are down, and to a node that starts later.

use super::{limits, notices};
use crate::AppState;
use crate::identity::on_store;
use rookery_store::{Notice, ReadError};
use std::collections::BTreeMap;
use std::time::Duration;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// Applies changes as they come. Never returns.
pub(crate) async fn follow(app: &AppState) {
    let mut limits = BTreeMap::new();
    // The greatest notice that clients were told; none before the first look.
    let mut told = None;
    loop {
        let reading = on_store(&app.store, |store| async move {
            Ok::<_, ReadError>((store.overrides().await?, store.notices().await?))
        });
        match reading.await {
            Ok(Ok((overrides, posted))) => {
                if overrides != limits {
                    tracing::info!(count = overrides.len(), "operators changed the limits");
                    limits::apply(app, &overrides);
                    limits = overrides;
                }
                tell(app, posted, &mut told);
            }
            Ok(Err(error)) => tracing::debug!(%error, "operators' changes could not be read"),
            Err(error) => tracing::debug!(?error, "operators' changes could not be read"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Tells the clients what is new. First who comes is told, then who is there: nobody is missed in
/// between, and who is told twice knows the notice by its number.
fn tell(app: &AppState, posted: Vec<Notice>, told: &mut Option<u64>) {
    let newest = posted.last().map(|notice| notice.id).or(*told);
    let fresh = match told {
        // Who connected before the first look was told nothing.
        None => posted.clone(),
        Some(told) => posted.iter().filter(|notice| notice.id > *told).cloned().collect(),
    };
    app.notices.replace(posted);
    let now_ms = crate::clock::now_ms();
    for notice in fresh.iter().filter(|notice| notice.until_ms > now_ms) {
        app.gateway.system().tell_clients(&notices::frame(notice));
    }
    *told = newest.or(Some(0));
}
