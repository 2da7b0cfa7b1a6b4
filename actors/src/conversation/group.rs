//! What a change of a group comes to: who may make it, what it leaves of the group, and what is to
//! be written. Pure, and the only place where it is decided.
//!
//! | role | may |
//! |---|---|
//! | member | read, write, leave |
//! | admin | also rename, change the picture and the link, add users, remove plain members |
//! | owner | also remove anybody, give roles, show the history |
//!
//! A group with members always has an owner: the last one can neither leave nor be removed nor lose
//! the role while others are there. With its last member a group ends: its log stays, nobody can join.

use crate::plant::{self, Bug};
use rookery_protocol::group::{ROLE_ADMIN, ROLE_MEMBER, ROLE_OWNER, secret};
use rookery_protocol::limits::MAX_GROUP_MEMBERS;
use rookery_protocol::{ErrorCode, GroupAction, GroupChange, UserId};
use rookery_store::group::{ChangeFacts, Ended, GroupFacts, GroupWrites, Seat};
use rookery_store::{Guard, Loaded};

/// A group as its conversation knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    facts: GroupFacts,
    /// By id.
    seats: Vec<Seat>,
    /// The group does not exist: that this is so.
    absent: Option<Guard>,
}

/// A change that may be made.
#[derive(Debug)]
pub(super) struct Decision {
    /// What the group is once it is made.
    pub(super) after: Group,
    /// What to write beside the entry.
    pub(super) writes: GroupWrites,
}

/// Who wants a change, and where it would stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish<'a> {
    pub(super) sender: UserId,
    pub(super) change: &'a GroupChange,
    /// What the sender's request hashes to.
    pub(super) hash: u64,
    /// The place of its entry.
    pub(super) seq: u64,
    /// The time of its entry.
    pub(super) time_ms: u64,
}

impl Group {
    /// The group that was loaded; `None`: it is a conversation of another kind.
    pub(super) fn loaded(loaded: &Loaded) -> Option<Self> {
        let mut seats: Vec<Seat> = loaded.members.iter().map(Seat::from).collect();
        seats.sort_unstable_by_key(|seat| seat.user);
        let absent = (!loaded.exists)
            .then(|| rookery_store::group::absent(loaded.conversation, loaded.version));
        match (&loaded.group, absent) {
            (Some(facts), None) => Some(Self { facts: facts.clone(), seats, absent: None }),
            (None, Some(absent)) => {
                Some(Self { facts: GroupFacts::default(), seats, absent: Some(absent) })
            }
            _ => None,
        }
    }

    /// Its members, by id.
    pub(super) fn members(&self) -> Vec<UserId> {
        self.seats.iter().map(|seat| seat.user).collect()
    }

    fn seat(&self, user: UserId) -> Option<&Seat> {
        self.seats.iter().find(|seat| seat.user == user)
    }

    fn owners(&self) -> usize {
        self.seats.iter().filter(|seat| seat.role >= ROLE_OWNER).count()
    }
}

/// Whether the change may be made now, and what it comes to.
///
/// # Errors
/// The code that its sender is told.
pub(super) fn decide(
    group: &Group,
    wish: &Wish<'_>,
    facts: &ChangeFacts,
) -> Result<Decision, ErrorCode> {
    authorise(group, wish, facts)?;
    let writes = GroupWrites { hash: wish.hash, ..GroupWrites::default() };
    let mut next = Decision { after: group.clone(), writes };
    let change = wish.change;
    match change.action {
        GroupAction::Create => next.create(wish, facts)?,
        GroupAction::Rename => next.facts(|facts| facts.title.clone_from(&change.text)),
        GroupAction::SetAvatar => next.facts(|facts| facts.avatar.clone_from(&change.text)),
        GroupAction::SetHistory => next.facts(|facts| facts.open_history = change.value == 1),
        GroupAction::ResetLink => next.link(secret(&change.text)),
        GroupAction::CloseLink => next.link(None),
        GroupAction::Add => next.join(&change.users, ROLE_MEMBER, wish.seq, facts)?,
        GroupAction::Join => next.join(&[wish.sender], ROLE_MEMBER, wish.seq, facts)?,
        GroupAction::Remove => next.end(&change.users, true)?,
        GroupAction::Leave => next.end(&[wish.sender], false)?,
        GroupAction::SetRole => next.set_role(&change.users, change.value)?,
        GroupAction::Other(_) => return Err(ErrorCode::BadField),
    }
    if !next.after.seats.is_empty() && next.after.owners() == 0 && !plant::is(Bug::OwnerlessGroup) {
        return Err(ErrorCode::LastOwner);
    }
    if next.after.seats.is_empty() && next.after.facts.link.is_some() {
        next.link(None);
    }
    Ok(next)
}

