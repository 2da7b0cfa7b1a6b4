//! What goes wrong in the large, what users do, and how everything is mended at the end.

use super::coverage::{Conversations, Presences};
use super::device::Do;
use super::node::Item;
use super::world::{Event, World};
use futures_util::FutureExt;
use rookery_actors::wire::News;
use rookery_actors::{ConversationMsg, SessionMsg};
use rookery_protocol::{ClientFrame, UserId, client};
use rookery_store::Stamp;

/// A fault that is over.
#[derive(Clone, Copy, Debug)]
pub enum Mend {
    /// A way between nodes is open again.
    Link(usize, usize),
    /// A node's way to the store is open again.
    Store(usize, u64),
    /// The store takes writes again.
    Full,
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
            60..74 => device.dabble(now, &mut self.rng, &mut orders),
            74..80 if device.unanswered() < 8 => {
                device.govern(now, &mut self.truth, &mut self.rng);
                device.tick(now, &mut self.rng, &mut orders);
            }
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
        // The first of them may lose hints.
        let choice = self.rng.range(if self.config.gentle { 3 } else { 0 }, 15);
        self.note(|| format!("fault {choice} at node {at}"));
        match choice {
            0 => self.crash(at),
            1 => self.crash_shard(at),
            2 => self.trim(),
            3 | 4 => self.pause(at),
            5 | 6 => self.cut_link(at),
            7 => self.isolate(at),
            8 => self.cut_store(at),
            9 => {
                for node in 0..self.nodes.len() {
                    self.cut_store(node);
                }
            }
            10 => self.fill_store(),
            11 => self.jump_clock(at),
            12 => self.leave_on_purpose(at),
            13 => self.flush(at),
            14 => self.break_links(at),
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
        self.restarted |= self.healed_us.is_some();
        self.break_pipes(at);
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
    }

    pub(super) fn start(&mut self, at: usize) {
        let now_us = self.now_us;
        let Some(node) = self.nodes.get_mut(at).filter(|node| !node.up) else { return };
        node.up = true;
        node.began_us = now_us;
        let life = node.life;
        self.shards_started(at);
        self.keep(at);
        self.at(100, Event::Ticks(at, life));
    }

    /// Presence shards that start tell all sessions: hubs that were there are gone.
    fn shards_started(&mut self, at: usize) {
        self.each_session(at, |_| Some(SessionMsg::HubLost));
        self.tell_nodes(at, &News::HubsLost);
    }

    fn jump_clock(&mut self, at: usize) {
        let jump = i64::try_from(self.rng.below(7_200_000)).unwrap_or(0) - 3_600_000;
        if let Some(node) = self.nodes.get_mut(at) {
            node.clock_ms = if self.rng.chance(300) { 0 } else { jump };
        }
    }

    fn pause(&mut self, at: usize) {
        let long = if self.rng.chance(300) { 60_000_000 } else { 5_000_000 };
        // It ends with the faults: what waits at the node must not come out of order then.
        let until = (self.now_us + self.rng.below(long)).min(self.config.chaos_ms * 1_000);
        if let Some(node) = self.nodes.get_mut(at) {
            // Never earlier: what was put off until then must not be overtaken.
            node.paused_until = node.paused_until.max(until);
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

    /// The disk is full: reads go on, writes are refused.
    fn fill_store(&mut self) {
        self.store_full = true;
        let wait = self.rng.below(12_000_000);
        self.at(wait, Event::Mend(Mend::Full));
    }

    /// A node is cut off from all others, and perhaps from the store too.
    fn isolate(&mut self, at: usize) {
        let wait = self.rng.below(15_000_000);
        for other in (0..self.nodes.len()).filter(|other| *other != at) {
            for (from, to) in [(at, other), (other, at)] {
                self.cuts.push((from, to));
                self.at(wait, Event::Mend(Mend::Link(from, to)));
            }
        }
        if self.rng.chance(500) {
            self.cut_store(at);
        }
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

    /// A fault is over.
    pub(super) fn mend(&mut self, mend: Mend) {
        match mend {
            Mend::Link(from, to) => {
                self.cuts.retain(|cut| *cut != (from, to));
                self.release(from, to);
            }
            Mend::Full => self.store_full = false,
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
