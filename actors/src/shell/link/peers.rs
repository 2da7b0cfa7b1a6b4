//! One peer: its link's state machine, the connection it has now, and the news to tell of it.

use super::core::Core;
use super::pipe::PipeEnd;
use super::router::RouterMsg;
use super::sessions::Ended;
use crate::link::frame::Frame;
use crate::link::peer::{Effect, Input, Link};
use crate::link::{LinkRefused, NodeKey, Notice, Peer};
use bytes::Bytes;
use ractor::ActorRef;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A peer of the view.
pub(super) struct PeerLink {
    pub(super) key: NodeKey,
    pub(super) name: String,
    pub(super) incarnation: u64,
    state: Mutex<State>,
}

struct State {
    address: String,
    /// The wire version of the newest connection that stood.
    version: Option<u8>,
    /// `None` once the view dropped the peer.
    link: Option<Link>,
    over: Option<Over>,
    current: Option<Current>,
    effects: Vec<Effect>,
    news: VecDeque<News>,
    /// A thread is telling news: others leave theirs to it, so that they stay in order.
    telling: bool,
}

/// What frames leave over.
struct Over {
    connection: u64,
    router: ActorRef<RouterMsg>,
    pipe: PipeEnd,
}

/// The newest connection, whether it is ready or not.
pub(super) struct Current {
    pub(super) connection: u64,
    pub(super) pipe: PipeEnd,
    pub(super) ended: Ended,
}

enum News {
    Messages(Vec<Bytes>),
    Notice(Notice),
}

impl PeerLink {
    pub(super) fn new(own: NodeKey, peer: Peer, start: u64, expected: u64) -> Self {
        let key = peer.key();
        let state = State {
            address: peer.address,
            version: None,
            link: Some(Link::new(own, key, start, expected)),
            over: None,
            current: None,
            effects: Vec::new(),
            news: VecDeque::new(),
            telling: false,
        };
        let Peer { name, incarnation, .. } = peer;
        Self { key, name, incarnation, state: Mutex::new(state) }
    }

    pub(super) fn address(&self) -> String {
        self.lock().address.clone()
    }

    pub(super) fn set_address(&self, address: String) {
        self.lock().address = address;
    }

    pub(super) fn is_up(&self) -> bool {
        self.lock().link.as_ref().is_some_and(Link::is_up)
    }

    pub(super) fn version(&self) -> Option<u8> {
        self.lock().version
    }

    pub(super) fn is_prompt(&self) -> bool {
        self.lock().link.as_ref().is_some_and(|link| !link.is_quiet())
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        self.lock().link.as_ref().map_or(0, Link::waiting_bytes)
    }

    pub(super) fn send(&self, message: Bytes) -> Result<(), LinkRefused> {
        let mut guard = self.lock();
        let state = &mut *guard;
        let link = state.link.as_mut().ok_or(LinkRefused::Unknown)?;
        link.send(message, &mut state.effects)?;
        self.perform(state);
        Ok(())
    }

    /// The newest connection is this one; what the one before was.
    pub(super) fn replace(&self, current: Current) -> Option<Current> {
        let mut state = self.lock();
        if state.link.is_none() {
            current.pipe.end();
            return None;
        }
        state.current.replace(current)
    }

    pub(super) fn connected(
        &self,
        core: &Core,
        connection: u64,
        version: u8,
        router: ActorRef<RouterMsg>,
        pipe: PipeEnd,
    ) {
        {
            let mut state = self.lock();
            let newest = state.current.as_ref().map(|current| current.connection);
            if newest != Some(connection) {
                return pipe.end();
            }
            state.over = Some(Over { connection, router, pipe });
            state.version = Some(version);
        }
        self.input(core, Input::Connected { version });
    }

    pub(super) fn disconnected(&self, core: &Core, connection: u64) {
        {
            let mut state = self.lock();
            state.current.take_if(|current| current.connection == connection);
            if state.over.take_if(|over| over.connection == connection).is_none() {
                return;
            }
        }
        self.input(core, Input::Disconnected);
    }

