//! A node's membership: the real [`Keeping`] on the simulated store, carried out as the shell's
//! keeper does. One look at a time; each wait for the store ends with its answer or with patience.

use super::coverage::{self, Conversations, Presences, Sessions};
use super::node::Item;
use super::world::{Deliver, Event, Then, World};
use rookery_actors::cluster::keeping::{Commit, Next};
use rookery_actors::cluster::{
    Attempt, Change, Keeping, Load, Member, NodeId, Phase, Profile, SlotSet, Timing, View, Wish,
};
use rookery_actors::link::NodeKey;
use rookery_actors::wire::{self, Header, News};
use rookery_actors::{PresenceMsg, SessionMsg};
use rookery_protocol::CloseCode;
use rookery_store::engine::ReadError;
use rookery_store::{Lease, Members, NodeState, Outcome};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// The cluster's name.
pub const CLUSTER: &str = "sim";
/// How long sessions of a former life may take to end, microseconds, as in the shell.
const ENDING_US: u64 = 1_000_000;

/// A node's membership, and what it goes by.
pub struct Keeper {
    /// The decisions.
    pub keeping: Keeping,
    /// What the node goes by.
    pub view: Arc<View>,
    /// Until when that allows it to work, on its own clock.
    pub until_ms: u64,
    /// What it is to become.
    pub wish: Wish,
    /// It works without a cluster.
    pub alone: bool,
    /// Nodes that did not get all hints, and don't know it yet.
    pub lossy: BTreeSet<NodeKey>,
    /// Counts what is waited for: an answer to anything earlier comes too late.
    turn: u64,
    started_ms: u64,
    commits: VecDeque<Commit>,
    committing: Option<(Attempt, bool)>,
    /// It waits for nothing but the time of its next look.
    idle: bool,
    /// Somebody wants it to look as soon as it is idle.
    called: bool,
}

impl Keeper {
    /// The keeper of a life that has not begun yet.
    pub fn new(name: &str, incarnation: u64, alone: bool) -> Self {
        let keeping = Keeping::new(profile(name), incarnation, Timing::default());
        let me = keeping.me();
        let (view, until_ms) = if alone {
            let lease = Lease {
                name: name.to_owned(),
                incarnation,
                state: NodeState::Active,
                counter: 0,
                link: String::new(),
                endpoint: String::new(),
                zone: String::new(),
                capacity: 1,
                sessions: 0,
                lag_ms: 0,
            };
            let mut view = View::new(1, me, vec![Member { key: me, lease }], &View::empty(me));
            view.serving = true;
            (view, u64::MAX)
        } else {
            (View::empty(me), 0)
        };
        Self {
            keeping,
            view: Arc::new(view),
            until_ms,
            wish: Wish::Serve,
            alone,
            lossy: BTreeSet::new(),
            turn: 0,
            started_ms: 0,
            commits: VecDeque::new(),
            committing: None,
            idle: true,
            called: false,
        }
    }

    /// This node, in this life.
    pub fn me(&self) -> NodeKey {
        self.view.me
    }
}

fn profile(name: &str) -> Profile {
    Profile {
        cluster: CLUSTER.into(),
        name: name.into(),
        link: String::new(),
        endpoint: format!("ws://{name}"),
        zone: String::new(),
        capacity: 1,
    }
}

fn phase(phase: &Phase) -> &'static str {
    match phase {
        Phase::Outside => "n:outside",
        Phase::Joining => "n:joining",
        Phase::Draining => "n:draining",
        Phase::Active | Phase::Left | Phase::Ended(_) => "n:active",
    }
}

impl World {
    fn keeper(&mut self, at: usize) -> Option<&mut Keeper> {
        self.nodes.get_mut(at).filter(|node| node.up).map(|node| &mut node.keeper)
    }

    /// A process starts: its first look comes at once.
    pub(super) fn keep(&mut self, at: usize) {
        self.look_in(at, 1);
    }

