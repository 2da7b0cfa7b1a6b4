//! The membership of one node in its cluster: joins, renews, suspects, fences itself. Pure.
//!
//! The caller looks at the store again and again and passes what it read to [`Membership::look`],
//! carries out the commits that come back, and passes their outcomes to
//! [`Membership::committed`]. Every commit guards on what was read, so one that is late or
//! repeated does no harm, and the next look shows what became of one whose outcome got lost.
//!
//! Safety
//! - A node is declared dead only after its lease stood still for the suspicion time on the
//!   observer's own monotonic clock, while the observer looked without a gap. Clocks of different
//!   machines are never compared.
//! - To a process that died, connections end at once, which they do for nobody who is only slow or
//!   stands still: a node to which the observer has no link is borne for four fifths of that time.
//! - A node stops serving before anybody can declare it dead: its own bound runs from the *start*
//!   of its last successful renewal and is two thirds of the shorter time; an observer's runs
//!   from when it *saw* that renewal. Clocks may run half as fast again as each other.
//! - A node that finds its lease ended, taken or gone is out for good in this life.
//!
//! Liveness
//! - A lease that stands still is ended by whoever sees it; whoever was wrongly declared dead
//!   comes back with another incarnation.
//! - When the store could not be reached by anybody, nobody is suspected for it: after a gap in
//!   the looks all suspicion starts anew.
//! - A node that reaches the store and none of its peers stays a member on purpose: who of them is cut
//!   off, the store can't tell, and peers that vote each other out can leave nobody. What would have to
//!   pass between them is refused at once, to be tried again, until the way is open.

use super::timing::Timing;
use super::view::{Member, View};
use crate::link::NodeKey;
use crate::plant::{self, Bug};
use rookery_store::members::HeldLease;
use rookery_store::{Lease, Members, NodeState, Outcome, Plan};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A dead node's lease is removed after this long.
const FORGET_MS: u64 = 600_000;

/// What a node says of itself for a life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The cluster's name.
    pub cluster: String,
    /// The node's name, unique in the cluster.
    pub name: String,
    /// Where its link listens, `host:port`.
    pub link: String,
    /// Where its clients connect, a WebSocket URL.
    pub endpoint: String,
    /// What it shares its fate with.
    pub zone: String,
    /// How many shares of the slots it takes.
    pub capacity: u32,
}

/// What a node says of itself anew with each renewal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Sessions it serves.
    pub sessions: u32,
    /// Milliseconds its last look at the store took.
    pub lag_ms: u32,
}

/// Why a life in the cluster ended, or never began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The lease was ended by another node: rejoin with a new incarnation.
    DeclaredDead,
    /// Another node of this name lives.
    NameTaken,
    /// A node of another name has the same number: choose another name.
    NumberTaken(String),
    /// The store belongs to a cluster of this name.
    ForeignCluster(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeclaredDead => f.write_str("this node was declared dead"),
            Self::NameTaken => f.write_str("another node of this name lives; choose another one"),
            Self::NumberTaken(name) => write!(
                f,
                "node {name:?} happens to have the same number; choose another name for this one"
            ),
            Self::ForeignCluster(name) => {
                write!(f, "the store belongs to the cluster {name:?}")
            }
        }
    }
}

/// Where a node is in its life, as far as it knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It has no lease yet.
    Outside,
    /// It has a lease, and no slots.
    Joining,
    /// It may hold slots.
    Active,
    /// It gave its slots away.
    Draining,
    /// It gave its lease back.
    Left,
    /// It is out.
    Ended(Refused),
}

/// What the node is to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wish {
    Serve,
    Drain,
    Leave,
}

/// What a commit was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The node's own lease, with this counter.
    Own(u64),
    /// Another node's lease.
    Other,
}

/// What a look led to.
#[derive(Debug, PartialEq, Eq)]
pub struct Decision {
    /// Commits to carry out, in this order. Both may raise the epoch; the second then fails and is
    /// decided again at the next look.
    pub commits: Vec<(Attempt, Plan)>,
    /// The members as read.
    pub view: View,
}

