//! The bodies of messages: which envelope becomes which, and back.

use super::{Content, DECODE, Header, News, WireError, kinds, own, put};
use crate::cluster::NodeId;
use crate::conversation::Unsettled;
use crate::message::{
    Batch, BatchEntry, ConversationMsg, Envelope, Origin, Outgoing, PresenceMsg, Receipts,
    SendAnswer, SessionMsg, SessionRef,
};
use bincode::{BorrowDecode, Decode, Encode};
use bytes::Bytes;
use rookery_protocol::{
    Change, ClientMsgId, CloseCode, ConversationId, DeviceId, EntryKind, ErrorCode, MarkKind,
    SessionId, Status, UserId,
};
use rookery_store::{Slot, Version};
use std::sync::Arc;

/// The address of a session that may live on any node.
#[derive(Clone, Copy, Encode, Decode)]
pub(super) struct Address(UserId, SessionId, u64);

impl From<SessionRef> for Address {
    fn from(session: SessionRef) -> Self {
        Self(session.user, session.session, session.node.0)
    }
}

impl From<Address> for SessionRef {
    fn from(Address(user, session, node): Address) -> Self {
        Self { user, session, node: NodeId(node) }
    }
}

/// A session of the node that receives the message.
pub(super) type Here = (UserId, SessionId);

#[derive(Encode, BorrowDecode)]
struct SendBody<'a> {
    conversation: ConversationId,
    from: Address,
    device: DeviceId,
    id: ClientMsgId,
    retry: bool,
    seen: u64,
    kind: EntryKind,
    body: &'a [u8],
}

#[derive(Encode, BorrowDecode)]
struct BatchBody<'a> {
    conversation: ConversationId,
    version: u64,
    entries: Vec<EntryBody>,
    frames: &'a [u8],
}

/// An entry's header; its frame follows the one before.
#[derive(Encode, Decode)]
struct EntryBody {
    seq: u64,
    time_ms: u64,
    device: DeviceId,
    client_msg_id: ClientMsgId,
    frame_bytes: u64,
}

#[derive(Encode, Decode)]
struct ReceiptsBody {
    conversation: ConversationId,
    marks: Vec<(UserId, MarkKind, u64)>,
}

type TypingBody = (ConversationId, UserId, bool);
type ChangedBody = (ConversationId, Change);
type PresenceBody = (UserId, Status, u64);

#[derive(Encode, Decode)]
enum AnswerBody {
    Duplicate { conversation: ConversationId, seq: u64, time_ms: u64 },
    Failed(u16),
}

/// Whether two messages to different receivers say the same, so that they travel as one.
pub(super) fn same(one: &Envelope, other: &Envelope) -> bool {
    use {Envelope as E, PresenceMsg as P, SessionMsg as S};
    match (one, other) {
        (E::Presence(_, P::Deliver(a)), E::Presence(_, P::Deliver(b)))
        | (E::Session(_, S::Deliver(a)), E::Session(_, S::Deliver(b))) => Arc::ptr_eq(a, b),
        (E::Presence(_, P::Receipts(a)), E::Presence(_, P::Receipts(b)))
        | (E::Session(_, S::Receipts(a)), E::Session(_, S::Receipts(b))) => Arc::ptr_eq(a, b),
        (
            E::Presence(_, P::Typing { conversation: a, user: b, active: c }),
            E::Presence(_, P::Typing { conversation: x, user: y, active: z }),
        )
        | (
            E::Session(_, S::Typing { conversation: a, user: b, active: c }),
            E::Session(_, S::Typing { conversation: x, user: y, active: z }),
        ) => (a, b, c) == (x, y, z),
        (E::Presence(_, P::Changed(a, b)), E::Presence(_, P::Changed(x, y)))
        | (E::Session(_, S::Changed(a, b)), E::Session(_, S::Changed(x, y))) => (a, b) == (x, y),
        (
            E::Session(_, S::Presence { user: a, status: b, last_seen_ms: c }),
            E::Session(_, S::Presence { user: x, status: y, last_seen_ms: z }),
        ) => (a, b, c) == (x, y, z),
        _ => false,
    }
}

