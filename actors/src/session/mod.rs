//! A session: one connected device. Pure.
//!
//! It outlives its connection by the grace time, and its connection outlives it: when the session
//! is lost the connection asks for a new one, and the client syncs from its own cursor.
//!
//! Safety
//! - What leaves is counted and kept until acknowledged, so a resume misses and repeats nothing.
//! - Only the holder of the session's secret, with a token of the same user and device, resumes.
//! - Everything is bounded: unacknowledged bytes by the window, requests and sends in flight,
//!   watched users, batches held back.

mod delivery;
mod moved;
mod people;
mod requests;
mod stream;
mod sync;

use crate::effect::{ConnId, Effect};
use crate::message::{Attach, Envelope, Identity, PresenceMsg, SessionMsg, SessionRef};
use crate::plant::{self, Bug};
use crate::time::Now;
use bytes::Bytes;
use rookery_protocol::limits::{Limits, MAX_WINDOW_BYTES, MIN_WINDOW_BYTES};
use rookery_protocol::server::{Presence, Typing, Welcome};
use rookery_protocol::{
    ClientMsgId, CloseCode, ConversationId, Cursor, DeviceId, ErrorCode, ServerFrame, UserId,
};
use rookery_store::Version;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use stream::Stream;
use sync::Sync;

/// A session that was told something reads its inbox again after this long.
const RECONCILE_MS: u64 = 10_000;
/// A send without answer for this long makes the session look into the store: early enough for its
/// client to know within two seconds.
const SEND_CHECK_MS: u64 = 1_500;
/// The hub is told so often that the session is still there.
const RENEW_MS: u64 = 60_000;
/// Sessions renew in steps of this, so that those of a step are looked up together.
const RENEW_STEP_MS: u64 = 250;
/// Watches are renewed with every so manieth time of those: they are many, and matter less.
const WATCH_RENEWALS: u8 = 5;
/// The cursor the client holds is noted in the store at most so often, and with each sync.
const NOTE_MS: u64 = 3_600_000;
/// After a failed read.
const RETRY_MS: u64 = 500;
/// A session whose client was sent to another node waits for it no longer than this: until the
/// client's next session is known, so that its user doesn't seem to leave.
const DRAINED_MS: u64 = 1_500;
/// A client that is behind and acknowledges nothing for this long is closed.
const STUCK_MS: u64 = 60_000;

/// Token of an answer that belongs to the pull under way.
const TOKEN_PULL: u64 = 1 << 32;
/// Token of an answer to whether there is news.
const TOKEN_NEWS: u64 = 3 << 32;
/// Token of an answer to what of those who are watched may be shown.
const TOKEN_SIGHT: u64 = 4 << 32;
/// Token of an answer to a request of the client.
const TOKEN_REQUEST: u64 = 2 << 32;

/// What all sessions of a node share.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How often a client gives a sign of life.
    pub heartbeat_ms: u32,
    /// How long a session waits for its client to come back.
    pub grace_ms: u32,
    /// The node's name.
    pub node: Arc<str>,
}

/// The state of one session's actor.
pub struct Session {
    me: SessionRef,
    settings: Arc<Settings>,
    identity: Option<Identity>,
    secret: [u8; 16],
    conn: Option<ConnId>,
    stream: Stream,
    sync: Sync,
    /// Sends without answer.
    pending: HashMap<ClientMsgId, Pending>,
    /// Other requests without answer.
    requests: usize,
    watched: Vec<UserId>,
    /// The cursor the client is known to hold; what it missed from there on is kept for it.
    held: Option<Cursor>,
    /// When that was last noted in the store, monotonic milliseconds.
    noted_ms: Option<u64>,
    moved: Option<Box<moved::Moved>>,
    /// The client was told to go to another node.
    drained: bool,
    /// Watched users whose newest status may not have reached the client.
    unshown: BTreeSet<UserId>,
    own: Option<Box<people::Own>>,
    renewals: u8,
    timers: Timers,
}

#[derive(Clone, Copy)]
struct Pending {
    request: u32,
    conversation: ConversationId,
    since_ms: u64,
}

/// When the session wants to be woken, monotonic milliseconds; `None`: not for this.
#[derive(Default)]
struct Timers {
    armed: Option<u64>,
    renew: Option<u64>,
    reconcile: Option<u64>,
    sends: Option<u64>,
    retry: Option<u64>,
    stuck: Option<u64>,
    expire: Option<u64>,
    /// Sign of life before the connection was lost.
    last_life_ms: u64,
    typing_ms: u64,
    /// When the client last did something of somebody's will.
    used_ms: u64,
}

