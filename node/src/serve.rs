//! The life of a node: what starts in which order, and what ends in which.
//!
//! ```text
//! start     metrics recorder, listeners (a busy port fails fast), store, secrets,
//!           the index of words, identity, gateway, accept loops, what follows keys and revocations
//! shutdown  /readyz turns 503 and /v1 refuses; a member of a cluster hands its actors and clients
//!           to the others; gateway and actors end; requests under way end, listeners close; the
//!           store closes
//! ```

use crate::admin::Credentials;
use crate::control::Control;
use crate::gateway::{self, Gateway};
use crate::http::accept::{self, Bounds, Door};
use crate::http::{self, Attempts, PerAddress, SignUps, Tls, TlsError};
use crate::identity::{self, Cost, Identity, Secrets};
use crate::place::{Place, PlaceError};
use crate::store::{self, OpenError, Store};
use crate::{AppState, admin, metrics, search};
use rookery_cluster_config::{Config, Limits};
use rookery_store::StoreError;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;

/// Connections that the listeners for operators take at a time, each.
const OWN_CONNECTIONS: usize = 64;
/// Reads of the store that requests may have under way at a time: each may take a thread.
const READS: usize = 16;
/// Exports made at a time.
const EXPORTS: usize = 2;
/// Between two looks for deletions that another node did not finish.
const DELETIONS: Duration = Duration::from_secs(60);

/// Why a node can't start. Its text is one line and names the remedy.
#[derive(Debug)]
pub enum StartError {
    /// An address can't be listened on.
    Listen {
        /// The address.
        address: SocketAddr,
        /// The flag that chooses it.
        flag: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The store can't be opened.
    Open(OpenError),
    /// A restore or migration into the store was not finished: this many rows so far.
    Unfinished(u64),
    /// The store was opened but the installation's row can't be read or written.
    Store(StoreError),
    /// The certificate or key for clients can't be used.
    Tls(TlsError),
    /// The password hasher or the signing key can't be used; the log says more.
    Identity,
    /// The gateway or its actors can't start.
    Gateway(String),
    /// A thread of the start-up panicked.
    Panicked,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen { address, flag, source } => {
                let remedy = match source.kind() {
                    ErrorKind::AddrInUse => "another program listens there: end it, or choose",
                    ErrorKind::AddrNotAvailable => "this machine has no such address: choose",
                    ErrorKind::PermissionDenied => "this user may not use that port: choose",
                    _ => "choose",
                };
                write!(f, "can't listen on {address} ({source}); {remedy} another with {flag}")
            }
            Self::Open(error) => error.fmt(f),
            Self::Unfinished(rows) => PlaceError::Unfinished(*rows).fmt(f),
            Self::Store(error) => {
                write!(f, "can't use the store: {error}; check that the disk has room and works")
            }
            Self::Tls(error) => write!(f, "{error}; see --tls-cert and --tls-key"),
            Self::Identity => f.write_str(
                "can't prepare passwords and tokens; check that the machine has 64 MiB of memory \
                 to spare",
            ),
            Self::Gateway(why) => write!(f, "can't start the gateway: {why}"),
            Self::Panicked => f.write_str("a part of the node panicked; the log says where"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Listen { source, .. } => Some(source),
            Self::Open(error) => Some(error),
            Self::Store(error) => Some(error),
            Self::Tls(error) => Some(error),
            Self::Unfinished(_) | Self::Identity | Self::Gateway(_) | Self::Panicked => None,
        }
    }
}

/// A running node. Dropping it closes the listeners; [`Node::shutdown`] ends it in order.
#[derive(Debug)]
pub struct Node {
    http_addr: SocketAddr,
    metrics_addr: Option<SocketAddr>,
    admin_addr: Option<SocketAddr>,
    state: Arc<AppState>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Node {
    /// Starts a node with password hashes of the cost that the environment says.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(config: Config) -> Result<Self, StartError> {
        Self::start_with(config, Cost::from_environment()).await
    }

