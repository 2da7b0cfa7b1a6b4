//! A gate in front of a Unix socket: while it is closed, nothing passes, in neither direction, and
//! nobody is told. It is to a store's socket what a cut cable is to a network.
//!
//! Connections stay, and what was on its way arrives once the gate opens, as TCP would bring it after
//! a healed partition.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Bytes carried at a time.
const CHUNK: usize = 64 << 10;

/// See the module. Dropping it ends all connections through it.
#[derive(Debug)]
pub struct Gate {
    shared: Arc<Shared>,
    path: PathBuf,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    ended: bool,
    /// What to shut down at the end, so that nobody waits in a read.
    open: Vec<UnixStream>,
}

impl Gate {
    /// An open gate: who connects to `path` is connected to `target`.
    ///
    /// # Errors
    /// When the socket can't be made.
    pub fn new(path: &Path, target: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        let (accepting, target) = (Arc::clone(&shared), target.to_owned());
        thread::Builder::new().name("gate".into()).spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if !accepting.wait_until_open() {
                    return;
                }
                // A target that refuses is a connection that ends, as without the gate.
                if let Ok(further) = UnixStream::connect(&target) {
                    accepting.carry(stream, further).ok();
                }
            }
        })?;
        Ok(Self { shared, path: path.to_owned() })
    }

    /// Where to connect.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// From now on nothing passes.
    pub fn close(&self) {
        self.shared.lock().closed = true;
    }

    /// Everything passes, what waited first.
    pub fn open(&self) {
        self.shared.lock().closed = false;
        self.shared.changed.notify_all();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let open = {
            let mut state = self.shared.lock();
            state.ended = true;
            std::mem::take(&mut state.open)
        };
        self.shared.changed.notify_all();
        for stream in open {
            stream.shutdown(Shutdown::Both).ok();
        }
        // Wakes the one that accepts.
        UnixStream::connect(&self.path).ok();
        std::fs::remove_file(&self.path).ok();
    }
}

impl Shared {
    /// False: the gate is no more.
    fn wait_until_open(&self) -> bool {
        let state = self.lock();
        let waited = self.changed.wait_while(state, |state| state.closed && !state.ended);
        !waited.unwrap_or_else(PoisonError::into_inner).ended
    }

    fn carry(self: &Arc<Self>, one: UnixStream, other: UnixStream) -> io::Result<()> {
        self.lock().open.extend([one.try_clone()?, other.try_clone()?]);
        for (from, to) in [(one.try_clone()?, other.try_clone()?), (other, one)] {
            let shared = Arc::clone(self);
            thread::Builder::new().name("gate".into()).spawn(move || {
                shared.carry_one_way(&from, &to).ok();
                // The end of one direction is passed on; the other may still have something to say.
                to.shutdown(Shutdown::Write).ok();
            })?;
        }
        Ok(())
    }

    fn carry_one_way(&self, mut from: &UnixStream, mut to: &UnixStream) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = match from.read(&mut chunk) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                read => read?,
            };
            if !self.wait_until_open() || read == 0 {
                return Ok(());
            }
            to.write_all(chunk.get(..read).unwrap_or_default())?;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// A server that sends back each byte, and the gate in front of it.
    fn gated() -> (tempfile::TempDir, Gate, UnixStream) {
        let directory = tempfile::tempdir().unwrap();
        let (path, target) = (directory.path().join("gate"), directory.path().join("target"));
        let listener = UnixListener::bind(&target).unwrap();
        thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            io::copy(&mut &stream, &mut &stream).ok();
        });
        let gate = Gate::new(&path, &target).unwrap();
        let client = UnixStream::connect(&path).unwrap();
        (directory, gate, client)
    }

    #[test]
    fn a_closed_gate_holds_what_comes_and_an_open_one_lets_it_pass() {
        let (_directory, gate, mut client) = gated();
        let mut byte = [0];
        client.write_all(b"a").unwrap();
        client.read_exact(&mut byte).unwrap();
        gate.close();
        client.write_all(b"b").unwrap();
        client.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert!(client.read(&mut byte).is_err());
        gate.open();
        client.set_read_timeout(None).unwrap();
        client.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"b");
    }

    #[test]
    fn a_gate_that_is_dropped_ends_its_connections_even_while_closed() {
        let (_directory, gate, mut client) = gated();
        client.write_all(b"a").unwrap();
        client.read_exact(&mut [0]).unwrap();
        gate.close();
        client.write_all(b"b").unwrap();
        drop(gate);
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
}
