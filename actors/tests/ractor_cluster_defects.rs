//! What ractor_cluster 0.16.5 does not do, shown without the measures that links take.
//!
//! A test that fails after an upgrade is good news: a measure in `shell::link` may have become
//! superfluous. The table there says which is for what.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that fails fails its test"
)]

use ractor::message::{BoxedDowncastErr, SerializedMessage};
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, Message};
use ractor_cluster::node::{NodeConnectionMode, NodeServerSessionInformation};
use ractor_cluster::{
    BoxRead, BoxWrite, ClusterBidiStream, IncomingEncryptionMode, NodeEventSubscription,
    NodeServer, NodeServerMessage,
};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

const PATIENCE: Duration = Duration::from_secs(30);

/// What a node server tells, by the label of the stream.
#[derive(Debug)]
enum Event {
    Ready(NodeServerSessionInformation),
    Gone(String),
}

struct Events(UnboundedSender<Event>);

impl NodeEventSubscription for Events {
    fn node_session_opened(&self, _: NodeServerSessionInformation) {}
    fn node_session_authenticated(&self, _: NodeServerSessionInformation) {}

    fn node_session_ready(&self, session: NodeServerSessionInformation) {
        self.0.send(Event::Ready(session)).unwrap_or(());
    }

    fn node_session_disconnected(&self, session: NodeServerSessionInformation) {
        self.0.send(Event::Gone(session.peer_addr)).unwrap_or(());
    }
}

struct Labelled(DuplexStream, &'static str);

impl ClusterBidiStream for Labelled {
    fn split(self: Box<Self>) -> (BoxRead, BoxWrite) {
        let (read, write) = tokio::io::split(self.0);
        (Box::new(read), Box::new(write))
    }

    fn peer_label(&self) -> Option<String> {
        Some(self.1.to_owned())
    }
}

type Server = ActorRef<NodeServerMessage>;

async fn server(
    name: &str,
    port: u16,
    tls: Option<TlsAcceptor>,
) -> (Server, UnboundedReceiver<Event>) {
    let encryption = tls.map_or(IncomingEncryptionMode::Raw, IncomingEncryptionMode::Tls);
    let server = NodeServer::new(
        port,
        "cookie".to_owned(),
        name.to_owned(),
        "test".to_owned(),
        Some(encryption),
        Some(NodeConnectionMode::Isolated),
    );
    let server = server.with_listen_addr(Ipv4Addr::LOCALHOST.into());
    let (actor, _) = Actor::spawn(None, server, ()).await.unwrap();
    let (event_in, events) = unbounded_channel();
    let subscription = Box::new(Events(event_in));
    let id = "test".to_owned();
    actor.cast(NodeServerMessage::SubscribeToEvents { id, subscription }).unwrap();
    (actor, events)
}

fn open(server: &Server, stream: DuplexStream, label: &'static str, is_server: bool) {
    let stream = Box::new(Labelled(stream, label));
    server.cast(NodeServerMessage::ConnectionOpenedExternal { stream, is_server }).unwrap();
}

/// Joins two servers by a stream which nobody can stop, or by one that stops when the sender is used.
fn join(a: &Server, b: &Server, label: &'static str) {
    let (at_a, at_b) = tokio::io::duplex(64 * 1024);
    open(a, at_a, label, false);
    open(b, at_b, label, true);
}

/// As [`join`]; nothing is carried any more once the returned sender is dropped, and nobody is told.
fn join_by_a_wire_that_can_be_cut(a: &Server, b: &Server) -> tokio::sync::oneshot::Sender<()> {
    let (at_a, mut from_a) = tokio::io::duplex(64 * 1024);
    let (at_b, mut from_b) = tokio::io::duplex(64 * 1024);
    open(a, at_a, "wire", false);
    open(b, at_b, "wire", true);
    let (cut, is_cut) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        tokio::select! {
            ended = tokio::io::copy_bidirectional(&mut from_a, &mut from_b) => drop(ended),
            cut = is_cut => drop(cut),
        }
        // Both ends are held open, for as long as anybody asks.
        std::future::pending::<()>().await;
    });
    cut
}

