//! Contacts, blocks, reports, privacy: over real connections, with what the other side sees.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that fails fails its test"
)]

mod support;

use rookery_protocol::client::{
    Describe, History, Mark, OwnStates, People, Report, SetBlocked, SetContact, SetOwnState,
    SetPrivacy, SetTyping, Sync, Watch,
};
use rookery_protocol::people::OwnState;
use rookery_protocol::server::{Error, OwnChanged, Presence};
use rookery_protocol::{
    Audience, ClientFrame, ConversationId, ConversationInfo, Cursor, Direction, EntryKind,
    ErrorCode, MarkKind, OwnKind, ReportReason, ServerFrame, Status, UserId,
};
use support::Running;
use support::wire::{Client, User};

/// Ada and Bob, both there, in a conversation with two messages, one of each.
struct Place {
    running: Running,
    ada: User,
    bob: User,
    a: Client,
    b: Client,
    conversation: ConversationId,
}

impl Place {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut rookery_cluster_config::Config)) -> Self {
        let running = Running::start_with(change).await;
        let ada = User::sign_up(&running, "ada").await;
        let bob = User::sign_up(&running, "bob").await;
        let (mut a, _) = Client::live(&running, &ada).await;
        let (mut b, _) = Client::live(&running, &bob).await;
        let conversation = a.open_direct("bob").await;
        for client in [&mut a, &mut b] {
            let request = client.say(conversation, "hello").await;
            client.sent(request).await;
        }
        // Both have read what there is.
        a.delivered().await;
        a.send(Mark { conversation, kind: MarkKind::Read, seq: 2 }).await;
        read_by(&mut b, ada.user, 2).await;
        read_by(&mut a, bob.user, 2).await;
        Self { running, ada, bob, a, b, conversation }
    }
}

/// Waits until a client is told that a member has read so far.
async fn read_by(client: &mut Client, member: UserId, seq: u64) {
    client
        .until(|frame| match frame {
            ServerFrame::Receipt(receipt) => {
                (receipt.user == member && receipt.kind == MarkKind::Read && receipt.seq >= seq)
                    .then_some(())
            }
            _ => None,
        })
        .await;
}

async fn ask(client: &mut Client, frame: impl FnOnce(u32) -> ClientFrame) -> ServerFrame {
    let request = client.request();
    client.send(frame(request)).await;
    client.answer(request).await
}

async fn done(client: &mut Client, frame: impl FnOnce(u32) -> ClientFrame) {
    let answer = ask(client, frame).await;
    assert!(matches!(answer, ServerFrame::Done(_)), "{answer:?}");
}

async fn refused(client: &mut Client, frame: impl FnOnce(u32) -> ClientFrame) -> Error {
    match ask(client, frame).await {
        ServerFrame::Error(error) => error,
        other => panic!("{other:?}"),
    }
}

async fn block(client: &mut Client, user: UserId, blocked: bool) {
    done(client, |request| SetBlocked { request, user, blocked }.into()).await;
}

async fn describe(client: &mut Client, conversation: ConversationId) -> ConversationInfo {
    match ask(client, |request| Describe { request, conversation }.into()).await {
        ServerFrame::Conversation(answer) => answer.info,
        other => panic!("{other:?}"),
    }
}

async fn send(client: &mut Client, conversation: ConversationId, text: &str) -> u64 {
    let request = client.say(conversation, text).await;
    client.sent(request).await.seq
}

/// What a watcher is told first about somebody.
async fn status(client: &mut Client, user: UserId) -> Presence {
    let request = client.request();
    client.send(Watch { request, users: vec![user] }).await;
    news(client, user).await
}

async fn news(client: &mut Client, user: UserId) -> Presence {
    client
        .until(|frame| match frame {
            ServerFrame::Presence(news) if news.user == user => Some(*news),
            _ => None,
        })
        .await
}

async fn own_changed(client: &mut Client) -> OwnChanged {
    client
        .until(|frame| match frame {
            ServerFrame::OwnChanged(changed) => Some(*changed),
            _ => None,
        })
        .await
}

