//! What a device makes of the server's frames: the tables of the protocol's document, each breach
//! of them reported.

use super::device::{Ask, Conv, Device, Do, Held, Link};
use super::rng::Rng;
use super::truth::Truth;
use rookery_protocol::limits::MAX_SERVER_FRAME_BYTES;
use rookery_protocol::server::{self, Welcome};
use rookery_protocol::{
    ClientFrame, ClientMsgId, CloseCode, ConversationId, ConversationInfo, ConversationKind, Entry,
    EntryKind, ErrorCode, GroupAction, GroupChange, MarkKind, ServerFrame, UserId, frames, number,
};
use std::collections::BTreeMap;

impl Device {
    /// Bytes came over the connection.
    pub fn received(
        &mut self,
        now: u64,
        message: &[u8],
        truth: &mut Truth,
        rng: &mut Rng,
        out: &mut Vec<Do>,
    ) {
        let mut answers = Vec::new();
        let mut rest = message;
        while !rest.is_empty() {
            let Some(Ok(raw)) = frames(rest, MAX_SERVER_FRAME_BYTES).next() else {
                return truth.broken(|| format!("device {} was sent garbage", self.at));
            };
            let used = raw.payload.as_ptr() as usize - rest.as_ptr() as usize + raw.payload.len();
            rest = rest.get(used..).unwrap_or_default();
            if number::is_stream(raw.number) {
                if let Some(held) = &mut self.session {
                    held.received += 1;
                }
                self.ack_at.get_or_insert(now + self.ack_ms);
            }
            match ServerFrame::decode(raw) {
                Ok(Some(frame)) => self.frame(now, frame, truth, rng, &mut answers),
                other => truth.broken(|| format!("device {} was sent {other:?}", self.at)),
            }
        }
        if !answers.is_empty() {
            out.push(Do::Frames(answers));
        }
    }

    /// The server closed the connection.
    pub fn closed(&mut self, now: u64, code: CloseCode, truth: &mut Truth, rng: &mut Rng) {
        match code {
            CloseCode::ProtocolError | CloseCode::Unauthenticated | CloseCode::Revoked => {
                truth
                    .broken(|| format!("device {} kept to the protocol and got {code:?}", self.at));
            }
            // Its user starts it again, with a new session.
            CloseCode::Replaced => self.session = None,
            _ => {}
        }
        self.hung_up(now);
        self.back_off(now, rng);
    }

    fn frame(
        &mut self,
        now: u64,
        frame: ServerFrame,
        truth: &mut Truth,
        rng: &mut Rng,
        answers: &mut Vec<ClientFrame>,
    ) {
        if self.session.is_none() && !matches!(frame, ServerFrame::Welcome(_) | ServerFrame::Bye(_))
        {
            return truth.broken(|| format!("device {}: {frame:?} before Welcome", self.at));
        }
        match frame {
            ServerFrame::Welcome(welcome) => self.welcome(now, &welcome, truth, answers),
            ServerFrame::Message(message) => {
                truth.given((self.at, self.user), message.conversation, &message.entry);
                let (seq, id) = (message.entry.seq, message.entry.client_msg_id);
                self.stream(now, (message.conversation, seq, id), truth, answers);
                self.change(now, message.conversation, &message.entry, answers);
                self.answered(&id);
            }
            ServerFrame::Sent(sent) => self.sent(now, &sent, truth, answers),
            ServerFrame::Receipt(receipt) => self.receipt(receipt, truth),
            ServerFrame::ConversationChanged(changed) => {
                self.entered.insert(changed.conversation);
                if let Some(conv) = self.convs.get_mut(&changed.conversation) {
                    conv.may_gap = true;
                }
                self.ask(now, Ask::Describe(changed.conversation), answers);
            }
            ServerFrame::CaughtUp(caught) => {
                if self.cursor.replace(caught.cursor).is_none() {
                    // Delivery started only now: what was opened before may have gone on meanwhile.
                    for conv in self.convs.values_mut() {
                        conv.may_gap = true;
                    }
                }
                self.live = true;
                if self.sync_answered(caught.request) {
                    self.resyncing = false;
                    self.ask(now, Ask::List, answers);
                }
            }
            ServerFrame::TooFar(far) => self.too_far(now, far, answers),
            ServerFrame::ConversationPage(page) => {
                self.asks.remove(&page.request);
                for info in page.conversations {
                    self.learn(now, info, truth, answers);
                }
            }
            ServerFrame::Conversation(conversation) => {
                self.asks.remove(&conversation.request);
                self.learn(now, conversation.info, truth, answers);
            }
            ServerFrame::HistoryPage(page) => self.history(now, page, truth, answers),
            ServerFrame::Presence(presence) => {
                self.presence.insert(presence.user, presence.status);
            }
            ServerFrame::Done(done) => {
                self.asks.remove(&done.request);
            }
            ServerFrame::Error(error) => self.error(now, &error, truth, rng),
            // Never asked for.
            ServerFrame::Users(_)
            | ServerFrame::Group(_)
            | ServerFrame::ReadBy(_)
            | ServerFrame::PeoplePage(_)
            | ServerFrame::OwnStatePage(_)
            | ServerFrame::Privacy(_)
            | ServerFrame::DevicePage(_)
            | ServerFrame::OwnChanged(_)
            | ServerFrame::Refreshed(_)
            | ServerFrame::Notice(_) => {}
            ServerFrame::Pong(_)
            | ServerFrame::Typing(_)
            | ServerFrame::Behind(_)
            | ServerFrame::Drain(_)
            | ServerFrame::Bye(_) => {}
        }
    }

