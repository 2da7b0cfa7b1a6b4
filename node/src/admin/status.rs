//! `GET /admin/v1/status`: how the node is. And `POST /admin/v1/drain`: its end.

use super::guard::Operator;
use super::router::{Admin, Answer};
use crate::http::ErrorBody;
use crate::{cluster, process};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// How the node is.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct NodeStatus {
    /// Its name.
    pub(crate) node: String,
    /// The version of the software.
    pub(crate) version: String,
    /// Seconds since it started.
    pub(crate) up_s: u64,
    /// What holds the data.
    pub(crate) store: String,
    /// Why the store takes no commits; null while it does.
    pub(crate) store_trouble: Option<String>,
    /// Whether it is leaving.
    pub(crate) draining: bool,
    /// Open connections of clients.
    pub(crate) connections: usize,
    /// Bytes of memory in use.
    pub(crate) resident_bytes: Option<u64>,
    /// Where clients connect.
    pub(crate) listen: String,
    /// The members of its cluster; null when it works alone.
    #[schema(value_type = Option<Object>)]
    pub(crate) cluster: Option<cluster::Status>,
}

/// `GET /admin/v1/status`.
#[utoipa::path(get, path = "/admin/v1/status", tag = "node", security(("bearer" = [])),
    responses((status = 200, description = "The node that was asked", body = NodeStatus),
        (status = "default", description = "Refused", body = ErrorBody)))]
pub(super) async fn show(
    State(admin): State<Arc<Admin>>,
    _operator: Operator,
) -> Answer<NodeStatus> {
    let app = &admin.app;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
    let resident_bytes = process::resident_bytes().map(|bytes| bytes as u64);
    Ok(Json(NodeStatus {
        node: app.config.node.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        up_s: admin.started.elapsed().as_secs(),
        store: app.config.store.engine.as_str().to_owned(),
        store_trouble: app.store_trouble(),
        draining: app.is_draining(),
        connections: app.gateway.open_connections(),
        resident_bytes,
        listen: app.http_addr.to_string(),
        cluster: cluster::status(&app.config, app.gateway.system()),
    }))
}

/// `POST /admin/v1/drain`: the node leaves in order, as after SIGTERM.
#[utoipa::path(post, path = "/admin/v1/drain", tag = "node", security(("bearer" = [])),
    responses((status = 202, description = "It is leaving; it ends when its clients are gone"),
        (status = "default", description = "Refused", body = ErrorBody)))]
pub(super) async fn drain(State(admin): State<Arc<Admin>>, _operator: Operator) -> StatusCode {
    admin.app.leave.notify_one();
    StatusCode::ACCEPTED
}
