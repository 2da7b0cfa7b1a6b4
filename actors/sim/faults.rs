//! What goes wrong in the large, what users do, and how everything is mended at the end.

use super::coverage::{Conversations, Presences, Sessions};
use super::device::Do;
use super::node::Item;
use super::world::{Epoch, Event, World};
use futures_util::FutureExt;
use rookery_actors::{ConversationMsg, SessionMsg, SessionRef};
use rookery_protocol::{ClientFrame, UserId, client};
use rookery_store::{Stamp, slot_of, slot_of_user};

/// A fault that is over.
#[derive(Clone, Copy, Debug)]
pub enum Mend {
    /// A way between nodes is open again.
    Link(usize, usize),
    /// A node's way to the store is open again.
    Store(usize, u64),
    /// A device's user wants to be online again.
    Device(usize),
}

impl World {
    // ---- users ------------------------------------------------------------------------------

    /// A device's user does something, and will again.
    pub(super) fn act(&mut self, at: usize) {
        if self.healed_us.is_some() {
            return;
        }
        let pause = self.rng.below(self.config.pace_ms * 2_000) + 1_000;
        self.at(pause, Event::Act(at));
        let now = self.now_ms();
        let len = usize::try_from(self.rng.below(self.config.body_bytes)).unwrap_or(0);
        let choice = self.rng.below(100);
        let mut orders = Vec::new();
        let Some(device) = self.devices.get_mut(at) else { return };
        match choice {
            0..60 if device.unanswered() < 8 => {
                for _ in 0..=self.rng.below(3) {
                    device.write(now, len, &mut self.truth, &mut self.rng);
                }
                device.tick(now, &mut self.rng, &mut orders);
            }
            60..80 => device.dabble(now, &mut self.rng, &mut orders),
            80..84 => {
                if let Some(Some(conn)) = self.of_device.get(at).copied() {
                    self.break_conn(conn);
                }
            }
            84..87 => {
                device.wants = false;
                device.hung_up(now);
                self.away(at, &mut orders);
            }
            87..90 => {
                device.crash(now);
                self.away(at, &mut orders);
            }
            90..92 if device.is_up() => {
                device.wants = false;
                orders.push(Do::Frames(vec![ClientFrame::Leave(client::Leave {})]));
                device.crash(now);
                self.away(at, &mut orders);
            }
            92..95 => {
                device.hung_up(now);
                device.hurry(now);
                orders.push(Do::HangUp);
            }
            95..97 if device.is_up() => {
                let users = device.watches.clone();
                orders.push(Do::Frames(vec![client::Unwatch { users }.into()]));
                device.watch_again(now);
            }
            _ => {}
        }
        self.obey(at, orders);
    }

    /// The device goes offline for a while.
    fn away(&mut self, at: usize, orders: &mut Vec<Do>) {
        orders.push(Do::HangUp);
        let most = if self.rng.chance(700) { 3_000_000 } else { 40_000_000 };
        let wait = self.rng.below(most);
        self.at(wait, Event::Mend(Mend::Device(at)));
    }

    // ---- faults -----------------------------------------------------------------------------

    /// Something big goes wrong, and will again.
    pub(super) fn fault(&mut self) {
        if self.healed_us.is_some() {
            return;
        }
        let pause = self.rng.below(self.config.big_fault_ms * 2_000) + 1_000;
        self.at(pause, Event::Fault);
        let at = self.rng.index(self.nodes.len());
        let choice = self.rng.below(12);
        self.note(|| format!("fault {choice} at node {at}"));
        match choice {
            0 => self.crash(at),
            1 | 2 => self.pause(at),
            3 | 4 => self.cut_link(at),
            5 => self.cut_store(at),
            6 => self.crash_shard(at),
            7 => {
                let jump = i64::try_from(self.rng.below(7_200_000)).unwrap_or(0) - 3_600_000;
                if let Some(node) = self.nodes.get_mut(at) {
                    node.clock_ms = if self.rng.chance(300) { 0 } else { jump };
                }
            }
            8 => self.rebalance(),
            9 => self.trim(),
            10 => self.flush(at),
            _ => {
                let numbers: Vec<u64> =
                    self.conns.iter().filter(|(_, c)| c.node == at).map(|(n, _)| *n).collect();
                for number in numbers {
                    self.break_conn(number);
                }
            }
        }
    }

