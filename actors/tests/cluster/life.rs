//! Nodes that come, chat and go in order.

use crate::support::{Client, Node, PATIENCE, World, settled};
use rookery_protocol::client::{Mark, SetTyping, Watch};
use rookery_protocol::{ClientFrame, CloseCode, MarkKind, ServerFrame, Status};
use rookery_store::{NodeState, SLOTS, Slot};
use std::time::{Duration, Instant};

#[test]
fn every_slot_has_one_owner_and_all_nodes_agree_who() {
    let nodes = World::new().cluster(3);
    let views: Vec<_> = nodes.iter().map(|node| node.view()).collect();
    assert!(views.iter().all(|view| view.epoch == views[0].epoch));
    for slot in (0..SLOTS).map(Slot) {
        assert_eq!(views.iter().filter(|view| view.owns(slot)).count(), 1, "{slot:?}");
    }
}

#[test]
fn one_node_does_the_maintenance_and_another_takes_its_place_when_it_goes() {
    let mut world = World::new();
    world.maintenance.interval = Duration::from_millis(20);
    let mut nodes = world.cluster(3);
    let wait_for = |nodes: &[Node], what: &str, good: &dyn Fn(&[u64]) -> bool| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let rounds: Vec<u64> = nodes.iter().map(|n| n.system.maintenance_rounds()).collect();
            if good(&rounds) {
                return rounds;
            }
            assert!(Instant::now() < deadline, "{what}: {rounds:?}");
            // Other threads' doings: there is nothing to wait on.
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    // The first was alone for a moment; from now on only one goes on.
    let before = wait_for(&nodes, "rounds", &|rounds| rounds.iter().any(|n| *n > 0));
    let chosen = nodes.iter().position(|node| node.view().owns(Slot(0))).unwrap();
    let goes_on = |rounds: &[u64]| rounds[chosen] >= before[chosen] + 20;
    let after = wait_for(&nodes, "rounds of the chosen one", &goes_on);
    for other in (0..3).filter(|n| *n != chosen) {
        // One may have been under way.
        assert!(after[other] <= before[other] + 1, "{chosen} of {before:?} {after:?}");
    }
    nodes.remove(chosen).kill();
    let sum = |rounds: &[u64]| rounds.iter().sum::<u64>();
    let before = sum(&wait_for(&nodes, "two nodes", &|_| true));
    wait_for(&nodes, "a successor's rounds", &|rounds| sum(rounds) >= before + 5);
}

#[test]
fn users_on_different_nodes_chat_watch_type_and_read() {
    let world = World::new();
    let nodes = world.cluster(3);
    // Enough pairs for conversations and homes to be on every node.
    for n in 0..12 {
        let (ann, bob) = (world.user(), world.user());
        let conversation = world.direct(ann, bob);
        let mut on_a = Client::new(&nodes[n % 3], ann);
        let mut on_b = Client::new(&nodes[(n + 1) % 3], bob);
        on_a.tell(ClientFrame::Watch(Watch { request: 90, users: vec![bob] }));
        on_a.expect("bob online", |frame| {
            matches!(frame, ServerFrame::Presence(p) if p.user == bob && p.status == Status::Online)
        });
        for i in 1..=5 {
            assert_eq!(on_a.deliver(conversation, &format!("hello {i}")), i);
        }
        let wanted: Vec<_> = (1..=5).map(|i| (i, format!("hello {i}"))).collect();
        assert_eq!(on_b.messages(conversation, 5), wanted);
        on_b.tell(ClientFrame::SetTyping(SetTyping { conversation, active: true }));
        on_a.expect("typing", |frame| matches!(frame, ServerFrame::Typing(t) if t.user == bob));
        on_b.tell(ClientFrame::Mark(Mark { conversation, kind: MarkKind::Read, seq: 5 }));
        on_a.expect(
            "a receipt",
            |frame| matches!(frame, ServerFrame::Receipt(r) if r.user == bob && r.seq == 5),
        );
    }
}

#[test]
fn a_welcome_names_the_nodes_with_the_home_first() {
    let world = World::new();
    let nodes = world.cluster(3);
    let user = world.user();
    let endpoints = nodes[0].system.endpoints(Some(user));
    assert_eq!(endpoints.len(), 3);
    let home = nodes.iter().find(|node| node.view().is_home_of(user)).unwrap();
    let own = home.view().members.iter().find(|m| m.key == home.view().me).cloned().unwrap();
    assert_eq!(endpoints[0], own.lease.endpoint);
}

