//! Accounts, as operators see and end them, and invitations to make some.

use super::guard::{Operator, Told};
use super::router::{Admin, Answer};
use crate::http::query::{self, Segment};
use crate::http::{ApiError, ErrorBody, ErrorCode, body};
use crate::identity::Overview;
use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use rookery_protocol::{DeviceId, UserId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;

/// Most users of a page.
const MAX_USERS: usize = 100;
/// Most uses and days of an invitation.
const MAX_USES: u32 = 100_000;
const MAX_DAYS: u32 = 366;
const DAY_S: u64 = 86_400;

/// An account.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct UserRow {
    /// 16 digits of hex.
    pub(crate) user: String,
    /// The unique name.
    pub(crate) name: String,
    /// How the user wants to be called; may be empty.
    pub(crate) display_name: String,
    /// When the account was made, Unix milliseconds.
    pub(crate) created_ms: u64,
    /// When the user was last seen, Unix milliseconds; null: never.
    pub(crate) last_seen_ms: Option<u64>,
    /// `good`, `disabled`, or `deleting`.
    pub(crate) state: String,
    /// Since when it is not good, Unix milliseconds.
    pub(crate) since_ms: Option<u64>,
}

/// Some of all users, by id.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct UserPage {
    pub(crate) users: Vec<UserRow>,
    /// `after` of the next page; null at the end.
    pub(crate) next: Option<String>,
}

/// A device of an account.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct UserDevice {
    /// 16 digits of hex.
    pub(crate) device: String,
    /// What it calls itself.
    pub(crate) name: String,
    /// When it logged in, Unix milliseconds.
    pub(crate) created_ms: u64,
}

/// An account and its devices.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct UserDetail {
    /// The account.
    pub(crate) user: UserRow,
    /// Its devices that are not revoked, at most 100.
    pub(crate) devices: Vec<UserDevice>,
}

/// How many devices an action revoked.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Revoked {
    /// Their connections close on every node within two seconds.
    pub(crate) devices: usize,
}

/// A new invitation.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct InvitationBody {
    /// How many may sign up with it: 1 to 100,000.
    #[schema(minimum = 1, maximum = 100_000)]
    uses: u32,
    /// Days it is good for: 1 to 366.
    #[schema(minimum = 1, maximum = 366)]
    days: u32,
}

/// An invitation, which is shown once.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Invited {
    /// What people enter when they sign up.
    pub(crate) code: String,
}

/// `GET /admin/v1/users?after&limit`, or `?name`.
#[utoipa::path(get, path = "/admin/v1/users", tag = "users", security(("bearer" = [])),
    params(("after" = Option<String>, Query, description = "`next` of the page before"),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 100),
        ("name" = Option<String>, Query, description = "Only who has this name")),
    responses((status = 200, description = "A page", body = UserPage),
        (status = "default", description = "Refused", body = ErrorBody)))]
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    _operator: Operator,
    uri: Uri,
) -> Answer<UserPage> {
    let [after, limit, name] = query::fields(uri.query(), ["after", "limit", "name"])?;
    let identity = &admin.app.identity;
    if let Some(name) = name {
        if after.is_some() || limit.is_some() {
            return Err(query::bad("a name comes without after and limit"));
        }
        let user = identity.user_named(name).await?;
        let (overview, _) = identity.overview(user).await?;
        return Ok(Json(UserPage { users: vec![row(overview)], next: None }));
    }
    let limit = query::limit_of(limit, MAX_USERS)?;
    let no_cursor = || query::bad("after is not the next of a page");
    let after = after.map(|after| query::id(after).ok_or_else(no_cursor)).transpose()?;
    let (users, next) = identity.accounts(after.map(UserId), limit).await?;
    let users = users.into_iter().map(row).collect();
    Ok(Json(UserPage { users, next: next.map(|user| user.to_string()) }))
}

/// `GET /admin/v1/users/{user}`.
#[utoipa::path(get, path = "/admin/v1/users/{user}", tag = "users", security(("bearer" = [])),
    params(("user" = String, Path, description = "16 digits of hex")),
    responses((status = 200, description = "The account", body = UserDetail),
        (status = "default", description = "Refused", body = ErrorBody)))]
pub(super) async fn show(
    State(admin): State<Arc<Admin>>,
    _operator: Operator,
    Segment(user): Segment,
) -> Answer<UserDetail> {
    let (overview, devices) = admin.app.identity.overview(id(&user)?).await?;
    let devices = devices.into_iter().map(|device| UserDevice {
        device: device.device.to_string(),
        name: device.name,
        created_ms: device.created_ms,
    });
    Ok(Json(UserDetail { user: row(overview), devices: devices.collect() }))
}

