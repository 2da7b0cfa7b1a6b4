//! What each frame from the server does to the state.

use super::heads::{Offer, Page};
use super::link::State;
use super::requests::Owner;
use super::sends::Sends;
use super::{Core, Lost, Millis, Session, backoff};
use crate::error::{Refusal, RequestError};
use crate::event::{CloseReason, Connected, Course, Event, Reply, Sent};
use rookery_protocol::client::{History, Resume, SetAway, Sync, Watch};
use rookery_protocol::codec::decode_payload;
use rookery_protocol::limits::{
    MAX_HISTORY_ENTRIES, MAX_SENDS_IN_FLIGHT, MAX_SERVER_FRAME_BYTES, MAX_WATCH_BATCH,
};
use rookery_protocol::server::{self, ServerFrame};
use rookery_protocol::{
    ConversationId, Cursor, DecodeError, Direction, Entry, ErrorClass, ErrorCode, RawFrame, frames,
    number,
};

/// Conversations compared with the server's history at a time.
const MAX_REFILLS: usize = 8;
/// Pause before a fill asks again for what it did not get.
const STUCK_MS: Millis = 200;
/// The last upper bound of the back-off while a conversation only moves to another node, which takes
/// seconds.
const MOVING_MAX_MS: u64 = 1_000;
/// A fresh token is asked for this long before the old one ends, but not before half its life.
const TOKEN_MARGIN_MS: Millis = 60_000;

impl Core {
    pub(super) fn received(&mut self, now: Millis, bytes: &[u8]) {
        self.link.heard(now);
        for raw in frames(bytes, MAX_SERVER_FRAME_BYTES) {
            // A frame before may have ended this connection.
            if !matches!(self.link.state, State::Greeting { .. } | State::Up { .. }) {
                return;
            }
            let outcome = raw.and_then(|raw| {
                if number::is_stream(raw.number) {
                    // Two bytes of header nearly always; the window is a measure, not an account.
                    self.stream.count(now, raw.payload.len() + 2);
                }
                self.frame(now, raw)
            });
            if let Err(error) = outcome {
                // The count of this session can't be trusted any more: the next one starts anew.
                self.session = None;
                let pause = self.config.backoff_base_ms;
                self.drop_link(now, format!("unreadable frame: {error}"), pause);
                return;
            }
        }
    }

    fn frame(&mut self, now: Millis, raw: RawFrame<'_>) -> Result<(), DecodeError> {
        // The two that carry the load are decoded without the detour over the big enum.
        match raw.number {
            number::MESSAGE => {
                let message: server::Message = decode_payload(raw.number, raw.payload)?;
                self.message(now, message.conversation, message.entry);
            }
            number::SENT => self.sent(now, decode_payload(raw.number, raw.payload)?),
            _ => {
                if let Some(frame) = ServerFrame::decode(raw)? {
                    self.other(now, frame);
                }
            }
        }
        Ok(())
    }

