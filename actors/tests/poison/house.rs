//! A running actor system on the engine in memory, and devices that speak to it as connections do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper that fails fails its test"
)]

use rookery_actors::message::{Attach, Identity};
use rookery_actors::session::Settings;
use rookery_actors::shell::{ActorSystem, Event, Maintenance, Outbox, SystemConfig};
use rookery_actors::{ConnId, ConversationMsg, Envelope, SessionMsg, SessionRef};
use rookery_protocol::client::{OpenDirect, Send, Sync};
use rookery_protocol::limits::MAX_SERVER_FRAME_BYTES;
use rookery_protocol::server::Welcome;
use rookery_protocol::{
    ClientFrame, ClientMsgId, ConversationId, DeviceId, EntryKind, ServerFrame, SessionId, UserId,
    frames,
};
use rookery_store::memory::MemoryEngine;
use rookery_store::{Account, Owner, Store};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::timeout;

/// Longer than anything takes that a test waits for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Ids of sessions, connections and messages.
static NEXT: AtomicU64 = AtomicU64::new(1);

pub fn next() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The actors of a node.
pub struct House {
    pub system: ActorSystem,
    pub store: Store,
    pub engine: MemoryEngine,
}

impl House {
    pub async fn start(shards: usize) -> Self {
        let engine = MemoryEngine::new();
        let store = Store::new(engine.clone().into());
        let settings = Settings { heartbeat_ms: 5_000, grace_ms: 30_000, node: "n1".into() };
        let owner = Owner { node: 1, incarnation: 1 };
        let maintenance = Maintenance::default();
        let config = SystemConfig { shards, owner, settings, maintenance, cluster: None };
        let system = ActorSystem::start(store.clone(), config).await.unwrap();
        Self { system, store, engine }
    }

    pub async fn account(&self, name: &str) -> UserId {
        let user = UserId(next());
        let account =
            Account { user, name: name.to_owned(), password_hash: String::new(), created_ms: 1 };
        self.store.create_account(&account).await.unwrap();
        user
    }

    /// A device of a new user that gets everything from now on.
    pub async fn device(&self, name: &str) -> Device {
        let user = self.account(name).await;
        let mut device = Device::attach(self, user, name);
        device.welcome().await;
        let request = device.request();
        device.send(Sync { request, cursor: None });
        device.until(|frame| matches!(frame, ServerFrame::CaughtUp(_)).then_some(())).await;
        device
    }

    pub fn poison(&self, conversation: ConversationId) {
        let poison = Envelope::Conversation(conversation, ConversationMsg::Poison);
        self.system.tell(poison).unwrap();
    }
}

/// One connection with its session.
pub struct Device {
    system: ActorSystem,
    identity: Identity,
    pub session: SessionRef,
    conn: ConnId,
    outbox: Arc<Outbox>,
    waiting: VecDeque<ServerFrame>,
    request: u32,
}

impl Device {
    fn attach(house: &House, user: UserId, name: &str) -> Self {
        let identity =
            Identity { user, device: DeviceId(next()), name: name.into(), expires_ms: u64::MAX };
        let conn = ConnId(next());
        let mut device = Self {
            system: house.system.clone(),
            session: SessionRef { user, session: SessionId(0), node: house.system.node() },
            identity,
            conn,
            outbox: Outbox::new(conn, 1 << 20),
            waiting: VecDeque::new(),
            request: 0,
        };
        device.attach_anew();
        device
    }

    fn attach_anew(&mut self) {
        self.session.session = SessionId(next());
        let attach = Attach {
            conn: self.conn,
            identity: self.identity.clone(),
            window_bytes: 256 * 1024,
            resume: None,
            fresh_secret: [7; 16],
            endpoints: Vec::new(),
        };
        self.system.attach(self.session, attach, Arc::clone(&self.outbox)).unwrap();
    }

    pub fn request(&mut self) -> u32 {
        self.request += 1;
        self.request
    }

    pub fn send(&self, frame: impl Into<ClientFrame>) {
        let frames = SessionMsg::Frames(self.conn, vec![frame.into()]);
        self.system.tell(Envelope::Session(self.session, frames)).unwrap();
    }

    /// The next frame. When the session was lost a new one is asked for, as a connection does.
    pub async fn frame(&mut self) -> ServerFrame {
        loop {
            if let Some(frame) = self.waiting.pop_front() {
                return frame;
            }
            let mut chunks = Vec::new();
            let event = timeout(PATIENCE, self.outbox.next(&mut chunks)).await;
            match event.expect("nothing came") {
                Event::Frames => {
                    for chunk in chunks {
                        for raw in frames(&chunk, MAX_SERVER_FRAME_BYTES) {
                            self.waiting.extend(ServerFrame::decode(raw.unwrap()).unwrap());
                        }
                    }
                }
                Event::Lost | Event::Refused => self.attach_anew(),
                other => panic!("{other:?}"),
            }
        }
    }

    pub async fn until<T>(&mut self, wanted: impl Fn(&ServerFrame) -> Option<T>) -> T {
        loop {
            let frame = self.frame().await;
            if let Some(found) = wanted(&frame) {
                return found;
            }
        }
    }

    pub async fn welcome(&mut self) -> Welcome {
        self.until(|frame| match frame {
            ServerFrame::Welcome(welcome) => Some(welcome.clone()),
            _ => None,
        })
        .await
    }

    pub async fn open_direct(&mut self, name: &str) -> ConversationId {
        let request = self.request();
        self.send(OpenDirect { request, name: name.to_owned() });
        self.until(|frame| match frame {
            ServerFrame::Conversation(f) if f.request == request => Some(f.info.conversation),
            _ => None,
        })
        .await
    }

    /// Sends a text under an id; the answer is the caller's to wait for.
    pub fn say(&mut self, conversation: ConversationId, id: ClientMsgId, retry: bool) -> u32 {
        let request = self.request();
        let body = format!("{id:?}").into_bytes();
        let kind = EntryKind::Text;
        self.send(Send { request, conversation, client_msg_id: id, retry, kind, body });
        request
    }

    /// What answers a send: its seq, or the code of the error.
    pub async fn answer(&mut self, request: u32) -> Result<u64, u16> {
        self.until(|frame| match frame {
            ServerFrame::Sent(sent) if sent.request == request => Some(Ok(sent.seq)),
            ServerFrame::Error(error) if error.request == request => Some(Err(error.code)),
            _ => None,
        })
        .await
    }
}

/// A fresh id of a message.
pub fn message_id() -> ClientMsgId {
    let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let mut random = [0; 10];
    random[2..].copy_from_slice(&next().to_be_bytes());
    ClientMsgId::from_parts(u64::try_from(unix.as_millis()).unwrap(), random)
}
