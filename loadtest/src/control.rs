//! What a director does to a run from another thread, while the load goes on: parts that are looked
//! at by themselves, rests, devices that stop reading, connections that are dropped.

use crate::measure::Episode;
use crate::oracle::Event;
use crate::run::RunError;
use crate::shared::{Phase, Shared, State};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks at the run.
const LOOK: Duration = Duration::from_millis(20);
/// How often marks are told and asked for again during a rest.
const ROUND: Duration = Duration::from_millis(500);

/// A running load. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) shared: Arc<Shared>,
    /// See [`crate::pacer::Pacer`].
    pub(crate) rest: Arc<AtomicBool>,
    pub(crate) issued: Arc<AtomicU64>,
    /// Set when the director is done.
    pub(crate) over: Arc<AtomicBool>,
    pub(crate) round: u32,
}

impl Control {
    /// From now on an episode is measured.
    pub(crate) fn begin(&self) -> Result<(), RunError> {
        let now_us = self.shared.now_us();
        let mut state = self.shared.state();
        let lanes = state.roles.iter().flatten().filter(|role| role.lane.is_some()).count();
        state.measure.episode = Some(Box::new(Episode::new(now_us, lanes)?));
        Ok(())
    }

    /// The fault of the episode is over.
    pub(crate) fn healed(&self) {
        let now_us = self.shared.now_us();
        if let Some(episode) = &mut self.shared.state().measure.episode {
            episode.healed(now_us);
        }
    }

    /// The episode, which ends.
    pub(crate) fn end(&self) -> Option<Box<Episode>> {
        self.shared.state().measure.episode.take()
    }

    /// The first thing that the oracle found.
    pub(crate) fn breach(&self) -> Option<String> {
        self.shared.state().oracle.oracle().breach().map(str::to_owned)
    }

    /// How often sessions came to be connected, and how many of them resumed.
    pub(crate) fn connects(&self) -> (u64, u64) {
        let state = self.shared.state();
        (state.connects, state.resumes)
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.shared.phase.send_replace(phase);
    }

    /// Drops all connections; the time until all are back.
    pub(crate) fn cut(&self, longest: Duration) -> Result<Duration, String> {
        let sessions = self.shared.scenario.sessions();
        self.shared.state().cut = 0;
        let start = Instant::now();
        self.enter(Phase::Cut);
        self.wait(longest, |state| {
            let (cut, up) = (state.cut, state.up);
            ((cut, up) != (sessions, sessions)).then(|| format!("{up} of {sessions} are connected"))
        })?;
        self.enter(Phase::Run);
        Ok(start.elapsed())
    }

    /// Reads a page of every conversation's history; the time until all were answered.
    pub(crate) fn read(&mut self, longest: Duration) -> Result<Duration, String> {
        let talking = self.shared.scenario.talking_pairs();
        self.shared.state().peeked = 0;
        let start = Instant::now();
        self.round += 1;
        self.enter(Phase::Peek(self.round));
        let peeked = self.wait(longest, |state| {
            let peeked = state.peeked;
            (peeked < talking).then(|| format!("{peeked} of {talking} histories could be read"))
        });
        self.enter(Phase::Run);
        peeked.map(|()| start.elapsed())
    }

    /// Lets the load rest until everybody has everything and sees the same, and tells the oracle
    /// that all is settled; the time it took. What is still missing after `longest` is the error.
    pub(crate) fn settle(&mut self, longest: Duration) -> Result<Duration, String> {
        self.rest.store(true, Ordering::SeqCst);
        let start = Instant::now();
        let sessions = self.shared.scenario.sessions();
        let issued = Arc::clone(&self.issued);
        let open = move |state: &State| {
            let waiting =
                state.under_way + issued.load(Ordering::SeqCst).saturating_sub(state.taken);
            if state.up < sessions {
                return Some(format!("{} of {sessions} sessions are connected", state.up));
            }
            if waiting > 0 {
                return Some(format!("{waiting} sends have no answer"));
            }
            state.oracle.oracle().unsettled()
        };
        let settled = loop {
            self.round += 1;
            self.enter(Phase::Rest(self.round));
            match self.wait(ROUND.min(longest.saturating_sub(start.elapsed())), &open) {
                Ok(()) => break Ok(start.elapsed()),
                Err(why) if start.elapsed() >= longest => break Err(why),
                Err(_) => {}
            }
        };
        self.shared.state().oracle.hear(&Event::Settled);
        self.enter(Phase::Run);
        self.rest.store(false, Ordering::SeqCst);
        settled
    }

    /// Waits until `open` finds nothing that is open; after `longest` what it finds is the error.
    fn wait(
        &self,
        longest: Duration,
        open: impl Fn(&State) -> Option<String>,
    ) -> Result<(), String> {
        let start = Instant::now();
        loop {
            let Some(why) = open(&self.shared.state()) else { return Ok(()) };
            if start.elapsed() >= longest {
                return Err(why);
            }
            thread::sleep(LOOK);
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.rest.store(false, Ordering::SeqCst);
        self.over.store(true, Ordering::SeqCst);
    }
}
