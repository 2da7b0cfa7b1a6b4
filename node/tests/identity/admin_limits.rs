//! Limits that operators change while nodes run.

use super::admin::{Ops, Pair};
use crate::support::wire::{Client, User};
use crate::support::{Running, credentials};
use rookery_protocol::ServerFrame;
use serde_json::{Value, json};

#[tokio::test]
async fn limits_change_on_every_node_without_a_restart() {
    let Pair { one, two, store, _dir } = Pair::start(|config| {
        config.limits.limit_loopback = true;
        config.limits.attempts_per_minute = 1;
        config.limits.attempts_burst = 1_000_000;
        config.limits.address_sign_ups.per_hour = 0;
        config.limits.sign_ups.per_hour = 0;
    })
    .await;
    let ops = Ops::new(&one);
    let set = async |limit: &str, value: &str| {
        let answer = ops.call("PUT", &format!("limits/{limit}"), json!({ "value": value })).await;
        let list = answer.json();
        let row = list["limits"].as_array().unwrap().iter().find(|row| row["limit"] == limit);
        assert_eq!(
            (&row.unwrap()["value"], &row.unwrap()["changed"]),
            (&json!(value), &json!(true))
        );
    };
    let sign_up = async |node: &Running, name: &str| {
        node.post("/v1/signup", &credentials(name, "correct horse")).await
    };
    assert_eq!(sign_up(&two, "ada").await.status, 200);
    set("sign_up", "closed").await;
    assert_eq!(sign_up(&one, "bob").await.error(), (403, "SignUpClosed".to_owned()));
    // The other node hears of it in its time.
    let mut n = 0;
    while sign_up(&two, &format!("early-{n}")).await.status == 200 {
        n += 1;
        tokio::task::yield_now().await;
    }
    assert_eq!(sign_up(&two, "bob").await.error(), (403, "SignUpClosed".to_owned()));
    assert_eq!(ops.call("DELETE", "limits/sign_up", Value::Null).await.status, 200);
    assert_eq!(sign_up(&one, "bob").await.status, 200);
    // Who has spent more than the new limit waits.
    set("attempts_burst", "1").await;
    let log_in = credentials("bob", "correct horse");
    let answer = one.post("/v1/login", &log_in).await;
    assert_eq!(answer.error(), (429, "RateLimited".to_owned()));
    let shown = ops.get("limits").await.json();
    let changed = shown["limits"].as_array().unwrap().iter().filter(|row| row["changed"] == true);
    assert_eq!(changed.count(), 1);
    let last = ops.log().await.remove(0);
    assert_eq!(last, ("limit.set".into(), "limits/attempts_burst".into(), "done: 1".into()));
    one.node.shutdown().await;
    two.node.shutdown().await;
    tokio::task::spawn_blocking(move || store.shutdown()).await.unwrap();
}

#[tokio::test]
async fn what_users_may_send_and_how_many_may_sign_up_changes_while_they_are_connected() {
    let running = Running::start_with(|config| config.limits.limit_loopback = true).await;
    let ops = Ops::new(&running);
    let ada = User::sign_up(&running, "ada").await;
    User::sign_up(&running, "bob").await;
    let (mut client, _) = Client::live(&running, &ada).await;
    let conversation = client.open_direct("bob").await;
    let set = async |limit: &str, value: &str| {
        let answer = ops.call("PUT", &format!("limits/{limit}"), json!({ "value": value })).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    };
    set("sends_burst", "2").await;
    set("sends_per_hour", "1").await;
    let mut refused = Vec::new();
    for _ in 0..4 {
        let request = client.say(conversation, "again").await;
        let answer = client.answer(request).await;
        refused.push(matches!(answer, ServerFrame::Error(error) if error.retry_after_ms > 1_000));
    }
    assert_eq!(refused, [false, false, true, true]);
    set("sends_per_hour", "0").await;
    let request = client.say(conversation, "at last").await;
    client.sent(request).await;

    let sign_up =
        async |name: &str| running.post("/v1/signup", &credentials(name, "correct horse")).await;
    set("address_sign_ups_burst", "1").await;
    set("address_sign_ups_per_hour", "1").await;
    let refused = sign_up("cat").await;
    assert_eq!(refused.error(), (429, "RateLimited".to_owned()));
    assert!(refused.header("retry-after").is_some());
    let log_in = credentials("bob", "correct horse");
    assert_eq!(running.post("/v1/login", &log_in).await.status, 200, "only sign-ups are limited");
    set("address_sign_ups_per_hour", "0").await;
    assert_eq!(sign_up("cat").await.status, 200);
    set("sign_ups_burst", "1").await;
    set("sign_ups_per_hour", "1").await;
    // The bucket of all may be full again by now, for one.
    sign_up("dan").await;
    assert_eq!(sign_up("eve").await.error(), (429, "RateLimited".to_owned()));
    assert_eq!(ops.call("DELETE", "limits/sign_ups_per_hour", Value::Null).await.status, 200);
    assert_eq!(ops.call("DELETE", "limits/sign_ups_burst", Value::Null).await.status, 200);
    let eve = sign_up("eve").await;
    let wait = eve.header("retry-after").map_or(0, |wait| wait.parse::<u64>().unwrap());
    assert!(wait <= 2, "{eve:?}");
}
