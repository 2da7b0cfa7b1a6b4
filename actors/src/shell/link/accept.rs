//! Accepting: each connection is greeted in a task of its own, under a time limit, and few at once.

use super::connection::{Agreed, HANDSHAKE_TIMEOUT, read_words, serve, set_options};
use super::core::Core;
use super::peers::PeerLink;
use super::refusals::Failed;
use super::tls::{self, Tls};
use crate::link::NodeKey;
use crate::link::greeting::{Answer, Greeting, Me, Refusal};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Connections that are being greeted at once, of all addresses.
const MAX_GREETED: usize = 128;
/// Of one address: whoever floods from there leaves room for others.
const MAX_GREETED_OF_ADDRESS: usize = 32;
/// Pause when the system has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections being greeted, by address.
#[derive(Clone, Default)]
struct Greeted(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// Place for one of them.
struct Place(Greeted, IpAddr);

impl Greeted {
    fn place(&self, address: IpAddr) -> Option<Place> {
        let mut greeted = self.lock();
        let all: usize = greeted.values().sum();
        let of_address = greeted.get(&address).copied().unwrap_or(0);
        if all >= MAX_GREETED || of_address >= MAX_GREETED_OF_ADDRESS {
            return None;
        }
        greeted.insert(address, of_address + 1);
        Some(Place(self.clone(), address))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut greeted = self.0.lock();
        if let Some(count) = greeted.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                greeted.remove(&self.1);
            }
        }
    }
}

/// Accepts for ever.
pub(super) async fn accept_loop(core: Arc<Core>, tls: Arc<Tls>, listener: Arc<TcpListener>) {
    let greeted = Greeted::default();
    loop {
        let (socket, address) = match listener.accept().await {
            Ok((socket, address)) => (socket, address.ip()),
            Err(error) => {
                tracing::warn!(%error, "can't accept connections of nodes");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(place) = greeted.place(address) else {
            core.refusals.tell(&address.to_string(), &Failed::Busy);
            continue;
        };
        let (core, tls) = (Arc::clone(&core), Arc::clone(&tls));
        tokio::spawn(async move {
            let greeted = timeout(HANDSHAKE_TIMEOUT, greet(&core, &tls, socket)).await;
            drop(place);
            match greeted.unwrap_or(Err((None, Failed::TimedOut))) {
                Ok((peer, stream, agreed)) => {
                    if let Err(failed) = serve(&core, &peer, stream, agreed).await {
                        core.refusals.tell(&peer.name, &failed);
                    }
                }
                Err((name, failed)) => {
                    let name = name.unwrap_or_else(|| address.to_string());
                    core.refusals.tell(&name, &failed);
                }
            }
        });
    }
}

type Welcome = (Arc<PeerLink>, TlsStream<TcpStream>, Agreed);

/// Who is it, and is it welcome? A failure comes with the name it gave, if its certificate proves it.
async fn greet(
    core: &Core,
    tls: &Tls,
    socket: TcpStream,
) -> Result<Welcome, (Option<String>, Failed)> {
    let nameless = |failed| (None, failed);
    set_options(&socket).map_err(Failed::Network).map_err(nameless)?;
    let acceptor = TlsAcceptor::from(Arc::clone(&tls.current().server));
    let mut stream = acceptor.accept(socket).await.map_err(Failed::Tls).map_err(nameless)?;
    let words = read_words(&mut stream).await.map_err(nameless)?;
    let (name, judged) = match Greeting::decode(&words) {
        Ok(greeting) => {
            let certified = is_certified(core, &stream, &greeting.name);
            let name = certified.then(|| greeting.name.clone());
            (name, judge(core, &greeting, certified))
        }
        Err(refusal) => (None, Err(refusal)),
    };
    let answer = match &judged {
        Ok((_, version, _)) => Answer::Welcome { version: *version, routers: core.routers() },
        Err(refusal) => Answer::Refused(*refusal),
    };
    let written = async {
        stream.write_all(&answer.encode()).await?;
        stream.flush().await
    };
    let written = written.await;
    match judged {
        Ok((peer, version, routers)) => {
            written.map_err(|error| (name, Failed::Network(error)))?;
            Ok((peer, stream, Agreed { version, routers, accepted: true }))
        }
        Err(refusal) => {
            // Politely, so that the answer is read before the end.
            if let Err(error) = stream.shutdown().await {
                tracing::trace!(%error, "the refused one was gone already");
            }
            Err((name, Failed::Refused(refusal)))
        }
    }
}

fn is_certified(core: &Core, stream: &TlsStream<TcpStream>, name: &str) -> bool {
    let (_, connection) = stream.get_ref();
    let certificate = connection.peer_certificates().and_then(|chain| chain.first());
    certificate.is_some_and(|certificate| tls::is_for(certificate, &core.cluster, name))
}

fn judge(
    core: &Core,
    greeting: &Greeting,
    certified: bool,
) -> Result<(Arc<PeerLink>, u8, Vec<u64>), Refusal> {
    let Core { cluster, name, incarnation, newest, .. } = core;
    let me = Me { cluster, name, incarnation: *incarnation, newest: *newest };
    let version = greeting.judge(me, certified)?;
    let key = NodeKey::new(&greeting.name, greeting.incarnation);
    let peer = core.peer(key).filter(|peer| peer.name == greeting.name);
    Ok((peer.ok_or(Refusal::NotInView)?, version, greeting.routers.clone()))
}
