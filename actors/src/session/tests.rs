//! Tests of the session: attach and resume, dense delivery, pulls, bounds.

use super::{RENEW_MS, Session, Settings, TOKEN_NEWS, TOKEN_PULL, TOKEN_REQUEST};
use crate::effect::{ConnId, Effect, Query, QueryResult};
use crate::message::{
    Attach, Batch, BatchEntry, ConversationMsg, Envelope, Identity, PresenceMsg, SendAnswer,
    SessionMsg, SessionRef,
};
use crate::time::Now;
use bytes::Bytes;
use rookery_protocol::client::{Ack, Send, Sync};
use rookery_protocol::limits::MAX_SENDS_IN_FLIGHT;
use rookery_protocol::server::{Message, TooFar};
use rookery_protocol::{
    ClientFrame, ClientMsgId, CloseCode, ConversationId, Cursor, DeviceId, Entry, EntryKind,
    ErrorCode, ServerFrame, SessionId, UserId, frames,
};
use rookery_store::{InboxPage, Pointer, PointerKind, Stamp, Version};
use std::sync::Arc;

mod people;

const ME: SessionRef =
    SessionRef { user: UserId(1), session: SessionId(11), node: crate::NodeId(1) };
const DEVICE: DeviceId = DeviceId(111);
const CONN: ConnId = ConnId(1);
const CONVERSATION: ConversationId = ConversationId(5);
const SECRET: [u8; 16] = [7; 16];

struct Actor {
    actor: Session,
    mono_ms: u64,
}

impl Actor {
    fn new() -> Self {
        let settings = Settings { heartbeat_ms: 5_000, grace_ms: 30_000, node: "n1".into() };
        Self { actor: Session::new(ME, &Arc::new(settings)), mono_ms: 0 }
    }

    fn attached() -> Self {
        let mut this = Self::new();
        this.on(attach(CONN, None));
        this
    }

    /// Attached, synced from the end of an empty inbox, with a known conversation at head 0.
    fn live() -> Self {
        let mut this = Self::attached();
        this.frame(ClientFrame::Sync(Sync { request: 1, cursor: None }));
        this.pulled(1, &[pointer(PointerKind::Created, 0, 0)]);
        this
    }

    fn on(&mut self, msg: SessionMsg) -> Vec<Effect> {
        let mut out = Vec::new();
        let now = Now { mono_ms: self.mono_ms, unix_ms: 1_000_000 + self.mono_ms };
        self.actor.handle(now, msg, &mut out);
        out
    }

    fn frame(&mut self, frame: ClientFrame) -> Vec<Effect> {
        self.on(SessionMsg::Frames(CONN, vec![frame]))
    }

    fn pulled(&mut self, generation: u64, pointers: &[Pointer]) -> Vec<Effect> {
        let page =
            InboxPage::Page { pointers: pointers.to_vec(), end: cursor(generation), more: false };
        self.on(SessionMsg::Answer(TOKEN_PULL | generation, QueryResult::Inbox(Ok(page))))
    }

    fn send(&mut self, n: u8) -> Vec<Effect> {
        self.frame(ClientFrame::Send(Send {
            request: u32::from(n),
            conversation: CONVERSATION,
            client_msg_id: id(n),
            retry: false,
            kind: EntryKind::Text,
            body: b"x".to_vec(),
        }))
    }
}

fn attach(conn: ConnId, resume: Option<([u8; 16], u64)>) -> SessionMsg {
    let identity =
        Identity { user: ME.user, device: DEVICE, name: "ada".into(), expires_ms: u64::MAX };
    let window_bytes = 64 * 1024;
    SessionMsg::Attach(Attach {
        conn,
        identity,
        window_bytes,
        resume,
        fresh_secret: SECRET,
        endpoints: Vec::new(),
    })
}

fn cursor(n: u64) -> Cursor {
    Stamp::end_of(Version(n)).cursor(1)
}

fn id(n: u8) -> ClientMsgId {
    ClientMsgId::from_parts(1, [n; 10])
}

fn pointer(kind: PointerKind, first: u64, last: u64) -> Pointer {
    let stamp = Stamp::new(Version(last), 0, 0);
    Pointer { stamp, kind, conversation: CONVERSATION, first, last }
}

