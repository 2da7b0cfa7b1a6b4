//! A node that leaves on purpose and comes back, as in a rolling upgrade: it gives its slots away,
//! sends its clients to other nodes, finishes what it holds, gives its lease back and ends. The
//! steps and how long each may take are the shell's.

use super::coverage::Conversations;
use super::node::Item;
use super::world::{Event, World};
use rookery_actors::cluster::{Phase, Wish};
use rookery_actors::{ConversationMsg, SessionMsg};
use std::sync::Arc;

/// How often a step's end is looked for, microseconds.
const POLL_US: u64 = 50_000;

/// What the node waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// That it is out of placement.
    Placement,
    /// That its conversations are handed off.
    Conversations,
    /// That its clients have gone to other nodes.
    Clients,
    /// That its sessions have ended.
    Sessions,
    /// That its conversations have written what they held.
    Flush,
    /// That its hubs have.
    Hubs,
    /// That its lease is gone.
    Lease,
}

impl Step {
    /// How long it may take, microseconds.
    fn patience_us(self) -> u64 {
        match self {
            Self::Placement | Self::Clients | Self::Lease => 3_000_000,
            Self::Conversations | Self::Sessions | Self::Flush | Self::Hubs => 5_000_000,
        }
    }

    fn next(self) -> Option<Self> {
        match self {
            Self::Placement => Some(Self::Conversations),
            Self::Conversations => Some(Self::Clients),
            Self::Clients => Some(Self::Sessions),
            Self::Sessions => Some(Self::Flush),
            Self::Flush => Some(Self::Hubs),
            Self::Hubs => Some(Self::Lease),
            Self::Lease => None,
        }
    }
}

impl World {
    /// A node begins to leave.
    pub(super) fn leave_on_purpose(&mut self, at: usize) {
        let serves = |node: &&mut super::node::Node| node.up && node.keeper.wish == Wish::Serve;
        let Some(node) = self.nodes.get_mut(at).filter(serves) else { return };
        let first = if node.keeper.alone { Step::Sessions } else { Step::Placement };
        self.step(at, first);
    }

    fn step(&mut self, at: usize, step: Step) {
        match step {
            Step::Placement => self.wish(at, Wish::Drain),
            Step::Clients => {
                let view = self.nodes.get(at).map(|node| Arc::clone(&node.keeper.view));
                let alternates: Arc<[String]> =
                    view.map_or_else(Vec::new, |view| view.endpoints(None)).into();
                self.each_session(at, move |_| Some(SessionMsg::Drain(Arc::clone(&alternates))));
            }
            Step::Sessions => self.end_sessions(at),
            Step::Flush => {
                for shard in 0..self.config.shards {
                    let all = Box::new(|_| Some(ConversationMsg::Flush));
                    self.push::<Conversations>(at, shard, Item::Each(all));
                }
            }
            Step::Lease => self.wish(at, Wish::Leave),
            Step::Conversations | Step::Hubs => {}
        }
        let life = self.nodes.get(at).map_or(0, |node| node.life);
        self.at(POLL_US, Event::Leave(at, life, step, self.now_us + step.patience_us()));
    }

    fn wish(&mut self, at: usize, wish: Wish) {
        if let Some(node) = self.nodes.get_mut(at) {
            node.keeper.wish = wish;
        }
        self.look_now(at);
    }

    /// Whether a step is done, or given up.
    pub(super) fn leave(&mut self, at: usize, step: Step, until_us: u64) {
        let Some(node) = self.nodes.get(at) else { return };
        let phase = node.keeper.keeping.phase();
        let done = match step {
            Step::Placement => !matches!(phase, Phase::Joining | Phase::Active),
            Step::Conversations | Step::Flush => {
                node.conversations.iter().all(|shard| shard.host.is_empty())
            }
            Step::Clients | Step::Sessions => {
                node.sessions.iter().all(|shard| shard.host.is_empty())
            }
            Step::Hubs => node.presences.iter().all(|shard| shard.host.is_empty()),
            Step::Lease => node.keeper.alone || *phase == Phase::Left,
        };
        if !done && self.now_us < until_us {
            let life = node.life;
            return self.at(POLL_US, Event::Leave(at, life, step, until_us));
        }
        match step.next() {
            Some(next) => self.step(at, next),
            None => {
                self.note(|| format!("node {at} ends: its lease is given back: {done}"));
                self.crash(at);
            }
        }
    }
}
