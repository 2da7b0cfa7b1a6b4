//! The rules of rows that belong to a conversation.

use super::groups::may_have;
use super::known::{Judged, Parts, Stop, must, other};
use crate::append::content_hash;
use crate::keys;
use crate::rows::{
    ActivityRow, ConversationRow, DedupeRow, DirectRow, HeadRow, MemberRow, MessageRow, ReportRow,
    RetentionRow, ShadeRow, decode_rising,
};
use rookery_protocol::{
    ClientMsgId, ConversationId, ConversationKind, EntryKind, MarkKind, UserId,
};

/// The log of a conversation as its rows bound it.
pub(super) struct Log {
    pub(super) head: u64,
    floor: u64,
}

pub(super) fn log(row: &mut Parts<'_>, conversation: ConversationId) -> Result<Log, Stop> {
    let head = row.get(keys::head(conversation))?;
    let floor = row.get(keys::floor(conversation))?;
    let Some(head) = head else {
        exists(row, conversation)?;
        // Which is found at its description.
        return Err(Stop::Elsewhere);
    };
    let floor = match floor {
        None => 1,
        Some(floor) => decode_rising(&floor, "").map_err(|_| Stop::Elsewhere)?.max(1),
    };
    Ok(Log { head: other::<HeadRow>(&head)?.seq, floor })
}

pub(super) fn exists(row: &mut Parts<'_>, conversation: ConversationId) -> Judged {
    let there = row.has(keys::conversation(conversation))?;
    must(there, || format!("there is no conversation {conversation}"))
}

pub(super) fn message(row: &mut Parts<'_>) -> Judged {
    let message = row.decode::<MessageRow<'_>>()?;
    let (conversation, seq) = (ConversationId(row.id(0)), row.id(1));
    let before = row.previous().filter(|key| key.get(1..9) == Some(&conversation.to_be_bytes()));
    let log = log(row, conversation)?;
    must(seq <= log.head, || format!("seq {seq} is beyond the head {}", log.head))?;
    must(seq >= log.floor, || format!("seq {seq} is below the floor {}", log.floor))?;
    let expected = match before.and_then(|key| keys::last_id(key, "message").ok()) {
        // What lay in between may have been trimmed since the row before was read.
        Some(before) => log.floor.max(before.saturating_add(1)),
        None => log.floor,
    };
    must(seq == expected, || match seq - expected {
        1 => format!("the message before it is missing: seq {expected}"),
        _ => format!("the messages before it are missing: seqs {expected} to {}", seq - 1),
    })?;
    super::words::of_message(row, (conversation, seq), &message)
}

pub(super) fn head(row: &mut Parts<'_>) -> Judged {
    let HeadRow { seq, .. } = row.decode()?;
    let conversation = ConversationId(row.id(0));
    exists(row, conversation)?;
    let log = log(row, conversation)?;
    if seq < log.floor {
        return Ok(());
    }
    // With the density of the rows in between, both ends make the log whole.
    for end in [log.floor, seq] {
        let there = row.has(keys::message(conversation, end))?;
        must(there, || format!("the message of seq {end} is missing (head {seq})"))?;
    }
    Ok(())
}

pub(super) fn floor(row: &mut Parts<'_>) -> Judged {
    let floor = row.rising()?;
    let conversation = ConversationId(row.id(0));
    let head = log(row, conversation)?.head;
    must(floor <= head.saturating_add(1), || {
        format!("the floor {floor} is beyond the head {head} plus one")
    })
}

pub(super) fn conversation(row: &mut Parts<'_>) -> Judged {
    let ConversationRow { kind, .. } = row.decode()?;
    let conversation = ConversationId(row.id(0));
    let head = row.has(keys::head(conversation))?;
    must(head, || "it has no head".to_owned())?;
    match kind {
        ConversationKind::Direct => pair(row, conversation),
        ConversationKind::Other(code) => {
            Err(Stop::Fault(format!("kind {code}: perhaps from a newer version of the software")))
        }
        ConversationKind::Group => {
            let group = row.has(keys::group(conversation))?;
            must(group, || "a group without its row".to_owned())
        }
    }
}

/// A one-to-one conversation has two members, and the index finds it by them.
fn pair(row: &mut Parts<'_>, conversation: ConversationId) -> Judged {
    let members = row.keys(&keys::members(conversation), 3)?;
    let mut users = members.iter().filter_map(|key| keys::last_id(key, "member").ok()).map(UserId);
    let (Some(one), Some(two), None) = (users.next(), users.next(), users.next()) else {
        let count = members.len();
        return Err(Stop::Fault(format!("a one-to-one conversation with {count} members")));
    };
    let Some(index) = row.get(keys::direct(one, two))? else {
        return Err(Stop::Fault(format!("the index of the pair {one}, {two} does not hold it")));
    };
    let found = other::<DirectRow>(&index)?.conversation;
    must(found == conversation, || {
        format!("the index of the pair {one}, {two} holds {found} instead")
    })
}