fn entry(seq: u64, device: DeviceId) -> Entry {
    Entry {
        seq,
        sender: UserId(2),
        device,
        time_ms: 1,
        client_msg_id: id(u8::try_from(seq).unwrap()),
        kind: EntryKind::Text,
        body: b"hi".to_vec(),
    }
}

fn batch_from(device: DeviceId, seqs: std::ops::RangeInclusive<u64>) -> SessionMsg {
    let mut frames = Vec::new();
    let mut entries = Vec::new();
    for seq in seqs {
        let entry = entry(seq, device);
        let start = frames.len();
        let header = (entry.time_ms, entry.client_msg_id);
        ServerFrame::from(Message { conversation: CONVERSATION, entry }).encode(&mut frames);
        let (time_ms, client_msg_id) = header;
        entries.push(BatchEntry {
            seq,
            time_ms,
            device,
            client_msg_id,
            frame: start..frames.len(),
        });
    }
    let version = Version(entries.last().unwrap().seq);
    let frames = Bytes::from(frames);
    SessionMsg::Deliver(Arc::new(Batch { conversation: CONVERSATION, entries, frames, version }))
}

fn batch(seqs: std::ops::RangeInclusive<u64>) -> SessionMsg {
    batch_from(DeviceId(222), seqs)
}

fn written(effects: &[Effect]) -> Vec<ServerFrame> {
    let mut all = Vec::new();
    for effect in effects {
        if let Effect::Write { frames: bytes, .. } = effect {
            let raw = frames(bytes, usize::MAX).map(|frame| frame.unwrap());
            all.extend(raw.map(|frame| ServerFrame::decode(frame).unwrap().unwrap()));
        }
    }
    all
}

/// Seqs that were written, a `Sent` as a negative number.
fn seqs(effects: &[Effect]) -> Vec<i64> {
    let frames = written(effects);
    let seqs = frames.iter().filter_map(|frame| match frame {
        ServerFrame::Message(message) => Some(i64::try_from(message.entry.seq).unwrap()),
        ServerFrame::Sent(sent) => Some(-i64::try_from(sent.seq).unwrap()),
        _ => None,
    });
    seqs.collect()
}

fn pulls(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| {
        matches!(effect, Effect::Query { query, .. } if matches!(**query, Query::Inbox { .. }))
    })
}

#[test]
fn live_batches_leave_in_dense_order_and_repeats_do_not() {
    let mut actor = Actor::live();
    assert_eq!(seqs(&actor.on(batch(1..=2))), [1, 2]);
    assert!(seqs(&actor.on(batch(1..=2))).is_empty());
    assert_eq!(seqs(&actor.on(batch(2..=4))), [3, 4]);
}

#[test]
fn a_missing_batch_makes_the_session_pull_and_nothing_leaves_out_of_order() {
    let mut actor = Actor::live();
    actor.on(batch(1..=1));
    let effects = actor.on(batch(3..=3));
    assert!(seqs(&effects).is_empty());
    assert!(pulls(&effects));
    let effects = actor.pulled(2, &[pointer(PointerKind::Messages, 1, 3)]);
    let Some(Effect::Query { token, query }) = effects.first() else { panic!("{effects:?}") };
    assert!(matches!(&**query, Query::Entries { spans, .. } if spans[0].from == 2));
    let read = vec![(CONVERSATION, vec![entry(2, DEVICE), entry(3, DEVICE)])];
    let effects = actor.on(SessionMsg::Answer(*token, QueryResult::Entries(Ok(read))));
    assert_eq!(seqs(&effects), [2, 3]);
}

#[test]
fn a_batch_that_comes_during_a_pull_leaves_after_it() {
    let mut actor = Actor::live();
    actor.on(batch(1..=1));
    actor.on(batch(3..=3));
    assert!(seqs(&actor.on(batch(4..=4))).is_empty());
    let effects = actor.pulled(2, &[pointer(PointerKind::Messages, 2, 3)]);
    let Some(Effect::Query { token, .. }) = effects.first() else { panic!("{effects:?}") };
    let read = vec![(CONVERSATION, vec![entry(2, DEVICE), entry(3, DEVICE)])];
    let effects = actor.on(SessionMsg::Answer(*token, QueryResult::Entries(Ok(read))));
    assert_eq!(seqs(&effects), [2, 3, 4]);
}

