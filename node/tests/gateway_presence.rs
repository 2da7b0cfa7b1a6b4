//! Who is there, who types, who was last seen when: over real connections, with short times.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that fails fails its test"
)]

mod support;

use rookery_protocol::client::{Hello, Leave, Resume, SetTyping, Unwatch, Watch};
use rookery_protocol::server::Presence;
use rookery_protocol::{ConversationId, ServerFrame, Status, UserId};
use support::Running;
use support::wire::{Client, User};

/// Ada, who talks with Bob, and Bob, who is not there yet.
struct Place {
    running: Running,
    ada: Client,
    bob: User,
    conversation: ConversationId,
}

impl Place {
    async fn start() -> Self {
        let running = Running::start_with(|config| config.sessions.grace_ms = 1_500).await;
        let ada = User::sign_up(&running, "ada").await;
        let bob = User::sign_up(&running, "bob").await;
        let (mut ada, _) = Client::live(&running, &ada).await;
        let conversation = ada.open_direct("bob").await;
        Self { running, ada, bob, conversation }
    }

    /// Asks for presence.
    async fn watch(&mut self, users: Vec<UserId>) {
        let request = self.ada.request();
        self.ada.send(Watch { request, users }).await;
    }

    /// The next news of presence.
    async fn news(&mut self) -> Presence {
        self.ada
            .until(|frame| match frame {
                ServerFrame::Presence(news) => Some(*news),
                _ => None,
            })
            .await
    }
}

#[tokio::test]
async fn a_user_is_online_while_a_device_is_and_last_seen_after_it() {
    let mut place = Place::start().await;
    let bob_id = place.bob.user;
    place.watch(vec![bob_id]).await;
    let never = place.news().await;
    assert_eq!((never.user, never.status, never.last_seen_ms), (bob_id, Status::Offline, 0));

    let (one, _) = Client::live(&place.running, &place.bob).await;
    let news = place.news().await;
    assert_eq!((news.user, news.status), (bob_id, Status::Online));

    // Another device comes and leaves: nothing changes. Then the last one leaves.
    let (mut two, _) = Client::live(&place.running, &place.bob).await;
    two.send(Leave {}).await;
    let mut one = one;
    one.assert_alive().await;
    let before = rookery_node::now_ms();
    one.send(Leave {}).await;
    let news = place.news().await;
    assert_eq!((news.user, news.status), (bob_id, Status::Offline));
    assert!(news.last_seen_ms + 1_000 >= before, "{} {before}", news.last_seen_ms);
    // It is durable: who watches later is told the same.
    place.ada.send(Unwatch { users: vec![bob_id] }).await;
    place.watch(vec![bob_id]).await;
    assert_eq!(place.news().await.last_seen_ms, news.last_seen_ms);
}

#[tokio::test]
async fn a_lost_connection_shows_as_offline_only_after_the_grace_time() {
    let mut place = Place::start().await;
    let (bob, welcome) = Client::live(&place.running, &place.bob).await;
    place.watch(vec![place.bob.user]).await;
    assert_eq!(place.news().await.status, Status::Online);
    // Back within the grace time: nobody hears of it. Gone for good: offline.
    let bob = bob.resumed(&place.running, &place.bob, &welcome).await;
    let gone = std::time::Instant::now();
    drop(bob);
    assert_eq!(place.news().await.status, Status::Offline);
    assert!(gone.elapsed().as_millis() >= 1_000, "{:?}", gone.elapsed());
    // Then it's too late: who comes back gets a session of its own.
    let mut bob = Client::connect(&place.running).await;
    let resume = Resume { session: welcome.session, secret: welcome.secret, received: 0 };
    bob.send(Hello { resume: Some(resume), ..place.bob.hello() }).await;
    assert!(!bob.welcome().await.resumed);
}

#[tokio::test]
async fn strangers_are_not_watched() {
    let mut place = Place::start().await;
    let eve = User::sign_up(&place.running, "eve").await;
    let (_eve, _) = Client::live(&place.running, &eve).await;
    place.watch(vec![eve.user, place.bob.user]).await;
    // Only of the one with whom a conversation is shared.
    assert_eq!(place.news().await.user, place.bob.user);
    let (mut bob, _) = Client::live(&place.running, &place.bob).await;
    assert_eq!(place.news().await.user, place.bob.user);
    bob.assert_alive().await;
}

#[tokio::test]
async fn typing_reaches_the_other_member_and_not_oneself() {
    let mut place = Place::start().await;
    let (mut bob, _) = Client::live(&place.running, &place.bob).await;
    let conversation = place.conversation;
    for active in [true, false] {
        bob.send(SetTyping { conversation, active }).await;
        let typing = place.ada.until(|frame| match frame {
            ServerFrame::Typing(typing) => Some(*typing),
            ServerFrame::Error(error) => panic!("{error:?}"),
            _ => None,
        });
        let typing = typing.await;
        assert_eq!(typing.conversation, conversation);
        assert_eq!((typing.user, typing.active), (place.bob.user, active));
    }
    let request = bob.say(conversation, "hello").await;
    loop {
        match bob.frame().await {
            ServerFrame::Sent(sent) if sent.request == request => break,
            ServerFrame::Typing(own) => panic!("{own:?}"),
            _ => {}
        }
    }
}