/// Whether the sender's role allows the action, whatever it would come to.
fn authorise(group: &Group, wish: &Wish<'_>, facts: &ChangeFacts) -> Result<(), ErrorCode> {
    let action = wish.change.action;
    if action == GroupAction::Create {
        return if group.absent.is_some() { Ok(()) } else { Err(ErrorCode::IdTaken) };
    }
    if action == GroupAction::Join {
        // A group that is not there and one whose link is another look alike.
        let known = secret(&wish.change.text).filter(|secret| group.facts.link == Some(*secret));
        return match (known, group.seat(wish.sender)) {
            (None, _) => Err(ErrorCode::BadLink),
            (Some(_), Some(_)) => Err(ErrorCode::AlreadyMember),
            (Some(_), None) if facts.removed => Err(ErrorCode::BadLink),
            (Some(_), None) => Ok(()),
        };
    }
    let Some(seat) = group.seat(wish.sender) else { return Err(ErrorCode::NotAMember) };
    let needed = match action {
        GroupAction::Leave => ROLE_MEMBER,
        GroupAction::Rename
        | GroupAction::SetAvatar
        | GroupAction::ResetLink
        | GroupAction::CloseLink
        | GroupAction::Add => ROLE_ADMIN,
        GroupAction::Remove => remover(group, &wish.change.users),
        _ => ROLE_OWNER,
    };
    if seat.role >= needed || plant::is(Bug::RoleUnchecked) {
        Ok(())
    } else {
        Err(ErrorCode::RoleTooLow)
    }
}

/// The role that removing these takes: an admin removes plain members, an owner anybody.
fn remover(group: &Group, users: &[UserId]) -> u8 {
    let plain = |user: &UserId| group.seat(*user).is_none_or(|seat| seat.role < ROLE_ADMIN);
    if users.iter().all(plain) { ROLE_ADMIN } else { ROLE_OWNER }
}

impl Decision {
    fn create(&mut self, wish: &Wish<'_>, facts: &ChangeFacts) -> Result<(), ErrorCode> {
        let change = wish.change;
        if change.users.contains(&wish.sender) {
            return Err(ErrorCode::AlreadyMember);
        }
        self.facts(|facts| {
            facts.title.clone_from(&change.text);
            facts.open_history = change.value == 1;
            facts.created_ms = wish.time_ms;
        });
        self.writes.guards.extend(self.after.absent.take());
        self.seat(&[wish.sender], ROLE_OWNER, wish.seq);
        self.join(&change.users, ROLE_MEMBER, wish.seq, facts)
    }

    fn facts(&mut self, change: impl FnOnce(&mut GroupFacts)) {
        change(&mut self.after.facts);
        self.writes.facts = Some(self.after.facts.clone());
    }

    fn link(&mut self, secret: Option<[u8; 16]>) {
        self.writes.link = true;
        self.facts(|facts| facts.link = secret);
    }

    /// Users who are known to be there become members.
    fn join(
        &mut self,
        users: &[UserId],
        role: u8,
        seq: u64,
        facts: &ChangeFacts,
    ) -> Result<(), ErrorCode> {
        if users.iter().any(|user| self.after.seat(*user).is_some()) {
            return Err(ErrorCode::AlreadyMember);
        }
        if users.iter().any(|user| facts.unknown.contains(user)) {
            return Err(ErrorCode::UnknownUser);
        }
        if self.after.seats.len() + users.len() > MAX_GROUP_MEMBERS {
            return Err(ErrorCode::GroupFull);
        }
        self.writes.guards.extend(facts.guards.iter().cloned());
        self.seat(users, role, seq);
        Ok(())
    }

    fn seat(&mut self, users: &[UserId], role: u8, seq: u64) {
        for user in users {
            let seat = Seat { user: *user, role, joined_seq: seq.saturating_sub(1) };
            self.after.seats.push(seat);
            self.writes.joined.push(seat);
        }
        self.after.seats.sort_unstable_by_key(|seat| seat.user);
    }

    fn end(&mut self, users: &[UserId], removed: bool) -> Result<(), ErrorCode> {
        for user in users {
            let seat = self.after.seat(*user).ok_or(ErrorCode::TargetNoMember)?;
            let joined_seq = seat.joined_seq;
            self.writes.ended.push(Ended { user: *user, joined_seq, removed });
            self.after.seats.retain(|seat| seat.user != *user);
        }
        Ok(())
    }

    fn set_role(&mut self, users: &[UserId], role: u8) -> Result<(), ErrorCode> {
        for user in users {
            let seat = self.after.seats.iter_mut().find(|seat| seat.user == *user);
            let seat = seat.ok_or(ErrorCode::TargetNoMember)?;
            seat.role = role;
            self.writes.changed.push(*seat);
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "group_tests.rs"]
mod tests;
