//! The other end: how the command line asks a node. One request a connection; no HTTP client is
//! worth carrying for it.

use std::fmt;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longer than any operation of the node takes.
const PATIENCE: Duration = Duration::from_secs(15);
/// Longest answer that is read.
const MAX_ANSWER_BYTES: u64 = 4 * 1024 * 1024;

/// Why a node gave no good answer.
#[derive(Debug)]
pub enum AskError {
    /// It can't be reached, or said nothing in time.
    Unreachable(SocketAddr, std::io::Error),
    /// It said no: the status and the body.
    Refused(u16, String),
    /// What it said is no HTTP.
    Nonsense,
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(address, error) => write!(
                f,
                "no node answers at {address} ({error}); name its address with --metrics, or \
                 --admin"
            ),
            Self::Refused(status, body) => match told(body) {
                Some((code, detail)) => write!(f, "the node refused ({code}): {detail}"),
                None => write!(f, "the node refused ({status}): {body}"),
            },
            Self::Nonsense => f.write_str("what listens there is no rookery node"),
        }
    }
}

impl std::error::Error for AskError {}

/// Code and detail of a refusal.
fn told(body: &str) -> Option<(String, String)> {
    let body: serde_json::Value = serde_json::from_str(body).ok()?;
    let text = |name: &str| Some(body.get("error")?.get(name)?.as_str()?.to_owned());
    Some((text("code")?, text("detail")?))
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// `GET`, `POST` and so on.
    pub method: &'a str,
    /// Path and query, already escaped.
    pub path: &'a str,
    /// An operator's token, where one is needed.
    pub token: Option<&'a str>,
    /// A body of JSON.
    pub body: Option<&'a str>,
}

/// Asks a node; the body of its answer. Blocks for up to some seconds.
///
/// # Errors
/// [`AskError`].
pub fn ask(address: SocketAddr, asked: Asked<'_>) -> Result<String, AskError> {
    let answer = exchange(address, asked);
    let answer = answer.map_err(|error| AskError::Unreachable(address, error))?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(AskError::Nonsense)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
    match status.ok_or(AskError::Nonsense)? {
        200..=299 => Ok(body.to_owned()),
        status => Err(AskError::Refused(status, body.to_owned())),
    }
}

fn exchange(address: SocketAddr, asked: Asked<'_>) -> std::io::Result<String> {
    let Asked { method, path, token, body } = asked;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let token =
        token.map_or_else(String::new, |token| format!("authorization: Bearer {token}\r\n"));
    let kind = body.map_or("", |_| "content-type: application/json\r\n");
    let body = body.unwrap_or_default();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         {token}{kind}content-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER_BYTES).read_to_string(&mut answer)?;
    Ok(answer)
}
