//! What changes of the caller's own things share, by whichever way they come: the same limit, and the
//! same news to the caller's other devices.

use super::error::{ApiError, ErrorCode};
use crate::AppState;
use rookery_protocol::UserId;

/// Lets a user make one more change.
///
/// # Errors
/// `RateLimited`, with the time to wait.
pub(super) fn may_change(state: &AppState, user: UserId) -> Result<(), ApiError> {
    state.gateway.may_change(user).map_err(|wait_ms| ApiError {
        code: ErrorCode::RateLimited,
        detail: "too many changes; wait before the next one".into(),
        retry_after_s: Some(u64::from(wait_ms.div_ceil(1_000))),
    })
}
