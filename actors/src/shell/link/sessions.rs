//! What ractor_cluster tells about its sessions, by the label of the stream beneath.

use ractor_cluster::NodeEventSubscription;
use ractor_cluster::node::NodeServerSessionInformation;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{oneshot, watch};

/// Sessions by label. Clones are the same ones.
#[derive(Clone, Default)]
pub(super) struct Sessions(Arc<Mutex<HashMap<String, Registered>>>);

struct Registered {
    ready: Option<oneshot::Sender<NodeServerSessionInformation>>,
    /// Dropped when the session ended: that is the news.
    _ended: watch::Sender<()>,
}

/// What the task of a connection waits for.
pub(super) struct Expected {
    /// The session is authenticated and knows the peer's remotable actors.
    pub(super) ready: oneshot::Receiver<NodeServerSessionInformation>,
    /// The session ended.
    pub(super) ended: Ended,
}

/// The end of a session.
#[derive(Clone)]
pub(super) struct Ended(watch::Receiver<()>);

impl Ended {
    pub(super) async fn wait(&mut self) {
        while self.0.changed().await.is_ok() {}
    }
}

impl Sessions {
    /// Before a stream with this label is handed over.
    pub(super) fn expect(&self, label: &str) -> Expected {
        let (ready, is_ready) = oneshot::channel();
        let (ended, has_ended) = watch::channel(());
        self.lock().insert(label.to_owned(), Registered { ready: Some(ready), _ended: ended });
        Expected { ready: is_ready, ended: Ended(has_ended) }
    }

    /// Whatever became of it, nobody waits for it any more.
    pub(super) fn forget(&self, label: &str) {
        self.lock().remove(label);
    }

    /// The node server ended, and all sessions with it.
    pub(super) fn forget_all(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Registered>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NodeEventSubscription for Sessions {
    fn node_session_opened(&self, _session: NodeServerSessionInformation) {}

    fn node_session_authenticated(&self, _session: NodeServerSessionInformation) {}

    fn node_session_ready(&self, session: NodeServerSessionInformation) {
        let ready = self.lock().get_mut(&session.peer_addr).and_then(|it| it.ready.take());
        if let Some(ready) = ready
            && ready.send(session).is_err()
        {
            tracing::debug!("a session was ready too late");
        }
    }

    fn node_session_disconnected(&self, session: NodeServerSessionInformation) {
        self.forget(&session.peer_addr);
    }
}
