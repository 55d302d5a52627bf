//! Requests as a person reads them.
//!
//! Invariant: every text of a request is escaped, line by line.

use super::{Found, now};
use bottle_policy::grant::risks;
use bottle_spec::{
    escape::Escaped,
    operator::{EgressRequest, Gives, Grant, OperatorRequest, PushRequest, Requested, SecretRequest},
    policy::{PathPattern, Route},
};
use bottle_tui::event::{Asks, DiffKind, DiffLine, Kind, Request};
use std::fmt::Write as _;

/// One line of the list.
pub(super) fn line(request: &OperatorRequest) -> String {
    let left = request.expires.saturating_sub(now()) / 60_000;
    format!("{}  {}  {}  {left}m left\n", request.id, Escaped(&request.bottle), summary(&request.what))
}

pub(crate) fn summary(what: &Requested) -> String {
    match what {
        Requested::Push(push) => {
            let refs: Vec<String> = push.refs.iter().map(|one| Escaped(&one.reference).to_string()).collect();
            let flagged = if push.flags.is_empty() { "" } else { "  (runs something)" };
            let commits = push.commits.len();
            format!("push to {}: {}  {commits} commits{flagged}", Escaped(&push.repository), refs.join(" "))
        }
        Requested::Held(held) => {
            let found = if held.findings.is_empty() { "" } else { "  (something was found)" };
            let path = Escaped(&held.path);
            format!("waits: {} {}:{}{path}{found}", Escaped(&held.method), Escaped(&held.host), held.port)
        }
        Requested::Egress(asked) => format!("send to {}", egress(asked)),
        Requested::SecretRoute(asked) => format!("a secret for {}", secret(asked)),
        Requested::Git(asked) => {
            let refs: Vec<String> = asked.refs.iter().map(|one| Escaped(one.as_str()).to_string()).collect();
            format!("push rule for {}: {}", Escaped(&asked.repository), refs.join(" "))
        }
        Requested::Question(asked) => format!("asks: {}", Escaped(&asked.question)),
    }
}

fn egress(asked: &EgressRequest) -> String {
    let reach = reach(asked.methods.as_deref(), asked.paths.as_deref());
    format!("{}:{}  {reach}, {}", asked.host, asked.port, asked.term)
}

fn secret(asked: &SecretRequest) -> String {
    format!("{}  {}, {}", asked.host, reach(asked.methods.as_deref(), asked.paths.as_deref()), asked.term)
}

fn reach(methods: Option<&[String]>, paths: Option<&[PathPattern]>) -> String {
    let escaped = |texts: Vec<&str>| texts.iter().map(|text| Escaped(text).to_string()).collect::<Vec<_>>();
    let methods = methods.map_or_else(
        || "every method".to_owned(),
        |methods| escaped(methods.iter().map(String::as_str).collect()).join(","),
    );
    let paths = paths.map_or_else(
        || "every path".to_owned(),
        |paths| escaped(paths.iter().map(|path| path.0.as_str()).collect()).join(" "),
    );
    format!("{methods} on {paths}")
}

pub(super) fn whole(found: &Found) -> String {
    let mut text = line(&found.request) + &facts(found);
    if let Requested::Push(push) = &found.request.what {
        text.push('\n');
        for line in diff(push) {
            let _ = writeln!(text, "{}", line.text);
        }
    }
    text
}

/// For a screen, which draws the diff and the time that is left in its own way.
pub(crate) fn on_screen(found: &Found) -> Request {
    let OperatorRequest { id, bottle, made, expires, what } = &found.request;
    let (kind, asks) = match what {
        Requested::Push(_) => (Kind::Push, None),
        Requested::Held(_) => (Kind::Held, None),
        Requested::Egress(asked) => (Kind::Egress, Some(asks(asked.methods.as_deref(), asked.paths.as_deref()))),
        Requested::SecretRoute(asked) => {
            (Kind::SecretRoute, Some(asks(asked.methods.as_deref(), asked.paths.as_deref())))
        }
        Requested::Git(asked) => {
            let refs = asked.refs.iter().map(|one| Escaped(one.as_str()).to_string());
            (Kind::Git, Some(Asks::Refs(refs.collect())))
        }
        Requested::Question(_) => (Kind::Question, None),
    };
    let choices = match what {
        Requested::Question(asked) => asked.choices.iter().map(|choice| Escaped(choice).to_string()).collect(),
        _ => Vec::new(),
    };
    Request {
        id: id.clone(),
        digest: found.digest.clone(),
        bottle: Escaped(bottle).to_string(),
        kind,
        summary: summary(what),
        risks: risks(what, &found.plan),
        whole: facts(found).lines().map(str::to_owned).collect(),
        diff: if let Requested::Push(push) = what { diff(push) } else { Vec::new() },
        made: *made,
        expires: *expires,
        asks,
        choices,
    }
}

