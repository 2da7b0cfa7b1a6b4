//! What the application may ask for, and how it becomes bytes.
//!
//! Bytes are made on demand: nothing is encoded before the socket can take it, so a slow server
//! costs no memory beyond the bounded queues, and what queues up meanwhile leaves as one message.

use super::link::State;
use super::requests::Owner;
use super::{Core, Millis};
use crate::error::QueueError;
use crate::event::CloseReason;
use rookery_protocol::client::{
    Ack, Authenticate, Conversations, Describe, DescribeGroup, FindUsers, Hello, History, Leave,
    Mark, OpenDirect, Ping, Readers, Refresh, Resume, Send, SetAway, SetTyping, Unwatch, Watch,
};
use rookery_protocol::codec::encode_frame;
use rookery_protocol::limits::{
    MAX_BODY_BYTES, MAX_FIND_NAMES, MAX_FRAMES_PER_MESSAGE, MAX_NAME_BYTES, MAX_TOKEN_BYTES,
    MAX_WATCH_BATCH,
};
use rookery_protocol::types::ListCursor;
use rookery_protocol::{
    ClientFrame, ClientMsgId, ConversationId, Direction, EntryKind, MarkKind, UserId, VERSIONS,
    number,
};

/// Most frames without an answer that wait for the socket.
const MAX_NEWS: usize = 256;
/// More than the header and the fixed fields of any frame.
const FRAME_OVERHEAD: usize = 96;

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Where to.
    pub conversation: ConversationId,
    /// Made once for a message and kept for all of its repeats.
    pub client_msg_id: ClientMsgId,
    /// What the body is.
    pub kind: EntryKind,
    /// The content.
    pub body: Vec<u8>,
}

/// One WebSocket message being filled.
struct Batch {
    bytes: Vec<u8>,
    frames: usize,
    limit: usize,
}

impl Batch {
    /// Whether a frame with this much variable content still fits; the first always does.
    fn has_room(&self, content: usize) -> bool {
        self.frames == 0
            || (self.frames < MAX_FRAMES_PER_MESSAGE
                && self.bytes.len() + content + FRAME_OVERHEAD <= self.limit)
    }

    fn push(&mut self, frame: &ClientFrame) -> bool {
        let content = match frame {
            ClientFrame::Watch(f) => f.users.len() * 9,
            ClientFrame::Unwatch(f) => f.users.len() * 9,
            ClientFrame::Authenticate(f) => f.token.len(),
            ClientFrame::FindUsers(f) => f.names.iter().map(|name| name.len() + 1).sum(),
            ClientFrame::OwnStates(f) => f.conversations.len() * 9,
            ClientFrame::Report(f) => f.comment.len(),
            ClientFrame::NameDevice(f) => f.name.len(),
            ClientFrame::Refresh(f) => f.refresh_token.len(),
            _ => 0,
        };
        if !self.has_room(content) {
            return false;
        }
        frame.encode(&mut self.bytes);
        self.frames += 1;
        true
    }
}

impl Core {
    /// Queues a message. Its outcome comes as `Sent` or `SendFailed`.
    ///
    /// # Errors
    /// [`QueueError`]: nothing was queued.
    pub fn send(&mut self, message: Outgoing) -> Result<(), QueueError> {
        if message.body.len() > MAX_BODY_BYTES {
            return Err(QueueError::TooLarge);
        }
        self.open()?;
        if self.sends.len() >= self.config.max_pending_sends {
            return Err(QueueError::Full);
        }
        self.sends.push(Send {
            request: 0,
            conversation: message.conversation,
            client_msg_id: message.client_msg_id,
            retry: false,
            kind: message.kind,
            body: message.body,
        });
        Ok(())
    }

    /// Asks for a page of history; anchor 0 with `Before` starts at the newest.
    ///
    /// # Errors
    /// [`QueueError`]: nothing was queued.
    pub fn history(
        &mut self,
        now: Millis,
        conversation: ConversationId,
        anchor: u64,
        direction: Direction,
        limit: u16,
    ) -> Result<u32, QueueError> {
        self.request(now, |request| {
            History { request, conversation, anchor, direction, limit }.into()
        })
    }

    /// Asks for a page of the conversation list.
    ///
    /// # Errors
    /// [`QueueError`]: nothing was queued.
    pub fn conversations(
        &mut self,
        now: Millis,
        limit: u16,
        after: Option<ListCursor>,
    ) -> Result<u32, QueueError> {
        self.request(now, |request| Conversations { request, limit, after }.into())
    }

    /// Finds or creates the one-to-one conversation with a user.
    ///
    /// # Errors
    /// [`QueueError`]: nothing was queued.
    pub fn open_direct(&mut self, now: Millis, name: &str) -> Result<u32, QueueError> {
        if name.len() > MAX_NAME_BYTES {
            return Err(QueueError::TooLarge);
        }
        self.request(now, |request| OpenDirect { request, name: name.to_owned() }.into())
    }

