//! What a client asks about its user's own things, and what of others its user may see. Pure.
//!
//! A block of somebody with whom there is a conversation goes to that conversation's owner; its
//! answer may get lost, and then the client hears `OutcomeUnknown` and asks again.

use super::requests::code_of;
use super::{Session, TOKEN_REQUEST, TOKEN_SIGHT};
use crate::effect::{Effect, Query};
use crate::message::{ConversationMsg, Envelope, PresenceMsg};
use crate::people::{PeopleAnswer, PeopleQuery, Watchable};
use crate::time::Now;
use rookery_protocol::client::{self, SetBlocked};
use rookery_protocol::limits::{
    MAX_COMMENT_BYTES, MAX_DEVICE_NAME_BYTES, MAX_LIST_ITEMS, MAX_WATCH_BATCH,
};
use rookery_protocol::server::{
    DevicePage, OwnStatePage, PeoplePage, Presence, Privacy as PrivacyFrame,
};
use rookery_protocol::{
    Audience, ClientFrame, ConversationId, ErrorCode, MarkKind, ReportReason, ServerFrame, Status,
    UserId,
};
use rookery_store::{Complaint, OwnChange, Privacy, StoreError};
use std::collections::BTreeMap;

/// A client that does nothing for so long is away.
pub(super) const IDLE_MS: u64 = 600_000;
/// A block without an answer for so long is answered with "outcome unknown".
const BLOCK_UNKNOWN_MS: u64 = 4_000;

/// What few sessions need.
#[derive(Default)]
pub(super) struct Own {
    /// The client said so.
    away: bool,
    /// It did nothing for long.
    idle: bool,
    /// Blocks that conversations were asked for.
    blocks: Vec<Asked>,
    /// Watched users of whom something is not shown, by what is: presence, last seen.
    dim: BTreeMap<UserId, (bool, bool)>,
}

struct Asked {
    request: u32,
    wish: SetBlocked,
    conversation: ConversationId,
    since_ms: u64,
}

impl Session {
    fn own(&mut self) -> &mut Own {
        self.own.get_or_insert_with(Box::default)
    }

    // ---- being there ------------------------------------------------------------------------

    /// A frame shows that somebody is at the client, or not.
    pub(super) fn used(&mut self, now: Now, frame: &ClientFrame, out: &mut Vec<Effect>) {
        let by_itself = match frame {
            ClientFrame::Ack(_) | ClientFrame::SetAway(_) => true,
            ClientFrame::Mark(mark) => mark.kind == MarkKind::Delivered,
            _ => false,
        };
        if by_itself {
            return;
        }
        self.timers.used_ms = now.mono_ms;
        if self.own.as_ref().is_some_and(|own| own.idle) {
            self.own().idle = false;
            self.tell_away(out);
        }
    }

    /// Looks whether the client did nothing for long.
    pub(super) fn look_idle(&mut self, now: Now, out: &mut Vec<Effect>) {
        let idle = now.mono_ms.saturating_sub(self.timers.used_ms) >= IDLE_MS;
        if idle && !self.own.as_ref().is_some_and(|own| own.idle) {
            self.own().idle = true;
            self.tell_away(out);
        }
    }

    pub(super) fn set_away(&mut self, now: Now, away: bool, out: &mut Vec<Effect>) {
        if !away {
            self.timers.used_ms = now.mono_ms;
        }
        let before = self.is_away();
        let own = self.own();
        own.away = away;
        own.idle &= away;
        if self.is_away() != before {
            self.tell_away(out);
        }
    }

    pub(super) fn is_away(&self) -> bool {
        self.own.as_ref().is_some_and(|own| own.away || own.idle)
    }

    pub(super) fn tell_away(&self, out: &mut Vec<Effect>) {
        let msg = PresenceMsg::Away { session: self.me.session, away: self.is_away() };
        self.tell_hub(self.me.user, msg, out);
    }

    // ---- requests ---------------------------------------------------------------------------

