//! What devices tell and see of each other beside messages: marks and presence; and which devices
//! stop reading when they are told to.

use crate::oracle::{Event, Mark};
use crate::session::Session;
use crate::shared::{Phase, Role, State};
use rookery_client::Reply;
use rookery_protocol::{MarkKind, Status, UserId};
use std::collections::BTreeMap;

/// One of this many devices stops reading, if it does not send.
const STALLING: usize = 10;

/// Marks that a device shows. Of a receipt and what it holds a client takes the greater: one that
/// comes late is no mark that went back. An answer that is behind what was shown before the question
/// was asked is one.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    shown: BTreeMap<(UserId, Mark), u64>,
    /// What was shown when the device asked for the marks of all.
    asked: BTreeMap<(UserId, Mark), u64>,
}

impl Sight {
    fn ask(&mut self) {
        self.asked.clone_from(&self.shown);
    }

    /// What a receipt changes.
    fn receipt(&mut self, user: UserId, mark: Mark, seq: u64) -> Option<u64> {
        let shown = self.shown.entry((user, mark)).or_default();
        (seq > *shown).then(|| {
            *shown = seq;
            seq
        })
    }

    /// What an answer changes, or the mark of it that went back.
    fn answer(&mut self, user: UserId, mark: Mark, seq: u64) -> Option<u64> {
        let asked = self.asked.get(&(user, mark)).copied().unwrap_or_default();
        if seq < asked { Some(seq) } else { self.receipt(user, mark, seq) }
    }
}

impl Session {
    /// Takes an event that is beside the messages; whether it was one.
    pub(crate) fn aside(&mut self, state: &mut State, event: &rookery_client::Event) -> bool {
        use rookery_client::Event as Told;
        match event {
            Told::Connected(connected) => {
                state.up += usize::from(!std::mem::replace(&mut self.up, true));
                state.connects += 1;
                state.resumes += u64::from(connected.resumed);
                // A storm counts it too.
                return false;
            }
            Told::Disconnected { .. } => state.up -= usize::from(std::mem::take(&mut self.up)),
            Told::SendDelayed { waited_ms, .. } => {
                if let Some(episode) = &mut state.measure.episode {
                    episode.refused(*waited_ms);
                }
            }
            Told::Receipt(r) => {
                if let Some(mark) = known(r.kind) {
                    let shown = self.sight.receipt(r.user, mark, r.seq);
                    self.shown(state, r.user, mark, shown);
                }
            }
            Told::Presence(p) => self.seen(state, p.user, p.status == Status::Online),
            Told::Reply { result: Ok(Reply::Conversation(c)), .. } if self.describing => {
                self.describing = false;
                for member in &c.info.members {
                    let marks = [(Mark::Delivered, member.delivered), (Mark::Read, member.read)];
                    for (mark, seq) in marks {
                        let shown = self.sight.answer(member.user, mark, seq);
                        self.shown(state, member.user, mark, shown);
                    }
                }
            }
            Told::Reply { result: Err(_), .. } if self.describing => self.describing = false,
            Told::Reply { result: Ok(Reply::History(_)), .. } if self.peeking => {
                self.peeking = false;
                state.peeked += 1;
            }
            _ => return false,
        }
        true
    }

    /// Whether this device is one of those that stop reading in `Phase::Slow`. One that sends is
    /// not: its own answers would wait too.
    pub(crate) fn may_stall(&self) -> bool {
        self.index % STALLING == STALLING - 1 && self.role.is_none_or(|role| role.lane.is_none())
    }

    /// The device begins to watch its partner, and its user is online. What was said before this
    /// run counts as read.
    pub(crate) fn join(&mut self, state: &mut State, role: Role) {
        let user = self.number(self.user);
        state.oracle.hear(&Event::Online { user, online: true });
        if let Err(e) = self.driver.watch(vec![self.partner]) {
            state.error(|| format!("device {}: watch: {e}", self.index));
        }
        if role.base > 0 {
            self.mark(state, role, role.base);
        }
    }

    /// Moves the user's marks.
    pub(crate) fn mark(&mut self, state: &mut State, role: Role, seq: u64) {
        let user = self.number(self.user);
        for mark in [Mark::Delivered, Mark::Read] {
            state.oracle.hear(&Event::Marked { conversation: role.log, user, mark, seq });
        }
        // A read mark implies the other. The queue is full only while nothing is connected: marks
        // are told again at the next rest.
        self.driver.mark(role.conversation, MarkKind::Read, seq).ok();
    }

    /// Asks for the marks of all members.
    pub(crate) fn describe(&mut self, state: &mut State, role: Role) {
        if self.describing {
            return;
        }
        match self.driver.describe(role.conversation) {
            Ok(_) => {
                self.describing = true;
                self.sight.ask();
            }
            Err(e) => state.error(|| format!("device {}: describe: {e}", self.index)),
        }
    }

    /// The device shows another mark now, if it does.
    fn shown(&self, state: &mut State, user: UserId, mark: Mark, seq: Option<u64>) {
        if let (Some(role), Some(seq), true) = (self.role, seq, self.shared.scenario.social) {
            let (reader, user) = (role.reader, self.number(user));
            state.oracle.hear(&Event::Shown { reader, user, mark, seq });
        }
    }

    /// The device was shown somebody's presence. That others leave at the run's end before this
    /// device does is nothing to judge.
    pub(crate) fn seen(&self, state: &mut State, user: UserId, online: bool) {
        if *self.shared.phase.borrow() == Phase::Leave {
            return;
        }
        if let (Some(role), true) = (self.role, self.shared.scenario.social) {
            let (reader, user) = (role.reader, self.number(user));
            state.oracle.hear(&Event::Seen { reader, user, online });
        }
    }

    /// The oracle's number of one of the pair.
    fn number(&self, user: UserId) -> u32 {
        let own = self.index / self.shared.scenario.devices;
        let number = if user == self.user { own } else { own ^ 1 };
        u32::try_from(number).unwrap_or(u32::MAX)
    }
}

fn known(kind: MarkKind) -> Option<Mark> {
    match kind {
        MarkKind::Delivered => Some(Mark::Delivered),
        MarkKind::Read => Some(Mark::Read),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_receipt_is_passed_over_and_an_answer_behind_what_was_shown_is_not() {
        let (mut sight, user, mark) = (Sight::default(), UserId(1), Mark::Read);
        assert_eq!(sight.receipt(user, mark, 5), Some(5));
        assert_eq!(sight.receipt(user, mark, 4), None);
        sight.ask();
        assert_eq!(sight.receipt(user, mark, 7), Some(7));
        assert_eq!(sight.answer(user, mark, 6), None, "read before the receipt was sent");
        assert_eq!(sight.answer(user, mark, 4), Some(4), "behind what was shown before it asked");
        assert_eq!(sight.answer(user, mark, 9), Some(9));
    }
}
