//! `bot-bottle man`.

use crate::{args::Args, compose::Context, error::CliError};
use clap::CommandFactory as _;
use std::process::ExitCode;

/// Print the man page, as roff: `bot-bottle man | man -l -`
#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// The page of this verb
    verb: Option<String>,
}

pub(crate) fn run(args: ManArgs, context: &Context) -> Result<ExitCode, CliError> {
    let command = Args::command();
    let command = match &args.verb {
        None => command,
        Some(verb) => command
            .find_subcommand(verb)
            .filter(|found| !found.is_hide_set())
            .cloned()
            .ok_or_else(|| {
                CliError::usage(format!("there is no verb `{}`", bottle_spec::escape::Escaped(verb)))
                    .next("`bot-bottle --help` lists them")
            })?
            .bin_name(format!("bot-bottle {verb}")),
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut page)
        .map_err(|error| CliError::bug("the man page could not be written").because(error))?;
    context.ui.result(&String::from_utf8_lossy(&page))?;
    Ok(ExitCode::SUCCESS)
}
