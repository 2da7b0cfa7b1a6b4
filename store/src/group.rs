//! What a change of a group writes beside its entry, and what must be known to decide about one.
//!
//! Safety: all of it is part of the plan that appends the entry, under the fence of the
//! conversation's slot. So who is a member at a place in the log is what the entries before it say,
//! and nobody gets a pointer to an entry after the one that ended the membership.

use crate::engine::{Engine, ReadError, View};
use crate::error::StoreError;
use crate::inbox::PointerKind;
use crate::keys::{self, own};
use crate::plan::{Guard, Op, Version};
use crate::rows::{
    self, AccountRow, ActivityRow, ConversationRow, DedupeRow, FormerRow, GroupRow, LinkRow,
    MemberRow, PointerRow,
};
use crate::store::{Store, get_many};
use crate::{Known, MemberState};
use bytes::Bytes;
use rookery_protocol::group::{ROLE_ADMIN, ROLE_OWNER};
use rookery_protocol::{ClientMsgId, ConversationId, ConversationKind, MarkKind, UserId};
use std::cmp::Reverse;

/// Bit of [`GroupRow`]: each member sees the whole history.
const OPEN_HISTORY: u32 = 1;

/// What a group is beside its members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupFacts {
    /// Its name.
    pub title: String,
    /// Refers to its picture; empty: none.
    pub avatar: String,
    /// Each member sees the whole history; else from joining on.
    pub open_history: bool,
    /// The secret of the link by which users join.
    pub link: Option<[u8; 16]>,
    /// When it was created, Unix milliseconds.
    pub created_ms: u64,
}

/// A member that a change makes, or changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Who.
    pub user: UserId,
    /// 1 member, 2 admin, 3 owner.
    pub role: u8,
    /// The head when they joined.
    pub joined_seq: u64,
}

/// A membership that a change ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Whose.
    pub user: UserId,
    /// The head when they had joined.
    pub joined_seq: u64,
    /// By somebody else: the link lets them in no more.
    pub removed: bool,
}

/// The rows of a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupWrites {
    /// What the sender's request hashes to, for its dedupe row: the log may keep less of it.
    pub hash: u64,
    /// The group's facts, where they change.
    pub facts: Option<GroupFacts>,
    /// The link changes too.
    pub link: bool,
    /// Members it makes.
    pub joined: Vec<Seat>,
    /// Members whose role it changes.
    pub changed: Vec<Seat>,
    /// Memberships it ends.
    pub ended: Vec<Ended>,
    /// What it was decided on beside the conversation's own rows.
    pub guards: Vec<Guard>,
}

/// Bytes of a row with a short key and numbers, generously.
const SMALL_ROW: usize = 80;

impl GroupWrites {
    /// No plan gets more bytes by this beside the entry's own.
    pub(crate) fn bytes_bound(&self, members: usize) -> usize {
        let texts = self.facts.as_ref().map_or(0, |facts| facts.title.len() + facts.avatar.len());
        let guards: usize =
            self.guards.iter().map(|g| g.key.len() + g.known.as_ref().map_or(0, Bytes::len)).sum();
        let rows = 6 * self.joined.len() + self.changed.len() + 6 * self.ended.len() + members + 4;
        texts + guards + rows * SMALL_ROW
    }

    /// What is written before the pointers to the entry. `seq` and `time_ms` are the entry's.
    pub(crate) fn ops(
        &self,
        conversation: ConversationId,
        (seq, time_ms): (u64, u64),
        inbox_epoch: u32,
        ops: &mut Vec<Op>,
    ) {
        if let Some(facts) = &self.facts {
            self.describe(conversation, facts, time_ms, ops);
        }
        for seat in self.joined.iter().chain(&self.changed) {
            let row = MemberRow { role: seat.role, joined_seq: seat.joined_seq };
            set(ops, keys::member(conversation, seat.user), rows::encode(&row));
        }
        for seat in &self.joined {
            set(
                ops,
                keys::activity(seat.user, conversation),
                rows::encode(&ActivityRow { time_ms }),
            );
            clear(ops, keys::former(seat.user, conversation));
            // What was there before is no news.
            for kind in [MarkKind::Delivered, MarkKind::Read] {
                let key = own(keys::mark(conversation, seat.user, kind));
                let value = own(rows::encode_rising(seat.joined_seq));
                ops.push(Op::ByteMax { key, value });
            }
            let kind = PointerKind::Created.code();
            let pointer = PointerRow { kind, conversation, first: seq, last: seq };
            let prefix = own(keys::inbox(seat.user, inbox_epoch));
            ops.push(Op::SetStampedKey { prefix, value: rows::encode(&pointer) });
        }
        for ended in &self.ended {
            clear(ops, keys::member(conversation, ended.user));
            clear(ops, keys::activity(ended.user, conversation));
            for kind in [MarkKind::Delivered, MarkKind::Read] {
                clear(ops, keys::mark(conversation, ended.user, kind));
            }
            let Ended { joined_seq, removed, .. } = *ended;
            let row = FormerRow { joined_seq, left_seq: seq, removed };
            set(ops, keys::former(ended.user, conversation), rows::encode(&row));
        }
    }