    fn sent(
        &mut self,
        now: u64,
        sent: &server::Sent,
        truth: &mut Truth,
        answers: &mut Vec<ClientFrame>,
    ) {
        let (conversation, seq, id) = (sent.conversation, sent.seq, sent.client_msg_id);
        truth.told(self.at, conversation, seq, id);
        if !sent.duplicate {
            self.stream(now, (conversation, seq, id), truth, answers);
        }
        let made = self.pending.iter().find(|pending| pending.id == id);
        match made.and_then(|made| made.change.as_ref()).map(|change| change.action) {
            Some(GroupAction::Leave) => self.ended(conversation),
            Some(_) => self.ask(now, Ask::Describe(conversation), answers),
            None => {}
        }
        self.answered(&id);
    }

    fn too_far(&mut self, now: u64, far: server::TooFar, answers: &mut Vec<ClientFrame>) {
        self.cursor = Some(far.cursor);
        self.live = true;
        self.streamed.clear();
        for conv in self.convs.values_mut() {
            conv.may_gap = true;
        }
        if self.sync_answered(far.request) {
            self.resyncing = false;
        }
        self.ask(now, Ask::List, answers);
    }

    fn welcome(
        &mut self,
        now: u64,
        welcome: &Welcome,
        truth: &mut Truth,
        answers: &mut Vec<ClientFrame>,
    ) {
        let same = self.session.is_some_and(|held| held.session == welcome.session);
        if welcome.resumed && !same {
            truth.broken(|| format!("device {}: resumed a session it never had", self.at));
        }
        let received = match (welcome.resumed, &self.session) {
            (true, Some(held)) => held.received,
            _ => 0,
        };
        self.session = Some(Held { session: welcome.session, secret: welcome.secret, received });
        self.welcomed();
        self.clock_ms =
            0i64.saturating_add_unsigned(welcome.server_time_ms).saturating_sub_unsigned(now);
        // What had no answer is asked again; in a new session all of it anew.
        for pending in &mut self.pending {
            pending.under_way = None;
            pending.not_before = now;
        }
        self.again.extend(std::mem::take(&mut self.asks).into_values().map(|(ask, _)| (ask, now)));
        self.again.retain(|(ask, _)| !matches!(ask, Ask::Sync | Ask::Watch) || welcome.resumed);
        self.mark_again(now);
        if welcome.resumed {
            // Its answer may have been lost, and what follows it may come before it is asked again.
            self.resyncing |= self.again.iter().any(|(ask, _)| *ask == Ask::Sync);
            return;
        }
        self.live = false;
        self.streamed.clear();
        self.entered.clear();
        self.strangers.clear();
        self.ack_at = None;
        self.ask(now, Ask::Sync, answers);
        // The first of a session: nothing was delivered in it before.
        self.resyncing = false;
        self.ask(now, Ask::Watch, answers);
        let open: Vec<ConversationId> = self.convs.keys().copied().collect();
        for conversation in open {
            self.fill(now, conversation, answers);
        }
    }

    /// Whether this answers the last sync: its number may be of an attempt before the session was
    /// resumed, which need not be made again; one made again already starts delivery over.
    fn sync_answered(&mut self, request: u32) -> bool {
        if request == 0 {
            return false;
        }
        self.asks.remove(&request);
        self.again.retain(|(ask, _)| *ask != Ask::Sync);
        !self.asks.values().any(|(ask, _)| *ask == Ask::Sync)
    }