    /// Asks for one conversation.
    ///
    /// # Errors
    /// [`QueueError`]: nothing was queued.
    pub fn describe(&mut self, now: Millis, id: ConversationId) -> Result<u32, QueueError> {
        self.request(now, |request| Describe { request, conversation: id }.into())
    }

    /// Asks for users by their unique names.
    ///
    /// # Errors
    /// [`QueueError`]: nothing was queued; `TooLarge` for more than 100 names at once.
    pub fn find_users(&mut self, now: Millis, names: Vec<String>) -> Result<u32, QueueError> {
        if names.len() > MAX_FIND_NAMES || names.iter().any(|name| name.len() > MAX_NAME_BYTES) {
            return Err(QueueError::TooLarge);
        }
        self.request(now, |request| FindUsers { request, names }.into())
    }

    /// Asks for what a group is beside its description.
    ///
    /// # Errors
    /// [`QueueError`]: nothing was queued.
    pub fn describe_group(&mut self, now: Millis, id: ConversationId) -> Result<u32, QueueError> {
        self.request(now, |request| DescribeGroup { request, conversation: id }.into())
    }

    /// Asks whom an entry has reached.
    ///
    /// # Errors
    /// [`QueueError`]: nothing was queued.
    pub fn readers(
        &mut self,
        now: Millis,
        conversation: ConversationId,
        seq: u64,
    ) -> Result<u32, QueueError> {
        self.request(now, |request| Readers { request, conversation, seq }.into())
    }

    /// Watches users' presence, in this session and those that follow it.
    ///
    /// # Errors
    /// [`QueueError`]: nothing was queued; `TooLarge` for more than 200 users at once.
    pub fn watch(&mut self, now: Millis, users: Vec<UserId>) -> Result<u32, QueueError> {
        if users.len() > MAX_WATCH_BATCH {
            return Err(QueueError::TooLarge);
        }
        self.open()?;
        self.watched.extend(users.iter().copied());
        self.request(now, |request| Watch { request, users }.into())
    }

    /// Stops watching.
    ///
    /// # Errors
    /// [`QueueError`]: nothing was queued.
    pub fn unwatch(&mut self, users: Vec<UserId>) -> Result<(), QueueError> {
        if users.len() > MAX_WATCH_BATCH {
            return Err(QueueError::TooLarge);
        }
        for user in &users {
            self.watched.remove(user);
        }
        self.tell_server(Unwatch { users }.into())
    }

    /// Moves an own mark forward. Marks that wait for the socket are merged.
    ///
    /// # Errors
    /// [`QueueError`]: nothing was queued.
    pub fn mark(
        &mut self,
        conversation: ConversationId,
        kind: MarkKind,
        seq: u64,
    ) -> Result<(), QueueError> {
        for frame in &mut self.news {
            if let ClientFrame::Mark(m) = frame
                && m.conversation == conversation
                && m.kind == kind
            {
                m.seq = m.seq.max(seq);
                return Ok(());
            }
        }
        self.tell_server(Mark { conversation, kind, seq }.into())
    }

    /// Tells the other members about typing; only while connected, a late one would be wrong.
    ///
    /// # Errors
    /// [`QueueError`]: nothing was queued.
    pub fn typing(&mut self, id: ConversationId, active: bool) -> Result<(), QueueError> {
        if !self.is_up() {
            return self.open();
        }
        self.tell_server(SetTyping { conversation: id, active }.into())
    }

    /// Tells that the user is away from this device, or back, in this session and those that follow.
    ///
    /// # Errors
    /// [`QueueError`]: nothing was queued.
    pub fn set_away(&mut self, away: bool) -> Result<(), QueueError> {
        self.away = away;
        if !self.is_up() {
            return self.open();
        }
        self.tell_server(SetAway { away }.into())
    }

    /// Asks anything that has no method of its own and is answered: `frame` is given the request's
    /// number. It is repeated until there is an answer, so it must do no harm twice.
    ///
    /// # Errors
    /// [`QueueError`]: nothing was queued.
    pub fn ask(
        &mut self,
        now: Millis,
        frame: impl FnOnce(u32) -> ClientFrame,
    ) -> Result<u32, QueueError> {
        self.request(now, frame)
    }

    /// The application holds everything of a conversation up to `seq` (0: it is empty): what
    /// follows comes without gap from there.
    pub fn track(&mut self, conversation: ConversationId, seq: u64) {
        self.heads.track(conversation, seq);
    }