/// Appends the message of a group; `None` for what never leaves its node.
pub(super) fn encode(header: Header, group: &[Envelope], out: &mut Vec<u8>) -> Option<()> {
    match group.first()? {
        Envelope::Conversation(to, msg) => conversation(header, *to, msg, out),
        Envelope::Presence(to, msg) => {
            let users = group.iter().filter_map(|envelope| match envelope {
                Envelope::Presence(user, _) => Some(*user),
                _ => None,
            });
            presence(header, (*to, users.collect()), msg, out)
        }
        Envelope::Session(to, msg) => {
            let sessions = group.iter().filter_map(|envelope| match envelope {
                Envelope::Session(to, _) => Some((to.user, to.session)),
                _ => None,
            });
            session(header, ((to.user, to.session), sessions.collect()), msg, out)
        }
    }
}

fn conversation(
    header: Header,
    to: ConversationId,
    msg: &ConversationMsg,
    out: &mut Vec<u8>,
) -> Option<()> {
    match msg {
        ConversationMsg::Send(send) => {
            let body = SendBody {
                conversation: to,
                from: send.from.session.into(),
                device: send.from.device,
                id: send.id,
                retry: send.retry,
                seen: send.seen.0,
                kind: send.kind,
                body: &send.body,
            };
            let change = send.kind == EntryKind::Group;
            put(header, if change { kinds::CHANGE } else { kinds::SEND }, body, out);
        }
        ConversationMsg::Mark { from, kind, seq } => {
            put(header, kinds::MARK, (to, Address::from(*from), *kind, *seq), out);
        }
        ConversationMsg::Typing { from, active } => {
            put(header, kinds::TYPING, (to, Address::from(*from), *active), out);
        }
        ConversationMsg::Unsettled(rest) => {
            put(header, kinds::UNSETTLED, (to, rest.doubt_after, &rest.marks), out);
        }
        ConversationMsg::Block { from, request, blocked } => {
            put(header, kinds::BLOCK, (to, Address::from(*from), *request, *blocked), out);
        }
        _ => return None,
    }
    Some(())
}

fn presence(
    header: Header,
    (to, users): (UserId, Vec<UserId>),
    msg: &PresenceMsg,
    out: &mut Vec<u8>,
) -> Option<()> {
    match msg {
        PresenceMsg::Register { session, node, device } => {
            put(header, kinds::REGISTER, (to, *session, node.0, *device), out);
        }
        PresenceMsg::Unregister { session, last_seen_ms } => {
            put(header, kinds::UNREGISTER, (to, *session, *last_seen_ms), out);
        }
        PresenceMsg::Watch(from) => put(header, kinds::WATCH, (to, Address::from(*from)), out),
        PresenceMsg::Unwatch(from) => {
            put(header, kinds::UNWATCH, (to, Address::from(*from)), out);
        }
        PresenceMsg::Own => put(header, kinds::OWN, to, out),
        PresenceMsg::Away { session, away } => {
            put(header, kinds::AWAY, (to, *session, *away), out);
        }
        PresenceMsg::Deliver(batch) => {
            put(header, kinds::HUBS_DELIVER, (users, batch_body(batch)), out);
        }
        PresenceMsg::Receipts(receipts) => {
            put(header, kinds::HUBS_RECEIPTS, (users, receipts_body(receipts)), out);
        }
        PresenceMsg::Typing { conversation, user, active } => {
            let body: TypingBody = (*conversation, *user, *active);
            put(header, kinds::HUBS_TYPING, (users, body), out);
        }
        PresenceMsg::Changed(conversation, change) => {
            let body: ChangedBody = (*conversation, *change);
            put(header, kinds::HUBS_CHANGED, (users, body), out);
        }
        _ => return None,
    }
    Some(())
}

