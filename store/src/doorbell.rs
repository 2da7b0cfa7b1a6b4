//! Doorbells: hints that a key may have changed, for whoever would otherwise poll it.
//!
//! A ring is never the truth: it may come without a change, several changes may be one ring, and
//! a doorbell whose engine lost sight of the key rings to make its owner look. A doorbell that says
//! `false` has ended.

use crate::plan::{Op, STAMP_BYTES};
use bytes::Bytes;
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Rings when its key may have changed.
#[derive(Debug)]
pub struct Doorbell {
    line: Arc<Mutex<Line>>,
}

/// The engine's end of a doorbell; dropping it ends the doorbell.
#[derive(Debug)]
pub(crate) struct Bell {
    line: Arc<Mutex<Line>>,
}

#[derive(Debug, Default)]
struct Line {
    rung: bool,
    ended: bool,
    waker: Option<Waker>,
}

/// A doorbell and its engine's end.
pub(crate) fn doorbell() -> (Bell, Doorbell) {
    let line = Arc::new(Mutex::new(Line::default()));
    (Bell { line: Arc::clone(&line) }, Doorbell { line })
}

impl Doorbell {
    /// A doorbell that never rings, for an engine that can't tell: its owner polls.
    #[must_use]
    pub fn ended() -> Self {
        doorbell().1
    }

    /// Waits for a ring; at once if it rang since the last one was taken. False: it never will
    /// again.
    pub async fn rung(&mut self) -> bool {
        poll_fn(|context| self.poll_rung(context)).await
    }

    /// [`Doorbell::rung`] for who has no task to wait in.
    pub(crate) fn poll_rung(&mut self, context: &Context<'_>) -> Poll<bool> {
        let mut line = lock(&self.line);
        if std::mem::take(&mut line.rung) {
            return Poll::Ready(true);
        }
        if line.ended {
            return Poll::Ready(false);
        }
        line.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Doorbell {
    fn drop(&mut self) {
        // Nobody is woken any more, and what the waker holds goes now.
        let waker = lock(&self.line).waker.take();
        drop(waker);
    }
}

impl Bell {
    /// Rings. False: nobody listens any more.
    pub(crate) fn ring(&self) -> bool {
        let mut line = lock(&self.line);
        line.rung = true;
        let waker = line.waker.take();
        drop(line);
        if let Some(waker) = waker {
            waker.wake();
        }
        self.is_heard()
    }

    /// Whether somebody holds the doorbell.
    pub(crate) fn is_heard(&self) -> bool {
        Arc::strong_count(&self.line) > 1
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        let mut line = lock(&self.line);
        line.ended = true;
        let waker = line.waker.take();
        drop(line);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The doorbells of an engine that sees every commit itself.
#[derive(Debug, Default)]
pub(crate) struct Bells {
    bells: Mutex<Vec<(Bytes, Bell)>>,
    /// How many there are, so that a commit without any costs one load.
    count: AtomicUsize,
}

impl Bells {
    /// Hangs a doorbell up.
    pub(crate) fn hang(&self, key: &[u8]) -> Doorbell {
        let (bell, doorbell) = doorbell();
        let mut bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        bells.retain(|(_, bell)| bell.is_heard());
        bells.push((Bytes::copy_from_slice(key), bell));
        self.count.store(bells.len(), Ordering::Release);
        doorbell
    }

    /// The keys with doorbells that these operations may change.
    pub(crate) fn touched<'a>(&self, ops: impl Iterator<Item = &'a Op>) -> Vec<Bytes> {
        if self.count.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = |op: &Op| {
            let touched = bells.iter().map(|(key, _)| key).filter(|key| touches(op, key));
            touched.cloned().collect::<Vec<_>>()
        };
        let mut touched: Vec<Bytes> = ops.flat_map(keys).collect();
        touched.sort_unstable();
        touched.dedup();
        touched
    }

    /// Rings the doorbells of keys, after the commit.
    pub(crate) fn ring(&self, keys: &[Bytes]) {
        if keys.is_empty() {
            return;
        }
        let mut bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        bells.retain(|(key, bell)| !keys.contains(key) || bell.ring());
        self.count.store(bells.len(), Ordering::Release);
    }
}

fn touches(op: &Op, wanted: &Bytes) -> bool {
    match op {
        Op::Set { key, .. }
        | Op::Clear { key }
        | Op::SetStampedValue { key, .. }
        | Op::Add { key, .. }
        | Op::ByteMax { key, .. } => key == wanted,
        Op::ClearRange { from, to } => from <= wanted && wanted < to,
        Op::SetStampedKey { prefix, .. } => {
            wanted.len() == prefix.len() + STAMP_BYTES && wanted.starts_with(prefix)
        }
    }
}

fn lock(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}
