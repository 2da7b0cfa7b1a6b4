//! HTTP/2, which one client may use for much work: what bounds it.

use crate::support::Running;
use crate::tls::{NAME, certificate, connect, use_files};
use axum::body::Bytes;
use axum::http::{Method, Request, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use std::convert::Infallible;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

type Body = BoxBody<Bytes, Infallible>;

/// A node that speaks TLS, with the certificate to believe.
struct Secure {
    running: Running,
    trusted: rustls::pki_types::CertificateDer<'static>,
    _dir: TempDir,
}

impl Secure {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let trusted = certificate(dir.path());
        let running = Running::start_with(|config| {
            use_files(config, dir.path());
            config.http.body_timeout_ms = 300;
        })
        .await;
        Self { running, trusted, _dir: dir }
    }

    async fn client(&self) -> SendRequest<Body> {
        let stream = connect(self.running.node.http_addr(), &self.trusted, "h2").await.unwrap();
        let (client, connection) =
            handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        client
    }
}

fn request(method: Method, path: &str, headers: &[(&str, &str)], body: Body) -> Request<Body> {
    let uri = format!("https://{NAME}{path}");
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body).unwrap()
}

fn empty() -> Body {
    Empty::new().boxed()
}

async fn error(answer: hyper::Response<hyper::body::Incoming>) -> (StatusCode, String) {
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let json: Value = serde_json::from_slice(&body).unwrap();
    (status, json["error"]["code"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn requests_are_answered_and_bad_ones_refused_as_over_the_older_version() {
    let node = Secure::start().await;
    let mut client = node.client().await;
    let alive = request(Method::GET, "/healthz", &[], empty());
    assert_eq!(client.send_request(alive).await.unwrap().status(), StatusCode::OK);
    let json = [("content-type", "application/json")];
    let large = Full::from(vec![b' '; 20_000]).boxed();
    for (sent, code) in [
        (request(Method::GET, "/v1/account", &[], empty()), "BadToken"),
        (request(Method::PUT, "/v1/account", &[], empty()), "WrongMethod"),
        (request(Method::POST, "/v1/login", &[], empty()), "WrongContentType"),
        (request(Method::POST, "/v1/login", &json, Full::from("{").boxed()), "BadRequest"),
        (request(Method::POST, "/v1/login", &json, large), "TooLarge"),
        (request(Method::GET, "/v1/users/%2e%2e", &[], empty()), "BadToken"),
        (request(Method::GET, "/../../etc/passwd", &[], empty()), "NotFound"),
        // Only HTTP/1.1 can be upgraded.
        (request(Method::GET, "/v1/ws", &[], empty()), "BadRequest"),
    ] {
        let what = format!("{} {}", sent.method(), sent.uri());
        let (status, told) = error(client.send_request(sent).await.unwrap()).await;
        assert!(status.is_client_error(), "{what}: {status}");
        assert_eq!(told, code, "{what}");
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up_and_the_connection_goes_on() {
    let node = Secure::start().await;
    let mut client = node.client().await;
    let never = futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>();
    let json = [("content-type", "application/json")];
    let slow = request(Method::POST, "/v1/login", &json, StreamBody::new(never).boxed());
    let answer = tokio::time::timeout(Duration::from_secs(20), client.send_request(slow));
    let (status, code) = error(answer.await.unwrap().unwrap()).await;
    assert_eq!((status, code.as_str()), (StatusCode::REQUEST_TIMEOUT, "TooSlow"));
    let alive = request(Method::GET, "/healthz", &[], empty());
    assert_eq!(client.send_request(alive).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn headers_over_their_bound_are_refused_before_anything_looks_at_them() {
    let node = Secure::start().await;
    let mut client = node.client().await;
    let long = "x".repeat(20_000);
    let headers: Vec<(&str, &str)> =
        vec![("x-one", long.as_str()), ("authorization", "Bearer canary-41d9")];
    let large = request(Method::GET, "/v1/account", &headers, empty());
    match client.send_request(large).await {
        Ok(answer) => {
            assert_eq!(answer.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        }
        // Our own side may keep to the bound that the node told it.
        Err(error) => assert!(!error.to_string().contains("41d9"), "{error}"),
    }
    let mut next = node.client().await;
    let alive = request(Method::GET, "/healthz", &[], empty());
    assert_eq!(next.send_request(alive).await.unwrap().status(), StatusCode::OK);
}

/// A frame of HTTP/2: RFC 9113, section 4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

#[tokio::test]
async fn who_opens_and_cancels_requests_without_end_is_hung_up_on() {
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    const GOAWAY: u8 = 7;
    let node = Secure::start().await;
    let mut stream = connect(node.running.node.http_addr(), &node.trusted, "h2").await.unwrap();
    // GET https://chat.example/, by the static table of HPACK and one literal.
    let mut head = vec![0x82, 0x84, 0x87, 0x41, u8::try_from(NAME.len()).unwrap()];
    head.extend(NAME.as_bytes());
    let mut flood = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    flood.extend(frame(4, 0, 0, &[]));
    for n in 0..2_000 {
        flood.extend(frame(HEADERS, 0x5, 2 * n + 1, &head));
        flood.extend(frame(RST_STREAM, 0, 2 * n + 1, &8_u32.to_be_bytes()));
    }
    // It may hang up in the middle.
    let _cut_short = stream.write_all(&flood).await;
    let mut said = Vec::new();
    let reading = stream.read_to_end(&mut said);
    let _reset_or_end = tokio::time::timeout(Duration::from_secs(20), reading).await.unwrap();
    let mut kinds = Vec::new();
    let mut rest = said.as_slice();
    while let Some((head, more)) = rest.split_at_checked(9) {
        let length = (usize::from(head[1]) << 8) | usize::from(head[2]);
        kinds.push(head[3]);
        rest = more.get(length..).unwrap_or_default();
    }
    assert!(kinds.contains(&GOAWAY), "{kinds:?}");
    let mut next = node.client().await;
    let alive = request(Method::GET, "/healthz", &[], empty());
    assert_eq!(next.send_request(alive).await.unwrap().status(), StatusCode::OK);
}
