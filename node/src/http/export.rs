//! Everything the node keeps about the caller, as one file.
//!
//! Lines of JSON, each with what it is: `account`, `device`, `setting`, `privacy`, `person`, `conversation`,
//! `own_state`, `report` and `entry` (of the conversation before them), and at last `end`: a file without it broke off. The file is made while
//! it is sent, in bounded pieces: a slow reader slows it down and holds nothing else.

use super::account::own;
use super::bearer::Caller;
use super::conversations::{entry, shown};
use super::error::{ApiError, ErrorBody, ErrorCode};
use super::reads;
use crate::AppState;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use rookery_protocol::{Audience, ConversationId, Direction, UserId};
use rookery_store::{Privacy, StoreError};
use serde::Serialize;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Pieces that wait for the reader.
const PIECES: usize = 4;
/// A reader that takes nothing for so long is given up.
const STALLED: Duration = Duration::from_secs(60);
/// Items read at once.
const PAGE: u16 = 50;

/// A line of the file.
#[derive(Serialize)]
struct Line<'a, T> {
    what: &'a str,
    #[serde(flatten)]
    content: T,
}

/// Nothing more to say.
#[derive(Serialize)]
struct Nothing {}

#[derive(Serialize)]
struct ExportedDevice {
    device: String,
    name: String,
    created_ms: u64,
}

#[derive(Serialize)]
struct Setting {
    name: String,
    value: String,
}

#[derive(Serialize)]
struct ExportedPrivacy {
    presence: u8,
    last_seen: u8,
    receipts: u8,
}

#[derive(Serialize)]
struct ExportedPerson {
    user: String,
    name: String,
    contact: bool,
    blocked: bool,
}

#[derive(Serialize)]
struct ExportedState {
    muted_until_ms: u64,
    archived: bool,
    unread: bool,
}

#[derive(Serialize)]
struct ExportedReport {
    seq: u64,
    reason: u8,
    comment: String,
    time_ms: u64,
}

/// `GET /v1/account/export`.
#[utoipa::path(get, path = "/v1/account/export", tag = "account", security(("bearer" = [])),
    responses((status = 200, description = "Lines of JSON, the last one `{\"what\":\"end\"}`",
            body = String, content_type = "application/x-ndjson"),
        (status = "default", description = "Refused", body = ErrorBody)))]
pub(super) async fn export(
    State(state): State<Arc<AppState>>,
    caller: Caller,
) -> Result<Response, ApiError> {
    let Ok(place) = Arc::clone(&state.exports).try_acquire_owned() else {
        let busy = ApiError::new(ErrorCode::Busy, "other exports are being made; retry");
        return Err(ApiError { retry_after_s: Some(10), ..busy });
    };
    let (pieces, mut sent) = mpsc::channel::<Bytes>(PIECES);
    tokio::spawn(async move {
        let mut file = File { state: &state, pieces };
        if file.write(caller.user).await.is_err() {
            tracing::debug!("an export broke off");
        }
        drop(place);
    });
    let stream = futures_util::stream::poll_fn(move |cx| {
        sent.poll_recv(cx).map(|piece| piece.map(Ok::<Bytes, Infallible>))
    });
    let mut response = Body::from_stream(stream).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    let name = HeaderValue::from_static("attachment; filename=\"rookery-export.ndjson\"");
    headers.insert(header::CONTENT_DISPOSITION, name);
    Ok(response)
}

/// The file ends here, without its last line.
struct BrokeOff;

impl From<ApiError> for BrokeOff {
    fn from(_: ApiError) -> Self {
        Self
    }
}

impl From<crate::identity::IdentityError> for BrokeOff {
    fn from(_: crate::identity::IdentityError) -> Self {
        Self
    }
}

struct File<'a> {
    state: &'a AppState,
    pieces: mpsc::Sender<Bytes>,
}