    /// Uses a fresh access token of the same device, at once when connected.
    ///
    /// # Errors
    /// [`QueueError`]: the token was not taken.
    pub fn set_token(&mut self, now: Millis, token: String) -> Result<(), QueueError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(QueueError::TooLarge);
        }
        self.open()?;
        self.token.clone_from(&token);
        if self.is_up() {
            let request = self.take_request_number();
            let late = now + self.config.request_timeout_ms;
            let frame = Authenticate { request, token };
            self.requests.push(request, frame.into(), Owner::Core, late);
        } else if self.link.state == State::NeedToken {
            self.link.state = State::Waiting { until: now };
        }
        Ok(())
    }

    /// Trades the device's refresh token for fresh tokens on the open connection: `Refreshed` or
    /// `NotRefreshed` follows. False: there is no connection, or a trade is under way; nothing was
    /// done.
    ///
    /// # Errors
    /// [`QueueError`]: nothing was done.
    pub fn refresh(&mut self, refresh_token: String) -> Result<bool, QueueError> {
        if refresh_token.len() > MAX_TOKEN_BYTES {
            return Err(QueueError::TooLarge);
        }
        if !self.is_up() || self.trading.is_some() {
            return self.open().map(|()| false);
        }
        let request = self.take_request_number();
        self.tell_server(Refresh { request, refresh_token }.into())?;
        self.trading = Some(request);
        Ok(true)
    }

    /// Ends the session for good. The shell writes [`Core::farewell`] before it drops the socket.
    pub fn leave(&mut self) {
        if self.link.state != State::Closed {
            self.close(CloseReason::Left);
        }
    }

    /// The bytes that end a session at the server, without its grace time.
    #[must_use]
    pub fn farewell() -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4);
        encode_frame(number::LEAVE, &Leave {}, &mut bytes);
        bytes
    }

    /// The next WebSocket message to write; none when there is nothing to say now. Ask again after
    /// each message was handed to the socket.
    pub fn poll_output(&mut self, now: Millis) -> Option<Vec<u8>> {
        match self.link.state {
            State::Greeting { deadline, said: false } => {
                self.link.state = State::Greeting { deadline, said: true };
                self.link.sent(now);
                Some(self.hello())
            }
            State::Up { .. } => self.batch(now),
            _ => None,
        }
    }

    fn hello(&mut self) -> Vec<u8> {
        let received = self.stream.received();
        let hello = Hello {
            versions: VERSIONS.to_vec(),
            token: self.token.clone(),
            resume: self.session.map(|s| Resume { received, ..s.resume }),
            agent: self.config.agent.clone(),
            window_bytes: self.config.window_bytes,
        };
        let mut bytes = Vec::with_capacity(hello.token.len() + 128);
        encode_frame(number::HELLO, &hello, &mut bytes);
        bytes
    }

    fn batch(&mut self, now: Millis) -> Option<Vec<u8>> {
        let session = self.session?;
        let content = !self.news.is_empty()
            || self.requests.sendable()
            || self.sends.sendable(session.sends_in_flight);
        let beat = self.link.ping_due(now);
        let (window, delay) = (session.window_bytes, self.config.ack_delay_ms);
        let ack = self.stream.due(now, window, delay, content || beat);
        if !(content || beat || ack) {
            return None;
        }
        let mut batch = Batch {
            bytes: Vec::with_capacity((self.last_output + FRAME_OVERHEAD).min(16 * 1024)),
            frames: 0,
            limit: session.message_bytes,
        };
        if ack {
            batch.push(&Ack { received: self.stream.take() }.into());
        }
        while let Some(frame) = self.news.pop_front() {
            if !batch.push(&frame) {
                self.news.push_front(frame);
                break;
            }
        }
        self.requests.encode(now, session.requests_in_flight, |frame| batch.push(frame));
        self.encode_sends(now, session.sends_in_flight, &mut batch);
        // Sends may have to wait for one another: only what really went out is a sign of life.
        if beat && batch.frames <= usize::from(ack) {
            self.link.pinged(now);
            #[expect(clippy::cast_possible_truncation, reason = "any 32 bits will do")]
            let nonce = self.rng.next() as u32;
            batch.push(&Ping { nonce }.into());
        }
        if batch.frames == 0 {
            return None;
        }
        self.link.sent(now);
        self.last_output = batch.bytes.len();
        Some(batch.bytes)
    }

    fn encode_sends(&mut self, now: Millis, limit: usize, batch: &mut Batch) {
        if !self.sends.sendable(limit) {
            return;
        }
        let retries = &mut self.stats.retries;
        let pipeline = self.config.pipeline_sends;
        self.sends.encode(now, limit, pipeline, &mut self.next_request, |send| {
            if !batch.has_room(send.body.len()) {
                return false;
            }
            encode_frame(number::SEND, send, &mut batch.bytes);
            batch.frames += 1;
            *retries += u64::from(send.retry);
            true
        });
    }

    fn open(&self) -> Result<(), QueueError> {
        if self.link.state == State::Closed { Err(QueueError::Closed) } else { Ok(()) }
    }

    fn request(
        &mut self,
        now: Millis,
        frame: impl FnOnce(u32) -> ClientFrame,
    ) -> Result<u32, QueueError> {
        self.open()?;
        if self.requests.len() >= self.config.max_pending_requests {
            return Err(QueueError::Full);
        }
        let request = self.take_request_number();
        let late = now + self.config.request_timeout_ms;
        self.requests.push(request, frame(request), Owner::App, late);
        Ok(request)
    }

    fn tell_server(&mut self, frame: ClientFrame) -> Result<(), QueueError> {
        self.open()?;
        if self.news.len() >= MAX_NEWS {
            return Err(QueueError::Full);
        }
        self.news.push_back(frame);
        Ok(())
    }
}
