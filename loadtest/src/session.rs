//! One device of the run: its connection, what it sends, and what it tells the oracle.

use crate::body;
use crate::oracle::{Course, Event as Seen, Value};
use crate::scenario::Kind;
use crate::shared::{Phase, Role, Shared, State};
use crate::social::Sight;
use rookery_client::{Driver, Event, Outgoing, Reply, Sent, new_message_id};
use rookery_protocol::group::group_id;
use rookery_protocol::limits::MAX_HISTORY_ENTRIES;
use rookery_protocol::server::{HistoryPage, Users};
use rookery_protocol::{
    ClientMsgId, ConversationId, Direction, Entry, EntryKind, GroupAction, GroupChange, UserId,
};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc};

/// Sends handed to the client library at a time in the open loop; later ones stay in the queue.
const MAX_HANDED: usize = 512;

/// A send without an answer.
#[derive(Debug)]
struct UnderWay {
    number: u32,
    hash: u64,
    /// See [`crate::oracle::Oracle::floor`].
    floor: u64,
}

/// Where a device is in a storm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Storm {
    Calm,
    /// It is to lose its connection, once it may.
    Due,
    /// It lost its connection, and is not back.
    Cut,
}

/// One device.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) shared: Arc<Shared>,
    /// Index of the device among all.
    pub(crate) index: usize,
    pub(crate) user: UserId,
    /// The other one of its pair.
    pub(crate) partner: UserId,
    /// Whom to open the conversation with; only for the device that does.
    pub(crate) leads: Option<Vec<String>>,
    /// The message that makes the group.
    creation: Option<ClientMsgId>,
    /// Index of its pair.
    pub(crate) pair: usize,
    pub(crate) driver: Driver,
    /// When messages are due, in the open loop.
    pub(crate) dues: Option<mpsc::Receiver<u64>>,
    phase: Phase,
    synced: bool,
    pub(crate) up: bool,
    /// A `history` of [`Phase::Peek`] without an answer.
    pub(crate) peeking: bool,
    /// A `describe` without an answer.
    pub(crate) describing: bool,
    pub(crate) sight: Sight,
    pub(crate) role: Option<Role>,
    storm: Storm,
    next_number: u32,
    under_way: VecDeque<UnderWay>,
}

impl Session {
    pub(crate) fn new(
        shared: Arc<Shared>,
        index: usize,
        (user, partner): (UserId, UserId),
        pair: usize,
        leads: Option<Vec<String>>,
        driver: Driver,
        dues: Option<mpsc::Receiver<u64>>,
    ) -> Self {
        Self {
            shared,
            index,
            user,
            partner,
            leads,
            creation: None,
            pair,
            driver,
            dues,
            phase: Phase::Connect,
            synced: false,
            up: false,
            peeking: false,
            describing: false,
            sight: Sight::default(),
            storm: Storm::Calm,
            role: None,
            next_number: 0,
            under_way: VecDeque::new(),
        }
    }

    /// Lives through all phases. Boxed, as is the farewell: thousands of these are held at a time,
    /// and a future holds whatever is moved into it twice.
    pub(crate) async fn run(mut self: Box<Self>, connecting: Arc<Semaphore>) {
        let mut permit = Arc::clone(&connecting).acquire_owned().await.ok();
        let mut phase = self.shared.phase.subscribe();
        while self.phase != Phase::Leave {
            let room = self.driver.pending_sends() < MAX_HANDED;
            tokio::select! {
                biased;
                event = self.driver.drive(!self.stalls()) => match event {
                    Some(event) => self.events(event),
                    None => break,
                },
                due = next_due(&mut self.dues), if room => self.due(due),
                may = Arc::clone(&connecting).acquire_owned(), if self.storm == Storm::Due => {
                    permit = may.ok();
                    self.storm = Storm::Cut;
                    self.driver.interrupt();
                }
                changed = phase.changed() => {
                    let now = *phase.borrow_and_update();
                    self.enter(if changed.is_ok() { now } else { Phase::Leave });
                }
            }
            if self.synced && self.storm != Storm::Cut {
                permit = None;
            }
        }
        drop(permit);
        let (stats, shared) = (self.driver.stats(), Arc::clone(&self.shared));
        let Self { driver, .. } = *self;
        Box::pin(driver.leave()).await;
        let mut state = shared.state();
        state.left += 1;
        let sum = &mut state.stats;
        sum.connects += stats.connects;
        sum.resumes += stats.resumes;
        sum.repeats += stats.repeats;
        sum.gaps += stats.gaps;
        sum.retries += stats.retries;
        sum.refusals += stats.refusals;
    }

