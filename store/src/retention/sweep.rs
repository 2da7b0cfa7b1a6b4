//! A round over the whole store, one bounded step at a time.

use super::decide::{DeviceState, Policy, dedupe_expired, inbox_below, messages_below};
use super::own_retention;
use crate::conversation::decode_floor;
use crate::engine::{Engine, ReadError, View};
use crate::error::StoreError;
use crate::history::trim_ops;
use crate::inbox::trim_plan;
use crate::keys::{self, own};
use crate::plan::{Guard, Op, Plan, Stamp};
use crate::rows::{self, DedupeRow, DeviceValue, MessageRow};
use crate::store::{Store, get_all};
use crate::word_index::clear_below;
use bytes::Bytes;
use rookery_protocol::{ClientMsgId, ConversationId, DeviceId, UserId};

/// Rows that one commit removes, at most.
const STEP_ROWS: usize = 500;
/// Conversations, senders or users that a step without anything to remove looks at.
const STEP_PLACES: usize = 50;
/// Devices of a user that are looked at; who has more keeps the pointers.
const MAX_DEVICES: usize = 1000;

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Messages.
    pub messages: u64,
    /// Dedupe rows.
    pub dedupe: u64,
    /// Inbox pointers.
    pub pointers: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Messages,
    Dedupe,
    Inbox,
    Done,
}

/// A round: call [`Sweep::step`] until it says that the round is over.
#[derive(Debug)]
pub struct Sweep {
    policy: Policy,
    now_ms: u64,
    stage: Stage,
    /// Where the stage goes on.
    at: Bytes,
}

impl Sweep {
    /// A round at a time, Unix milliseconds.
    #[must_use]
    pub fn new(policy: Policy, now_ms: u64) -> Self {
        Self { policy, now_ms, stage: Stage::Messages, at: Bytes::new() }
    }

