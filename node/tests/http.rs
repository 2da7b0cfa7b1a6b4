//! The HTTP API as its clients meet it: what works, and what each bad request is told.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that fails fails its test"
)]

mod support;

use rookery_cluster_config::SignUp;
use rookery_node::identity::{Claims, TokenError, Tokens};
use rookery_node::now_ms;
use rookery_protocol::{DeviceId, UserId};
use serde_json::Value;
use std::time::Duration;
use support::{Running, credentials, post, read, send};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

#[tokio::test]
async fn a_person_signs_up_logs_in_and_refreshes() {
    let node = Running::start().await;
    let first = node.sign_up("Ada").await;
    assert_eq!(first["name"], "ada");
    assert_eq!(first["websocket"], "ws://node/v1/ws");
    assert_eq!(first["endpoints"][0], first["websocket"]);
    let expires = first["access_expires_ms"].as_u64().unwrap();
    assert!((3_590_000..=3_600_000).contains(&(expires - now_ms())), "{expires}");

    let body = r#"{"name":"ADA","password":"correct horse","device_name":"phone"}"#;
    let second = node.post("/v1/login", body).await.json();
    assert_eq!(second["user"], first["user"]);
    assert_ne!(second["device"], first["device"]);

    let refresh = format!(r#"{{"refresh_token":{}}}"#, second["refresh_token"]);
    let third = node.post("/v1/refresh", &refresh).await.json();
    assert_eq!(third["device"], second["device"]);
    assert_eq!(third["name"], "ada");
    assert_ne!(third["refresh_token"], second["refresh_token"]);

    for answer in [&first, &second, &third] {
        let token = answer["access_token"].as_str().unwrap();
        let claims = node.node.state().identity.tokens().verify(token, now_ms() / 1000).unwrap();
        assert_eq!(claims.user.to_string(), answer["user"].as_str().unwrap());
        assert_eq!(claims.device.to_string(), answer["device"].as_str().unwrap());
        let row = node.node.state().store.device(claims.user, claims.device).await;
        assert!(!row.unwrap().unwrap().revoked);
    }
    node.node.shutdown().await;
}

#[tokio::test]
async fn a_second_use_of_a_refresh_token_revokes_the_whole_device() {
    let node = Running::start().await;
    let first = node.sign_up("ada").await;
    let other_device = node.post("/v1/login", &credentials("ada", "correct horse")).await.json();
    let refresh = |credentials: &Value| {
        let body = format!(r#"{{"refresh_token":{}}}"#, credentials["refresh_token"]);
        async { node.post("/v1/refresh", &{ body }).await }
    };
    let fresh = refresh(&first).await.json();
    let fresher = refresh(&fresh).await.json();
    let stolen = refresh(&first).await;
    assert_eq!(stolen.error(), (401, "BadToken".to_owned()));
    assert_eq!(refresh(&fresher).await.error(), (401, "BadToken".to_owned()));
    assert_eq!(refresh(&other_device).await.status, 200);

    let id = |field: &Value| u64::from_str_radix(field.as_str().unwrap(), 16).unwrap();
    let user = UserId(id(&first["user"]));
    let store = &node.node.state().store;
    let device = |of: &Value| store.device(user, DeviceId(id(&of["device"])));
    assert!(device(&first).await.unwrap().unwrap().revoked);
    assert!(!device(&other_device).await.unwrap().unwrap().revoked);
}

#[tokio::test]
async fn a_refresh_whose_answer_got_lost_is_answered_again() {
    let node = Running::start().await;
    let first = node.sign_up("ada").await;
    let body = format!(r#"{{"refresh_token":{}}}"#, first["refresh_token"]);
    let lost = node.post("/v1/refresh", &body).await.json();
    let again = node.post("/v1/refresh", &body).await.json();
    assert_eq!(again["refresh_token"], lost["refresh_token"]);
    assert_eq!(again["device"], first["device"]);
    let next = format!(r#"{{"refresh_token":{}}}"#, again["refresh_token"]);
    assert_eq!(node.post("/v1/refresh", &next).await.status, 200);
}

#[tokio::test]
async fn a_taken_name_is_refused_whatever_its_case() {
    let node = Running::start().await;
    node.sign_up("ada").await;
    for name in ["ada", "ADA", "Ada"] {
        let answer = node.post("/v1/signup", &credentials(name, "another horse")).await;
        assert_eq!(answer.error(), (409, "NameTaken".to_owned()));
    }
}

#[tokio::test]
async fn two_sign_ups_with_one_name_at_once_make_one_account() {
    let node = Running::start().await;
    let body = credentials("ada", "correct horse");
    let (one, two, three) = tokio::join!(
        node.post("/v1/signup", &body),
        node.post("/v1/signup", &body),
        node.post("/v1/signup", &body)
    );
    let mut statuses = [one.status, two.status, three.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409]);
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_are_answered_alike() {
    let node = Running::start().await;
    node.sign_up("ada").await;
    let mut bodies = Vec::new();
    for (name, password) in [
        ("ada", "wrong horse"),
        ("ada", ""),
        ("ada", "short"),
        ("nobody", "correct horse"),
        ("No Name At All!", "correct horse"),
        ("", ""),
    ] {
        let answer = node.post("/v1/login", &credentials(name, password)).await;
        assert_eq!(answer.error(), (401, "WrongCredentials".to_owned()), "{name} {password}");
        bodies.push(answer.body);
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1);
}

#[tokio::test]
async fn names_and_passwords_outside_their_limits_are_refused() {
    let node = Running::start().await;
    let long = "a".repeat(33);
    for name in ["a", "", "a b", "\u{e9}mile", "a/b", long.as_str()] {
        let answer = node.post("/v1/signup", &credentials(name, "correct horse")).await;
        assert_eq!(answer.error(), (400, "BadName".to_owned()), "{name}");
    }
    let long = "x".repeat(257);
    for password in ["", "seven77", long.as_str()] {
        let answer = node.post("/v1/signup", &credentials("ada", password)).await;
        assert_eq!(answer.error(), (400, "BadPassword".to_owned()), "{password}");
    }
    for (name, password) in
        [("ab", "8 bytes!"), ("a".repeat(32).as_str(), "y".repeat(256).as_str())]
    {
        assert_eq!(node.post("/v1/signup", &credentials(name, password)).await.status, 200);
    }
}

#[tokio::test]
async fn a_body_that_is_not_what_the_route_takes_is_told_why_without_its_values() {
    let node = Running::start().await;
    for (body, detail) in [
        ("", "not JSON"),
        ("{", "not JSON"),
        (r#"{"name":"ada","password":"canary77"} x"#, "not JSON"),
        ("[]", "wrong type"),
        (r#"{"name":"ada"}"#, "missing field"),
        (r#"{"password":"canary77"}"#, "missing field"),
        (r#"{"name":"ada","password":"canary77","canary77":1}"#, "unknown field"),
        (r#"{"name":"ada","name":"eve","password":"canary77"}"#, "duplicate field"),
        (r#"{"name":["canary77"],"password":"canary77"}"#, "wrong type"),
        (r#"{"name":"ada","password":null}"#, "wrong type"),
        (r#"{"name":"ada","password":77777777}"#, "wrong type"),
    ] {
        for path in ["/v1/signup", "/v1/login"] {
            let answer = node.post(path, body).await;
            assert_eq!(answer.error(), (400, "BadRequest".to_owned()), "{body}");
            assert!(answer.body.contains(detail), "{body}: {}", answer.body);
            assert!(!answer.body.contains("canary77"), "{}", answer.body);
            assert!(!answer.body.contains("77777777"), "{}", answer.body);
        }
    }
    for body in [r#"{"refresh_token":"00"}"#, r#"{"refresh_token":"\u0000"}"#] {
        let answer = node.post("/v1/refresh", body).await;
        assert_eq!(answer.error(), (401, "BadToken".to_owned()), "{body}");
    }
    let unknown = format!(r#"{{"refresh_token":"{}"}}"#, "0".repeat(64));
    let answer = node.post("/v1/refresh", &unknown).await;
    assert_eq!(answer.error(), (401, "BadToken".to_owned()));
}

#[tokio::test]
async fn another_content_type_a_large_body_and_text_that_is_not_utf8_are_refused() {
    let node = Running::start().await;
    let good = credentials("ada", "correct horse");
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx"] {
        let answer = node.send(&post("/v1/signup", content_type, &good)).await;
        assert_eq!(answer.error(), (415, "WrongContentType".to_owned()), "{content_type}");
    }
    let large = credentials("ada", &"x".repeat(17 * 1024));
    let answer = node.post("/v1/signup", &large).await;
    assert_eq!(answer.error(), (413, "TooLarge".to_owned()));
    // The same without a declared length: the limit holds while it arrives.
    let chunked = format!(
        "POST /v1/signup HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\
         content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{large}\r\n\
         0\r\n\r\n",
        large.len()
    );
    let answer = node.send(&chunked).await;
    assert_eq!(answer.error(), (413, "TooLarge".to_owned()));

    let mut stream = TcpStream::connect(node.node.http_addr()).await.unwrap();
    let head =
        post("/v1/signup", "application/json", "{\"name\":\"ab\",\"password\":\"1234#678\"}");
    let bytes: Vec<u8> = head.bytes().map(|b| if b == b'#' { 0xff } else { b }).collect();
    stream.write_all(&bytes).await.unwrap();
    assert_eq!(read(&mut stream).await.error(), (400, "BadRequest".to_owned()));

    let with_parameter = post("/v1/signup", "Application/JSON; charset=utf-8", &good);
    assert_eq!(node.send(&with_parameter).await.status, 200);
}

#[tokio::test]
async fn unknown_routes_and_methods_are_answered_in_json() {
    let node = Running::start().await;
    for path in ["/v1/nothing", "/nothing", "/v1", "/../etc/passwd", "/%2e%2e/x", "/client/x.js"] {
        assert_eq!(node.get(path).await.error(), (404, "NotFound".to_owned()), "{path}");
    }
    let answer = node.get("/v1/signup").await;
    assert_eq!(answer.error(), (405, "WrongMethod".to_owned()));
    assert_eq!(answer.header("allow"), Some("POST"));
    let answer = node.post("/healthz", "{}").await;
    assert_eq!(answer.error(), (405, "WrongMethod".to_owned()));
    assert_eq!(answer.header("allow"), Some("GET,HEAD"));
}

#[tokio::test]
async fn every_answer_carries_the_security_headers_and_secrets_are_not_cached() {
    let node = Running::start().await;
    let answers = [
        node.get("/healthz").await,
        node.get("/nothing").await,
        node.post("/v1/signup", &credentials("ada", "correct horse")).await,
        node.post("/v1/login", "{").await,
    ];
    for answer in &answers {
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'self'; connect-src 'self' ws: wss:;"));
        assert!(policy.contains("frame-ancestors 'none'"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    }
    for answer in &answers[2..] {
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
}

#[tokio::test]
async fn health_tells_alive_from_ready() {
    let node = Running::start().await;
    assert_eq!(node.get("/healthz").await.status, 200);
    assert_eq!(node.get("/readyz").await.json()["ready"], true);
    node.node.drain();
    assert_eq!(node.get("/healthz").await.status, 200);
    assert_eq!(node.get("/readyz").await.error(), (503, "NotReady".to_owned()));
    let answer = node.post("/v1/login", &credentials("ada", "correct horse")).await;
    assert_eq!(answer.error(), (503, "NotReady".to_owned()));
    assert_eq!(answer.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn foreign_pages_are_turned_away_and_allowed_ones_may_read_the_answers() {
    let node = Running::start_with(|config| {
        config.http.allowed_origins = vec!["https://friend.example".to_owned()];
        config.http.public_url = Some("https://chat.example".to_owned());
    })
    .await;
    let from = |method: &str, path: &str, origin: &str| {
        let body = credentials("nobody", "correct horse");
        format!(
            "{method} {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\norigin: {origin}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    for (method, path) in [("POST", "/v1/login"), ("OPTIONS", "/v1/login"), ("GET", "/v1/ws")] {
        let answer = node.send(&from(method, path, "https://evil.example")).await;
        assert_eq!(answer.error(), (403, "ForeignOrigin".to_owned()), "{method} {path}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    let answer = node.send(&from("POST", "/v1/login", "http://node")).await;
    assert_eq!(answer.error(), (401, "WrongCredentials".to_owned()));
    assert_eq!(answer.header("access-control-allow-origin"), None);

    let preflight = node.send(&from("OPTIONS", "/v1/login", "https://friend.example")).await;
    assert_eq!(preflight.status, 204);
    let methods = preflight.header("access-control-allow-methods");
    assert_eq!(methods, Some("GET, POST, PUT, PATCH, DELETE"));
    let answer = node.send(&from("POST", "/v1/signup", "https://friend.example")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://friend.example"));
    assert_eq!(answer.header("vary"), Some("origin"));
    assert_eq!(answer.json()["websocket"], "wss://chat.example/v1/ws");
}

#[tokio::test]
async fn a_strange_host_header_never_reaches_the_answer() {
    let node = Running::start().await;
    let request = post("/v1/signup", "application/json", &credentials("ada", "correct horse"));
    let answer = node.send(&request.replacen("host: node", "host: a/b@c\"<", 1)).await;
    assert_eq!(answer.json()["websocket"], format!("ws://{}/v1/ws", node.node.http_addr()));
}

#[tokio::test]
async fn an_address_that_tries_too_often_is_told_when_to_come_back() {
    let node = Running::start_with(|config| {
        config.limits.limit_loopback = true;
        config.limits.attempts_burst = 3;
        config.limits.attempts_per_minute = 1;
    })
    .await;
    for _ in 0..3 {
        let answer = node.post("/v1/login", &credentials("nobody", "correct horse")).await;
        assert_eq!(answer.status, 401);
    }
    for path in ["/v1/login", "/v1/signup", "/v1/refresh"] {
        let answer = node.post(path, "{}").await;
        assert_eq!(answer.error(), (429, "RateLimited".to_owned()));
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=61).contains(&wait), "{wait}");
    }
    assert_eq!(node.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn closed_sign_up_makes_no_account() {
    let node = Running::start_with(|config| config.limits.sign_up = SignUp::Closed).await;
    let answer = node.post("/v1/signup", &credentials("ada", "correct horse")).await;
    assert_eq!(answer.error(), (403, "SignUpClosed".to_owned()));
    let answer = node.post("/v1/login", &credentials("ada", "correct horse")).await;
    assert_eq!(answer.error(), (401, "WrongCredentials".to_owned()));
}

#[tokio::test]
async fn a_head_that_trickles_in_is_cut_off_and_others_are_served_meanwhile() {
    let node = Running::start_with(|config| config.http.header_timeout_ms = 300).await;
    let address = node.node.http_addr();
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"POST /v1/login HTTP/1.1\r\nhost: no").await.unwrap();
        slow.push(stream);
    }
    assert_eq!(send(address, "GET /healthz HTTP/1.0\r\n\r\n").await.status, 200);
    for mut stream in slow {
        let mut rest = Vec::new();
        // The end of the stream (or a reset) is the event that is waited for.
        let _reset_or_end = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest).await;
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"), "{rest:?}");
    }
}

#[tokio::test]
async fn a_body_that_trickles_in_is_refused() {
    let node = Running::start_with(|config| config.http.body_timeout_ms = 200).await;
    let mut stream = TcpStream::connect(node.node.http_addr()).await.unwrap();
    let head = "POST /v1/login HTTP/1.1\r\nhost: node\r\ncontent-type: application/json\r\n\
                content-length: 100\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(read(&mut stream).await.error(), (408, "TooSlow".to_owned()));
}

#[tokio::test]
async fn no_more_connections_are_served_than_allowed() {
    let node = Running::start_with(|config| {
        config.limits.max_connections = 2;
        config.http.header_timeout_ms = 60_000;
    })
    .await;
    let address = node.node.http_addr();
    let one = TcpStream::connect(address).await.unwrap();
    let two = TcpStream::connect(address).await.unwrap();
    // The third one is connected (the kernel's doing) but not served until a place is free.
    let third = send(address, "GET /healthz HTTP/1.0\r\n\r\n");
    tokio::pin!(third);
    let early = tokio::time::timeout(Duration::from_millis(200), third.as_mut()).await;
    assert!(early.is_err(), "{early:?}");
    drop(one);
    assert_eq!(third.await.status, 200);
    drop(two);
}

#[tokio::test]
async fn metrics_are_on_their_own_listener_and_hold_no_secret() {
    let node = Running::start().await;
    let ada = node.sign_up("canary-name").await;
    let wrong = node.post("/v1/login", &credentials("canary-name", "canary password")).await;
    assert_eq!(wrong.status, 401);
    assert_eq!(node.get("/metrics").await.error(), (404, "NotFound".to_owned()));
    let metrics = node.node.metrics_addr().unwrap();
    let text = send(metrics, "GET /metrics HTTP/1.0\r\n\r\n").await;
    assert_eq!(text.status, 200);
    for line in [
        "rookery_http_requests_total{route=\"/v1/signup\",status=\"200\",code=\"\"}",
        "rookery_http_requests_total{route=\"/v1/login\",status=\"401\",code=\"WrongCredentials\"}",
        "rookery_http_request_seconds_bucket{route=\"/v1/login\"",
        "process_resident_memory_bytes",
    ] {
        assert!(text.body.contains(line), "{line} is not in\n{}", text.body);
    }
    for secret in ["canary", ada["refresh_token"].as_str().unwrap()] {
        assert!(!text.body.contains(secret), "{secret}");
    }
    assert_eq!(send(metrics, "GET / HTTP/1.0\r\n\r\n").await.error(), (404, "NotFound".to_owned()));
}

#[tokio::test]
async fn accounts_tokens_and_the_signing_key_outlive_a_restart() {
    let running = Running::start().await;
    let ada = running.sign_up("ada").await;
    let Running { node, dir } = running;
    node.shutdown().await;
    let config = support::config(dir.path());
    let again = start_again(config).await;
    let running = Running { node: again, dir };
    let token = ada["access_token"].as_str().unwrap();
    let tokens = running.node.state().identity.tokens();
    assert!(tokens.verify(token, now_ms() / 1000).is_ok());
    let refresh = format!(r#"{{"refresh_token":{}}}"#, ada["refresh_token"]);
    assert_eq!(running.post("/v1/refresh", &refresh).await.status, 200);
    let answer = running.post("/v1/login", &credentials("ada", "correct horse")).await;
    assert_eq!(answer.json()["user"], ada["user"]);
}

/// The directory is free once the last handle of the node before is dropped, which its connection
/// tasks do as they end.
async fn start_again(config: rookery_cluster_config::Config) -> rookery_node::Node {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        let cost = rookery_node::identity::Cost::Low;
        match rookery_node::Node::start_with(config.clone(), cost).await {
            Ok(node) => return node,
            Err(error) if tokio::time::Instant::now() > deadline => panic!("{error}"),
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

#[tokio::test]
async fn a_token_of_another_installation_or_an_expired_one_is_refused_here() {
    let node = Running::start().await;
    let tokens = node.node.state().identity.tokens();
    let now = now_ms() / 1000;
    let claims =
        Claims { user: UserId(1), device: DeviceId(2), issued_s: now - 60, expires_s: now - 10 };
    let expired = tokens.issue(claims).unwrap();
    assert_eq!(tokens.verify(&expired, now), Err(TokenError::Expired));
    let foreign = Tokens::new(&[1; 32]).unwrap();
    let foreign = foreign.issue(Claims { expires_s: now + 60, ..claims }).unwrap();
    assert_eq!(tokens.verify(&foreign, now), Err(TokenError::Bad));
}

#[tokio::test]
async fn every_file_of_the_page_is_served_and_revalidated_by_its_hash() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let node = Running::start().await;
    let mut served = 0;
    for (dir, prefix) in [("node/web", "/web"), ("clients/js", "/client")] {
        let Ok(entries) = std::fs::read_dir(root.join(dir)) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
            let name = path.file_name().unwrap().to_str().unwrap();
            let url = format!("{prefix}/{name}");
            if dir == "clients/js" && !name.ends_with(".js") {
                assert_eq!(node.get(&url).await.status, 404, "{url}");
                continue;
            }
            let file = node.get(&url).await;
            assert_eq!(file.status, 200, "{url}");
            assert_eq!(file.body, std::fs::read_to_string(&path).unwrap(), "{url}");
            assert!(file.header("content-type").is_some(), "{url}");
            let request = |method: &str, etag: &str| {
                format!(
                    "{method} {url} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\
                     if-none-match: {etag}\r\n\r\n"
                )
            };
            let etag = file.header("etag").unwrap();
            let known = node.send(&request("GET", &format!("\"0\", {etag}"))).await;
            assert_eq!((known.status, known.body.as_str()), (304, ""));
            assert_eq!(node.send(&request("GET", "\"0\"")).await.status, 200);
            let head = node.send(&request("HEAD", "\"0\"")).await;
            assert_eq!((head.status, head.body.as_str()), (200, ""));
            assert_eq!(head.header("content-length"), file.header("content-length"));
            assert_eq!(node.post(&url, "").await.error(), (405, "WrongMethod".to_owned()));
            served += 1;
        }
    }
    match served {
        0 => assert_eq!(node.get("/").await.error(), (404, "NotFound".to_owned())),
        _ => assert_eq!(node.get("/").await.body, node.get("/web/index.html").await.body),
    }
}
