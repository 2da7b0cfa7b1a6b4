//! The sends of a conversation on their way to a place: admission, duplicates, batches.
//!
//! Sends stand in one line. One whose earlier attempt is being looked for stops those behind it,
//! so that no sender's messages overtake each other.

use crate::message::{Origin, Outgoing, SessionRef};
use crate::plant::{self, Bug};
use rookery_protocol::{ClientMsgId, Entry, EntryKind, UserId};
use rookery_store::append::{content_hash, entry_bytes_bound};
use rookery_store::group::ChangeFacts;
use rookery_store::{Known, Version};
use std::collections::{HashMap, VecDeque};

/// Most sends that wait.
const MAX_QUEUED: usize = 4096;
/// Most bytes of bodies that wait.
const MAX_QUEUED_BYTES: usize = 2 * 1024 * 1024;
/// Committed ids that are remembered without asking the store: more than a conversation commits
/// between two acknowledgements of a client.
const MAX_RECENT: usize = 1_024;

/// What became of a send at the door.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It waits for its turn.
    Queued,
    /// It waits for the answer to a lookup.
    LookUp,
    /// It is in already.
    Committed {
        /// Its place.
        seq: u64,
        /// Its time.
        time_ms: u64,
    },
    /// An earlier attempt waits or is in flight; its answer will serve.
    Pending,
    /// An earlier attempt had other content.
    OtherContent,
    /// No room.
    Full,
}

struct Waiting {
    send: Outgoing,
    /// Set while its earlier attempt is being looked for.
    lookup: Option<u64>,
    /// Of a change of a group: what was found out for it.
    facts: Option<ChangeFacts>,
}

impl Waiting {
    fn is_change(&self) -> bool {
        self.send.kind == EntryKind::Group
    }
}

/// What is at the front of the line.
pub(super) enum Next {
    /// Nothing that can have a place now.
    Nothing,
    /// Messages.
    Entries(Vec<Entry>),
    /// A change of a group, which has an append of its own.
    Change(Outgoing, ChangeFacts),
}

/// Where the next entries would stand.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) first_seq: u64,
    pub(super) time_ms: u64,
    pub(super) max_entries: usize,
    pub(super) max_bytes: usize,
}

struct Seen {
    hash: u64,
    /// Where it is, once it is committed.
    place: Option<(u64, u64)>,
    /// Who hears of it if it fails.
    from: Origin,
}

type Key = (UserId, ClientMsgId);

/// The line of sends, and what is known of ids.
#[derive(Default)]
pub(super) struct SendQueue {
    line: VecDeque<Waiting>,
    bytes: usize,
    /// Sends that came before the conversation was loaded.
    unchecked: Vec<Outgoing>,
    seen: HashMap<Key, Seen>,
    /// Committed ids, oldest first, with the versions of their commits.
    recent: VecDeque<(Key, Version)>,
    /// Of the ids that are remembered no more, none was committed after this version.
    forgotten: Version,
}

impl SendQueue {
    /// See the field.
    pub(super) fn forgotten(&self) -> Version {
        self.forgotten
    }

    pub(super) fn is_empty(&self) -> bool {
        self.line.is_empty() && self.unchecked.is_empty()
    }

    fn has_room(&self, send: &Outgoing) -> bool {
        self.line.len() + self.unchecked.len() < MAX_QUEUED
            && self.bytes + send.body.len() <= MAX_QUEUED_BYTES
    }

    /// Takes a send before anything is known of the conversation.
    pub(super) fn admit_unchecked(&mut self, send: Outgoing) -> Admission {
        if !self.has_room(&send) {
            return Admission::Full;
        }
        self.bytes += send.body.len();
        self.unchecked.push(send);
        Admission::Pending
    }

