//! A client as an application wants it: calls that can be awaited, and a bounded channel of
//! events. One task a client drives the connection; it ends when the application drops both.
//!
//! Liveness: while the application doesn't take events, the connection is kept alive but not read:
//! the server notices by its window, pauses, and goes on later from its store.

use crate::api::{Api, Login};
use crate::config::Config;
use crate::core::Outgoing;
use crate::driver::{Driver, new_message_id};
use crate::error::{CallError, QueueError, Refusal, RequestError};
use crate::event::{Event, Reply, Sent};
use rookery_protocol::server::{Conversation, ConversationPage, HistoryPage};
use rookery_protocol::types::ListCursor;
use rookery_protocol::{
    ClientMsgId, ConversationId, Cursor, Direction, EntryKind, MarkKind, UserId,
};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Events kept for an application that is busy.
const EVENTS: usize = 256;
/// Commands on their way to the task.
const COMMANDS: usize = 64;
/// Pause between attempts to refresh the tokens.
const REFRESH_PAUSE: Duration = Duration::from_secs(5);

pub(crate) type Answer<T> = oneshot::Sender<Result<T, CallError>>;
pub(crate) type Ask = Box<dyn FnOnce(&mut Driver) -> Result<u32, QueueError> + Send>;
pub(crate) type Tell = Box<dyn FnOnce(&mut Driver) -> Result<(), QueueError> + Send>;

pub(crate) enum Command {
    Send(Outgoing, Answer<Sent>),
    Ask(Ask, Answer<Reply>),
    Tell(Tell, Answer<()>),
    Leave,
}

/// Handle of a client; clones speak for the same device.
#[derive(Clone, Debug)]
pub struct Client {
    commands: mpsc::Sender<Command>,
    login: watch::Receiver<Login>,
}

/// The client's events, in order.
#[derive(Debug)]
pub struct Events(mpsc::Receiver<Event>);

impl Events {
    /// The next event; none after the client closed.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.recv().await
    }
}

