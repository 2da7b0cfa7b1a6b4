//! Why a connection is closed by the server, and the last words to its client.

use super::meters;
use super::socket::Socket;
use crate::http::Stream;
use bytes::Bytes;
use rookery_protocol::{CloseCode, DecodeError, ErrorCode, ServerFrame, server};
use std::future::poll_fn;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Time for the last words to leave and for the client to close its side.
const LINGER: Duration = Duration::from_secs(2);

/// The end of a connection that the server decides on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Told in an `Error` frame first, with the request it answers.
    pub(crate) error: Option<(ErrorCode, u32)>,
    /// What the connection is closed with.
    pub(crate) close: CloseCode,
    /// For the developer's eyes.
    pub(crate) detail: &'static str,
}

impl Refusal {
    /// Without an error: nothing the client asked for went wrong.
    pub(crate) const fn close(close: CloseCode) -> Self {
        Self { error: None, close, detail: "" }
    }

    /// With an error that answers no request.
    pub(crate) const fn new(error: ErrorCode, close: CloseCode, detail: &'static str) -> Self {
        Self { error: Some((error, 0)), close, detail }
    }

    /// The client broke the protocol.
    pub(crate) const fn protocol(error: ErrorCode, detail: &'static str) -> Self {
        Self::new(error, CloseCode::ProtocolError, detail)
    }
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Truncated => {
                Self::protocol(ErrorCode::Malformed, "the message ended inside a frame")
            }
            DecodeError::Payload { .. } => {
                Self::protocol(ErrorCode::Malformed, "a payload is not what its number says")
            }
            DecodeError::TooLarge { .. } => {
                Self::protocol(ErrorCode::TooLarge, "a frame is over its limit")
            }
            DecodeError::TooMany => {
                Self::protocol(ErrorCode::TooLarge, "a message holds too many frames")
            }
        }
    }
}

/// What a close code tells people.
const fn reason(code: CloseCode) -> &'static str {
    match code {
        CloseCode::GoingAway => "the node is leaving",
        CloseCode::SlowConsumer => "the client did not take what it was sent",
        CloseCode::HeartbeatTimeout => "no sign of life",
        CloseCode::Overloaded => "no room",
        CloseCode::Internal => "a fault of the server",
        CloseCode::TokenExpired => "the access token expired",
        CloseCode::HelloTimeout => "no Hello in time",
        CloseCode::ProtocolError => "the protocol was broken",
        CloseCode::Unauthenticated => "the token is not good",
        CloseCode::Replaced => "the session goes on at another connection",
        CloseCode::Revoked => "the device was revoked",
        CloseCode::UnsupportedVersion => "no protocol version in common",
    }
}

/// An `Error` frame, counted.
pub(crate) fn error_frame(code: ErrorCode, request: u32, detail: &'static str) -> ServerFrame {
    meters::error(code);
    code.frame(request, detail).into()
}

/// The frame that answers a request of which there were too many.
pub(crate) fn rate_limited(request: u32, retry_after_ms: u32) -> ServerFrame {
    meters::error(ErrorCode::RateLimited);
    let frame = ErrorCode::RateLimited.frame(request, "the user did this too often");
    server::Error { retry_after_ms, ..frame }.into()
}

/// Says goodbye and closes. Takes [`LINGER`] at most.
pub(crate) async fn refuse(mut socket: Socket<Stream>, refusal: Refusal) {
    let Refusal { error, close, detail } = refusal;
    let mut words = Vec::new();
    if let Some((code, request)) = error {
        error_frame(code, request, detail).encode(&mut words);
    }
    let bye = server::Bye { code: close.code(), reason: reason(close).to_owned() };
    ServerFrame::from(bye).encode(&mut words);
    socket.chunks().push(Bytes::from(words));
    let leaving = async move {
        poll_fn(|cx| socket.poll_write(cx)).await?;
        socket.start_close(close.code(), reason(close));
        poll_fn(|cx| socket.poll_write(cx)).await?;
        // What the client still sends is read to the end: closing on unread bytes resets the
        // connection, and the reset can overtake the last words.
        let stream = socket.stream();
        stream.shutdown().await?;
        let mut ignored = [0; 512];
        while stream.read(&mut ignored).await? > 0 {}
        Ok::<(), std::io::Error>(())
    };
    match tokio::time::timeout(LINGER, leaving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a client was gone before its goodbye"),
        Err(_) => tracing::debug!("a client did not close its side in time"),
    }
}

/// Answers the client's own close. Takes [`LINGER`] at most.
pub(crate) async fn answer_close(mut socket: Socket<Stream>) {
    socket.forget_chunks();
    let answering = poll_fn(|cx| socket.poll_write(cx));
    if tokio::time::timeout(LINGER, answering).await.is_err() {
        tracing::debug!("a client closed and took no answer");
    }
}