    fn look_in(&mut self, at: usize, wait_ms: u64) {
        let Some(node) = self.nodes.get_mut(at).filter(|node| node.up) else { return };
        if node.keeper.alone {
            return;
        }
        let wait_ms = if std::mem::take(&mut node.keeper.called) { 0 } else { wait_ms };
        node.keeper.turn += 1;
        node.keeper.idle = true;
        let (life, turn, wait) = (node.life, node.keeper.turn, node.real_us(wait_ms));
        self.at(wait, Event::Look(at, life, turn));
    }

    /// The members may have changed.
    pub(super) fn look_now(&mut self, at: usize) {
        let Some(keeper) = self.keeper(at) else { return };
        if keeper.idle {
            self.look_in(at, 0);
        } else {
            keeper.called = true;
        }
    }

    /// Begins to wait for the store; the number that its answer must still have.
    fn wait(&mut self, at: usize) -> u64 {
        let patience_ms = Timing::default().renew_ms;
        let Some(node) = self.nodes.get_mut(at) else { return 0 };
        node.keeper.turn += 1;
        node.keeper.idle = false;
        let (life, turn, wait) = (node.life, node.keeper.turn, node.real_us(patience_ms));
        self.at(wait, Event::Patience(at, life, turn));
        turn
    }

    /// Looks at the store.
    pub(super) fn look_at_store(&mut self, at: usize, turn: u64) {
        let now_ms = self.mono_ms(at);
        let Some(keeper) = self.keeper(at).filter(|keeper| keeper.turn == turn) else { return };
        keeper.started_ms = now_ms;
        let wish = keeper.wish;
        keeper.keeping.wish(wish);
        let turn = self.wait(at);
        let Some(store) = self.nodes.get(at).map(|node| node.store.clone()) else { return };
        self.spawn(at, async move {
            let members = store.members().await;
            Box::new(move |world: &mut Self| world.members_read(at, turn, members)) as Deliver
        });
    }

    fn members_read(&mut self, at: usize, turn: u64, read: Result<Members, ReadError>) {
        if self.keeper(at).is_none_or(|keeper| keeper.turn != turn) {
            return;
        }
        match read {
            Ok(members) => self.follow(at, &members),
            Err(_) => self.blind(at),
        }
    }

    /// What was waited for did not come in time.
    pub(super) fn out_of_patience(&mut self, at: usize, turn: u64) {
        let Some(keeper) = self.keeper(at) else { return };
        if keeper.idle || keeper.turn != turn {
            return;
        }
        match keeper.committing.take() {
            Some((attempt, changes)) => {
                coverage::reached(("keeper.impatient", "n:commit"));
                self.commit_done(at, attempt, changes, &Outcome::Unresolved);
            }
            None => {
                coverage::reached(("keeper.impatient", "n:read"));
                self.blind(at);
            }
        }
    }

    fn blind(&mut self, at: usize) {
        let now_ms = self.mono_ms(at);
        let Some(keeper) = self.keeper(at) else { return };
        coverage::reached(("keeper.blind", phase(keeper.keeping.phase())));
        let view = Arc::clone(&keeper.view);
        if let Some(view) = keeper.keeping.blind(now_ms, &view) {
            coverage::reached(("keeper.not_serving", "n"));
            self.note(|| format!("node {at} stops serving: it can't renew"));
            self.publish(at, view);
        }
        self.looked(at);
    }

    /// Carries out what a look leads to.
    fn follow(&mut self, at: usize, members: &Members) {
        let now_ms = self.mono_ms(at);
        let load = Load { sessions: self.hosted_sessions(at), lag_ms: 0 };
        let linked = self.linked(at);
        let Some(keeper) = self.keeper(at) else { return };
        let (started_ms, before) = (keeper.started_ms, Arc::clone(&keeper.view));
        keeper.keeping.linked_to(linked);
        let looked = keeper.keeping.looked(started_ms, now_ms, load, members, &before);
        keeper.commits = looked.commits.into();
        self.publish(at, looked.view);
        let Some(node) = self.nodes.get_mut(at) else { return };
        let linked = node.keeper.view.is_linked(|peer| node.links.is_up(peer));
        if node.keeper.keeping.linked(now_ms, linked) {
            coverage::reached(("keeper.unlinked", "n"));
        }
        self.next_commit(at);
    }

