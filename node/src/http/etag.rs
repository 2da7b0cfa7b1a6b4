//! Answers that a client may have already: it names what it has, and is told when that is the same.
//! And changes that it wants made only of what it has.

use super::error::{ApiError, ErrorCode};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// Whether `If-None-Match` names this tag.
pub(super) fn is_known(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    headers.get_all(header::IF_NONE_MATCH).iter().any(|value| {
        value.as_bytes().split(|b| *b == b',').any(|one| one.trim_ascii() == etag.as_bytes())
    })
}

/// Whether a change may be made of what has this content: `If-Match` is absent, or names it.
pub(super) fn is_as_known<T: Serialize>(headers: &HeaderMap, value: &T) -> bool {
    let mut tags = headers.get_all(header::IF_MATCH).iter().peekable();
    if tags.peek().is_none() {
        return true;
    }
    let Ok(bytes) = serde_json::to_vec(value) else { return false };
    let etag = of(&bytes);
    tags.flat_map(|value| value.as_bytes().split(|b| *b == b','))
        .map(<[u8]>::trim_ascii)
        .any(|one| one == b"*" || one == etag.as_bytes())
}

/// The tag of a content.
pub(super) fn of(bytes: &[u8]) -> HeaderValue {
    let digest = Sha256::digest(bytes);
    let hex = crate::identity::hex::encode(digest.get(..8).unwrap_or(&digest));
    HeaderValue::try_from(format!("\"{hex}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// A JSON answer with its tag, or 304 when the client has it. It is the caller's own: no shared
/// cache may keep it.
pub(super) fn tagged<T: Serialize>(headers: &HeaderMap, value: &T) -> Result<Response, ApiError> {
    let bytes = serde_json::to_vec(value).map_err(|_| {
        tracing::error!("an answer could not be written as JSON");
        ApiError::new(ErrorCode::Internal, "a fault of the node; it was logged")
    })?;
    let etag = of(&bytes);
    let mut response = if is_known(headers, &etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let json = HeaderValue::from_static("application/json");
        ([(header::CONTENT_TYPE, json)], bytes).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, etag);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    Ok(response)
}
