//! The caller's contacts, as the frames `People` and `SetContact` have them.

use super::bearer::Caller;
use super::error::{ApiError, ErrorBody, ErrorCode};
use super::query::{self, Page, Segment};
use super::{own, reads};
use crate::AppState;
use crate::clock::now_ms;
use crate::identity::{IdentityError, on_store};
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use rookery_protocol::UserId;
use rookery_store::{MAX_PEOPLE_PAGE, StoreError};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// Somebody whom the caller has as a contact.
#[derive(Serialize, ToSchema)]
pub(super) struct Contact {
    /// 16 digits of hex.
    user: String,
    /// The unique name; empty: the account was deleted.
    name: String,
    /// Since when, Unix milliseconds.
    since_ms: u64,
    /// Whether the caller blocks them too.
    blocked: bool,
}

/// Some of the caller's contacts, by id.
#[derive(Serialize, ToSchema)]
pub(super) struct Contacts {
    contacts: Vec<Contact>,
    /// `after` of the next page; null at the end.
    next: Option<String>,
}

/// `GET /v1/contacts?after&limit`.
#[utoipa::path(get, path = "/v1/contacts", tag = "contacts", security(("bearer" = [])),
    params(("after" = Option<String>, Query, description = "`next` of the page before"),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 100)),
    responses((status = 200, description = "A page", body = Contacts),
        (status = "default", description = "Refused", body = ErrorBody)))]
pub(super) async fn list(
    State(state): State<Arc<AppState>>,
    caller: Caller,
    uri: Uri,
) -> Result<Json<Contacts>, ApiError> {
    let Page { after, limit } = query::page(uri.query(), MAX_PEOPLE_PAGE)?;
    let page = reads::on(&state, move |store| async move {
        Ok(store.contacts(caller.user, after.map(UserId), limit).await?)
    });
    let (contacts, next) = page.await?;
    let contacts = contacts.into_iter().map(|contact| Contact {
        user: contact.user.to_string(),
        name: contact.name,
        since_ms: contact.since_ms,
        blocked: contact.blocked,
    });
    Ok(Json(Contacts { contacts: contacts.collect(), next: next.map(|user| user.to_string()) }))
}

/// `PUT /v1/contacts/{user}`: a second time changes nothing.
#[utoipa::path(put, path = "/v1/contacts/{user}", tag = "contacts", security(("bearer" = [])),
    params(("user" = String, Path, description = "16 digits of hex")),
    responses((status = 204, description = "They are a contact"),
        (status = "default", description = "Refused", body = ErrorBody)))]
pub(super) async fn put(
    State(state): State<Arc<AppState>>,
    Segment(user): Segment,
    caller: Caller,
) -> Result<StatusCode, ApiError> {
    set(&state, caller.user, &user, Some(now_ms())).await
}

/// `DELETE /v1/contacts/{user}`: who is no contact stays none.
#[utoipa::path(delete, path = "/v1/contacts/{user}", tag = "contacts", security(("bearer" = [])),
    params(("user" = String, Path, description = "16 digits of hex")),
    responses((status = 204, description = "They are no contact"),
        (status = "default", description = "Refused", body = ErrorBody)))]
pub(super) async fn remove(
    State(state): State<Arc<AppState>>,
    Segment(user): Segment,
    caller: Caller,
) -> Result<StatusCode, ApiError> {
    set(&state, caller.user, &user, None).await
}

async fn set(
    state: &AppState,
    me: UserId,
    other: &str,
    since_ms: Option<u64>,
) -> Result<StatusCode, ApiError> {
    let unknown = || ApiError::new(ErrorCode::NotFound, "there is no such user");
    let other = query::id(other).map(UserId).ok_or_else(unknown)?;
    own::may_change(state, me)?;
    let setting =
        on_store(
            &state.store,
            move |store| async move { store.set_contact(me, other, since_ms).await },
        );
    match setting.await? {
        Ok(()) => {
            state.gateway.own_changed(me);
            Ok(StatusCode::NO_CONTENT)
        }
        Err(StoreError::UnknownUser) => Err(unknown()),
        Err(StoreError::BadArgument(_)) => Err(query::bad("nobody is a contact of oneself")),
        Err(StoreError::Full(_)) => {
            Err(ApiError::new(ErrorCode::TooMany, "there are as many contacts as there may be"))
        }
        Err(error) => Err(IdentityError::from(error).into()),
    }
}
