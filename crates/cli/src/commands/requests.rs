//! `bot-bottle requests`, `approve` and `deny`: what agents ask for, and the answers.
//!
//! Invariant: everything shown is escaped line by line; an answer is to the very text that was shown, by its hash, and
//! what a yes gives is computed from the structure that was shown.

mod answer;
mod manifest;
mod shown;

pub(crate) use answer::{ApproveArgs, DenyArgs, answer_shown, approve, deny};
pub(crate) use shown::{grant, on_screen, summary};

use super::list::open;
use crate::{compose::Context, error::CliError};
use bottle_policy::grant::risks;
use bottle_runtime::store::{BottleDir, State};
use bottle_spec::{
    escape::Escaped,
    operator::{DECISION, OperatorRequest, REQUEST, digest, is_id},
    plan::Plan,
    slug::Slug,
};
use serde::Serialize;
use std::{
    collections::BTreeSet,
    fs,
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

/// A request that waits, with the hash of what it was read from.
pub(crate) struct Found {
    request: OperatorRequest,
    digest: String,
    bottle: Slug,
    plan: Plan,
}

/// A request with what a person should weigh.
#[derive(Serialize)]
struct Listed<'a> {
    #[serde(flatten)]
    request: &'a OperatorRequest,
    risks: Vec<String>,
}

impl Found {
    fn listed(&self) -> Listed<'_> {
        Listed { request: &self.request, risks: risks(&self.request.what, &self.plan) }
    }
}

pub(crate) fn list(args: RequestsArgs, context: &Context) -> Result<ExitCode, CliError> {
    if let Some(id) = &args.id {
        let found = named(id, context)?;
        if args.json {
            context.ui.json(&found.listed())?;
        } else {
            context.ui.result(&shown::whole(&found))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let found = all(context)?;
    if args.json {
        let requests: Vec<Listed<'_>> = found.iter().map(Found::listed).collect();
        context.ui.json(&requests)?;
    } else {
        context.ui.result(&found.iter().map(|found| shown::line(&found.request)).collect::<String>())?;
    }
    Ok(ExitCode::SUCCESS)
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

/// Of every bottle that runs, oldest first: in others nobody waits. Those that are over or answered are left out.
fn all(context: &Context) -> Result<Vec<Found>, CliError> {
    let store = open(context)?;
    let mut found = Vec::new();
    for listed in store.list().map_err(super::list::unreadable)? {
        let Ok(slug) = listed.slug.parse::<Slug>() else { continue };
        if matches!(listed.state, State::Stopped | State::Failed) {
            continue;
        }
        found.extend(of_bottle(&store.bottle(&slug)));
    }
    found.retain(|found| found.request.expires > now());
    found.sort_by_key(|found| found.request.made);
    Ok(found)
}

/// Of one bottle, in no order: those without an answer, also where their time is over.
pub(crate) fn of_bottle(bottle: &BottleDir) -> Vec<Found> {
    let directory = bottle.requests();
    let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
    let names: BTreeSet<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let waits = |name: &&String| {
        let id = name.strip_suffix(REQUEST);
        id.is_some_and(|id| !names.contains(&format!("{id}{DECISION}")))
    };
    let mut plan = None;
    let mut found = Vec::new();
    for name in names.iter().filter(waits) {
        let Ok(text) = fs::read(directory.join(name)) else { continue };
        let Ok(request) = serde_json::from_slice::<OperatorRequest>(&text) else { continue };
        // A gate that was taken over can say what it likes, but not of another bottle.
        let own = name.strip_suffix(REQUEST) == Some(request.id.as_str()) && request.bottle == bottle.slug.as_str();
        if !own {
            continue;
        }
        if plan.is_none() {
            plan = bottle.plan().ok();
        }
        let Some(plan) = plan.clone() else { break };
        found.push(Found { request, digest: digest(&text), bottle: bottle.slug.clone(), plan });
    }
    found
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
