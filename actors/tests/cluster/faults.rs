//! Nodes that are killed, cut off, or wrongly declared dead.

use crate::support::{Client, World, settled};
use futures_util::FutureExt;
use rookery_protocol::client::Watch;
use rookery_protocol::{ClientFrame, CloseCode, ServerFrame, Status};
use rookery_store::memory::Fault;
use rookery_store::{Lease, NodeState, Outcome, Plan};
use std::time::{Duration, Instant};

#[test]
fn after_a_node_was_killed_the_others_serve_everything_and_lost_nothing() {
    let world = World::new();
    let mut nodes = world.cluster(3);
    let mut pairs: Vec<_> = (0..8)
        .map(|n| {
            let (ann, bob) = (world.user(), world.user());
            let conversation = world.direct(ann, bob);
            let on_b = Client::new(&nodes[1 + (n + 1) % 2], bob);
            (conversation, Client::new(&nodes[1 + n % 2], ann), on_b)
        })
        .collect();
    for (conversation, ann, _) in &mut pairs {
        ann.deliver(*conversation, "before");
    }
    nodes[0].kill();
    let killed = Instant::now();
    for (conversation, ann, bob) in &mut pairs {
        assert_eq!(ann.deliver(*conversation, "after"), 2);
        let wanted = [(1, "before".to_owned()), (2, "after".to_owned())];
        assert_eq!(bob.messages(*conversation, 2), wanted);
    }
    println!("all served {} ms after the kill", killed.elapsed().as_millis());
    nodes[1].wait_for("two members", |view| view.members.len() == 2);
    // It comes back under its name, as another.
    nodes[0] = world.start("n0");
    for node in &nodes {
        node.wait_for("three members", |view| settled(view, 3));
    }
    for (conversation, ann, _) in &mut pairs {
        assert_eq!(ann.deliver(*conversation, "again"), 3);
    }
}

#[test]
fn who_was_wrongly_declared_dead_stops_at_once_and_comes_back_as_another() {
    let world = World::new();
    let nodes = world.cluster(2);
    let (ann, bob) = (world.user(), world.user());
    let conversation = world.direct(ann, bob);
    let mut on_victim = Client::new(&nodes[0], ann);
    on_victim.deliver(conversation, "before");
    let me = nodes[0].view().me;
    loop {
        // Its renewals race with this.
        let members = world.store.members().now_or_never().unwrap().unwrap();
        let lease = members.leases[&me.node].lease.clone();
        let dead = Lease { state: NodeState::Dead, ..lease };
        let plan = members.change("test", me.node, Some(&dead));
        let outcome = world.store.commit(plan).now_or_never().unwrap();
        if matches!(outcome, Outcome::Committed { .. }) {
            break;
        }
    }
    assert_eq!(on_victim.wait_closed(), CloseCode::GoingAway);
    nodes[0].wait_for("another life", |view| view.serving && view.me != me);
    nodes[1].wait_for("both", |view| view.members.len() == 2);
    let mut again = Client::new(&nodes[0], ann);
    assert_eq!(again.deliver(conversation, "after"), 2);
}

#[test]
fn a_cut_link_costs_answers_and_no_message() {
    let world = World::new();
    let nodes = world.cluster(2);
    let (a, b) = (nodes[0].view().me, nodes[1].view().me);
    let users: Vec<_> = (0..6).map(|_| (world.user(), world.user())).collect();
    let mut pairs: Vec<_> = users
        .iter()
        .map(|(ann, bob)| {
            let conversation = world.direct(*ann, *bob);
            (conversation, Client::new(&nodes[0], *ann), Client::new(&nodes[1], *bob))
        })
        .collect();
    world.net.cut(a, b);
    world.net.cut(b, a);
    // Both nodes reach the store: nobody is declared dead for a link. What the other node works
    // for is refused at once, to be tried again.
    let (mut refused, mut took) = (0, Vec::new());
    for (conversation, ann, _) in &mut pairs {
        let sent = Instant::now();
        let request = ann.send(*conversation, crate::support::message_id(), "into the dark");
        let answer = ann.expect("an answer", |frame| match frame {
            ServerFrame::Sent(sent) => sent.request == request,
            ServerFrame::Error(error) => error.request == request && error.retryable,
            _ => false,
        });
        refused += usize::from(matches!(answer, ServerFrame::Error(_)));
        took.push(sent.elapsed());
    }
    assert!(refused > 0);
    // The machine may stand still for a moment, but not for most of them.
    took.sort();
    assert!(took[took.len() / 2] < Duration::from_secs(2), "{took:?}");
    world.net.heal(a, b);
    world.net.heal(b, a);
    let mut seqs = Vec::new();
    for (conversation, ann, bob) in &mut pairs {
        let seq = ann.deliver(*conversation, "in the light");
        let messages = bob.messages(*conversation, usize::try_from(seq).unwrap());
        assert_eq!(messages.last().unwrap(), &(seq, "in the light".to_owned()));
        seqs.push(seq);
    }
    // Vanished without a word: the session looks into the store, the client asks again.
    world.net.drop_next(a, b, 5);
    world.net.drop_next(b, a, 5);
    for ((conversation, ann, bob), seq) in pairs.iter_mut().zip(seqs) {
        assert_eq!(ann.deliver(*conversation, "lost and found"), seq + 1);
        assert_eq!(bob.messages(*conversation, 1), [(seq + 1, "lost and found".to_owned())]);
    }
}

