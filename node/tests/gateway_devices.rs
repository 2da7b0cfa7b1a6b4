//! Many devices of one user: they are listed, named, ended and limited; each hears what the others
//! do; a new one reads the same history, bit for bit.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that fails fails its test"
)]

mod support;

use rookery_protocol::client::{
    Devices, History, Leave, Mark, NameDevice, RevokeDevice, SetAway, SetBlocked, Watch,
};
use rookery_protocol::people::DeviceInfo;
use rookery_protocol::{
    ClientFrame, CloseCode, ConversationId, ConversationInfo, DeviceId, Direction, Entry,
    ErrorCode, MarkKind, ServerFrame, Status,
};
use support::wire::{Client, Goodbye, User};
use support::{Running, credentials};

async fn log_in(running: &Running, name: &str) -> User {
    let answer = running.post("/v1/login", &credentials(name, "correct horse")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    User::from_answer(&answer.json())
}

async fn ask(client: &mut Client, frame: impl FnOnce(u32) -> ClientFrame) -> ServerFrame {
    let request = client.request();
    client.send(frame(request)).await;
    client.answer(request).await
}

async fn devices(client: &mut Client) -> Vec<DeviceInfo> {
    match ask(client, |request| Devices { request, limit: 50, after: None }.into()).await {
        ServerFrame::DevicePage(page) => page.devices,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_device_is_listed_named_and_ended_by_another_one() {
    let running = Running::start().await;
    let phone = User::sign_up(&running, "ada").await;
    let laptop = log_in(&running, "ada").await;
    let (mut p, _) = Client::live(&running, &phone).await;
    let (mut l, _) = Client::live(&running, &laptop).await;
    let mut ids: Vec<DeviceId> = devices(&mut p).await.iter().map(|one| one.device).collect();
    let mut both = [phone.device, laptop.device];
    both.sort_unstable();
    ids.sort_unstable();
    assert_eq!(ids, both);
    let device = laptop.device;
    let named =
        ask(&mut p, |request| NameDevice { request, device, name: "laptop".into() }.into()).await;
    assert!(matches!(named, ServerFrame::Done(_)), "{named:?}");
    let listed = devices(&mut l).await;
    let one = listed.iter().find(|one| one.device == device).unwrap();
    assert_eq!(one.name, "laptop");
    assert!(one.seen_ms >= one.created_ms, "it has come for news: {one:?}");

    let ended = ask(&mut p, |request| RevokeDevice { request, device }.into()).await;
    assert!(matches!(ended, ServerFrame::Done(_)), "{ended:?}");
    let bye = l.until(|frame| match frame {
        ServerFrame::Bye(bye) => Some(bye.code),
        _ => None,
    });
    assert_eq!(bye.await, CloseCode::Revoked.code());
    assert_eq!(devices(&mut p).await.len(), 1);
    // Neither an ended device nor a stranger's can be named.
    let stranger = User::sign_up(&running, "eve").await.device;
    for device in [laptop.device, stranger, DeviceId(404)] {
        let name = "mine".to_owned();
        let refused = ask(&mut p, |request| NameDevice { request, device, name }.into()).await;
        let ServerFrame::Error(error) = refused else { panic!("{refused:?}") };
        assert_eq!(error.code, ErrorCode::UnknownDevice.code());
    }
    let refused = ask(&mut p, |request| RevokeDevice { request, device: stranger }.into()).await;
    assert!(matches!(refused, ServerFrame::Error(_)), "{refused:?}");
}

#[tokio::test]
async fn one_device_too_many_ends_the_one_that_was_away_for_longest() {
    let running = Running::start_with(|config| config.limits.devices_per_user = 2).await;
    let first = User::sign_up(&running, "ada").await;
    let second = log_in(&running, "ada").await;
    // The first was here later than the second.
    let (mut one, _) = Client::live(&running, &first).await;
    let third = log_in(&running, "ada").await;
    let mut gone = Client::connect(&running).await;
    gone.send(second.hello()).await;
    assert_eq!(gone.goodbye().await, Goodbye::with(Some(ErrorCode::Revoked), CloseCode::Revoked));
    let (mut new, _) = Client::live(&running, &third).await;
    assert_eq!(devices(&mut new).await.len(), 2);
    one.assert_alive().await;
}

#[tokio::test]
async fn what_one_device_sends_and_reads_reaches_the_others() {
    let running = Running::start().await;
    let phone = User::sign_up(&running, "ada").await;
    let laptop = log_in(&running, "ada").await;
    let bob = User::sign_up(&running, "bob").await;
    let (mut p, _) = Client::live(&running, &phone).await;
    let (mut l, _) = Client::live(&running, &laptop).await;
    let (mut b, _) = Client::live(&running, &bob).await;
    let conversation = p.open_direct("bob").await;
    let request = p.say(conversation, "from the phone").await;
    p.sent(request).await;
    let message = l.delivered().await;
    assert_eq!((message.entry.seq, message.entry.device), (1, phone.device));
    let request = b.say(conversation, "an answer").await;
    b.sent(request).await;
    l.delivered().await;
    l.send(Mark { conversation, kind: MarkKind::Read, seq: 2 }).await;
    let read = p.until(|frame| match frame {
        ServerFrame::Receipt(receipt) => {
            (receipt.user == phone.user && receipt.kind == MarkKind::Read && receipt.seq == 2)
                .then_some(())
        }
        _ => None,
    });
    read.await;
}

/// The bytes of all pages of a conversation's history, whatever the request's number.
async fn history(client: &mut Client, conversation: ConversationId) -> Vec<u8> {
    let (mut bytes, mut anchor) = (Vec::new(), 0);
    loop {
        let direction = Direction::After;
        let page = ask(client, |request| {
            History { request, conversation, anchor, direction, limit: 7 }.into()
        });
        let ServerFrame::HistoryPage(mut page) = page.await else { panic!("no history") };
        page.request = 0;
        anchor = page.entries.last().map_or(anchor, |entry| entry.seq);
        let more = page.more;
        ServerFrame::from(page).encode(&mut bytes);
        if !more {
            return bytes;
        }
    }
}

#[tokio::test]
async fn a_new_device_reads_the_same_history_bit_for_bit() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let bob = User::sign_up(&running, "bob").await;
    let (mut a, _) = Client::live(&running, &ada).await;
    let (mut b, _) = Client::live(&running, &bob).await;
    let conversation = a.open_direct("bob").await;
    // Also through a block, which each side sees in its own way.
    for (round, blocked) in [(0, None), (1, Some(true)), (2, Some(false))] {
        if let Some(blocked) = blocked {
            let user = bob.user;
            let answer = ask(&mut a, |request| SetBlocked { request, user, blocked }.into()).await;
            assert!(matches!(answer, ServerFrame::Done(_)), "{answer:?}");
        }
        for n in 0..8 {
            let request = b.say(conversation, &format!("bob {round} {n}")).await;
            b.sent(request).await;
            let request = a.say(conversation, &format!("ada {round} {n}")).await;
            let answer = a.answer(request).await;
            assert_eq!(matches!(answer, ServerFrame::Error(_)), blocked == Some(true));
        }
    }
    for (client, name) in [(&mut a, "ada"), (&mut b, "bob")] {
        let old = history(client, conversation).await;
        assert!(old.len() > 1_000);
        let new = log_in(&running, name).await;
        let (mut new, _) = Client::live(&running, &new).await;
        // Marks may still move; what was said does not.
        assert_eq!(heads(&mut new).await, heads(client).await);
        assert_eq!(history(&mut new, conversation).await, old, "{name}");
    }
}

/// The next status that is told.
async fn news(client: &mut Client) -> Status {
    client
        .until(|frame| match frame {
            ServerFrame::Presence(news) => Some(news.status),
            _ => None,
        })
        .await
}

/// The conversations of a list, without marks.
async fn heads(client: &mut Client) -> Vec<(ConversationId, u64, Option<Entry>)> {
    let page = client.conversations().await;
    let item = |info: ConversationInfo| (info.conversation, info.head, info.last);
    page.conversations.into_iter().map(item).collect()
}

#[tokio::test]
async fn a_user_is_away_when_every_device_is() {
    let running = Running::start().await;
    let phone = User::sign_up(&running, "ada").await;
    let laptop = log_in(&running, "ada").await;
    let bob = User::sign_up(&running, "bob").await;
    let (mut p, _) = Client::live(&running, &phone).await;
    let (mut b, _) = Client::live(&running, &bob).await;
    b.open_direct("ada").await;
    let request = b.request();
    b.send(Watch { request, users: vec![phone.user] }).await;
    let mut statuses = Vec::new();
    statuses.push(news(&mut b).await);
    p.send(SetAway { away: true }).await;
    statuses.push(news(&mut b).await);
    // Somebody sits at the laptop.
    let (mut l, _) = Client::live(&running, &laptop).await;
    statuses.push(news(&mut b).await);
    l.send(SetAway { away: true }).await;
    statuses.push(news(&mut b).await);
    p.send(SetAway { away: false }).await;
    statuses.push(news(&mut b).await);
    p.send(Leave {}).await;
    statuses.push(news(&mut b).await);
    l.send(Leave {}).await;
    statuses.push(news(&mut b).await);
    let (online, away, offline) = (Status::Online, Status::Away, Status::Offline);
    assert_eq!(statuses, [online, away, online, away, online, away, offline]);
}
