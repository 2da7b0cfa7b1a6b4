//! Accounts: who may make one, what their owners change, take along and end.

use crate::support::wire::{Client, Goodbye, User};
use crate::support::{Answer, Running, bearer, credentials};
use rookery_cluster_config::SignUp;
use rookery_protocol::{CloseCode, OwnKind, ServerFrame};
use rookery_store::check::check;
use serde_json::{Value, json};

async fn call(running: &Running, user: &User, method: &str, path: &str, body: Value) -> Answer {
    let body = if body.is_null() { None } else { Some(body.to_string()) };
    running.send(&bearer(method, path, &user.token, body.as_deref())).await
}

async fn get(running: &Running, user: &User, path: &str) -> Answer {
    call(running, user, "GET", path, Value::Null).await
}

#[tokio::test]
async fn names_that_look_alike_are_taken_together() {
    let running = Running::start().await;
    running.sign_up("paul.m").await;
    for name in ["paul.m", "PAUL.M", "pau1.m", "paul-m", "paul_rn"] {
        let answer = running.post("/v1/signup", &credentials(name, "correct horse")).await;
        assert_eq!(answer.error(), (409, "NameTaken".to_owned()), "{name}");
    }
    running.sign_up("paulo.m").await;
}

#[tokio::test]
async fn sign_up_can_take_an_invitation_that_is_used_up_or_expires() {
    let running = Running::start_with(|config| config.limits.sign_up = SignUp::Invitation).await;
    let sign_up = async |name: &str, code: &str| {
        let body = json!({ "name": name, "password": "correct horse", "invitation": code });
        running.post("/v1/signup", &body.to_string()).await
    };
    let none = running.post("/v1/signup", &credentials("ada", "correct horse")).await;
    assert_eq!(none.error(), (403, "NotInvited".to_owned()));
    assert_eq!(sign_up("ada", "guessed").await.error(), (403, "NotInvited".to_owned()));
    let identity = &running.node.state().identity;
    let code = identity.invite(2, 3600).await.unwrap();
    assert_eq!(sign_up("ada", &code).await.status, 200);
    assert_eq!(sign_up("ada", &code).await.error(), (409, "NameTaken".to_owned()), "costs nothing");
    assert_eq!(sign_up("bob", &code).await.status, 200);
    assert_eq!(sign_up("cat", &code).await.error(), (403, "NotInvited".to_owned()));
    let expired = identity.invite(9, 0).await.unwrap();
    assert_eq!(sign_up("cat", &expired).await.error(), (403, "NotInvited".to_owned()));
}