/// When another node's lease was last seen to change.
#[derive(Clone, Copy)]
struct Seen {
    incarnation: u64,
    counter: u64,
    state: NodeState,
    since_ms: u64,
    /// It changed at least once while we watched.
    moved: bool,
}

/// See the module.
pub struct Membership {
    me: NodeKey,
    profile: Profile,
    timing: Timing,
    phase: Phase,
    wish: Wish,
    ready: bool,
    /// Of the last write of the own lease.
    counter: u64,
    /// Own writes without a known outcome: counter and start.
    attempts: BTreeMap<u64, u64>,
    next_renewal_ms: u64,
    /// When the last successful renewal started.
    renewed_ms: Option<u64>,
    looked_ms: Option<u64>,
    seen: BTreeMap<u64, Seen>,
    /// Lives to which there is a link.
    linked: BTreeSet<NodeKey>,
}

impl Membership {
    /// A life that has not begun yet. The incarnation must never have been used before.
    #[must_use]
    pub fn new(profile: Profile, incarnation: u64, timing: Timing) -> Self {
        Self {
            me: NodeKey::new(&profile.name, incarnation),
            profile,
            timing,
            phase: Phase::Outside,
            wish: Wish::Serve,
            ready: false,
            counter: 0,
            attempts: BTreeMap::new(),
            next_renewal_ms: 0,
            renewed_ms: None,
            looked_ms: None,
            seen: BTreeMap::new(),
            linked: BTreeSet::new(),
        }
    }

    /// To whom there are links; to be said before each look.
    pub fn linked_to(&mut self, linked: BTreeSet<NodeKey>) {
        self.linked = linked;
    }

    /// This node, in this life.
    #[must_use]
    pub fn me(&self) -> NodeKey {
        self.me
    }

    /// Where it is in its life.
    #[must_use]
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The node is able to hold slots: it may become active.
    pub fn ready(&mut self) {
        self.ready = true;
    }

    /// From now on the node gives its slots away.
    pub fn drain(&mut self) {
        self.wish = self.wish.max(Wish::Drain);
    }

    /// From now on the node gives its lease back.
    pub fn leave(&mut self) {
        self.wish = Wish::Leave;
    }

    /// Whether the node may work, at this moment of its monotonic clock.
    #[must_use]
    pub fn is_serving(&self, now_ms: u64) -> bool {
        matches!(self.phase, Phase::Active | Phase::Draining) && self.is_fresh(now_ms)
    }

    /// Until when the last renewal allows this node to work.
    #[must_use]
    pub fn serves_until_ms(&self) -> u64 {
        self.renewed_ms.map_or(0, |at| at.saturating_add(self.timing.fence_ms()))
    }

    fn is_fresh(&self, now_ms: u64) -> bool {
        now_ms < self.serves_until_ms()
    }

    /// The store was read: the read started at `started_ms`, `now_ms` is now.
    pub fn look(
        &mut self,
        started_ms: u64,
        now_ms: u64,
        load: Load,
        members: &Members,
        before: &View,
    ) -> Decision {
        self.watch(started_ms, now_ms, members);
        let mut commits = Vec::new();
        match &members.cluster {
            Some(other) if *other != self.profile.cluster => {
                self.phase = Phase::Ended(Refused::ForeignCluster(other.clone()));
            }
            _ => {
                self.adopt(members.leases.get(&self.me.node));
                commits.extend(self.own(started_ms, now_ms, load, members));
                commits.extend(self.others(started_ms, now_ms, members));
            }
        }
        let list = members
            .leases
            .iter()
            .filter(|(_, held)| held.lease.state != NodeState::Dead)
            .map(|(node, held)| {
                let key = NodeKey { node: *node, incarnation: held.lease.incarnation };
                Member { key, lease: held.lease.clone() }
            })
            .collect();
        let mut view = View::new(members.epoch, self.me, list, before);
        view.serving = self.is_serving(now_ms);
        Decision { commits, view }
    }

