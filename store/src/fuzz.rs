//! Doors to the decoders of this crate that are private, for the fuzz targets in `fuzz/`: they read
//! whatever they are given and panic only when a property of theirs does not hold.

use crate::rows;

/// Reads a stored value as a row of every kind.
///
/// # Panics
/// When a row that can be read does not come back as it was.
pub fn stored_value(value: &[u8]) {
    rows::read_as_every_kind(value);
    if let Ok(number) = rows::decode_rising(value, "fuzz") {
        assert_eq!(rows::encode_rising(number), value);
    }
    if let Ok((epoch, stamp)) = rows::decode_inbox_floor(value) {
        assert_eq!(rows::encode_inbox_floor(epoch, stamp), value);
    }
    if let Ok((epoch, stamp, seen_ms)) = rows::decode_device_cursor(value) {
        assert_eq!(rows::encode_device_cursor(epoch, stamp, seen_ms), value);
    }
}

/// Reads a byte stream as the engine `shared` reads its sockets: first a greeting, then frames as
/// both sides read them.
///
/// # Panics
/// When a frame that can be read does not come back as it was.
#[cfg(unix)]
pub fn shared_wire(stream: &[u8]) {
    crate::shared::fuzz::stream(stream);
}

/// A backup file of these parts (kind, content), with checksums that are right; empty if it can't be
/// made.
#[must_use]
pub fn backup_file(parts: &[(u8, Vec<u8>)]) -> Vec<u8> {
    crate::backup::of_parts(parts).unwrap_or_default()
}
