//! Notifications of what waits for the operator: where they go, and what the process that sends them is told.
//!
//! Invariant: no webhook's address is shown, not even by `Debug`: whoever has it can post there.

use crate::{
    gate_link::HeldSecret,
    host::HostName,
    secret::{Secret, SecretRef},
    slug::Slug,
};
use serde::{Deserialize, Serialize};
use std::{fmt, net::IpAddr, path::PathBuf, str::FromStr};

/// `notify` of `config.yaml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notify {
    /// At the terminals of the bottle and of the dashboard.
    pub bell: bool,
    /// On the desktop, where there is a session.
    pub desktop: bool,
    pub webhooks: Vec<Webhook>,
    /// A PEM file to trust besides the system's.
    pub ca: Option<PathBuf>,
}

impl Default for Notify {
    fn default() -> Notify {
        Notify { bell: true, desktop: true, webhooks: Vec::new(), ca: None }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    pub kind: WebhookKind,
    pub url: UrlSource,
    /// For `Authorization: Bearer`.
    pub token: Option<SecretRef>,
}

/// What it understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WebhookKind {
    /// A topic of ntfy.
    Ntfy,
    /// `{"text": …}`, as Slack, Mattermost and others take it.
    Slack,
    /// An object of ours.
    Json,
}

/// A webhook's address, or where it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UrlSource {
    Written(WebhookUrl),
    Kept(SecretRef),
}

/// `https://HOST[:PORT]/PATH`; `http://` to this machine alone.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookUrl {
    pub is_tls: bool,
    /// A name or an address.
    pub host: String,
    pub port: u16,
    /// With the query; begins with `/`.
    pub target: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WebhookUrlError {
    #[error("a webhook is https://HOST/PATH, or http:// with 127.0.0.1, [::1] or localhost")]
    Scheme,
    #[error("a webhook's URL has no user and no password; use `token`")]
    Userinfo,
    #[error("a webhook's URL names a host and, behind `:`, a port")]
    Host,
    #[error("a webhook's URL is printable ASCII without spaces and `#`, at most {MAX_URL} bytes")]
    Text,
}

const MAX_URL: usize = 2048;

impl FromStr for WebhookUrl {
    type Err = WebhookUrlError;

    fn from_str(text: &str) -> Result<WebhookUrl, WebhookUrlError> {
        if text.len() > MAX_URL || !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
            return Err(WebhookUrlError::Text);
        }
        let (is_tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err(WebhookUrlError::Scheme),
        };
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(WebhookUrlError::Userinfo);
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().ok().filter(|port| *port > 0).ok_or(WebhookUrlError::Host)?)
            }
            _ => (authority, if is_tls { 443 } else { 80 }),
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let (host, is_here) = match bare.parse::<IpAddr>() {
            Ok(address) => (address.to_string(), address.is_loopback()),
            Err(_) => {
                let name = HostName::parse(host).map_err(|_| WebhookUrlError::Host)?.to_string();
                let is_here = name == "localhost";
                (name, is_here)
            }
        };
        if !is_tls && !is_here {
            return Err(WebhookUrlError::Scheme);
        }
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        Ok(WebhookUrl { is_tls, host, port, target })
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebhookUrl({}:{}/…)", self.host, self.port)
    }
}

/// Where the notifications of one bottle go, with everything read that had to be.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Targets {
    pub bell: bool,
    /// The address of the session's bus.
    pub desktop: Option<String>,
    pub webhooks: Vec<Target>,
    /// Certificates to trust besides the system's, as PEM.
    pub ca: Option<String>,
}

impl Targets {
    /// Whether a process is needed to reach them.
    pub fn is_far(&self) -> bool {
        self.desktop.is_some() || !self.webhooks.is_empty()
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Target {
    pub kind: WebhookKind,
    /// A [`WebhookUrl`].
    pub url: Secret,
    pub token: Option<Secret>,
}

/// What a process is told that sends one notification and ends.
#[derive(Debug, Serialize, Deserialize)]
pub struct NotifyStart {
    pub bottle: Slug,
    pub targets: Targets,
    /// The bottle's secrets: none of them leaves by a notification.
    pub secrets: Vec<HeldSecret>,
    /// [`crate::operator::OperatorRequest`]s, as JSON that the keeper keeps unread.
    pub requests: Vec<String>,
    /// How many wait besides.
    pub more: usize,
    pub run_as: Option<(u32, u32)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_is_https_or_here() {
        for (text, host, port, target) in [
            ("https://ntfy.sh/topic", "ntfy.sh", 443, "/topic"),
            ("https://Hooks.Slack.com/services/T/B/x?y=1", "hooks.slack.com", 443, "/services/T/B/x?y=1"),
            ("http://127.0.0.1:8080", "127.0.0.1", 8080, "/"),
            ("http://[::1]:1/x", "::1", 1, "/x"),
            ("https://[::1]/x", "::1", 443, "/x"),
            ("http://localhost/?a", "localhost", 80, "/?a"),
        ] {
            let url: WebhookUrl = text.parse().unwrap();
            assert_eq!((url.host.as_str(), url.port, url.target.as_str()), (host, port, target), "{text}");
            assert!(!format!("{url:?}").contains("topic"));
        }
        for text in [
            "http://ntfy.sh/topic",
            "http://10.0.0.1/",
            "ftp://h.test/",
            "https://",
            "https://u:p@h.test/",
            "https://h.test/a b",
            "https://h.test/\r\nx: y",
            "https://h.test/#x",
            "https://h.test:0/",
            "https://h.test:x/",
            "http://localhost.evil.test/",
        ] {
            assert!(text.parse::<WebhookUrl>().is_err(), "{text}");
        }
    }
}