    fn other(&mut self, now: Millis, frame: ServerFrame) {
        match frame {
            ServerFrame::Welcome(f) => self.welcome(now, f),
            ServerFrame::Pong(_) => {}
            ServerFrame::Error(f) => self.error(now, f),
            ServerFrame::HistoryPage(f) => self.history_page(now, f),
            ServerFrame::ConversationPage(f) => {
                self.reply(f.request, Reply::Conversations(Box::new(f)));
            }
            ServerFrame::Conversation(f) => {
                self.reply(f.request, Reply::Conversation(Box::new(f)));
            }
            ServerFrame::Users(f) => self.reply(f.request, Reply::Users(Box::new(f))),
            ServerFrame::Group(f) => self.reply(f.request, Reply::Group(Box::new(f))),
            ServerFrame::ReadBy(f) => self.reply(f.request, Reply::ReadBy(Box::new(f))),
            ServerFrame::PeoplePage(f) => self.reply(f.request, Reply::People(Box::new(f))),
            ServerFrame::OwnStatePage(f) => self.reply(f.request, Reply::OwnStates(Box::new(f))),
            ServerFrame::Privacy(f) => self.reply(f.request, Reply::Privacy(f)),
            ServerFrame::DevicePage(f) => self.reply(f.request, Reply::Devices(Box::new(f))),
            ServerFrame::OwnChanged(f) => self.events.push_back(Event::OwnChanged(f)),
            ServerFrame::Presence(f) => self.events.push_back(Event::Presence(f)),
            ServerFrame::Typing(f) => self.events.push_back(Event::Typing(f)),
            ServerFrame::Behind(_) => self.events.push_back(Event::Behind),
            ServerFrame::Drain(f) => self.link.drain(now, f.reconnect_after_ms, &f.alternates),
            ServerFrame::Bye(f) => {
                self.lost(now, Lost { code: Some(f.code), reason: f.reason });
            }
            ServerFrame::TooFar(f) => self.too_far(now, f.request, f.cursor),
            ServerFrame::Done(f) => self.reply(f.request, Reply::Done),
            ServerFrame::Refreshed(f) => self.refreshed(now, f),
            ServerFrame::Notice(f) => self.events.push_back(Event::Notice(f)),
            ServerFrame::Receipt(f) => self.events.push_back(Event::Receipt(f)),
            ServerFrame::ConversationChanged(f) => {
                self.events.push_back(Event::ConversationChanged(f));
            }
            ServerFrame::CaughtUp(f) => self.caught_up(now, f.request, f.cursor),
            // Decoded by `frame`.
            ServerFrame::Message(f) => self.message(now, f.conversation, f.entry),
            ServerFrame::Sent(f) => self.sent(now, f),
        }
    }

    fn welcome(&mut self, now: Millis, f: server::Welcome) {
        let again = self.link.is_up();
        if again {
            // The server rebuilt the session on the open connection: nothing on the wire to the
            // old one will be answered.
            self.sends.connection_lost();
            self.requests.connection_lost();
            self.trade_failed(None);
        }
        self.link.welcomed(now, f.heartbeat_ms, &mut self.rng);
        self.link.learn(&f.endpoints);
        self.session = Some(Session {
            resume: Resume { session: f.session, secret: f.secret, received: 0 },
            user: f.user,
            sends_in_flight: usize::from(f.limits.sends_in_flight).min(MAX_SENDS_IN_FLIGHT),
            requests_in_flight: usize::from(f.limits.requests_in_flight),
            message_bytes: f.limits.message_bytes as usize,
            window_bytes: f.limits.window_bytes,
        });
        self.clock_ahead_ms = f.server_time_ms.saturating_sub(now);
        self.token_lives(now, f.token_expires_ms.saturating_sub(f.server_time_ms));
        self.stats.connects += 1;
        if f.resumed {
            self.stats.resumes += 1;
        } else {
            self.fresh_session(now);
        }
        self.events.push_back(Event::Connected(Box::new(Connected {
            session: f.session,
            resumed: f.resumed,
            user: f.user,
            device: f.device,
            name: f.name,
            node: f.node,
            server_time_ms: f.server_time_ms,
            token_expires_ms: f.token_expires_ms,
        })));
    }

    /// The token is good for so long: when to ask for the next one.
    fn token_lives(&mut self, now: Millis, life: Millis) {
        self.token_due = Some(now + life - TOKEN_MARGIN_MS.min(life / 2));
    }

    fn refreshed(&mut self, now: Millis, f: server::Refreshed) {
        if self.trading != Some(f.request) {
            return;
        }
        self.trading = None;
        self.token.clone_from(&f.access_token);
        self.token_lives(now, f.access_expires_ms.saturating_sub(now + self.clock_ahead_ms));
        self.events.push_back(Event::Refreshed(Box::new(f)));
    }

    /// Nothing of an old session lives on: count from 0, start delivery, watch again.
    fn fresh_session(&mut self, now: Millis) {
        self.stream.reset();
        self.requests.forget_sync();
        let request = self.take_request_number();
        let sync = Sync { request, cursor: self.cursor };
        self.requests.push(request, sync.into(), Owner::Sync, Millis::MAX);
        if self.cursor.is_none() {
            // Delivery starts at "now": what came since the last session must be asked for.
            self.refill = self.heads.tracked();
        }
        let users: Vec<_> = self.watched.iter().copied().collect();
        for chunk in users.chunks(MAX_WATCH_BATCH) {
            let request = self.take_request_number();
            let watch = Watch { request, users: chunk.to_vec() };
            let late = now + self.config.request_timeout_ms;
            self.requests.push(request, watch.into(), Owner::Core, late);
        }
        if self.away {
            self.news.push_back(SetAway { away: true }.into());
        }
    }

