//! What is asked without a token, on the listener of the metrics, which is for operators alone.
//!
//! ```text
//! GET  /cluster   the members as this node sees them
//! POST /drain     leave in order, as after SIGTERM
//! ```
//!
//! A page in an operator's browser must not be able to drain a node: the request carries a header
//! that browsers send to no foreign server without asking it first, and nobody answers that.

use super::ask::HEADER;
use crate::http::{ApiError, ErrorCode};
use crate::{AppState, cluster};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use std::sync::Arc;

/// The routes.
pub(crate) fn router(state: Arc<AppState>) -> Router {
    Router::new().route("/cluster", get(members)).route("/drain", post(drain)).with_state(state)
}

async fn members(State(state): State<Arc<AppState>>) -> Response {
    match cluster::status(&state.config, state.gateway.system()) {
        Some(status) => Json(status).into_response(),
        None => ApiError::new(ErrorCode::NotFound, "this node works alone").into_response(),
    }
}

async fn drain(State(state): State<Arc<AppState>>, headers: HeaderMap) -> Response {
    if !headers.contains_key(HEADER) {
        let detail = "requests of operators carry the header x-rookery-admin";
        return ApiError::new(ErrorCode::ForeignOrigin, detail).into_response();
    }
    tracing::info!("asked to drain");
    state.leave.notify_one();
    StatusCode::ACCEPTED.into_response()
}
