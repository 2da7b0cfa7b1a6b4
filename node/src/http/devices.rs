//! The devices of the caller: a list, and an end to any of them.

use super::bearer::Caller;
use super::error::{ApiError, ErrorBody, ErrorCode};
use super::query::{self, Page, Segment};
use crate::AppState;
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use rookery_protocol::DeviceId;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// Most devices of a page.
const MAX_DEVICES: usize = 100;

/// A device of the caller.
#[derive(Serialize, ToSchema)]
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
#[derive(Serialize, ToSchema)]
pub(super) struct Devices {
    devices: Vec<Device>,
    /// `after` of the next page; null at the end.
    next: Option<String>,
}

/// `GET /v1/devices?after&limit`.
#[utoipa::path(get, path = "/v1/devices", tag = "devices", security(("bearer" = [])),
    params(("after" = Option<String>, Query, description = "`next` of the page before"),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 100)),
    responses((status = 200, description = "A page", body = Devices),
        (status = "default", description = "Refused", body = ErrorBody)))]
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
#[utoipa::path(delete, path = "/v1/devices/{device}", tag = "devices",
    security(("bearer" = [])),
    params(("device" = String, Path, description = "16 digits of hex")),
    responses((status = 204, description = "Its tokens end and its connections close"),
        (status = "default", description = "Refused", body = ErrorBody)))]
pub(super) async fn revoke(
    State(state): State<Arc<AppState>>,
    Segment(device): Segment,
    caller: Caller,
) -> Result<StatusCode, ApiError> {
    let unknown = || ApiError::new(ErrorCode::NotFound, "you have no such device");
    let device = query::id(&device).map(DeviceId).ok_or_else(unknown)?;
    state.identity.revoke_device(caller.user, device).await?;
    state.gateway.device_revoked(caller.user, device).await;
    Ok(StatusCode::NO_CONTENT)
}
