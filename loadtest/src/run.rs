//! The phases of a run: accounts, connections, conversations, load, settling, reading back.

use crate::accounts;
use crate::body;
use crate::cluster::{Cluster, Setup};
use crate::control::Control;
use crate::history::{Header, Witness};
use crate::load::Load;
use crate::oracle::Event;
use crate::pacer;
use crate::plant::Plant;
use crate::process;
use crate::procfs;
use crate::progress::{self, Watcher};
use crate::report::{Client, Remarks, Report, Server};
use crate::scenario::{Kind, MAX_SESSIONS, Scenario};
use crate::session::Session;
use crate::shared::{Phase, Role, Shared, State};
use rookery_client::{Config, Driver, Login};
use rookery_protocol::UserId;
use rookery_protocol::limits::{DEFAULT_WINDOW_BYTES, MIN_WINDOW_BYTES};
use std::collections::BTreeMap;
use std::fmt;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::sleep;

/// How often a phase looks whether it is over.
pub(crate) const LOOK: Duration = Duration::from_millis(5);
/// Longest time for all sessions to connect and open their conversations.
pub(crate) const SET_UP: Duration = Duration::from_secs(300);
/// A server's memory is read after this pause, so that what just ended is given back.
const SETTLE: Duration = Duration::from_secs(1);

/// Where and how to run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// A node that runs already (`http://host:port`); none: nodes are spawned.
    pub url: Option<String>,
    /// How many nodes to spawn; at least one is.
    pub spawn: usize,
    /// Accounts, order and content are drawn from it.
    pub seed: u64,
    /// A fault that the oracle must find.
    pub plant: Option<Plant>,
    /// Is told, many times a second, how many messages were acknowledged so far: for whoever has
    /// something to do to the server in the middle of a run.
    pub watcher: Option<Watcher>,
    /// Where the history is kept; none: only that of a run that was not clean, in the directory
    /// for temporary files.
    pub history: Option<PathBuf>,
}

/// Why a run could not be carried out. It says nothing about the server's correctness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunError(String);

impl RunError {
    pub(crate) fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RunError {}

/// Runs a scenario to its end.
///
/// # Errors
/// [`RunError`] when it could not be carried out; what the server did wrong is in the report.
pub fn run(scenario: &Scenario, options: &Options) -> Result<(Report, Remarks), RunError> {
    carry_out(scenario, options, None)
}

/// Runs an open loop for as long as a director has the control that it is given once the load
/// goes on.
pub(crate) fn run_directed(
    scenario: &Scenario,
    options: &Options,
    director: Director,
) -> Result<(Report, Remarks), RunError> {
    carry_out(scenario, options, Some(director))
}

fn carry_out(
    scenario: &Scenario,
    options: &Options,
    director: Option<Director>,
) -> Result<(Report, Remarks), RunError> {
    let files = procfs::raise_open_files();
    let needed = scenario.sessions() + scenario.signing_up + (20_000 - MAX_SESSIONS) / 5;
    if (needed as u64) > files {
        return Err(RunError::new(format!(
            "{} sessions need {needed} open files, this process may have {files}",
            scenario.sessions()
        )));
    }
    // One thread: the load generator shares the machine with the server, and threads that wake
    // each other would cost more than they bring.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| RunError::new(e.to_string()))?;
    let cluster = match &options.url {
        Some(_) => None,
        None => Some(Setup::new(process::binary()?, options.spawn.max(1)).start()?),
    };
    let run = Run::new(scenario, options, cluster.as_ref(), director)?;
    let outcome = runtime.block_on(run.carry_out());
    let ended = cluster.map_or(Ok(()), Cluster::end);
    let load = outcome?;
    let mut state = run.shared.state();
    if let Err(e) = ended {
        state.error(|| e.to_string());
    }
    Ok(run.report(&mut state, &load))
}

/// Takes the control of a run.
pub(crate) type Director = std::sync::mpsc::Sender<Control>;

pub(crate) struct Run {
    pub(crate) shared: Arc<Shared>,
    pub(crate) base: String,
    pub(crate) store: Option<String>,
    pub(crate) nodes: usize,
    /// Processes of the server, as far as this run started them.
    pub(crate) server: Vec<u32>,
    pub(crate) progress: bool,
    pub(crate) watcher: Option<Watcher>,
    pub(crate) director: Option<Director>,
    pub(crate) signed_up: Arc<AtomicUsize>,
}

impl Run {
    fn new(
        scenario: &Scenario,
        options: &Options,
        cluster: Option<&Cluster>,
        director: Option<Director>,
    ) -> Result<Self, RunError> {
        let base = match (cluster, &options.url) {
            (Some(cluster), _) => cluster.url(0),
            (None, Some(url)) => url.trim_end_matches('/').to_owned(),
            (None, None) => return Err(RunError::new("neither an address nor a node")),
        };
        if scenario.users() > body::MAX_LANES {
            return Err(RunError::new("too many users"));
        }
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let header = Header { scenario: scenario.name.clone(), seed: options.seed };
        let witness = Witness::new(&header, options.history.as_deref())
            .map_err(|e| RunError::new(format!("the history can't be written: {e}")))?;
        let state = State::new(scenario, options.plant, witness)?;
        let shared = Shared {
            state: Mutex::new(state),
            phase: watch::Sender::new(Phase::Connect),
            scenario: scenario.clone(),
            seed: options.seed,
            origin: Instant::now(),
            origin_us: u64::try_from(wall.as_micros()).unwrap_or(0),
        };
        Ok(Self {
            shared: Arc::new(shared),
            base,
            store: cluster.and_then(Cluster::engine),
            nodes: cluster.map_or(1, Cluster::count),
            server: cluster.map(Cluster::pids).unwrap_or_default(),
            progress: std::io::stderr().is_terminal(),
            watcher: options.watcher.clone(),
            director,
            signed_up: Arc::new(AtomicUsize::new(0)),
        })
    }

