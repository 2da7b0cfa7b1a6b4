//! Connecting to the store's process: its socket and the exchange of greetings.

use super::client::{ConnectError, SharedConfig};
use super::wire::{self, GREETING_BYTES, VERDICT_BYTES, Verdict};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Longest wait of one read from the connection: how often its thread looks at the time.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// Connects and exchanges greetings.
///
/// # Errors
/// [`ConnectError`].
pub(super) fn dial(config: &SharedConfig) -> Result<UnixStream, ConnectError> {
    let path = &config.socket;
    let failed = |source| ConnectError::Unreachable { socket: path.clone(), source };
    let greet = || -> io::Result<(UnixStream, [u8; VERDICT_BYTES])> {
        let mut stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(config.silence))?;
        stream.set_write_timeout(Some(config.silence))?;
        let mut verdict = [0; VERDICT_BYTES];
        stream.write_all(&wire::greeting(wire::VERSION))?;
        stream.read_exact(&mut verdict)?;
        stream.set_read_timeout(Some(TICK))?;
        Ok((stream, verdict))
    };
    let (stream, greeting) = greet().map_err(failed)?;
    let [.., code] = greeting;
    let version = greeting.first_chunk::<GREETING_BYTES>().and_then(|g| wire::greeted(g));
    match (version, Verdict::of_code(code)) {
        (Some(_), Some(Verdict::Welcome)) => Ok(stream),
        (Some(_), Some(Verdict::Full)) => Err(ConnectError::Full(path.clone())),
        (Some(theirs), _) => Err(ConnectError::OtherVersion { socket: path.clone(), theirs }),
        (None, _) => Err(ConnectError::NoStore(path.clone())),
    }
}
