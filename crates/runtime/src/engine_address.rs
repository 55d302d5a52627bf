//! Where an engine is, as `DOCKER_HOST` says it.

use serde::{Deserialize, Serialize};
use std::{fmt, path::PathBuf, str::FromStr};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum EngineAddress {
    /// Of this machine, or forwarded to it.
    Socket(PathBuf),
    /// Host and port. Whoever reaches it is as good as root there, so it is for networks that nobody else is in.
    Tcp(String),
    /// `[USER@]HOST[:PORT]`: where the client of the engine is there, by `docker system dial-stdio`.
    Ssh(String),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} names no engine")]
pub struct AddressError(String);

impl EngineAddress {
    /// Whether it may be on another machine.
    pub fn is_far(&self) -> bool {
        !matches!(self, EngineAddress::Socket(_))
    }

    /// What may help where none answers.
    pub fn remedy(&self) -> String {
        match self {
            EngineAddress::Socket(_) => "start it (`systemctl start docker`)".to_owned(),
            EngineAddress::Tcp(_) => "start it there".to_owned(),
            EngineAddress::Ssh(place) => {
                let (host, port) = place.rsplit_once(':').unwrap_or((place, ""));
                let port = if port.is_empty() { String::new() } else { format!("-p {port} ") };
                format!("see what `ssh -o BatchMode=yes {port}{host} docker version` says without your SSH_AUTH_SOCK")
            }
        }
    }
}

impl fmt::Display for EngineAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EngineAddress::Socket(path) => write!(f, "{}", path.display()),
            EngineAddress::Tcp(place) => write!(f, "tcp://{place}"),
            EngineAddress::Ssh(place) => write!(f, "ssh://{place}"),
        }
    }
}

impl From<EngineAddress> for String {
    fn from(address: EngineAddress) -> String {
        address.to_string()
    }
}

impl TryFrom<String> for EngineAddress {
    type Error = AddressError;

    fn try_from(text: String) -> Result<EngineAddress, AddressError> {
        text.parse()
    }
}

/// A path alone is a socket's.
impl FromStr for EngineAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<EngineAddress, AddressError> {
        let wrong = || AddressError(text.to_owned());
        if let Some(place) = text.strip_prefix("tcp://") {
            let place = place.trim_end_matches('/');
            let port = place.rsplit_once(':').filter(|(host, _)| is_host(host)).map(|(_, port)| port.parse::<u16>());
            return matches!(port, Some(Ok(1..))).then(|| EngineAddress::Tcp(place.to_owned())).ok_or_else(wrong);
        }
        if let Some(place) = text.strip_prefix("ssh://") {
            let place = place.trim_end_matches('/');
            // What begins with a dash would be an option of ssh's.
            let (user, rest) = place.rsplit_once('@').map_or((None, place), |(user, rest)| (Some(user), rest));
            let (host, port) = rest.rsplit_once(':').map_or((rest, None), |(host, port)| (host, Some(port)));
            let fits = user.is_none_or(is_host) && is_host(host) && port.is_none_or(|port| port.parse::<u16>().is_ok());
            return fits.then(|| EngineAddress::Ssh(place.to_owned())).ok_or_else(wrong);
        }
        let path = PathBuf::from(text.strip_prefix("unix://").unwrap_or(text));
        path.is_absolute().then_some(EngineAddress::Socket(path)).ok_or_else(wrong)
    }
}

/// Of a host or a user: nothing that a shell or an option could be made of.
fn is_host(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    !text.is_empty() && !text.starts_with('-') && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_what_the_variable_says_and_nothing_else() {
        for (text, shown) in [
            ("unix:///run/docker.sock", "/run/docker.sock"),
            ("/run/docker.sock", "/run/docker.sock"),
            ("tcp://127.0.0.1:2375", "tcp://127.0.0.1:2375"),
            ("tcp://[::1]:2375/", "tcp://[::1]:2375"),
            ("ssh://me@far.example:22", "ssh://me@far.example:22"),
            ("ssh://far", "ssh://far"),
        ] {
            let address: EngineAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(shown.parse(), Ok(address.clone()), "what is written down is read again");
            assert_eq!(address.is_far(), !shown.starts_with('/'));
        }
        for text in [
            "",
            "docker.sock",
            "tcp://far",
            "tcp://:1",
            "tcp://far:0",
            "tcp://a b:1",
            "ssh://-oX@a",
            "ssh://-oX",
            "npipe:////x",
            "unix://x",
        ] {
            assert!(text.parse::<EngineAddress>().is_err(), "{text}");
        }
    }
}
