//! Host names as the policy compares them: one spelling for each name, and nothing that is not a name.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A DNS name in lower case, in its ASCII (punycode) form, without a trailing dot. Never an IP address in any
/// spelling that a resolver or `inet_aton` would take for one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    #[error("a host name is 1 to 253 characters of letters, digits, `-`, `_` and dots")]
    Malformed,
    #[error("an IP address is not a host name; give it a name and use `resolve`")]
    IpLiteral,
    #[error("`*` stands only at the front, as `*.example.com`")]
    Wildcard,
}

impl HostName {
    /// Parses a name (RFC 1123, UTS 46). NUL, control characters, spaces, `%`, `@`, `/` and empty labels are refused.
    pub fn parse(text: &str) -> Result<HostName, HostError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() || text.len() > 1024 {
            return Err(HostError::Malformed);
        }
        if text.starts_with('[') || text.contains(':') {
            return Err(HostError::IpLiteral);
        }
        // UTS 46 maps many code points to plain ASCII; only what was a plausible name before is mapped at all.
        let plausible = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_') || !c.is_ascii();
        if !text.chars().all(plausible) {
            return Err(HostError::Malformed);
        }
        let name = if text.is_ascii() {
            text.to_ascii_lowercase()
        } else {
            idna::domain_to_ascii_strict(text).map_err(|_| HostError::Malformed)?
        };
        let label = |l: &str| {
            (1..=63).contains(&l.len()) && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        if name.len() > 253 || !name.split('.').all(label) {
            return Err(HostError::Malformed);
        }
        if is_number(name.rsplit('.').next().unwrap_or_default()) {
            return Err(HostError::IpLiteral);
        }
        Ok(HostName(name))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a last label makes `inet_aton` and the WHATWG URL parser read the whole as an IPv4 address.
fn is_number(label: &str) -> bool {
    let hex = label.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    hex || label.bytes().all(|b| b.is_ascii_digit())
}

impl TryFrom<String> for HostName {
    type Error = HostError;

    fn try_from(text: String) -> Result<Self, HostError> {
        HostName::parse(&text)
    }
}

impl From<HostName> for String {
    fn from(name: HostName) -> String {
        name.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The hosts a route speaks of.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HostPattern {
    /// This name.
    Exact(HostName),
    /// `*.NAME`: every name below it, at any depth, and not the name itself.
    Below(HostName),
}

impl HostPattern {
    pub fn parse(text: &str) -> Result<HostPattern, HostError> {
        match text.strip_prefix("*.") {
            Some(rest) if rest.contains('*') => Err(HostError::Wildcard),
            Some(rest) => HostName::parse(rest).map(HostPattern::Below),
            None if text.contains('*') => Err(HostError::Wildcard),
            None => HostName::parse(text).map(HostPattern::Exact),
        }
    }

    pub fn matches(&self, host: &HostName) -> bool {
        match self {
            HostPattern::Exact(name) => name == host,
            HostPattern::Below(name) => host
                .as_str()
                .strip_suffix(name.as_str())
                .and_then(|rest| rest.strip_suffix('.'))
                .is_some_and(|rest| !rest.is_empty()),
        }
    }
}

impl TryFrom<String> for HostPattern {
    type Error = HostError;

    fn try_from(text: String) -> Result<Self, HostError> {
        HostPattern::parse(&text)
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> String {
        pattern.to_string()
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Exact(name) => write!(f, "{name}"),
            HostPattern::Below(name) => write!(f, "*.{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_for_each_name() {
        for (given, kept) in [
            ("Example.COM", "example.com"),
            ("example.com.", "example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("a_b.example", "a_b.example"),
        ] {
            assert_eq!(HostName::parse(given).unwrap().as_str(), kept);
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "",
            ".",
            "..",
            "a..b",
            "a b",
            "a\0b",
            "a\r\nb",
            "a%00b",
            "good@evil",
            "a/b",
            "a?b",
            "a#b",
            "*.a",
            "a\u{200b}/b",
            "\u{ff0e}",
            "a．.b",
        ] {
            assert!(HostName::parse(text).is_err(), "{text:?} was taken");
        }
        for text in
            ["127.0.0.1", "2130706433", "0x7f.1", "0x7f000001", "017700000001", "127.1", "[::1]", "::1", "1.2.3.4."]
        {
            assert_eq!(HostName::parse(text), Err(HostError::IpLiteral), "{text:?}");
        }
    }

    #[test]
    fn a_wildcard_takes_names_below_and_not_beside() {
        let pattern = HostPattern::parse("*.example.com").unwrap();
        let matches = |name: &str| pattern.matches(&HostName::parse(name).unwrap());
        assert!(matches("a.example.com") && matches("a.b.example.com"));
        assert!(!matches("example.com") && !matches("evilexample.com") && !matches("example.com.evil.org"));
        assert!(HostPattern::parse("*.*.com").is_err() && HostPattern::parse("a*.com").is_err());
    }
}
