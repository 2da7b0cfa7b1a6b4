//! What metrics know of connections. Handles are looked up once: a look-up by label costs more
//! than many a frame.

use metrics::{Counter, Gauge, counter, gauge};
use rookery_protocol::{ClientFrame, ErrorCode, number};

/// Every frame a client can send, by number and name.
const FRAMES: [(u8, &str); 16] = [
    (number::HELLO, "Hello"),
    (number::PING, "Ping"),
    (number::ACK, "Ack"),
    (number::SYNC, "Sync"),
    (number::SEND, "Send"),
    (number::MARK, "Mark"),
    (number::SET_TYPING, "SetTyping"),
    (number::HISTORY, "History"),
    (number::CONVERSATIONS, "Conversations"),
    (number::OPEN_DIRECT, "OpenDirect"),
    (number::DESCRIBE, "Describe"),
    (number::WATCH, "Watch"),
    (number::UNWATCH, "Unwatch"),
    (number::AUTHENTICATE, "Authenticate"),
    (number::LEAVE, "Leave"),
    (number::REFRESH, "Refresh"),
];

/// The counters of all connections of a node.
pub(crate) struct Meters {
    frames: Vec<(u8, Counter)>,
    unknown: Counter,
    open: Gauge,
    opened: Counter,
    /// Bytes of WebSocket messages from clients.
    pub(crate) received_bytes: Counter,
    /// Bytes of WebSocket messages to clients.
    pub(crate) sent_bytes: Counter,
}

impl Meters {
    /// Registers them with the recorder of the process.
    pub(crate) fn new() -> Self {
        let frame = |name| counter!("rookery_frames_in_total", "frame" => name);
        Self {
            frames: FRAMES.into_iter().map(|(number, name)| (number, frame(name))).collect(),
            unknown: frame("unknown"),
            open: gauge!("rookery_connections"),
            opened: counter!("rookery_connections_opened_total"),
            received_bytes: counter!("rookery_connection_received_bytes_total"),
            sent_bytes: counter!("rookery_connection_sent_bytes_total"),
        }
    }

    /// A frame came; `None` when this version doesn't know it.
    pub(crate) fn frame(&self, frame: Option<&ClientFrame>) {
        let known = frame.and_then(|frame| {
            let number = frame.number();
            self.frames.iter().find(|(known, _)| *known == number)
        });
        known.map_or(&self.unknown, |(_, counter)| counter).increment(1);
    }

    /// A connection was opened.
    pub(crate) fn opened(&self) {
        self.opened.increment(1);
        self.open.increment(1.0);
    }

    /// A connection is gone.
    pub(crate) fn gone(&self) {
        self.open.decrement(1.0);
    }
}

/// Counts the end of a connection. A client may close with any code: those that are not ours
/// share a label.
pub(crate) fn closed(code: u16) {
    let code = match code {
        1000 | 1001 | 1005 | 1006 | 4000..=4006 | 4100..=4104 => code.to_string(),
        _ => "other".to_owned(),
    };
    counter!("rookery_connections_closed_total", "code" => code).increment(1);
}

/// Counts an `Error` frame that a connection wrote itself.
pub(crate) fn error(code: ErrorCode) {
    counter!("rookery_connection_errors_total", "code" => code.name()).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use rookery_protocol::client::{Leave, Ping};

    #[test]
    fn the_list_of_frames_names_them_as_the_protocol_does() {
        let frames = [ClientFrame::from(Ping { nonce: 0 }), ClientFrame::from(Leave {})];
        for frame in frames {
            assert!(FRAMES.contains(&(frame.number(), frame.name())), "{}", frame.name());
        }
        let numbers: Vec<u8> = FRAMES.iter().map(|(number, _)| *number).collect();
        let known = (number::HELLO..=number::LEAVE).chain([number::REFRESH]);
        assert_eq!(numbers, known.collect::<Vec<u8>>());
    }
}
