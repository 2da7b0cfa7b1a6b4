//! Two users talk through a node: the whole way from socket to store and back.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that fails fails its test"
)]

mod support;

use rookery_protocol::client::{Ack, History, Mark, Sync};
use rookery_protocol::server::{HistoryPage, Receipt};
use rookery_protocol::{ConversationId, Direction, ErrorCode, MarkKind, ServerFrame};
use support::Running;
use support::wire::{Client, User};

/// Two users with a conversation.
struct Talk {
    running: Running,
    ada: User,
    bob: User,
    conversation: ConversationId,
}

impl Talk {
    async fn start() -> Self {
        let running = Running::start().await;
        let ada = User::sign_up(&running, "ada").await;
        let bob = User::sign_up(&running, "bob").await;
        let (mut client, _) = Client::welcomed(&running, &ada).await;
        let conversation = client.open_direct("bob").await;
        Self { running, ada, bob, conversation }
    }
}

async fn history(client: &mut Client, conversation: ConversationId, limit: u16) -> HistoryPage {
    let request = client.request();
    let direction = Direction::Before;
    client.send(History { request, conversation, anchor: 0, direction, limit }).await;
    match client.answer(request).await {
        ServerFrame::HistoryPage(page) => page,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_message_is_sent_to_its_sender_and_delivered_to_everybody_else() {
    let talk = Talk::start().await;
    let (mut ada, _) = Client::live(&talk.running, &talk.ada).await;
    let (mut second, _) = Client::live(&talk.running, &talk.ada).await;
    let (mut bob, _) = Client::live(&talk.running, &talk.bob).await;
    let request = ada.say(talk.conversation, "hello").await;
    let sent = ada.sent(request).await;
    assert_eq!((sent.conversation, sent.seq, sent.duplicate), (talk.conversation, 1, false));
    for client in [&mut bob, &mut second] {
        let message = client.delivered().await;
        assert_eq!(message.conversation, talk.conversation);
        assert_eq!((message.entry.seq, message.entry.sender), (1, talk.ada.user));
        assert_eq!(message.entry.client_msg_id, sent.client_msg_id);
        assert_eq!(message.entry.body, b"hello");
    }
}

#[tokio::test]
async fn opening_a_conversation_twice_finds_the_first() {
    let talk = Talk::start().await;
    let (mut bob, _) = Client::welcomed(&talk.running, &talk.bob).await;
    assert_eq!(bob.open_direct("ada").await, talk.conversation);
    let page = bob.conversations().await;
    assert_eq!(page.conversations.len(), 1);
    assert_eq!(page.conversations[0].conversation, talk.conversation);
}

#[tokio::test]
async fn a_mark_reaches_the_other_member_as_a_receipt() {
    let talk = Talk::start().await;
    let (mut ada, _) = Client::live(&talk.running, &talk.ada).await;
    let (mut bob, _) = Client::live(&talk.running, &talk.bob).await;
    let request = ada.say(talk.conversation, "hello").await;
    ada.sent(request).await;
    let seq = bob.delivered().await.entry.seq;
    let mark = Mark { conversation: talk.conversation, kind: MarkKind::Read, seq };
    bob.send(mark).await;
    let expected =
        Receipt { conversation: talk.conversation, user: talk.bob.user, kind: MarkKind::Read, seq };
    ada.until(|frame| (*frame == ServerFrame::Receipt(expected)).then_some(())).await;
}

#[tokio::test]
async fn a_resumed_session_misses_and_repeats_nothing() {
    let talk = Talk::start().await;
    let (mut ada, _) = Client::live(&talk.running, &talk.ada).await;
    let (mut bob, welcome) = Client::live(&talk.running, &talk.bob).await;
    let mut texts = Vec::new();
    for round in 0..5 {
        for at in 0..7 {
            let request = ada.say(talk.conversation, &format!("{round}.{at}")).await;
            ada.sent(request).await;
        }
        // Some were read, some were not, when the connection is lost.
        for _ in 0..3 {
            texts.push(bob.delivered().await.entry);
        }
        bob.send(Ack { received: bob.received }).await;
        bob = bob.resumed(&talk.running, &talk.bob, &welcome).await;
    }
    while texts.len() < 35 {
        texts.push(bob.delivered().await.entry);
    }
    let seqs: Vec<u64> = texts.iter().map(|entry| entry.seq).collect();
    assert_eq!(seqs, (1..=35).collect::<Vec<u64>>());
    bob.assert_alive().await;
}

#[tokio::test]
async fn a_device_that_was_away_catches_up_from_its_cursor() {
    let talk = Talk::start().await;
    let (mut bob, _) = Client::welcomed(&talk.running, &talk.bob).await;
    bob.send(Sync { request: 1, cursor: None }).await;
    let cursor = match bob.answer(1).await {
        ServerFrame::CaughtUp(caught_up) => caught_up.cursor,
        other => panic!("{other:?}"),
    };
    drop(bob);
    let (mut ada, _) = Client::live(&talk.running, &talk.ada).await;
    for at in 0..20 {
        let request = ada.say(talk.conversation, &format!("{at}")).await;
        ada.sent(request).await;
    }
    let (mut bob, _) = Client::welcomed(&talk.running, &talk.bob).await;
    bob.send(Sync { request: 2, cursor: Some(cursor) }).await;
    for seq in 1..=20 {
        assert_eq!(bob.delivered().await.entry.seq, seq);
    }
    bob.answer(2).await;
}

#[tokio::test]
async fn history_of_any_size_arrives_whole() {
    let talk = Talk::start().await;
    let (mut ada, _) = Client::live(&talk.running, &talk.ada).await;
    // Larger by far than a fragment of a WebSocket message.
    let long = "x".repeat(15_000);
    for at in 0..12 {
        let request = ada.say(talk.conversation, &format!("{at} {long}")).await;
        ada.sent(request).await;
    }
    let page = history(&mut ada, talk.conversation, 100).await;
    assert_eq!((page.head, page.more), (12, false));
    assert_eq!(page.entries.len(), 12);
    for (at, entry) in page.entries.iter().enumerate() {
        assert_eq!(entry.body, format!("{at} {long}").into_bytes());
    }
    let page = history(&mut ada, talk.conversation, 5).await;
    assert_eq!(page.entries.iter().map(|e| e.seq).collect::<Vec<_>>(), [8, 9, 10, 11, 12]);
    assert!(page.more);
}

#[tokio::test]
async fn history_goes_both_ways_and_unread_counts_follow_the_marks() {
    let talk = Talk::start().await;
    let (mut ada, _) = Client::live(&talk.running, &talk.ada).await;
    let (mut bob, _) = Client::live(&talk.running, &talk.bob).await;
    for at in 0..6 {
        let request = ada.say(talk.conversation, &format!("{at}")).await;
        ada.sent(request).await;
    }
    for (anchor, direction, limit, expected, more) in [
        (0, Direction::Before, 2, vec![5, 6], true),
        (5, Direction::Before, 3, vec![2, 3, 4], true),
        (3, Direction::Before, 10, vec![1, 2], false),
        (0, Direction::After, 2, vec![1, 2], true),
        (4, Direction::After, 10, vec![5, 6], false),
        (6, Direction::After, 10, vec![], false),
    ] {
        let request = bob.request();
        let conversation = talk.conversation;
        bob.send(History { request, conversation, anchor, direction, limit }).await;
        let ServerFrame::HistoryPage(page) = bob.answer(request).await else { panic!() };
        let seqs: Vec<u64> = page.entries.iter().map(|entry| entry.seq).collect();
        assert_eq!((seqs, page.more, page.head), (expected, more, 6), "{anchor} {direction:?}");
    }
    let unread = |page: &rookery_protocol::server::ConversationPage, user| {
        let info = &page.conversations[0];
        let member = info.members.iter().find(|member| member.user == user).unwrap();
        info.head - member.read
    };
    let page = bob.conversations().await;
    assert_eq!(unread(&page, talk.bob.user), 6);
    let mark = Mark { conversation: talk.conversation, kind: MarkKind::Read, seq: 4 };
    bob.send(mark).await;
    // The user's own devices hear of it too, once it is durable.
    let moved = |frame: &ServerFrame| match frame {
        ServerFrame::Receipt(r) => (r.user == talk.bob.user && r.seq == 4).then_some(()),
        _ => None,
    };
    bob.until(moved).await;
    assert_eq!(unread(&bob.conversations().await, talk.bob.user), 2);
    // A smaller mark moves nothing back.
    bob.send(Mark { seq: 1, ..mark }).await;
    bob.assert_alive().await;
    assert_eq!(unread(&bob.conversations().await, talk.bob.user), 2);
}

#[tokio::test]
async fn a_stranger_neither_reads_nor_writes() {
    let talk = Talk::start().await;
    let eve = User::sign_up(&talk.running, "eve").await;
    let (mut eve, _) = Client::live(&talk.running, &eve).await;
    let request = eve.say(talk.conversation, "hello").await;
    let refused = eve.answer(request).await;
    let code = ErrorCode::NotAMember.code();
    assert!(matches!(&refused, ServerFrame::Error(e) if e.code == code), "{refused:?}");
    let request = eve.request();
    let (conversation, direction) = (talk.conversation, Direction::Before);
    eve.send(History { request, conversation, anchor: 0, direction, limit: 10 }).await;
    let refused = eve.answer(request).await;
    assert!(matches!(&refused, ServerFrame::Error(e) if e.code == code), "{refused:?}");
}
