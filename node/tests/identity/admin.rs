//! Operators: who they are, what they see and do, what the log tells of it.

use crate::support::wire::{Client, Goodbye, User};
use crate::support::{self, Answer, Running, bearer, credentials};
use rookery_cluster_config::{Config, Engine};
use rookery_node::admin::Credentials;
use rookery_node::store_process::StoreProcess;
use rookery_protocol::{CloseCode, ReportReason, ServerFrame, server};
use rookery_store::Complaint;
use rookery_store::check::check;
use serde_json::{Value, json};
use std::net::SocketAddr;
use tempfile::TempDir;

/// An operator of a node.
pub(crate) struct Ops {
    address: SocketAddr,
    token: String,
}

impl Ops {
    pub(crate) fn new(running: &Running) -> Self {
        let credentials = Credentials::new(running.node.state().config.admin_tokens());
        let token = credentials.add("ops").unwrap();
        Self { address: running.node.admin_addr().unwrap(), token }
    }

    pub(crate) async fn call(&self, method: &str, path: &str, body: Value) -> Answer {
        let body = if body.is_null() { None } else { Some(body.to_string()) };
        let path = format!("/admin/v1/{path}");
        let request = bearer(method, &path, &self.token, body.as_deref());
        support::send(self.address, &request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, Value::Null).await
    }

    async fn post(&self, path: &str) -> Answer {
        self.call("POST", path, Value::Null).await
    }

    /// What the log says, newest first: action, target, outcome.
    pub(crate) async fn log(&self) -> Vec<(String, String, String)> {
        let page = self.get("audit?limit=200").await.json();
        let entry = |entry: &Value| {
            assert_eq!(entry["operator"], "ops");
            let text = |name: &str| entry[name].as_str().unwrap().to_owned();
            (text("action"), text("target"), text("outcome"))
        };
        page["entries"].as_array().unwrap().iter().map(entry).collect()
    }
}

