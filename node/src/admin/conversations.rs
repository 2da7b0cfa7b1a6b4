//! What operators see of conversations: who takes part and how much was said, never what.

use super::guard::Operator;
use super::router::{Admin, Answer};
use crate::http::query::{self, Segment};
use crate::http::{ApiError, ErrorBody, ErrorCode, reads};
use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use rookery_protocol::{ConversationId, UserId};
use rookery_store::Version;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// Most conversations of a page.
const MAX_CONVERSATIONS: usize = 100;

/// Some of all conversations, by id.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ConversationIds {
    /// Each 16 digits of hex.
    pub(crate) conversations: Vec<String>,
    /// `after` of the next page; null at the end.
    pub(crate) next: Option<String>,
}

/// A member of a conversation.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Participant {
    /// 16 digits of hex.
    pub(crate) user: String,
    /// The unique name; empty: the account was deleted.
    pub(crate) name: String,
    /// 1: member, 2: admin, 3: owner.
    pub(crate) role: u8,
    /// The newest seq when they joined.
    pub(crate) joined_seq: u64,
    /// Everything up to this seq has reached a device of theirs.
    pub(crate) delivered: u64,
    /// Everything up to this seq was read.
    pub(crate) read: u64,
}

/// A conversation without its content, and without its title, which people wrote too.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Inspected {
    /// 16 digits of hex.
    pub(crate) conversation: String,
    /// 1: one-to-one, 2: group.
    pub(crate) kind: u8,
    /// The newest seq, which is how many entries there were; 0: none yet.
    pub(crate) head: u64,
    /// The smallest seq still held.
    pub(crate) floor: u64,
    /// How many entries are still held.
    pub(crate) held: u64,
    /// Time of the newest entry, or of the creation, Unix milliseconds.
    pub(crate) active_ms: u64,
    /// Who takes part.
    pub(crate) members: Vec<Participant>,
}

/// `GET /admin/v1/conversations?after&limit`.
#[utoipa::path(get, path = "/admin/v1/conversations", tag = "conversations",
    security(("bearer" = [])),
    params(("after" = Option<String>, Query, description = "`next` of the page before"),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 100)),
    responses((status = 200, description = "A page", body = ConversationIds),
        (status = "default", description = "Refused", body = ErrorBody)))]
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    _operator: Operator,
    uri: Uri,
) -> Answer<ConversationIds> {
    let query::Page { after, limit } = query::page(uri.query(), MAX_CONVERSATIONS)?;
    let page = reads::on(&admin.app, move |store| async move {
        Ok(store.all_conversations(after.map(ConversationId), limit).await?)
    });
    let (ids, next) = page.await?;
    let conversations = ids.into_iter().map(|id| id.to_string()).collect();
    Ok(Json(ConversationIds { conversations, next: next.map(|id| id.to_string()) }))
}

/// `GET /admin/v1/conversations/{conversation}`.
#[utoipa::path(get, path = "/admin/v1/conversations/{conversation}", tag = "conversations",
    security(("bearer" = [])),
    params(("conversation" = String, Path, description = "16 digits of hex")),
    responses((status = 200, description = "The conversation, without content", body = Inspected),
        (status = "default", description = "Refused", body = ErrorBody)))]
pub(super) async fn show(
    State(admin): State<Arc<Admin>>,
    _operator: Operator,
    Segment(conversation): Segment,
) -> Answer<Inspected> {
    let unknown = || ApiError::new(ErrorCode::NotFound, "there is no such conversation");
    let id = query::id(&conversation).map(ConversationId).ok_or_else(unknown)?;
    let reading = reads::on(&admin.app, move |store| async move {
        let Some(loaded) = store.load_conversation(id, Version::default()).await? else {
            return Ok(None);
        };
        let users: Vec<UserId> = loaded.members.iter().map(|member| member.user).collect();
        Ok(Some((store.names(&users).await?, loaded)))
    });
    let (names, loaded) = reading.await?.ok_or_else(unknown)?;
    let members = loaded.members.iter().zip(names).map(|(member, name)| Participant {
        user: member.user.to_string(),
        name: name.unwrap_or_default(),
        role: member.role,
        joined_seq: member.joined_seq,
        delivered: member.delivered,
        read: member.read,
    });
    Ok(Json(Inspected {
        conversation: id.to_string(),
        kind: loaded.kind.code(),
        head: loaded.head,
        floor: loaded.floor,
        held: loaded.head.saturating_add(1).saturating_sub(loaded.floor),
        active_ms: loaded.head_time_ms,
        members: members.collect(),
    }))
}
