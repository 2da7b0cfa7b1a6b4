//! The log of a conversation: pages of history, and dense runs of entries for delivery.
//!
//! Safety: what is returned has no gap. A seq between floor and head without a row is
//! [`ReadError::Damaged`], never skipped.

use crate::conversation::{decode_floor, without_head};
use crate::engine::{Engine, ReadError, Row, View};
use crate::error::StoreError;
use crate::fence::Fence;
use crate::group::{first_visible, shows_all};
use crate::keys::{self, own};
use crate::plan::{Op, Plan};
use crate::rows::{self, HeadRow, MemberRow, MessageRow};
use crate::shade::Shade;
use crate::store::{Store, get_all};
use rookery_protocol::limits::{MAX_HISTORY_ENTRIES, MAX_PAGE_BYTES};
use rookery_protocol::{ConversationId, Direction, Entry, UserId};

/// Rows read at once: at most 1 MiB of bodies.
const CHUNK: usize = 64;
/// Bytes an entry counts beside its body.
const ENTRY_BYTES: usize = 64;

/// A page of history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// By rising seq.
    pub entries: Vec<Entry>,
    /// The newest seq of the conversation.
    pub head: u64,
    /// The smallest seq that is still held and that the member may see.
    pub floor: u64,
    /// Whether there is more in the direction asked for.
    pub more: bool,
}

/// Which entries to read.
struct Span {
    conversation: ConversationId,
    /// Smallest seq.
    first: u64,
    /// Greatest seq, included.
    last: u64,
    /// From the greatest down.
    newest_first: bool,
    max_entries: usize,
    max_bytes: usize,
    /// As whom they are seen; nobody: as their senders see them.
    reader: Option<UserId>,
}

/// What was read of a span, in its direction: dense up to the gap, if one was met.
struct Run {
    entries: Vec<Entry>,
    gap: Option<u64>,
}

impl<E: Engine> Store<E> {
    /// At most `limit` (and [`MAX_HISTORY_ENTRIES`]) entries before or after `anchor`, which is
    /// not included (`Before` 0: from the newest). The page ends at [`MAX_PAGE_BYTES`], but never
    /// before its first entry.
    ///
    /// # Errors
    /// - [`StoreError::NotAMember`], also when the conversation doesn't exist
    /// - [`StoreError::BadArgument`]: a direction this version doesn't know
    /// - [`StoreError::Read`]
    pub async fn history(
        &self,
        me: UserId,
        conversation: ConversationId,
        anchor: u64,
        direction: Direction,
        limit: u16,
    ) -> Result<History, StoreError> {
        let view = self.latest().await?;
        let Sight { head, floor } = sight(&view, me, conversation).await?;
        let (first, last, newest_first) = match (direction, anchor) {
            (Direction::Before, 0) => (floor, head, true),
            (Direction::Before, anchor) => (floor, head.min(anchor - 1), true),
            (Direction::After, anchor) => (floor.max(anchor.saturating_add(1)), head, false),
            (Direction::Other(_), _) => return Err(StoreError::BadArgument("history direction")),
        };
        let max_entries = usize::from(limit.clamp(1, MAX_HISTORY_ENTRIES));
        let max_bytes = MAX_PAGE_BYTES;
        let reader = Some(me);
        let span = Span { conversation, first, last, newest_first, max_entries, max_bytes, reader };
        let Run { mut entries, gap } = read(&view, &span).await?;
        if let Some(seq) = gap {
            return Err(missing(conversation, seq).into());
        }
        let more = match entries.last() {
            Some(end) if newest_first => end.seq > floor,
            Some(end) => end.seq < head,
            None => false,
        };
        if newest_first {
            entries.reverse();
        }
        Ok(History { entries, head, floor, more })
    }

    /// The entries `from..=to`, dense by rising seq; fewer when they would be over `max_bytes`
    /// (but at least one), or when the log ends before `to`. When entries from `from` on were
    /// trimmed, the first one returned is the floor's: compare its seq with `from`.
    ///
    /// # Errors
    /// [`ReadError`]; [`ReadError::Damaged`] at a gap.
    pub async fn entries(
        &self,
        conversation: ConversationId,
        from: u64,
        to: u64,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, ReadError> {
        self.run_of(None, conversation, (from, to), max_bytes).await
    }

    /// As [`Store::entries`], as `me` sees them.
    ///
    /// # Errors
    /// As of [`Store::entries`].
    pub async fn entries_for(
        &self,
        me: UserId,
        conversation: ConversationId,
        (from, to): (u64, u64),
        max_bytes: usize,
    ) -> Result<Vec<Entry>, ReadError> {
        self.run_of(Some(me), conversation, (from, to), max_bytes).await
    }

    async fn run_of(
        &self,
        reader: Option<UserId>,
        conversation: ConversationId,
        (from, to): (u64, u64),
        max_bytes: usize,
    ) -> Result<Vec<Entry>, ReadError> {
        let view = self.latest().await?;
        let mut span = Span {
            conversation,
            first: from.max(1),
            last: to,
            newest_first: false,
            max_entries: usize::MAX,
            max_bytes,
            reader,
        };
        let run = read(&view, &span).await?;
        // Nearly always there is no gap, and head and floor need not be read.
        let Some(gap) = run.gap else { return Ok(run.entries) };
        let wanted = [own(keys::head(conversation)), own(keys::floor(conversation))];
        let [head, floor] = get_all(&view, wanted).await?;
        let head = head.map_or(Ok(0), |head| Ok(rows::decode::<HeadRow>(&head)?.seq))?;
        let floor = decode_floor(floor.as_deref())?;
        if gap > head {
            return Ok(run.entries);
        }
        if gap >= floor || !run.entries.is_empty() {
            return Err(missing(conversation, gap));
        }
        (span.first, span.last) = (floor, to.min(head));
        let run = read(&view, &span).await?;
        match run.gap {
            Some(gap) => Err(missing(conversation, gap)),
            None => Ok(run.entries),
        }
    }
}

/// The entries that a member may see.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight {
    /// The newest.
    pub(crate) head: u64,
    /// The oldest that is still held.
    pub(crate) floor: u64,
}

