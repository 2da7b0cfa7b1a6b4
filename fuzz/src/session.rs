//! A whole session, driven by an input: connections that come, go and resume, frames of the client,
//! cursors, answers of the store that are right, wrong or never come, news of other actors.
//!
//! Checked all the while: what is written decodes and keeps to the limits, stream frames stay within the
//! window that was granted and the largest frame, sends and requests within their number.

use crate::input::Input;
use bytes::Bytes;
use rookery_actors::message::{Attach, BatchEntry, Identity};
use rookery_actors::people::Watchable;
use rookery_actors::session::{Session, Settings};
use rookery_actors::{
    Batch, ConnId, ConversationMsg, Effect, Envelope, Now, Query, QueryResult, SendAnswer,
    SessionMsg, SessionRef,
};
use rookery_protocol::client::{self, Hello};
use rookery_protocol::limits::{
    MAX_CLIENT_FRAME_BYTES, MAX_REQUESTS_IN_FLIGHT, MAX_SENDS_IN_FLIGHT, MAX_SERVER_FRAME_BYTES,
};
use rookery_protocol::server::{ConversationPage, HistoryPage, Message};
use rookery_protocol::{
    Change, ClientFrame, ClientMsgId, CloseCode, ConversationId, Cursor, DeviceId, Entry,
    EntryKind, ErrorCode, ServerFrame, SessionId, Status, UserId, frames, number,
};
use rookery_store::{InboxPage, Pointer, PointerKind, ReadError, Stamp, StoreError, Version};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

const ME: SessionRef =
    SessionRef { user: UserId(1), session: SessionId(11), node: rookery_actors::NodeId(1) };
/// Most steps of one input.
const MAX_STEPS: usize = 256;

struct World {
    actor: Session,
    now: Now,
    conn: ConnId,
    secret: [u8; 16],
    /// Stream frames written so far in this session.
    written: u64,
    /// Questions without answer, oldest first.
    asked: VecDeque<(u64, Box<Query>)>,
    /// Sends that the conversation has not answered.
    sends: BTreeSet<ClientMsgId>,
    stopped: bool,
}

/// Drives one session.
pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let settings = Settings { heartbeat_ms: 5_000, grace_ms: 30_000, node: "n1".into() };
    let mut world = World {
        actor: Session::new(ME, &Arc::new(settings)),
        now: Now { mono_ms: 1, unix_ms: 1_000_000 },
        conn: ConnId(0),
        secret: [0; 16],
        written: 0,
        asked: VecDeque::new(),
        sends: BTreeSet::new(),
        stopped: false,
    };
    world.attach(&mut input);
    for _ in 0..MAX_STEPS {
        if input.is_empty() || world.stopped {
            break;
        }
        world.step(&mut input);
    }
}

impl World {
    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 12 {
            0 => self.attach(input),
            1 | 2 => {
                let conn = self.conn;
                let frames = client_frames(input.bytes());
                self.on(SessionMsg::Frames(conn, frames));
            }
            3 => {
                let (conn, last_life_ms) = (self.conn, self.now.mono_ms);
                self.on(SessionMsg::Detached { conn, last_life_ms });
            }
            4 | 5 => self.answer(input),
            6 => {
                let Some(id) = self.sends.first().copied() else { return };
                self.sends.remove(&id);
                let answer = send_answer(input);
                self.on(SessionMsg::SendAnswer { id, answer });
            }
            7 | 8 => {
                let batch = batch(input);
                self.on(SessionMsg::Deliver(Arc::new(batch)));
            }
            9 => {
                let later_ms = input.number() % 1_000_000;
                self.now.mono_ms += later_ms;
                self.now.unix_ms += later_ms;
                self.on(SessionMsg::Wake);
            }
            10 => self.on(news(input)),
            _ => {
                let request = u32::from(input.byte());
                let cursor = (input.byte() % 2 == 1)
                    .then(|| Cursor { epoch: u32::from(input.byte()), stamp: input.array() });
                let sync = client::Sync { request, cursor };
                self.on(SessionMsg::Frames(self.conn, vec![sync.into()]));
            }
        }
    }

    fn attach(&mut self, input: &mut Input<'_>) {
        self.conn.0 += 1;
        let right = self.secret;
        let resume = match input.byte() % 4 {
            0 => None,
            1 => Some((input.array(), input.number())),
            2 => Some((right, self.written.wrapping_sub(input.number()))),
            _ => Some((right, input.number())),
        };
        let identity = Identity {
            user: ME.user,
            device: DeviceId(u64::from(input.byte() % 2)),
            name: "ada".into(),
            expires_ms: input.number(),
        };
        let fresh_secret = [input.byte(); 16];
        let attach = Attach {
            conn: self.conn,
            identity,
            window_bytes: u32::from_le_bytes(input.array()),
            resume,
            fresh_secret,
            endpoints: vec!["ws://a".to_owned()],
        };
        self.on(SessionMsg::Attach(attach));
    }

    fn on(&mut self, msg: SessionMsg) {
        let mut effects = Vec::new();
        self.actor.handle(self.now, msg, &mut effects);
        for effect in effects {
            match effect {
                Effect::Write { conn, frames } => {
                    assert!(conn.0 <= self.conn.0);
                    self.written(&frames);
                }
                Effect::Query { token, query } => self.asked.push_back((token, query)),
                Effect::Tell(Envelope::Conversation(_, ConversationMsg::Send(send))) => {
                    self.sends.insert(send.id);
                }
                Effect::Stop => self.stopped = true,
                _ => {}
            }
        }
        // And one question of the session itself: the pull.
        assert!(self.asked.len() <= MAX_REQUESTS_IN_FLIGHT + 1, "{} questions", self.asked.len());
        assert!(self.sends.len() <= 2 * MAX_SENDS_IN_FLIGHT, "{} sends", self.sends.len());
    }

    fn written(&mut self, bytes: &[u8]) {
        for raw in frames(bytes, MAX_SERVER_FRAME_BYTES) {
            let raw = raw.unwrap();
            self.written += u64::from(number::is_stream(raw.number));
            if let Some(ServerFrame::Welcome(welcome)) = ServerFrame::decode(raw).unwrap() {
                self.secret = welcome.secret;
                if !welcome.resumed {
                    self.written = 0;
                }
            }
        }
    }

    fn answer(&mut self, input: &mut Input<'_>) {
        let late = usize::from(input.byte() % 4).min(self.asked.len().saturating_sub(1));
        let Some((token, query)) = self.asked.remove(late) else { return };
        let result = answer(&query, input);
        self.on(SessionMsg::Answer(token, result));
    }
}

