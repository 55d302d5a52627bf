//! Which fields may end a request, behind its body: one list for HTTP/1 and HTTP/2.
//!
//! A server may read trailers as if they had stood in the head, where the gate has judged, stripped and replaced. What
//! means something there does not pass here (RFC 9110, section 6.5.1): how the message is framed and routed, what it
//! asks for and on which condition, who asks, how its content is to be read, and what concerns one connection.
//!
//! Invariant: no trailer reaches an upstream that it could take for a credential in the place of ours, however spelled.

use super::inject::is_credential;
use bottle_policy::egress::is_method_override;
use bottle_spec::policy::Carrier;

const FORBIDDEN: [&str; 34] = [
    // Framing and routing.
    "content-length",
    "forwarded",
    "host",
    "trailer",
    "transfer-encoding",
    // What is asked for, and on which condition.
    "accept-encoding",
    "cache-control",
    "expect",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "max-forwards",
    "pragma",
    "range",
    "te",
    // Who asks.
    "authentication-info",
    "cookie",
    "cookie2",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "set-cookie",
    "www-authenticate",
    // How the content is read.
    "content-encoding",
    "content-location",
    "content-range",
    "content-type",
    // One connection.
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "upgrade",
];

/// Whether a request with this name among its trailers is refused; `carrier` is how our secret goes, where one does.
/// `_` counts as `-`, as CGI and its heirs read it.
pub(crate) fn is_forbidden(name: &str, carrier: Option<&Carrier>) -> bool {
    let plain = name.to_ascii_lowercase().replace('_', "-");
    FORBIDDEN.contains(&plain.as_str())
        || is_method_override(&plain)
        || is_credential(&plain, carrier)
        // Where it came from is the gate's to say, or nobody's.
        || plain.starts_with("x-forwarded-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_in_a_head_is_no_trailer() {
        for name in FORBIDDEN {
            assert!(is_forbidden(name, None), "{name}");
            assert!(is_forbidden(&name.to_ascii_uppercase().replace('-', "_"), None), "{name}");
        }
        for name in ["authorization", "X-Api-Key", "x_goog_api_key", "X-HTTP-Method-Override", "x-forwarded-for"] {
            assert!(is_forbidden(name, None), "{name}");
        }
        for name in ["x-checksum", "grpc-status", "content-digest", "x-amz-checksum-crc32", "server-timing", "x-mine"] {
            assert!(!is_forbidden(name, None), "{name}");
        }
        let own = Carrier::Header("x-mine".to_owned());
        assert!(is_forbidden("x-mine", Some(&own)) && is_forbidden("X_Mine", Some(&own)));
        assert!(!is_forbidden("x-mine", Some(&Carrier::Bearer)));
    }
}
