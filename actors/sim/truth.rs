//! What is true: every commit as it reached the store, and every claim checked against it.
//!
//! Checked at each step, the first breach ends the run:
//! - **L** what is acknowledged or delivered is in the store at that moment;
//! - **D** no `client_msg_id` stands at two places;
//! - **O** places are dense, and what stands at one never changes;
//! - **M** marks only rise;
//! - **A** nobody acts or is given anything without being a member ([`super::groups`]);
//! - what holds of the membership ([`super::members`]).
//!
//! The load test's oracle makes the same statements of what clients of a running cluster were told and
//! given, and can judge some of them only at the end, from the history it reads back. Here each commit
//! is seen as it happens, so a claim is judged at the moment it is made, against the store itself.

use super::engine;
use super::groups::Groups;
use super::members::Membership;
use futures_util::FutureExt;
use rookery_actors::cluster::View;
use rookery_actors::link::NodeKey;
use rookery_protocol::{ClientMsgId, ConversationId, Entry, GroupChange, UserId};
use rookery_store::memory::MemoryEngine;
use rookery_store::{MemberState, Op, Outcome, Plan, Slot, Store, Version};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Entries read at once.
const MANY_BYTES: usize = 64 * 1024 * 1024;

/// Who made a message, and whether its place among the others of that device is promised.
#[derive(Clone, Debug)]
pub struct Made {
    /// Which device, by its place in the world.
    pub device: usize,
    /// Where to.
    pub conversation: ConversationId,
    /// Which of the device's messages.
    pub number: u64,
    /// The device keeps one send a conversation unanswered, so that none overtakes another.
    pub careful: bool,
    /// The change of a group that it is.
    pub change: Option<GroupChange>,
}

/// See the module.
pub struct Truth {
    memory: MemoryEngine,
    store: Store<MemoryEngine>,
    log: BTreeMap<ConversationId, Vec<ClientMsgId>>,
    places: BTreeMap<ClientMsgId, (ConversationId, u64)>,
    made: BTreeMap<ClientMsgId, Made>,
    breach: Option<String>,
    /// Who was a member, and who was declared dead.
    pub membership: Membership,
    /// Who is a member of which group.
    pub groups: Groups,
}

impl Truth {
    /// Nothing happened yet in this store.
    pub fn new(memory: &MemoryEngine) -> Self {
        Self {
            memory: memory.clone(),
            store: Store::new(memory.clone()),
            log: BTreeMap::new(),
            places: BTreeMap::new(),
            made: BTreeMap::new(),
            breach: None,
            membership: Membership::default(),
            groups: Groups::default(),
        }
    }

    /// The layer on the store, without faults.
    pub fn store(&self) -> &Store<MemoryEngine> {
        &self.store
    }

    /// The first breach, if there was one.
    pub fn breach(&self) -> Option<&str> {
        self.breach.as_deref()
    }

    /// Something that must never be was seen.
    pub fn broken(&mut self, words: impl FnOnce() -> String) {
        if self.breach.is_none() {
            self.breach = Some(words());
        }
    }

    /// A device is about to send this for the first time.
    pub fn made(&mut self, id: ClientMsgId, made: Made) {
        self.made.insert(id, made);
    }

    /// The newest place of a conversation.
    pub fn head(&self, conversation: ConversationId) -> u64 {
        self.log.get(&conversation).map_or(0, |log| log.len() as u64)
    }

    /// What stands at a place.
    pub fn at(&self, conversation: ConversationId, seq: u64) -> Option<ClientMsgId> {
        let at = usize::try_from(seq.checked_sub(1)?).ok()?;
        self.log.get(&conversation)?.get(at).copied()
    }

    /// Applies a plan to the store, and judges what it did.
    pub fn apply(&mut self, plan: Plan) -> Outcome {
        let (mut touched, mut marks, mut leases) = (Vec::new(), Vec::new(), false);
        for op in &plan.ops {
            match op {
                Op::Set { key, .. } if is(key, b'm') || is(key, b'd') => {
                    touched.push((key.clone(), engine::peek(&self.memory, key)));
                }
                Op::Set { key, .. } | Op::ByteMax { key, .. } if is(key, b'w') => {
                    marks.push((key.clone(), engine::peek(&self.memory, key)));
                }
                Op::Set { key, .. } | Op::Clear { key } if is(key, b'L') => leases = true,
                _ => {}
            }
        }
        let outcome = engine::apply(&self.memory, plan);
        if !matches!(outcome, Outcome::Committed { .. }) {
            return outcome;
        }
        if leases {
            self.leases_changed();
        }
        for (key, before) in marks {
            let after = engine::peek(&self.memory, &key);
            if before > after {
                self.broken(|| format!("M: a mark went back: {before:?} to {after:?}"));
            }
        }
        for (key, before) in touched {
            if before.is_some() {
                self.broken(|| format!("O or D: the row {key:?} was written twice"));
            }
            if is(&key, b'm')
                && let Some(conversation) = number(&key, 1)
            {
                self.follow(ConversationId(conversation));
            }
        }
        outcome
    }