    fn message(&mut self, now: Millis, conversation: ConversationId, entry: Entry) {
        let seq = entry.seq;
        let event = tell(self.session.as_ref(), &mut self.sends, conversation, entry);
        let sent = if let Event::Sent(sent) = &event { Some(*sent) } else { None };
        match self.heads.offer(conversation, (seq, event), &mut self.events) {
            Offer::Delivered | Offer::Gap(false) => {}
            Offer::Gap(true) => self.fill(now, conversation),
            Offer::Repeat => {
                self.stats.repeats += 1;
                if let Some(sent) = sent {
                    self.events.push_back(Event::Sent(Sent { placed: false, ..sent }));
                }
            }
        }
    }

    fn sent(&mut self, now: Millis, f: server::Sent) {
        let pending = self.sends.answered(f.client_msg_id);
        let mut event = Sent {
            conversation: f.conversation,
            client_msg_id: f.client_msg_id,
            seq: f.seq,
            time_ms: f.time_ms,
            placed: !f.duplicate,
            answer: pending.is_some(),
            course: pending.map_or(Course::Straight, |p| p.course()),
        };
        if !f.duplicate {
            let item = (f.seq, Event::Sent(event));
            match self.heads.offer(f.conversation, item, &mut self.events) {
                Offer::Delivered | Offer::Gap(false) => return,
                Offer::Gap(true) => return self.fill(now, f.conversation),
                Offer::Repeat => self.stats.repeats += 1,
            }
        }
        if event.answer {
            event.placed = false;
            self.events.push_back(Event::Sent(event));
        }
    }

    /// Asks for what lies between the head and the items that came.
    fn fill(&mut self, now: Millis, conversation: ConversationId) {
        self.stats.gaps += 1;
        self.next_page(now, conversation, false);
    }

    fn next_page(&mut self, now: Millis, conversation: ConversationId, later: bool) {
        let request = self.take_request_number();
        let history = History {
            request,
            conversation,
            anchor: self.heads.get(conversation).unwrap_or(0),
            direction: Direction::After,
            limit: MAX_HISTORY_ENTRIES,
        };
        self.requests.push(request, history.into(), Owner::Fill(conversation), Millis::MAX);
        if later {
            self.requests.refused(request, now + STUCK_MS);
        }
    }

    fn history_page(&mut self, now: Millis, f: server::HistoryPage) {
        let conversation = match self.requests.answered(f.request) {
            Some(Owner::Fill(conversation)) if conversation == f.conversation => conversation,
            Some(Owner::App) => {
                let (request, result) = (f.request, Ok(Reply::History(Box::new(f))));
                return self.events.push_back(Event::Reply { request, result });
            }
            _ => return,
        };
        let (session, sends) = (self.session.as_ref(), &mut self.sends);
        let tell = |entry| tell(session, sends, conversation, entry);
        let events = &mut self.events;
        match self.heads.page(conversation, f.entries, f.head, f.floor, tell, events) {
            Page::Done => self.fill_ended(now),
            Page::More => self.next_page(now, conversation, false),
            Page::Stuck => self.next_page(now, conversation, true),
        }
    }

    /// Starts the next comparisons; lets a held-back cursor out when nothing is open.
    fn fill_ended(&mut self, now: Millis) {
        while self.heads.filling() < MAX_REFILLS
            && let Some(conversation) = self.refill.pop()
        {
            if self.heads.start_fill(conversation) {
                self.next_page(now, conversation, false);
            }
        }
        if self.heads.filling() == 0
            && let Some(cursor) = self.held_cursor.take()
        {
            self.cursor = Some(cursor);
            self.events.push_back(Event::CaughtUp { cursor });
        }
    }

    fn caught_up(&mut self, now: Millis, request: u32, cursor: Cursor) {
        self.requests.answered(request);
        self.held_cursor = Some(cursor);
        self.fill_ended(now);
    }

