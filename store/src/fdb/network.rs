//! The client library's network thread: one a process, started at the first opening, never again
//! after it was stopped.
//!
//! Safety: the library demands that the thread is stopped before the process exits. A node does that
//! when it has closed its store ([`stop_network`]). Whoever leaves `main` in another way is served by
//! a handler registered with the C library:
//! - It is registered after the first contact with a cluster, and again at each opening: the
//!   library builds some of its static objects late, and what was built later is destroyed earlier;
//!   a thread that runs on meanwhile crashes.
//! - It lets a thread of ours do the stopping: when handlers run, the exiting thread's own
//!   thread-locals are gone, and the library needs some of its own to stop (it crashes).

use super::codes::Code;
use super::connect::OpenError;
use foundationdb::api::{FdbApiBuilder, NetworkAutoStop, get_max_api_version};
use std::ffi::c_int;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The API the engine is written for: that of 7.3.
const API_VERSION: i32 = 730;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Network {
    NotStarted,
    Running,
    Stopping,
    Stopped,
    Failed(Code),
}

static NETWORK: Mutex<Network> = Mutex::new(Network::NotStarted);
static CHANGED: Condvar = Condvar::new();

fn lock() -> MutexGuard<'static, Network> {
    NETWORK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until the network is in another state.
fn wait_while(state: Network) -> MutexGuard<'static, Network> {
    let waited = CHANGED.wait_while(lock(), |network| *network == state);
    waited.unwrap_or_else(PoisonError::into_inner)
}

/// Starts the thread, if it doesn't run.
pub(super) fn start() -> Result<(), OpenError> {
    let mut network = lock();
    if *network == Network::NotStarted {
        *network = match boot() {
            Ok(guard) => {
                let waiting = move || {
                    drop(wait_while(Network::Running));
                    // Dropping it stops the network thread and waits for its end.
                    drop(guard);
                    *lock() = Network::Stopped;
                    CHANGED.notify_all();
                };
                let name = "store-fdb-end".to_owned();
                std::thread::Builder::new().name(name).spawn(waiting).map_err(OpenError::Thread)?;
                Network::Running
            }
            Err(code) => Network::Failed(code),
        };
    }
    match *network {
        Network::Running => Ok(()),
        Network::Failed(Code::API_VERSION_NOT_SUPPORTED) => {
            Err(OpenError::OldLibrary { supports: get_max_api_version(), needs: API_VERSION })
        }
        Network::Failed(code) => Err(OpenError::Library(code.0)),
        Network::Stopping | Network::Stopped | Network::NotStarted => {
            Err(OpenError::NetworkStopped)
        }
    }
}

/// Stops the client library's network thread for good: close every engine first, nothing can be
/// opened in this process afterwards. Blocks until the thread has ended. Does nothing when it
/// doesn't run.
pub fn stop_network() {
    let mut network = lock();
    if *network == Network::Running {
        *network = Network::Stopping;
        CHANGED.notify_all();
    }
    drop(network);
    drop(wait_while(Network::Stopping));
}

#[expect(unsafe_code, reason = "the library wants a promise that its thread is stopped; see below")]
fn boot() -> Result<NetworkAutoStop, Code> {
    let builder = FdbApiBuilder::default()
        .set_runtime_version(API_VERSION)
        .build()
        .map_err(|error| Code(error.code()))?;
    // SAFETY: the returned guard is dropped by the thread that `start` gives it to when the network
    // is to stop, which `stop_at_exit` asks for if nothing else did.
    unsafe { builder.boot() }.map_err(|error| Code(error.code()))
}

/// Registers the end of the network thread with the C library, once more: see above.
#[expect(unsafe_code, reason = "the C library's `atexit` has no safe binding among our crates")]
pub(super) fn stop_at_exit() {
    unsafe extern "C" {
        fn atexit(handler: extern "C" fn()) -> c_int;
    }
    extern "C" fn at_exit() {
        stop_network();
    }
    // SAFETY: `atexit` has this signature in every C library; the handler doesn't unwind, and may
    // run more than once.
    if unsafe { atexit(at_exit) } != 0 {
        tracing::warn!("the end of FoundationDB's network thread could not be registered");
    }
}
