//! The routes of the operators' listener.

use super::credentials::Credentials;
use super::{conversations, guard, limits, log, notices, openapi, reports, status, users};
use crate::AppState;
use crate::http::{ApiError, ErrorCode};
use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post, put};
use std::sync::Arc;
use std::time::Instant;

/// What every operation answers.
pub(super) type Answer<T> = Result<axum::Json<T>, ApiError>;

/// What operations share.
#[derive(Debug)]
pub(crate) struct Admin {
    /// The node.
    pub(super) app: Arc<AppState>,
    /// Who may ask.
    pub(super) credentials: Credentials,
    /// When the node started.
    pub(super) started: Instant,
}

/// The routes, for whoever `credentials` knows.
pub(crate) fn router(app: Arc<AppState>, credentials: Credentials) -> Router {
    let admin = Arc::new(Admin { app, credentials, started: Instant::now() });
    let guarded = Router::new()
        .route("/admin/v1/status", get(status::show))
        .route("/admin/v1/drain", post(status::drain))
        .route("/admin/v1/users", get(users::list))
        .route("/admin/v1/users/{user}", get(users::show).delete(users::delete))
        .route("/admin/v1/users/{user}/disable", post(users::disable))
        .route("/admin/v1/users/{user}/enable", post(users::enable))
        .route("/admin/v1/users/{user}/revoke", post(users::revoke))
        .route("/admin/v1/invitations", post(users::invite))
        .route("/admin/v1/conversations", get(conversations::list))
        .route("/admin/v1/conversations/{conversation}", get(conversations::show))
        .route("/admin/v1/reports", get(reports::list))
        .route("/admin/v1/reports/{report}", get(reports::show))
        .route(
            "/admin/v1/notices",
            get(notices::list).post(notices::post).delete(notices::withdraw),
        )
        .route("/admin/v1/limits", get(limits::list))
        .route("/admin/v1/limits/{limit}", put(limits::set).delete(limits::reset))
        .route("/admin/v1/audit", get(log::read))
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(Arc::clone(&admin), guard::guard))
        .with_state(admin);
    Router::new()
        .route("/admin/v1/openapi.json", get(openapi::document))
        .method_not_allowed_fallback(wrong_method)
        .merge(guarded)
        .fallback(async || ApiError::new(ErrorCode::NotFound, "there is nothing at this path"))
}

async fn wrong_method() -> ApiError {
    ApiError::new(ErrorCode::WrongMethod, "this path has other methods: see Allow")
}
