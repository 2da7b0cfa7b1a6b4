//! The HTTP side: sign-up, log-in, refresh. Plain `http://` for now.
//!
//! One [`Api`] holds one kept-alive connection, made when first needed.

use crate::error::ApiError;
use crate::socket::authority;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rookery_protocol::{DeviceId, UserId};
use serde::{Deserialize, Deserializer, Serialize};
use tokio::net::TcpStream;

/// Most bytes of an answer that are read.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// What sign-up, log-in and refresh answer.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct Login {
    /// The user.
    #[serde(deserialize_with = "user")]
    pub user: UserId,
    /// The device this log-in stands for.
    #[serde(deserialize_with = "device")]
    pub device: DeviceId,
    /// The user's unique name.
    pub name: String,
    /// For `Hello`.
    pub access_token: String,
    /// When the access token expires, Unix milliseconds.
    pub access_expires_ms: u64,
    /// Good for one refresh; keep the newest durably.
    pub refresh_token: String,
    /// Where to connect.
    pub websocket: String,
    /// Other addresses to try.
    #[serde(default)]
    pub endpoints: Vec<String>,
}

impl Login {
    /// All addresses to connect to, best first, each once.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        let mut addresses = vec![self.websocket.clone()];
        for endpoint in &self.endpoints {
            if !addresses.contains(endpoint) {
                addresses.push(endpoint.clone());
            }
        }
        addresses
    }
}

// Tokens never reach a log through `{:?}`.
impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login")
            .field("user", &self.user)
            .field("device", &self.device)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

fn hex<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
    let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
    u64::from_str_radix(&text, 16).map_err(serde::de::Error::custom)
}

fn user<'de, D: Deserializer<'de>>(d: D) -> Result<UserId, D::Error> {
    hex(d).map(UserId)
}

fn device<'de, D: Deserializer<'de>>(d: D) -> Result<DeviceId, D::Error> {
    hex(d).map(DeviceId)
}

#[derive(Serialize)]
struct Credentials<'a> {
    name: &'a str,
    password: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_name: Option<&'a str>,
}

#[derive(Serialize)]
struct RefreshToken<'a> {
    refresh_token: &'a str,
}

#[derive(Deserialize)]
struct Failure {
    error: FailureDetail,
}

#[derive(Deserialize)]
struct FailureDetail {
    code: String,
    #[serde(default)]
    detail: String,
}

/// A client of a node's HTTP API.
#[derive(Debug)]
pub struct Api {
    to: String,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Api {
    /// For a node at `http://host[:port]`.
    ///
    /// # Errors
    /// [`ApiError::BadUrl`].
    pub fn new(base: &str) -> Result<Self, ApiError> {
        let (_, to) = authority(base, "http").ok_or_else(|| ApiError::BadUrl(base.to_owned()))?;
        Ok(Self { to, connection: None })
    }

    /// Creates an account and logs its first device in.
    ///
    /// # Errors
    /// [`ApiError`]; a lost connection leaves open whether the account exists.
    pub async fn sign_up(&mut self, name: &str, password: &str) -> Result<Login, ApiError> {
        self.post("/v1/signup", &Credentials { name, password, device_name: None }).await
    }

    /// Logs a new device in.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn log_in(
        &mut self,
        name: &str,
        password: &str,
        device_name: Option<&str>,
    ) -> Result<Login, ApiError> {
        self.post("/v1/login", &Credentials { name, password, device_name }).await
    }

    /// Exchanges a refresh token; the old one is used up.
    ///
    /// # Errors
    /// [`ApiError`]; after a lost connection the old token may be used up already.
    pub async fn refresh(&mut self, refresh_token: &str) -> Result<Login, ApiError> {
        self.post("/v1/refresh", &RefreshToken { refresh_token }).await
    }

    async fn post<B: Serialize>(&mut self, path: &str, body: &B) -> Result<Login, ApiError> {
        let body = serde_json::to_vec(body).map_err(|e| ApiError::Io(e.to_string()))?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, &self.to)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| ApiError::Io(e.to_string()))?;
        let answer = self.connection().await?.send_request(request).await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(e) => {
                self.connection = None;
                return Err(ApiError::Io(e.to_string()));
            }
        };
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
        let body = body.map_err(|e| ApiError::Io(e.to_string()))?.to_bytes();
        if !status.is_success() {
            let (code, detail) = match serde_json::from_slice::<Failure>(&body) {
                Ok(failure) => (failure.error.code, failure.error.detail),
                Err(_) => (String::new(), String::new()),
            };
            return Err(ApiError::Status { status: status.as_u16(), code, detail });
        }
        serde_json::from_slice(&body).map_err(|e| ApiError::BadAnswer(e.to_string()))
    }

    async fn connection(&mut self) -> Result<&mut SendRequest<Full<Bytes>>, ApiError> {
        let io = |e: &dyn std::fmt::Display| ApiError::Io(e.to_string());
        let mut kept = self.connection.take();
        if let Some(connection) = &mut kept
            && connection.ready().await.is_err()
        {
            kept = None;
        }
        let kept = match kept {
            Some(kept) => kept,
            None => {
                let stream = TcpStream::connect(&self.to).await.map_err(|e| io(&e))?;
                stream.set_nodelay(true).map_err(|e| io(&e))?;
                let (send, connection) =
                    handshake(TokioIo::new(stream)).await.map_err(|e| io(&e))?;
                tokio::spawn(connection);
                send
            }
        };
        Ok(self.connection.insert(kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_a_log_in_is_read_and_its_tokens_are_not_shown() {
        let json = r#"{ "user": "00000000000000ff", "device": "8000000000000001", "name": "ada",
            "access_token": "secret-a", "access_expires_ms": 5, "refresh_token": "secret-r",
            "websocket": "ws://h/v1/ws", "more": 1 }"#;
        let login: Login = serde_json::from_str(json).unwrap();
        assert_eq!(login.user, UserId(255));
        assert_eq!(login.device, DeviceId(0x8000_0000_0000_0001));
        assert!(login.endpoints.is_empty());
        assert!(!format!("{login:?}").contains("secret"));
    }

    #[test]
    fn an_address_this_client_cannot_use_is_refused_at_once() {
        for bad in ["https://h", "h:80", "ws://h", "http://", ""] {
            assert!(matches!(Api::new(bad), Err(ApiError::BadUrl(_))), "{bad}");
        }
        assert!(Api::new("http://127.0.0.1:8080").is_ok());
    }
}
