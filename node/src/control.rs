//! The control socket of a running node: how a tool on the same machine gets a backup from the
//! store that the node has open.
//!
//! It lies beside the store (`<store>/control.sock`), which only one process can have open. It is
//! no part of the metrics port, because that has no access control and a backup holds everything:
//! the socket is for the node's own user and root, by its mode and by the peer's credentials.
//!
//! ```text
//! tool   "backup 1\n"
//! node   a backup file (see `rookery_store::backup`), written while the node goes on serving
//! ```
//!
//! One backup at a time. A reader that stands still for [`STALLED`] is cut off: a snapshot that is
//! held keeps old rows on the disk.

use crate::now_ms;
use crate::store::Store;
use rookery_store::backup;
use std::fs::Permissions;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as Stream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};

const SOCKET: &str = "control.sock";
const BACKUP: &str = "backup 1\n";
/// Most bytes of a request.
const MAX_REQUEST: u64 = 64;
/// How long a tool may take to ask.
const ASKING: Duration = Duration::from_secs(5);
/// How long a tool may stop reading.
const STALLED: Duration = Duration::from_secs(60);
/// Bytes gathered before they are sent.
const BUFFER: usize = 256 << 10;
/// After a failed accept.
const PAUSE: Duration = Duration::from_millis(50);

/// Asks the node that has the store in `dir` open for a backup: the stream it comes from. `None`:
/// no node listens there.
///
/// # Errors
/// When a node is there and can't be asked.
pub fn ask_for_backup(dir: &Path) -> io::Result<Option<Stream>> {
    match Stream::connect(dir.join(SOCKET)) {
        Ok(mut stream) => {
            stream.set_read_timeout(Some(STALLED))?;
            stream.write_all(BACKUP.as_bytes())?;
            Ok(Some(stream))
        }
        Err(error) => match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => Ok(None),
            // Longer than the address of a socket may be: no node could listen there.
            ErrorKind::InvalidInput => Ok(None),
            _ => Err(error),
        },
    }
}

/// The socket, gone with this.
#[derive(Debug)]
pub(crate) struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Control {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "the control socket was gone");
        }
    }
}

impl Control {
    /// Listens beside the store in `dir`, which this process has open.
    pub(crate) fn listen(dir: &Path) -> io::Result<Self> {
        let path = std::path::absolute(dir)?.join(SOCKET);
        // Left by a process that was killed; nobody else has the store open.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        let control = Self { listener, path };
        std::fs::set_permissions(&control.path, Permissions::from_mode(0o600))?;
        Ok(control)
    }

    /// Serves until it is dropped; a backup under way ends when `stop` says so.
    pub(crate) async fn serve(self, store: Store, stop: watch::Receiver<bool>) {
        let turn = Arc::new(Semaphore::new(1));
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(answer(stream, store.clone(), Arc::clone(&turn), stop.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "the control socket does not accept");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

async fn answer(
    stream: UnixStream,
    store: Store,
    turn: Arc<Semaphore>,
    stop: watch::Receiver<bool>,
) {
    let me = rustix::process::geteuid().as_raw();
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == me || peer.uid() == 0 => {}
        _ => return tracing::warn!("somebody else's process asked on the control socket"),
    }
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    let mut bounded = (&mut reader).take(MAX_REQUEST);
    match tokio::time::timeout(ASKING, bounded.read_line(&mut request)).await {
        Ok(Ok(_)) if request == BACKUP => {}
        _ => return tracing::warn!("a request on the control socket was not understood"),
    }
    let stream = reader.into_inner();
    let turn = turn.try_acquire_owned();
    let runtime = tokio::runtime::Handle::current();
    let sending = move || -> io::Result<()> {
        let stream = stream.into_std()?;
        stream.set_nonblocking(false)?;
        stream.set_write_timeout(Some(STALLED))?;
        let out = BufWriter::with_capacity(BUFFER, Stoppable { stream, stop });
        if turn.is_err() {
            return backup::refuse(out, "another backup is being made; wait for its end");
        }
        tracing::info!("a backup begins");
        match runtime.block_on(backup::write(&store, out, now_ms(), |_| {})) {
            Ok(totals) => tracing::info!(rows = totals.total(), "a backup was made"),
            Err(error) => tracing::warn!(%error, "a backup failed"),
        }
        Ok(())
    };
    match tokio::task::spawn_blocking(sending).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the control socket failed"),
        Err(_) => tracing::error!("a backup panicked"),
    }
}

/// A stream that fails once the node ends: a node must not wait for a backup.
struct Stoppable {
    stream: Stream,
    stop: watch::Receiver<bool>,
}

impl Write for Stoppable {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if *self.stop.borrow() {
            return Err(io::Error::new(ErrorKind::ConnectionAborted, "the node ends"));
        }
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