impl File<'_> {
    async fn write(&mut self, user: UserId) -> Result<(), BrokeOff> {
        let (account, profile) = self.state.identity.account(user).await?;
        self.lines("account", [own(account, profile)]).await?;
        let mut after = None;
        loop {
            let page = self.state.identity.devices(user, after, PAGE.into()).await?;
            let devices = page.devices.into_iter().map(|row| ExportedDevice {
                device: row.device.to_string(),
                name: row.name,
                created_ms: row.created_ms,
            });
            self.lines("device", devices).await?;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let kept =
            reads::on(self.state, move |store| async move { Ok(store.settings(user).await?) });
        let kept = kept.await?;
        self.lines("setting", kept.into_iter().map(|(name, value)| Setting { name, value }))
            .await?;
        self.people(user).await?;
        let mut after = None;
        loop {
            let page = reads::on(self.state, move |store| async move {
                store.list_conversations(user, PAGE, after).await
            });
            let (conversations, next) = page.await?;
            for info in conversations {
                let id = info.conversation;
                self.lines("conversation", [shown(info)]).await?;
                self.own(user, id).await?;
                self.history(user, id).await?;
            }
            after = next;
            if after.is_none() {
                break;
            }
        }
        self.lines("end", [Nothing {}]).await
    }

    /// Privacy settings, contacts and blocked users.
    async fn people(&mut self, user: UserId) -> Result<(), BrokeOff> {
        let privacy = reads::on(self.state, move |store| async move {
            store.privacy(user).await.map_err(StoreError::Read)
        });
        let Privacy { presence, last_seen, receipts } = privacy.await?;
        let [presence, last_seen, receipts] = [presence, last_seen, receipts].map(Audience::code);
        self.lines("privacy", [ExportedPrivacy { presence, last_seen, receipts }]).await?;
        let mut after = None;
        loop {
            let page =
                reads::on(
                    self.state,
                    move |store| async move { store.people(user, after, PAGE).await },
                );
            let (people, next) = page.await?;
            let people = people.into_iter().map(|person| ExportedPerson {
                user: person.user.to_string(),
                name: person.name,
                contact: person.contact,
                blocked: person.blocked,
            });
            self.lines("person", people).await?;
            after = next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// How the user sees a conversation, and what it reported there.
    async fn own(&mut self, user: UserId, id: ConversationId) -> Result<(), BrokeOff> {
        let own = reads::on(self.state, move |store| async move {
            let states = store.own_states(user, &[id]).await?;
            Ok::<_, StoreError>((states, store.reports_by(user, id).await?))
        });
        let (states, reports) = own.await?;
        let states = states.into_iter().map(|state| ExportedState {
            muted_until_ms: state.muted_until_ms,
            archived: state.archived,
            unread: state.unread,
        });
        self.lines("own_state", states).await?;
        let reports = reports.into_iter().map(|report| ExportedReport {
            seq: report.seq,
            reason: report.reason.code(),
            comment: report.comment,
            time_ms: report.time_ms,
        });
        self.lines("report", reports).await
    }

    async fn history(&mut self, user: UserId, id: ConversationId) -> Result<(), BrokeOff> {
        let mut anchor = 0;
        loop {
            let page = reads::on(self.state, move |store| async move {
                store.history(user, id, anchor, Direction::After, PAGE).await
            });
            let page = page.await?;
            let Some(last) = page.entries.last().map(|entry| entry.seq) else { return Ok(()) };
            self.lines("entry", page.entries.into_iter().map(entry)).await?;
            if !page.more {
                return Ok(());
            }
            anchor = last;
        }
    }

    /// Sends lines as one piece.
    async fn lines<T: Serialize>(
        &mut self,
        what: &str,
        contents: impl IntoIterator<Item = T>,
    ) -> Result<(), BrokeOff> {
        let mut piece = Vec::new();
        for content in contents {
            serde_json::to_writer(&mut piece, &Line { what, content }).map_err(|_| BrokeOff)?;
            piece.push(b'\n');
        }
        if piece.is_empty() {
            return Ok(());
        }
        let sending = self.pieces.send(piece.into());
        match tokio::time::timeout(STALLED, sending).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(BrokeOff),
        }
    }
}