impl Client {
    /// Starts a client for a device that is logged in at `base` (`http://host[:port]`, where its
    /// tokens are refreshed). `cursor` is the newest one the application keeps.
    ///
    /// # Errors
    /// [`crate::ApiError::BadUrl`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(
        mut config: Config,
        base: &str,
        login: Login,
        cursor: Option<Cursor>,
    ) -> Result<(Self, Events), crate::ApiError> {
        let api = Api::new(base)?;
        if config.endpoints.is_empty() {
            config.endpoints = login.addresses();
        }
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let (events, outbox) = mpsc::channel(EVENTS);
        let (logins, current) = watch::channel(login);
        let logins = Arc::new(logins);
        let token = current.borrow().access_token.clone();
        let (tokens, fresh_tokens) = mpsc::channel(1);
        let (refresh, wanted) = mpsc::channel(1);
        let task = Task {
            driver: Driver::new(Arc::new(config), token, cursor),
            sends: HashMap::new(),
            asks: HashMap::new(),
            logins: Arc::clone(&logins),
            refresh,
        };
        tokio::spawn(refresher(api, logins, wanted, tokens));
        tokio::spawn(task.run(inbox, events, fresh_tokens));
        Ok((Self { commands, login: current }, Events(outbox)))
    }

    /// The newest log-in: its refresh token must be kept durably whenever it changes.
    #[must_use]
    pub fn login(&self) -> watch::Receiver<Login> {
        self.login.clone()
    }

    /// Sends a text; returns when it is durable.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn send_text(
        &self,
        conversation: ConversationId,
        text: &str,
    ) -> Result<Sent, CallError> {
        self.send(Outgoing {
            conversation,
            client_msg_id: new_message_id(),
            kind: EntryKind::Text,
            body: text.as_bytes().to_vec(),
        })
        .await
    }

    /// Sends a message; returns when it is durable. Dropping the call doesn't take it back.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn send(&self, message: Outgoing) -> Result<Sent, CallError> {
        self.command(|answer| Command::Send(message, answer)).await
    }

    /// A page of history; anchor 0 with `Before` starts at the newest.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn history(
        &self,
        conversation: ConversationId,
        anchor: u64,
        direction: Direction,
        limit: u16,
    ) -> Result<HistoryPage, CallError> {
        let ask: Ask = Box::new(move |d| d.history(conversation, anchor, direction, limit));
        match self.ask(ask).await? {
            Reply::History(page) => Ok(*page),
            _ => Err(CallError::WrongAnswer),
        }
    }

    /// A page of the conversation list, latest activity first.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn conversations(
        &self,
        limit: u16,
        after: Option<ListCursor>,
    ) -> Result<ConversationPage, CallError> {
        let ask: Ask = Box::new(move |d| d.conversations(limit, after));
        match self.ask(ask).await? {
            Reply::Conversations(page) => Ok(*page),
            _ => Err(CallError::WrongAnswer),
        }
    }

    /// Finds or creates the one-to-one conversation with a user.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn open_direct(&self, name: &str) -> Result<Conversation, CallError> {
        let name = name.to_owned();
        self.conversation(Box::new(move |d| d.open_direct(&name))).await
    }

    /// One conversation.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn describe(&self, id: ConversationId) -> Result<Conversation, CallError> {
        self.conversation(Box::new(move |d| d.describe(id))).await
    }

    async fn conversation(&self, ask: Ask) -> Result<Conversation, CallError> {
        match self.ask(ask).await? {
            Reply::Conversation(conversation) => Ok(*conversation),
            _ => Err(CallError::WrongAnswer),
        }
    }

    /// Watches users' presence.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn watch(&self, users: Vec<UserId>) -> Result<(), CallError> {
        let ask: Ask = Box::new(move |d| d.watch(users));
        match self.ask(ask).await? {
            Reply::Done => Ok(()),
            _ => Err(CallError::WrongAnswer),
        }
    }

    /// Stops watching; returns when it is queued.
    ///
    /// # Errors
    /// [`CallError::NotQueued`].
    pub async fn unwatch(&self, users: Vec<UserId>) -> Result<(), CallError> {
        self.tell(Box::new(move |d| d.unwatch(users))).await
    }

    /// Moves an own mark forward; returns when it is queued.
    ///
    /// # Errors
    /// [`CallError::NotQueued`].
    pub async fn mark(
        &self,
        id: ConversationId,
        kind: MarkKind,
        seq: u64,
    ) -> Result<(), CallError> {
        self.tell(Box::new(move |d| d.mark(id, kind, seq))).await
    }

    /// Tells about typing; returns when it is queued.
    ///
    /// # Errors
    /// [`CallError::NotQueued`].
    pub async fn typing(&self, id: ConversationId, active: bool) -> Result<(), CallError> {
        self.tell(Box::new(move |d| d.typing(id, active))).await
    }

    /// The application holds everything of a conversation up to `seq`.
    ///
    /// # Errors
    /// [`CallError::NotQueued`].
    pub async fn track(&self, id: ConversationId, seq: u64) -> Result<(), CallError> {
        let tell: Tell = Box::new(move |d| {
            d.track(id, seq);
            Ok(())
        });
        self.tell(tell).await
    }

    /// Ends the session at once; the user shows as offline without grace.
    pub async fn leave(&self) {
        // A closed channel means that the client is closed already.
        drop(self.commands.send(Command::Leave).await);
    }

    pub(crate) async fn ask(&self, ask: Ask) -> Result<Reply, CallError> {
        self.command(|answer| Command::Ask(ask, answer)).await
    }

    pub(crate) async fn tell(&self, tell: Tell) -> Result<(), CallError> {
        self.command(|answer| Command::Tell(tell, answer)).await
    }

    pub(crate) async fn command<T>(
        &self,
        make: impl FnOnce(Answer<T>) -> Command,
    ) -> Result<T, CallError> {
        let (answer, outcome) = oneshot::channel();
        if self.commands.send(make(answer)).await.is_err() {
            return Err(CallError::NotQueued(QueueError::Closed));
        }
        outcome.await.unwrap_or(Err(CallError::Failed(RequestError::Closed)))
    }
}

/// What the task owns.
struct Task {
    driver: Driver,
    sends: HashMap<ClientMsgId, Answer<Sent>>,
    asks: HashMap<u32, Answer<Reply>>,
    /// The newest log-in; the refresher changes it too.
    logins: Arc<watch::Sender<Login>>,
    /// Wakes the refresher.
    refresh: mpsc::Sender<()>,
}