/// Every operation, with a good body where it takes one.
const OPERATIONS: [(&str, &str, &str); 20] = [
    ("GET", "status", ""),
    ("POST", "drain", ""),
    ("GET", "users", ""),
    ("GET", "users/0000000000000001", ""),
    ("POST", "users/0000000000000001/disable", ""),
    ("POST", "users/0000000000000001/enable", ""),
    ("POST", "users/0000000000000001/revoke", ""),
    ("DELETE", "users/0000000000000001", ""),
    ("POST", "invitations", r#"{"uses":1,"days":1}"#),
    ("GET", "conversations", ""),
    ("GET", "conversations/0000000000000001", ""),
    ("GET", "reports", ""),
    ("GET", "reports/000000000000000100000000000000010000000000000001", ""),
    ("GET", "notices", ""),
    ("POST", "notices", r#"{"text":"hello","minutes":1}"#),
    ("DELETE", "notices", ""),
    ("GET", "limits", ""),
    ("PUT", "limits/attempts_burst", r#"{"value":"9"}"#),
    ("DELETE", "limits/attempts_burst", ""),
    ("GET", "audit", ""),
];

#[tokio::test]
async fn without_an_operators_token_nothing_is_answered_and_nothing_happens() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let address = running.node.admin_addr().unwrap();
    let ops = Ops::new(&running);
    let long = "0".repeat(5_000);
    for (method, path, body) in OPERATIONS {
        let path = format!("/admin/v1/{path}");
        let body = Some(body).filter(|body| !body.is_empty());
        // Nobody, a user, a guess, a name.
        for token in ["", ada.token.as_str(), &"0".repeat(64), "ops", &ops.token[..63], &long] {
            let answer = support::send(address, &bearer(method, &path, token, body)).await;
            assert_eq!(answer.error(), (401, "BadToken".to_owned()), "{method} {path}");
        }
        let good = bearer(method, &path, &ops.token, body);
        let line = format!("authorization: Bearer {}\r\n", ops.token);
        let basic = good.replace("Bearer", "Basic");
        for request in [good.replace(&line, ""), basic, good.replace(&line, &line.repeat(2))] {
            let answer = support::send(address, &request).await;
            assert_eq!(answer.error(), (401, "BadToken".to_owned()), "{method} {path}");
        }
        // Also with a good token no page of a browser gets in.
        let page = good.replace("connection: close", "connection: close\r\norigin: http://evil");
        let answer = support::send(address, &page).await;
        assert_eq!(answer.error(), (403, "ForeignOrigin".to_owned()), "{method} {path}");
        // The users' port does not know these paths.
        assert_eq!(running.send(&good).await.status, 404, "{method} {path}");
    }
    assert_eq!(ops.log().await, []);
    // A token that was taken away opens nothing any more.
    let credentials = Credentials::new(running.node.state().config.admin_tokens());
    assert_eq!(ops.get("status").await.status, 200);
    credentials.remove("ops").unwrap();
    assert_eq!(ops.get("status").await.error().0, 401);
}

#[tokio::test]
async fn what_is_no_good_request_is_refused_in_the_one_shape() {
    let running = Running::start().await;
    let ops = Ops::new(&running);
    for (method, path, body) in [
        ("GET", "users?offset=1", json!(null)),
        ("GET", "users?name=ada&limit=1", json!(null)),
        ("GET", "users?limit=101", json!(null)),
        ("GET", "users?after=x", json!(null)),
        ("GET", "audit?before=x", json!(null)),
        ("GET", "reports?after=x", json!(null)),
        ("GET", "reports?limit=101", json!(null)),
        ("PUT", "limits/sends_per_hour", json!({ "value": "-1" })),
        ("PUT", "limits/sign_ups_burst", json!({ "value": "0" })),
        ("GET", "conversations?limit=0", json!(null)),
        ("POST", "invitations", json!({ "uses": 0, "days": 1 })),
        ("POST", "invitations", json!({ "uses": 1, "days": 367 })),
        ("POST", "invitations", json!({ "uses": "1", "days": 1 })),
        ("POST", "invitations", json!({ "uses": 1 })),
        ("POST", "invitations", json!({ "uses": 1, "days": 1, "is_admin": true })),
        ("POST", "notices", json!({ "text": "", "minutes": 1 })),
        ("POST", "notices", json!({ "text": "a\u{1b}[2J", "minutes": 1 })),
        ("POST", "notices", json!({ "text": "x".repeat(1_025), "minutes": 1 })),
        ("POST", "notices", json!({ "text": "x", "minutes": 0 })),
        ("PUT", "limits/sign_up", json!({ "value": "ajar" })),
        ("PUT", "limits/attempts_burst", json!({ "value": "0" })),
        ("PUT", "limits/attempts_burst", json!({ "value": 9 })),
    ] {
        let answer = ops.call(method, path, body.clone()).await;
        assert_eq!(answer.error(), (400, "BadRequest".to_owned()), "{method} {path} {body}");
    }
    for (method, path) in [
        ("GET", "users/x"),
        ("GET", "users/0000000000000001"),
        ("POST", "users/0000000000000001/disable"),
        ("POST", "users/0000000000000001/enable"),
        ("POST", "users/0000000000000001/revoke"),
        ("DELETE", "users/0000000000000001"),
        ("GET", "users?name=nobody"),
        ("GET", "users/%2e%2e"),
        ("GET", "conversations/0000000000000001"),
        ("GET", "conversations/x"),
        ("GET", "reports/x"),
        ("GET", "reports/000000000000000100000000000000010000000000000001"),
        ("DELETE", "limits/max_connections"),
        ("GET", "nothing"),
    ] {
        let answer = ops.call(method, path, Value::Null).await;
        assert_eq!(answer.error(), (404, "NotFound".to_owned()), "{method} {path}");
    }
    let answer = ops.call("PATCH", "status", Value::Null).await;
    assert_eq!(answer.error(), (405, "WrongMethod".to_owned()));
    let text = bearer("POST", "/admin/v1/notices", &ops.token, Some("{}"));
    let text = text.replace("application/json", "text/plain");
    let answer = support::send(ops.address, &text).await;
    assert_eq!(answer.error(), (415, "WrongContentType".to_owned()));
    // What was refused is in the log, with why.
    let log = ops.log().await;
    let disable = |outcome: &str| {
        let entry = ("user.disable", "users/0000000000000001/disable", outcome);
        (entry.0.to_owned(), entry.1.to_owned(), entry.2.to_owned())
    };
    assert!(log.contains(&disable("begun")) && log.contains(&disable("refused: NotFound")));
}

#[tokio::test]
async fn a_disabled_account_is_logged_out_and_stays_out_until_it_is_enabled() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let bob = User::sign_up(&running, "bob").await;
    let ops = Ops::new(&running);
    let (mut adas, _) = Client::welcomed(&running, &ada).await;
    let (mut bobs, _) = Client::welcomed(&running, &bob).await;
    let path = format!("users/{}", ada.user);
    let shown = ops.get(&path).await.json();
    assert_eq!((&shown["user"]["name"], &shown["user"]["state"]), (&json!("ada"), &json!("good")));
    assert_eq!(shown["devices"][0]["device"], ada.device.to_string());
    let done = ops.post(&format!("{path}/disable")).await.json();
    assert_eq!(done, json!({ "devices": 1 }));
    assert_eq!(adas.goodbye().await, Goodbye::with(None, CloseCode::Revoked));
    bobs.assert_alive().await;
    let log_in = async || running.post("/v1/login", &credentials("ada", "correct horse")).await;
    assert_eq!(log_in().await.error(), (403, "AccountDisabled".to_owned()));
    let refresh = format!(r#"{{"refresh_token":"{}"}}"#, ada.refresh_token);
    assert_eq!(running.post("/v1/refresh", &refresh).await.error().0, 401);
    let own = running.send(&bearer("GET", "/v1/account", &ada.token, None)).await;
    assert_eq!(own.error().0, 401);
    assert_eq!(ops.get("users?name=ADA").await.json()["users"][0]["state"], "disabled");
    // Again changes nothing.
    assert_eq!(ops.post(&format!("{path}/disable")).await.json(), json!({ "devices": 0 }));
    assert_eq!(ops.post(&format!("{path}/enable")).await.status, 204);
    let again = User::from_answer(&log_in().await.json());
    let (mut adas, _) = Client::welcomed(&running, &again).await;
    adas.assert_alive().await;
    // Logged out, but not kept out.
    assert_eq!(ops.post(&format!("{path}/revoke")).await.json(), json!({ "devices": 1 }));
    assert_eq!(adas.goodbye().await, Goodbye::with(None, CloseCode::Revoked));
    assert_eq!(log_in().await.status, 200);
    let did: Vec<String> = ops
        .log()
        .await
        .into_iter()
        .map(|(action, _, outcome)| format!("{action} {outcome}"))
        .collect();
    let last = ["user.revoke done: 1 devices", "user.revoke begun", "user.enable done"];
    assert_eq!(&did[..3], last);
}

#[tokio::test]
async fn users_come_in_pages_and_a_deleted_one_is_gone() {
    let running = Running::start().await;
    let ops = Ops::new(&running);
    let mut users = Vec::new();
    for name in ["ada", "bob", "cat", "dan", "eve"] {
        users.push(User::sign_up(&running, name).await);
    }
    let mut found = Vec::new();
    let mut path = "users?limit=2".to_owned();
    loop {
        let page = ops.get(&path).await.json();
        let names = page["users"].as_array().unwrap().iter();
        found.extend(names.map(|user| user["name"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("users?limit=2&after={next}");
    }
    found.sort();
    assert_eq!(found, ["ada", "bob", "cat", "dan", "eve"]);
    let (mut client, _) = Client::welcomed(&running, &users[0]).await;
    let answer = ops.call("DELETE", &format!("users/{}", users[0].user), Value::Null).await;
    assert_eq!(answer.json(), json!({ "devices": 1 }));
    assert_eq!(client.goodbye().await, Goodbye::with(None, CloseCode::Revoked));
    running.node.state().identity.finish_deletions().await.unwrap();
    assert_eq!(ops.get(&format!("users/{}", users[0].user)).await.error().0, 404);
    let left = ops.get("users").await.json();
    assert_eq!(left["users"].as_array().unwrap().len(), 4);
    User::sign_up(&running, "ada").await;
    let report = check(&running.node.state().store, |_| {}).await.unwrap();
    assert!(report.is_clean(), "{:#?}", report.findings);
}

#[tokio::test]
async fn a_conversation_is_inspected_without_a_word_of_what_was_said() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    User::sign_up(&running, "bob").await;
    let ops = Ops::new(&running);
    let (mut client, _) = Client::live(&running, &ada).await;
    let conversation = client.open_direct("bob").await;
    for _ in 0..2 {
        let request = client.say(conversation, "canary-words-41d9").await;
        client.sent(request).await;
    }
    assert_eq!(
        ops.get("conversations").await.json(),
        json!({ "conversations": [conversation.to_string()], "next": null })
    );
    let answer = ops.get(&format!("conversations/{conversation}")).await;
    let shown = answer.json();
    assert_eq!((&shown["kind"], &shown["head"], &shown["held"]), (&json!(1), &json!(2), &json!(2)));
    let members = shown["members"].as_array().unwrap();
    let mut names: Vec<&str> = members.iter().map(|m| m["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["ada", "bob"]);
    assert!(!answer.body.contains("41d9"), "{}", answer.body);
    let rows = ops.log().await;
    assert_eq!(rows[0].0, "conversation.show");
    assert_eq!(rows[0].1, format!("conversations/{conversation}"));
}

#[tokio::test]
async fn reports_are_listed_by_cursor_without_words_and_each_look_is_in_the_log() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let bob = User::sign_up(&running, "bob").await;
    let ops = Ops::new(&running);
    let (mut client, _) = Client::live(&running, &ada).await;
    let conversation = client.open_direct("bob").await;
    for _ in 0..3 {
        let request = client.say(conversation, "canary-words-41d9").await;
        client.sent(request).await;
    }
    let store = &running.node.state().store;
    for seq in 1..=3 {
        let comment = format!("canary-comment-{seq}");
        let complaint = Complaint { conversation, seq, reason: ReportReason::Abuse, comment };
        store.report(bob.user, &complaint, 7).await.unwrap();
    }
    let mut seqs = Vec::new();
    let mut reports = Vec::new();
    let mut path = "reports?limit=1".to_owned();
    loop {
        let answer = ops.get(&path).await;
        assert!(!answer.body.contains("canary"), "{}", answer.body);
        let page = answer.json();
        for row in page["reports"].as_array().unwrap() {
            assert_eq!(row["sender"], ada.user.to_string());
            assert_eq!(row["reporter"], bob.user.to_string());
            seqs.push(row["seq"].as_u64().unwrap());
            reports.push(row["report"].as_str().unwrap().to_owned());
        }
        let Some(next) = page["next"].as_str() else { break };
        path = format!("reports?limit=1&after={next}");
    }
    assert_eq!(seqs, [1, 2, 3]);
    let path = format!("reports/{}", reports[1]);
    let shown = ops.get(&path).await;
    assert_eq!(shown.json()["comment"], "canary-comment-2");
    assert!(!shown.body.contains("41d9"), "{}", shown.body);
    let looks: Vec<_> =
        ops.log().await.into_iter().map(|(action, target, _)| (action, target)).collect();
    assert_eq!(looks[0], ("report.show".to_owned(), path));
    assert_eq!(looks[1..], vec![("report.list".to_owned(), "reports".to_owned()); 3]);
}

/// The next notice; what else comes is dropped.
async fn notice(client: &mut Client) -> server::Notice {
    client
        .until(|frame| match frame {
            ServerFrame::Notice(notice) => Some(notice.clone()),
            _ => None,
        })
        .await
}

/// Two nodes on the store of a third process.
pub(crate) struct Pair {
    pub(crate) one: Running,
    pub(crate) two: Running,
    pub(crate) store: StoreProcess,
    /// Held until all of them are gone.
    pub(crate) _dir: TempDir,
}

impl Pair {
    pub(crate) async fn start(settings: impl Fn(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = support::config(dir.path());
        config.store.engine = Engine::Shared;
        let store = StoreProcess::start(&config).unwrap();
        let socket = config.store_socket();
        let share = |config: &mut Config| {
            config.store.engine = Engine::Shared;
            config.store.socket = Some(socket.clone());
            settings(config);
        };
        let (one, two) = (Running::start_with(&share).await, Running::start_with(&share).await);
        Self { one, two, store, _dir: dir }
    }
}

#[tokio::test]
async fn a_notice_reaches_who_is_connected_on_any_node_and_who_comes_while_it_holds() {
    let Pair { one, two, store, _dir } = Pair::start(|_| {}).await;
    let ada = User::sign_up(&one, "ada").await;
    let (mut here, _) = Client::welcomed(&one, &ada).await;
    let (mut there, _) = Client::welcomed(&two, &ada).await;
    let ops = Ops::new(&one);
    let body = json!({ "text": "  Back at 22:00.\n", "minutes": 5 });
    let posted = ops.call("POST", "notices", body).await.json();
    for client in [&mut here, &mut there] {
        let told = notice(client).await;
        assert_eq!((told.notice, told.text.as_str()), (1, "Back at 22:00."));
        assert_eq!(json!(told.time_ms), posted["time_ms"]);
    }
    let (mut late, _) = Client::welcomed(&two, &ada).await;
    assert_eq!(notice(&mut late).await.notice, 1);
    // After it was withdrawn nobody is told any more; the next one has a number of its own.
    assert_eq!(ops.call("DELETE", "notices", Value::Null).await.status, 204);
    assert_eq!(ops.get("notices").await.json(), json!({ "notices": [] }));
    for n in 2..=9 {
        let body = json!({ "text": format!("number {n}"), "minutes": 5 });
        assert_eq!(ops.call("POST", "notices", body).await.status, 200, "{n}");
        assert_eq!(notice(&mut late).await.notice, n);
    }
    let body = json!({ "text": "one too many", "minutes": 5 });
    assert_eq!(ops.call("POST", "notices", body).await.error(), (409, "TooMany".to_owned()));
    let (mut latest, _) = Client::welcomed(&two, &ada).await;
    assert_eq!(notice(&mut latest).await.notice, 2, "the withdrawn one is not told");
    drop((here, there, late, latest));
    one.node.shutdown().await;
    two.node.shutdown().await;
    tokio::task::spawn_blocking(move || store.shutdown()).await.unwrap();
}

#[tokio::test]
async fn an_invitation_made_by_an_operator_lets_so_many_in_and_its_code_is_not_in_the_log() {
    let running = Running::start_with(|config| {
        config.limits.sign_up = rookery_cluster_config::SignUp::Invitation;
    })
    .await;
    let ops = Ops::new(&running);
    let answer = ops.call("POST", "invitations", json!({ "uses": 1, "days": 2 })).await.json();
    let code = answer["code"].as_str().unwrap();
    let sign_up = async |name: &str| {
        let body = json!({ "name": name, "password": "correct horse", "invitation": code });
        running.post("/v1/signup", &body.to_string()).await
    };
    assert_eq!(sign_up("ada").await.status, 200);
    assert_eq!(sign_up("bob").await.error(), (403, "NotInvited".to_owned()));
    let page = ops.get("audit?limit=1").await;
    assert_eq!(page.json()["entries"][0]["outcome"], "done: 1 uses, 2 days");
    assert!(!page.body.contains(code));
    let next = page.json()["next"].as_str().unwrap().to_owned();
    let page = ops.get(&format!("audit?limit=1&before={next}")).await.json();
    assert_eq!((&page["entries"][0]["outcome"], &page["next"]), (&json!("begun"), &Value::Null));
}
