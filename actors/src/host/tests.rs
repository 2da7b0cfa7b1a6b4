//! Tests of the host: what an actor leaves behind when it goes without finishing. That a successor
//! waits for plans under way is tested at `orphans` and on running shards.

use super::{Conversations, Host, Line, Outlet, ReplyTo};
use crate::cluster::NodeId;
use crate::effect::{ConnId, Query};
use crate::message::{ConversationMsg, Envelope, SessionRef};
use crate::session::Settings;
use crate::time::Now;
use bytes::Bytes;
use rookery_protocol::{CloseCode, ConversationId, SessionId, UserId};
use rookery_store::{Fence, Plan, Slot, TakeOver, Version, slot_of};
use std::sync::Arc;

const CONVERSATION: ConversationId = ConversationId(1);
const NOW: Now = Now { mono_ms: 1, unix_ms: 1 };

struct NoLine;

impl Line for NoLine {
    fn conn(&self) -> ConnId {
        ConnId(0)
    }

    fn push(&self, _: Bytes) {}
    fn close(&self, _: CloseCode) {}
    fn refuse(&self) {}
    fn lost(&self) {}
}

#[derive(Default)]
struct Desk {
    taken_over: Vec<Slot>,
    fenced: usize,
}

impl Outlet<Conversations> for Desk {
    fn tell(&mut self, _: Envelope) {}
    fn commit(&mut self, _: ReplyTo<ConversationId>, _: Plan) {}
    fn ask(&mut self, _: ReplyTo<ConversationId>, _: Query) {}

    fn may_own(&self, _: Slot) -> bool {
        true
    }

    fn take_over(&mut self, slot: Slot) {
        self.taken_over.push(slot);
    }

    fn later(&mut self, _: ConversationId, _: ConversationMsg) {
        self.fenced += 1;
    }

    fn dropped(&mut self) {}
    fn lost(&mut self, _: ConversationId) {}
}

fn typing() -> ConversationMsg {
    let from = SessionRef { user: UserId(1), session: SessionId(1), node: NodeId(1) };
    ConversationMsg::Typing { from, active: true }
}

#[test]
fn a_conversation_lost_with_nothing_under_way_costs_its_neighbours_no_fence() {
    let settings = Settings { heartbeat_ms: 5_000, grace_ms: 30_000, node: "n1".into() };
    let mut host: Host<Conversations, NoLine> = Host::new(&Arc::new(settings), 0);
    let mut desk = Desk::default();
    host.tell(NOW, CONVERSATION, typing(), None, &mut desk);
    let slot = slot_of(CONVERSATION);
    let fence = Fence { slot, value: Bytes::from_static(b"us"), version: Version(1) };
    host.taken(NOW, slot, TakeOver::Held(fence), &mut desk);
    assert_eq!(desk.taken_over, [slot]);
    host.lose(NOW, CONVERSATION, &mut desk);
    host.tell(NOW, CONVERSATION, typing(), None, &mut desk);
    assert_eq!(desk.taken_over, [slot]);
    assert_eq!(desk.fenced, 1, "the successor goes on under the same fence");
}