#[test]
fn the_first_batch_of_an_unknown_conversation_is_pulled_not_believed() {
    let mut actor = Actor::attached();
    actor.frame(ClientFrame::Sync(Sync { request: 1, cursor: None }));
    actor.pulled(1, &[]);
    let effects = actor.on(batch(9..=9));
    assert!(seqs(&effects).is_empty());
    assert!(pulls(&effects));
}

#[test]
fn an_own_send_comes_back_as_sent_in_its_place_of_the_order() {
    let mut actor = Actor::live();
    let effects = actor.send(2);
    assert!(matches!(
        effects.first(),
        Some(Effect::Tell(Envelope::Conversation(CONVERSATION, ConversationMsg::Send(_))))
    ));
    assert_eq!(seqs(&actor.on(batch_from(DEVICE, 1..=3))), [1, -2, 3]);
}

#[test]
fn a_duplicate_is_answered_once() {
    let mut actor = Actor::live();
    actor.send(2);
    let answer = SendAnswer::Duplicate { conversation: CONVERSATION, seq: 1, time_ms: 1 };
    assert_eq!(seqs(&actor.on(SessionMsg::SendAnswer { id: id(2), answer })), [-1]);
    assert!(seqs(&actor.on(SessionMsg::SendAnswer { id: id(2), answer })).is_empty());
}

#[test]
fn a_resume_replays_exactly_what_was_missed() {
    let mut actor = Actor::live();
    actor.on(batch(1..=3));
    // Received: the conversation's creation, CaughtUp, and the first message.
    actor.on(SessionMsg::Detached { conn: CONN, last_life_ms: 0 });
    assert!(actor.on(batch(4..=4)).iter().all(|e| !matches!(e, Effect::Write { .. })));
    let effects = actor.on(attach(ConnId(2), Some((SECRET, 3))));
    let frames = written(&effects);
    assert!(matches!(frames.first(), Some(ServerFrame::Welcome(welcome)) if welcome.resumed));
    assert_eq!(seqs(&effects), [2, 3, 4]);
}

#[test]
fn a_wrong_secret_or_count_is_refused_and_the_session_goes_on() {
    let mut actor = Actor::live();
    for resume in [([8; 16], 0), (SECRET, 99)] {
        let effects = actor.on(attach(ConnId(2), Some(resume)));
        assert!(matches!(effects.as_slice(), [Effect::RefuseAttach(ConnId(2))]), "{effects:?}");
    }
    assert_eq!(seqs(&actor.on(batch(1..=1))), [1]);
}

#[test]
fn a_resume_of_a_session_that_is_not_there_is_refused() {
    let effects = Actor::new().on(attach(CONN, Some((SECRET, 0))));
    assert!(matches!(effects.as_slice(), [Effect::RefuseAttach(CONN), Effect::Stop]));
}

#[test]
fn a_second_connection_takes_the_session_over() {
    let mut actor = Actor::live();
    let effects = actor.on(attach(ConnId(2), Some((SECRET, 0))));
    assert!(
        effects.iter().any(|effect| matches!(
            effect,
            Effect::Close { conn: CONN, code: CloseCode::Replaced }
        ))
    );
    assert!(actor.send(1).is_empty(), "the old connection has no say any more");
}

#[test]
fn a_detached_session_ends_after_the_grace_time_and_not_before() {
    let mut actor = Actor::live();
    actor.on(SessionMsg::Detached { conn: CONN, last_life_ms: 0 });
    actor.mono_ms = 29_999;
    assert!(!actor.on(SessionMsg::Wake).iter().any(|e| matches!(e, Effect::Stop)));
    actor.mono_ms = 30_000;
    assert!(actor.on(SessionMsg::Wake).iter().any(|e| matches!(e, Effect::Stop)));
}

