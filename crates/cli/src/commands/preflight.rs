//! `bot-bottle preflight`.

use crate::{compose::Context, error::CliError};
use std::process::ExitCode;

/// Show what `start` would do, and do nothing
#[derive(Debug, clap::Args)]
pub(crate) struct PreflightArgs {}

pub(crate) fn run(_args: PreflightArgs, _context: &Context) -> Result<ExitCode, CliError> {
    Err(CliError::bug("`preflight` is not wired yet"))
}
