//! The client's state machine: PURE. Time, randomness and bytes come in, orders, bytes and events
//! come out; it reads no clock, no socket and no random source.
//!
//! ```text
//!            Opened, Received, Lost, Tick                 commands (outbound.rs)
//!                        |                                        |
//!                        v                                        v
//!   link: Waiting -> Opening -> Greeting -> Up  (-> NeedToken, Closed)
//!   stream count | pending sends | requests | heads and fills | cursor
//!                        |
//!                        v
//!            poll_order, poll_output, poll_event, deadline
//! ```
//!
//! The shell's duty after each input: carry out [`Core::poll_order`], write [`Core::poll_output`]
//! until it is empty, hand on [`Core::poll_event`], and give a `Tick` at [`Core::deadline`].

mod backoff;
mod heads;
mod inbound;
mod link;
mod outbound;
mod requests;
mod sends;
mod stream;
#[cfg(test)]
mod tests;

use crate::config::Config;
use crate::error::{Refusal, RequestError};
use crate::event::{CloseReason, Event};
use backoff::Rng;
use heads::Heads;
use link::{Link, State};
use requests::Requests;
use rookery_protocol::client::Resume;
use rookery_protocol::{ClientFrame, CloseCode, ConversationId, Cursor, UserId, error};
use sends::Sends;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use stream::Stream;

pub use link::Order;
pub use outbound::Outgoing;

/// Milliseconds since an origin of the shell's choice; never runs backwards.
pub type Millis = u64;

/// What happened outside.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// The address of [`Order::Open`] is connected and upgraded.
    Opened,
    /// A binary WebSocket message came.
    Received(&'a [u8]),
    /// The connection is gone, or could not be made.
    Lost(Lost),
    /// Time passed.
    Tick,
}

/// How a connection ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// The WebSocket close code, if one came.
    pub code: Option<u16>,
    /// For people.
    pub reason: String,
}

/// Counters since the core was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Welcomes.
    pub connects: u64,
    /// Welcomes that resumed the session.
    pub resumes: u64,
    /// Entries that came again and were dropped.
    pub repeats: u64,
    /// Gaps in a conversation that were filled from history.
    pub gaps: u64,
    /// Sends that went out more than once.
    pub retries: u64,
    /// Sends that the server refused with a retryable error.
    pub refusals: u64,
}

/// What the server gave for the session.
#[derive(Clone, Copy, Debug)]
struct Session {
    resume: Resume,
    user: UserId,
    sends_in_flight: usize,
    requests_in_flight: usize,
    message_bytes: usize,
    window_bytes: u32,
}

/// The state machine. One for each device.
#[derive(Debug)]
pub struct Core {
    config: Arc<Config>,
    rng: Rng,
    token: String,
    /// When the application must be asked for a fresh token.
    token_due: Option<Millis>,
    /// The server's clock minus this machine's, as the last welcome told: milliseconds.
    clock_ahead_ms: u64,
    /// The number of the `Refresh` that has no answer yet.
    trading: Option<u32>,
    link: Link,
    session: Option<Session>,
    stream: Stream,
    cursor: Option<Cursor>,
    /// A newer cursor, held back until the gaps known at its time are filled.
    held_cursor: Option<Cursor>,
    sends: Sends,
    requests: Requests,
    heads: Heads,
    /// Conversations to compare with the server's history, where the stream may have skipped.
    refill: Vec<ConversationId>,
    watched: BTreeSet<UserId>,
    /// The user said to be away from this device.
    away: bool,
    /// Frames without an answer (marks, typing, ...), bounded.
    news: VecDeque<ClientFrame>,
    next_request: u32,
    /// Bytes of the message before: the size of the next is likely near it.
    last_output: usize,
    events: VecDeque<Event>,
    stats: Stats,
}

impl Core {
    /// A client that dials at its first `Tick`.
    ///
    /// `cursor` is the newest one the application holds; `seed` feeds jitter and pings, so clients
    /// of a crowd need different ones.
    #[must_use]
    pub fn new(
        config: Arc<Config>,
        token: String,
        cursor: Option<Cursor>,
        seed: u64,
        now: Millis,
    ) -> Self {
        Self {
            link: Link::new(Arc::clone(&config), now),
            config,
            rng: Rng::new(seed),
            token,
            token_due: None,
            clock_ahead_ms: 0,
            trading: None,
            session: None,
            stream: Stream::default(),
            cursor,
            held_cursor: None,
            sends: Sends::default(),
            requests: Requests::default(),
            heads: Heads::default(),
            refill: Vec::new(),
            watched: BTreeSet::new(),
            away: false,
            news: VecDeque::new(),
            next_request: 1,
            last_output: 0,
            events: VecDeque::new(),
            stats: Stats::default(),
        }
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Millis, input: Input<'_>) {
        match input {
            Input::Opened => self.link.opened(now),
            Input::Received(bytes) => self.received(now, bytes),
            Input::Lost(lost) => self.lost(now, lost),
            Input::Tick => self.tick(now),
        }
    }

    /// What the shell must do about its socket, if anything.
    pub fn poll_order(&mut self) -> Option<Order> {
        self.link.order.take()
    }

