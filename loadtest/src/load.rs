//! The load of a run, and its end: what is under way is answered, everybody is given everything, the
//! histories are read back.

use crate::control::Control;
use crate::oracle::Event;
use crate::pacer::Pacer;
use crate::procfs;
use crate::run::{Director, LOOK, Run, RunError, SET_UP};
use crate::scenario::Kind;
use crate::shared::{Phase, State};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::sleep;

/// How often marks are told and asked for again at the end.
const ROUND: Duration = Duration::from_millis(500);

/// What was seen while the load ran.
#[derive(Debug, Default)]
pub(crate) struct Load {
    pub(crate) pacer: Option<Pacer>,
    pub(crate) duration_s: f64,
    pub(crate) connects_per_s: f64,
    pub(crate) resumes_per_s: Option<f64>,
    pub(crate) rss_before: Option<u64>,
    pub(crate) rss: Option<u64>,
    pub(crate) server_cpu: Option<f64>,
    pub(crate) client_cpu: Option<f64>,
}

impl Run {
    /// The load itself; returns what was seen of the processes meanwhile.
    pub(crate) async fn load(&self, dues: Vec<mpsc::Sender<u64>>, rss_before: Option<u64>) -> Load {
        let s = &self.shared.scenario;
        let (server_cpu, client_cpu) = self.cpu();
        let mut load = Load { rss_before, ..Load::default() };
        if s.kind == Kind::Idle {
            self.enter(Phase::Hold);
            sleep(Duration::from_secs_f64(s.duration_s)).await;
            load.rss = procfs::rss_bytes(&self.server);
            load.duration_s = s.duration_s;
            load.resumes_per_s = self.storms().await;
            self.shared.state().measure.from_us = self.shared.now_us();
            self.enter(Phase::Run);
            let expected = self.expected_probes();
            // What does not come in time is found when the run settles.
            let settle = Duration::from_secs_f64(s.settle_s);
            drop(self.wait("probe", settle, |st| st.acknowledged >= expected).await);
        } else {
            let shared = &self.shared;
            self.enter(Phase::Run);
            load.pacer = (s.kind == Kind::Pairs)
                .then(|| Pacer::start(dues, s.rate, shared.seed, shared.origin, shared.origin_us));
            sleep(Duration::from_secs_f64(s.warmup_s)).await;
            let start = Instant::now();
            self.shared.state().measure.from_us = self.shared.now_us();
            match (&self.director, &load.pacer) {
                (Some(director), Some(pacer)) => self.directed(director, pacer).await,
                _ => sleep(Duration::from_secs_f64(s.duration_s)).await,
            }
            let enough = |st: &State| st.measure.acknowledged >= s.at_least;
            if s.kind == Kind::Saturate {
                let more = Duration::from_secs_f64(s.duration_s * 9.0);
                drop(self.wait("saturate", more, enough).await);
            }
            self.shared.state().measure.until_us = self.shared.now_us();
            load.duration_s = start.elapsed().as_secs_f64();
            load.rss = procfs::rss_bytes(&self.server);
        }
        let (server_now, client_now) = self.cpu();
        let spent = |a: Option<f64>, b: Option<f64>| Some(b? - a?);
        load.server_cpu = spent(server_cpu, server_now);
        load.client_cpu = spent(client_cpu, client_now);
        load
    }

    /// The load, for as long as the director has its control.
    async fn directed(&self, director: &Director, pacer: &Pacer) {
        let over = Arc::new(AtomicBool::new(false));
        let control = Control {
            shared: Arc::clone(&self.shared),
            rest: Arc::clone(&pacer.rest),
            issued: Arc::clone(&pacer.issued),
            over: Arc::clone(&over),
            round: 0,
        };
        // A director that is gone drops it, which ends this too.
        director.send(control).ok();
        while !over.load(Ordering::SeqCst) {
            sleep(LOOK).await;
        }
    }

    /// Lets all sessions lose their connections and come back; how many did so a second.
    async fn storms(&self) -> Option<f64> {
        let (sessions, storms) = (self.shared.scenario.sessions(), self.shared.scenario.storms);
        let start = Instant::now();
        for storm in 1..=storms {
            self.enter(Phase::Storm);
            let back = self.wait("resume", SET_UP, |st| st.resumed >= sessions * storm).await;
            if let Err(e) = back {
                self.shared.state().error(|| e.to_string());
            }
        }
        let count = (sessions * storms) as f64;
        (storms > 0).then(|| count / start.elapsed().as_secs_f64())
    }

    /// Waits until everything under way was answered and everybody was given everything.
    pub(crate) async fn settle(&self, pacer: Option<&Pacer>) {
        let longest = Duration::from_secs_f64(self.shared.scenario.settle_s);
        if let Some(pacer) = pacer {
            pacer.stop();
        }
        self.enter(Phase::Drain);
        let issued = || pacer.map_or(0, |p| p.issued.load(Ordering::SeqCst));
        let answered =
            self.wait("answers", longest, |st| st.under_way == 0 && st.taken == issued()).await;
        let caught_up =
            self.wait("deliveries", longest, |st| st.oracle.oracle().readers_behind() == 0).await;
        let sight = if self.shared.scenario.social { self.sight(longest).await } else { Ok(()) };
        let mut state = self.shared.state();
        if let (Ok(()), Ok(()), Ok(())) = (&answered, &caught_up, sight) {
            state.oracle.hear(&Event::Settled);
        }
        if answered.is_err() {
            let open = state.under_way + issued() - state.taken;
            state.error(|| format!("{open} sends have no answer"));
        }
        if caught_up.is_err() {
            let behind = state.oracle.oracle().readers_behind();
            state.error(|| format!("{behind} devices were not given everything"));
        }
        let dropped = pacer.map_or(0, |p| p.dropped.load(Ordering::SeqCst));
        if dropped > 0 {
            state.error(|| format!("{dropped} due messages found a full queue"));
        }
    }

    /// Marks are told and asked for until everybody sees what is; what is not seen then is found by
    /// the oracle at the end.
    async fn sight(&self, longest: Duration) -> Result<(), RunError> {
        let start = Instant::now();
        // The director's rests had smaller numbers.
        for round in (0..u32::MAX).rev() {
            self.enter(Phase::Rest(round));
            let rest = longest.saturating_sub(start.elapsed()).min(ROUND);
            let settled = |st: &State| st.oracle.oracle().unsettled().is_none();
            match self.wait("sight", rest, settled).await {
                Err(_) if start.elapsed() < longest => {}
                other => return other,
            }
        }
        Ok(())
    }

    /// Reads every history back.
    pub(crate) async fn audit(&self) {
        let talking = self.shared.scenario.talking_pairs();
        self.enter(Phase::Audit);
        if self.wait("audit", SET_UP, |st| st.audited >= talking).await.is_err() {
            let mut state = self.shared.state();
            let audited = state.audited;
            state.error(|| format!("{audited} of {talking} histories were read back"));
        }
    }

    fn expected_probes(&self) -> u64 {
        let s = &self.shared.scenario;
        let senders = s.talking_pairs() * s.senders();
        (senders * s.probes) as u64
    }

    fn cpu(&self) -> (Option<f64>, Option<f64>) {
        (procfs::cpu_s(&self.server), procfs::cpu_s(&[std::process::id()]))
    }
}
