//! The routes under /v1 that turn a name and a password into tokens.

use super::accept::Peer;
use super::error::{ApiError, ErrorCode};
use super::{bearer, body};
use crate::AppState;
use crate::identity::Credentials;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::{Extension, Json};
use rookery_protocol::UserId;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Body of /v1/signup and /v1/login.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NameAndPassword {
    name: String,
    password: String,
    device_name: Option<String>,
}

const NAME_AND_PASSWORD: &str =
    "the text fields name and password, and device_name if there is one";

/// Body of /v1/refresh.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refresh {
    refresh_token: String,
}

/// The answer of all three.
#[derive(Serialize)]
pub(super) struct Admitted {
    user: String,
    device: String,
    name: String,
    access_token: String,
    access_expires_ms: u64,
    refresh_token: String,
    websocket: String,
    endpoints: Vec<String>,
}

type Answer = Result<Json<Admitted>, ApiError>;

/// `POST /v1/signup`.
pub(super) async fn sign_up(
    State(state): State<Arc<AppState>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Answer {
    let websocket = websocket_url(request.headers(), &state);
    let body: NameAndPassword = admit(&state, peer, request, NAME_AND_PASSWORD).await?;
    let credentials = state.identity.sign_up(body.name, body.password, body.device_name).await?;
    Ok(admitted(&state, credentials, websocket))
}

/// `POST /v1/login`.
pub(super) async fn log_in(
    State(state): State<Arc<AppState>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Answer {
    let websocket = websocket_url(request.headers(), &state);
    let body: NameAndPassword = admit(&state, peer, request, NAME_AND_PASSWORD).await?;
    let credentials = state.identity.log_in(body.name, body.password, body.device_name).await?;
    Ok(admitted(&state, credentials, websocket))
}

/// `POST /v1/refresh`.
pub(super) async fn refresh(
    State(state): State<Arc<AppState>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Answer {
    let websocket = websocket_url(request.headers(), &state);
    let body: Refresh = admit(&state, peer, request, "the text field refresh_token").await?;
    let (answer, revoked) = state.identity.refresh(&body.refresh_token).await;
    if let Some((user, device)) = revoked {
        state.gateway.device_revoked(user, device).await;
    }
    Ok(admitted(&state, answer?, websocket))
}

/// Lets a request in if its address has attempts left, and reads its body.
async fn admit<T: serde::de::DeserializeOwned>(
    state: &AppState,
    peer: Peer,
    request: Request,
    fields: &str,
) -> Result<T, ApiError> {
    let address = peer.address(request.headers(), &state.config.http.trusted_proxies);
    state.attempts.take(address, Instant::now()).map_err(|wait| ApiError {
        code: ErrorCode::RateLimited,
        detail: "too many attempts from this address".into(),
        retry_after_s: Some(wait.as_secs().saturating_add(1)),
    })?;
    let patience = Duration::from_millis(state.config.http.body_timeout_ms);
    body::json(request, patience, fields).await
}

fn admitted(state: &AppState, credentials: Credentials, websocket: String) -> Json<Admitted> {
    let endpoints = endpoints(state, Some(credentials.user), websocket);
    Json(Admitted {
        user: credentials.user.to_string(),
        device: credentials.device.to_string(),
        name: credentials.name,
        access_token: credentials.access_token,
        access_expires_ms: credentials.access_expires_ms,
        refresh_token: credentials.refresh_token.to_text(),
        websocket: endpoints.first().cloned().unwrap_or_default(),
        endpoints,
    })
}

/// Where a client may connect, best first.
#[derive(Serialize)]
pub(super) struct Discovered {
    websocket: String,
    endpoints: Vec<String>,
}

/// `GET /v1/discover`: for who holds an access token, the user's home comes first.
pub(super) async fn discover(
    State(state): State<Arc<AppState>>,
    headers: HeaderMap,
) -> Result<Json<Discovered>, ApiError> {
    let user = bearer::claims(&state, &headers)?.map(|claims| claims.user);
    let endpoints = endpoints(&state, user, websocket_url(&headers, &state));
    let websocket = endpoints.first().cloned().unwrap_or_default();
    Ok(Json(Discovered { websocket, endpoints }))
}

/// The nodes of the cluster, best first; a node that works alone names itself.
fn endpoints(state: &AppState, user: Option<UserId>, own: String) -> Vec<String> {
    let found = state.gateway.endpoints(user);
    if found.is_empty() { vec![own] } else { found }
}

/// Where this client's WebSocket is: at `http.public_url`, or else where its request went.
fn websocket_url(headers: &HeaderMap, state: &AppState) -> String {
    if let Some(url) = &state.config.http.public_url {
        // http://a -> ws://a, https://a -> wss://a
        return format!("{}/v1/ws", url.replacen("http", "ws", 1));
    }
    let host_byte = |b: u8| b.is_ascii_alphanumeric() || b".-:[]".contains(&b);
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    match host.filter(|host| !host.is_empty() && host.bytes().all(host_byte)) {
        Some(host) => format!("ws://{host}/v1/ws"),
        None => format!("ws://{}/v1/ws", state.http_addr),
    }
}