#[tokio::test]
async fn a_profile_is_changed_and_seen_by_others_and_by_its_tag() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let bob = User::sign_up(&running, "bob").await;
    let own = get(&running, &ada, "/v1/account").await.json();
    assert_eq!((&own["name"], &own["display_name"]), (&json!("ada"), &json!("")));
    let change = json!({ "display_name": " Ada L. ", "avatar": "https://a.example/1.png" });
    let changed = call(&running, &ada, "PATCH", "/v1/account", change).await.json();
    assert_eq!(changed["display_name"], "Ada L.");
    let part = json!({ "avatar": "" });
    let changed = call(&running, &ada, "PATCH", "/v1/account", part).await.json();
    assert_eq!((&changed["display_name"], &changed["avatar"]), (&json!("Ada L."), &json!("")));
    for bad in [json!({ "display_name": "a\u{202e}b" }), json!({ "avatar": "javascript:x" })] {
        let refused = call(&running, &ada, "PATCH", "/v1/account", bad).await;
        assert_eq!(refused.error(), (400, "BadProfile".to_owned()));
    }

    let path = format!("/v1/users/{}", ada.user);
    let seen = get(&running, &bob, &path).await;
    let expected = json!({ "user": ada.user.to_string(), "name": "ada", "display_name": "Ada L.", "avatar": "" });
    assert_eq!(seen.json(), expected);
    assert_eq!(get(&running, &bob, "/v1/users?name=ADA").await.json(), expected);
    let etag = seen.header("etag").unwrap();
    let request = bearer("GET", &path, &bob.token, None);
    let known = request.replace("\r\n\r\n", &format!("\r\nif-none-match: {etag}\r\n\r\n"));
    let answer = running.send(&known).await;
    assert_eq!((answer.status, answer.body.as_str()), (304, ""));
    for path in ["/v1/users/x", "/v1/users/0000000000000001", "/v1/users?name=nobody"] {
        assert_eq!(get(&running, &bob, path).await.error(), (404, "NotFound".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn settings_are_the_same_on_every_device_and_go_with_the_account() {
    let running = Running::start().await;
    let phone = User::sign_up(&running, "ada").await;
    let bob = User::sign_up(&running, "bob").await;
    let log_in = credentials("ada", "correct horse");
    let laptop = User::from_answer(&running.post("/v1/login", &log_in).await.json());
    let change = async |user: &User, settings: Value| {
        call(&running, user, "PATCH", "/v1/settings", json!({ "settings": settings })).await
    };
    assert_eq!(get(&running, &phone, "/v1/settings").await.json(), json!({ "settings": {} }));
    let set = change(&phone, json!({ "theme": "dark", "page.sound": "off" })).await;
    let kept = json!({ "settings": { "theme": "dark", "page.sound": "off" } });
    assert_eq!(set.json(), kept);
    let seen = get(&running, &laptop, "/v1/settings").await;
    assert_eq!(seen.json(), kept);
    let etag = seen.header("etag").unwrap();
    let request = bearer("GET", "/v1/settings", &laptop.token, None);
    let known = request.replace("\r\n\r\n", &format!("\r\nif-none-match: {etag}\r\n\r\n"));
    assert_eq!(running.send(&known).await.status, 304);
    let changed = change(&laptop, json!({ "theme": null, "page.sound": "on" })).await;
    assert_eq!(changed.json(), json!({ "settings": { "page.sound": "on" } }));
    // Who says what the change is of is not let undo another device's.
    let change_of = async |tag: &str, theme: &str| {
        let body = json!({ "settings": { "theme": theme } }).to_string();
        let request = bearer("PATCH", "/v1/settings", &phone.token, Some(&body));
        let line = format!("\r\nif-match: {tag}\r\n\r\n");
        running.send(&request.replacen("\r\n\r\n", &line, 1)).await
    };
    assert_eq!(change_of(etag, "light").await.error(), (412, "Outdated".to_owned()));
    let etag = changed.header("etag").unwrap();
    let set = change_of(&format!("\"other\", {etag}"), "light").await;
    assert_eq!(set.json()["settings"], json!({ "theme": "light", "page.sound": "on" }));
    assert_eq!(change_of(etag, "light").await.status, 200, "it is so already");
    assert_eq!(change_of("*", "dim").await.status, 200);
    change(&laptop, json!({ "theme": null })).await;
    assert_eq!(get(&running, &bob, "/v1/settings").await.json(), json!({ "settings": {} }));
    let many: serde_json::Map<String, Value> =
        (0..65).map(|n| (format!("s-{n}"), json!("x"))).collect();
    for bad in [
        json!({ "": "x" }),
        json!({ "Theme": "x" }),
        json!({ "a b": "x" }),
        json!({ ("x".repeat(65)): "x" }),
        json!({ "theme": "x".repeat(513) }),
        json!(many),
    ] {
        let refused = change(&phone, bad).await;
        assert_eq!(refused.error(), (400, "BadRequest".to_owned()));
    }
    let file = get(&running, &phone, "/v1/account/export").await;
    assert!(file.body.contains(r#"{"what":"setting","name":"page.sound","value":"on"}"#));
    let body = json!({ "password": "correct horse" });
    assert_eq!(call(&running, &phone, "POST", "/v1/account/delete", body).await.status, 204);
    running.node.state().identity.finish_deletions().await.unwrap();
    assert!(running.node.state().store.settings(phone.user).await.unwrap().is_empty());
}

#[tokio::test]
async fn contacts_are_listed_by_cursor_put_and_taken_off_and_other_devices_hear_of_it() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let mut others = Vec::new();
    for name in ["bob", "cat", "dan"] {
        others.push(User::sign_up(&running, name).await);
    }
    let (mut laptop, _) = Client::live(&running, &ada).await;
    let path = |user: &User| format!("/v1/contacts/{}", user.user);
    let put = async |user: &User| call(&running, &ada, "PUT", &path(user), Value::Null).await;
    for other in &others {
        assert_eq!(put(other).await.status, 204);
        let told = laptop.until(|frame| match frame {
            ServerFrame::OwnChanged(changed) => Some(*changed),
            _ => None,
        });
        let told = told.await;
        assert_eq!((told.kind, told.id), (OwnKind::Person, other.user.0));
    }
    assert_eq!(put(&others[0]).await.status, 204, "again changes nothing");
    let mut found = Vec::new();
    let mut next = "/v1/contacts?limit=2".to_owned();
    loop {
        let page = get(&running, &ada, &next).await.json();
        let contacts = page["contacts"].as_array().unwrap().clone();
        assert!(contacts.iter().all(|contact| contact["blocked"] == false));
        found.extend(contacts.iter().map(|contact| contact["name"].as_str().unwrap().to_owned()));
        let Some(after) = page["next"].as_str() else { break };
        next = format!("/v1/contacts?limit=2&after={after}");
    }
    found.sort();
    assert_eq!(found, ["bob", "cat", "dan"]);
    assert_eq!(put(&ada).await.error(), (400, "BadRequest".to_owned()));
    for nobody in ["/v1/contacts/0000000000000001", "/v1/contacts/x", "/v1/contacts/%00"] {
        let answer = call(&running, &ada, "PUT", nobody, Value::Null).await;
        assert_eq!(answer.error(), (404, "NotFound".to_owned()), "{nobody}");
    }
    // The same rows as the frames have, and nobody else's.
    let store = &running.node.state().store;
    store.set_contact(ada.user, others[1].user, None).await.unwrap();
    let list = async |user: &User| get(&running, user, "/v1/contacts").await.json();
    assert_eq!(list(&ada).await["contacts"].as_array().unwrap().len(), 2);
    assert_eq!(list(&others[0]).await, json!({ "contacts": [], "next": null }));
    for _ in 0..2 {
        let taken = call(&running, &ada, "DELETE", &path(&others[0]), Value::Null).await;
        assert_eq!(taken.status, 204);
    }
    let left = list(&ada).await;
    assert_eq!(left["contacts"][0]["name"], "dan");
    assert_eq!(left["contacts"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn changes_over_http_are_limited_together_with_those_over_the_wire() {
    let running = Running::start_with(|config| {
        config.limits.changes.per_hour = 1;
        config.limits.changes.burst = 2;
    })
    .await;
    let ada = User::sign_up(&running, "ada").await;
    let bob = User::sign_up(&running, "bob").await;
    let path = format!("/v1/contacts/{}", bob.user);
    assert_eq!(call(&running, &ada, "PUT", &path, Value::Null).await.status, 204);
    let theme = json!({ "settings": { "theme": "dark" } });
    let change =
        async |user: &User| call(&running, user, "PATCH", "/v1/settings", theme.clone()).await;
    assert_eq!(change(&ada).await.status, 200);
    let refused = change(&ada).await;
    assert_eq!(refused.error(), (429, "RateLimited".to_owned()));
    assert!(refused.header("retry-after").is_some());
    let refused = call(&running, &ada, "DELETE", &path, Value::Null).await;
    assert_eq!(refused.error(), (429, "RateLimited".to_owned()));
    assert_eq!(change(&bob).await.status, 200, "others have their own");
}

#[tokio::test]
async fn a_new_password_logs_every_other_device_out() {
    let running = Running::start().await;
    let phone = User::sign_up(&running, "ada").await;
    let log_in = credentials("ada", "correct horse");
    let laptop = User::from_answer(&running.post("/v1/login", &log_in).await.json());
    let (mut phones, _) = Client::welcomed(&running, &phone).await;
    let (mut laptops, _) = Client::welcomed(&running, &laptop).await;
    let body = |old: &str, new: &str| json!({ "old_password": old, "new_password": new });
    let change = async |body| call(&running, &laptop, "POST", "/v1/account/password", body).await;
    let wrong = change(body("wrong horse", "battery staple")).await;
    assert_eq!(wrong.error(), (401, "WrongCredentials".to_owned()));
    let short = change(body("correct horse", "short")).await;
    assert_eq!(short.error(), (400, "BadPassword".to_owned()));
    phones.assert_alive().await;
    assert_eq!(change(body("correct horse", "battery staple")).await.status, 204);
    assert_eq!(phones.goodbye().await, Goodbye::with(None, CloseCode::Revoked));
    laptops.assert_alive().await;
    assert_eq!(running.post("/v1/login", &log_in).await.error().1, "WrongCredentials");
    let new = credentials("ada", "battery staple");
    assert_eq!(running.post("/v1/login", &new).await.status, 200);
}

/// What two people wrote to each other.
async fn chat(running: &Running, ada: &User, bob: &User) -> rookery_protocol::ConversationId {
    let (mut adas, _) = Client::welcomed(running, ada).await;
    let (mut bobs, _) = Client::welcomed(running, bob).await;
    let conversation = adas.open_direct("bob").await;
    for (client, text) in [(&mut adas, "ada's secret"), (&mut bobs, "bob's answer")] {
        let request = client.say(conversation, text).await;
        client.sent(request).await;
    }
    conversation
}

#[tokio::test]
async fn an_export_holds_what_the_node_keeps_and_ends_with_its_end() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let bob = User::sign_up(&running, "bob").await;
    chat(&running, &ada, &bob).await;
    let answer = get(&running, &ada, "/v1/account/export").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    // Chunks: their lengths stand on lines of their own.
    let lines: Vec<Value> = answer
        .body
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let what: Vec<&str> = lines.iter().map(|line| line["what"].as_str().unwrap()).collect();
    let wanted = "account device privacy conversation own_state entry entry end";
    assert_eq!(what.join(" "), wanted);
    assert_eq!(lines[0]["name"], "ada");
    let said: Vec<&Value> =
        lines.iter().filter(|line| line["what"] == "entry").map(|line| &line["text"]).collect();
    assert_eq!(said, [&json!("ada's secret"), &json!("bob's answer")]);
    assert!(!answer.body.contains("argon2"));
}

#[tokio::test]
async fn a_deleted_account_is_gone_and_so_is_what_it_wrote() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let bob = User::sign_up(&running, "bob").await;
    let conversation = chat(&running, &ada, &bob).await;
    let (mut client, _) = Client::welcomed(&running, &ada).await;
    let delete = async |password: &str| {
        let body = json!({ "password": password });
        call(&running, &ada, "POST", "/v1/account/delete", body).await
    };
    assert_eq!(delete("wrong horse").await.error(), (401, "WrongCredentials".to_owned()));
    assert_eq!(delete("correct horse").await.status, 204);
    assert_eq!(client.goodbye().await, Goodbye::with(None, CloseCode::Revoked));
    assert_eq!(get(&running, &ada, "/v1/account").await.error().0, 401);
    let identity = &running.node.state().identity;
    identity.finish_deletions().await.unwrap();
    assert_eq!(
        running.post("/v1/login", &credentials("ada", "correct horse")).await.error().1,
        "WrongCredentials"
    );
    let path = format!("/v1/conversations/{conversation}/history");
    let history = get(&running, &bob, &path).await.json();
    let texts: Vec<&Value> =
        history["entries"].as_array().unwrap().iter().map(|entry| &entry["text"]).collect();
    assert_eq!(texts, [&json!(""), &json!("bob's answer")]);
    let members = get(&running, &bob, &format!("/v1/conversations/{conversation}/members")).await;
    let names: Vec<Value> = members.json()["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|member| member["name"].clone())
        .collect();
    assert!(names.contains(&json!("")) && names.contains(&json!("bob")), "{names:?}");
    let seen = get(&running, &bob, &format!("/v1/users/{}", ada.user)).await;
    assert_eq!(seen.error(), (404, "NotFound".to_owned()));
    // The name is free, and the store is whole.
    let again = User::sign_up(&running, "ada").await;
    assert_ne!(again.user, ada.user);
    let report = check(&running.node.state().store, |_| {}).await.unwrap();
    assert!(report.is_clean(), "{:#?}", report.findings);
}

#[tokio::test]
async fn who_guesses_passwords_waits_and_a_logged_in_device_does_not() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let mut answers = Vec::new();
    for _ in 0..8 {
        answers.push(running.post("/v1/login", &credentials("ada", "wrong horse")).await);
    }
    let codes: Vec<String> = answers.iter().map(|answer| answer.error().1).collect();
    assert_eq!(&codes[..5], ["WrongCredentials"; 5]);
    assert_eq!(&codes[5..], ["RateLimited"; 3]);
    assert!(answers[7].header("retry-after").is_some());
    // The same for a name that nobody has: waiting tells nothing.
    let mut codes = Vec::new();
    for _ in 0..8 {
        codes
            .push(running.post("/v1/login", &credentials("nobody", "wrong horse")).await.error().1);
    }
    assert_eq!(&codes[5..], ["RateLimited"; 3]);
    assert_eq!(get(&running, &ada, "/v1/account").await.status, 200);
    let refresh = format!(r#"{{"refresh_token":"{}"}}"#, ada.refresh_token);
    assert_eq!(running.post("/v1/refresh", &refresh).await.status, 200);
}

#[tokio::test]
async fn conversations_and_history_come_by_cursor_and_by_time() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let bob = User::sign_up(&running, "bob").await;
    let eve = User::sign_up(&running, "eve").await;
    let conversation = chat(&running, &ada, &bob).await;
    let list = get(&running, &ada, "/v1/conversations?limit=1").await.json();
    assert_eq!(list["conversations"][0]["conversation"], conversation.to_string());
    assert_eq!(list["conversations"][0]["members"], 2);
    assert_eq!(list["next"], Value::Null);
    let path = format!("/v1/conversations/{conversation}");
    assert_eq!(get(&running, &ada, &path).await.json()["head"], 2);
    let history =
        async |query: &str| get(&running, &ada, &format!("{path}/history?{query}")).await.json();
    let seqs = |page: &Value| -> Vec<u64> {
        let entries = page["entries"].as_array().unwrap();
        entries.iter().map(|entry| entry["seq"].as_u64().unwrap()).collect()
    };
    let newest = history("limit=1").await;
    assert_eq!((seqs(&newest), &newest["more"]), (vec![2], &json!(true)));
    assert_eq!(seqs(&history("before=2").await), [1]);
    assert_eq!(seqs(&history("after=1").await), [2]);
    assert!(seqs(&history("before=0").await).is_empty());
    let second_ms = newest["entries"][0]["time_ms"].as_u64().unwrap();
    let first_ms = history("before=2").await["entries"][0]["time_ms"].as_u64().unwrap();
    assert_eq!(seqs(&history(&format!("since_ms={first_ms}")).await)[0], 1);
    assert!(seqs(&history(&format!("since_ms={}", second_ms + 1)).await).is_empty());
    for query in ["before=1&after=1", "before=x", "limit=0", "offset=1"] {
        let answer = get(&running, &ada, &format!("{path}/history?{query}")).await;
        assert_eq!(answer.error(), (400, "BadRequest".to_owned()), "{query}");
    }
    // Who is no member learns nothing, not even that there is such a conversation.
    for path in [path.clone(), format!("{path}/members"), format!("{path}/history")] {
        let answer = get(&running, &eve, &path).await;
        let unknown = get(&running, &eve, "/v1/conversations/0000000000000001").await;
        assert_eq!((answer.status, answer.body), (404, unknown.body), "{path}");
    }
    assert_eq!(get(&running, &eve, "/v1/conversations").await.json()["conversations"], json!([]));
}
