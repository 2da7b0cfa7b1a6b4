//! The server: a Unix socket in front of an engine.
//!
//! The socket is made under another name, closed to other users, and then moved to its place: it
//! is never there with wrong permissions, and a file that a killed server left is replaced.

use super::connection;
use super::wire::Verdict;
use crate::engine::Engine;
use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How to serve.
#[derive(Clone)]
pub struct ServerConfig {
    /// Path of the socket; its directory must exist.
    pub socket: PathBuf,
    /// Most clients at a time; a further one is told so and let go.
    pub connections: usize,
    /// Most bytes of plans of one client that are not answered yet; beyond, they are `Busy`.
    pub plan_bytes: usize,
    /// Bytes of answers to one client that wait; beyond, it is not read from.
    pub answer_bytes: usize,
    /// Most snapshots of one client.
    pub views: usize,
    /// How long a snapshot lives after it was last read from: it keeps old rows from being compacted
    /// away.
    pub view_life: Duration,
    /// Longest time a client may take no answers, or say nothing at its start.
    pub write_timeout: Duration,
    /// Says why the engine takes no commits, if it doesn't; clients are told.
    pub trouble: Option<Trouble>,
}

/// Says why an engine takes no commits; `None` while it does.
pub type Trouble = Arc<dyn Fn() -> Option<String> + Send + Sync>;

impl fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConfig").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl ServerConfig {
    /// The defaults for a socket.
    #[must_use]
    pub fn new(socket: impl AsRef<Path>) -> Self {
        Self {
            socket: socket.as_ref().to_owned(),
            connections: 128,
            plan_bytes: 32 << 20,
            answer_bytes: 16 << 20,
            views: 1024,
            view_life: Duration::from_secs(30),
            write_timeout: Duration::from_secs(5),
            trouble: None,
        }
    }
}

/// Why a socket can't be served on. Its text names the path and the remedy.
#[derive(Debug)]
#[non_exhaustive]
pub enum BindError {
    /// Another process answers there.
    InUse(PathBuf),
    /// What is there is no socket; it is left alone.
    NoSocket(PathBuf),
    /// The system refuses.
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse(path) => write!(
                f,
                "another process serves on {}; end it, or choose another socket",
                path.display()
            ),
            Self::NoSocket(path) => write!(
                f,
                "{} is there and is no socket; remove it, or choose another path",
                path.display()
            ),
            Self::Io { path, source } => write!(
                f,
                "can't serve on the socket {}: {source}; choose a path of at most 100 bytes in a \
                 directory that this user may write",
                path.display()
            ),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::InUse(_) | Self::NoSocket(_) => None,
        }
    }
}

/// A running server. Dropping it ends it like [`Server::stop`].
pub struct Server {
    clients: Arc<Clients>,
    socket: PathBuf,
    /// Device and number of the socket's file.
    file: (u64, u64),
    accepting: Option<JoinHandle<()>>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("socket", &self.socket).finish_non_exhaustive()
    }
}

/// The connections of a server.
#[derive(Default)]
struct Clients {
    ending: AtomicBool,
    streams: Mutex<HashMap<u64, UnixStream>>,
    gone: Condvar,
}

impl Clients {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, UnixStream>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server {
    /// Serves an engine on a socket.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn start<E>(engine: E, config: &ServerConfig) -> Result<Self, BindError>
    where
        E: Engine + 'static,
        E::View: 'static,
    {
        let path = &config.socket;
        let failed = |source| BindError::Io { path: path.clone(), source };
        let (listener, file) = bind(path)?;
        let clients = Arc::new(Clients::default());
        let (shared, config) = (Arc::clone(&clients), config.clone());
        let socket = config.socket.clone();
        let accepting = std::thread::Builder::new()
            .name("store-accept".to_owned())
            .spawn(move || accept(&listener, &Arc::new(engine), &Arc::new(config), &shared))
            .map_err(failed)?;
        Ok(Self { clients, socket, file, accepting: Some(accepting) })
    }

    /// How many clients are connected.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.clients.lock().len()
    }

    /// Takes no more clients and no more requests, answers what was submitted, and lets the
    /// clients go. The engine stays open. Blocks for some seconds at most.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(accepting) = self.accepting.take() else { return };
        self.clients.ending.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for clients, if the path still leads to it.
        if UnixStream::connect(&self.socket).is_ok() && accepting.join().is_err() {
            tracing::error!("the thread that takes clients panicked");
        }
        if identity(&self.socket).is_ok_and(|file| file == self.file)
            && let Err(error) = fs::remove_file(&self.socket)
        {
            tracing::warn!(%error, "the socket's file could not be removed");
        }
        let mut streams = self.clients.lock();
        for stream in streams.values() {
            stream.shutdown(Shutdown::Read).unwrap_or_else(|error| {
                tracing::debug!(%error, "a client had gone before");
            });
        }
        while !streams.is_empty() {
            streams = self.clients.gone.wait(streams).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// A listener at a path, and its file's identity.
fn bind(path: &Path) -> Result<(UnixListener, (u64, u64)), BindError> {
    let failed = |source| BindError::Io { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(BindError::NoSocket(path.to_owned()));
        }
        Ok(_) if UnixStream::connect(path).is_ok() => {
            return Err(BindError::InUse(path.to_owned()));
        }
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&new).map_err(failed)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600))
        .and_then(|()| fs::rename(&new, path))
        .and_then(|()| identity(path))
        .map(|file| (listener, file))
        .map_err(failed)
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

fn accept<E>(
    listener: &UnixListener,
    engine: &Arc<E>,
    config: &Arc<ServerConfig>,
    clients: &Arc<Clients>,
) where
    E: Engine + 'static,
    E::View: 'static,
{
    let mut number = 0;
    loop {
        let accepted = listener.accept();
        if clients.ending.load(Ordering::SeqCst) {
            return;
        }
        let started = accepted.and_then(|(stream, _)| {
            number += 1;
            start(number, stream, engine, config, clients)
        });
        if let Err(error) = started {
            tracing::error!(%error, "a client can't be taken");
            // Want of descriptors or memory, most likely: don't spin.
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Starts the thread of a client.
fn start<E>(
    number: u64,
    stream: UnixStream,
    engine: &Arc<E>,
    config: &Arc<ServerConfig>,
    clients: &Arc<Clients>,
) -> io::Result<()>
where
    E: Engine + 'static,
    E::View: 'static,
{
    let verdict = {
        let mut streams = clients.lock();
        if streams.len() >= config.connections.saturating_mul(2) {
            // Not even time for a refusal.
            return Ok(());
        }
        let full = streams.len() >= config.connections;
        streams.insert(number, stream.try_clone()?);
        if full { Verdict::Full } else { Verdict::Welcome }
    };
    let listed = Listed { number, clients: Arc::clone(clients) };
    let (engine, config) = (Arc::clone(engine), Arc::clone(config));
    std::thread::Builder::new().name("store-client".to_owned()).spawn(move || {
        let listed = listed;
        connection::serve(&stream, &*engine, &config, verdict);
        // The engine's handle goes first: who waits for the clients to be gone may close it.
        drop(engine);
        drop(listed);
    })?;
    Ok(())
}

/// A client's place in the list.
struct Listed {
    number: u64,
    clients: Arc<Clients>,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.clients.lock().remove(&self.number);
        self.clients.gone.notify_all();
    }
}