    fn describe(
        &self,
        conversation: ConversationId,
        facts: &GroupFacts,
        time_ms: u64,
        ops: &mut Vec<Op>,
    ) {
        let GroupFacts { title, avatar, open_history, link, created_ms } = facts;
        let kind = ConversationKind::Group;
        let row = ConversationRow { kind, title, created_ms: *created_ms };
        set(ops, keys::conversation(conversation), rows::encode(&row));
        let flags = if *open_history { OPEN_HISTORY } else { 0 };
        set(ops, keys::group(conversation), rows::encode(&GroupRow { avatar, flags }));
        match (self.link, link) {
            (true, Some(secret)) => {
                let row = LinkRow { secret: *secret, made_ms: time_ms };
                set(ops, keys::link(conversation), rows::encode(&row));
            }
            (true, None) => clear(ops, keys::link(conversation)),
            (false, _) => {}
        }
    }
}

fn set(ops: &mut Vec<Op>, key: impl AsRef<[u8]>, value: Bytes) {
    ops.push(Op::Set { key: own(key), value });
}

fn clear(ops: &mut Vec<Op>, key: impl AsRef<[u8]>) {
    ops.push(Op::Clear { key: own(key) });
}

/// The guard that a conversation does not exist, as known at `version`.
#[must_use]
pub fn absent(conversation: ConversationId, version: Version) -> Guard {
    Guard { key: own(keys::conversation(conversation)), known: None, version }
}

/// Who becomes owner when `leaving`, the last one, has to go: the oldest admin, or else the oldest
/// member. `None`: another owner is left, or nobody.
#[must_use]
pub fn successor(members: &[Seat], leaving: UserId) -> Option<Seat> {
    let others = || members.iter().filter(|seat| seat.user != leaving);
    if others().any(|seat| seat.role >= ROLE_OWNER) {
        return None;
    }
    let age = |seat: &&Seat| (Reverse(seat.role >= ROLE_ADMIN), seat.joined_seq, seat.user);
    others().min_by_key(age).map(|seat| Seat { role: ROLE_OWNER, ..*seat })
}

impl From<&MemberState> for Seat {
    fn from(member: &MemberState) -> Self {
        Self { user: member.user, role: member.role, joined_seq: member.joined_seq }
    }
}

/// What a change of a group must know beside the group's own state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeFacts {
    /// The answer to an earlier attempt.
    pub sent: Option<Known>,
    /// The sender was removed from this group by somebody.
    pub removed: bool,
    /// Users who have no account, or one that nobody may use.
    pub unknown: Vec<UserId>,
    /// That the others do have one.
    pub guards: Vec<Guard>,
}

