//! What a bottle may do, and what became of a request, in words and as JSON, for its agent.
//!
//! Invariant: nothing here tells where the host keeps a secret: a secret is called by its placeholder.

use super::desk::{Desk, Known, now};
use bottle_spec::{
    git::{Approval, GitRepository},
    operator::{Gives, Grant},
    plan::PlannedSecret,
    policy::{EgressPolicy, OnFinding, Route, Tls},
};
use serde_json::{Value, json};
use std::fmt::Write as _;

pub(super) fn policy(desk: &Desk) -> (String, Value) {
    let policy = desk.policy();
    let mut text = String::new();
    if policy.observe {
        text.push_str("This bottle is observed: requests that no route allows pass as well.\n");
    } else if policy.routes.is_empty() {
        text.push_str("No request leaves this bottle: it has no route.\n");
    } else {
        text.push_str("Requests may leave to:\n");
    }
    for one in &policy.routes {
        let _ = writeln!(text, "- {}", route_words(one, &desk.secrets));
    }
    if !desk.git.is_empty() {
        text.push_str("Repositories at $GIT_GATE_URL:\n");
    }
    for repository in &desk.git {
        let _ = writeln!(text, "- {}", repository_words(repository));
    }
    text.push_str(
        "Everything else is refused. Ask for more by request_egress, request_git or request_secret_route, then call \
         wait_for_decision.\n",
    );
    (text, json(&policy, desk))
}

fn json(policy: &EgressPolicy, desk: &Desk) -> Value {
    let routes: Vec<Value> = policy.routes.iter().map(|route| route_json(route, &desk.secrets)).collect();
    let repositories: Vec<Value> = desk.git.iter().map(repository_json).collect();
    let secrets: Vec<&str> = desk.secrets.iter().map(|secret| secret.placeholder.as_str()).collect();
    json!({ "routes": routes, "repositories": repositories, "secrets": secrets, "observed": policy.observe })
}

fn route_json(route: &Route, secrets: &[PlannedSecret]) -> Value {
    json!({
        "host": route.host.to_string(),
        "ports": route.ports,
        "methods": route.methods,
        "paths": route.paths,
        "intercepted": route.tls == Tls::Intercept,
        "secret": placeholder(route, secrets),
        "on_finding": route.on_finding,
        "granted": route.granted,
    })
}

fn placeholder<'a>(route: &Route, secrets: &'a [PlannedSecret]) -> Option<&'a str> {
    let auth = route.auth.as_ref()?;
    secrets.iter().find(|secret| secret.source == auth.secret).map(|secret| secret.placeholder.as_str())
}

fn route_words(route: &Route, secrets: &[PlannedSecret]) -> String {
    let mut text = route.host.to_string();
    match &route.methods {
        Some(methods) => _ = write!(text, ", {}", methods.join(" ")),
        None => text.push_str(", every method"),
    }
    match &route.paths {
        Some(paths) => {
            let paths: Vec<&str> = paths.iter().map(|path| path.0.as_str()).collect();
            let _ = write!(text, " on {}", paths.join(" "));
        }
        None => text.push_str(" on every path"),
    }
    if let Some(placeholder) = placeholder(route, secrets) {
        let _ = write!(text, "; the gate adds the credential ({placeholder})");
    }
    match route.on_finding {
        OnFinding::Ask => text.push_str("; what holds a secret waits for the operator"),
        OnFinding::Redact => text.push_str("; secrets in it are blotted out"),
        OnFinding::Block | OnFinding::Log => {}
    }
    match &route.granted {
        Some(granted) if granted.once => text.push_str(" (granted, for one request)"),
        Some(_) => text.push_str(" (granted)"),
        None => {}
    }
    text
}

fn repository_words(repository: &GitRepository) -> String {
    match &repository.push {
        None => format!("{}: fetch", repository.name),
        Some(push) => {
            let refs: Vec<&str> = push.refs.iter().map(|pattern| pattern.as_str()).collect();
            let asked = if push.approval == Approval::Ask { "; each push waits for the operator" } else { "" };
            format!("{}: fetch, and push to {}{asked}", repository.name, refs.join(" "))
        }
    }
}

fn repository_json(repository: &GitRepository) -> Value {
    let push = repository.push.as_ref().map(
        |push| json!({ "refs": push.refs, "approval": push.approval, "delete": push.delete, "force": push.force }),
    );
    json!({ "name": repository.name, "push": push })
}

/// What became of a request.
pub(super) fn status(known: &Known, secrets: &[PlannedSecret]) -> (String, Value) {
    let id = &known.request.id;
    let (status, mut text) = match &known.decision {
        None if known.request.expires <= now() => ("denied", format!("{id}: nobody answered in time.")),
        None => ("pending", format!("{id}: the operator has not answered yet.")),
        Some(decision) if decision.allow => ("approved", format!("{id}: the operator said yes.")),
        Some(_) => ("denied", format!("{id}: the operator said no.")),
    };
    let decision = known.decision.as_ref();
    let grant = decision.and_then(|decision| decision.grant.as_ref());
    if let Some(answer) = decision.and_then(|decision| decision.answer.as_deref()) {
        let _ = write!(text, " Answer: {answer}");
    }
    if let Some(why) = decision.and_then(|decision| decision.why.as_deref()) {
        let _ = write!(text, " They say: {why}");
    }
    if let Some(grant) = grant {
        let _ = write!(text, " You may now: {}", grant_words(grant, secrets));
    }
    let next_step = match status {
        "pending" => "call wait_for_decision with this id",
        "approved" if grant.is_some() => "do again what was refused",
        "approved" => "go on",
        _ => "do not ask for the same again; find another way or ask_operator",
    };
    let value = json!({
        "id": id,
        "kind": known.request.what.kind(),
        "status": status,
        "answer": decision.and_then(|decision| decision.answer.clone()),
        "why": decision.and_then(|decision| decision.why.clone()),
        "granted": grant.map(|grant| grant_json(grant, secrets)),
        "next_step": next_step,
    });
    (text, value)
}

fn grant_words(grant: &Grant, secrets: &[PlannedSecret]) -> String {
    match &grant.gives {
        Gives::Route { route, .. } => format!("{}, {}", route_words(route, secrets), grant.term),
        Gives::Refs { repository, refs } => {
            let refs: Vec<&str> = refs.iter().map(|pattern| pattern.as_str()).collect();
            format!("push to {} of {repository}, {}", refs.join(" "), grant.term)
        }
    }
}

fn grant_json(grant: &Grant, secrets: &[PlannedSecret]) -> Value {
    let gives = match &grant.gives {
        Gives::Route { route, .. } => route_json(route, secrets),
        Gives::Refs { repository, refs } => json!({ "repository": repository, "refs": refs }),
    };
    json!({ "gives": gives, "term": grant.term, "until": grant.until })
}
