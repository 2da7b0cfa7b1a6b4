//! Accounts, their unique names, and the seed of the key that signs access tokens.

use crate::engine::{Engine, ReadError, View};
use crate::error::{Attempts, StoreError};
use crate::keys::{self, own};
use crate::plan::{Op, Plan};
use crate::rows::{self, AccountRow, NameRow, SigningRow};
use crate::store::{Store, get_many};
use bytes::Bytes;
use rookery_protocol::UserId;
use rookery_protocol::limits::MAX_NAME_BYTES;
use std::fmt;

/// Most bytes of a password's hash.
pub const MAX_PASSWORD_HASH_BYTES: usize = 512;

/// A user's account.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// The user.
    pub user: UserId,
    /// The unique name, at most [`MAX_NAME_BYTES`]; its form is the caller's to check.
    pub name: String,
    /// What the password is checked against, at most [`MAX_PASSWORD_HASH_BYTES`].
    pub password_hash: String,
    /// When it was created, Unix milliseconds.
    pub created_ms: u64,
}

// A password's hash never reaches a log through `{:?}`.
impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("user", &self.user)
            .field("name", &self.name)
            .field("created_ms", &self.created_ms)
            .finish_non_exhaustive()
    }
}

impl<E: Engine> Store<E> {
    /// Creates an account, if its name and id are free.
    ///
    /// # Errors
    /// [`StoreError::NameTaken`], [`StoreError::IdTaken`] (choose another id),
    /// [`StoreError::BadArgument`] when a text is over its limit, and those of any commit.
    pub async fn create_account(&self, account: &Account) -> Result<(), StoreError> {
        if account.name.is_empty() || account.name.len() > MAX_NAME_BYTES {
            return Err(StoreError::BadArgument("the length of a name"));
        }
        if account.password_hash.len() > MAX_PASSWORD_HASH_BYTES {
            return Err(StoreError::BadArgument("the length of a password hash"));
        }
        let Account { user, name, password_hash, created_ms } = account;
        let row = rows::encode(&AccountRow { name, password_hash, created_ms: *created_ms });
        let holder = rows::encode(&NameRow { user: *user });
        let mut attempts = Attempts::new();
        loop {
            attempts.begin()?;
            let wanted = [keys::name(name), own(keys::account(*user))];
            let [by_name, by_user] = attempts.read(self.known(wanted).await)?;
            match (&by_name.known, &by_user.known) {
                (Some(held), Some(found))
                    if attempts.in_doubt() && *held == holder && *found == row =>
                {
                    return Ok(());
                }
                (Some(_), _) => return Err(StoreError::NameTaken),
                (None, Some(_)) => return Err(StoreError::IdTaken),
                (None, None) => {}
            }
            let ops = vec![
                Op::Set { key: by_name.key.clone(), value: holder.clone() },
                Op::Set { key: by_user.key.clone(), value: row.clone() },
            ];
            let plan = Plan { guards: vec![by_name, by_user], ops };
            if attempts.settle(self.commit(plan).await)?.is_some() {
                return Ok(());
            }
        }
    }

    /// A user's account.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn account(&self, user: UserId) -> Result<Option<Account>, ReadError> {
        let row = self.latest().await?.get(&keys::account(user)).await?;
        row.map(|value| decode(user, &value)).transpose()
    }

    /// The account that holds a name.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn account_by_name(&self, name: &str) -> Result<Option<Account>, ReadError> {
        if name.len() > MAX_NAME_BYTES {
            return Ok(None);
        }
        let view = self.latest().await?;
        let Some(holder) = view.get(&keys::name(name)).await? else { return Ok(None) };
        let user = rows::decode::<NameRow>(&holder)?.user;
        match view.get(&keys::account(user)).await? {
            Some(value) => Ok(Some(decode(user, &value)?)),
            None => Err(rows::damaged("name", &format!("its user {user} has no account"))),
        }
    }

    /// The names of users, in their order; `None` where there is no account. The caller bounds
    /// `users`.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn names(&self, users: &[UserId]) -> Result<Vec<Option<String>>, ReadError> {
        names(&self.latest().await?, users).await
    }

    /// The seed of this installation's signing key: the first caller's candidate, for everybody
    /// and for ever.
    ///
    /// # Errors
    /// [`StoreError::Read`], [`StoreError::Busy`], [`StoreError::Unresolved`]: retry.
    pub async fn signing_key(&self, candidate: [u8; 32]) -> Result<[u8; 32], StoreError> {
        let mut attempts = Attempts::new();
        loop {
            attempts.begin()?;
            let wanted = [Bytes::from_static(keys::SIGNING_KEY)];
            let [row] = attempts.read(self.known(wanted).await)?;
            if let Some(value) = &row.known {
                return Ok(attempts.read(rows::decode::<SigningRow>(value))?.seed);
            }
            let value = rows::encode(&SigningRow { seed: candidate });
            let ops = vec![Op::Set { key: row.key.clone(), value }];
            let plan = Plan { guards: vec![row], ops };
            if attempts.settle(self.commit(plan).await)?.is_some() {
                return Ok(candidate);
            }
        }
    }
}

/// The names of users as a snapshot shows them.
pub(crate) async fn names(
    view: &impl View,
    users: &[UserId],
) -> Result<Vec<Option<String>>, ReadError> {
    let wanted: Vec<Bytes> = users.iter().map(|user| own(keys::account(*user))).collect();
    let values = get_many(view, &wanted).await?;
    let name = |value: Bytes| Ok(rows::decode::<AccountRow<'_>>(&value)?.name.to_owned());
    values.into_iter().map(|value| value.map(name).transpose()).collect()
}

fn decode(user: UserId, value: &[u8]) -> Result<Account, ReadError> {
    let AccountRow { name, password_hash, created_ms } = rows::decode(value)?;
    let (name, password_hash) = (name.to_owned(), password_hash.to_owned());
    Ok(Account { user, name, password_hash, created_ms })
}
