//! What the sessions of a run share: the phase, the oracle, the measurements.

use crate::history::Witness;
use crate::measure::Measure;
use crate::oracle::Event;
use crate::plant::{Plant, Planted};
use crate::run::RunError;
use crate::scenario::Scenario;
use rookery_client::Stats;
use rookery_protocol::ConversationId;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::watch;

/// Most bytes of an error's words.
const MAX_WORDS: usize = 1_000;

/// What all sessions do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Connect and sync.
    Connect,
    /// The first user of each pair opens the conversation.
    Open,
    /// Every device learns its conversation.
    Arm,
    /// Sessions are held.
    Hold,
    /// Every session loses its connection and resumes.
    Storm,
    /// Messages are sent.
    Run,
    /// One of ten devices does not read.
    Slow,
    /// All connections are dropped.
    Cut,
    /// Marks are told again, and all marks asked for, once for each number.
    Rest(u32),
    /// A page of each history is read, once for each number.
    Peek(u32),
    /// What is under way ends.
    Drain,
    /// The histories are read back.
    Audit,
    /// The end.
    Leave,
}

/// A device's part in its pair's conversation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Role {
    pub(crate) conversation: ConversationId,
    /// The conversation's index at the oracle.
    pub(crate) log: u32,
    pub(crate) reader: u32,
    /// Only devices that send have one.
    pub(crate) lane: Option<u32>,
    /// Newest seq before the run.
    pub(crate) base: u64,
}

/// What the sessions tell and the run watches.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) oracle: Witness,
    pub(crate) measure: Measure,
    pub(crate) planted: Planted,
    pub(crate) synced: usize,
    /// By pair: the conversation and its newest seq.
    pub(crate) opened: Vec<Option<(ConversationId, u64)>>,
    /// By device.
    pub(crate) roles: Vec<Option<Role>>,
    pub(crate) armed: usize,
    /// Sessions that are connected now; those that came to be, and those of them that resumed.
    pub(crate) up: usize,
    pub(crate) connects: u64,
    pub(crate) resumes: u64,
    /// Sessions that carried out [`Phase::Cut`].
    pub(crate) cut: usize,
    /// Histories read for [`Phase::Peek`].
    pub(crate) peeked: usize,
    /// Sessions that came back, over all storms.
    pub(crate) resumed: usize,
    /// Sends without an answer.
    pub(crate) under_way: u64,
    /// Due messages that were taken from the pacer.
    pub(crate) taken: u64,
    /// Acknowledged, delivered: of the whole run, for the progress line.
    pub(crate) acknowledged: u64,
    pub(crate) delivered: u64,
    pub(crate) audited: usize,
    pub(crate) left: usize,
    pub(crate) errors: u64,
    pub(crate) stats: Stats,
}

impl State {
    pub(crate) fn new(
        scenario: &Scenario,
        plant: Option<Plant>,
        oracle: Witness,
    ) -> Result<Self, RunError> {
        Ok(Self {
            oracle,
            measure: Measure::new()?,
            planted: Planted::new(plant),
            synced: 0,
            opened: vec![None; scenario.pairs],
            roles: vec![None; scenario.sessions()],
            armed: 0,
            up: 0,
            connects: 0,
            resumes: 0,
            cut: 0,
            peeked: 0,
            resumed: 0,
            under_way: 0,
            taken: 0,
            acknowledged: 0,
            delivered: 0,
            audited: 0,
            left: 0,
            errors: 0,
            stats: Stats::default(),
        })
    }

    /// Something failed for good; the oracle is told.
    pub(crate) fn error(&mut self, words: impl FnOnce() -> String) {
        self.errors += 1;
        let mut words = words();
        // What a peer says may be long.
        let end = (0..=MAX_WORDS).rev().find(|at| words.is_char_boundary(*at)).unwrap_or(0);
        words.truncate(end);
        self.oracle.hear(&Event::Failed { words });
    }
}

/// What all sessions share. One thread runs them all: the lock is never waited for.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) state: Mutex<State>,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) scenario: Scenario,
    pub(crate) seed: u64,
    pub(crate) origin: Instant,
    /// `origin` as Unix microseconds.
    pub(crate) origin_us: u64,
}

impl Shared {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Unix microseconds that never run backwards.
    pub(crate) fn now_us(&self) -> u64 {
        self.origin_us + u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX / 2)
    }
}