    fn next_commit(&mut self, at: usize) {
        let Some(keeper) = self.keeper(at) else { return };
        let Some(Commit { attempt, plan, changes }) = keeper.commits.pop_front() else {
            keeper.until_ms = keeper.keeping.serves_until_ms();
            self.confess(at);
            return self.looked(at);
        };
        keeper.committing = Some((attempt, changes));
        let turn = self.wait(at);
        let life = self.nodes.get(at).map_or(0, |node| node.life);
        let then: Then = Box::new(move |world, outcomes| {
            let waits = world.keeper(at).filter(|keeper| keeper.turn == turn);
            if waits.and_then(|keeper| keeper.committing.take()).is_some() {
                let outcome = outcomes.first().copied().unwrap_or(Outcome::Unresolved);
                world.commit_done(at, attempt, changes, &outcome);
            }
        });
        self.submit(at, life, vec![plan], then);
    }

    fn commit_done(&mut self, at: usize, attempt: Attempt, changes: bool, outcome: &Outcome) {
        let Some(keeper) = self.keeper(at) else { return };
        if keeper.keeping.committed(attempt, changes, outcome) {
            self.tell_nodes(at, &News::Look);
        }
        self.next_commit(at);
    }

    /// A look and its commits are done.
    fn looked(&mut self, at: usize) {
        let Some(keeper) = self.keeper(at) else { return };
        match keeper.keeping.next() {
            Next::LookIn(wait_ms) => self.look_in(at, wait_ms),
            Next::Reborn(why, pause_ms) => {
                coverage::reached(("keeper.declared_dead", "n"));
                self.note(|| format!("node {at} is out of the cluster: {why}"));
                self.reborn(at, pause_ms);
            }
            Next::Left => {
                coverage::reached(("keeper.left", "n"));
                keeper.turn += 1;
                keeper.idle = false;
                self.drop_links(at);
            }
        }
    }

    /// A life is over: everything that belonged to it ends, and another one begins.
    fn reborn(&mut self, at: usize, pause_ms: u64) {
        self.restarted |= self.healed_us.is_some();
        let incarnation = self.rng.next() | 1;
        self.drop_links(at);
        let Some(node) = self.nodes.get_mut(at) else { return };
        node.keeper.keeping = Keeping::new(profile(&node.name), incarnation, Timing::default());
        node.keeper.turn += 1;
        node.keeper.idle = false;
        let life = node.life;
        let me = node.keeper.keeping.me();
        self.publish(at, View::empty(me));
        self.end_sessions(at);
        self.at(1_000, Event::Rejoin(at, life, self.now_us + ENDING_US, pause_ms));
    }

    /// The next life begins once the sessions of the former are gone, or time is up.
    pub(super) fn rejoin(&mut self, at: usize, until_us: u64, pause_ms: u64) {
        if self.hosted_sessions(at) == 0 || self.now_us >= until_us {
            return self.look_in(at, pause_ms);
        }
        let life = self.nodes.get(at).map_or(0, |node| node.life);
        self.at(20_000, Event::Rejoin(at, life, until_us, pause_ms));
    }

    pub(super) fn end_sessions(&mut self, at: usize) {
        self.each_session(at, |_| Some(SessionMsg::End(CloseCode::GoingAway)));
    }

