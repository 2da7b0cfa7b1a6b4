//! One connection without the manners of the client library: it sends when it is told to, takes what it
//! is sent, and notes when each send was answered and how.

use crate::run::RunError;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use hdrhistogram::Histogram;
use rookery_protocol::client::{Ack, Hello, OpenDirect, Send, Sync};
use rookery_protocol::limits::{DEFAULT_WINDOW_BYTES, MAX_SERVER_FRAME_BYTES};
use rookery_protocol::{
    ClientFrame, ClientMsgId, ConversationId, EntryKind, ErrorCode, SUBPROTOCOL, ServerFrame,
    frames, number,
};
use std::collections::{BTreeMap, HashMap};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::net::TcpStream;
use tokio::time::{interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message};

/// How often an open loop looks what is due.
pub(super) const TICK: Duration = Duration::from_millis(10);
/// Longest wait for an answer while a connection is made.
const PATIENCE: Duration = Duration::from_secs(30);
/// Stream frames after which they are acknowledged.
const ACK_AFTER: u64 = 64;
/// Most sends in one message.
const MAX_BURST: u64 = 256;
/// Greatest latency told apart, microseconds.
const MAX_US: u64 = 120_000_000;
/// Unanswered sends that are remembered; a node that never answers is not waited for.
const MAX_UNANSWERED: usize = 100_000;

/// When to send.
#[derive(Clone, Copy, Debug)]
pub(super) enum Load {
    /// So many sends without an answer under way.
    Closed { in_flight: usize },
    /// So many sends a second, whatever becomes of them.
    Open { per_s: f64 },
}

/// What was counted.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) due: u64,
    pub(super) sent: u64,
    pub(super) acknowledged: u64,
    pub(super) delivered: u64,
    /// By error code.
    pub(super) refused: BTreeMap<u16, u64>,
    pub(super) not_retryable: u64,
    pub(super) unanswered: u64,
    pub(super) accepted_us: Histogram<u64>,
    pub(super) refused_us: Histogram<u64>,
}

impl Tally {
    pub(super) fn new() -> Result<Self, RunError> {
        let histogram =
            || Histogram::new_with_bounds(1, MAX_US, 3).map_err(|e| RunError::new(e.to_string()));
        Ok(Self {
            due: 0,
            sent: 0,
            acknowledged: 0,
            delivered: 0,
            refused: BTreeMap::new(),
            not_retryable: 0,
            unanswered: 0,
            accepted_us: histogram()?,
            refused_us: histogram()?,
        })
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.due += other.due;
        self.sent += other.sent;
        self.acknowledged += other.acknowledged;
        self.delivered += other.delivered;
        self.not_retryable += other.not_retryable;
        self.unanswered += other.unanswered;
        for (code, count) in &other.refused {
            *self.refused.entry(*code).or_default() += count;
        }
        // Both have the same bounds: adding can't fail.
        self.accepted_us.add(&other.accepted_us).ok();
        self.refused_us.add(&other.refused_us).ok();
    }
}

/// A connection.
pub(super) struct Line {
    ws: WebSocketStream<TcpStream>,
    /// Something is not written yet.
    flushing: bool,
    conversation: ConversationId,
    body: Vec<u8>,
    next_request: u32,
    /// Stream frames received, and how many of them were acknowledged.
    received: u64,
    acknowledged: u64,
    /// When each send without an answer was sent.
    unanswered: HashMap<u32, Instant>,
    random: u64,
}

