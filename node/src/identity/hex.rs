//! Lower-case hex, the text form of ids and of secrets in the HTTP API.

use std::fmt::Write;

/// The bytes as lower-case hex.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing into a String can't fail.
        let _infallible = write!(text, "{byte:02x}");
    }
    text
}

/// Exactly `N` bytes of lower-case hex; `None` for anything else.
pub(crate) fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    if pairs.len() != N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = (digit(*high)? << 4) | digit(*low)?;
    }
    Some(bytes)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_encoded_decodes_and_nothing_else_does() {
        let bytes: [u8; 4] = [0, 0x9f, 0xa0, 0xff];
        assert_eq!(encode(&bytes), "009fa0ff");
        assert_eq!(decode::<4>("009fa0ff"), Some(bytes));
        for bad in ["", "009fa0f", "009fa0ff00", "009FA0FF", "009fa0fg", "009fa0f\u{e9}"] {
            assert_eq!(decode::<4>(bad), None, "{bad:?}");
        }
    }
}
