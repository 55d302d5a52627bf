//! The policy as data: what a plan says a bottle may reach. Whether one request may pass is `bottle-policy`'s work.

use crate::{
    host::{HostName, HostPattern},
    operator::{Gives, Grant},
    secret::SecretRef,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
};

/// The ports of a route that names none.
pub const DEFAULT_PORTS: [u16; 2] = [443, 80];

/// Everything the egress door goes by. An empty list of routes lets nothing out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EgressPolicy {
    pub routes: Vec<Route>,
    /// PEM files on the host, trusted for upstreams besides the system's roots. Absolute.
    #[serde(default)]
    pub upstream_ca: Vec<PathBuf>,
    /// Names with a fixed address and port, looked up nowhere; the address may be a private one.
    #[serde(default)]
    pub resolve: BTreeMap<HostName, SocketAddr>,
    /// A corporate proxy that upstreams are reached through.
    #[serde(default)]
    pub upstream_proxy: Option<UpstreamProxy>,
    #[serde(default)]
    pub budgets: Budgets,
    /// For one run, to learn what is needed: what no route allows may leave as well, to any public host, searched as
    /// ever and without a secret. Only a flag says so, never a manifest.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub observe: bool,
}

impl EgressPolicy {
    /// With what was granted besides.
    pub fn with_grants(&self, grants: &[Grant]) -> EgressPolicy {
        let routes = |before: bool| {
            grants.iter().filter_map(move |grant| match &grant.gives {
                Gives::Route { route, first } if *first == before => Some((**route).clone()),
                _ => None,
            })
        };
        let mut policy = self.clone();
        policy.routes = routes(true).chain(self.routes.iter().cloned()).chain(routes(false)).collect();
        policy
    }

    /// Every port that something may leave by.
    pub fn ports(&self) -> BTreeSet<u16> {
        let observed = if self.observe { &DEFAULT_PORTS[..] } else { &[] };
        self.routes.iter().flat_map(|route| &route.ports).chain(observed).copied().collect()
    }
}

/// `http://HOST:PORT`, optionally with a credential for `Proxy-Authorization: Basic`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamProxy {
    /// A name or an address; the operator named it, so it may be a private one.
    pub host: String,
    pub port: u16,
    /// `user:password`.
    #[serde(default)]
    pub auth: Option<SecretRef>,
}

/// What may be sent to one host (or to all below one). The first route whose host, port, method and path all match
/// decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    pub host: HostPattern,
    /// Never empty after resolving; [`DEFAULT_PORTS`] where the manifest names none.
    pub ports: Vec<u16>,
    /// `None` = every method. Upper case, except where the user wrote a method that is not.
    #[serde(default)]
    pub methods: Option<Vec<String>>,
    /// `None` = every path.
    #[serde(default)]
    pub paths: Option<Vec<PathPattern>>,
    #[serde(default)]
    pub tls: Tls,
    #[serde(default)]
    pub auth: Option<Auth>,
    /// Lets the host resolve to private, loopback, CGNAT and unique-local addresses. Never to link-local and
    /// metadata addresses.
    #[serde(default)]
    pub private: bool,
    #[serde(default)]
    pub on_finding: OnFinding,
    /// Ids of the scan's rules that find nothing on this route.
    #[serde(default)]
    pub exempt: Vec<String>,
    /// What becomes of responses that give the agent orders.
    #[serde(default)]
    pub inbound: Inbound,
    /// Whether the operator is asked about each request.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ask: bool,
    /// The gate answers these requests itself, with this JSON, and sends nothing upstream. Excludes `auth`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// The operator's yes that this route comes from; none = the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted: Option<Granted>,
}

/// Where a route comes from that the operator granted to a running bottle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Granted {
    /// The request's id.
    pub request: String,
    /// One request may pass, and none after it.
    pub once: bool,
}

impl Route {
    /// Everything to this host, with nothing said besides.
    pub fn to(host: HostPattern) -> Route {
        Route {
            host,
            ports: DEFAULT_PORTS.to_vec(),
            methods: None,
            paths: None,
            tls: Tls::default(),
            auth: None,
            private: false,
            on_finding: OnFinding::default(),
            exempt: Vec::new(),
            inbound: Inbound::default(),
            ask: false,
            answer: None,
            granted: None,
        }
    }
}

/// What becomes of a request in which the scan finds something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFinding {
    /// It is refused.
    #[default]
    Block,
    /// It goes on with the finding blotted out; where that cannot be done in place, it is refused.
    Redact,
    /// The operator is to be asked.
    Ask,
    /// It goes on, and the finding is in the audit log.
    Log,
}

/// How much may leave in one period. `None` = no limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budgets {
    /// In seconds; at least 1.
    pub period: u32,
    /// Of all hosts together.
    pub bottle: Budget,
    /// Of each host.
    pub host: Budget,
    /// Different names below wildcard routes.
    pub hosts: Option<u32>,
    /// Bytes of random-looking text in host labels, paths and queries, below each wildcard route.
    pub random: Option<u64>,
}

/// What is sent: heads and bodies, in bytes, and requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    pub bytes: Option<u64>,
    pub requests: Option<u64>,
}

impl Budgets {
    /// An hour.
    pub const PERIOD: u32 = 3600;
    pub const HOSTS: u32 = 256;
    pub const RANDOM: u64 = 64 << 10;
}

impl Default for Budgets {
    fn default() -> Budgets {
        let none = Budget::default();
        Budgets {
            period: Budgets::PERIOD,
            bottle: none,
            host: none,
            hosts: Some(Budgets::HOSTS),
            random: Some(Budgets::RANDOM),
        }
    }
}

/// A path with wildcards: `*` within one segment, `**` over any number of segments. Starts with `/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PathPattern(pub String);

/// What becomes of a response that gives the agent orders.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Inbound {
    /// It passes, and the audit log says what stood in it.
    #[default]
    Warn,
    /// The orders are taken out of it.
    Strip,
    /// It ends where they begin.
    Block,
    /// It is not looked at.
    Off,
}

/// What the gate does with TLS to a host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tls {
    /// Ends TLS at the gate, so that method, path and bodies are seen and a secret can be injected.
    #[default]
    Intercept,
    /// Hands the bytes on after checking the server name. Excludes `methods`, `paths` and `auth`.
    Passthrough,
}

/// Which secret is injected, and how it is worn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    pub carrier: Carrier,
    pub secret: SecretRef,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Carrier {
    /// `Authorization: Bearer VALUE`.
    Bearer,
    /// `Authorization: Basic base64(VALUE)`; the value is `user:password`.
    Basic,
    /// `NAME: VALUE`. Lower case.
    Header(String),
    /// `?NAME=VALUE`, percent-encoded.
    Query(String),
}