    async fn carry_out(&self) -> Result<Load, RunError> {
        let ticker = self.progress.then(|| {
            tokio::spawn(progress::show(Arc::clone(&self.shared), Arc::clone(&self.signed_up)))
        });
        let watched = self
            .watcher
            .clone()
            .map(|watcher| tokio::spawn(progress::tell(Arc::clone(&self.shared), watcher)));
        let outcome = self.phases().await;
        if let Some(watched) = watched {
            watched.abort();
        }
        if let Some(ticker) = ticker {
            ticker.abort();
            progress::clear();
        }
        outcome
    }

    async fn phases(&self) -> Result<Load, RunError> {
        let s = &self.shared.scenario;
        let done = Arc::clone(&self.signed_up);
        let (seed, users) = (self.shared.seed, s.users());
        let logins =
            accounts::log_in_all(&self.base, seed, users, s.devices, s.signing_up, done).await?;
        sleep(SETTLE).await;
        let rss_before = procfs::rss_bytes(&self.server);

        let dues = self.connect(logins);
        let start = Instant::now();
        let sessions = s.sessions();
        self.wait("connect", SET_UP, |st| st.synced >= sessions).await?;
        let connects_per_s = sessions as f64 / start.elapsed().as_secs_f64();

        self.converse().await?;
        let mut load = self.load(dues, rss_before).await;
        load.connects_per_s = connects_per_s;
        self.settle(load.pacer.as_ref()).await;
        self.audit().await;

        self.enter(Phase::Leave);
        let left = self.wait("leave", SET_UP, |st| st.left >= sessions).await;
        if let Err(e) = left {
            self.shared.state().error(|| e.to_string());
        }
        Ok(load)
    }

    /// Starts all sessions; returns the open loop's queues.
    fn connect(&self, logins: Vec<Login>) -> Vec<mpsc::Sender<u64>> {
        let s = &self.shared.scenario;
        let config = |endpoints| Config {
            endpoints,
            // Small, so that a device that stops reading fills it soon.
            window_bytes: if s.social { MIN_WINDOW_BYTES } else { DEFAULT_WINDOW_BYTES },
            agent: concat!("rookery-loadtest/", env!("CARGO_PKG_VERSION")).to_owned(),
            // A restarted node should be found again soon.
            backoff_base_ms: if s.storms > 0 { 10 } else { 100 },
            backoff_max_ms: 2_000,
            // The closed loop keeps several under way; the oracle knows which were refused.
            pipeline_sends: true,
            // Idle sessions are told little at a time, and there are many of them.
            read_buffer_bytes: if s.kind == Kind::Idle { 1024 } else { 4096 },
            ..Config::default()
        };
        // One for all who are sent to the same nodes in the same order: idle sessions are counted
        // in bytes.
        let mut configs: BTreeMap<Vec<String>, Arc<Config>> = BTreeMap::new();
        let connecting = Arc::new(Semaphore::new(s.connecting));
        let mut dues = Vec::new();
        let all: Vec<UserId> = logins.iter().map(|login| login.user).collect();
        for (index, login) in logins.into_iter().enumerate() {
            let user = index / s.devices;
            let first = index.is_multiple_of(s.devices);
            let member = user % s.members;
            let queue = (s.kind == Kind::Pairs && first && member < s.senders()).then(|| {
                let (sender, receiver) = mpsc::channel(pacer::QUEUE);
                dues.push(sender);
                receiver
            });
            // The same device of another user of the conversation, of a pair: the other.
            let partner = if member == 0 { index + s.devices } else { index - s.devices };
            let users = (login.user, all.get(partner).copied().unwrap_or(login.user));
            let name = |other| accounts::name(self.shared.seed, other);
            let leads = (first && member == 0)
                .then(|| (user + 1..user + s.members).map(name).collect::<Vec<_>>());
            let addresses = login.addresses();
            let fresh = || Arc::new(config(addresses.clone()));
            let config = Arc::clone(configs.entry(addresses.clone()).or_insert_with(fresh));
            let driver = Driver::new(config, login.access_token, None);
            let shared = Arc::clone(&self.shared);
            let session =
                Session::new(shared, index, users, user / s.members, leads, driver, queue);
            tokio::spawn(Box::new(session).run(Arc::clone(&connecting)));
        }
        dues
    }

