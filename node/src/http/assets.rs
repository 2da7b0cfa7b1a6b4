//! The page and the client library it uses, embedded in the binary.
//!
//! The build script lists the files (`web/` at `/web/`, `clients/js/*.js` at `/client/`). They are
//! revalidated at each load by their hash, so that a new binary is a new page at once.

use super::error::{ApiError, ErrorCode};
use super::etag;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use std::collections::BTreeMap;
use std::sync::LazyLock;

// `FILES: &[(path, content type, bytes)]`, sorted by path.
include!(concat!(env!("OUT_DIR"), "/assets.rs"));

struct Asset {
    content_type: &'static str,
    bytes: &'static [u8],
    etag: HeaderValue,
}

static ASSETS: LazyLock<BTreeMap<&'static str, Asset>> = LazyLock::new(|| {
    let asset =
        |bytes: &'static [u8], content_type| Asset { content_type, bytes, etag: etag::of(bytes) };
    FILES.iter().map(|(path, content_type, bytes)| (*path, asset(bytes, *content_type))).collect()
});

/// Answers what no route does: a file, or the error that says there is none.
pub(super) async fn serve(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let path = match uri.path() {
        "/" => "/web/index.html",
        path => path,
    };
    let Some(asset) = ASSETS.get(path) else {
        return ApiError::new(ErrorCode::NotFound, "there is nothing at this path").into_response();
    };
    if method != Method::GET && method != Method::HEAD {
        let refused = ApiError::new(ErrorCode::WrongMethod, "a file is read with GET");
        return ([(header::ALLOW, "GET, HEAD")], refused).into_response();
    }
    let known = etag::is_known(&headers, &asset.etag);
    let (status, body) = match (known, &method) {
        (true, _) => (StatusCode::NOT_MODIFIED, Body::empty()),
        (false, &Method::HEAD) => (StatusCode::OK, Body::empty()),
        (false, _) => (StatusCode::OK, Body::from(asset.bytes)),
    };
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::ETAG, asset.etag.clone());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if status == StatusCode::OK {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
        headers.insert(header::CONTENT_LENGTH, asset.bytes.len().into());
    }
    response
}
