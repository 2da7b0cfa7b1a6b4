//! The I/O shell of one [`Core`]: a socket and a timer, driven by whoever awaits
//! [`Driver::next`]. It spawns nothing and has no channel, so a session costs its owner one task.
//!
//! Writes are gathered: what the owner queues while it works off the events of one read leaves
//! in one WebSocket message and one system call, when the socket has nothing more to read.

use crate::config::Config;
use crate::core::{Core, Input, Lost, Millis, Order, Outgoing, Stats};
use crate::error::QueueError;
use crate::event::Event;
use crate::socket::{self, Incoming, Ws};
use futures_util::{Sink, SinkExt, Stream};
use rookery_protocol::types::ListCursor;
use rookery_protocol::{
    ClientFrame, ClientMsgId, ConversationId, Cursor, Direction, MarkKind, UserId,
};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::time::Sleep;
use tokio_tungstenite::tungstenite::Message;

/// Messages read in a row before queued output must leave.
const READS_PER_FLUSH: u32 = 16;
/// Pause before looking again at a socket that takes nothing; it also wakes by itself.
const BLOCKED_MS: Millis = 50;
/// Longest wait for the last bytes of [`Driver::leave`].
const FAREWELL: Duration = Duration::from_secs(2);

type Dialling = Pin<Box<dyn Future<Output = Result<Ws, Lost>> + Send>>;

/// Boxed: an idle session between two connections should be small.
enum Socket {
    None,
    Dialling(Dialling),
    Open(Box<Ws>),
}

/// One client connection, polled by its owner.
pub struct Driver {
    core: Core,
    config: Arc<Config>,
    origin: Instant,
    socket: Socket,
    timer: Pin<Box<Sleep>>,
    /// When the timer fires; earlier than needed is fine, it is then set again.
    armed: Option<Millis>,
    /// Bytes were handed to the socket and are not all written.
    dirty: bool,
    reads: u32,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("up", &self.core.is_up()).finish_non_exhaustive()
    }
}

impl Driver {
    /// A client that dials as soon as it is polled.
    ///
    /// # Panics
    /// Outside of a tokio runtime with time and I/O enabled.
    #[must_use]
    pub fn new(config: Arc<Config>, token: String, cursor: Option<Cursor>) -> Self {
        let seed = getrandom::u64().unwrap_or_else(|_| unix_ms());
        Self {
            core: Core::new(Arc::clone(&config), token, cursor, seed, 0),
            config,
            origin: Instant::now(),
            socket: Socket::None,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            armed: Some(0),
            dirty: false,
            reads: 0,
        }
    }

