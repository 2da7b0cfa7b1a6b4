//! The accept loop: TCP connections to HTTP/1.1, each within bounds of number, size and time.
//!
//! It is our own because a head that trickles in must be cut off (slowloris) and connections must
//! be counted; the stock loop does neither.
//!
//! Liveness: a connection that sends nothing ends after the header timeout, also between two
//! requests. When all permits are taken, nothing is accepted until one is given back.

use axum::Router;
use axum::http::HeaderMap;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

/// Bytes a connection may buffer before its request's head is complete.
const MAX_HEAD_BYTES: usize = 16 * 1024;
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
    pub place: Arc<OwnedSemaphorePermit>,
}

impl Peer {
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
    /// Most time for a request's head to arrive.
    pub header_timeout: Duration,
}

/// Serves `router` until `stop` is true, then lets the requests under way finish for a while.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
    mut stop: watch::Receiver<bool>,
) {
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
            let peer = Peer { socket, place: Arc::new(place) };
            let (router, stop, open) = (router.clone(), stopping.clone(), open.clone());
            tokio::spawn(async move {
                connection(stream, peer, router, bounds.header_timeout, stop).await;
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

async fn connection(
    stream: TcpStream,
    peer: Peer,
    router: Router,
    header_timeout: Duration,
    mut stop: watch::Receiver<bool>,
) {
    // Small frames must not wait for each other.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection went before it began");
        return;
    }
    let service = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        service.call(request)
    });
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