fn asks(methods: Option<&[String]>, paths: Option<&[PathPattern]>) -> Asks {
    let escaped = |text: &str| Escaped(text).to_string();
    Asks::Reach {
        methods: methods.map(|methods| methods.iter().map(|method| escaped(method)).collect()),
        paths: paths.map(|paths| paths.iter().map(|path| escaped(&path.0)).collect()),
    }
}

/// What is asked and what to weigh, a line each, without a push's diff.
fn facts(found: &Found) -> String {
    let mut text = String::new();
    let request = &found.request;
    match &request.what {
        Requested::Push(push) => push_facts(&mut text, push),
        Requested::Held(held) => lines(&mut text, "found      ", &held.findings),
        Requested::Egress(asked) => reason(&mut text, &asked.reason),
        Requested::SecretRoute(asked) => {
            let _ = writeln!(text, "secret     {}", Escaped(&asked.secret));
            reason(&mut text, &asked.reason);
        }
        Requested::Git(asked) => reason(&mut text, &asked.reason),
        Requested::Question(asked) => lines(&mut text, "choice     ", &asked.choices),
    }
    lines(&mut text, "risk       ", &risks(&request.what, &found.plan));
    text
}

fn reason(text: &mut String, reason: &str) {
    let _ = writeln!(text, "reason     {}", Escaped(reason));
}

fn push_facts(text: &mut String, push: &PushRequest) {
    let _ = writeln!(text, "upstream   {}", Escaped(&push.upstream));
    for one in &push.refs {
        let at = |object: &Option<String>| object.as_deref().map_or("nothing".to_owned(), |it| Escaped(it).to_string());
        let _ = writeln!(text, "ref        {} from {} to {}", Escaped(&one.reference), at(&one.old), at(&one.new));
    }
    lines(text, "runs       ", &push.flags);
    lines(text, "commit     ", &push.commits);
}

/// What each line is goes by git's own format: file by file a head, then hunks whose every line has a sign before it.
fn diff(push: &PushRequest) -> Vec<DiffLine> {
    let mut in_hunk = false;
    let line = |line: &str| {
        let kind = match line.as_bytes().first() {
            _ if line.starts_with("diff ") => {
                in_hunk = false;
                DiffKind::File
            }
            _ if line.starts_with("@@") => {
                in_hunk = true;
                DiffKind::Hunk
            }
            Some(b'+') if in_hunk => DiffKind::Added,
            Some(b'-') if in_hunk => DiffKind::Removed,
            _ if in_hunk => DiffKind::Context,
            _ => DiffKind::File,
        };
        // A tab is part of many a file and moves nothing but what follows it.
        DiffLine { kind, text: Escaped(&line.replace('\t', "    ")).to_string() }
    };
    let mut lines: Vec<DiffLine> = push.diff.lines().map(line).collect();
    if push.cut {
        lines.push(DiffLine { kind: DiffKind::File, text: "(there is more than is shown here)".to_owned() });
    }
    lines
}

fn lines(text: &mut String, label: &str, lines: &[String]) {
    for line in lines {
        let _ = writeln!(text, "{label}{}", Escaped(line));
    }
}

/// What a yes gives, in one line.
pub(crate) fn grant(grant: &Grant) -> String {
    match &grant.gives {
        Gives::Route { route, .. } => {
            let Route { host, ports, methods, paths, auth, .. } = &**route;
            let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
            let credential = auth.as_ref().map_or_else(String::new, |auth| {
                let source = auth.secret.to_string();
                format!("  with the secret {}", Escaped(&source))
            });
            let reach = reach(methods.as_deref(), paths.as_deref());
            format!("{host}:{}  {reach}{credential}, {}", ports.join(","), grant.term)
        }
        Gives::Refs { repository, refs } => {
            let refs: Vec<String> = refs.iter().map(|one| Escaped(one.as_str()).to_string()).collect();
            format!("push to {} of {}, {}", refs.join(" "), Escaped(repository), grant.term)
        }
    }
}
