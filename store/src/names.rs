//! Names that look alike.
//!
//! A name is ASCII, so letters of other alphabets can't stand in for its own. What is left to
//! confuse is here, from the confusables of Unicode (UTS 39) and from what fonts run together: two
//! names with one skeleton are one name to an eye, and only one account may have it.

/// What stays of a name when look-alikes are made equal: `0` is `o`, `1` is `l`, `rn` is `m`, `vv`
/// is `w`, and `_`, `.` and `-` are one.
#[must_use]
pub fn skeleton(name: &str) -> String {
    let simple: String = name
        .chars()
        .map(|c| match c.to_ascii_lowercase() {
            '0' => 'o',
            '1' => 'l',
            '.' | '-' => '_',
            c => c,
        })
        .collect();
    // Neither makes the other one's pair.
    simple.replace("rn", "m").replace("vv", "w")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_alike_have_one_skeleton() {
        for (one, other) in [
            ("paul", "pau1"),
            ("bob", "b0b"),
            ("ada.l", "ada-l"),
            ("ada_l", "ada.l"),
            ("corner", "comer"),
            ("vvendy", "wendy"),
            ("Ada", "ada"),
        ] {
            assert_eq!(skeleton(one), skeleton(other), "{one} {other}");
        }
    }

    #[test]
    fn other_names_stay_apart_and_a_skeleton_is_its_own() {
        for (one, other) in [("user1", "user10"), ("ada", "adal"), ("paul", "pau"), ("o", "oo")] {
            assert_ne!(skeleton(one), skeleton(other), "{one} {other}");
        }
        for name in ["rnvv0", "rrn", "vvv", "crn", "a-b.c_d"] {
            assert_eq!(skeleton(&skeleton(name)), skeleton(name), "{name}");
        }
    }

    #[test]
    fn numbered_names_stay_apart() {
        let skeletons: std::collections::BTreeSet<String> =
            (0..2000).map(|n| skeleton(&format!("user-{n}"))).collect();
        assert_eq!(skeletons.len(), 2000);
    }
}
