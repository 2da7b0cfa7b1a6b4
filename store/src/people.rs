//! A user's contacts and blocked users: lists of the user's own.
//!
//! A block of somebody with whom there is a one-to-one conversation is part of that conversation's
//! state: its owner commits it, under the fence (see `shade`). Where there is none the block is
//! committed here, guarded on there being none, so that the two ways can't miss each other.

use crate::engine::{Engine, ReadError, View};
use crate::error::{Attempts, StoreError};
use crate::inbox::own_pointer;
use crate::keys::{self, own};
use crate::plan::{Guard, Op, Plan};
use crate::rows::{self, AccountRow, ContactRow, DirectRow};
use crate::shade::block_row;
use crate::store::Store;
use bytes::Bytes;
use rookery_protocol::limits::MAX_PEOPLE;
use rookery_protocol::people::Person;
use rookery_protocol::{ConversationId, OwnKind, UserId};
use std::collections::BTreeMap;

/// Most users of a page.
pub const MAX_PEOPLE_PAGE: usize = 100;

/// A contact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// Who.
    pub user: UserId,
    /// Their unique name; empty when the account was deleted.
    pub name: String,
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
    /// Whether they are blocked too.
    pub blocked: bool,
}

/// What became of the wish to block somebody, or to end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// It is so now.
    Done,
    /// The owner of this conversation has to do it.
    Via(ConversationId),
}

impl<E: Engine> Store<E> {
    /// The contacts and blocked users of `me` after one of them, by rising id: at most `limit` (and
    /// [`MAX_PEOPLE_PAGE`]), and after whom the next page begins, if there is one.
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub async fn people(
        &self,
        me: UserId,
        after: Option<UserId>,
        limit: u16,
    ) -> Result<(Vec<Person>, Option<UserId>), StoreError> {
        let limit = usize::from(limit).clamp(1, MAX_PEOPLE_PAGE);
        let view = self.latest().await?;
        // Who is on both lists comes once: the first `limit` of both hold the first of all.
        let mut found: BTreeMap<UserId, (bool, bool)> = BTreeMap::new();
        for user in users(&view, &keys::contacts(me), after, limit + 1).await? {
            found.entry(user).or_default().0 = true;
        }
        for user in users(&view, &keys::blocks(me), after, limit + 1).await? {
            found.entry(user).or_default().1 = true;
        }
        let more = found.len() > limit;
        let page: Vec<(UserId, (bool, bool))> = found.into_iter().take(limit).collect();
        let ids: Vec<UserId> = page.iter().map(|(user, _)| *user).collect();
        let names = crate::accounts::names(&view, &ids).await?;
        let person = |((user, (contact, blocked)), name): (_, Option<String>)| Person {
            user,
            name: name.unwrap_or_default(),
            contact,
            blocked,
        };
        let next = ids.last().copied().filter(|_| more);
        Ok((page.into_iter().zip(names).map(person).collect(), next))
    }

    /// The contacts of `me` after one of them, by rising id: at most `limit` (and
    /// [`MAX_PEOPLE_PAGE`]), and after whom the next page begins, if there is one.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn contacts(
        &self,
        me: UserId,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<(Vec<Contact>, Option<UserId>), ReadError> {
        let limit = limit.clamp(1, MAX_PEOPLE_PAGE);
        let view = self.latest().await?;
        let mut rows = listed(&view, &keys::contacts(me), after, limit + 1).await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let mut contacts = Vec::with_capacity(rows.len());
        for (key, value) in &rows {
            let user = UserId(keys::last_id(key, "contact")?);
            let ContactRow { since_ms } = rows::decode(value)?;
            let blocked = view.get(&keys::block(me, user)).await?.is_some();
            contacts.push(Contact { user, name: String::new(), since_ms, blocked });
        }
        let ids: Vec<UserId> = contacts.iter().map(|contact| contact.user).collect();
        let names = crate::accounts::names(&view, &ids).await?;
        for (contact, name) in contacts.iter_mut().zip(names) {
            contact.name = name.unwrap_or_default();
        }
        Ok((contacts, ids.last().copied().filter(|_| more)))
    }

