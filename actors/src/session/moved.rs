//! What a session does when slots get another owner: its home, whom it watches, where its sends
//! are. Pure.
//!
//! All sessions of a node hear of it at once, so what follows is spread over time by the session's
//! own (random) id: first they register, so that users don't seem to leave, later they read their
//! inbox for hints that got lost, and watch.

use super::{PresenceMsg, Session};
use crate::cluster::SlotSet;
use crate::effect::Effect;
use crate::plant::{self, Bug};
use crate::time::Now;
use rookery_protocol::server::Drain;
use rookery_protocol::{ClientMsgId, ErrorCode, ServerFrame};
use rookery_store::slot_of_user;

/// Sessions register at their new homes within this time.
const REGISTER_SPREAD_MS: u64 = 500;
/// From then on, and within this time, they read their inboxes and watch.
const PULL_SPREAD_MS: u64 = 2_000;

/// What is still to be told to new homes.
pub(super) struct Moved {
    slots: SlotSet,
    /// When to register; none: it is not needed, or done.
    register_ms: Option<u64>,
    /// Hints may be missing.
    pull: bool,
    /// When to read the inbox if that is needed, and to watch.
    pull_ms: u64,
}

impl Moved {
    pub(super) fn due_ms(&self) -> u64 {
        self.register_ms.unwrap_or(self.pull_ms)
    }
}

impl Session {
    pub(super) fn hubs_moved(&mut self, now: Now, slots: &SlotSet) {
        let home = slots.contains(slot_of_user(self.me.user));
        let watches = self.watched.iter().any(|user| slots.contains(slot_of_user(*user)));
        if self.device().is_none() || !(home || watches) {
            return;
        }
        let register_ms = now.mono_ms + self.me.session.0 % REGISTER_SPREAD_MS;
        let moved = self.moved(now);
        moved.slots.extend(slots);
        if home && !plant::is(Bug::HandOffForgets) {
            moved.register_ms.get_or_insert(register_ms);
            moved.pull = true;
        }
    }

    pub(super) fn hints_lost(&mut self, now: Now) {
        if self.device().is_some() {
            self.moved(now).pull = true;
        }
    }

    fn moved(&mut self, now: Now) -> &mut Moved {
        let spread_ms = (self.me.session.0 >> 16) % PULL_SPREAD_MS;
        self.moved.get_or_insert_with(|| {
            Box::new(Moved {
                slots: SlotSet::default(),
                register_ms: None,
                pull: false,
                pull_ms: now.mono_ms + REGISTER_SPREAD_MS + spread_ms,
            })
        })
    }

    /// Tells the new homes what is due.
    pub(super) fn tell_moved_hubs(&mut self, now: Now, out: &mut Vec<Effect>) {
        let Some(moved) = &mut self.moved else { return };
        let register = moved.register_ms.is_some_and(|at| at <= now.mono_ms);
        if register {
            moved.register_ms = None;
        }
        let rest = moved.register_ms.is_none() && moved.pull_ms <= now.mono_ms;
        if register && let Some(device) = self.device() {
            self.register(now, device, out);
        }
        if !rest {
            return;
        }
        let Some(moved) = self.moved.take() else { return };
        for user in self.watched.clone() {
            if moved.slots.contains(slot_of_user(user)) {
                self.tell_hub(user, PresenceMsg::Watch(self.me), out);
            }
        }
        self.sync.wanted |= moved.pull && self.sync.started;
    }

    /// What became of sends to a former owner, or to one that is not heard, is not known: their clients ask again.
    pub(super) fn sends_moved(&mut self, slots: &SlotSet, out: &mut Vec<Effect>) {
        let mut lost: Vec<(ClientMsgId, u32)> = self
            .pending
            .iter()
            .filter(|(_, pending)| slots.contains(rookery_store::slot_of(pending.conversation)))
            .map(|(id, pending)| (*id, pending.request))
            .collect();
        // The order of a hash map must not reach the wire.
        lost.sort_unstable();
        for (id, request) in lost {
            self.pending.remove(&id);
            self.error(request, ErrorCode::OutcomeUnknown, "its owner was lost", out);
        }
        // Answers come by the user's home: those of other owners may have been lost there.
        if !self.pending.is_empty() && slots.contains(slot_of_user(self.me.user)) {
            self.sync.wanted |= self.sync.started;
            self.pull(out);
        }
    }

    pub(super) fn drain(&mut self, alternates: &[String], out: &mut Vec<Effect>) {
        self.drained = true;
        let alternates = alternates.to_vec();
        let drain = Drain { reconnect_after_ms: 0, alternates };
        self.write(ServerFrame::from(drain).to_bytes(), out);
    }
}
