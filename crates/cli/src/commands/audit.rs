//! `bot-bottle audit`: what a bottle's gate decided, and whether the record of it is whole.

use crate::{compose::Context, error::CliError};
use bottle_gate::audit;
use bottle_runtime::store::Store;
use bottle_spec::{
    escape::Escaped,
    event::{AuditEvent, AuditRecord, Decision, EgressEvent},
    slug::Slug,
};
use serde::Serialize;
use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::ExitCode,
};

/// Show or verify what a bottle's gate decided
#[derive(Debug, clap::Args)]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Print every decision, oldest first
    Show {
        bottle: Slug,
        /// Print the records as they are, one JSON object a line
        #[arg(long)]
        json: bool,
        /// Only what was refused
        #[arg(long)]
        denied: bool,
    },
    /// Check the hash chain: no line edited, removed, moved or taken from another bottle
    Verify {
        bottle: Slug,
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(args: AuditArgs, context: &Context) -> Result<ExitCode, CliError> {
    match args.verb {
        Verb::Show { bottle, json, denied } => show(&bottle, json, denied, context),
        Verb::Verify { bottle, json } => verify(&bottle, json, context),
    }
}

/// The log of a bottle that is there, running or not.
fn open(bottle: &Slug, context: &Context) -> Result<(File, PathBuf), CliError> {
    let store = Store::open(context.dirs.clone())
        .map_err(|error| CliError::host("the state directory cannot be used").because(error))?;
    let path = store.bottle(bottle).audit_log();
    let file = File::open(&path).map_err(|error| {
        CliError::host(format!("there is no audit log of {bottle}"))
            .because(error)
            .next("`bot-bottle list` shows the bottles that there are")
    })?;
    Ok((file, path))
}

fn show(bottle: &Slug, json: bool, denied: bool, context: &Context) -> Result<ExitCode, CliError> {
    let (file, _) = open(bottle, context)?;
    for line in BufReader::new(file).lines() {
        let line = line.map_err(|error| CliError::host("the audit log cannot be read").because(error))?;
        let Ok(record) = serde_json::from_str::<AuditRecord>(&line) else {
            context.ui.say("(a line that is no record; `bot-bottle audit verify` says more)");
            continue;
        };
        if denied && !is_refusal(&record.event) {
            continue;
        }
        let text = if json { line } else { told(&record) };
        context.ui.result(&format!("{text}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn is_refusal(event: &AuditEvent) -> bool {
    matches!(event, AuditEvent::Egress(EgressEvent { decision: Decision::Deny, .. }))
}

/// One record as a line for people: seconds of the day in UTC, then what happened.
fn told(record: &AuditRecord) -> String {
    let seconds = record.time / 1000;
    let clock = format!("{:02}:{:02}:{:02}Z", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let what = match &record.event {
        AuditEvent::GateStarted { policy } => format!("gate started, policy {}", short(policy)),
        AuditEvent::GateStopped => "gate stopped".to_owned(),
        AuditEvent::PolicyReloaded { policy, accepted: true } => format!("policy reloaded: {}", short(policy)),
        AuditEvent::PolicyReloaded { accepted: false, .. } => {
            "policy reload refused, the last good one stays".to_owned()
        }
        AuditEvent::Egress(event) => egress(event),
    };
    format!("{clock} {what}")
}

fn short(hash: &str) -> String {
    Escaped(hash.get(..12).unwrap_or(hash)).to_string()
}

fn egress(event: &EgressEvent) -> String {
    let verdict = match event.decision {
        Decision::Allow => "allow",
        Decision::Deny => "deny ",
    };
    let text = |value: &Option<String>| value.as_deref().map(|v| Escaped(v).to_string()).unwrap_or_default();
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

#[derive(Serialize)]
struct Verified {
    records: u64,
    head: Option<String>,
    torn_bytes: u64,
}

fn verify(bottle: &Slug, json: bool, context: &Context) -> Result<ExitCode, CliError> {
    let (file, path) = open(bottle, context)?;
    let summary = audit::verify(BufReader::new(file)).map_err(|error| {
        CliError::denied(format!("the audit log of {bottle} does not verify"))
            .because(error)
            .next(format!("keep {} as it is and find out who wrote to it", path.display()))
    })?;
    let verified = Verified { records: summary.records, head: summary.head, torn_bytes: summary.torn };
    if json {
        context.ui.json(&verified)?;
    } else {
        context.ui.result(&format!(
            "{bottle}: {} records, unbroken; head {}\n",
            verified.records,
            verified.head.as_deref().unwrap_or("(none)")
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}
