//! The end of an account: shut out, then erased.
//!
//! ```text
//! shut out   nobody logs in any more (an operator's doing, or the first step of a deletion)
//! erased     what the user wrote, then devices and tokens, inbox, lists of people, profile, names;
//!            at last the account's own row, of which only the id stays
//! ```
//!
//! A group goes on without the user: if nobody else owns it, the oldest admin does from then on, or
//! else the oldest member.
//!
//! What others wrote stays, and so do the places in the order: a message of the user is left
//! without its body and without what its sender's device chose, so that every conversation is as
//! dense as before. Members see a member without a name.
//!
//! Safety: a deletion that was interrupted is found by its row ([`Store::deletions`]) and done
//! again from the start, on any node, also on two at once. Messages are never guarded; each plan
//! guards on the conversation's floor instead, so that nothing comes back below it, and on the state of
//! the index of words, from which the words of what it empties go too.

use crate::Loaded;
use crate::append::{self, Append};
use crate::engine::{Engine, ReadError, View};
use crate::error::{Attempts, StoreError};
use crate::fence::{Owner, TakeOver};
use crate::group::{Ended, GroupWrites, Seat, successor};
use crate::keys::{self, own};
use crate::names;
use crate::plan::{Guard, Op, Plan, Version};
use crate::rows::{self, AccountRow, MessageRow, ShutOutRow};
use crate::slot::slot_of;
use crate::store::{Store, get_all};
use crate::word_index::Erased;
use bytes::Bytes;
use rookery_protocol::{
    ClientMsgId, ConversationId, ConversationKind, DeviceId, Entry, EntryKind, GroupAction,
    GroupChange, UserId,
};

/// Messages looked at for one plan.
const MESSAGES: usize = 256;
/// Rows of other kinds read at once.
const CHUNK: usize = 512;
/// Most unfinished deletions that one look returns.
const MAX_DELETIONS: usize = 256;

/// An account that nobody may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutOut {
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
    /// Whether it is being deleted: then there is no way back.
    pub deleting: bool,
}

impl<E: Engine> Store<E> {
    /// Lets nobody use an account any more. Its devices are the caller's to revoke, afterwards. A
    /// deletion that has begun stays one.
    ///
    /// # Errors
    /// [`StoreError::UnknownUser`], and those of any commit.
    pub async fn shut_out(&self, user: UserId, wanted: ShutOut) -> Result<(), StoreError> {
        let ShutOut { since_ms, deleting } = wanted;
        let value = rows::encode(&ShutOutRow { since_ms, deleting });
        let mut attempts = Attempts::new();
        loop {
            attempts.begin()?;
            let wanted = [own(keys::account(user)), own(keys::shut_out(user))];
            let [account, row] = attempts.read(self.known(wanted).await)?;
            if !attempts.read(is_account(account.known.as_ref()))? {
                return Err(attempts.or_in_doubt(StoreError::UnknownUser));
            }
            match attempts.read(row.known.as_ref().map(decode).transpose())? {
                Some(held) if held.deleting || held.deleting == deleting => return Ok(()),
                _ => {}
            }
            let ops = vec![Op::Set { key: row.key.clone(), value: value.clone() }];
            let plan = Plan { guards: vec![account, row], ops };
            if attempts.settle(self.commit(plan).await)?.is_some() {
                return Ok(());
            }
        }
    }

    /// Lets an account that was shut out be used again.
    ///
    /// # Errors
    /// [`StoreError::UnknownUser`] when it is being deleted or is not there, and those of any
    /// commit.
    pub async fn readmit(&self, user: UserId) -> Result<(), StoreError> {
        let mut attempts = Attempts::new();
        loop {
            attempts.begin()?;
            let wanted = [own(keys::account(user)), own(keys::shut_out(user))];
            let [account, row] = attempts.read(self.known(wanted).await)?;
            let there = attempts.read(is_account(account.known.as_ref()))?;
            let held = attempts.read(row.known.as_ref().map(decode).transpose())?;
            if !there || held.is_some_and(|held| held.deleting) {
                return Err(attempts.or_in_doubt(StoreError::UnknownUser));
            }
            if held.is_none() {
                return Ok(());
            }
            let ops = vec![Op::Clear { key: row.key.clone() }];
            let plan = Plan { guards: vec![account, row], ops };
            if attempts.settle(self.commit(plan).await)?.is_some() {
                return Ok(());
            }
        }
    }

