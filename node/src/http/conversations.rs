//! The caller's conversations, their members and history, for clients that need no connection.
//!
//! Lists go on by cursor, never by offset: what comes in between moves nothing.

use super::bearer::Caller;
use super::error::{ApiError, ErrorBody};
use super::query::{self, Segment};
use super::reads::{self, Read};
use crate::AppState;
use crate::identity::hex;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use rookery_protocol::types::{ConversationInfo, ListCursor, Member};
use rookery_protocol::{ConversationId, Direction, Entry, EntryKind};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// Most conversations of a page.
const MAX_CONVERSATIONS: usize = 50;
/// Most members of a page.
const MAX_MEMBERS: usize = 100;
/// Most entries of a page.
const MAX_ENTRIES: usize = 100;

/// A conversation as its members see it.
#[derive(Serialize, ToSchema)]
pub(super) struct Conversation {
    /// 16 digits of hex.
    conversation: String,
    /// 1: one-to-one, 2: group.
    kind: u8,
    /// Name of a group; may be empty.
    title: String,
    /// The newest seq; 0: empty.
    head: u64,
    /// The smallest seq still held.
    floor: u64,
    /// Time of the newest entry, Unix milliseconds.
    active_ms: u64,
    /// How many members there are.
    members: usize,
    /// The newest entry, if it is still held.
    last: Option<HistoryEntry>,
}

/// An entry of a conversation.
#[derive(Serialize, ToSchema)]
pub(super) struct HistoryEntry {
    /// Its place: 1, 2, 3 and so on.
    seq: u64,
    /// Who sent it: 16 digits of hex.
    sender: String,
    /// With which device: 16 digits of hex.
    device: String,
    /// When, Unix milliseconds.
    time_ms: u64,
    /// The sender's own id of it: 32 digits of hex.
    client_msg_id: String,
    /// What it is, see PROTOCOL.md; 1: text.
    kind: u8,
    /// The body of a text.
    text: Option<String>,
    /// The body of any other kind, as hex.
    body: Option<String>,
}

/// Some of the caller's conversations, latest activity first.
#[derive(Serialize, ToSchema)]
pub(super) struct Conversations {
    conversations: Vec<Conversation>,
    /// `after` of the next page; null at the end.
    next: Option<String>,
}

/// A member of a conversation.
#[derive(Serialize, ToSchema)]
pub(super) struct ConversationMember {
    /// 16 digits of hex.
    user: String,
    /// The unique name; empty: the account was deleted.
    name: String,
    /// 1: member, 2: admin, 3: owner.
    role: u8,
    /// Everything up to this seq has reached a device of theirs.
    delivered: u64,
    /// Everything up to this seq was read.
    read: u64,
}

/// Some of a conversation's members, by id.
#[derive(Serialize, ToSchema)]
pub(super) struct Members {
    members: Vec<ConversationMember>,
    /// `after` of the next page; null at the end.
    next: Option<String>,
}

/// Some of a conversation's entries, by rising seq.
#[derive(Serialize, ToSchema)]
pub(super) struct HistoryPage {
    entries: Vec<HistoryEntry>,
    /// The newest seq of the conversation.
    head: u64,
    /// The smallest seq still held.
    floor: u64,
    /// Whether there is more in the direction asked for.
    more: bool,
}

/// `GET /v1/conversations?after&limit`.
#[utoipa::path(get, path = "/v1/conversations", tag = "conversations",
    security(("bearer" = [])),
    params(("after" = Option<String>, Query, description = "`next` of the page before"),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 50)),
    responses((status = 200, description = "A page", body = Conversations),
        (status = "default", description = "Refused", body = ErrorBody)))]
pub(super) async fn list(
    State(state): State<Arc<AppState>>,
    caller: Caller,
    uri: Uri,
) -> Result<Json<Conversations>, ApiError> {
    let [after, limit] = query::fields(uri.query(), ["after", "limit"])?;
    let limit = query::limit_of(limit, MAX_CONVERSATIONS)?;
    let limit = u16::try_from(limit).unwrap_or(u16::MAX);
    let no_cursor = || query::bad("after is not the next of a page");
    let after = after.map(|after| cursor(after).ok_or_else(no_cursor)).transpose()?;
    let page = reads::on(&state, move |store| async move {
        store.list_conversations(caller.user, limit, after).await
    });
    let (page, next) = page.await?;
    let next = next.map(|next| format!("{:016x}{}", next.active_ms, next.conversation));
    Ok(Json(Conversations { conversations: page.into_iter().map(shown).collect(), next }))
}

/// `GET /v1/conversations/{conversation}`.
#[utoipa::path(get, path = "/v1/conversations/{conversation}", tag = "conversations",
    security(("bearer" = [])),
    params(("conversation" = String, Path, description = "16 digits of hex")),
    responses((status = 200, description = "The conversation", body = Conversation),
        (status = 304, description = "As If-None-Match says"),
        (status = "default", description = "Refused", body = ErrorBody)))]
pub(super) async fn show(
    State(state): State<Arc<AppState>>,
    caller: Caller,
    Segment(conversation): Segment,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let info = described(&state, &caller, &conversation).await?;
    super::etag::tagged(&headers, &shown(info))
}

/// `GET /v1/conversations/{conversation}/members?after&limit`.
#[utoipa::path(get, path = "/v1/conversations/{conversation}/members", tag = "conversations",
    security(("bearer" = [])),
    params(("conversation" = String, Path, description = "16 digits of hex"),
        ("after" = Option<String>, Query, description = "`next` of the page before"),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 100)),
    responses((status = 200, description = "A page", body = Members),
        (status = "default", description = "Refused", body = ErrorBody)))]