    fn too_far(&mut self, now: Millis, request: u32, cursor: Cursor) {
        self.requests.answered(request);
        self.cursor = Some(cursor);
        self.events.push_back(Event::TooFar { cursor });
        self.refill = self.heads.tracked();
        self.fill_ended(now);
    }

    fn reply(&mut self, request: u32, reply: Reply) {
        if self.requests.answered(request) == Some(Owner::App) {
            self.events.push_back(Event::Reply { request, result: Ok(reply) });
        }
    }

    fn error(&mut self, now: Millis, f: server::Error) {
        let request = f.request;
        let refusal = Refusal::from(f);
        if !self.link.is_up() {
            return self.hello_refused(now, refusal);
        }
        if self.trading == Some(request) {
            return self.trade_failed(Some(refusal));
        }
        if self.sends.is_attempt(request) {
            return self.send_refused(now, request, refusal);
        }
        let Some(attempts) = self.requests.attempts(request) else {
            // The late answer to an attempt whose send is durable or on its way again.
            if request == 0 {
                self.events.push_back(Event::ServerError(refusal));
            }
            return;
        };
        if refusal.retryable {
            let until = self.pause(now, attempts, &refusal);
            return self.requests.refused(request, until);
        }
        match self.requests.answered(request) {
            Some(Owner::App) => {
                let result = Err(RequestError::Refused(refusal));
                self.events.push_back(Event::Reply { request, result });
            }
            Some(Owner::Fill(conversation)) => {
                self.heads.give_up(conversation, &mut self.events);
                self.fill_ended(now);
            }
            Some(Owner::Sync | Owner::Core) | None => {
                self.events.push_back(Event::ServerError(refusal));
            }
        }
    }

    fn hello_refused(&mut self, now: Millis, refusal: Refusal) {
        if refusal.is(ErrorCode::TokenExpired) {
            return self.need_token(refusal.to_string());
        }
        if refusal.retryable || refusal.class == ErrorClass::Server {
            let at_least = Millis::from(refusal.retry_after_ms);
            return self.drop_link(now, refusal.to_string(), at_least);
        }
        self.close(CloseReason::Refused(refusal));
    }

    fn send_refused(&mut self, now: Millis, request: u32, refusal: Refusal) {
        if refusal.retryable {
            self.stats.refusals += 1;
            let until = self.pause(now, self.sends.attempts(request), &refusal);
            if let Some((pending, since)) = self.sends.refused(request, until) {
                self.events.push_back(Event::SendDelayed {
                    conversation: pending.conversation(),
                    client_msg_id: pending.client_msg_id(),
                    refusal,
                    waited_ms: now.saturating_sub(since),
                });
            }
            return;
        }
        if let Some(pending) = self.sends.failed(request) {
            self.events.push_back(Event::SendFailed {
                conversation: pending.conversation(),
                client_msg_id: pending.client_msg_id(),
                refusal,
            });
        }
    }

    /// When to repeat what was refused: the server's wish plus full jitter.
    fn pause(&mut self, now: Millis, attempts: u32, refusal: &Refusal) -> Millis {
        let (base, max) = (self.config.backoff_base_ms, self.config.backoff_max_ms);
        let moving = refusal.is(ErrorCode::Moved) || refusal.is(ErrorCode::OutcomeUnknown);
        let max = if moving { max.min(MOVING_MAX_MS) } else { max };
        let jitter = backoff::full_jitter(&mut self.rng, attempts.saturating_sub(1), base, max);
        now + Millis::from(refusal.retry_after_ms) + jitter
    }
}

/// The event of an entry: an own one that still waits for its answer has it now.
fn tell(
    session: Option<&Session>,
    sends: &mut Sends,
    conversation: ConversationId,
    entry: Entry,
) -> Event {
    let own = session.is_some_and(|s| s.user == entry.sender);
    if own && let Some(pending) = sends.answered(entry.client_msg_id) {
        return Event::Sent(Sent {
            conversation,
            client_msg_id: entry.client_msg_id,
            seq: entry.seq,
            time_ms: entry.time_ms,
            placed: true,
            answer: true,
            course: pending.course(),
        });
    }
    Event::Message { conversation, entry }
}
