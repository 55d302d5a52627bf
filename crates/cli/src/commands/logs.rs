//! `bot-bottle logs`.

use crate::{compose::Context, error::CliError};
use std::process::ExitCode;

/// Show a bottle's logs
#[derive(Debug, clap::Args)]
pub(crate) struct LogsArgs {}

pub(crate) fn run(_args: LogsArgs, _context: &Context) -> Result<ExitCode, CliError> {
    Err(CliError::bug("`logs` is not wired yet"))
}