    /// Whether it must not read now.
    fn stalls(&self) -> bool {
        self.phase == Phase::Slow && self.may_stall()
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        match phase {
            Phase::Open if self.pair < shared.scenario.talking_pairs() => {
                let opening = match self.leads.as_deref() {
                    None => Ok(0),
                    Some([partner]) => self.driver.open_direct(partner),
                    Some(members) => self.driver.find_users(members.to_vec()),
                };
                if let Err(e) = opening {
                    state.error(|| format!("the conversation can't be opened: {e}"));
                }
            }
            Phase::Arm => {
                self.role = state.roles.get(self.index).copied().flatten();
                if let Some(role) = self.role {
                    self.driver.track(role.conversation, role.base);
                    if shared.scenario.social {
                        self.join(&mut state, role);
                    }
                }
                state.armed += 1;
            }
            Phase::Cut => {
                self.driver.interrupt();
                state.up -= usize::from(std::mem::take(&mut self.up));
                state.cut += 1;
            }
            Phase::Rest(_) if shared.scenario.social => {
                if let Some(role) = self.role {
                    let head = self.driver.head(role.conversation).unwrap_or(role.base);
                    self.mark(&mut state, role, head);
                    self.describe(&mut state, role);
                }
            }
            Phase::Storm => self.storm = Storm::Due,
            Phase::Run => {
                let first = match shared.scenario.kind {
                    Kind::Pairs => 0,
                    Kind::Saturate => shared.scenario.in_flight,
                    Kind::Idle => 1,
                };
                let now_us = shared.now_us();
                (0..first).for_each(|_| self.send(&mut state, now_us));
            }
            Phase::Peek(_) if self.leads.is_some() => {
                if let Some(role) = self.role {
                    let (id, newest) = (role.conversation, Direction::Before);
                    self.peeking |= self.driver.history(id, 0, newest, 1).is_ok();
                }
            }
            Phase::Audit if self.leads.is_some() => {
                if let Some(role) = self.role {
                    self.ask_history(&mut state, role, role.base);
                }
            }
            _ => {}
        }
    }

    /// Works off an event and all others that are here already, under one lock.
    fn events(&mut self, first: Event) {
        let shared = Arc::clone(&self.shared);
        let now_us = shared.now_us();
        let mut state = shared.state();
        let mut next = Some(first);
        while let Some(event) = next {
            self.event(&mut state, event, now_us);
            next = self.driver.try_next();
        }
    }