impl Line {
    /// Connects, says hello, opens the conversation, and syncs from now.
    pub(super) async fn open(
        address: &str,
        token: &str,
        partner: &str,
        body_bytes: usize,
    ) -> Result<Self, String> {
        let mut request = address.into_client_request().map_err(|e| e.to_string())?;
        let subprotocol = HeaderValue::from_static(SUBPROTOCOL);
        request.headers_mut().insert("Sec-WebSocket-Protocol", subprotocol);
        let host = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let stream = TcpStream::connect(host).await.map_err(|e| e.to_string())?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        let opened = tokio_tungstenite::client_async(request, stream).await;
        let (ws, _) = opened.map_err(|e| e.to_string())?;
        let mut this = Self {
            ws,
            flushing: false,
            conversation: ConversationId(0),
            body: vec![b'x'; body_bytes],
            next_request: 10,
            received: 0,
            acknowledged: 0,
            unanswered: HashMap::new(),
            // Another one for each connection and run.
            random: xxhash_rust::xxh3::xxh3_64(token.as_bytes()),
        };
        this.say(Hello {
            versions: vec![1],
            token: token.to_owned(),
            resume: None,
            agent: concat!("rookery-loadtest/", env!("CARGO_PKG_VERSION")).to_owned(),
            window_bytes: DEFAULT_WINDOW_BYTES,
        })
        .await?;
        this.until(|frame| matches!(frame, ServerFrame::Welcome(_)).then_some(())).await?;
        this.say(Sync { request: 1, cursor: None }).await?;
        this.until(|frame| matches!(frame, ServerFrame::CaughtUp(_)).then_some(())).await?;
        this.say(OpenDirect { request: 2, name: partner.to_owned() }).await?;
        this.conversation = this
            .until(|frame| match frame {
                ServerFrame::Conversation(answer) => Some(answer.info.conversation),
                _ => None,
            })
            .await?;
        Ok(this)
    }

    async fn say(&mut self, frame: impl Into<ClientFrame>) -> Result<(), String> {
        let bytes = frame.into().to_bytes();
        self.ws.send(Message::Binary(bytes)).await.map_err(|e| e.to_string())
    }

    async fn until<T>(&mut self, wanted: impl Fn(&ServerFrame) -> Option<T>) -> Result<T, String> {
        loop {
            let next = timeout(PATIENCE, self.ws.next()).await.map_err(|e| e.to_string())?;
            let message = next.ok_or("closed")?.map_err(|e| e.to_string())?;
            let mut found = None;
            for frame in self.decoded(&message)? {
                found = found.or_else(|| wanted(&frame));
            }
            if let Some(found) = found {
                return Ok(found);
            }
        }
    }

