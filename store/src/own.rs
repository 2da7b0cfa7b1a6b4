//! What a user keeps for itself: how it sees conversations, and who may see what of it.

use crate::engine::{Engine, ReadError, View};
use crate::error::{Attempts, StoreError};
use crate::inbox::own_pointer;
use crate::keys::{self, own};
use crate::plan::{Op, Plan};
use crate::rows::{self, OwnStateRow, PrivacyRow};
use crate::store::{Store, get_many};
use bytes::Bytes;
use rookery_protocol::limits::{MAX_LIST_ITEMS, MAX_PEOPLE};
use rookery_protocol::people::OwnState;
use rookery_protocol::{Audience, ConversationId, OwnKind, UserId};
use std::collections::{BTreeMap, BTreeSet};

/// A wish to see a conversation otherwise; what is absent stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnChange {
    /// See [`OwnState::muted_until_ms`].
    pub muted_until_ms: Option<u64>,
    /// See [`OwnState::archived`].
    pub archived: Option<bool>,
    /// See [`OwnState::unread`].
    pub unread: Option<bool>,
}

/// Who may see what of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Privacy {
    /// Whether the user is online or away.
    pub presence: Audience,
    /// When the user was last connected.
    pub last_seen: Audience,
    /// What the user has read.
    pub receipts: Audience,
}

impl Default for Privacy {
    fn default() -> Self {
        let everyone = Audience::Everyone;
        Self { presence: everyone, last_seen: everyone, receipts: everyone }
    }
}

/// What decides who sees a user: the settings, and whom the user knows or has blocked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// The settings.
    pub privacy: Privacy,
    /// The contacts, if a setting asks for them.
    pub contacts: BTreeSet<UserId>,
    /// Whom the user has blocked.
    pub blocked: BTreeSet<UserId>,
}

impl Sight {
    /// Whether `other` sees whether the user is there.
    #[must_use]
    pub fn shows_presence(&self, other: UserId) -> bool {
        self.shows(self.privacy.presence, other)
    }

    /// Whether `other` sees when the user was last there.
    #[must_use]
    pub fn shows_last_seen(&self, other: UserId) -> bool {
        self.shows(self.privacy.last_seen, other)
    }

    fn shows(&self, audience: Audience, other: UserId) -> bool {
        let audience = match audience {
            Audience::Everyone => true,
            Audience::Contacts => self.contacts.contains(&other),
            // Of a newer version, which may mean fewer: the stricter reading.
            Audience::Nobody | Audience::Other(_) => false,
        };
        audience && !self.blocked.contains(&other)
    }
}

impl<E: Engine> Store<E> {
    /// How `me` sees conversations, in their order, at most [`MAX_LIST_ITEMS`] of them.
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub async fn own_states(
        &self,
        me: UserId,
        conversations: &[ConversationId],
    ) -> Result<Vec<OwnState>, StoreError> {
        let wanted = conversations.iter().take(usize::from(MAX_LIST_ITEMS));
        let keys: Vec<Bytes> = wanted.clone().map(|id| own(keys::own_state(me, *id))).collect();
        let rows = get_many(&self.latest().await?, &keys).await?;
        let states = wanted.zip(rows).map(|(id, row)| state(*id, row.as_ref()));
        Ok(states.collect::<Result<_, _>>()?)
    }

    /// Changes how `me` sees a conversation.
    ///
    /// # Errors
    /// [`StoreError::NotAMember`], and those of any commit.
    pub async fn set_own_state(
        &self,
        me: UserId,
        conversation: ConversationId,
        change: OwnChange,
    ) -> Result<(), StoreError> {
        let epoch = self.inbox_epoch().await?;
        let mut attempts = Attempts::new();
        loop {
            attempts.begin()?;
            let wanted =
                [own(keys::member(conversation, me)), own(keys::own_state(me, conversation))];
            let [member, held] = attempts.read(self.known(wanted).await)?;
            if member.known.is_none() {
                return Err(attempts.or_in_doubt(StoreError::NotAMember));
            }
            let before = attempts.read(state(conversation, held.known.as_ref()))?;
            let after = OwnState {
                conversation,
                muted_until_ms: change.muted_until_ms.unwrap_or(before.muted_until_ms),
                archived: change.archived.unwrap_or(before.archived),
                unread: change.unread.unwrap_or(before.unread),
            };
            if after == before {
                return Ok(());
            }
            let OwnState { muted_until_ms, archived, unread, .. } = after;
            let key = held.key.clone();
            let op = match (muted_until_ms, archived, unread) {
                (0, false, false) => Op::Clear { key },
                _ => Op::Set {
                    key,
                    value: rows::encode(&OwnStateRow { muted_until_ms, archived, unread }),
                },
            };
            let pointer = own_pointer(me, epoch, OwnKind::Conversation, conversation.0);
            let plan = Plan { guards: vec![member, held], ops: vec![op, pointer] };
            if attempts.settle(self.commit(plan).await)?.is_some() {
                return Ok(());
            }
        }
    }

