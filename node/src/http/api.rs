//! The routes under /v1 that turn a name and a password into tokens.

use super::accept::Peer;
use super::error::{ApiError, ErrorBody, ErrorCode};
use super::{bearer, body};
use crate::AppState;
use crate::identity::{Attempt, Credentials, Wanted};
use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use rookery_protocol::UserId;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use utoipa::ToSchema;

/// A new account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SignUpBody {
    /// 2 to 32 of a-z, 0-9, `_`, `.` and `-`.
    name: String,
    /// 8 to 256 bytes.
    password: String,
    /// What the first device calls itself.
    device_name: Option<String>,
    /// The code of an invitation, where sign-up needs one.
    invitation: Option<String>,
}

/// A new device of an account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LogInBody {
    /// The account's name.
    name: String,
    /// Its password.
    password: String,
    /// What the device calls itself.
    device_name: Option<String>,
}

/// A refresh token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RefreshBody {
    /// The newest one of the device.
    refresh_token: String,
}

/// A token of the foreign issuer.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ForeignToken {
    /// The issuer's access token.
    token: String,
    /// What the device calls itself.
    device_name: Option<String>,
}

/// What a device needs to connect.
#[derive(Serialize, ToSchema)]
pub(super) struct Admitted {
    /// 16 digits of hex.
    user: String,
    /// 16 digits of hex.
    device: String,
    /// The unique name.
    name: String,
    /// For `Hello`, and as a bearer.
    access_token: String,
    /// When the access token ends, Unix milliseconds.
    access_expires_ms: u64,
    /// Good for one refresh.
    refresh_token: String,
    /// Where to connect.
    websocket: String,
    /// Other addresses of the same service, best first.
    endpoints: Vec<String>,
}

type Answer = Result<Json<Admitted>, ApiError>;

/// `POST /v1/signup`.
#[utoipa::path(post, path = "/v1/signup", tag = "tokens", request_body = SignUpBody,
    responses((status = 200, description = "The account's first device", body = Admitted),
        (status = "default", description = "Refused", body = ErrorBody)))]
pub(super) async fn sign_up(State(state): State<Arc<AppState>>, request: Request) -> Answer {
    let websocket = websocket_url(request.headers(), &state);
    let fields =
        "the text fields name and password, and device_name and invitation if there are any";
    let (address, body) = admit::<SignUpBody>(&state, request, fields).await?;
    let too_many = |wait| wait_for(wait, "too many accounts are being made");
    state.sign_ups.take(address, Instant::now()).map_err(too_many)?;
    let SignUpBody { name, password, device_name, invitation } = body;
    let wanted = Wanted { name, password, device_name, invitation };
    let credentials = state.identity.sign_up(wanted).await?;
    Ok(admitted(&state, credentials, websocket))
}

/// `POST /v1/login`.
#[utoipa::path(post, path = "/v1/login", tag = "tokens", request_body = LogInBody,
    responses((status = 200, description = "A new device", body = Admitted),
        (status = "default", description = "Refused", body = ErrorBody)))]
pub(super) async fn log_in(State(state): State<Arc<AppState>>, request: Request) -> Answer {
    let websocket = websocket_url(request.headers(), &state);
    let fields = "the text fields name and password, and device_name if there is one";
    let (address, body) = admit::<LogInBody>(&state, request, fields).await?;
    let attempt = Attempt { name: body.name, password: body.password, address };
    let credentials = state.identity.log_in(attempt, body.device_name).await?;
    Ok(admitted(&state, credentials, websocket))
}

/// `POST /v1/refresh`.
#[utoipa::path(post, path = "/v1/refresh", tag = "tokens", request_body = RefreshBody,
    responses((status = 200, description = "Fresh tokens of the same device", body = Admitted),
        (status = "default", description = "Refused", body = ErrorBody)))]
pub(super) async fn refresh(State(state): State<Arc<AppState>>, request: Request) -> Answer {
    let websocket = websocket_url(request.headers(), &state);
    let (_, body) = admit::<RefreshBody>(&state, request, "the text field refresh_token").await?;
    let (answer, revoked) = state.identity.refresh(&body.refresh_token).await;
    if let Some((user, device)) = revoked {
        state.gateway.device_revoked(user, device).await;
    }
    Ok(admitted(&state, answer?, websocket))
}

/// `POST /v1/token`: a token of the foreign issuer for a device of this installation.
#[utoipa::path(post, path = "/v1/token", tag = "tokens", request_body = ForeignToken,
    responses((status = 200, description = "A new device", body = Admitted),
        (status = "default", description = "Refused", body = ErrorBody)))]
pub(super) async fn token(State(state): State<Arc<AppState>>, request: Request) -> Answer {
    let websocket = websocket_url(request.headers(), &state);
    let fields = "the text fields token and device_name";
    let (_, body) = admit::<ForeignToken>(&state, request, fields).await?;
    let credentials = state.identity.exchange(body.token, body.device_name).await?;
    Ok(admitted(&state, credentials, websocket))
}

/// Lets a request in if its address has attempts left, and reads its body.
pub(super) async fn admit<T: serde::de::DeserializeOwned>(
    state: &AppState,
    request: Request,
    fields: &str,
) -> Result<(IpAddr, T), ApiError> {
    let Some(peer) = request.extensions().get::<Peer>() else {
        tracing::error!("a request came without its peer");
        return Err(ApiError::new(ErrorCode::Internal, "a fault of the node; it was logged"));
    };
    let address = peer.address(request.headers(), &state.config.http.trusted_proxies);
    let too_many = |wait| wait_for(wait, "too many attempts from this address");
    state.attempts.take(address, Instant::now()).map_err(too_many)?;
    let patience = Duration::from_millis(state.config.http.body_timeout_ms);
    Ok((address, body::json(request, patience, fields).await?))
}

fn wait_for(wait: Duration, detail: &'static str) -> ApiError {
    let retry_after_s = Some(wait.as_secs().saturating_add(1));
    ApiError { retry_after_s, ..ApiError::new(ErrorCode::RateLimited, detail) }
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
#[derive(Serialize, ToSchema)]
pub(super) struct Discovered {
    /// The best one.
    websocket: String,
    /// All.
    endpoints: Vec<String>,
}

/// `GET /v1/discover`: for who holds an access token, the user's home comes first.
#[utoipa::path(get, path = "/v1/discover", tag = "tokens", security((), ("bearer" = [])),
    responses((status = 200, description = "Where to connect", body = Discovered),
        (status = "default", description = "Refused", body = ErrorBody)))]
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
    let scheme = if state.config.http.tls_certificate.is_some() { "wss" } else { "ws" };
    match host.filter(|host| !host.is_empty() && host.bytes().all(host_byte)) {
        Some(host) => format!("{scheme}://{host}/v1/ws"),
        None => format!("{scheme}://{}/v1/ws", state.http_addr),
    }
}
