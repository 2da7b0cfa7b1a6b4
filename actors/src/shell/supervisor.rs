//! Supervisors: one-for-one, with restart intensity, exponential back-off and jitter.
//!
//! Restarts are spawned from a task and never inside a handler, so that a supervisor always
//! answers. Shutdown ends the children in reverse order before the parent.

use futures_util::future::BoxFuture;
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// More restarts than this within [`WINDOW`] and the supervisor itself fails.
const INTENSITY: usize = 5;
const WINDOW: Duration = Duration::from_secs(10);
const FIRST_BACKOFF: Duration = Duration::from_millis(20);
const MAX_BACKOFF: Duration = Duration::from_secs(2);
/// How long a child may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

type Start =
    Arc<dyn Fn(ActorCell) -> BoxFuture<'static, Result<ActorCell, SpawnErr>> + Send + Sync>;

/// A child: its name, and how it is started under a supervisor.
#[derive(Clone)]
pub(super) struct Child {
    pub(super) name: String,
    pub(super) start: Start,
}

impl Child {
    pub(super) fn new<F>(name: impl Into<String>, start: F) -> Self
    where
        F: Fn(ActorCell) -> BoxFuture<'static, Result<ActorCell, SpawnErr>> + Send + Sync + 'static,
    {
        Self { name: name.into(), start: Arc::new(start) }
    }

    /// A task as a child: what it runs should never end, and is started again when it does.
    pub(super) fn task<F, T>(name: &'static str, work: F) -> Self
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        let work: Work = Arc::new(move || Box::pin(work()));
        Self::new(name, move |parent| {
            let work = Arc::clone(&work);
            Box::pin(async move {
                let (actor, _) = Task::spawn_linked(None, Task, work, parent).await?;
                Ok(actor.get_cell())
            })
        })
    }

    /// A supervisor of children as a child.
    pub(super) fn supervisor(name: &'static str, children: Vec<Self>) -> Self {
        Self::new(name, move |parent| {
            let children = children.clone();
            Box::pin(async move {
                let (actor, _) =
                    Supervisor::spawn_linked(None, Supervisor, children, parent).await?;
                Ok(actor.get_cell())
            })
        })
    }
}

type Work = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// A task in an actor's clothes, so that it has a supervisor: it fails when the task ends, and
/// takes the task with it when it is ended.
struct Task;

/// The task ended.
struct TaskEnded(String);

// Local: not serializable, so nothing of it is shown to other nodes.
impl ractor::Message for TaskEnded {}

