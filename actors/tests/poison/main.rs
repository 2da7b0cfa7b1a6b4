//! What a panic costs: its own actor and nobody else; a shard that fails whole comes back; a tree
//! that keeps failing gives up.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that fails fails its test"
)]

mod house;

use house::{Device, House, message_id};
use rookery_actors::message::Outgoing;
use rookery_actors::{ConversationMsg, Envelope, Origin, PresenceMsg};
use rookery_protocol::client::{Sync, Watch};
use rookery_protocol::{
    ClientMsgId, ConversationId, DeviceId, Entry, EntryKind, ErrorCode, ServerFrame, Status,
};
use rookery_store::Version;
use rookery_store::memory::Fault;
use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

/// Sends until it is answered well, as a client does: the same id, as a retry.
async fn commit(device: &mut Device, conversation: ConversationId, id: ClientMsgId) -> u64 {
    let mut request = device.say(conversation, id, false);
    loop {
        match device.answer(request).await {
            Ok(seq) => return seq,
            Err(code) => assert!(retryable(code), "error {code}"),
        }
        request = device.say(conversation, id, true);
    }
}

fn retryable(code: u16) -> bool {
    [ErrorCode::Busy, ErrorCode::OutcomeUnknown, ErrorCode::Moved]
        .iter()
        .any(|known| known.code() == code)
}

async fn log(house: &House, conversation: ConversationId) -> Vec<Entry> {
    house.store.entries(conversation, 1, u64::MAX, usize::MAX).await.unwrap()
}

#[tokio::test]
async fn a_panic_in_one_conversation_leaves_its_neighbours_untouched() {
    // One shard: all are neighbours.
    let house = House::start(1).await;
    let mut ada = house.device("ada").await;
    let mut conversations = Vec::new();
    for at in 0..20 {
        house.account(&format!("friend{at}")).await;
        conversations.push(ada.open_direct(&format!("friend{at}")).await);
    }
    for (round, poisoned) in conversations.iter().enumerate() {
        let mut requests = BTreeSet::new();
        for conversation in conversations.iter().filter(|one| *one != poisoned) {
            requests.insert(ada.say(*conversation, message_id(), false));
            house.poison(*poisoned);
        }
        while !requests.is_empty() {
            match ada.frame().await {
                ServerFrame::Sent(sent) => assert!(requests.remove(&sent.request), "{sent:?}"),
                ServerFrame::Error(error) => panic!("round {round}: {error:?}"),
                _ => {}
            }
        }
    }
    // All that were poisoned work again.
    for conversation in conversations {
        let seq = commit(&mut ada, conversation, message_id()).await;
        assert_eq!(u64::try_from(log(&house, conversation).await.len()).unwrap(), seq);
    }
}

#[tokio::test]
async fn a_conversation_that_panics_with_a_commit_under_way_gives_no_place_away_twice() {
    let house = House::start(1).await;
    let mut ada = house.device("ada").await;
    let mut bob = house.device("bob").await;
    let mut eve = house.device("eve").await;
    let conversation = ada.open_direct("bob").await;
    let elsewhere = eve.open_direct("ada").await;
    assert_eq!(commit(&mut ada, conversation, message_id()).await, 1);
    commit(&mut eve, elsewhere, message_id()).await;

    // Ada's commit is under way when the conversation panics.
    let (told, mut held) = mpsc::unbounded_channel();
    let mut first = true;
    house.engine.set_faults(move |_: &_| {
        if !std::mem::take(&mut first) {
            return Fault::None;
        }
        told.send(()).unwrap();
        Fault::Hold
    });
    let (hers, his) = (message_id(), message_id());
    let her_request = ada.say(conversation, hers, false);
    held.recv().await.unwrap();
    house.poison(conversation);
    // Its successor has work at once; neighbours go on meanwhile.
    let his_request = bob.say(conversation, his, false);
    for _ in 0..50 {
        commit(&mut eve, elsewhere, message_id()).await;
    }
    assert_eq!(log(&house, conversation).await.len(), 1, "the place in doubt was given away");

    assert!(house.engine.release_next());
    assert_eq!(bob.answer(his_request).await, Ok(3));
    // The panic took her answer along: she is told so at once, and her retry finds the first place.
    assert_eq!(ada.answer(her_request).await, Err(ErrorCode::OutcomeUnknown.code()));
    let again = ada.say(conversation, hers, true);
    assert_eq!(ada.answer(again).await, Ok(2));
    let ids: Vec<_> = log(&house, conversation).await.iter().map(|e| e.client_msg_id).collect();
    assert_eq!(ids[1..], [hers, his]);
}

