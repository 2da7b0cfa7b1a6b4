//! Typed errors, each saying what may not be concluded from it.

use rookery_protocol::{ErrorClass, ErrorCode, server};
use std::fmt;

/// An `Error` frame of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The code on the wire; [`Refusal::known`] names it.
    pub code: u16,
    /// Whose turn it is to do something about it.
    pub class: ErrorClass,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// Wait at least this long before a retry, milliseconds.
    pub retry_after_ms: u32,
    /// For the developer's eyes.
    pub detail: String,
}

impl Refusal {
    /// The code, when this version knows it.
    #[must_use]
    pub fn known(&self) -> Option<ErrorCode> {
        ErrorCode::from_code(self.code)
    }

    /// Whether it is this code.
    #[must_use]
    pub fn is(&self, code: ErrorCode) -> bool {
        self.code == code.code()
    }
}

impl From<server::Error> for Refusal {
    fn from(e: server::Error) -> Self {
        Self {
            code: e.code,
            class: e.class,
            retryable: e.retryable,
            retry_after_ms: e.retry_after_ms,
            detail: e.detail,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known() {
            Some(code) => f.write_str(code.name())?,
            None => write!(f, "error {}", self.code)?,
        }
        if self.detail.is_empty() { Ok(()) } else { write!(f, ": {}", self.detail) }
    }
}

/// Why something could not be queued. Nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueError {
    /// As many as the configuration allows wait for an answer.
    Full,
    /// The body or frame is over the protocol's limit.
    TooLarge,
    /// The client was closed for good.
    Closed,
}

impl fmt::Display for QueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "too many sends or requests wait for an answer",
            Self::TooLarge => "the content is over the protocol's limit",
            Self::Closed => "the client is closed",
        })
    }
}

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// The server refused it for good.
    Refused(Refusal),
    /// No answer in time. It may have been carried out.
    TimedOut,
    /// The client was closed for good. It may have been carried out.
    Closed,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::TimedOut => f.write_str("no answer in time"),
            Self::Closed => f.write_str("the client is closed"),
        }
    }
}

/// Why a call of [`crate::Client`] failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// It was never sent.
    NotQueued(QueueError),
    /// It has no (good) answer; for `TimedOut` and `Closed` the outcome is unknown.
    Failed(RequestError),
    /// The answer is of a kind that doesn't fit the request.
    WrongAnswer,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotQueued(e) => e.fmt(f),
            Self::Failed(e) => e.fmt(f),
            Self::WrongAnswer => f.write_str("the answer does not fit the request"),
        }
    }
}

/// Why an HTTP call (sign-up, log-in, refresh) failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiError {
    /// The address can't be used: only `http://host[:port]` for now.
    BadUrl(String),
    /// The connection failed; the call may have been carried out.
    Io(String),
    /// The server answered with an error.
    Status {
        /// The HTTP status.
        status: u16,
        /// The code of the error, for example `NameTaken`; empty when the body had none.
        code: String,
        /// For the developer's eyes.
        detail: String,
    },
    /// The answer can't be read.
    BadAnswer(String),
}

impl ApiError {
    /// The server's code, for example `NameTaken`.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Status { code, .. } => Some(code),
            _ => None,
        }
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Io(_) => true,
            Self::Status { status, .. } => matches!(status, 429 | 500..=599),
            Self::BadUrl(_) | Self::BadAnswer(_) => false,
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadUrl(url) => write!(f, "not an address this client can use: {url}"),
            Self::Io(e) => write!(f, "connection failed: {e}"),
            Self::Status { status, code, detail } => {
                write!(f, "refused with status {status} {code}: {detail}")
            }
            Self::BadAnswer(e) => write!(f, "the answer can't be read: {e}"),
        }
    }
}

impl std::error::Error for Refusal {}
impl std::error::Error for QueueError {}
impl std::error::Error for RequestError {}
impl std::error::Error for CallError {}
impl std::error::Error for ApiError {}
