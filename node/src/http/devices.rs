//! The devices of the caller: a list, and an end to any of them.

use super::bearer::Caller;
use super::error::{ApiError, ErrorCode};
use super::query::{self, Page};
use crate::AppState;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use rookery_protocol::DeviceId;
use serde::Serialize;
use std::sync::Arc;

/// Most devices of a page.
const MAX_DEVICES: usize = 100;

/// A device of the caller.
#[derive(Serialize)]
pub(super) struct Device {
    /// 16 digits of hex.
    device: String,
    /// What it calls itself.
    name: String,
    /// When it logged in, Unix milliseconds.
    created_ms: u64,
    /// Whether it is the one that asks.
    current: bool,
}

/// Some of the caller's devices.
#[derive(Serialize)]
pub(super) struct Devices {
    devices: Vec<Device>,
    /// `after` of the next page; null at the end.
    next: Option<String>,
}

/// `GET /v1/devices?after&limit`.
pub(super) async fn list(
    State(state): State<Arc<AppState>>,
    caller: Caller,
    uri: Uri,
) -> Result<Json<Devices>, ApiError> {
    let Page { after, limit } = query::page(uri.query(), MAX_DEVICES)?;
    let page = state.identity.devices(caller.user, after.map(DeviceId), limit).await?;
    let devices = page.devices.into_iter().map(|row| Device {
        current: row.device == caller.device,
        device: row.device.to_string(),
        name: row.name,
        created_ms: row.created_ms,
    });
    let next = page.next.map(|device| device.to_string());
    Ok(Json(Devices { devices: devices.collect(), next }))
}

/// `DELETE /v1/devices/{device}`: its tokens end, its sockets close on every node. The caller's own
/// device is a log-out.
pub(super) async fn revoke(
    State(state): State<Arc<AppState>>,
    Path(device): Path<String>,
    caller: Caller,
) -> Result<StatusCode, ApiError> {
    let unknown = || ApiError::new(ErrorCode::NotFound, "you have no such device");
    let device = query::id(&device).map(DeviceId).ok_or_else(unknown)?;
    state.identity.revoke_device(caller.user, device).await?;
    state.gateway.device_revoked(caller.user, device).await;
    Ok(StatusCode::NO_CONTENT)
}