#[test]
fn a_send_under_way_when_its_owner_falls_silent_is_answered_within_two_seconds() {
    // The machine may stand still for a moment, but not each time.
    let mut took = Vec::new();
    while took.last().is_none_or(|last| *last >= Duration::from_secs(2)) {
        assert!(took.len() < 3, "{took:?}");
        took.push(answer_when_the_owner_falls_silent());
    }
}

/// How long it takes until a send is answered.
fn answer_when_the_owner_falls_silent() -> Duration {
    let world = World::new();
    let nodes = world.cluster(2);
    let (a, b) = (nodes[0].view().me, nodes[1].view().me);
    let (conversation, ann) = std::iter::repeat_with(|| {
        let (ann, bob) = (world.user(), world.user());
        (world.direct(ann, bob), ann)
    })
    .find(|(conversation, _)| nodes[1].view().owns_conversation(*conversation))
    .unwrap();
    let mut client = Client::new(&nodes[0], ann);
    // It leaves, and no answer comes back.
    world.net.hold(a, b);
    let request = client.send(conversation, crate::support::message_id(), "held up");
    let sent = Instant::now();
    world.net.cut(b, a);
    let answer = client.expect(
        "an answer",
        |frame| matches!(frame, ServerFrame::Error(error) if error.request == request),
    );
    assert!(matches!(answer, ServerFrame::Error(error) if error.retryable));
    sent.elapsed()
}

#[test]
fn a_store_that_is_away_for_all_costs_refusals_and_nobodys_membership() {
    let world = World::new();
    let nodes = world.cluster(3);
    let lives: Vec<_> = nodes.iter().map(|node| node.view().me).collect();
    let (ann, bob) = (world.user(), world.user());
    let conversation = world.direct(ann, bob);
    let mut client = Client::new(&nodes[0], ann);
    client.deliver(conversation, "before");
    world.engine.set_faults(|_: &Plan| Fault::Busy);
    for node in &nodes {
        node.wait_for("no work", |view| !view.serving);
    }
    let request = client.send(conversation, crate::support::message_id(), "refused");
    client.expect(
        "a refusal",
        |frame| matches!(frame, ServerFrame::Error(e) if e.request == request && e.retryable),
    );
    world.engine.clear_faults();
    for node in &nodes {
        node.wait_for("work", |view| view.serving);
    }
    assert_eq!(client.deliver(conversation, "after"), 2);
    let still: Vec<_> = nodes.iter().map(|node| node.view().me).collect();
    assert_eq!(still, lives, "nobody was declared dead");
}

#[test]
fn presence_survives_the_loss_of_a_home() {
    let world = World::new();
    let mut nodes = world.cluster(3);
    let (ann, bob) = (world.user(), world.user());
    world.direct(ann, bob);
    let home = nodes.iter().position(|node| node.view().is_home_of(bob)).unwrap();
    let (one, two) = ((home + 1) % 3, (home + 2) % 3);
    let mut on_a = Client::new(&nodes[one], ann);
    let on_b = Client::new(&nodes[two], bob);
    on_a.tell(ClientFrame::Watch(Watch { request: 9, users: vec![bob] }));
    let online = |frame: &ServerFrame| matches!(frame, ServerFrame::Presence(p) if p.user == bob && p.status == Status::Online);
    on_a.expect("online", online);
    nodes[home].kill();
    // Its new home is told that bob is there, and that ann watches.
    on_a.expect("online again", online);
    on_b.tell(ClientFrame::Leave(rookery_protocol::client::Leave {}));
    on_a.expect("offline", |frame| {
        matches!(frame, ServerFrame::Presence(p) if p.user == bob && p.status == Status::Offline)
    });
}
