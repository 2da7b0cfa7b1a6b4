//! A client of the wire protocol that does what it is told, also when that is wrong.

use super::Running;
use futures_util::{SinkExt, StreamExt};
use rookery_node::identity::Claims;
use rookery_protocol::client::{Hello, OpenDirect, Resume, Send, Sync};
use rookery_protocol::limits::{DEFAULT_WINDOW_BYTES, MAX_SERVER_FRAME_BYTES};
use rookery_protocol::server::{ConversationPage, Error, Message as Delivered, Sent, Welcome};
use rookery_protocol::{
    ClientFrame, ClientMsgId, CloseCode, ConversationId, DeviceId, EntryKind, ErrorCode, RawFrame,
    SUBPROTOCOL, ServerFrame, UserId, frames, number,
};
use serde_json::Value;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// Longer than anything takes that a test waits for.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Who a client is.
#[derive(Clone, Debug)]
pub struct User {
    pub user: UserId,
    pub device: DeviceId,
    pub name: String,
    pub token: String,
    pub refresh_token: String,
}

impl User {
    pub async fn sign_up(running: &Running, name: &str) -> Self {
        Self::from_answer(&running.sign_up(name).await)
    }

    pub fn from_answer(answer: &Value) -> Self {
        let text = |key: &str| answer[key].as_str().unwrap().to_owned();
        let id = |key: &str| u64::from_str_radix(&text(key), 16).unwrap();
        Self {
            user: UserId(id("user")),
            device: DeviceId(id("device")),
            name: text("name"),
            token: text("access_token"),
            refresh_token: text("refresh_token"),
        }
    }

    pub fn hello(&self) -> Hello {
        Hello {
            versions: vec![1],
            token: self.token.clone(),
            resume: None,
            agent: "test/1".to_owned(),
            window_bytes: DEFAULT_WINDOW_BYTES,
        }
    }

    /// The node's signature under these claims.
    pub fn token_until(&self, running: &Running, expires_s: u64) -> String {
        let issued_s = expires_s.saturating_sub(3600).min(now_s());
        let Self { user, device, .. } = *self;
        let claims = Claims { user, device, issued_s, expires_s };
        running.node.state().identity.tokens().issue(claims).unwrap()
    }
}

/// Unix seconds.
pub fn now_s() -> u64 {
    rookery_node::now_ms() / 1000
}

/// What a client sees of the end of its connection.
#[derive(Debug, PartialEq, Eq)]
pub struct Goodbye {
    /// Code and request of the `Error` frames before.
    pub errors: Vec<(u16, u32)>,
    /// Code of `Bye`.
    pub bye: Option<u16>,
    /// Code of the close frame.
    pub close: Option<u16>,
}

impl Goodbye {
    pub fn with(error: Option<ErrorCode>, close: CloseCode) -> Self {
        let errors = error.map(|error| (error.code(), 0)).into_iter().collect();
        Self { errors, bye: Some(close.code()), close: Some(close.code()) }
    }
}

pub struct Client {
    pub ws: WebSocketStream<TcpStream>,
    /// Frames not looked at yet, each with whether it is one of the stream.
    waiting: VecDeque<(bool, Option<ServerFrame>)>,
    /// Stream frames of this session that were looked at.
    pub received: u64,
    next_request: u32,
}

impl Client {
    /// An open WebSocket on which nothing was said.
    pub async fn connect(running: &Running) -> Self {
        Self::connect_to(running.node.http_addr()).await
    }