    /// What became of a commit.
    pub fn committed(&mut self, attempt: Attempt, outcome: &Outcome) {
        let Attempt::Own(counter) = attempt else { return };
        match outcome {
            Outcome::Committed { .. } => self.renewed(counter),
            // The next look tells: it may have happened, or may still.
            Outcome::Unresolved => {}
            Outcome::Conflict | Outcome::Busy | Outcome::TooLarge => {
                self.attempts.remove(&counter);
                self.next_renewal_ms = 0;
            }
        }
    }

    /// An own write is known to have happened: it counts from when it was decided.
    fn renewed(&mut self, counter: u64) {
        let started_ms = self.attempts.get(&counter).copied();
        self.attempts = self.attempts.split_off(&counter.saturating_add(1));
        self.renewed_ms = self.renewed_ms.max(started_ms);
    }

    /// Notes which leases moved since the last look.
    fn watch(&mut self, started_ms: u64, now_ms: u64, members: &Members) {
        let gap = self.looked_ms.is_none_or(|at| started_ms > at + self.timing.gap_ms());
        self.looked_ms = Some(now_ms);
        self.seen.retain(|node, _| members.leases.contains_key(node));
        for (node, HeldLease { lease, .. }) in &members.leases {
            let fresh = Seen {
                incarnation: lease.incarnation,
                counter: lease.counter,
                state: lease.state,
                since_ms: now_ms,
                moved: false,
            };
            let seen = self.seen.entry(*node).or_insert(fresh);
            let life = seen.incarnation == lease.incarnation;
            if !life || seen.counter != lease.counter || seen.state != lease.state {
                *seen = Seen { moved: life, ..fresh };
            } else if gap {
                seen.since_ms = now_ms;
            }
        }
    }

    /// Finds the own lease, and what was decided about it.
    fn adopt(&mut self, row: Option<&HeldLease>) {
        let mine =
            row.map(|held| &held.lease).filter(|lease| lease.incarnation == self.me.incarnation);
        match (&self.phase, mine) {
            (Phase::Left | Phase::Ended(_), _) | (Phase::Outside, None) => {}
            (_, Some(lease)) => {
                self.phase = match lease.state {
                    NodeState::Joining => Phase::Joining,
                    NodeState::Active => Phase::Active,
                    NodeState::Draining => Phase::Draining,
                    NodeState::Dead if plant::is(Bug::RenewedWhenDead) => Phase::Active,
                    NodeState::Dead => Phase::Ended(Refused::DeclaredDead),
                };
                self.renewed(lease.counter);
                if plant::is(Bug::LookIsRenewal) {
                    self.renewed_ms = self.looked_ms;
                }
                self.counter = self.counter.max(lease.counter);
            }
            (_, None) if self.wish == Wish::Leave => self.phase = Phase::Left,
            (_, None) => self.phase = Phase::Ended(Refused::DeclaredDead),
        }
    }

    /// What to write of the own lease now.
    fn own(
        &mut self,
        started_ms: u64,
        now_ms: u64,
        load: Load,
        members: &Members,
    ) -> Option<(Attempt, Plan)> {
        let cluster = self.profile.cluster.clone();
        let node = self.me.node;
        let changed = match (&self.phase, self.wish) {
            (Phase::Left | Phase::Ended(_), _) => return None,
            (Phase::Outside, Wish::Serve) => {
                return self.join(started_ms, now_ms, load, members);
            }
            (Phase::Outside, _) => {
                self.phase = Phase::Left;
                return None;
            }
            (_, Wish::Leave) => {
                return Some((Attempt::Other, members.change(&cluster, node, None)));
            }
            (Phase::Joining, Wish::Serve) => self.ready.then_some(NodeState::Active),
            (Phase::Joining | Phase::Active, Wish::Drain) => Some(NodeState::Draining),
            (Phase::Active | Phase::Draining, _) => None,
        };
        if let Some(state) = changed {
            let (attempt, lease) = self.lease(now_ms, load, state);
            return Some((attempt, members.change(&cluster, node, Some(&lease))));
        }
        if now_ms < self.next_renewal_ms {
            return None;
        }
        let mut state = members.leases.get(&node)?.lease.state;
        if plant::is(Bug::RenewedWhenDead) {
            state = NodeState::Active;
        }
        let (attempt, lease) = self.lease(now_ms, load, state);
        Some((attempt, members.renew(node, &lease)))
    }

