//! A client that remembers every byte it was sent: what leaked is found by looking for it.

use crate::support::Running;
use crate::support::wire::{Client, PATIENCE};
use futures_util::{SinkExt, StreamExt};
use rookery_protocol::client::{Conversations, Hello, Ping};
use rookery_protocol::limits::MAX_SERVER_FRAME_BYTES;
use rookery_protocol::{ClientFrame, ServerFrame, frames};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

/// Requests of the ear's own, told from those of a test.
const BARRIER: u32 = 1 << 30;

/// See the module.
pub struct Ear {
    client: Client,
    /// All that came, as bytes.
    pub heard: Vec<u8>,
    /// All that came and was not asked for yet.
    frames: Vec<ServerFrame>,
    /// The close code, once it came.
    pub closed: Option<Option<u16>>,
    barriers: u32,
}

impl Ear {
    /// An open WebSocket on which nothing was said.
    pub async fn connect(running: &Running) -> Self {
        let client = Client::connect(running).await;
        Self { client, heard: Vec::new(), frames: Vec::new(), closed: None, barriers: BARRIER }
    }

    /// Says hello; what comes of it is to be seen.
    pub async fn hello(running: &Running, hello: Hello) -> Self {
        let mut ear = Self::connect(running).await;
        ear.say(hello).await;
        ear
    }

    /// Sends a frame; a connection that is closed takes nothing, which is no fault here.
    pub async fn say(&mut self, frame: impl Into<ClientFrame>) {
        let bytes = frame.into().to_bytes();
        let _closed = self.client.ws.send(Message::Binary(bytes)).await;
    }

    /// Takes the next message. False: there is none any more.
    async fn listen(&mut self) -> bool {
        let next = timeout(PATIENCE, self.client.ws.next()).await.unwrap();
        match next {
            Some(Ok(Message::Binary(bytes))) => {
                self.heard.extend_from_slice(&bytes);
                for raw in frames(&bytes, MAX_SERVER_FRAME_BYTES) {
                    self.frames.extend(ServerFrame::decode(raw.unwrap()).unwrap());
                }
            }
            Some(Ok(Message::Close(frame))) => {
                let reason = frame.as_ref().map(|frame| frame.reason.as_bytes().to_vec());
                self.heard.extend(reason.unwrap_or_default());
                self.closed = Some(frame.map(|frame| frame.code.into()));
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => {
                self.closed.get_or_insert(None);
                return false;
            }
        }
        true
    }

    /// Waits for the first frame that `wanted` takes; `None` when the connection ends before. What
    /// came until then stays to be looked at with [`Self::take`].
    pub async fn until(&mut self, wanted: impl Fn(&ServerFrame) -> bool) -> Option<ServerFrame> {
        let mut looked = 0;
        loop {
            if let Some(at) = self.frames[looked..].iter().position(&wanted) {
                return Some(self.frames.remove(looked + at));
            }
            looked = self.frames.len();
            if !self.listen().await {
                return None;
            }
        }
    }

    /// Waits until everything that was said before has had its effect, and a request after it.
    pub async fn barrier(&mut self) {
        self.barriers += 1;
        let request = self.barriers;
        self.say(Conversations { request, limit: 1, after: None }).await;
        self.say(Ping { nonce: request }).await;
        let answer = |frame: &ServerFrame| match frame {
            ServerFrame::ConversationPage(page) => page.request == request,
            _ => false,
        };
        let pong =
            |frame: &ServerFrame| matches!(frame, ServerFrame::Pong(pong) if pong.nonce == request);
        let (answer, pong) = (self.until(answer).await, self.until(pong).await);
        assert!(answer.is_some() && pong.is_some() || self.closed.is_some());
    }

    /// Waits for the end of the connection.
    pub async fn end(&mut self) {
        while self.listen().await {}
    }

    /// What came and was not looked at.
    pub fn take(&mut self) -> Vec<ServerFrame> {
        std::mem::take(&mut self.frames)
    }

    /// Whether these bytes were among those that came.
    pub fn has_heard(&self, bytes: &[u8]) -> bool {
        self.heard.windows(bytes.len()).any(|window| window == bytes)
    }
}
