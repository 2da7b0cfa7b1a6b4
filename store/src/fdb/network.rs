//! The client library's network thread: one a process, started at the first opening, never again
//! after it was stopped.
//!
//! Safety: the library demands that the thread is stopped before the process exits. A node stops it
//! when its store is closed; a handler registered with the C library does for every other way out
//! of `main`, and comes before the library's own destructors, which were registered when it was
//! loaded.

use super::codes::Code;
use super::connect::OpenError;
use foundationdb::api::{FdbApiBuilder, NetworkAutoStop, get_max_api_version};
use std::ffi::c_int;
use std::sync::{Mutex, PoisonError};

/// The API the engine is written for: that of 7.3.
const API_VERSION: i32 = 730;

enum Network {
    NotStarted,
    Running(NetworkAutoStop),
    Stopped,
    Failed(Code),
}

static NETWORK: Mutex<Network> = Mutex::new(Network::NotStarted);

/// Starts the thread, if it doesn't run.
pub(super) fn start() -> Result<(), OpenError> {
    let mut network = NETWORK.lock().unwrap_or_else(PoisonError::into_inner);
    if matches!(*network, Network::NotStarted) {
        *network = match boot() {
            Ok(running) => Network::Running(running),
            Err(code) => Network::Failed(code),
        };
    }
    match *network {
        Network::Running(_) => Ok(()),
        Network::Failed(Code::API_VERSION_NOT_SUPPORTED) => {
            Err(OpenError::OldLibrary { supports: get_max_api_version(), needs: API_VERSION })
        }
        Network::Failed(code) => Err(OpenError::Library(code.0)),
        Network::Stopped | Network::NotStarted => Err(OpenError::NetworkStopped),
    }
}

/// Stops the client library's network thread for good: close every engine first, nothing can be
/// opened in this process afterwards. Blocks until the thread has ended. Does nothing when it
/// doesn't run.
pub fn stop_network() {
    let mut network = NETWORK.lock().unwrap_or_else(PoisonError::into_inner);
    match std::mem::replace(&mut *network, Network::Stopped) {
        // Dropping it stops the thread and waits for its end.
        Network::Running(running) => drop(running),
        other => *network = other,
    }
}

#[expect(unsafe_code, reason = "the library wants a promise that its thread is stopped; see below")]
fn boot() -> Result<NetworkAutoStop, Code> {
    unsafe extern "C" {
        fn atexit(handler: extern "C" fn()) -> c_int;
    }
    extern "C" fn at_exit() {
        stop_network();
    }
    let builder = FdbApiBuilder::default()
        .set_runtime_version(API_VERSION)
        .build()
        .map_err(|error| Code(error.code()))?;
    // SAFETY: `atexit` is the C library's, with this signature; the handler doesn't unwind.
    let registered = unsafe { atexit(at_exit) };
    if registered != 0 {
        tracing::warn!("the end of FoundationDB's network thread could not be registered");
    }
    // SAFETY: the returned guard is kept in `NETWORK` and dropped by `stop_network`, which the
    // handler above calls if nothing else did.
    unsafe { builder.boot() }.map_err(|error| Code(error.code()))
}