    /// The frames of a message; those of the stream are counted.
    fn decoded(&mut self, message: &Message) -> Result<Vec<ServerFrame>, String> {
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Close(frame) => return Err(format!("closed: {frame:?}")),
            _ => return Ok(Vec::new()),
        };
        let mut decoded = Vec::new();
        for raw in frames(bytes, MAX_SERVER_FRAME_BYTES) {
            let raw = raw.map_err(|e| e.to_string())?;
            self.received += u64::from(number::is_stream(raw.number));
            decoded.extend(ServerFrame::decode(raw).map_err(|e| e.to_string())?);
        }
        Ok(decoded)
    }

    /// Sends as the load says for `phase`, then waits up to `settle` for what is late.
    pub(super) async fn talk(
        mut self,
        load: Load,
        delay: Duration,
        phase: Duration,
        settle: Duration,
    ) -> Result<(Self, Tally), String> {
        let mut tally = Tally::new().map_err(|e| e.to_string())?;
        let start = Instant::now() + delay;
        let (stop, end) = (start + phase, start + phase + settle);
        let mut ticks = interval_at(start.into(), TICK);
        let mut wanted = match load {
            Load::Closed { in_flight } => in_flight as u64,
            Load::Open { .. } => 0,
        };
        loop {
            let message = tokio::select! {
                message = poll_fn(|cx| self.poll(cx)) => Some(message?),
                _ = ticks.tick() => None,
            };
            let now = Instant::now();
            match (message, load) {
                (Some(message), load) => {
                    let answered = self.take(&message, &mut tally, start..stop)?;
                    wanted += if matches!(load, Load::Closed { .. }) { answered } else { 0 };
                }
                (None, _) if now >= end || (now >= stop && self.unanswered.is_empty()) => break,
                (None, Load::Open { per_s }) if now < stop => {
                    wanted = due(per_s, now.duration_since(start), &mut tally);
                }
                (None, _) => {}
            }
            // What the socket does not take now is not sent later, or it would be no open loop.
            if now < stop && (start <= now) && !self.flushing {
                let burst = std::mem::take(&mut wanted).min(MAX_BURST);
                self.burst(burst, &mut tally)?;
            }
            self.ack()?;
        }
        tally.unanswered += self.unanswered.len() as u64;
        self.unanswered.clear();
        Ok((self, tally))
    }

    /// Writes on what is being written, and the next message. Both at once: a server that does not read
    /// until its answers are taken must not be waited for.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, String>> {
        if self.flushing
            && let Poll::Ready(flushed) = Pin::new(&mut self.ws).poll_flush(cx)
        {
            flushed.map_err(|e| e.to_string())?;
            self.flushing = false;
        }
        Pin::new(&mut self.ws).poll_next(cx).map(|message| {
            let message: Result<Message, Error> = message.ok_or("closed")?;
            message.map_err(|e| e.to_string())
        })
    }

    fn begin_write(&mut self, bytes: Vec<u8>) -> Result<(), String> {
        self.flushing = true;
        let message = Message::Binary(bytes.into());
        Pin::new(&mut self.ws).start_send(message).map_err(|e| e.to_string())
    }

    fn burst(&mut self, count: u64, tally: &mut Tally) -> Result<(), String> {
        if count == 0 || self.unanswered.len() >= MAX_UNANSWERED {
            return Ok(());
        }
        let mut bytes = Vec::new();
        let now = Instant::now();
        for _ in 0..count {
            let request = self.next_request;
            self.next_request = request.wrapping_add(1).max(10);
            let frame = Send {
                request,
                conversation: self.conversation,
                client_msg_id: self.id(),
                retry: false,
                kind: EntryKind::Text,
                body: self.body.clone(),
            };
            ClientFrame::from(frame).encode(&mut bytes);
            self.unanswered.insert(request, now);
        }
        tally.sent += count;
        self.begin_write(bytes)
    }

    fn id(&mut self) -> ClientMsgId {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let one = crate::body::splitmix(&mut self.random).to_le_bytes();
        let other = crate::body::splitmix(&mut self.random).to_le_bytes();
        let ([a, b, c, d, e, f, g, h], [i, j, ..]) = (one, other);
        let random = [a, b, c, d, e, f, g, h, i, j];
        ClientMsgId::from_parts(u64::try_from(wall.as_millis()).unwrap_or_default(), random)
    }

    /// Takes a message; how many sends it answers. What is answered within the phase counts for it.
    fn take(
        &mut self,
        message: &Message,
        tally: &mut Tally,
        phase: std::ops::Range<Instant>,
    ) -> Result<u64, String> {
        let now = Instant::now();
        let counts = phase.contains(&now);
        let mut answered = 0;
        for frame in self.decoded(message)? {
            match frame {
                ServerFrame::Sent(sent) => {
                    let Some(since) = self.unanswered.remove(&sent.request) else { continue };
                    answered += 1;
                    tally.acknowledged += u64::from(counts);
                    tally.accepted_us.saturating_record(micros(now, since));
                }
                ServerFrame::Error(error) => {
                    let Some(since) = self.unanswered.remove(&error.request) else { continue };
                    answered += 1;
                    let known = ErrorCode::from_code(error.code);
                    tally.not_retryable += u64::from(known.is_none_or(|code| !code.retryable()));
                    *tally.refused.entry(error.code).or_default() += 1;
                    tally.refused_us.saturating_record(micros(now, since));
                }
                ServerFrame::Message(_) => tally.delivered += u64::from(counts),
                ServerFrame::Bye(bye) => return Err(format!("told to go: {}", bye.code)),
                _ => {}
            }
        }
        Ok(answered)
    }

    fn ack(&mut self) -> Result<(), String> {
        if self.flushing || self.received - self.acknowledged < ACK_AFTER {
            return Ok(());
        }
        self.acknowledged = self.received;
        let ack = Ack { received: self.received };
        self.begin_write(ClientFrame::from(ack).to_bytes().to_vec())
    }
}

/// How many sends have become due.
fn due(per_s: f64, elapsed: Duration, tally: &mut Tally) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    let due = (per_s * elapsed.as_secs_f64()) as u64;
    let new = due.saturating_sub(tally.due);
    tally.due = due;
    new
}

fn micros(now: Instant, since: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(since).as_micros()).unwrap_or(MAX_US).max(1)
}
