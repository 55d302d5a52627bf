//! `bot-bottle resume`.

use crate::{compose::Context, error::CliError};
use std::process::ExitCode;

/// Start a stopped bottle again, with its home as it was left
#[derive(Debug, clap::Args)]
pub(crate) struct ResumeArgs {}

pub(crate) fn run(_args: ResumeArgs, _context: &Context) -> Result<ExitCode, CliError> {
    Err(CliError::bug("`resume` is not wired yet"))
}
