//! The page's three files, and what every answer says of itself.
//!
//! Invariant: nothing in them is made from anything: what the page shows comes to it as data and is put there as text.

use super::{guard::cookie_name, session::Admitted};
use http::{HeaderName, HeaderValue, header};

pub(super) const HTML: &str = include_str!("page/index.html");
pub(super) const SCRIPT: &str = include_str!("page/page.js");
pub(super) const STYLE: &str = include_str!("page/style.css");
/// Where the page's key stands, once: in what a token is given for.
const KEY: &str = "<meta name=\"key\" content=\"\">";

/// Nothing but the page's own two files, no frame around it, and no way to make markup of text.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// Of every answer.
pub(super) fn headers() -> [(HeaderName, HeaderValue); 7] {
    [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ]
    .map(|(name, value)| (name, HeaderValue::from_static(value)))
}

/// The page for who came by a token, and its cookie.
pub(super) fn entered(admitted: &Admitted, port: u16) -> (String, String) {
    let html = HTML.replace(KEY, &format!("<meta name=\"key\" content=\"{}\">", admitted.key));
    let cookie = format!("{}={}; HttpOnly; SameSite=Strict; Path=/", cookie_name(port), admitted.cookie);
    (html, cookie)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_nothing_that_its_policy_forbids_and_makes_no_markup() {
        assert_eq!(HTML.matches(KEY).count(), 1);
        for forbidden in ["<style", "style=", " onclick", "javascript:", "http://", "https://", "//cdn", "<form"] {
            assert!(!HTML.contains(forbidden), "{forbidden}");
        }
        assert_eq!(HTML.matches("<script").count(), 1);
        for forbidden in ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "Function(", "srcdoc"]
        {
            assert!(!SCRIPT.contains(forbidden), "{forbidden}");
        }
        assert!(!STYLE.contains("url(") && !STYLE.contains("@import"));
    }
}
