//! One connection: frames to its session, the session's frames to its socket, signs of life.
//!
//! ```text
//! upgrade -> hello -> attach -> Welcome -> frames both ways -> end
//!                       ^  |                     |
//!                       |  `- Refused: a fresh session
//!                       `---- Lost: a fresh session on the open connection
//! ```
//!
//! The task is what an idle client costs: what only the beginning and the end need is boxed, the
//! timer is armed once and looks at the time when it fires, nothing is buffered while idle.

mod tokens;

use super::admission::UnderWay;
use super::hello::{self, Admitted, End};
use super::quota::{self, Quota};
use super::refusal::{self, Refusal, error_frame};
use super::socket::{Incoming, Socket};
use super::{random, random_u64};
use crate::AppState;
use crate::http::Stream;
use bytes::Bytes;
use rookery_actors::message::{Attach, Identity};
use rookery_actors::shell::{Event, Full, Outbox};
use rookery_actors::{ConnId, Envelope, SessionMsg, SessionRef};
use rookery_protocol::client::Resume;
use rookery_protocol::limits::{MAX_CLIENT_FRAME_BYTES, MAX_SERVER_MESSAGE_BYTES};
use rookery_protocol::{
    ClientFrame, CloseCode, DecodeError, ErrorCode, ServerFrame, SessionId, frames, server,
};
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;
use tokens::{Refreshing, Renewal, renewed};
use tokio::time::{Instant, sleep_until};

/// Heartbeats without a sign of life after which a client counts as gone.
const SILENT_BEATS: u64 = 3;
/// Most time that the client may take nothing of what is being written.
const WRITE_PATIENCE_MS: u64 = 30_000;
/// Most time between attaching and `Welcome`.
const WELCOME_MS: u64 = 10_000;
/// How long nothing is read after the session's inbox was full.
const PAUSE_MS: u64 = 100;
/// Own answers that wait to be written; with more of them nothing is read.
const MAX_REPLY_BYTES: usize = 16 * 1024;
/// Room for answers beside the window.
const OUTBOX_BYTES: usize = 2 * MAX_SERVER_MESSAGE_BYTES;
/// Most sessions in a row that are asked for within a tick: a fault that comes back must not spin.
const MAX_LOSSES: u32 = 8;

/// What a connection keeps while it is open.
struct Connection<'a> {
    state: &'a AppState,
    conn: ConnId,
    session: SessionId,
    identity: Identity,
    window_bytes: u32,
    outbox: Arc<Outbox>,
    /// Answers of our own that wait to be written.
    replies: Vec<u8>,
    /// Sends without an answer.
    under_way: UnderWay,
    /// What the user has left, once the client did something that is limited.
    quota: Option<Arc<Quota>>,
    /// A trade of a refresh token that is under way.
    refreshing: Option<Refreshing<'a>>,
    /// Whether the session has written something: until then the client has nothing to say.
    welcomed: bool,
    /// Sessions that were refused or lost since the last tick.
    losses: u32,
    /// Nothing is read before this time; 0: it may be.
    paused_until_ms: u64,
    last_life_ms: u64,
    /// The socket's progress when it was last seen to have made some, and when that was.
    progress: u32,
    progress_ms: u64,
}

/// Serves a connection to its end; returns the code it was closed with, by whichever side.
pub(crate) async fn run(state: &AppState, stream: Stream, read: Bytes) -> u16 {
    let mut socket = Socket::new(stream, &read);
    drop(read);
    let end = match Box::pin(hello::hello(state, &mut socket)).await {
        Ok(admitted) => serve(state, &mut socket, admitted).await,
        Err(end) => end,
    };
    Box::pin(finish(socket, end)).await
}

async fn serve(state: &AppState, socket: &mut Socket<Stream>, admitted: Admitted) -> End {
    let Admitted { identity, window_bytes, resume } = admitted;
    let conn = state.gateway.next_conn();
    let now_ms = state.gateway.system.now().mono_ms;
    let mut connection = Connection {
        state,
        conn,
        session: SessionId(0),
        identity,
        window_bytes,
        outbox: Outbox::new(conn, OUTBOX_BYTES + window_bytes as usize),
        replies: Vec::new(),
        under_way: UnderWay::default(),
        quota: None,
        refreshing: None,
        welcomed: false,
        losses: 0,
        paused_until_ms: 0,
        last_life_ms: now_ms,
        progress: 0,
        progress_ms: now_ms,
    };
    let end = match connection.attach(resume) {
        Ok(()) => connection.exchange(socket).await,
        Err(refusal) => refusal.into(),
    };
    connection.under_way.end(&state.gateway.admission);
    connection.detach();
    end
}