/// What `me` may see of a conversation.
pub(crate) async fn sight(
    view: &impl View,
    me: UserId,
    conversation: ConversationId,
) -> Result<Sight, StoreError> {
    let wanted = [
        own(keys::member(conversation, me)),
        own(keys::head(conversation)),
        own(keys::floor(conversation)),
        own(keys::group(conversation)),
        own(keys::shade(conversation, me)),
    ];
    let [member, head, floor, group, shade] = get_all(view, wanted).await?;
    let Some(member) = member else { return Err(StoreError::NotAMember) };
    let joined_seq = rows::decode::<MemberRow>(&member)?.joined_seq;
    let visible = first_visible(joined_seq, shows_all(group.as_deref())?);
    let head = head.ok_or_else(|| without_head(conversation))?;
    let head = Shade::decode(shade.as_ref())?.shown_head(rows::decode::<HeadRow>(&head)?.seq);
    Ok(Sight { head, floor: decode_floor(floor.as_deref())?.max(visible) })
}

/// The plan that removes the entries below a seq, which then is the floor. `below` is at most the
/// head plus one, which the caller checks; what comes after is dense as before. Rows of words are not
/// removed: that is for `retention`, which knows the texts.
#[must_use]
pub fn trim_plan(fence: &Fence, conversation: ConversationId, below: u64) -> Plan {
    Plan { guards: vec![fence.guard()], ops: trim_ops(conversation, 0, below) }
}

/// Raises the floor to `below` and removes the entries from `from` up to there.
pub(crate) fn trim_ops(conversation: ConversationId, from: u64, below: u64) -> Vec<Op> {
    vec![
        Op::ByteMax { key: own(keys::floor(conversation)), value: own(rows::encode_rising(below)) },
        Op::ClearRange {
            from: own(keys::message(conversation, from)),
            to: own(keys::message(conversation, below)),
        },
    ]
}

/// What an entry counts towards a page.
pub(crate) fn entry_bytes(entry: &Entry) -> usize {
    ENTRY_BYTES + entry.body.len()
}

pub(crate) fn missing(conversation: ConversationId, seq: u64) -> ReadError {
    rows::damaged("message", &format!("seq {seq} of conversation {conversation} is missing"))
}

async fn read(view: &impl View, span: &Span) -> Result<Run, ReadError> {
    let mut run = Run { entries: Vec::new(), gap: None };
    let (mut first, mut last) = (span.first, span.last);
    let mut bytes: usize = 0;
    while first <= last && run.entries.len() < span.max_entries {
        let wanted = CHUNK.min(span.max_entries - run.entries.len());
        let from = keys::message(span.conversation, first);
        let to = keys::successor(&keys::message(span.conversation, last));
        let mut rows = view.range(&from, &to, wanted, span.newest_first).await?.into_iter();
        for _ in 0..wanted {
            if first > last {
                break;
            }
            let expected = if span.newest_first { last } else { first };
            let Some(entry) = entry_at(expected, rows.next(), span.reader)? else {
                run.gap = Some(expected);
                return Ok(run);
            };
            bytes = bytes.saturating_add(entry_bytes(&entry));
            if bytes > span.max_bytes && !run.entries.is_empty() {
                return Ok(run);
            }
            run.entries.push(entry);
            if span.newest_first {
                last = last.saturating_sub(1);
            } else {
                first = first.saturating_add(1);
            }
        }
    }
    Ok(run)
}

/// The entry of a row if it is the one expected; `None` at a gap.
fn entry_at(
    expected: u64,
    row: Option<Row>,
    reader: Option<UserId>,
) -> Result<Option<Entry>, ReadError> {
    let Some((key, value)) = row else { return Ok(None) };
    if keys::last_id(&key, "message")? != expected {
        return Ok(None);
    }
    let row = rows::decode::<MessageRow<'_>>(&value)?;
    Ok(Some(match reader {
        Some(me) => row.entry_for(expected, me),
        None => row.entry(expected),
    }))
}