    /// A node dies; nothing in memory survives.
    pub(super) fn crash(&mut self, at: usize) {
        let Some(node) = self.nodes.get(at).filter(|node| node.up) else { return };
        let life = node.life + 1;
        let mut next = self.fresh_node(at, life);
        next.up = false;
        if let Some(node) = self.nodes.get_mut(at) {
            // Its hosts go with it; what their connections say of that, nobody hears.
            *node = next;
        }
        self.mouth.borrow_mut().clear();
        let numbers: Vec<u64> = self
            .conns
            .iter()
            .filter(|(_, conn)| conn.node == at && conn.life < life)
            .map(|(number, _)| *number)
            .collect();
        for number in numbers {
            if let Some(conn) = self.conns.get_mut(&number) {
                conn.open = false;
                conn.cut = true;
            }
            let wait = self.rng.below(2_000_000);
            self.at(wait, Event::ClientLost(number));
        }
        let wait = self.rng.below(8_000_000);
        self.at(wait, Event::Start(at));
        let notice = self.rng.range(1_000_000, 6_000_000);
        self.at(notice, Event::Rebalance);
    }

    pub(super) fn start(&mut self, at: usize) {
        let now_us = self.now_us;
        let epoch = self.epochs.len() - 1;
        let Some(node) = self.nodes.get_mut(at).filter(|node| !node.up) else { return };
        node.up = true;
        node.began_us = now_us;
        node.epoch = epoch;
        self.shards_started(at);
        let wait = self.rng.below(2_000_000);
        self.at(wait, Event::Rebalance);
    }

    /// Presence shards that start tell all sessions: hubs that were there are gone.
    fn shards_started(&mut self, at: usize) {
        for node in 0..self.nodes.len() {
            // Sessions elsewhere hear of it over a link.
            if node == at || self.passes(at, node) {
                self.tell_sessions(node, |_| Some(SessionMsg::HubLost));
            }
        }
    }

    /// A hub was lost in a panic: only a broadcast can tell who relied on it.
    pub(super) fn hub_lost(&mut self, at: usize, user: UserId) {
        for node in 0..self.nodes.len() {
            if node == at || self.passes(at, node) {
                self.tell_moved(node, user);
            }
        }
    }

    fn tell_moved(&mut self, node: usize, user: UserId) {
        self.tell_sessions(node, move |owner| {
            let own = owner == user;
            Some(if own { SessionMsg::HubLost } else { SessionMsg::WatchedHubLost(user) })
        });
    }

    fn tell_sessions(
        &mut self,
        at: usize,
        msg: impl Fn(UserId) -> Option<SessionMsg> + Copy + 'static,
    ) {
        let shards = self.config.shards;
        for shard in 0..shards {
            self.push::<Sessions>(
                at,
                shard,
                Item::Each(Box::new(move |key: SessionRef| msg(key.user))),
            );
        }
    }

    fn passes(&mut self, from: usize, to: usize) -> bool {
        let lossy = self.healed_us.is_none() && self.rng.chance(self.config.link_drop);
        !self.cuts.contains(&(from, to)) && !lossy
    }

    fn pause(&mut self, at: usize) {
        let long = if self.rng.chance(300) { 60_000_000 } else { 5_000_000 };
        // It ends with the faults: what waits at the node must not come out of order then.
        let until = (self.now_us + self.rng.below(long)).min(self.config.chaos_ms * 1_000);
        if let Some(node) = self.nodes.get_mut(at) {
            // Never earlier: what was put off until then must not be overtaken.
            node.paused_until = node.paused_until.max(until);
        }
        if until > self.now_us + 5_000_000 {
            // The others declare it dead; it goes on with what it believes when it wakes.
            self.at(5_000_000, Event::Rebalance);
        }
    }

    fn cut_link(&mut self, at: usize) {
        let to = self.rng.index(self.nodes.len());
        let wait = self.rng.below(15_000_000);
        if at == to {
            return;
        }
        let mut ways = vec![(at, to)];
        if self.rng.chance(500) {
            ways.push((to, at));
        }
        for (from, to) in ways {
            self.cuts.push((from, to));
            self.at(wait, Event::Mend(Mend::Link(from, to)));
        }
    }

    fn cut_store(&mut self, at: usize) {
        let wait = self.rng.below(12_000_000);
        let Some(node) = self.nodes.get(at) else { return };
        node.way.set_cut(true);
        let life = node.life;
        self.at(wait, Event::Mend(Mend::Store(at, life)));
    }

    /// A shard fails whole: its actors are gone, its inbox outlives it.
    fn crash_shard(&mut self, at: usize) {
        let shard = self.rng.index(self.config.shards);
        let kind = self.rng.below(3);
        let first = self.rng.next() >> 1;
        let Some(node) = self.nodes.get_mut(at).filter(|node| node.up) else { return };
        let settings = &node.settings;
        match kind {
            0 => super::node::renew(&mut node.sessions, shard, settings, first),
            1 => super::node::renew(&mut node.conversations, shard, settings, first),
            _ => super::node::renew(&mut node.presences, shard, settings, first),
        }
        if kind == 2 {
            self.shards_started(at);
        }
        // They were dropped in the order of a hash map.
        self.mouth.borrow_mut().sort_by_key(|(conn, _)| *conn);
        self.speak();
    }