fn client_frames(message: &[u8]) -> Vec<ClientFrame> {
    let raw = frames(message, MAX_CLIENT_FRAME_BYTES).map_while(Result::ok);
    raw.filter_map(|raw| ClientFrame::decode(raw).ok().flatten()).collect()
}

fn entry(seq: u64, input: &mut Input<'_>) -> Entry {
    Entry {
        seq,
        sender: UserId(u64::from(input.byte() % 3)),
        device: DeviceId(u64::from(input.byte() % 2)),
        time_ms: 7,
        client_msg_id: ClientMsgId::from_parts(u64::from(input.byte()), [0; 10]),
        kind: EntryKind::Text,
        body: vec![b'x'; usize::from(input.byte())],
    }
}

fn batch(input: &mut Input<'_>) -> Batch {
    let conversation = ConversationId(u64::from(input.byte() % 3));
    let (first, count) = (input.number().max(1), u64::from(input.byte() % 5) + 1);
    let (mut frames, mut entries) = (Vec::new(), Vec::new());
    for seq in (first..=u64::MAX).take(usize::try_from(count).unwrap_or(1)) {
        let entry = entry(seq, input);
        let start = frames.len();
        let headers = (entry.time_ms, entry.device, entry.client_msg_id);
        ServerFrame::from(Message { conversation, entry }).encode(&mut frames);
        let (time_ms, device, client_msg_id) = headers;
        let frame = start..frames.len();
        entries.push(BatchEntry { seq, time_ms, device, client_msg_id, frame });
    }
    let version = Version(input.number());
    Batch { conversation, entries, frames: Bytes::from(frames), version }
}

fn send_answer(input: &mut Input<'_>) -> SendAnswer {
    match input.byte() % 3 {
        0 => SendAnswer::Failed(ErrorCode::Busy),
        1 => SendAnswer::Failed(ErrorCode::NotAMember),
        _ => SendAnswer::Duplicate {
            conversation: ConversationId(0),
            seq: input.number(),
            time_ms: 1,
        },
    }
}

fn news(input: &mut Input<'_>) -> SessionMsg {
    let user = UserId(u64::from(input.byte() % 4));
    let conversation = ConversationId(u64::from(input.byte() % 3));
    match input.byte() % 8 {
        0 => SessionMsg::HubLost,
        1 => SessionMsg::HintsLost,
        2 => SessionMsg::Drain(Arc::from(["ws://b".to_owned()])),
        3 => SessionMsg::Presence { user, status: Status::Online, last_seen_ms: 0 },
        4 => SessionMsg::Changed(conversation, Change::Created),
        5 => SessionMsg::Typing { conversation, user, active: true },
        6 => SessionMsg::WatchedHubLost(user),
        _ => SessionMsg::End(CloseCode::Revoked),
    }
}