    /// A request about the user's own things.
    pub(super) fn ask_own(&mut self, now: Now, frame: ClientFrame, out: &mut Vec<Effect>) {
        let request = frame.request();
        if !self.has_room_for_request(request, out) {
            return;
        }
        if let ClientFrame::SetBlocked(wish) = frame {
            // Kept for who has to be told once it is known who does it.
            let since_ms = now.mono_ms;
            let conversation = ConversationId(0);
            self.own().blocks.push(Asked { request, wish, conversation, since_ms });
        }
        match own_query(now, frame) {
            Ok(query) => {
                self.requests += 1;
                let query = Query::People { me: self.me.user, query };
                let token = TOKEN_REQUEST | u64::from(request);
                out.push(Effect::Query { token, query: Box::new(query) });
            }
            Err(detail) => self.error(request, ErrorCode::BadField, detail, out),
        }
    }

    /// The store's answer to such a request; the request is not counted any more.
    pub(super) fn own_answered(
        &mut self,
        now: Now,
        request: u32,
        answer: Result<PeopleAnswer, StoreError>,
        out: &mut Vec<Effect>,
    ) {
        let asked = self.take_block(request);
        let frame: ServerFrame = match answer {
            Ok(PeopleAnswer::Via(conversation)) => {
                let Some(asked) = asked else { return };
                self.requests += 1;
                let msg =
                    ConversationMsg::Block { from: self.me, request, blocked: asked.wish.blocked };
                self.own().blocks.push(Asked { conversation, since_ms: now.mono_ms, ..asked });
                return out.push(Effect::Tell(Envelope::Conversation(conversation, msg)));
            }
            Ok(PeopleAnswer::Done) => {
                self.tell_hub(self.me.user, PresenceMsg::Own, out);
                return self.done(request, out);
            }
            Ok(PeopleAnswer::NoDevice) => {
                return self.error(request, ErrorCode::UnknownDevice, "", out);
            }
            Ok(PeopleAnswer::People(people, next)) => PeoplePage { request, people, next }.into(),
            Ok(PeopleAnswer::OwnStates(states)) => OwnStatePage { request, states }.into(),
            Ok(PeopleAnswer::Privacy(Privacy { presence, last_seen, receipts })) => {
                PrivacyFrame { request, presence, last_seen, receipts }.into()
            }
            Ok(PeopleAnswer::Devices(devices, next)) => {
                DevicePage { request, devices, next }.into()
            }
            // Of questions that no client asks.
            Ok(PeopleAnswer::Sight(_) | PeopleAnswer::Secretive(_)) => return,
            Err(error) => return self.error(request, code_of(&error), "", out),
        };
        self.write(frame.to_bytes(), out);
    }

    /// A conversation's answer to a block. The hub was told by the conversation.
    pub(super) fn block_answered(
        &mut self,
        request: u32,
        refused: Option<ErrorCode>,
        out: &mut Vec<Effect>,
    ) {
        if self.take_block(request).is_none() {
            return;
        }
        self.requests = self.requests.saturating_sub(1);
        match refused {
            None => self.done(request, out),
            Some(code) => self.error(request, code, "", out),
        }
    }

    fn take_block(&mut self, request: u32) -> Option<Asked> {
        let own = self.own.as_mut()?;
        let at = own.blocks.iter().position(|asked| asked.request == request)?;
        Some(own.blocks.swap_remove(at))
    }

    /// When a conversation has been asked for long enough.
    pub(super) fn blocks_due_ms(&self) -> Option<u64> {
        let asked = self.own.as_ref()?.blocks.iter();
        let asked = asked.filter(|asked| asked.conversation != ConversationId(0));
        asked.map(|asked| asked.since_ms + BLOCK_UNKNOWN_MS).min()
    }

    /// Answers what no conversation answered.
    pub(super) fn check_blocks(&mut self, now: Now, out: &mut Vec<Effect>) {
        while self.blocks_due_ms().is_some_and(|due| due <= now.mono_ms) {
            let Some(own) = self.own.as_ref() else { return };
            let late = own.blocks.iter().find(|asked| {
                asked.conversation != ConversationId(0)
                    && asked.since_ms + BLOCK_UNKNOWN_MS <= now.mono_ms
            });
            let Some(request) = late.map(|asked| asked.request) else { return };
            self.block_answered(request, Some(ErrorCode::OutcomeUnknown), out);
        }
    }

    // ---- what of others is shown ------------------------------------------------------------

    /// Something of the user's own changed: the inbox tells what, and whom one sees may differ.
    pub(super) fn own_changed(&mut self, out: &mut Vec<Effect>) {
        self.sync.wanted |= self.sync.started;
        self.pull(out);
        for users in self.watched.chunks(MAX_WATCH_BATCH) {
            let query = Query::MayWatch { me: self.me.user, others: users.to_vec() };
            out.push(Effect::Query { token: TOKEN_SIGHT, query: Box::new(query) });
        }
    }

