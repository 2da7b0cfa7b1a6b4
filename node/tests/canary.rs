//! Canaries: texts that only the store and the people concerned may ever hold are put into every
//! place where a client can put a text, and then looked for in the log at its most talkative, in the
//! metrics, and in the answers to errors.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that fails fails its test"
)]

mod support;

use futures_util::{SinkExt, StreamExt};
use rookery_protocol::client::{
    Authenticate, Hello, History, OpenDirect, Refresh, Resume, Send, Sync,
};
use rookery_protocol::limits::{DEFAULT_WINDOW_BYTES, MAX_SERVER_FRAME_BYTES};
use rookery_protocol::{
    ClientFrame, ClientMsgId, ConversationId, Direction, EntryKind, SUBPROTOCOL, ServerFrame,
    SessionId, frames,
};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use support::process::{Ready, post, rookery};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

const PATIENCE: Duration = Duration::from_secs(20);
const PASSWORD: &str = "canary-password-3f1c";
const WRONG_PASSWORD: &str = "canary-wrong-password-8a2d";
const BODY: &str = "canary-body-77e0";
const AGENT: &str = "agent-of-somebody/1";
const BAD_TOKEN: &str = "canary-token-51bb";
const HEADER: &str = "canary-header-19ab";
const SECRET: [u8; 16] = *b"canary-secret-00";

type Socket = WebSocketStream<tokio::net::TcpStream>;

fn body(name: &str, password: &str) -> String {
    json!({ "name": name, "password": password, "device_name": "canary-device-4c4c" }).to_string()
}