    /// The next event; none after `Closed`. Cancel-safe: a dropped call loses nothing.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Polls for the next event, see [`Driver::next`].
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll(cx, true)
    }

    /// [`Driver::next`]; without `read` it only keeps the connection alive (heartbeats,
    /// acknowledgements, queued sends) and never ends: for an owner that has no room for another
    /// event just now.
    pub async fn drive(&mut self, read: bool) -> Option<Event> {
        poll_fn(|cx| self.poll(cx, read)).await
    }

    /// An event that is already here, without touching the socket.
    pub fn try_next(&mut self) -> Option<Event> {
        self.core.poll_event()
    }

    fn poll(&mut self, cx: &mut Context<'_>, read: bool) -> Poll<Option<Event>> {
        loop {
            if read && let Some(event) = self.core.poll_event() {
                return Poll::Ready(Some(event));
            }
            let now = self.now();
            if self.core.deadline().is_some_and(|at| at <= now) {
                self.core.handle(now, Input::Tick);
            }
            if let Some(order) = self.core.poll_order() {
                self.carry_out(order);
                continue;
            }
            if self.core.is_closed() {
                return if read && !self.core.has_event() {
                    Poll::Ready(None)
                } else if read {
                    continue;
                } else {
                    Poll::Pending
                };
            }
            if self.step(cx, now, read).is_ready() || self.poll_timer(cx, now).is_ready() {
                continue;
            }
            return Poll::Pending;
        }
    }

    /// One step of the socket; ready when something happened.
    fn step(&mut self, cx: &mut Context<'_>, now: Millis, read: bool) -> Poll<()> {
        match &mut self.socket {
            Socket::None => Poll::Pending,
            Socket::Dialling(dialling) => {
                let Poll::Ready(outcome) = dialling.as_mut().poll(cx) else {
                    return Poll::Pending;
                };
                match outcome {
                    Ok(ws) => {
                        self.socket = Socket::Open(Box::new(ws));
                        self.core.handle(now, Input::Opened);
                    }
                    Err(lost) => self.lost(now, lost),
                }
                Poll::Ready(())
            }
            Socket::Open(_) => {
                if self.reads >= READS_PER_FLUSH && !self.write(cx, now) {
                    return Poll::Ready(());
                }
                if read && self.read(cx, now).is_ready() {
                    return Poll::Ready(());
                }
                if self.write(cx, now) { Poll::Pending } else { Poll::Ready(()) }
            }
        }
    }

    fn read(&mut self, cx: &mut Context<'_>, now: Millis) -> Poll<()> {
        let Socket::Open(ws) = &mut self.socket else { return Poll::Pending };
        let Poll::Ready(item) = Pin::new(ws.as_mut()).poll_next(cx) else {
            return Poll::Pending;
        };
        match socket::incoming(item) {
            Incoming::Bytes(bytes) => {
                self.reads += 1;
                self.core.handle(now, Input::Received(&bytes));
            }
            Incoming::Control => self.dirty = true,
            Incoming::Lost(lost) => self.lost(now, lost),
        }
        Poll::Ready(())
    }

    /// Writes what the core has to say, as far as the socket takes it; false when it is lost.
    fn write(&mut self, cx: &mut Context<'_>, now: Millis) -> bool {
        self.reads = 0;
        loop {
            let Socket::Open(ws) = &mut self.socket else { return true };
            let mut ws = Pin::new(ws.as_mut());
            if self.dirty {
                match ws.as_mut().poll_flush(cx) {
                    Poll::Ready(Ok(())) => self.dirty = false,
                    Poll::Ready(Err(e)) => {
                        self.lost(now, socket::reason(&e));
                        return false;
                    }
                    Poll::Pending => return true,
                }
            }
            let Some(bytes) = self.core.poll_output(now) else { return true };
            if let Err(e) = ws.start_send(Message::Binary(bytes.into())) {
                self.lost(now, socket::reason(&e));
                return false;
            }
            self.dirty = true;
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>, now: Millis) -> Poll<()> {
        let Some(at) = self.core.deadline() else { return Poll::Pending };
        // What is due but waits for a socket that takes nothing must not make this loop spin.
        let at = at.max(now + if self.dirty { BLOCKED_MS } else { 1 });
        if self.armed.is_none_or(|armed| at < armed) {
            let when = self.origin + Duration::from_millis(at);
            self.timer.as_mut().reset(when.into());
            self.armed = Some(at);
        }
        let fired = self.timer.as_mut().poll(cx);
        if fired.is_ready() {
            self.armed = None;
        }
        fired
    }

    fn carry_out(&mut self, order: Order) {
        self.dirty = false;
        self.socket = match order {
            Order::Close => Socket::None,
            Order::Open(address) => {
                Socket::Dialling(Box::pin(socket::dial(address, Arc::clone(&self.config))))
            }
        };
    }

    fn lost(&mut self, now: Millis, lost: Lost) {
        self.socket = Socket::None;
        self.dirty = false;
        self.core.handle(now, Input::Lost(lost));
    }

    fn now(&self) -> Millis {
        Millis::try_from(self.origin.elapsed().as_millis()).unwrap_or(Millis::MAX)
    }

    /// Drops the connection without a word, as a network does; the session resumes by itself.
    pub fn interrupt(&mut self) {
        if matches!(self.socket, Socket::Open(_)) {
            self.lost(self.now(), Lost { code: None, reason: "interrupted".to_owned() });
        }
    }

    /// Ends the session at the server at once and closes the socket.
    pub async fn leave(mut self) {
        let up = self.core.is_up();
        self.core.leave();
        if let (true, Socket::Open(mut ws)) = (up, self.socket) {
            let goodbye = async {
                ws.send(Message::Binary(Core::farewell().into())).await?;
                ws.send(Message::Close(None)).await
            };
            // The session would end by its grace time anyway: a failure changes nothing.
            drop(tokio::time::timeout(FAREWELL, goodbye).await);
        }
    }
}

/// The commands, each a thin cover of the core's.
impl Driver {
    /// See [`Core::send`].
    ///
    /// # Errors
    /// [`QueueError`]: nothing was queued.
    pub fn send(&mut self, message: Outgoing) -> Result<(), QueueError> {
        self.core.send(message)
    }

    /// See [`Core::history`].
    ///
    /// # Errors
    /// [`QueueError`]: nothing was queued.
    pub fn history(
        &mut self,
        conversation: ConversationId,
        anchor: u64,
        direction: Direction,
        limit: u16,
    ) -> Result<u32, QueueError> {
        self.core.history(self.now(), conversation, anchor, direction, limit)
    }

    /// See [`Core::conversations`].
    ///
    /// # Errors
    /// [`QueueError`]: nothing was queued.
    pub fn conversations(
        &mut self,
        limit: u16,
        after: Option<ListCursor>,
    ) -> Result<u32, QueueError> {
        self.core.conversations(self.now(), limit, after)
    }

