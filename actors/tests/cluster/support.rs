//! Nodes in one process, each with its own threads so that one can be killed; one store; links
//! without a network; clients without sockets.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use rookery_actors::cluster::{Profile, Timing, View};
use rookery_actors::link::{LinkOut, Loopback, NodeKey, OnMessage, OnNotice};
use rookery_actors::message::{Attach, Identity};
use rookery_actors::session::Settings;
use rookery_actors::shell::{
    ActorSystem, ClusterConfig, Event, Maintenance, Outbox, StartError, StartLinks, SystemConfig,
};
use rookery_actors::{ConnId, Envelope, SessionMsg, SessionRef};
use rookery_protocol::client::{Send, Sync};
use rookery_protocol::limits::MAX_SERVER_MESSAGE_BYTES;
use rookery_protocol::{
    ClientFrame, ClientMsgId, CloseCode, ConversationId, DeviceId, EntryKind, ServerFrame,
    SessionId, UserId, frames,
};
use rookery_store::memory::MemoryEngine;
use rookery_store::{Account, Owner, Store};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// Nothing that is waited for takes this long unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Quick enough for a test, slow enough for a busy machine.
pub const TIMING: Timing = Timing { renew_ms: 300, suspicion_ms: 2_000 };

static NEXT: AtomicU64 = AtomicU64::new(1);

fn unique() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

struct InProcess(Loopback);

impl StartLinks for InProcess {
    fn start(
        &self,
        own: NodeKey,
        on_message: OnMessage,
        on_notice: OnNotice,
    ) -> BoxFuture<'static, Result<Arc<dyn LinkOut>, String>> {
        let node: Arc<dyn LinkOut> = self.0.join(own, on_message, on_notice);
        Box::pin(async move { Ok(node) })
    }
}

/// A store and a network.
#[derive(Clone)]
pub struct World {
    pub net: Loopback,
    pub engine: MemoryEngine,
    pub store: Store,
    /// Seldom by default: users of these tests have no devices that the store knows, so their
    /// inboxes are swept.
    pub maintenance: Maintenance,
}

impl World {
    pub fn new() -> Self {
        let engine = MemoryEngine::new();
        let store = Store::new(engine.clone().into());
        Self { net: Loopback::new(), store, engine, maintenance: Maintenance::default() }
    }

    pub fn start(&self, name: &str) -> Node {
        self.try_start(name, |_| {}).unwrap()
    }

    pub fn try_start(
        &self,
        name: &str,
        change: impl FnOnce(&mut ClusterConfig),
    ) -> Result<Node, StartError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let revoked: Arc<Mutex<Vec<(UserId, DeviceId)>>> = Arc::default();
        let noted = Arc::clone(&revoked);
        let mut cluster = ClusterConfig {
            profile: Profile {
                cluster: "test".into(),
                name: name.into(),
                link: format!("{name}:7000"),
                endpoint: format!("ws://{name}/v1/ws"),
                zone: String::new(),
                capacity: 1,
            },
            timing: TIMING,
            links: Arc::new(InProcess(self.net.clone())),
            on_revoked: Arc::new(move |user, device| noted.lock().unwrap().push((user, device))),
        };
        change(&mut cluster);
        let settings = Settings { heartbeat_ms: 5_000, grace_ms: 30_000, node: name.into() };
        let owner = Owner { node: NodeKey::number(name), incarnation: 1_000 + unique() };
        let maintenance = self.maintenance;
        let config =
            SystemConfig { shards: 2, owner, settings, maintenance, cluster: Some(cluster) };
        let system = runtime.block_on(ActorSystem::start(self.store.clone(), config))?;
        Ok(Node { system, revoked, runtime: Some(runtime), net: self.net.clone() })
    }

    /// `count` nodes that all see each other.
    pub fn cluster(&self, count: usize) -> Vec<Node> {
        let nodes: Vec<Node> = (0..count).map(|n| self.start(&format!("n{n}"))).collect();
        for node in &nodes {
            node.wait_for("all members", |view| view.members.len() == count && view.serving);
        }
        nodes
    }

    /// A user with an account.
    pub fn user(&self) -> UserId {
        let user = UserId(unique() << 32 | 0xa11);
        let name = format!("user-{:x}", user.0);
        let account = Account { user, name, password_hash: "$argon2id$".into(), created_ms: 1 };
        futures_util::FutureExt::now_or_never(self.store.create_account(&account))
            .unwrap()
            .unwrap();
        user
    }

    pub fn direct(&self, one: UserId, other: UserId) -> ConversationId {
        let candidate = ConversationId(unique() << 32 | 0xc0);
        let opened = self.store.open_direct(one, other, candidate, 1);
        futures_util::FutureExt::now_or_never(opened).unwrap().unwrap().0
    }
}

/// A running node. Dropped, it is killed.
pub struct Node {
    pub system: ActorSystem,
    pub revoked: Arc<Mutex<Vec<(UserId, DeviceId)>>>,
    runtime: Option<Runtime>,
    net: Loopback,
}

impl Node {
    pub fn view(&self) -> Arc<View> {
        self.system.view().unwrap()
    }

