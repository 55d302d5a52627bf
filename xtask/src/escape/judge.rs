//! The upstream of the suite: serves what the policy allows, and to whatever it should never have been asked answers
//! with the nonce.

use bottle_testkit::{
    Seen,
    upstream::{
        Asked, Handler,
        routes::{self, full},
    },
};
use std::sync::Arc;

pub(super) const ALLOWED: &str = "allowed.test";
pub(super) const DENIED: &str = "denied.test";

/// Answers for both hosts.
pub(super) fn handler(nonce: &str, secret: &str) -> Handler {
    let (nonce, secret) = (nonce.to_owned(), secret.to_owned());
    Arc::new(move |mut asked: Asked| {
        if trespass(&asked.seen, &secret).is_some() {
            let nonce = nonce.clone();
            return Box::pin(async move { http_answer(nonce) });
        }
        let route = match asked.seen.path() {
            "/public/split" => "/split",
            "/public/header" => "/echo-headers",
            "/public/gzip" => "/gzip",
            _ => "/echo",
        };
        asked.seen.target = route.to_owned();
        Box::pin(routes::answer(asked))
    })
}

fn http_answer(nonce: String) -> bottle_testkit::upstream::Response {
    bottle_testkit::upstream::Response::new(full(nonce))
}

/// Why a request should not have arrived.
pub(super) fn trespass(seen: &Seen, secret: &str) -> Option<&'static str> {
    let host = seen.host.split(':').next().unwrap_or_default();
    // Beside an authority there may be a Host that says something else.
    let hosts = seen.headers.iter().filter(|(name, _)| name == "host");
    let other = hosts.filter_map(|(_, value)| value.split(':').next()).any(|named| named != ALLOWED);
    let path = seen.path().to_ascii_lowercase();
    let doubtful = ["..", "%2e", "%2f", "%5c", "%25", "\\", "//", ";"].iter().any(|mark| path.contains(mark));
    let keys: Vec<&str> =
        seen.headers.iter().filter(|(name, _)| name == "authorization").map(|(_, value)| value.as_str()).collect();
    if host != ALLOWED || other {
        Some("another host")
    } else if seen.sni.as_deref() != Some(ALLOWED) {
        Some("another server name")
    } else if !matches!(seen.method.as_str(), "GET" | "POST") {
        Some("another method")
    } else if !path.starts_with("/public/") || doubtful {
        Some("another path")
    } else if seen.headers.iter().any(|(name, _)| name.contains("method-override")) {
        Some("a method override")
    } else if keys.iter().any(|key| *key != format!("Bearer {secret}")) {
        Some("another key")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_policy_allows_passes_and_the_rest_does_not() {
        let seen = |host: &str, method: &str, target: &str| Seen {
            sni: Some(ALLOWED.to_owned()),
            host: host.to_owned(),
            method: method.to_owned(),
            target: target.to_owned(),
            ..Seen::default()
        };
        assert_eq!(trespass(&seen(ALLOWED, "GET", "/public/x?y=/../"), "s"), None);
        for (host, method, target) in [
            (DENIED, "GET", "/public/"),
            (ALLOWED, "DELETE", "/public/"),
            (ALLOWED, "GET", "/forbidden"),
            (ALLOWED, "GET", "/public/%2E%2e/forbidden"),
        ] {
            assert!(trespass(&seen(host, method, target), "s").is_some(), "{host} {method} {target}");
        }
        let mut beside = seen(ALLOWED, "GET", "/public/");
        beside.headers = vec![("host".to_owned(), DENIED.to_owned())];
        assert_eq!(trespass(&beside, "s"), Some("another host"));
        let mut keyed = seen(ALLOWED, "GET", "/public/");
        keyed.headers = vec![("authorization".to_owned(), "Bearer s".to_owned())];
        assert_eq!(trespass(&keyed, "s"), None);
        assert_eq!(trespass(&keyed, "t"), Some("another key"));
    }
}
