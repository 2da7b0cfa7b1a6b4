//! Sign-up and log-in of the fake server: one request a connection, every password is right.

use super::World;
use std::net::SocketAddr;
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(super) async fn answer(mut stream: TcpStream, address: SocketAddr, world: &Mutex<World>) {
    let mut request = Vec::new();
    let body = loop {
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .lines()
            .find_map(|l| l.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok())
            .unwrap_or(0);
        if body.len() >= length {
            break body.to_owned();
        }
    };
    let sign_up = request.starts_with(b"POST /v1/signup");
    let (status, json) = log_in(sign_up, &body, address, world);
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{json}",
        json.len()
    );
    // A client that is gone needs no answer.
    stream.write_all(answer.as_bytes()).await.ok();
}

fn log_in(
    sign_up: bool,
    body: &str,
    address: SocketAddr,
    world: &Mutex<World>,
) -> (&'static str, String) {
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let name = body["name"].as_str().unwrap().to_owned();
    let mut world = world.lock().unwrap();
    let known = world.names.iter().position(|n| *n == name);
    let user = match (known, sign_up) {
        (Some(_), true) => {
            return ("409 Conflict", r#"{"error":{"code":"NameTaken","detail":""}}"#.into());
        }
        (None, false) => {
            let json = r#"{"error":{"code":"WrongCredentials","detail":""}}"#;
            return ("401 Unauthorized", json.into());
        }
        (Some(user), false) => user,
        (None, true) => {
            world.names.push(name.clone());
            world.names.len() - 1
        }
    };
    world.devices += 1;
    let device = world.devices;
    let json = serde_json::json!({
        "user": format!("{user:016x}"),
        "device": format!("{device:016x}"),
        "name": name,
        "access_token": format!("{user}:{device}"),
        "access_expires_ms": 3_600_000,
        "refresh_token": "none",
        "websocket": format!("ws://{address}/v1/ws"),
        "endpoints": [],
    });
    ("200 OK", json.to_string())
}