    /// Whether an account is shut out.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn is_shut_out(&self, user: UserId) -> Result<Option<ShutOut>, ReadError> {
        let row = self.latest().await?.get(&keys::shut_out(user)).await?;
        row.as_ref().map(decode).transpose()
    }

    /// Users whose deletion has begun and is not known to be finished.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn deletions(&self) -> Result<Vec<UserId>, ReadError> {
        let view = self.latest().await?;
        let end = keys::prefix_end(keys::SHUT_OUT);
        let mut from = own(keys::SHUT_OUT);
        let mut found = Vec::new();
        while found.len() < MAX_DELETIONS {
            let rows = view.range(&from, &end, CHUNK, false).await?;
            for (key, value) in &rows {
                if decode(value)?.deleting
                    && let Some(id) = key.last_chunk::<8>()
                {
                    found.push(UserId(u64::from_be_bytes(*id)));
                }
            }
            match rows.last() {
                Some((last, _)) if rows.len() == CHUNK => from = keys::successor(last),
                _ => break,
            }
        }
        Ok(found)
    }

    /// Erases an account that was shut out for deletion; `now_ms` is Unix milliseconds. Takes as
    /// long as what the user took part in; may be done again at any time, also after it was done.
    ///
    /// # Errors
    /// [`StoreError::BadArgument`] when its deletion has not begun, and those of any commit: then do
    /// it again.
    pub async fn erase_account(&self, user: UserId, now_ms: u64) -> Result<(), StoreError> {
        let view = self.latest().await?;
        let [account, row] =
            get_all(&view, [own(keys::account(user)), own(keys::shut_out(user))]).await?;
        match row.as_ref().map(decode).transpose()? {
            Some(ShutOut { deleting: true, .. }) => {}
            // Somebody else was quicker.
            None if account.is_some() && !is_account(account.as_ref())? => return Ok(()),
            _ => return Err(StoreError::BadArgument("the deletion of an account not shut out")),
        }
        // Also those that came in while the account was being shut out.
        loop {
            let (devices, more) = self.devices(user, None, CHUNK).await?;
            for device in &devices {
                self.revoke_device(user, device.device, now_ms).await?;
            }
            if more.is_none() {
                break;
            }
        }
        for conversation in self.conversations_of(user).await? {
            self.erase_messages(user, conversation).await?;
            self.erase_comments(user, conversation).await?;
            self.leave_group(user, conversation, now_ms).await?;
        }
        self.erase_rows(user).await?;
        self.erase_name(user).await
    }

    /// Those the user is a member of, and those where that has ended.
    async fn conversations_of(&self, user: UserId) -> Result<Vec<ConversationId>, ReadError> {
        let view = self.latest().await?;
        let mut found = Vec::new();
        for prefix in [keys::activities(user), keys::formers(user)] {
            let (mut from, end) = (own(prefix), keys::prefix_end(&prefix));
            loop {
                let rows = view.range(&from, &end, CHUNK, false).await?;
                for (key, _) in &rows {
                    found.push(ConversationId(keys::last_id(key, "a user's conversation")?));
                }
                match rows.last() {
                    Some((last, _)) if rows.len() == CHUNK => from = keys::successor(last),
                    _ => break,
                }
            }
        }
        Ok(found)
    }

    /// Ends the user's membership of a group. Its slot is taken over for that: whoever works for it
    /// finds out at the next commit, and reads again who the members are.
    async fn leave_group(
        &self,
        user: UserId,
        conversation: ConversationId,
        now_ms: u64,
    ) -> Result<(), StoreError> {
        let mut attempts = Attempts::new();
        loop {
            attempts.begin()?;
            let loaded = self.load_conversation(conversation, Version::default()).await;
            let Some(loaded) = attempts.read(loaded)? else { return Ok(()) };
            let member = |loaded: &Loaded| loaded.members.iter().any(|member| member.user == user);
            if loaded.kind != ConversationKind::Group || !member(&loaded) {
                return Ok(());
            }
            let nobody = Owner { node: 0, incarnation: 0 };
            let TakeOver::Held(fence) = self.take_over(slot_of(conversation), nobody).await else {
                continue;
            };
            let loaded = self.load_conversation(conversation, fence.version).await;
            let Some(loaded) = attempts.read(loaded)?.filter(member) else { return Ok(()) };
            let (entry, writes) = leaving(user, &loaded, now_ms);
            let members: Vec<UserId> =
                loaded.members.iter().map(|m| m.user).filter(|other| *other != user).collect();
            let plan = append::plan(&Append {
                conversation,
                fence: &fence,
                first_seq: entry.seq,
                entries: &[entry],
                members: &members,
                touch_activity: true,
                inbox_epoch: loaded.inbox_epoch,
                withheld: false,
                words: false,
                group: Some(&writes),
            });
            if attempts.settle(self.commit(plan).await)?.is_some() {
                return Ok(());
            }
        }
    }

    /// Empties the messages of a user in a conversation.
    async fn erase_messages(
        &self,
        user: UserId,
        conversation: ConversationId,
    ) -> Result<(), StoreError> {
        let end = keys::successor(&keys::message(conversation, u64::MAX));
        let mut from = own(keys::message(conversation, 0));
        let mut attempts = Attempts::new();
        loop {
            let view = self.latest().await?;
            let guarded = [own(keys::floor(conversation)), own(keys::WORD_INDEX)];
            let known = get_all(&view, guarded.clone()).await?;
            let version = view.version();
            let guards = guarded.into_iter().zip(known);
            let guards: Vec<Guard> =
                guards.map(|(key, known)| Guard { key, known, version }).collect();
            let rows = view.range(&from, &end, MESSAGES, false).await?;
            let index = guards.get(1).and_then(|guard| guard.known.as_ref());
            let mut erased = Erased::new(index)?;
            let mut next = None;
            for (key, value) in &rows {
                empty(user, conversation, (key, value), &mut erased)?;
                next = Some(keys::successor(key));
                if erased.is_full() {
                    break;
                }
            }
            let Some(next) = next else { return Ok(()) };
            let ops = erased.into_ops();
            if !ops.is_empty() {
                attempts.begin()?;
                if attempts.settle(self.commit(Plan { guards, ops }).await)?.is_none() {
                    continue;
                }
            }
            (from, attempts) = (next, Attempts::new());
        }
    }

    /// Removes what is the user's own beside the account.
    async fn erase_rows(&self, user: UserId) -> Result<(), StoreError> {
        let inbox = keys::inbox(user, 0);
        let of_user = |tag: &[u8]| (own(tag), keys::prefix_end(tag));
        let inbox_of_user = inbox.get(..9).unwrap_or(&inbox);
        let (devices, cursors) = (keys::devices(user), keys::device_cursors(user));
        let family = keys::family(user, DeviceId(0));
        let formers = keys::formers(user);
        let ranges = [
            of_user(&devices),
            of_user(&cursors),
            of_user(family.get(..9).unwrap_or(&family)),
            of_user(inbox_of_user),
            of_user(&keys::contacts(user)),
            of_user(&keys::blocks(user)),
            of_user(&keys::own_states(user)),
            of_user(&formers),
        ];
        let mut ops: Vec<Op> =
            ranges.into_iter().map(|(from, to)| Op::ClearRange { from, to }).collect();
        let single = [
            keys::inbox_floor(user),
            keys::last_seen(user),
            keys::profile(user),
            keys::privacy(user),
            keys::settings(user),
        ];
        for key in single {
            ops.push(Op::Clear { key: own(key) });
        }
        let mut attempts = Attempts::new();
        loop {
            attempts.begin()?;
            let plan = Plan { guards: Vec::new(), ops: ops.clone() };
            // Removing twice is removing once.
            if attempts.settle(self.commit(plan).await)?.is_some() {
                return Ok(());
            }
        }
    }

    /// Frees the name, and leaves of the account's row what says that its id was somebody's.
    async fn erase_name(&self, user: UserId) -> Result<(), StoreError> {
        let mut attempts = Attempts::new();
        loop {
            attempts.begin()?;
            let wanted = [own(keys::account(user)), own(keys::shut_out(user))];
            let [account, row] = attempts.read(self.known(wanted).await)?;
            let Some(value) = account.known.clone() else { return Ok(()) };
            let held = attempts.read(rows::decode::<AccountRow<'_>>(&value))?;
            let mut ops = vec![Op::Clear { key: row.key.clone() }];
            if !held.name.is_empty() {
                let nobody = AccountRow { name: "", password_hash: "", created_ms: 0 };
                let skeleton = keys::skeleton(&names::skeleton(held.name));
                ops.push(Op::Clear { key: keys::name(held.name) });
                ops.push(Op::Clear { key: skeleton });
                ops.push(Op::Set { key: account.key.clone(), value: rows::encode(&nobody) });
            }
            let plan = Plan { guards: vec![account, row], ops };
            if attempts.settle(self.commit(plan).await)?.is_some() {
                return Ok(());
            }
        }
    }
}