pub(super) fn dedupe(row: &mut Parts<'_>) -> Judged {
    let DedupeRow { seq, hash, .. } = row.decode()?;
    let (conversation, sender) = (ConversationId(row.id(0)), UserId(row.id(1)));
    let log = log(row, conversation)?;
    must(seq <= log.head, || format!("it points beyond the head: {seq} of {}", log.head))?;
    if seq < log.floor {
        return Ok(());
    }
    let Some(message) = row.get(keys::message(conversation, seq))? else {
        return Err(Stop::Fault(format!("the message it points at is missing: seq {seq}")));
    };
    let message: MessageRow<'_> = other(&message)?;
    let id = ClientMsgId(<[u8; 16]>::try_from(row.rest(17)).unwrap_or_default());
    must(message.sender == sender && message.client_msg_id == id, || {
        format!("it points at another message: seq {seq}")
    })?;
    // Of a change of a group it is that of what was sent, which the log may keep less of.
    let alike = message.kind == EntryKind::Group;
    must(alike || content_hash(message.sent_kind(), message.body) == hash, || {
        format!("its hash is not that of the message at seq {seq}")
    })
}

pub(super) fn member(row: &mut Parts<'_>) -> Judged {
    let MemberRow { role, joined_seq } = row.decode()?;
    let (conversation, user) = (ConversationId(row.id(0)), UserId(row.id(1)));
    must((1..=3).contains(&role), || format!("role {role} does not exist"))?;
    exists(row, conversation)?;
    let head = log(row, conversation)?.head;
    must(joined_seq <= head, || format!("joined at {joined_seq}, beyond the head {head}"))?;
    let account = row.has(keys::account(user))?;
    must(account, || format!("user {user} has no account"))?;
    let listed = row.has(keys::activity(user, conversation))?;
    must(listed, || "the conversation is not in the member's list".to_owned())
}

pub(super) fn mark(row: &mut Parts<'_>) -> Judged {
    let seq = row.rising()?;
    let (conversation, user) = (ConversationId(row.id(0)), UserId(row.id(1)));
    if let [code] = row.rest(17)
        && let MarkKind::Other(code) = MarkKind::from_code(*code)
    {
        let what = format!("mark kind {code}: perhaps from a newer version of the software");
        return Err(Stop::Fault(what));
    }
    let head = log(row, conversation)?.head;
    must(seq <= head, || format!("the mark {seq} is beyond the head {head}"))?;
    is_member(row, conversation, user)
}

fn is_member(row: &mut Parts<'_>, conversation: ConversationId, user: UserId) -> Judged {
    let member = row.has(keys::member(conversation, user))?;
    must(member, || format!("user {user} is no member of conversation {conversation}"))
}

pub(super) fn direct(row: &mut Parts<'_>) -> Judged {
    let DirectRow { conversation } = row.decode()?;
    let (lower, higher) = (UserId(row.id(0)), UserId(row.id(1)));
    must(lower < higher, || "the pair is not in order".to_owned())?;
    let Some(described) = row.get(keys::conversation(conversation))? else {
        return Err(Stop::Fault(format!("there is no conversation {conversation}")));
    };
    let kind = other::<ConversationRow<'_>>(&described)?.kind;
    must(kind == ConversationKind::Direct, || {
        format!("conversation {conversation} is not one-to-one")
    })?;
    is_member(row, conversation, lower)?;
    is_member(row, conversation, higher)
}

pub(super) fn activity(row: &mut Parts<'_>) -> Judged {
    row.decode::<ActivityRow>()?;
    let (user, conversation) = (UserId(row.id(0)), ConversationId(row.id(1)));
    exists(row, conversation)?;
    is_member(row, conversation, user)
}

/// What a block hides is about a member of a one-to-one conversation.
pub(super) fn shade(row: &mut Parts<'_>) -> Judged {
    let ShadeRow { head, until, .. } = row.decode()?;
    let (conversation, user) = (ConversationId(row.id(0)), UserId(row.id(1)));
    let newest = log(row, conversation)?.head;
    must(head == u64::MAX || head <= newest, || {
        format!("the view ends at {head}, beyond the head {newest}")
    })?;
    must((head == u64::MAX) == (until != u64::MAX), || {
        "it says both that a block goes on and that it ended".to_owned()
    })?;
    is_member(row, conversation, user)
}

/// A report; the entry may have been trimmed since.
pub(super) fn report(row: &mut Parts<'_>) -> Judged {
    row.decode::<ReportRow<'_>>()?;
    let (conversation, seq, reporter) = (ConversationId(row.id(0)), row.id(1), UserId(row.id(2)));
    let head = log(row, conversation)?.head;
    must((1..=head).contains(&seq), || format!("it is about seq {seq}; the head is {head}"))?;
    let account = row.has(keys::account(reporter))?;
    must(account, || format!("user {reporter} has no account"))
}

/// A conversation as a user sees it; the user may have left it since.
pub(super) fn own_state(row: &mut Parts<'_>) -> Judged {
    row.decode::<crate::rows::OwnStateRow>()?;
    exists(row, ConversationId(row.id(1)))
}

pub(super) fn retention(row: &mut Parts<'_>) -> Judged {
    row.decode::<RetentionRow>()?;
    exists(row, ConversationId(row.id(0)))
}

/// Entries `first..=last` are within the log of a conversation of `user`.
pub(super) fn points_inside(
    row: &mut Parts<'_>,
    user: UserId,
    conversation: ConversationId,
    (first, last): (u64, u64),
) -> Judged {
    may_have(row, user, conversation, last)?;
    let head = log(row, conversation)?.head;
    must(first >= 1 && first <= last && last <= head, || {
        format!("it points at {first}..={last}; the head is {head}")
    })
}

/// The conversation a user's pointer names is one of theirs.
pub(super) fn points_at(
    row: &mut Parts<'_>,
    user: UserId,
    conversation: ConversationId,
    first: u64,
) -> Judged {
    exists(row, conversation)?;
    may_have(row, user, conversation, first)
}
