//! The accept loop: connections to HTTP/1.1 (or, over TLS, HTTP/2), each within bounds of number,
//! size and time.
//!
//! It is our own because a head that trickles in must be cut off (slowloris) and connections must
//! be counted; the stock loop does neither.
//!
//! Liveness: a connection that sends nothing ends after the header timeout, also between two
//! requests. When all permits are taken, nothing is accepted until one is given back.

use super::per_address::{Counted, PerAddress};
use super::stream::Stream;
use super::tls::Tls;
use axum::Router;
use axum::http::HeaderMap;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;

/// Bytes a connection may buffer before its request's head is complete.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Requests that a connection of HTTP/2 may have under way.
const MAX_STREAMS: u32 = 32;
/// Requests of HTTP/2 that were cancelled before they were looked at: with more of them a
/// connection is closed, or cancelling would be a cheap way to make work.
const MAX_RESETS: usize = 16;
/// A connection of HTTP/2 is asked for a sign of life this often, and closed without one.
const PING: Duration = Duration::from_secs(20);
/// Time that requests under way get to finish when the loop stops.
const LINGER: Duration = Duration::from_secs(5);
/// Pause after a failed accept: the usual cause is a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The other end of a connection. Every request carries it as an extension.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address and port.
    pub socket: SocketAddr,
    /// Its place among the connections. Who takes the connection over (an upgrade) keeps this for
    /// as long as the connection lives.
    pub place: Arc<Place>,
}

/// What a connection takes up: one of all places, and one of its address.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
    _counted: Counted,
}

impl Peer {
    /// A peer that no loop counts: for a router that is served without one.
    #[must_use]
    pub fn uncounted(socket: SocketAddr) -> Option<Self> {
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().ok()?;
        let counted = PerAddress::unlimited().count(socket.ip())?;
        Some(Self { socket, place: Arc::new(Place { _permit: permit, _counted: counted }) })
    }

    /// The client's address: the socket's, or what trusted proxies say it is.
    #[must_use]
    pub fn address(&self, headers: &HeaderMap, trusted: &[IpAddr]) -> IpAddr {
        client_address(self.socket.ip().to_canonical(), headers, trusted)
    }
}

/// Walks `X-Forwarded-For` from its end (the nearest proxy) to the first address that isn't a
/// trusted proxy; what stands before it anybody may have written.
fn client_address(socket: IpAddr, headers: &HeaderMap, trusted: &[IpAddr]) -> IpAddr {
    let mut address = socket;
    let values: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    for value in values.into_iter().rev() {
        if !trusted.contains(&address) {
            break;
        }
        match value.parse::<IpAddr>() {
            Ok(before) => address = before.to_canonical(),
            Err(_) => break,
        }
    }
    address
}

/// What bounds a loop.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Most connections at a time.
    pub connections: usize,
    /// Most time for a request's head to arrive, and before it for a TLS handshake.
    pub header_timeout: Duration,
}

/// How a loop takes connections.
#[derive(Clone, Debug)]
pub struct Door {
    /// What bounds it.
    pub bounds: Bounds,
    /// Most connections of one address.
    pub per_address: PerAddress,
    /// The certificate to show; `None`: everything is in the clear.
    pub tls: Option<Arc<Tls>>,
}

/// Serves `router` until `stop` is true, then lets the requests under way finish for a while.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    door: Door,
    mut stop: watch::Receiver<bool>,
) {
    let bounds = door.bounds;
    let places = Arc::new(Semaphore::new(bounds.connections.min(Semaphore::MAX_PERMITS)));
    let (open, mut all_closed) = mpsc::channel::<()>(1);
    let stopping = stop.clone();
    let accepting = async {
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let (stream, socket) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    metrics::counter!("rookery_accept_errors_total").increment(1);
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Some(counted) = door.per_address.count(socket.ip()) else {
                metrics::counter!("rookery_connections_refused_total").increment(1);
                continue;
            };
            let peer =
                Peer { socket, place: Arc::new(Place { _permit: place, _counted: counted }) };
            let (router, stop, open) = (router.clone(), stopping.clone(), open.clone());
            let tls = door.tls.as_ref().map(|tls| tls.acceptor());
            tokio::spawn(async move {
                if let Some(stream) = opened(stream, tls, bounds.header_timeout).await {
                    connection(stream, peer, router, bounds.header_timeout, stop).await;
                }
                drop(open);
            });
        }
    };
    tokio::select! {
        () = accepting => {}
        () = stopped(&mut stop) => {}
    }
    drop((listener, open));
    // Ends with `None` when the last connection drops its sender.
    let closed = tokio::time::timeout(LINGER, all_closed.recv()).await;
    if closed.is_err() {
        tracing::info!("requests were still under way when the listener closed");
    }
}

/// Returns when `stop` is true, or its sender is gone.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The guard on the value ends here: held across an await it would tie tasks to a thread.
    drop(stop.wait_for(|stop| *stop).await);
}

/// The connection once it can carry requests; `None` when it does not get that far.
async fn opened(stream: TcpStream, tls: Option<TlsAcceptor>, patience: Duration) -> Option<Stream> {
    // Small frames must not wait for each other.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection went before it began");
        return None;
    }
    let Some(tls) = tls else { return Some(Stream::Plain(stream)) };
    match tokio::time::timeout(patience, tls.accept(stream)).await {
        Ok(Ok(stream)) => Some(Stream::Tls(Box::new(stream))),
        Ok(Err(error)) => {
            metrics::counter!("rookery_tls_failures_total").increment(1);
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
        Err(_) => {
            metrics::counter!("rookery_tls_failures_total").increment(1);
            None
        }
    }
}

async fn connection(
    stream: Stream,
    peer: Peer,
    router: Router,
    header_timeout: Duration,
    mut stop: watch::Receiver<bool>,
) {
    let http2 = stream.wants_http2();
    let service = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        service.call(request)
    });
    if http2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_pending_accept_reset_streams(MAX_RESETS)
            .max_header_list_size(u32::try_from(MAX_HEAD_BYTES).unwrap_or(u32::MAX))
            .keep_alive_interval(PING)
            .keep_alive_timeout(header_timeout);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stopped(&mut stop) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        return told(ended);
    }
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(MAX_HEAD_BYTES);
    let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    told(ended);
}

fn told(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        // Resets, time-outs and bad requests: the peer's doing, of use only when looked for.
        tracing::debug!(%error, "a connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn address(socket: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", HeaderValue::from_str(value).unwrap());
        }
        let trusted: Vec<IpAddr> = trusted.iter().map(|ip| ip.parse().unwrap()).collect();
        client_address(socket.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_speaks_for_another_address() {
        let proxies = ["10.0.0.7", "10.0.0.8"];
        assert_eq!(address("1.2.3.4", &["9.9.9.9"], &[]), "1.2.3.4");
        assert_eq!(address("1.2.3.4", &["9.9.9.9"], &proxies), "1.2.3.4");
        assert_eq!(address("10.0.0.7", &[], &proxies), "10.0.0.7");
        assert_eq!(address("10.0.0.7", &["9.9.9.9"], &proxies), "9.9.9.9");
        // What the client wrote itself stands first and is not believed.
        assert_eq!(address("10.0.0.7", &["8.8.8.8, 9.9.9.9"], &proxies), "9.9.9.9");
        assert_eq!(address("10.0.0.7", &["8.8.8.8", "9.9.9.9, 10.0.0.8"], &proxies), "9.9.9.9");
        assert_eq!(address("10.0.0.7", &["8.8.8.8, junk"], &proxies), "10.0.0.7");
    }
}
