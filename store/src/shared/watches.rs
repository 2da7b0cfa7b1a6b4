//! Doorbells across the socket: the client's bells, and the server's watches that ring them.
//!
//! A ring stays a hint on its way: several become one where the other end is slow, a new connection
//! watches again and rings every bell once, because nobody saw what happened in between, and a
//! server that has no room for a watch, or whose engine has no doorbells, says that it has ended.

use super::message::Request;
use super::outbox::Outbox;
use crate::doorbell::{Bell, Doorbell, doorbell};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// The bells of a client, by the numbers of their watches.
#[derive(Debug, Default)]
pub(super) struct Watches {
    bells: HashMap<u64, (Bytes, Bell)>,
}

impl Watches {
    /// Hangs a bell up; what the server is to be asked.
    pub(super) fn hang(&mut self, watch: u64, key: &[u8]) -> (Doorbell, Request) {
        let (bell, doorbell) = doorbell();
        let key = Bytes::copy_from_slice(key);
        self.bells.insert(watch, (key.clone(), bell));
        (doorbell, Request::Watch { watch, key })
    }

    /// Rings every bell: a new connection is there; what its server is to be asked.
    pub(super) fn again(&mut self) -> Vec<Request> {
        self.bells.retain(|_, (_, bell)| bell.ring());
        let asked = self.bells.iter();
        asked.map(|(watch, (key, _))| Request::Watch { watch: *watch, key: key.clone() }).collect()
    }

    /// The server rang. Nobody listens any more: what it is to be asked.
    pub(super) fn rung(&mut self, watch: u64, ended: bool) -> Option<Request> {
        let (_, bell) = self.bells.get(&watch)?;
        let heard = bell.ring();
        if ended || !heard {
            self.bells.remove(&watch);
        }
        (!ended && !heard).then_some(Request::Unwatch { watch })
    }
}

/// Most watches of one client: a node needs one.
const MAX_WATCHES: usize = 64;

/// The watches of one client in the server.
pub(super) struct Watching {
    outbox: Arc<Outbox>,
    watched: HashMap<u64, Arc<Watched>>,
}

impl Watching {
    pub(super) fn new(outbox: &Arc<Outbox>) -> Self {
        Self { outbox: Arc::clone(outbox), watched: HashMap::new() }
    }

    /// Passes the rings of a doorbell on, from now on.
    pub(super) fn watch(&mut self, watch: u64, hang: impl FnOnce() -> Doorbell) {
        self.watched.retain(|_, watched| watched.lock().is_some());
        if self.watched.len() >= MAX_WATCHES || self.watched.contains_key(&watch) {
            return self.outbox.ring(watch, true);
        }
        let watched = Arc::new(Watched {
            watch,
            outbox: Arc::clone(&self.outbox),
            doorbell: Mutex::new(Some(hang())),
        });
        Arc::clone(&watched).listen();
        self.watched.insert(watch, watched);
    }

    /// Ends a watch.
    pub(super) fn unwatch(&mut self, watch: u64) {
        if let Some(watched) = self.watched.remove(&watch) {
            watched.end();
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.watched.values().for_each(|watched| watched.end());
    }
}

/// One watch. It is its doorbell's waker: the thread that rings puts the ring into the outbox, and
/// no thread waits for it.
struct Watched {
    watch: u64,
    outbox: Arc<Outbox>,
    /// `None`: it has ended.
    doorbell: Mutex<Option<Doorbell>>,
}

impl Watched {
    /// Takes rings until there are none, and leaves itself to be woken by the next.
    fn listen(self: Arc<Self>) {
        let waker = Waker::from(Arc::clone(&self));
        let context = Context::from_waker(&waker);
        let mut doorbell = self.lock();
        while let Some(listening) = doorbell.as_mut() {
            match listening.poll_rung(&context) {
                Poll::Ready(true) => self.outbox.ring(self.watch, false),
                Poll::Ready(false) => {
                    self.outbox.ring(self.watch, true);
                    *doorbell = None;
                }
                Poll::Pending => return,
            }
        }
    }

    fn end(&self) {
        // It holds this watch as its waker, so it must go first.
        let doorbell = self.lock().take();
        drop(doorbell);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Doorbell>> {
        self.doorbell.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Watched {
    fn wake(self: Arc<Self>) {
        self.listen();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::message::Answer;

    fn rings(outbox: &Outbox) -> Vec<Answer> {
        let mut bytes = Vec::new();
        outbox.take(&mut bytes);
        let mut rings = Vec::new();
        while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
            let length = usize::try_from(u32::from_le_bytes(*length)).unwrap();
            rings.push(Answer::decode(&rest[..length]).unwrap());
            bytes = rest[length..].to_vec();
        }
        rings
    }

    #[test]
    fn rings_that_wait_are_one_and_nothing_is_left_of_a_watch_that_ended() {
        let outbox = Arc::new(Outbox::new(100, 100));
        let mut watching = Watching::new(&outbox);
        let (bell, listening) = doorbell();
        watching.watch(7, || listening);
        (0..1000).for_each(|_| assert!(bell.ring()));
        assert_eq!(rings(&outbox), [Answer::Rung { watch: 7, ended: false }]);
        bell.ring();
        assert_eq!(rings(&outbox), [Answer::Rung { watch: 7, ended: false }]);
        watching.unwatch(7);
        assert!(!bell.ring(), "nobody listens");
        drop(watching);
        assert_eq!(Arc::strong_count(&outbox), 1);
    }

    #[test]
    fn an_engine_without_doorbells_and_a_watch_too_many_are_told_as_ended() {
        let outbox = Arc::new(Outbox::new(100, 100));
        let mut watching = Watching::new(&outbox);
        watching.watch(1, Doorbell::ended);
        assert_eq!(rings(&outbox), [Answer::Rung { watch: 1, ended: true }]);
        let lines: Vec<Bell> = (2..200_u64)
            .map(|watch| {
                let (bell, listening) = doorbell();
                watching.watch(watch, || listening);
                bell
            })
            .collect();
        let refused = rings(&outbox);
        assert_eq!(refused.len(), lines.len() - MAX_WATCHES);
        drop(lines);
        assert_eq!(rings(&outbox).len(), MAX_WATCHES, "the engine closed");
    }

    #[test]
    fn a_new_connection_watches_again_and_rings_what_is_still_heard() {
        let mut watches = Watches::default();
        let (heard, asked) = watches.hang(1, b"k");
        let (gone, _) = watches.hang(2, b"l");
        drop(gone);
        assert_eq!(watches.again(), [asked]);
        assert_eq!(watches.rung(2, false), None, "it is unknown now");
        drop(heard);
        assert_eq!(watches.rung(1, false), Some(Request::Unwatch { watch: 1 }));
    }
}
