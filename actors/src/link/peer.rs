//! The link to one life of one peer, as a pure state machine: `(now, input) -> effects`.
//!
//! ```text
//!            Connected            the peer echoes our beat
//!   down ────────────────> waking ────────────────────────> up
//!     ^                       │                              │
//!     └───────────────────────┴── Disconnected, silence, ────┘
//!                                 damage, a gap
//! ```
//!
//! *Sending.* Messages get sequence numbers as they are taken and stay in the queue until
//! acknowledged; a new connection starts again at the oldest one. While few frames are in flight a
//! message leaves at once; beyond that messages gather until they fill [`BATCH_MIN_BYTES`] or an
//! acknowledgement comes, so batches grow with load and a lone message never waits.
//!
//! *Receiving.* A message is handed over when its number is the expected one. What is below came
//! before; what is above shows a hole, and the connection is given up, so that the peer resends. The
//! numbers alone decide: a frame that an old connection brings late does no harm. A hole at the end,
//! that no later message shows, the sender finds: the peer heard a beat that left after a frame, and
//! does not acknowledge the frame.
//!
//! *Life.* Each second a beat is sent, which the peer echoes. If no echo is new for
//! [`SILENCE_MS`], one of the two directions is dead, and the connection is given up: a black hole,
//! a frozen peer and a cut in one direction look the same here, on purpose. Long before that, after
//! [`QUIET_MS`], the peer is *quiet*: nothing is given up, but whoever waits for an answer is told
//! that none is in sight.

use super::frame::{self, BATCH_BYTES, Frame, FrameError, Header};
use super::{LinkRefused, MAX_MESSAGE_BYTES, NodeKey};
use crate::plant::{self, Bug};
use bytes::Bytes;
use std::collections::VecDeque;

/// While more than [`EAGER_FRAMES`] are in flight, messages wait until they are this many bytes.
pub const BATCH_MIN_BYTES: usize = 8 * 1024;
/// Frames in flight up to which a message leaves at once.
pub const EAGER_FRAMES: usize = 4;
/// Bytes that a node lets each peer have unacknowledged.
pub const WINDOW_BYTES: usize = 1024 * 1024;
/// Bytes that may wait for one peer, those in flight included.
pub const QUEUE_BYTES: usize = 8 * 1024 * 1024;
/// Milliseconds between beats.
pub const BEAT_MS: u64 = 1_000;
/// Milliseconds without a new echo after which the peer is unreachable.
pub const SILENCE_MS: u64 = 5_000;
/// Milliseconds without a new echo after which a peer is quiet, connected or not: one beat that was
/// not answered, and half a beat for what a busy machine takes.
pub const QUIET_MS: u64 = 1_500;
/// What a message costs beside its bytes, so that empty ones are bounded too.
pub const MESSAGE_COST: usize = 64;

/// What happens to a link. (Sending is [`Link::send`]: it answers.)
#[derive(Clone, Debug)]
pub enum Input {
    /// A connection stands; both sides agreed on this wire version.
    Connected {
        /// The version to send in.
        version: u8,
    },
    /// The connection is gone.
    Disconnected,
    /// A frame came, over this connection or an earlier one.
    Frame(Frame),
    /// Time went by.
    Tick,
}

/// What a link wants done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send these bytes over the connection.
    Transmit(Vec<u8>),
    /// Hand these messages over.
    Deliver(Vec<Bytes>),
    /// The peer is there, in both directions.
    Up,
    /// It was up, and isn't.
    Down,
    /// Nothing new was heard of it for [`QUIET_MS`].
    Quiet,
    /// End the connection; the link itself has already let it go.
    Disconnect(Why),
}

/// Why a link gives a connection up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// No sign of life that answers ours.
    Silent,
    /// A message is missing, here or there.
    Gap,
    /// A frame that can't be.
    Damaged(FrameError),
}

struct Connection {
    version: u8,
    /// The beat that was sent first over it: its echo proves both directions.
    first_beat: u64,
    up: bool,
}

