//! A server that is just enough of one: accounts, one-to-one conversations in memory, delivery,
//! cursors and history. It speaks the wire through the protocol crate, so the harness and the
//! client library can be tested where no node is built, and it can drop connections on purpose.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::result_large_err,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test's server fails the test"
)]

mod http;

use futures_util::{SinkExt, StreamExt};
use rookery_protocol::limits::{Limits, MAX_CLIENT_FRAME_BYTES};
use rookery_protocol::server::{self, ServerFrame};
use rookery_protocol::types::{ConversationInfo, Member};
use rookery_protocol::{
    ClientFrame, ClientMsgId, ConversationId, ConversationKind, Cursor, DeviceId, Direction, Entry,
    ErrorCode, SessionId, UserId, client, frames,
};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

/// How late a late message is.
const LATE: Duration = Duration::from_millis(30);

/// How the server misbehaves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Temper {
    /// Drops each connection after this many answered frames (0: never).
    pub drop_after: u64,
    /// Refuses every n-th send with `Busy` (0: never).
    pub busy_every: u64,
    /// Delivers every n-th live message late (0: never): a fault that the client library must
    /// repair from history.
    pub late_every: u64,
}

#[derive(Default)]
struct Conversation {
    members: [UserId; 2],
    log: Vec<Entry>,
    placed: HashMap<ClientMsgId, u64>,
}

struct Live {
    user: UserId,
    out: mpsc::UnboundedSender<ServerFrame>,
}

#[derive(Default)]
pub(crate) struct World {
    names: Vec<String>,
    devices: u64,
    conversations: Vec<Conversation>,
    /// Every entry in the order of its commit: (conversation, seq). A cursor is a position here.
    commits: Vec<(usize, u64)>,
    live: HashMap<u64, Live>,
    sessions: u64,
    sends: u64,
    hints: u64,
}

/// A running server; it ends with the test.
pub struct FakeServer {
    /// Where it listens.
    pub address: SocketAddr,
}

impl FakeServer {
    /// Starts a server on a free port.
    pub fn start(temper: Temper) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve(listener, address, temper));
        });
        Self { address }
    }

    /// Its HTTP address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn serve(listener: std::net::TcpListener, address: SocketAddr, temper: Temper) {
    let listener = TcpListener::from_std(listener).unwrap();
    let world = Arc::new(Mutex::new(World::default()));
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            let mut start = [0; 4];
            while stream.peek(&mut start).await.is_ok_and(|n| n > 0 && n < 4) {
                tokio::task::yield_now().await;
            }
            if &start == b"POST" {
                http::answer(stream, address, &world).await;
            } else {
                connection(stream, world, temper).await;
            }
        });
    }
}

/// Tokens are "user:device".
fn parse_token(token: &str) -> Option<(u64, u64)> {
    let (user, device) = token.split_once(':')?;
    Some((user.parse().ok()?, device.parse().ok()?))
}

async fn connection(stream: TcpStream, world: Arc<Mutex<World>>, temper: Temper) {
    let select =
        |_: &_, mut response: tokio_tungstenite::tungstenite::handshake::server::Response| {
            let value = rookery_protocol::SUBPROTOCOL.parse().unwrap();
            response.headers_mut().insert("Sec-WebSocket-Protocol", value);
            Ok(response)
        };
    let Ok(mut ws) = tokio_tungstenite::accept_hdr_async(stream, select).await else { return };
    let (out, mut outgoing) = mpsc::unbounded_channel();
    let mut peer: Option<Peer> = None;
    let mut answered = 0;
    loop {
        tokio::select! {
            message = ws.next() => {
                let Some(Ok(Message::Binary(bytes))) = message else { break };
                for raw in frames(&bytes, MAX_CLIENT_FRAME_BYTES) {
                    let frame = ClientFrame::decode(raw.unwrap()).unwrap().unwrap();
                    let mut world = world.lock().unwrap();
                    match (&mut peer, frame) {
                        (None, ClientFrame::Hello(hello)) => {
                            peer = Some(Peer::welcome(&mut world, &hello, &out));
                        }
                        (Some(peer), frame) => peer.frame(&mut world, temper, frame),
                        (None, _) => panic!("a frame before hello"),
                    }
                    answered += 1;
                }
                if temper.drop_after > 0 && answered >= temper.drop_after {
                    break;
                }
            }
            Some(first) = outgoing.recv() => {
                let mut bytes = Vec::new();
                first.encode(&mut bytes);
                while let Some(next) = (bytes.len() < 32_768).then(|| outgoing.try_recv().ok()).flatten() {
                    next.encode(&mut bytes);
                }
                if ws.send(Message::Binary(bytes.into())).await.is_err() {
                    break;
                }
            }
        }
    }
    if let Some(peer) = peer {
        world.lock().unwrap().live.remove(&peer.session);
    }
}

/// A welcomed client.
struct Peer {
    session: u64,
    user: UserId,
    device: DeviceId,
    synced: bool,
    out: mpsc::UnboundedSender<ServerFrame>,
}

impl Peer {
    fn welcome(
        world: &mut World,
        hello: &client::Hello,
        out: &mpsc::UnboundedSender<ServerFrame>,
    ) -> Self {
        let (user, device) = parse_token(&hello.token).unwrap();
        world.sessions += 1;
        let peer = Self {
            session: world.sessions,
            user: UserId(user),
            device: DeviceId(device),
            synced: false,
            out: out.clone(),
        };
        peer.say(server::Welcome {
            version: 1,
            session: SessionId(peer.session),
            secret: [0; 16],
            // It keeps no session: every connection starts anew from the cursor.
            resumed: false,
            user: peer.user,
            device: peer.device,
            name: world.names[usize::try_from(user).unwrap()].clone(),
            heartbeat_ms: 5_000,
            grace_ms: 0,
            server_time_ms: 0,
            token_expires_ms: 3_600_000,
            limits: Limits::with_window(hello.window_bytes),
            node: "fake".into(),
            endpoints: vec![],
        });
        peer
    }

