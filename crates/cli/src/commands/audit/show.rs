//! `bot-bottle audit show`: records as lines for people.

use super::{super::requests, escaped, logs};
use crate::{compose::Context, error::CliError};
use bottle_spec::{
    escape::Escaped,
    event::{
        AuditEvent, AuditRecord, DecidedBy, DecidedEvent, Decision, EgressEvent, FindingAction, FindingEvent, FrozenBy,
        GitEnded, GitEvent, GitOperation, GrantEnd, InboundAction, InboundEvent,
    },
    slug::Slug,
};
use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    process::ExitCode,
};

pub(super) fn run(bottle: &Slug, json: bool, denied: bool, context: &Context) -> Result<ExitCode, CliError> {
    let file = File::open(logs::named(bottle, context)?.path()).map_err(super::unreadable)?;
    for line in BufReader::new(file).lines() {
        let line = line.map_err(super::unreadable)?;
        let Ok(record) = serde_json::from_str::<AuditRecord>(&line) else {
            context.ui.say("(a line that is no record; `bot-bottle audit verify` says more)");
            continue;
        };
        // Checkpoints are for `verify`.
        if denied && !is_refusal(&record.event) || !json && matches!(record.event, AuditEvent::Checkpoint(_)) {
            continue;
        }
        let text = if json { line } else { told(&record) };
        context.ui.result(&format!("{text}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn is_refusal(event: &AuditEvent) -> bool {
    matches!(
        event,
        AuditEvent::Egress(EgressEvent { decision: Decision::Deny, .. })
            | AuditEvent::Git(GitEvent { decision: Decision::Deny, .. })
    )
}

/// One record as a line for people: seconds of the day in UTC, then what happened.
fn told(record: &AuditRecord) -> String {
    let seconds = record.time / 1000;
    let clock = format!("{:02}:{:02}:{:02}Z", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{clock} {}", what(&record.event))
}

/// What happened, in a line. Every text of another's is escaped.
pub(in crate::commands) fn what(event: &AuditEvent) -> String {
    match event {
        AuditEvent::GateStarted { policy } => format!("gate started, policy {}", short(policy)),
        AuditEvent::GateStopped => "gate stopped".to_owned(),
        AuditEvent::PolicyReloaded { policy, accepted: true } => format!("policy reloaded: {}", short(policy)),
        AuditEvent::PolicyReloaded { accepted: false, .. } => {
            "policy reload refused, the last good one stays".to_owned()
        }
        AuditEvent::Egress(event) => egress(event),
        AuditEvent::EgressEnded(ended) => format!(
            "ended {}{}, {} bytes out, {} in, {} ms",
            ended.of,
            ended.status.map(|status| format!(" -> {status}")).unwrap_or_default(),
            ended.sent,
            ended.received,
            ended.took
        ),
        AuditEvent::Finding(event) => finding(event),
        AuditEvent::Inbound(event) => inbound(event),
        AuditEvent::Git(event) => git(event),
        AuditEvent::GitEnded(GitEnded { of, taken: true }) => format!("ended {of}, the upstream took it"),
        AuditEvent::GitEnded(GitEnded { of, taken: false }) => format!("ended {of}, the upstream did not take it"),
        AuditEvent::Frozen { frozen: false, .. } => "thawed".to_owned(),
        AuditEvent::Frozen { by: FrozenBy::Operator, .. } => "frozen by the operator".to_owned(),
        AuditEvent::Frozen { by: FrozenBy::Canary, .. } => "frozen: a canary was about to leave".to_owned(),
        AuditEvent::Decided(event) => decided(event),
        AuditEvent::GrantEnded { request, how } => {
            let how = match how {
                GrantEnd::Expired => "its time is over",
                GrantEnd::Revoked => "revoked",
                GrantEnd::Used => "used",
            };
            format!("grant {} ended: {how}", Escaped(request))
        }
        AuditEvent::Checkpoint(checkpoint) => format!("checkpoint, signed by {}", short(&checkpoint.signer)),
        AuditEvent::Gap { lost } => format!("{lost} denials could not be written before this"),
    }
}

fn decided(event: &DecidedEvent) -> String {
    let answer = match (event.by, event.decision) {
        (DecidedBy::Time, _) => "not answered in time",
        (DecidedBy::Operator, Decision::Allow) => "approved",
        (DecidedBy::Operator, Decision::Deny) => "denied",
    };
    let grant = event.grant.as_ref().map(|grant| format!(": {}", requests::grant(grant))).unwrap_or_default();
    format!("request {} ({}) {answer}{grant}", Escaped(&event.request), Escaped(&event.kind))
}

fn short(hash: &str) -> String {
    escaped(hash.get(..12).unwrap_or(hash))
}

fn finding(event: &FindingEvent) -> String {
    let action = match event.action {
        FindingAction::Block => "blocked",
        FindingAction::Redact => "redacted",
        FindingAction::Log => "passed on",
        FindingAction::Ask => "asked about",
    };
    let name = event.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
    let through = if event.through.is_empty() { String::new() } else { format!(" through {}", event.through) };
    let host = event.host.as_deref().unwrap_or("?");
    let what = format!("{}{name} in the {} for {host}: {}{through}", event.rule, event.place, event.shown);
    escaped(&format!("found {what}, {action}"))
}

fn git(event: &GitEvent) -> String {
    let verdict = match event.decision {
        Decision::Allow => "allow",
        Decision::Deny => "deny ",
    };
    let operation = match event.operation {
        GitOperation::Fetch => "fetch of",
        GitOperation::Push => "push to",
    };
    let at = |object: &Option<String>| object.as_deref().map_or_else(|| "nothing".to_owned(), short);
    let mut line = format!("{verdict} git {operation} {}", escaped(&event.repository));
    if let Some(reference) = &event.reference {
        line.push_str(&format!(" {} from {} to {}", escaped(reference), at(&event.old), at(&event.new)));
    }
    if event.approved {
        line.push_str(" (approved by the operator)");
    }
    if let Some(reason) = event.reason {
        line.push_str(&format!(" [{}]", reason.code()));
    }
    line
}

fn inbound(event: &InboundEvent) -> String {
    let action = match event.action {
        InboundAction::Warn => "passed on",
        InboundAction::Strip => "taken out",
        InboundAction::Block => "response ended",
    };
    let host = event.host.as_deref().unwrap_or("?");
    let path = event.path.as_deref().unwrap_or_default();
    escaped(&format!("{} from {host}{path}: \"{}\", {action}", event.rule, event.words))
}

fn egress(event: &EgressEvent) -> String {
    let verdict = match event.decision {
        Decision::Allow => "allow",
        Decision::Deny => "deny ",
    };
    let text = |value: &Option<String>| value.as_deref().map(escaped).unwrap_or_default();
    let port = event.port.map(|port| format!(":{port}")).unwrap_or_default();
    let mut line = format!("{verdict} {} {}{port}{}", text(&event.method), text(&event.host), text(&event.path));
    if let Some(status) = event.status {
        line.push_str(&format!(" -> {status}"));
    }
    if event.injected {
        line.push_str(" (credential injected)");
    }
    if let Some(reason) = event.reason {
        line.push_str(&format!(" [{}]", reason.code()));
    }
    line
}