/// See the module.
pub struct Link {
    own: NodeKey,
    peer: NodeKey,
    connection: Option<Connection>,
    out: Outgoing,
    expected: u64,
    /// Bytes the peer may have unacknowledged.
    granted: usize,
    answer_due: bool,
    beat: u64,
    /// The peer's latest beat.
    heard: u64,
    /// The latest of our beats it echoed.
    echoed: u64,
    next_beat_ms: u64,
    silent_at_ms: u64,
    /// When an echo was new last; at first, when the link began.
    echoed_ms: Option<u64>,
    quiet: bool,
}

/// The sending half: what waits, what is in flight.
struct Outgoing {
    queue: VecDeque<Bytes>,
    /// Number of the first message of the queue.
    base: u64,
    /// How many messages of the queue were sent over this connection.
    sent: usize,
    cost: usize,
    sent_cost: usize,
    /// Of each frame in flight the number after its last message, and our latest beat then.
    flight: VecDeque<(u64, u64)>,
    window: usize,
    /// Bytes that may wait, those in flight included.
    most: usize,
}

impl Link {
    /// A link, down. For the same pair of lives there may have been one before, which the view
    /// dropped: `start` is above each number that it used (nanoseconds since this life began will do),
    /// and `expected` is what [`Link::close`] gave back, 0 at first.
    #[must_use]
    pub fn new(own: NodeKey, peer: NodeKey, start: u64, expected: u64) -> Self {
        Self {
            own,
            peer,
            connection: None,
            out: Outgoing {
                queue: VecDeque::new(),
                base: start,
                sent: 0,
                cost: 0,
                sent_cost: 0,
                flight: VecDeque::new(),
                window: WINDOW_BYTES,
                most: QUEUE_BYTES,
            },
            expected,
            granted: WINDOW_BYTES,
            answer_due: false,
            beat: start,
            heard: 0,
            echoed: 0,
            next_beat_ms: 0,
            silent_at_ms: 0,
            echoed_ms: None,
            quiet: false,
        }
    }

    /// The same link with other bounds than [`WINDOW_BYTES`] and [`QUEUE_BYTES`]: bytes that the peer
    /// may have unacknowledged, and bytes that may wait for it.
    #[must_use]
    pub fn bounded(mut self, window: usize, queue: usize) -> Self {
        self.granted = window;
        self.out.most = queue;
        self
    }

    /// Takes a message.
    ///
    /// # Errors
    /// [`LinkRefused::Full`], [`LinkRefused::TooLarge`]: it was not taken.
    pub fn send(&mut self, message: Bytes, effects: &mut Vec<Effect>) -> Result<(), LinkRefused> {
        if message.len() > MAX_MESSAGE_BYTES {
            return Err(LinkRefused::TooLarge);
        }
        let cost = message.len() + MESSAGE_COST;
        if self.out.cost + cost > self.out.most {
            return Err(LinkRefused::Full);
        }
        self.out.cost += cost;
        self.out.queue.push_back(message);
        self.pump(effects);
        Ok(())
    }

