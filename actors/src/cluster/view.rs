//! What a node goes by between two looks at the store: the members of an epoch, and who works for
//! which slot. Pure.

use super::{NodeId, SlotSet, Table};
use crate::link::{NodeKey, Peer};
use crate::message::Envelope;
use crate::plant::{self, Bug};
use rookery_protocol::{ConversationId, UserId};
use rookery_store::{Lease, NodeState, Slot, slot_of, slot_of_user};
use std::sync::Arc;

/// Most endpoints a client is told.
const MAX_ENDPOINTS: usize = 8;

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its address on links.
    pub key: NodeKey,
    /// What its lease says.
    pub lease: Lease,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Which one: members of one epoch are the same on every node.
    pub epoch: u64,
    /// This node.
    pub me: NodeKey,
    /// Whether this node may work for its slots. False while it can't be sure to be a member.
    pub serving: bool,
    /// All nodes that are not dead, by their number.
    pub members: Vec<Member>,
    table: Arc<Table>,
}

/// Where a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// To an actor of this node.
    Local,
    /// To another node.
    Node(NodeKey),
    /// Nobody is there to take it.
    Nowhere,
}

impl View {
    /// What a node knows before it looked.
    #[must_use]
    pub fn empty(me: NodeKey) -> Self {
        Self { epoch: 0, me, serving: false, members: Vec::new(), table: Arc::default() }
    }

    /// The view of these members; the table is taken from `before` when it is of the same epoch.
    #[must_use]
    pub fn new(epoch: u64, me: NodeKey, members: Vec<Member>, before: &Self) -> Self {
        let stale = plant::is(Bug::TableOfTheLastEpoch) && before.epoch + 1 == epoch;
        let table = if before.epoch == epoch || stale {
            Arc::clone(&before.table)
        } else {
            let active: Vec<(NodeKey, u32)> = members
                .iter()
                .filter(|member| member.lease.state == NodeState::Active)
                .map(|member| (member.key, member.lease.capacity))
                .collect();
            Arc::new(Table::new(&active))
        };
        Self { epoch, me, serving: false, members, table }
    }

    /// The same members, while this node works for nothing.
    #[must_use]
    pub fn not_serving(&self) -> Self {
        Self { serving: false, ..self.clone() }
    }

    /// Who works for a slot.
    #[must_use]
    pub fn owner(&self, slot: Slot) -> Option<NodeKey> {
        self.table.owner(slot)
    }

    /// Whether this node may work for a slot.
    #[must_use]
    pub fn owns(&self, slot: Slot) -> bool {
        self.serving && self.owner(slot) == Some(self.me)
    }

    /// Whether this node may work for a slot at this moment of its clock: whatever hangs, not
    /// beyond what its last renewal allows ([`super::Membership::serves_until_ms`]).
    #[must_use]
    pub fn may_own(&self, slot: Slot, now_ms: u64, serves_until_ms: u64) -> bool {
        let fresh = now_ms < serves_until_ms || plant::is(Bug::StaleViewServes);
        fresh && self.owns(slot)
    }

    /// Whether a session may begin here under this address: in this life, while it is active.
    #[must_use]
    pub fn admits(&self, node: NodeId) -> bool {
        let known = self.members.iter().find(|member| member.key == self.me);
        let active = known.is_some_and(|member| member.lease.state == NodeState::Active);
        active && node.0 == self.me.incarnation
    }

    /// All members, as links need to know them; this node is among them.
    #[must_use]
    pub fn peers(&self) -> Vec<Peer> {
        let peers = self.members.iter().map(|member| Peer {
            name: member.lease.name.clone(),
            incarnation: member.lease.incarnation,
            address: member.lease.link.clone(),
        });
        peers.collect()
    }