    /// Gives back what came before the conversation was loaded, in order.
    pub(super) fn take_unchecked(&mut self) -> Vec<Outgoing> {
        let sends = std::mem::take(&mut self.unchecked);
        let bytes: usize = sends.iter().map(|s| s.body.len()).sum();
        self.bytes = self.bytes.saturating_sub(bytes);
        sends
    }

    /// Takes a send; with `lookup` it waits until that lookup is answered.
    pub(super) fn admit(&mut self, send: Outgoing, lookup: Option<u64>) -> Admission {
        let key = (send.from.session.user, send.id);
        let hash = content_hash(send.kind, &send.body);
        if let Some(seen) = self.seen.get_mut(&key) {
            if seen.hash != hash {
                return Admission::OtherContent;
            }
            if let Some((seq, time_ms)) = seen.place {
                return Admission::Committed { seq, time_ms };
            }
            seen.from = send.from;
            return Admission::Pending;
        }
        if !self.has_room(&send) {
            return Admission::Full;
        }
        self.seen.insert(key, Seen { hash, place: None, from: send.from });
        self.bytes += send.body.len();
        self.line.push_back(Waiting { send, lookup, facts: None });
        if lookup.is_some() { Admission::LookUp } else { Admission::Queued }
    }

    /// The lookup found no earlier attempt: the send may go on, a change with these facts.
    pub(super) fn not_sent_before(&mut self, token: u64, facts: Option<ChangeFacts>) {
        if let Some(waiting) = self.line.iter_mut().find(|w| w.lookup == Some(token)) {
            waiting.lookup = None;
            waiting.facts = facts;
        }
    }

    /// Whether a change of a group is the next that gets a place.
    pub(super) fn change_is_next(&self) -> bool {
        self.line.front().is_some_and(Waiting::is_change)
    }

    /// Whether a change of a group waits for the conversation to be loaded.
    pub(super) fn has_unchecked_change(&self) -> bool {
        self.unchecked.iter().any(|send| send.kind == EntryKind::Group)
    }

    /// A change was refused: who asked for it.
    pub(super) fn refused(&mut self, change: &Outgoing) -> Option<SessionRef> {
        let key = (change.from.session.user, change.id);
        Some(self.seen.remove(&key)?.from.session)
    }

    /// The lookup found an earlier attempt: who asked, for what, and whether the content is the
    /// same.
    pub(super) fn sent_before(
        &mut self,
        token: u64,
        known: Known,
    ) -> Option<(SessionRef, ClientMsgId, bool)> {
        let waiting = self.remove(token)?;
        let key = (waiting.send.from.session.user, waiting.send.id);
        let hash = content_hash(waiting.send.kind, &waiting.send.body);
        let seen = self.seen.get_mut(&key)?;
        let session = seen.from.session;
        let same = hash == known.hash;
        seen.hash = known.hash;
        seen.place = Some((known.seq, known.time_ms));
        // Committed before the load, or by this activation and forgotten since: both are covered.
        self.remember(key, Version::default());
        Some((session, key.1, same))
    }

    /// The lookup failed: the send is refused, and who asked is told.
    pub(super) fn refuse(&mut self, token: u64) -> Option<(SessionRef, ClientMsgId)> {
        let waiting = self.remove(token)?;
        let key = (waiting.send.from.session.user, waiting.send.id);
        let seen = self.seen.remove(&key)?;
        Some((seen.from.session, key.1))
    }

    fn remove(&mut self, token: u64) -> Option<Waiting> {
        let at = self.line.iter().position(|w| w.lookup == Some(token))?;
        let waiting = self.line.remove(at)?;
        self.bytes = self.bytes.saturating_sub(waiting.send.body.len());
        Some(waiting)
    }

