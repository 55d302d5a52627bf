//! `bot-bottle requests`, `approve` and `deny`: what agents ask for, and the answers.
//!
//! Invariant: everything shown is escaped line by line; an answer is to the very text that was shown, by its hash.

use super::list::open;
use crate::{compose::Context, error::CliError};
use bottle_spec::{
    escape::Escaped,
    operator::{DECISION, OperatorDecision, OperatorRequest, PushRequest, REQUEST, Requested, digest, is_id},
};
use std::{
    fmt::Write as _,
    fs,
    path::PathBuf,
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

/// Show what the agents of running bottles wait for
#[derive(Debug, clap::Args)]
pub(crate) struct RequestsArgs {
    /// One request with everything that it would do
    id: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Say yes to a request
#[derive(Debug, clap::Args)]
pub(crate) struct ApproveArgs {
    /// As `bot-bottle requests` names it
    id: String,
    /// Do not show it and ask once more
    #[arg(long, short)]
    yes: bool,
}

/// Say no to a request
#[derive(Debug, clap::Args)]
pub(crate) struct DenyArgs {
    /// As `bot-bottle requests` names it
    id: String,
    /// What the agent is told
    #[arg(long)]
    reason: Option<String>,
}

/// A request that waits, with the hash of what it was read from.
struct Found {
    request: OperatorRequest,
    digest: String,
    directory: PathBuf,
}

pub(crate) fn list(args: RequestsArgs, context: &Context) -> Result<ExitCode, CliError> {
    if let Some(id) = &args.id {
        let found = named(id, context)?;
        if args.json {
            context.ui.json(&found.request)?;
        } else {
            context.ui.result(&whole(&found.request))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let found = all(context)?;
    if args.json {
        let requests: Vec<&OperatorRequest> = found.iter().map(|found| &found.request).collect();
        context.ui.json(&requests)?;
    } else {
        context.ui.result(&found.iter().map(|found| line(&found.request)).collect::<String>())?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn approve(args: &ApproveArgs, context: &Context) -> Result<ExitCode, CliError> {
    let found = named(&args.id, context)?;
    if !args.yes {
        if !context.ui.can_ask() {
            return Err(CliError::usage("there is no terminal to ask at").next("look at it first, then add --yes"));
        }
        context.ui.say(&whole(&found.request));
        if !context.ui.confirm("Approve this, as it stands here?")? {
            return Err(CliError::denied("nothing was approved; the request still waits"));
        }
    }
    decide(&found, true, None)
}

pub(crate) fn deny(args: &DenyArgs, context: &Context) -> Result<ExitCode, CliError> {
    decide(&named(&args.id, context)?, false, args.reason.clone())
}

/// Whole or not at all; the first answer counts.
fn decide(found: &Found, allow: bool, why: Option<String>) -> Result<ExitCode, CliError> {
    let id = &found.request.id;
    let failed = |error| CliError::host("the answer cannot be written").because(error);
    let decision = OperatorDecision { id: id.clone(), request: found.digest.clone(), allow, why };
    let text = serde_json::to_vec(&decision).map_err(|error| CliError::bug("no answer").because(error))?;
    let making = found.directory.join(format!(".{id}.decision.{}", std::process::id()));
    fs::write(&making, text).map_err(failed)?;
    let given = fs::hard_link(&making, found.directory.join(format!("{id}{DECISION}")));
    let _ = fs::remove_file(&making);
    match given {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(CliError::usage(format!("the request {id} has been answered")))
        }
        other => other.map(|()| ExitCode::SUCCESS).map_err(failed),
    }
}

fn named(id: &str, context: &Context) -> Result<Found, CliError> {
    let unknown = || {
        let shown = Escaped(id).to_string();
        CliError::usage(format!("no request {shown} waits")).next("`bot-bottle requests` shows those that do")
    };
    if !is_id(id) {
        return Err(unknown());
    }
    all(context)?.into_iter().find(|found| found.request.id == id).ok_or_else(unknown)
}

/// Of every bottle, oldest first. Those that are over or answered are left out.
fn all(context: &Context) -> Result<Vec<Found>, CliError> {
    let store = open(context)?;
    let mut found = Vec::new();
    for listed in store.list().map_err(super::list::unreadable)? {
        let Ok(slug) = listed.slug.parse() else { continue };
        let directory = store.bottle(&slug).requests();
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(id) = name.to_str().and_then(|name| name.strip_suffix(REQUEST)) else { continue };
            let Ok(text) = fs::read(entry.path()) else { continue };
            let Ok(request) = serde_json::from_slice::<OperatorRequest>(&text) else { continue };
            let answered = directory.join(format!("{id}{DECISION}")).exists();
            if request.id == id && request.expires > now() && !answered {
                found.push(Found { request, digest: digest(&text), directory: directory.clone() });
            }
        }
    }
    found.sort_by_key(|found| found.request.made);
    Ok(found)
}

fn line(request: &OperatorRequest) -> String {
    let Requested::Push(push) = &request.what;
    let refs: Vec<String> = push.refs.iter().map(|one| Escaped(&one.reference).to_string()).collect();
    let flagged = if push.flags.is_empty() { "" } else { "  (runs something)" };
    let left = request.expires.saturating_sub(now()) / 60_000;
    format!(
        "{}  {}  push to {}: {}  {} commits{flagged}  {left}m left\n",
        request.id,
        Escaped(&request.bottle),
        Escaped(&push.repository),
        refs.join(" "),
        push.commits.len()
    )
}

fn whole(request: &OperatorRequest) -> String {
    let Requested::Push(push) = &request.what;
    let mut text = line(request);
    let _ = writeln!(text, "upstream   {}", Escaped(&push.upstream));
    for one in &push.refs {
        let at = |object: &Option<String>| object.as_deref().map_or("nothing".to_owned(), |it| Escaped(it).to_string());
        let _ = writeln!(text, "ref        {} from {} to {}", Escaped(&one.reference), at(&one.old), at(&one.new));
    }
    lines(&mut text, "runs       ", &push.flags);
    lines(&mut text, "commit     ", &push.commits);
    text.push('\n');
    diff(&mut text, push);
    text
}

fn lines(text: &mut String, label: &str, lines: &[String]) {
    for line in lines {
        let _ = writeln!(text, "{label}{}", Escaped(line));
    }
}

fn diff(text: &mut String, push: &PushRequest) {
    // A tab is part of many a file and moves nothing but what follows it.
    for line in push.diff.lines() {
        let _ = writeln!(text, "{}", Escaped(&line.replace('\t', "    ")));
    }
    if push.cut {
        text.push_str("(there is more than is shown here)\n");
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
