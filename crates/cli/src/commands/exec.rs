//! `bot-bottle exec`.

use crate::{compose::Context, error::CliError};
use std::process::ExitCode;

/// Run another program in a running bottle
#[derive(Debug, clap::Args)]
pub(crate) struct ExecArgs {}

pub(crate) fn run(_args: ExecArgs, _context: &Context) -> Result<ExitCode, CliError> {
    Err(CliError::bug("`exec` is not wired yet"))
}
