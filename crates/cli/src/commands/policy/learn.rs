//! `bot-bottle policy learn`: from a bottle's audit log to the manifest that would have allowed what it did.

use super::give;
use crate::{catalog, commands::audit::logs, compose::Context, error::CliError};
use bottle_policy::learn::{Learned, LearnedHost, Learner};
use bottle_spec::{
    event::AuditRecord,
    host::HostPattern,
    manifest::{Noted, bottle_of},
    notation::Name,
    policy::{Auth, Route},
    slug::Slug,
};
use serde::Serialize;
use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    process::ExitCode,
};

/// Write the smallest manifest that would have allowed what a bottle asked for; what looks like a way out for data is
/// written as a comment, with the reason
#[derive(Debug, clap::Args)]
pub(super) struct LearnArgs {
    /// A bottle, running or gone: `audit list` names them
    bottle: Slug,
    /// Take the secrets over from the routes of this bottle, as in bottles/NAME.yaml
    #[arg(long, value_name = "NAME")]
    auth_of: Option<String>,
    /// Write it to bottles/NAME.yaml instead of printing it; never overwrites
    #[arg(long, value_name = "NAME", conflicts_with = "json")]
    write: Option<Name>,
    /// Print what was learnt as JSON
    #[arg(long)]
    json: bool,
}

/// As printed with `--json`.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    host: &'a str,
    requests: u64,
    granted: bool,
    doubts: Vec<String>,
    routes: &'a [Route],
}

pub(super) fn run(args: &LearnArgs, context: &Context) -> Result<ExitCode, CliError> {
    let mut learned = read(args, context)?;
    if let Some(name) = &args.auth_of {
        let given = catalog::bottle_named(name, context)?.egress.routes;
        let auths: Vec<(HostPattern, Auth)> =
            given.into_iter().filter_map(|route| Some((route.value.host, route.value.auth?))).collect();
        for host in learned.hosts.iter_mut().filter(|host| host.injected) {
            let auth = auths.iter().find(|(pattern, _)| pattern.matches(&host.host)).map(|(_, auth)| auth);
            host.routes.iter_mut().for_each(|route| route.auth = auth.cloned());
        }
    }
    if args.json {
        context.ui.json(&learned.hosts.iter().map(shown).collect::<Vec<_>>())?;
        return Ok(ExitCode::SUCCESS);
    }
    let doubted = learned.hosts.iter().filter(|host| !host.doubts.is_empty()).count();
    give(&text(&args.bottle, &learned), args.write.as_ref(), context)?;
    if doubted > 0 {
        context.ui.say(&format!("{doubted} of {} hosts were left out, each with its reason", learned.hosts.len()));
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(host: &LearnedHost) -> Shown<'_> {
    Shown {
        host: host.host.as_str(),
        requests: host.requests,
        granted: host.doubts.is_empty(),
        doubts: host.doubts.iter().map(ToString::to_string).collect(),
        routes: &host.routes,
    }
}

fn read(args: &LearnArgs, context: &Context) -> Result<Learned, CliError> {
    let unreadable = |error| CliError::host("the audit log cannot be read").because(error);
    let log = logs::named(&args.bottle, context)?;
    let mut learner = Learner::default();
    for line in BufReader::new(File::open(log.path()).map_err(unreadable)?).lines() {
        // Records of kinds that this version does not know teach nothing.
        if let Ok(record) = serde_json::from_str::<AuditRecord>(&line.map_err(unreadable)?) {
            learner.see(record.seq, &record.event);
        }
    }
    let learned = learner.learned();
    if learned.hosts.is_empty() {
        return Err(CliError::usage(format!("{} asked for nothing that a route could allow", args.bottle))
            .next("run it with --observe, and let it do its work"));
    }
    Ok(learned)
}

fn text(bottle: &Slug, learned: &Learned) -> String {
    let mut head =
        vec![format!("What {bottle} asked for: {} requests to {} hosts.", learned.requests, learned.hosts.len())];
    head.extend(
        learned.refused.iter().map(|(reason, count)| format!("Refused whatever a route says: {count} × {reason}.")),
    );
    if learned.beyond > 0 {
        head.push(format!("{} requests went to more hosts than are told apart.", learned.beyond));
    }
    let routes: Vec<Noted> = learned.hosts.iter().flat_map(noted).collect();
    bottle_of(&head, &routes)
}

fn noted(host: &LearnedHost) -> Vec<Noted> {
    let left_out = !host.doubts.is_empty();
    let mut notes = vec![format!("{} requests", host.requests)];
    notes.extend(host.doubts.iter().map(|doubt| format!("left out: {doubt}")));
    if host.injected && host.routes.iter().all(|route| route.auth.is_none()) {
        notes.push("a secret went along: add its `auth`, or name its bottle with --auth-of".to_owned());
    }
    let mut first = Some(notes);
    let noted = |route: &Route| Noted { route: route.clone(), notes: first.take().unwrap_or_default(), left_out };
    host.routes.iter().map(noted).collect()
}
