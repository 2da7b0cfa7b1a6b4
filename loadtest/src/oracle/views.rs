//! What devices are shown of each other: marks and presence. Both are told by hints that may be
//! late or lost, so a device may be behind, and a mark that moved with a send may be heard of before
//! the sender hears of the send. It may never go back, nor be otherwise than it is at rest.

use super::event::Mark;
use std::collections::BTreeMap;

type Marks = BTreeMap<(u32, Mark), u64>;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Views {
    /// By conversation: where the users have put their marks.
    marked: BTreeMap<u32, Marks>,
    /// By reader: what it was shown.
    shown: BTreeMap<u32, Marks>,
    online: BTreeMap<u32, bool>,
    seen: BTreeMap<u32, BTreeMap<u32, bool>>,
}

impl Views {
    pub(super) fn marked(&mut self, conversation: u32, user: u32, mark: Mark, seq: u64) {
        let marked = self.marked.entry(conversation).or_default().entry((user, mark)).or_default();
        *marked = (*marked).max(seq);
    }

    /// A reader was shown a mark; where it had been, if it went back.
    pub(super) fn shown(&mut self, reader: u32, user: u32, mark: Mark, seq: u64) -> Option<u64> {
        let shown = self.shown.entry(reader).or_default().entry((user, mark)).or_default();
        let before = *shown;
        *shown = before.max(seq);
        (seq < before).then_some(before)
    }

    pub(super) fn online(&mut self, user: u32, online: bool) {
        self.online.insert(user, online);
    }

    pub(super) fn seen(&mut self, reader: u32, user: u32, online: bool) {
        self.seen.entry(reader).or_default().insert(user, online);
    }

    /// What this reader of a conversation sees otherwise than it is. Only what it was shown of at
    /// all counts: somebody who watches nobody sees nobody.
    pub(super) fn behind(&self, conversation: u32, reader: u32) -> Option<String> {
        let marked = self.marked.get(&conversation);
        let shown = self.shown.get(&reader);
        for ((user, mark), &seq) in shown.and(marked).into_iter().flatten() {
            let shown = shown.and_then(|shown| shown.get(&(*user, *mark))).copied().unwrap_or(0);
            if shown != seq {
                return Some(format!("{mark:?} of user {user} at {shown}, it is at {seq}"));
            }
        }
        for (user, seen) in self.seen.get(&reader).into_iter().flatten() {
            let online = self.online.get(user).copied().unwrap_or_default();
            if *seen != online {
                return Some(format!("user {user} online: {seen}, it is {online}"));
            }
        }
        None
    }
}
