//! What a client asks of its session: each frame checked, then passed on, each answer turned into
//! a frame. Pure.

use super::delivery::sent;
use super::{Pending, SEND_CHECK_MS, Session, TOKEN_NEWS, TOKEN_PULL, TOKEN_REQUEST, TOKEN_SIGHT};
use crate::effect::{Effect, Query, QueryResult};
use crate::message::{ConversationMsg, Envelope, Origin, Outgoing, PresenceMsg, SendAnswer};
use crate::people::Watchable;
use crate::time::Now;
use rookery_protocol::client::{Send, SetTyping};
use rookery_protocol::group::group_id;
use rookery_protocol::limits::{
    MAX_BODY_BYTES, MAX_FIND_NAMES, MAX_HISTORY_ENTRIES, MAX_LIST_ITEMS, MAX_NAME_BYTES,
    MAX_REQUESTS_IN_FLIGHT, MAX_SENDS_IN_FLIGHT, MAX_WATCH_BATCH, MAX_WATCHED,
};
use rookery_protocol::server::{Conversation, Done};
use rookery_protocol::{
    Change, ClientFrame, ClientMsgId, CloseCode, Direction, EntryKind, ErrorCode, GroupAction,
    GroupChange, MarkKind, ServerFrame, UserId,
};
use rookery_store::{ReadError, StoreError, Version};

/// Looks into the store for sends without answer are at least this far apart.
const SEND_LOOKS_MS: u64 = 100;
/// A send without answer for this long is answered with "outcome unknown": an owner answers within
/// two seconds whatever its store does, and a look into the store found nothing.
const SEND_UNKNOWN_MS: u64 = 4_000;
/// A client's typing news is passed on at most this often.
const TYPING_MS: u64 = 250;

impl Session {
    pub(super) fn frame(&mut self, now: Now, frame: ClientFrame, out: &mut Vec<Effect>) {
        self.used(now, &frame, out);
        match frame {
            ClientFrame::Ack(ack) => self.acked(now, ack.received, out),
            ClientFrame::Sync(sync) => {
                self.held = sync.cursor;
                self.noted_ms = None;
                self.sync.start(sync.request, sync.cursor);
                self.timers.retry = None;
                self.pull(out);
            }
            ClientFrame::Send(send) => self.send(now, send, out),
            ClientFrame::Mark(mark) => {
                if matches!(mark.kind, MarkKind::Other(_)) || mark.seq == 0 {
                    return self.error(0, ErrorCode::BadField, "mark", out);
                }
                let msg = ConversationMsg::Mark { from: self.me, kind: mark.kind, seq: mark.seq };
                out.push(Effect::Tell(Envelope::Conversation(mark.conversation, msg)));
            }
            ClientFrame::SetTyping(typing) => self.set_typing(now, typing, out),
            ClientFrame::History(_)
            | ClientFrame::Conversations(_)
            | ClientFrame::OpenDirect(_)
            | ClientFrame::Describe(_)
            | ClientFrame::FindUsers(_)
            | ClientFrame::DescribeGroup(_)
            | ClientFrame::Readers(_)
            | ClientFrame::Watch(_) => self.ask(now, frame, out),
            // Each costs a look through all that are watched.
            ClientFrame::Unwatch(unwatch) if unwatch.users.len() > MAX_WATCH_BATCH => {
                self.error(0, ErrorCode::BadField, "too many users at once", out);
            }
            ClientFrame::Unwatch(unwatch) => self.unwatch(unwatch.users, out),
            ClientFrame::SetAway(f) => self.set_away(now, f.away, out),
            ClientFrame::People(_)
            | ClientFrame::SetContact(_)
            | ClientFrame::SetBlocked(_)
            | ClientFrame::Report(_)
            | ClientFrame::SetOwnState(_)
            | ClientFrame::OwnStates(_)
            | ClientFrame::GetPrivacy(_)
            | ClientFrame::SetPrivacy(_)
            | ClientFrame::Devices(_)
            | ClientFrame::NameDevice(_)
            | ClientFrame::RevokeDevice(_) => self.ask_own(now, frame, out),
            ClientFrame::Leave(_) => self.end(now, Some(CloseCode::GoingAway), out),
            // The gateway answers these itself.
            ClientFrame::Hello(_)
            | ClientFrame::Ping(_)
            | ClientFrame::Authenticate(_)
            | ClientFrame::Refresh(_) => {}
        }
    }

