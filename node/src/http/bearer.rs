//! Who a request speaks for: the access token in `Authorization: Bearer`, and the device behind it.

use super::error::{ApiError, ErrorCode};
use crate::AppState;
use crate::clock::now_ms;
use crate::identity::{Claims, Standing, TokenError};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use rookery_protocol::{DeviceId, UserId};
use std::sync::Arc;

/// A user on a device that may come in: as an argument of a handler it lets nobody else through.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) user: UserId,
    pub(super) device: DeviceId,
    /// The user's unique name.
    pub(super) name: String,
}

impl FromRequestParts<Arc<AppState>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &Arc<AppState>,
    ) -> Result<Self, ApiError> {
        let missing = || ApiError::new(ErrorCode::BadToken, "send an access token as a bearer");
        let Claims { user, device, .. } = claims(state, &parts.headers)?.ok_or_else(missing)?;
        match state.identity.standing(user, device).await? {
            Standing::Good(name) => Ok(Self { user, device, name }),
            Standing::Revoked => {
                Err(ApiError::new(ErrorCode::BadToken, "the device was revoked; log in again"))
            }
            Standing::Unknown => Err(not_good()),
        }
    }
}

/// What the request's access token says; `None` when it has none. It does not say that its device
/// was not revoked since.
///
/// # Errors
/// `BadToken`, `TokenExpired`.
pub(super) fn claims(state: &AppState, headers: &HeaderMap) -> Result<Option<Claims>, ApiError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => value.to_str().unwrap_or_default(),
        (Some(_), Some(_)) => return Err(not_good()),
    };
    // The scheme's name has no case (RFC 9110, section 11.1).
    let (scheme, token) = value.split_once(' ').unwrap_or_default();
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(not_good());
    }
    match state.identity.tokens().verify(token, now_ms() / 1000) {
        Ok(claims) => Ok(Some(claims)),
        Err(TokenError::Bad) => Err(not_good()),
        Err(TokenError::Expired) => {
            Err(ApiError::new(ErrorCode::TokenExpired, "the access token has expired; refresh it"))
        }
    }
}

fn not_good() -> ApiError {
    ApiError::new(ErrorCode::BadToken, "the access token is not good")
}