    fn say(&self, frame: impl Into<ServerFrame>) {
        // A connection that is gone hears nothing.
        self.out.send(frame.into()).ok();
    }

    fn frame(&mut self, world: &mut World, temper: Temper, frame: ClientFrame) {
        match frame {
            ClientFrame::Ping(p) => self.say(server::Pong { nonce: p.nonce }),
            ClientFrame::Sync(s) => self.sync(world, s),
            ClientFrame::Send(s) => self.send(world, temper, s),
            ClientFrame::History(h) => self.history(world, h),
            ClientFrame::OpenDirect(o) => self.open(world, &o),
            _ => {}
        }
    }

    fn sync(&mut self, world: &mut World, sync: client::Sync) {
        if let Some(cursor) = sync.cursor {
            let [position, ..] = cursor.stamp.as_chunks::<8>().0 else { panic!() };
            let after = usize::try_from(u64::from_be_bytes(*position)).unwrap();
            for &(at, seq) in &world.commits[after..] {
                if world.conversations[at].members.contains(&self.user) {
                    let entry = world.conversations[at].log[seq as usize - 1].clone();
                    self.say(server::Message { conversation: conversation_id(at), entry });
                }
            }
        }
        let mut stamp = [0; 12];
        stamp[..8].copy_from_slice(&(world.commits.len() as u64).to_be_bytes());
        self.say(server::CaughtUp { request: sync.request, cursor: Cursor { epoch: 1, stamp } });
        self.synced = true;
        let live = Live { user: self.user, out: self.out.clone() };
        world.live.insert(self.session, live);
    }

    fn send(&self, world: &mut World, temper: Temper, send: client::Send) {
        world.sends += 1;
        if temper.busy_every > 0 && world.sends.is_multiple_of(temper.busy_every) {
            return self.say(ErrorCode::Busy.frame(send.request, ""));
        }
        let at = usize::try_from(send.conversation.0 - 1).unwrap();
        let conversation = &mut world.conversations[at];
        let mut sent = server::Sent {
            request: send.request,
            conversation: send.conversation,
            client_msg_id: send.client_msg_id,
            seq: 0,
            time_ms: 0,
            duplicate: true,
        };
        if let Some(&seq) = conversation.placed.get(&send.client_msg_id) {
            sent.seq = seq;
            return self.say(sent);
        }
        let seq = conversation.log.len() as u64 + 1;
        let entry = Entry {
            seq,
            sender: self.user,
            device: self.device,
            time_ms: 0,
            client_msg_id: send.client_msg_id,
            kind: send.kind,
            body: send.body,
        };
        conversation.placed.insert(send.client_msg_id, seq);
        conversation.log.push(entry.clone());
        let members = conversation.members;
        world.commits.push((at, seq));
        self.say(server::Sent { seq, duplicate: false, ..sent });
        for (&session, live) in &world.live {
            if session == self.session || !members.contains(&live.user) {
                continue;
            }
            world.hints += 1;
            let (entry, out) = (entry.clone(), live.out.clone());
            let message = server::Message { conversation: send.conversation, entry }.into();
            if temper.late_every > 0 && world.hints.is_multiple_of(temper.late_every) {
                tokio::spawn(async move {
                    tokio::time::sleep(LATE).await;
                    out.send(message).ok();
                });
            } else {
                out.send(message).ok();
            }
        }
    }

    fn history(&self, world: &World, h: client::History) {
        assert_eq!(h.direction, Direction::After);
        let log = &world.conversations[usize::try_from(h.conversation.0 - 1).unwrap()].log;
        let from = usize::try_from(h.anchor).unwrap().min(log.len());
        let to = (from + usize::from(h.limit)).min(log.len());
        self.say(server::HistoryPage {
            request: h.request,
            conversation: h.conversation,
            entries: log[from..to].to_vec(),
            head: log.len() as u64,
            floor: 1,
            more: to < log.len(),
        });
    }

    fn open(&self, world: &mut World, open: &client::OpenDirect) {
        let Some(other) = world.names.iter().position(|n| *n == open.name) else {
            return self.say(ErrorCode::UnknownUser.frame(open.request, ""));
        };
        let members = [self.user, UserId(other as u64)];
        let found = world
            .conversations
            .iter()
            .position(|c| c.members == members || c.members == [members[1], members[0]]);
        let created = found.is_none();
        let at = found.unwrap_or_else(|| {
            world.conversations.push(Conversation { members, ..Conversation::default() });
            world.conversations.len() - 1
        });
        let member = |user: UserId| Member {
            user,
            name: world.names[usize::try_from(user.0).unwrap()].clone(),
            role: 1,
            delivered: 0,
            read: 0,
        };
        let info = ConversationInfo {
            conversation: conversation_id(at),
            kind: ConversationKind::Direct,
            title: String::new(),
            members: members.map(member).to_vec(),
            head: world.conversations[at].log.len() as u64,
            floor: 1,
            active_ms: 0,
            last: None,
        };
        self.say(server::Conversation { request: open.request, created, info });
    }
}

fn conversation_id(at: usize) -> ConversationId {
    ConversationId(at as u64 + 1)
}