    /// A user's privacy settings.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn privacy(&self, user: UserId) -> Result<Privacy, ReadError> {
        let row = self.latest().await?.get(&keys::privacy(user)).await?;
        decode_privacy(row.as_ref())
    }

    /// Replaces a user's privacy settings.
    ///
    /// # Errors
    /// [`StoreError::BadArgument`] for an audience this version doesn't know, and those of any
    /// commit.
    pub async fn set_privacy(&self, user: UserId, privacy: Privacy) -> Result<(), StoreError> {
        let Privacy { presence, last_seen, receipts } = privacy;
        let unknown = |audience: &Audience| matches!(audience, Audience::Other(_));
        if [presence, last_seen, receipts].iter().any(unknown) {
            return Err(StoreError::BadArgument("an audience"));
        }
        let epoch = self.inbox_epoch().await?;
        let [presence, last_seen, receipts] = [presence, last_seen, receipts].map(Audience::code);
        let value = rows::encode(&PrivacyRow { presence, last_seen, receipts });
        let mut attempts = Attempts::new();
        loop {
            attempts.begin()?;
            let [held] = attempts.read(self.known([own(keys::privacy(user))]).await)?;
            if attempts.read(decode_privacy(held.known.as_ref()))? == privacy {
                return Ok(());
            }
            let op = Op::Set { key: held.key.clone(), value: value.clone() };
            let ops = vec![op, own_pointer(user, epoch, OwnKind::Privacy, 0)];
            let plan = Plan { guards: vec![held], ops };
            if attempts.settle(self.commit(plan).await)?.is_some() {
                return Ok(());
            }
        }
    }

    /// What decides who sees a user.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn sight(&self, user: UserId) -> Result<Sight, ReadError> {
        let view = self.latest().await?;
        let privacy = decode_privacy(view.get(&keys::privacy(user)).await?.as_ref())?;
        let asks = [privacy.presence, privacy.last_seen].contains(&Audience::Contacts);
        let contacts = match asks {
            true => crate::people::users(&view, &keys::contacts(user), None, MAX_PEOPLE).await?,
            false => Vec::new(),
        };
        let blocked = crate::people::users(&view, &keys::blocks(user), None, MAX_PEOPLE).await?;
        Ok(Sight {
            privacy,
            contacts: contacts.into_iter().collect(),
            blocked: blocked.into_iter().collect(),
        })
    }
}

/// Members of a conversation whose read marks are their own, and who are told of nobody's.
pub(crate) async fn secretive(
    view: &impl View,
    members: &[UserId],
    direct: bool,
) -> Result<BTreeSet<UserId>, ReadError> {
    let settings = receipts(view, members).await?;
    let mut hidden = BTreeSet::new();
    for (user, audience) in settings {
        let shown = match audience {
            Audience::Everyone => true,
            Audience::Contacts if direct => {
                let mut others = members.iter().filter(|other| **other != user);
                match others.next() {
                    Some(other) => view.get(&keys::contact(user, *other)).await?.is_some(),
                    None => true,
                }
            }
            _ => false,
        };
        if !shown {
            hidden.insert(user);
        }
    }
    if direct && !hidden.is_empty() {
        // It is reciprocal: between two, one is enough.
        hidden.extend(members);
    }
    Ok(hidden)
}

/// Who sees what these users have read; who has no settings is left out.
async fn receipts(
    view: &impl View,
    users: &[UserId],
) -> Result<BTreeMap<UserId, Audience>, ReadError> {
    let wanted: Vec<Bytes> = users.iter().map(|user| own(keys::privacy(*user))).collect();
    let rows = get_many(view, &wanted).await?;
    let mut found = BTreeMap::new();
    for (user, row) in users.iter().zip(rows) {
        if row.is_some() {
            found.insert(*user, decode_privacy(row.as_ref())?.receipts);
        }
    }
    Ok(found)
}

fn state(conversation: ConversationId, row: Option<&Bytes>) -> Result<OwnState, ReadError> {
    let Some(value) = row else {
        return Ok(OwnState { conversation, muted_until_ms: 0, archived: false, unread: false });
    };
    let OwnStateRow { muted_until_ms, archived, unread } = rows::decode(value)?;
    Ok(OwnState { conversation, muted_until_ms, archived, unread })
}

fn decode_privacy(row: Option<&Bytes>) -> Result<Privacy, ReadError> {
    let Some(value) = row else { return Ok(Privacy::default()) };
    let PrivacyRow { presence, last_seen, receipts } = rows::decode(value)?;
    let [presence, last_seen, receipts] = [presence, last_seen, receipts].map(Audience::from_code);
    Ok(Privacy { presence, last_seen, receipts })
}
