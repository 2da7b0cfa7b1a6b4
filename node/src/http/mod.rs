//! The HTTP side of the node: API, health, page, and the door to the gateway.
//!
//! ```text
//! accept ── every response: security headers, metrics
//!   |- /v1/signup, /v1/login, /v1/refresh,
//!   |  /v1/token                            guard (draining, origin) -> attempts -> identity
//!   |- /v1/account, /v1/users, /v1/devices  guard -> bearer -> identity
//!   |- /v1/settings, /v1/contacts           guard -> bearer -> a user's own rows of the store
//!   |- /v1/conversations, /v1/search        guard -> bearer -> reads of the store
//!   |- /v1/openapi.json                     all of this as a document
//!   |- /v1/discover                         guard -> where to connect
//!   |- /v1/ws                               guard -> gateway::upgrade
//!   |- /healthz, /readyz
//!   `- anything else: a file of the page, or NotFound
//! ```

pub mod accept;
mod account;
mod api;
mod assets;
mod bearer;
pub(crate) mod body;
mod contacts;
mod conversations;
mod devices;
mod error;
mod etag;
mod export;
mod health;
mod openapi;
pub mod origin;
mod own;
mod per_address;
pub(crate) mod query;
mod rate;
pub(crate) mod reads;
mod search;
mod settings;
mod sign_ups;
mod stream;
mod tls;

pub use body::MAX_BODY_BYTES;
pub use error::{ApiError, ErrorBody, ErrorCode};
pub(crate) use openapi::BearerScheme;
pub use per_address::PerAddress;
pub use rate::Attempts;
pub use sign_ups::SignUps;
pub use stream::Stream;
pub use tls::{Tls, TlsError};

use crate::{AppState, gateway};
use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use origin::Origin;
use std::sync::Arc;
use std::time::Instant;

/// The page runs its own scripts and styles and talks to WebSockets; nobody may frame it.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; \
     img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; \
     frame-ancestors 'none'";

/// Headers of every response.
const SECURITY_HEADERS: [(HeaderName, HeaderValue); 5] = [
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY)),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), geolocation=(), microphone=()"),
    ),
];

/// All routes of the node's port.
pub fn router(state: Arc<AppState>) -> Router {
    let v1 = Router::new()
        .route("/v1/signup", post(api::sign_up))
        .route("/v1/login", post(api::log_in))
        .route("/v1/refresh", post(api::refresh))
        .route("/v1/token", post(api::token))
        .route("/v1/account", get(account::show).patch(account::change))
        .route("/v1/account/password", post(account::password))
        .route("/v1/account/delete", post(account::delete))
        .route("/v1/account/export", get(export::export))
        .route("/v1/settings", get(settings::show).patch(settings::change))
        .route("/v1/contacts", get(contacts::list))
        .route("/v1/contacts/{user}", put(contacts::put).delete(contacts::remove))
        .route("/v1/users", get(account::named))
        .route("/v1/users/{user}", get(account::user))
        .route("/v1/conversations", get(conversations::list))
        .route("/v1/conversations/{conversation}", get(conversations::show))
        .route("/v1/conversations/{conversation}/members", get(conversations::members))
        .route("/v1/conversations/{conversation}/history", get(conversations::history))
        .route("/v1/conversations/{conversation}/search", get(search::conversation))
        .route("/v1/search", get(search::all))
        .route("/v1/openapi.json", get(openapi::document))
        .route("/v1/devices", get(devices::list))
        .route("/v1/devices/{device}", delete(devices::revoke))
        .route("/v1/discover", get(api::discover))
        .route("/v1/ws", get(gateway::upgrade))
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(Arc::clone(&state), guard));
    Router::new()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .method_not_allowed_fallback(wrong_method)
        .merge(v1)
        .fallback(assets::serve)
        .layer(from_fn(observe))
        .with_state(state)
}

async fn wrong_method() -> ApiError {
    ApiError::new(ErrorCode::WrongMethod, "this path has other methods: see Allow")
}

/// Stands before everything under /v1: a leaving node and a foreign page get no further.
async fn guard(State(state): State<Arc<AppState>>, request: Request, next: Next) -> Response {
    if state.is_draining() {
        let leaving = ApiError {
            code: ErrorCode::NotReady,
            detail: "the node is leaving".into(),
            retry_after_s: Some(1),
        };
        return leaving.into_response();
    }
    let origin = origin::judge(request.headers(), &state.config.http);
    let origin = match origin {
        Origin::Foreign if is_members_page(request.headers(), &state) => Origin::Allowed,
        judged => judged,
    };
    if origin == Origin::Foreign {
        let foreign = ApiError::new(
            ErrorCode::ForeignOrigin,
            "pages of this origin are not in http.allowed_origins",
        );
        return foreign.into_response();
    }
    let allowed = match origin {
        Origin::Allowed => request.headers().get(header::ORIGIN).cloned(),
        Origin::Own | Origin::Absent | Origin::Foreign => None,
    };
    let preflight = allowed.is_some() && request.method() == Method::OPTIONS;
    let mut response =
        if preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    let headers = response.headers_mut();
    if let Some(origin) = allowed {
        allow_origin(headers, origin, preflight);
    }
    // Tokens and people's words are in these answers: unless one says otherwise, no cache keeps it.
    let no_store = HeaderValue::from_static("no-store");
    headers.entry(header::CACHE_CONTROL).or_insert(no_store);
    response
}

/// Whether the page comes from another node of the cluster: clients are sent from node to node.
fn is_members_page(headers: &HeaderMap, state: &AppState) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let (Some(origin), None) = (origins.next(), origins.next()) else { return false };
    let Some(view) = state.gateway.system().view() else { return false };
    view.members.iter().any(|member| origin::is_of(origin.as_bytes(), &member.lease.endpoint))
}

/// Lets a page of an allowed origin read the answer.
fn allow_origin(headers: &mut HeaderMap, origin: HeaderValue, preflight: bool) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    let readable = HeaderValue::from_static("etag, retry-after");
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, readable);
    if preflight {
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PUT, PATCH, DELETE"),
            (
                header::ACCESS_CONTROL_ALLOW_HEADERS,
                "authorization, content-type, if-match, if-none-match",
            ),
            (header::ACCESS_CONTROL_MAX_AGE, "600"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}

/// Stands around everything: headers of every response, and what metrics know of it.
async fn observe(request: Request, next: Next) -> Response {
    let started = Instant::now();
    // A label of few values: paths are whatever strangers send.
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or_else(|| "page".to_owned(), |route| route.as_str().to_owned());
    let mut response = next.run(request).await;
    for (name, value) in SECURITY_HEADERS {
        response.headers_mut().insert(name, value);
    }
    let code = response.extensions().get::<ErrorCode>().map_or("", |code| code.name());
    let status = response.status().as_u16().to_string();
    metrics::counter!("rookery_http_requests_total",
        "route" => route.clone(), "status" => status, "code" => code)
    .increment(1);
    metrics::histogram!("rookery_http_request_seconds", "route" => route)
        .record(started.elapsed().as_secs_f64());
    response
}
