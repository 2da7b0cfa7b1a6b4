//! `GET /v1/ws`: from an HTTP request to a WebSocket, or a clear answer why not.

use super::{connection, meters};
use crate::AppState;
use crate::http::accept::Peer;
use crate::http::{ApiError, ErrorCode, Stream};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use rookery_protocol::SUBPROTOCOL;
use std::sync::Arc;
use std::time::Duration;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Time for the 101 to leave.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);
/// The only version of the WebSocket protocol there is.
const VERSION: HeaderValue = HeaderValue::from_static("13");
/// Characters of 16 bytes in base64.
const KEY_LENGTH: usize = 24;

/// `GET /v1/ws`. The request carries [`Peer`] as an extension; its origin has been checked.
pub async fn upgrade(State(state): State<Arc<AppState>>, mut request: Request) -> Response {
    if request.method() != Method::GET {
        let wrong = ApiError::new(ErrorCode::WrongMethod, "a WebSocket begins with GET");
        return wrong.into_response();
    }
    let accept = match judge(request.headers()) {
        Ok(key) => derive_accept_key(key),
        Err(detail) => return bad(detail),
    };
    let Ok(accept) = HeaderValue::from_str(&accept) else { return bad("the WebSocket key") };
    if state.gateway.is_stopping() {
        return ApiError::new(ErrorCode::NotReady, "the node is leaving").into_response();
    }
    let Some(peer) = request.extensions_mut().remove::<Peer>() else {
        tracing::error!("a request came without its peer");
        return ApiError::new(ErrorCode::Internal, "a fault of the node; it was logged")
            .into_response();
    };
    let upgraded = hyper::upgrade::on(&mut request);
    let opened = state.gateway.opened();
    tokio::spawn(async move {
        match tokio::time::timeout(UPGRADE_TIMEOUT, stream(upgraded)).await {
            Ok(Some((stream, read))) => {
                state.gateway.meters.opened();
                let code = connection::run(&state, stream, read).await;
                state.gateway.meters.gone();
                meters::closed(code);
            }
            Ok(None) | Err(_) => tracing::debug!("a client was gone before its upgrade"),
        }
        drop((peer.place, opened));
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    response
}

/// The stream below an upgraded connection, and what was read of it already.
async fn stream(upgraded: OnUpgrade) -> Option<(Stream, Bytes)> {
    let parts = upgraded.await.ok()?.downcast::<TokioIo<Stream>>().ok()?;
    Some((parts.io.into_inner(), parts.read_buf))
}

/// The request's WebSocket key, if the request is one for a WebSocket of ours.
fn judge(headers: &HeaderMap) -> Result<&[u8], &'static str> {
    if !lists(headers, &header::UPGRADE, |token| token.eq_ignore_ascii_case("websocket"))
        || !lists(headers, &header::CONNECTION, |token| token.eq_ignore_ascii_case("upgrade"))
    {
        return Err("this path takes WebSocket upgrades alone");
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION) != Some(&VERSION) {
        return Err("the WebSocket version must be 13");
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes);
    let key = key.filter(|key| is_key(key)).ok_or("Sec-WebSocket-Key is no key")?;
    if !lists(headers, &header::SEC_WEBSOCKET_PROTOCOL, |token| token == SUBPROTOCOL) {
        return Err("offer the subprotocol rookery.v1");
    }
    Ok(key)
}

/// What is wrong with the request, and the version of WebSocket it takes.
fn bad(detail: &'static str) -> Response {
    let mut response = ApiError::new(ErrorCode::BadRequest, detail).into_response();
    response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, VERSION);
    response
}

/// Whether one of the header's comma-separated tokens is the one looked for.
fn lists(headers: &HeaderMap, name: &HeaderName, wanted: impl Fn(&str) -> bool) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|token| wanted(token.trim()))
}

/// Whether these are 16 bytes in base64.
fn is_key(key: &[u8]) -> bool {
    let digit = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    key.len() == KEY_LENGTH
        && key.strip_suffix(b"==").is_some_and(|digits| digits.iter().all(digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_sixteen_bytes_in_base64() {
        assert!(is_key(b"dGhlIHNhbXBsZSBub25jZQ=="));
        for key in [&b""[..], b"dGhlIHNhbXBsZSBub25jZQ", b"dGhlIHNhbXBsZSBub25jZ!==", &[b'='; 24]] {
            assert!(!is_key(key), "{key:?}");
        }
    }

    #[test]
    fn a_token_is_found_in_any_line_and_place_of_a_list() {
        let mut headers = HeaderMap::new();
        headers.append(header::CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
        headers.append(header::CONNECTION, HeaderValue::from_static("x"));
        let upgrade = |token: &str| token.eq_ignore_ascii_case("upgrade");
        assert!(lists(&headers, &header::CONNECTION, upgrade));
        assert!(lists(&headers, &header::CONNECTION, |token| token == "x"));
        assert!(!lists(&headers, &header::CONNECTION, |token| token == "keep"));
        assert!(!lists(&headers, &header::UPGRADE, |_| true));
    }
}
