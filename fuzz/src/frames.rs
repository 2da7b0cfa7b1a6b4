//! Messages between clients and nodes: split, decoded, and written again.

use rookery_protocol::limits::{MAX_CLIENT_FRAME_BYTES, MAX_SERVER_FRAME_BYTES};
use rookery_protocol::{ClientFrame, ServerFrame, frames};

/// What every implementation of the protocol is held to.
const GOLDEN: &str = include_str!("../../protocol/golden.txt");

/// A message as a node reads it.
pub(crate) fn client(message: &[u8]) {
    for raw in frames(message, MAX_CLIENT_FRAME_BYTES) {
        let Ok(raw) = raw else { return };
        let Ok(Some(frame)) = ClientFrame::decode(raw) else { continue };
        // Logs and metrics see these.
        assert!(!format!("{frame:?}").is_empty());
        assert!(!frame.name().is_empty());
        let bytes = frame.to_bytes();
        let again = frames(&bytes, usize::MAX).next().map(|raw| ClientFrame::decode(raw.unwrap()));
        assert_eq!(again, Some(Ok(Some(frame))));
    }
}

/// A message as a client reads it.
pub(crate) fn server(message: &[u8]) {
    for raw in frames(message, MAX_SERVER_FRAME_BYTES) {
        let Ok(raw) = raw else { return };
        let Ok(Some(frame)) = ServerFrame::decode(raw) else { continue };
        assert!(!format!("{frame:?}").is_empty());
        let bytes = frame.to_bytes();
        let again = frames(&bytes, usize::MAX).next().map(|raw| ServerFrame::decode(raw.unwrap()));
        assert_eq!(again, Some(Ok(Some(frame))));
    }
}

/// The golden vectors of both directions.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let hex = GOLDEN.lines().filter_map(|line| line.strip_prefix("hex "));
    hex.map(|hex| {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte =
            |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks_exact(2).map(byte).collect()
    })
    .collect()
}

/// Masked frames of each kind, whole and in fragments; the first byte says in which pieces they come.
pub(crate) fn websockets() -> Vec<Vec<u8>> {
    let frame = |first: u8, payload: &[u8]| {
        let length = u8::try_from(payload.len()).unwrap_or(125);
        [&[first, 0x80 | length, 1, 2, 3, 4][..], payload].concat()
    };
    let long = [&[0x82, 0xfe, 0x01, 0x00, 0, 0, 0, 0][..], &[7; 256]].concat();
    let endless = [0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    let fragments = [frame(0x02, b"ab"), frame(0x89, b"ping"), frame(0x80, b"cd")].concat();
    let streams = [
        frame(0x82, b"hello"),
        [frame(0x8a, b""), frame(0x82, b"hi"), frame(0x88, &[0x03, 0xe8])].concat(),
        fragments,
        long,
        endless.to_vec(),
        frame(0x81, b"text"),
        frame(0xc2, b"packed"),
        frame(0x88, &[0x0f]),
    ];
    streams
        .iter()
        .flat_map(|stream| [[&[1], &stream[..]].concat(), [&[7], &stream[..]].concat()])
        .collect()
}
