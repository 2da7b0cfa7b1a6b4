//! Accounts, their unique names, and the secret of the installation.
//!
//! An account that was deleted leaves a row without a name, so that what others wrote and what
//! points at its user stays whole; for every caller there is no such account (see `deletion`).

use crate::engine::{Engine, ReadError, View};
use crate::error::{Attempts, StoreError};
use crate::keys::{self, own};
use crate::plan::{Op, Plan};
use crate::rows::{self, AccountRow, ExternalRow, NameRow, SigningRow, SkeletonRow};
use crate::store::{Store, get_many};
use crate::{invitations, names as lookalikes};
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

/// What gives somebody the right to an account.
#[derive(Clone, Copy)]
enum Right {
    Open,
    /// The hash of an invitation's code, and the time.
    Invited([u8; 32], u64),
    /// The hash of a foreign issuer and subject.
    External([u8; 32]),
}

impl Account {
    /// The row of this account.
    pub(crate) fn row(&self) -> Bytes {
        let Self { name, password_hash, created_ms, .. } = self;
        rows::encode(&AccountRow { name, password_hash, created_ms: *created_ms })
    }
}

impl<E: Engine> Store<E> {
    /// Creates an account, if its name and id are free and no other name looks like its own.
    ///
    /// # Errors
    /// [`StoreError::NameTaken`], [`StoreError::IdTaken`] (choose another id),
    /// [`StoreError::BadArgument`] when a text is over its limit, and those of any commit.
    pub async fn create_account(&self, account: &Account) -> Result<(), StoreError> {
        self.new_account(account, Right::Open).await
    }

    /// Creates an account and uses an invitation up by one, by the hash of its code.
    ///
    /// # Errors
    /// [`StoreError::NotInvited`], and those of [`Store::create_account`].
    pub async fn create_invited_account(
        &self,
        account: &Account,
        invitation: [u8; 32],
        now_ms: u64,
    ) -> Result<(), StoreError> {
        self.new_account(account, Right::Invited(invitation, now_ms)).await
    }

