//! `bot-bottle cleanup`.

use crate::{compose::Context, error::CliError};
use std::process::ExitCode;

/// Remove what stopped and crashed bottles left
#[derive(Debug, clap::Args)]
pub(crate) struct CleanupArgs {}

pub(crate) fn run(_args: CleanupArgs, _context: &Context) -> Result<ExitCode, CliError> {
    Err(CliError::bug("`cleanup` is not wired yet"))
}