/// `POST /admin/v1/users/{user}/disable`: nobody logs in, and everything of it is logged out.
#[utoipa::path(post, path = "/admin/v1/users/{user}/disable", tag = "users",
    security(("bearer" = [])),
    params(("user" = String, Path, description = "16 digits of hex")),
    responses((status = 200, description = "Nobody gets in any more", body = Revoked),
        (status = "default", description = "Refused", body = ErrorBody)))]
pub(super) async fn disable(
    State(admin): State<Arc<Admin>>,
    _operator: Operator,
    Segment(user): Segment,
) -> Result<Response, ApiError> {
    let revoked = admin.app.identity.disable(id(&user)?).await?;
    Ok(closed(&admin, revoked).await)
}

/// `POST /admin/v1/users/{user}/enable`.
#[utoipa::path(post, path = "/admin/v1/users/{user}/enable", tag = "users",
    security(("bearer" = [])),
    params(("user" = String, Path, description = "16 digits of hex")),
    responses((status = 204, description = "The user may log in again"),
        (status = "default", description = "Refused", body = ErrorBody)))]
pub(super) async fn enable(
    State(admin): State<Arc<Admin>>,
    _operator: Operator,
    Segment(user): Segment,
) -> Result<StatusCode, ApiError> {
    admin.app.identity.enable(id(&user)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /admin/v1/users/{user}/revoke`: every device is logged out; its user may log in again.
#[utoipa::path(post, path = "/admin/v1/users/{user}/revoke", tag = "users",
    security(("bearer" = [])),
    params(("user" = String, Path, description = "16 digits of hex")),
    responses((status = 200, description = "Every device is logged out", body = Revoked),
        (status = "default", description = "Refused", body = ErrorBody)))]
pub(super) async fn revoke(
    State(admin): State<Arc<Admin>>,
    _operator: Operator,
    Segment(user): Segment,
) -> Result<Response, ApiError> {
    let revoked = admin.app.identity.revoke_devices(id(&user)?).await?;
    Ok(closed(&admin, revoked).await)
}

/// `DELETE /admin/v1/users/{user}`: there is no way back.
#[utoipa::path(delete, path = "/admin/v1/users/{user}", tag = "users", security(("bearer" = [])),
    params(("user" = String, Path, description = "16 digits of hex")),
    responses((status = 200, description = "Nobody gets in; everything is being erased",
            body = Revoked),
        (status = "default", description = "Refused", body = ErrorBody)))]
pub(super) async fn delete(
    State(admin): State<Arc<Admin>>,
    _operator: Operator,
    Segment(user): Segment,
) -> Result<Response, ApiError> {
    let revoked = admin.app.identity.delete_account(id(&user)?).await?;
    Ok(closed(&admin, revoked).await)
}

/// `POST /admin/v1/invitations`.
#[utoipa::path(post, path = "/admin/v1/invitations", tag = "users", security(("bearer" = [])),
    request_body = InvitationBody,
    responses((status = 200, description = "The code, shown once", body = Invited),
        (status = "default", description = "Refused", body = ErrorBody)))]
pub(super) async fn invite(
    State(admin): State<Arc<Admin>>,
    _operator: Operator,
    request: Request,
) -> Result<Response, ApiError> {
    let patience = Duration::from_millis(admin.app.config.http.body_timeout_ms);
    let InvitationBody { uses, days } =
        body::json(request, patience, "the numbers uses and days").await?;
    if !(1..=MAX_USES).contains(&uses) || !(1..=MAX_DAYS).contains(&days) {
        return Err(query::bad("uses are 1 to 100000, days 1 to 366"));
    }
    let code = admin.app.identity.invite(uses, u64::from(days) * DAY_S).await?;
    let told = Told(format!("{uses} uses, {days} days"));
    Ok((Extension(told), Json(Invited { code })).into_response())
}

/// Closes the connections of devices that were revoked, and says how many there were.
async fn closed(admin: &Admin, revoked: Vec<(UserId, DeviceId)>) -> Response {
    let devices = revoked.len();
    for (user, device) in revoked {
        admin.app.gateway.device_revoked(user, device).await;
    }
    (Extension(Told(format!("{devices} devices"))), Json(Revoked { devices })).into_response()
}

fn id(text: &str) -> Result<UserId, ApiError> {
    let unknown = || ApiError::new(ErrorCode::NotFound, "there is no such user");
    query::id(text).map(UserId).ok_or_else(unknown)
}

fn row(overview: Overview) -> UserRow {
    let Overview { account, profile, last_seen_ms, shut_out } = overview;
    let state = match shut_out {
        None => "good",
        Some(shut_out) if shut_out.deleting => "deleting",
        Some(_) => "disabled",
    };
    UserRow {
        user: account.user.to_string(),
        name: account.name,
        display_name: profile.display_name,
        created_ms: account.created_ms,
        last_seen_ms,
        state: state.to_owned(),
        since_ms: shut_out.map(|shut_out| shut_out.since_ms),
    }
}
