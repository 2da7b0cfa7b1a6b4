//! The rules of rows that only groups have.

use super::conversations::{exists, log};
use super::known::{Judged, Parts, Stop, must, other};
use crate::keys;
use crate::rows::{ConversationRow, FormerRow, GroupRow, LinkRow};
use rookery_protocol::{ConversationId, ConversationKind, UserId};

pub(super) fn group(row: &mut Parts<'_>) -> Judged {
    row.decode::<GroupRow<'_>>()?;
    is_group(row)
}

pub(super) fn link(row: &mut Parts<'_>) -> Judged {
    row.decode::<LinkRow>()?;
    is_group(row)
}

fn is_group(row: &mut Parts<'_>) -> Judged {
    let conversation = ConversationId(row.id(0));
    let Some(described) = row.get(keys::conversation(conversation))? else {
        return Err(Stop::Fault(format!("there is no conversation {conversation}")));
    };
    let kind = other::<ConversationRow<'_>>(&described)?.kind;
    must(kind == ConversationKind::Group, || format!("conversation {conversation} is no group"))
}

pub(super) fn former(row: &mut Parts<'_>) -> Judged {
    let FormerRow { joined_seq, left_seq, .. } = row.decode()?;
    let (user, conversation) = (UserId(row.id(0)), ConversationId(row.id(1)));
    exists(row, conversation)?;
    let head = log(row, conversation)?.head;
    must(joined_seq < left_seq && left_seq <= head, || {
        format!("a membership from {joined_seq} to {left_seq}; the head is {head}")
    })?;
    let member = row.has(keys::member(conversation, user))?;
    must(!member, || format!("user {user} is a member again"))
}

/// A user may have this entry: as a member, or as one who was a member then.
pub(super) fn may_have(
    row: &mut Parts<'_>,
    user: UserId,
    conversation: ConversationId,
    seq: u64,
) -> Judged {
    if row.has(keys::member(conversation, user))? {
        return Ok(());
    }
    let Some(former) = row.get(keys::former(user, conversation))? else {
        let what = format!("user {user} is no member of conversation {conversation}");
        return Err(Stop::Fault(what));
    };
    let left = other::<FormerRow>(&former)?.left_seq;
    must(seq <= left, || format!("user {user} was a member up to {left}, and is told of {seq}"))
}
