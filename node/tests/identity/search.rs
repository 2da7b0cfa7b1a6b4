//! Search over HTTP: who finds what in which conversation, what is refused, and the index behind it
//! in the life of a node.

use crate::support::wire::{Client, User};
use crate::support::{Answer, Running, bearer, config};
use rookery_cluster_config::Config;
use rookery_node::Node;
use rookery_node::identity::Cost;
use rookery_protocol::client::Send;
use rookery_protocol::group::group_id;
use rookery_protocol::{
    ClientMsgId, ConversationId, EntryKind, GroupAction, GroupChange, ServerFrame, UserId,
};
use rookery_store::check::check;
use serde_json::Value;
use std::time::Duration;

fn on(config: &mut Config) {
    config.search.enabled = true;
}

async fn get(running: &Running, user: &User, path: &str) -> Answer {
    running.send(&bearer("GET", path, &user.token, None)).await
}

fn in_conversation(conversation: ConversationId, query: &str) -> String {
    format!("/v1/conversations/{conversation}/search?{query}")
}

/// The texts of a page.
fn texts(page: &Value) -> Vec<&str> {
    let hits = page["hits"].as_array().unwrap().iter();
    hits.map(|hit| hit["entry"]["text"].as_str().unwrap()).collect()
}

async fn say(client: &mut Client, conversation: ConversationId, texts: &[&str]) {
    for text in texts {
        let request = client.say(conversation, text).await;
        client.sent(request).await;
    }
}

