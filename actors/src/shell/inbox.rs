//! The inbox of a shard: bounded for what comes from outside, woken once for a turn.
//!
//! ractor's own mailbox is unbounded and costs an allocation a message; here a whole turn's worth
//! is taken with one lock, and ractor is only told that there is something. The inbox outlives a
//! restart of its shard.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The inbox has no room: what was offered did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the shard's inbox is full")
    }
}

impl std::error::Error for Full {}

type Wake = Box<dyn Fn() -> bool + Send>;

struct State<T> {
    items: Vec<T>,
    /// Bytes of what came from outside.
    bytes: usize,
    /// A turn is due and will take what is there.
    scheduled: bool,
    wake: Option<Wake>,
    limit_bytes: usize,
}

/// See the module.
pub(super) struct Inbox<T> {
    state: Mutex<State<T>>,
    /// Actors that the shard behind it hosts.
    hosted: AtomicUsize,
}

impl<T> Inbox<T> {
    pub(super) fn new(limit_bytes: usize) -> Self {
        let state =
            State { items: Vec::new(), bytes: 0, scheduled: false, wake: None, limit_bytes };
        Self { state: Mutex::new(state), hosted: AtomicUsize::new(0) }
    }

    /// From now on so many bytes may wait.
    #[cfg(feature = "poison")]
    pub(super) fn set_limit(&self, limit_bytes: usize) {
        self.state().limit_bytes = limit_bytes;
    }

    /// The shard says how many actors it hosts.
    pub(super) fn note_hosted(&self, count: usize) {
        self.hosted.store(count, Ordering::Relaxed);
    }

    /// How many actors the shard hosted lately.
    pub(super) fn hosted(&self) -> usize {
        self.hosted.load(Ordering::Relaxed)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State<T>> {
        // A panic under this lock can't leave the state half changed.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// From outside the actors: refused when too many bytes wait.
    pub(super) fn offer(&self, item: T, bytes: usize) -> Result<(), Full> {
        let mut state = self.state();
        if state.bytes.saturating_add(bytes) > state.limit_bytes {
            return Err(Full);
        }
        state.bytes += bytes;
        state.items.push(item);
        schedule(&mut state);
        Ok(())
    }

    /// From other actors and from the store: bounded by the credits of those who caused it (sends
    /// and requests in flight of each session), so it is always taken.
    pub(super) fn push(&self, item: T) {
        let mut state = self.state();
        state.items.push(item);
        schedule(&mut state);
    }

    /// As [`Inbox::push`], for a whole turn's messages; `items` is left empty.
    pub(super) fn append(&self, items: &mut Vec<T>) {
        if !items.is_empty() {
            let mut state = self.state();
            state.items.append(items);
            schedule(&mut state);
        }
    }

    /// Takes everything; `into` must be empty, its memory is reused.
    pub(super) fn take(&self, into: &mut Vec<T>) {
        let mut state = self.state();
        state.scheduled = false;
        state.bytes = 0;
        std::mem::swap(&mut state.items, into);
        if state.items.capacity() > 4096 {
            // After a storm the memory is given back.
            state.items.shrink_to(256);
        }
    }

    /// A shard has (re)started: it is woken from now on, at once if something waits.
    pub(super) fn attach(&self, wake: Wake) {
        let mut state = self.state();
        state.wake = Some(wake);
        state.scheduled = false;
        if !state.items.is_empty() {
            schedule(&mut state);
        }
    }
}

fn schedule<T>(state: &mut State<T>) {
    if !state.scheduled
        && let Some(wake) = &state.wake
    {
        // False: the shard is gone; its successor looks when it attaches.
        state.scheduled = wake();
    }
}

#[cfg(test)]
mod tests {
    use super::{Full, Inbox};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn counted(inbox: &Inbox<u32>) -> Arc<AtomicUsize> {
        let wakes = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&wakes);
        inbox.attach(Box::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
            true
        }));
        wakes
    }

    #[test]
    fn one_wake_a_turn_however_much_comes() {
        let inbox = Inbox::new(100);
        let wakes = counted(&inbox);
        for n in 0..10 {
            inbox.push(n);
        }
        assert_eq!(wakes.load(Ordering::Relaxed), 1);
        let mut taken = Vec::new();
        inbox.take(&mut taken);
        assert_eq!(taken, (0..10).collect::<Vec<_>>());
        inbox.push(11);
        assert_eq!(wakes.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn what_is_over_the_bound_is_refused_until_a_turn_made_room() {
        let inbox = Inbox::new(100);
        assert_eq!(inbox.offer(1, 60), Ok(()));
        assert_eq!(inbox.offer(2, 60), Err(Full));
        let mut taken = Vec::new();
        inbox.take(&mut taken);
        assert_eq!(inbox.offer(2, 60), Ok(()));
        assert_eq!(taken, [1]);
    }

    #[test]
    fn what_came_before_the_shard_started_wakes_it_when_it_does() {
        let inbox = Inbox::new(100);
        inbox.push(1);
        let wakes = counted(&inbox);
        assert_eq!(wakes.load(Ordering::Relaxed), 1);
    }
}
