//! What the policy answers, and the closed vocabulary of reasons that agents, logs and tests read.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The answer to "may this happen?".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// By the route of this index in the policy.
    Allow {
        route: usize,
    },
    /// The operator is to be asked.
    Ask {
        route: usize,
    },
    Deny(Reason),
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:literal, $text:literal;)*) => {
        /// Why something was refused. The code is stable: it is the value of `X-Bot-Bottle-Reason`, of `error` in the
        /// JSON body and of `reason` in audit events.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Reason { $($(#[$doc])* #[serde(rename = $code)] $name),* }

        impl Reason {
            pub const ALL: &[Reason] = &[$(Reason::$name),*];

            /// The stable code, in snake case.
            pub const fn code(self) -> &'static str {
                match self { $(Reason::$name => $code),* }
            }

            /// The HTTP status that carries it.
            pub const fn status(self) -> u16 {
                match self { $(Reason::$name => $status),* }
            }

            /// One sentence for the agent; nothing in it comes from a peer.
            pub const fn sentence(self) -> &'static str {
                match self { $(Reason::$name => $text),* }
            }
        }
    };
}

reasons! {
    NoRoute = "no_route", 403, "no route of this bottle allows this host";
    PortNotAllowed = "port_not_allowed", 403, "the route for this host does not allow this port";
    MethodNotAllowed = "method_not_allowed", 403, "the route for this host does not allow this method";
    PathNotAllowed = "path_not_allowed", 403, "the route for this host does not allow this path";
    PathAmbiguous = "path_ambiguous", 403, "the path can be read in more than one way";
    HostInvalid = "host_invalid", 403, "this is not a host name";
    IpLiteral = "ip_literal", 403, "hosts are reached by name, never by address";
    HostMismatch = "host_mismatch", 403, "CONNECT host, TLS server name and Host header do not agree";
    ServerNameMissing = "server_name_missing", 403, "the TLS client sent no server name";
    NotTls = "not_tls", 403, "this tunnel carries something other than TLS";
    AddressForbidden = "address_forbidden", 403, "the host's address is private, local or reserved";
    PlaintextCredential = "plaintext_credential", 403, "this route carries a credential and is served over https only";
    RequestMalformed = "request_malformed", 403, "the request is malformed or ambiguous";
    MethodOverride = "method_override", 403, "a header asks for another method than the request line";
    UpgradeNotAllowed = "upgrade_not_allowed", 403, "only a WebSocket upgrade may pass";
    ConnectNested = "connect_nested", 403, "CONNECT inside a tunnel";
    Finding = "finding", 403, "something that must not leave was found in the request";
    BodyUnscannable = "body_unscannable", 403, "the body is encoded in a way that cannot be searched";
    BudgetExceeded = "budget_exceeded", 429, "this bottle has spent what it may send in one period";
    Inbound = "inbound", 502, "the response holds text that gives orders to an agent";
    Frozen = "frozen", 503, "the operator has frozen this bottle";
    NotApproved = "not_approved", 403, "the operator did not approve this request";
    PolicyError = "policy_error", 403, "the policy could not be applied";
    LimitExceeded = "limit_exceeded", 429, "this bottle has reached a limit of its gate";
    NameNotResolved = "name_not_resolved", 502, "the host's name could not be resolved";
    UpstreamUnreachable = "upstream_unreachable", 502, "the upstream could not be reached";
    UpstreamTls = "upstream_tls", 502, "the upstream's certificate was not accepted";
    UpstreamProtocol = "upstream_protocol", 502, "the upstream's answer could not be used";
    UpstreamTimeout = "upstream_timeout", 504, "the upstream did not answer in time";
    SecretUnavailable = "secret_unavailable", 502, "the credential of this route could not be read on the host";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}
