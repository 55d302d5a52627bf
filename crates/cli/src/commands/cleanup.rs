//! `bot-bottle cleanup`.

use super::list::{name, open, unreadable};
use crate::{compose::Context, error::CliError};
use bottle_runtime::{
    reap::{Wanted, candidates, reap},
    store::Listed,
};
use bottle_spec::{escape::Escaped, slug::Slug};
use std::process::ExitCode;

/// Take away what crashed bottles left: processes, cgroups, sockets, files
///
/// Says what it took away. What a bottle's agent did in its home and workspace goes with the bottle.
#[derive(Debug, clap::Args)]
pub(crate) struct CleanupArgs {
    /// Also the bottles that have stopped and could be resumed
    #[arg(long, conflicts_with = "slugs")]
    all: bool,
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
    if !bottles.is_empty() && !args.yes && !agreed(&bottles, context)? {
        return Err(CliError::denied("nothing was taken away"));
    }
    let reaped = reap(&store, &bottles).map_err(unreadable)?;
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
    if failures > 0 {
        return Err(CliError::host(format!("{failures} things could not be taken away"))
            .next("look at the lines above, then run `bot-bottle cleanup` again"));
    }
    if reaped.is_empty() {
        context.ui.say("nothing to clean up");
    }
    Ok(ExitCode::SUCCESS)
}

fn agreed(bottles: &[Listed], context: &Context) -> Result<bool, CliError> {
    if !context.ui.can_ask() {
        return Err(CliError::usage("nobody can be asked here whether to take the bottles away").next("pass --yes"));
    }
    for bottle in bottles {
        context.ui.say(&format!("{:<24} {}", bottle.slug, name(bottle.state)));
    }
    context.ui.confirm("Take these away, with all that is in them?")
}
