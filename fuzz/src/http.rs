//! Raw bytes into the HTTP side of a node that runs in this process: heads, bodies, origins, tokens.
//!
//! The connection is a pipe in memory and not a socket: a machine has few ports and a fuzzer no time.

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rookery_cluster_config::Config;
use rookery_node::Node;
use rookery_node::http::accept::Peer;
use rookery_node::identity::Cost;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// Inputs after which the node is replaced: accounts are made now and then.
const INPUTS_A_NODE: u32 = 20_000;
/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(20);
/// As much as a node buffers of a head.
const HEAD_BYTES: usize = 16 * 1024;

struct Server {
    runtime: Runtime,
    node: Option<Node>,
    router: Router,
    inputs: u32,
    _dir: TempDir,
}

static SERVER: Mutex<Option<Server>> = Mutex::new(None);

impl Server {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.node.data_dir = dir.path().to_owned();
        config.http.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        config.http.body_timeout_ms = 1_000;
        config.metrics.listen = None;
        config.admin.listen = None;
        config.store.cache_bytes = 1 << 20;
        let node = runtime.block_on(Node::start_with(config, Cost::Low)).unwrap();
        let router = rookery_node::http::router(Arc::clone(node.state()));
        Self { runtime, node: Some(node), router, inputs: 0, _dir: dir }
    }

    /// What is answered to these bytes and the end of the stream.
    async fn answer(router: Router, peer: Peer, bytes: &[u8]) -> Vec<u8> {
        let (client, server) = duplex(64 * 1024);
        let serving = tokio::spawn(serve(server, router, peer));
        let (mut reading, mut writing) = tokio::io::split(client);
        let mut answer = Vec::new();
        let talking = async {
            let asking = async {
                // A server may close before it has read everything.
                let _closed_early = writing.write_all(bytes).await;
                let _closed_early = writing.shutdown().await;
            };
            let hearing = reading.read_to_end(&mut answer);
            tokio::join!(asking, hearing).1
        };
        let talked = timeout(PATIENCE, talking).await.expect("an answer, or the end of the stream");
        assert!(talked.is_ok());
        serving.await.expect("serving a connection does not panic");
        answer
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(node) = self.node.take() {
            self.runtime.block_on(node.shutdown());
        }
    }
}

async fn serve(stream: DuplexStream, router: Router, peer: Peer) {
    let service = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        service.call(request)
    });
    let mut builder = http1::Builder::new();
    // The end of what is written is no end of the conversation: the answer is awaited.
    builder.timer(TokioTimer::new()).half_close(true).max_buf_size(HEAD_BYTES);
    // What is no request ends the connection; that is an answer, too.
    let _refused = builder.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
}

/// A stream of bytes as it comes from anybody.
pub(crate) fn request(bytes: &[u8]) {
    let mut server = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    if server.as_ref().is_none_or(|server| server.inputs >= INPUTS_A_NODE) {
        *server = None;
        *server = Some(Server::start());
    }
    let Some(server) = server.as_mut() else { return };
    server.inputs += 1;
    // From anywhere but this machine: limits on attempts count.
    let address = IpAddr::from(bytes.len().to_be_bytes().first_chunk::<4>().copied().unwrap());
    let peer = Peer::uncounted(SocketAddr::new(address, 1)).unwrap();
    let answer = server.runtime.block_on(Server::answer(server.router.clone(), peer, bytes));
    judge(&answer);
}

/// Faults of the node are what nobody can bring about from outside.
fn judge(answer: &[u8]) {
    if answer.is_empty() {
        return;
    }
    let status = answer.strip_prefix(b"HTTP/1.1 ").or_else(|| answer.strip_prefix(b"HTTP/1.0 "));
    let text = || String::from_utf8_lossy(&answer[..answer.len().min(400)]).into_owned();
    let status = status.and_then(|rest| rest.first_chunk::<3>());
    let status: u16 = std::str::from_utf8(status.unwrap_or_else(|| panic!("{}", text())))
        .ok()
        .and_then(|status| status.parse().ok())
        .unwrap_or_else(|| panic!("{}", text()));
    assert!(status < 500 || status == 503, "{}", text());
}

/// A request of each kind: good, bad, and of the wrong shape.
pub(crate) fn requests() -> Vec<Vec<u8>> {
    let head = |line: &str, headers: &str| format!("{line} HTTP/1.1\r\nhost: a\r\n{headers}\r\n");
    let post = |path: &str, body: &str| {
        let headers =
            format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
        head(&format!("POST {path}"), &headers) + body
    };
    let ada = r#"{"name":"ada","password":"correct horse"}"#;
    let token = "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIwMSJ9.AA";
    let chunked = "content-type: application/json\r\ntransfer-encoding: chunked\r\n";
    let upgrade = "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                   sec-websocket-protocol: rookery.v1\r\n";
    let requests = [
        post("/v1/signup", ada),
        post("/v1/login", ada),
        post("/v1/login", r#"{"name":"ada","password":"x","device_name":"tv"}"#),
        post("/v1/refresh", r#"{"refresh_token":"abc"}"#),
        post("/v1/login", r#"{"name":1}"#),
        post("/v1/login", "{\"name\":\"\\u0000\""),
        head("POST /v1/login", chunked) + "5\r\n{\"a\":\r\n2\r\n1}\r\n0\r\n\r\n",
        head("GET /", ""),
        head("GET /web/app.js", "if-none-match: \"x\"\r\n"),
        head("GET /healthz", "") + &head("HEAD /readyz", ""),
        head("GET /v1/discover", &format!("authorization: Bearer {token}\r\n")),
        head("GET /v1/account", &format!("authorization: Bearer {token}\r\n")),
        head("DELETE /v1/devices/00000000000000ff", "authorization: Bearer x\r\n"),
        head("GET /v1/conversations/0000000000000001/history?limit=5&after=%31", ""),
        head("GET /v1/openapi.json", "if-none-match: \"x\"\r\n"),
        head("OPTIONS /v1/login", "origin: https://a.example\r\n"),
        head("GET /v1/ws", upgrade),
        head("GET /../../etc/passwd", "x-forwarded-for: 1.2.3.4, ::1\r\n"),
        "GET / HTTP/1.0\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
    ];
    requests.map(String::into_bytes).into()
}
