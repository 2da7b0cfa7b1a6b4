//! The end of a run: everything is mended, and then all must come right in bounded time.
//!
//! Checked after healing (liveness and convergence):
//! - links deliver what they took ([`super::ledger`]);
//! - where nothing happened that may lose a hint, all this within seconds;
//! - every send is answered, every device holds every entry, in the store's order;
//! - all marks have reached the store, and every device shows them (**V**);
//! - every device shows as online whoever is online (**V**).

use super::world::{Event, World};
use rookery_actors::link::NodeKey;

/// A session whose hub never heard of it is registered by then. Until then marks that move may be
/// told to nobody: receipts are hints, and the next one makes up for those before.
const REGISTERED_MS: u64 = 80_000;
/// When no hint was lost, everything has converged by then.
const PROMPT_MS: u64 = 25_000;
/// All nodes are linked by then.
const LINKED_MS: u64 = 30_000;
/// From then on links deliver within this time.
const DELIVERED_US: u64 = 10_000_000;
/// All devices have caught up by then.
const CAUGHT_UP_MS: u64 = 150_000;
/// Presence and marks have converged by then, counted from the goodbye.
const CONVERGED_MS: u64 = 420_000;

impl World {
    /// Faults end.
    pub(super) fn heal(&mut self) {
        self.note(|| "healed".into());
        self.healed_us = Some(self.now_us);
        self.store_full = false;
        for (from, to) in std::mem::take(&mut self.cuts) {
            self.release(from, to);
        }
        for node in &mut self.nodes {
            node.paused_until = 0;
            node.way.heal();
        }
        for at in 0..self.nodes.len() {
            self.start(at);
        }
        let now = self.now_ms();
        for device in &mut self.devices {
            device.wants = true;
            device.ack_ms = 200;
            device.hurry(now);
        }
        let idle = self.config.idle_ms;
        self.at(idle * 1_000 + 3_000_000, Event::Judge);
    }

    /// Is all well? If not yet, it is asked again.
    pub(super) fn judge(&mut self) {
        let healed_us = self.healed_us.unwrap_or(self.now_us);
        let since_ms = (self.now_us - healed_us) / 1_000 - self.config.idle_ms.min(self.now_ms());
        if let Some(why) = self.link_stuck(since_ms) {
            return self.truth.broken(|| format!("liveness: {why}"));
        }
        if let Some(why) = self.not_prompt(since_ms) {
            return self.truth.broken(|| format!("V, soon: {why}"));
        }
        if !self.said_goodbye {
            match self.not_caught_up() {
                None if since_ms > REGISTERED_MS => self.goodbye(),
                None => {}
                Some(why) if since_ms > CAUGHT_UP_MS => {
                    return self.truth.broken(|| format!("liveness: {why}"));
                }
                Some(_) => {}
            }
        } else {
            let why = self.not_caught_up().or_else(|| self.not_converged());
            match why {
                None => {
                    self.truth.check_senders();
                    self.check_history();
                    self.done = true;
                    return;
                }
                Some(why) if since_ms > CONVERGED_MS => {
                    return self.truth.broken(|| format!("V: {why}"));
                }
                Some(_) => {}
            }
        }
        self.at(1_000_000, Event::Judge);
    }

    /// Each device says one thing more in each conversation: whatever hint got lost before, marks
    /// move now, and everybody must hear of it.
    fn goodbye(&mut self) {
        self.said_goodbye = true;
        let now = self.now_ms();
        for device in &mut self.devices {
            for conversation in device.writable() {
                device.write_to(now, conversation, 8, &mut self.truth, &mut self.rng);
            }
            device.mark_again(now);
        }
    }

    /// Nodes that live are linked again soon, and links hand over what they took, even if single
    /// frames vanished from whole connections.
    fn link_stuck(&self, since_ms: u64) -> Option<String> {
        if since_ms < LINKED_MS {
            return None;
        }
        let lives: Vec<NodeKey> = self.nodes.iter().map(|node| node.keeper.me()).collect();
        let stuck = self.ledger.stuck(&lives, self.now_us.saturating_sub(DELIVERED_US));
        stuck.map(|(from, to, what)| format!("the link from {from} to {to} {what}"))
    }

    /// What has not come right soon although no hint was lost: no crash, nobody declared dead, and
    /// no node that its clients had to wait for.
    fn not_prompt(&mut self, since_ms: u64) -> Option<String> {
        let gentle = self.config.gentle && self.truth.membership.deaths == 0 && !self.restarted;
        if !gentle || self.settled || self.said_goodbye {
            return None;
        }
        let caught_up = self.not_caught_up();
        let why = caught_up.or_else(|| self.presence_differs()).or_else(|| self.marks_unwritten());
        // Once is enough: devices go on asking for this and that.
        self.settled = why.is_none();
        why.filter(|_| since_ms >= PROMPT_MS)
    }

