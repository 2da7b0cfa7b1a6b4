//! One-to-one conversations: found by their pair, created at most once.

use crate::engine::{Engine, ReadError, View};
use crate::error::{Attempts, StoreError};
use crate::inbox::PointerKind;
use crate::keys::{self, own};
use crate::plan::{Guard, Op, Plan, Version};
use crate::rows::{self, ActivityRow, ConversationRow, DirectRow, HeadRow, MemberRow, PointerRow};
use crate::store::{Store, get_all};
use rookery_protocol::{ConversationId, ConversationKind, UserId};

/// Role of a member who is neither admin nor owner.
pub const ROLE_MEMBER: u8 = 1;

/// What the rows say before a conversation is opened.
enum Pair {
    Open(ConversationId),
    Free { version: Version },
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
                    return Ok((found, attempts.in_doubt() && found == candidate));
                }
                Ok(Pair::Free { version }) => {
                    let plan = creation(me, other, candidate, now_ms, epoch, version);
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
        ];
        let [found, taken, account] = get_all(&view, wanted).await?;
        match (found, taken, account) {
            (Some(row), _, _) => Ok(Pair::Open(decode(&row)?)),
            (None, _, None) => Err(StoreError::UnknownUser),
            (None, Some(_), Some(_)) => Err(StoreError::IdTaken),
            (None, None, Some(_)) => Ok(Pair::Free { version: view.version() }),
        }
    }
}

fn decode(row: &[u8]) -> Result<ConversationId, ReadError> {
    Ok(rows::decode::<DirectRow>(row)?.conversation)
}

/// Creates the conversation, if the pair has none and the id is free.
fn creation(
    me: UserId,
    other: UserId,
    conversation: ConversationId,
    now_ms: u64,
    inbox_epoch: u32,
    version: Version,
) -> Plan {
    let pair = own(keys::direct(me, other));
    let description = own(keys::conversation(conversation));
    let absent = |key: &bytes::Bytes| Guard { key: key.clone(), known: None, version };
    let guards = vec![absent(&pair), absent(&description)];
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
    let active = rows::encode(&ActivityRow { time_ms: now_ms });
    let kind = PointerKind::Created.code();
    let pointer = rows::encode(&PointerRow { kind, conversation, first: 0, last: 0 });
    for user in [me, other] {
        let key = own(keys::member(conversation, user));
        ops.push(Op::Set { key, value: member.clone() });
        let key = own(keys::activity(user, conversation));
        ops.push(Op::Set { key, value: active.clone() });
        let prefix = own(keys::inbox(user, inbox_epoch));
        ops.push(Op::SetStampedKey { prefix, value: pointer.clone() });
    }
    Plan { guards, ops }
}
