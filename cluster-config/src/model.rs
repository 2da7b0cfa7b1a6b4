//! The configuration as the node uses it: one struct a section, every unit in the field's name.

use crate::shards::{Count, Shards};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// The whole configuration. [`Config::default`] is a good single node on loopback.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Who this node is.
    pub node: Node,
    /// The port for HTTP, WebSocket and page.
    pub http: Http,
    /// The port for metrics.
    pub metrics: Metrics,
    /// The port for operators.
    pub admin: Admin,
    /// What is logged.
    pub log: Log,
    /// Life of a session.
    pub sessions: Sessions,
    /// Life of tokens.
    pub tokens: Tokens,
    /// Another issuer whose tokens are taken at log-in.
    pub issuer: Issuer,
    /// The pool that hashes passwords.
    pub passwords: Passwords,
    /// What strangers may use up.
    pub limits: Limits,
    /// Where data lies.
    pub store: Store,
    /// What is kept for how long.
    pub retention: Retention,
    /// What is found by its words.
    pub search: Search,
    /// How many shards host the actors.
    pub shards: Shards,
    /// Which other nodes there are.
    pub cluster: Cluster,
}

impl Config {
    /// Directory of the store: `store.path`, or `store` inside the data directory.
    #[must_use]
    pub fn store_dir(&self) -> PathBuf {
        match &self.store.path {
            Some(path) => path.clone(),
            None => self.node.data_dir.join("store"),
        }
    }

    /// File of operators' tokens: `admin.tokens`, or `admin-tokens` inside the data directory.
    #[must_use]
    pub fn admin_tokens(&self) -> PathBuf {
        match &self.admin.tokens {
            Some(path) => path.clone(),
            None => self.node.data_dir.join("admin-tokens"),
        }
    }

    /// Socket of the store's process: `store.socket`, or `store.sock` inside the data directory.
    #[must_use]
    pub fn store_socket(&self) -> PathBuf {
        match &self.store.socket {
            Some(path) => path.clone(),
            None => self.node.data_dir.join("store.sock"),
        }
    }
}

/// Section `node`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Name in logs and metrics.
    pub name: String,
    /// Directory that holds everything this node keeps.
    pub data_dir: PathBuf,
}

impl Default for Node {
    fn default() -> Self {
        Self { name: "rookery".to_owned(), data_dir: PathBuf::from("./rookery-data") }
    }
}

/// Section `cluster`: without a name the node works alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Name of the cluster; `None` (written `""`): this node works alone.
    pub name: Option<String>,
    /// What the node shares its fate with, such as a rack: clients are sent to nodes of the zone
    /// they reached first.
    pub zone: String,
    /// How many shares of the work the node takes.
    pub capacity: u32,
    /// Address and port where other nodes connect.
    pub listen: SocketAddr,
    /// Host and port by which other nodes reach this one, when it isn't `listen`.
    pub advertise: Option<String>,
    /// WebSocket URL by which clients reach this node, when it isn't that of `http.public_url` or
    /// `http.listen`.
    pub endpoint: Option<String>,
    /// Directory of the certificates, as `rookery cert` makes them: `ca.pem`, and this node's
    /// `NAME.pem` and `NAME.key`.
    pub certificates: PathBuf,
    /// Milliseconds between two renewals of the node's lease.
    pub renew_ms: u64,
    /// Milliseconds without a renewal after which a node is taken for dead; one whose connections have
    /// ended after four fifths of them.
    pub suspicion_ms: u64,
    /// Milliseconds over which a leaving node sends its clients away.
    pub drain_ms: u64,
    /// The newest wire version to speak on links; none: the newest this software knows. For an
    /// upgrade that may have to be taken back.
    pub link_version: Option<u8>,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            name: None,
            zone: String::new(),
            capacity: 1,
            listen: SocketAddr::from(([127, 0, 0, 1], 7300)),
            advertise: None,
            endpoint: None,
            certificates: PathBuf::from("./rookery-certs"),
            renew_ms: 500,
            suspicion_ms: 3_000,
            drain_ms: 5_000,
            link_version: None,
        }
    }
}