    /// What comes next, from the front of the line up to the first that waits for a lookup, or whose
    /// sender stands `apart` when that of the one before does not, or the other way round. Who is no
    /// member (any more) is put among the strangers instead.
    pub(super) fn next(
        &mut self,
        place: Place,
        (is_member, apart): (impl Fn(UserId) -> bool, impl Fn(UserId) -> bool),
        strangers: &mut Vec<(SessionRef, ClientMsgId)>,
    ) -> Next {
        let mut entries = Vec::new();
        let mut bytes = 0;
        while let Some(front) = self.line.front() {
            let full = entries.len() >= place.max_entries || bytes >= place.max_bytes;
            if front.lookup.is_some() || full || (front.is_change() && !entries.is_empty()) {
                break;
            }
            let sender = front.send.from.session.user;
            if entries.first().is_some_and(|e: &Entry| apart(e.sender) != apart(sender)) {
                break;
            }
            let Some(Waiting { send, facts, .. }) = self.line.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(send.body.len());
            if send.kind == EntryKind::Group {
                return Next::Change(send, facts.unwrap_or_default());
            }
            if !is_member(sender) && !plant::is(Bug::SenderUnchecked) {
                let asked = self.seen.remove(&(sender, send.id));
                strangers.extend(asked.map(|seen| (seen.from.session, send.id)));
                continue;
            }
            let entry = Entry {
                seq: place.first_seq + entries.len() as u64,
                sender,
                device: send.from.device,
                time_ms: place.time_ms,
                client_msg_id: send.id,
                kind: send.kind,
                body: send.body,
            };
            bytes += entry_bytes_bound(&entry);
            entries.push(entry);
        }
        if entries.is_empty() { Next::Nothing } else { Next::Entries(entries) }
    }

    /// The entries are durable.
    pub(super) fn committed(&mut self, entries: &[Entry], version: Version) {
        for entry in entries {
            let key = (entry.sender, entry.client_msg_id);
            if let Some(seen) = self.seen.get_mut(&key) {
                seen.place = Some((entry.seq, entry.time_ms));
                self.remember(key, version);
            }
        }
    }

    /// The entries were not (or not known to be) appended: who asked, for what.
    pub(super) fn failed(&mut self, entries: &[Entry]) -> Vec<(SessionRef, ClientMsgId)> {
        let ids = entries.iter().filter_map(|entry| {
            let key = (entry.sender, entry.client_msg_id);
            if plant::is(Bug::RefusedRemembered) {
                return Some((self.seen.get(&key)?.from.session, entry.client_msg_id));
            }
            let seen = self.seen.remove(&key)?;
            Some((seen.from.session, entry.client_msg_id))
        });
        ids.collect()
    }

    /// Takes everything out of the line: who asked, for what.
    pub(super) fn drain(&mut self) -> Vec<(SessionRef, ClientMsgId)> {
        let mut asked = Vec::with_capacity(self.line.len() + self.unchecked.len());
        for Waiting { send, .. } in std::mem::take(&mut self.line) {
            if let Some(seen) = self.seen.remove(&(send.from.session.user, send.id)) {
                asked.push((seen.from.session, send.id));
            }
        }
        asked.extend(std::mem::take(&mut self.unchecked).iter().map(|s| (s.from.session, s.id)));
        self.bytes = 0;
        asked
    }

    /// Everybody whose send has no answer yet, and for what.
    pub(super) fn asked(&self) -> Vec<(SessionRef, ClientMsgId)> {
        let seen = self.seen.iter().filter(|(_, seen)| seen.place.is_none());
        let seen = seen.map(|((_, id), seen)| (seen.from.session, *id));
        let unchecked = self.unchecked.iter().map(|s| (s.from.session, s.id));
        let mut asked: Vec<_> = seen.chain(unchecked).collect();
        // The order of a hash map must not reach the wire.
        asked.sort_unstable();
        asked
    }

    fn remember(&mut self, key: Key, version: Version) {
        self.recent.push_back((key, version));
        if self.recent.len() > MAX_RECENT
            && let Some((oldest, version)) = self.recent.pop_front()
        {
            self.seen.remove(&oldest);
            self.forgotten = self.forgotten.max(version);
        }
    }
}