    fn answered(&mut self, id: &ClientMsgId) {
        self.pending.retain(|pending| pending.id != *id);
    }

    /// An entry of the stream: it continues what left before in this session, and what is held.
    fn stream(
        &mut self,
        now: u64,
        (conversation, seq, id): (ConversationId, u64, ClientMsgId),
        truth: &mut Truth,
        answers: &mut Vec<ClientFrame>,
    ) {
        if let Some(before) = self.streamed.insert(conversation, seq)
            && seq != before + 1
            && !self.resyncing
            && !self.entered.remove(&conversation)
        {
            truth.broken(|| {
                format!("M: device {}: {conversation} went from {before} to {seq}", self.at)
            });
        }
        let Some(conv) = self.convs.get_mut(&conversation) else {
            self.strangers.entry(conversation).or_default().insert(seq, id);
            return self.ask(now, Ask::Describe(conversation), answers);
        };
        if !conv.take(seq, id) {
            conv.ahead.insert(seq, id);
            conv.fill_to = conv.fill_to.max(seq);
            if !conv.may_gap && !self.resyncing {
                let head = conv.head;
                truth.broken(|| {
                    format!("V: device {}: a hole in {conversation}: {head}, then {seq}", self.at)
                });
            }
            self.fill(now, conversation, answers);
        }
        self.mark_at.get_or_insert(now + 150);
    }

    /// A change of a group came: who is in it is asked again.
    fn change(
        &mut self,
        now: u64,
        conversation: ConversationId,
        entry: &Entry,
        answers: &mut Vec<ClientFrame>,
    ) {
        if entry.kind != EntryKind::Group {
            return;
        }
        let change = GroupChange::from_body(&entry.body);
        let over = change.is_some_and(|change| match change.action {
            GroupAction::Remove => change.users.contains(&self.user),
            GroupAction::Leave => entry.sender == self.user,
            _ => false,
        });
        if over {
            self.ended(conversation);
        } else {
            self.ask(now, Ask::Describe(conversation), answers);
        }
    }

    fn fill(&mut self, now: u64, conversation: ConversationId, answers: &mut Vec<ClientFrame>) {
        let lacking = self.convs.get(&conversation).is_some_and(|conv| conv.fill_to > conv.head);
        if lacking {
            self.ask(now, Ask::Fill(conversation), answers);
        }
    }

    fn learn(
        &mut self,
        now: u64,
        info: ConversationInfo,
        truth: &mut Truth,
        answers: &mut Vec<ClientFrame>,
    ) {
        let conversation = info.conversation;
        if let Some(last) = &info.last {
            truth.given((self.at, self.user), conversation, last);
        }
        let group = info.kind == ConversationKind::Group;
        if !group {
            self.to_open.retain(|(user, _)| !info.members.iter().any(|m| m.user == *user));
        }
        let news = !self.convs.contains_key(&conversation);
        let conv = self.convs.entry(conversation).or_default();
        (conv.group, conv.ended) = (group, false);
        if news {
            (conv.base, conv.head) = (info.head, info.head);
        } else if conv.may_gap {
            conv.fill_to = conv.fill_to.max(info.head);
        }
        if conv.fill_to <= conv.head {
            conv.may_gap = false;
        }
        for (seq, id) in self.strangers.remove(&conversation).unwrap_or_default() {
            if !conv.take(seq, id) {
                let head = conv.head;
                truth.broken(|| {
                    format!("V: device {}: a hole in new {conversation}: {head}, {seq}", self.at)
                });
            }
        }
        if news {
            // Who is in it may be watched from now on.
            self.again.push((Ask::Watch, now));
        }
        for member in info.members {
            conv.mark(member.user, member.delivered, member.read);
        }
        self.mark_at.get_or_insert(now + 150);
        self.fill(now, conversation, answers);
    }

