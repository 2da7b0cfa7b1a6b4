//! The engine as the layer knows it: opening, submitting, views, closing.

use super::connect::{self, OpenError};
use super::core::Core;
use super::driver::Tuning;
use super::library::Library;
use super::meters::Operations;
use super::space::Space;
use super::view::{FdbView, unavailable};
use super::{client::Client, network};
use crate::doorbell::Doorbell;
use crate::engine::{Done, Engine, ReadError};
use crate::plan::{Plan, Version};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

/// How to open an [`FdbEngine`].
#[derive(Clone, Debug)]
pub struct FdbConfig {
    /// The cluster file; `None`: `FDB_CLUSTER_FILE`, or where FoundationDB's packages put it.
    pub cluster_file: Option<PathBuf>,
    /// What this installation's keys begin with, so that several share a database: 1 to 32
    /// characters of `a-z A-Z 0-9 . _ - /`.
    pub prefix: String,
    /// Most bytes of plans that wait or are being committed; beyond, submissions are `Busy`.
    pub queue_bytes: usize,
    /// Most bytes of plans in one transaction (a larger plan is still one).
    pub merge_bytes: usize,
    /// Most transactions under way.
    pub lanes: usize,
    /// Time-out of a transaction and of a view.
    pub timeout: Duration,
    /// How long a commit is tried, and a lost outcome looked up.
    pub patience: Duration,
}

impl Default for FdbConfig {
    fn default() -> Self {
        Self {
            cluster_file: None,
            prefix: "rookery".to_owned(),
            queue_bytes: 64 << 20,
            merge_bytes: 256 << 10,
            lanes: 8,
            timeout: Duration::from_secs(5),
            patience: Duration::from_secs(10),
        }
    }
}

/// The engine of production clusters. Clones share one connection.
#[derive(Clone)]
pub struct FdbEngine {
    inner: Arc<Inner>,
}

struct Inner {
    library: Arc<Library>,
    space: Space,
    core: Core,
}

impl fmt::Debug for FdbEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FdbEngine")
            .field("trouble", &self.trouble())
            .field("operations", &self.operations())
            .finish_non_exhaustive()
    }
}

impl FdbEngine {
    /// Connects to the cluster, and makes the prefix this installation's if it is empty. Blocks
    /// until the cluster answers or the time-out is over. Install a metrics recorder before.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(config: &FdbConfig) -> Result<Self, OpenError> {
        let path = connect::cluster_file(config.cluster_file.as_deref())?;
        let space = Space::new(&config.prefix)
            .ok_or_else(|| OpenError::BadPrefix(config.prefix.clone()))?;
        network::start()?;
        let failed = |code| connect::failed(code, &path, config.timeout);
        let library = path
            .to_str()
            .filter(|path| !path.contains('\0'))
            .ok_or_else(|| OpenError::BadClusterFile { path: path.clone() })
            .and_then(|path| Library::connect(path, config.timeout).map_err(failed))?;
        let library = Arc::new(library);
        let reached = wait(connect::reach(&library, &path, config.timeout));
        network::stop_at_exit();
        let version = reached?;
        wait(connect::adopt(&library, &space, &config.prefix)).map_err(failed)??;
        match wait(connect::remove_stale_marks(&library, &space, version)) {
            Ok(0) => {}
            Ok(stale) => tracing::info!(stale, "removed what dead processes left of their commits"),
            Err(error) => tracing::warn!(%error, "could not look for what dead processes left"),
        }
        let tuning = Tuning {
            lanes: config.lanes.max(1),
            merge_bytes: config.merge_bytes,
            patience: config.patience,
        };
        // The standard library's hasher is seeded from the operating system's random source.
        let instance = RandomState::new().hash_one(std::process::id());
        let client = Arc::clone(&library);
        let core =
            Core::start(client, space.clone(), tuning, config.queue_bytes, instance, version)
                .map_err(OpenError::Thread)?;
        Ok(Self { inner: Arc::new(Inner { library, space, core }) })
    }

    /// Why commits are refused, for the operator; `None` while they aren't.
    #[must_use]
    pub fn trouble(&self) -> Option<&'static str> {
        let core = &self.inner.core;
        if core.is_closed() {
            Some("the store is closed")
        } else if core.is_stalled() {
            Some("FoundationDB does not answer; look at `fdbcli --exec status`")
        } else {
            None
        }
    }

    /// How many operations were sent to the cluster since it was opened.
    #[must_use]
    pub fn operations(&self) -> Operations {
        self.inner.core.operations()
    }

    /// Commits what was submitted, reports it, and ends the engine's thread. Later submissions
    /// are `Busy`; views still work. See [`super::stop_network`] for the process's end.
    pub fn close(&self) {
        self.inner.core.close();
    }

    /// Removes everything under the prefix, for tests and for an operator who means it. The
    /// engine can't be used afterwards.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`]: perhaps nothing was removed.
    pub fn erase(&self) -> Result<(), ReadError> {
        self.close();
        let (everything, _) = self.inner.space.whole();
        wait(self.inner.library.clear(everything)).map_err(unavailable)
    }
}

impl Engine for FdbEngine {
    type View = FdbView;

    fn submit(&self, plans: Vec<Plan>, done: Done) {
        self.inner.core.submit(plans, done);
    }

    async fn view(&self, at_least: Version) -> Result<FdbView, ReadError> {
        let Inner { library, space, core } = &*self.inner;
        if core.is_stalled() {
            return Err(ReadError::Unavailable("FoundationDB does not answer".to_owned()));
        }
        let version = library.read_version().await.map_err(unavailable)?;
        if version < at_least.0 {
            // The cluster's version covers every commit reported anywhere before it was asked.
            let why = format!("version {} was asked for, {version} is the latest", at_least.0);
            return Err(ReadError::Unavailable(why));
        }
        let transaction = library.at(version).map_err(unavailable)?;
        Ok(FdbView { transaction, version: Version(version), space: space.clone() })
    }

    fn reads_block(&self) -> bool {
        false
    }

    fn doorbell(&self, key: &[u8]) -> Doorbell {
        self.inner.core.doorbell(key)
    }
}

/// Runs a future on this thread; the client library's time-outs bound it.
fn wait<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
