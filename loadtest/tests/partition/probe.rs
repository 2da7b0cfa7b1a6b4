//! A client that shows what the client library hides: how long each answer takes, and which it is.

use futures_util::{SinkExt, StreamExt};
use rookery_client::Api;
use rookery_protocol::client::{Hello, OpenDirect, Send, Sync};
use rookery_protocol::limits::{DEFAULT_WINDOW_BYTES, MAX_SERVER_MESSAGE_BYTES};
use rookery_protocol::{
    ClientFrame, ClientMsgId, ConversationId, EntryKind, SUBPROTOCOL, ServerFrame, frames,
};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// Nothing that is waited for takes this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// One session on one node, with rooms that are spread over all nodes.
pub struct Probe {
    ws: WebSocketStream<TcpStream>,
    waiting: VecDeque<ServerFrame>,
    rooms: Vec<ConversationId>,
    requests: u32,
    messages: u64,
}

/// What a round of sends, one into each room, came to.
#[derive(Debug, Default)]
pub struct Round {
    /// Acknowledged.
    pub sent: usize,
    /// Refused for a while, by the error's code.
    pub refused: BTreeMap<u16, usize>,
    /// The longest time to an answer.
    pub slowest: Duration,
}

impl Probe {
    /// A session at the node with this address, for a new user; its rooms are with new users too.
    pub async fn join(url: &str, name: &str, rooms: usize) -> Self {
        let mut api = Api::new(url).unwrap();
        let login = api.sign_up(name, "a long password").await.unwrap();
        let authority = url.strip_prefix("http://").unwrap();
        let stream = TcpStream::connect(authority).await.unwrap();
        let mut request = format!("ws://{authority}/v1/ws").into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", SUBPROTOCOL.parse().unwrap());
        let (ws, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
        let mut probe =
            Self { ws, waiting: VecDeque::new(), rooms: Vec::new(), requests: 1, messages: 0 };
        let hello = Hello {
            versions: vec![1],
            token: login.access_token,
            resume: None,
            agent: "probe/1".to_owned(),
            window_bytes: DEFAULT_WINDOW_BYTES,
        };
        probe.say(hello).await;
        probe.expect(|frame| matches!(frame, ServerFrame::Welcome(_)).then_some(())).await;
        probe.say(Sync { request: 1, cursor: None }).await;
        probe.expect(|frame| matches!(frame, ServerFrame::CaughtUp(_)).then_some(())).await;
        for n in 0..rooms {
            let other = format!("{name}-{n}");
            api.sign_up(&other, "a long password").await.unwrap();
            let request = probe.request();
            probe.say(OpenDirect { request, name: other }).await;
            let room = probe.expect(|frame| match frame {
                ServerFrame::Conversation(c) if c.request == request => Some(c.info.conversation),
                _ => None,
            });
            let room = room.await;
            probe.rooms.push(room);
        }
        probe
    }

    /// Sends into every room, and waits for all answers.
    pub async fn round(&mut self) -> Round {
        let began = Instant::now();
        let mut open = Vec::new();
        for conversation in self.rooms.clone() {
            let request = self.request();
            let send = Send {
                request,
                conversation,
                client_msg_id: self.message_id(),
                retry: false,
                kind: EntryKind::Text,
                body: b"probe".to_vec(),
            };
            self.say(send).await;
            open.push(request);
        }
        let mut round = Round::default();
        while !open.is_empty() {
            let (request, error) = self
                .expect(|frame| match frame {
                    ServerFrame::Sent(sent) => Some((sent.request, None)),
                    ServerFrame::Error(error) => Some((error.request, Some(error.clone()))),
                    _ => None,
                })
                .await;
            let Some(at) = open.iter().position(|other| *other == request) else { continue };
            open.swap_remove(at);
            round.slowest = began.elapsed();
            match error {
                None => round.sent += 1,
                Some(error) => {
                    assert!(error.retryable, "{error:?}");
                    *round.refused.entry(error.code).or_default() += 1;
                }
            }
        }
        round
    }

    fn request(&mut self) -> u32 {
        self.requests += 1;
        self.requests
    }

    fn message_id(&mut self) -> ClientMsgId {
        self.messages += 1;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let mut random = [0; 10];
        random[2..].copy_from_slice(&self.messages.to_be_bytes());
        ClientMsgId::from_parts(u64::try_from(now.as_millis()).unwrap(), random)
    }

    async fn say(&mut self, frame: impl Into<ClientFrame>) {
        let mut bytes = Vec::new();
        frame.into().encode(&mut bytes);
        self.ws.send(Message::Binary(bytes.into())).await.unwrap();
    }

    async fn expect<T>(&mut self, wanted: impl Fn(&ServerFrame) -> Option<T>) -> T {
        loop {
            while let Some(frame) = self.waiting.pop_front() {
                if let Some(found) = wanted(&frame) {
                    return found;
                }
            }
            let next = timeout(PATIENCE, self.ws.next()).await.expect("no answer at all");
            let Message::Binary(bytes) = next.expect("the connection ended").unwrap() else {
                continue;
            };
            for raw in frames(&bytes, MAX_SERVER_MESSAGE_BYTES) {
                self.waiting.extend(ServerFrame::decode(raw.unwrap()).unwrap());
            }
        }
    }
}