    /// The client has so many frames of the stream.
    fn acked(&mut self, now: Now, received: u64, out: &mut Vec<Effect>) {
        // Before `Sync` the client may still count the frames of the session before this one, on
        // the same connection: it has not seen this one's `Welcome` yet, after which it syncs first.
        if !self.sync.started {
            return;
        }
        if !self.stream.ack(received) {
            return self.error(0, ErrorCode::BadAck, "more than was sent", out);
        }
        if self.sync.behind {
            self.timers.stuck = Some(now.mono_ms + super::STUCK_MS);
        }
        self.show(out);
        self.pull(out);
    }

    fn unwatch(&mut self, users: Vec<UserId>, out: &mut Vec<Effect>) {
        for user in users {
            if let Some(at) = self.watched.iter().position(|watched| *watched == user) {
                self.watched.swap_remove(at);
                self.unshown.remove(&user);
                self.undim(user);
                self.tell_hub(user, PresenceMsg::Unwatch(self.me), out);
            }
        }
    }

    fn send(&mut self, now: Now, send: Send, out: &mut Vec<Effect>) {
        let Some(device) = self.device() else { return };
        if let Err((code, detail)) = check_send(&send) {
            return self.error(send.request, code, detail, out);
        }
        let known = self.pending.contains_key(&send.client_msg_id);
        if !known && self.pending.len() >= MAX_SENDS_IN_FLIGHT {
            return self.error(send.request, ErrorCode::TooManyInFlight, "sends", out);
        }
        let conversation = send.conversation;
        let pending = Pending { request: send.request, conversation, since_ms: now.mono_ms };
        self.pending.insert(send.client_msg_id, pending);
        self.timers.sends.get_or_insert(now.mono_ms + SEND_CHECK_MS);
        let outgoing = Outgoing {
            from: Origin { session: self.me, device },
            id: send.client_msg_id,
            retry: send.retry,
            seen: self.stream.seen(),
            kind: send.kind,
            body: send.body,
        };
        let msg = ConversationMsg::Send(outgoing);
        out.push(Effect::Tell(Envelope::Conversation(conversation, msg)));
    }

    pub(super) fn send_answered(
        &mut self,
        id: ClientMsgId,
        answer: SendAnswer,
        out: &mut Vec<Effect>,
    ) {
        let Some(pending) = self.pending.remove(&id) else { return };
        match answer {
            SendAnswer::Duplicate { conversation, seq, time_ms } => {
                let frame = sent(pending.request, conversation, (id, seq, time_ms), true);
                self.emit(frame.to_bytes(), 1, Version::default(), out);
            }
            SendAnswer::Failed(code) => self.error(pending.request, code, "", out),
        }
    }

    /// A send without answer: its batch may have been a hint that was lost.
    pub(super) fn check_sends(&mut self, now: Now, out: &mut Vec<Effect>) {
        let age = |pending: &Pending| now.mono_ms.saturating_sub(pending.since_ms);
        let mut unknown: Vec<(ClientMsgId, u32)> = self
            .pending
            .iter()
            .filter(|(_, pending)| age(pending) >= SEND_UNKNOWN_MS)
            .map(|(id, pending)| (*id, pending.request))
            .collect();
        // The order of a hash map must not reach the wire.
        unknown.sort_unstable();
        for (id, request) in unknown {
            self.pending.remove(&id);
            self.error(request, ErrorCode::OutcomeUnknown, "no answer in time", out);
        }
        if self.pending.values().any(|pending| age(pending) >= SEND_CHECK_MS) {
            self.sync.wanted |= self.sync.started;
        }
        let due = |pending: &Pending| match age(pending) < SEND_CHECK_MS {
            true => pending.since_ms + SEND_CHECK_MS,
            false => (now.mono_ms + SEND_CHECK_MS).min(pending.since_ms + SEND_UNKNOWN_MS),
        };
        let next = self.pending.values().map(due).min();
        self.timers.sends = next.map(|at| at.max(now.mono_ms + SEND_LOOKS_MS));
    }

    fn set_typing(&mut self, now: Now, typing: SetTyping, out: &mut Vec<Effect>) {
        if typing.active && now.mono_ms < self.timers.typing_ms {
            return;
        }
        self.timers.typing_ms = now.mono_ms + TYPING_MS;
        let msg = ConversationMsg::Typing { from: self.me, active: typing.active };
        out.push(Effect::Tell(Envelope::Conversation(typing.conversation, msg)));
    }

