//! Where messages go by views that agree, and by views that don't.

use super::{Carrier, Dispatch};
use crate::cluster::{Member, NodeId, View};
use crate::conversation::Unsettled;
use crate::link::NodeKey;
use crate::message::{ConversationMsg, Envelope, PresenceMsg, SessionMsg, SessionRef};
use crate::wire::Header;
use bytes::Bytes;
use rookery_protocol::{ConversationId, DeviceId, ErrorCode, MarkKind, SessionId, UserId};
use rookery_store::{Lease, NodeState, slot_of, slot_of_user};

#[derive(Default)]
struct Hands {
    here: Vec<Envelope>,
    sent: Vec<NodeKey>,
    full: bool,
    hints_lost: Vec<NodeKey>,
    forwarded: usize,
}

impl Carrier for Hands {
    fn here(&mut self, envelope: Envelope) {
        self.here.push(envelope);
    }

    fn send(&mut self, to: NodeKey, _: Bytes) -> Result<(), ErrorCode> {
        if self.full {
            return Err(ErrorCode::Busy);
        }
        self.sent.push(to);
        Ok(())
    }

    fn is_prompt(&self, _: NodeKey) -> bool {
        true
    }

    fn hints_lost(&mut self, node: NodeKey) {
        self.hints_lost.push(node);
    }

    fn undeliverable(&mut self, _: ErrorCode) {}

    fn forwarded(&mut self) {
        self.forwarded += 1;
    }
}

fn member(name: &str) -> Member {
    let lease = Lease {
        name: name.into(),
        incarnation: NodeKey::number(name),
        state: NodeState::Active,
        counter: 0,
        link: String::new(),
        endpoint: String::new(),
        zone: String::new(),
        capacity: 1,
        sessions: 0,
        lag_ms: 0,
    };
    Member { key: NodeKey::new(name, lease.incarnation), lease }
}

/// The view of `a` in a cluster of these, and a user whose home is `home`.
fn view(names: &[&str], home: &str) -> (View, UserId) {
    let members: Vec<Member> = names.iter().map(|name| member(name)).collect();
    let me = members[0].key;
    let view = View::new(7, me, members, &View::empty(me));
    let at = |user: &UserId| view.owner(slot_of_user(*user)) == Some(member(home).key);
    let user = (1..).map(UserId).find(at).unwrap();
    (view, user)
}

fn watch(user: UserId, from: &View) -> Envelope {
    let node = NodeId(from.me.incarnation);
    let watcher = SessionRef { user: UserId(900), session: SessionId(1), node };
    Envelope::Presence(user, PresenceMsg::Watch(watcher))
}

#[test]
fn a_message_of_an_older_view_is_forwarded_once_and_one_of_a_newer_view_is_given_back() {
    let (view, user) = view(&["a", "b"], "b");
    for (hops, epoch, forwarded) in [(0, 6, 1), (0, 7, 1), (1, 6, 0), (0, 8, 0)] {
        let (mut dispatch, mut hands) = (Dispatch::default(), Hands::default());
        dispatch.arrived(&view, Header { hops, epoch }, watch(user, &view), &mut hands);
        dispatch.flush(&view, &mut hands);
        assert_eq!(hands.forwarded, forwarded, "{hops} hops by epoch {epoch}");
        assert_eq!(hands.sent.len(), forwarded);
        let told = matches!(hands.here[..], [Envelope::Session(_, SessionMsg::HubsMoved(_))]);
        assert_eq!(told, forwarded == 0, "the watcher asks again");
    }
}

#[test]
fn a_registration_that_is_given_back_reaches_its_session_on_another_node() {
    let (view, user) = view(&["a", "b", "c"], "c");
    let far = member("b").key;
    let (session, node) = (SessionId(1), NodeId(far.incarnation));
    let register = PresenceMsg::Register { session, node, device: DeviceId(1) };
    let (mut dispatch, mut hands) = (Dispatch::default(), Hands::default());
    let header = Header { hops: 0, epoch: view.epoch + 1 };
    dispatch.arrived(&view, header, Envelope::Presence(user, register), &mut hands);
    dispatch.flush(&view, &mut hands);
    assert_eq!((hands.sent, hands.hints_lost), (vec![far], vec![]));
}

#[test]
fn what_a_link_refuses_is_confessed_and_given_back() {
    let (view, user) = view(&["a", "b"], "b");
    let (mut dispatch, mut hands) = (Dispatch::default(), Hands { full: true, ..Hands::default() });
    dispatch.add(&view, watch(user, &view), &mut hands);
    assert!(!dispatch.is_empty());
    dispatch.flush(&view, &mut hands);
    assert!(dispatch.is_empty());
    assert_eq!(hands.hints_lost, [member("b").key]);
    assert!(matches!(hands.here[..], [Envelope::Session(_, SessionMsg::HubsMoved(_))]));
}

#[test]
fn what_a_conversation_left_undone_stays_here_when_nobody_can_take_it() {
    let (view, _) = view(&["a", "b"], "b");
    let far = |id: &ConversationId| view.owner(slot_of(*id)) == Some(member("b").key);
    let id = (1..).map(ConversationId).find(far).unwrap();
    let rest = Unsettled { doubt_after: Some(4), marks: vec![(UserId(1), MarkKind::Read, 4)] };
    for full in [false, true] {
        let (mut dispatch, mut hands) = (Dispatch::default(), Hands { full, ..Hands::default() });
        let msg = ConversationMsg::Unsettled(rest.clone());
        dispatch.add(&view, Envelope::Conversation(id, msg), &mut hands);
        dispatch.flush(&view, &mut hands);
        assert_eq!((hands.sent.len(), hands.here.len()), (usize::from(!full), usize::from(full)));
    }
}

#[test]
fn what_is_for_this_node_stays_here() {
    let (view, user) = view(&["a", "b"], "a");
    let (mut dispatch, mut hands) = (Dispatch::default(), Hands::default());
    dispatch.add(&view, watch(user, &view), &mut hands);
    assert!(dispatch.is_empty());
    assert_eq!(hands.here.len(), 1);
}
