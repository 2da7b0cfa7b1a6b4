//! Dialling and upgrading: from an address to an open WebSocket.

use crate::config::Config;
use crate::core::Lost;
use http::Uri;
use rookery_protocol::SUBPROTOCOL;
use rookery_protocol::limits::{MAX_CLIENT_MESSAGE_BYTES, MAX_SERVER_MESSAGE_BYTES};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

pub(crate) type Ws = WebSocketStream<TcpStream>;

/// Host and port of an address, if it has the scheme.
pub(crate) fn authority(address: &str, scheme: &str) -> Option<(Uri, String)> {
    let uri: Uri = address.parse().ok()?;
    if uri.scheme_str() != Some(scheme) {
        return None;
    }
    let host = uri.host()?.to_owned();
    let port = uri.port_u16().unwrap_or(80);
    Some((uri, format!("{host}:{port}")))
}

/// Connects to a `ws://` address and upgrades.
pub(crate) async fn dial(address: Arc<str>, config: Arc<Config>) -> Result<Ws, Lost> {
    let (uri, to) =
        authority(&address, "ws").ok_or_else(|| lost(format!("not a ws:// address: {address}")))?;
    let stream = TcpStream::connect(to).await.map_err(|e| lost(format!("connect: {e}")))?;
    // What the core hands over is one message already: waiting for more would only cost time.
    stream.set_nodelay(true).map_err(|e| lost(e.to_string()))?;
    let mut request = uri.into_client_request().map_err(|e| reason(&e))?;
    let subprotocol = HeaderValue::from_static(SUBPROTOCOL);
    request.headers_mut().insert("Sec-WebSocket-Protocol", subprotocol);
    let limits = WebSocketConfig::default()
        .read_buffer_size(config.read_buffer_bytes)
        // Everything is flushed as soon as it is handed over; the maximum only has to take one
        // message beside what the kernel didn't accept yet.
        .write_buffer_size(4096)
        .max_write_buffer_size(2 * MAX_CLIENT_MESSAGE_BYTES + 8192)
        .max_message_size(Some(MAX_SERVER_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_SERVER_MESSAGE_BYTES));
    match tokio_tungstenite::client_async_with_config(request, stream, Some(limits)).await {
        Ok((ws, _response)) => Ok(ws),
        Err(e) => Err(reason(&e)),
    }
}

/// What a message from the socket is to the core.
pub(crate) enum Incoming {
    Bytes(bytes::Bytes),
    /// A control frame: the answer to it must be flushed.
    Control,
    Lost(Lost),
}

pub(crate) fn incoming(item: Option<Result<Message, Error>>) -> Incoming {
    match item {
        Some(Ok(Message::Binary(bytes))) => Incoming::Bytes(bytes),
        Some(Ok(Message::Close(frame))) => Incoming::Lost(match frame {
            Some(f) => Lost { code: Some(f.code.into()), reason: f.reason.to_string() },
            None => lost("closed without a code".to_owned()),
        }),
        Some(Ok(Message::Text(_))) => Incoming::Lost(lost("a text message came".to_owned())),
        Some(Ok(_)) => Incoming::Control,
        Some(Err(e)) => Incoming::Lost(reason(&e)),
        None => Incoming::Lost(lost("the connection was closed".to_owned())),
    }
}

pub(crate) fn reason(error: &Error) -> Lost {
    lost(error.to_string())
}

fn lost(reason: String) -> Lost {
    Lost { code: None, reason }
}
