//! `bot-bottle stop`.

use crate::{compose::Context, error::CliError};
use std::process::ExitCode;

/// End a bottle; its home stays for resume
#[derive(Debug, clap::Args)]
pub(crate) struct StopArgs {}

pub(crate) fn run(_args: StopArgs, _context: &Context) -> Result<ExitCode, CliError> {
    Err(CliError::bug("`stop` is not wired yet"))
}
