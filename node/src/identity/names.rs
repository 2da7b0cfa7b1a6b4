//! The texts that people choose: names of accounts and of devices.

use super::MAX_DEVICE_NAME_BYTES;
use rookery_protocol::limits::{MAX_NAME_BYTES, MIN_NAME_BYTES};
use rookery_store::{MAX_AVATAR_BYTES, MAX_DISPLAY_NAME_BYTES};

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

/// A display name, if it may be one: at most [`MAX_DISPLAY_NAME_BYTES`], no control characters and
/// none that change the direction or the looks of what stands beside the name. Spaces at its ends
/// are taken off; what is left may be empty.
pub(super) fn display_name(text: &str) -> Option<String> {
    let unseen = |c: char| {
        c.is_control()
            || matches!(
                c,
                '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
                    | '\u{202a}'..='\u{202e}' | '\u{2028}' | '\u{2029}'
                    | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            )
    };
    let name = text.trim();
    let fits = name.len() <= MAX_DISPLAY_NAME_BYTES && !name.chars().any(unseen);
    fits.then(|| name.to_owned())
}

/// Where a picture is, if it may be such a place: a URL of https, or nothing. It is shown by other
/// people's clients, so nothing in it may end the attribute of a page.
pub(super) fn avatar(text: &str) -> Option<String> {
    let good = |b: u8| b.is_ascii_graphic() && !b"\"'<>\\^`{|}".contains(&b);
    let place = text.strip_prefix("https://").is_some_and(|rest| !rest.is_empty());
    let fits = text.len() <= MAX_AVATAR_BYTES && text.bytes().all(good);
    (text.is_empty() || (place && fits)).then(|| text.to_owned())
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
    fn a_display_name_shows_what_it_says() {
        for good in ["", " Ada Lovelace ", "\u{c4}da \u{1f426}", "\u{65e5}\u{672c}"] {
            assert_eq!(display_name(good).as_deref(), Some(good.trim()));
        }
        let long = "a".repeat(129);
        for bad in ["a\nb", "a\u{202e}b", "a\u{200b}", "\u{2066}x", "a\0", &long] {
            assert_eq!(display_name(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn an_avatar_is_a_place_of_https_or_nothing() {
        for good in ["", "https://a.example/x.png?y=1#z"] {
            assert_eq!(avatar(good).as_deref(), Some(good));
        }
        let long = format!("https://{}", "a".repeat(512));
        for bad in
            ["http://a", "https://", "javascript:x", "https://a b", "https://a\"", "x", &long]
        {
            assert_eq!(avatar(bad), None, "{bad:?}");
        }
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