/// The last words to the client, and the code of the end.
async fn finish(socket: Socket<Stream>, end: End) -> u16 {
    match end {
        End::Refused(refusal) => {
            refusal::refuse(socket, refusal).await;
            refusal.close.code()
        }
        End::Closed(code) => {
            refusal::answer_close(socket).await;
            // 1005 stands for "closed without a code" (RFC 6455, section 7.4.1), 1006 for "lost".
            code.unwrap_or(1005)
        }
        End::Lost => 1006,
    }
}

/// What happened.
enum Step {
    Tick,
    Session(Event),
    Socket(Incoming),
    Refreshed(Renewal),
}

impl Connection<'_> {
    /// Carries frames both ways until one side ends it.
    async fn exchange(&mut self, socket: &mut Socket<Stream>) -> End {
        let mut arrived = Vec::new();
        let tick = sleep_until(self.next_tick());
        tokio::pin!(tick);
        loop {
            if !socket.writing() && !self.replies.is_empty() {
                let replies = std::mem::take(&mut self.replies);
                socket.chunks().push(replies.into());
                self.begin_write(socket);
            }
            let (writing, reading) = (socket.writing(), self.reads());
            // The clock comes first: a client that only sends must not keep it from being looked at.
            let step = tokio::select! {
                biased;
                () = tick.as_mut() => Step::Tick,
                event = self.outbox.next(&mut arrived), if !writing => Step::Session(event),
                incoming = poll_fn(|cx| socket.poll(cx, reading)) => Step::Socket(incoming),
                renewal = renewed(&mut self.refreshing) => Step::Refreshed(renewal),
            };
            let done = match step {
                Step::Tick => {
                    let done = self.tick(socket);
                    tick.as_mut().reset(self.next_tick());
                    done
                }
                Step::Session(Event::Frames) => {
                    self.welcome();
                    self.answered(&arrived);
                    *socket.chunks() = std::mem::take(&mut arrived);
                    self.begin_write(socket);
                    Ok(())
                }
                Step::Session(Event::Close(code)) => {
                    *socket.chunks() = std::mem::take(&mut arrived);
                    Err(Refusal::close(code).into())
                }
                Step::Session(Event::Refused | Event::Lost) => self.attach_again(),
                Step::Refreshed(renewal) => {
                    self.refreshed(renewal);
                    Ok(())
                }
                Step::Socket(incoming) => {
                    let received = self.received(incoming);
                    if self.paused_until_ms > 0 {
                        tick.as_mut().reset(self.next_tick());
                    }
                    received
                }
            };
            if let Err(end) = done {
                return self.last_words(socket, end);
            }
        }
    }

    /// Own answers that still wait go before the goodbye.
    fn last_words(&mut self, socket: &mut Socket<Stream>, end: End) -> End {
        if !self.replies.is_empty() {
            socket.chunks().push(std::mem::take(&mut self.replies).into());
        }
        end
    }

    /// The session has said something: who is let in is told what everybody is told.
    fn welcome(&mut self) {
        if !std::mem::replace(&mut self.welcomed, true) {
            for notice in self.state.notices.current() {
                self.reply(&notice);
            }
        }
    }

    // ---- the session ------------------------------------------------------------------------

    fn address(&self) -> SessionRef {
        let node = self.state.gateway.system.node();
        SessionRef { user: self.identity.user, session: self.session, node }
    }

    /// Asks for a session: the one to go on with, or a new one.
    fn attach(&mut self, resume: Option<Resume>) -> Result<(), Refusal> {
        const NO_RANDOM: Refusal = Refusal::new(
            ErrorCode::Internal,
            CloseCode::Internal,
            "a fault of the node; it was logged",
        );
        let fresh = random_u64().zip(random()).ok_or_else(|| {
            tracing::error!("the system has no random numbers");
            NO_RANDOM
        });
        let (fresh_id, fresh_secret) = fresh?;
        self.session = resume.map_or(SessionId(fresh_id), |resume| resume.session);
        let attach = Attach {
            conn: self.conn,
            identity: self.identity.clone(),
            window_bytes: self.window_bytes,
            resume: resume.map(|resume| (resume.secret, resume.received)),
            fresh_secret,
            endpoints: self.state.gateway.system.endpoints(Some(self.identity.user)),
        };
        let gateway = &self.state.gateway;
        let attached = gateway.system.attach(self.address(), attach, Arc::clone(&self.outbox));
        if attached.is_err() {
            return Err(Refusal::new(ErrorCode::Busy, CloseCode::Overloaded, "too many sessions"));
        }
        // Looked at after attaching: who comes later is ended with the session.
        let Identity { user, device, .. } = self.identity;
        if gateway.revoked.contains(user, device) {
            gateway.system.end_device(user, device);
            return Err(hello::revoked());
        }
        if gateway.is_stopping() {
            return Err(Refusal::close(CloseCode::GoingAway));
        }
        Ok(())
    }

    /// Asks for a new session in place of the one that is not to be had, or was lost.
    fn attach_again(&mut self) -> Result<(), End> {
        self.losses += 1;
        if self.losses > MAX_LOSSES {
            let detail = "the session was lost again and again";
            return Err(Refusal::new(ErrorCode::Internal, CloseCode::Internal, detail).into());
        }
        Ok(self.attach(None)?)
    }

    fn tell(&self, msg: SessionMsg) -> Result<(), Full> {
        self.state.gateway.system.tell(Envelope::Session(self.address(), msg))
    }

    /// Tells the session that its client is gone; such news is always taken.
    fn detach(&self) {
        let gone = SessionMsg::Detached { conn: self.conn, last_life_ms: self.last_life_ms };
        if self.tell(gone).is_err() {
            tracing::error!("a session could not be told that its client is gone");
        }
    }

    // ---- from the client --------------------------------------------------------------------

    /// Whether the client is to be listened to now.
    fn reads(&self) -> bool {
        self.welcomed && self.paused_until_ms == 0 && self.replies.len() < MAX_REPLY_BYTES
    }

    fn received(&mut self, incoming: Incoming) -> Result<(), End> {
        if !matches!(incoming, Incoming::Written | Incoming::Closed(_) | Incoming::Lost) {
            self.last_life_ms = self.state.gateway.system.now().mono_ms;
        }
        match hello::message(self.state, incoming)? {
            Some(message) => Ok(self.frames(&message)?),
            None => Ok(()),
        }
    }

    /// Hands the frames of a message on, all at once.
    fn frames(&mut self, message: &[u8]) -> Result<(), Refusal> {
        self.still_known()?;
        let mut passed = Vec::new();
        for raw in frames(message, MAX_CLIENT_FRAME_BYTES) {
            let frame = ClientFrame::decode(raw?)?;
            self.state.gateway.meters.frame(frame.as_ref());
            match frame {
                None => {}
                Some(ClientFrame::Ping(ping)) => {
                    self.reply(&server::Pong { nonce: ping.nonce }.into());
                }
                Some(ClientFrame::Hello(_)) => {
                    return Err(Refusal::protocol(ErrorCode::OutOfOrder, "Hello came before"));
                }
                Some(ClientFrame::Authenticate(frame)) => self.authenticate(&frame),
                Some(frame) if self.limited(&frame) => {}
                Some(ClientFrame::Refresh(frame)) => self.refresh(frame),
                Some(ClientFrame::Send(send)) if !self.admits(send.request) => {
                    let detail = "the node has too much to do";
                    self.reply(&error_frame(ErrorCode::Busy, send.request, detail));
                }
                Some(frame) => passed.push(frame),
            }
        }
        if !passed.is_empty() && self.tell(SessionMsg::Frames(self.conn, passed)).is_err() {
            self.overloaded(message)?;
        }
        Ok(())
    }

    /// Whether the user has done this too often; if so, that is its answer.
    fn limited(&mut self, frame: &ClientFrame) -> bool {
        let gateway = &self.state.gateway;
        let Some(kind) = quota::kind_of(frame).filter(|kind| gateway.quotas.limits(*kind)) else {
            return false;
        };
        let (user, now_ms) = (self.identity.user, gateway.system.now().mono_ms);
        let quota = self.quota.get_or_insert_with(|| gateway.quotas.of(user, now_ms));
        let Err(wait_ms) = gateway.quotas.take(quota, kind, now_ms) else { return false };
        self.reply(&refusal::rate_limited(frame.request(), wait_ms));
        true
    }

    /// Whether a send is let in.
    fn admits(&mut self, request: u32) -> bool {
        let gateway = &self.state.gateway;
        self.under_way.begin(&gateway.admission, request, gateway.system.now().mono_ms)
    }

    /// Looks which sends these frames answer.
    fn answered(&mut self, chunks: &[Bytes]) {
        let gateway = &self.state.gateway;
        let now_ms = gateway.system.now().mono_ms;
        for chunk in chunks {
            self.under_way.leave(&gateway.admission, chunk, now_ms);
        }
    }

    /// The session's inbox was full: every frame of the message is answered here, and nothing is
    /// read for a moment.
    fn overloaded(&mut self, message: &[u8]) -> Result<(), DecodeError> {
        self.pause();
        let mut unanswered = false;
        for raw in frames(message, MAX_CLIENT_FRAME_BYTES) {
            match ClientFrame::decode(raw?)? {
                // Answered already, or made up for by the next of their kind.
                None
                | Some(
                    ClientFrame::Hello(_)
                    | ClientFrame::Ping(_)
                    | ClientFrame::Authenticate(_)
                    | ClientFrame::Refresh(_)
                    | ClientFrame::Ack(_)
                    | ClientFrame::SetTyping(_)
                    | ClientFrame::Leave(_),
                ) => {}
                Some(ClientFrame::Send(send)) => {
                    let door = &self.state.gateway.admission;
                    if self.under_way.cancel(door, send.request) {
                        self.reply(&busy(send.request));
                    }
                }
                Some(frame) if frame.request() == 0 => unanswered = true,
                Some(frame) => self.reply(&busy(frame.request())),
            }
        }
        if unanswered {
            self.reply(&busy(0));
        }
        Ok(())
    }

    fn reply(&mut self, frame: &ServerFrame) {
        frame.encode(&mut self.replies);
    }

    fn pause(&mut self) {
        self.paused_until_ms = self.state.gateway.system.now().mono_ms.saturating_add(PAUSE_MS);
    }

    // ---- to the client, and the time --------------------------------------------------------

    fn begin_write(&mut self, socket: &mut Socket<Stream>) {
        let bytes = socket.write();
        self.state.gateway.meters.sent_bytes.increment(bytes as u64);
        self.progress = socket.progress();
        self.progress_ms = self.state.gateway.system.now().mono_ms;
    }

    fn silence_ms(&self) -> u64 {
        self.state.config.sessions.heartbeat_ms.saturating_mul(SILENT_BEATS)
    }

    /// When to look at the time again.
    fn next_tick(&self) -> Instant {
        let now_ms = self.state.gateway.system.now().mono_ms;
        let due_ms = if self.paused_until_ms > 0 {
            self.paused_until_ms
        } else {
            // `Welcome` doesn't arm the timer anew: it must not be late for what comes after.
            let silence_ms = self.silence_ms();
            let most_ms = if self.welcomed { silence_ms } else { silence_ms.min(WELCOME_MS) };
            self.last_life_ms.saturating_add(most_ms)
        };
        // Writing may begin at any time without arming the timer for it: the longest sleep is as
        // long as its patience.
        let wait_ms = due_ms.saturating_sub(now_ms).min(self.valid_ms());
        let wait_ms = wait_ms.clamp(1, WRITE_PATIENCE_MS);
        Instant::now() + Duration::from_millis(wait_ms)
    }

    /// Judges what should have happened by now.
    fn tick(&mut self, socket: &Socket<Stream>) -> Result<(), End> {
        let now_ms = self.state.gateway.system.now().mono_ms;
        let since = |then_ms: u64| now_ms.saturating_sub(then_ms);
        if socket.progress() != self.progress {
            self.progress = socket.progress();
            self.progress_ms = now_ms;
        }
        if socket.writing() && since(self.progress_ms) >= WRITE_PATIENCE_MS {
            return Err(Refusal::close(CloseCode::SlowConsumer).into());
        }
        self.still_known()?;
        if !self.welcomed && since(self.last_life_ms) >= WELCOME_MS {
            let detail = "the session did not answer";
            return Err(Refusal::new(ErrorCode::Busy, CloseCode::Overloaded, detail).into());
        }
        if self.reads() && since(self.last_life_ms) >= self.silence_ms() {
            return Err(Refusal::close(CloseCode::HeartbeatTimeout).into());
        }
        self.losses = 0;
        self.under_way.forget(&self.state.gateway.admission, now_ms);
        if self.paused_until_ms <= now_ms {
            self.paused_until_ms = 0;
        }
        Ok(())
    }
}

fn busy(request: u32) -> ServerFrame {
    error_frame(ErrorCode::Busy, request, "the session has too much to do")
}
