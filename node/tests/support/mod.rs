//! A node on a temporary directory, and clients of HTTP and of the wire that can also misbehave.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that fails fails its test"
)]
#![allow(dead_code, reason = "each test binary uses its part")]

pub mod process;
pub mod webdriver;
pub mod wire;

use rookery_cluster_config::Config;
use rookery_node::Node;
use rookery_node::identity::Cost;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A configuration on free ports and a directory of its own.
pub fn config(dir: &Path) -> Config {
    let mut config = Config::default();
    config.node.data_dir = dir.to_owned();
    config.http.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    config.metrics.listen = Some(config.http.listen);
    config.admin.listen = Some(config.http.listen);
    config
}

/// A running node, gone with its directory at the end of the test.
pub struct Running {
    pub node: Node,
    pub dir: TempDir,
}

impl Running {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        change(&mut config);
        let node = Node::start_with(config, Cost::Low).await.unwrap();
        Self { node, dir }
    }

    /// Posts a JSON text.
    pub async fn post(&self, path: &str, body: &str) -> Answer {
        self.send(&post(path, "application/json", body)).await
    }

    /// Sends a request as it stands.
    pub async fn send(&self, request: &str) -> Answer {
        send(self.node.http_addr(), request).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n")).await
    }

    /// Makes an account whose password is `correct horse`.
    pub async fn sign_up(&self, name: &str) -> Value {
        let answer = self.post("/v1/signup", &credentials(name, "correct horse")).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }
}

pub fn credentials(name: &str, password: &str) -> String {
    serde_json::json!({ "name": name, "password": password }).to_string()
}

pub fn post(path: &str, content_type: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\ncontent-type: {content_type}\
         \r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        serde_json::from_str(&self.body).unwrap()
    }

    /// Status and code of an error in the API's one shape.
    pub fn error(&self) -> (u16, String) {
        let json = self.json();
        let error = json["error"].as_object().unwrap();
        assert_eq!(error.keys().collect::<Vec<_>>(), ["code", "detail"]);
        assert!(!error["detail"].as_str().unwrap().is_empty());
        (self.status, error["code"].as_str().unwrap().to_owned())
    }
}

pub async fn send(address: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    read(&mut stream).await
}

/// Reads until the other end closes.
pub async fn read(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    // A peer that closes with unread input resets; what it said before has arrived all the same.
    let _reset_or_end = stream.read_to_end(&mut bytes).await;
    Answer::parse(&String::from_utf8(bytes).unwrap())
}

/// A request that shows an access token; `body` goes as JSON.
pub fn bearer(method: &str, path: &str, token: &str, body: Option<&str>) -> String {
    let body = body.unwrap_or_default();
    let declared = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
    format!(
        "{method} {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\
         authorization: Bearer {token}\r\n{declared}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}
