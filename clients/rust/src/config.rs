//! What an application may choose about a client, with defaults that fit a person's device.

use rookery_protocol::limits::DEFAULT_WINDOW_BYTES;

/// Settings of one client. Share one `Arc<Config>` among many clients of a process.
#[derive(Clone, Debug)]
pub struct Config {
    /// WebSocket addresses (`ws://host:port/v1/ws`), tried in turn.
    pub endpoints: Vec<String>,
    /// Name and version of the program, for the operator's eyes.
    pub agent: String,
    /// Bytes of unacknowledged stream frames the server may have under way.
    pub window_bytes: u32,
    /// Longest time a received stream frame stays unacknowledged, milliseconds.
    pub ack_delay_ms: u64,
    /// Longest time from dialling to `Welcome`, milliseconds.
    pub connect_timeout_ms: u64,
    /// Time without an answer after which a send or request is repeated, milliseconds.
    pub answer_timeout_ms: u64,
    /// Time after which a request fails for good, reconnects included, milliseconds. Sends never
    /// time out: their outcome would be unknown.
    pub request_timeout_ms: u64,
    /// First upper bound of the back-off, milliseconds; it doubles at each attempt.
    pub backoff_base_ms: u64,
    /// Last upper bound of the back-off, milliseconds.
    pub backoff_max_ms: u64,
    /// Most sends without an answer; one more is refused with [`crate::QueueError::Full`].
    pub max_pending_sends: usize,
    /// Whether a conversation's next message is sent before the one before it was answered.
    /// Faster over a long way, but a message that the server could not take for the moment is
    /// overtaken by those behind it. Without it a conversation's messages keep their order.
    pub pipeline_sends: bool,
    /// Most requests without an answer.
    pub max_pending_requests: usize,
    /// Read buffer of a connection, bytes. It is allocated at once: keep it small where many idle
    /// connections share a process.
    pub read_buffer_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            agent: concat!("rookery-client-rust/", env!("CARGO_PKG_VERSION")).to_owned(),
            window_bytes: DEFAULT_WINDOW_BYTES,
            ack_delay_ms: 500,
            connect_timeout_ms: 10_000,
            answer_timeout_ms: 15_000,
            request_timeout_ms: 60_000,
            backoff_base_ms: 200,
            backoff_max_ms: 20_000,
            max_pending_sends: 1024,
            pipeline_sends: false,
            max_pending_requests: 256,
            read_buffer_bytes: 4096,
        }
    }
}

impl Config {
    /// The defaults with one endpoint.
    #[must_use]
    pub fn with_endpoint(url: impl Into<String>) -> Self {
        Self { endpoints: vec![url.into()], ..Self::default() }
    }
}