    /// The other members.
    pub fn others(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.key != self.me)
    }

    /// Whether all other active members are linked.
    #[must_use]
    pub fn is_linked(&self, is_up: impl Fn(NodeKey) -> bool) -> bool {
        let active = |member: &&Member| member.lease.state == NodeState::Active;
        self.others().filter(active).all(|member| is_up(member.key))
    }

    /// Whether this node may work for a conversation.
    #[must_use]
    pub fn owns_conversation(&self, conversation: ConversationId) -> bool {
        self.owns(slot_of(conversation))
    }

    /// Whether this node is a user's home. Unlike slots of conversations, homes stay with their
    /// node while it is cut off from the store: presence needs none.
    #[must_use]
    pub fn is_home_of(&self, user: UserId) -> bool {
        self.owner(slot_of_user(user)) == Some(self.me)
    }

    /// How many slots a node has.
    #[must_use]
    pub fn slots_of(&self, node: NodeKey) -> usize {
        self.table.slots_of(node)
    }

    /// The slots of a node.
    #[must_use]
    pub fn slots(&self, node: NodeKey) -> SlotSet {
        SlotSet::of(|slot| self.owner(slot) == Some(node))
    }

    /// The slots that have another owner in `other`.
    #[must_use]
    pub fn moved(&self, other: &Self) -> SlotSet {
        SlotSet::of(|slot| self.owner(slot) != other.owner(slot))
    }

    /// The member that lives this life.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<NodeKey> {
        let member = self.members.iter().find(|member| member.key.incarnation == id.0)?;
        Some(member.key)
    }

    /// Where a message goes: a session lives where its connection is, conversations and hubs
    /// where their slot is.
    #[must_use]
    pub fn route(&self, envelope: &Envelope) -> Route {
        let node = match envelope {
            Envelope::Session(to, _) if to.node.0 == self.me.incarnation => Some(self.me),
            Envelope::Session(to, _) => self.node(to.node),
            Envelope::Conversation(to, _) => self.owner(slot_of(*to)),
            Envelope::Presence(to, _) => self.owner(slot_of_user(*to)),
        };
        match node {
            Some(node) if node == self.me => Route::Local,
            Some(node) => Route::Node(node),
            None => Route::Nowhere,
        }
    }

    /// The endpoints a client should try, best first: its user's home, then nodes of this node's
    /// zone, then others, each by how many sessions they serve for their capacity. Nodes that are
    /// not active are left out.
    #[must_use]
    pub fn endpoints(&self, user: Option<UserId>) -> Vec<String> {
        let home = user.and_then(|user| self.owner(slot_of_user(user)));
        let zone = self.members.iter().find(|m| m.key == self.me).map(|m| m.lease.zone.as_str());
        let mut active: Vec<&Member> =
            self.members.iter().filter(|m| m.lease.state == NodeState::Active).collect();
        active.sort_by_key(|member| {
            let lease = &member.lease;
            let load = u64::from(lease.sessions) * 1000 / u64::from(lease.capacity.max(1));
            (Some(member.key) != home, Some(lease.zone.as_str()) != zone, load, member.key)
        });
        let best = active.into_iter().take(MAX_ENDPOINTS);
        best.map(|member| member.lease.endpoint.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, zone: &str, sessions: u32, state: NodeState) -> Member {
        let lease = Lease {
            name: name.into(),
            incarnation: NodeKey::number(name),
            state,
            counter: 0,
            link: String::new(),
            endpoint: format!("ws://{name}"),
            zone: zone.into(),
            capacity: 1,
            sessions,
            lag_ms: 0,
        };
        Member { key: NodeKey::new(name, lease.incarnation), lease }
    }

    fn view(members: Vec<Member>) -> View {
        let me = members[0].key;
        View::new(1, me, members, &View::empty(me))
    }

    #[test]
    fn discovery_names_the_home_then_the_zone_then_the_least_loaded() {
        let view = view(vec![
            member("a", "x", 9, NodeState::Active),
            member("b", "y", 1, NodeState::Active),
            member("c", "x", 3, NodeState::Active),
            member("d", "x", 0, NodeState::Draining),
        ]);
        assert_eq!(view.endpoints(None), ["ws://c", "ws://a", "ws://b"]);
        let at_b =
            |user: &UserId| view.owner(slot_of_user(*user)).unwrap().node == NodeKey::number("b");
        let user = (1..).map(UserId).find(at_b).unwrap();
        assert_eq!(view.endpoints(Some(user)), ["ws://b", "ws://c", "ws://a"]);
    }

    #[test]
    fn slots_are_held_only_while_serving_and_by_active_members() {
        let mut view = view(vec![
            member("a", "", 0, NodeState::Active),
            member("b", "", 0, NodeState::Draining),
        ]);
        assert!(!view.owns(Slot(0)));
        view.serving = true;
        assert!((0..rookery_store::SLOTS).map(Slot).all(|slot| view.owns(slot)));
        assert_eq!(view.slots_of(view.me), usize::from(rookery_store::SLOTS));
    }

    #[test]
    fn the_table_is_made_anew_only_for_another_epoch() {
        let one = view(vec![member("a", "", 0, NodeState::Active)]);
        let same = View::new(1, one.me, Vec::new(), &one);
        assert_eq!(same.owner(Slot(1)), Some(one.me));
        let next = View::new(2, one.me, Vec::new(), &one);
        assert_eq!(next.owner(Slot(1)), None);
        assert_eq!(next.moved(&one).len(), usize::from(rookery_store::SLOTS));
    }
}
