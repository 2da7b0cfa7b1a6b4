//! Search in the caller's own conversations: messages by their words, newest first.
//!
//! A request does bounded work (see the store's `search`) and then says where it goes on: a page may
//! be empty and not the last one.

use super::bearer::Caller;
use super::conversations::{HistoryEntry, entry, id_of};
use super::error::{ApiError, ErrorBody, ErrorCode};
use super::query::{self, Segment};
use super::reads;
use crate::AppState;
use crate::identity::hex;
use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use rookery_protocol::ConversationId;
use rookery_store::words::{BadQuery, Query};
use rookery_store::{Found, MAX_HITS, SearchPlace};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// Most bytes of what is looked for.
const MAX_QUERY_BYTES: usize = 256;

/// A message that was found.
#[derive(Serialize, ToSchema)]
pub(super) struct SearchHit {
    /// Its conversation: 16 digits of hex.
    conversation: String,
    /// The message.
    entry: HistoryEntry,
}

/// Some of the messages that have the words.
#[derive(Serialize, ToSchema)]
pub(super) struct SearchPage {
    /// Newest first in each conversation. There may be none although there are more pages.
    hits: Vec<SearchHit>,
    /// `cursor` of the next page; null at the end.
    next: Option<String>,
    /// False while messages from before search was turned on are still being indexed: more may be
    /// found later.
    complete: bool,
}

/// What a request asks for.
struct Asked {
    query: Query,
    limit: usize,
    cursor: Option<SearchPlace>,
}

/// `GET /v1/conversations/{conversation}/search?q&limit&cursor`.
#[utoipa::path(get, path = "/v1/conversations/{conversation}/search", tag = "conversations",
    security(("bearer" = [])),
    params(("conversation" = String, Path, description = "16 digits of hex"),
        ("q" = String, Query, min_length = 1, max_length = 256,
            description = "1 to 8 words, all of which a text must have; the last one may go on \
                there, unless something follows it here, such as a space"),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 50),
        ("cursor" = Option<String>, Query, description = "`next` of the page before")),
    responses((status = 200, description = "A page, newest first", body = SearchPage),
        (status = "default", description = "Refused; SearchOff: not on this installation",
            body = ErrorBody)))]
pub(super) async fn conversation(
    State(state): State<Arc<AppState>>,
    caller: Caller,
    Segment(conversation): Segment,
    uri: Uri,
) -> Result<Json<SearchPage>, ApiError> {
    let Asked { query, limit, cursor } = asked(&state, &uri)?;
    let conversation = id_of(&conversation)?;
    if cursor.is_some_and(|cursor| cursor.conversation != conversation) {
        return Err(bad_cursor());
    }
    may_search(&state, &caller)?;
    let before = cursor.map_or(0, |cursor| cursor.before);
    let page = reads::on(&state, move |store| async move {
        store.search_conversation(caller.user, conversation, &query, (before, limit)).await
    });
    Ok(Json(shown(page.await?)))
}

/// `GET /v1/search?q&limit&cursor`: in all of the caller's conversations, one after the other.
#[utoipa::path(get, path = "/v1/search", tag = "conversations", security(("bearer" = [])),
    params(("q" = String, Query, min_length = 1, max_length = 256,
            description = "As in the search of one conversation"),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 50),
        ("cursor" = Option<String>, Query, description = "`next` of the page before")),
    responses((status = 200, description = "A page: conversations by id, newest first in each",
            body = SearchPage),
        (status = "default", description = "Refused; SearchOff: not on this installation",
            body = ErrorBody)))]
pub(super) async fn all(
    State(state): State<Arc<AppState>>,
    caller: Caller,
    uri: Uri,
) -> Result<Json<SearchPage>, ApiError> {
    let Asked { query, limit, cursor } = asked(&state, &uri)?;
    may_search(&state, &caller)?;
    let page = reads::on(&state, move |store| async move {
        store.search_all(caller.user, &query, cursor, limit).await
    });
    Ok(Json(shown(page.await?)))
}

fn asked(state: &AppState, uri: &Uri) -> Result<Asked, ApiError> {
    if !state.config.search.enabled {
        let off = "texts are not found by their words here: see search.enabled";
        return Err(ApiError::new(ErrorCode::SearchOff, off));
    }
    let [q, limit, cursor] = query::fields(uri.query(), ["q", "limit", "cursor"])?;
    let q = q.and_then(query::text).ok_or_else(|| query::bad("q is a text in UTF-8"))?;
    if q.len() > MAX_QUERY_BYTES || q.chars().any(char::is_control) {
        return Err(query::bad("q has at most 256 bytes and no control characters"));
    }
    let query = Query::parse(&q).map_err(|why| match why {
        BadQuery::NoWord => query::bad("there is no word in q"),
        BadQuery::TooManyWords => query::bad("there are more than 8 words in q"),
    })?;
    let limit = query::limit_of(limit, MAX_HITS)?;
    let cursor = cursor.map(|cursor| place(cursor).ok_or_else(bad_cursor)).transpose()?;
    Ok(Asked { query, limit, cursor })
}

fn may_search(state: &AppState, caller: &Caller) -> Result<(), ApiError> {
    state.gateway.may_search(caller.user).map_err(|wait_ms| ApiError {
        code: ErrorCode::RateLimited,
        detail: "too many searches; wait before the next one".into(),
        retry_after_s: Some(u64::from(wait_ms.div_ceil(1_000))),
    })
}

fn bad_cursor() -> ApiError {
    query::bad("cursor is not the next of a page of this search")
}

/// 32 digits of hex: the conversation, and the seq below which it goes on.
fn place(text: &str) -> Option<SearchPlace> {
    let bytes: [u8; 16] = hex::decode(text)?;
    let (conversation, before) = bytes.split_first_chunk::<8>()?;
    let before = u64::from_be_bytes(before.try_into().ok()?);
    Some(SearchPlace { conversation: ConversationId(u64::from_be_bytes(*conversation)), before })
}

fn shown(Found { hits, next, whole }: Found) -> SearchPage {
    let hits = hits.into_iter().map(|hit| SearchHit {
        conversation: hit.conversation.to_string(),
        entry: entry(hit.entry),
    });
    let next = next.map(|next| format!("{}{:016x}", next.conversation, next.before));
    SearchPage { hits: hits.collect(), next, complete: whole }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_told() {
        let place_of = SearchPlace { conversation: ConversationId(0xab), before: 7 };
        let found = Found { hits: Vec::new(), next: Some(place_of), whole: true };
        let text = shown(found).next.unwrap();
        assert_eq!(place(&text), Some(place_of));
        for bad in ["", "00", &text[1..], &text.to_uppercase()] {
            assert_eq!(place(bad), None, "{bad}");
        }
    }
}