    /// Makes `other` a contact of `me`, or takes them off the list.
    ///
    /// # Errors
    /// [`StoreError::UnknownUser`], [`StoreError::Full`] over [`MAX_PEOPLE`] contacts,
    /// [`StoreError::BadArgument`] about oneself, and those of any commit.
    pub async fn set_contact(
        &self,
        me: UserId,
        other: UserId,
        since_ms: Option<u64>,
    ) -> Result<(), StoreError> {
        let epoch = self.inbox_epoch().await?;
        let mut attempts = Attempts::new();
        loop {
            attempts.begin()?;
            let key = own(keys::contact(me, other));
            let wanted = [own(keys::account(other)), key];
            let [account, held] = attempts.read(self.known(wanted).await)?;
            if held.known.is_some() == since_ms.is_some() {
                return Ok(());
            }
            let op = match since_ms {
                Some(since_ms) => {
                    known_other(me, other, &account)?;
                    self.room(&attempts, &keys::contacts(me), "contacts").await?;
                    let value = rows::encode(&ContactRow { since_ms });
                    Op::Set { key: held.key.clone(), value }
                }
                None => Op::Clear { key: held.key.clone() },
            };
            let ops = vec![op, own_pointer(me, epoch, OwnKind::Person, other.0)];
            let plan = Plan { guards: vec![account, held], ops };
            if attempts.settle(self.commit(plan).await)?.is_some() {
                return Ok(());
            }
        }
    }

    /// Blocks `other` for `me` from now on, or ends that, unless the owner of a conversation has to.
    ///
    /// # Errors
    /// As of [`Store::set_contact`].
    pub async fn set_blocked(
        &self,
        me: UserId,
        other: UserId,
        since_ms: Option<u64>,
    ) -> Result<Block, StoreError> {
        let epoch = self.inbox_epoch().await?;
        let mut attempts = Attempts::new();
        loop {
            attempts.begin()?;
            let wanted = [
                own(keys::account(other)),
                own(keys::block(me, other)),
                own(keys::direct(me, other)),
            ];
            let [account, held, direct] = attempts.read(self.known(wanted).await)?;
            if held.known.is_some() == since_ms.is_some() {
                return Ok(Block::Done);
            }
            if since_ms.is_some() {
                known_other(me, other, &account)?;
                self.room(&attempts, &keys::blocks(me), "blocked users").await?;
            }
            if let Some(row) = &direct.known {
                let row: DirectRow = attempts.read(rows::decode(row))?;
                return Ok(Block::Via(row.conversation));
            }
            let ops = vec![
                block_row(me, other, since_ms),
                own_pointer(me, epoch, OwnKind::Person, other.0),
            ];
            let plan = Plan { guards: vec![account, held, direct], ops };
            if attempts.settle(self.commit(plan).await)?.is_some() {
                return Ok(Block::Done);
            }
        }
    }

    /// Whether the list has room for one more.
    async fn room(
        &self,
        attempts: &Attempts,
        prefix: &[u8],
        what: &'static str,
    ) -> Result<(), StoreError> {
        let view = attempts.read(self.latest().await)?;
        let rows = view.range(prefix, &keys::prefix_end(prefix), MAX_PEOPLE, false).await;
        match attempts.read(rows)?.len() {
            MAX_PEOPLE.. => Err(attempts.or_in_doubt(StoreError::Full(what))),
            _ => Ok(()),
        }
    }
}

/// The users a list of `me` names after one of them.
pub(crate) async fn users(
    view: &impl View,
    prefix: &[u8; 9],
    after: Option<UserId>,
    limit: usize,
) -> Result<Vec<UserId>, ReadError> {
    let rows = listed(view, prefix, after, limit).await?;
    rows.iter().map(|(key, _)| Ok(UserId(keys::last_id(key, "person")?))).collect()
}

/// The rows of a list of `me` after one user.
async fn listed(
    view: &impl View,
    prefix: &[u8; 9],
    after: Option<UserId>,
    limit: usize,
) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
    let from = match after {
        Some(after) => keys::successor(&[prefix.as_slice(), &after.to_be_bytes()].concat()),
        None => own(prefix),
    };
    view.range(&from, &keys::prefix_end(prefix), limit, false).await
}

/// `other` is somebody else, who has an account.
fn known_other(me: UserId, other: UserId, account: &Guard) -> Result<(), StoreError> {
    if me == other {
        return Err(StoreError::BadArgument("something with oneself"));
    }
    let name = |value: &Bytes| Ok(!rows::decode::<AccountRow<'_>>(value)?.name.is_empty());
    match account.known.as_ref().map(name).transpose() {
        Ok(Some(true)) => Ok(()),
        Ok(_) => Err(StoreError::UnknownUser),
        Err(error) => Err(StoreError::Read(error)),
    }
}