    /// Each member's newest entry is marked as delivered by its devices; that must be written.
    fn marks_unwritten(&self) -> Option<String> {
        for conversation in self.truth.conversations() {
            let head = self.truth.head(conversation);
            for member in self.truth.members(conversation) {
                if member.delivered != head {
                    let (user, delivered) = (member.user, member.delivered);
                    return Some(format!("{user} of {conversation}: {delivered} of {head}"));
                }
            }
        }
        None
    }

    fn not_caught_up(&self) -> Option<String> {
        for device in &self.devices {
            let at = device.at;
            if !device.settled() {
                return Some(format!("device {at} has not settled: {}", device.describe()));
            }
            for group in self.truth.groups.all() {
                let member = self.truth.groups.roles(group).iter().any(|(u, _)| *u == device.user);
                if member && !device.convs.contains_key(&group) {
                    return Some(format!("device {at} does not know of {group}"));
                }
            }
            for (conversation, conv) in &device.convs {
                let left = self.truth.groups.left_at(*conversation, device.user);
                if left.is_some_and(|left| conv.head < left && conv.may_gap) {
                    // What came before the end can't be asked for any more.
                    continue;
                }
                let head = left.unwrap_or_else(|| self.truth.head(*conversation));
                if conv.head != head {
                    let had = conv.head;
                    return Some(format!("device {at} holds {had} of {head} of {conversation}"));
                }
                let same = (conv.base + 1..=head)
                    .zip(&conv.values)
                    .all(|(seq, id)| self.truth.at(*conversation, seq) == Some(*id));
                if !same {
                    return Some(format!("device {at} holds other entries of {conversation}"));
                }
            }
        }
        None
    }

    fn not_converged(&self) -> Option<String> {
        self.presence_differs().or_else(|| self.marks_differ())
    }

    fn presence_differs(&self) -> Option<String> {
        for device in &self.devices {
            let at = device.at;
            for user in &device.watches {
                // Without a conversation one may not watch.
                let mut direct = device.convs.values().filter(|conv| !conv.group);
                let shared = direct.any(|conv| conv.marks.contains_key(user));
                let shown = device.presence.get(user);
                let online = shown == Some(&rookery_protocol::Status::Online);
                if shared && online != self.is_online(*user) {
                    let hubs: Vec<usize> =
                        (0..self.nodes.len()).filter(|node| self.has_hub(*node, *user)).collect();
                    return Some(format!("device {at} shows {user} as {shown:?}; hubs {hubs:?}"));
                }
            }
        }
        None
    }

    fn marks_differ(&self) -> Option<String> {
        for device in &self.devices {
            let at = device.at;
            for (conversation, conv) in device.convs.iter().filter(|(_, conv)| !conv.ended) {
                let members = self.truth.members(*conversation);
                let all_read = members.iter().map(|member| member.read).min().unwrap_or(0);
                for member in members {
                    let stored = (member.delivered, member.read);
                    let shown = conv.marks.get(&member.user).copied().unwrap_or_default();
                    // Of others in a group only how far everybody got is told.
                    let near = conv.group && member.user != device.user;
                    let reads = all_read..=member.read;
                    let same = near && shown.0 == stored.0 && reads.contains(&shown.1);
                    if shown != stored && !same {
                        return Some(format!(
                            "device {at} shows {shown:?} of {} in {conversation}: {stored:?}",
                            member.user
                        ));
                    }
                    let head = self.truth.head(*conversation);
                    if member.delivered != head {
                        return Some(format!(
                            "{} of {conversation} was not delivered",
                            member.user
                        ));
                    }
                }
            }
        }
        None
    }

    /// What the store gives out now is what was committed, whole.
    fn check_history(&mut self) {
        use futures_util::FutureExt;
        for group in self.truth.groups.all() {
            let stored = self.truth.members(group).into_iter().map(|m| (m.user, m.role));
            let (stored, told) = (stored.collect::<Vec<_>>(), self.truth.groups.roles(group));
            if stored != told {
                self.truth.broken(|| format!("A: {group} has {stored:?}, its log says {told:?}"));
            }
        }
        for conversation in self.truth.conversations() {
            let head = self.truth.head(conversation);
            let read = self.truth.store().entries(conversation, 1, head, usize::MAX);
            let Some(Ok(entries)) = read.now_or_never() else {
                return self.truth.broken(|| format!("L: {conversation} can't be read"));
            };
            let ids: Vec<_> = entries.iter().map(|entry| Some(entry.client_msg_id)).collect();
            let known: Vec<_> = (1..=head).map(|seq| self.truth.at(conversation, seq)).collect();
            if ids != known {
                return self.truth.broken(|| format!("L: {conversation} is not what it was"));
            }
        }
    }
}