    fn leases_changed(&mut self) {
        let Some(Ok(members)) = self.store.members().now_or_never() else {
            return self.broken(|| "the leases are damaged".into());
        };
        if let Some(words) = self.membership.changed(members) {
            self.broken(|| format!("membership: {words}"));
        }
    }

    /// A node goes by this view from now on.
    pub fn judge_view(&mut self, at: usize, view: &Arc<View>) {
        if let Some(words) = self.membership.viewed(view) {
            self.broken(|| format!("placement at node {at}: {words}"));
        }
    }

    /// A node takes a slot for its own.
    pub fn judge_owner(&mut self, at: usize, key: NodeKey, slot: Slot) {
        if self.membership.is_dead(key) {
            self.broken(|| format!("node {at} works for {slot:?} as {key}, which is dead"));
        }
    }

    /// Reads what was appended since the last look.
    fn follow(&mut self, conversation: ConversationId) {
        let next = self.head(conversation) + 1;
        let read = self.store.entries(conversation, next, u64::MAX, MANY_BYTES).now_or_never();
        let Some(Ok(entries)) = read else {
            return self.broken(|| format!("O: {conversation} is damaged after {next}: {read:?}"));
        };
        for entry in entries {
            let expected = self.head(conversation) + 1;
            if entry.seq != expected {
                self.broken(|| format!("O: {conversation} jumps from {expected} to {}", entry.seq));
            }
            let id = entry.client_msg_id;
            if let Some((_, before)) = self.places.insert(id, (conversation, entry.seq)) {
                self.broken(|| {
                    format!("D: {id:?} stands at {before} and {} of {conversation}", entry.seq)
                });
            }
            if let Some(words) = self.groups.follow(conversation, &entry) {
                self.broken(|| format!("A: {conversation}/{}: {words}", entry.seq));
            }
            match self.made.get(&id).cloned() {
                Some(made) if made.conversation == conversation => {}
                other => self.broken(|| format!("O: {id:?} in {conversation} was {other:?}")),
            }
            self.log.entry(conversation).or_default().push(id);
        }
    }

    /// A client was told that this message is durable here.
    pub fn told(&mut self, who: usize, conversation: ConversationId, seq: u64, id: ClientMsgId) {
        if self.at(conversation, seq) != Some(id) {
            let stands = self.at(conversation, seq);
            self.broken(|| {
                format!("L: device {who} was told {id:?} at {conversation}/{seq}: {stands:?}")
            });
        }
    }

    /// A client was given this entry.
    pub fn given(
        &mut self,
        (who, user): (usize, UserId),
        conversation: ConversationId,
        entry: &Entry,
    ) {
        self.told(who, conversation, entry.seq, entry.client_msg_id);
        if !self.groups.may_have(conversation, user, entry.seq) {
            self.broken(|| {
                format!("A: device {who} of {user} was given {}/{}", conversation, entry.seq)
            });
        }
        let made = self.made.get(&entry.client_msg_id);
        let body = made.map(|made| match &made.change {
            Some(change) => change.clone().without_secret().to_body(),
            None => body(made.device, made.number, entry.body.len()),
        });
        if body.is_none_or(|body| body != entry.body) {
            self.broken(|| format!("O: device {who} was given another body for {entry:?}"));
        }
    }

    /// The order of messages of devices that let none overtake another.
    pub fn check_senders(&mut self) {
        let mut last: BTreeMap<(usize, ConversationId), u64> = BTreeMap::new();
        let mut swapped = Vec::new();
        for (conversation, log) in &self.log {
            for made in log.iter().filter_map(|id| self.made.get(id)).filter(|made| made.careful) {
                let before = last.insert((made.device, *conversation), made.number);
                if before.is_some_and(|before| before >= made.number) {
                    swapped.push((made.device, *conversation, before, made.number));
                }
            }
        }
        if let Some(swap) = swapped.first() {
            self.broken(|| format!("O: a careful device's messages swapped: {swap:?}"));
        }
    }

    /// The members of a conversation with their marks, as stored.
    pub fn members(&self, conversation: ConversationId) -> Vec<MemberState> {
        let read = self.store.load_conversation(conversation, Version::default()).now_or_never();
        read.and_then(Result::ok).flatten().map_or_else(Vec::new, |loaded| loaded.members)
    }

    /// The conversations with anything in them.
    pub fn conversations(&self) -> Vec<ConversationId> {
        self.log.keys().copied().collect()
    }

    /// Messages committed so far.
    pub fn committed(&self) -> usize {
        self.places.len()
    }
}

/// The body of a message: it tells device and number, and is as long as was drawn.
pub fn body(device: usize, number: u64, len: usize) -> Vec<u8> {
    let mut body = format!("{device}:{number}:").into_bytes();
    body.resize(len.max(body.len()), b'.');
    body
}

/// A user's id, by its number.
pub fn user_id(number: usize) -> UserId {
    UserId(0x1000 + number as u64 * 0x0101)
}

fn is(key: &[u8], tag: u8) -> bool {
    key.first() == Some(&tag)
}

fn number(key: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(at..at + 8)?.try_into().ok()?))
}
