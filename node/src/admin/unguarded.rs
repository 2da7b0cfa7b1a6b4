//! What is asked without a token, on the listener of the metrics, which changes nothing.
//!
//! ```text
//! GET  /cluster   the members as this node sees them
//! ```

use crate::http::{ApiError, ErrorCode};
use crate::{AppState, cluster};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use std::sync::Arc;

/// The routes.
pub(crate) fn router(state: Arc<AppState>) -> Router {
    Router::new().route("/cluster", get(members)).with_state(state)
}

async fn members(State(state): State<Arc<AppState>>) -> Response {
    match cluster::status(&state.config, state.gateway.system()) {
        Some(status) => Json(status).into_response(),
        None => ApiError::new(ErrorCode::NotFound, "this node works alone").into_response(),
    }
}
