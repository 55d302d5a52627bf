//! `bot-bottle attach`.

use crate::{compose::Context, error::CliError, terminal};
use bottle_spec::slug::Slug;
use std::process::ExitCode;

/// Join a bottle's terminal; ctrl-p ctrl-q leaves it running
#[derive(Debug, clap::Args)]
pub(crate) struct AttachArgs {
    /// The bottle, as `bot-bottle list` names it
    #[arg(value_name = "BOTTLE")]
    slug: Slug,
}

pub(crate) fn run(args: AttachArgs, context: &Context) -> Result<ExitCode, CliError> {
    terminal::attach(&context.dirs, &args.slug, &context.ui)
}
