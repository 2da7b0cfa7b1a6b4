//! A device: a client as a stranger would write it from the protocol's document, and no more
//! patient, clever or forgiving than that. Pure: it is told the time and what arrived, and says what
//! to send.
//!
//! Durable (outlives a crash of the app): cursor, entries, unanswered sends, places to fill.
//! Volatile: the connection, the session, requests under way.

use super::rng::Rng;
use super::truth::{Made, Truth, body};
use rookery_protocol::client::{self, Resume};
use rookery_protocol::{
    ClientFrame, ClientMsgId, ConversationId, Cursor, DeviceId, EntryKind, GroupChange, MarkKind,
    SessionId, Status, UserId,
};
use std::collections::{BTreeMap, BTreeSet};

/// An answer that has not come by then is asked for again, milliseconds.
const PATIENCE_MS: u64 = 10_000;

/// What a device wants done.
#[derive(Debug)]
pub enum Do {
    /// Connect to a node.
    Connect {
        /// To go on with, if there was a session.
        resume: Option<Resume>,
    },
    /// Send frames.
    Frames(Vec<ClientFrame>),
    /// Give the connection up.
    HangUp,
}

/// Where its connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// None.
    Off,
    /// `Hello` was sent then.
    Hello(u64),
    /// `Welcome` came.
    Up,
}

/// A session the device holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) session: SessionId,
    pub(super) secret: [u8; 16],
    pub(super) received: u64,
}

/// What a request was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Sync,
    List,
    Describe(ConversationId),
    Fill(ConversationId),
    Page(ConversationId),
    Watch,
    Open(UserId),
}

/// A message without answer.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) conversation: ConversationId,
    pub(super) id: ClientMsgId,
    pub(super) number: u64,
    pub(super) len: usize,
    /// The change of a group that it is.
    pub(super) change: Option<GroupChange>,
    pub(super) tried: bool,
    /// The request under way, and when patience ends.
    pub(super) under_way: Option<(u32, u64)>,
    pub(super) not_before: u64,
    pub(super) failures: u32,
}

/// A conversation as the device holds it.
#[derive(Clone, Debug, Default)]
pub struct Conv {
    /// The head when it was first learned of.
    pub base: u64,
    /// Everything up to here is known of.
    pub head: u64,
    /// What was appended from `base` on.
    pub values: Vec<ClientMsgId>,
    /// What came beyond a gap.
    pub(super) ahead: BTreeMap<u64, ClientMsgId>,
    /// A gap is to be filled up to here.
    pub(super) fill_to: u64,
    /// A gap is no fault: the server said `TooFar`.
    pub(super) may_gap: bool,
    /// Marks by user: (delivered, read).
    pub marks: BTreeMap<UserId, (u64, u64)>,
    /// Own marks that were sent.
    pub(super) marked: (u64, u64),
    /// It is a group.
    pub group: bool,
    /// The user is no member of it any more.
    pub ended: bool,
}

/// See the module.
pub struct Device {
    /// Its place in the world.
    pub at: usize,
    /// Whose.
    pub user: UserId,
    /// Its id.
    pub device: DeviceId,
    /// One send a conversation at a time.
    pub careful: bool,
    /// How long it waits before it acknowledges.
    pub ack_ms: u64,
    /// Where its connection stands.
    pub link: Link,
    /// It wants to be connected.
    pub wants: bool,
    /// Whom it watches.
    pub watches: Vec<UserId>,
    /// What it was told of them last.
    pub presence: BTreeMap<UserId, Status>,
    /// What it holds.
    pub convs: BTreeMap<ConversationId, Conv>,
    /// Users it has yet to open a conversation with.
    pub to_open: Vec<(UserId, String)>,
    pub(super) session: Option<Held>,
    pub(super) cursor: Option<Cursor>,
    pub(super) live: bool,
    /// Asked to sync again within a session: repeats may come until it is answered.
    pub(super) resyncing: bool,
    pub(super) strangers: BTreeMap<ConversationId, BTreeMap<u64, ClientMsgId>>,
    pub(super) asks: BTreeMap<u32, (Ask, u64)>,
    pub(super) again: Vec<(Ask, u64)>,
    pub(super) pending: Vec<Pending>,
    pub(super) ack_at: Option<u64>,
    pub(super) mark_at: Option<u64>,
    /// The newest place that left in this session, by conversation.
    pub(super) streamed: BTreeMap<ConversationId, u64>,
    /// Groups it was told to be a member of (again): their places may jump once.
    pub(super) entered: BTreeSet<ConversationId>,
    pub(super) clock_ms: i64,
    connect_at: u64,
    attempts: u32,
    next_request: u32,
    next_number: u64,
}