impl Task {
    async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        events: mpsc::Sender<Event>,
        mut tokens: mpsc::Receiver<String>,
    ) {
        // An event that the channel had no room for.
        let mut held: Option<Event> = None;
        loop {
            tokio::select! {
                permit = events.reserve(), if held.is_some() => {
                    // No permit: the application dropped its events and goes on with calls alone.
                    if let (Ok(permit), Some(event)) = (permit, held.take()) {
                        permit.send(event);
                    }
                }
                event = self.driver.drive(held.is_none()) => match event {
                    Some(event) => {
                        self.refresh(&event);
                        self.answer(&event);
                        held = Some(event);
                    }
                    None => return,
                },
                command = commands.recv() => match command {
                    Some(Command::Leave) | None => return self.driver.leave().await,
                    Some(command) => self.command(command),
                },
                Some(token) = tokens.recv() => drop(self.driver.set_token(token)),
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Send(message, answer) => {
                let id = message.client_msg_id;
                match self.driver.send(message) {
                    Ok(()) => drop(self.sends.insert(id, answer)),
                    Err(e) => drop(answer.send(Err(CallError::NotQueued(e)))),
                }
            }
            Command::Ask(ask, answer) => match ask(&mut self.driver) {
                Ok(request) => drop(self.asks.insert(request, answer)),
                Err(e) => drop(answer.send(Err(CallError::NotQueued(e)))),
            },
            Command::Tell(tell, answer) => {
                drop(answer.send(tell(&mut self.driver).map_err(CallError::NotQueued)));
            }
            Command::Leave => {}
        }
    }

    /// Keeps the tokens fresh: over the connection where there is one, over HTTP otherwise.
    fn refresh(&mut self, event: &Event) {
        let over_http = match event {
            Event::NeedToken => {
                let token = self.logins.borrow().refresh_token.clone();
                !self.driver.refresh(token).unwrap_or(false)
            }
            Event::Refreshed(fresh) => {
                self.logins.send_modify(|login| {
                    login.access_token.clone_from(&fresh.access_token);
                    login.access_expires_ms = fresh.access_expires_ms;
                    login.refresh_token.clone_from(&fresh.refresh_token);
                });
                false
            }
            Event::NotRefreshed(_) => true,
            _ => false,
        };
        if over_http && self.refresh.try_send(()).is_err() {
            // A refresh is under way already.
        }
    }

    /// Completes the call that an event answers. A caller that went away doesn't matter.
    fn answer(&mut self, event: &Event) {
        match event {
            Event::Sent(sent) => {
                if let Some(answer) = self.sends.remove(&sent.client_msg_id) {
                    drop(answer.send(Ok(*sent)));
                }
            }
            Event::SendFailed { client_msg_id, refusal, .. } => {
                if let Some(answer) = self.sends.remove(client_msg_id) {
                    drop(answer.send(Err(failed(refusal))));
                }
            }
            Event::Reply { request, result } => {
                if let Some(answer) = self.asks.remove(request) {
                    drop(answer.send(result.clone().map_err(CallError::Failed)));
                }
            }
            _ => {}
        }
    }
}

fn failed(refusal: &Refusal) -> CallError {
    CallError::Failed(RequestError::Refused(refusal.clone()))
}

/// Refreshes the tokens each time it is wanted, until it works.
async fn refresher(
    mut api: Api,
    logins: Arc<watch::Sender<Login>>,
    mut wanted: mpsc::Receiver<()>,
    tokens: mpsc::Sender<String>,
) {
    while wanted.recv().await.is_some() {
        loop {
            let refresh_token = logins.borrow().refresh_token.clone();
            match api.refresh(&refresh_token).await {
                Ok(login) => {
                    let token = login.access_token.clone();
                    logins.send_replace(login);
                    if tokens.send(token).await.is_err() {
                        return;
                    }
                    break;
                }
                // The connection learns of a token that is no good by itself.
                Err(e) if !e.retryable() => break,
                Err(_) if tokens.is_closed() => return,
                Err(_) => tokio::time::sleep(REFRESH_PAUSE).await,
            }
        }
    }
}