    fn event(&mut self, state: &mut State, event: Event, now_us: u64) {
        if self.aside(state, &event) {
            return;
        }
        match event {
            Event::Message { conversation, entry } => {
                self.message(state, conversation, &entry, now_us);
            }
            Event::Sent(sent) => self.sent(state, sent, now_us),
            Event::Connected(connected) if self.storm == Storm::Cut => {
                self.storm = Storm::Calm;
                state.resumed += 1;
                if !connected.resumed {
                    state.error(|| format!("device {}: its session was gone", self.index));
                }
            }
            Event::CaughtUp { .. } if !self.synced => {
                self.synced = true;
                state.synced += 1;
            }
            Event::Reply { result: Ok(Reply::Conversation(c)), .. } => {
                if let Some(opened) = state.opened.get_mut(self.pair) {
                    *opened = Some((c.info.conversation, c.info.head));
                }
            }
            Event::Reply { result: Ok(Reply::Users(found)), .. } => self.create(state, *found),
            Event::Reply { result: Ok(Reply::History(page)), .. } => self.page(state, *page),
            Event::Reply { result: Err(e), .. } => {
                state.error(|| format!("device {}: request failed: {e}", self.index));
                if self.phase == Phase::Audit {
                    state.audited += 1;
                }
            }
            Event::SendFailed { client_msg_id, refusal, .. } => {
                state.error(|| format!("device {}: send failed: {refusal}", self.index));
                if let Some(episode) = &mut state.measure.episode {
                    episode.failed += 1;
                }
                self.take_under_way(state, client_msg_id);
                self.next_in_loop(state, now_us);
            }
            Event::Missing { from, to, .. } => {
                if let Some(role) = self.role {
                    state.oracle.hear(&Seen::Missing { reader: role.reader, from, to });
                }
            }
            // Marks are refused like that, and told again.
            Event::ServerError(refusal) if refusal.retryable && self.shared.scenario.social => {}
            Event::ServerError(refusal) => {
                state.error(|| format!("device {}: {refusal}", self.index));
            }
            Event::Closed(reason) if self.phase != Phase::Leave => {
                state.error(|| format!("device {} was closed: {reason:?}", self.index));
            }
            _ => {}
        }
    }

    /// Makes the group of those who were found.
    fn create(&mut self, state: &mut State, found: Users) {
        let wanted = self.leads.as_ref().map_or(0, Vec::len);
        let users: Vec<UserId> = found.users.into_iter().map(|found| found.user).collect();
        if users.len() < wanted {
            state.error(|| format!("{} of {wanted} members were found", users.len()));
        }
        let client_msg_id = new_message_id();
        self.creation = Some(client_msg_id);
        let text = self.shared.scenario.name.clone();
        let change = GroupChange { users, text, ..GroupChange::new(GroupAction::Create) };
        let conversation = group_id(client_msg_id);
        let (kind, body) = (EntryKind::Group, change.to_body());
        if let Err(e) = self.driver.send(Outgoing { conversation, client_msg_id, kind, body }) {
            state.error(|| format!("the group can't be made: {e}"));
        }
    }

    fn message(
        &mut self,
        state: &mut State,
        conversation: ConversationId,
        entry: &Entry,
        now_us: u64,
    ) {
        // That the group was made comes before what the oracle looks at.
        if entry.kind == EntryKind::Group {
            return;
        }
        let Some(role) = self.role.filter(|r| r.conversation == conversation) else {
            return state.error(|| format!("device {}: a message not for it", self.index));
        };
        let value = body::entry_value(entry);
        let (_, _, due_us) = body::read_id(entry.client_msg_id);
        state.planted.deliver(&mut state.oracle, role.reader, value, entry.seq);
        state.measure.delivered(due_us, now_us);
        if let Some(episode) = state.measure.episode.as_mut().filter(|_| !self.may_stall()) {
            episode.delivered(due_us, now_us);
        }
        state.delivered += 1;
        if self.shared.scenario.social {
            self.mark(state, role, entry.seq);
        }
    }

    fn sent(&mut self, state: &mut State, sent: Sent, now_us: u64) {
        if self.creation == Some(sent.client_msg_id) {
            if let Some(opened) = state.opened.get_mut(self.pair) {
                *opened = Some((sent.conversation, sent.seq));
            }
            return;
        }
        let Some(role) = self.role else { return };
        let (lane, number, due_us) = body::read_id(sent.client_msg_id);
        let answered =
            if sent.answer { self.take_under_way(state, sent.client_msg_id) } else { None };
        let value = match &answered {
            Some(under_way) => Value { lane, number, hash: under_way.hash },
            None => {
                let shared = &self.shared;
                let text = body::body(shared.seed, lane, number, shared.scenario.body_bytes);
                body::value(sent.client_msg_id, self.user, &text)
            }
        };
        if let Some(under_way) = answered {
            let (seq, floor, course) = (sent.seq, under_way.floor, course(sent.course));
            state.oracle.hear(&Seen::Acknowledged { value, seq, floor, course });
            state.measure.acknowledged(lane, due_us, now_us);
            state.acknowledged += 1;
        }
        if sent.placed {
            let (reader, seq) = (role.reader, sent.seq);
            state.oracle.hear(&Seen::Delivered { reader, value, seq });
        }
        if sent.answer {
            self.next_in_loop(state, now_us);
        }
    }