impl Device {
    /// A device that was never connected.
    pub fn new(at: usize, user: UserId, device: DeviceId, others: Vec<(UserId, String)>) -> Self {
        Self {
            at,
            user,
            device,
            careful: false,
            ack_ms: 200,
            link: Link::Off,
            wants: true,
            watches: others.iter().map(|(user, _)| *user).collect(),
            presence: BTreeMap::new(),
            convs: BTreeMap::new(),
            to_open: others,
            session: None,
            cursor: None,
            live: false,
            resyncing: false,
            strangers: BTreeMap::new(),
            asks: BTreeMap::new(),
            again: Vec::new(),
            pending: Vec::new(),
            ack_at: None,
            mark_at: None,
            streamed: BTreeMap::new(),
            entered: BTreeSet::new(),
            clock_ms: 0,
            connect_at: 0,
            attempts: 0,
            next_request: 0,
            next_number: 0,
        }
    }

    /// Sends without answer.
    pub fn unanswered(&self) -> usize {
        self.pending.len()
    }

    /// Whether it is connected, delivery is live and nothing is being fetched.
    pub fn settled(&self) -> bool {
        self.link == Link::Up
            && self.live
            && self.asks.is_empty()
            && self.again.is_empty()
            && self.strangers.is_empty()
            && self.pending.is_empty()
            && self.convs.values().all(|conv| conv.fill_to <= conv.head)
    }

    /// The app was killed: only what is durable is left.
    pub fn crash(&mut self, now: u64) {
        self.hung_up(now);
        self.session = None;
        self.asks.clear();
        self.again.clear();
        self.strangers.clear();
    }

    /// The connection is gone.
    pub fn hung_up(&mut self, now: u64) {
        self.link = Link::Off;
        self.ack_at = None;
        for (ask, _) in std::mem::take(&mut self.asks).into_values() {
            self.again.push((ask, now));
        }
        for pending in &mut self.pending {
            pending.under_way = None;
        }
    }

    /// When to try again after a failed attempt or a lost connection.
    pub fn back_off(&mut self, now: u64, rng: &mut Rng) {
        let most = (500 << self.attempts.min(6)).min(30_000);
        self.attempts += 1;
        self.connect_at = now + rng.below(most + 1);
    }

    /// The network is back: try at once.
    pub fn hurry(&mut self, now: u64) {
        self.attempts = 0;
        self.connect_at = self.connect_at.min(now);
    }

    pub(super) fn request(&mut self) -> u32 {
        self.next_request += 1;
        self.next_request
    }

    /// Writes a message into a conversation it knows.
    pub fn write(&mut self, now: u64, len: usize, truth: &mut Truth, rng: &mut Rng) {
        let Some(conversation) = rng.pick(&self.writable()) else { return };
        self.write_to(now, conversation, len, truth, rng);
    }

    /// Conversations that it takes its user for a member of.
    pub fn writable(&self) -> Vec<ConversationId> {
        self.convs.iter().filter(|(_, conv)| !conv.ended).map(|(id, _)| *id).collect()
    }

    /// Writes a message into this conversation.
    pub fn write_to(
        &mut self,
        now: u64,
        conversation: ConversationId,
        len: usize,
        truth: &mut Truth,
        rng: &mut Rng,
    ) {
        let id = self.new_id(now, rng);
        self.push(now, (id, conversation), len, None, truth);
    }

    pub(super) fn new_id(&mut self, now: u64, rng: &mut Rng) -> ClientMsgId {
        ClientMsgId::from_parts(now.saturating_add_signed(self.clock_ms), rng.bytes())
    }

