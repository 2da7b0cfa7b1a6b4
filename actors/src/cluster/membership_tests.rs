//! One life at a time: what a node writes, and what it makes of what others wrote.

use super::*;
use futures_util::FutureExt;
use rookery_store::Store;
use rookery_store::memory::MemoryEngine;

/// A node with its own clock, on a store that answers at once.
struct Node {
    store: Store<MemoryEngine>,
    core: Membership,
    view: View,
    now_ms: u64,
}

fn profile(name: &str, cluster: &str) -> Profile {
    Profile {
        cluster: cluster.into(),
        name: name.into(),
        link: format!("{name}:7000"),
        endpoint: format!("ws://{name}"),
        zone: String::new(),
        capacity: 1,
    }
}

impl Node {
    fn new(store: &Store<MemoryEngine>, name: &str, incarnation: u64) -> Self {
        Self::of(store, profile(name, "test"), incarnation)
    }

    fn of(store: &Store<MemoryEngine>, profile: Profile, incarnation: u64) -> Self {
        let mut core = Membership::new(profile, incarnation, Timing::default());
        core.ready();
        let view = View::empty(core.me());
        Self { store: store.clone(), core, view, now_ms: 50_000 * incarnation }
    }

    /// Looks once after `ms`; how many commits it led to.
    fn look(&mut self, ms: u64) -> usize {
        self.now_ms += ms;
        let members = self.store.members().now_or_never().unwrap().unwrap();
        let decision =
            self.core.look(self.now_ms, self.now_ms, Load::default(), &members, &self.view);
        self.view = decision.view;
        let count = decision.commits.len();
        for (attempt, plan) in decision.commits {
            let outcome = self.store.commit(plan).now_or_never().unwrap();
            self.core.committed(attempt, &outcome);
        }
        count
    }

    fn active(store: &Store<MemoryEngine>, name: &str, incarnation: u64) -> Self {
        let mut node = Self::new(store, name, incarnation);
        for _ in 0..3 {
            node.look(0);
        }
        assert_eq!(*node.core.phase(), Phase::Active);
        node
    }
}

fn store() -> Store<MemoryEngine> {
    Store::new(MemoryEngine::new())
}

#[test]
fn a_node_joins_becomes_active_drains_and_leaves() {
    let store = store();
    let mut node = Node::active(&store, "a", 1);
    assert!(node.view.serving);
    assert_eq!((node.view.epoch, node.view.members.len()), (1, 1));
    node.core.drain();
    node.look(0);
    node.look(0);
    assert_eq!(*node.core.phase(), Phase::Draining);
    assert_eq!((node.view.epoch, node.view.slots_of(node.core.me())), (2, 0));
    assert!(node.core.is_serving(node.now_ms), "its sessions go on until they are told");
    node.core.leave();
    node.look(0);
    node.look(0);
    assert_eq!(*node.core.phase(), Phase::Left);
    assert_eq!((node.view.epoch, node.view.members.len()), (3, 0));
    assert_eq!(node.look(1_000), 0);
}

#[test]
fn a_node_waits_with_slots_until_it_is_ready() {
    let store = store();
    let mut node = Node::new(&store, "a", 1);
    node.core.ready = false;
    for _ in 0..5 {
        node.look(500);
    }
    assert_eq!(*node.core.phase(), Phase::Joining);
    assert_eq!(node.view.epoch, 0);
    node.core.ready();
    node.look(0);
    node.look(0);
    assert_eq!(*node.core.phase(), Phase::Active);
}

#[test]
fn a_lease_that_stands_still_is_ended_after_the_suspicion_time_and_not_before() {
    let timing = Timing::default();
    for (linked, looks) in [(true, timing.suspicion_ms / 100), (false, timing.unlinked_ms() / 100)]
    {
        let store = store();
        let mut a = Node::active(&store, "a", 1);
        let b = Node::active(&store, "b", 2);
        a.core.linked_to(linked.then_some(b.core.me()).into_iter().collect());
        for _ in 0..looks {
            a.look(100);
            assert!(a.view.node(crate::cluster::NodeId(2)).is_some(), "linked: {linked}");
        }
        a.look(100);
        a.look(0);
        assert_eq!(a.view.node(crate::cluster::NodeId(2)), None, "linked: {linked}");
        let fence_ms = timing.fence_ms();
        assert!(!b.core.is_serving(b.now_ms + fence_ms), "it fenced itself long before");
        assert!(3 * fence_ms <= 2 * timing.unlinked_ms(), "though its clock is slow by a third");
    }
}

