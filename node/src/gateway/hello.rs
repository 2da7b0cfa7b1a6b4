//! The first frame of a connection: who it is, and whether it may come in.

use super::refusal::Refusal;
use super::socket::{Incoming, Socket};
use crate::http::Stream;
use crate::identity::{Claims, IdentityError, Standing, TokenError};
use crate::{AppState, now_ms};
use bytes::Bytes;
use rookery_actors::message::Identity;
use rookery_protocol::client::{Hello, Resume};
use rookery_protocol::limits::{
    MAX_AGENT_BYTES, MAX_CLIENT_FRAME_BYTES, MAX_TOKEN_BYTES, MAX_WINDOW_BYTES, MIN_WINDOW_BYTES,
};
use rookery_protocol::{ClientFrame, CloseCode, ErrorCode, VERSIONS, frames};
use std::future::poll_fn;
use std::time::Duration;
use tokio::time::timeout;

/// Most time for the store to say who somebody is.
const STORE_PATIENCE: Duration = Duration::from_secs(5);

/// Who was let in, and what it wants.
pub(crate) struct Admitted {
    /// Who it is.
    pub(crate) identity: Identity,
    /// Bytes of unacknowledged stream frames, within the bounds.
    pub(crate) window_bytes: u32,
    /// The session it wants to go on with.
    pub(crate) resume: Option<Resume>,
}

/// How a connection ends.
#[derive(Debug)]
pub(crate) enum End {
    /// By the server.
    Refused(Refusal),
    /// By the client, with its code if there was one.
    Closed(Option<u16>),
    /// By the network, or by a client without manners.
    Lost,
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Waits for `Hello` and judges it.
pub(crate) async fn hello(state: &AppState, socket: &mut Socket<Stream>) -> Result<Admitted, End> {
    let patience = Duration::from_millis(state.config.limits.hello_timeout_ms);
    let mut stop = state.gateway.stop.subscribe();
    let coming = async {
        let hello = timeout(patience, first_frame(state, socket)).await;
        let hello = hello.map_err(|_| Refusal::close(CloseCode::HelloTimeout))??;
        let admitted = admit(state, hello).await?;
        socket.trust();
        Ok(admitted)
    };
    tokio::select! {
        admitted = coming => admitted,
        () = crate::http::accept::stopped(&mut stop) => {
            Err(Refusal::close(CloseCode::GoingAway).into())
        }
    }
}

async fn first_frame(state: &AppState, socket: &mut Socket<Stream>) -> Result<Hello, End> {
    loop {
        let incoming = poll_fn(|cx| socket.poll(cx, true)).await;
        let Some(message) = message(state, incoming)? else { continue };
        if let Some(hello) = only_hello(state, &message)? {
            return Ok(hello);
        }
    }
}

/// The bytes of a message; `None` for what means nothing to the protocol.
pub(crate) fn message(state: &AppState, incoming: Incoming) -> Result<Option<Bytes>, End> {
    let refusal = match incoming {
        Incoming::Message(bytes) => {
            state.gateway.meters.received_bytes.increment(bytes.len() as u64);
            return Ok(Some(bytes));
        }
        Incoming::Control | Incoming::Written => return Ok(None),
        Incoming::Closed(code) => return Err(End::Closed(code)),
        Incoming::Lost => return Err(End::Lost),
        Incoming::Text => Refusal::protocol(ErrorCode::NotBinary, "messages are binary"),
        Incoming::TooLarge => Refusal::protocol(ErrorCode::TooLarge, "a message is over its limit"),
        Incoming::Broken => Refusal::protocol(ErrorCode::Malformed, "this is not WebSocket"),
    };
    Err(refusal.into())
}

/// The `Hello` of a message that may hold nothing else but frames of a newer version; `None` when
/// there is nothing in it.
fn only_hello(state: &AppState, message: &[u8]) -> Result<Option<Hello>, Refusal> {
    const EARLY: Refusal =
        Refusal::protocol(ErrorCode::OutOfOrder, "Hello is first, and alone until Welcome");
    let mut found = None;
    for raw in frames(message, MAX_CLIENT_FRAME_BYTES) {
        let frame = ClientFrame::decode(raw?)?;
        state.gateway.meters.frame(frame.as_ref());
        match frame {
            None => {}
            Some(ClientFrame::Hello(hello)) if found.is_none() => found = Some(hello),
            Some(frame) => {
                return Err(Refusal {
                    error: Some((ErrorCode::OutOfOrder, frame.request())),
                    ..EARLY
                });
            }
        }
    }
    Ok(found)
}

async fn admit(state: &AppState, hello: Hello) -> Result<Admitted, Refusal> {
    if !hello.versions.iter().any(|version| VERSIONS.contains(version)) {
        return Err(Refusal::new(
            ErrorCode::UnsupportedVersion,
            CloseCode::UnsupportedVersion,
            "this server speaks version 1",
        ));
    }
    if hello.agent.len() > MAX_AGENT_BYTES {
        return Err(Refusal::protocol(ErrorCode::BadField, "the agent is too long"));
    }
    let claims = verify(state, &hello.token).map_err(refused_token)?;
    let name = match timeout(STORE_PATIENCE, standing(state, &claims)).await {
        Ok(Ok(Standing::Good(name))) => name,
        Ok(Ok(Standing::Revoked)) => return Err(revoked()),
        Ok(Ok(Standing::Unknown)) => return Err(refused_token(TokenError::Bad)),
        Ok(Err(error)) => {
            tracing::warn!(?error, "a hello could not be checked");
            return Err(no_store());
        }
        Err(_) => return Err(no_store()),
    };
    let identity = Identity {
        user: claims.user,
        device: claims.device,
        name: name.into(),
        expires_ms: claims.expires_s.saturating_mul(1000),
    };
    let window_bytes = hello.window_bytes.clamp(MIN_WINDOW_BYTES, MAX_WINDOW_BYTES);
    Ok(Admitted { identity, window_bytes, resume: hello.resume })
}

/// What a token says, if it is good now.
pub(crate) fn verify(state: &AppState, token: &str) -> Result<Claims, TokenError> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(TokenError::Bad);
    }
    state.identity.tokens().verify(token, now_ms() / 1000)
}

fn refused_token(error: TokenError) -> Refusal {
    match error {
        TokenError::Bad => Refusal::new(
            ErrorCode::BadToken,
            CloseCode::Unauthenticated,
            "the token is not good here",
        ),
        TokenError::Expired => {
            Refusal::new(ErrorCode::TokenExpired, CloseCode::TokenExpired, "the token has expired")
        }
    }
}

/// The device may not come in any more.
pub(crate) fn revoked() -> Refusal {
    Refusal::new(ErrorCode::Revoked, CloseCode::Revoked, "the device was revoked")
}

fn no_store() -> Refusal {
    Refusal::new(ErrorCode::StoreUnavailable, CloseCode::Internal, "the store did not answer")
}

/// What the store says of a token's device, within the bound of reads.
async fn standing(state: &AppState, claims: &Claims) -> Result<Standing, IdentityError> {
    let place = state.gateway.reads.acquire().await;
    let _place = place.map_err(|_| IdentityError::StoreUnavailable)?;
    state.identity.standing(claims.user, claims.device).await
}