    pub(super) fn push(
        &mut self,
        now: u64,
        (id, conversation): (ClientMsgId, ConversationId),
        len: usize,
        change: Option<GroupChange>,
        truth: &mut Truth,
    ) {
        let number = self.next_number;
        self.next_number += 1;
        let (device, careful) = (self.at, self.careful);
        truth.made(id, Made { device, conversation, number, careful, change: change.clone() });
        self.pending.push(Pending {
            conversation,
            id,
            number,
            len,
            change,
            tried: false,
            under_way: None,
            not_before: now,
            failures: 0,
        });
    }

    /// Looks at the time: what is due is done. Called often.
    pub fn tick(&mut self, now: u64, rng: &mut Rng, out: &mut Vec<Do>) {
        match self.link {
            Link::Off => {
                if self.wants && self.connect_at <= now {
                    self.link = Link::Hello(now);
                    let resume = self.session.map(|held| Resume {
                        session: held.session,
                        secret: held.secret,
                        received: held.received,
                    });
                    out.push(Do::Connect { resume });
                }
            }
            Link::Hello(since) => {
                if now >= since + PATIENCE_MS {
                    self.hung_up(now);
                    self.back_off(now, rng);
                    out.push(Do::HangUp);
                }
            }
            Link::Up => {
                let mut frames = Vec::new();
                self.ask_again(now, &mut frames);
                self.send_pending(now, &mut frames);
                self.mark(now, &mut frames);
                self.acknowledge(now, &mut frames);
                if !frames.is_empty() {
                    out.push(Do::Frames(frames));
                }
            }
        }
    }

    fn acknowledge(&mut self, now: u64, frames: &mut Vec<ClientFrame>) {
        if self.ack_at.is_some_and(|at| at <= now)
            && let Some(held) = &self.session
        {
            self.ack_at = None;
            frames.push(client::Ack { received: held.received }.into());
        }
    }

    fn mark(&mut self, now: u64, frames: &mut Vec<ClientFrame>) {
        if self.mark_at.is_none_or(|at| at > now) {
            return;
        }
        self.mark_at = None;
        for (conversation, conv) in self.convs.iter_mut().filter(|(_, conv)| !conv.ended) {
            // Some of what arrives is only noted, the rest is read at once.
            let reads = conv.head % 3 != 1;
            let (kind, sent) = if reads {
                (MarkKind::Read, &mut conv.marked.1)
            } else {
                (MarkKind::Delivered, &mut conv.marked.0)
            };
            if conv.head > *sent {
                *sent = conv.head;
                frames.push(
                    client::Mark { conversation: *conversation, kind, seq: conv.head }.into(),
                );
            }
        }
    }

    /// Marks that may have been lost are sent once more.
    pub(super) fn mark_again(&mut self, now: u64) {
        for conv in self.convs.values_mut() {
            conv.marked = (0, 0);
        }
        self.mark_at = Some(now + 100);
    }

    fn send_pending(&mut self, now: u64, frames: &mut Vec<ClientFrame>) {
        let mut busy: Vec<ConversationId> = Vec::new();
        let mut at = 0;
        while at < self.pending.len() {
            let request = self.next_request + 1;
            let Some(pending) = self.pending.get_mut(at) else { break };
            at += 1;
            if pending.under_way.is_some_and(|(_, until)| until <= now) {
                pending.under_way = None;
            }
            let held_back = self.careful && busy.contains(&pending.conversation);
            busy.push(pending.conversation);
            if held_back || pending.under_way.is_some() || pending.not_before > now {
                continue;
            }
            let retry = std::mem::replace(&mut pending.tried, true);
            pending.under_way = Some((request, now + PATIENCE_MS));
            self.next_request = request;
            let (kind, body) = match &pending.change {
                Some(change) => (EntryKind::Group, change.to_body()),
                None => (EntryKind::Opaque, body(self.at, pending.number, pending.len)),
            };
            frames.push(
                client::Send {
                    request,
                    conversation: pending.conversation,
                    client_msg_id: pending.id,
                    retry,
                    kind,
                    body,
                }
                .into(),
            );
        }
    }