    pub(super) fn frame(&self, core: &Core, frame: Frame) {
        self.input(core, Input::Frame(frame));
    }

    pub(super) fn tick(&self, core: &Core) {
        self.input(core, Input::Tick);
    }

    /// Ends the connection; a new one will follow if the view still holds the peer.
    pub(super) fn hang_up(&self) {
        if let Some(current) = &self.lock().current {
            current.pipe.end();
        }
    }

    /// The view dropped the peer. The sequence number that was expected from it.
    pub(super) fn close(&self, core: &Core) -> Option<u64> {
        let expected = {
            let mut state = self.lock();
            let link = state.link.take()?;
            let was_up = link.is_up();
            let (expected, lost) = link.close();
            state.over = None;
            if let Some(current) = state.current.take() {
                current.pipe.end();
            }
            if was_up {
                state.news.push_back(News::Notice(Notice::Down(self.key)));
            }
            if lost > 0 {
                tracing::warn!(peer = self.name, lost, "messages for a dropped peer are given up");
                state.news.push_back(News::Notice(Notice::Lost(self.key, lost)));
            }
            expected
        };
        self.tell(core);
        Some(expected)
    }

    fn input(&self, core: &Core, input: Input) {
        {
            let mut guard = self.lock();
            let state = &mut *guard;
            let Some(link) = state.link.as_mut() else { return };
            link.handle(core.now_ms(), input, &mut state.effects);
            self.perform(state);
        }
        self.tell(core);
    }

    /// Under the lock, so that frames leave in the order in which they were made. Nothing here blocks.
    fn perform(&self, state: &mut State) {
        let State { effects, over, news, version, .. } = state;
        for effect in effects.drain(..) {
            match effect {
                Effect::Transmit(bytes) => {
                    let sent = over.as_ref().map(|over| over.router.cast(RouterMsg::Frame(bytes)));
                    if !matches!(sent, Some(Ok(()))) {
                        tracing::trace!(peer = self.name, "the connection ended under a frame");
                    }
                }
                Effect::Deliver(messages) => news.push_back(News::Messages(messages)),
                Effect::Up => {
                    let (peer, incarnation) = (&self.name, self.incarnation);
                    tracing::info!(peer, incarnation, version, "link up");
                    news.push_back(News::Notice(Notice::Up(self.key)));
                }
                Effect::Down => {
                    tracing::warn!(peer = self.name, incarnation = self.incarnation, "link down");
                    news.push_back(News::Notice(Notice::Down(self.key)));
                }
                Effect::Quiet => {
                    tracing::info!(peer = self.name, incarnation = self.incarnation, "peer quiet");
                    metrics::counter!("rookery_link_quiet_total").increment(1);
                    news.push_back(News::Notice(Notice::Quiet(self.key)));
                }
                Effect::Disconnect(why) => {
                    tracing::warn!(peer = self.name, ?why, "a connection is given up");
                    metrics::counter!("rookery_link_given_up_total").increment(1);
                    if let Some(over) = over.take() {
                        over.pipe.end();
                    }
                }
            }
        }
    }

    /// Tells the news, in order, outside the lock: what is told may send.
    fn tell(&self, core: &Core) {
        {
            let mut state = self.lock();
            if state.telling {
                return;
            }
            state.telling = true;
        }
        loop {
            let next = {
                let mut state = self.lock();
                let next = state.news.pop_front();
                state.telling = next.is_some();
                next
            };
            match next {
                Some(News::Messages(messages)) => {
                    for message in messages {
                        guarded(|| (core.on_message)(self.key, message));
                    }
                }
                Some(News::Notice(notice)) => {
                    if matches!(notice, Notice::Up(_)) {
                        core.refusals.forget(&self.name);
                    }
                    guarded(|| (core.on_notice)(notice));
                }
                None => return,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under the lock panics; if it did, the numbers still tell what is missing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A handler that panics loses its message, not the link.
fn guarded(call: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(call)).is_err() {
        metrics::counter!("rookery_link_handler_panics_total").increment(1);
        tracing::error!("the handler of a message from another node panicked");
    }
}
