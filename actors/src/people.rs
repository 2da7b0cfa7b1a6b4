//! What a user's own things are to the actors: questions about them, changes of them, and what a
//! watcher may see. The store layer does the work.

use rookery_protocol::people::{DeviceInfo, OwnState, Person};
use rookery_protocol::{ConversationId, DeviceId, UserId};
use rookery_store::{Block, Complaint, Engine, OwnChange, Privacy, Sight, Store, StoreError};
use std::collections::BTreeSet;

/// A question to the store, or a change there. Each change may be made twice without harm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeopleQuery {
    /// A page of contacts and blocked users.
    List {
        /// After this one.
        after: Option<UserId>,
        /// Most of them.
        limit: u16,
    },
    /// Make somebody a contact, or not.
    SetContact {
        /// Whom.
        other: UserId,
        /// Since when, Unix milliseconds; none: not any more.
        since_ms: Option<u64>,
    },
    /// Block somebody, or end it.
    SetBlocked {
        /// Whom.
        other: UserId,
        /// Since when, Unix milliseconds; none: not any more.
        since_ms: Option<u64>,
    },
    /// Report an entry.
    Report {
        /// What the user says.
        complaint: Complaint,
        /// When, Unix milliseconds.
        now_ms: u64,
    },
    /// Change how the user sees a conversation.
    SetOwnState {
        /// Which.
        conversation: ConversationId,
        /// How.
        change: OwnChange,
    },
    /// How the user sees conversations.
    OwnStates(Vec<ConversationId>),
    /// The privacy settings.
    Privacy,
    /// Other privacy settings.
    SetPrivacy(Privacy),
    /// A page of devices.
    Devices {
        /// After this one.
        after: Option<DeviceId>,
        /// Most of them.
        limit: u16,
    },
    /// Another name for a device.
    NameDevice {
        /// Which.
        device: DeviceId,
        /// Its name.
        name: String,
    },
    /// The end of a device.
    RevokeDevice {
        /// Which.
        device: DeviceId,
        /// When, Unix milliseconds.
        now_ms: u64,
    },
    /// What decides who sees the user.
    Sight,
    /// Which members hide what they have read; the user of the question doesn't matter.
    Secretive {
        /// The members.
        members: Vec<UserId>,
        /// Whether the conversation is one-to-one.
        direct: bool,
    },
}

/// The answer to a [`PeopleQuery`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeopleAnswer {
    /// A page, and where the next one begins.
    People(Vec<Person>, Option<UserId>),
    /// In the order asked for.
    OwnStates(Vec<OwnState>),
    /// The settings.
    Privacy(Privacy),
    /// A page, and where the next one begins.
    Devices(Vec<DeviceInfo>, Option<DeviceId>),
    /// It is done.
    Done,
    /// The user has no such device.
    NoDevice,
    /// The owner of this conversation has to do it.
    Via(ConversationId),
    /// What decides who sees the user.
    Sight(Sight),
    /// Who hides what they have read.
    Secretive(BTreeSet<UserId>),
}

/// A user that may be watched, and what the watcher may see as far as the watcher's own settings go:
/// who doesn't show something doesn't see it either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watchable {
    /// Who.
    pub user: UserId,
    /// Whether the watcher sees who is there.
    pub presence: bool,
    /// Whether the watcher sees when somebody was last there.
    pub last_seen: bool,
}

impl Watchable {
    /// What `me`, with this sight, sees of `user`.
    #[must_use]
    pub fn new(mine: &Sight, me: UserId, user: UserId) -> Self {
        let oneself = me == user;
        let presence = oneself || mine.shows_presence(user);
        let last_seen = oneself || mine.shows_last_seen(user);
        Self { user, presence, last_seen }
    }
}

/// Answers a question of `me`, or makes a change.
///
/// # Errors
/// [`StoreError`].
pub(crate) async fn run<E: Engine>(
    store: &Store<E>,
    me: UserId,
    query: PeopleQuery,
) -> Result<PeopleAnswer, StoreError> {
    Ok(match query {
        PeopleQuery::List { after, limit } => {
            let (people, next) = store.people(me, after, limit).await?;
            PeopleAnswer::People(people, next)
        }
        PeopleQuery::SetContact { other, since_ms } => {
            store.set_contact(me, other, since_ms).await?;
            PeopleAnswer::Done
        }
        PeopleQuery::SetBlocked { other, since_ms } => {
            match store.set_blocked(me, other, since_ms).await? {
                Block::Done => PeopleAnswer::Done,
                Block::Via(conversation) => PeopleAnswer::Via(conversation),
            }
        }
        PeopleQuery::Report { complaint, now_ms } => {
            store.report(me, &complaint, now_ms).await?;
            PeopleAnswer::Done
        }
        PeopleQuery::SetOwnState { conversation, change } => {
            store.set_own_state(me, conversation, change).await?;
            PeopleAnswer::Done
        }
        PeopleQuery::OwnStates(conversations) => {
            PeopleAnswer::OwnStates(store.own_states(me, &conversations).await?)
        }
        PeopleQuery::Privacy => PeopleAnswer::Privacy(store.privacy(me).await?),
        PeopleQuery::SetPrivacy(privacy) => {
            store.set_privacy(me, privacy).await?;
            PeopleAnswer::Done
        }
        PeopleQuery::Devices { after, limit } => {
            let (devices, next) = store.devices_seen(me, after, usize::from(limit)).await?;
            PeopleAnswer::Devices(devices, next)
        }
        PeopleQuery::NameDevice { device, name } => {
            of_device(store.name_device(me, device, &name).await)?
        }
        PeopleQuery::RevokeDevice { device, now_ms } => {
            of_device(store.revoke_device(me, device, now_ms).await)?
        }
        PeopleQuery::Sight => PeopleAnswer::Sight(store.sight(me).await?),
        PeopleQuery::Secretive { members, direct } => {
            PeopleAnswer::Secretive(store.secretive(&members, direct).await?)
        }
    })
}

fn of_device(done: Result<(), StoreError>) -> Result<PeopleAnswer, StoreError> {
    match done {
        Ok(()) => Ok(PeopleAnswer::Done),
        Err(StoreError::UnknownUser) => Ok(PeopleAnswer::NoDevice),
        Err(error) => Err(error),
    }
}

/// Those of `others` whom `me` may watch.
///
/// # Errors
/// [`StoreError`].
pub(crate) async fn watchable<E: Engine>(
    store: &Store<E>,
    me: UserId,
    others: Vec<UserId>,
) -> Result<Vec<Watchable>, StoreError> {
    let shared = store.shares_conversation(me, &others).await?;
    let mine = store.sight(me).await?;
    let allowed = others.into_iter().zip(shared).filter(|(_, shared)| *shared);
    Ok(allowed.map(|(user, _)| Watchable::new(&mine, me, user)).collect())
}
