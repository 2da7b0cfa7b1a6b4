//! The caller's account: its profile, its password, its end. And what others see of it.

use super::api::admit;
use super::bearer::Caller;
use super::error::{ApiError, ErrorBody, ErrorCode};
use super::query::Segment;
use super::{body, etag, query};
use crate::AppState;
use crate::identity::{Attempt, ProfileChange};
use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use rookery_protocol::UserId;
use rookery_store::{Account, Profile};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;

/// The caller's account.
#[derive(Serialize, ToSchema)]
pub(super) struct Own {
    /// The user: 16 digits of hex.
    user: String,
    /// The unique name.
    name: String,
    /// How the user wants to be called; may be empty.
    display_name: String,
    /// Where a picture is; may be empty.
    avatar: String,
    /// When the account was made, Unix milliseconds.
    created_ms: u64,
}

/// A user as others see them.
#[derive(Serialize, ToSchema)]
pub(super) struct Seen {
    /// The user: 16 digits of hex.
    user: String,
    /// The unique name.
    name: String,
    /// How the user wants to be called; may be empty.
    display_name: String,
    /// Where a picture is; may be empty.
    avatar: String,
}

/// What is to change of a profile; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    /// At most 128 bytes, without invisible characters; empty takes it away.
    display_name: Option<String>,
    /// An https URL of at most 512 bytes; empty takes it away.
    avatar: Option<String>,
}

/// A change of the password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPassword {
    /// The password so far.
    old_password: String,
    /// 8 to 256 bytes.
    new_password: String,
}

/// The password, for what can't be undone.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Confirmed {
    /// The password.
    password: String,
}

/// `GET /v1/account`.
#[utoipa::path(get, path = "/v1/account", tag = "account", security(("bearer" = [])),
    responses((status = 200, description = "The caller's account", body = Own),
        (status = 304, description = "As If-None-Match says"),
        (status = "default", description = "Refused", body = ErrorBody)))]
pub(super) async fn show(
    State(state): State<Arc<AppState>>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (account, profile) = state.identity.account(caller.user).await?;
    etag::tagged(&headers, &own(account, profile))
}

/// `PATCH /v1/account`.
#[utoipa::path(patch, path = "/v1/account", tag = "account", security(("bearer" = [])),
    request_body = Change,
    responses((status = 200, description = "The account as it is now", body = Own),
        (status = "default", description = "Refused", body = ErrorBody)))]
pub(super) async fn change(
    State(state): State<Arc<AppState>>,
    caller: Caller,
    request: Request,
) -> Result<Json<Own>, ApiError> {
    let patience = Duration::from_millis(state.config.http.body_timeout_ms);
    let fields = "the text fields display_name and avatar, or one of them";
    let Change { display_name, avatar } = body::json(request, patience, fields).await?;
    let change = ProfileChange { display_name, avatar };
    state.identity.change_profile(caller.user, change).await?;
    let (account, profile) = state.identity.account(caller.user).await?;
    Ok(Json(own(account, profile)))
}

/// `POST /v1/account/password`: every other device is logged out.
#[utoipa::path(post, path = "/v1/account/password", tag = "account", security(("bearer" = [])),
    request_body = NewPassword,
    responses((status = 204, description = "Changed; every other device is logged out"),
        (status = "default", description = "Refused", body = ErrorBody)))]
pub(super) async fn password(
    State(state): State<Arc<AppState>>,
    caller: Caller,
    request: Request,
) -> Result<StatusCode, ApiError> {
    let fields = "the text fields old_password and new_password";
    let (address, body) = admit::<NewPassword>(&state, request, fields).await?;
    let attempt = Attempt { name: caller.name, password: body.old_password, address };
    let revoked = state.identity.change_password(attempt, caller.device, body.new_password).await?;
    close(&state, revoked).await;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/account/delete`: there is no way back.
#[utoipa::path(post, path = "/v1/account/delete", tag = "account", security(("bearer" = [])),
    request_body = Confirmed,
    responses((status = 204, description = "Nobody gets in any more; everything is being erased"),
        (status = "default", description = "Refused", body = ErrorBody)))]
pub(super) async fn delete(
    State(state): State<Arc<AppState>>,
    caller: Caller,
    request: Request,
) -> Result<StatusCode, ApiError> {
    let (address, body) = admit::<Confirmed>(&state, request, "the text field password").await?;
    let attempt = Attempt { name: caller.name, password: body.password, address };
    let revoked = state.identity.delete(attempt).await?;
    close(&state, revoked).await;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /v1/users/{user}`.
#[utoipa::path(get, path = "/v1/users/{user}", tag = "account", security(("bearer" = [])),
    params(("user" = String, Path, description = "16 digits of hex")),
    responses((status = 200, description = "The user", body = Seen),
        (status = 304, description = "As If-None-Match says"),
        (status = "default", description = "Refused", body = ErrorBody)))]
pub(super) async fn user(
    State(state): State<Arc<AppState>>,
    _caller: Caller,
    Segment(user): Segment,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let unknown = || ApiError::new(ErrorCode::NotFound, "there is no such user");
    let user = query::id(&user).map(UserId).ok_or_else(unknown)?;
    let (account, profile) = state.identity.account(user).await?;
    etag::tagged(&headers, &seen(account, profile))
}

/// `GET /v1/users?name`: who has a name.
#[utoipa::path(get, path = "/v1/users", tag = "account", security(("bearer" = [])),
    params(("name" = String, Query, description = "A whole name")),
    responses((status = 200, description = "The user", body = Seen),
        (status = 304, description = "As If-None-Match says"),
        (status = "default", description = "Refused", body = ErrorBody)))]
pub(super) async fn named(
    State(state): State<Arc<AppState>>,
    _caller: Caller,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let [name] = query::fields(uri.query(), ["name"])?;
    let name = name.ok_or_else(|| query::bad("the query needs name"))?;
    let user = state.identity.user_named(name).await?;
    let (account, profile) = state.identity.account(user).await?;
    etag::tagged(&headers, &seen(account, profile))
}

/// Closes the connections of devices that were revoked.
async fn close(state: &AppState, revoked: Vec<(UserId, rookery_protocol::DeviceId)>) {
    for (user, device) in revoked {
        state.gateway.device_revoked(user, device).await;
    }
}

pub(super) fn own(account: Account, profile: Profile) -> Own {
    Own {
        user: account.user.to_string(),
        name: account.name,
        display_name: profile.display_name,
        avatar: profile.avatar,
        created_ms: account.created_ms,
    }
}

fn seen(account: Account, profile: Profile) -> Seen {
    Seen {
        user: account.user.to_string(),
        name: account.name,
        display_name: profile.display_name,
        avatar: profile.avatar,
    }
}
