//! Reads of the store for the HTTP API: bounded in number and time, with their failures as answers.

use super::error::{ApiError, ErrorCode};
use crate::AppState;
use crate::identity::{IdentityError, on_store};
use crate::store::Store;
use rookery_protocol::{ConversationId, UserId};
use rookery_store::StoreError;
use std::future::Future;
use std::time::Duration;

/// What a read answers.
pub(crate) type Read<T> = Result<T, ApiError>;

/// Most time a read may take, with its wait for a place.
const PATIENCE: Duration = Duration::from_secs(5);

/// Reads, when there is a place.
pub(crate) async fn on<T, F>(
    state: &AppState,
    call: impl FnOnce(Store) -> F + Send + 'static,
) -> Read<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T, StoreError>> + Send + 'static,
{
    let reading = async {
        let place = state.reads.acquire().await;
        let _place = place.map_err(|_| IdentityError::StoreUnavailable)?;
        on_store(&state.store, call).await
    };
    let unavailable = || ApiError::from(IdentityError::StoreUnavailable);
    let read = tokio::time::timeout(PATIENCE, reading).await.map_err(|_| unavailable())?;
    read?.map_err(refused)
}

/// The first seq at or after a time; one after the head when there is none. Times of a conversation
/// never fall, so halving finds it.
pub(super) async fn first_since(
    state: &AppState,
    user: UserId,
    conversation: ConversationId,
    since_ms: u64,
) -> Read<u64> {
    on(state, move |store| async move {
        let info = store.describe(user, conversation).await?;
        let (mut low, mut high) = (info.floor, info.head.saturating_add(1));
        while low < high {
            let middle = low + (high - low) / 2;
            let found = store.entries(conversation, middle, middle, 1).await?;
            match found.first() {
                Some(entry) if entry.time_ms < since_ms => low = middle.saturating_add(1),
                _ => high = middle,
            }
        }
        Ok(low)
    })
    .await
}

/// There is nothing of the kind, or nothing for this caller.
pub(super) fn unknown() -> ApiError {
    ApiError::new(ErrorCode::NotFound, "you are in no such conversation")
}

fn refused(error: StoreError) -> ApiError {
    match error {
        StoreError::NotAMember => unknown(),
        error => IdentityError::from(error).into(),
    }
}