    /// See [`Core::open_direct`].
    ///
    /// # Errors
    /// [`QueueError`]: nothing was queued.
    pub fn open_direct(&mut self, name: &str) -> Result<u32, QueueError> {
        self.core.open_direct(self.now(), name)
    }

    /// See [`Core::describe`].
    ///
    /// # Errors
    /// [`QueueError`]: nothing was queued.
    pub fn describe(&mut self, conversation: ConversationId) -> Result<u32, QueueError> {
        self.core.describe(self.now(), conversation)
    }

    /// See [`Core::find_users`].
    ///
    /// # Errors
    /// [`QueueError`]: nothing was queued.
    pub fn find_users(&mut self, names: Vec<String>) -> Result<u32, QueueError> {
        self.core.find_users(self.now(), names)
    }

    /// See [`Core::describe_group`].
    ///
    /// # Errors
    /// [`QueueError`]: nothing was queued.
    pub fn describe_group(&mut self, conversation: ConversationId) -> Result<u32, QueueError> {
        self.core.describe_group(self.now(), conversation)
    }

    /// See [`Core::readers`].
    ///
    /// # Errors
    /// [`QueueError`]: nothing was queued.
    pub fn readers(&mut self, conversation: ConversationId, seq: u64) -> Result<u32, QueueError> {
        self.core.readers(self.now(), conversation, seq)
    }

    /// See [`Core::watch`].
    ///
    /// # Errors
    /// [`QueueError`]: nothing was queued.
    pub fn watch(&mut self, users: Vec<UserId>) -> Result<u32, QueueError> {
        self.core.watch(self.now(), users)
    }

    /// See [`Core::ask`].
    ///
    /// # Errors
    /// [`QueueError`]: nothing was queued.
    pub fn ask(&mut self, frame: impl FnOnce(u32) -> ClientFrame) -> Result<u32, QueueError> {
        self.core.ask(self.now(), frame)
    }

    /// See [`Core::set_away`].
    ///
    /// # Errors
    /// [`QueueError`]: nothing was queued.
    pub fn set_away(&mut self, away: bool) -> Result<(), QueueError> {
        self.core.set_away(away)
    }

    /// See [`Core::unwatch`].
    ///
    /// # Errors
    /// [`QueueError`]: nothing was queued.
    pub fn unwatch(&mut self, users: Vec<UserId>) -> Result<(), QueueError> {
        self.core.unwatch(users)
    }

    /// See [`Core::mark`].
    ///
    /// # Errors
    /// [`QueueError`]: nothing was queued.
    pub fn mark(
        &mut self,
        conversation: ConversationId,
        kind: MarkKind,
        seq: u64,
    ) -> Result<(), QueueError> {
        self.core.mark(conversation, kind, seq)
    }

    /// See [`Core::typing`].
    ///
    /// # Errors
    /// [`QueueError`]: nothing was queued.
    pub fn typing(&mut self, id: ConversationId, active: bool) -> Result<(), QueueError> {
        self.core.typing(id, active)
    }

    /// See [`Core::track`].
    pub fn track(&mut self, conversation: ConversationId, seq: u64) {
        self.core.track(conversation, seq);
    }

    /// See [`Core::set_token`].
    ///
    /// # Errors
    /// [`QueueError`]: the token was not taken.
    pub fn set_token(&mut self, token: String) -> Result<(), QueueError> {
        self.core.set_token(self.now(), token)
    }

    /// See [`Core::refresh`].
    ///
    /// # Errors
    /// [`QueueError`]: nothing was done.
    pub fn refresh(&mut self, refresh_token: String) -> Result<bool, QueueError> {
        self.core.refresh(refresh_token)
    }

    /// See [`Core::head`].
    #[must_use]
    pub fn head(&self, conversation: ConversationId) -> Option<u64> {
        self.core.head(conversation)
    }

    /// See [`Core::pending_sends`].
    #[must_use]
    pub fn pending_sends(&self) -> usize {
        self.core.pending_sends()
    }

    /// See [`Core::cursor`].
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        self.core.cursor()
    }

    /// See [`Core::stats`].
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }
}

/// A fresh message id: the wall clock and ten random bytes.
#[must_use]
pub fn new_message_id() -> ClientMsgId {
    let mut random = [0; 10];
    if getrandom::fill(&mut random).is_err() {
        // Without the system's randomness the clock's fine part still tells two messages apart.
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        for (to, from) in random.iter_mut().zip(nanos.to_le_bytes()) {
            *to = from;
        }
    }
    ClientMsgId::from_parts(unix_ms(), random)
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