#[test]
fn who_was_declared_dead_finds_out_and_comes_back_with_another_life() {
    let store = store();
    let mut a = Node::active(&store, "a", 1);
    let mut b = Node::active(&store, "b", 2);
    for _ in 0..9 {
        a.look(500);
    }
    b.look(60_000);
    assert_eq!(*b.core.phase(), Phase::Ended(Refused::DeclaredDead));
    assert!(!b.view.serving);
    assert_eq!(b.look(0), 0, "it is out for good in this life");
    let b = Node::active(&store, "b", 3);
    a.look(500);
    let keys = |node: &Node| node.view.members.iter().map(|m| m.key).collect::<Vec<_>>();
    assert_eq!((a.view.epoch, keys(&a)), (b.view.epoch, keys(&b)));
}

#[test]
fn nobody_is_suspected_for_a_time_in_which_nobody_could_look() {
    let store = store();
    let mut a = Node::active(&store, "a", 1);
    let mut b = Node::active(&store, "b", 2);
    a.look(500);
    // The store is away for a minute, for all; then `a` is back first.
    a.look(60_000);
    a.look(500);
    b.look(60_000);
    a.look(500);
    assert_eq!(*b.core.phase(), Phase::Active);
    assert_eq!(a.view.members.len(), 2);
}

#[test]
fn a_name_that_lives_is_refused_and_a_dead_ones_place_is_taken() {
    let store = store();
    let mut first = Node::active(&store, "a", 1);
    let mut twin = Node::new(&store, "a", 2);
    for _ in 0..4 {
        first.look(500);
        twin.look(500);
    }
    assert_eq!(*twin.core.phase(), Phase::Ended(Refused::NameTaken));
    assert_eq!(*first.core.phase(), Phase::Active);
    // The first is killed and started again: its old lease stands still.
    let mut again = Node::new(&store, "a", 3);
    for _ in 0..7 {
        again.look(500);
    }
    again.look(0);
    again.look(0);
    assert_eq!(*again.core.phase(), Phase::Active);
    first.look(4_000);
    assert_eq!(*first.core.phase(), Phase::Ended(Refused::DeclaredDead));
}

#[test]
fn a_store_of_another_cluster_is_refused() {
    let store = store();
    Node::active(&store, "a", 1);
    let mut other = Node::of(&store, profile("b", "other"), 2);
    assert_eq!(other.look(0), 0);
    assert_eq!(*other.core.phase(), Phase::Ended(Refused::ForeignCluster("test".into())));
}

#[test]
fn a_renewal_whose_outcome_got_lost_counts_once_it_is_seen() {
    use rookery_store::memory::Fault;
    let engine = MemoryEngine::new();
    let store = Store::new(engine.clone());
    let mut node = Node::active(&store, "a", 1);
    let started_ms = node.now_ms + 1_000;
    engine.set_faults(|_: &Plan| Fault::UnresolvedApplied);
    node.look(1_000);
    engine.clear_faults();
    assert!(!node.core.is_serving(started_ms + 1_500));
    node.look(500);
    assert!(node.core.is_serving(started_ms + 1_500));
}

#[test]
fn without_renewals_a_node_stops_serving_by_itself() {
    let store = store();
    let mut node = Node::active(&store, "a", 1);
    let fence_ms = Timing::default().fence_ms();
    assert!(node.core.is_serving(node.now_ms + fence_ms - 1));
    assert!(!node.core.is_serving(node.now_ms + fence_ms));
    node.look(fence_ms);
    node.look(0);
    assert!(node.view.serving, "its lease was there all the time");
}