async fn change(
    client: &mut Client,
    conversation: Option<ConversationId>,
    action: GroupAction,
    users: &[UserId],
) -> ConversationId {
    let mut random = [0; 10];
    getrandom::fill(&mut random).unwrap();
    let id = ClientMsgId::from_parts(rookery_node::now_ms(), random);
    let conversation = conversation.unwrap_or_else(|| group_id(id));
    let text = if action == GroupAction::Create { "Lunch" } else { "" };
    let (users, text) = (users.to_vec(), text.to_owned());
    let change = GroupChange { users, text, ..GroupChange::new(action) };
    let request = client.request();
    let (kind, body) = (EntryKind::Group, change.to_body());
    client.send(Send { request, conversation, client_msg_id: id, retry: false, kind, body }).await;
    let answer = client.answer(request).await;
    assert!(matches!(answer, ServerFrame::Sent(_)), "{action:?}: {answer:?}");
    conversation
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_found_by_words_and_prefixes_page_by_page() {
    let running = Running::start_with(on).await;
    let ada = User::sign_up(&running, "ada").await;
    let bob = User::sign_up(&running, "bob").await;
    let (mut client, _) = Client::welcomed(&running, &ada).await;
    let talk = client.open_direct("bob").await;
    say(&mut client, talk, &["Lunch at noon?", "Prefer dinner", "lunches, größer: 東京!"]).await;
    let page = get(&running, &bob, &in_conversation(talk, "q=LUNCH")).await.json();
    assert_eq!(texts(&page), ["lunches, größer: 東京!", "Lunch at noon?"]);
    assert_eq!((&page["next"], &page["complete"]), (&Value::Null, &Value::Bool(true)));
    let hit = &page["hits"][1];
    assert_eq!(hit["conversation"], talk.to_string());
    assert_eq!((&hit["entry"]["seq"], &hit["entry"]["kind"]), (&1.into(), &1.into()));
    assert_eq!(hit["entry"]["sender"], ada.user.to_string());
    for (query, wanted) in [
        ("q=lunch+", vec!["Lunch at noon?"]),
        ("q=noon%20lun", vec!["Lunch at noon?"]),
        ("q=GR%C3%96SSER", vec![]),
        ("q=gr%C3%B6%C3%9F", vec!["lunches, größer: 東京!"]),
        ("q=%E4%BA%AC", vec!["lunches, größer: 東京!"]),
        ("q=breakfast", vec![]),
    ] {
        for path in [in_conversation(talk, query), format!("/v1/search?{query}")] {
            let page = get(&running, &ada, &path).await.json();
            assert_eq!(texts(&page), wanted, "{path}");
        }
    }
    let first = get(&running, &ada, &in_conversation(talk, "q=lunch&limit=1")).await.json();
    assert_eq!(texts(&first), ["lunches, größer: 東京!"]);
    let next = first["next"].as_str().unwrap();
    let path = in_conversation(talk, &format!("q=lunch&limit=1&cursor={next}"));
    let second = get(&running, &ada, &path).await.json();
    assert_eq!((texts(&second), &second["next"]), (vec!["Lunch at noon?"], &Value::Null));
    running.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_member_any_more_or_was_none_yet_finds_nothing_of_it() {
    let running = Running::start_with(on).await;
    let [ada, bob, cat] = [
        User::sign_up(&running, "ada").await,
        User::sign_up(&running, "bob").await,
        User::sign_up(&running, "cat").await,
    ];
    let (mut client, _) = Client::welcomed(&running, &ada).await;
    let group = change(&mut client, None, GroupAction::Create, &[bob.user]).await;
    say(&mut client, group, &["secret before Cat"]).await;
    let path = in_conversation(group, "q=secret");
    let elsewhere = in_conversation(ConversationId(404), "q=secret");
    for (who, path) in [(&cat, &path), (&ada, &elsewhere)] {
        let answer = get(&running, who, path).await;
        assert_eq!(answer.error(), (404, "NotFound".to_owned()));
    }
    let unsigned = running.get(&path).await;
    assert_eq!(unsigned.error(), (401, "BadToken".to_owned()));
    change(&mut client, Some(group), GroupAction::Add, &[cat.user]).await;
    say(&mut client, group, &["secret with Cat"]).await;
    let page = get(&running, &cat, &path).await.json();
    assert_eq!(texts(&page), ["secret with Cat"], "from joining on, as history");
    let page = get(&running, &bob, "/v1/search?q=secret").await.json();
    assert_eq!(texts(&page), ["secret with Cat", "secret before Cat"]);
    change(&mut client, Some(group), GroupAction::Remove, &[bob.user]).await;
    assert_eq!(get(&running, &bob, &path).await.error(), (404, "NotFound".to_owned()));
    let page = get(&running, &bob, "/v1/search?q=secret").await.json();
    assert_eq!((texts(&page), &page["next"]), (vec![], &Value::Null));
    running.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_search_is_told_what_to_change() {
    let running = Running::start_with(on).await;
    let ada = User::sign_up(&running, "ada").await;
    User::sign_up(&running, "bob").await;
    let (mut client, _) = Client::welcomed(&running, &ada).await;
    let talk = client.open_direct("bob").await;
    let long = format!("q={}", "a".repeat(257));
    let many = format!("q={}", ["a", "b", "c", "d", "e", "f", "g", "h", "i"].join("+"));
    let foreign = format!("q=a&cursor={:016x}{:016x}", talk.0 ^ 1, 1);
    for query in [
        "",
        "q",
        "q=",
        "q=+",
        "q=...",
        "q=%F0%9F%8E%89",
        "q=a%00",
        "q=a%0Ab",
        "q=%C2%85a",
        "q=%ff",
        "q=%",
        "q=%4",
        "q=a&q=b",
        "q=a&x=1",
        "q=a&limit=0",
        "q=a&limit=51",
        "q=a&limit=x",
        "q=a&cursor=",
        "q=a&cursor=00",
        "q=a&cursor=zz",
        &long,
        &many,
        &foreign,
    ] {
        let mut paths = vec![in_conversation(talk, query)];
        if query != foreign {
            paths.push(format!("/v1/search?{query}"));
        }
        for path in paths {
            let answer = get(&running, &ada, &path).await;
            assert_eq!(answer.error(), (400, "BadRequest".to_owned()), "{path}");
        }
    }
    // Bounds that are kept.
    let long = "a".repeat(256);
    for query in [&format!("q={long}"), "q=a+b+c+d+e+f+g+h", "q=a&limit=50"] {
        let answer = get(&running, &ada, &in_conversation(talk, query)).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.body);
    }
    let answer = running.send(&bearer("POST", "/v1/search?q=a", &ada.token, Some("{}"))).await;
    assert_eq!(answer.error(), (405, "WrongMethod".to_owned()));
    running.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_of_a_user_have_a_rate() {
    let running = Running::start_with(|config| {
        on(config);
        config.limits.searches.per_hour = 1;
        config.limits.searches.burst = 2;
    })
    .await;
    let ada = User::sign_up(&running, "ada").await;
    let bob = User::sign_up(&running, "bob").await;
    for _ in 0..2 {
        assert_eq!(get(&running, &ada, "/v1/search?q=a").await.status, 200);
    }
    let refused = get(&running, &ada, "/v1/search?q=a").await;
    assert_eq!(refused.error(), (429, "RateLimited".to_owned()));
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=3600).contains(&wait), "{wait}");
    assert_eq!(get(&running, &bob, "/v1/search?q=a").await.status, 200, "others have their own");
    running.node.shutdown().await;
}

async fn word_rows(running: &Running) -> u64 {
    let report = check(&running.node.state().store, |_| {}).await.unwrap();
    assert!(report.is_clean(), "{:#?}", report.findings);
    report.rows.get(&b'W').copied().unwrap_or(0)
}

/// The same directory again, with a node that searches or does not.
async fn again(running: Running, enabled: bool) -> Running {
    let Running { node, dir } = running;
    node.shutdown().await;
    let mut config = config(dir.path());
    config.search.enabled = enabled;
    config.limits.searches.per_hour = 0;
    let node = Node::start_with(config, Cost::Low).await.unwrap();
    Running { node, dir }
}

/// Longer than anything takes that is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn off_it_says_so_and_writes_nothing_and_on_it_finds_what_was_there_before() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    User::sign_up(&running, "bob").await;
    let (mut client, _) = Client::welcomed(&running, &ada).await;
    let talk = client.open_direct("bob").await;
    say(&mut client, talk, &["old words"]).await;
    let path = in_conversation(talk, "q=words");
    for path in [path.as_str(), "/v1/search?q=words"] {
        let answer = get(&running, &ada, path).await;
        assert_eq!(answer.error(), (403, "SearchOff".to_owned()));
    }
    assert_eq!(word_rows(&running).await, 0);

    let running = again(running, true).await;
    let (mut client, _) = Client::welcomed(&running, &ada).await;
    say(&mut client, talk, &["new words"]).await;
    let complete = async {
        loop {
            let page = get(&running, &ada, &path).await.json();
            if page["complete"] == true {
                return page;
            }
            tokio::task::yield_now().await;
        }
    };
    let page = tokio::time::timeout(PATIENCE, complete).await.unwrap();
    assert_eq!(texts(&page), ["new words", "old words"]);
    assert_eq!(word_rows(&running).await, 4);

    let running = again(running, false).await;
    let gone = async {
        while word_rows(&running).await > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
    let (mut client, _) = Client::welcomed(&running, &ada).await;
    say(&mut client, talk, &["last words"]).await;
    assert_eq!(word_rows(&running).await, 0);
    assert_eq!(get(&running, &ada, &path).await.error(), (403, "SearchOff".to_owned()));
    running.node.shutdown().await;
}