/// An answer to a question: an error, or what a store may say, now and then beside the point.
fn answer(query: &Query, input: &mut Input<'_>) -> QueryResult {
    let failure = match input.byte() % 8 {
        0 => Some(StoreError::Busy),
        1 => Some(StoreError::NotAMember),
        2 => Some(StoreError::Read(ReadError::Damaged("a row".to_owned()))),
        _ => None,
    };
    let or = |failure: Option<StoreError>| failure.map_or(Ok(()), Err);
    match query {
        Query::Inbox { .. } => QueryResult::Inbox(or(failure).map(|()| inbox_page(input))),
        Query::Entries { spans, .. } => QueryResult::Entries(or(failure).map(|()| {
            let whole = spans.iter().map(|span| {
                let most = usize::from(input.byte() % 8);
                let seqs = (span.from..=span.to).take(most);
                (span.conversation, seqs.map(|seq| entry(seq, input)).collect())
            });
            whole.collect()
        })),
        Query::History { request, conversation, .. } => {
            QueryResult::History(or(failure).map(|()| HistoryPage {
                request: *request,
                conversation: *conversation,
                entries: vec![entry(1, input)],
                head: 1,
                floor: 1,
                more: false,
            }))
        }
        Query::Conversations { request, .. } => {
            let page = ConversationPage { request: *request, conversations: vec![], next: None };
            QueryResult::Conversations(or(failure).map(|()| page))
        }
        Query::MayWatch { others, .. } => {
            let seen = |user: &UserId| Watchable { user: *user, presence: true, last_seen: true };
            QueryResult::MayWatch(or(failure).map(|()| others.iter().map(seen).collect()))
        }
        Query::OpenDirect { .. } => QueryResult::OpenDirect(Err(StoreError::UnknownUser)),
        _ => QueryResult::Describe(Err(failure.unwrap_or(StoreError::NotAMember))),
    }
}

fn inbox_page(input: &mut Input<'_>) -> InboxPage {
    let cursor = |version: u64| Cursor { epoch: 1, stamp: Stamp::new(Version(version), 0, 0).0 };
    if input.byte().is_multiple_of(8) {
        return InboxPage::TooFar { now: cursor(input.number()) };
    }
    let count = input.byte() % 6;
    let pointers = (0..count).map(|at| {
        let kind = [PointerKind::Messages, PointerKind::Created][usize::from(input.byte() % 2)];
        let first = input.number();
        Pointer {
            stamp: Stamp::new(Version(u64::from(at)), 0, 0),
            kind,
            conversation: ConversationId(u64::from(input.byte() % 3)),
            first,
            last: first.saturating_add(input.number()),
        }
    });
    let pointers = pointers.collect();
    InboxPage::Page { pointers, end: cursor(input.number()), more: input.byte().is_multiple_of(4) }
}

/// A few lives: a live session that sends, one that resumes, one that comes with a cursor.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    const ATTACH: [u8; 8] = [0, 0, 1, 7, 0, 0, 1, 0];
    let frame = |frame: ClientFrame| {
        let bytes = frame.to_bytes();
        let length = u16::try_from(bytes.len()).unwrap_or_default().to_le_bytes();
        [&[1], &length[..], &bytes].concat()
    };
    let id = ClientMsgId::from_parts(1, [0; 10]);
    let send = client::Send {
        request: 2,
        conversation: ConversationId(1),
        client_msg_id: id,
        retry: false,
        kind: EntryKind::Text,
        body: b"hi".to_vec(),
    };
    let watch = client::Watch { request: 3, users: vec![UserId(2), UserId(3)] };
    let history = client::History {
        request: 4,
        conversation: ConversationId(1),
        anchor: 0,
        direction: rookery_protocol::Direction::Before,
        limit: 10,
    };
    let resume = client::Resume { session: ME.session, secret: [7; 16], received: 1 };
    let hello = Hello {
        versions: vec![1],
        token: String::new(),
        resume: Some(resume),
        agent: String::new(),
        window_bytes: 16_384,
    };
    let sync = [11, 1, 0];
    let page = [4, 0, 9, 1, 1, 0, 1, 1, 0, 9, 1];
    let deliver = [7, 1, 2, 0, 1, 1, 1, 9, 9];
    vec![
        [&ATTACH[..], &sync, &page, &frame(send.into()), &deliver].concat(),
        [&ATTACH[..], &sync, &page, &deliver, &[3], &[0, 2, 1, 1, 0, 7, 0, 0, 1, 0]].concat(),
        [&ATTACH[..], &[11, 1, 1, 1], &[3; 12], &[4, 0, 9, 0, 9], &[9, 200]].concat(),
        [&ATTACH[..], &frame(watch.into()), &[4, 0, 9], &[10, 2, 0, 3]].concat(),
        [&ATTACH[..], &frame(history.into()), &[4, 0, 9], &frame(hello.into())].concat(),
        // A client that starts over again and again, and is answered late.
        [&ATTACH[..], &sync.repeat(60), &page.repeat(3)].concat(),
        [&ATTACH[..], &frame(client::Ack { received: 1 }.into()), &[6, 2]].concat(),
    ]
}
