//! `bot-bottle cleanup`.

use super::list::{name, open, unreadable};
use crate::{compose::Context, engine, error::CliError};
use bottle_runtime::{
    audit_log::kept,
    reap::{Wanted, candidates, reap, reap_containers, reap_machines, reap_prepared},
    store::Listed,
};
use bottle_spec::{escape::Escaped, slug::Slug};
use std::{error::Error, process::ExitCode};

/// Take away what crashed bottles left: processes, containers, cgroups, sockets, files
///
/// Also machines that were prepared for warm starts and that no bottle runs in a branch of. Says what it took away. What
/// a bottle's agent did in its home and workspace goes with the bottle; its audit log is kept (`bot-bottle audit list`).
#[derive(Debug, clap::Args)]
pub(crate) struct CleanupArgs {
    /// Also the bottles that have stopped and could be resumed
    #[arg(long, conflicts_with = "slugs")]
    all: bool,
    /// Also the audit logs kept of bottles that are gone
    #[arg(long)]
    logs: bool,
    /// Ask nothing
    #[arg(long, short)]
    yes: bool,
    /// These bottles, crashed or stopped [default: every crashed one]
    #[arg(value_name = "BOTTLE")]
    slugs: Vec<Slug>,
}

pub(crate) fn run(args: CleanupArgs, context: &Context) -> Result<ExitCode, CliError> {
    let store = open(context)?;
    let wanted = match (args.all, args.slugs) {
        (true, _) => Wanted::All,
        (false, slugs) if slugs.is_empty() => Wanted::Dead,
        (false, slugs) => Wanted::Named(slugs),
    };
    let bottles = candidates(&store, &wanted).map_err(unreadable)?;
    let kept = if args.logs { kept::all(&context.dirs.state).map_err(unreadable)? } else { Vec::new() };
    let anything = !bottles.is_empty() || !kept.is_empty();
    if anything && !args.yes && !agreed(&bottles, kept.len(), context)? {
        return Err(CliError::denied("nothing was taken away"));
    }
    let mut reaped = reap(&store, &bottles).map_err(unreadable)?;
    if let Ok(engine) = engine::address(context) {
        match reap_containers(&store, &engine) {
            Ok(of_engine) => reaped.extend(of_engine),
            Err(error) => {
                let why = chain(&error);
                context.ui.say(&format!("warning: containers of bottles that are gone were not looked for: {why}"));
            }
        }
    }
    reaped.extend(reap_machines(&store));
    reaped.extend(reap_prepared(&store));
    let mut failures = 0;
    for one in &reaped {
        for what in &one.what {
            context.ui.result(&format!("{}: {}\n", Escaped(&one.name), Escaped(what)))?;
        }
        for failure in &one.failures {
            failures += 1;
            context.ui.say(&format!("error: {}: {}", Escaped(&one.name), Escaped(failure)));
        }
    }
    for log in &kept {
        log.drop_log().map_err(unreadable)?;
        context.ui.result(&format!("{}: audit log {}\n", log.slug, Escaped(&log.directory.display().to_string())))?;
    }
    if failures > 0 {
        return Err(CliError::host(format!("{failures} things could not be taken away"))
            .next("look at the lines above, then run `bot-bottle cleanup` again"));
    }
    if reaped.is_empty() && kept.is_empty() {
        context.ui.say("nothing to clean up");
    }
    Ok(ExitCode::SUCCESS)
}

fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(Some(error), |&error: &&dyn Error| error.source());
    causes.map(|error| Escaped(&error.to_string()).to_string()).collect::<Vec<_>>().join(": ")
}

fn agreed(bottles: &[Listed], logs: usize, context: &Context) -> Result<bool, CliError> {
    if !context.ui.can_ask() {
        return Err(CliError::usage("nobody can be asked here whether to take the bottles away").next("pass --yes"));
    }
    for bottle in bottles {
        context.ui.say(&format!("{:<24} {}", bottle.slug, name(bottle.state)));
    }
    if logs > 0 {
        context.ui.say(&format!("{logs} audit logs of bottles that are gone"));
    }
    context.ui.confirm("Take these away, with all that is in them?")
}