#[test]
fn a_slow_client_falls_behind_and_catches_up_from_the_store() {
    let mut actor = Actor::live();
    let mut behind_at = 0;
    for seq in 1..=20_000_u64 {
        let msg = batch_from(DeviceId(222), (seq % 200) + 1..=(seq % 200) + 1);
        let SessionMsg::Deliver(batch) = msg else { unreachable!() };
        let mut batch = Arc::into_inner(batch).unwrap();
        batch.entries[0].seq = seq;
        let effects = actor.on(SessionMsg::Deliver(Arc::new(batch)));
        if written(&effects).iter().any(|frame| matches!(frame, ServerFrame::Behind(_))) {
            behind_at = seq;
            break;
        }
    }
    assert!(behind_at > 1, "the window bounds what is under way");
    assert!(!pulls(&actor.on(batch(250..=250))), "no pull without room");
    // Two frames of the start, then the messages.
    let effects = actor.frame(ClientFrame::Ack(Ack { received: 2 + behind_at - 1 }));
    assert!(pulls(&effects), "{effects:?}");
}

#[test]
fn a_send_without_answer_ends_as_unknown() {
    let mut actor = Actor::live();
    actor.send(1);
    actor.mono_ms = 2_000;
    assert!(pulls(&actor.on(SessionMsg::Wake)), "the answer may be in the store");
    actor.mono_ms = 4_000;
    let effects = actor.on(SessionMsg::Wake);
    assert!(matches!(written(&effects)[..], [ServerFrame::Error(ref error)]
        if error.code == ErrorCode::OutcomeUnknown.code() && error.request == 1));
}

#[test]
fn sends_in_flight_are_bounded_and_bad_sends_refused() {
    let mut actor = Actor::live();
    for n in 0..MAX_SENDS_IN_FLIGHT {
        actor.send(u8::try_from(n).unwrap());
    }
    let effects = actor.send(200);
    assert!(matches!(written(&effects)[..], [ServerFrame::Error(ref error)]
        if error.code == ErrorCode::TooManyInFlight.code()));
    let bad = Send {
        request: 9,
        conversation: CONVERSATION,
        client_msg_id: id(1),
        retry: false,
        kind: EntryKind::Text,
        body: vec![0xff],
    };
    let effects = actor.frame(ClientFrame::Send(bad));
    assert!(matches!(written(&effects)[..], [ServerFrame::Error(ref error)]
        if error.code == ErrorCode::BadText.code()));
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_is_refused_and_the_session_goes_on() {
    let mut actor = Actor::live();
    let effects = actor.frame(ClientFrame::Ack(Ack { received: 1_000 }));
    assert!(matches!(written(&effects)[..], [ServerFrame::Error(ref error)]
        if error.code == ErrorCode::BadAck.code() && error.request == 0));
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Close { .. } | Effect::Stop)));
    assert_eq!(seqs(&actor.on(batch(1..=1))), [1]);
}

#[test]
fn an_acknowledgement_meant_for_a_lost_session_means_nothing_to_the_one_in_its_place() {
    let mut actor = Actor::attached();
    assert_eq!(written(&actor.frame(ClientFrame::Ack(Ack { received: 1_000 }))), []);
    actor.frame(ClientFrame::Sync(Sync { request: 1, cursor: None }));
    actor.pulled(1, &[pointer(PointerKind::Created, 0, 0)]);
    assert_eq!(seqs(&actor.on(batch(1..=2))), [1, 2]);
    // Nothing counts as acknowledged: all of it comes again.
    let effects = actor.on(attach(ConnId(2), Some((SECRET, 0))));
    assert_eq!(seqs(&effects), [1, 2]);
}

#[test]
fn a_send_is_answered_before_anything_is_delivered() {
    let mut actor = Actor::attached();
    actor.send(2);
    let effects = actor.on(batch_from(DEVICE, 1..=2));
    assert!(matches!(written(&effects)[..], [ServerFrame::Sent(ref sent)]
        if sent.seq == 2 && sent.request == 2 && sent.duplicate));
}

