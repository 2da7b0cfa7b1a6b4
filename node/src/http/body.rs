//! JSON bodies of requests: read within a limit and a time, refused in words that repeat nothing
//! of what was sent.

use super::error::{ApiError, ErrorCode};
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use std::time::Duration;

/// Most bytes of a body.
pub const MAX_BODY_BYTES: usize = 16 * 1024;

/// Reads the body of a request as a `T`, whose fields are `fields`.
///
/// # Errors
/// `WrongContentType`, `TooLarge`, `TooSlow` or `BadRequest`.
pub(crate) async fn json<T: DeserializeOwned>(
    request: Request,
    patience: Duration,
    fields: &str,
) -> Result<T, ApiError> {
    if !is_json(request.headers()) {
        return Err(ApiError::new(
            ErrorCode::WrongContentType,
            "the body must be declared as application/json",
        ));
    }
    let bytes = read(request, patience).await?;
    serde_json::from_slice(&bytes).map_err(|error| bad_json(&error, fields))
}

async fn read(request: Request, patience: Duration) -> Result<Bytes, ApiError> {
    let too_large =
        || ApiError::new(ErrorCode::TooLarge, format!("a body has at most {MAX_BODY_BYTES} bytes"));
    let declared = request.headers().get(header::CONTENT_LENGTH);
    let declared = declared.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|length| length > MAX_BODY_BYTES) {
        return Err(too_large());
    }
    // One byte more than allowed tells a body that is over the limit from one that broke off.
    let reading = read_up_to(request.into_body(), MAX_BODY_BYTES + 1);
    match tokio::time::timeout(patience, reading).await {
        Ok(Ok(bytes)) if bytes.len() > MAX_BODY_BYTES => Err(too_large()),
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(ApiError::new(ErrorCode::BadRequest, "the body broke off")),
        Err(_) => Err(ApiError::new(ErrorCode::TooSlow, "the body took too long to arrive")),
    }
}

/// Reads a body until it ends or has `limit` bytes.
async fn read_up_to(body: axum::body::Body, limit: usize) -> Result<Bytes, axum::Error> {
    use futures_util::StreamExt;
    let mut chunks = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.next().await {
        bytes.extend_from_slice(&chunk?);
        if bytes.len() >= limit {
            break;
        }
    }
    Ok(bytes.into())
}

fn is_json(headers: &HeaderMap) -> bool {
    let declared = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    declared.is_some_and(|value| {
        let essence = value.split(';').next().unwrap_or_default();
        essence.trim().eq_ignore_ascii_case("application/json")
    })
}

/// What is wrong, without the values: the parser's own words quote them.
fn bad_json(error: &serde_json::Error, fields: &str) -> ApiError {
    let (line, column) = (error.line(), error.column());
    let detail = match error.classify() {
        Category::Data => {
            let text = error.to_string();
            let what = ["missing field", "duplicate field", "unknown field"]
                .into_iter()
                .find(|what| text.starts_with(what))
                .unwrap_or("a field of the wrong type");
            format!("{what} (line {line}, column {column}); the body has {fields}")
        }
        Category::Syntax | Category::Eof | Category::Io => {
            format!("the body is not JSON (line {line}, column {column})")
        }
    };
    ApiError::new(ErrorCode::BadRequest, detail)
}