    /// Opens the conversations and gives each device its part.
    async fn converse(&self) -> Result<(), RunError> {
        let s = &self.shared.scenario;
        let (talking, sessions) = (s.talking_pairs(), s.sessions());
        self.enter(Phase::Open);
        self.wait("open conversations", SET_UP, |st| {
            st.opened.iter().take(talking).all(Option::is_some)
        })
        .await?;
        {
            let mut state = self.shared.state();
            let opened = std::mem::take(&mut state.opened);
            for (pair, found) in opened.iter().enumerate() {
                let Some((conversation, base)) = *found else { continue };
                let Some(log) = state.oracle.hear(&Event::Conversation { base }) else { continue };
                let devices = s.members * s.devices;
                for device in 0..devices {
                    let first = device.is_multiple_of(s.devices);
                    let sends = first && device / s.devices < s.senders();
                    let reader = Event::Reader { conversation: log, base };
                    let Some(reader) = state.oracle.hear(&reader) else { continue };
                    let lane = Event::Lane { conversation: log };
                    let lane = if sends { state.oracle.hear(&lane) } else { None };
                    let role = Role { conversation, log, reader, lane, base };
                    if let Some(at) = state.roles.get_mut(pair * devices + device) {
                        *at = Some(role);
                    }
                }
            }
        }
        self.enter(Phase::Arm);
        self.wait("arm", SET_UP, |st| st.armed >= sessions).await
    }

    fn report(&self, state: &mut State, load: &Load) -> (Report, Remarks) {
        let s = &self.shared.scenario;
        let sessions = s.sessions();
        let (verdict, history) = state.oracle.finish();
        let counts = verdict.counts;
        let per_s = |n: u64| n as f64 / load.duration_s.max(1e-9);
        let growth = load.rss.zip(load.rss_before).map(|(now, before)| now.saturating_sub(before));
        let report = Report {
            scenario: s.name.clone(),
            seed: self.shared.seed,
            nodes: u32::try_from(self.nodes).unwrap_or(u32::MAX),
            store: self.store.clone(),
            duration_s: load.duration_s,
            sessions,
            acknowledged: state.measure.acknowledged,
            delivered: state.measure.delivered,
            lost: counts.lost,
            duplicated: counts.duplicated,
            reordered: counts.reordered,
            gaps: counts.gaps,
            errors: counts.failed + counts.marks + counts.diverged,
            acknowledged_per_s: per_s(state.measure.acknowledged),
            deliveries_per_s: per_s(state.measure.delivered),
            connects_per_s: load.connects_per_s,
            resumes_per_s: load.resumes_per_s,
            send_ack_ms: state.measure.send_ack_ms(),
            deliver_ms: state.measure.deliver_ms(),
            server: Server {
                rss_bytes: load.rss,
                rss_per_session_bytes: growth
                    .filter(|_| s.kind == Kind::Idle)
                    .map(|bytes| bytes / sessions as u64),
                cpu_s: load.server_cpu,
            },
            client: Client { cpu_s: load.client_cpu },
        };
        let stats = state.stats;
        let remarks = Remarks {
            reconnects: stats.connects.saturating_sub(sessions as u64),
            resumes: stats.resumes,
            retries: stats.retries,
            refusals: stats.refusals,
            filled: stats.gaps,
            repeats: stats.repeats,
            findings: verdict.findings,
            history,
        };
        (report, remarks)
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.shared.phase.send_replace(phase);
    }

    pub(crate) async fn wait(
        &self,
        what: &str,
        longest: Duration,
        over: impl Fn(&State) -> bool,
    ) -> Result<(), RunError> {
        let start = Instant::now();
        loop {
            if over(&self.shared.state()) {
                return Ok(());
            }
            if start.elapsed() > longest {
                let state = self.shared.state();
                return Err(RunError::new(format!(
                    "{what}: not over after {} s ({} of {} sessions connected; {:?})",
                    longest.as_secs(),
                    state.synced,
                    self.shared.scenario.sessions(),
                    state.oracle.oracle().breach()
                )));
            }
            sleep(LOOK).await;
        }
    }
}