    /// The account of somebody whom a foreign issuer vouches for, by the hash of issuer and subject;
    /// `None`: there is none, or no more.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn external_account(&self, hash: [u8; 32]) -> Result<Option<Account>, ReadError> {
        match self.latest().await?.get(&keys::external(&hash)).await? {
            Some(value) => self.account(rows::decode::<ExternalRow>(&value)?.user).await,
            None => Ok(None),
        }
    }

    /// Creates the account of somebody whom a foreign issuer vouches for.
    ///
    /// # Errors
    /// [`StoreError::IdTaken`] also when there is an account for the hash by now, and those of
    /// [`Store::create_account`].
    pub async fn create_external_account(
        &self,
        account: &Account,
        hash: [u8; 32],
    ) -> Result<(), StoreError> {
        self.new_account(account, Right::External(hash)).await
    }

    async fn new_account(&self, account: &Account, right: Right) -> Result<(), StoreError> {
        if account.name.is_empty() || account.name.len() > MAX_NAME_BYTES {
            return Err(StoreError::BadArgument("the length of a name"));
        }
        if account.password_hash.len() > MAX_PASSWORD_HASH_BYTES {
            return Err(StoreError::BadArgument("the length of a password hash"));
        }
        let Account { user, name, .. } = account;
        let row = account.row();
        let holder = rows::encode(&NameRow { user: *user });
        let lookalike = rows::encode(&SkeletonRow { user: *user });
        let mut attempts = Attempts::new();
        loop {
            attempts.begin()?;
            let skeleton = keys::skeleton(&lookalikes::skeleton(name));
            let wanted = [keys::name(name), own(keys::account(*user)), skeleton];
            let [by_name, by_user, by_skeleton] = attempts.read(self.known(wanted).await)?;
            match (&by_name.known, &by_user.known) {
                (Some(held), Some(found))
                    if attempts.in_doubt() && *held == holder && *found == row =>
                {
                    return Ok(());
                }
                (Some(_), _) => return Err(StoreError::NameTaken),
                (None, Some(_)) => return Err(StoreError::IdTaken),
                (None, None) if by_skeleton.known.is_some() => return Err(StoreError::NameTaken),
                (None, None) => {}
            }
            let mut ops = vec![
                Op::Set { key: by_name.key.clone(), value: holder.clone() },
                Op::Set { key: by_user.key.clone(), value: row.clone() },
                Op::Set { key: by_skeleton.key.clone(), value: lookalike.clone() },
            ];
            let mut guards = vec![by_name, by_user, by_skeleton];
            match right {
                Right::Open => {}
                Right::Invited(hash, now_ms) => {
                    let wanted = [own(keys::invitation(&hash))];
                    let [invited] = attempts.read(self.known(wanted).await)?;
                    let used = attempts.read(invitations::used(&invited, now_ms))?;
                    ops.push(used.ok_or_else(|| attempts.or_in_doubt(StoreError::NotInvited))?);
                    guards.push(invited);
                }
                Right::External(hash) => {
                    let wanted = [own(keys::external(&hash))];
                    let [held] = attempts.read(self.known(wanted).await)?;
                    // A row whose account was deleted is as good as none.
                    if attempts.read(self.external_account(hash).await)?.is_some() {
                        return Err(attempts.or_in_doubt(StoreError::IdTaken));
                    }
                    let value = rows::encode(&ExternalRow { user: *user });
                    ops.push(Op::Set { key: held.key.clone(), value });
                    guards.push(held);
                }
            }
            let plan = Plan { guards, ops };
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
        let account = row.map(|value| decode(user, &value)).transpose()?;
        Ok(account.filter(|account| !account.name.is_empty()))
    }

    /// Changes a password's hash, if the account still is what the caller knows.
    ///
    /// # Errors
    /// [`StoreError::UnknownUser`] when it is not, or is gone, and those of any commit.
    pub async fn change_password(
        &self,
        account: &Account,
        password_hash: &str,
    ) -> Result<(), StoreError> {
        if password_hash.len() > MAX_PASSWORD_HASH_BYTES {
            return Err(StoreError::BadArgument("the length of a password hash"));
        }
        let changed = Account { password_hash: password_hash.to_owned(), ..account.clone() };
        let mut attempts = Attempts::new();
        loop {
            attempts.begin()?;
            let [row] = attempts.read(self.known([own(keys::account(account.user))]).await)?;
            if attempts.in_doubt() && row.known.as_ref() == Some(&changed.row()) {
                return Ok(());
            }
            if row.known.as_ref() != Some(&account.row()) {
                return Err(attempts.or_in_doubt(StoreError::UnknownUser));
            }
            let ops = vec![Op::Set { key: row.key.clone(), value: changed.row() }];
            let plan = Plan { guards: vec![row], ops };
            if attempts.settle(self.commit(plan).await)?.is_some() {
                return Ok(());
            }
        }
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

    /// Who holds these names, in their order; `None` where nobody does. The caller bounds `names`.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn holders(&self, names: &[String]) -> Result<Vec<Option<UserId>>, ReadError> {
        let fits = |name: &&String| name.len() <= MAX_NAME_BYTES;
        let wanted: Vec<Bytes> = names.iter().filter(fits).map(|name| keys::name(name)).collect();
        let mut held = get_many(&self.latest().await?, &wanted).await?.into_iter();
        let holder = |name: &String| {
            let row = if fits(&name) { held.next().flatten() } else { None };
            row.map(|row| Ok(rows::decode::<NameRow>(&row)?.user)).transpose()
        };
        names.iter().map(holder).collect()
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
    let names = values.into_iter().map(|value| value.map(name).transpose());
    names.map(|name| Ok(name?.filter(|name: &String| !name.is_empty()))).collect()
}

pub(crate) fn decode(user: UserId, value: &[u8]) -> Result<Account, ReadError> {
    let AccountRow { name, password_hash, created_ms } = rows::decode(value)?;
    let (name, password_hash) = (name.to_owned(), password_hash.to_owned());
    Ok(Account { user, name, password_hash, created_ms })
}
