//! Every operation with what it should not be sent: a 4xx in the one shape of errors, no fault of
//! the node, and nothing of what was sent in logs and metrics.

use crate::support::wire::{User, now_s};
use crate::support::{Answer, Running, bearer, post, send};
use rookery_node::identity::{Claims, Tokens};
use serde_json::{Map, Value, json};
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// An operation that takes a body: method, path, a good body, whether it takes a token.
fn with_bodies(user: &User) -> Vec<(&'static str, &'static str, Value, bool)> {
    let password = "correct horse";
    vec![
        ("POST", "/v1/signup", json!({ "name": "new-user", "password": password }), false),
        ("POST", "/v1/login", json!({ "name": "ada", "password": password }), false),
        ("POST", "/v1/refresh", json!({ "refresh_token": user.refresh_token }), false),
        ("PATCH", "/v1/account", json!({ "display_name": "Ada" }), true),
        ("PATCH", "/v1/settings", json!({ "settings": { "theme": "dark" } }), true),
        (
            "POST",
            "/v1/account/password",
            json!({ "old_password": password, "new_password": "battery staple" }),
            true,
        ),
        ("POST", "/v1/account/delete", json!({ "password": password }), true),
    ]
}

/// Operations that take a token and no body.
const WITHOUT_BODIES: [(&str, &str); 13] = [
    ("GET", "/v1/account"),
    ("GET", "/v1/account/export"),
    ("GET", "/v1/settings"),
    ("GET", "/v1/contacts"),
    ("PUT", "/v1/contacts/0000000000000001"),
    ("GET", "/v1/users/0000000000000001"),
    ("GET", "/v1/users?name=ada"),
    ("GET", "/v1/devices"),
    ("DELETE", "/v1/devices/0000000000000001"),
    ("GET", "/v1/conversations"),
    ("GET", "/v1/conversations/0000000000000001"),
    ("GET", "/v1/conversations/0000000000000001/members"),
    ("GET", "/v1/conversations/0000000000000001/history"),
];

/// Refused in the one shape, by the client's fault.
fn assert_refused(answer: &Answer, what: &str) {
    let (status, code) = answer.error();
    assert!((400..500).contains(&status), "{what}: {status} {code}");
}

async fn call(running: &Running, method: &str, path: &str, token: &str, body: &str) -> Answer {
    running.send(&bearer(method, path, token, Some(body))).await
}

/// Bodies that are not the good one.
fn spoiled(good: &Value) -> Vec<String> {
    let fields = good.as_object().unwrap();
    let mut bodies: Vec<Value> =
        vec![json!(null), json!([]), json!("text"), json!(7), json!([good])];
    for name in fields.keys() {
        let mut missing: Map<String, Value> = fields.clone();
        missing.remove(name);
        bodies.push(missing.into());
        for wrong in [json!(1), json!(true), json!([]), json!({}), json!(["a"])] {
            let mut changed = fields.clone();
            changed.insert(name.clone(), wrong);
            bodies.push(changed.into());
        }
    }
    let mut extra = fields.clone();
    extra.insert("is_admin".to_owned(), json!(true));
    bodies.push(extra.into());
    let mut texts: Vec<String> = bodies.iter().map(Value::to_string).collect();
    let whole = good.to_string();
    texts.extend(["", "{", "{}}", "\u{0}", "{\"\\ud800\":1}"].map(str::to_owned));
    texts.push(whole[..whole.len() - 1].to_owned());
    let (name, value) = fields.iter().next().unwrap();
    texts.push(format!("{{\"{name}\":{value},\"{name}\":{value}}}"));
    texts.push("[".repeat(2_000));
    texts
}