    fn take_under_way(&mut self, state: &mut State, id: ClientMsgId) -> Option<UnderWay> {
        let (_, number, _) = body::read_id(id);
        let at = self.under_way.iter().position(|u| u.number == number)?;
        state.under_way -= 1;
        self.under_way.remove(at)
    }

    /// The closed loop: an answer sends the next message.
    fn next_in_loop(&mut self, state: &mut State, now_us: u64) {
        let goes_on = match self.shared.scenario.kind {
            Kind::Pairs => false,
            Kind::Saturate => true,
            Kind::Idle => (self.next_number as usize) < self.shared.scenario.probes,
        };
        if goes_on && self.phase == Phase::Run {
            self.send(state, now_us);
        }
    }

    /// The open loop: what is due goes out, all of it under one lock.
    fn due(&mut self, first: u64) {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        let mut next = Some(first);
        while let Some(due_us) = next {
            state.taken += 1;
            self.send(&mut state, due_us);
            next = None;
            if self.driver.pending_sends() < MAX_HANDED
                && let Some(dues) = &mut self.dues
            {
                next = dues.try_recv().ok();
            }
        }
    }

    fn send(&mut self, state: &mut State, due_us: u64) {
        let Some((role, lane)) = self.role.and_then(|r| Some((r, r.lane?))) else { return };
        let number = self.next_number;
        self.next_number += 1;
        let body = body::body(self.shared.seed, lane, number, self.shared.scenario.body_bytes);
        let client_msg_id = body::message_id(lane, number, due_us);
        let hash = body::value(client_msg_id, self.user, &body).hash;
        let message = Outgoing {
            conversation: role.conversation,
            client_msg_id,
            kind: EntryKind::Text,
            body,
        };
        if let Err(e) = self.driver.send(message) {
            return state.error(|| format!("device {}: send: {e}", self.index));
        }
        let floor = state.oracle.oracle().floor(lane);
        self.under_way.push_back(UnderWay { number, hash, floor });
        state.under_way += 1;
    }

    fn ask_history(&mut self, state: &mut State, role: Role, after: u64) {
        let (id, limit) = (role.conversation, MAX_HISTORY_ENTRIES);
        if let Err(e) = self.driver.history(id, after, Direction::After, limit) {
            state.error(|| format!("history: {e}"));
            state.audited += 1;
        }
    }

    fn page(&mut self, state: &mut State, page: HistoryPage) {
        let Some(role) = self.role else { return };
        for entry in &page.entries {
            let (conversation, value) = (role.log, body::entry_value(entry));
            state.oracle.hear(&Seen::ReadBack { conversation, value, seq: entry.seq });
        }
        match page.entries.last() {
            Some(last) if page.more => self.ask_history(state, role, last.seq),
            _ => state.audited += 1,
        }
    }
}

/// What the client library says of a send's course, in the oracle's words.
fn course(course: rookery_client::Course) -> Course {
    match course {
        rookery_client::Course::Straight => Course::Straight,
        rookery_client::Course::Repeated => Course::Repeated,
        rookery_client::Course::Refused => Course::Refused,
    }
}

/// The next due time; never, without a queue or when the pacer is gone.
async fn next_due(dues: &mut Option<mpsc::Receiver<u64>>) -> u64 {
    let due = match dues {
        Some(queue) => queue.recv().await,
        None => None,
    };
    match due {
        Some(due) => due,
        None => std::future::pending().await,
    }
}
