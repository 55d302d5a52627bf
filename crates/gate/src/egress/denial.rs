//! What an agent is told when something was refused: one JSON shape, one header, one way to say what to do next.
//!
//! Invariant: nothing in a denial comes from an upstream, and no secret can: it is made from the parsed request alone.

use super::{authority::Origin, body::ResponseBody, judge::Found};
use bottle_policy::{budget::Over, scan::CANARY};
use bottle_spec::{
    door::MCP_URL,
    event::{AuditEvent, Decision, EgressEvent},
    verdict::Reason,
};
use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header, uri::PathAndQuery};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use tokio::sync::Notify;

/// What is known of a request when it is decided about. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    pub(crate) origin: Option<Arc<Origin>>,
    pub(crate) method: Option<Method>,
    pub(crate) target: Option<PathAndQuery>,
    /// Allowed although no route says so.
    pub(crate) observed: bool,
    /// For what it was refused.
    pub(crate) finding: Option<Arc<Found>>,
    /// Which budget it would have gone over.
    pub(crate) over: Option<Over>,
    /// Whether the agent can ask its operator.
    pub(crate) supervised: bool,
    /// Told that the request waits for the operator, where its client wants to know.
    pub(crate) waits: Option<Arc<Notify>>,
}

#[derive(Serialize)]
struct Shown<'a> {
    error: &'a str,
    reason: &'a str,
    host: Option<&'a str>,
    method: Option<&'a str>,
    path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finding: Option<&'a Found>,
    #[serde(skip_serializing_if = "Option::is_none")]
    budget: Option<&'a str>,
    /// The call by which the agent asks for leave; it adds a reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    ask: Option<Value>,
    next_step: String,
}

impl Facts {
    pub(crate) fn host(&self) -> Option<&str> {
        self.origin.as_ref().map(|origin| origin.host.as_str())
    }

    /// The audit event of a decision about this.
    pub(crate) fn event(&self, reason: Option<Reason>, injected: bool) -> AuditEvent {
        AuditEvent::Egress(EgressEvent {
            decision: if reason.is_some() { Decision::Deny } else { Decision::Allow },
            reason,
            host: self.host().map(str::to_owned),
            port: self.origin.as_ref().map(|origin| origin.port),
            method: self.method.as_ref().map(|method| method.as_str().to_owned()),
            path: self.target.as_ref().map(|target| target.path().to_owned()),
            injected,
            status: reason.map(Reason::status),
            budget: self.over.map(|over| over.budget.to_owned()),
            observed: self.observed,
        })
    }

    /// The JSON body of a denial.
    pub(crate) fn json(&self, reason: Reason) -> Bytes {
        let shown = Shown {
            error: reason.code(),
            reason: reason.sentence(),
            host: self.host(),
            method: self.method.as_ref().map(Method::as_str),
            path: self.target.as_ref().map(PathAndQuery::path),
            finding: self.finding.as_deref(),
            budget: self.over.map(|over| over.budget),
            ask: self.ask(reason),
            next_step: self.next_step(reason),
        };
        serde_json::to_vec(&shown).unwrap_or_default().into()
    }