    /// The answer to that: their hubs are asked again for what there is to see.
    pub(super) fn sight_answered(
        &mut self,
        answer: Result<Vec<Watchable>, StoreError>,
        out: &mut Vec<Effect>,
    ) {
        for watchable in answer.unwrap_or_default() {
            self.dim(watchable);
            if self.watched.contains(&watchable.user) {
                self.tell_hub(watchable.user, PresenceMsg::Watch(self.me), out);
            }
        }
    }

    /// Notes what is shown of a watched user.
    pub(super) fn dim(&mut self, Watchable { user, presence, last_seen }: Watchable) {
        if presence && last_seen {
            if let Some(own) = &mut self.own {
                own.dim.remove(&user);
            }
        } else {
            self.own().dim.insert(user, (presence, last_seen));
        }
    }

    /// Nothing is kept about a user who is not watched any more.
    pub(super) fn undim(&mut self, user: UserId) {
        if let Some(own) = &mut self.own {
            own.dim.remove(&user);
        }
    }

    /// A presence as far as this user sees it.
    pub(super) fn dimmed(&self, mut seen: Presence) -> Presence {
        let dim = self.own.as_ref().and_then(|own| own.dim.get(&seen.user));
        if let Some((presence, last_seen)) = dim {
            if !presence {
                seen.status = Status::Offline;
            }
            if !last_seen {
                seen.last_seen_ms = 0;
            }
        }
        seen
    }
}

/// What a request asks of the store; what is wrong with it.
fn own_query(now: Now, frame: ClientFrame) -> Result<PeopleQuery, &'static str> {
    let since = |so: bool| so.then_some(now.unix_ms);
    Ok(match frame {
        ClientFrame::People(f) => PeopleQuery::List { after: f.after, limit: f.limit },
        ClientFrame::SetContact(f) => {
            PeopleQuery::SetContact { other: f.user, since_ms: since(f.contact) }
        }
        ClientFrame::SetBlocked(f) => {
            PeopleQuery::SetBlocked { other: f.user, since_ms: since(f.blocked) }
        }
        ClientFrame::Report(f) => complaint(now, f)?,
        ClientFrame::SetOwnState(f) => {
            let client::SetOwnState { conversation, muted_until_ms, archived, unread, .. } = f;
            let change = OwnChange { muted_until_ms, archived, unread };
            PeopleQuery::SetOwnState { conversation, change }
        }
        ClientFrame::OwnStates(f) if f.conversations.len() > usize::from(MAX_LIST_ITEMS) => {
            return Err("too many conversations at once");
        }
        ClientFrame::OwnStates(f) => PeopleQuery::OwnStates(f.conversations),
        ClientFrame::GetPrivacy(_) => PeopleQuery::Privacy,
        ClientFrame::SetPrivacy(f) => {
            let client::SetPrivacy { presence, last_seen, receipts, .. } = f;
            let unknown = |audience: &Audience| matches!(audience, Audience::Other(_));
            if [presence, last_seen, receipts].iter().any(unknown) {
                return Err("audience");
            }
            PeopleQuery::SetPrivacy(Privacy { presence, last_seen, receipts })
        }
        ClientFrame::Devices(f) => PeopleQuery::Devices { after: f.after, limit: f.limit },
        ClientFrame::NameDevice(f) if f.name.len() > MAX_DEVICE_NAME_BYTES => {
            return Err("the name is too long");
        }
        ClientFrame::NameDevice(f) => PeopleQuery::NameDevice { device: f.device, name: f.name },
        ClientFrame::RevokeDevice(f) => {
            PeopleQuery::RevokeDevice { device: f.device, now_ms: now.unix_ms }
        }
        _ => return Err("no such request"),
    })
}

fn complaint(now: Now, report: client::Report) -> Result<PeopleQuery, &'static str> {
    let client::Report { conversation, seq, reason, comment, .. } = report;
    if matches!(reason, ReportReason::Other(_)) || comment.len() > MAX_COMMENT_BYTES {
        return Err("reason or comment");
    }
    let complaint = Complaint { conversation, seq, reason, comment };
    Ok(PeopleQuery::Report { complaint, now_ms: now.unix_ms })
}