    /// The same with a node that is a process of its own.
    pub async fn connect_to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut request = format!("ws://{address}/v1/ws").into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", SUBPROTOCOL.parse().unwrap());
        let (ws, response) = tokio_tungstenite::client_async(request, stream).await.unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], SUBPROTOCOL);
        Self { ws, waiting: VecDeque::new(), received: 0, next_request: 1 }
    }

    /// A client with a session of its own.
    pub async fn welcomed(running: &Running, user: &User) -> (Self, Welcome) {
        let mut client = Self::connect(running).await;
        client.send(user.hello()).await;
        let welcome = client.welcome().await;
        assert!(!welcome.resumed);
        (client, welcome)
    }

    /// A client that gets everything from now on.
    pub async fn live(running: &Running, user: &User) -> (Self, Welcome) {
        let (mut client, welcome) = Self::welcomed(running, user).await;
        let request = client.request();
        client.send(Sync { request, cursor: None }).await;
        let caught_up = client.answer(request).await;
        assert!(matches!(caught_up, ServerFrame::CaughtUp(_)), "{caught_up:?}");
        (client, welcome)
    }

    /// Goes on with a session after this client's connection is gone.
    pub async fn resumed(self, running: &Running, user: &User, welcome: &Welcome) -> Self {
        let received = self.received;
        drop(self.ws);
        let mut client = Self::connect(running).await;
        client.received = received;
        let resume = Resume { session: welcome.session, secret: welcome.secret, received };
        client.send(Hello { resume: Some(resume), ..user.hello() }).await;
        assert!(client.welcome().await.resumed);
        client.next_request = self.next_request;
        client
    }

    pub fn request(&mut self) -> u32 {
        self.next_request += 1;
        self.next_request
    }

    pub async fn send(&mut self, frame: impl Into<ClientFrame>) {
        self.send_all(&[frame.into()]).await;
    }

    /// All in one message.
    pub async fn send_all(&mut self, frames: &[ClientFrame]) {
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| frame.encode(&mut bytes));
        self.send_bytes(bytes).await;
    }

    pub async fn send_bytes(&mut self, bytes: impl Into<bytes::Bytes>) {
        self.send_message(Message::Binary(bytes.into())).await;
    }

    pub async fn send_message(&mut self, message: Message) {
        self.ws.send(message).await.unwrap();
    }

    /// The next message as it stands.
    pub async fn message(&mut self) -> Option<Message> {
        let item = timeout(PATIENCE, self.ws.next()).await.unwrap();
        item.map(|message| message.unwrap())
    }

    /// The next frame; `None` when the connection is closed, with the close frame's code.
    async fn frame_or_close(&mut self) -> Result<ServerFrame, Option<u16>> {
        loop {
            if let Some((stream, frame)) = self.waiting.pop_front() {
                self.received += u64::from(stream);
                match frame {
                    Some(frame) => return Ok(frame),
                    None => continue,
                }
            }
            match self.message().await {
                Some(Message::Binary(bytes)) => {
                    for raw in frames(&bytes, MAX_SERVER_FRAME_BYTES) {
                        self.take(raw.unwrap());
                    }
                }
                Some(Message::Close(frame)) => return Err(frame.map(|f| f.code.into())),
                Some(Message::Ping(_) | Message::Pong(_)) => {}
                Some(other) => panic!("{other:?}"),
                None => return Err(None),
            }
        }
    }

    fn take(&mut self, raw: RawFrame<'_>) {
        let stream = number::is_stream(raw.number);
        self.waiting.push_back((stream, ServerFrame::decode(raw).unwrap()));
    }

    pub async fn frame(&mut self) -> ServerFrame {
        match self.frame_or_close().await {
            Ok(frame) => frame,
            Err(code) => panic!("closed with {code:?}"),
        }
    }

    pub async fn welcome(&mut self) -> Welcome {
        match self.frame().await {
            ServerFrame::Welcome(welcome) => welcome,
            other => panic!("{other:?}"),
        }
    }

    pub async fn error(&mut self) -> Error {
        match self.frame().await {
            ServerFrame::Error(error) => error,
            other => panic!("{other:?}"),
        }
    }

    /// Everything up to the end of the connection, which must come.
    pub async fn goodbye(&mut self) -> Goodbye {
        let mut goodbye = Goodbye { errors: Vec::new(), bye: None, close: None };
        loop {
            match self.frame_or_close().await {
                Ok(ServerFrame::Error(error)) => goodbye.errors.push((error.code, error.request)),
                Ok(ServerFrame::Bye(bye)) => {
                    assert!(!bye.reason.is_empty());
                    goodbye.bye = Some(bye.code);
                }
                Ok(ServerFrame::Welcome(_)) => {}
                Ok(other) => panic!("{other:?}"),
                Err(close) => {
                    goodbye.close = close;
                    return goodbye;
                }
            }
        }
    }

    /// The first frame that `wanted` takes; others are dropped.
    pub async fn until<T>(&mut self, mut wanted: impl FnMut(&ServerFrame) -> Option<T>) -> T {
        loop {
            let frame = self.frame().await;
            if let Some(found) = wanted(&frame) {
                return found;
            }
        }
    }

    /// What answers a request; everything before it is dropped.
    pub async fn answer(&mut self, request: u32) -> ServerFrame {
        self.until(|frame| (answered(frame) == Some(request)).then(|| frame.clone())).await
    }

    /// Shows that the connection is alive.
    pub async fn assert_alive(&mut self) {
        self.send(rookery_protocol::client::Ping { nonce: 4711 }).await;
        self.until(|frame| matches!(frame, ServerFrame::Pong(p) if p.nonce == 4711).then_some(()))
            .await;
    }

    pub async fn open_direct(&mut self, name: &str) -> ConversationId {
        let request = self.request();
        self.send(OpenDirect { request, name: name.to_owned() }).await;
        match self.answer(request).await {
            ServerFrame::Conversation(answer) => answer.info.conversation,
            other => panic!("{other:?}"),
        }
    }

    /// Sends a text; the answer is the caller's to wait for.
    pub async fn say(&mut self, conversation: ConversationId, text: &str) -> u32 {
        let request = self.request();
        let mut random = [0; 10];
        getrandom::fill(&mut random).unwrap();
        let frame = Send {
            request,
            conversation,
            client_msg_id: ClientMsgId::from_parts(rookery_node::now_ms(), random),
            retry: false,
            kind: EntryKind::Text,
            body: text.as_bytes().to_vec(),
        };
        self.send(frame).await;
        request
    }

    pub async fn sent(&mut self, request: u32) -> Sent {
        match self.answer(request).await {
            ServerFrame::Sent(sent) => sent,
            other => panic!("{other:?}"),
        }
    }

    pub async fn delivered(&mut self) -> Delivered {
        self.until(|frame| match frame {
            ServerFrame::Message(message) => Some(message.clone()),
            _ => None,
        })
        .await
    }

    pub async fn conversations(&mut self) -> ConversationPage {
        let request = self.request();
        let frame = rookery_protocol::client::Conversations { request, limit: 50, after: None };
        self.send(frame).await;
        match self.answer(request).await {
            ServerFrame::ConversationPage(page) => page,
            other => panic!("{other:?}"),
        }
    }
}

/// The request that a frame answers.
pub fn answered(frame: &ServerFrame) -> Option<u32> {
    match frame {
        ServerFrame::Error(f) => Some(f.request),
        ServerFrame::HistoryPage(f) => Some(f.request),
        ServerFrame::ConversationPage(f) => Some(f.request),
        ServerFrame::Conversation(f) => Some(f.request),
        ServerFrame::TooFar(f) => Some(f.request),
        ServerFrame::Done(f) => Some(f.request),
        ServerFrame::Users(f) => Some(f.request),
        ServerFrame::Group(f) => Some(f.request),
        ServerFrame::ReadBy(f) => Some(f.request),
        ServerFrame::Refreshed(f) => Some(f.request),
        ServerFrame::Sent(f) => Some(f.request),
        ServerFrame::CaughtUp(f) => Some(f.request),
        ServerFrame::PeoplePage(f) => Some(f.request),
        ServerFrame::OwnStatePage(f) => Some(f.request),
        ServerFrame::Privacy(f) => Some(f.request),
        ServerFrame::DevicePage(f) => Some(f.request),
        _ => None,
    }
}