    /// Takes what happened at `now_ms`, milliseconds on a monotonic clock.
    pub fn handle(&mut self, now_ms: u64, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Connected { version } => self.connected(now_ms, version, effects),
            Input::Disconnected => self.disconnected(effects),
            Input::Frame(frame) => self.frame(now_ms, frame, effects),
            Input::Tick => {}
        }
        self.tick(now_ms, effects);
    }

    /// Bytes that came over the connection and are no frame.
    pub fn damaged(&mut self, error: FrameError, effects: &mut Vec<Effect>) {
        self.give_up(Why::Damaged(error), effects);
    }

    /// Whether the peer is there, in both directions.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.up)
    }

    /// Whether nothing new was heard of the peer for [`QUIET_MS`]: an answer is not in sight.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// When [`Input::Tick`] is due at the latest; `None` while time changes nothing.
    #[must_use]
    pub fn deadline_ms(&self) -> Option<u64> {
        let connected = self.connection.as_ref().map(|_| self.next_beat_ms.min(self.silent_at_ms));
        let quiet = self.echoed_ms.filter(|_| !self.quiet).map(|at| at.saturating_add(QUIET_MS));
        connected.into_iter().chain(quiet).min()
    }

    /// Cost in bytes of what waits or is in flight.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.out.cost
    }

    /// Ends the link: the number it expected from the peer, and how many messages are given up.
    #[must_use]
    pub fn close(self) -> (u64, u64) {
        (self.expected, u64::try_from(self.out.queue.len()).unwrap_or(u64::MAX))
    }

    fn connected(&mut self, now_ms: u64, version: u8, effects: &mut Vec<Effect>) {
        // A new connection replaces the one before, whatever became of that.
        self.disconnected(effects);
        self.beat += 1;
        self.connection = Some(Connection { version, first_beat: self.beat, up: false });
        self.next_beat_ms = now_ms.saturating_add(BEAT_MS);
        self.silent_at_ms = now_ms.saturating_add(SILENCE_MS);
        self.say(effects);
    }

    fn disconnected(&mut self, effects: &mut Vec<Effect>) {
        if self.connection.take().is_some_and(|connection| connection.up) {
            effects.push(Effect::Down);
        }
        self.out.rewind();
    }

    fn give_up(&mut self, why: Why, effects: &mut Vec<Effect>) {
        if self.connection.is_some() {
            self.disconnected(effects);
            effects.push(Effect::Disconnect(why));
        }
    }

    fn frame(&mut self, now_ms: u64, frame: Frame, effects: &mut Vec<Effect>) {
        let Header { from, to, ack, base, beat, echo, window, .. } = frame.header;
        if from != self.peer || to != self.own {
            return;
        }
        if ack > self.out.end() || echo > self.beat {
            return self.give_up(Why::Damaged(FrameError::Sequence), effects);
        }
        self.out.acknowledged(ack);
        if self.out.is_missing(echo) {
            return self.give_up(Why::Gap, effects);
        }
        self.out.window = usize::try_from(window).unwrap_or(WINDOW_BYTES).min(WINDOW_BYTES);
        if beat > self.heard {
            self.heard = beat;
            self.answer_due = true;
        }
        if echo > self.echoed {
            self.echoed = echo;
            self.silent_at_ms = now_ms.saturating_add(SILENCE_MS);
            self.echoed_ms = Some(now_ms);
            self.quiet = false;
        }
        if let Some(connection) = &mut self.connection
            && !connection.up
            && self.echoed >= connection.first_beat
        {
            connection.up = true;
            effects.push(Effect::Up);
        }
        // What is below the peer's base and did not come is lost, and the peer knows.
        self.expected = self.expected.max(base);
        if !frame.messages.is_empty() && !self.deliver(frame.first, frame.messages, effects) {
            return self.give_up(Why::Gap, effects);
        }
        self.pump(effects);
        if self.answer_due {
            self.say(effects);
        }
    }

    /// False: messages before these are missing.
    fn deliver(&mut self, first: u64, messages: Vec<Bytes>, effects: &mut Vec<Effect>) -> bool {
        if plant::is(Bug::NoLinkGapCheck) || plant::is(Bug::NoLinkDedupe) && first < self.expected {
            self.expected = first;
        }
        let Some(known) = self.expected.checked_sub(first) else { return false };
        self.answer_due = true;
        let known = usize::try_from(known).unwrap_or(usize::MAX).min(messages.len());
        let new = messages.len() - known;
        if new > 0 {
            self.expected = self.expected.saturating_add(u64::try_from(new).unwrap_or(u64::MAX));
            let fresh =
                if known == 0 { messages } else { messages.into_iter().skip(known).collect() };
            effects.push(Effect::Deliver(fresh));
        }
        true
    }

    fn tick(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        let echoed_ms = *self.echoed_ms.get_or_insert(now_ms);
        if !self.quiet && now_ms >= echoed_ms.saturating_add(QUIET_MS) {
            self.quiet = true;
            effects.push(Effect::Quiet);
        }
        if self.connection.is_none() {
            return;
        }
        if now_ms >= self.silent_at_ms {
            return self.give_up(Why::Silent, effects);
        }
        if now_ms >= self.next_beat_ms {
            self.next_beat_ms = now_ms.saturating_add(BEAT_MS);
            self.beat += 1;
            self.say(effects);
        }
    }

    /// Sends a frame without messages.
    fn say(&mut self, effects: &mut Vec<Effect>) {
        if let Some(header) = self.header() {
            self.answer_due = false;
            effects.push(Effect::Transmit(frame::beat(&header)));
        }
    }

    fn header(&self) -> Option<Header> {
        let connection = self.connection.as_ref()?;
        Some(Header {
            version: connection.version,
            from: self.own,
            to: self.peer,
            ack: self.expected,
            base: self.out.base,
            beat: self.beat,
            echo: self.heard,
            window: u32::try_from(self.granted).unwrap_or(u32::MAX),
        })
    }

    /// Sends what may be sent.
    fn pump(&mut self, effects: &mut Vec<Effect>) {
        if !self.is_up() {
            return;
        }
        while let Some((count, payload)) = self.out.next_batch() {
            let Some(header) = self.header() else { return };
            let first = self.out.number(self.out.sent);
            let messages = self.out.queue.range(self.out.sent..self.out.sent + count);
            effects.push(Effect::Transmit(frame::data(&header, first, messages, payload)));
            self.answer_due = false;
            self.out.batch_sent(count, payload, self.beat);
        }
    }
}

