//! `bot-bottle freeze` and `bot-bottle thaw`: the kill switch.

use super::list::open;
use crate::{compose::Context, error::CliError, terminal::told};
use bottle_runtime::{
    client::{self, ClientError},
    protocol::Status,
    store::State,
};
use bottle_spec::slug::Slug;
use serde::Serialize;
use std::process::ExitCode;

/// Stop everything in a bottle where it is: its gate denies all, its processes stand still
#[derive(Debug, clap::Args)]
#[command(after_help = "A file named `freeze` in $XDG_RUNTIME_DIR/bot-bottle does the same to every bottle, and in \
                        $XDG_RUNTIME_DIR/bot-bottle/BOTTLE to one, for as long as it is there.")]
pub(crate) struct FreezeArgs {
    #[command(flatten)]
    which: Which,
}

/// Let a frozen bottle go on
#[derive(Debug, clap::Args)]
pub(crate) struct ThawArgs {
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, clap::Args)]
struct Which {
    /// Every bottle that runs
    #[arg(long, conflicts_with = "slugs")]
    all: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// The bottles, as `bot-bottle list` names them
    #[arg(required_unless_present = "all", value_name = "BOTTLE")]
    slugs: Vec<Slug>,
}

#[derive(Serialize)]
struct Shown {
    slug: String,
    frozen: bool,
}

pub(crate) fn freeze(args: &FreezeArgs, context: &Context) -> Result<ExitCode, CliError> {
    switch(&args.which, true, context)
}

pub(crate) fn thaw(args: &ThawArgs, context: &Context) -> Result<ExitCode, CliError> {
    switch(&args.which, false, context)
}

/// Every bottle is tried, also where one before it could not be reached; the first error is the one reported.
fn switch(which: &Which, frozen: bool, context: &Context) -> Result<ExitCode, CliError> {
    let slugs = if which.all { running(context)? } else { which.slugs.clone() };
    let (mut shown, mut failed) = (Vec::new(), None);
    for slug in slugs {
        match client::freeze(&context.dirs, &slug, frozen) {
            Ok(Status { frozen, .. }) => shown.push(Shown { slug: slug.to_string(), frozen: frozen.is_some() }),
            // It has ended since it was listed.
            Err(ClientError::NotRunning(_)) if which.all => {}
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    if which.json {
        context.ui.json(&shown)?;
    } else {
        context.ui.result(&shown.iter().map(|shown| format!("{}\n", shown.slug)).collect::<String>())?;
    }
    failed.map_or(Ok(ExitCode::SUCCESS), |error| Err(told(error)))
}

pub(crate) fn running(context: &Context) -> Result<Vec<Slug>, CliError> {
    let listed = open(context)?.list().map_err(super::list::unreadable)?;
    let live = listed.into_iter().filter(|bottle| matches!(bottle.state, State::Running | State::Frozen));
    Ok(live.filter_map(|bottle| bottle.slug.parse().ok()).collect())
}