    /// Looks at some places and removes what may go there, with one commit at most a place. `None`:
    /// the round is over. After an error the same step can be tried again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn step<E: Engine>(
        &mut self,
        store: &Store<E>,
    ) -> Result<Option<Removed>, StoreError> {
        let mut removed = Removed::default();
        let more = match self.stage {
            Stage::Messages => self.messages(store, &mut removed).await?,
            Stage::Dedupe => self.dedupe(store, &mut removed).await?,
            Stage::Inbox => self.inboxes(store, &mut removed).await?,
            Stage::Done => return Ok(None),
        };
        if !more {
            self.at = Bytes::new();
            self.stage = match self.stage {
                Stage::Messages => Stage::Dedupe,
                Stage::Dedupe => Stage::Inbox,
                Stage::Inbox | Stage::Done => Stage::Done,
            };
        }
        Ok(Some(removed))
    }

    /// The next keys of a tag, and whether there are more.
    async fn places<E: Engine>(
        &self,
        store: &Store<E>,
        tag: u8,
    ) -> Result<(Vec<Bytes>, bool), ReadError> {
        let from =
            if self.at.is_empty() { Bytes::copy_from_slice(&[tag]) } else { self.at.clone() };
        let view = store.latest().await?;
        let rows = view.range(&from, &keys::prefix_end(&[tag]), STEP_PLACES, false).await?;
        let more = rows.len() == STEP_PLACES;
        Ok((rows.into_iter().map(|(key, _)| key).collect(), more))
    }

    async fn messages<E: Engine>(
        &mut self,
        store: &Store<E>,
        removed: &mut Removed,
    ) -> Result<bool, StoreError> {
        // Without a retention for all, only conversations with one of their own are looked at.
        let tag = if self.policy.messages_ms.is_some() { b'h' } else { b'r' };
        let (places, more) = self.places(store, tag).await?;
        for key in places {
            let conversation = ConversationId(place_id(&key, 0)?);
            while let Some(count) = passed(self.trim_messages(store, conversation).await)? {
                removed.messages += count;
                if removed.messages >= STEP_ROWS as u64 {
                    self.at = key;
                    return Ok(true);
                }
            }
            self.at = keys::successor(&key);
        }
        Ok(more)
    }

    /// Removes expired messages of a conversation, [`STEP_ROWS`] at most; `None`: there are none.
    async fn trim_messages<E: Engine>(
        &self,
        store: &Store<E>,
        conversation: ConversationId,
    ) -> Result<Option<u64>, StoreError> {
        let view = store.latest().await?;
        let wanted = [
            own(keys::floor(conversation)),
            own(keys::retention(conversation)),
            own(keys::WORD_INDEX),
        ];
        let [floor, retention, index] = get_all(&view, wanted).await?;
        let own_ms = own_retention(retention.as_deref())?;
        let Some(before_ms) = self.policy.messages_before(own_ms, self.now_ms) else {
            return Ok(None);
        };
        let floor = decode_floor(floor.as_deref())?;
        let from = keys::message(conversation, floor);
        let end = keys::prefix_end(&keys::message(conversation, 0)[..9]);
        // Mostly nothing may go, which the oldest message tells.
        let mut limit = 1;
        let mut entries = Vec::new();
        loop {
            entries.clear();
            let rows = view.range(&from, &end, limit, false).await?;
            for (key, value) in &rows {
                let time_ms = rows::decode::<MessageRow<'_>>(value)?.time_ms;
                entries.push((keys::last_id(key, "message")?, time_ms));
            }
            match messages_below(&entries, before_ms) {
                None => return Ok(None),
                Some(_) if limit == 1 => limit = STEP_ROWS,
                Some(below) => {
                    let index =
                        Guard { key: own(keys::WORD_INDEX), known: index, version: view.version() };
                    drop(view);
                    let mut plan = Plan::default();
                    let below = clear_below(conversation, &rows, below, index, &mut plan)?;
                    plan.ops.extend(trim_ops(conversation, floor, below));
                    store.repeat(plan).await?;
                    return Ok(Some(below - floor));
                }
            }
        }
    }

    async fn dedupe<E: Engine>(
        &mut self,
        store: &Store<E>,
        removed: &mut Removed,
    ) -> Result<bool, StoreError> {
        let Some(before_ms) = self.now_ms.checked_sub(self.policy.dedupe_ms) else {
            return Ok(false);
        };
        let end = keys::prefix_end(b"d");
        for _ in 0..STEP_PLACES {
            let from = if self.at.is_empty() { own(b"d") } else { self.at.clone() };
            let view = store.latest().await?;
            let first = view.range(&from, &end, 1, false).await?;
            let Some((key, _)) = first.first() else { return Ok(false) };
            let (conversation, sender) =
                (ConversationId(place_id(key, 0)?), UserId(place_id(key, 1)?));
            // Ids rise with time: those made before the horizon end here.
            let until = ClientMsgId::from_parts(before_ms, [0; 10]);
            let until = keys::dedupe(conversation, sender, until);
            let rows = match key.as_ref() < until.as_slice() {
                true => view.range(key, &until, STEP_ROWS, false).await?,
                false => Vec::new(),
            };
            drop(view);
            let next = match rows.last() {
                Some((last, _)) if rows.len() == STEP_ROWS => keys::successor(last),
                _ => keys::prefix_end(key.get(..17).unwrap_or_default()),
            };
            let mut times = Vec::with_capacity(rows.len());
            for (key, value) in rows {
                if let Some(row) =
                    passed(rows::decode::<DedupeRow>(&value).map(Some).map_err(Into::into))?
                {
                    times.push((key, row.time_ms));
                }
            }
            let expired = dedupe_expired(times, before_ms);
            if !expired.is_empty() {
                removed.dedupe += expired.len() as u64;
                let ops = expired.into_iter().map(|key| Op::Clear { key }).collect();
                store.repeat(Plan { guards: Vec::new(), ops }).await?;
            }
            self.at = next;
            if removed.dedupe >= STEP_ROWS as u64 {
                break;
            }
        }
        Ok(true)
    }

    async fn inboxes<E: Engine>(
        &mut self,
        store: &Store<E>,
        removed: &mut Removed,
    ) -> Result<bool, StoreError> {
        let (places, more) = self.places(store, b'u').await?;
        for key in places {
            let user = UserId(place_id(&key, 0)?);
            while let Some(count) = passed(self.trim_inbox(store, user).await)? {
                removed.pointers += count;
                if removed.pointers >= STEP_ROWS as u64 {
                    self.at = key;
                    return Ok(true);
                }
            }
            self.at = keys::successor(&key);
        }
        Ok(more)
    }

    /// Removes pointers of a user that nobody needs, [`STEP_ROWS`] at most; `None`: there are none.
    async fn trim_inbox<E: Engine>(
        &self,
        store: &Store<E>,
        user: UserId,
    ) -> Result<Option<u64>, StoreError> {
        let epoch = store.inbox_epoch().await?;
        let view = store.latest().await?;
        let current = own(keys::inbox(user, epoch));
        let old = view.range(&keys::inbox(user, 0), &current, STEP_ROWS, false).await?;
        if let (Some((first, _)), Some((last, _))) = (old.first(), old.last()) {
            // Logs that ended: no cursor reaches them.
            let ops = vec![Op::ClearRange { from: first.clone(), to: keys::successor(last) }];
            store.repeat(Plan { guards: Vec::new(), ops }).await?;
            return Ok(Some(old.len() as u64));
        }
        let floor = view.get(&keys::inbox_floor(user)).await?;
        let floor = floor.map(|value| rows::decode_inbox_floor(&value)).transpose()?;
        let floor = floor.filter(|(of, _)| *of == epoch).map_or(Stamp::default(), |(_, at)| at);
        let from = keys::pointer(user, epoch, floor);
        let oldest = view.range(&from, &keys::prefix_end(&current), 1, false).await?;
        let Some((oldest, _)) = oldest.first() else { return Ok(None) };
        let oldest_stamp = keys::last_stamp(oldest)?;
        let Some(devices) = devices(&view, user).await? else { return Ok(None) };
        let seen = view.get(&keys::last_seen(user)).await?;
        let seen = seen.map(|value| rows::decode_rising(&value, "last seen")).transpose()?;
        let now = Stamp::end_of(view.version());
        let alive_since_ms = self.now_ms.saturating_sub(self.policy.device_absent_ms);
        let Some(below) = inbox_below(&devices, seen, (epoch, now), alive_since_ms) else {
            return Ok(None);
        };
        let until = keys::pointer(user, epoch, below);
        let rows = view.range(oldest, &until, STEP_ROWS + 1, false).await?;
        drop(view);
        let (below, count) = match rows.get(STEP_ROWS) {
            Some((key, _)) => (keys::last_stamp(key)?, STEP_ROWS),
            None => (below, rows.len()),
        };
        if count == 0 {
            return Ok(None);
        }
        store.repeat(trim_plan(user, epoch, oldest_stamp, below)).await?;
        Ok(Some(count as u64))
    }
}