    /// Publishes a view, and tells everybody whom it concerns.
    fn publish(&mut self, at: usize, view: View) {
        let view = Arc::new(view);
        let Some(keeper) = self.keeper(at) else { return };
        keeper.until_ms = keeper.keeping.serves_until_ms();
        let before = std::mem::replace(&mut keeper.view, Arc::clone(&view));
        let change = Change::between(&before, &view);
        if change.peers {
            self.set_peers(at, &view);
        }
        if !change.placed {
            return;
        }
        self.truth.judge_view(at, &view);
        self.note(|| {
            let slots = view.slots_of(view.me);
            let (epoch, serving) = (view.epoch, view.serving);
            format!("node {at} goes by epoch {epoch} as {}: {slots} slots, {serving}", view.me)
        });
        for shard in 0..self.config.shards {
            self.push::<Conversations>(at, shard, Item::Placed(Arc::clone(&view)));
            self.push::<Presences>(at, shard, Item::Placed(Arc::clone(&view)));
        }
        let Change { gone, moved, .. } = change;
        if !gone.is_empty() {
            self.each_hub(at, move |_| Some(PresenceMsg::NodesGone(Arc::clone(&gone))));
        }
        if !moved.is_empty() {
            let (hubs, sends) = (Arc::clone(&moved), moved);
            self.each_session(at, move |_| Some(SessionMsg::HubsMoved(Arc::clone(&hubs))));
            self.each_session(at, move |_| Some(SessionMsg::SendsMoved(Arc::clone(&sends))));
        }
    }

    /// Tells nodes that they missed hints.
    fn confess(&mut self, at: usize) {
        let Some(keeper) = self.keeper(at) else { return };
        let (view, lossy) = (Arc::clone(&keeper.view), std::mem::take(&mut keeper.lossy));
        let header = Header { hops: 0, epoch: view.epoch };
        let message = wire::encode_news(header, &News::HintsLost);
        for node in lossy {
            let member = view.members.iter().any(|member| member.key == node);
            if member
                && self.link_send(at, node, message.clone()).is_err()
                && let Some(keeper) = self.keeper(at)
            {
                keeper.lossy.insert(node);
            }
        }
    }

    /// Tells every other node.
    pub(super) fn tell_nodes(&mut self, at: usize, news: &News) {
        let Some(view) = self.keeper(at).map(|keeper| Arc::clone(&keeper.view)) else { return };
        let message = wire::encode_news(Header { hops: 0, epoch: view.epoch }, news);
        for member in view.others() {
            // As in the shell: a node that can't be told finds out by itself.
            self.link_send(at, member.key, message.clone()).ok();
        }
    }

    /// Sessions whose sends a node was to answer look for them elsewhere.
    pub(super) fn slots_of(&mut self, at: usize, node: NodeKey) -> Arc<SlotSet> {
        let slots = self.keeper(at).map(|keeper| keeper.view.slots(node));
        Arc::new(slots.unwrap_or_default())
    }

    /// The members to which a node has a link.
    fn linked(&self, at: usize) -> BTreeSet<NodeKey> {
        let Some(node) = self.nodes.get(at) else { return BTreeSet::new() };
        let others = node.keeper.view.others().map(|member| member.key);
        others.filter(|key| node.links.is_up(*key)).collect()
    }

    fn hosted_sessions(&self, at: usize) -> u32 {
        let Some(node) = self.nodes.get(at) else { return 0 };
        let hosted: usize = node.sessions.iter().map(|shard| shard.host.len()).sum();
        u32::try_from(hosted).unwrap_or(u32::MAX)
    }

    /// A node in its life.
    pub(super) fn key(&self, at: usize) -> NodeKey {
        let none = NodeKey { node: 0, incarnation: 0 };
        self.nodes.get(at).map_or(none, |node| node.keeper.me())
    }

    /// How sessions of a node are addressed.
    pub(super) fn node_id(&self, at: usize) -> NodeId {
        NodeId(self.key(at).incarnation)
    }

    pub(super) fn each_session(
        &mut self,
        at: usize,
        msg: impl Fn(rookery_actors::SessionRef) -> Option<SessionMsg> + Clone + 'static,
    ) {
        for shard in 0..self.config.shards {
            self.push::<Sessions>(at, shard, Item::Each(Box::new(msg.clone())));
        }
    }

    pub(super) fn each_hub(
        &mut self,
        at: usize,
        msg: impl Fn(rookery_protocol::UserId) -> Option<PresenceMsg> + Clone + 'static,
    ) {
        for shard in 0..self.config.shards {
            self.push::<Presences>(at, shard, Item::Each(Box::new(msg.clone())));
        }
    }
}