#[test]
fn a_node_that_joins_takes_its_share_while_people_chat() {
    let world = World::new();
    let nodes = world.cluster(2);
    let mut pairs: Vec<_> = (0..8)
        .map(|n| {
            let (ann, bob) = (world.user(), world.user());
            let conversation = world.direct(ann, bob);
            let on_b = Client::new(&nodes[(n + 1) % 2], bob);
            (conversation, Client::new(&nodes[n % 2], ann), on_b)
        })
        .collect();
    for (conversation, ann, _) in &mut pairs {
        ann.deliver(*conversation, "before");
    }
    let third = world.start("n9");
    for node in nodes.iter().chain([&third]) {
        node.wait_for("three members", |view| settled(view, 3));
    }
    assert!(third.view().slots_of(third.view().me) > 1_000);
    for (conversation, ann, bob) in &mut pairs {
        assert_eq!(ann.deliver(*conversation, "after"), 2);
        let wanted = [(1, "before".to_owned()), (2, "after".to_owned())];
        assert_eq!(bob.messages(*conversation, 2), wanted);
    }
}

#[test]
fn a_draining_node_hands_off_sends_its_clients_away_and_loses_nothing() {
    let world = World::new();
    let nodes = world.cluster(3);
    let (ann, bob) = (world.user(), world.user());
    let conversation = world.direct(ann, bob);
    let mut on_leaving = Client::new(&nodes[0], ann);
    let mut on_b = Client::new(&nodes[1], bob);
    on_leaving.deliver(conversation, "before");
    let system = nodes[0].system.clone();
    let leaving = std::thread::scope(|scope| {
        let draining = scope.spawn(|| {
            nodes[0].block_on(system.drain(Duration::from_secs(2)));
        });
        let drain = on_leaving.expect("Drain", |frame| matches!(frame, ServerFrame::Drain(_)));
        let ServerFrame::Drain(drain) = drain else { panic!("{drain:?}") };
        assert_eq!(drain.alternates.len(), 2);
        assert!(!drain.alternates.contains(&"ws://n0/v1/ws".to_owned()));
        // Until it goes, it is served as ever.
        assert_eq!(on_leaving.deliver(conversation, "meanwhile"), 2);
        draining.join().unwrap();
        nodes[0].block_on(system.shutdown());
        on_leaving.wait_closed()
    });
    assert_eq!(leaving, CloseCode::GoingAway);
    nodes[1].wait_for("two members", |view| view.members.len() == 2);
    let mut again = Client::new(&nodes[2], ann);
    assert_eq!(again.deliver(conversation, "after"), 3);
    let bodies = on_b.messages(conversation, 3).into_iter().map(|(_, body)| body);
    assert_eq!(bodies.collect::<Vec<_>>(), ["before", "meanwhile", "after"]);
}

#[test]
fn a_revoked_device_is_shut_out_on_every_node() {
    let world = World::new();
    let nodes = world.cluster(3);
    let ann = world.user();
    let mut phone = Client::new(&nodes[1], ann);
    let same_device = phone.device;
    let mut tablet = Client::with_device(&nodes[2], ann, same_device);
    let mut other = Client::new(&nodes[2], ann);
    nodes[0].system.end_device(ann, same_device);
    assert_eq!(phone.wait_closed(), CloseCode::Revoked);
    assert_eq!(tablet.wait_closed(), CloseCode::Revoked);
    assert_eq!(nodes[1].revoked.lock().unwrap().as_slice(), [(ann, same_device)]);
    let conversation = world.direct(ann, world.user());
    assert_eq!(other.deliver(conversation, "still here"), 1);
}

#[test]
fn a_second_node_of_a_name_and_a_node_of_another_cluster_are_refused() {
    let world = World::new();
    let _nodes = world.cluster(1);
    let twin = world.try_start("n0", |_| {}).err().unwrap().to_string();
    assert!(twin.contains("another node of this name"), "{twin}");
    let other = world.try_start("n5", |config| config.profile.cluster = "other".into());
    let other = other.err().unwrap().to_string();
    assert!(other.contains("cluster \"test\""), "{other}");
}

#[test]
fn who_leaves_in_order_is_not_missed() {
    let world = World::new();
    let nodes = world.cluster(2);
    nodes[0].block_on(nodes[0].system.shutdown());
    nodes[1].wait_for("one member", |view| view.members.len() == 1);
    let states: Vec<_> = nodes[1].view().members.iter().map(|m| m.lease.state).collect();
    assert_eq!(states, [NodeState::Active]);
    assert_eq!(nodes[1].view().slots_of(nodes[1].view().me), usize::from(SLOTS));
}