#[tokio::test]
async fn an_outcome_that_stays_unknown_after_a_panic_is_settled_by_the_next_take_over() {
    let house = House::start(1).await;
    let mut ada = house.device("ada").await;
    house.account("bob").await;
    let conversation = ada.open_direct("bob").await;
    let earlier = message_id();
    commit(&mut ada, conversation, earlier).await;
    let mut first = true;
    house.engine.set_faults(move |_: &_| {
        if std::mem::take(&mut first) { Fault::UnresolvedLate } else { Fault::None }
    });
    // Both in one turn: the plan leaves after its actor is gone.
    let session = ada.session;
    let late = Outgoing {
        from: Origin { session, device: DeviceId(1) },
        id: message_id(),
        retry: false,
        // Passed on after everything so far: no look into the store first.
        seen: Version(u64::MAX),
        kind: EntryKind::Text,
        body: b"late".to_vec(),
    };
    let send = Envelope::Conversation(conversation, ConversationMsg::Send(late));
    house.system.tell(send).unwrap();
    house.poison(conversation);
    let id = message_id();
    assert_eq!(commit(&mut ada, conversation, id).await, 2);
    // The plan in doubt arrives after all: it must not take the place of what was acknowledged.
    assert_eq!(house.engine.held(), 1);
    house.engine.release_all();
    let log = log(&house, conversation).await;
    assert_eq!(log.iter().map(|entry| entry.client_msg_id).collect::<Vec<_>>(), [earlier, id]);
}

#[tokio::test]
async fn a_conversation_that_keeps_panicking_is_paused_and_comes_back() {
    let house = House::start(1).await;
    let mut ada = house.device("ada").await;
    house.account("bob").await;
    let conversation = ada.open_direct("bob").await;
    let mut seq = 0;
    // Six panics within the window are one too many.
    for _ in 0..6 {
        seq += 1;
        assert_eq!(commit(&mut ada, conversation, message_id()).await, seq);
        house.poison(conversation);
    }
    let started = std::time::Instant::now();
    let id = message_id();
    let request = ada.say(conversation, id, false);
    assert_eq!(ada.answer(request).await, Err(ErrorCode::Busy.code()));
    assert_eq!(commit(&mut ada, conversation, id).await, seq + 1);
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_presence_hub_that_panics_is_found_again_by_sessions_and_watchers() {
    let house = House::start(2).await;
    let mut ada = house.device("ada").await;
    let mut bob = house.device("bob").await;
    let conversation = ada.open_direct("bob").await;
    let watched = bob.session.user;
    let request = ada.request();
    ada.send(Watch { request, users: vec![watched] });
    let online = |frame: &ServerFrame| match frame {
        ServerFrame::Presence(news) => (news.status == Status::Online).then_some(()),
        _ => None,
    };
    ada.until(online).await;
    house.system.tell(Envelope::Presence(watched, PresenceMsg::Poison)).unwrap();
    // Told anew, by the hub that took its place.
    ada.until(online).await;
    let id = message_id();
    commit(&mut ada, conversation, id).await;
    bob.until(|frame| match frame {
        ServerFrame::Message(message) => (message.entry.client_msg_id == id).then_some(()),
        _ => None,
    })
    .await;
}

#[tokio::test]
async fn a_shard_that_fails_whole_is_restarted_and_its_actors_come_back() {
    let house = House::start(2).await;
    let mut ada = house.device("ada").await;
    let mut bob = house.device("bob").await;
    let conversation = ada.open_direct("bob").await;
    let mut ids = Vec::new();
    for poison in [
        rookery_actors::shell::ActorSystem::poison_session_shards,
        rookery_actors::shell::ActorSystem::poison_conversation_shards,
        rookery_actors::shell::ActorSystem::poison_presence_shards,
    ] {
        poison(&house.system);
        for device in [&mut ada, &mut bob] {
            let id = message_id();
            ids.push(id);
            // A session that was lost with its shard answers nothing: a new one is asked for.
            commit_or_welcome(device, conversation, id).await;
        }
    }
    let mut found: Vec<_> =
        log(&house, conversation).await.iter().map(|e| e.client_msg_id).collect();
    found.sort_unstable();
    ids.sort_unstable();
    assert_eq!(found, ids);
}

/// As [`commit`], through the loss of the session: the new one syncs and sends again.
async fn commit_or_welcome(device: &mut Device, conversation: ConversationId, id: ClientMsgId) {
    let mut request = device.say(conversation, id, false);
    loop {
        let answer = device
            .until(|frame| match frame {
                ServerFrame::Welcome(_) => Some(None),
                ServerFrame::Sent(sent) if sent.client_msg_id == id => Some(Some(true)),
                ServerFrame::Message(m) if m.entry.client_msg_id == id => Some(Some(true)),
                ServerFrame::Error(error) if error.request == request => Some(Some(false)),
                _ => None,
            })
            .await;
        match answer {
            Some(true) => return,
            Some(false) => {}
            None => {
                let request = device.request();
                device.send(Sync { request, cursor: None });
            }
        }
        request = device.say(conversation, id, true);
    }
}

#[tokio::test]
async fn a_tree_that_keeps_failing_gives_up() {
    let house = House::start(1).await;
    let failed = house.system.failed();
    tokio::pin!(failed);
    let giving_up = async {
        loop {
            house.system.poison_presence_shards();
            tokio::select! {
                () = &mut failed => return,
                () = tokio::time::sleep(Duration::from_millis(10)) => {}
            }
        }
    };
    timeout(Duration::from_secs(60), giving_up).await.expect("the tree goes on for ever");
    // Nobody is left to wait for.
    timeout(Duration::from_secs(20), house.system.shutdown()).await.unwrap();
}
