//! Which pages may use the API from a browser, by the `Origin` header that browsers send.
//!
//! Programs that are no browsers send none and are let in: the token is what opens an account. The
//! check keeps a foreign page from driving the browser of somebody who merely visits it.

use axum::http::{HeaderMap, header};
use rookery_cluster_config::Http;

/// What the `Origin` header says about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// None: no browser, or a navigation.
    Absent,
    /// The node's own page.
    Own,
    /// A page that the configuration allows.
    Allowed,
    /// Any other page, or several headers, or `null`.
    Foreign,
}

/// Judges the origin of a request.
#[must_use]
pub fn judge(headers: &HeaderMap, http: &Http) -> Origin {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let origin = match (origins.next(), origins.next()) {
        (None, _) => return Origin::Absent,
        (Some(origin), None) => origin.to_str().unwrap_or_default(),
        (Some(_), Some(_)) => return Origin::Foreign,
    };
    if http.public_url.as_deref() == Some(origin) {
        return Origin::Own;
    }
    if http.allowed_origins.iter().any(|allowed| allowed == origin) {
        return Origin::Allowed;
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let origin_host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    match origin_host {
        Some(origin_host) if !host.is_empty() && origin_host.eq_ignore_ascii_case(host) => {
            Origin::Own
        }
        _ => Origin::Foreign,
    }
}

/// Whether an origin is that of a node whose clients connect at this WebSocket URL.
#[must_use]
pub fn is_of(origin: &[u8], endpoint: &str) -> bool {
    // ws://a/v1/ws -> http://a, wss://a/v1/ws -> https://a
    let Some(rest) = endpoint.strip_prefix("ws") else { return false };
    let Some((scheme, rest)) = rest.split_once("://") else { return false };
    let host = rest.split('/').next().unwrap_or_default();
    !host.is_empty() && format!("http{scheme}://{host}").as_bytes() == origin
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn a_members_page_is_known_by_its_endpoint() {
        assert!(is_of(b"http://a:80", "ws://a:80/v1/ws"));
        assert!(is_of(b"https://a", "wss://a/v1/ws"));
        for (origin, endpoint) in [
            ("http://a", "wss://a/v1/ws"),
            ("http://a", "ws://a.b/v1/ws"),
            ("http://", "ws:///v1/ws"),
            ("", "ws"),
        ] {
            assert!(!is_of(origin.as_bytes(), endpoint), "{origin} {endpoint}");
        }
    }

    fn judged(origins: &[&str], host: &str) -> Origin {
        let http = Http {
            allowed_origins: vec!["https://friend.example".to_owned()],
            public_url: Some("https://chat.example".to_owned()),
            ..Http::default()
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
        for origin in origins {
            headers.append(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        judge(&headers, &http)
    }

    #[test]
    fn the_own_page_and_the_allowed_ones_pass_and_nobody_else() {
        let host = "127.0.0.1:8080";
        for (origins, verdict) in [
            (&[][..], Origin::Absent),
            (&["http://127.0.0.1:8080"], Origin::Own),
            (&["https://127.0.0.1:8080"], Origin::Own),
            (&["https://chat.example"], Origin::Own),
            (&["https://friend.example"], Origin::Allowed),
            (&["http://friend.example"], Origin::Foreign),
            (&["https://friend.example:444"], Origin::Foreign),
            (&["https://friend.example.evil.example"], Origin::Foreign),
            (&["http://127.0.0.1:8081"], Origin::Foreign),
            (&["http://127.0.0.1"], Origin::Foreign),
            (&["null"], Origin::Foreign),
            (&[""], Origin::Foreign),
            (&["file://127.0.0.1:8080"], Origin::Foreign),
            (&["http://127.0.0.1:8080", "https://friend.example"], Origin::Foreign),
        ] {
            assert_eq!(judged(origins, host), verdict, "{origins:?}");
        }
        assert_eq!(judged(&["http://"], ""), Origin::Foreign);
    }
}