    /// The log of a user's inbox is trimmed up to now: cursors before are too far.
    fn trim(&mut self) {
        let user = super::truth::user_id(self.rng.index(self.config.users));
        let below = Stamp::end_of(self.memory.version());
        let trimmed = self.truth.store().trim_inbox(user, below).now_or_never();
        self.note(|| format!("the inbox of {user} is trimmed: {trimmed:?}"));
    }

    fn flush(&mut self, at: usize) {
        for shard in 0..self.config.shards {
            let all = Box::new(|_| Some(ConversationMsg::Flush));
            self.push::<Conversations>(at, shard, Item::Each(all));
        }
    }

    // ---- membership -------------------------------------------------------------------------

    /// A new epoch: who lives is in it, slots fall anew; each node hears of it in its own time.
    pub(super) fn rebalance(&mut self) {
        let dead_us = self.now_us + 5_000_000;
        let mut active: Vec<usize> = self
            .nodes
            .iter()
            .filter(|node| node.up && node.paused_until < dead_us)
            .map(|node| node.at)
            .collect();
        if active.is_empty() {
            active = (0..self.nodes.len()).collect();
        }
        let last = self.epochs.last().map_or(0, |epoch| epoch.salt);
        let salt = if self.rng.chance(500) { last } else { self.rng.next() };
        self.epochs.push(Epoch { active, salt });
        let epoch = self.epochs.len() - 1;
        for at in 0..self.nodes.len() {
            let life = self.nodes.get(at).map_or(0, |node| node.life);
            let most = if self.healed_us.is_some() { 2_000_000 } else { 8_000_000 };
            let wait = self.rng.below(most);
            self.at(wait, Event::Adopt(at, life, epoch));
        }
    }

    /// A node comes to believe in an epoch: what moved is handed off, who relied on it is told.
    pub(super) fn adopt(&mut self, at: usize, epoch: usize) {
        let Some(node) = self.nodes.get_mut(at).filter(|node| node.epoch < epoch) else { return };
        let before = std::mem::replace(&mut node.epoch, epoch);
        let member = self.epochs.get(epoch).is_some_and(|epoch| epoch.active.contains(&at));
        if !member {
            // It was declared dead: it stops, and comes back as another.
            return self.crash(at);
        }
        for user in (0..self.config.users).map(super::truth::user_id) {
            let slot = slot_of_user(user);
            if self.owner(before, slot) != self.owner(epoch, slot) {
                self.tell_moved(at, user);
                if self.owner(epoch, slot) != at {
                    self.retire_hub(at, user);
                }
            }
        }
        let moved = move |world: &Self, slot| world.owner(epoch, slot) != at;
        let ids: Vec<_> =
            self.truth.conversations().into_iter().filter(|c| moved(self, slot_of(*c))).collect();
        for shard in 0..self.config.shards {
            let ids = ids.clone();
            let chosen = Box::new(move |key| ids.contains(&key).then_some(ConversationMsg::Flush));
            self.push::<Conversations>(at, shard, Item::Each(chosen));
        }
    }

    fn retire_hub(&mut self, at: usize, user: UserId) {
        let Some(node) = self.nodes.get_mut(at) else { return };
        let shard = node.user_shard(user);
        if let Some(shard) = node.presences.get_mut(shard) {
            shard.host.retire(user);
        }
    }

    /// A fault is over.
    pub(super) fn mend(&mut self, mend: Mend) {
        match mend {
            Mend::Link(from, to) => self.cuts.retain(|cut| *cut != (from, to)),
            Mend::Store(at, life) => {
                if let Some(node) = self.nodes.get(at).filter(|node| node.life == life) {
                    node.way.set_cut(false);
                }
            }
            Mend::Device(at) => {
                if let Some(device) = self.devices.get_mut(at) {
                    device.wants = true;
                }
            }
        }
    }

    /// Whether a presence shard hosts a hub of the user; for whoever reads a trace.
    pub(super) fn has_hub(&self, at: usize, user: UserId) -> bool {
        let Some(node) = self.nodes.get(at) else { return false };
        let shard = node.presences.get(node.user_shard(user));
        shard.is_some_and(|shard: &super::node::Shard<Presences>| shard.host.actor(user).is_some())
    }
}