fn session(
    header: Header,
    (to, sessions): (Here, Vec<Here>),
    msg: &SessionMsg,
    out: &mut Vec<u8>,
) -> Option<()> {
    match msg {
        SessionMsg::SendAnswer { id, answer } => {
            let answer = match *answer {
                SendAnswer::Duplicate { conversation, seq, time_ms } => {
                    AnswerBody::Duplicate { conversation, seq, time_ms }
                }
                SendAnswer::Failed(code) => AnswerBody::Failed(code.code()),
            };
            put(header, kinds::SENT, (to, *id, answer), out);
        }
        SessionMsg::HintsLost => put(header, kinds::PULL, to, out),
        SessionMsg::Own => put(header, kinds::OWN_TO, to, out),
        SessionMsg::Answered { request, refused } => {
            let refused = refused.map(ErrorCode::code);
            put(header, kinds::ANSWERED, (to, *request, refused), out);
        }
        SessionMsg::HubsMoved(slots) => {
            let slots: Vec<u16> = slots.iter().map(|slot| slot.0).collect();
            put(header, kinds::MOVED, (to, slots), out);
        }
        SessionMsg::Refused(code) => put(header, kinds::REFUSED, (to, code.code()), out),
        SessionMsg::End(code) => put(header, kinds::END, (to, code.code()), out),
        SessionMsg::Deliver(batch) => {
            put(header, kinds::DELIVER, (sessions, batch_body(batch)), out);
        }
        SessionMsg::Receipts(receipts) => {
            put(header, kinds::RECEIPTS, (sessions, receipts_body(receipts)), out);
        }
        SessionMsg::Typing { conversation, user, active } => {
            let body: TypingBody = (*conversation, *user, *active);
            put(header, kinds::TYPING_TO, (sessions, body), out);
        }
        SessionMsg::Changed(conversation, change) => {
            let body: ChangedBody = (*conversation, *change);
            put(header, kinds::CHANGED, (sessions, body), out);
        }
        SessionMsg::Presence { user, status, last_seen_ms } => {
            let body: PresenceBody = (*user, *status, *last_seen_ms);
            put(header, kinds::PRESENCE, (sessions, body), out);
        }
        _ => return None,
    }
    Some(())
}

fn batch_body(batch: &Batch) -> BatchBody<'_> {
    let entries = batch.entries.iter().map(|entry| EntryBody {
        seq: entry.seq,
        time_ms: entry.time_ms,
        device: entry.device,
        client_msg_id: entry.client_msg_id,
        frame_bytes: entry.frame.len() as u64,
    });
    BatchBody {
        conversation: batch.conversation,
        version: batch.version.0,
        entries: entries.collect(),
        frames: &batch.frames,
    }
}

fn receipts_body(receipts: &Receipts) -> ReceiptsBody {
    ReceiptsBody { conversation: receipts.conversation, marks: receipts.marks.clone() }
}