fn parsed(answer: &str) -> Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// A request as it stands; the answer.
fn raw(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A peer that closes with unread input resets.
    let _reset_or_end = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

async fn connect(address: &str) -> Socket {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut request = format!("ws://{address}/v1/ws").into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", SUBPROTOCOL.parse().unwrap());
    request.headers_mut().insert("x-canary", HEADER.parse().unwrap());
    tokio_tungstenite::client_async(request, stream).await.unwrap().0
}

async fn say(socket: &mut Socket, frame: impl Into<ClientFrame>) {
    socket.send(Message::Binary(frame.into().to_bytes())).await.unwrap();
}

/// What comes, until `wanted` takes a frame or the connection ends.
async fn until<T>(socket: &mut Socket, wanted: impl Fn(ServerFrame) -> Option<T>) -> Option<T> {
    loop {
        let message = tokio::time::timeout(PATIENCE, socket.next()).await.unwrap()?.ok()?;
        let Message::Binary(bytes) = message else { continue };
        for raw in frames(&bytes, MAX_SERVER_FRAME_BYTES) {
            if let Some(found) = ServerFrame::decode(raw.unwrap()).unwrap().and_then(&wanted) {
                return Some(found);
            }
        }
    }
}

fn hello(token: &str) -> Hello {
    Hello {
        versions: vec![1],
        token: token.to_owned(),
        resume: Some(Resume { session: SessionId(5), secret: SECRET, received: 1 }),
        agent: AGENT.to_owned(),
        window_bytes: DEFAULT_WINDOW_BYTES,
    }
}

/// Everything with a text in it that goes over the socket. Returns the session's real secret.
async fn chat(address: &str, token: &str) -> [u8; 16] {
    let mut socket = connect(address).await;
    say(&mut socket, hello(token)).await;
    let welcome = |frame| match frame {
        ServerFrame::Welcome(welcome) => Some(welcome.secret),
        _ => None,
    };
    let secret = until(&mut socket, welcome).await.unwrap();
    say(&mut socket, Sync { request: 1, cursor: None }).await;
    say(&mut socket, OpenDirect { request: 2, name: "bob".to_owned() }).await;
    let opened = |frame| match frame {
        ServerFrame::Conversation(answer) => Some(answer.info.conversation),
        _ => None,
    };
    let conversation = until(&mut socket, opened).await.unwrap();
    let send = |request, conversation, kind| Send {
        request,
        conversation,
        client_msg_id: ClientMsgId::from_parts(rookery_node::now_ms(), [7; 10]),
        retry: false,
        kind,
        body: BODY.as_bytes().to_vec(),
    };
    let answered = |frame| match frame {
        ServerFrame::Sent(_) | ServerFrame::Error(_) | ServerFrame::HistoryPage(_) => Some(()),
        ServerFrame::Done(_) => Some(()),
        _ => None,
    };
    say(&mut socket, send(3, conversation, EntryKind::Text)).await;
    until(&mut socket, answered).await.unwrap();
    // Refused ones, too: a stranger's conversation, a kind that isn't.
    for refused in
        [send(4, ConversationId(9), EntryKind::Text), send(5, conversation, EntryKind::Other(99))]
    {
        say(&mut socket, refused).await;
        until(&mut socket, answered).await.unwrap();
    }
    let (anchor, direction) = (0, Direction::Before);
    say(&mut socket, History { request: 6, conversation, anchor, direction, limit: 9 }).await;
    until(&mut socket, answered).await.unwrap();
    for token in [token, BAD_TOKEN] {
        say(&mut socket, Authenticate { request: 7, token: token.to_owned() }).await;
        until(&mut socket, answered).await.unwrap();
        say(&mut socket, Refresh { request: 7, refresh_token: token.to_owned() }).await;
        until(&mut socket, answered).await.unwrap();
    }
    // A frame that breaks off in the middle of a body.
    let whole = ClientFrame::from(send(8, conversation, EntryKind::Text)).to_bytes();
    socket.send(Message::Binary(whole.slice(..whole.len() - 3))).await.unwrap();
    assert!(until(&mut socket, |_| None::<()>).await.is_none());
    secret
}

/// Hellos and messages that are refused.
async fn refused(address: &str) {
    let mut socket = connect(address).await;
    say(&mut socket, hello(BAD_TOKEN)).await;
    assert!(until(&mut socket, |_| None::<()>).await.is_none());
    let mut socket = connect(address).await;
    socket.send(Message::Text(BODY.into())).await.unwrap();
    assert!(until(&mut socket, |_| None::<()>).await.is_none());
}

/// Requests that fail, with a canary wherever there is room for one; their answers.
fn failures(address: &str) -> Vec<String> {
    let get = |line: &str, headers: &str| {
        format!("{line} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}\r\n")
    };
    vec![
        post(address, "/v1/login", &body("ada", WRONG_PASSWORD)),
        post(address, "/v1/login", &body("nobody-here", WRONG_PASSWORD)),
        post(address, "/v1/login", &format!("{{\"name\":\"ada\",\"password\":\"{PASSWORD}")),
        post(address, "/v1/login", &format!("{{\"password\":[\"{PASSWORD}\"]}}")),
        post(address, "/v1/login", &format!("{{\"{PASSWORD}\":1}}")),
        post(address, "/v1/signup", &body("ada", PASSWORD)),
        post(address, "/v1/signup", &body("x", PASSWORD)),
        post(address, "/v1/refresh", &json!({ "refresh_token": BAD_TOKEN }).to_string()),
        raw(address, &get("GET /v1/discover", &format!("authorization: Bearer {BAD_TOKEN}\r\n"))),
        raw(address, &get(&format!("GET /v1/login?password={PASSWORD}"), "")),
        raw(address, &get(&format!("GET /{BAD_TOKEN}"), &format!("cookie: {HEADER}\r\n"))),
        raw(address, &format!("{PASSWORD} {BAD_TOKEN}\r\n\r\n")),
    ]
}

#[test]
fn no_canary_is_found_in_logs_metrics_and_errors() {
    let dir = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let metrics = listener.local_addr().unwrap().to_string();
    drop(listener);
    let mut command = rookery();
    command.arg("serve").arg("--data").arg(dir.path());
    command.args(["--listen", "127.0.0.1:0", "--metrics", &metrics]);
    command.args(["--admin", "127.0.0.1:0"]);
    command.env("ROOKERY_LOG_LEVEL", "trace").env("RUST_LOG", "trace");
    // Words of bodies are in the keys of rows then.
    command.env("ROOKERY_SEARCH_ENABLED", "true");
    let ready = Ready::start(command);
    let address = ready.address().to_owned();

    let ada = parsed(&post(&address, "/v1/signup", &body("ada", PASSWORD)));
    parsed(&post(&address, "/v1/signup", &body("bob", PASSWORD)));
    let logged_in = parsed(&post(&address, "/v1/login", &body("ada", PASSWORD)));
    let text = |answer: &Value, key: &str| answer[key].as_str().unwrap().to_owned();
    let old = text(&ada, "refresh_token");
    let refresh =
        |token: &str| post(&address, "/v1/refresh", &json!({ "refresh_token": token }).to_string());
    let refreshed = parsed(&refresh(&old));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let secret = runtime.block_on(chat(&address, &text(&logged_in, "access_token")));
    runtime.block_on(refused(&address));
    let mut told = failures(&address);
    let search = |query: &str| {
        let token = text(&logged_in, "access_token");
        let head = format!("host: {address}\r\nauthorization: Bearer {token}\r\nconnection: close");
        raw(&address, &format!("GET /v1/search?q={query} HTTP/1.1\r\n{head}\r\n\r\n"))
    };
    let found = search("canary");
    assert!(found.contains(BODY), "{found}");
    told.push(search("canary&cursor=canary"));
    // A token that was used before: refused, or answered once more as it was, which is no error.
    told.extend(Some(refresh(&old)).filter(|answer| !answer.starts_with("HTTP/1.1 200")));
    let metrics = raw(&metrics, "GET /metrics HTTP/1.0\r\n\r\n");
    assert!(metrics.contains("rookery_http_requests_total"), "{metrics}");
    ready.signal(Signal::TERM);
    let (status, log) = ready.end();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("DEBUG") || log.contains("TRACE"), "the log is not talkative: {log}");

    let mut canaries: Vec<String> =
        [PASSWORD, WRONG_PASSWORD, BODY, BAD_TOKEN, HEADER, "canary"].map(str::to_owned).into();
    for answer in [&ada, &logged_in, &refreshed] {
        canaries.extend(["access_token", "refresh_token"].map(|key| text(answer, key)));
    }
    canaries.push(secret.iter().map(|byte| format!("{byte:02x}")).collect());
    canaries.push(format!("{secret:?}"));
    for canary in &canaries {
        assert!(!log.contains(canary.as_str()), "{canary} is in the log");
        assert!(!metrics.contains(canary.as_str()), "{canary} is in the metrics");
        let echoed = told.iter().find(|answer| answer.contains(canary.as_str()));
        assert_eq!(echoed, None, "{canary} is in an answer to an error");
    }
}