/// Section `http`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Address and port; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Origins beside the node's own whose pages may connect.
    pub allowed_origins: Vec<String>,
    /// How clients reach the node when that isn't what their requests' Host says.
    pub public_url: Option<String>,
    /// Reverse proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// Most milliseconds for a request's head to arrive, also for an idle connection.
    pub header_timeout_ms: u64,
    /// Most milliseconds for a request's body to arrive.
    pub body_timeout_ms: u64,
    /// PEM files of the certificate chain and of its private key; without them the node speaks no
    /// TLS. They are read again when they change.
    pub tls_certificate: Option<PathBuf>,
    /// The private key, see `tls_certificate`.
    pub tls_key: Option<PathBuf>,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            allowed_origins: Vec::new(),
            public_url: None,
            trusted_proxies: Vec::new(),
            header_timeout_ms: 10_000,
            body_timeout_ms: 10_000,
            tls_certificate: None,
            tls_key: None,
        }
    }
}

/// Section `metrics`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Address and port; `None` (written `"off"`): no metrics are served.
    pub listen: Option<SocketAddr>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { listen: Some(SocketAddr::from(([127, 0, 0, 1], 9090))) }
    }
}

/// Section `admin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Address and port; `None` (written `"off"`): operators ask another node.
    pub listen: Option<SocketAddr>,
    /// The file of names and hashes that `rookery admin token` writes, when it isn't
    /// `admin-tokens` inside the data directory.
    pub tokens: Option<PathBuf>,
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: Some(SocketAddr::from(([127, 0, 0, 1], 9190))), tokens: None }
    }
}

/// Section `log`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// The least serious level that is logged.
    pub level: LogLevel,
    /// The form of a line.
    pub format: LogFormat,
}

/// How serious a line must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// What an operator must act on.
    Error,
    /// What may become an error.
    Warn,
    /// Starts, stops, changes of state.
    #[default]
    Info,
    /// Each request.
    Debug,
    /// Each frame.
    Trace,
}

impl LogLevel {
    /// The level's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For eyes.
    #[default]
    Text,
    /// For collectors: one JSON object a line.
    Json,
}

/// Section `sessions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sessions {
    /// Milliseconds between two signs of life of a client.
    pub heartbeat_ms: u64,
    /// Milliseconds a session outlives its connection, and a user's presence its last sign of
    /// life.
    pub grace_ms: u64,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { heartbeat_ms: 5_000, grace_ms: 30_000 }
    }
}

/// Section `tokens`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Seconds an access token is good for.
    pub access_ttl_s: u64,
    /// Seconds a refresh token is good for, counted anew at each use.
    pub refresh_ttl_s: u64,
    /// Seconds after its use in which a refresh token may come again, because the answer got lost.
    pub refresh_grace_s: u64,
    /// Days after which the key that signs access tokens is replaced; 0: never.
    pub key_rotation_days: u64,
}

impl Default for Tokens {
    fn default() -> Self {
        Self {
            access_ttl_s: 3_600,
            refresh_ttl_s: 30 * 24 * 3_600,
            refresh_grace_s: 30,
            key_rotation_days: 30,
        }
    }
}

/// Section `issuer`: without a URL there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// What the `iss` of its tokens says; empty: there is no foreign issuer.
    pub url: String,
    /// What their `aud` says, or holds.
    pub audience: String,
    /// Its JSON Web Key Set: the path of a file, or a URL.
    pub jwks: String,
    /// PEM file of the authority that the URL's certificate comes from; `None`: those this machine
    /// believes.
    pub ca: Option<PathBuf>,
    /// Seconds after which the keys are fetched again.
    pub refresh_s: u64,
    /// The claim that names a new account.
    pub name_claim: String,
    /// Whether who comes for the first time gets an account.
    pub create_accounts: bool,
}

impl Default for Issuer {
    fn default() -> Self {
        Self {
            url: String::new(),
            audience: "rookery".to_owned(),
            jwks: String::new(),
            ca: None,
            refresh_s: 300,
            name_claim: "preferred_username".to_owned(),
            create_accounts: true,
        }
    }
}

/// Section `passwords`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passwords {
    /// Passwords hashed at a time, 19 MiB and one core each; by default half of the cores.
    pub threads: Count,
    /// Log-ins and sign-ups that may wait for their turn; a further one is answered `Busy`.
    pub queue: usize,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { threads: Count::Auto, queue: 64 }
    }
}