    /// Takes the place of the name: at once when it is free, and once its lease stood still when
    /// an earlier life or another node holds it.
    fn join(
        &mut self,
        started_ms: u64,
        now_ms: u64,
        load: Load,
        members: &Members,
    ) -> Option<(Attempt, Plan)> {
        let node = self.me.node;
        let held = members.leases.get(&node).map(|held| &held.lease);
        if let Some(lease) = held
            && lease.name != self.profile.name
        {
            self.phase = Phase::Ended(Refused::NumberTaken(lease.name.clone()));
            return None;
        }
        let living = held.is_some_and(|lease| lease.state != NodeState::Dead);
        if living {
            let seen = self.seen.get(&node)?;
            if seen.moved {
                self.phase = Phase::Ended(Refused::NameTaken);
                return None;
            }
            if started_ms < seen.since_ms + self.timing.suspicion_ms {
                return None;
            }
        }
        let cluster = self.profile.cluster.clone();
        let (attempt, lease) = self.lease(now_ms, load, NodeState::Joining);
        let plan = if living {
            members.change(&cluster, node, Some(&lease))
        } else {
            members.renew(node, &lease)
        };
        Some((attempt, plan))
    }

    /// Ends the lease of one node that stood still, or removes one that was ended long ago.
    fn others(&self, started_ms: u64, now_ms: u64, members: &Members) -> Option<(Attempt, Plan)> {
        let member = matches!(self.phase, Phase::Joining | Phase::Active | Phase::Draining);
        if !member || !self.is_fresh(now_ms) {
            return None;
        }
        let early = if plant::is(Bug::SuspectedEarly) { 3 } else { 1 };
        for (node, HeldLease { lease, .. }) in &members.leases {
            let Some(seen) = self.seen.get(node).filter(|_| *node != self.me.node) else {
                continue;
            };
            let still_ms = started_ms.saturating_sub(seen.since_ms);
            if lease.state == NodeState::Dead {
                if still_ms >= FORGET_MS {
                    return Some((Attempt::Other, members.forget(*node)));
                }
            } else if still_ms >= self.patience_ms(*node, lease) / early {
                let dead = Lease { state: NodeState::Dead, ..lease.clone() };
                let plan = if plant::is(Bug::EpochNotRaised) {
                    members.renew(*node, &dead)
                } else {
                    members.change(&self.profile.cluster, *node, Some(&dead))
                };
                return Some((Attempt::Other, plan));
            }
        }
        None
    }

    /// For how long a lease may stand still.
    fn patience_ms(&self, node: u64, lease: &Lease) -> u64 {
        let life = NodeKey { node, incarnation: lease.incarnation };
        match self.linked.contains(&life) {
            true => self.timing.suspicion_ms,
            false => self.timing.unlinked_ms(),
        }
    }

    /// The own lease as it is to be written next.
    fn lease(&mut self, now_ms: u64, load: Load, state: NodeState) -> (Attempt, Lease) {
        self.counter += 1;
        self.attempts.insert(self.counter, now_ms);
        self.next_renewal_ms = now_ms + self.timing.renew_ms;
        let lease = Lease {
            name: self.profile.name.clone(),
            incarnation: self.me.incarnation,
            state,
            counter: self.counter,
            link: self.profile.link.clone(),
            endpoint: self.profile.endpoint.clone(),
            zone: self.profile.zone.clone(),
            capacity: self.profile.capacity,
            sessions: load.sessions,
            lag_ms: load.lag_ms,
        };
        (Attempt::Own(self.counter), lease)
    }
}

#[cfg(test)]
#[path = "membership_tests.rs"]
mod tests;