    /// Waits for a view.
    pub fn wait_for(&self, what: &str, good: impl Fn(&View) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !good(&self.view()) {
            assert!(Instant::now() < deadline, "no view with {what}: {:?}", self.view());
            // There is no event for a test thread to wait for: the view is another thread's.
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.as_ref().unwrap().block_on(future)
    }

    /// Ends the node at once, as SIGKILL does.
    pub fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            self.net.crash(self.view().me);
            runtime.shutdown_background();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A client of a node: a session with its outbox.
pub struct Client {
    system: ActorSystem,
    handle: tokio::runtime::Handle,
    me: SessionRef,
    pub device: DeviceId,
    conn: ConnId,
    outbox: Arc<Outbox>,
    /// What came and was not looked at yet.
    pub inbox: VecDeque<ServerFrame>,
    pub closed: Option<CloseCode>,
    requests: u32,
}

impl Client {
    pub fn new(node: &Node, user: UserId) -> Self {
        Self::with_device(node, user, DeviceId(unique()))
    }

    pub fn with_device(node: &Node, user: UserId, device: DeviceId) -> Self {
        let number = unique();
        let conn = ConnId(number);
        let me =
            SessionRef { user, session: SessionId(number << 20 | 77), node: node.system.node() };
        let outbox = Outbox::new(conn, 1 << 22);
        let identity = Identity { user, device, name: "somebody".into(), expires_ms: u64::MAX };
        let attach = Attach {
            conn,
            identity,
            window_bytes: 1 << 20,
            resume: None,
            fresh_secret: [7; 16],
            endpoints: node.system.endpoints(Some(user)),
        };
        node.system.attach(me, attach, Arc::clone(&outbox)).unwrap();
        let mut client = Self {
            system: node.system.clone(),
            handle: node.runtime.as_ref().unwrap().handle().clone(),
            me,
            device,
            conn,
            outbox,
            inbox: VecDeque::new(),
            closed: None,
            requests: 0,
        };
        client.expect("Welcome", |frame| matches!(frame, ServerFrame::Welcome(_)));
        client.tell(ClientFrame::Sync(Sync { request: 1, cursor: None }));
        client.expect("CaughtUp", |frame| matches!(frame, ServerFrame::CaughtUp(_)));
        client
    }

    pub fn tell(&self, frame: ClientFrame) {
        let msg = SessionMsg::Frames(self.conn, vec![frame]);
        self.system.tell(Envelope::Session(self.me, msg)).unwrap();
    }

    /// Starts a send; its request number.
    pub fn send(&mut self, conversation: ConversationId, id: ClientMsgId, body: &str) -> u32 {
        self.requests += 1;
        let request = self.requests;
        self.tell(ClientFrame::Send(Send {
            request,
            conversation,
            client_msg_id: id,
            retry: true,
            kind: EntryKind::Text,
            body: body.as_bytes().to_vec(),
        }));
        request
    }

    /// Sends as a client library does: again and again until it is answered; its seq.
    pub fn deliver(&mut self, conversation: ConversationId, body: &str) -> u64 {
        let id = message_id();
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "{body} was never answered");
            let request = self.send(conversation, id, body);
            let answer = self.expect("an answer", |frame| match frame {
                ServerFrame::Sent(sent) => sent.client_msg_id == id,
                ServerFrame::Error(error) => error.request == request,
                _ => false,
            });
            match answer {
                ServerFrame::Sent(sent) => return sent.seq,
                ServerFrame::Error(error) => assert!(error.retryable, "{error:?}"),
                _ => {}
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits for a frame; what comes before it stays in the inbox, in order.
    pub fn expect(&mut self, what: &str, wanted: impl Fn(&ServerFrame) -> bool) -> ServerFrame {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.inbox.iter().position(&wanted) {
                return self.inbox.remove(at).unwrap();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(self.more(left), "{what} did not come; {:?} {:?}", self.inbox, self.closed);
        }
    }

    /// Takes what comes next; false when nothing more will.
    fn more(&mut self, patience: Duration) -> bool {
        if self.closed.is_some() {
            return false;
        }
        let mut chunks: Vec<Bytes> = Vec::new();
        let next = async { tokio::time::timeout(patience, self.outbox.next(&mut chunks)).await };
        match self.handle.block_on(next) {
            Ok(Event::Frames) => {}
            Ok(Event::Close(code)) => self.closed = Some(code),
            Ok(other) => panic!("{other:?}"),
            Err(_) => return false,
        }
        for chunk in chunks {
            for raw in frames(&chunk, MAX_SERVER_MESSAGE_BYTES) {
                self.inbox.extend(ServerFrame::decode(raw.unwrap()).unwrap());
            }
        }
        true
    }

    /// Waits until the connection is closed.
    pub fn wait_closed(&mut self) -> CloseCode {
        while self.more(PATIENCE) {}
        self.closed.expect("the connection stayed open")
    }

    /// The bodies of the next messages of a conversation, whoever sent them.
    pub fn messages(&mut self, conversation: ConversationId, count: usize) -> Vec<(u64, String)> {
        let mut read = Vec::new();
        while read.len() < count {
            let frame = self.expect(
                "a message",
                |frame| matches!(frame, ServerFrame::Message(m) if m.conversation == conversation),
            );
            if let ServerFrame::Message(message) = frame {
                let body = String::from_utf8(message.entry.body).unwrap();
                read.push((message.entry.seq, body));
            }
        }
        read
    }
}

/// An id of a moment ago.
pub fn message_id() -> ClientMsgId {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let mut random = [0; 10];
    random[2..].copy_from_slice(&unique().to_be_bytes());
    ClientMsgId::from_parts(u64::try_from(now.as_millis()).unwrap(), random)
}