/// Section `limits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most connections at a time; a further one waits in the listener's backlog.
    pub max_connections: usize,
    /// Most milliseconds from the upgrade to the `Hello` frame.
    pub hello_timeout_ms: u64,
    /// Whether strangers may make accounts.
    pub sign_up: SignUp,
    /// Log-ins, sign-ups and refreshes an address may make in a minute, in the long run.
    pub attempts_per_minute: u64,
    /// How many of them at once.
    pub attempts_burst: u64,
    /// Accounts that one address may make.
    pub address_sign_ups: Rate,
    /// Accounts that all addresses together may make.
    pub sign_ups: Rate,
    /// Most connections of one address at a time; 0: no limit. Addresses of proxies that are
    /// trusted have none.
    pub connections_per_address: usize,
    /// Whether addresses of the machine itself are limited too.
    pub limit_loopback: bool,
    /// Messages of a user.
    pub sends: Rate,
    /// Conversations that a user finds or opens by a name.
    pub opens: Rate,
    /// Changes of a user's own things: contacts, blocks, settings, devices.
    pub changes: Rate,
    /// Reports of a user.
    pub reports: Rate,
    /// Searches of a user.
    pub searches: Rate,
    /// Most devices of a user: the one that was away for longest makes room.
    pub devices_per_user: usize,
}

/// How often something may be done, on each node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In the long run; 0: no limit.
    pub per_hour: u64,
    /// At once.
    pub burst: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 100_000,
            hello_timeout_ms: 10_000,
            sign_up: SignUp::Open,
            attempts_per_minute: 30,
            attempts_burst: 30,
            address_sign_ups: Rate { per_hour: 20, burst: 20 },
            sign_ups: Rate { per_hour: 3_600, burst: 1_000 },
            connections_per_address: 1_000,
            limit_loopback: false,
            sends: Rate { per_hour: 360_000, burst: 1_000 },
            opens: Rate { per_hour: 300, burst: 100 },
            changes: Rate { per_hour: 600, burst: 100 },
            reports: Rate { per_hour: 10, burst: 10 },
            searches: Rate { per_hour: 1_800, burst: 60 },
            devices_per_user: 10,
        }
    }
}

/// Whether strangers may make accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignUp {
    /// Anybody may.
    Open,
    /// Who has an invitation may.
    Invitation,
    /// Nobody may.
    Closed,
}

/// Section `store`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// What holds the data.
    pub engine: Engine,
    /// Directory, when it isn't `store` inside the data directory.
    pub path: Option<PathBuf>,
    /// Socket of the store's process, when it isn't `store.sock` inside the data directory.
    pub socket: Option<PathBuf>,
    /// Bytes of memory for blocks read from disk.
    pub cache_bytes: u64,
    /// FoundationDB's cluster file, when it isn't `FDB_CLUSTER_FILE` or the packages' own.
    pub cluster_file: Option<PathBuf>,
    /// What this installation's keys in FoundationDB begin with.
    pub prefix: String,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            engine: Engine::Embedded,
            path: None,
            socket: None,
            cache_bytes: 64 * 1024 * 1024,
            cluster_file: None,
            prefix: "rookery".to_owned(),
        }
    }
}

/// Section `retention`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Days that messages are kept; 0: for ever.
    pub messages_days: u64,
    /// Days that the answer to a sent message is kept for its retries.
    pub dedupe_days: u64,
    /// Days without a sign of life after which nothing is kept for a device to catch up with.
    pub device_absent_days: u64,
    /// Seconds between two rounds of removing.
    pub interval_s: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { messages_days: 0, dedupe_days: 7, device_absent_days: 30, interval_s: 3_600 }
    }
}

/// Section `search`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// Whether texts are found by their words; the same on all nodes.
    pub enabled: bool,
}

/// What holds the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// An LSM inside the node's process, for one node.
    Embedded,
    /// The LSM of a process of its own (`rookery store`), for several nodes on one machine.
    Shared,
    /// A FoundationDB cluster; the binary needs its cargo feature `fdb`.
    Fdb,
}

impl Engine {
    /// The engine's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Shared => "shared",
            Self::Fdb => "fdb",
        }
    }
}
