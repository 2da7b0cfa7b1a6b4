//! The texts that people choose: names of accounts and of devices.

use super::MAX_DEVICE_NAME_BYTES;
use rookery_protocol::limits::{MAX_NAME_BYTES, MIN_NAME_BYTES};

/// The name in lower case, if it may be one.
pub(super) fn folded(name: &str) -> Option<String> {
    let name = name.to_ascii_lowercase();
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.-".contains(&b);
    let fits = (MIN_NAME_BYTES..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(good);
    fits.then_some(name)
}

/// A device's name: what its client says of it, cut, without control characters.
pub(super) fn device_label(name: Option<&str>) -> String {
    let mut label = String::new();
    for c in name.unwrap_or_default().trim().chars().filter(|c| !c.is_control()) {
        if label.len() + c.len_utf8() > MAX_DEVICE_NAME_BYTES {
            break;
        }
        label.push(c);
    }
    if label.is_empty() { "unnamed".to_owned() } else { label }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_folded_and_held_to_their_alphabet() {
        for (text, name) in [
            ("ada", Some("ada")),
            ("Ada.L-1_x", Some("ada.l-1_x")),
            ("a", None),
            ("", None),
            ("a b", None),
            ("\u{e4}da", None),
            ("a\n", None),
            ("a/b", None),
        ] {
            assert_eq!(folded(text).as_deref(), name, "{text:?}");
        }
        assert!(folded(&"a".repeat(32)).is_some());
        assert!(folded(&"a".repeat(33)).is_none());
    }

    #[test]
    fn a_device_label_is_cut_between_characters() {
        assert_eq!(device_label(None), "unnamed");
        assert_eq!(device_label(Some(" \u{7}\n ")), "unnamed");
        assert_eq!(device_label(Some(" Ada's phone\0 ")), "Ada's phone");
        let long = device_label(Some(&"\u{20ac}".repeat(40)));
        assert_eq!(long, "\u{20ac}".repeat(21));
    }
}
