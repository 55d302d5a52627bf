//! `bot-bottle stop`.

use crate::{compose::Context, error::CliError, terminal::told};
use bottle_runtime::client;
use bottle_spec::slug::Slug;
use std::process::ExitCode;

/// End a running bottle; what `start` made is kept for `resume`
#[derive(Debug, clap::Args)]
pub(crate) struct StopArgs {
    /// Seconds that its programs have to end by themselves
    #[arg(long, short, default_value_t = 10, value_parser = clap::value_parser!(u32).range(..=3600))]
    grace: u32,
    /// The bottles, as `bot-bottle list` names them
    #[arg(required = true, value_name = "BOTTLE")]
    slugs: Vec<Slug>,
}

pub(crate) fn run(args: StopArgs, context: &Context) -> Result<ExitCode, CliError> {
    for slug in &args.slugs {
        client::stop(&context.dirs, slug, args.grace).map_err(told)?;
        context.ui.result(&format!("{slug}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}