    fn ask_again(&mut self, now: u64, frames: &mut Vec<ClientFrame>) {
        let late: Vec<u32> =
            self.asks.iter().filter(|(_, (_, until))| *until <= now).map(|(r, _)| *r).collect();
        for request in late {
            if let Some((ask, _)) = self.asks.remove(&request) {
                self.again.push((ask, now));
            }
        }
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.again).into_iter().partition(|(_, at)| *at <= now);
        self.again = later;
        for (ask, _) in due {
            // The other side may have opened it meanwhile.
            if matches!(ask, Ask::Open(user) if self.to_open.iter().all(|(to, _)| *to != user)) {
                continue;
            }
            self.ask(now, ask, frames);
        }
    }

    /// Asks, unless the same is being asked already.
    pub(super) fn ask(&mut self, now: u64, ask: Ask, frames: &mut Vec<ClientFrame>) {
        if self.asks.values().any(|(other, _)| *other == ask) {
            return;
        }
        let request = self.request();
        // A sync is answered when everything was delivered, however long that takes.
        let patience = if ask == Ask::Sync { u64::MAX } else { now + PATIENCE_MS };
        self.asks.insert(request, (ask, patience));
        self.resyncing |= ask == Ask::Sync;
        frames.push(match ask {
            Ask::Sync => client::Sync { request, cursor: self.cursor }.into(),
            Ask::List => client::Conversations { request, limit: 100, after: None }.into(),
            Ask::Describe(conversation) => client::Describe { request, conversation }.into(),
            Ask::Fill(conversation) => {
                let anchor = self.convs.get(&conversation).map_or(0, |conv| conv.head);
                let direction = rookery_protocol::Direction::After;
                client::History { request, conversation, anchor, direction, limit: 20 }.into()
            }
            Ask::Page(conversation) => {
                let direction = rookery_protocol::Direction::Before;
                client::History { request, conversation, anchor: 0, direction, limit: 10 }.into()
            }
            Ask::Watch => client::Watch { request, users: self.watches.clone() }.into(),
            Ask::Open(user) => {
                let name = self.to_open.iter().find(|(to, _)| *to == user);
                let name = name.map_or_else(String::new, |(_, name)| name.clone());
                client::OpenDirect { request, name }.into()
            }
        });
    }

    /// Looks at a page of history, types, opens a conversation: what users do beside writing.
    pub fn dabble(&mut self, now: u64, rng: &mut Rng, out: &mut Vec<Do>) {
        if self.link != Link::Up {
            return;
        }
        let mut frames = Vec::new();
        let known: Vec<ConversationId> = self.convs.keys().copied().collect();
        let unopened: Vec<UserId> = self.to_open.iter().map(|(user, _)| *user).collect();
        match (rng.below(4), rng.pick(&known), rng.pick(&unopened)) {
            (0, Some(conversation), _) => self.ask(now, Ask::Page(conversation), &mut frames),
            (1, Some(conversation), _) => {
                let active = rng.chance(700);
                frames.push(client::SetTyping { conversation, active }.into());
            }
            (2, ..) => self.ask(now, Ask::Watch, &mut frames),
            (_, _, Some(user)) => self.ask(now, Ask::Open(user), &mut frames),
            _ => {}
        }
        if !frames.is_empty() {
            out.push(Do::Frames(frames));
        }
    }

    /// Watches again, after a moment.
    pub fn watch_again(&mut self, now: u64) {
        // One under way may be carried out before what was just sent.
        self.asks.retain(|_, (ask, _)| *ask != Ask::Watch);
        self.again.push((Ask::Watch, now + 500));
    }

    /// Where it stands, in words.
    pub fn describe(&self) -> String {
        let Self { link, live, asks, again, pending, strangers, .. } = self;
        format!("{link:?} live {live} {asks:?} {again:?} {pending:?} {strangers:?}")
    }

    /// The connection has stayed in good order.
    pub(super) fn welcomed(&mut self) {
        self.link = Link::Up;
        self.attempts = 0;
    }
}