    /// Whether one more request may go without an answer; if not, that is its answer.
    pub(super) fn has_room_for_request(&self, request: u32, out: &mut Vec<Effect>) -> bool {
        let room = self.requests < MAX_REQUESTS_IN_FLIGHT;
        if !room {
            self.error(request, ErrorCode::TooManyInFlight, "requests", out);
        }
        room
    }

    /// Requests that the store answers.
    fn ask(&mut self, now: Now, frame: ClientFrame, out: &mut Vec<Effect>) {
        let request = frame.request();
        if !self.has_room_for_request(request, out) {
            return;
        }
        let me = self.me.user;
        let query = match frame {
            ClientFrame::History(f) => {
                if matches!(f.direction, Direction::Other(_)) || f.limit == 0 {
                    return self.error(request, ErrorCode::BadField, "direction or limit", out);
                }
                Query::History {
                    request,
                    me,
                    conversation: f.conversation,
                    anchor: f.anchor,
                    direction: f.direction,
                    limit: f.limit.min(MAX_HISTORY_ENTRIES),
                }
            }
            ClientFrame::Conversations(f) => {
                let limit = f.limit.clamp(1, MAX_LIST_ITEMS);
                Query::Conversations { request, me, limit, after: f.after }
            }
            ClientFrame::OpenDirect(f) => {
                let name = f.name.trim().to_lowercase();
                if name.is_empty() || name.len() > MAX_NAME_BYTES {
                    return self.error(request, ErrorCode::UnknownUser, "", out);
                }
                if self.identity.as_ref().is_some_and(|identity| *identity.name == *name) {
                    return self.error(request, ErrorCode::SelfConversation, "", out);
                }
                Query::OpenDirect { me, name, now_ms: now.unix_ms }
            }
            ClientFrame::Describe(f) => Query::Describe { me, conversation: f.conversation },
            ClientFrame::FindUsers(f) => {
                if f.names.len() > MAX_FIND_NAMES {
                    return self.error(request, ErrorCode::BadField, "too many names", out);
                }
                let names = f.names.iter().map(|name| name.trim().to_lowercase()).collect();
                Query::FindUsers { request, names }
            }
            ClientFrame::DescribeGroup(f) => {
                Query::Group { request, me, conversation: f.conversation }
            }
            ClientFrame::Readers(f) => {
                Query::Readers { request, me, conversation: f.conversation, seq: f.seq }
            }
            ClientFrame::Watch(f) => {
                if f.users.len() > MAX_WATCH_BATCH {
                    return self.error(request, ErrorCode::BadField, "too many users at once", out);
                }
                if self.watched.len() + f.users.len() > MAX_WATCHED {
                    return self.error(request, ErrorCode::TooManyWatched, "", out);
                }
                Query::MayWatch { me, others: f.users }
            }
            _ => return,
        };
        self.requests += 1;
        let token = TOKEN_REQUEST | u64::from(request);
        out.push(Effect::Query { token, query: Box::new(query) });
    }

    pub(super) fn answered(
        &mut self,
        now: Now,
        token: u64,
        result: QueryResult,
        out: &mut Vec<Effect>,
    ) {
        let low = u32::try_from(token & u64::from(u32::MAX)).unwrap_or(0);
        if token & !u64::from(u32::MAX) == TOKEN_PULL {
            self.sync.reading = false;
            if !self.sync.expects(low) {
                // Of a pull that was given up; the one wanted in its place can begin.
                return self.pull(out);
            }
            match result {
                QueryResult::Inbox(page) => self.inbox_read(now, token, page, out),
                QueryResult::Entries(read) => self.entries_read(now, read, out),
                _ => {}
            }
            return;
        }
        if token == TOKEN_NEWS {
            // Not found out: it is asked again in its time.
            let news = matches!(result, QueryResult::News(Ok(true)));
            self.sync.wanted |= news && self.sync.started;
            return self.pull(out);
        }
        if token == TOKEN_SIGHT {
            if let QueryResult::MayWatch(answer) = result {
                self.sight_answered(answer, out);
            }
            return;
        }
        self.requests = self.requests.saturating_sub(1);
        let answer: Result<ServerFrame, StoreError> = match result {
            QueryResult::History(page) => page.map(Into::into),
            QueryResult::Conversations(page) => page.map(Into::into),
            QueryResult::FindUsers(users) => users.map(Into::into),
            QueryResult::Group(Err(StoreError::BadArgument(_))) => {
                return self.error(low, ErrorCode::NotAGroup, "", out);
            }
            QueryResult::Group(group) => group.map(Into::into),
            QueryResult::Readers(readers) => readers.map(Into::into),
            QueryResult::Describe(info) => {
                info.map(|info| Conversation { request: low, created: false, info }.into())
            }
            QueryResult::OpenDirect(opened) => opened.map(|(info, other, created)| {
                if created {
                    self.tell_created(info.conversation, other, out);
                }
                Conversation { request: low, created, info }.into()
            }),
            QueryResult::People(answer) => return self.own_answered(now, low, answer, out),
            QueryResult::MayWatch(allowed) => match allowed {
                Ok(allowed) => {
                    self.watch(&allowed, out);
                    Ok(Done { request: low }.into())
                }
                Err(error) => Err(error),
            },
            _ => return,
        };
        match answer {
            Ok(frame) => self.write(frame.to_bytes(), out),
            Err(error) => self.error(low, code_of(&error), "", out),
        }
    }