    /// Starts a node with password hashes of a cost.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start_with(config: Config, cost: Cost) -> Result<Self, StartError> {
        if cost == Cost::Low {
            tracing::warn!(
                "PASSWORDS ARE HASHED CHEAPLY (ROOKERY_DEV_PASSWORD_COST=low): a stolen store \
                 gives them away. For load tests only"
            );
        }
        let recorder = metrics::recorder();
        let tls = tls(&config)?;
        let listener = listen(config.http.listen, "--listen").await?;
        let http_addr = bound(&listener, config.http.listen, "--listen")?;
        let metrics_listener = perhaps(config.metrics.listen, "--metrics").await?;
        let admin_listener = perhaps(config.admin.listen, "--admin").await?;
        let store = prepared_store(&config).await?;
        let secrets = secrets(&store).await?;
        let identity = Identity::new(&config, cost, store.clone(), &secrets)
            .map_err(|_| StartError::Identity)?;
        let gateway =
            Gateway::start(&config, &store, http_addr).await.map_err(StartError::Gateway)?;
        let limits = config.limits;
        let attempts = attempts(&limits);
        let per_address = per_address(&config);
        let draining = AtomicBool::new(false);
        let state = Arc::new(AppState {
            config,
            http_addr,
            store,
            identity,
            gateway,
            attempts,
            sign_ups: SignUps::new(&limits),
            per_address: per_address.clone(),
            notices: admin::Notices::default(),
            reads: Semaphore::new(READS),
            exports: Arc::new(Semaphore::new(EXPORTS)),
            draining,
            leave: Notify::new(),
        });

        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let bounds = Bounds {
            connections: limits.max_connections,
            header_timeout: Duration::from_millis(state.config.http.header_timeout_ms),
        };
        tasks.spawn(until(stopped.clone(), watch_identity(Arc::clone(&state))));
        tasks.spawn(until(stopped.clone(), search::keep(state.store.clone())));
        if let Some(control) = control(&state.config) {
            let serving = control.serve(state.store.clone(), stopped.clone());
            tasks.spawn(until(stopped.clone(), serving));
        }
        let router = http::router(Arc::clone(&state));
        let door = Door { bounds, per_address, tls };
        tasks.spawn(accept::serve(listener, router, door, stopped.clone()));
        let mut metrics_addr = None;
        if let (Some(listener), Some(handle)) = (metrics_listener, recorder) {
            metrics_addr = Some(bound(&listener, http_addr, "--metrics")?);
            let door = own_door(bounds);
            let router = metrics::router(handle.clone(), admin::unguarded(Arc::clone(&state)));
            tasks.spawn(accept::serve(listener, router, door, stopped.clone()));
            tasks.spawn(until(stopped.clone(), metrics::upkeep(handle)));
        }
        let mut admin_addr = None;
        if let Some(listener) = admin_listener {
            admin_addr = Some(bound(&listener, http_addr, "--admin")?);
            let credentials = Credentials::new(state.config.admin_tokens());
            let router = admin::router(Arc::clone(&state), credentials);
            tasks.spawn(accept::serve(listener, router, own_door(bounds), stopped));
        }
        Ok(Self { http_addr, metrics_addr, admin_addr, state, stop, tasks })
    }

    /// Where HTTP, WebSocket and page are served.
    #[must_use]
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// Where metrics are served, if they are.
    #[must_use]
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics_addr
    }

    /// Where operators ask, if they can.
    #[must_use]
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin_addr
    }

    /// What the node's requests share.
    #[must_use]
    pub fn state(&self) -> &Arc<AppState> {
        &self.state
    }

    /// The line that tells the operator, and programs that started the node, that it serves.
    #[must_use]
    pub fn ready_line(&self) -> String {
        let config = &self.state.config;
        format!(
            "rookery ready: {}://{} (data {}, store {}, node {})",
            if config.http.tls_certificate.is_some() { "https" } else { "http" },
            self.http_addr,
            config.node.data_dir.display(),
            config.store.engine.as_str(),
            config.node.name
        )
    }

    /// Turns `/readyz` to 503 and refuses new work under `/v1`; what runs goes on.
    pub fn drain(&self) {
        self.state.draining.store(true, Ordering::Relaxed);
    }

    /// Returns when an operator asked the node to leave.
    pub async fn asked_to_leave(&self) {
        self.state.leave.notified().await;
    }

    /// Returns when a part that the node can't do without has failed for good: the node must end.
    pub async fn failed(&self) {
        self.state.gateway.failed().await;
    }

    /// Ends the node in order; everything acknowledged is durable, and the data directory is free
    /// for another node once this process lets go of the store's handles.
    pub async fn shutdown(mut self) {
        self.drain();
        let spread = Duration::from_millis(self.state.config.cluster.drain_ms);
        self.state.gateway.drain(spread).await;
        self.state.gateway.shutdown().await;
        if self.stop.send(true).is_err() {
            tracing::debug!("the accept loops had ended before");
        }
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a part of the node did not end well");
            }
        }
        let store = self.state.store.clone();
        if tokio::task::spawn_blocking(move || store::close(&store)).await.is_err() {
            tracing::error!("the store did not close well");
        }
        tracing::info!("the node has ended");
    }
}

