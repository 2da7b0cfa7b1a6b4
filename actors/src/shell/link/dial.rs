//! Dialing: one task for each peer with a higher name, for as long as the view holds the peer.

use super::connection::{Agreed, HANDSHAKE_TIMEOUT, greeting, read_words, serve, set_options};
use super::core::Core;
use super::peers::PeerLink;
use super::refusals::Failed;
use super::tls::{self, Tls};
use crate::link::greeting::Answer;
use futures_util::FutureExt;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// A connection that lasted this long was a good one: the next attempt comes soon.
const LASTED: Duration = Duration::from_secs(1);

/// Dials for ever.
pub(super) async fn dial_loop(core: Arc<Core>, tls: Arc<Tls>, peer: Arc<PeerLink>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let began = Instant::now();
        match AssertUnwindSafe(dial(&core, &tls, &peer)).catch_unwind().await {
            Ok(Ok(())) => {}
            Ok(Err(failed)) => core.refusals.tell(&peer.name, &failed),
            // What the attempt held was dropped with it; the next one shares nothing with it.
            Err(_) => tracing::error!(peer = peer.name, "a dial panicked and is tried again"),
        }
        if began.elapsed() >= LASTED && !peer.is_up() {
            pause = FIRST_PAUSE;
        }
        tokio::time::sleep(jittered(pause)).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

async fn dial(core: &Core, tls: &Tls, peer: &Arc<PeerLink>) -> Result<(), Failed> {
    let greeted = timeout(HANDSHAKE_TIMEOUT, greet(core, tls, peer)).await;
    let (stream, agreed) = greeted.unwrap_or(Err(Failed::TimedOut))?;
    serve(core, peer, stream, agreed).await
}

async fn greet(
    core: &Core,
    tls: &Tls,
    peer: &PeerLink,
) -> Result<(TlsStream<TcpStream>, Agreed), Failed> {
    let socket = TcpStream::connect(peer.address()).await.map_err(Failed::Network)?;
    set_options(&socket).map_err(Failed::Network)?;
    let invalid = |error| Failed::Tls(io::Error::new(io::ErrorKind::InvalidInput, error));
    let name = tls::server_name(&core.cluster, &peer.name).map_err(invalid)?;
    let connector = TlsConnector::from(Arc::clone(&tls.current().client));
    let mut stream = connector.connect(name, socket).await.map_err(Failed::Tls)?;
    stream.write_all(&greeting(core, peer).encode()).await.map_err(Failed::Tls)?;
    stream.flush().await.map_err(Failed::Tls)?;
    // With TLS 1.3 it is only now that a peer which refuses our certificate tells so.
    let words = read_words(&mut stream).await.map_err(|failed| match failed {
        Failed::Network(error) => Failed::Tls(error),
        other => other,
    })?;
    match Answer::decode(&words, core.newest).map_err(Failed::Refused)? {
        Answer::Welcome { version, routers } => {
            Ok((stream, Agreed { version, routers, accepted: false }))
        }
        Answer::Refused(refusal) => Err(Failed::RefusedThere(refusal)),
    }
}

/// Up to half less, so that nodes which lost the same peer don't come back at the same moment.
fn jittered(pause: Duration) -> Duration {
    let mut random = [0];
    match getrandom::fill(&mut random) {
        Ok(()) => pause.mul_f64(1.0 - f64::from(random[0]) / 512.0),
        Err(_) => pause,
    }
}