async fn ready(events: &mut UnboundedReceiver<Event>) -> NodeServerSessionInformation {
    match timeout(PATIENCE, events.recv()).await.unwrap().unwrap() {
        Event::Ready(session) => session,
        Event::Gone(label) => panic!("{label} is gone"),
    }
}

async fn sessions(server: &Server) -> usize {
    let sessions = server.call(NodeServerMessage::GetSessions, None).await.unwrap();
    sessions.unwrap().len()
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_fell_silent_is_not_noticed_in_ten_minutes() {
    let (a, mut events) = server("silent-a", 0, None).await;
    let (b, mut other_events) = server("silent-b", 0, None).await;
    let wire = join_by_a_wire_that_can_be_cut(&a, &b);
    ready(&mut events).await;
    ready(&mut other_events).await;
    drop(wire);
    // The clock is paused: it jumps on whenever nothing is left to do.
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(events.try_recv().is_err() && other_events.try_recv().is_err());
    assert_eq!((sessions(&a).await, sessions(&b).await), (1, 1));
}

/// A remotable actor of a test; what it is sent is dropped.
struct Sink;
struct Load(Vec<u8>);

impl Message for Load {
    fn serializable() -> bool {
        true
    }

    fn serialize(self) -> Result<SerializedMessage, BoxedDowncastErr> {
        Ok(SerializedMessage::Cast { variant: String::new(), args: self.0, metadata: None })
    }

    fn deserialize(message: SerializedMessage) -> Result<Self, BoxedDowncastErr> {
        match message {
            SerializedMessage::Cast { args, .. } => Ok(Self(args)),
            _ => Err(BoxedDowncastErr),
        }
    }
}

impl Actor for Sink {
    type Msg = Load;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Load>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

#[tokio::test]
async fn a_sender_is_not_held_back_by_a_peer_that_takes_nothing() {
    let (sink, _) = Actor::spawn(None, Sink, ()).await.unwrap();
    let (a, mut events) = server("load-a", 0, None).await;
    let (b, _other_events) = server("load-b", 0, None).await;
    let wire = join_by_a_wire_that_can_be_cut(&a, &b);
    let session = ready(&mut events).await;
    let id = ActorId::Remote { node_id: session.node_id, pid: sink.get_id().pid() };
    let children = session.actor.get_cell().get_children();
    let remote = children.into_iter().find(|child| child.get_id() == id).unwrap();
    let remote: ActorRef<Load> = remote.into();
    drop(wire);
    for _ in 0..1_000 {
        assert!(remote.cast(Load(vec![1; 64 * 1024])).is_ok(), "64 MB wait in memory");
    }
    assert_eq!(sessions(&a).await, 1);
}

#[tokio::test]
async fn which_of_two_connections_survives_is_a_lot() {
    // Names differ from round to round, so that nothing is left of the round before.
    for round in 0..64 {
        let (a, mut events) = server(&format!("lot-a{round}"), 0, None).await;
        let (b, _other_events) = server(&format!("lot-b{round}"), 0, None).await;
        join(&a, &b, "old");
        ready(&mut events).await;
        join(&a, &b, "new");
        let loser = loop {
            match timeout(PATIENCE, events.recv()).await.unwrap().unwrap() {
                Event::Gone(label) => break label,
                Event::Ready(..) => {}
            }
        };
        a.stop(None);
        b.stop(None);
        // The old one may be dead, and nobody knows it yet: then this is a rejoin that failed.
        if loser == "new" {
            return;
        }
    }
    panic!("the newer connection survived 64 times in a row");
}

#[tokio::test]
async fn one_silent_dialer_blocks_the_listener_for_all_others() {
    let config = {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["x".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap()
    };
    // It does not tell which port it took.
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let (server, _events) =
        server("blocked", port, Some(TlsAcceptor::from(Arc::new(config)))).await;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let silent = TcpStream::connect(address).await.unwrap();
    let mut other = TcpStream::connect(address).await.unwrap();
    other.write_all(b"this is no TLS, and is told so at once").await.unwrap();
    let mut answer = [0; 64];
    let unanswered = timeout(Duration::from_millis(500), other.read(&mut answer)).await;
    assert!(unanswered.is_err(), "somebody listened");
    drop(silent);
    assert!(timeout(PATIENCE, other.read(&mut answer)).await.is_ok());
    server.stop(None);
}