    fn tell_created(
        &self,
        conversation: rookery_protocol::ConversationId,
        other: UserId,
        out: &mut Vec<Effect>,
    ) {
        for user in [self.me.user, other] {
            self.tell_hub(user, PresenceMsg::Changed(conversation, Change::Created), out);
        }
    }

    fn watch(&mut self, allowed: &[Watchable], out: &mut Vec<Effect>) {
        for watchable in allowed {
            let user = &watchable.user;
            if self.watched.len() >= MAX_WATCHED {
                break;
            }
            if !self.watched.contains(user) {
                self.watched.push(*user);
            }
            self.dim(*watchable);
            // Told again even so: the client asked for the state as it is now.
            self.tell_hub(*user, PresenceMsg::Watch(self.me), out);
        }
    }

    pub(super) fn done(&self, request: u32, out: &mut Vec<Effect>) {
        self.write(ServerFrame::from(Done { request }).to_bytes(), out);
    }
}

fn check_send(send: &Send) -> Result<(), (ErrorCode, &'static str)> {
    if send.body.len() > MAX_BODY_BYTES {
        return Err((ErrorCode::BodyTooLarge, "body"));
    }
    if !send.client_msg_id.is_v7() {
        return Err((ErrorCode::BadField, "client_msg_id is no UUIDv7"));
    }
    match send.kind {
        EntryKind::Text if send.body.is_empty() => Err((ErrorCode::BadText, "empty")),
        EntryKind::Text if std::str::from_utf8(&send.body).is_err() => {
            Err((ErrorCode::BadText, "not UTF-8"))
        }
        EntryKind::Text | EntryKind::Opaque => Ok(()),
        EntryKind::Group => check_change(send),
        EntryKind::Withheld | EntryKind::Other(_) => Err((ErrorCode::BadField, "kind")),
    }
}

fn check_change(send: &Send) -> Result<(), (ErrorCode, &'static str)> {
    let change = GroupChange::from_body(&send.body).filter(GroupChange::is_well_formed);
    match change {
        None => Err((ErrorCode::BadField, "change of a group")),
        Some(GroupChange { action: GroupAction::Create, .. })
            if send.conversation != group_id(send.client_msg_id) =>
        {
            Err((ErrorCode::BadField, "a new group has the id that its client_msg_id ends with"))
        }
        Some(_) => Ok(()),
    }
}

/// The code that tells a client why the store did not do it.
pub(super) fn code_of(error: &StoreError) -> ErrorCode {
    match error {
        StoreError::NotAMember => ErrorCode::NotAMember,
        StoreError::UnknownUser => ErrorCode::UnknownUser,
        StoreError::BadArgument(_) => ErrorCode::BadField,
        StoreError::Full(_) => ErrorCode::TooManyPeople,
        StoreError::Busy | StoreError::Read(ReadError::Unavailable(_)) => {
            ErrorCode::StoreUnavailable
        }
        StoreError::Unresolved => ErrorCode::OutcomeUnknown,
        StoreError::Read(ReadError::Damaged(_))
        | StoreError::NameTaken
        | StoreError::NotInvited
        | StoreError::IdTaken => ErrorCode::Internal,
    }
}