    fn history(
        &mut self,
        now: u64,
        page: server::HistoryPage,
        truth: &mut Truth,
        answers: &mut Vec<ClientFrame>,
    ) {
        let dense = page.entries.windows(2).all(|pair| match pair {
            [a, b] => b.seq == a.seq + 1,
            _ => true,
        });
        if !dense || page.head > truth.head(page.conversation) {
            truth.broken(|| format!("O: device {}: a torn page {page:?}", self.at));
        }
        for entry in &page.entries {
            truth.given((self.at, self.user), page.conversation, entry);
        }
        let Some((Ask::Fill(conversation), _)) = self.asks.remove(&page.request) else { return };
        let Some(conv) = self.convs.get_mut(&conversation) else { return };
        if conv.group && page.floor > conv.head + 1 {
            conv.begin_at(page.floor);
        }
        for Entry { seq, client_msg_id, .. } in page.entries {
            conv.take(seq, client_msg_id);
        }
        conv.fill_to = conv.fill_to.max(page.head);
        self.fill(now, conversation, answers);
        if let Some(conv) = self.convs.get_mut(&conversation)
            && conv.fill_to <= conv.head
        {
            conv.may_gap = false;
        }
        self.mark_at.get_or_insert(now + 150);
    }

    fn receipt(&mut self, receipt: server::Receipt, truth: &mut Truth) {
        if receipt.seq > truth.head(receipt.conversation) {
            truth.broken(|| format!("M: device {}: beyond the head {receipt:?}", self.at));
        }
        if let Some(conv) = self.convs.get_mut(&receipt.conversation) {
            let (delivered, read) = match receipt.kind {
                MarkKind::Read => (receipt.seq, receipt.seq),
                _ => (receipt.seq, 0),
            };
            let everybody = receipt.user.0 == 0;
            let users: Vec<UserId> = match everybody {
                true => conv.marks.keys().copied().collect(),
                false => vec![receipt.user],
            };
            for user in users {
                conv.mark(user, delivered, read);
            }
            if conv.group && !everybody && receipt.user != self.user {
                truth.broken(|| format!("device {}: another's mark {receipt:?}", self.at));
            }
        }
    }

    fn error(&mut self, now: u64, error: &server::Error, truth: &mut Truth, rng: &mut Rng) {
        let wait = u64::from(error.retry_after_ms);
        if let Some((ask, _)) = self.asks.remove(&error.request) {
            if let Ask::Describe(of) | Ask::Fill(of) | Ask::Page(of) = ask
                && error.code == ErrorCode::NotAMember.code()
                && truth.groups.is_group(of)
            {
                return self.ended(of);
            }
            self.again.push((ask, now + wait + rng.below(1_000)));
            return;
        }
        let pending = self
            .pending
            .iter_mut()
            .find(|p| p.under_way.is_some_and(|(request, _)| request == error.request));
        if let Some(pending) = pending {
            if !error.retryable {
                let (id, of) = (pending.id, pending.conversation);
                if pending.change.is_none() && !truth.groups.is_group(of) {
                    truth.broken(|| format!("a good message was refused: {error:?}"));
                }
                // Of a group it need not be a member any more.
                return self.answered(&id);
            }
            pending.under_way = None;
            let jitter = rng.below((200 << pending.failures.min(6)) + 1);
            pending.failures += 1;
            pending.not_before = now + wait + jitter;
            return;
        }
        if error.request == 0 {
            if error.code == ErrorCode::BadAck.code() {
                truth.broken(|| format!("device {} counted right and got BadAck", self.at));
            }
            // A mark was refused; the newest is sent again.
            self.mark_again(now + 1_000);
        }
    }

    /// Whether the device shows itself as connected.
    pub fn is_up(&self) -> bool {
        self.link == Link::Up
    }
}

impl Conv {
    /// Takes an entry that was given or fetched. False: there is a gap before it.
    fn take(&mut self, seq: u64, id: ClientMsgId) -> bool {
        if seq <= self.head {
            return true;
        }
        if seq > self.head + 1 {
            return false;
        }
        self.head = seq;
        self.values.push(id);
        let mut ahead = std::mem::take(&mut self.ahead);
        while let Some(id) = ahead.remove(&(self.head + 1)) {
            self.head += 1;
            self.values.push(id);
        }
        self.ahead = ahead.split_off(&self.head);
        true
    }

    /// What lies below is not the user's to have.
    fn begin_at(&mut self, floor: u64) {
        (self.base, self.head) = (floor - 1, floor - 1);
        self.values.clear();
        self.ahead = self.ahead.split_off(&floor);
    }

    fn mark(&mut self, user: UserId, delivered: u64, read: u64) {
        let held: &mut BTreeMap<_, _> = &mut self.marks;
        let mark = held.entry(user).or_insert((0, 0));
        *mark = (mark.0.max(delivered), mark.1.max(read));
    }
}