#[test]
fn a_hole_is_told_and_told_again_on_resume_whether_it_was_asked_about_or_not() {
    let too_far = || QueryResult::Inbox(Ok(InboxPage::TooFar { now: cursor(9) }));
    let told = |effects: &[Effect], request| {
        let frames = written(effects);
        let told = ServerFrame::from(TooFar { request, cursor: cursor(9) });
        assert!(frames.contains(&told), "{frames:?}");
    };
    let mut asked = Actor::attached();
    asked.frame(ClientFrame::Sync(Sync { request: 1, cursor: Some(cursor(1)) }));
    told(&asked.on(SessionMsg::Answer(TOKEN_PULL | 1, too_far())), 1);
    // Lost with the connection, it would leave a hole under the next cursor.
    told(&asked.on(attach(ConnId(2), Some((SECRET, 0)))), 1);
    let mut actor = Actor::live();
    actor.on(SessionMsg::HubLost);
    told(&actor.on(SessionMsg::Answer(TOKEN_PULL | 2, too_far())), 0);
}

#[test]
fn an_acknowledgement_meant_for_the_session_before_is_ignored() {
    // The connection was given a new session; the client counts on until it sees its `Welcome`.
    let mut actor = Actor::attached();
    let effects = actor.frame(ClientFrame::Ack(Ack { received: 7 }));
    assert!(effects.is_empty(), "{effects:?}");
}

#[test]
fn a_quiet_session_asks_for_news_and_reads_its_inbox_when_there_is_some() {
    let mut actor = Actor::live();
    actor.mono_ms += 2 * RENEW_MS;
    let effects = actor.on(SessionMsg::Wake);
    let asks = |effect: &Effect| matches!(effect, Effect::Check { token: TOKEN_NEWS, .. });
    assert!(effects.iter().any(asks), "a hint may have been lost without a trace: {effects:?}");
    let pulls = |effect: &Effect| matches!(effect, Effect::Query { .. });
    let news = |news| SessionMsg::Answer(TOKEN_NEWS, QueryResult::News(Ok(news)));
    assert!(!actor.on(news(false)).iter().any(pulls));
    assert!(actor.on(news(true)).iter().any(pulls));
}

/// The cursors that were noted in the store.
fn noted(effects: &[Effect]) -> Vec<rookery_store::Plan> {
    let plan = |effect: &Effect| match effect {
        Effect::Commit { plan, .. } => Some(plan.clone()),
        _ => None,
    };
    effects.iter().filter_map(plan).collect()
}

#[test]
fn the_cursor_a_client_holds_is_noted_with_each_sync_and_then_seldom() {
    let mut this = Actor::attached();
    let note = |held: u64, unix_ms: u64| {
        vec![rookery_store::retention::device_cursor_plan(ME.user, DEVICE, cursor(held), unix_ms)]
    };
    this.frame(ClientFrame::Sync(Sync { request: 1, cursor: Some(cursor(5)) }));
    assert_eq!(noted(&this.pulled(1, &[])), note(5, 1_000_000), "what it came with");
    let mut generation = 1;
    for (mono_ms, wanted) in [(20_000, vec![]), (3_700_000, note(2, 4_700_000))] {
        this.mono_ms = mono_ms;
        this.on(batch(1..=1));
        generation += 1;
        assert_eq!(noted(&this.pulled(generation, &[])), wanted, "at {mono_ms}");
    }
    this.frame(ClientFrame::Sync(Sync { request: 2, cursor: None }));
    assert_eq!(
        noted(&this.pulled(generation + 1, &[])),
        note(generation + 1, 4_700_000),
        "a new one"
    );
}

#[test]
fn nothing_is_delivered_before_it_is_known_where_delivery_starts() {
    let mut actor = Actor::attached();
    actor.frame(ClientFrame::Sync(Sync { request: 1, cursor: None }));
    let busy = QueryResult::Inbox(Err(rookery_store::StoreError::Busy));
    actor.on(SessionMsg::Answer(TOKEN_PULL | 1, busy));
    // What came here would lie before the start that the next read finds: a hole.
    let created = SessionMsg::Changed(CONVERSATION, rookery_protocol::Change::Created);
    assert!(written(&actor.on(created)).is_empty());
    assert!(written(&actor.on(batch_from(DeviceId(222), 1..=1))).is_empty());
}