/// Reads a body.
pub(super) fn decode(me: NodeId, kind: u8, body: &Bytes) -> Result<Content, WireError> {
    let one = |envelope| Ok(Content::Envelopes(vec![envelope]));
    match kind {
        kinds::SEND..=kinds::TYPING | kinds::CHANGE => one(to_conversation(kind, body)?),
        kinds::UNSETTLED => {
            let (to, doubt_after, marks) = read(body, "rest")?;
            let rest = Unsettled { doubt_after, marks };
            one(Envelope::Conversation(to, ConversationMsg::Unsettled(rest)))
        }
        kinds::REGISTER => {
            let (to, session, node, device) = read(body, "register")?;
            let node = NodeId(node);
            one(Envelope::Presence(to, PresenceMsg::Register { session, node, device }))
        }
        kinds::UNREGISTER => {
            let (to, session, last_seen_ms) = read(body, "unregister")?;
            one(Envelope::Presence(to, PresenceMsg::Unregister { session, last_seen_ms }))
        }
        kinds::WATCH => {
            let (to, from): (_, Address) = read(body, "watch")?;
            one(Envelope::Presence(to, PresenceMsg::Watch(from.into())))
        }
        kinds::UNWATCH => {
            let (to, from): (_, Address) = read(body, "unwatch")?;
            one(Envelope::Presence(to, PresenceMsg::Unwatch(from.into())))
        }
        kinds::HUBS_DELIVER..=kinds::HUBS_CHANGED => to_hubs(kind, body),
        kinds::SENT => {
            let (to, id, answer) = read(body, "answer")?;
            let answer = match answer {
                AnswerBody::Duplicate { conversation, seq, time_ms } => {
                    SendAnswer::Duplicate { conversation, seq, time_ms }
                }
                AnswerBody::Failed(code) => SendAnswer::Failed(error_code(code)),
            };
            one(Envelope::Session(here(me, to), SessionMsg::SendAnswer { id, answer }))
        }
        kinds::REFUSED => {
            let (to, code) = read(body, "refusal")?;
            one(Envelope::Session(here(me, to), SessionMsg::Refused(error_code(code))))
        }
        kinds::END => {
            let (to, code): (Here, u16) = read(body, "end")?;
            // A code of a newer version: the client comes back and is told again.
            let known = CloseCode::ALL.iter().find(|known| known.code() == code);
            let code = known.copied().unwrap_or(CloseCode::Internal);
            one(Envelope::Session(here(me, to), SessionMsg::End(code)))
        }
        kinds::PULL => {
            let to = read(body, "pull")?;
            one(Envelope::Session(here(me, to), SessionMsg::HintsLost))
        }
        kinds::MOVED => {
            let (to, slots): (_, Vec<u16>) = read(body, "move")?;
            let slots = slots.into_iter().map(Slot).collect();
            one(Envelope::Session(here(me, to), SessionMsg::HubsMoved(Arc::new(slots))))
        }
        kinds::DELIVER..=kinds::PRESENCE => to_sessions(me, kind, body),
        kinds::BLOCK..=kinds::OWN_TO => one(own::decode(me, kind, body)?),
        kinds::END_DEVICE => {
            let (user, device) = read(body, "revocation")?;
            Ok(Content::News(News::EndDevice(user, device)))
        }
        kinds::HUB_LOST => Ok(Content::News(News::HubLost(read(body, "user")?))),
        kinds::HUBS_LOST => Ok(Content::News(News::HubsLost)),
        kinds::HINTS_LOST => Ok(Content::News(News::HintsLost)),
        kinds::LOOK => Ok(Content::News(News::Look)),
        other => Ok(Content::Unknown(other)),
    }
}

fn to_conversation(kind: u8, body: &Bytes) -> Result<Envelope, WireError> {
    let (to, msg) = match kind {
        kinds::SEND | kinds::CHANGE => {
            let send: SendBody<'_> = borrow(body, "send")?;
            let outgoing = Outgoing {
                from: Origin { session: send.from.into(), device: send.device },
                id: send.id,
                retry: send.retry,
                seen: Version(send.seen),
                kind: send.kind,
                body: send.body.to_vec(),
            };
            (send.conversation, ConversationMsg::Send(outgoing))
        }
        kinds::MARK => {
            let (to, from, kind, seq): (_, Address, _, _) = read(body, "mark")?;
            (to, ConversationMsg::Mark { from: from.into(), kind, seq })
        }
        _ => {
            let (to, from, active): (_, Address, _) = read(body, "typing")?;
            (to, ConversationMsg::Typing { from: from.into(), active })
        }
    };
    Ok(Envelope::Conversation(to, msg))
}

