//! What a person should weigh before a yes: sentences computed from the request and the plan, never from the agent's
//! reason.

use super::like;
use crate::validate::is_public_suffix;
use bottle_spec::{
    host::{HostName, HostPattern},
    operator::{EgressRequest, Requested, SecretRequest, Term},
    plan::Plan,
    policy::{EgressPolicy, PathPattern},
};

/// Methods that are not meant to change anything.
const READS: [&str; 3] = ["GET", "HEAD", "OPTIONS"];

/// Weightiest first; empty where there is nothing to say.
pub fn risks(asked: &Requested, plan: &Plan) -> Vec<String> {
    match asked {
        Requested::Egress(asked) => egress(asked, &plan.egress),
        Requested::SecretRoute(asked) => secret(asked, plan),
        Requested::Git(asked) => {
            let wide = asked.refs.iter().filter(|reference| reference.as_str().ends_with("/*"));
            let wide = wide.filter(|reference| reference.as_str().matches('/').count() == 2);
            wide.map(|reference| format!("every ref of its kind: {}", reference.as_str())).collect()
        }
        Requested::Held(held) if !held.findings.is_empty() => {
            vec!["something that should not leave was found".to_owned()]
        }
        Requested::Push(push) if !push.flags.is_empty() => vec!["it makes a machine run something".to_owned()],
        Requested::Held(_) | Requested::Push(_) | Requested::Question(_) => Vec::new(),
    }
}

fn egress(asked: &EgressRequest, policy: &EgressPolicy) -> Vec<String> {
    let mut risks: Vec<String> = of_host(&asked.host).into_iter().collect();
    let like = like(policy, &asked.host);
    if like.is_some_and(|route| route.auth.is_some()) {
        risks.push("it is sent with the credential of the bottle's route to this host".to_owned());
    }
    if like.is_some_and(|route| route.private) || resolves_privately(policy, &asked.host) {
        risks.push("the host may be a private address".to_owned());
    }
    if like.is_some_and(|route| !route.exempt.is_empty()) {
        risks.push("rules of the scan are exempt for this host".to_owned());
    }
    if !policy.routes.iter().any(|route| overlaps(&route.host, &asked.host)) {
        risks.push("a host that the bottle could not reach before".to_owned());
    }
    if asked.port != 443 {
        risks.push(format!("port {}{}", asked.port, if asked.port == 80 { ", unencrypted" } else { "" }));
    }
    risks.extend(of_reach(asked.methods.as_deref(), asked.paths.as_deref(), asked.term));
    risks
}

fn secret(asked: &SecretRequest, plan: &Plan) -> Vec<String> {
    let mut risks = vec!["a credential goes to a host that the plan did not name for it".to_owned()];
    let host = HostPattern::Exact(asked.host.clone());
    risks.extend(of_host(&host));
    if !plan.egress.routes.iter().any(|route| overlaps(&route.host, &host)) {
        risks.push("a host that the bottle could not reach before".to_owned());
    }
    risks.extend(of_reach(asked.methods.as_deref(), asked.paths.as_deref(), asked.term));
    risks
}

fn of_host(host: &HostPattern) -> Option<String> {
    let (HostPattern::Exact(name) | HostPattern::Below(name)) = host;
    match host {
        HostPattern::Below(_) if is_public_suffix(host) => Some("anyone can own a name below this suffix".to_owned()),
        HostPattern::Below(_) => Some("every name below this one".to_owned()),
        HostPattern::Exact(_) => {
            shared(name).map(|suffix| format!("shared hosting: anyone can own a name below {suffix}"))
        }
    }
}

/// The suffix that many unrelated people have names below (the list's private part).
fn shared(name: &HostName) -> Option<&str> {
    let suffix = psl::suffix(name.as_str().as_bytes())?;
    let private = suffix.typ() == Some(psl::Type::Private);
    private.then(|| std::str::from_utf8(suffix.as_bytes()).ok()).flatten()
}

fn resolves_privately(policy: &EgressPolicy, host: &HostPattern) -> bool {
    policy.resolve.keys().any(|name| host.matches(name))
}

fn overlaps(one: &HostPattern, other: &HostPattern) -> bool {
    match other {
        HostPattern::Exact(name) => one.matches(name),
        HostPattern::Below(_) => one == other,
    }
}

fn of_reach(methods: Option<&[String]>, paths: Option<&[PathPattern]>, term: Term) -> Vec<String> {
    let mut risks = Vec::new();
    match methods {
        None => risks.push("every method, those that change things among them".to_owned()),
        Some(methods) => {
            let writes: Vec<&str> = methods.iter().map(String::as_str).filter(|it| !READS.contains(it)).collect();
            if !writes.is_empty() {
                risks.push(format!("methods that change things: {}", writes.join(", ")));
            }
        }
    }
    if paths.is_none_or(|paths| paths.iter().any(|path| path.0 == "/**")) {
        risks.push("every path".to_owned());
    }
    if term == Term::Bottle {
        risks.push("for as long as the bottle runs".to_owned());
    }
    risks
}
