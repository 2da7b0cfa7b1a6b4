//! What holds of groups, judged as each entry reaches the store: who writes is a member then, who
//! changes something may, a group with members has an owner; and nobody is given what was not theirs.
//!
//! The rules are written a second time here, from the protocol's document, and know nothing of how
//! the conversation decides.

use rookery_protocol::group::{ROLE_ADMIN, ROLE_MEMBER, ROLE_OWNER};
use rookery_protocol::{ConversationId, Entry, EntryKind, GroupAction, GroupChange, UserId};
use std::collections::{BTreeMap, BTreeSet};

/// The secret of every link.
pub const SECRET: &str = "000102030405060708090a0b0c0d0e0f";

/// A stay of a user: from an entry on, up to another.
type Stay = (u64, Option<u64>);

/// A group, as its log says.
#[derive(Clone, Debug, Default)]
struct Group {
    roles: BTreeMap<UserId, u8>,
    stays: BTreeMap<UserId, Vec<Stay>>,
    removed: BTreeSet<UserId>,
    link: bool,
}

/// All groups.
#[derive(Default)]
pub struct Groups(BTreeMap<ConversationId, Group>);

impl Groups {
    /// Those there are.
    pub fn all(&self) -> Vec<ConversationId> {
        self.0.keys().copied().collect()
    }

    /// Whether it is one.
    pub fn is_group(&self, conversation: ConversationId) -> bool {
        self.0.contains_key(&conversation)
    }

    /// Members and roles.
    pub fn roles(&self, conversation: ConversationId) -> Vec<(UserId, u8)> {
        let group = self.0.get(&conversation);
        group.map_or_else(Vec::new, |group| group.roles.iter().map(|(u, r)| (*u, *r)).collect())
    }

    /// Whether the entry at a place is the user's to have. Of another conversation it always is.
    pub fn may_have(&self, conversation: ConversationId, user: UserId, seq: u64) -> bool {
        let Some(group) = self.0.get(&conversation) else { return true };
        let stays = group.stays.get(&user).map_or(&[][..], Vec::as_slice);
        stays.iter().any(|(from, to)| (*from..=to.unwrap_or(u64::MAX)).contains(&seq))
    }

    /// The last entry of a user who is no member any more; `None`: the user is one.
    pub fn left_at(&self, conversation: ConversationId, user: UserId) -> Option<u64> {
        self.0.get(&conversation)?.stays.get(&user)?.last()?.1
    }

    /// The next entry of a log; what is wrong with it, if anything.
    pub fn follow(&mut self, conversation: ConversationId, entry: &Entry) -> Option<String> {
        if entry.kind == EntryKind::Group {
            let Some(change) = GroupChange::from_body(&entry.body) else {
                return Some("a change that says nothing".into());
            };
            let group = self.0.entry(conversation).or_default();
            let wrong = group.judge(entry, &change);
            group.apply(entry, &change);
            let ownerless =
                !group.roles.is_empty() && !group.roles.values().any(|role| *role == ROLE_OWNER);
            return wrong.or_else(|| ownerless.then(|| "a group without an owner".into()));
        }
        let group = self.0.get(&conversation)?;
        let stranger = !group.roles.contains_key(&entry.sender);
        stranger.then(|| format!("{} wrote and is no member", entry.sender))
    }
}

impl Group {
    fn role(&self, user: UserId) -> u8 {
        self.roles.get(&user).copied().unwrap_or(0)
    }

    fn judge(&self, entry: &Entry, change: &GroupChange) -> Option<String> {
        let own = self.role(entry.sender);
        let good = match change.action {
            GroupAction::Create => entry.seq == 1,
            GroupAction::Rename
            | GroupAction::SetAvatar
            | GroupAction::ResetLink
            | GroupAction::CloseLink => own >= ROLE_ADMIN,
            GroupAction::Add => {
                own >= ROLE_ADMIN && change.users.iter().all(|user| self.role(*user) == 0)
            }
            GroupAction::Remove => change.users.iter().all(|user| match self.role(*user) {
                0 => false,
                ROLE_MEMBER => own >= ROLE_ADMIN,
                _ => own == ROLE_OWNER,
            }),
            GroupAction::SetRole | GroupAction::SetHistory => own == ROLE_OWNER,
            GroupAction::Leave => own > 0,
            GroupAction::Join => own == 0 && self.link && !self.removed.contains(&entry.sender),
            GroupAction::Other(_) => false,
        };
        (!good).then(|| format!("{} with role {own} did {change:?} to {self:?}", entry.sender))
    }

    fn apply(&mut self, entry: &Entry, change: &GroupChange) {
        match change.action {
            GroupAction::Create => {
                self.enter(&change.users, ROLE_MEMBER, entry.seq);
                self.enter(&[entry.sender], ROLE_OWNER, entry.seq);
            }
            GroupAction::Add => self.enter(&change.users, ROLE_MEMBER, entry.seq),
            GroupAction::Join => self.enter(&[entry.sender], ROLE_MEMBER, entry.seq),
            GroupAction::Remove => {
                self.exit(&change.users, entry.seq);
                self.removed.extend(&change.users);
            }
            GroupAction::Leave => self.exit(&[entry.sender], entry.seq),
            GroupAction::SetRole => {
                self.roles.extend(change.users.iter().map(|user| (*user, change.value)));
            }
            GroupAction::ResetLink => self.link = true,
            GroupAction::CloseLink => self.link = false,
            _ => {}
        }
        // With its last member a group ends.
        self.link &= !self.roles.is_empty();
    }

    fn enter(&mut self, users: &[UserId], role: u8, seq: u64) {
        for user in users {
            self.roles.insert(*user, role);
            self.stays.entry(*user).or_default().push((seq, None));
            self.removed.remove(user);
        }
    }

    fn exit(&mut self, users: &[UserId], seq: u64) {
        for user in users {
            self.roles.remove(user);
            if let Some(stay) = self.stays.get_mut(user).and_then(|stays| stays.last_mut()) {
                stay.1 = Some(seq);
            }
        }
    }
}
