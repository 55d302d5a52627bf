//! `host:port` as CONNECT, `Host` and `:authority` spell it, and the origin that a connection is about.
//!
//! Invariant: an [`Origin`] is what the policy was asked about, what the certificate is for, what is dialled and what
//! is sent as `Host` upstream; no other spelling of it goes on.

use bottle_spec::{
    host::{HostError, HostName},
    verdict::Reason,
};
use http::{
    HeaderValue,
    uri::{Authority, Scheme},
};
use std::hash::{Hash, Hasher};

/// Where requests go: parsed once per tunnel.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) tls: bool,
    pub(crate) host: HostName,
    pub(crate) port: u16,
    /// The canonical spelling: without the port where it is the scheme's own.
    pub(crate) authority: Authority,
    /// The same, as `Host`.
    pub(crate) host_header: HeaderValue,
}

impl PartialEq for Origin {
    fn eq(&self, other: &Origin) -> bool {
        self.tls == other.tls && self.port == other.port && self.host == other.host
    }
}

impl Eq for Origin {}

impl Hash for Origin {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.host.hash(state);
        self.port.hash(state);
    }
}

impl Origin {
    pub(crate) fn new(tls: bool, host: HostName, port: u16) -> Result<Origin, Reason> {
        let text = if port == default_port(tls) { host.to_string() } else { format!("{host}:{port}") };
        let host_header = HeaderValue::try_from(text.as_str()).map_err(|_| Reason::HostInvalid)?;
        let authority = Authority::try_from(text).map_err(|_| Reason::HostInvalid)?;
        Ok(Origin { tls, host, port, authority, host_header })
    }

    pub(crate) fn scheme(&self) -> Scheme {
        if self.tls { Scheme::HTTPS } else { Scheme::HTTP }
    }

    /// Whether an authority that a peer sent means this origin.
    pub(crate) fn is_spelled(&self, text: &str) -> bool {
        // The spelling nearly everybody uses needs no parsing.
        text == self.authority.as_str()
            || parse(text, Some(default_port(self.tls)))
                .is_ok_and(|(host, port)| host == self.host && port == self.port)
    }
}

pub(crate) const fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

/// Parses `host[:port]`. No userinfo, no address literal, no sign or leading zero in the port. Where `default` is
/// `None`, the port must be there.
pub(crate) fn parse(text: &str, default: Option<u16>) -> Result<(HostName, u16), Reason> {
    if text.starts_with('[') {
        return Err(Reason::IpLiteral);
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port_number(port).ok_or(Reason::HostInvalid)?),
        None => (text, default.ok_or(Reason::HostInvalid)?),
    };
    let host = HostName::parse(host).map_err(|error| match error {
        HostError::IpLiteral => Reason::IpLiteral,
        HostError::Malformed | HostError::Wildcard => Reason::HostInvalid,
    })?;
    Ok((host, port))
}

fn port_number(text: &str) -> Option<u16> {
    let canonical = !text.is_empty() && !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
    if canonical { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_reading_of_an_authority() {
        for (text, expected) in [
            ("a.test:443", Ok(443)),
            ("A.test.:8443", Ok(8443)),
            ("a.test", Err(Reason::HostInvalid)),
            ("a.test:", Err(Reason::HostInvalid)),
            ("a.test:0443", Err(Reason::HostInvalid)),
            ("a.test:+443", Err(Reason::HostInvalid)),
            ("a.test:0", Err(Reason::HostInvalid)),
            ("a.test:65536", Err(Reason::HostInvalid)),
            ("a.test:443:443", Err(Reason::IpLiteral)),
            ("good@a.test:443", Err(Reason::HostInvalid)),
            ("a.test%00.b:443", Err(Reason::HostInvalid)),
            ("[::1]:443", Err(Reason::IpLiteral)),
            ("127.0.0.1:443", Err(Reason::IpLiteral)),
            ("0x7f000001:443", Err(Reason::IpLiteral)),
            (":443", Err(Reason::HostInvalid)),
        ] {
            assert_eq!(parse(text, None).map(|(_, port)| port), expected, "{text}");
        }
    }

    #[test]
    fn an_origin_knows_its_spellings() {
        let origin = Origin::new(true, HostName::parse("a.test").unwrap(), 443).unwrap();
        assert!(["a.test", "A.test", "a.test.", "a.test:443"].iter().all(|text| origin.is_spelled(text)));
        assert!(["b.test", "a.test:80", "a.test.evil.org", "u@a.test", ""].iter().all(|text| !origin.is_spelled(text)));
        let other = Origin::new(true, HostName::parse("a.test").unwrap(), 8443).unwrap();
        assert!(other.is_spelled("a.test:8443") && !other.is_spelled("a.test"));
    }
}
