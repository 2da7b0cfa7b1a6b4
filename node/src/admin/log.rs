//! The log of what operators did: `GET /admin/v1/audit`, and how it is written.

use super::guard::Operator;
use super::router::{Admin, Answer};
use crate::clock::now_ms;
use crate::http::query;
use crate::http::{ApiError, ErrorBody, ErrorCode, reads};
use crate::identity::{IdentityError, hex, on_store};
use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use rookery_store::{AuditEntry, AuditPlace, MAX_AUDIT_PAGE, MAX_AUDIT_TEXT_BYTES, StoreError};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;

/// Times a random id is drawn anew when it is in use.
const ID_ATTEMPTS: usize = 4;
/// Most time for an entry to become durable.
const PATIENCE: Duration = Duration::from_secs(5);

/// An entry of the log.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Logged {
    /// Its place: 32 digits of hex.
    pub(crate) place: String,
    /// When, Unix milliseconds.
    pub(crate) time_ms: u64,
    /// The entries of one action share this: 16 digits of hex.
    pub(crate) action_id: String,
    /// Who: the name of the token.
    pub(crate) operator: String,
    /// Which node was asked.
    pub(crate) node: String,
    /// What.
    pub(crate) action: String,
    /// To whom or what; may be empty.
    pub(crate) target: String,
    /// `begun`, `done` (perhaps with what was changed), or why it was refused.
    pub(crate) outcome: String,
}

/// Some of the log, newest first.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct LogPage {
    pub(crate) entries: Vec<Logged>,
    /// `before` of the next page; null at the end.
    pub(crate) next: Option<String>,
}

/// `GET /admin/v1/audit?before&limit`.
#[utoipa::path(get, path = "/admin/v1/audit", tag = "audit", security(("bearer" = [])),
    params(("before" = Option<String>, Query, description = "`next` of the page before"),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 200)),
    responses((status = 200, description = "A page, newest first", body = LogPage),
        (status = "default", description = "Refused", body = ErrorBody)))]
pub(super) async fn read(
    State(admin): State<Arc<Admin>>,
    _operator: Operator,
    uri: Uri,
) -> Answer<LogPage> {
    let [before, limit] = query::fields(uri.query(), ["before", "limit"])?;
    let limit = query::limit_of(limit, MAX_AUDIT_PAGE)?;
    let no_place = || query::bad("before is not the next of a page");
    let before = before.map(|text| place(text).ok_or_else(no_place)).transpose()?;
    let page =
        reads::on(
            &admin.app,
            move |store| async move { Ok(store.audit_log(before, limit).await?) },
        );
    let (entries, next) = page.await?;
    let entries = entries.into_iter().map(shown).collect();
    Ok(Json(LogPage { entries, next: next.map(told) }))
}

fn shown(entry: AuditEntry) -> Logged {
    let AuditEntry { place, action_id, operator, node, action, target, outcome } = entry;
    Logged {
        place: told(place),
        time_ms: place.time_ms,
        action_id: format!("{action_id:016x}"),
        operator,
        node,
        action,
        target,
        outcome,
    }
}

fn told(AuditPlace { time_ms, id }: AuditPlace) -> String {
    format!("{time_ms:016x}{id:016x}")
}

fn place(text: &str) -> Option<AuditPlace> {
    let bytes: [u8; 16] = hex::decode(text)?;
    let (time, id) = bytes.split_first_chunk::<8>()?;
    let id = u64::from_be_bytes(id.try_into().ok()?);
    Some(AuditPlace { time_ms: u64::from_be_bytes(*time), id })
}

/// An action that is being logged.
pub(super) struct Action {
    pub(super) id: u64,
    pub(super) operator: String,
    pub(super) name: &'static str,
    pub(super) target: String,
}

impl Action {
    pub(super) fn new(
        operator: String,
        name: &'static str,
        target: &str,
    ) -> Result<Self, ApiError> {
        Ok(Self { id: random_id()?, operator, name, target: cut(target) })
    }

    /// Writes an entry, durably.
    pub(super) async fn log(&self, admin: &Admin, outcome: &str) -> Result<(), ApiError> {
        for _ in 0..ID_ATTEMPTS {
            let entry = AuditEntry {
                place: AuditPlace { time_ms: now_ms(), id: random_id()? },
                action_id: self.id,
                operator: self.operator.clone(),
                node: admin.app.config.node.name.clone(),
                action: self.name.to_owned(),
                target: self.target.clone(),
                outcome: cut(outcome),
            };
            let appending =
                on_store(
                    &admin.app.store,
                    move |store| async move { store.append_audit(&entry).await },
                );
            let unavailable = |_| ApiError::from(IdentityError::StoreUnavailable);
            match tokio::time::timeout(PATIENCE, appending).await.map_err(unavailable)?? {
                Err(StoreError::IdTaken) => {}
                done => return done.map_err(|error| IdentityError::from(error).into()),
            }
        }
        Err(ApiError::new(ErrorCode::Internal, "a fault of the node; it was logged"))
    }
}

fn random_id() -> Result<u64, ApiError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|_| {
        tracing::error!("the system has no random numbers");
        ApiError::new(ErrorCode::Internal, "a fault of the node; it was logged")
    })?;
    Ok(u64::from_be_bytes(bytes))
}

/// As much of a text as an entry holds; strangers' bytes as questions marks.
fn cut(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    text.chars().map(plain).take(MAX_AUDIT_TEXT_BYTES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_told() {
        let at = AuditPlace { time_ms: 7, id: 0xab };
        assert_eq!(place(&told(at)), Some(at));
        for bad in ["", "00", &told(at).to_uppercase(), &format!("{}0", told(at))] {
            assert_eq!(place(bad), None, "{bad}");
        }
    }

    #[test]
    fn texts_of_the_log_are_plain_and_bounded() {
        assert_eq!(cut("users/0a"), "users/0a");
        assert_eq!(cut("a\r\nb\u{202e}"), "a??b?");
        assert_eq!(cut(&"x".repeat(999)).len(), MAX_AUDIT_TEXT_BYTES);
    }
}
