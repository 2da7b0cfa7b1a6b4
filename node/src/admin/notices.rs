//! Notices to everybody: posted here, told by every node to every client of it.

use super::guard::{Operator, Told};
use super::router::{Admin, Answer};
use crate::clock::now_ms;
use crate::http::query;
use crate::http::{ApiError, ErrorBody, ErrorCode, body, reads};
use crate::identity::{IdentityError, on_store};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use rookery_protocol::{ServerFrame, server};
use rookery_store::{MAX_NOTICE_BYTES, Notice, StoreError};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use utoipa::ToSchema;

/// Most minutes that a notice is told to who connects: a week.
const MAX_MINUTES: u32 = 7 * 24 * 60;
const MINUTE_MS: u64 = 60_000;

/// What this node tells who connects.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    held: RwLock<Arc<[Notice]>>,
}

impl Notices {
    /// The frames for a client that was just welcomed.
    pub(crate) fn current(&self) -> Vec<ServerFrame> {
        let held = Arc::clone(&self.held.read().unwrap_or_else(PoisonError::into_inner));
        if held.is_empty() {
            return Vec::new();
        }
        let now_ms = now_ms();
        held.iter().filter(|notice| notice.until_ms > now_ms).map(frame).collect()
    }

    pub(super) fn replace(&self, notices: Vec<Notice>) {
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = notices.into();
    }
}

/// A notice as clients are told.
pub(super) fn frame(notice: &Notice) -> ServerFrame {
    let Notice { id, time_ms, text, .. } = notice.clone();
    server::Notice { notice: id, time_ms, text }.into()
}

/// A notice.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct NoticeView {
    /// Rises from notice to notice.
    pub(crate) notice: u64,
    /// When it was posted, Unix milliseconds.
    pub(crate) time_ms: u64,
    /// Until when it is told to who connects, Unix milliseconds.
    pub(crate) until_ms: u64,
    /// What it says.
    pub(crate) text: String,
}

/// The notices that hold.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct NoticeList {
    pub(crate) notices: Vec<NoticeView>,
}

/// A new notice.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoticeBody {
    /// Plain text, at most 1,024 bytes.
    text: String,
    /// For how many minutes it is told to who connects: 1 to 10,080.
    #[schema(minimum = 1, maximum = 10_080)]
    minutes: u32,
}

/// `GET /admin/v1/notices`.
#[utoipa::path(get, path = "/admin/v1/notices", tag = "notices", security(("bearer" = [])),
    responses((status = 200, description = "Those that hold", body = NoticeList),
        (status = "default", description = "Refused", body = ErrorBody)))]
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    _operator: Operator,
) -> Answer<NoticeList> {
    let reading = reads::on(&admin.app, |store| async move { Ok(store.notices().await?) });
    let now_ms = now_ms();
    let held = reading.await?.into_iter().filter(|notice| notice.until_ms > now_ms);
    Ok(Json(NoticeList { notices: held.map(view).collect() }))
}

/// `POST /admin/v1/notices`: every client that is connected to any node is told within a second.
#[utoipa::path(post, path = "/admin/v1/notices", tag = "notices", security(("bearer" = [])),
    request_body = NoticeBody,
    responses((status = 200, description = "Posted", body = NoticeView),
        (status = "default", description = "Refused", body = ErrorBody)))]
pub(super) async fn post(
    State(admin): State<Arc<Admin>>,
    _operator: Operator,
    request: Request,
) -> Result<Response, ApiError> {
    let patience = Duration::from_millis(admin.app.config.http.body_timeout_ms);
    let fields = "the text field text and the number minutes";
    let NoticeBody { text, minutes } = body::json(request, patience, fields).await?;
    let text = text.trim().to_owned();
    let readable = text.chars().all(|c| c == '\n' || !c.is_control());
    if text.is_empty() || text.len() > MAX_NOTICE_BYTES || !readable {
        return Err(query::bad("a notice is 1 to 1024 bytes of plain text"));
    }
    if !(1..=MAX_MINUTES).contains(&minutes) {
        return Err(query::bad("minutes are 1 to 10080"));
    }
    let time_ms = now_ms();
    let until_ms = time_ms.saturating_add(u64::from(minutes) * MINUTE_MS);
    let posting = on_store(&admin.app.store, move |store| async move {
        store.post_notice(&text, time_ms, until_ms).await
    });
    let posted = match posting.await? {
        Err(StoreError::Busy) => return Err(too_many(&admin, time_ms).await),
        posted => posted.map_err(IdentityError::from)?,
    };
    let told = Told(format!("notice {}, {minutes} minutes", posted.id));
    Ok((Extension(told), Json(view(posted))).into_response())
}

/// The store has no room for a commit, or there are as many notices as there may be.
async fn too_many(admin: &Admin, now_ms: u64) -> ApiError {
    let reading = reads::on(&admin.app, |store| async move { Ok(store.notices().await?) });
    let held = reading.await.unwrap_or_default();
    if held.iter().filter(|notice| notice.until_ms > now_ms).count() < rookery_store::MAX_NOTICES {
        return IdentityError::Busy.into();
    }
    ApiError::new(ErrorCode::TooMany, "there are 8 notices already; withdraw them, or wait")
}

/// `DELETE /admin/v1/notices`: nobody who connects from now on is told any of them.
#[utoipa::path(delete, path = "/admin/v1/notices", tag = "notices", security(("bearer" = [])),
    responses((status = 204, description = "All are withdrawn"),
        (status = "default", description = "Refused", body = ErrorBody)))]
pub(super) async fn withdraw(
    State(admin): State<Arc<Admin>>,
    _operator: Operator,
) -> Result<StatusCode, ApiError> {
    let withdrawing =
        on_store(&admin.app.store, |store| async move { store.withdraw_notices().await });
    withdrawing.await?.map_err(IdentityError::from)?;
    Ok(StatusCode::NO_CONTENT)
}

fn view(notice: Notice) -> NoticeView {
    let Notice { id, time_ms, until_ms, text } = notice;
    NoticeView { notice: id, time_ms, until_ms, text }
}
