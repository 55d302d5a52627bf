//! `bot-bottle man`.

use crate::{compose::Context, error::CliError};
use std::process::ExitCode;

/// Print the man page
#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {}

pub(crate) fn run(_args: ManArgs, _context: &Context) -> Result<ExitCode, CliError> {
    Err(CliError::bug("`man` is not wired yet"))
}
