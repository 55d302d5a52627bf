//! `bot-bottle completions`.

use crate::{compose::Context, error::CliError};
use std::process::ExitCode;

/// Print completions for a shell
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {}

pub(crate) fn run(_args: CompletionsArgs, _context: &Context) -> Result<ExitCode, CliError> {
    Err(CliError::bug("`completions` is not wired yet"))
}
