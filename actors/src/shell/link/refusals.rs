//! What is refused: counted each time, logged once with the reason.

use crate::link::greeting::Refusal;
use std::collections::HashSet;
use std::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};

/// Pairs of peer and reason that are remembered as logged; beyond, all are forgotten and logged anew.
const REMEMBERED: usize = 1024;

/// Why a connection came to nothing.
#[derive(Debug)]
pub(super) enum Failed {
    /// The network: the peer may be down.
    Network(io::Error),
    /// TLS: what either side thinks of the other's certificate among others.
    Tls(io::Error),
    /// The peer was silent or slow.
    TimedOut,
    /// What the peer said was refused here.
    Refused(Refusal),
    /// The peer refused this node.
    RefusedThere(Refusal),
    /// Too many connections are being greeted already.
    Busy,
    /// ractor_cluster did not take the connection.
    NotReady,
}

impl Failed {
    /// One word for metrics.
    fn word(&self) -> &'static str {
        match self {
            Self::Network(_) => "network",
            Self::Tls(_) => "tls",
            Self::TimedOut => "silent",
            Self::Refused(refusal) | Self::RefusedThere(refusal) => refusal.word(),
            Self::Busy => "busy",
            Self::NotReady => "not_ready",
        }
    }

    /// Whether it is part of the day: nodes that start, end or join a moment before the view tells.
    fn is_ordinary(&self) -> bool {
        match self {
            Self::Network(_) => true,
            Self::Refused(refusal) | Self::RefusedThere(refusal) => {
                matches!(refusal, Refusal::NotInView | Refusal::NotMe)
            }
            _ => false,
        }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(error) => write!(f, "network: {error}"),
            Self::Tls(error) => write!(f, "TLS: {error}"),
            Self::TimedOut => f.write_str("it was silent or slow"),
            Self::Refused(refusal) => write!(f, "refused here: {refusal}"),
            Self::RefusedThere(refusal) => write!(f, "refused there: {refusal}"),
            Self::Busy => f.write_str("too many connections are being greeted"),
            Self::NotReady => f.write_str("ractor_cluster did not take the connection"),
        }
    }
}

/// What was logged already.
#[derive(Default)]
pub(super) struct Refusals {
    logged: Mutex<HashSet<(String, &'static str)>>,
}

impl Refusals {
    /// Something went wrong with a peer, named as well as it is known.
    pub(super) fn tell(&self, peer: &str, failed: &Failed) {
        let word = failed.word();
        metrics::counter!("rookery_link_refused_total", "reason" => word).increment(1);
        let first = self.first(peer, word);
        if !first {
            tracing::debug!(peer, reason = %failed, "no link");
        } else if failed.is_ordinary() {
            tracing::info!(peer, reason = %failed, "no link yet");
        } else {
            tracing::warn!(peer, reason = %failed, "no link; more of this is not logged");
        }
    }

    /// A frame can't be used.
    pub(super) fn bad_frame(&self, peer: &str, reason: &dyn fmt::Display) {
        metrics::counter!("rookery_link_bad_frames_total").increment(1);
        if self.first(peer, "frame") {
            tracing::warn!(peer, %reason, "a frame is dropped; more of this is not logged");
        }
    }

    /// The peer is fine now: the next trouble is news.
    pub(super) fn forget(&self, peer: &str) {
        self.lock().retain(|(logged, _)| logged != peer);
    }

    fn first(&self, peer: &str, word: &'static str) -> bool {
        let mut logged = self.lock();
        if logged.len() >= REMEMBERED {
            logged.clear();
        }
        logged.insert((peer.to_owned(), word))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<(String, &'static str)>> {
        self.logged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
