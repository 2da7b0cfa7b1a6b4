//! Tokens of an open connection: how long its access token is good, a fresh one for it, and the trade
//! of a refresh token, as `POST /v1/refresh` does it for who is not connected.
//!
//! During a trade the connection goes on. One that was begun runs to its end also when the connection
//! does not wait for it.

use super::{Connection, busy};
use crate::AppState;
use crate::gateway::hello;
use crate::gateway::refusal::{Refusal, error_frame};
use crate::identity::{IdentityError, TokenError};
use futures_util::future::BoxFuture;
use rookery_actors::SessionMsg;
use rookery_actors::message::Identity;
use rookery_protocol::client::{Authenticate, Refresh};
use rookery_protocol::{CloseCode, DeviceId, ErrorCode, ServerFrame, UserId, server};

/// A trade under way.
pub(super) type Refreshing<'a> = BoxFuture<'a, Renewal>;

/// What a trade led to.
pub(super) struct Renewal {
    /// When the session's new access token expires, if there is one: Unix milliseconds.
    expires_ms: Option<u64>,
    /// What the client is told.
    answer: ServerFrame,
}

impl Connection<'_> {
    /// Whether the token is still good: what comes after its end is not listened to.
    pub(super) fn still_known(&self) -> Result<(), Refusal> {
        if self.valid_ms() > 0 {
            return Ok(());
        }
        let detail = "the token has expired";
        Err(Refusal::new(ErrorCode::TokenExpired, CloseCode::TokenExpired, detail))
    }

    /// How long the token is still good.
    pub(super) fn valid_ms(&self) -> u64 {
        self.identity.expires_ms.saturating_sub(self.state.gateway.system.now().unix_ms)
    }

    pub(super) fn authenticate(&mut self, frame: &Authenticate) {
        let request = frame.request;
        let error = match hello::verify(self.state, &frame.token) {
            Ok(claims)
                if (claims.user, claims.device) == (self.identity.user, self.identity.device) =>
            {
                let expires_ms = claims.expires_s.saturating_mul(1000);
                self.identity.expires_ms = expires_ms;
                if self.tell(SessionMsg::Renewed { request: Some(request), expires_ms }).is_ok() {
                    return;
                }
                self.pause();
                busy(request)
            }
            Ok(_) => {
                let detail = "the token speaks for another user or device";
                error_frame(ErrorCode::ForeignToken, request, detail)
            }
            Err(TokenError::Expired) => {
                error_frame(ErrorCode::TokenExpired, request, "the token has expired")
            }
            Err(TokenError::Bad) => {
                error_frame(ErrorCode::BadToken, request, "the token is not good here")
            }
        };
        self.reply(&error);
    }

    pub(super) fn refresh(&mut self, frame: Refresh) {
        if self.refreshing.is_some() {
            let detail = "the refresh before has no answer yet";
            return self.reply(&error_frame(ErrorCode::Busy, frame.request, detail));
        }
        let Identity { user, device, .. } = self.identity;
        self.refreshing = Some(Box::pin(refresh(self.state, (user, device), frame)));
    }

    pub(super) fn refreshed(&mut self, renewal: Renewal) {
        self.refreshing = None;
        if let Some(expires_ms) = renewal.expires_ms {
            self.identity.expires_ms = expires_ms;
            // It is told so that a session which is rebuilt says it right; the next one would, too.
            if self.tell(SessionMsg::Renewed { request: None, expires_ms }).is_err() {
                tracing::debug!("a session was not told of its fresh token");
            }
        }
        self.reply(&renewal.answer);
    }
}

/// The end of a trade; never without one.
pub(super) async fn renewed(refreshing: &mut Option<Refreshing<'_>>) -> Renewal {
    match refreshing {
        Some(refreshing) => refreshing.await,
        None => std::future::pending().await,
    }
}

/// Trades the token of a device.
async fn refresh(
    state: &AppState,
    owner: (UserId, DeviceId),
    Refresh { request, refresh_token }: Refresh,
) -> Renewal {
    let (traded, revoked) = state.identity.refresh_of(owner, &refresh_token).await;
    if let Some((user, device)) = revoked {
        state.gateway.device_revoked(user, device).await;
    }
    match traded {
        Ok(fresh) => {
            let refreshed = server::Refreshed {
                request,
                access_token: fresh.access_token,
                access_expires_ms: fresh.access_expires_ms,
                refresh_token: fresh.refresh_token.to_text(),
            };
            Renewal { expires_ms: Some(fresh.access_expires_ms), answer: refreshed.into() }
        }
        Err(error) => {
            let (code, detail) = refused(error);
            Renewal { expires_ms: None, answer: error_frame(code, request, detail) }
        }
    }
}

fn refused(error: IdentityError) -> (ErrorCode, &'static str) {
    match error {
        IdentityError::BadToken => (ErrorCode::BadToken, "the refresh token is not good"),
        IdentityError::ForeignToken => {
            (ErrorCode::ForeignToken, "the refresh token is another device's")
        }
        IdentityError::Busy => (ErrorCode::Busy, "too many requests are waiting"),
        IdentityError::StoreUnavailable => {
            (ErrorCode::StoreUnavailable, "the store did not answer; it may have happened")
        }
        _ => (ErrorCode::Internal, "a fault of the node; it was logged"),
    }
}
