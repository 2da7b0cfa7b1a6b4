//! A door to the framing of WebSockets, for the fuzz targets in `fuzz/`.

use super::websocket::{Read, Reader};

/// Reads a client's bytes as they come whole, and in pieces of the first byte's length.
///
/// # Panics
/// When the pieces make other messages than the whole, or more than was sent.
pub fn websocket(bytes: &[u8]) {
    let Some((piece, bytes)) = bytes.split_first() else { return };
    let whole = read(bytes, bytes.len());
    assert_eq!(read(bytes, usize::from(*piece)), whole);
    let lengths = whole.iter().map(|read| match read {
        Read::Message(payload) | Read::Ping(payload) => payload.len(),
        _ => 0,
    });
    assert!(lengths.sum::<usize>() <= bytes.len());
}

fn read(bytes: &[u8], piece: usize) -> Vec<Read> {
    let (mut reader, mut messages) = (Reader::default(), Vec::new());
    for piece in bytes.chunks(piece.max(1)) {
        reader.feed(piece);
        messages.extend(std::iter::from_fn(|| reader.next()));
    }
    messages
}