impl<E: Engine> Store<E> {
    /// What is to be known for a change that `sender` wants to make and that makes `users` members,
    /// read no older than `at_least`.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn change_facts(
        &self,
        conversation: ConversationId,
        (sender, id): (UserId, ClientMsgId),
        users: &[UserId],
        at_least: Version,
    ) -> Result<ChangeFacts, ReadError> {
        let view = self.view(at_least).await?;
        let version = view.version();
        let mut wanted = vec![
            own(keys::dedupe(conversation, sender, id)),
            own(keys::former(sender, conversation)),
        ];
        for user in users {
            wanted.push(own(keys::account(*user)));
            wanted.push(own(keys::shut_out(*user)));
        }
        let values = get_many(&view, &wanted).await?;
        drop(view);
        let mut facts = ChangeFacts::default();
        if let [Some(sent), ..] = values.as_slice() {
            let DedupeRow { seq, hash, time_ms } = rows::decode(sent)?;
            facts.sent = Some(Known { seq, hash, time_ms });
        }
        if let [_, Some(former), ..] = values.as_slice() {
            facts.removed = rows::decode::<FormerRow>(former)?.removed;
        }
        let mut guards = wanted.into_iter().zip(values).skip(2);
        for user in users {
            let (Some((account, held)), Some((shut_out, row))) = (guards.next(), guards.next())
            else {
                continue;
            };
            let named = match &held {
                Some(held) => !rows::decode::<AccountRow<'_>>(held)?.name.is_empty(),
                None => false,
            };
            if named && row.is_none() {
                facts.guards.push(Guard { key: account, known: held, version });
                facts.guards.push(Guard { key: shut_out, known: None, version });
            } else {
                facts.unknown.push(*user);
            }
        }
        Ok(facts)
    }

    /// What a group is beside its members, and the role of `me` in it.
    ///
    /// # Errors
    /// [`StoreError::NotAMember`], also when it does not exist; [`StoreError::BadArgument`] when it
    /// is no group; [`StoreError::Read`].
    pub async fn group(
        &self,
        me: UserId,
        conversation: ConversationId,
    ) -> Result<(GroupFacts, u8), StoreError> {
        let view = self.latest().await?;
        let Some(member) = view.get(&keys::member(conversation, me)).await? else {
            return Err(StoreError::NotAMember);
        };
        let role = rows::decode::<MemberRow>(&member)?.role;
        match facts(&view, conversation).await? {
            Some(facts) => Ok((facts, role)),
            None => Err(StoreError::BadArgument("a one-to-one conversation as a group")),
        }
    }
}

/// The facts of a group; `None`: the conversation is none.
pub(crate) async fn facts(
    view: &impl View,
    conversation: ConversationId,
) -> Result<Option<GroupFacts>, ReadError> {
    let wanted = [
        own(keys::conversation(conversation)),
        own(keys::group(conversation)),
        own(keys::link(conversation)),
    ];
    let values = get_many(view, &wanted).await?;
    let [Some(described), group, link] = values.as_slice() else { return Ok(None) };
    let ConversationRow { kind, title, created_ms } = rows::decode(described)?;
    if kind != ConversationKind::Group {
        return Ok(None);
    }
    let Some(group) = group else {
        return Err(rows::damaged("group", &format!("group {conversation} has no row")));
    };
    let GroupRow { avatar, flags } = rows::decode(group)?;
    let link = link.as_ref().map(|link| Ok(rows::decode::<LinkRow>(link)?.secret)).transpose()?;
    Ok(Some(GroupFacts {
        title: title.to_owned(),
        avatar: avatar.to_owned(),
        open_history: flags & OPEN_HISTORY != 0,
        link,
        created_ms,
    }))
}

/// Whether a group shows each member its whole history; without a row it is no group.
pub(crate) fn shows_all(row: Option<&[u8]>) -> Result<bool, ReadError> {
    row.map_or(
        Ok(false),
        |value| Ok(rows::decode::<GroupRow<'_>>(value)?.flags & OPEN_HISTORY != 0),
    )
}

/// The smallest seq that a member may see.
pub(crate) fn first_visible(joined_seq: u64, shows_all: bool) -> u64 {
    if shows_all { 1 } else { joined_seq.saturating_add(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_admin_succeeds_the_last_owner_or_else_the_oldest_member() {
        let seat = |user, role, joined_seq| Seat { user: UserId(user), role, joined_seq };
        let owner = seat(1, 3, 0);
        let heir = |members: &[Seat]| successor(members, UserId(1)).map(|seat| seat.user.0);
        assert_eq!(heir(&[owner]), None);
        assert_eq!(heir(&[owner, seat(2, 3, 0), seat(3, 2, 0)]), None, "another owner is there");
        assert_eq!(heir(&[owner, seat(2, 1, 0), seat(3, 2, 9), seat(4, 2, 7)]), Some(4));
        assert_eq!(heir(&[owner, seat(5, 1, 4), seat(2, 1, 4), seat(3, 1, 8)]), Some(2));
        assert_eq!(successor(&[owner, seat(2, 1, 4)], UserId(1)), Some(seat(2, 3, 4)));
    }
}
