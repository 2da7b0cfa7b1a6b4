//! Rows as they lie in the LSM: the value and, behind it, 4 bytes of checksum over key and value.
//!
//! The LSM checks its blocks when it loads them; this checksum also covers what happens to a row
//! between here and there (a block in the cache, a row filed under another key).

use crate::engine::ReadError;
use bytes::Bytes;
use fjall::Slice;
use std::fmt::Write as _;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

const CHECKSUM_BYTES: usize = 4;
/// A value from this size on is handed out as a part of what the LSM holds. Below, copying is as
/// cheap as the reference count, and does not keep a whole block in memory.
const SHARE_FROM_BYTES: usize = 2048;

/// The value with its checksum; `scratch` is a buffer to reuse.
pub(super) fn sealed(key: &[u8], value: &[u8], scratch: &mut Vec<u8>) -> Slice {
    scratch.clear();
    scratch.extend_from_slice(value);
    scratch.extend_from_slice(&checksum(key, value));
    Slice::from(scratch.as_slice())
}

/// The value without its checksum.
///
/// # Errors
/// [`ReadError::Damaged`] when the checksum is not that of this key and value.
pub(super) fn unsealed(key: &[u8], stored: Slice) -> Result<Bytes, ReadError> {
    let Some((value, sum)) = stored.split_last_chunk::<CHECKSUM_BYTES>() else {
        return Err(damaged(key, "too short for its checksum"));
    };
    if *sum != checksum(key, value) {
        return Err(damaged(key, "checksum mismatch"));
    }
    let len = value.len();
    if len < SHARE_FROM_BYTES {
        return Ok(Bytes::copy_from_slice(value));
    }
    Ok(Bytes::from_owner(stored).slice(..len))
}

fn checksum(key: &[u8], value: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let [a, b, c, d, ..] = xxh3_64_with_seed(value, xxh3_64(key)).to_le_bytes();
    [a, b, c, d]
}

fn damaged(key: &[u8], what: &str) -> ReadError {
    let mut text = String::from("key ");
    for byte in key {
        // Writing to a string can't fail.
        write!(text, "{byte:02x}").unwrap_or_default();
    }
    text.push_str(": ");
    text.push_str(what);
    ReadError::Damaged(text)
}

/// What a failure of the LSM means to a reader.
pub(super) fn read_error(error: &fjall::Error) -> ReadError {
    use fjall::{Error, LsmError};
    match error {
        Error::Io(_) | Error::Storage(LsmError::Io(_)) | Error::Locked => {
            ReadError::Unavailable(error.to_string())
        }
        Error::Poisoned | Error::KeyspaceDeleted => ReadError::Unavailable(error.to_string()),
        _ => ReadError::Damaged(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_only_accepted_under_its_key_and_unchanged() {
        for len in [0, 1, 20, 300, SHARE_FROM_BYTES + 1] {
            let value = vec![7; len];
            let stored = sealed(b"key", &value, &mut Vec::new());
            assert_eq!(unsealed(b"key", stored.clone()).as_deref(), Ok(value.as_slice()));
            assert!(unsealed(b"kez", stored.clone()).is_err(), "another key");
            for at in 0..stored.len().min(40) {
                let mut bytes = stored.to_vec();
                bytes[at] ^= 0x10;
                assert!(unsealed(b"key", Slice::from(bytes)).is_err(), "byte {at} of {len}");
            }
        }
        assert!(unsealed(b"key", Slice::from(&b"abc"[..])).is_err(), "too short");
    }
}
