//! What a device does to groups, whether its user may or not.

use super::device::Device;
use super::groups::SECRET;
use super::rng::Rng;
use super::truth::Truth;
use rookery_protocol::group::group_id;
use rookery_protocol::{ConversationId, GroupAction, GroupChange, UserId};

/// Groups of a world, more or less.
const MOST_GROUPS: usize = 2;

impl Device {
    /// Changes a group it knows, makes a new one, or joins one that it heard of, whether it may or
    /// not.
    pub fn govern(&mut self, now: u64, truth: &mut Truth, rng: &mut Rng) {
        let others: Vec<UserId> = self.watches.clone();
        let Some(other) = rng.pick(&others) else { return };
        let id = self.new_id(now, rng);
        let groups = truth.groups.all();
        let known: Vec<ConversationId> =
            self.convs.iter().filter(|(_, conv)| conv.group).map(|(id, _)| *id).collect();
        let made = match (rng.pick(&known), rng.pick(&groups)) {
            (None, _) if groups.len() < MOST_GROUPS => (
                group_id(id),
                GroupChange { users: vec![other], text: "t".into(), ..act(GroupAction::Create) },
            ),
            (_, Some(group)) if rng.chance(200) => {
                (group, GroupChange { text: SECRET.into(), ..act(GroupAction::Join) })
            }
            (Some(group), _) => (group, some_change(other, rng)),
            _ => return,
        };
        self.push(now, (id, made.0), 0, Some(made.1), truth);
    }

    /// Its user is no member of a group: what is missing of it never comes.
    pub(super) fn ended(&mut self, conversation: ConversationId) {
        self.strangers.remove(&conversation);
        if let Some(conv) = self.convs.get_mut(&conversation) {
            conv.ended = true;
            conv.fill_to = conv.head;
            conv.ahead.clear();
        }
    }
}

fn act(action: GroupAction) -> GroupChange {
    GroupChange::new(action)
}

/// Something one may want to change about a group, mostly about somebody else in it.
fn some_change(other: UserId, rng: &mut Rng) -> GroupChange {
    let users = vec![other];
    match rng.below(10) {
        0..3 => GroupChange { users, ..act(GroupAction::Add) },
        3..5 => GroupChange { users, ..act(GroupAction::Remove) },
        5..7 => {
            let value = u8::try_from(rng.range(1, 3)).unwrap_or(1);
            GroupChange { users, value, ..act(GroupAction::SetRole) }
        }
        7 => GroupChange { text: "another".into(), ..act(GroupAction::Rename) },
        8 => GroupChange { text: SECRET.into(), ..act(GroupAction::ResetLink) },
        _ => act(GroupAction::Leave),
    }
}