fn to_hubs(kind: u8, body: &Bytes) -> Result<Content, WireError> {
    let all = |users: Vec<UserId>, msg: &dyn Fn() -> PresenceMsg| {
        let envelopes = users.into_iter().map(|user| Envelope::Presence(user, msg()));
        Ok(Content::Envelopes(envelopes.collect()))
    };
    match kind {
        kinds::HUBS_DELIVER => {
            let (users, batch): (_, BatchBody<'_>) = borrow(body, "batch")?;
            let batch = Arc::new(self::batch(batch, body)?);
            all(users, &|| PresenceMsg::Deliver(Arc::clone(&batch)))
        }
        kinds::HUBS_RECEIPTS => {
            let (users, receipts) = read(body, "receipts")?;
            let receipts = Arc::new(self::receipts(receipts));
            all(users, &|| PresenceMsg::Receipts(Arc::clone(&receipts)))
        }
        kinds::HUBS_TYPING => {
            let (users, (conversation, user, active)) = read(body, "typing")?;
            all(users, &|| PresenceMsg::Typing { conversation, user, active })
        }
        _ => {
            let (users, (conversation, change)) = read(body, "change")?;
            all(users, &|| PresenceMsg::Changed(conversation, change))
        }
    }
}

fn to_sessions(me: NodeId, kind: u8, body: &Bytes) -> Result<Content, WireError> {
    let all = |sessions: Vec<Here>, msg: &dyn Fn() -> SessionMsg| {
        let envelopes = sessions.into_iter().map(|to| Envelope::Session(here(me, to), msg()));
        Ok(Content::Envelopes(envelopes.collect()))
    };
    match kind {
        kinds::DELIVER => {
            let (sessions, batch): (_, BatchBody<'_>) = borrow(body, "batch")?;
            let batch = Arc::new(self::batch(batch, body)?);
            all(sessions, &|| SessionMsg::Deliver(Arc::clone(&batch)))
        }
        kinds::RECEIPTS => {
            let (sessions, receipts) = read(body, "receipts")?;
            let receipts = Arc::new(self::receipts(receipts));
            all(sessions, &|| SessionMsg::Receipts(Arc::clone(&receipts)))
        }
        kinds::TYPING_TO => {
            let (sessions, (conversation, user, active)) = read(body, "typing")?;
            all(sessions, &|| SessionMsg::Typing { conversation, user, active })
        }
        kinds::CHANGED => {
            let (sessions, (conversation, change)) = read(body, "change")?;
            all(sessions, &|| SessionMsg::Changed(conversation, change))
        }
        _ => {
            let (sessions, (user, status, last_seen_ms)) = read(body, "presence")?;
            all(sessions, &|| SessionMsg::Presence { user, status, last_seen_ms })
        }
    }
}

pub(super) fn here(me: NodeId, (user, session): Here) -> SessionRef {
    SessionRef { user, session, node: me }
}

/// A code that a newer version invented is some fault of the server to this one.
pub(super) fn error_code(code: u16) -> ErrorCode {
    ErrorCode::from_code(code).unwrap_or(ErrorCode::Internal)
}

/// The batch, whose frames stay where they were received.
fn batch(read: BatchBody<'_>, body: &Bytes) -> Result<Batch, WireError> {
    let wrong = WireError::Malformed("batch");
    let mut entries: Vec<BatchEntry> = Vec::with_capacity(read.entries.len());
    let mut start = 0;
    for entry in read.entries {
        let bytes = usize::try_from(entry.frame_bytes).map_err(|_| wrong.clone())?;
        let end = start + bytes.min(read.frames.len() + 1);
        if entries.last().is_some_and(|last| last.seq.checked_add(1) != Some(entry.seq)) {
            return Err(wrong);
        }
        entries.push(BatchEntry {
            seq: entry.seq,
            time_ms: entry.time_ms,
            device: entry.device,
            client_msg_id: entry.client_msg_id,
            frame: start..end,
        });
        start = end;
        if start > read.frames.len() {
            return Err(wrong);
        }
    }
    if entries.is_empty() || start != read.frames.len() {
        return Err(wrong);
    }
    Ok(Batch {
        conversation: read.conversation,
        entries,
        frames: body.slice_ref(read.frames),
        version: Version(read.version),
    })
}

fn receipts(read: ReceiptsBody) -> Receipts {
    Receipts { conversation: read.conversation, marks: read.marks }
}

/// Reads a body that owns what it holds; bytes after it are a newer version's.
pub(super) fn read<T: Decode<()>>(body: &[u8], what: &'static str) -> Result<T, WireError> {
    let read = bincode::decode_from_slice(body, DECODE);
    read.map(|(value, _)| value).map_err(|_| WireError::Malformed(what))
}

/// As [`read`], for a body that borrows.
fn borrow<'a, T: BorrowDecode<'a, ()>>(body: &'a [u8], what: &'static str) -> Result<T, WireError> {
    let read = bincode::borrow_decode_from_slice(body, DECODE);
    read.map(|(value, _)| value).map_err(|_| WireError::Malformed(what))
}