impl Session {
    /// A session that nobody has attached to yet.
    #[must_use]
    pub fn new(me: SessionRef, settings: &Arc<Settings>) -> Self {
        Self {
            me,
            settings: Arc::clone(settings),
            identity: None,
            secret: [0; 16],
            conn: None,
            stream: Stream::new(MIN_WINDOW_BYTES as usize),
            sync: Sync::default(),
            pending: HashMap::new(),
            requests: 0,
            watched: Vec::new(),
            held: None,
            noted_ms: None,
            moved: None,
            drained: false,
            unshown: BTreeSet::new(),
            own: None,
            renewals: 0,
            timers: Timers::default(),
        }
    }

    /// The device, once one attached.
    #[must_use]
    pub fn device(&self) -> Option<DeviceId> {
        self.identity.as_ref().map(|identity| identity.device)
    }

    /// The names of [`Session::state`].
    pub const STATES: &'static [&'static str] =
        &["s:new", "s:away", "s:unsynced", "s:pulling", "s:behind", "s:live"];

    /// Its state in a word, for whoever looks on.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match (self.conn, &self.identity) {
            (_, None) => "s:new",
            (None, _) => "s:away",
            _ if !self.sync.started => "s:unsynced",
            _ if self.sync.pulling() => "s:pulling",
            _ if self.sync.behind => "s:behind",
            _ => "s:live",
        }
    }

    /// Handles one message.
    pub fn handle(&mut self, now: Now, msg: SessionMsg, out: &mut Vec<Effect>) {
        match msg {
            SessionMsg::Attach(attach) => self.attach(now, attach, out),
            SessionMsg::Frames(conn, frames) => {
                for frame in frames {
                    if self.conn != Some(conn) {
                        break;
                    }
                    self.frame(now, frame, out);
                }
            }
            SessionMsg::Renewed { request, expires_ms } => self.renewed(request, expires_ms, out),
            SessionMsg::Detached { conn, last_life_ms } => self.detached(conn, last_life_ms),
            SessionMsg::SendAnswer { id, answer } => self.send_answered(id, answer, out),
            SessionMsg::Refused(code) => self.error(0, code, "", out),
            SessionMsg::Deliver(batch) => self.deliver(now, &batch, out),
            SessionMsg::Receipts(receipts) => self.receipts(&receipts, out),
            SessionMsg::Typing { conversation, user, active } => {
                self.passing(Typing { conversation, user, active }, out);
            }
            SessionMsg::Changed(conversation, change) => self.changed(conversation, change, out),
            SessionMsg::Presence { user, status, last_seen_ms } => {
                self.presence(Presence { user, status, last_seen_ms }, out);
            }
            SessionMsg::HubLost => self.hub_lost(now, out),
            SessionMsg::WatchedHubLost(user) => {
                if self.watched.contains(&user) {
                    self.tell_hub(user, PresenceMsg::Watch(self.me), out);
                }
            }
            SessionMsg::HubsMoved(slots) => self.hubs_moved(now, &slots),
            SessionMsg::HintsLost => self.hints_lost(now),
            SessionMsg::SendsMoved(slots) => self.sends_moved(&slots, out),
            SessionMsg::Drain(alternates) => self.drain(&alternates, out),
            SessionMsg::Answered { request, refused } => {
                self.block_answered(request, refused, out);
            }
            SessionMsg::Own => self.own_changed(out),
            SessionMsg::Notice(frame) => self.write(frame, out),
            SessionMsg::Answer(token, result) => self.answered(now, token, result, out),
            SessionMsg::Wake => self.wake(now, out),
            SessionMsg::End(code) => self.end(now, Some(code), out),
            #[cfg(feature = "poison")]
            #[expect(clippy::panic, reason = "the poison is there to panic")]
            SessionMsg::Poison => panic!("poisoned session"),
        }
        self.arm(out);
    }

    // ---- coming and going -------------------------------------------------------------------

    fn attach(&mut self, now: Now, attach: Attach, out: &mut Vec<Effect>) {
        let conn = attach.conn;
        let window = attach.window_bytes.clamp(MIN_WINDOW_BYTES, MAX_WINDOW_BYTES) as usize;
        let replay = match (&self.identity, attach.resume) {
            (None, None) => None,
            (Some(identity), Some((secret, received))) => {
                let same =
                    identity.device == attach.identity.device && same_secret(&self.secret, &secret);
                let missed = if same { self.stream.replay(received) } else { None };
                let Some(missed) = missed else { return out.push(Effect::RefuseAttach(conn)) };
                Some((received, missed))
            }
            (None, Some(_)) => {
                out.push(Effect::RefuseAttach(conn));
                return out.push(Effect::Stop);
            }
            (Some(_), None) => return out.push(Effect::RefuseAttach(conn)),
        };
        if let Some(old) = self.conn.replace(conn)
            && old != conn
        {
            out.push(Effect::Close { conn: old, code: CloseCode::Replaced });
        }
        self.stream.set_window(window);
        self.timers.expire = None;
        self.timers.last_life_ms = now.mono_ms;
        self.timers.used_ms = now.mono_ms;
        let fresh = replay.is_none();
        if fresh {
            self.secret = attach.fresh_secret;
        }
        self.write_welcome(now, &attach.identity, (!fresh, attach.endpoints), out);
        let device = attach.identity.device;
        self.identity = Some(attach.identity);
        match replay {
            None => {
                self.register(now, device, out);
            }
            Some((received, missed)) => {
                self.stream.ack(received);
                for frames in missed {
                    self.write(frames, out);
                }
                // What was written before may not have arrived.
                self.unshown.extend(&self.watched);
                self.show(out);
                // A slow client starts afresh with its patience.
                self.timers.stuck = self.sync.behind.then_some(now.mono_ms + STUCK_MS);
                self.pull(out);
            }
        }
    }

    fn write_welcome(
        &self,
        now: Now,
        identity: &Identity,
        (resumed, endpoints): (bool, Vec<String>),
        out: &mut Vec<Effect>,
    ) {
        let window = u32::try_from(self.stream.window()).unwrap_or(MAX_WINDOW_BYTES);
        let welcome = Welcome {
            version: 1,
            session: self.me.session,
            secret: self.secret,
            resumed,
            user: identity.user,
            device: identity.device,
            name: identity.name.to_string(),
            heartbeat_ms: self.settings.heartbeat_ms,
            grace_ms: self.settings.grace_ms,
            server_time_ms: now.unix_ms,
            token_expires_ms: identity.expires_ms,
            limits: Limits::with_window(window),
            node: self.settings.node.to_string(),
            endpoints,
        };
        self.write(ServerFrame::from(welcome).to_bytes(), out);
    }

    fn detached(&mut self, conn: ConnId, last_life_ms: u64) {
        if self.conn == Some(conn) {
            self.conn = None;
            self.timers.last_life_ms = last_life_ms;
            let grace_ms = u64::from(self.settings.grace_ms);
            let grace_ms = if self.drained { grace_ms.min(DRAINED_MS) } else { grace_ms };
            self.timers.expire = Some(last_life_ms + grace_ms);
            self.timers.stuck = None;
        }
    }

    fn renewed(&mut self, request: Option<u32>, expires_ms: u64, out: &mut Vec<Effect>) {
        if let Some(identity) = &mut self.identity {
            identity.expires_ms = expires_ms;
        }
        if let Some(request) = request {
            self.done(request, out);
        }
    }

    /// Ends the session; with a code its connection too.
    fn end(&mut self, now: Now, code: Option<CloseCode>, out: &mut Vec<Effect>) {
        if self.conn.is_some() {
            self.timers.last_life_ms = now.mono_ms;
        }
        if let (Some(conn), Some(code)) = (self.conn.take(), code) {
            out.push(Effect::Close { conn, code });
        }
        let silent_ms = now.mono_ms.saturating_sub(self.timers.last_life_ms);
        let last_seen_ms = now.unix_ms.saturating_sub(silent_ms);
        let gone = PresenceMsg::Unregister { session: self.me.session, last_seen_ms };
        self.tell_hub(self.me.user, gone, out);
        for user in std::mem::take(&mut self.watched) {
            self.tell_hub(user, PresenceMsg::Unwatch(self.me), out);
        }
        self.timers = Timers::default();
        out.push(Effect::Stop);
    }

    fn register(&mut self, now: Now, device: DeviceId, out: &mut Vec<Effect>) {
        let SessionRef { user, session, node } = self.me;
        if !plant::is(Bug::HubForgotten) {
            self.tell_hub(user, PresenceMsg::Register { session, node, device }, out);
        }
        if self.is_away() {
            self.tell_away(out);
        }
        self.timers.renew = Some((now.mono_ms + RENEW_MS).next_multiple_of(RENEW_STEP_MS));
    }

    fn hub_lost(&mut self, now: Now, out: &mut Vec<Effect>) {
        if let Some(device) = self.device() {
            self.register(now, device, out);
            for user in self.watched.clone() {
                self.tell_hub(user, PresenceMsg::Watch(self.me), out);
            }
            // Hints may have been lost with the hub.
            self.sync.wanted |= self.sync.started;
            self.pull(out);
        }
    }

    // ---- writing ----------------------------------------------------------------------------

    /// Counted frames: kept until acknowledged. They tell of the store at `version`; 0: of no
    /// particular one.
    fn emit(&mut self, frames: Bytes, count: u64, version: Version, out: &mut Vec<Effect>) {
        self.stream.push(frames.clone(), count, version);
        self.write(frames, out);
    }

    /// Frames that are not counted.
    fn write(&self, frames: Bytes, out: &mut Vec<Effect>) {
        if let Some(conn) = self.conn {
            out.push(Effect::Write { conn, frames });
        }
    }

    /// News that may be lost: the first to go when the client is slow. False: it went nowhere.
    fn passing(&self, frame: impl Into<ServerFrame>, out: &mut Vec<Effect>) -> bool {
        let passes = self.conn.is_some() && self.stream.room() >= self.stream.window() / 2;
        if passes {
            self.write(frame.into().to_bytes(), out);
        }
        passes
    }

    fn presence(&mut self, presence: Presence, out: &mut Vec<Effect>) {
        if self.watched.contains(&presence.user) {
            if self.passing(self.dimmed(presence), out) {
                self.unshown.remove(&presence.user);
            } else {
                self.unshown.insert(presence.user);
            }
        }
    }

    /// Asks the hubs again for what could not be shown, once it can be.
    fn show(&mut self, out: &mut Vec<Effect>) {
        if self.conn.is_some() && self.stream.room() >= self.stream.window() / 2 {
            for user in std::mem::take(&mut self.unshown) {
                self.tell_hub(user, PresenceMsg::Watch(self.me), out);
            }
        }
    }

    fn error(&self, request: u32, code: ErrorCode, detail: &str, out: &mut Vec<Effect>) {
        self.write(ServerFrame::from(code.frame(request, detail)).to_bytes(), out);
    }

    fn tell_hub(&self, user: UserId, msg: PresenceMsg, out: &mut Vec<Effect>) {
        out.push(Effect::Tell(Envelope::Presence(user, msg)));
    }

    // ---- time -------------------------------------------------------------------------------

    fn wake(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.timers.armed = None;
        let due = |at: Option<u64>| at.is_some_and(|at| at <= now.mono_ms);
        if due(self.timers.expire) {
            return self.end(now, None, out);
        }
        let expires_ms = self.identity.as_ref().map_or(u64::MAX, |identity| identity.expires_ms);
        if self.conn.is_some() && expires_ms <= now.unix_ms {
            self.error(0, ErrorCode::TokenExpired, "", out);
            return self.end(now, Some(CloseCode::TokenExpired), out);
        }
        if due(self.timers.stuck) {
            return self.end(now, Some(CloseCode::SlowConsumer), out);
        }
        if due(self.timers.renew) {
            self.renew(now, out);
        }
        self.tell_moved_hubs(now, out);
        if due(self.timers.retry) {
            self.timers.retry = None;
        }
        if due(self.timers.reconcile) {
            self.timers.reconcile = None;
            self.sync.wanted |= self.sync.started;
        }
        if due(self.timers.sends) {
            self.check_sends(now, out);
        }
        self.check_blocks(now, out);
        self.pull(out);
    }

    /// Whatever hint was lost without a trace is made up for: the hubs are told again that the
    /// session is there, and the inbox is looked at.
    fn renew(&mut self, now: Now, out: &mut Vec<Effect>) {
        let Some(device) = self.device() else { return self.timers.renew = None };
        self.register(now, device, out);
        self.look_for_news(now, out);
        self.look_idle(now, out);
        self.renewals = self.renewals.wrapping_add(1);
        if self.renewals.is_multiple_of(WATCH_RENEWALS) {
            self.unshown.extend(&self.watched);
            self.show(out);
        }
    }

    /// Asks to be woken when the next timer is due, if that has become earlier.
    fn arm(&mut self, out: &mut Vec<Effect>) {
        let timers = &self.timers;
        let dues = [
            timers.renew,
            timers.reconcile,
            timers.sends,
            timers.retry,
            timers.stuck,
            timers.expire,
            self.moved.as_ref().map(|moved| moved.due_ms()),
            self.blocks_due_ms(),
        ];
        let Some(next) = dues.into_iter().flatten().min() else { return };
        if timers.armed.is_none_or(|armed| next < armed) {
            self.timers.armed = Some(next);
            out.push(Effect::WakeAt(next));
        }
    }
}

/// Compares without telling by its time where the difference is.
fn same_secret(a: &[u8; 16], b: &[u8; 16]) -> bool {
    a.iter().zip(b).fold(0, |different, (x, y)| different | (x ^ y)) == 0
}

#[cfg(test)]
mod tests;
