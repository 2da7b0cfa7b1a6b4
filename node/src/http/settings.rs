//! Settings that the caller's clients keep for each other: the same on every device.

use super::bearer::Caller;
use super::error::{ApiError, ErrorBody, ErrorCode};
use super::{body, etag, own, query, reads};
use crate::AppState;
use crate::identity::{IdentityError, on_store};
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use rookery_store::{MAX_SETTING_BYTES, MAX_SETTING_NAME_BYTES, StoreError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;

/// The caller's settings.
#[derive(Serialize, ToSchema)]
pub(super) struct Settings {
    /// By name: 1 to 64 of a-z, 0-9, `.`, `_` and `-`; values of at most 512 bytes, 64 of them.
    settings: BTreeMap<String, String>,
}

/// A change of settings; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SettingsChange {
    /// By name; null takes one away.
    settings: BTreeMap<String, Option<String>>,
}

/// `GET /v1/settings`.
#[utoipa::path(get, path = "/v1/settings", tag = "account", security(("bearer" = [])),
    responses((status = 200, description = "All of the caller's settings", body = Settings),
        (status = 304, description = "As If-None-Match says"),
        (status = "default", description = "Refused", body = ErrorBody)))]
pub(super) async fn show(
    State(state): State<Arc<AppState>>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let reading =
        reads::on(&state, move |store| async move { Ok(store.settings(caller.user).await?) });
    let settings = reading.await?;
    etag::tagged(&headers, &Settings { settings })
}

/// `PATCH /v1/settings`: several at once, or none of them. `If-Match` keeps two devices from undoing
/// each other's changes.
#[utoipa::path(patch, path = "/v1/settings", tag = "account", security(("bearer" = [])),
    params(("If-Match" = Option<String>, Header, description = "Only if they have this ETag")),
    request_body = SettingsChange,
    responses((status = 200, description = "All settings as they are now", body = Settings),
        (status = "default", description = "Refused", body = ErrorBody)))]
pub(super) async fn change(
    State(state): State<Arc<AppState>>,
    caller: Caller,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, ApiError> {
    let patience = Duration::from_millis(state.config.http.body_timeout_ms);
    let fields = "the field settings, an object whose values are texts or null";
    let SettingsChange { settings: changes } = body::json(request, patience, fields).await?;
    if !changes.iter().all(|(name, value)| good(name, value.as_deref())) {
        return Err(query::bad("a setting has a name of a-z, 0-9, . _ - and at most 512 bytes"));
    }
    own::may_change(&state, caller.user)?;
    let fits = move |settings: &BTreeMap<String, String>| {
        etag::is_as_known(&headers, &Settings { settings: settings.clone() })
    };
    let changing = on_store(&state.store, move |store| async move {
        store.change_settings(caller.user, &changes, fits).await
    });
    match changing.await? {
        Err(StoreError::BadArgument(_)) => Err(query::bad("there are at most 64 settings")),
        Ok(None) => Err(ApiError::new(ErrorCode::Outdated, "they changed; read them again")),
        Ok(Some(settings)) => etag::tagged(&HeaderMap::new(), &Settings { settings }),
        Err(error) => Err(IdentityError::from(error).into()),
    }
}

fn good(name: &str, value: Option<&str>) -> bool {
    let byte = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    (1..=MAX_SETTING_NAME_BYTES).contains(&name.len())
        && name.bytes().all(byte)
        && value.is_none_or(|value| value.len() <= MAX_SETTING_BYTES)
}