/// Everything up to the answer to a ping: nothing of it may be about the other one.
async fn hears_nothing(client: &mut Client) {
    client.send(rookery_protocol::client::Ping { nonce: 12 }).await;
    loop {
        match client.frame().await {
            ServerFrame::Pong(pong) if pong.nonce == 12 => return,
            ServerFrame::OwnChanged(_) | ServerFrame::CaughtUp(_) => {}
            // Said again, and the same.
            ServerFrame::Presence(news) if news.status == Status::Offline => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn who_is_blocked_reaches_nobody_and_is_told_nothing_of_it() {
    let mut place = Place::start().await;
    let Place { a, b, ada, bob, conversation, .. } = &mut place;
    let conversation = *conversation;
    assert_eq!(status(b, ada.user).await.status, Status::Online);
    assert_eq!(status(a, bob.user).await.status, Status::Online);
    let before = describe(b, conversation).await;
    block(a, bob.user, true).await;

    // Each looks as if it were not there.
    for (client, other) in [(&mut *a, bob.user), (&mut *b, ada.user)] {
        let gone = news(client, other).await;
        assert_eq!((gone.status, gone.last_seen_ms), (Status::Offline, 0));
    }
    // Bob writes and types as ever; Ada hears nothing, and her conversation stands still.
    b.send(SetTyping { conversation, active: true }).await;
    for seq in 3..=5 {
        assert_eq!(send(b, conversation, "are you there?").await, seq);
    }
    a.send(SetTyping { conversation, active: true }).await;
    let theirs = describe(b, conversation).await;
    assert_eq!((theirs.head, theirs.last.unwrap().seq), (5, 5));
    hears_nothing(a).await;
    let mine = describe(a, conversation).await;
    assert_eq!((mine.head, mine.last.unwrap().seq), (2, 2));
    // Ada's marks look as they stood, whatever she does.
    a.send(Mark { conversation, kind: MarkKind::Read, seq: 2 }).await;
    assert_eq!(theirs.members.iter().find(|m| m.user == ada.user), {
        before.members.iter().find(|m| m.user == ada.user)
    });
    // She must end it before she writes herself.
    let request = a.say(conversation, "go away").await;
    match a.answer(request).await {
        ServerFrame::Error(error) => assert_eq!(error.code, ErrorCode::Blocking.code()),
        other => panic!("{other:?}"),
    }

    // Afterwards: from now on, and what was withheld never comes.
    block(a, bob.user, false).await;
    assert_eq!(news(b, ada.user).await.status, Status::Online);
    assert_eq!(send(b, conversation, "hello again").await, 6);
    assert_eq!(a.delivered().await.entry.seq, 6);
    let mine = describe(a, conversation).await;
    let own = mine.members.iter().find(|m| m.user == ada.user).unwrap();
    assert_eq!((mine.head, own.read), (6, 5), "one is unread, not four");
    let history = ask(a, |request| {
        let direction = Direction::After;
        History { request, conversation, anchor: 2, direction, limit: 9 }.into()
    });
    let ServerFrame::HistoryPage(page) = history.await else { panic!("no history") };
    let kinds: Vec<EntryKind> = page.entries.iter().map(|entry| entry.kind).collect();
    let withheld = EntryKind::Withheld;
    assert_eq!(kinds, [withheld, withheld, withheld, EntryKind::Text]);
    assert!(page.entries.iter().take(3).all(|entry| entry.body.is_empty()));
    // To Bob nothing was read all at once; only what she reads now.
    let seen = describe(b, conversation).await;
    let hers = seen.members.iter().find(|m| m.user == ada.user).unwrap();
    assert_eq!((hers.delivered, hers.read), (2, 2));
    a.send(Mark { conversation, kind: MarkKind::Read, seq: 6 }).await;
    read_by(b, ada.user, 6).await;
    let clean = rookery_store::check::check(&place.running.node.state().store, |_| {});
    let report = clean.await.unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[tokio::test]
async fn a_conversation_that_somebody_blocked_opens_comes_with_the_first_message_after_it() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let bob = User::sign_up(&running, "bob").await;
    let (mut a, _) = Client::live(&running, &ada).await;
    let (mut b, _) = Client::live(&running, &bob).await;
    block(&mut a, bob.user, true).await;
    let conversation = b.open_direct("ada").await;
    assert_eq!(send(&mut b, conversation, "hello").await, 1);
    hears_nothing(&mut a).await;
    assert!(a.conversations().await.conversations.is_empty());
    block(&mut a, bob.user, false).await;
    assert_eq!(send(&mut b, conversation, "now").await, 2);
    assert_eq!(a.delivered().await.entry.seq, 2);
    assert_eq!(a.conversations().await.conversations[0].conversation, conversation);
}

#[tokio::test]
async fn what_one_device_changes_all_hear_also_those_that_were_away() {
    let mut place = Place::start().await;
    let Place { running, a, ada, bob, conversation, .. } = &mut place;
    let conversation = *conversation;
    let (mut other, _) = Client::live(running, ada).await;
    let start = Sync { request: 90, cursor: None };
    let (mut away, _) = Client::welcomed(running, ada).await;
    away.send(start).await;
    let ServerFrame::CaughtUp(held) = away.answer(90).await else { panic!("not caught up") };
    drop(away);

    done(a, |request| SetContact { request, user: bob.user, contact: true }.into()).await;
    let muted = SetOwnState {
        request: 91,
        conversation,
        muted_until_ms: Some(u64::MAX),
        archived: Some(true),
        unread: None,
    };
    done(a, |request| SetOwnState { request, ..muted }.into()).await;
    let nobody = Audience::Nobody;
    let privacy = |request| {
        SetPrivacy { request, presence: nobody, last_seen: nobody, receipts: nobody }.into()
    };
    done(a, privacy).await;
    let person = OwnChanged { kind: OwnKind::Person, id: bob.user.0 };
    let state = OwnChanged { kind: OwnKind::Conversation, id: conversation.0 };
    let settings = OwnChanged { kind: OwnKind::Privacy, id: 0 };
    let mut missed = since(running, ada, held.cursor).await;
    for client in [&mut other, &mut missed] {
        let heard =
            [own_changed(client).await, own_changed(client).await, own_changed(client).await];
        assert_eq!(heard, [person, state, settings]);
    }
    let page = ask(&mut other, |request| People { request, limit: 9, after: None }.into()).await;
    let ServerFrame::PeoplePage(page) = page else { panic!("{page:?}") };
    assert_eq!((page.people[0].name.as_str(), page.people[0].contact), ("bob", true));
    let states =
        ask(&mut other, |request| OwnStates { request, conversations: vec![conversation] }.into());
    let ServerFrame::OwnStatePage(page) = states.await else { panic!("no states") };
    let seen = OwnState { conversation, muted_until_ms: u64::MAX, archived: true, unread: false };
    assert_eq!(page.states, [seen]);
}

/// A session that syncs from a cursor.
async fn since(running: &Running, user: &User, cursor: Cursor) -> Client {
    let (mut client, _) = Client::welcomed(running, user).await;
    client.send(Sync { request: 92, cursor: Some(cursor) }).await;
    client
}

#[tokio::test]
async fn what_one_does_not_show_one_does_not_see() {
    let mut place = Place::start().await;
    let Place { a, b, ada, bob, conversation, .. } = &mut place;
    let conversation = *conversation;
    status(b, ada.user).await;
    status(a, bob.user).await;
    let (everyone, contacts) = (Audience::Everyone, Audience::Contacts);
    let shy = |request| {
        let last_seen = everyone;
        SetPrivacy { request, presence: contacts, last_seen, receipts: contacts }.into()
    };
    done(a, shy).await;
    for (client, other) in [(&mut *a, bob.user), (&mut *b, ada.user)] {
        assert_eq!(news(client, other).await.status, Status::Offline);
    }
    // Marks: new settings hold for what is asked for at once.
    let seen = |info: &ConversationInfo, user| {
        let member = info.members.iter().find(|member| member.user == user).unwrap();
        (member.delivered, member.read)
    };
    assert_eq!(seen(&describe(b, conversation).await, ada.user), (2, 0));
    assert_eq!(seen(&describe(a, conversation).await, bob.user), (2, 0));
    done(a, |request| SetContact { request, user: bob.user, contact: true }.into()).await;
    for (client, other) in [(&mut *a, bob.user), (&mut *b, ada.user)] {
        assert_eq!(news(client, other).await.status, Status::Online);
    }
    assert_eq!(seen(&describe(b, conversation).await, ada.user), (2, 2));
}

#[tokio::test]
async fn a_report_is_kept_for_the_operators_and_what_is_wrong_about_people_has_a_code() {
    let mut place = Place::start().await;
    let Place { running, a, ada, bob, conversation, .. } = &mut place;
    let conversation = *conversation;
    let report = |seq, comment: &str| {
        let comment = comment.to_owned();
        move |request| {
            Report { request, conversation, seq, reason: ReportReason::Abuse, comment }.into()
        }
    };
    done(a, report(2, "rude")).await;
    let kept = running.node.state().store.reports(None, 10).await.unwrap();
    assert_eq!(kept.len(), 1);
    let facts = (kept[0].reporter, kept[0].sender, kept[0].conversation, kept[0].seq);
    assert_eq!(facts, (ada.user, bob.user, conversation, 2));
    assert_eq!((kept[0].reason, kept[0].comment.as_str()), (ReportReason::Abuse, "rude"));

    let bad = ErrorCode::BadField.code();
    assert_eq!(refused(a, report(9, "")).await.code, bad, "there is no such entry");
    assert_eq!(refused(a, report(1, &"x".repeat(1_001))).await.code, bad);
    let nobody = UserId(404);
    let unknown = refused(a, |request| SetBlocked { request, user: nobody, blocked: true }.into());
    assert_eq!(unknown.await.code, ErrorCode::UnknownUser.code());
    let oneself = ada.user;
    let oneself = refused(a, |request| SetContact { request, user: oneself, contact: true }.into());
    assert_eq!(oneself.await.code, bad);
    let strange = Audience::Other(9);
    let strange = refused(a, |request| {
        let everyone = Audience::Everyone;
        SetPrivacy { request, presence: strange, last_seen: everyone, receipts: everyone }.into()
    });
    assert_eq!(strange.await.code, bad);
    a.assert_alive().await;
}

#[tokio::test]
async fn who_does_something_too_often_is_told_when_to_come_again() {
    let mut place = Place::start_with(|config| {
        config.limits.sends.per_hour = 60;
        config.limits.sends.burst = 5;
        config.limits.reports.burst = 2;
    })
    .await;
    let Place { running, a, ada, conversation, .. } = &mut place;
    let conversation = *conversation;
    let mut limited = 0;
    for _ in 0..9 {
        let request = a.say(conversation, "again").await;
        if let ServerFrame::Error(error) = a.answer(request).await {
            assert_eq!(error.code, ErrorCode::RateLimited.code());
            assert!(error.retryable && error.retry_after_ms > 1_000, "{error:?}");
            limited += 1;
        }
    }
    // One of the five went before this test began to count.
    assert_eq!(limited, 5);
    // Another device of the same user has nothing left either; another kind is not touched.
    let (mut other, _) = Client::live(running, ada).await;
    let request = other.say(conversation, "from here").await;
    assert!(matches!(other.answer(request).await, ServerFrame::Error(_)));
    let report = |request| {
        let reason = ReportReason::Spam;
        Report { request, conversation, seq: 2, reason, comment: String::new() }.into()
    };
    done(&mut other, report).await;
    done(&mut other, report).await;
    assert_eq!(refused(&mut other, report).await.code, ErrorCode::RateLimited.code());
}