#[tokio::test]
async fn every_body_is_held_to_its_form() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    for (method, path, good, _) in with_bodies(&ada) {
        for body in spoiled(&good) {
            // A change of nothing is one: what is optional may be missing.
            let nothing = [("/v1/account", "{}"), ("/v1/settings", r#"{"settings":{}}"#)];
            if nothing.contains(&(path, body.as_str())) {
                continue;
            }
            let request = bearer(method, path, &ada.token, Some(&body));
            let request = if body.is_empty() {
                request
                    .replace("content-length", "content-type: application/json\r\ncontent-length")
            } else {
                request
            };
            let answer = running.send(&request).await;
            assert_refused(&answer, &format!("{method} {path} {body:.60}"));
        }
        let text = good.to_string();
        for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx"]
        {
            let request = bearer(method, path, &ada.token, Some(&text));
            let request = request.replace("application/json", content_type);
            let answer = running.send(&request).await;
            assert_eq!(answer.error(), (415, "WrongContentType".to_owned()), "{method} {path}");
        }
        let large = format!("{}{}", text, " ".repeat(20_000));
        let answer = call(&running, method, path, &ada.token, &large).await;
        assert_eq!(answer.error(), (413, "TooLarge".to_owned()), "{method} {path}");
    }
}

#[tokio::test]
async fn no_token_that_is_not_good_opens_anything() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let claims =
        Claims { user: ada.user, device: ada.device, issued_s: now_s(), expires_s: now_s() + 60 };
    let foreign = Tokens::new(&[9; 32]).unwrap().issue(claims).unwrap();
    let (body, signature) = ada.token.split_once('.').unwrap().1.split_once('.').unwrap();
    // {"alg":"none"}
    let none = format!("eyJhbGciOiJub25lIn0.{body}.");
    let none_signed = format!("eyJhbGciOiJub25lIn0.{body}.{signature}");
    let stranger = Claims { device: rookery_protocol::DeviceId(1), ..claims };
    let unknown_device = running.node.state().identity.tokens().issue(stranger).unwrap();
    let long = "a".repeat(5_000);
    let expired = ada.token_until(&running, now_s() - 60);
    let bad: [(&str, &str); 9] = [
        ("", "BadToken"),
        ("a.b.c", "BadToken"),
        (foreign.as_str(), "BadToken"),
        (none.as_str(), "BadToken"),
        (none_signed.as_str(), "BadToken"),
        (unknown_device.as_str(), "BadToken"),
        (long.as_str(), "BadToken"),
        (ada.refresh_token.as_str(), "BadToken"),
        (expired.as_str(), "TokenExpired"),
    ];
    let mut operations: Vec<(&str, &str, Option<String>)> =
        WITHOUT_BODIES.into_iter().map(|(method, path)| (method, path, None)).collect();
    for (method, path, good, needs_token) in with_bodies(&ada) {
        if needs_token {
            operations.push((method, path, Some(good.to_string())));
        }
    }
    for (method, path, body) in &operations {
        for (token, code) in bad {
            let answer = running.send(&bearer(method, path, token, body.as_deref())).await;
            assert_eq!(answer.error(), (401, code.to_owned()), "{method} {path} {token:.20}");
        }
        let request = bearer(method, path, &ada.token, body.as_deref());
        for scheme in ["Basic ", "", "Bearer  ", "Bearer\t"] {
            let request = request.replace("Bearer ", scheme);
            let answer = running.send(&request).await;
            assert_eq!(answer.status, 401, "{method} {path} {scheme:?}");
        }
        let twice = request.replace(
            "connection: close",
            &format!("connection: close\r\nauthorization: Bearer {}", ada.token),
        );
        assert_eq!(running.send(&twice).await.status, 401, "{method} {path}: two tokens");
    }
    assert_eq!(call(&running, "PATCH", "/v1/account", &ada.token, "{}").await.status, 200);
}

#[tokio::test]
async fn paths_and_methods_that_are_not_there_are_told_so() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    for (method, path) in WITHOUT_BODIES {
        let wrong = if method == "GET" { "PUT" } else { "GET" };
        let answer = running.send(&bearer(wrong, path, &ada.token, None)).await;
        assert_eq!(answer.error(), (405, "WrongMethod".to_owned()), "{wrong} {path}");
    }
    for path in [
        "/v1/account/../devices",
        "/v1/account/%2e%2e/devices",
        "/v1//account",
        "/v1/devices/..%2f..%2fetc",
        "/v1/devices/%00",
        "/v1/users/%ff",
        "/v1/conversations/0000000000000001%2fhistory",
        "/v1/conversations/0000000000000001/history/x",
        "/v1/conversations/00000000000000000000000000000001",
        "/../../etc/passwd",
        "/web/%2e%2e/%2e%2e/Cargo.toml",
    ] {
        let answer = running.send(&bearer("GET", path, &ada.token, None)).await;
        assert!((400..500).contains(&answer.status), "{path}: {}", answer.status);
        assert!(!answer.body.contains("root:"), "{path}");
    }
    for query in ["name=%0d%0aset-cookie:x", "name=a&name=b", "name", "x=1", "name=\u{e9}"] {
        let path = format!("/v1/users?{query}");
        let answer = running.send(&bearer("GET", &path, &ada.token, None)).await;
        assert!((400..500).contains(&answer.status), "{path}: {}", answer.status);
        assert_eq!(answer.header("set-cookie"), None, "{path}");
    }
}