/// How often an address may try.
fn attempts(limits: &Limits) -> Attempts {
    Attempts::new(limits.attempts_per_minute, limits.attempts_burst, limits.limit_loopback)
}

/// How many connections an address may have.
fn per_address(config: &Config) -> PerAddress {
    let (limits, proxies) = (config.limits, config.http.trusted_proxies.clone());
    PerAddress::new(limits.connections_per_address, limits.limit_loopback, proxies)
}

/// The certificate for clients, if there is one.
fn tls(config: &Config) -> Result<Option<Arc<Tls>>, StartError> {
    let http = &config.http;
    let (Some(chain), Some(key)) = (&http.tls_certificate, &http.tls_key) else { return Ok(None) };
    Ok(Some(Arc::new(Tls::new(chain.clone(), key.clone()).map_err(StartError::Tls)?)))
}

async fn listen(address: SocketAddr, flag: &'static str) -> Result<TcpListener, StartError> {
    let listening = TcpListener::bind(address).await;
    listening.map_err(|source| StartError::Listen { address, flag, source })
}

async fn perhaps(
    address: Option<SocketAddr>,
    flag: &'static str,
) -> Result<Option<TcpListener>, StartError> {
    match address {
        Some(address) => listen(address, flag).await.map(Some),
        None => Ok(None),
    }
}

/// How the listeners take connections that are for operators alone.
fn own_door(bounds: Bounds) -> Door {
    let bounds = Bounds { connections: OWN_CONNECTIONS, ..bounds };
    Door { bounds, per_address: PerAddress::unlimited(), tls: None }
}

/// The address a listener got: its port when 0 was asked for.
fn bound(
    listener: &TcpListener,
    address: SocketAddr,
    flag: &'static str,
) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|source| StartError::Listen { address, flag, source })
}

/// The store, whole, and indexing words or not as is configured.
async fn prepared_store(config: &Config) -> Result<Store, StartError> {
    let store = open_store(config).await?;
    check_whole(&store).await?;
    search::begin(&store, config).await.map_err(StartError::Store)?;
    Ok(store)
}

async fn open_store(config: &Config) -> Result<Store, StartError> {
    let config = config.clone();
    let opening = tokio::task::spawn_blocking(move || store::open(&config));
    opening.await.map_err(|_| StartError::Panicked)?.map_err(StartError::Open)
}

/// Refuses a store that a restore or migration left half copied.
async fn check_whole(store: &Store) -> Result<(), StartError> {
    let store = store.clone();
    let runtime = tokio::runtime::Handle::current();
    let asking = move || runtime.block_on(store.unfinished_transfer());
    let answer = tokio::task::spawn_blocking(asking).await.map_err(|_| StartError::Panicked)?;
    match answer.map_err(|error| StartError::Store(error.into()))? {
        Some(rows) => Err(StartError::Unfinished(rows)),
        None => Ok(()),
    }
}

/// The socket for backups. A node without one serves all the same.
fn control(config: &Config) -> Option<Control> {
    let place = Place::configured(config);
    match Control::listen(place.control_dir()?) {
        Ok(control) => Some(control),
        Err(error) => {
            tracing::warn!(%error, "no control socket: backups need the node stopped");
            None
        }
    }
}

/// Follows what other nodes, and the clock, change about who may come in.
async fn watch_identity(state: Arc<AppState>) {
    let rotation_days = state.config.tokens.key_rotation_days;
    let keys = identity::keep_keys(&state.identity, rotation_days);
    let revocations = gateway::follow_revocations(&state);
    let deletions = async {
        loop {
            if let Err(error) = state.identity.finish_deletions().await {
                tracing::debug!(?error, "deletions wait");
            }
            tokio::time::sleep(DELETIONS).await;
        }
    };
    let operators = admin::follow(&state);
    tokio::join!(keys, revocations, deletions, operators);
}

/// What the installation keeps secret; the first node to start draws it.
async fn secrets(store: &Store) -> Result<Secrets, StartError> {
    let store = store.clone();
    let runtime = tokio::runtime::Handle::current();
    let asking = move || runtime.block_on(Secrets::read(&store));
    let answer = tokio::task::spawn_blocking(asking).await;
    answer.map_err(|_| StartError::Panicked)?.map_err(StartError::Store)
}

/// Runs `work` until `stop` is true or its sender is gone.
async fn until(mut stop: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = accept::stopped(&mut stop) => {}
    }
}
