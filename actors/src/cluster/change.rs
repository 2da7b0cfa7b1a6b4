//! What follows from a new view, and from hints that were lost: who has to hear of it. Pure.

use super::{NodeId, SlotSet, View};
use crate::link::NodeKey;
use crate::message::SessionMsg;
use crate::plant::{self, Bug};
use std::sync::Arc;

/// See the module.
#[derive(Clone, Debug)]
pub struct Change {
    /// Links must learn the new list of peers.
    pub peers: bool,
    /// Shards must learn the new view ([`crate::host::Host::placed`]), everybody what follows.
    pub placed: bool,
    /// Lives that are over: hubs must learn of them.
    pub gone: Arc<[NodeId]>,
    /// Slots with another owner: sessions must learn of them.
    pub moved: Arc<SlotSet>,
}

impl Change {
    /// What `view` changes for a node that went by `before`.
    #[must_use]
    pub fn between(before: &View, view: &View) -> Self {
        let (then, now) = (keys(before), keys(view));
        let placed =
            before.epoch != view.epoch || before.serving != view.serving || before.me != view.me;
        let (gone, moved) = if placed {
            let gone = then.iter().filter(|key| !now.contains(key));
            let gone = gone.map(|key| NodeId(key.incarnation)).collect();
            (gone, view.moved(before))
        } else {
            (Arc::default(), SlotSet::default())
        };
        let moved = if plant::is(Bug::MoveNotTold) { SlotSet::default() } else { moved };
        Self { peers: then != now, placed, gone, moved: Arc::new(moved) }
    }
}

/// What every session of a node is told when hints from another node were lost: to read its inbox, and
/// to ask again after users whose hubs are there, who may have come or gone unheard.
#[must_use]
pub fn after_lost_hints(view: &View, from: NodeKey) -> Vec<SessionMsg> {
    let mut told = vec![SessionMsg::HintsLost];
    if !plant::is(Bug::WatchesNotRenewed) {
        told.push(SessionMsg::HubsMoved(Arc::new(view.slots(from))));
    }
    told
}

fn keys(view: &View) -> Vec<NodeKey> {
    view.members.iter().map(|member| member.key).collect()
}
