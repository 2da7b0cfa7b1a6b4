//! The door between HTTP and the actors: WebSocket connections and the start and end of what
//! serves them. Until the actors are attached, it turns every connection away.

use crate::AppState;
use crate::http::{ApiError, ErrorCode};
use crate::store::Store;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use rookery_cluster_config::Config;
use rookery_protocol::{DeviceId, UserId};
use std::sync::Arc;

/// What serves the connections of a node.
#[derive(Debug)]
pub struct Gateway {}

impl Gateway {
    /// Starts everything behind the door.
    ///
    /// # Errors
    /// Why it can't start, in one line.
    pub async fn start(_config: &Config, _store: &Store) -> Result<Self, String> {
        Ok(Self {})
    }

    /// Closes the connections of a device whose refresh family was revoked.
    pub async fn device_revoked(&self, user: UserId, device: DeviceId) {
        tracing::debug!(%user, %device, "no connection to close");
    }

    /// Ends every connection and actor; returns when all that was under way is done.
    pub async fn shutdown(&self) {}
}

/// `GET /v1/ws`. The request carries [`crate::http::accept::Peer`] as an extension; its origin has
/// been checked.
pub async fn upgrade(State(_state): State<Arc<AppState>>, _request: Request) -> Response {
    ApiError::new(ErrorCode::NotReady, "the gateway is not attached").into_response()
}
