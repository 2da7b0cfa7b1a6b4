//! Every failure of the HTTP API as one shape: a status and `{"error":{"code","detail"}}`.
//!
//! A detail says what to change. It never repeats what a client sent: that may be a password.

use crate::identity::IdentityError;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::borrow::Cow;
use utoipa::ToSchema;

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// The body is not what the route takes.
    BadRequest,
    /// The name may not be one.
    BadName,
    /// The password is too short or too long.
    BadPassword,
    /// Another account holds the name.
    NameTaken,
    /// Sign-up is closed.
    SignUpClosed,
    /// Sign-up is by invitation, and there was no good one.
    NotInvited,
    /// The account was ended.
    AccountDisabled,
    /// A display name or avatar may not be one.
    BadProfile,
    /// No such user, or not the password.
    WrongCredentials,
    /// The token is not good.
    BadToken,
    /// The access token was good once.
    TokenExpired,
    /// The page that asks comes from an origin that isn't allowed.
    ForeignOrigin,
    /// Too many attempts from this address.
    RateLimited,
    /// Texts are not found by their words here.
    SearchOff,
    /// There are as many of the kind as there may be.
    TooMany,
    /// What was to be changed is not what the client has any more.
    Outdated,
    /// Too many requests wait.
    Busy,
    /// The body is over the limit.
    TooLarge,
    /// The body is not declared to be JSON.
    WrongContentType,
    /// The body did not arrive in time.
    TooSlow,
    /// There is nothing here.
    NotFound,
    /// The route has other methods.
    WrongMethod,
    /// The store can't be reached, or did not answer in time.
    StoreUnavailable,
    /// The node is starting or leaving.
    NotReady,
    /// A fault of the node; it was logged.
    Internal,
}

impl ErrorCode {
    /// The code on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "BadRequest",
            Self::BadName => "BadName",
            Self::BadPassword => "BadPassword",
            Self::NameTaken => "NameTaken",
            Self::SignUpClosed => "SignUpClosed",
            Self::NotInvited => "NotInvited",
            Self::AccountDisabled => "AccountDisabled",
            Self::BadProfile => "BadProfile",
            Self::WrongCredentials => "WrongCredentials",
            Self::BadToken => "BadToken",
            Self::TokenExpired => "TokenExpired",
            Self::ForeignOrigin => "ForeignOrigin",
            Self::RateLimited => "RateLimited",
            Self::SearchOff => "SearchOff",
            Self::TooMany => "TooMany",
            Self::Outdated => "Outdated",
            Self::Busy => "Busy",
            Self::TooLarge => "TooLarge",
            Self::WrongContentType => "WrongContentType",
            Self::TooSlow => "TooSlow",
            Self::NotFound => "NotFound",
            Self::WrongMethod => "WrongMethod",
            Self::StoreUnavailable => "StoreUnavailable",
            Self::NotReady => "NotReady",
            Self::Internal => "Internal",
        }
    }

    /// The status it comes with.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::BadRequest | Self::BadName | Self::BadPassword | Self::BadProfile => {
                StatusCode::BAD_REQUEST
            }
            Self::NameTaken | Self::TooMany => StatusCode::CONFLICT,
            Self::SignUpClosed
            | Self::NotInvited
            | Self::AccountDisabled
            | Self::ForeignOrigin
            | Self::SearchOff => StatusCode::FORBIDDEN,
            Self::WrongCredentials | Self::BadToken | Self::TokenExpired => {
                StatusCode::UNAUTHORIZED
            }
            Self::Outdated => StatusCode::PRECONDITION_FAILED,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::WrongContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::Busy | Self::StoreUnavailable | Self::NotReady => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// The body of every refusal.
#[derive(Serialize, ToSchema)]
pub struct ErrorBody {
    /// What went wrong.
    error: ErrorDetail,
}

/// What went wrong.
#[derive(Serialize, ToSchema)]
struct ErrorDetail {
    /// For programs: go by it.
    #[schema(value_type = String)]
    code: &'static str,
    /// For people who write programs.
    #[schema(value_type = String)]
    detail: Cow<'static, str>,
}

/// A failure as it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// Why.
    pub code: ErrorCode,
    /// What to change, for people.
    pub detail: Cow<'static, str>,
    /// Whole seconds after which the same request may succeed.
    pub retry_after_s: Option<u64>,
}

impl ApiError {
    /// An error that says no time to retry after.
    pub fn new(code: ErrorCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into(), retry_after_s: None }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = ErrorBody { error: ErrorDetail { code: self.code.name(), detail: self.detail } };
        let mut response = (self.code.status(), Json(body)).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(axum::http::header::RETRY_AFTER, seconds.into());
        }
        // The body's stream is already told apart by its code: metrics read it from here.
        response.extensions_mut().insert(self.code);
        response
    }
}

impl From<IdentityError> for ApiError {
    fn from(error: IdentityError) -> Self {
        let (code, detail) = match error {
            IdentityError::BadName => {
                (ErrorCode::BadName, "a name is 2 to 32 of a-z, 0-9, _, . and -")
            }
            IdentityError::BadPassword => {
                (ErrorCode::BadPassword, "a password is 8 to 256 bytes long")
            }
            IdentityError::NameTaken => (ErrorCode::NameTaken, "another account has this name"),
            IdentityError::SignUpClosed => {
                (ErrorCode::SignUpClosed, "this node takes no new accounts")
            }
            IdentityError::NotInvited => {
                (ErrorCode::NotInvited, "sign-up needs an invitation that is still good")
            }
            IdentityError::ShutOut => {
                (ErrorCode::AccountDisabled, "an operator, or its owner, ended this account")
            }
            IdentityError::BadProfile => (
                ErrorCode::BadProfile,
                "a display name has at most 128 bytes and no invisible characters, an avatar is \
                 an https URL of at most 512",
            ),
            IdentityError::LockedOut(_) => {
                (ErrorCode::RateLimited, "too many wrong passwords; wait before the next one")
            }
            IdentityError::WrongCredentials => {
                (ErrorCode::WrongCredentials, "name and password don't fit")
            }
            IdentityError::BadToken | IdentityError::ForeignToken => {
                (ErrorCode::BadToken, "log in again")
            }
            IdentityError::TokenExpired => {
                (ErrorCode::TokenExpired, "the issuer's token has expired; get another one")
            }
            IdentityError::NoIssuer => {
                (ErrorCode::NotFound, "this node takes tokens of no other issuer")
            }
            IdentityError::NotFound => (ErrorCode::NotFound, "there is no such thing"),
            IdentityError::Busy => (ErrorCode::Busy, "too many requests are waiting; retry"),
            IdentityError::StoreUnavailable => (
                ErrorCode::StoreUnavailable,
                "the store did not answer; what was asked may have happened",
            ),
            IdentityError::Internal => (ErrorCode::Internal, "a fault of the node; it was logged"),
        };
        let retry_after_s = match error {
            IdentityError::LockedOut(wait) => Some(wait.as_secs().saturating_add(1)),
            _ => (code.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(1),
        };
        Self { code, detail: detail.into(), retry_after_s }
    }
}
