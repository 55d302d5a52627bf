//! A policy as a whole: what makes it invalid, and what the operator should be told although it is valid.

use crate::{path::Pattern, scan};
use bottle_spec::{
    host::HostPattern,
    policy::{Auth, Carrier, EgressPolicy, Route, Tls},
};

/// Why a policy is not taken. `route` is its index in the policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("route {route} ({host}): name at least one port")]
    NoPort { route: usize, host: String },
    #[error("route {route} ({host}): 0 is not a port")]
    PortZero { route: usize, host: String },
    #[error("route {route} ({host}): an empty list of methods allows nothing; leave `methods` out to allow all")]
    NoMethod { route: usize, host: String },
    #[error("route {route} ({host}): `{method}` is not a method a route can allow")]
    Method { route: usize, host: String, method: String },
    #[error("route {route} ({host}): an empty list of paths allows nothing; leave `paths` out to allow all")]
    NoPath { route: usize, host: String },
    #[error("route {route} ({host}): `{pattern}` is not a path pattern; write `/a/*`, `/a/**` or `/a/b`")]
    Path { route: usize, host: String, pattern: String },
    #[error(
        "route {route} ({host}): with `tls: passthrough` the gate sees no methods, paths or headers; leave out {key}"
    )]
    Passthrough { route: usize, host: String, key: &'static str },
    #[error("route {route} ({host}): `{name}` is not a header that a credential can be sent in")]
    Header { route: usize, host: String, name: String },
    #[error("route {route} ({host}): `{name}` is not a query parameter's name")]
    Query { route: usize, host: String, name: String },
    #[error("route {route} ({host}): anyone can register a name below this suffix, and would be sent the credential")]
    SuffixCredential { route: usize, host: String },
    #[error("route {route} ({host}): `exempt` names `{id}`, which is no rule of the scanner{}", near(.nearest))]
    Exempt { route: usize, host: String, id: String, nearest: Option<&'static str> },
    #[error("`resolve` of {host}: 0 is not a port")]
    ResolvePort { host: String },
    #[error("`upstream_proxy` needs a host and a port")]
    UpstreamProxy,
}

/// Headers that frame or route a message, and so cannot carry a credential.
const FRAMING: [&str; 12] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "proxy-connection",
    "proxy-authorization",
    "content-encoding",
];

/// All that is wrong with a policy; empty where it is valid.
pub(crate) fn faults(policy: &EgressPolicy) -> Vec<Fault> {
    let mut faults: Vec<Fault> = policy.routes.iter().enumerate().flat_map(|(i, route)| of_route(i, route)).collect();
    let zero = policy.resolve.iter().filter(|(_, address)| address.port() == 0);
    faults.extend(zero.map(|(host, _)| Fault::ResolvePort { host: host.to_string() }));
    if policy.upstream_proxy.as_ref().is_some_and(|proxy| proxy.port == 0 || proxy.host.is_empty()) {
        faults.push(Fault::UpstreamProxy);
    }
    faults
}

fn of_route(route: usize, given: &Route) -> Vec<Fault> {
    let host = given.host.to_string();
    let mut faults = Vec::new();
    if given.ports.is_empty() {
        faults.push(Fault::NoPort { route, host: host.clone() });
    }
    if given.ports.contains(&0) {
        faults.push(Fault::PortZero { route, host: host.clone() });
    }
    match given.methods.as_deref() {
        Some([]) => faults.push(Fault::NoMethod { route, host: host.clone() }),
        methods => {
            let bad = methods.unwrap_or_default().iter().filter(|m| !is_token(m) || m.eq_ignore_ascii_case("connect"));
            faults.extend(bad.map(|method| Fault::Method { route, host: host.clone(), method: method.clone() }));
        }
    }
    match given.paths.as_deref() {
        Some([]) => faults.push(Fault::NoPath { route, host: host.clone() }),
        paths => {
            let bad = paths.unwrap_or_default().iter().filter(|p| Pattern::parse(&p.0).is_none());
            faults.extend(bad.map(|p| Fault::Path { route, host: host.clone(), pattern: p.0.clone() }));
        }
    }
    if given.tls == Tls::Passthrough {
        let keys =
            [("methods", given.methods.is_some()), ("paths", given.paths.is_some()), ("auth", given.auth.is_some())];
        let set = keys.into_iter().filter(|(_, set)| *set);
        faults.extend(set.map(|(key, _)| Fault::Passthrough { route, host: host.clone(), key }));
    }
    let unknown = given.exempt.iter().filter(|id| !rule_ids().any(|it| it == id.as_str()));
    faults.extend(unknown.map(|id| Fault::Exempt { route, host: host.clone(), id: id.clone(), nearest: nearest(id) }));
    faults.extend(given.auth.as_ref().and_then(|auth| of_auth(route, &given.host, auth)));
    faults
}

/// What `exempt` can name.
pub(crate) fn rule_ids() -> impl Iterator<Item = &'static str> {
    scan::rules::all().iter().map(|rule| rule.id).chain([scan::KNOWN_SECRET, scan::CANARY, scan::TOO_DEEP])
}

pub(crate) fn near(nearest: &Option<&str>) -> String {
    nearest.map_or_else(String::new, |id| format!("; did you mean `{id}`?"))
}