/// Aborts the task when dropped, however the actor ended.
struct Running(tokio::task::AbortHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Actor for Task {
    type Msg = TaskEnded;
    type State = Running;
    type Arguments = Work;

    async fn pre_start(
        &self,
        myself: ActorRef<TaskEnded>,
        work: Work,
    ) -> Result<Running, ActorProcessingErr> {
        let task = tokio::spawn(work());
        let running = Running(task.abort_handle());
        tokio::spawn(async move {
            let why = match task.await {
                Ok(()) => "it returned".to_owned(),
                Err(error) => error.to_string(),
            };
            if myself.cast(TaskEnded(why)).is_err() {
                tracing::trace!("a task and its actor ended");
            }
        });
        Ok(running)
    }

    async fn handle(
        &self,
        _myself: ActorRef<TaskEnded>,
        TaskEnded(why): TaskEnded,
        _running: &mut Running,
    ) -> Result<(), ActorProcessingErr> {
        Err(why.into())
    }
}

pub(super) struct Supervisor;

pub(super) enum Command {
    /// A restart that was under way ended.
    Restarted(usize, Result<ActorCell, String>),
}

// Local: not serializable, so nothing of it is shown to other nodes.
impl ractor::Message for Command {}

pub(super) struct State {
    children: Vec<(Child, Option<ActorCell>)>,
    restarts: VecDeque<Instant>,
    /// Children that ended before it was known here that they were started.
    early: Vec<ActorId>,
}

impl Actor for Supervisor {
    type Msg = Command;
    type State = State;
    type Arguments = Vec<Child>;

    async fn pre_start(
        &self,
        myself: ActorRef<Command>,
        children: Vec<Child>,
    ) -> Result<State, ActorProcessingErr> {
        let mut started = Vec::with_capacity(children.len());
        for child in children {
            let cell = (child.start)(myself.get_cell()).await?;
            started.push((child, Some(cell)));
        }
        Ok(State { children: started, restarts: VecDeque::new(), early: Vec::new() })
    }

    async fn handle(
        &self,
        myself: ActorRef<Command>,
        command: Command,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let Command::Restarted(index, result) = command;
        match result {
            Ok(cell) => {
                if let Some(at) = state.early.iter().position(|id| *id == cell.get_id()) {
                    state.early.swap_remove(at);
                    return ended(&myself, index, "it failed at once", state);
                }
                if let Some((child, slot)) = state.children.get_mut(index) {
                    tracing::info!(child = child.name, "restarted");
                    *slot = Some(cell);
                }
                Ok(())
            }
            Err(error) => {
                tracing::error!(error, "a restart failed");
                restart(&myself, index, state)
            }
        }
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Command>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let (id, why) = match event {
            SupervisionEvent::ActorFailed(cell, error) => (cell.get_id(), error.to_string()),
            SupervisionEvent::ActorTerminated(cell, _, reason) => {
                (cell.get_id(), reason.unwrap_or_default())
            }
            _ => return Ok(()),
        };
        match state.take(id) {
            Some(index) => ended(&myself, index, &why, state),
            None => {
                state.early.push(id);
                Ok(())
            }
        }
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<Command>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        for (child, cell) in state.children.iter_mut().rev() {
            if let Some(cell) = cell.take()
                && let Err(error) = cell.stop_and_wait(None, Some(STOP_TIMEOUT)).await
            {
                tracing::warn!(child = child.name, %error, "did not end in time");
            }
        }
        Ok(())
    }
}

impl State {
    /// Forgets the child with this id; its index.
    fn take(&mut self, id: ActorId) -> Option<usize> {
        let index = self
            .children
            .iter()
            .position(|(_, cell)| cell.as_ref().is_some_and(|cell| cell.get_id() == id))?;
        self.children.get_mut(index)?.1 = None;
        Some(index)
    }
}

/// A child ended: it is told, and the child started again.
fn ended(
    myself: &ActorRef<Command>,
    index: usize,
    why: &str,
    state: &mut State,
) -> Result<(), ActorProcessingErr> {
    if let Some((child, _)) = state.children.get(index) {
        metrics::counter!("rookery_restarts_total", "child" => child.name.clone()).increment(1);
        tracing::error!(child = child.name, why, "a part of the node ended and is restarted");
    }
    restart(myself, index, state)
}

/// Starts a child again after the back-off; an error when it happens too often.
fn restart(
    myself: &ActorRef<Command>,
    index: usize,
    state: &mut State,
) -> Result<(), ActorProcessingErr> {
    let now = Instant::now();
    while state.restarts.front().is_some_and(|at| now.duration_since(*at) > WINDOW) {
        state.restarts.pop_front();
    }
    state.restarts.push_back(now);
    if state.restarts.len() > INTENSITY {
        return Err("children end too often".into());
    }
    let Some((child, _)) = state.children.get(index) else { return Ok(()) };
    let start = Arc::clone(&child.start);
    let wait = backoff(state.restarts.len());
    let myself = myself.clone();
    tokio::spawn(async move {
        tokio::time::sleep(wait).await;
        let result = start(myself.get_cell()).await.map_err(|error| error.to_string());
        if myself.cast(Command::Restarted(index, result)).is_err() {
            tracing::debug!("the supervisor ended before its child was restarted");
        }
    });
    Ok(())
}

/// Doubles with each restart in the window, with up to half of it as jitter.
fn backoff(restarts: usize) -> Duration {
    let exponent = u32::try_from(restarts.saturating_sub(1)).unwrap_or(u32::MAX).min(10);
    let full = FIRST_BACKOFF.saturating_mul(1 << exponent).min(MAX_BACKOFF);
    let mut random = [0];
    let jitter = match getrandom::fill(&mut random) {
        Ok(()) => f64::from(random[0]) / 512.0,
        Err(_) => 0.25,
    };
    full.mul_f64(1.0 - jitter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::sync::Notify;

    #[tokio::test]
    async fn a_task_that_panics_or_returns_is_started_again_and_ends_with_its_supervisor() {
        let (runs, third) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let (counted, started) = (Arc::clone(&runs), Arc::clone(&third));
        let alive = Arc::new(());
        let held = Arc::downgrade(&alive);
        let child = Child::task("work", move || {
            let (run, started) = (counted.fetch_add(1, Ordering::Relaxed), Arc::clone(&started));
            let alive = Arc::clone(&alive);
            async move {
                match run {
                    0 => std::panic::resume_unwind(Box::new("a bug")),
                    1 => {}
                    _ => {
                        started.notify_one();
                        std::future::pending::<()>().await;
                    }
                }
                drop(alive);
            }
        });
        let (root, task) = Supervisor::spawn(None, Supervisor, vec![child]).await.unwrap();
        third.notified().await;
        assert_eq!(runs.load(Ordering::Relaxed), 3);
        root.get_cell().stop_and_wait(None, None).await.unwrap();
        task.await.unwrap();
        // The aborted task lets go of what it held, at the latest when it is next polled.
        while held.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    }
}
