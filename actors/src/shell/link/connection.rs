//! One connection: options of the socket, greetings, and its time in the hands of ractor_cluster.

use super::core::Core;
use super::peers::{Current, PeerLink};
use super::pipe::{Pipe, PipeEnd};
use super::refusals::Failed;
use super::router::RouterMsg;
use super::sessions::Expected;
use crate::link::greeting::{Greeting, MAX_GREETING_BYTES, Refusal};
use ractor::{ActorId, ActorRef};
use ractor_cluster::NodeServerMessage;
use ractor_cluster::node::NodeServerSessionInformation;
use rustix::net::sockopt;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// From the first byte to the answer.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long ractor_cluster may take to make a connection ready.
const READY_TIMEOUT: Duration = Duration::from_secs(3);
/// How long it may take to let an ended one go.
const END_TIMEOUT: Duration = Duration::from_secs(2);
/// The kernel gives a connection up when sent bytes are not acknowledged for this long; the link's
/// own beats are quicker where there is a link.
const USER_TIMEOUT_MS: u32 = 10_000;
const KEEP_ALIVE_IDLE: Duration = Duration::from_secs(5);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEP_ALIVE_PROBES: u32 = 3;

/// Options of every socket between nodes.
pub(super) fn set_options(socket: &TcpStream) -> io::Result<()> {
    sockopt::set_tcp_nodelay(socket, true)?;
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, KEEP_ALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(socket, KEEP_ALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(socket, KEEP_ALIVE_PROBES)?;
    sockopt::set_tcp_user_timeout(socket, USER_TIMEOUT_MS)?;
    Ok(())
}

/// Reads a greeting or an answer, without its length.
pub(super) async fn read_words(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, Failed> {
    let length = usize::from(stream.read_u16().await.map_err(Failed::Network)?);
    if length > MAX_GREETING_BYTES {
        return Err(Failed::Refused(Refusal::Garbled));
    }
    let mut words = vec![0; length];
    stream.read_exact(&mut words).await.map_err(Failed::Network)?;
    Ok(words)
}

/// What this node says of itself to a peer.
pub(super) fn greeting(core: &Core, peer: &PeerLink) -> Greeting {
    Greeting {
        oldest: crate::link::frame::OLDEST_VERSION,
        newest: core.newest,
        cluster: core.cluster.clone(),
        name: core.name.clone(),
        incarnation: core.incarnation,
        to_name: peer.name.clone(),
        to_incarnation: peer.incarnation,
        routers: core.routers(),
    }
}

/// What both sides agreed on.
pub(super) struct Agreed {
    pub(super) version: u8,
    /// The peer's actors that take frames.
    pub(super) routers: Vec<u64>,
    /// This side accepted the connection.
    pub(super) accepted: bool,
}

/// Ends the stream, and forgets the session, when the task of a connection ends or is cancelled.
struct Cleanup<'a> {
    core: &'a Core,
    peer: &'a PeerLink,
    label: String,
    connection: u64,
    pipe: PipeEnd,
}

impl Drop for Cleanup<'_> {
    fn drop(&mut self) {
        self.pipe.end();
        self.core.sessions.forget(&self.label);
        self.peer.disconnected(self.core, self.connection);
    }
}

/// Hands a greeted stream over to ractor_cluster and stays until the session over it has ended.
pub(super) async fn serve<S>(
    core: &Core,
    peer: &Arc<PeerLink>,
    stream: S,
    agreed: Agreed,
) -> Result<(), Failed>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let connection = core.next_connection();
    let label = format!("{}-{connection}", peer.name);
    let (stream, pipe) = Pipe::new(stream, label.clone());
    let Expected { ready, mut ended } = core.sessions.expect(&label);
    let _cleanup = Cleanup { core, peer, label, connection, pipe: pipe.clone() };
    let current = Current { connection, pipe: pipe.clone(), ended: ended.clone() };
    if let Some(mut previous) = peer.replace(current) {
        // ractor_cluster would choose one of two connections by lot: there must not be two.
        previous.pipe.end();
        if timeout(END_TIMEOUT, previous.ended.wait()).await.is_err() {
            tracing::warn!(peer = peer.name, "an ended connection lingers");
        }
    }
    let server = core.server().ok_or(Failed::NotReady)?;
    let opened = NodeServerMessage::ConnectionOpenedExternal {
        stream: Box::new(stream),
        is_server: agreed.accepted,
    };
    server.cast(opened).map_err(|_| Failed::NotReady)?;
    let Ok(Ok(session)) = timeout(READY_TIMEOUT, ready).await else {
        pipe.end();
        return Err(Failed::NotReady);
    };
    let router = router_of(core, peer, &session, &agreed.routers).ok_or(Failed::NotReady)?;
    peer.connected(core, connection, agreed.version, router, pipe);
    ended.wait().await;
    Ok(())
}

/// The peer's actor that takes this node's frames, found by the number that the peer told: groups and
/// names of ractor are one name space a process, whatever node is behind.
fn router_of(
    core: &Core,
    peer: &PeerLink,
    session: &NodeServerSessionInformation,
    routers: &[u64],
) -> Option<ActorRef<RouterMsg>> {
    let expected = core.session_name(&peer.name, peer.incarnation);
    if session.peer_name.as_ref().map(|name| &name.name) != Some(&expected) {
        return None;
    }
    let spread = usize::try_from(core.own.node % 0xffff).unwrap_or(0);
    let pid = *routers.get(spread % routers.len().max(1))?;
    let id = ActorId::Remote { node_id: session.node_id, pid };
    let children = session.actor.get_cell().get_children();
    children.into_iter().find(|child| child.get_id() == id).map(ActorRef::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn sockets_between_nodes_notice_by_themselves_that_a_peer_is_gone() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        set_options(&socket).unwrap();
        assert!(sockopt::tcp_nodelay(&socket).unwrap());
        assert!(sockopt::socket_keepalive(&socket).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&socket).unwrap(), KEEP_ALIVE_IDLE);
        assert_eq!(sockopt::tcp_keepintvl(&socket).unwrap(), KEEP_ALIVE_INTERVAL);
        assert_eq!(sockopt::tcp_keepcnt(&socket).unwrap(), KEEP_ALIVE_PROBES);
        assert_eq!(sockopt::tcp_user_timeout(&socket).unwrap(), USER_TIMEOUT_MS);
    }
}