    /// The response that carries a denial inside a tunnel or to a proxied request.
    pub(crate) fn response(&self, reason: Reason) -> Response<ResponseBody> {
        let mut response = Response::new(ResponseBody::full(self.json(reason)));
        *response.status_mut() = StatusCode::from_u16(reason.status()).unwrap_or(StatusCode::FORBIDDEN);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert("x-bot-bottle-reason", HeaderValue::from_static(reason.code()));
        if let Some(over) = self.over {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(over.retry_after));
        }
        response
    }

    /// The same, as the bytes that answer a CONNECT.
    pub(crate) fn bytes(&self, reason: Reason) -> Vec<u8> {
        let (body, status) = (self.json(reason), reason.status());
        let phrase = StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("Refused");
        let retry = self.over.map(|over| format!("retry-after: {}\r\n", over.retry_after)).unwrap_or_default();
        let head = format!(
            "HTTP/1.1 {status} {phrase}\r\ncontent-type: application/json\r\ncache-control: no-store\r\n\
             x-bot-bottle-reason: {}\r\n{retry}content-length: {}\r\nconnection: close\r\n\r\n",
            reason.code(),
            body.len()
        );
        [head.as_bytes(), &body].concat()
    }

    /// A tool of the supervise door, with its arguments, where there is one that helps.
    fn ask(&self, reason: Reason) -> Option<Value> {
        let asking = [Reason::NoRoute, Reason::PortNotAllowed, Reason::MethodNotAllowed, Reason::PathNotAllowed];
        let origin = self.origin.as_ref().filter(|_| self.supervised && asking.contains(&reason))?;
        let mut arguments = Map::new();
        arguments.insert("host".to_owned(), json!(origin.host.as_str()));
        if origin.port != 443 {
            arguments.insert("port".to_owned(), json!(origin.port));
        }
        // Of a tunnel, what will be asked in it is not known.
        if let Some(method) = self.method.as_ref().filter(|method| **method != Method::CONNECT) {
            arguments.insert("methods".to_owned(), json!([method.as_str()]));
        }
        if let Some(target) = &self.target {
            arguments.insert("paths".to_owned(), json!([target.path()]));
        }
        arguments.insert("reason".to_owned(), json!(""));
        Some(json!({ "server": MCP_URL, "tool": "request_egress", "arguments": arguments }))
    }

    fn after_finding(&self, host: &str) -> String {
        let rule = self.finding.as_ref().map_or("RULE", |found| found.rule);
        if rule == CANARY {
            return "stop: this credential was planted, and the bottle is frozen until its operator has looked"
                .to_owned();
        }
        format!(
            "leave it out; if it may go to {host}, ask the operator to add `exempt: [{rule}]` to the host's route, or to \
             run with `--exempt {host}={rule}` (asking at once is not built yet)"
        )
    }

    fn next_step(&self, reason: Reason) -> String {
        let host = self.host().unwrap_or("HOST");
        let port = self.origin.as_ref().map_or(443, |origin| origin.port);
        let method = self.method.as_ref().map_or("METHOD", Method::as_str);
        let path = self.target.as_ref().map_or("/PATH", PathAndQuery::path);
        match reason {
            _ if self.ask(reason).is_some() => {
                "call the tool in `ask` with a reason, then wait_for_decision with the id it gives".to_owned()
            }
            Reason::NoRoute => {
                format!(
                    "ask the operator to add `- host: {host}` to the bottle's `egress.routes`, or to run with `--allow {host}`"
                )
            }
            Reason::PortNotAllowed => {
                format!(
                    "ask the operator to add {port} to `ports` of the route for {host} in the bottle's `egress.routes`"
                )
            }
            Reason::MethodNotAllowed => format!(
                "ask the operator to add {method} to `methods` of the route for {host}, or to run with `--allow {host}:{method}`"
            ),
            Reason::PathNotAllowed => format!(
                "ask the operator to add `{path}` to `paths` of the route for {host}, or to run with `--allow {host}:{method}{path}`"
            ),
            Reason::PathAmbiguous => {
                "send the path without `..`, `//`, `\\`, `;` tricks or encoded separators".to_owned()
            }
            Reason::IpLiteral => {
                "use the host's name; for one without a name the operator can add `resolve: { NAME: \"ADDRESS:PORT\" }`"
                    .to_owned()
            }
            Reason::AddressForbidden => format!(
                "if {host} is meant to be private, ask the operator to set `private: true` on its route or to add it to `resolve`"
            ),
            Reason::PlaintextCredential => format!("use https://{host}"),
            Reason::UpstreamTls => {
                format!("if {host} has a private certificate authority, ask the operator to add it as `upstream_ca`")
            }
            Reason::Finding => self.after_finding(host),
            Reason::BodyUnscannable => {
                "send the body plainly, or with one Content-Encoding of gzip, deflate, br or zstd".to_owned()
            }
            Reason::BudgetExceeded => match self.over {
                Some(Over { budget, retry_after }) => format!(
                    "try again in {retry_after} seconds, or ask the operator for a larger `{budget}` in the bottle's \
                     `budgets`, or to run with a larger `--budget {budget}=…`"
                ),
                None => "try again later, or ask the operator for larger `budgets`".to_owned(),
            },
            Reason::Frozen => "wait until the operator thaws this bottle".to_owned(),
            Reason::LimitExceeded => "send less at once, then try again".to_owned(),
            Reason::SecretUnavailable => "ask the operator to check the route's `auth.secret` on the host".to_owned(),
            Reason::NameNotResolved | Reason::UpstreamUnreachable | Reason::UpstreamTimeout => {
                format!("the policy allows {host}; check the name or try again later")
            }
            Reason::UpstreamProtocol => {
                format!("the policy allows {host}, but its answer was not usable; try again later")
            }
            Reason::NotTls => format!("to reach {host} without TLS, use an http:// URL instead of a tunnel"),
            Reason::ServerNameMissing => format!("have the client send the TLS server name {host}"),
            Reason::HostMismatch => "send one and the same host in CONNECT, TLS server name and Host".to_owned(),
            Reason::HostInvalid => "use a plain host name of letters, digits, `-` and dots".to_owned(),
            Reason::RequestMalformed => "send a well-formed request with one clear length".to_owned(),
            Reason::MethodOverride => "use the method itself, without an override header or parameter".to_owned(),
            Reason::UpgradeNotAllowed => "only `Upgrade: websocket` over HTTP/1.1 may pass".to_owned(),
            Reason::ConnectNested => "open a tunnel to the final host at the proxy itself".to_owned(),
            _ => "ask the operator; the bottle's audit log has the decision".to_owned(),
        }
    }
}