/// The id that has most pairs of letters in common with `wrong`, if half of them.
pub(crate) fn nearest(wrong: &str) -> Option<&'static str> {
    let common =
        |id: &str| wrong.as_bytes().windows(2).filter(|pair| id.as_bytes().windows(2).any(|it| it == *pair)).count();
    let best = rule_ids().max_by_key(|id| (2 * common(id)).saturating_sub(id.len()));
    best.filter(|id| 2 * common(id) >= wrong.len().max(id.len()) - 1)
}

fn of_auth(route: usize, pattern: &HostPattern, auth: &Auth) -> Option<Fault> {
    let host = pattern.to_string();
    match &auth.carrier {
        Carrier::Header(name) if !is_token(name) || FRAMING.contains(&name.to_ascii_lowercase().as_str()) => {
            Some(Fault::Header { route, host, name: name.clone() })
        }
        Carrier::Query(name) if name.is_empty() || name.bytes().any(|b| b.is_ascii_control()) => {
            Some(Fault::Query { route, host, name: name.clone() })
        }
        _ if is_public_suffix(pattern) => Some(Fault::SuffixCredential { route, host }),
        _ => None,
    }
}

/// RFC 9110 `token`.
fn is_token(text: &str) -> bool {
    let tchar = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(tchar)
}

/// Whether a wildcard stands right over a public suffix (`*.com`, `*.github.io`): names below it have many owners.
pub(crate) fn is_public_suffix(pattern: &HostPattern) -> bool {
    match pattern {
        HostPattern::Exact(_) => false,
        HostPattern::Below(name) => match psl::suffix(name.as_str().as_bytes()) {
            Some(suffix) => {
                suffix.as_bytes() == name.as_str().as_bytes() && (suffix.is_known() || !name.as_str().contains('.'))
            }
            None => false,
        },
    }
}

/// What the preflight should say about a valid policy.
pub fn notices(policy: &EgressPolicy) -> Vec<String> {
    let wide = policy.routes.iter().filter(|route| is_public_suffix(&route.host));
    wide.map(|route| format!("{} is a public suffix: anyone can own a name below it", route.host)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bottle_spec::{policy::PathPattern, secret::SecretRef};

    fn route(host: &str) -> Route {
        Route::to(HostPattern::parse(host).unwrap())
    }

    fn auth(carrier: Carrier) -> Option<Auth> {
        Some(Auth { carrier, secret: SecretRef::Env("T".to_owned()) })
    }

    #[test]
    fn every_fault_is_found_and_a_good_policy_has_none() {
        let base = || route("a.test");
        let bad = [
            Route { ports: vec![], ..base() },
            Route { ports: vec![0], ..base() },
            Route { methods: Some(vec![]), ..base() },
            Route { methods: Some(vec!["GE T".to_owned()]), ..base() },
            Route { methods: Some(vec!["CONNECT".to_owned()]), ..base() },
            Route { paths: Some(vec![]), ..base() },
            Route { paths: Some(vec![PathPattern("a".to_owned())]), ..base() },
            Route { tls: Tls::Passthrough, auth: auth(Carrier::Bearer), ..base() },
            Route { auth: auth(Carrier::Header("host".to_owned())), ..base() },
            Route { auth: auth(Carrier::Header("x y".to_owned())), ..base() },
            Route { auth: auth(Carrier::Query(String::new())), ..base() },
            Route { auth: auth(Carrier::Bearer), ..route("*.github.io") },
            Route { exempt: vec!["jwt".to_owned(), "github-tokens".to_owned()], ..base() },
        ];
        for (i, bad) in bad.into_iter().enumerate() {
            let policy = EgressPolicy { routes: vec![bad], ..EgressPolicy::default() };
            assert_eq!(faults(&policy).len(), 1, "case {i}: {:?}", faults(&policy));
        }
        let good = Route { auth: auth(Carrier::Header("x-api-key".to_owned())), ..route("*.a.test") };
        assert_eq!(faults(&EgressPolicy { routes: vec![base(), good], ..EgressPolicy::default() }), []);
    }

    #[test]
    fn an_unknown_rule_is_told_with_the_one_that_is_near() {
        let said = |id: &str| {
            let routes = vec![Route { exempt: vec![id.to_owned()], ..route("a.test") }];
            let faults = faults(&EgressPolicy { routes, ..EgressPolicy::default() });
            faults.first().map(ToString::to_string)
        };
        for id in ["jwt", "known-secret", "canary", "too-deep", "secret-assignment"] {
            assert_eq!(said(id), None);
        }
        let near = "route 0 (a.test): `exempt` names `secret-asignment`, which is no rule of the scanner; did you mean `secret-assignment`?";
        assert_eq!(said("secret-asignment").as_deref(), Some(near));
        assert!(said("zzz").is_some_and(|it| it.ends_with("no rule of the scanner")));
    }

    #[test]
    fn a_wildcard_over_a_public_suffix_is_noticed() {
        let policy = |host| EgressPolicy { routes: vec![route(host)], ..EgressPolicy::default() };
        for host in ["*.com", "*.co.uk", "*.github.io", "*.internal"] {
            assert_eq!(notices(&policy(host)).len(), 1, "{host}");
        }
        for host in ["*.example.com", "example.com", "*.svc.internal"] {
            assert_eq!(notices(&policy(host)), [] as [String; 0], "{host}");
        }
    }
}
