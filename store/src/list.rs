//! The conversation list of a user, latest activity first, a page at a time.
//!
//! Activity rows lie by conversation, not by time (a row by time would have to be moved with every
//! message). A page scans the user's rows and keeps the best few: memory is bounded by the page,
//! time by [`MAX_SCANNED`].

use crate::conversation::{facts, infos, without_description};
use crate::engine::{Engine, ReadError, View};
use crate::error::StoreError;
use crate::keys;
use crate::rows::{self, ActivityRow};
use crate::store::Store;
use rookery_protocol::limits::{MAX_LIST_ITEMS, MAX_PAGE_BYTES};
use rookery_protocol::types::{ConversationInfo, ListCursor};
use rookery_protocol::{ConversationId, UserId};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Most activity rows of one user that a page looks at. Conversations beyond are left out of the
/// list; they stay reachable, and come with their next message.
pub const MAX_SCANNED: usize = 50_000;
/// Rows read at once.
const CHUNK: usize = 1000;
/// Bytes an item counts beside its texts.
const ITEM_BYTES: usize = 96;
/// Bytes a member counts beside the name.
const MEMBER_BYTES: usize = 32;

/// A place in the list: later activity first, then by id.
type Place = (Reverse<u64>, ConversationId);

impl<E: Engine> Store<E> {
    /// At most `limit` (and [`MAX_LIST_ITEMS`]) conversations of `me` after a cursor, latest
    /// activity first; fewer when the page would grow over [`MAX_PAGE_BYTES`]. The cursor of the
    /// next page is `None` at the end.
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub async fn list_conversations(
        &self,
        me: UserId,
        limit: u16,
        after: Option<ListCursor>,
    ) -> Result<(Vec<ConversationInfo>, Option<ListCursor>), StoreError> {
        let limit = usize::from(limit.clamp(1, MAX_LIST_ITEMS));
        let view = self.latest().await?;
        let mut places = best_places(&view, me, limit + 1, after).await?;
        let mut more = places.len() > limit;
        places.truncate(limit);
        let ids: Vec<ConversationId> = places.iter().map(|(_, id)| *id).collect();
        let mut shown = Vec::with_capacity(ids.len());
        for (id, facts) in ids.iter().zip(facts(&view, &ids).await?) {
            let facts = facts.ok_or_else(|| without_description(*id))?;
            // A row that outlived the membership shows nothing.
            if facts.has_member(me) {
                shown.push(facts);
            }
        }
        let mut page = infos(&view, me, shown).await?;
        let mut end = places.last().copied();
        if let Some(cut) = items_within(&page, MAX_PAGE_BYTES) {
            page.truncate(cut);
            let last = page.last().map(|info| info.conversation);
            end = places.iter().find(|(_, id)| Some(*id) == last).copied();
            more = true;
        }
        let next = end
            .filter(|_| more)
            .map(|(Reverse(active_ms), conversation)| ListCursor { active_ms, conversation });
        Ok((page, next))
    }
}

/// The first `count` places after the cursor.
async fn best_places(
    view: &impl View,
    user: UserId,
    count: usize,
    after: Option<ListCursor>,
) -> Result<Vec<Place>, ReadError> {
    let after: Option<Place> = after.map(|cursor| (Reverse(cursor.active_ms), cursor.conversation));
    let prefix = keys::activities(user);
    let end = keys::prefix_end(&prefix);
    let mut from = keys::own(prefix);
    let mut best: BinaryHeap<Place> = BinaryHeap::with_capacity(count + 1);
    let mut scanned = 0;
    while scanned < MAX_SCANNED {
        let rows = view.range(&from, &end, CHUNK, false).await?;
        for (key, value) in &rows {
            let conversation = ConversationId(keys::last_id(key, "activity")?);
            let time_ms = rows::decode::<ActivityRow>(value)?.time_ms;
            let place = (Reverse(time_ms), conversation);
            // Time 0: somebody who is blocked opened it, and it is not shown.
            if time_ms > 0 && after.is_none_or(|after| place > after) {
                best.push(place);
                if best.len() > count {
                    best.pop();
                }
            }
        }
        scanned += rows.len();
        match rows.last() {
            Some((last, _)) if rows.len() == CHUNK => from = keys::successor(last),
            _ => return Ok(best.into_sorted_vec()),
        }
    }
    tracing::warn!(%user, scanned, "a user's conversation list is longer than what is scanned");
    Ok(best.into_sorted_vec())
}

/// Where a page must be cut to stay within `max_bytes`, but after its first item; `None` when it
/// fits.
fn items_within(page: &[ConversationInfo], max_bytes: usize) -> Option<usize> {
    let mut bytes = 0;
    page.iter()
        .position(|info| {
            bytes += item_bytes(info);
            bytes > max_bytes
        })
        .map(|cut| cut.max(1))
        .filter(|cut| *cut < page.len())
}

fn item_bytes(info: &ConversationInfo) -> usize {
    let members: usize = info.members.iter().map(|member| MEMBER_BYTES + member.name.len()).sum();
    let last = info.last.as_ref().map_or(0, crate::history::entry_bytes);
    ITEM_BYTES + info.title.len() + members + last
}