impl Outgoing {
    /// The number of the message at a place in the queue.
    fn number(&self, place: usize) -> u64 {
        self.base.saturating_add(u64::try_from(place).unwrap_or(u64::MAX))
    }

    /// The number that the next message taken will get.
    fn end(&self) -> u64 {
        self.number(self.queue.len())
    }

    /// Messages and bytes of the batch that may leave now.
    fn next_batch(&self) -> Option<(usize, usize)> {
        let waiting = self.cost - self.sent_cost;
        if waiting == 0 || self.flight.len() >= EAGER_FRAMES && waiting < BATCH_MIN_BYTES {
            return None;
        }
        let window = if plant::is(Bug::CreditIgnored) { usize::MAX } else { self.window };
        let room = window.saturating_sub(self.sent_cost);
        let (mut count, mut payload, mut cost) = (0, 0, 0);
        for message in self.queue.range(self.sent..) {
            cost += message.len() + MESSAGE_COST;
            // The first message goes whatever the window, lest one larger than it never goes.
            let fits = cost <= room || self.sent == 0 && count == 0;
            if !fits || count > 0 && cost > BATCH_BYTES {
                break;
            }
            count += 1;
            payload += message.len();
        }
        (count > 0).then_some((count, payload))
    }

    fn batch_sent(&mut self, count: usize, payload: usize, beat: u64) {
        self.sent += count;
        self.sent_cost += payload + count * MESSAGE_COST;
        self.flight.push_back((self.number(self.sent), beat));
    }

    /// All below `ack` arrived.
    fn acknowledged(&mut self, ack: u64) {
        while self.base < ack
            && let Some(message) = self.queue.pop_front()
        {
            let cost = message.len() + MESSAGE_COST;
            self.base += 1;
            self.cost -= cost;
            // An old connection may have carried it, this one not yet.
            if self.sent > 0 {
                self.sent -= 1;
                self.sent_cost -= cost;
            }
        }
        while self.flight.front().is_some_and(|(end, _)| *end <= ack) {
            self.flight.pop_front();
        }
    }

    /// Whether the peer heard a beat that left after a frame which it does not acknowledge: what
    /// carries both in order lost that frame, and no later one may come to show the hole.
    fn is_missing(&self, echo: u64) -> bool {
        self.flight.front().is_some_and(|(_, beat)| *beat < echo)
    }

    /// Nothing is in flight: all of the queue is to be sent again.
    fn rewind(&mut self) {
        if plant::is(Bug::NoResend) {
            return;
        }
        self.sent = 0;
        self.sent_cost = 0;
        self.flight.clear();
    }
}