pub(super) async fn members(
    State(state): State<Arc<AppState>>,
    caller: Caller,
    Segment(conversation): Segment,
    uri: Uri,
) -> Result<Json<Members>, ApiError> {
    let query::Page { after, limit } = query::page(uri.query(), MAX_MEMBERS)?;
    let mut members = described(&state, &caller, &conversation).await?.members;
    members.sort_unstable_by_key(|member| member.user);
    members.retain(|member| after.is_none_or(|after| member.user.0 > after));
    let more = members.len() > limit;
    members.truncate(limit);
    let next = members.last().filter(|_| more).map(|member| member.user.to_string());
    let members = members.into_iter().map(|member: Member| ConversationMember {
        user: member.user.to_string(),
        name: member.name,
        role: member.role,
        delivered: member.delivered,
        read: member.read,
    });
    Ok(Json(Members { members: members.collect(), next }))
}

/// `GET /v1/conversations/{conversation}/history?before|after|since_ms&limit`: by place or by time.
#[utoipa::path(get, path = "/v1/conversations/{conversation}/history", tag = "conversations",
    security(("bearer" = [])),
    params(("conversation" = String, Path, description = "16 digits of hex"),
        ("before" = Option<u64>, Query, description = "Entries before this seq; the default, from the newest"),
        ("after" = Option<u64>, Query, description = "Entries after this seq"),
        ("since_ms" = Option<u64>, Query, description = "Entries from this time on, Unix milliseconds"),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 100)),
    responses((status = 200, description = "A page", body = HistoryPage),
        (status = "default", description = "Refused", body = ErrorBody)))]
pub(super) async fn history(
    State(state): State<Arc<AppState>>,
    caller: Caller,
    Segment(conversation): Segment,
    uri: Uri,
) -> Result<Json<HistoryPage>, ApiError> {
    let id = id_of(&conversation)?;
    let [before, after, since, limit] =
        query::fields(uri.query(), ["before", "after", "since_ms", "limit"])?;
    let limit = u16::try_from(query::limit_of(limit, MAX_ENTRIES)?).unwrap_or(u16::MAX);
    let number = |text: &str| {
        text.parse::<u64>().map_err(|_| query::bad("a seq or a time is a whole number"))
    };
    let (anchor, direction) = match (before, after, since) {
        (None, None, None) => (0, Direction::Before),
        (Some(before), None, None) => (number(before)?, Direction::Before),
        (None, Some(after), None) => (number(after)?, Direction::After),
        (None, None, Some(since)) => {
            let since_ms = number(since)?;
            let first = reads::first_since(&state, caller.user, id, since_ms).await?;
            (first.saturating_sub(1), Direction::After)
        }
        _ => return Err(query::bad("only one of before, after and since_ms can be told")),
    };
    // "Before the first" has nothing; the store's 0 stands for "from the newest".
    let page = reads::on(&state, move |store| async move {
        store.history(caller.user, id, anchor, direction, limit).await
    });
    let page: Read<_> = page.await;
    let page = page?;
    let entries = if before == Some("0") {
        Vec::new()
    } else {
        page.entries.into_iter().map(entry).collect()
    };
    let more = page.more && before != Some("0");
    Ok(Json(HistoryPage { entries, head: page.head, floor: page.floor, more }))
}

async fn described(
    state: &AppState,
    caller: &Caller,
    conversation: &str,
) -> Result<ConversationInfo, ApiError> {
    let (user, id) = (caller.user, id_of(conversation)?);
    reads::on(state, move |store| async move { store.describe(user, id).await }).await
}

/// Who is no member learns nothing, not even whether there is such a conversation.
pub(super) fn id_of(text: &str) -> Result<ConversationId, ApiError> {
    query::id(text).map(ConversationId).ok_or_else(reads::unknown)
}

/// 32 digits of hex: the time and the conversation of the last item.
fn cursor(text: &str) -> Option<ListCursor> {
    let bytes: [u8; 16] = hex::decode(text)?;
    let (time, id) = bytes.split_first_chunk::<8>()?;
    let active_ms = u64::from_be_bytes(*time);
    let conversation = ConversationId(u64::from_be_bytes(id.try_into().ok()?));
    Some(ListCursor { active_ms, conversation })
}

pub(super) fn shown(info: ConversationInfo) -> Conversation {
    Conversation {
        conversation: info.conversation.to_string(),
        kind: info.kind.code(),
        title: info.title,
        head: info.head,
        floor: info.floor,
        active_ms: info.active_ms,
        members: info.members.len(),
        last: info.last.map(entry),
    }
}

pub(super) fn entry(entry: Entry) -> HistoryEntry {
    let (text, body) = match (entry.kind, String::from_utf8(entry.body)) {
        (EntryKind::Text, Ok(text)) => (Some(text), None),
        (_, Ok(text)) => (None, Some(hex::encode(text.as_bytes()))),
        (_, Err(bytes)) => (None, Some(hex::encode(bytes.as_bytes()))),
    };
    HistoryEntry {
        seq: entry.seq,
        sender: entry.sender.to_string(),
        device: entry.device.to_string(),
        time_ms: entry.time_ms,
        client_msg_id: hex::encode(&entry.client_msg_id.0),
        kind: entry.kind.code(),
        text,
        body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_told() {
        let told = ListCursor { active_ms: 7, conversation: ConversationId(0xab) };
        let text = format!("{:016x}{}", told.active_ms, told.conversation);
        assert_eq!(cursor(&text), Some(told));
        for bad in ["", "00", "0000000000000007", &text.to_uppercase()] {
            assert_eq!(cursor(bad), None, "{bad}");
        }
    }
}