/// The entry that ends a membership, and what it writes.
fn leaving(user: UserId, loaded: &Loaded, now_ms: u64) -> (Entry, GroupWrites) {
    let seats: Vec<Seat> = loaded.members.iter().map(Seat::from).collect();
    let heir = successor(&seats, user);
    let change = GroupChange {
        users: heir.iter().map(|seat| seat.user).collect(),
        ..GroupChange::new(GroupAction::Leave)
    };
    let entry = Entry {
        seq: loaded.head + 1,
        sender: user,
        device: DeviceId(0),
        time_ms: now_ms.max(loaded.head_time_ms),
        client_msg_id: ClientMsgId([0; 16]),
        kind: EntryKind::Group,
        body: change.to_body(),
    };
    let joined_seq = seats.iter().find(|seat| seat.user == user).map_or(0, |seat| seat.joined_seq);
    let writes = GroupWrites {
        hash: append::content_hash(entry.kind, &entry.body),
        changed: heir.into_iter().collect(),
        ended: vec![Ended { user, joined_seq, removed: false }],
        ..GroupWrites::default()
    };
    (entry, writes)
}

/// Empties one message, if it is the user's and not empty yet, and forgets how to recognise it
/// again.
fn empty(
    user: UserId,
    conversation: ConversationId,
    (key, value): (&Bytes, &Bytes),
    erased: &mut Erased,
) -> Result<(), ReadError> {
    let message = rows::decode::<MessageRow<'_>>(value)?;
    let nobody = (DeviceId(0), ClientMsgId([0; 16]));
    if message.sender != user || (message.device, message.client_msg_id) == nobody {
        return Ok(());
    }
    let dedupe = keys::dedupe(conversation, user, message.client_msg_id);
    erased.push(Op::Clear { key: own(dedupe) });
    erased.words(conversation, keys::last_id(key, "message")?, &message);
    let (device, client_msg_id) = nobody;
    let emptied = MessageRow { device, client_msg_id, body: b"", ..message };
    erased.push(Op::Set { key: key.clone(), value: rows::encode(&emptied) });
    Ok(())
}

fn is_account(row: Option<&Bytes>) -> Result<bool, ReadError> {
    row.map_or(Ok(false), |value| Ok(!rows::decode::<AccountRow<'_>>(value)?.name.is_empty()))
}

fn decode(value: &Bytes) -> Result<ShutOut, ReadError> {
    let ShutOutRow { since_ms, deleting } = rows::decode(value)?;
    Ok(ShutOut { since_ms, deleting })
}