/// The devices of a user; `None`: more than are looked at.
async fn devices(view: &impl View, user: UserId) -> Result<Option<Vec<DeviceState>>, ReadError> {
    let from = keys::devices(user);
    let rows = view.range(&from, &keys::prefix_end(&from), MAX_DEVICES, false).await?;
    if rows.len() == MAX_DEVICES {
        return Ok(None);
    }
    let from = keys::device_cursors(user);
    let cursors = view.range(&from, &keys::prefix_end(&from), MAX_DEVICES, false).await?;
    let mut devices = Vec::with_capacity(rows.len());
    for (key, value) in rows {
        let DeviceValue { created_ms, revoked, .. } = rows::decode(&value)?;
        let device = DeviceId(keys::last_id(&key, "device")?);
        let wanted = keys::device_cursor(user, device);
        let cursor = cursors.iter().find(|(key, _)| key.as_ref() == wanted.as_slice());
        let cursor = cursor.map(|(_, value)| rows::decode_device_cursor(value)).transpose()?;
        devices.push(DeviceState { created_ms, revoked, cursor });
    }
    Ok(Some(devices))
}

/// Passes by a place with a damaged row: it must not keep retention from all others. `store check`
/// tells of it.
fn passed<T>(result: Result<Option<T>, StoreError>) -> Result<Option<T>, StoreError> {
    match result {
        Err(StoreError::Read(ReadError::Damaged(why))) => {
            tracing::warn!(why, "retention passes by a damaged row");
            Ok(None)
        }
        other => other,
    }
}

/// The id that is `place`-th in a key.
fn place_id(key: &[u8], place: usize) -> Result<u64, ReadError> {
    let start = 1 + 8 * place;
    let id = key.get(start..start + 8).and_then(|id| <[u8; 8]>::try_from(id).ok());
    id.map(u64::from_be_bytes).ok_or_else(|| rows::damaged("key", "it is too short"))
}