#[tokio::test]
async fn headers_that_hide_or_inject_others_are_refused_before_anything_looks_at_them() {
    let running = Running::start().await;
    let ada = User::sign_up(&running, "ada").await;
    let good = bearer("GET", "/v1/account", &ada.token, None);
    assert_eq!(running.send(&good).await.status, 200);
    for line in [
        "content-length: 0\r\ncontent-length: 7",
        "content-length: -1",
        "content-length: 0, 7",
        "transfer-encoding: gzip",
        "x-note: a\r\n set-cookie: x=1",
        "x-note: a\rset-cookie: x=1",
        "x-note: a\0b",
        "x note: a",
        "x-note : a",
        ": a",
        "x-note",
    ] {
        let request = good.replacen("content-length: 0", line, 1);
        let answer = running.send(&request).await;
        assert_eq!(answer.status, 400, "{line:?}: {answer:?}");
        assert_eq!(answer.header("set-cookie"), None, "{line:?}");
        assert!(!answer.body.contains("ada"), "{line:?}: {}", answer.body);
    }
    // What a client says of itself comes back as it said it, and in the body alone.
    let label = "phone\r\nset-cookie: x=1";
    let log_in = json!({ "name": "ada", "password": "correct horse", "device_name": label });
    let answer = running.post("/v1/login", &log_in.to_string()).await;
    assert_eq!((answer.status, answer.header("set-cookie")), (200, None));
    let devices = running.send(&bearer("GET", "/v1/devices", &ada.token, None)).await;
    assert_eq!((devices.status, devices.header("set-cookie")), (200, None));
    assert_eq!(devices.json()["devices"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_body_that_trickles_in_is_given_up() {
    let running = Running::start_with(|config| config.http.body_timeout_ms = 200).await;
    let mut stream = TcpStream::connect(running.node.http_addr()).await.unwrap();
    let request = post("/v1/login", "application/json", &" ".repeat(100));
    let (head, _) = request.split_once("\r\n\r\n").unwrap();
    stream.write_all(format!("{head}\r\n\r\n{{").as_bytes()).await.unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(10), crate::support::read(&mut stream));
    assert_eq!(answer.await.unwrap().error(), (408, "TooSlow".to_owned()));
}

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn nothing_that_people_sent_is_in_logs_metrics_or_errors() {
    let log = Log::default();
    let writer = log.clone();
    // This process's only subscriber: other tests of this binary log here too, which does no harm.
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .init();
    let running = Running::start().await;
    let password = "canary-password-7f3a";
    let sign_up =
        json!({ "name": "canary", "password": password, "device_name": "canary-device-7f3a" });
    let answer = running.post("/v1/signup", &sign_up.to_string()).await;
    let user = User::from_answer(&answer.json());
    let mut answers = Vec::new();
    for (method, path, body) in [
        ("PATCH", "/v1/account", json!({ "display_name": "canary-display-7f3a\u{202e}" })),
        ("PATCH", "/v1/account", json!({ "avatar": "http://canary-avatar-7f3a" })),
        ("PATCH", "/v1/account", json!({ "canary-field-7f3a": 1 })),
        ("POST", "/v1/login", json!({ "name": "canary-name-7f3a", "password": password })),
        ("POST", "/v1/login", json!({ "name": "canary", "password": "canary-wrong-7f3a" })),
        ("POST", "/v1/refresh", json!({ "refresh_token": user.refresh_token })),
        ("POST", "/v1/refresh", json!({ "refresh_token": "canary-token-7f3a" })),
    ] {
        let body = body.to_string();
        answers.push(running.send(&bearer(method, path, &user.token, Some(&body))).await);
    }
    let path = "/v1/users?name=canary-query-7f3a";
    answers.push(running.send(&bearer("GET", path, "canary-bearer-7f3a", None)).await);
    let metrics_at = running.node.metrics_addr().unwrap();
    let request = "GET /metrics HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n";
    let metrics = send(metrics_at, request).await.body;
    running.node.shutdown().await;
    let logged = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(logged.contains("the node has ended"), "the log was not looked at");
    let fresh: Vec<String> = answers
        .iter()
        .filter(|answer| answer.status == 200)
        .filter_map(|answer| {
            let json: Value = serde_json::from_str(&answer.body).ok()?;
            Some(json["refresh_token"].as_str()?.to_owned())
        })
        .collect();
    assert_eq!(fresh.len(), 1);
    let secrets = [user.token.as_str(), &user.refresh_token, &fresh[0], "7f3a"];
    for secret in secrets {
        assert!(!logged.contains(secret), "{secret} is in the log");
        assert!(!metrics.contains(secret), "{secret} is in the metrics");
        for answer in answers.iter().filter(|answer| answer.status >= 400) {
            assert!(!answer.body.contains(secret), "{secret} is in an error: {}", answer.body);
        }
    }
}