    /// The next event for the application.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When the next `Tick` must come at the latest; none when only input can change anything.
    #[must_use]
    pub fn deadline(&self) -> Option<Millis> {
        let mut at = self.link.deadline();
        if self.link.is_up() {
            let timeout = self.config.answer_timeout_ms;
            at = earliest(at, self.stream.deadline(self.config.ack_delay_ms));
            at = earliest(at, self.sends.deadline(timeout));
        }
        at = earliest(at, self.requests.deadline(self.config.answer_timeout_ms));
        earliest(at, self.token_due)
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Whether the server welcomed the client on the connection of now.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.link.is_up()
    }

    /// Whether it is closed for good.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.link.state == State::Closed
    }

    /// Whether [`Core::poll_event`] has something.
    #[must_use]
    pub fn has_event(&self) -> bool {
        !self.events.is_empty()
    }

    /// The newest cursor that may be kept.
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        self.cursor
    }

    /// The newest seq of a conversation that the application was given; none when it was given
    /// nothing and didn't call [`Core::track`].
    #[must_use]
    pub fn head(&self, conversation: ConversationId) -> Option<u64> {
        self.heads.get(conversation)
    }

    /// Sends without an answer.
    #[must_use]
    pub fn pending_sends(&self) -> usize {
        self.sends.len()
    }

    fn tick(&mut self, now: Millis) {
        if let Some(reason) = self.link.overdue(now) {
            self.drop_link(now, reason.to_owned(), 0);
        } else if self.link.drain_due(now) {
            self.drop_link(now, "the node is leaving".to_owned(), 0);
        }
        self.link.open_if_due(now);
        let timeout = self.config.answer_timeout_ms;
        if self.link.is_up() {
            self.sends.tick(now, timeout);
        }
        let events = &mut self.events;
        self.requests.tick(now, timeout, |request| {
            events.push_back(Event::Reply { request, result: Err(RequestError::TimedOut) });
        });
        if self.token_due.is_some_and(|at| now >= at) {
            self.token_due = None;
            self.events.push_back(Event::NeedToken);
        }
    }

    /// Gives up the connection of now; the session stays resumable.
    fn drop_link(&mut self, now: Millis, reason: String, at_least: Millis) {
        let retry_in_ms = self.link.lost(now, at_least, &mut self.rng);
        self.link.order = Some(Order::Close);
        self.disconnected(reason, retry_in_ms);
    }

    fn disconnected(&mut self, reason: String, retry_in_ms: Millis) {
        self.sends.connection_lost();
        self.requests.connection_lost();
        self.trade_failed(None);
        self.events.push_back(Event::Disconnected { reason, retry_in_ms });
    }

    /// A trade is not repeated: after a while the second use of a refresh token looks like theft.
    fn trade_failed(&mut self, refusal: Option<Refusal>) {
        if self.trading.take().is_some() {
            self.events.push_back(Event::NotRefreshed(refusal));
        }
    }

    fn lost(&mut self, now: Millis, lost: Lost) {
        // A loss that the core ordered itself is already dealt with.
        if matches!(self.link.state, State::Waiting { .. } | State::NeedToken | State::Closed) {
            return;
        }
        if let Some(code) = lost.code {
            if code == CloseCode::TokenExpired.code() {
                return self.need_token(lost.reason);
            }
            if !error::should_reconnect(code) {
                return self.close(CloseReason::Code { code, reason: lost.reason });
            }
        }
        self.drop_link(now, lost.reason, 0);
    }

    /// Stops until [`Core::set_token`].
    fn need_token(&mut self, reason: String) {
        self.link.state = State::NeedToken;
        self.link.order = Some(Order::Close);
        self.token_due = None;
        self.disconnected(reason, 0);
        self.events.push_back(Event::NeedToken);
    }

    /// Ends for good: everything without an answer fails with an unknown outcome.
    fn close(&mut self, reason: CloseReason) {
        self.link.state = State::Closed;
        self.link.order = Some(Order::Close);
        self.token_due = None;
        let closed = Refusal {
            code: 0,
            class: rookery_protocol::ErrorClass::Server,
            retryable: true,
            retry_after_ms: 0,
            detail: "the client closed; the outcome is unknown".to_owned(),
        };
        for pending in self.sends.drain() {
            self.events.push_back(Event::SendFailed {
                conversation: pending.conversation(),
                client_msg_id: pending.client_msg_id(),
                refusal: closed.clone(),
            });
        }
        for request in self.requests.drain() {
            self.events.push_back(Event::Reply { request, result: Err(RequestError::Closed) });
        }
        self.events.push_back(Event::Closed(reason));
    }

    fn take_request_number(&mut self) -> u32 {
        let number = self.next_request;
        self.next_request = next_request(number);
        number
    }
}

/// The request number after this one; 0 means "no request" on the wire.
fn next_request(number: u32) -> u32 {
    number.wrapping_add(1).max(1)
}

/// The smaller of two deadlines.
fn earliest(a: Option<Millis>, b: Option<Millis>) -> Option<Millis> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, None) | (None, one) => one,
    }
}
