//! The other end: how `rookery cluster status` and `rookery drain` ask a node. One request a
//! connection; no HTTP client is worth carrying for it.

use super::HEADER;
use std::fmt;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);
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
                "no node answers at {address} ({error}); name its metrics address with --metrics"
            ),
            Self::Refused(status, body) => write!(f, "the node refused ({status}): {body}"),
            Self::Nonsense => f.write_str("what listens there is no rookery node"),
        }
    }
}

impl std::error::Error for AskError {}

/// Asks a node at the address of its metrics; the body of its answer. Blocks for up to some
/// seconds.
///
/// # Errors
/// [`AskError`].
pub fn ask(address: SocketAddr, method: &str, path: &str) -> Result<String, AskError> {
    let answer = exchange(address, method, path);
    let answer = answer.map_err(|error| AskError::Unreachable(address, error))?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(AskError::Nonsense)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
    match status.ok_or(AskError::Nonsense)? {
        200..=299 => Ok(body.to_owned()),
        status => Err(AskError::Refused(status, body.to_owned())),
    }
}

fn exchange(address: SocketAddr, method: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\n{HEADER}: 1\r\nconnection: close\r\n\
         content-length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER_BYTES).read_to_string(&mut answer)?;
    Ok(answer)
}
