//! What an orchestrator asks: is the process alive, and should it get traffic.

use super::error::{ApiError, ErrorCode};
use crate::AppState;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use std::sync::Arc;

/// `GET /healthz`: the process is alive. It looks at nothing, so that a full disk or a slow store
/// does not get the node killed.
pub(super) async fn alive() -> Json<Value> {
    Json(json!({ "alive": true }))
}

/// `GET /readyz`: the node takes traffic.
pub(super) async fn ready(State(state): State<Arc<AppState>>) -> Result<Json<Value>, ApiError> {
    let not_ready = |detail: String| ApiError {
        code: ErrorCode::NotReady,
        detail: detail.into(),
        retry_after_s: Some(1),
    };
    if state.is_draining() {
        return Err(not_ready("the node is leaving".to_owned()));
    }
    match state.store_trouble() {
        Some(trouble) => Err(not_ready(trouble)),
        None => Ok(Json(json!({ "ready": true }))),
    }
}
