//! One-to-one conversations: found by their pair, created at most once.

use crate::engine::{Engine, ReadError, View};
use crate::error::{Attempts, StoreError};
use crate::inbox::PointerKind;
use crate::keys::{self, own};
use crate::plan::{Guard, Op, Plan, Version};
use crate::rows::{self, ActivityRow, ConversationRow, DirectRow, HeadRow, MemberRow, PointerRow};
use crate::shade::Shade;
use crate::store::{Store, get_all};
use bytes::Bytes;
use rookery_protocol::{ConversationId, ConversationKind, UserId};

/// Role of a member who is neither admin nor owner.
pub const ROLE_MEMBER: u8 = 1;

/// What the rows say before a conversation is opened.
enum Pair {
    Open(ConversationId),
    Free(Beginning),
}

/// What the creation of a conversation goes by.
struct Beginning {
    version: Version,
    /// Whether `me` has the other one blocked, and whether the other one has `me`: the rows.
    blocks: [Option<Bytes>; 2],
}

impl<E: Engine> Store<E> {
    /// The one-to-one conversation of `me` and `other`, created now under the id `candidate` when
    /// there is none. Both sides get the same answer, whoever comes first. True: this call created
    /// it.
    ///
    /// # Errors
    /// - [`StoreError::BadArgument`]: one can't open a conversation with oneself
    /// - [`StoreError::UnknownUser`]: `other` has no account
    /// - [`StoreError::IdTaken`]: another conversation has the candidate's id; choose another
    /// - [`StoreError::Read`], [`StoreError::Busy`], [`StoreError::Unresolved`]: retry, with the
    ///   same or another candidate
    pub async fn open_direct(
        &self,
        me: UserId,
        other: UserId,
        candidate: ConversationId,
        now_ms: u64,
    ) -> Result<(ConversationId, bool), StoreError> {
        if me == other {
            return Err(StoreError::BadArgument("a conversation with oneself"));
        }
        let epoch = self.inbox_epoch().await?;
        let mut attempts = Attempts::new();
        loop {
            attempts.begin()?;
            match self.find_pair(me, other, candidate).await {
                // Only an attempt of this call can have taken the candidate's id for this pair.
                Ok(Pair::Open(found)) => {
                    self.show(me, found, now_ms).await?;
                    return Ok((found, attempts.in_doubt() && found == candidate));
                }
                Ok(Pair::Free(beginning)) => {
                    let plan = creation((me, other), candidate, now_ms, epoch, beginning);
                    if attempts.settle(self.commit(plan).await)?.is_some() {
                        return Ok((candidate, true));
                    }
                }
                Err(StoreError::Read(error)) => return Err(attempts.or_in_doubt(error)),
                Err(error) => return Err(error),
            }
        }
    }

    async fn find_pair(
        &self,
        me: UserId,
        other: UserId,
        candidate: ConversationId,
    ) -> Result<Pair, StoreError> {
        let view = self.latest().await?;
        let wanted = [
            own(keys::direct(me, other)),
            own(keys::conversation(candidate)),
            own(keys::account(other)),
            own(keys::block(me, other)),
            own(keys::block(other, me)),
        ];
        let [found, taken, account, mine, theirs] = get_all(&view, wanted).await?;
        match (found, taken, account) {
            (Some(row), _, _) => Ok(Pair::Open(decode(&row)?)),
            (None, _, None) => Err(StoreError::UnknownUser),
            (None, Some(_), Some(_)) => Err(StoreError::IdTaken),
            (None, None, Some(_)) => {
                let blocks = [mine, theirs];
                Ok(Pair::Free(Beginning { version: view.version(), blocks }))
            }
        }
    }

    /// Puts a conversation into the list of `me` that somebody blocked had opened.
    async fn show(
        &self,
        me: UserId,
        conversation: ConversationId,
        now_ms: u64,
    ) -> Result<(), StoreError> {
        let epoch = self.inbox_epoch().await?;
        let mut attempts = Attempts::new();
        loop {
            attempts.begin()?;
            let wanted = [own(keys::activity(me, conversation))];
            let [row] = attempts.read(self.known(wanted).await)?;
            let time_ms = row.known.as_ref().map(|value| rows::decode::<ActivityRow>(value));
            match attempts.read(time_ms.transpose())? {
                Some(ActivityRow { time_ms: 0 }) => {}
                _ => return Ok(()),
            }
            let value = rows::encode(&ActivityRow { time_ms: now_ms });
            let ops =
                vec![Op::Set { key: row.key.clone(), value }, created(me, epoch, conversation)];
            if attempts.settle(self.commit(Plan { guards: vec![row], ops }).await)?.is_some() {
                return Ok(());
            }
        }
    }
}

fn decode(row: &[u8]) -> Result<ConversationId, ReadError> {
    Ok(rows::decode::<DirectRow>(row)?.conversation)
}

/// Creates the conversation, if the pair has none and the id is free.
///
/// Under a block only who opens it is told, and the blocking member sees nothing of it.
fn creation(
    (me, other): (UserId, UserId),
    conversation: ConversationId,
    now_ms: u64,
    inbox_epoch: u32,
    Beginning { version, blocks: [mine, theirs] }: Beginning,
) -> Plan {
    let pair = own(keys::direct(me, other));
    let description = own(keys::conversation(conversation));
    let absent = |key: &Bytes| Guard { key: key.clone(), known: None, version };
    let block = |user, other, known: &Option<Bytes>| Guard {
        key: own(keys::block(user, other)),
        known: known.clone(),
        version,
    };
    let guards = vec![
        absent(&pair),
        absent(&description),
        block(me, other, &mine),
        block(other, me, &theirs),
    ];
    let row = ConversationRow { kind: ConversationKind::Direct, title: "", created_ms: now_ms };
    let mut ops = vec![
        Op::Set { key: pair, value: rows::encode(&DirectRow { conversation }) },
        Op::Set { key: description, value: rows::encode(&row) },
        Op::Set {
            key: own(keys::head(conversation)),
            value: rows::encode(&HeadRow { seq: 0, time_ms: now_ms }),
        },
    ];
    let member = rows::encode(&MemberRow { role: ROLE_MEMBER, joined_seq: 0 });
    let blocked = mine.is_some() || theirs.is_some();
    for (user, blocks) in [(me, mine.is_some()), (other, theirs.is_some())] {
        let key = own(keys::member(conversation, user));
        ops.push(Op::Set { key, value: member.clone() });
        let shown = user == me || !blocked;
        let active = ActivityRow { time_ms: if shown { now_ms } else { 0 } };
        let key = own(keys::activity(user, conversation));
        ops.push(Op::Set { key, value: rows::encode(&active) });
        if shown {
            ops.push(created(user, inbox_epoch, conversation));
        }
        if blocks {
            ops.push(Shade::FROM_THE_START.set(conversation, user));
        }
    }
    Plan { guards, ops }
}

/// Tells a user of a new conversation.
fn created(user: UserId, inbox_epoch: u32, conversation: ConversationId) -> Op {
    let kind = PointerKind::Created.code();
    let pointer = rows::encode(&PointerRow { kind, conversation, first: 0, last: 0 });
    Op::SetStampedKey { prefix: own(keys::inbox(user, inbox_epoch)), value: pointer }
}
