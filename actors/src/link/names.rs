//! Names of nodes and clusters: which are allowed, and how a certificate says them.

/// Longest name of a node or a cluster in bytes: one label of a DNS name.
pub const MAX_NAME_BYTES: usize = 63;

/// Whether a node or a cluster may have this name: lower-case letters, digits and hyphens, no hyphen
/// at either end. That is what a label of a DNS name may be, and certificates hold DNS names.
#[must_use]
pub fn is_valid(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && name.bytes().all(allowed)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// The DNS name in a node's certificate. It is never resolved; it binds the certificate to one name
/// in one cluster.
#[must_use]
pub fn certified(cluster: &str, node: &str) -> String {
    format!("{node}.{cluster}.rookery")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels_of_dns_names() {
        for name in ["a", "node-1", "7", &"x".repeat(63)] {
            assert!(is_valid(name), "{name}");
        }
        for name in ["", "-a", "a-", "A", "a.b", "a_b", "ä", &"x".repeat(64)] {
            assert!(!is_valid(name), "{name}");
        }
        assert_eq!(certified("chat", "a"), "a.chat.rookery");
    }
}
